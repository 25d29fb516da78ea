//! One sandbox.

use crate::{Events, Filesystem, IntoArgs, Probe, RunCode, RunCommand, SandboxGuard, UrlProtocol, check, detect, url};
use computesdk_core::{
    BoxStream, EndCause, ErrorKind, Network, Provider, Result, Runtime, Sandbox as CoreSandbox, SandboxId, SandboxInfo,
    Tunnel, Usage,
};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;

/// A handle on one isolated, disposable machine. Clones are the same sandbox, and may be used at once from any task.
///
/// Dropping every handle leaves the sandbox running; see [`Sandbox::into_guard`] for one that ends it.
#[derive(Clone)]
pub struct Sandbox {
    inner: Arc<Inner>,
}

struct Inner {
    core: Arc<dyn CoreSandbox>,
    /// The language that `create` was asked for.
    chosen: Option<Runtime>,
    /// The language of this provider's sandboxes when nobody chose one.
    primary: Runtime,
    /// The language that the provider reports, once asked.
    reported: OnceCell<Runtime>,
}

impl Sandbox {
    pub(crate) fn assemble(
        core: Arc<dyn CoreSandbox>,
        provider: Option<&Arc<dyn Provider>>,
        chosen: Option<Runtime>,
    ) -> Self {
        let runtimes = provider.map(|provider| provider.capabilities().runtimes).unwrap_or_default();
        let primary = runtimes.first().copied().unwrap_or(Runtime::Python);
        Self { inner: Arc::new(Inner { core, chosen, primary, reported: OnceCell::new() }) }
    }

    /// A handle on a sandbox that was got from a provider directly.
    #[must_use]
    pub fn from_core(core: Arc<dyn CoreSandbox>) -> Self {
        Self::assemble(core, None, None)
    }

    /// The sandbox at the provider trait, for what this handle does not offer.
    #[must_use]
    pub fn as_core(&self) -> &Arc<dyn CoreSandbox> {
        &self.inner.core
    }

    /// Its id.
    #[must_use]
    pub fn sandbox_id(&self) -> &str {
        self.inner.core.id().as_str()
    }

    /// The name of its provider.
    #[must_use]
    pub fn provider(&self) -> &str {
        self.inner.core.provider()
    }

    /// Runs a program given as source text; await it, or set options first. See [`RunCode`].
    pub fn run_code<'a>(&self, code: impl Into<String>) -> RunCode<'a> {
        RunCode::new(self.clone(), code.into())
    }

    /// Runs a program with arguments, without a shell; await it, or set options first. See [`RunCommand`].
    ///
    /// `args` is `()` for none, or an array, slice or `Vec` of strings.
    pub fn run_command<'a>(&self, command: impl Into<String>, args: impl IntoArgs) -> RunCommand<'a> {
        let mut argv = vec![command.into()];
        argv.extend(args.into_args());
        RunCommand::new(self.clone(), argv)
    }

    /// Runs a line for the shell: `sh -c script`. Never put untrusted text into `script`; pass it by
    /// [`RunCommand::env`] or as `$1` by [`RunCommand::args`] (the first one is `$0`).
    pub fn shell<'a>(&self, script: impl Into<String>) -> RunCommand<'a> {
        RunCommand::new(self.clone(), vec!["sh".to_owned(), "-c".to_owned(), script.into()])
    }

    /// What is known of it, also after its end.
    ///
    /// # Errors
    /// If the provider could not be asked.
    pub async fn get_info(&self) -> Result<SandboxInfo> {
        self.inner.core.info().await
    }

    /// The same as [`Sandbox::destroy`].
    ///
    /// # Errors
    /// If the provider could not be asked.
    pub async fn kill(&self) -> Result<()> {
        self.destroy().await
    }

    /// Ends it and everything in it. Doing so twice is fine.
    ///
    /// # Errors
    /// If the provider could not be asked.
    pub async fn destroy(&self) -> Result<()> {
        terminate(&*self.inner.core).await
    }

    /// Returns when it has ended, with the reason.
    ///
    /// # Errors
    /// If the provider could not be asked.
    pub async fn wait(&self) -> Result<EndCause> {
        self.inner.core.wait().await
    }

    /// What it has used so far, or in all. What the provider cannot tell is `None`.
    ///
    /// # Errors
    /// If the provider could not be asked.
    pub async fn usage(&self) -> Result<Usage> {
        self.as_core().usage().await
    }

    /// Its files.
    #[must_use]
    pub fn filesystem(&self) -> Filesystem {
        Filesystem::new(self.inner.core.files(), self.provider())
    }

    /// The URL of a published port, such as `http://127.0.0.1:40123`: without TLS where that can be had, else with it.
    /// It is good as long as the sandbox, whether or not something listens there yet; see
    /// [`Sandbox::wait_until_ready`].
    ///
    /// # Errors
    /// `NotFound` for a port that is not published (`No tunnel found for port 9000. Available ports: 3000, 8080`), or if
    /// the sandbox has ended.
    pub async fn get_url(&self, port: u16) -> Result<String> {
        self.url(port, None).await
    }

    /// The URL of a published port for this protocol: `https` and `wss` lead to its address with TLS.
    ///
    /// # Errors
    /// As [`Sandbox::get_url`]; `Unsupported` if the port has no address for this protocol.
    pub async fn get_url_with(&self, port: u16, protocol: UrlProtocol) -> Result<String> {
        self.url(port, Some(protocol)).await
    }

    async fn url(&self, port: u16, protocol: Option<UrlProtocol>) -> Result<String> {
        let tunnels = self.tunnels().await?;
        let url = match url::of(&tunnels, port, protocol) {
            Err(_) if tunnels.is_empty() => match self.get_info().await?.end {
                // It has no ports any more, and can be given none.
                Some(end) => Err(url::ended(port, self.sandbox_id(), &end)),
                None => url::of(&tunnels, port, protocol),
            },
            other => other,
        };
        url.map_err(|error| error.with_provider(self.provider()).with_context("sandbox", self.sandbox_id()))
    }

    /// Publishes a port: opens a way to it, or returns the one there is. Nothing has to listen there yet.
    ///
    /// # Errors
    /// `Unsupported` if the provider publishes none, or none after create; `InvalidArgument` for port 0; `NotFound` if
    /// the sandbox has ended.
    pub async fn publish(&self, port: u16) -> Result<Tunnel> {
        check::port("sandbox.publish", port)?;
        self.inner.core.publish(port).await
    }

    /// The published ports, in ascending order; none once it has ended.
    ///
    /// # Errors
    /// If the provider could not be asked.
    pub async fn tunnels(&self) -> Result<Vec<Tunnel>> {
        self.inner.core.tunnels().await
    }

    /// A connection to a TCP port of the sandbox, published or not. Shutting it down is the other side's end of file;
    /// dropping it closes it.
    ///
    /// # Errors
    /// `Unavailable` if nothing listens there; `InvalidArgument` for port 0; `Unsupported` if the provider has no such
    /// way; `NotFound` if the sandbox has ended.
    pub async fn connect(&self, port: u16) -> Result<BoxStream> {
        check::port("sandbox.connect", port)?;
        self.inner.core.connect(port).await
    }

    /// Waits until something in the sandbox answers, and returns how long that took. Dropping the future ends the waiting.
    ///
    /// ```no_run
    /// # async fn example(sandbox: computesdk::Sandbox) -> computesdk::Result<()> {
    /// use computesdk::Probe;
    ///
    /// sandbox.run_command("python3", ["-m", "http.server", "8080"]).background().await?;
    /// sandbox.wait_until_ready(Probe::tcp(8080)).await?;
    /// println!("{}", sandbox.get_url(8080).await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Timeout` with what was tried, how often, and the last failure; `NotFound` with the cause if the sandbox ends
    /// meanwhile; `InvalidArgument` for a probe that makes no sense.
    pub async fn wait_until_ready(&self, probe: Probe) -> Result<Duration> {
        probe.wait(self).await
    }

    /// Changes what it may reach, from now on. Connections that the new policy does not allow are cut.
    ///
    /// # Errors
    /// `Unsupported` if the provider cannot keep the policy, or not any more; `InvalidArgument` for one that makes no
    /// sense; `NotFound` if the sandbox has ended.
    pub async fn set_network(&self, network: Network) -> Result<()> {
        self.inner.core.set_network(network).await
    }

    /// What happened to it, from its creation on as far as that is remembered, and what will happen: each connection that
    /// was allowed or refused, changes of the network, the end.
    ///
    /// # Errors
    /// If the provider could not be asked.
    pub async fn events(&self) -> Result<Events> {
        Ok(Events::new(self.inner.core.events().await?))
    }

    /// Opens a port to those who show a token, on this machine's loopback; see [`Share`](crate::Share). The port need not be published.
    ///
    /// ```no_run
    /// # async fn example(sandbox: computesdk::Sandbox) -> computesdk::Result<()> {
    /// let share = sandbox.share(8080).await?;
    /// let token = share.issue(Some("user 17"), None)?;
    /// println!("{}", share.url_with(&token)); // works as long as `share` lives
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` for port 0; `FailedPrecondition` outside of a tokio runtime.
    #[cfg(feature = "share")]
    pub async fn share(&self, port: u16) -> Result<crate::Share> {
        crate::Share::open(self, port).await
    }

    /// A guard that destroys this sandbox when it is dropped; this handle and its clones stay usable until then.
    pub fn guard(&self) -> SandboxGuard {
        SandboxGuard::new(self.clone())
    }

    /// Turns the handle into a guard that destroys the sandbox when it is dropped.
    pub fn into_guard(self) -> SandboxGuard {
        SandboxGuard::new(self)
    }

    pub(crate) fn identity(&self) -> (SandboxId, String) {
        (self.inner.core.id().clone(), self.provider().to_owned())
    }

    /// The language of code that comes without one: what `create` was asked for, else what the provider was
    /// configured to, else what the code looks like, else the provider's own.
    pub(crate) async fn language(&self, code: &str) -> Result<Runtime> {
        let inner = &*self.inner;
        if let Some(chosen) = inner.chosen {
            return Ok(chosen);
        }
        let reported = *inner.reported.get_or_try_init(|| async { Ok(inner.core.info().await?.runtime) }).await?;
        // A provider that reports another language than its primary one was told so; its primary one may be nobody's
        // choice, and then the code decides.
        if reported != inner.primary {
            return Ok(reported);
        }
        Ok(detect::runtime(code).unwrap_or(reported))
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").field("id", &self.sandbox_id()).field("provider", &self.provider()).finish()
    }
}

/// Ends a sandbox; one that is gone already is fine.
pub(crate) async fn terminate(sandbox: &dyn CoreSandbox) -> Result<()> {
    match sandbox.terminate().await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
