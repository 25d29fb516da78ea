//! The engine's side of one agent. **Everything that comes from it is hostile.**
//!
//! Answers are matched to what was asked by numbers chosen here; a number that was not asked for, a message that cannot
//! be read, or a descriptor that was not expected ends the conversation, and the caller ends the sandbox.

use crate::exec::ExecEnd;
use crate::launcher::within;
use crate::record::Record;
use crate::socket::Socket;
use crate::{End, EngineError, Refused};
use computesdk_guest_protocol::agent::{Answer, Ask, Exec, FromAgent, ToAgent};
use computesdk_guest_protocol::packet::PacketError;
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

/// How long an agent may take for what takes an honest one microseconds, on a very busy machine.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// And for what depends on the size of a tree.
const WALK_WITHIN: Duration = Duration::from_secs(600);

type Started = Result<Option<OwnedFd>, Refused>;
type Answered = (Answer, Option<OwnedFd>);

#[derive(Debug)]
pub(crate) struct Agent {
    /// `None` once the conversation is over: ended sandboxes are remembered by the thousand, and hold no descriptor.
    socket: RwLock<Option<Arc<Socket>>>,
    runtime: Handle,
    next: AtomicU32,
    /// It has said something.
    spoke: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    starting: HashMap<u32, oneshot::Sender<Started>>,
    running: HashMap<u32, Running>,
    asked: HashMap<u32, oneshot::Sender<Answered>>,
    ended: Option<End>,
}

/// A program that was asked for.
#[derive(Debug)]
struct Running {
    end: watch::Sender<Option<ExecEnd>>,
    record: Arc<Record>,
}

impl Agent {
    pub(crate) fn new(socket: OwnedFd, runtime: &Handle) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            socket: RwLock::new(Some(Arc::new(Socket::new(socket, runtime)?))),
            runtime: runtime.clone(),
            next: AtomicU32::new(1),
            spoke: AtomicBool::new(false),
            state: Mutex::default(),
        }))
    }

    /// Reads what it says until it ends or says something impossible, then calls `over` with what was seen.
    pub(crate) async fn serve(self: Arc<Self>, over: impl FnOnce(String)) {
        let mut buffer = Vec::new();
        let socket = self.socket();
        let why = loop {
            let Some(socket) = &socket else { break String::from("its agent ended") };
            match socket.receive::<FromAgent>(&mut buffer).await {
                Ok((message, fds)) => {
                    self.spoke.store(true, Ordering::Relaxed);
                    if let Err(why) = self.take(message, fds) {
                        break format!("its agent broke the protocol: {why}");
                    }
                }
                Err(PacketError::Closed) => break String::from("its agent ended"),
                Err(error) => break format!("its agent broke the protocol: {error}"),
            }
        };
        *self.socket.write().unwrap_or_else(PoisonError::into_inner) = None;
        drop(socket);
        over(why);
    }

    fn socket(&self) -> Option<Arc<Socket>> {
        self.socket.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn send(&self, message: &ToAgent, fds: &[OwnedFd]) -> Result<(), PacketError> {
        match self.socket() {
            Some(socket) => socket.send(message, fds).await,
            None => Err(PacketError::Closed),
        }
    }

    fn take(&self, message: FromAgent, mut fds: Vec<OwnedFd>) -> Result<(), &'static str> {
        // At most one descriptor comes with anything; others are closed here.
        let fd = fds.pop();
        if !fds.is_empty() {
            return Err("more descriptors than were asked for");
        }
        match message {
            FromAgent::Started { exec, .. } => {
                let starting = self.lock().starting.remove(&exec).ok_or("a program that was not asked for")?;
                let _ = starting.send(Ok(fd));
            }
            FromAgent::Refused { exec, refusal, errno } => {
                let mut state = self.lock();
                let starting = state.starting.remove(&exec).ok_or("a program that was not asked for")?;
                state.running.remove(&exec);
                let _ = starting.send(Err(Refused { refusal, errno }));
            }
            FromAgent::Exited { exec, exit, usage } => {
                let (running, alone) = {
                    let mut state = self.lock();
                    let running = state.running.remove(&exec).ok_or("a program that does not run")?;
                    (running, state.running.is_empty())
                };
                let end = running.record.judge(exit, usage, alone);
                // The deadline's task may have said "timed out" already; the first word stands.
                running.end.send_if_modified(|place| {
                    let first = place.is_none();
                    place.get_or_insert(end);
                    first
                });
            }
            FromAgent::Answer { call, answer } => {
                if call >= self.next.load(Ordering::Relaxed) {
                    return Err("an answer to what was not asked");
                }
                // Nobody waits any more for one that took too long.
                if let Some(asked) = self.lock().asked.remove(&call) {
                    let _ = asked.send((answer, fd));
                }
            }
        }
        Ok(())
    }

    /// Whether it has ever said anything.
    pub(crate) fn spoke(&self) -> bool {
        self.spoke.load(Ordering::Relaxed)
    }

    /// The sandbox is over: nobody waits for it any longer.
    pub(crate) fn sandbox_ended(&self, end: &End) {
        let mut state = self.lock();
        state.ended = Some(end.clone());
        // Dropping the senders wakes whoever waits.
        state.starting.clear();
        state.asked.clear();
        for running in std::mem::take(&mut state.running).into_values() {
            running.end.send_if_modified(|place| {
                let first = place.is_none();
                place.get_or_insert(ExecEnd::SandboxEnded);
                first
            });
        }
    }

    /// A number for the next program.
    pub(crate) fn next_number(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Starts a program; `request` describes it, all but its number. Returns a watch on its end, and the master side of
    /// its terminal if it has one.
    pub(crate) async fn exec(
        &self,
        mut request: Exec,
        fds: Vec<OwnedFd>,
        record: &Arc<Record>,
    ) -> Result<(watch::Sender<Option<ExecEnd>>, Option<OwnedFd>), EngineError> {
        let number = record.number;
        request.exec = number;
        let (started, receive) = oneshot::channel();
        let (end, _) = watch::channel(None);
        {
            let mut state = self.lock();
            if let Some(end) = &state.ended {
                return Err(EngineError::Ended(end.clone()));
            }
            state.starting.insert(number, started);
            state.running.insert(number, Running { end: end.clone(), record: Arc::clone(record) });
        }
        let sent = self.send(&ToAgent::Exec(request), &fds).await;
        // The sandbox has them now; our copies would keep its pipes open.
        drop(fds);
        if sent.is_err() {
            return Err(EngineError::Ended(self.ended_or_gone()));
        }
        match within(&self.runtime, ANSWER_WITHIN, receive).await {
            Some(Ok(Ok(terminal))) => Ok((end, terminal)),
            Some(Ok(Err(refused))) => Err(EngineError::Refused(refused)),
            Some(Err(_)) => Err(EngineError::Ended(self.ended_or_gone())),
            None => Err(EngineError::NoAnswer(ANSWER_WITHIN)),
        }
    }

    /// From now on, the end of this program is told to `end` instead.
    pub(crate) fn replace_end(&self, exec: u32, end: watch::Sender<Option<ExecEnd>>) {
        if let Some(running) = self.lock().running.get_mut(&exec) {
            running.end = end;
        }
    }

    /// Sends a signal to a program's group.
    pub(crate) async fn signal(&self, exec: u32, signal: i32) {
        // If the agent is gone, so is the program.
        let _ = self.send(&ToAgent::Signal { exec, signal }, &[]).await;
    }

    /// Asks about files or sockets.
    pub(crate) async fn ask(&self, ask: Ask, fds: Vec<OwnedFd>) -> Result<Answered, EngineError> {
        let call = self.next_number();
        let limit = match ask {
            Ask::List { .. } | Ask::Remove { .. } | Ask::Rename { .. } => WALK_WITHIN,
            _ => ANSWER_WITHIN,
        };
        let (asked, receive) = oneshot::channel();
        {
            let mut state = self.lock();
            if let Some(end) = &state.ended {
                return Err(EngineError::Ended(end.clone()));
            }
            state.asked.insert(call, asked);
        }
        let sent = self.send(&ToAgent::Ask { call, ask }, &fds).await;
        drop(fds);
        if sent.is_err() {
            self.lock().asked.remove(&call);
            return Err(EngineError::Ended(self.ended_or_gone()));
        }
        match within(&self.runtime, limit, receive).await {
            Some(Ok((Answer::Failed { errno }, _))) => Err(EngineError::File(io::Error::from_raw_os_error(errno))),
            Some(Ok(answered)) => Ok(answered),
            Some(Err(_)) => Err(EngineError::Ended(self.ended_or_gone())),
            None => {
                self.lock().asked.remove(&call);
                Err(EngineError::NoAnswer(limit))
            }
        }
    }

    fn ended_or_gone(&self) -> End {
        let gone = || End::HostLost { reason: String::from("its agent is gone") };
        self.lock().ended.clone().unwrap_or_else(gone)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
