//! The engine's side of the launcher: the process, and the conversation with it.
//!
//! ```text
//! create ──► waiting ──Created──► sandboxes ──Ended──► (gone)
//!               └──CreateFailed──► error
//! ```
//!
//! One task on the engine's runtime reads what the launcher says. A `create` whose caller went away is undone: the
//! answer travels in a [`Fresh`] that ends its sandbox unless somebody takes it.

use crate::error::describe;
use crate::sandbox::Shared;
use crate::socket::Socket;
use crate::{End, EngineError};
use computesdk_guest_protocol::launcher::{Create, Failure, FromLauncher, Init, Privilege, ToLauncher};
use computesdk_guest_protocol::outlet::Outlet;
use computesdk_guest_protocol::packet::PacketError;
use computesdk_guest_protocol::{LAUNCHER_AHEAD, LAUNCHER_ARG0};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::collections::HashMap;
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// How long the launcher may take to get ready. It makes one namespace and runs `newuidmap` at most.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// How long making a sandbox may take, on a very busy machine.
const CREATED_WITHIN: Duration = Duration::from_secs(60);

/// How long setting a way out up may take.
const OPENED_WITHIN: Duration = Duration::from_secs(20);

/// A launcher that is ready.
#[derive(Debug)]
pub(crate) struct Launcher {
    socket: Socket,
    runtime: Handle,
    state: Mutex<State>,
    in_order: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<u64, Waiting>,
    opening: HashMap<u64, oneshot::Sender<Result<Vec<OwnedFd>, EngineError>>>,
    sandboxes: HashMap<u64, Arc<Shared>>,
    lost: Option<String>,
}

#[derive(Debug)]
struct Waiting {
    shared: Arc<Shared>,
    answer: oneshot::Sender<Result<Fresh, EngineError>>,
}

/// A sandbox that nobody has yet, with the hooks of its way out; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Fresh {
    shared: Option<Arc<Shared>>,
    hooks: Vec<OwnedFd>,
}

impl Fresh {
    pub(crate) fn shared(&self) -> Option<&Arc<Shared>> {
        self.shared.as_ref()
    }

    pub(crate) fn hooks(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.hooks)
    }

    pub(crate) fn take(mut self) -> Option<Arc<Shared>> {
        self.shared.take()
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            shared.end(End::Terminated);
        }
    }
}

impl Launcher {
    /// Tells a launcher what it needs, and waits until it can make sandboxes. The process is the caller's to wait for.
    pub(crate) async fn begin(
        mut spawned: Spawned,
        init: Init,
        agent: OwnedFd,
        runtime: &Handle,
    ) -> Result<(Arc<Self>, Child, Option<Failure>), EngineError> {
        let gone = || EngineError::HostLost(String::from("the launcher was taken by somebody else"));
        let socket = spawned.socket.take().ok_or_else(gone)?;
        let socket = Socket::new(socket, runtime).map_err(EngineError::host("register the launcher's socket"))?;
        let mut buffer = Vec::new();
        let answer = async {
            socket.send(&ToLauncher::Init(Box::new(init)), &[agent]).await?;
            socket.receive::<FromLauncher>(&mut buffer).await
        };
        // The caller may be on any runtime, or one without timers: the deadline is kept on ours.
        match within(runtime, READY_WITHIN, answer).await {
            Some(Ok((FromLauncher::Ready { outlet }, _))) => {
                let child = spawned.child.take().ok_or_else(gone)?;
                let (runtime, state, in_order) = (runtime.clone(), Mutex::default(), AtomicBool::new(false));
                Ok((Arc::new(Self { socket, runtime, state, in_order }), child, outlet))
            }
            Some(Ok((FromLauncher::InitFailed(failure), _))) => Err(EngineError::Create(failure)),
            Some(Ok(_)) => Err(EngineError::HostLost(String::from("the launcher spoke out of turn"))),
            Some(Err(error)) => {
                Err(EngineError::HostLost(format!("the launcher ended at once: {error}{}", spawned.last_words())))
            }
            None => Err(EngineError::NoAnswer(READY_WITHIN)),
        }
    }

    /// Reads what the launcher says, until it is gone. Runs on the engine's runtime.
    pub(crate) async fn serve(self: Arc<Self>, runtime: Handle) {
        let mut buffer = Vec::new();
        let why = loop {
            match self.socket.receive::<FromLauncher>(&mut buffer).await {
                Ok((message, fds)) => self.take(message, fds, &runtime),
                Err(PacketError::Closed) => break String::from("the launcher ended"),
                Err(error) => break format!("the launcher cannot be understood: {error}"),
            }
        };
        let state = std::mem::replace(&mut *self.lock(), State { lost: Some(why.clone()), ..State::default() });
        // If it was understood no longer, it must not go on unheard.
        self.socket.shut_down();
        self.in_order.store(state.waiting.is_empty() && state.sandboxes.is_empty(), Ordering::Release);
        for waiting in state.waiting.into_values() {
            let _ = waiting.answer.send(Err(EngineError::HostLost(why.clone())));
        }
        for shared in state.sandboxes.into_values() {
            shared.ended(None, Some(End::HostLost { reason: why.clone() }));
        }
    }

    fn take(self: &Arc<Self>, message: FromLauncher, fds: Vec<OwnedFd>, runtime: &Handle) {
        match message {
            FromLauncher::Created { sandbox, pid, group } => {
                let Some(Waiting { shared, answer }) = self.lock().waiting.remove(&sandbox) else {
                    // It took too long, and nobody waits any more.
                    let this = Arc::clone(self);
                    runtime.spawn(async move { this.kill(sandbox).await });
                    return;
                };
                self.lock().sandboxes.insert(sandbox, Arc::clone(&shared));
                let mut fds = fds.into_iter();
                let socket = fds.next();
                let fresh = Fresh { shared: Some(Arc::clone(&shared)), hooks: fds.collect() };
                let result = match socket {
                    Some(socket) => shared.attach(socket, pid, group, runtime).map(|()| fresh),
                    // The kernel could not place it: the sandbox itself is fine, and is ended with its `Fresh`.
                    None => {
                        drop(fresh);
                        Err(EngineError::no_room("take the sandbox's socket"))
                    }
                };
                // If nobody listens any more, the Fresh in the result is dropped and ends the sandbox.
                let _ = answer.send(result);
            }
            FromLauncher::CreateFailed { sandbox, failure } => {
                if let Some(Waiting { shared, answer }) = self.lock().waiting.remove(&sandbox) {
                    tracing::debug!(sandbox, failure = %describe(&failure), "a sandbox could not be made");
                    shared.ended(None, Some(End::Terminated));
                    let _ = answer.send(Err(EngineError::Create(failure)));
                }
            }
            FromLauncher::Ended { sandbox, status, failure, cpu_micros, readings } => {
                let shared = {
                    let mut state = self.lock();
                    state.opening.remove(&sandbox);
                    state.sandboxes.remove(&sandbox)
                };
                if let Some(shared) = shared {
                    tracing::debug!(sandbox, status, "a sandbox ended");
                    let mut account = shared.groups.account(&readings);
                    // Without a group to count it: everything that was waited for.
                    account.cpu_time.get_or_insert(Duration::from_micros(cpu_micros));
                    if let Some(failure) = failure {
                        shared.failed(failure);
                    }
                    shared.ended(Some((status, account)), None);
                }
            }
            FromLauncher::Opened { sandbox, failure } => {
                if let Some(answer) = self.lock().opening.remove(&sandbox) {
                    let _ = answer.send(failure.map_or(Ok(fds), |failure| Err(EngineError::Create(failure))));
                }
            }
            FromLauncher::Ready { .. } | FromLauncher::InitFailed(_) => {}
        }
    }

    /// Makes a sandbox.
    pub(crate) async fn create(&self, shared: &Arc<Shared>, create: Create) -> Result<Fresh, EngineError> {
        let (answer, receive) = oneshot::channel();
        let number = create.sandbox;
        {
            let mut state = self.lock();
            if let Some(why) = &state.lost {
                return Err(EngineError::HostLost(why.clone()));
            }
            state.waiting.insert(number, Waiting { shared: Arc::clone(shared), answer });
        }
        if let Err(error) = self.socket.send(&ToLauncher::Create(Box::new(create)), &[]).await {
            self.lock().waiting.remove(&number);
            return Err(EngineError::HostLost(format!("the launcher is gone: {error}")));
        }
        match within(&self.runtime, CREATED_WITHIN, receive).await {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(EngineError::HostLost(String::from("the engine was shut down"))),
            None => {
                self.lock().waiting.remove(&number);
                // Should it come up after all, it is ended at once.
                self.kill(number).await;
                Err(EngineError::NoAnswer(CREATED_WITHIN))
            }
        }
    }

    /// Gives a sandbox that has none a way out; returns its hooks.
    pub(crate) async fn open(&self, sandbox: u64, outlet: Outlet) -> Result<Vec<OwnedFd>, EngineError> {
        let (answer, receive) = oneshot::channel();
        self.lock().opening.insert(sandbox, answer);
        let gone = || EngineError::Ended(End::HostLost { reason: String::from("it ended meanwhile") });
        self.socket.send(&ToLauncher::Open { sandbox, outlet }, &[]).await.map_err(|_| gone())?;
        match within(&self.runtime, OPENED_WITHIN, receive).await {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(gone()),
            None => Err(EngineError::NoAnswer(OPENED_WITHIN)),
        }
    }

    /// Whether it had ended every sandbox when it fell silent.
    pub(crate) fn ended_in_order(&self) -> bool {
        self.in_order.load(Ordering::Acquire)
    }

    /// Whether it has not been lost.
    pub(crate) fn is_running(&self) -> bool {
        self.lock().lost.is_none()
    }

    /// Asks for the end of a sandbox.
    pub(crate) async fn kill(&self, sandbox: u64) {
        // If the launcher is gone, so is the sandbox.
        let _ = self.socket.send(&ToLauncher::Kill { sandbox }, &[]).await;
    }

    /// Asks for the end of what is in a command's group.
    pub(crate) async fn kill_group(&self, sandbox: u64, hierarchy: u8, name: String) {
        let _ = self.socket.send(&ToLauncher::KillGroup { sandbox, hierarchy, name }, &[]).await;
    }

    /// Ends the conversation: the launcher then ends every sandbox, and itself.
    pub(crate) fn shut_down(&self) {
        let sandboxes: Vec<_> = self.lock().sandboxes.values().cloned().collect();
        for shared in sandboxes {
            shared.will_end(End::Terminated);
        }
        self.socket.shut_down();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // The state is consistent between any two statements: a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Awaits with a deadline that the engine's runtime keeps, whatever runtime the caller is on.
pub(crate) async fn within<T>(runtime: &Handle, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let timer = {
        let _guard = runtime.enter();
        tokio::time::sleep(limit)
    };
    let (mut timer, mut work) = (std::pin::pin!(timer), std::pin::pin!(work));
    std::future::poll_fn(move |cx| {
        if let std::task::Poll::Ready(value) = work.as_mut().poll(cx) {
            return std::task::Poll::Ready(Some(value));
        }
        timer.as_mut().poll(cx).map(|()| None)
    })
    .await
}

/// A launcher that was started and waits for its first message. Dropping it ends the process.
#[derive(Debug)]
pub(crate) struct Spawned {
    socket: Option<OwnedFd>,
    child: Option<Child>,
}

impl Spawned {
    /// Starts the process. It gets ready as far as it can while the caller does the same.
    pub(crate) fn new(program: &OwnedFd, privilege: Privilege) -> Result<Self, EngineError> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(|errno| EngineError::host("make the launcher's socket")(errno.into()))?;
        // posix_spawn: no fork of this process, which may be large and have many threads.
        let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
        command.arg0(LAUNCHER_ARG0).env_clear().stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(Stdio::piped());
        if privilege == Privilege::Root {
            command.arg(LAUNCHER_AHEAD);
        }
        let child = command.spawn().map_err(EngineError::host("start the launcher"))?;
        Ok(Self { socket: Some(ours), child: Some(child) })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// What it wrote to its standard error, after it has ended.
    fn last_words(&mut self) -> String {
        let Some(mut child) = self.child.take() else { return String::new() };
        let _ = child.kill();
        let _ = child.wait();
        let mut text = String::new();
        if let Some(stderr) = child.stderr.take() {
            let _ = stderr.take(4096).read_to_string(&mut text);
        }
        let text = text.trim();
        if text.is_empty() { String::new() } else { format!(" ({text})") }
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
