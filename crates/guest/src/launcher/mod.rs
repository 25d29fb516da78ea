//! The launcher: makes sandboxes, and outlives none of them.
//!
//! ```text
//!            Create                    maps, idmaps, go                 exec'd
//! engine ───────────► clone3 ──────────────────────────────► Pending ──────────► Live ──reaped──► Ended
//!                        └── child: rootfs, limits, filters ────┘ failed: CreateFailed
//! ```
//!
//! One thread, one `poll` loop: several sandboxes can be in the making at once. Guarantees:
//!
//! * When the control socket ends, every sandbox is killed and reaped before the launcher exits; if the launcher itself
//!   is killed, the parent-death signal ends every sandbox.
//! * `Ended` is sent after the first process is reaped, and the kernel reaps it only when nothing in its pid namespace
//!   is left (`pid_namespaces(7)`).
//! * The launcher never sees an environment, code or a secret: those go from the engine to the agent.

mod child;
mod create;
mod network;
mod privilege;
mod rootfs;

use crate::sys;
use computesdk_guest_protocol::launcher::{Failure, FromLauncher, Init, Policy, Privilege, ToLauncher};
use computesdk_guest_protocol::packet::{Packet, PacketError, receive};
use computesdk_guest_protocol::{LAUNCHER_AHEAD, PROTOCOL, decode};
use create::Pending;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};
use std::collections::HashMap;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

/// Turns an error number into a [`Failure`] that names the step.
fn step<T>(what: impl Into<String>, result: Result<T, Errno>) -> Result<T, Failure> {
    result.map_err(|errno| failure(what, errno))
}

fn failure(what: impl Into<String>, errno: Errno) -> Failure {
    Failure { step: what.into(), errno: errno.raw_os_error(), detail: String::new() }
}

struct Launcher {
    control: BorrowedFd<'static>,
    /// This program, for the agents.
    program: OwnedFd,
    policy: Policy,
    journal: PathBuf,
    privilege: Privilege,
    network: network::Spare,
    pending: Vec<Pending>,
    /// First processes of running sandboxes.
    live: HashMap<i32, u64>,
}

pub(crate) fn main() -> u8 {
    sys::close_from(3);
    sys::ignore(libc::SIGPIPE);
    // Away from the terminal of whoever started the engine: Ctrl-C is the engine's to handle.
    let _ = rustix::process::setsid();
    // And off the directory it was started in, which then can be unmounted.
    let _ = rustix::process::chdir("/");
    let control = rustix::stdio::stdin();
    let ahead = std::env::args().nth(1).is_some_and(|argument| argument == LAUNCHER_AHEAD);
    match start(control, ahead).and_then(|mut launcher| launcher.run()) {
        Ok(()) | Err(PacketError::Closed) => 0,
        Err(error) => {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "launcher: {error}");
            1
        }
    }
}

fn start(control: BorrowedFd<'static>, ahead: bool) -> Result<Launcher, PacketError> {
    // The longest step, while the engine still prepares what it will say. If it fails, it is tried again below and told.
    let network = if ahead { network::Spare::new().ok() } else { None };
    let (message, _) = receive::<ToLauncher>(control, &mut Vec::new())?;
    let ToLauncher::Init(init) = message else {
        return Err(PacketError::Malformed("the first message is not Init"));
    };
    match initialise(control, *init, network) {
        Ok(launcher) => {
            Packet::new(&FromLauncher::Ready)?.send(control, &[])?;
            Ok(launcher)
        }
        Err(failure) => {
            Packet::new(&FromLauncher::InitFailed(failure))?.send(control, &[])?;
            Err(PacketError::Closed)
        }
    }
}

fn initialise(control: BorrowedFd<'static>, init: Init, network: Option<network::Spare>) -> Result<Launcher, Failure> {
    if init.protocol != PROTOCOL {
        return Err(failure("compare protocol versions", Errno::PROTO));
    }
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    let program =
        step("open the guest program", rustix::fs::open(c"/proc/self/exe", flags, rustix::fs::Mode::empty()))?;
    privilege::acquire(&init)?;
    let network = match network {
        Some(network) => network,
        None => network::Spare::new()?,
    };
    network.apply(&init.policy.sysctls);
    Ok(Launcher {
        control,
        program,
        policy: init.policy,
        journal: PathBuf::from(std::ffi::OsString::from_vec(init.journal)),
        privilege: init.privilege,
        network,
        pending: Vec::new(),
        live: HashMap::new(),
    })
}

impl Launcher {
    /// Serves until the control socket ends; then ends everything.
    fn run(&mut self) -> Result<(), PacketError> {
        let exits = sys::child_exits().map_err(PacketError::Io)?;
        let mut buffer = Vec::new();
        let served = self.serve(&exits, &mut buffer);
        self.end_all();
        served
    }

    fn serve(&mut self, exits: &OwnedFd, buffer: &mut Vec<u8>) -> Result<(), PacketError> {
        loop {
            let mut fds = vec![PollFd::new(&self.control, PollFlags::IN), PollFd::new(exits, PollFlags::IN)];
            fds.extend(self.pending.iter().map(|pending| PollFd::new(&pending.status, PollFlags::IN)));
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            drop(fds);
            // Last to first, because a settled one is swapped out of the list.
            for index in (0..self.pending.len()).rev() {
                if ready[2 + index] {
                    self.settle(index)?;
                }
            }
            if ready[1] {
                sys::drain_signals(exits);
                self.reap()?;
            }
            if ready[0] {
                let (message, _) = receive::<ToLauncher>(self.control, buffer)?;
                self.handle(message)?;
            } else {
                self.network.refill(&self.policy.sysctls);
            }
        }
    }

    fn handle(&mut self, message: ToLauncher) -> Result<(), PacketError> {
        match message {
            ToLauncher::Init(_) => Err(PacketError::Malformed("a second Init")),
            ToLauncher::Create(create) => {
                let sandbox = create.sandbox;
                match self.create(&create) {
                    Ok(pending) => self.pending.push(pending),
                    Err(failure) => self.send(&FromLauncher::CreateFailed { sandbox, failure }, &[])?,
                }
                Ok(())
            }
            ToLauncher::Kill { sandbox } => {
                let pending = self.pending.iter().filter(|p| p.sandbox == sandbox).map(|p| p.pid);
                let live = self.live.iter().filter(|(_, id)| **id == sandbox).map(|(pid, _)| *pid);
                pending.chain(live).for_each(kill);
                Ok(())
            }
        }
    }

    fn send(&self, message: &FromLauncher, fds: &[BorrowedFd<'_>]) -> Result<(), PacketError> {
        Packet::new(message)?.send(self.control, fds)
    }

    /// A pending sandbox's status pipe has something: its failure, or its end because the agent was exec'd.
    fn settle(&mut self, index: usize) -> Result<(), PacketError> {
        let pending = self.pending.swap_remove(index);
        let sandbox = pending.sandbox;
        let said = pending.read_status();
        if said.is_empty() {
            self.live.insert(pending.pid, sandbox);
            return self.send(&FromLauncher::Created { sandbox, pid: pending.pid }, &[pending.agent.as_fd()]);
        }
        // It exits right after it wrote: nothing of it is left when the engine hears of it.
        kill(pending.pid);
        wait(pending.pid);
        let failure = decode(&said).unwrap_or_else(|_| failure("prepare the sandbox", Errno::IO));
        self.send(&FromLauncher::CreateFailed { sandbox, failure }, &[])
    }

    /// Reports every sandbox that ended.
    fn reap(&mut self) -> Result<(), PacketError> {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let pid = pid.as_raw_nonzero().get();
            if let Some(sandbox) = self.live.remove(&pid) {
                self.send(&FromLauncher::Ended { sandbox, status: status.as_raw() }, &[])?;
            } else if let Some(index) = self.pending.iter().position(|pending| pending.pid == pid) {
                let pending = self.pending.swap_remove(index);
                let failure = decode(&pending.read_status()).unwrap_or_else(|_| Failure {
                    step: String::from("start the sandbox's first process"),
                    errno: 0,
                    detail: format!("it ended with wait status {:#x}", status.as_raw()),
                });
                self.send(&FromLauncher::CreateFailed { sandbox: pending.sandbox, failure }, &[])?;
            }
        }
        Ok(())
    }

    fn end_all(&mut self) {
        self.live.keys().copied().chain(self.pending.iter().map(|pending| pending.pid)).for_each(kill);
        for (pid, sandbox) in std::mem::take(&mut self.live) {
            wait(pid);
            // An engine that was shut down in order still listens; to one that is gone this is said in vain.
            let _ = self.send(&FromLauncher::Ended { sandbox, status: 0 }, &[]);
        }
        self.pending.drain(..).for_each(|pending| wait(pending.pid));
        // Nothing is left that the journal would be needed for.
        let _ = std::fs::remove_file(&self.journal);
        let _ = self.journal.parent().map(std::fs::remove_dir);
    }
}

/// Ends a child that is not reaped yet, so that its id cannot be another process's.
fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
}

fn wait(pid: i32) {
    while matches!(rustix::process::waitpid(Pid::from_raw(pid), WaitOptions::empty()), Err(Errno::INTR)) {}
}
