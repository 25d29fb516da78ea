//! For tests: a state in a folder of its own, which goes with it.

use super::{SandboxRecord, SpecRecord, State, StateError, StateOptions};
use crate::ids::{Family, fresh};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tempfile::TempDir;

pub(crate) struct Scratch {
    // Before the folder.
    pub(crate) state: State,
    dir: TempDir,
}

impl Scratch {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { state: open(dir.path()).await.unwrap(), dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What the next server finds.
    pub(crate) async fn restart(self) -> Self {
        let Self { state, dir } = self;
        drop(state);
        Self { state: open(dir.path()).await.unwrap(), dir }
    }

    /// The folder alone, with nobody in it.
    pub(crate) fn close(self) -> TempDir {
        self.dir
    }
}

pub(crate) async fn open(dir: &Path) -> Result<State, StateError> {
    State::open(StateOptions { dir: dir.to_owned(), key: None }).await
}

/// A sandbox of the workspace `team`, in `main`, in the app `ap-1`.
pub(crate) fn sandbox(name: Option<&str>) -> SandboxRecord {
    SandboxRecord {
        id: Family::V2.sandbox_id(),
        task_id: fresh("ta"),
        workspace: "team".to_owned(),
        environment: String::new(),
        app_id: "ap-1".to_owned(),
        name: name.map(ToOwned::to_owned),
        tags: BTreeMap::new(),
        created_at: SystemTime::now(),
        ready_at: None,
        ended_at: None,
        end: None,
        provider_id: None,
        spec: SpecRecord { image_id: "im-1".to_owned(), timeout_secs: 300, ..SpecRecord::default() },
    }
}

/// Every file in a folder.
pub(crate) fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect()
}
