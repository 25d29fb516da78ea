//! What is known of one program besides its streams: its group, what it used, and why it failed.
//!
//! The agent says *how* a program ended. *Why* is told from outside where that is possible: by the counts of the control
//! groups before and after it. Only that the disk is full is the sandbox's own word.

use crate::cgroup::{Account, Groups, Leaf};
use crate::exec::{ExecEnd, ExecUsage};
use crate::stream::SharedTally;
use computesdk_guest_protocol::agent::{Exit, Usage};
use rustix::process::Signal;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// One program.
#[derive(Debug)]
pub(crate) struct Record {
    /// The engine's number for it.
    pub(crate) number: u32,
    /// Its own group, if it has a time limit and groups can be had.
    pub(crate) leaf: Option<Leaf>,
    pub(crate) tally: Arc<SharedTally>,
    groups: Arc<Groups>,
    /// The name of its sandbox's groups.
    group: String,
    /// What had gone wrong in the sandbox before it began.
    before: Account,
    killed: AtomicBool,
    used: OnceLock<Usage>,
}

impl Record {
    /// `is_first`: nothing has run in the sandbox yet, so nothing can have gone wrong.
    pub(crate) fn new(number: u32, tally: Arc<SharedTally>, groups: &Arc<Groups>, group: &str, is_first: bool) -> Self {
        Self {
            number,
            leaf: None,
            tally,
            groups: Arc::clone(groups),
            group: group.to_owned(),
            before: if is_first { Account::default() } else { groups.troubles(group) },
            killed: AtomicBool::new(false),
            used: OnceLock::new(),
        }
    }

    /// Makes a group of its own for one with a time limit, and returns the descriptor by which it is entered.
    pub(crate) fn with_group(mut self, has_limit: bool) -> (Self, Option<OwnedFd>) {
        if !has_limit {
            return (self, None);
        }
        let Some((leaf, procs)) = Leaf::make(&self.groups, &self.group, self.number) else { return (self, None) };
        self.leaf = Some(leaf);
        (self, Some(procs))
    }

    /// Somebody asked for its end: a SIGKILL is then no sign of anything else.
    pub(crate) fn was_killed(&self) {
        self.killed.store(true, Ordering::Relaxed);
    }

    /// Why it ended. `alone`: no other program that was asked for runs in the sandbox.
    pub(crate) fn judge(&self, exit: Exit, usage: Usage, alone: bool) -> ExecEnd {
        let end = self.cause(exit, usage, alone);
        if let Some(leaf) = &self.leaf {
            leaf.remove();
        }
        end
    }

    fn cause(&self, exit: Exit, usage: Usage, alone: bool) -> ExecEnd {
        let _ = self.used.set(usage);
        let (end, code) = match exit {
            Exit::Code(code) => (ExecEnd::Exited { code: code & 0xff }, code & 0xff),
            Exit::Signal(signal) => {
                let signal = signal & 0x7f;
                (ExecEnd::Signalled { signal }, 128 + signal)
            }
        };
        if code == 0 || self.killed.load(Ordering::Relaxed) {
            return end;
        }
        let now = self.groups.troubles(&self.group);
        // 137 is what a shell says of a child that was killed.
        let looks_killed = code == 128 + Signal::KILL.as_raw();
        if more(now.oom_kills, self.before.oom_kills) && (looks_killed || alone) {
            return ExecEnd::OutOfMemory { code };
        }
        let refused = match &self.leaf {
            Some(leaf) if more(leaf.refused_forks(), Some(0)) => true,
            _ => more(now.refused_forks, self.before.refused_forks) && alone,
        };
        if refused {
            return ExecEnd::ProcessLimit { code };
        }
        if usage.disk_full && matches!(exit, Exit::Code(_)) {
            return ExecEnd::DiskFull { code };
        }
        end
    }

    pub(crate) fn usage(&self) -> ExecUsage {
        let used = self.used.get();
        ExecUsage {
            peak_memory_bytes: used.map(|used| used.peak_kib.saturating_mul(1024)),
            cpu_time: used.map(|used| Duration::from_micros(used.cpu_micros)),
            output_bytes: self.tally.bytes(),
        }
    }
}

fn more(now: Option<u64>, before: Option<u64>) -> bool {
    now.unwrap_or(0) > before.unwrap_or(0)
}
