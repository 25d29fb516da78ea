//! One sandbox, as the engine holds it.
//!
//! ```text
//! waiting ──attach──► running ──end(cause)──► ending ──Ended──► ended(cause)
//!                        └──────────Ended (by itself)─────────► ended(host lost)
//! ```
//!
//! The first cause wins. `ended` is set only when the launcher has reaped the first process, so that whoever sees it may
//! rely on nothing of the sandbox running any more.

use crate::agent::Agent;
use crate::engine::Inner;
use crate::exec::{Exec, ExecEnd, ExecSpec};
use crate::launcher::Launcher;
use crate::{EngineError, Rung};
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, SystemTime};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// What a sandbox is asked to be.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct SandboxSpec {
    /// Ends it after so long, counted from its creation. `None` is no limit.
    pub lifetime: Option<Duration>,
}

/// Why a sandbox ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// Its main program ended, with this code as a shell would report it.
    Exited {
        /// 0 to 255.
        code: i32,
    },
    /// Its lifetime passed.
    TimedOut,
    /// Somebody ended it.
    Terminated,
    /// Its first process, the launcher or the engine went away, or broke the protocol.
    HostLost {
        /// What was seen.
        reason: String,
    },
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited { code } => write!(f, "its main process exited with code {code}"),
            Self::TimedOut => f.write_str("its lifetime passed"),
            Self::Terminated => f.write_str("it was destroyed"),
            Self::HostLost { reason } => write!(f, "host lost: {reason}"),
        }
    }
}

/// What all handles of one sandbox, and the engine's tasks, share.
#[derive(Debug)]
pub(crate) struct Shared {
    number: u64,
    launcher: Arc<Launcher>,
    engine: Weak<Inner>,
    runtime: Handle,
    agent: OnceLock<Arc<Agent>>,
    cause: Mutex<Option<End>>,
    end: watch::Sender<Option<End>>,
    /// First id of its range, given back when it has ended.
    range: Mutex<Option<u32>>,
}

impl Shared {
    pub(crate) fn new(
        number: u64,
        launcher: Arc<Launcher>,
        engine: Weak<Inner>,
        runtime: Handle,
        range: Option<u32>,
    ) -> Arc<Self> {
        Arc::new(Self {
            number,
            launcher,
            engine,
            runtime,
            agent: OnceLock::new(),
            cause: Mutex::default(),
            end: watch::channel(None).0,
            range: Mutex::new(range),
        })
    }

    /// It runs: starts listening to its agent.
    pub(crate) fn attach(self: &Arc<Self>, socket: OwnedFd, pid: i32, runtime: &Handle) -> Result<(), EngineError> {
        if let (Some(engine), Ok(pid)) = (self.engine.upgrade(), u32::try_from(pid)) {
            engine.journal().process(pid)?;
        }
        let agent = Agent::new(socket, runtime).map_err(EngineError::host("register the agent's socket"))?;
        let shared = Arc::downgrade(self);
        runtime.spawn(Arc::clone(&agent).serve(move |why| {
            // It ended by itself, or said what no agent says. Either way the sandbox is over.
            if let Some(shared) = shared.upgrade() {
                shared.end(End::HostLost { reason: why });
            }
        }));
        let _ = self.agent.set(agent);
        Ok(())
    }

    /// Says why it is about to end, unless that is known already.
    pub(crate) fn will_end(&self, cause: End) {
        self.lock_cause().get_or_insert(cause);
    }

    /// Asks for the end, for this reason unless there is one already.
    pub(crate) fn end(self: &Arc<Self>, cause: End) {
        self.will_end(cause);
        let shared = Arc::clone(self);
        self.runtime.spawn(async move { shared.launcher.kill(shared.number).await });
    }

    /// It is over; `cause` is what to say if nobody asked for it.
    pub(crate) fn ended(&self, cause: Option<End>) {
        let fallback =
            || End::HostLost { reason: String::from("its first process was killed from outside, or failed") };
        let cause = self.lock_cause().take().or(cause).unwrap_or_else(fallback);
        if let Some(agent) = self.agent.get() {
            agent.sandbox_ended(&cause);
        }
        if let Some(engine) = self.engine.upgrade() {
            engine.journal().ended(self.number);
            if let Some(range) = self.range.lock().unwrap_or_else(PoisonError::into_inner).take() {
                engine.give_back(range);
            }
        }
        self.end.send_replace(Some(cause));
    }

    fn lock_cause(&self) -> std::sync::MutexGuard<'_, Option<End>> {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running or ended sandbox. Clones are handles of the same one; dropping them all leaves it running until its
/// lifetime passes or the engine ends.
#[derive(Clone)]
pub struct Sandbox {
    pub(crate) shared: Arc<Shared>,
    // Keeps the engine, and with it this sandbox, alive.
    engine: Arc<Inner>,
    created_at: SystemTime,
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").field("number", &self.shared.number).finish_non_exhaustive()
    }
}

impl Sandbox {
    pub(crate) fn new(shared: Arc<Shared>, engine: Arc<Inner>, spec: &SandboxSpec) -> Self {
        if let Some(lifetime) = spec.lifetime {
            let watched = Arc::clone(&shared);
            engine.runtime().spawn(async move {
                let mut end = watched.end.subscribe();
                let over = end.wait_for(Option::is_some);
                if tokio::time::timeout(lifetime, over).await.is_err() {
                    watched.end(End::TimedOut);
                }
            });
        }
        Self { shared, engine, created_at: SystemTime::now() }
    }

    /// When it was made.
    #[must_use]
    pub fn created_at(&self) -> SystemTime {
        self.created_at
    }

    /// How strong its isolation is.
    #[must_use]
    pub fn rung(&self) -> Rung {
        self.engine.rung()
    }

    /// Why it ended, or `None` while it runs.
    #[must_use]
    pub fn ended(&self) -> Option<End> {
        self.shared.end.borrow().clone()
    }

    /// Starts a program.
    ///
    /// # Errors
    /// [`EngineError::Refused`] with the reason if it cannot be started, [`EngineError::Invalid`] for arguments that
    /// no program can have, [`EngineError::Ended`] if the sandbox has ended.
    pub async fn exec(&self, spec: ExecSpec) -> Result<Exec, EngineError> {
        let agent = self.agent()?;
        Exec::start(agent, spec, self.engine.runtime(), Arc::downgrade(&self.shared)).await
    }

    /// Makes a program the main one: its end is the sandbox's.
    pub fn set_main(&self, exec: &Exec) {
        let (shared, exec) = (Arc::clone(&self.shared), exec.watch());
        self.engine.runtime().spawn(async move {
            if let Some(end) = exec.wait().await {
                let code = match end {
                    ExecEnd::Exited { code } => code,
                    ExecEnd::Signalled { signal } => 128 + signal,
                    ExecEnd::TimedOut => 124,
                    ExecEnd::SandboxEnded => return,
                };
                shared.end(End::Exited { code });
            }
        });
    }

    /// Ends it, with everything in it, and returns when nothing of it runs any more. Doing so again is fine.
    ///
    /// # Errors
    /// [`EngineError::Forked`] in a fork of the process that made it.
    pub async fn terminate(&self) -> Result<End, EngineError> {
        self.engine.check_process()?;
        if self.ended().is_none() {
            self.shared.will_end(End::Terminated);
            self.shared.launcher.kill(self.shared.number).await;
        }
        self.wait().await
    }

    /// Asks for its end without waiting: for destructors and cancelled futures.
    pub fn request_end(&self) {
        if self.engine.check_process().is_ok() && self.ended().is_none() {
            self.shared.end(End::Terminated);
        }
    }

    /// Returns when it has ended.
    ///
    /// # Errors
    /// [`EngineError::Forked`] in a fork of the process that made it.
    pub async fn wait(&self) -> Result<End, EngineError> {
        self.engine.check_process()?;
        let mut end = self.shared.end.subscribe();
        let ended = end.wait_for(Option::is_some).await.ok().and_then(|end| end.clone());
        Ok(ended.unwrap_or_else(|| End::HostLost { reason: String::from("the engine was shut down") }))
    }

    pub(crate) fn agent(&self) -> Result<&Arc<Agent>, EngineError> {
        self.engine.check_process()?;
        if let Some(end) = self.ended() {
            return Err(EngineError::Ended(end));
        }
        if let Some(end) = &*self.shared.lock_cause() {
            return Err(EngineError::Ended(end.clone()));
        }
        self.shared.agent.get().ok_or_else(|| EngineError::HostLost(String::from("the sandbox has no agent")))
    }
}
