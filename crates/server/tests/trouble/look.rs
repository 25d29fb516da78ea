//! What a server holds: open files, tasks, memory. It runs in this process, so they are those of the process.

use crate::world::{World, eventually};
use std::collections::BTreeMap;
use tokio::runtime::Handle;

/// A moment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Look {
    files: Files,
    tasks: usize,
    alive: usize,
    spared: usize,
}

/// Open files, by number.
type Files = BTreeMap<String, String>;

impl Look {
    /// Now, once what was there a moment ago has settled.
    pub(crate) async fn now(world: &World) -> Self {
        let mut last = Self::at_once(world).await;
        let mut same = 0;
        while same < 10 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            let look = Self::at_once(world).await;
            same = if look == last { same + 1 } else { 0 };
            last = look;
        }
        last
    }

    /// With so many open files that may stay.
    pub(crate) fn with_more_files(self, more: usize) -> Self {
        Self { spared: more, ..self }
    }

    async fn at_once(world: &World) -> Self {
        Self {
            files: files(),
            tasks: Handle::current().metrics().num_alive_tasks(),
            alive: world.alive().await,
            spared: 0,
        }
    }

    /// Everything that has come since then is gone again.
    pub(crate) async fn and_nothing_more(&self, world: &World) {
        let alive = world.alive().await;
        assert!(alive <= self.alive, "{alive} sandboxes, and there were {}", self.alive);
        eventually("what the clients left behind is gone", || {
            let (files, tasks) = (files(), Handle::current().metrics().num_alive_tasks());
            if files.len() <= self.files.len() + self.spared && tasks <= self.tasks {
                return Ok(());
            }
            let (is, was) = (files.len(), self.files.len());
            let new: Vec<_> = files.values().filter(|file| !self.files.values().any(|known| known == *file)).collect();
            Err(format!("{is} open files and {tasks} tasks; there were {was} and {}; new: {new:?}", self.tasks))
        })
        .await;
    }
}

fn files() -> Files {
    let own = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    // The one that lists them is gone when it is looked at.
    own.filter_map(|entry| {
        let file = std::fs::read_link(entry.path()).ok()?;
        Some((entry.file_name().into_string().ok()?, file.display().to_string()))
    })
    .collect()
}

fn status(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

/// The most memory from here on.
pub(crate) struct Peak {
    before: u64,
}

impl Peak {
    pub(crate) fn begin() -> Self {
        // 5 is VmHWM (proc_pid_clear_refs(5)).
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        Self { before: status("VmRSS") }
    }

    /// How much more it was at most, in MiB.
    pub(crate) fn mib(&self) -> u64 {
        status("VmHWM").saturating_sub(self.before) / 1024
    }
}
