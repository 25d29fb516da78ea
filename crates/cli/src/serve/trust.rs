//! A bundle of the system's certificates and ours: some programs replace what they trust by the file they are told of.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Where systems keep their bundle: Debian, Fedora, openSUSE, Alpine.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What is trusted now: as the user has set it, else as the system has it.
fn system_bundle() -> Option<Vec<u8>> {
    let set = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    set.into_iter().chain(BUNDLES.map(PathBuf::from)).find_map(|path| std::fs::read(path).ok())
}

/// Writes the bundle into a folder, and says where it is.
pub(crate) fn bundle(dir: &Path, authority: &Path) -> io::Result<PathBuf> {
    let own = std::fs::read(authority)?;
    let path = dir.join("ca-bundle.pem");
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    if let Some(system) = system_bundle() {
        file.write_all(&system)?;
        file.write_all(b"\n")?;
    }
    file.write_all(&own)?;
    file.persist(&path)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundle_has_ours_at_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let authority = dir.path().join("ca.pem");
        std::fs::write(&authority, "OURS\n").unwrap();
        let path = bundle(dir.path(), &authority).unwrap();
        assert!(std::fs::read_to_string(path).unwrap().ends_with("OURS\n"));
    }
}
