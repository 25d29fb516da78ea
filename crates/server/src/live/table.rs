//! Every sandbox that is alive, and those that ended last.

use super::sandbox::Live;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// So many that have ended keep their output, and so much of it in memory; of others the state tells how they ended.
pub(crate) const ENDED: usize = 256;
const HELD: u64 = 256 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Table {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    by_id: HashMap<String, Arc<Live>>,
    by_task: HashMap<String, String>,
    ended: VecDeque<(String, u64)>,
    /// Places held for sandboxes that are being made, by token.
    reserved: HashMap<String, usize>,
}

/// How many sandboxes there may be.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Quota {
    /// In all.
    pub(crate) total: Option<usize>,
    /// For each token.
    pub(crate) per_token: Option<usize>,
}

/// A place for one sandbox more, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    table: &'a Table,
    token_id: String,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut inner = self.table.inner();
        if let Some(count) = inner.reserved.get_mut(&self.token_id) {
            *count -= 1;
            if *count == 0 {
                inner.reserved.remove(&self.token_id);
            }
        }
    }
}

impl Table {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds a place, or says which limit is met.
    pub(crate) fn reserve(&self, token_id: &str, quota: Quota) -> Result<Place<'_>, String> {
        let mut inner = self.inner();
        let running = || inner.by_id.values().filter(|live| live.end().is_none());
        let total = running().count() + inner.reserved.values().sum::<usize>();
        let own = running().filter(|live| live.identity().token_id == token_id).count()
            + inner.reserved.get(token_id).copied().unwrap_or(0);
        if let Some(most) = quota.total.filter(|most| total >= *most) {
            return Err(format!(
                "quota exceeded: {most} sandboxes are running, as many as this server allows (--max-sandboxes)"
            ));
        }
        if let Some(most) = quota.per_token.filter(|most| own >= *most) {
            return Err(format!(
                "quota exceeded: {most} sandboxes of this token are running, as many as it may (--max-sandboxes-per-token)"
            ));
        }
        *inner.reserved.entry(token_id.to_owned()).or_default() += 1;
        drop(inner);
        Ok(Place { table: self, token_id: token_id.to_owned() })
    }

    pub(crate) fn insert(&self, live: Arc<Live>) {
        let mut inner = self.inner();
        inner.by_task.insert(live.identity().task_id.clone(), live.id().to_owned());
        inner.by_id.insert(live.id().to_owned(), live);
    }

    /// One that has ended: forgets those that ended first, if they are many.
    pub(crate) fn ended(&self, id: &str) {
        let mut inner = self.inner();
        let held = inner.by_id.get(id).map_or(0, |live| live.held());
        inner.ended.push_back((id.to_owned(), held));
        let mut all: u64 = inner.ended.iter().map(|(_, held)| held).sum();
        while inner.ended.len() > ENDED || (all > HELD && inner.ended.len() > 1) {
            let Some((oldest, held)) = inner.ended.pop_front() else { break };
            all -= held;
            if let Some(live) = inner.by_id.remove(&oldest) {
                inner.by_task.remove(&live.identity().task_id);
            }
        }
    }

    /// The one with this id, if it is this workspace's.
    pub(crate) fn get(&self, workspace: &str, id: &str) -> Option<Arc<Live>> {
        let live = self.inner().by_id.get(id).cloned()?;
        (live.identity().workspace == workspace).then_some(live)
    }

    /// The one with this task, if it is this workspace's.
    pub(crate) fn by_task(&self, workspace: &str, task_id: &str) -> Option<Arc<Live>> {
        let id = self.inner().by_task.get(task_id).cloned()?;
        self.get(workspace, &id)
    }

    /// The one in this workspace that has an exec of this id.
    pub(crate) fn by_exec(&self, workspace: &str, exec_id: &str) -> Option<Arc<Live>> {
        let inner = self.inner();
        inner.by_id.values().find(|live| live.identity().workspace == workspace && live.has_exec(exec_id)).cloned()
    }

    /// All of a workspace's.
    pub(crate) fn all(&self, workspace: &str) -> Vec<Arc<Live>> {
        self.inner().by_id.values().filter(|live| live.identity().workspace == workspace).cloned().collect()
    }

    /// Every one that has not ended.
    pub(crate) fn running(&self) -> Vec<Arc<Live>> {
        self.inner().by_id.values().filter(|live| live.end().is_none()).cloned().collect()
    }
}
