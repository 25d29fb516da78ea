//! The authority's two files: made once, whoever asks first, and looked at with suspicion ever after.

use crate::authority::AuthorityError;
use crate::der;
use crate::leaf::BACK_DATED;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, GeneralSubtree, IsCa, KeyPair,
    KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256, SerialNumber, date_time_ymd,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustix::fs::{FlockOperation, flock};
use rustls::SignatureScheme;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

pub(crate) const PEM: &str = "ca.pem";
const KEY: &str = "ca.key";
const LOCK: &str = "ca.lock";
const TEN_YEARS: u64 = 3652 * 24 * 60 * 60;
/// Both files have less than 2 KiB.
const MOST_BYTES: u64 = 64 * 1024;
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// What the files say.
pub(crate) struct Ca {
    pub(crate) key: KeyPair,
    pub(crate) params: CertificateParams,
    pub(crate) not_after: u64,
}

pub(crate) fn seconds_now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_secs()).max(BACK_DATED)
}

macro_rules! time {
    ($seconds:expr) => {
        date_time_ymd(1970, 1, 1) + Duration::from_secs($seconds)
    };
}
pub(crate) use time as since_1970;

pub(crate) fn random_serial() -> Result<SerialNumber, AuthorityError> {
    let mut bytes = [0; 16];
    let fill = SystemRandom::new().fill(&mut bytes);
    fill.map_err(|_| AuthorityError::Crypto("the system gave no random bytes".to_owned()))?;
    // A positive number without a zero in front, so that it is read back as it was written.
    bytes[0] = bytes[0] & 0x3f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// The authority of a folder, made if it has none.
pub(crate) fn open(dir: &Path) -> Result<Ca, AuthorityError> {
    let (pem, key) = (dir.join(PEM), dir.join(KEY));
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_at(dir))?;
    private(dir, &fs::metadata(dir).map_err(io_at(dir))?, 0o022, "700")?;
    if !exists(&pem)? {
        let _lock = lock(&dir.join(LOCK))?;
        if !exists(&pem)? {
            make(&pem, &key)?;
        }
    }
    load(&pem, &key)
}

/// The key first: where there is a certificate, there is its key.
fn make(pem: &Path, key_path: &Path) -> Result<(), AuthorityError> {
    let key = if exists(key_path)? {
        load_key(key_path)?
    } else {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(crypto)?;
        write(key_path, key.serialize_pem().as_bytes(), 0o600)?;
        key
    };
    let not_before = seconds_now() - BACK_DATED;
    let params = params(&key, random_serial()?, not_before, not_before + TEN_YEARS);
    let certificate = params.self_signed(&key).map_err(crypto)?;
    write(pem, certificate.pem().as_bytes(), 0o644)
}

/// The certificate is made anew from the key, and compared: so nothing is believed of the file but its dates and number.
fn load(pem_path: &Path, key_path: &Path) -> Result<Ca, AuthorityError> {
    let broken = |problem, delete: &[&Path]| {
        let delete: Vec<String> = delete.iter().map(|path| path.display().to_string()).collect();
        AuthorityError::Broken { path: pem_path.to_owned(), problem, delete: delete.join(" and ") }
    };
    if !exists(key_path)? {
        return Err(broken("its key is missing", &[pem_path]));
    }
    let key = load_key(key_path)?;
    let text = read(&open_file(pem_path)?, pem_path)?;
    let certificate = CertificateDer::from_pem_slice(&text).ok();
    let parts = certificate.as_ref().and_then(|certificate| der::parts(certificate));
    let parts = parts.ok_or_else(|| broken("it is no certificate", &[pem_path]))?;
    let params = params(&key, SerialNumber::from_slice(parts.serial), parts.not_before, parts.not_after);
    let again = params.self_signed(&key).map_err(crypto)?;
    let same = der::parts(again.der()).is_some_and(|again| again.signed == parts.signed);
    if !same || !is_signed(&key, parts.signed, parts.signature) {
        return Err(broken("it is not the certificate of its key", &[pem_path, key_path]));
    }
    if parts.not_after <= seconds_now() {
        return Err(broken("it has expired", &[pem_path, key_path]));
    }
    let not_after = parts.not_after;
    Ok(Ca { key, params, not_after })
}

/// All that a key determines of its certificate.
fn params(key: &KeyPair, serial: SerialNumber, not_before: u64, not_after: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    // Told apart by the key alone: names of users and machines are nobody's business who connects.
    let id = crate::hex(&params.key_identifier(key)[..6]);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("ComputeSDK local CA {id}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![
            GeneralSubtree::DnsName("localhost".to_owned()),
            GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([127, 0, 0, 0], 8)),
            GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(std::net::Ipv6Addr::LOCALHOST.into(), 128)),
        ],
        excluded_subtrees: Vec::new(),
    });
    params.serial_number = Some(serial);
    params.not_before = since_1970!(not_before);
    params.not_after = since_1970!(not_after);
    params
}

fn is_signed(key: &KeyPair, message: &[u8], signature: &[u8]) -> bool {
    let provider = rustls::crypto::ring::default_provider();
    let schemes = provider.signature_verification_algorithms.mapping.iter();
    let algorithms = schemes.filter(|(scheme, _)| *scheme == SignatureScheme::ECDSA_NISTP256_SHA256);
    let mut algorithms = algorithms.flat_map(|(_, algorithms)| algorithms.iter());
    algorithms.any(|algorithm| algorithm.verify_signature(key.public_key_raw(), message, signature).is_ok())
}

fn load_key(path: &Path) -> Result<KeyPair, AuthorityError> {
    let file = open_file(path)?;
    private(path, &file.metadata().map_err(io_at(path))?, 0o177, "600")?;
    let text = String::from_utf8(read(&file, path)?).ok();
    let key =
        text.and_then(|text| KeyPair::from_pem(&text).ok()).filter(|key| key.is_compatible(&PKCS_ECDSA_P256_SHA256));
    key.ok_or_else(|| AuthorityError::Broken {
        path: path.to_owned(),
        problem: "it is no key of this authority",
        delete: format!("it and {}", path.with_file_name(PEM).display()),
    })
}

/// Ours, and without these bits of its mode.
fn private(path: &Path, metadata: &fs::Metadata, forbidden: u32, right: &'static str) -> Result<(), AuthorityError> {
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if owner != rustix::process::geteuid().as_raw() {
        return Err(AuthorityError::Owner { path: path.to_owned(), owner });
    }
    if mode & forbidden != 0 {
        return Err(AuthorityError::Open { path: path.to_owned(), mode, right });
    }
    Ok(())
}

/// Held until it is dropped. A process that hangs with it does not make us hang.
fn lock(path: &Path) -> Result<File, AuthorityError> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(path).map_err(io_at(path))?;
    let begin = Instant::now();
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if begin.elapsed() < LOCK_WAIT => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(AuthorityError::Busy { path: path.to_owned() }),
            Err(errno) => return Err(io_at(path)(errno.into())),
        }
    }
}

fn open_file(path: &Path) -> Result<File, AuthorityError> {
    File::open(path).map_err(io_at(path))
}

fn read(file: &File, path: &Path) -> Result<Vec<u8>, AuthorityError> {
    let mut bytes = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut bytes).map_err(io_at(path))?;
    Ok(bytes)
}

/// All of it or nothing, also after a crash. Only whoever holds the lock writes, so the name of the new file is free.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), AuthorityError> {
    let fresh = path.with_extension("new");
    let written = || {
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh)?;
        // Whatever the umask says: `ca.pem` is for others to read.
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    };
    written().map_err(io_at(path))
}

fn exists(path: &Path) -> Result<bool, AuthorityError> {
    path.try_exists().map_err(io_at(path))
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> AuthorityError {
    let path = path.to_owned();
    move |source| AuthorityError::Io { path, source }
}

#[allow(clippy::needless_pass_by_value, reason = "it is handed to `map_err`")]
fn crypto(error: rcgen::Error) -> AuthorityError {
    AuthorityError::Crypto(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_has_expired_is_told() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path()).unwrap();
        let key = load_key(&dir.path().join(KEY)).unwrap();
        let now = seconds_now();
        let params = params(&key, random_serial().unwrap(), now - 1000, now - 1);
        write(&dir.path().join(PEM), params.self_signed(&key).unwrap().pem().as_bytes(), 0o644).unwrap();
        let error = open(dir.path()).err().unwrap().to_string();
        assert!(error.contains("it has expired; delete "), "{error}");
    }

    #[test]
    fn a_process_that_died_with_the_lock_or_within_a_write_is_no_hindrance() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(LOCK), "").unwrap();
        fs::write(dir.path().join("ca.new"), "half of a ke").unwrap();
        open(dir.path()).unwrap();
    }
}
