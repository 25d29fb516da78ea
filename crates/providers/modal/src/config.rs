//! What the provider can be told.

use crate::error::NAME;
use computesdk_core::{Error, ErrorKind, Result, Runtime};
use secrecy::{ExposeSecret as _, SecretString};
use std::time::Duration;
use tonic::metadata::{Ascii, MetadataValue};

/// Where Modal's cloud is.
const CLOUD: &str = "https://api.modal.com";
/// The app that sandboxes are made in, unless the configuration says otherwise: that of the JavaScript SDK.
const APP: &str = "computesdk-modal";
/// The image of sandboxes that do not ask for one: Python is there.
const IMAGE: &str = "python:3.13-slim";

/// Settings of the `modal` provider. What is `None` has Modal's default.
///
/// `Debug` never prints the secret.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ModalConfig {
    /// Where the server is: `http://127.0.0.1:PORT` for one on this machine. Default: Modal's cloud.
    pub server_url: Option<String>,
    /// The first half of the token: `ak-…`.
    pub token_id: Option<String>,
    /// The second half of the token: `as-…`.
    pub token_secret: Option<SecretString>,
    /// The environment of the workspace. Default: the workspace's own default.
    pub environment: Option<String>,
    /// The app that sandboxes are made and looked for in; made if missing. Default: `computesdk-modal`.
    pub app_name: Option<String>,
    /// The image of sandboxes that do not ask for one, by reference. Default: `python:3.13-slim`.
    pub image: Option<String>,
    /// Language of code whose language neither the call, the sandbox nor the code tells. Default: Python.
    pub runtime: Option<Runtime>,
    /// Lifetime of a sandbox unless `create` says otherwise. Default: 300 s.
    pub timeout: Option<Duration>,
    /// Longest time in all that one call waits because the server tells it to wait. Default: as long as the server says.
    pub max_throttle_wait: Option<Duration>,
}

impl ModalConfig {
    /// The settings that the environment holds, as Modal's own SDKs read them: `MODAL_SERVER_URL`, `MODAL_TOKEN_ID`,
    /// `MODAL_TOKEN_SECRET`, `MODAL_ENVIRONMENT`, `MODAL_MAX_THROTTLE_WAIT` (seconds).
    #[must_use]
    pub fn from_env() -> Self {
        Self::default().or_env()
    }

    /// These settings, with those that are missing taken from the environment; see [`ModalConfig::from_env`].
    #[must_use]
    pub fn or_env(self) -> Self {
        self.or(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn or(mut self, variable: impl Fn(&str) -> Option<String>) -> Self {
        // An empty value is none.
        let given = |value: Option<String>| value.filter(|value| !value.is_empty());
        self.server_url = given(self.server_url).or_else(|| variable("MODAL_SERVER_URL"));
        self.token_id = given(self.token_id).or_else(|| variable("MODAL_TOKEN_ID"));
        self.token_secret = self
            .token_secret
            .filter(|secret| !secret.expose_secret().is_empty())
            .or_else(|| variable("MODAL_TOKEN_SECRET").map(SecretString::from));
        self.environment = given(self.environment).or_else(|| variable("MODAL_ENVIRONMENT"));
        let seconds = || variable("MODAL_MAX_THROTTLE_WAIT")?.parse().ok();
        self.max_throttle_wait = self.max_throttle_wait.or_else(|| Duration::try_from_secs_f64(seconds()?).ok());
        self
    }
}

/// The settings with every default in place, and what goes into headers ready for it.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) server_url: String,
    pub(crate) token_id: MetadataValue<Ascii>,
    /// Marked as sensitive: `Debug` does not print it.
    pub(crate) token_secret: MetadataValue<Ascii>,
    pub(crate) environment: String,
    pub(crate) app_name: String,
    pub(crate) image: String,
    pub(crate) runtime: Runtime,
    pub(crate) timeout: Duration,
    pub(crate) max_throttle_wait: Option<Duration>,
}

impl Settings {
    /// Settles them, or says what is missing.
    pub(crate) fn of(config: &ModalConfig) -> Result<Self> {
        let secret = config.token_secret.as_ref().map(SecretString::expose_secret).filter(|secret| !secret.is_empty());
        let id = config.token_id.as_deref().filter(|id| !id.is_empty());
        let (Some(id), Some(secret)) = (id, secret) else { return Err(missing(id.is_none(), secret.is_none())) };
        let mut token_secret = header("token_secret", secret)?;
        token_secret.set_sensitive(true);
        let or = |value: &Option<String>, default: &str| value.clone().unwrap_or_else(|| default.to_owned());
        Ok(Self {
            server_url: or(&config.server_url, CLOUD),
            token_id: header("token_id", id)?,
            token_secret,
            environment: or(&config.environment, ""),
            app_name: or(&config.app_name, APP),
            image: or(&config.image, IMAGE),
            runtime: config.runtime.unwrap_or(Runtime::Python),
            timeout: config.timeout.unwrap_or(Duration::from_secs(300)),
            max_throttle_wait: config.max_throttle_wait,
        })
    }
}

fn header(field: &str, value: &str) -> Result<MetadataValue<Ascii>> {
    // The value itself is not told: it may be a secret.
    let bad = |_| Error::invalid("modal.connect", field, "it has characters that cannot be sent").with_provider(NAME);
    value.parse().map_err(bad)
}

fn missing(id: bool, secret: bool) -> Error {
    let what = match (id, secret) {
        (true, true) => "token_id and token_secret are",
        (true, false) => "token_id is",
        _ => "token_secret is",
    };
    let text = format!(
        "Missing Modal API credentials: {what} not given. Set `token_id` and `token_secret` in the configuration, or \
         MODAL_TOKEN_ID and MODAL_TOKEN_SECRET in the environment"
    );
    Error::new(ErrorKind::MissingCredentials, "modal.connect", text)
        .with_provider(NAME)
        .with_hint("`compute serve` prints a pair for a server on this machine; https://modal.com/settings has those of Modal's cloud")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> ModalConfig {
        ModalConfig {
            token_id: Some("ak-1".into()),
            token_secret: Some("as-s3cret".to_owned().into()),
            ..ModalConfig::default()
        }
    }

    #[test]
    fn no_secret_is_printed() {
        let config = full();
        let settings = Settings::of(&config).unwrap();
        for text in [format!("{config:?}"), format!("{settings:?}")] {
            assert!(!text.contains("s3cret"), "{text}");
        }
        let bad = ModalConfig { token_secret: Some("as-s3cret\n".to_owned().into()), ..full() };
        let error = Settings::of(&bad).unwrap_err();
        assert!(error.to_string().contains("token_secret") && !error.report().contains("s3cret"), "{error:?}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = Settings::of(&ModalConfig { token_id: None, ..full() }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::MissingCredentials);
        assert!(error.to_string().starts_with("Missing Modal API credentials: token_id is not given"), "{error}");
        let empty = ModalConfig { token_secret: Some(String::new().into()), ..full() };
        assert!(Settings::of(&empty).unwrap_err().to_string().contains("token_secret is"));
    }

    #[test]
    fn the_environment_fills_what_is_missing() {
        let variable = |name: &str| match name {
            "MODAL_TOKEN_ID" => Some("ak-env".to_owned()),
            "MODAL_SERVER_URL" => Some("http://127.0.0.1:1".to_owned()),
            "MODAL_MAX_THROTTLE_WAIT" => Some("2.5".to_owned()),
            _ => None,
        };
        let config = ModalConfig { server_url: Some(String::new()), ..full() }.or(variable);
        assert_eq!(config.token_id.as_deref(), Some("ak-1"));
        assert_eq!(config.server_url.as_deref(), Some("http://127.0.0.1:1"));
        assert_eq!(config.max_throttle_wait, Some(Duration::from_millis(2500)));
        assert_eq!(config.environment, None);
    }
}
