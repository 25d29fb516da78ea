//! What a provider hands to the harness.

use computesdk_core::{IntoProvider, Provider, Result};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

type Make = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = Result<Arc<dyn Provider>>>>>>;

/// How the suite gets its provider, and how it is run.
pub struct Suite {
    pub(crate) source: Source,
    pub(crate) parallel: usize,
    pub(crate) trial_timeout: Duration,
}

/// Where the provider comes from.
pub(crate) enum Source {
    /// Made once, before the first trial.
    Make(Make),
    /// It cannot be had here, and why.
    Unavailable(String),
}

impl Suite {
    /// The suite over the provider that `make` returns; it is called once, inside the suite's tokio runtime. If it
    /// fails, the run fails.
    #[must_use]
    pub fn new<M, F, P>(make: M) -> Self
    where
        M: FnOnce() -> F + 'static,
        F: Future<Output = Result<P>> + 'static,
        P: IntoProvider,
    {
        Self::with(Source::Make(Box::new(|| Box::pin(async { Ok(make().await?.into_provider()) }))))
    }

    /// A suite that skips every trial for this reason, such as missing credentials for a cloud. Not for a provider
    /// that fails to start: that is a failure.
    #[must_use]
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::with(Source::Unavailable(reason.into()))
    }

    fn with(source: Source) -> Self {
        Self { source, parallel: 4, trial_timeout: Duration::from_secs(30) }
    }

    /// How many trials run at a time; default 4. `--test-threads` wins over it.
    #[must_use]
    pub fn parallel(mut self, trials: usize) -> Self {
        self.parallel = trials.max(1);
        self
    }

    /// The deadline of each trial; default 30 s. `COMPUTESDK_TRIAL_TIMEOUT` (in seconds) wins over it.
    #[must_use]
    pub fn trial_timeout(mut self, deadline: Duration) -> Self {
        self.trial_timeout = deadline;
        self
    }
}

impl fmt::Debug for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite")
            .field("parallel", &self.parallel)
            .field("trial_timeout", &self.trial_timeout)
            .finish_non_exhaustive()
    }
}
