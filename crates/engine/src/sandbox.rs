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
use crate::cgroup::{Account, Groups, Leaf};
use crate::engine::Inner;
use crate::error::describe;
use crate::events::{EventKind, EventLog, Events};
use crate::exec::{Exec, ExecEnd, ExecSpec, Surroundings};
use crate::idle::Activity;
use crate::launcher::{Launcher, within};
use crate::network::Networks;
use crate::record::Record;
use crate::stream::{SharedTally, Totals};
use crate::{EngineError, Limits, NetworkPolicy, Rung, network};
use computesdk_gateway::Port;
use computesdk_guest_protocol::launcher::Failure;
use computesdk_guest_protocol::outlet::Outlet;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, SystemTime};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// How long the launcher may take to say why a first process failed.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// How long the end of a killed sandbox may take, on a very busy machine.
const ENDED_WITHIN: Duration = Duration::from_secs(60);

/// What a sandbox is asked to be.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct SandboxSpec {
    /// Ends it after so long, counted from its creation. `None` is no limit.
    pub lifetime: Option<Duration>,
    /// Ends it after nothing used it for so long: no program runs that was started with `exec`, except the main one; nobody
    /// writes to a program's input or asks for its files; no [`Activity`] of it is held, as for connections. `None` is no limit.
    pub idle: Option<Duration>,
    /// What it may use.
    pub limits: Limits,
    /// What it may reach.
    pub network: NetworkPolicy,
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
    /// Its main program failed after memory had run out, or its first process was killed for it.
    OutOfMemory,
    /// Its main program failed after the limit of processes was met.
    ProcessLimit,
    /// Its main program failed with a full disk.
    DiskFull,
    /// Its lifetime passed.
    TimedOut,
    /// Nothing used it for as long as it may be idle.
    IdleTimedOut,
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
            Self::OutOfMemory => f.write_str("out of memory"),
            Self::ProcessLimit => f.write_str("its limit of processes was reached"),
            Self::DiskFull => f.write_str("its disk was full"),
            Self::TimedOut => f.write_str("its lifetime passed"),
            Self::IdleTimedOut => f.write_str("it was idle for too long"),
            Self::Terminated => f.write_str("it was destroyed"),
            Self::HostLost { reason } => write!(f, "host lost: {reason}"),
        }
    }
}

/// What a sandbox used, all its programs together. `None` is not known: no control group can be had for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SandboxUsage {
    /// Most memory at a time, in bytes: of processes, of files in memory, and of the kernel on their behalf.
    pub peak_memory_bytes: Option<u64>,
    /// CPU time.
    pub cpu_time: Option<Duration>,
    /// Processes that the kernel killed because memory ran out.
    pub oom_kills: Option<u64>,
    /// Bytes of output that left it.
    pub output_bytes: u64,
    /// Streams whose programs wait because nobody has read the last [`unread_output_bytes`] of them.
    ///
    /// [`unread_output_bytes`]: crate::EngineOptions::unread_output_bytes
    pub held_back: u64,
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
    pub(crate) groups: Arc<Groups>,
    /// The name of its control groups; empty if it has none.
    group: OnceLock<String>,
    /// Why its first process did not become the agent.
    failure: OnceLock<Failure>,
    /// What it used in all, once it has ended.
    account: OnceLock<Account>,
    totals: Arc<Totals>,
    /// A program was started in it.
    has_run: AtomicBool,
    /// The output of the main program, else of the one that was started last.
    shown: Mutex<Shown>,
    pub(crate) events: Arc<EventLog>,
    /// Its way out, while it has one.
    network: Mutex<Option<Network>>,
}

/// A way out that is served.
#[derive(Debug)]
struct Network {
    port: Port,
    is_proxy: bool,
}

#[derive(Debug, Default)]
struct Shown {
    tally: Option<Arc<SharedTally>>,
    is_main: bool,
}

impl Shared {
    pub(crate) fn new(number: u64, engine: &Arc<Inner>, range: Option<u32>) -> Arc<Self> {
        Arc::new(Self {
            number,
            launcher: Arc::clone(&engine.launcher),
            engine: Arc::downgrade(engine),
            runtime: engine.runtime.clone(),
            agent: OnceLock::new(),
            cause: Mutex::default(),
            end: watch::channel(None).0,
            range: Mutex::new(range),
            groups: Arc::clone(&engine.groups),
            group: OnceLock::new(),
            failure: OnceLock::new(),
            account: OnceLock::new(),
            totals: Arc::default(),
            has_run: AtomicBool::new(false),
            shown: Mutex::default(),
            events: EventLog::new(),
            network: Mutex::default(),
        })
    }

    /// It runs: starts listening to its agent.
    pub(crate) fn attach(
        self: &Arc<Self>,
        socket: OwnedFd,
        pid: i32,
        group: String,
        runtime: &Handle,
    ) -> Result<(), EngineError> {
        let _ = self.group.set(group);
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

    /// Serves the way out that it came with.
    pub(crate) fn begin_network(
        &self,
        networks: &Networks,
        outlet: Outlet,
        hooks: Vec<OwnedFd>,
        policy: NetworkPolicy,
    ) -> Result<(), EngineError> {
        if outlet != Outlet::Closed {
            let port = networks.attach(outlet, hooks, policy, &self.events)?;
            let mut place = self.network();
            // After its end nothing is served any more.
            if self.end.borrow().is_none() {
                *place = Some(Network { port, is_proxy: outlet == Outlet::Proxy });
            }
        }
        Ok(())
    }

    fn network(&self) -> std::sync::MutexGuard<'_, Option<Network>> {
        self.network.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says why it is about to end; false if that is known already.
    pub(crate) fn will_end(&self, cause: End) -> bool {
        let mut place = self.lock_cause();
        let first = place.is_none();
        place.get_or_insert(cause);
        first
    }

    /// Asks for the end, for this reason. One that is about to end already needs not be asked again.
    pub(crate) fn end(self: &Arc<Self>, cause: End) {
        if !self.will_end(cause) {
            return;
        }
        let shared = Arc::clone(self);
        self.runtime.spawn(async move { shared.launcher.kill(shared.number).await });
    }

    /// Its first process did not become the agent.
    pub(crate) fn failed(&self, failure: Failure) {
        let _ = self.failure.set(failure);
    }

    /// It is over: its first process ended with this wait status, and its groups said this. Without them, it was lost
    /// for the reason in `lost`.
    pub(crate) fn ended(&self, told: Option<(i32, Account)>, lost: Option<End>) {
        let out_of_memory = told.is_some_and(|(status, account)| {
            // `waitpid(2)`: the lower seven bits are the signal. What had been killed before is known to who waited for it.
            let was_killed = status & 0x7f == rustix::process::Signal::KILL.as_raw();
            was_killed && account.oom_kills.unwrap_or(0) > 0
        });
        let fallback =
            || End::HostLost { reason: String::from("its first process was killed from outside, or failed") };
        let mut cause = self.lock_cause().take().or(lost).unwrap_or_else(fallback);
        if let (End::HostLost { reason }, Some(failure)) = (&mut cause, self.failure.get()) {
            *reason = describe(failure);
        }
        if out_of_memory && matches!(cause, End::HostLost { .. }) {
            cause = End::OutOfMemory;
        }
        // Its connections are cut before anybody hears of its end.
        let network = self.network().take();
        drop(network);
        self.events.tell(EventKind::Ended(cause.clone()));
        let _ = self.account.set(told.map(|(_, account)| account).unwrap_or_default());
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

    /// Kills, from outside, what is in a command's group.
    pub(crate) async fn kill_group(&self, leaf: &Leaf) {
        self.launcher.kill_group(self.number, leaf.hierarchy, leaf.name.clone()).await;
    }

    fn group(&self) -> &str {
        self.group.get().map_or("", String::as_str)
    }

    fn shown(&self) -> std::sync::MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// Most open files of each program; 0 is what programs get by default.
    open_files: u64,
    lifetime: Option<Duration>,
    activity: Activity,
    changing: Arc<tokio::sync::Mutex<()>>,
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
        let activity = Activity::new(spec.idle);
        if let Some(idle) = spec.idle {
            let (watched, watch) = (Arc::clone(&shared), activity.clone());
            engine.runtime().spawn(async move {
                let mut end = watched.end.subscribe();
                tokio::select! {
                    _ = end.wait_for(Option::is_some) => {}
                    () = watch.watch(idle, || watched.end(End::IdleTimedOut)) => {}
                }
            });
        }
        let open_files = spec.limits.open_files.unwrap_or(0);
        shared.events.tell(EventKind::Created);
        Self {
            shared,
            engine,
            created_at: SystemTime::now(),
            open_files,
            lifetime: spec.lifetime,
            activity,
            changing: Arc::default(),
        }
    }

    /// Returns when its agent has answered.
    ///
    /// # Errors
    /// [`EngineError::Create`] with the step that failed if its first process did not become the agent.
    pub(crate) async fn prove(&self) -> Result<(), EngineError> {
        self.stat("/", true).await.map(drop)
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

    /// Changes what it may reach, from now on; connections that are not allowed any more are cut.
    ///
    /// # Errors
    /// [`EngineError::Create`] if it had no network and can be given none; [`EngineError::Ended`] if it has ended.
    pub async fn set_network(&self, policy: NetworkPolicy) -> Result<(), EngineError> {
        self.engine.check_process()?;
        let shared = &self.shared;
        // One at a time: two that both find no way out would make two.
        let _one_only = self.changing.lock().await;
        if let Some(end) = self.ended() {
            return Err(EngineError::Ended(end));
        }
        let text = policy.to_string();
        let is_served = match &*shared.network() {
            Some(network) => {
                network.port.set_policy(policy.clone());
                true
            }
            None => false,
        };
        if !is_served && !matches!(policy, NetworkPolicy::Nothing) {
            let outlet = self.engine.networks.outlet(&policy);
            let hooks = shared.launcher.open(shared.number, outlet).await?;
            shared.begin_network(&self.engine.networks, outlet, hooks, policy)?;
        }
        shared.events.tell(EventKind::NetworkChanged(text));
        Ok(())
    }

    /// Counts its uses, for whoever uses it in a way that the engine does not see.
    #[must_use]
    pub fn activity(&self) -> &Activity {
        &self.activity
    }

    /// Returns when it has ended. Holds neither it nor its engine.
    pub fn over(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut end = self.shared.end.subscribe();
        async move {
            // A sender that is gone is as good as an end.
            let _ = end.wait_for(Option::is_some).await;
        }
    }

    /// The runtime on which the engine serves networks, for whoever serves more of them.
    ///
    /// # Errors
    /// If its thread cannot be started.
    pub fn network_runtime(&self) -> std::io::Result<Handle> {
        self.engine.networks.runtime()
    }

    /// What happened to it: what is remembered, then each thing as it happens.
    #[must_use]
    pub fn events(&self) -> Events {
        self.shared.events.stream()
    }

    /// What is less about its network than could be; nothing if it may reach nothing.
    #[must_use]
    pub fn network_notice(&self) -> Option<String> {
        let is_proxy = self.shared.network().as_ref().is_some_and(|network| network.is_proxy);
        if is_proxy { self.engine.networks.notice() } else { None }
    }

    /// Starts a program.
    ///
    /// # Errors
    /// [`EngineError::Refused`] with the reason if it cannot be started, [`EngineError::Invalid`] for arguments that
    /// no program can have, [`EngineError::Ended`] if the sandbox has ended.
    pub async fn exec(&self, mut spec: ExecSpec) -> Result<Exec, EngineError> {
        let active = self.activity.hold();
        let agent = self.agent()?;
        if self.shared.network().as_ref().is_some_and(|network| network.is_proxy) {
            for (name, value) in network::proxy_variables() {
                if !spec.env.iter().any(|(known, _)| known == name) {
                    spec.env.push((name.to_owned(), value));
                }
            }
        }
        let tally = Arc::new(SharedTally::new(Arc::clone(&self.shared.totals)));
        {
            let mut shown = self.shared.shown();
            if !shown.is_main {
                shown.tally = Some(Arc::clone(&tally));
            }
        }
        let is_first = !self.shared.has_run.swap(true, Ordering::Relaxed);
        let (groups, group) = (&self.shared.groups, self.shared.group());
        let record = Record::new(agent.next_number(), tally, groups, group, is_first);
        let around = Surroundings {
            agent,
            runtime: self.engine.runtime(),
            sandbox: Arc::downgrade(&self.shared),
            drains: &self.engine.drains,
            store: &self.engine.store,
            open_files: self.open_files,
            lifetime: self.lifetime,
            activity: &self.activity,
        };
        match Exec::start(around, record, spec).await {
            Err(error) => Err(self.explain(error).await),
            Ok(mut exec) => {
                exec.count(active, self.engine.runtime());
                Ok(exec)
            }
        }
    }

    /// The error of a call on a sandbox whose first process did not become the agent is why not.
    pub(crate) async fn explain(&self, error: EngineError) -> EngineError {
        let never_spoke = self.shared.agent.get().is_some_and(|agent| !agent.spoke());
        if !(matches!(error, EngineError::Ended(_)) && never_spoke) {
            return error;
        }
        // The launcher tells it together with the end, which is near.
        let _ = within(self.engine.runtime(), TOLD_WITHIN, self.wait()).await;
        match self.shared.failure.get() {
            Some(failure) => EngineError::Create(failure.clone()),
            None => error,
        }
    }

    /// What it has used so far, or in all.
    #[must_use]
    pub fn usage(&self) -> SandboxUsage {
        let shared = &self.shared;
        let account = shared.account.get().copied().unwrap_or_else(|| shared.groups.read(shared.group()));
        SandboxUsage {
            peak_memory_bytes: account.peak_memory_bytes,
            cpu_time: account.cpu_time,
            oom_kills: account.oom_kills,
            output_bytes: shared.totals.bytes.load(Ordering::Relaxed),
            held_back: shared.totals.held_back.load(Ordering::Relaxed),
        }
    }

    /// The last 2 KiB of the output of its main program, else of the program that was started last.
    #[must_use]
    pub fn last_output(&self) -> String {
        self.shared.shown().tally.as_ref().map(|tally| tally.tail()).unwrap_or_default()
    }

    /// Makes a program the main one: its end is the sandbox's, and its running alone keeps no idle sandbox.
    pub fn set_main(&self, exec: &Exec) {
        *self.shared.shown() = Shown { tally: Some(exec.tally()), is_main: true };
        // That it runs is no use of the sandbox: it may well only wait for one.
        exec.count_no_more();
        let (shared, exec) = (Arc::clone(&self.shared), exec.watch());
        self.engine.runtime().spawn(async move {
            if let Some(end) = exec.wait().await {
                shared.end(match end {
                    ExecEnd::SandboxEnded => return,
                    ExecEnd::OutOfMemory { .. } => End::OutOfMemory,
                    ExecEnd::ProcessLimit { .. } => End::ProcessLimit,
                    ExecEnd::DiskFull { .. } => End::DiskFull,
                    ended => End::Exited { code: ended.code() },
                });
            }
        });
    }

    /// Ends it, with everything in it, and returns when nothing of it runs any more. Doing so again is fine.
    ///
    /// # Errors
    /// [`EngineError::Forked`] in a fork of the process that made it; [`EngineError::NoAnswer`] if the kernel has not let go
    /// of its processes within a minute.
    pub async fn terminate(&self) -> Result<End, EngineError> {
        self.engine.check_process()?;
        if self.ended().is_none() {
            self.shared.will_end(End::Terminated);
            self.shared.launcher.kill(self.shared.number).await;
        }
        let ended = within(self.engine.runtime(), ENDED_WITHIN, self.wait()).await;
        ended.unwrap_or(Err(EngineError::NoAnswer(ENDED_WITHIN)))
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
        // Whoever asks for it wants something of the sandbox.
        self.activity.note();
        if let Some(end) = self.ended() {
            return Err(EngineError::Ended(end));
        }
        if let Some(end) = &*self.shared.lock_cause() {
            return Err(EngineError::Ended(end.clone()));
        }
        self.shared.agent.get().ok_or_else(|| EngineError::HostLost(String::from("the sandbox has no agent")))
    }
}
