//! The connections of a sandbox that were allowed and are not over.
//!
//! Each is told of twice: when it is allowed, and when it is over, with its bytes. Also if it is over because its sandbox is.

use crate::relay::Copied;
use crate::target::Target;
use std::collections::HashMap;
use std::sync::Arc;

/// What is open, by the numbers of the connections.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    open: HashMap<u64, (Target, Arc<Copied>)>,
    is_closed: bool,
}

impl Ledger {
    /// A connection was allowed, whose bytes are counted there; false if nothing is told any more.
    pub(crate) fn begin(&mut self, target: &Target, copied: &Arc<Copied>) -> bool {
        if !self.is_closed {
            self.open.insert(target.connection, (target.clone(), Arc::clone(copied)));
        }
        !self.is_closed
    }

    /// One is over, or was never allowed; false if nothing is told any more.
    pub(crate) fn end(&mut self, target: &Target) -> bool {
        self.open.remove(&target.connection);
        !self.is_closed
    }

    /// Everything is over. What was still open.
    pub(crate) fn close(&mut self) -> Vec<(Target, Arc<Copied>)> {
        self.is_closed = true;
        let mut open: Vec<_> = std::mem::take(&mut self.open).into_values().collect();
        open.sort_unstable_by_key(|(target, _)| target.connection);
        open
    }
}
