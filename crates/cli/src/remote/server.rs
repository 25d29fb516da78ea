//! Which server is meant, and as whom it is spoken to.
//!
//! In this order: `--server`; `COMPUTESDK_SERVER`; what `compute serve -- COMMAND` has put into this process's environment; the server
//! that says in a file of this user's that it runs. `MODAL_SERVER_URL` without the mark of `compute serve` is somebody else's business, and
//! so is a token without any of these.

use super::START;
use crate::exit::Failure;
use crate::serve::environment::{Environment, MARK, server_file};
use computesdk::{Error, ErrorKind};
use secrecy::SecretString;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Where a server is named in the environment.
const VARIABLE: &str = "COMPUTESDK_SERVER";
const OPERATION: &str = "server";

/// A server, and who we are there.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) token_id: String,
    pub(crate) token_secret: SecretString,
    pub(crate) environment: Option<String>,
}

impl Server {
    /// The one that is meant.
    pub(crate) fn find(given: Option<&str>) -> Result<Self, Failure> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let file = || match server_file() {
            Some(path) => read(&path),
            None => Ok(None),
        };
        choose(given, variable, file)
    }
}

fn choose(
    given: Option<&str>,
    variable: impl Fn(&str) -> Option<String>,
    file: impl Fn() -> Result<Option<Environment>, Failure>,
) -> Result<Server, Failure> {
    if let Some(url) = given.map(str::to_owned).or_else(|| variable(VARIABLE)) {
        let url = url.trim_end_matches('/').to_owned();
        // Tokens of one server are never sent to another one because both are at hand.
        if let Some(known) = file()?.filter(|known| known.url == url) {
            return Ok(of_file(known));
        }
        return match (variable("MODAL_TOKEN_ID"), variable("MODAL_TOKEN_SECRET")) {
            (Some(token_id), Some(secret)) => {
                Ok(Server { url, token_id, token_secret: secret.into(), environment: variable("MODAL_ENVIRONMENT") })
            }
            _ => Err(Error::new(
                ErrorKind::MissingCredentials,
                OPERATION,
                format!("there is no token for the server {url}"),
            )
            .with_hint("set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET to the pair that this server printed when it started")
            .into()),
        };
    }
    let marked = variable(MARK).is_some_and(|mark| mark == "1");
    if let (true, Some(url), Some(token_id), Some(secret)) =
        (marked, variable("MODAL_SERVER_URL"), variable("MODAL_TOKEN_ID"), variable("MODAL_TOKEN_SECRET"))
    {
        return Ok(Server { url, token_id, token_secret: secret.into(), environment: variable("MODAL_ENVIRONMENT") });
    }
    match file()? {
        Some(known) => Ok(of_file(known)),
        None => Err(Error::new(ErrorKind::Unavailable, OPERATION, "there is no server: these sandboxes live at one")
            .with_hint(START)
            .into()),
    }
}

fn of_file(known: Environment) -> Server {
    Server {
        url: known.url,
        token_id: known.token_id,
        token_secret: known.token_secret.into(),
        environment: Some(known.environment).filter(|name| !name.is_empty()),
    }
}

/// What a server has written there; `None` if there is none.
fn read(path: &Path) -> Result<Option<Environment>, Failure> {
    let shown = path.display();
    let failed = |text: String, error: std::io::Error| {
        Error::new(ErrorKind::FailedPrecondition, OPERATION, text).with_source(error)
    };
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(format!("cannot read {shown}"), error).into()),
    };
    // Who can write it chooses whom our programs and files are handed to.
    if meta.uid() != rustix::process::geteuid().as_raw() || meta.mode() & 0o077 != 0 {
        let text = format!("{shown} is not this user's alone, and is not believed");
        return Err(Error::new(ErrorKind::PermissionDenied, OPERATION, text)
            .with_hint(format!("remove it, or: chmod 600 {shown}; or name the server with --server"))
            .into());
    }
    let known = Environment::read(path).map_err(|error| {
        let text = format!("{shown} is not what a server writes there: {error}");
        failed(text, error).with_hint("remove it; `compute serve` writes it anew")
    })?;
    Ok(Some(known))
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    const OURS: &str =
        r#"{"url":"http://127.0.0.1:1","token_id":"ak-f","token_secret":"as-f","environment":"main","pid":1}"#;

    fn file() -> Result<Option<Environment>, Failure> {
        Ok(Some(serde_json::from_str(OURS).unwrap()))
    }

    fn no_file() -> Result<Option<Environment>, Failure> {
        Ok(None)
    }

    fn token(name: &str) -> Option<String> {
        match name {
            "MODAL_TOKEN_ID" => Some("ak-e".into()),
            "MODAL_TOKEN_SECRET" => Some("as-e".into()),
            _ => None,
        }
    }

    /// Url and token of the server that is chosen.
    fn chosen(server: Result<Server, Failure>) -> (String, String) {
        let server = server.unwrap();
        assert_eq!(
            server.token_secret.expose_secret().trim_start_matches("as"),
            server.token_id.trim_start_matches("ak")
        );
        (server.url, server.token_id)
    }

    #[test]
    fn the_order_is_kept() {
        let all = |name: &str| match name {
            VARIABLE => Some("http://127.0.0.1:3/".into()),
            "MODAL_SERVER_URL" => Some("http://127.0.0.1:4".into()),
            MARK => Some("1".into()),
            other => token(other),
        };
        assert_eq!(chosen(choose(Some("http://127.0.0.1:2"), all, file)), ("http://127.0.0.1:2".into(), "ak-e".into()));
        assert_eq!(chosen(choose(None, all, file)), ("http://127.0.0.1:3".into(), "ak-e".into()));
        let marked = |name: &str| if name == VARIABLE { None } else { all(name) };
        assert_eq!(chosen(choose(None, marked, file)), ("http://127.0.0.1:4".into(), "ak-e".into()));
        let unmarked = |name: &str| if name == MARK { None } else { marked(name) };
        assert_eq!(chosen(choose(None, unmarked, file)), ("http://127.0.0.1:1".into(), "ak-f".into()));
        // The token of the file goes with the URL of the file.
        assert_eq!(
            chosen(choose(Some("http://127.0.0.1:1/"), all, file)),
            ("http://127.0.0.1:1".into(), "ak-f".into())
        );
    }

    #[test]
    fn a_token_alone_leads_nowhere() {
        let elsewhere = |name: &str| match name {
            "MODAL_SERVER_URL" => Some("https://api.modal.com".into()),
            other => token(other),
        };
        let Err(Failure::Error(error, exit)) = choose(None, elsewhere, no_file) else { panic!("a server was found") };
        assert_eq!((error.hint(), exit), (Some(START), crate::exit::Exit::OURS));
        let Err(Failure::Error(error, _)) = choose(Some("http://127.0.0.1:2"), |_| None, no_file) else {
            panic!("a server without a token")
        };
        assert_eq!(error.kind(), ErrorKind::MissingCredentials);
    }

    #[test]
    fn a_file_that_others_can_write_is_not_believed() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.json");
        assert!(read(&path).unwrap().is_none());
        std::fs::write(&path, OURS).unwrap();
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o666);
        let Err(Failure::Error(error, _)) = read(&path) else { panic!("it was believed") };
        assert!(error.hint().unwrap().contains("chmod 600"), "{error:?}");
        mode(0o600);
        assert_eq!(read(&path).unwrap().unwrap().token_id, "ak-f");
        std::fs::write(&path, "{").unwrap();
        let Err(Failure::Error(error, _)) = read(&path) else { panic!("it was believed") };
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    }
}
