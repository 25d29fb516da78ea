//! The agent: the first process of a sandbox.
//!
//! It starts programs, reaps whatever ends, and opens files and sockets where the sandbox's own view of them is. The
//! engine treats it as hostile, because a program that is root in the sandbox may have taken it over; it holds nothing
//! of the host. It has no more privilege than the programs it starts, and runs under the same filters.
//!
//! The main thread polls the control socket and the end of children. What may take long (listing, removing, watching)
//! runs on a thread of its own. When the control socket ends, so does the agent, and with it the pid namespace.

mod exec;
mod files;
mod path;
mod users;
mod watch;

use crate::sys;
use computesdk_guest_protocol::AGENT_FD;
use computesdk_guest_protocol::agent::{Answer, Ask, Exit, FromAgent, ToAgent, Usage};
use computesdk_guest_protocol::packet::{Packet, PacketError, receive};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::DumpableBehavior;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

pub(crate) fn main() -> u8 {
    // /proc/1/{mem,environ,fd,maps} are then closed to the sandbox's root, who lacks CAP_SYS_PTRACE (`ptrace(2)`).
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    sys::ignore(libc::SIGPIPE);
    let socket = Arc::new(sys::inherited(AGENT_FD));
    sys::close_from(AGENT_FD.cast_unsigned() + 1);
    match serve(&socket) {
        Ok(()) | Err(PacketError::Closed) => 0,
        Err(_) => 1,
    }
}

fn serve(socket: &Arc<OwnedFd>) -> Result<(), PacketError> {
    rustix::io::fcntl_setfd(socket, rustix::io::FdFlags::CLOEXEC)?;
    let exits = sys::child_exits()?;
    // Found out before the first request is there, not while it waits.
    let single_id = exec::single_id();
    let mut agent = Agent { socket: Arc::clone(socket), running: HashMap::new(), single_id };
    let mut buffer = Vec::new();
    loop {
        let mut fds = [PollFd::new(socket, PollFlags::IN), PollFd::new(&exits, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let [message, exit] = fds.map(|fd| !fd.revents().is_empty());
        if exit {
            sys::drain_signals(&exits);
            agent.reap()?;
        }
        if message {
            let (message, fds) = receive::<ToAgent>(socket, &mut buffer)?;
            agent.handle(message, fds)?;
        }
    }
}

struct Agent {
    socket: Arc<OwnedFd>,
    /// Process id to the engine's number, of the programs it asked for. Other children are adopted orphans.
    running: HashMap<i32, u32>,
    /// No other user than root can be had here.
    single_id: bool,
}

impl Agent {
    fn handle(&mut self, message: ToAgent, fds: Vec<OwnedFd>) -> Result<(), PacketError> {
        match message {
            ToAgent::Exec(request) => match exec::start(&request, &fds, self.single_id) {
                Ok(started) => {
                    self.running.insert(started.pid, request.exec);
                    let terminal: Vec<BorrowedFd<'_>> = started.terminal.iter().map(AsFd::as_fd).collect();
                    send(&self.socket, &FromAgent::Started { exec: request.exec, pid: started.pid }, &terminal)
                }
                Err((refusal, errno)) => {
                    let errno = errno.raw_os_error();
                    send(&self.socket, &FromAgent::Refused { exec: request.exec, refusal, errno }, &[])
                }
            },
            ToAgent::Signal { exec, signal } => {
                if let Some((pid, _)) = self.running.iter().find(|(_, number)| **number == exec) {
                    exec::signal(*pid, signal);
                }
                Ok(())
            }
            ToAgent::Ask { call, ask } => self.answer(call, ask, fds),
        }
    }

    fn answer(&self, call: u32, ask: Ask, mut fds: Vec<OwnedFd>) -> Result<(), PacketError> {
        let socket = Arc::clone(&self.socket);
        match ask {
            Ask::Watch { path, recursive } => {
                let watch = match (watch::Watch::new(&path, recursive), fds.pop()) {
                    (Ok(watch), Some(pipe)) => (watch, pipe),
                    (Err(errno), _) => return reply(&socket, call, Err(errno)),
                    (Ok(_), None) => return reply(&socket, call, Err(Errno::BADF)),
                };
                reply(&socket, call, Ok((Answer::Done, None)))?;
                spawn(move || watch.0.run(&watch.1));
                Ok(())
            }
            // These may take long, and children must be reaped meanwhile.
            ask @ (Ask::List { .. } | Ask::Remove { .. } | Ask::Rename { .. }) => {
                spawn(move || {
                    let _ = reply(&socket, call, files::answer(&ask));
                });
                Ok(())
            }
            ask => reply(&socket, call, files::answer(&ask)),
        }
    }

    fn reap(&mut self) -> Result<(), PacketError> {
        while let Some(ended) = sys::wait_any() {
            let Some(exec) = self.running.remove(&ended.pid) else { continue };
            let status = ended.status;
            let exit = if libc::WIFEXITED(status) {
                Exit::Code(libc::WEXITSTATUS(status))
            } else {
                Exit::Signal(libc::WTERMSIG(status))
            };
            let disk_full = exit != Exit::Code(0) && files::disk_is_full();
            let usage = Usage { cpu_micros: ended.cpu_micros, peak_kib: ended.peak_kib, disk_full };
            send(&self.socket, &FromAgent::Exited { exec, exit, usage }, &[])?;
        }
        Ok(())
    }
}

/// Runs on a thread, or right here if the sandbox may not have another.
fn spawn<F: FnOnce() + Send + 'static>(work: F) {
    let work = Arc::new(Mutex::new(Some(work)));
    let theirs = Arc::clone(&work);
    if std::thread::Builder::new().stack_size(256 * 1024).spawn(move || run(&theirs)).is_err() {
        run(&work);
    }
}

fn run<F: FnOnce()>(work: &Mutex<Option<F>>) {
    let work = work.lock().ok().and_then(|mut work| work.take());
    if let Some(work) = work {
        work();
    }
}

fn reply(socket: &OwnedFd, call: u32, answer: Result<(Answer, Option<OwnedFd>), Errno>) -> Result<(), PacketError> {
    let (answer, fd) = answer.unwrap_or_else(|errno| (Answer::Failed { errno: errno.raw_os_error() }, None));
    let fds: Vec<BorrowedFd<'_>> = fd.iter().map(AsFd::as_fd).collect();
    send(socket, &FromAgent::Answer { call, answer }, &fds)
}

fn send(socket: &OwnedFd, message: &FromAgent, fds: &[BorrowedFd<'_>]) -> Result<(), PacketError> {
    Packet::new(message)?.send(socket, fds)
}
