//! The entry point: which provider makes sandboxes when a call does not say.

use crate::Sandboxes;
use computesdk_core::{Error, ErrorKind, IntoProvider, Provider, Result};
use std::fmt;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

/// What a [`Compute`] is set to.
#[derive(Clone)]
#[non_exhaustive]
pub struct ComputeConfig {
    /// Makes the sandboxes of calls that name no provider.
    pub provider: Arc<dyn Provider>,
}

impl ComputeConfig {
    /// A configuration with this default provider.
    #[must_use]
    pub fn new(provider: impl IntoProvider) -> Self {
        Self { provider: provider.into_provider() }
    }
}

impl fmt::Debug for ComputeConfig {
    /// Prints the provider's name; a provider's own `Debug` may be long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ComputeConfig").field("provider", &self.provider.name()).finish()
    }
}

/// A place that holds a default provider. Clones share it; [`Compute::new`] makes an independent one.
///
/// Most programs use the one that [`compute`] returns.
#[derive(Clone, Default)]
pub struct Compute {
    config: Arc<RwLock<Option<ComputeConfig>>>,
}

impl Compute {
    /// An independent value with no default provider.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An independent value with this default provider.
    #[must_use]
    pub fn with_provider(provider: impl IntoProvider) -> Self {
        let compute = Self::new();
        compute.set_config(ComputeConfig::new(provider));
        compute
    }

    /// Replaces the configuration. Sandboxes that exist keep their provider.
    pub fn set_config(&self, config: ComputeConfig) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Some(config);
    }

    /// The configuration, if there is one.
    #[must_use]
    pub fn get_config(&self) -> Option<ComputeConfig> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Back to no default provider.
    pub fn clear_config(&self) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The sandboxes: create, get, list, destroy.
    #[must_use]
    pub fn sandbox(&self) -> Sandboxes {
        Sandboxes::new(self.clone())
    }

    pub(crate) fn default_provider(&self, operation: &'static str) -> Result<Arc<dyn Provider>> {
        self.get_config().map(|config| config.provider).ok_or_else(|| {
            Error::new(
                ErrorKind::NoDefaultProvider,
                operation,
                "No default provider configured. Either call compute.setConfig({ provider }) or pass a provider to \
                 the call.",
            )
            .with_hint("in Rust: `compute().set_config(ComputeConfig::new(provider))`")
        })
    }
}

impl fmt::Debug for Compute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compute").field("config", &self.get_config()).finish()
    }
}

/// The process-wide [`Compute`].
#[must_use]
pub fn compute() -> &'static Compute {
    static COMPUTE: LazyLock<Compute> = LazyLock::new(Compute::new);
    &COMPUTE
}
