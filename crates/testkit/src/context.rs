//! What a trial is given: the provider, sandboxes of its own, and their removal afterwards.

use crate::check::{Failure, Outcome};
use computesdk::{Compute, Sandbox};
use computesdk_core::{Capabilities, CreateOptions, Error, Provider, SandboxId};
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a trial waits for something that should happen at once.
const SOON: Duration = Duration::from_secs(10);
/// How long the removal of one trial's sandboxes may take.
const CLEANUP: Duration = Duration::from_secs(10);

/// One trial's view of the provider.
#[derive(Debug)]
pub(crate) struct Context {
    /// The name that the provider must have.
    pub(crate) name: &'static str,
    /// The provider under test.
    pub(crate) provider: Arc<dyn Provider>,
    /// The facade over it.
    pub(crate) compute: Compute,
    /// What it declares.
    pub(crate) capabilities: Capabilities,
    made: Mutex<Vec<SandboxId>>,
}

impl Context {
    pub(crate) fn new(name: &'static str, provider: Arc<dyn Provider>) -> Self {
        let compute = Compute::with_provider(Arc::clone(&provider));
        let capabilities = provider.capabilities();
        Self { name, provider, compute, capabilities, made: Mutex::default() }
    }

    /// A fresh sandbox with the provider's defaults.
    pub(crate) async fn sandbox(&self) -> Outcome<Sandbox> {
        Ok(self.create(CreateOptions::default()).await?)
    }

    /// A sandbox with these options; the error is the provider's, for trials that expect one.
    pub(crate) async fn create(&self, options: CreateOptions) -> Result<Sandbox, Error> {
        let sandbox = self.compute.sandbox().create(options).await?;
        let id = SandboxId::new(sandbox.sandbox_id());
        self.made.lock().unwrap_or_else(PoisonError::into_inner).push(id);
        Ok(sandbox)
    }

    /// A word that nothing else on this machine or at this provider contains.
    pub(crate) fn unique(&self, prefix: &str) -> String {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        format!("{prefix}-{:x}-{:x}-{count}", std::process::id(), since.as_micros())
    }

    /// Destroys what the trial made. What is gone already is fine: destroying twice must be.
    pub(crate) async fn clean_up(&self) -> Outcome {
        let made = std::mem::take(&mut *self.made.lock().unwrap_or_else(PoisonError::into_inner));
        let destroy = futures_util::future::join_all(made.iter().map(|id| async move {
            match self.provider.get(id).await? {
                Some(sandbox) => sandbox.terminate().await,
                None => Ok(()),
            }
        }));
        let results = within(CLEANUP, "destroying the trial's sandboxes", destroy).await?;
        let errors: Vec<_> = results.into_iter().filter_map(Result::err).map(|error| error.report()).collect();
        ensure!(errors.is_empty(), "cleaning up failed: {}", errors.join("; "));
        Ok(())
    }
}

/// The value of a future that must be ready before this much time has passed.
pub(crate) async fn within<F: IntoFuture>(limit: Duration, what: &str, future: F) -> Outcome<F::Output> {
    tokio::time::timeout(limit, future.into_future())
        .await
        .map_err(|_elapsed| Failure::new(format!("{what}: not done after {:.1} s", limit.as_secs_f64())))
}

/// [`within`] ten seconds: for what should happen at once, and would hang if it were broken.
pub(crate) async fn soon<F: IntoFuture>(what: &str, future: F) -> Outcome<F::Output> {
    within(SOON, what, future).await
}

/// Asks until the answer is yes, for at most ten seconds. No trial sleeps for a fixed time.
pub(crate) async fn until<F, R>(what: &str, mut ask: F) -> Outcome
where
    F: FnMut() -> R,
    R: Future<Output = Outcome<bool>>,
{
    let start = Instant::now();
    let mut pause = Duration::from_millis(5);
    while !ask().await? {
        ensure!(start.elapsed() < SOON, "still waiting after {} s: {what}", SOON.as_secs());
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(200));
    }
    Ok(())
}
