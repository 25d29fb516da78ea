//! What a program needs to know to reach a server: as variables, as lines for a shell, as `server.json`.

use computesdk_server::Credentials;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Says to `compute` itself that `MODAL_SERVER_URL` is a server of ours.
pub(crate) const MARK: &str = "COMPUTESDK_SERVE";

/// A server, as clients are told of it. It holds a secret: it is written to files of the user's alone, and never logged.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) struct Environment {
    pub(crate) url: String,
    pub(crate) token_id: String,
    pub(crate) token_secret: String,
    pub(crate) environment: String,
    pub(crate) pid: u32,
    /// The certificate of the authority that signs for tunnels, and a bundle of it and the system's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) ca: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) ca_bundle: Option<PathBuf>,
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").field("url", &self.url).field("token_id", &self.token_id).finish_non_exhaustive()
    }
}

impl Environment {
    pub(crate) fn new(url: String, credentials: &Credentials) -> Self {
        Self {
            url,
            token_id: credentials.token_id.clone(),
            token_secret: credentials.token_secret.expose_secret().to_owned(),
            environment: String::from("main"),
            pid: std::process::id(),
            ca: None,
            ca_bundle: None,
        }
    }

    /// For Modal's SDKs, and for `compute`.
    fn modal(&self) -> [(&'static str, &str); 5] {
        [
            ("MODAL_SERVER_URL", &self.url),
            ("MODAL_TOKEN_ID", &self.token_id),
            ("MODAL_TOKEN_SECRET", &self.token_secret),
            ("MODAL_ENVIRONMENT", &self.environment),
            (MARK, "1"),
        ]
    }

    /// So that tunnels with TLS are trusted: Node adds to what it trusts, the others replace it.
    fn trust(&self) -> Vec<(&'static str, String)> {
        let text = |path: &PathBuf| path.display().to_string();
        let node = self.ca.iter().map(|ca| ("NODE_EXTRA_CA_CERTS", text(ca)));
        let others = self
            .ca_bundle
            .iter()
            .flat_map(|bundle| [("SSL_CERT_FILE", text(bundle)), ("REQUESTS_CA_BUNDLE", text(bundle))]);
        node.chain(others).collect()
    }

    /// All of it, for a command.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let modal = self.modal().into_iter().map(|(name, value)| (name, value.to_owned()));
        modal.chain(self.trust()).collect()
    }

    /// Ready to paste into a shell.
    pub(crate) fn exports(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.modal() {
            let _ = writeln!(text, "export {name}={}", quoted(value));
        }
        for (name, value) in self.trust() {
            let _ = writeln!(text, "export {name}={}", quoted(&value));
        }
        text
    }

    /// Writes it for whoever looks for a server on this machine: readable by this user alone, and whole or not at all.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let dir = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir)?;
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        // It was made with 0600.
        file.persist(path)?;
        Ok(())
    }

    /// The server that was written there.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&std::fs::read(path)?)?)
    }

    /// Takes it away, if it is still this server's.
    pub(crate) fn remove(&self, path: &Path) {
        if Self::read(path).is_ok_and(|found| found.pid == self.pid && found.url == self.url) {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A word for a POSIX shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// `$XDG_STATE_HOME/computesdk`, else `~/.local/state/computesdk`.
pub(crate) fn state_home() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    base.map(|base| base.join("computesdk"))
}

/// Where a server says that it runs.
pub(crate) fn server_file() -> Option<PathBuf> {
    state_home().map(|dir| dir.join("server.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        let credentials = Credentials { token_id: "ak-1".into(), token_secret: "as-2".to_owned().into() };
        let mut environment = Environment::new("http://127.0.0.1:1".into(), &credentials);
        environment.ca = Some("/it's here/ca.pem".into());
        environment
    }

    #[test]
    fn lines_are_for_a_shell() {
        let text = environment().exports();
        assert!(text.contains("export MODAL_SERVER_URL=http://127.0.0.1:1\n"), "{text}");
        assert!(text.contains("export NODE_EXTRA_CA_CERTS='/it'\\''s here/ca.pem'\n"), "{text}");
    }

    #[test]
    fn the_file_is_the_users_alone_and_goes_with_its_server() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deeper/server.json");
        let own = environment();
        own.write(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Environment::read(&path).unwrap().token_secret, "as-2");
        let mut other = own.clone();
        other.pid += 1;
        other.remove(&path);
        assert!(path.exists());
        own.remove(&path);
        assert!(!path.exists());
        assert!(!format!("{own:?}").contains("as-2"));
    }
}
