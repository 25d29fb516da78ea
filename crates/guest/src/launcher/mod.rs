//! The launcher: makes sandboxes, and outlives none of them.
//!
//! ```text
//!            Create                 maps, idmaps, go            prepared: Created
//! engine ───────────► clone3 ──────────────────────────► Pending ────────────────► Live ──reaped──► Ended
//!                        └── child: rootfs, groups ─────────┘ failed: CreateFailed   └ child: filters, exec of the agent
//! ```
//!
//! One thread, one `poll` loop: several sandboxes can be in the making at once. Guarantees:
//!
//! * When the control socket ends, every sandbox is killed and reaped before the launcher exits; if the launcher itself
//!   is killed, the parent-death signal ends every sandbox.
//! * `Ended` is sent after the first process is reaped, and the kernel reaps it only when nothing in its pid namespace
//!   is left (`pid_namespaces(7)`).
//! * The launcher never sees an environment, code or a secret: those go from the engine to the agent.

mod cgroup;
mod child;
mod create;
mod netlink;
mod network;
mod outlet;
mod privilege;
mod rootfs;

use crate::sys;
use cgroup::{Group, Groups};
use computesdk_guest_protocol::launcher::{Failure, FromLauncher, Init, Policy, Privilege, ToLauncher};
use computesdk_guest_protocol::outlet::Outlet;
use computesdk_guest_protocol::packet::{Packet, PacketError, receive};
use computesdk_guest_protocol::{LAUNCHER_AHEAD, PROTOCOL};
use create::{Pending, Said, Status};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};
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

/// How long nothing must have happened before something is made ahead.
const QUIET: Timespec = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };

struct Launcher {
    control: BorrowedFd<'static>,
    /// The program that becomes the first process of each sandbox.
    agent: OwnedFd,
    policy: Policy,
    journal: PathBuf,
    privilege: Privilege,
    network: network::Networks,
    groups: Groups,
    /// Those of the last sandbox: the next one will most likely need the same.
    hierarchies: Vec<u8>,
    pending: Vec<Pending>,
    /// First processes that are about to become agents.
    starting: Vec<(i32, Status)>,
    /// Running sandboxes, by their first processes.
    live: HashMap<i32, Live>,
}

struct Live {
    sandbox: u64,
    group: Group,
    /// Its network namespace, if that may be used again.
    network: Option<network::Taken>,
    /// Why its first process did not become the agent.
    failure: Option<Failure>,
}

pub(crate) fn main() -> u8 {
    sys::close_from(3);
    sys::reset_all();
    sys::ignore_broken_pipes();
    // Each sandbox is a descriptor or two here; what programs may have is set for each sandbox.
    sys::raise_open_files();
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
    let network = if ahead { network::Networks::new().ok() } else { None };
    let (message, mut fds) = receive::<ToLauncher>(control, &mut Vec::new())?;
    let ToLauncher::Init(init) = message else {
        return Err(PacketError::Malformed("the first message is not Init"));
    };
    let agent = fds.pop().ok_or(PacketError::Malformed("no agent came with Init"))?;
    match initialise(control, *init, agent, network) {
        Ok((launcher, outlet)) => {
            Packet::new(&FromLauncher::Ready { outlet })?.send(control, &[])?;
            Ok(launcher)
        }
        Err(failure) => {
            Packet::new(&FromLauncher::InitFailed(failure))?.send(control, &[])?;
            Err(PacketError::Closed)
        }
    }
}

fn initialise(
    control: BorrowedFd<'static>,
    mut init: Init,
    agent: OwnedFd,
    network: Option<network::Networks>,
) -> Result<(Launcher, Option<Failure>), Failure> {
    rootfs::leave_out_closed(&mut init.policy);
    if init.protocol != PROTOCOL {
        return Err(failure("compare protocol versions", Errno::PROTO));
    }
    privilege::acquire(&init)?;
    let mut network = match network {
        Some(network) => network,
        None => network::Networks::new()?,
    };
    network.apply(&init.policy.sysctls);
    let outlet = network.expect(init.outlet, &init.policy.sysctls).err();
    let launcher = Launcher {
        control,
        agent,
        policy: init.policy,
        journal: PathBuf::from(std::ffi::OsString::from_vec(init.journal)),
        privilege: init.privilege,
        network,
        groups: Groups::new(init.cgroups, init.readings),
        hierarchies: Vec::new(),
        pending: Vec::new(),
        starting: Vec::new(),
        live: HashMap::new(),
    };
    Ok((launcher, outlet))
}

impl Launcher {
    /// Serves until the control socket ends; then ends everything.
    fn run(&mut self) -> Result<(), PacketError> {
        let exits = sys::child_exits().map_err(PacketError::Io)?;
        let mut buffer = Vec::new();
        let served = self.serve(&exits, &mut buffer);
        self.end_all();
        // The engine need not wait for the end of this process.
        let _ = rustix::net::shutdown(self.control, rustix::net::Shutdown::Both);
        served
    }

    fn serve(&mut self, exits: &OwnedFd, buffer: &mut Vec<u8>) -> Result<(), PacketError> {
        loop {
            let mut fds = vec![PollFd::new(&self.control, PollFlags::IN), PollFd::new(exits, PollFlags::IN)];
            fds.extend(self.pending.iter().map(|pending| PollFd::new(&pending.status.0, PollFlags::IN)));
            fds.extend(self.starting.iter().map(|(_, status)| PollFd::new(&status.0, PollFlags::IN)));
            // What can be made ahead is made when nothing has happened for a moment: right after a sandbox was made, both
            // its engine and its agent need the processors more.
            let wants_rest = !self.has_spares() && self.pending.is_empty() && self.starting.is_empty();
            match poll(&mut fds, wants_rest.then_some(&QUIET)) {
                Ok(0) => {
                    drop(fds);
                    self.network.refill(&self.policy.sysctls);
                    self.groups.refill(&self.hierarchies);
                    continue;
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            drop(fds);
            // Last to first, because what is done with is swapped out of its list; and those that start first, because the
            // others join them.
            let pending = self.pending.len();
            for index in (0..self.starting.len()).rev().filter(|index| ready[2 + pending + index]) {
                self.started(index);
            }
            for index in (0..pending).rev().filter(|index| ready[2 + index]) {
                self.settle(index)?;
            }
            if ready[1] {
                sys::drain_signals(exits);
                self.reap()?;
            }
            if ready[0] {
                let (message, _) = receive::<ToLauncher>(self.control, buffer)?;
                self.handle(message)?;
            }
        }
    }

    fn has_spares(&self) -> bool {
        !self.network.wants_refill() && !self.groups.wants_refill(&self.hierarchies)
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
                let live = self.live.iter().filter(|(_, live)| live.sandbox == sandbox).map(|(pid, _)| *pid);
                pending.chain(live).for_each(kill);
                Ok(())
            }
            ToLauncher::Open { sandbox, outlet } => self.open(sandbox, outlet),
            ToLauncher::KillGroup { sandbox, hierarchy, name } => {
                if let Some(live) = self.live.values().find(|live| live.sandbox == sandbox) {
                    self.groups.kill(&live.group, hierarchy, &name);
                }
                Ok(())
            }
        }
    }

    fn send(&self, message: &FromLauncher, fds: &[BorrowedFd<'_>]) -> Result<(), PacketError> {
        Packet::new(message)?.send(self.control, fds)
    }

    /// Gives a sandbox a way out.
    fn open(&mut self, sandbox: u64, outlet: Outlet) -> Result<(), PacketError> {
        let pid = self.live.iter().find(|(_, live)| live.sandbox == sandbox).map(|(pid, _)| *pid);
        // One that has ended is told of by itself.
        let Some(pid) = pid else { return Ok(()) };
        let (failure, hooks) = match self.network.open(pid, outlet) {
            Ok(hooks) => (None, hooks),
            Err(failure) => (Some(failure), Vec::new()),
        };
        if let Some(live) = self.live.get_mut(&pid) {
            // What was set up in its namespace is not undone.
            live.network = None;
        }
        let hooks: Vec<_> = hooks.iter().map(AsFd::as_fd).collect();
        self.send(&FromLauncher::Opened { sandbox, failure }, &hooks)
    }

    /// A pending sandbox's first process has said something.
    fn settle(&mut self, index: usize) -> Result<(), PacketError> {
        let pending = self.pending.swap_remove(index);
        let sandbox = pending.sandbox;
        let failure = match pending.status.read() {
            Said::Prepared => {
                let Pending { pid, group, network, agent, hooks, status, .. } = pending;
                let created = FromLauncher::Created { sandbox, pid, group: group.name.clone() };
                self.live.insert(pid, Live { sandbox, group, network, failure: None });
                self.starting.push((pid, status));
                let fds: Vec<_> = std::iter::once(&agent).chain(&hooks).map(AsFd::as_fd).collect();
                return self.send(&created, &fds);
            }
            Said::Failed(failure) => failure,
            Said::Over => failure("prepare the sandbox", Errno::PIPE),
        };
        // It exits right after it wrote: nothing of it is left when the engine hears of it.
        kill(pending.pid);
        wait(pending.pid);
        self.groups.remove(&pending.group);
        self.send(&FromLauncher::CreateFailed { sandbox, failure }, &[])
    }

    /// A first process that was to become the agent has become it, or says why not. In that case it ends by itself.
    fn started(&mut self, index: usize) {
        let (pid, status) = self.starting.swap_remove(index);
        if let (Some(failure), Some(live)) = (status.last_words(), self.live.get_mut(&pid)) {
            live.failure = Some(failure);
        }
    }

    /// Reports every sandbox that ended.
    fn reap(&mut self) -> Result<(), PacketError> {
        while let Some(ended) = sys::wait_any() {
            if let Some(index) = self.starting.iter().position(|(pid, _)| *pid == ended.pid) {
                self.started(index);
            }
            if let Some(Live { sandbox, group, network, failure }) = self.live.remove(&ended.pid) {
                let told = self.tell_end(sandbox, &ended, failure, &group);
                // After the engine was told: whoever waits for the end does not wait for this. Also if it is gone.
                self.groups.remove(&group);
                self.network.give_back(network);
                told?;
            } else if let Some(index) = self.pending.iter().position(|pending| pending.pid == ended.pid) {
                let pending = self.pending.swap_remove(index);
                let failure = pending.status.last_words().unwrap_or_else(|| Failure {
                    step: String::from("start the sandbox's first process"),
                    errno: 0,
                    detail: format!("it ended with wait status {:#x}", ended.status),
                });
                self.groups.remove(&pending.group);
                self.send(&FromLauncher::CreateFailed { sandbox: pending.sandbox, failure }, &[])?;
            }
        }
        Ok(())
    }

    fn tell_end(
        &self,
        sandbox: u64,
        ended: &sys::Ended,
        failure: Option<Failure>,
        group: &Group,
    ) -> Result<(), PacketError> {
        let (status, cpu_micros, readings) = (ended.status, ended.cpu_micros, self.groups.read(group));
        self.send(&FromLauncher::Ended { sandbox, status, failure, cpu_micros, readings }, &[])
    }

    fn end_all(&mut self) {
        self.live.keys().copied().chain(self.pending.iter().map(|pending| pending.pid)).for_each(kill);
        for (pid, Live { sandbox, group, .. }) in std::mem::take(&mut self.live) {
            let ended = wait(pid);
            // An engine that was shut down in order still listens; to one that is gone this is said in vain.
            let _ = self.tell_end(sandbox, &ended, None, &group);
            self.groups.remove(&group);
        }
        for pending in std::mem::take(&mut self.pending) {
            wait(pending.pid);
            self.groups.remove(&pending.group);
        }
        // Nothing is left that the journal would be needed for; else the next engine goes by it.
        if self.groups.remove_all() {
            let _ = std::fs::remove_file(&self.journal);
            let _ = self.journal.parent().map(std::fs::remove_dir);
        }
    }
}

/// Ends a child that is not reaped yet, so that its id cannot be another process's.
fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
}

fn wait(pid: i32) -> sys::Ended {
    sys::wait_for(pid)
}
