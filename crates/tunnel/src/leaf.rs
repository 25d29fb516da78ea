//! Certificates for tunnels: signed by the local authority, kept in memory, renewed while they are in use.

use crate::authority::AuthorityError;
use crate::store::{random_serial, seconds_now, since_1970};
use rcgen::date_time_ymd;
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    SanType,
};
use rustls::crypto::ring::sign::any_ecdsa_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const DAY: u64 = 24 * 60 * 60;
/// Clients refuse long-lived ones.
const VALID: u64 = 90 * DAY;
/// Clocks differ.
pub(crate) const BACK_DATED: u64 = 60 * 60;
/// So long before its end a certificate is made anew.
const RENEWED: u64 = 30 * DAY;

/// The authority's key at work.
pub(crate) struct Signer {
    issuer: Issuer<'static, KeyPair>,
    not_after: u64,
}

impl Signer {
    pub(crate) fn new(params: CertificateParams, key: KeyPair, not_after: u64) -> Self {
        Self { issuer: Issuer::new(params, key), not_after }
    }

    /// A certificate with a key of its own; and when to make the next.
    fn sign(&self, names: &[String]) -> Result<Signed, AuthorityError> {
        let crypto = |error: rcgen::Error| AuthorityError::Crypto(error.to_string());
        let mut params = CertificateParams::new(names).map_err(crypto)?;
        for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            let address = SanType::IpAddress(address);
            if !params.subject_alt_names.contains(&address) {
                params.subject_alt_names.push(address);
            }
        }
        params.distinguished_name.push(DnType::CommonName, "ComputeSDK tunnel");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // OpenSSL's strict mode, which is Python's default from 3.13 on, asks for it.
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(random_serial()?);
        let now = seconds_now();
        let not_after = (now - BACK_DATED + VALID).min(self.not_after);
        params.not_before = since_1970!(now - BACK_DATED);
        params.not_after = since_1970!(not_after);

        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(crypto)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(crypto)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = any_ecdsa_type(&key).map_err(|error| AuthorityError::Crypto(error.to_string()))?;
        let certified = Arc::new(CertifiedKey::new(vec![certificate.into()], key));
        Ok(Signed { certified, made: now, renew: not_after.saturating_sub(RENEWED) })
    }
}

struct Signed {
    certified: Arc<CertifiedKey>,
    made: u64,
    renew: u64,
}

/// One set of names, and its certificate of the day.
pub(crate) struct Leaf {
    signer: Arc<Signer>,
    names: Vec<String>,
    now: Mutex<Signed>,
}

impl Leaf {
    pub(crate) fn new(signer: Arc<Signer>, names: Vec<String>) -> Result<Self, AuthorityError> {
        let now = Mutex::new(signer.sign(&names)?);
        Ok(Self { signer, names, now })
    }

    fn certified(&self, at: u64) -> Arc<CertifiedKey> {
        let mut signed = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        // Once a day at most: near the authority's own end, a new one is no better.
        if at >= signed.renew && at >= signed.made + DAY {
            match self.signer.sign(&self.names) {
                Ok(fresh) => *signed = fresh,
                Err(error) => tracing::warn!(%error, "a tunnel's certificate cannot be renewed"),
            }
        }
        Arc::clone(&signed.certified)
    }
}

impl ResolvesServerCert for Leaf {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.certified(seconds_now()))
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf").field("names", &self.names).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

    #[test]
    fn a_key_that_leaked_signs_for_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let ca = crate::store::open(dir.path()).unwrap();
        let signer = Signer::new(ca.params, ca.key, ca.not_after);
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(dir.path().join("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let verify = |name: &str| {
            let signed = signer.sign(&[name.to_owned()]).unwrap();
            let server = ServerName::try_from(name.to_owned()).unwrap();
            verifier.verify_server_cert(&signed.certified.cert[0], &[], &server, &[], UnixTime::now()).map(drop)
        };
        for name in ["localhost", "a.b.localhost", "127.9.9.9", "::1"] {
            verify(name).unwrap();
        }
        for name in ["example.com", "notlocalhost", "localhost.example.com", "10.0.0.1", "::2"] {
            verify(name).unwrap_err();
        }
    }

    #[test]
    fn a_certificate_is_renewed_in_time() {
        let dir = tempfile::tempdir().unwrap();
        let ca = crate::store::open(dir.path()).unwrap();
        let signer = Arc::new(Signer::new(ca.params, ca.key, ca.not_after));
        let leaf = Leaf::new(signer, vec!["localhost".to_owned()]).unwrap();
        let now = seconds_now();
        let (first, same) = (leaf.certified(now), leaf.certified(now + 59 * DAY));
        assert_eq!(first.cert, same.cert);
        assert_ne!(first.cert, leaf.certified(now + 61 * DAY).cert);
        let parts = crate::der::parts(&first.cert[0]).unwrap();
        assert_eq!(parts.not_after - parts.not_before, VALID);
        assert!(parts.not_before + BACK_DATED <= now);
    }
}
