//! The server's certificate, where it is not from the local authority.

use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why files make no certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read, or is not PEM, or has not in it what it should have.
    #[error("{}: no {wanted}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// The two do not belong together, or are of a kind that is not supported.
    #[error("{} and {} make no TLS: {source}", cert.display(), key.display())]
    Pair {
        /// The certificate.
        cert: PathBuf,
        /// Its key.
        key: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
}

/// TLS with a certificate from files: `cert` with the whole chain, the server's own first, and `key` its private key, both
/// PEM. They are read once.
///
/// # Errors
/// [`TlsError::File`] for what cannot be read, [`TlsError::Pair`] for what does not fit.
pub fn from_pem(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = match chain {
        Ok(chain) if chain.is_empty() => Err(pem::Error::NoItemsFound),
        other => other,
    };
    let chain =
        chain.map_err(|source| TlsError::File { path: cert.to_owned(), wanted: "certificate in PEM", source })?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::File {
        path: key.to_owned(),
        wanted: "private key in PEM",
        source,
    })?;
    let pair = |source| TlsError::Pair { cert: cert.to_owned(), key: key.to_owned(), source };
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;
    use computesdk_tunnel::Authority;

    #[test]
    fn files_make_tls_or_are_named() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for dir in [&a, &b] {
            Authority::open(dir.path()).unwrap();
        }
        let (cert, key) = (a.path().join("ca.pem"), a.path().join("ca.key"));
        let config = from_pem(&cert, &key).unwrap();
        assert_eq!(config.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
        let told = |cert: &Path, key: &Path| from_pem(cert, key).unwrap_err().to_string();
        assert!(told(&a.path().join("none"), &key).contains("none: no certificate"));
        assert!(told(&cert, &cert).contains("ca.pem: no private key"));
        assert!(told(&key, &key).contains("ca.key: no certificate"));
        let error = told(&cert, &b.path().join("ca.key"));
        assert!(error.contains("make no TLS"), "{error}");
    }
}
