//! One trial, and the macro that makes a group of them.

use crate::check::Outcome;
use crate::context::Context;
use crate::need::Need;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// A trial under way.
pub(crate) type Running = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// One check of the suite: a name, what it needs, and an async function.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trial {
    /// The resource it is about.
    pub(crate) group: &'static str,
    /// What must hold, as a sentence.
    pub(crate) name: &'static str,
    /// When it applies.
    pub(crate) needs: &'static [Need],
    /// The check itself.
    pub(crate) run: fn(Arc<Context>) -> Running,
}

impl Trial {
    /// `group::name`, as it stands in the log and as filters see it.
    pub(crate) fn full_name(&self) -> String {
        format!("{}::{}", self.group, self.name)
    }
}

/// Makes the `TRIALS` of a file: `trials!("exec"; plain_trial, needy_trial[Files, Users])`.
macro_rules! trials {
    ($group:literal; $($name:ident $([$($need:ident $(($what:literal))?),+])?),+ $(,)?) => {
        /// The trials of this file.
        pub(crate) const TRIALS: &[$crate::trial::Trial] = &[$($crate::trial::Trial {
            group: $group,
            name: stringify!($name),
            needs: &[$($($crate::need::Need::$need $(($what))?),+)?],
            run: |context| Box::pin(async move { $name(&context).await }),
        }),+];
    };
}
