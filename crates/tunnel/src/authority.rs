//! A certificate authority of this machine's own, for TLS to the tunnels.
//!
//! It lives in one folder: `ca.pem`, which clients are told to trust, and `ca.key`, which only its user can read. Even
//! whoever gets hold of the key can sign for `localhost`, names below it and loopback addresses only: the certificate says
//! so (critical name constraints). Certificates for tunnels are made on demand, kept in memory alone and renewed in time.

use crate::hint;
use crate::leaf::{Leaf, Signer};
use crate::store::{self, Ca};
use rustls::ServerConfig;
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Why there is no authority, or no certificate from it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// The folder or a file in it cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Others can read the key, or could exchange it.
    #[error("{} is open to others (mode {mode:03o}); run `chmod {right} '{}'`", path.display(), path.display())]
    Open {
        /// The key, or the folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The mode it should have.
        right: &'static str,
    },
    /// Somebody else's key.
    #[error("{} belongs to another user (uid {owner}); give a folder of your own", path.display())]
    Owner {
        /// The key, or the folder.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// The files are not what was written.
    #[error("{}: {problem}; delete {delete}, and a new authority is made (whatever trusted the old one must trust the new)",
        path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
        /// Which files to delete.
        delete: String,
    },
    /// Another process has been making the authority for a long time.
    #[error("another process holds {} for 10 s; end it and try again", path.display())]
    Busy {
        /// The lock.
        path: PathBuf,
    },
    /// A name that the authority cannot sign for.
    #[error(
        "no certificate for {name:?}: the local authority signs for `localhost`, names below it such as \
        `p8080-sb-1.localhost`, and loopback addresses; at most 64 names"
    )]
    Name {
        /// The first such name.
        name: String,
    },
    /// The crypto library refused.
    #[error("cannot make a certificate: {0}")]
    Crypto(String),
}

const MOST_NAMES: usize = 64;

/// The local authority. Dropping it changes nothing on disk.
pub struct Authority {
    dir: PathBuf,
    pem: PathBuf,
    signer: Arc<Signer>,
    /// The same names get the same certificate, as long as somebody uses it.
    leafs: Mutex<HashMap<Vec<String>, Weak<Leaf>>>,
}

impl Authority {
    /// The authority of this folder, which is made on first use (folder 0700, `ca.key` 0600, valid for ten years). Of
    /// several processes that do so at once, all get the same one. Reads and writes files, and so may block for a moment.
    ///
    /// # Errors
    /// [`AuthorityError::Open`] where others can read the key, with the `chmod` to run. [`AuthorityError::Broken`] where
    /// the files do not belong together or have expired, with what to delete: nothing is renewed by itself, because
    /// clients trust the old one.
    pub fn open(dir: &Path) -> Result<Arc<Self>, AuthorityError> {
        let io = |source| AuthorityError::Io { path: dir.to_owned(), source };
        // Hints and variables need a path that is good in any folder.
        let dir = std::path::absolute(dir).map_err(io)?;
        let Ca { key, params, not_after } = store::open(&dir)?;
        let signer = Arc::new(Signer::new(params, key, not_after));
        Ok(Arc::new(Self { pem: dir.join(store::PEM), dir, signer, leafs: Mutex::default() }))
    }

    /// The file that clients are to trust: `ca.pem`, an absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.pem
    }

    /// TLS for a server that is known by these names, and by 127.0.0.1 and ::1. Its certificate is valid for 90 days and
    /// renewed by itself as long as the configuration is in use. Offered is `http/1.1`; with `h2`, before it `h2`.
    ///
    /// # Errors
    /// [`AuthorityError::Name`] for a name that the authority cannot sign for.
    pub fn server_config(&self, names: &[String], h2: bool) -> Result<Arc<ServerConfig>, AuthorityError> {
        let mut names: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        names.sort();
        names.dedup();
        let wrong = names.iter().find(|name| !can_be_signed(name)).or_else(|| names.get(MOST_NAMES));
        if let Some(name) = wrong {
            return Err(AuthorityError::Name { name: name.clone() });
        }
        let leaf = self.leaf(names)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| AuthorityError::Crypto(error.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(leaf);
        config.alpn_protocols = if h2 { vec![b"h2".to_vec()] } else { Vec::new() };
        config.alpn_protocols.push(b"http/1.1".to_vec());
        Ok(Arc::new(config))
    }

    /// How to make programs and systems trust it, for a person to read.
    #[must_use]
    pub fn install_hint(&self) -> String {
        hint::install_hint(&self.pem)
    }

    fn leaf(&self, names: Vec<String>) -> Result<Arc<Leaf>, AuthorityError> {
        let mut leafs = self.leafs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(leaf) = leafs.get(&names).and_then(Weak::upgrade) {
            return Ok(leaf);
        }
        // Sandboxes come and go, with their names.
        leafs.retain(|_, leaf| leaf.strong_count() > 0);
        let leaf = Arc::new(Leaf::new(Arc::clone(&self.signer), names.clone())?);
        leafs.insert(names, Arc::downgrade(&leaf));
        Ok(leaf)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("dir", &self.dir).finish_non_exhaustive()
    }
}

fn can_be_signed(name: &str) -> bool {
    if let Ok(address) = name.parse::<IpAddr>() {
        return address.is_loopback();
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && (name == "localhost" || name.ends_with(".localhost")) && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn it_is_made_once_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("a/b");
        let first = Authority::open(&ca).unwrap();
        let pem = fs::read(first.path()).unwrap();
        assert_eq!((mode(&ca), mode(&ca.join("ca.key")), mode(first.path())), (0o700, 0o600, 0o644));
        let second = Authority::open(&ca).unwrap();
        assert_eq!(fs::read(second.path()).unwrap(), pem);
        let names = fs::read_dir(&ca).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        assert_eq!(names, ["ca.key", "ca.lock", "ca.pem"]);
        assert!(second.install_hint().contains(&*second.path().to_string_lossy()));
        assert!(!format!("{second:?}").contains("PRIVATE"));
    }

    #[test]
    fn many_at_once_get_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca");
        let pems = std::thread::scope(|scope| {
            let open = || fs::read(Authority::open(&ca).unwrap().path()).unwrap();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(pems.iter().all(|pem| *pem == pems[0]));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        Authority::open(dir.path()).unwrap();
        let key = dir.path().join("ca.key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Authority::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("run `chmod 600 '{}'`", key.display())), "{error}");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let error = Authority::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("chmod 700"), "{error}");
    }

    #[test]
    fn files_that_do_not_belong_together_are_told() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for dir in [&a, &b] {
            Authority::open(dir.path()).unwrap();
        }
        let pem = a.path().join("ca.pem");
        let good = fs::read(&pem).unwrap();
        fs::copy(b.path().join("ca.pem"), &pem).unwrap();
        let error = Authority::open(a.path()).unwrap_err().to_string();
        assert!(error.contains("ca.pem") && error.contains("ca.key") && error.contains("delete"), "{error}");
        fs::write(&pem, &good[..good.len() / 2]).unwrap();
        assert!(matches!(Authority::open(a.path()).unwrap_err(), AuthorityError::Broken { .. }));
        fs::write(&pem, &good).unwrap();
        Authority::open(a.path()).unwrap();
        // The certificate alone can be made again from its key; the key cannot.
        fs::remove_file(&pem).unwrap();
        Authority::open(a.path()).unwrap();
        fs::remove_file(a.path().join("ca.key")).unwrap();
        let error = Authority::open(a.path()).unwrap_err().to_string();
        assert!(error.contains("delete") && error.contains("ca.pem"), "{error}");
    }

    #[test]
    fn it_signs_for_loopback_alone() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path()).unwrap();
        let config = |name: &str| authority.server_config(&[name.to_owned()], false);
        for name in ["localhost", "p8080-sb-abc.localhost", "A.B.localhost", "127.0.0.2", "::1"] {
            config(name).unwrap();
        }
        for name in
            ["", "example.com", "notlocalhost", "localhost.", ".localhost", "*.localhost", "10.0.0.1", "a b.localhost"]
        {
            assert!(matches!(config(name).unwrap_err(), AuthorityError::Name { .. }), "{name}");
        }
        let many: Vec<String> = (0..65).map(|n| format!("n{n}.localhost")).collect();
        authority.server_config(&many, false).unwrap_err();
    }
}
