//! The agent: the first process of a sandbox.
//!
//! It starts programs, reaps whatever ends, and opens files and sockets where the sandbox's own view of them is. The
//! engine treats it as hostile, because a program that is root in the sandbox may have taken it over; it holds nothing
//! of the host. It has no more privilege than the programs it starts, and runs under the same filters.
//!
//! One process, one thread, one `poll` loop over the control socket and the end of children. What may take long (listing,
//! removing, watching) is done by a fork of it. When the control socket ends, so does the agent, and with it the pid
//! namespace.
//!
//! **No standard library and no C library**: every sandbox starts one of these and keeps it as long as it lives. The
//! start of a C library costs as much as everything else here together (it asks the processor dozens of questions, each
//! of which is an exit to the hypervisor on a virtual machine), and its memory is paid for each sandbox. [`sys`] has the
//! entry point, the allocator and the few system calls that rustix does not wrap, and all `unsafe` code.

#![cfg_attr(not(test), no_std)]
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(dead_code, reason = "tests have an entry point of their own, and run none of the loop"))]

extern crate alloc;

mod disk;
mod exec;
mod files;
mod path;
mod sys;
mod users;
mod watch;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use computesdk_guest_protocol::AGENT_FD;
use computesdk_guest_protocol::agent::{Answer, Ask, Exit, FromAgent, ToAgent, Usage};
use computesdk_guest_protocol::packet::{Packet, PacketError, receive};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::DumpableBehavior;
use sys::Forked;

/// Called by the entry point; returns the exit code.
fn run() -> i32 {
    // /proc/1/{mem,environ,fd,maps} are then closed to the sandbox's root, who lacks CAP_SYS_PTRACE (`ptrace(2)`).
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let socket = sys::inherited(AGENT_FD);
    sys::close_from(AGENT_FD.cast_unsigned() + 1);
    match serve(socket) {
        Ok(()) | Err(PacketError::Closed) => 0,
        Err(_) => 1,
    }
}

fn serve(socket: OwnedFd) -> Result<(), PacketError> {
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    let exits = sys::child_exits()?;
    // Found out before the first request is there, not while it waits.
    let single_id = exec::single_id();
    let mut agent = Agent { socket, running: BTreeMap::new(), working: BTreeMap::new(), single_id };
    let mut buffer = Vec::new();
    loop {
        let mut fds = [PollFd::new(&agent.socket, PollFlags::IN), PollFd::new(&exits, PollFlags::IN)];
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
            let (message, fds) = receive::<ToAgent>(&agent.socket, &mut buffer)?;
            agent.handle(message, fds)?;
        }
    }
}

struct Agent {
    socket: OwnedFd,
    /// Process id to the engine's number, of the programs it asked for. Other children are adopted orphans.
    running: BTreeMap<i32, u32>,
    /// Process id to the number of the question, of the forks that answer one.
    working: BTreeMap<i32, u32>,
    /// No other user than root can be had here.
    single_id: bool,
}

impl Agent {
    fn handle(&mut self, message: ToAgent, fds: Vec<OwnedFd>) -> Result<(), PacketError> {
        match message {
            ToAgent::Exec(request) => match exec::start(&request, &fds, self.single_id) {
                Ok(started) => {
                    self.running.insert(started.pid, request.exec);
                    let terminal: Vec<BorrowedFd<'_>> = started.terminal.iter().map(|fd| fd.as_fd()).collect();
                    self.send(&FromAgent::Started { exec: request.exec, pid: started.pid }, &terminal)
                }
                Err((refusal, errno)) => {
                    let errno = errno.raw_os_error();
                    self.send(&FromAgent::Refused { exec: request.exec, refusal, errno }, &[])
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

    fn answer(&mut self, call: u32, ask: Ask, mut fds: Vec<OwnedFd>) -> Result<(), PacketError> {
        match ask {
            Ask::Watch { path, recursive } => {
                let (watch, pipe) = match (watch::Watch::new(&path, recursive), fds.pop()) {
                    (Ok(watch), Some(pipe)) => (watch, pipe),
                    (Err(errno), _) => return self.reply(call, Err(errno)),
                    (Ok(_), None) => return self.reply(call, Err(Errno::BADF)),
                };
                match sys::fork() {
                    Ok(Forked::Child) => {
                        watch.run(&pipe);
                        sys::exit(0)
                    }
                    Ok(Forked::Parent(_)) => self.reply(call, Ok((Answer::Done, None))),
                    Err(errno) => self.reply(call, Err(errno)),
                }
            }
            // These may take long, and children must be reaped meanwhile.
            ask @ (Ask::List { .. } | Ask::Remove { .. } | Ask::Rename { .. }) => match sys::fork() {
                Ok(Forked::Child) => {
                    let said = self.reply(call, files::answer(&ask));
                    sys::exit(i32::from(said.is_err()))
                }
                Ok(Forked::Parent(pid)) => {
                    self.working.insert(pid, call);
                    Ok(())
                }
                // The sandbox may not have another process: then it is done here.
                Err(_) => self.reply(call, files::answer(&ask)),
            },
            ask => self.reply(call, files::answer(&ask)),
        }
    }

    fn reap(&mut self) -> Result<(), PacketError> {
        while let Some(ended) = sys::wait_any() {
            if let Some(exec) = self.running.remove(&ended.pid) {
                let exit = ended.exit();
                let disk_full = exit != Exit::Code(0) && files::disk_is_full();
                let usage = Usage { cpu_micros: ended.cpu_micros, peak_kib: ended.peak_kib, disk_full };
                self.send(&FromAgent::Exited { exec, exit, usage }, &[])?;
            } else if let Some(call) = self.working.remove(&ended.pid)
                && ended.exit() != Exit::Code(0)
            {
                // Killed by the sandbox before it could answer.
                self.reply(call, Err(Errno::INTR))?;
            }
        }
        Ok(())
    }

    fn reply(&self, call: u32, answer: Result<(Answer, Option<OwnedFd>), Errno>) -> Result<(), PacketError> {
        let (answer, fd) = answer.unwrap_or_else(|errno| (Answer::Failed { errno: errno.raw_os_error() }, None));
        let fds: Vec<BorrowedFd<'_>> = fd.iter().map(|fd| fd.as_fd()).collect();
        self.send(&FromAgent::Answer { call, answer }, &fds)
    }

    fn send(&self, message: &FromAgent, fds: &[BorrowedFd<'_>]) -> Result<(), PacketError> {
        Packet::new(message)?.send(&self.socket, fds)
    }
}
