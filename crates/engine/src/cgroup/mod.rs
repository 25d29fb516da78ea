//! Control groups: limits that are enforced from outside of a sandbox, and accounts of what it used (`cgroups(7)`).
//!
//! ```text
//! find ──► Places ──prepare──► Groups (the engine's own group in each hierarchy) ──► launcher: one below it per sandbox
//!            │ which controllers can be used here             │ plan: what a sandbox's limits mean as files and values
//!            └ why not, and what to do about it               └ account: what its files say
//! ```
//!
//! * [`find`]: where this process may make groups. Version 1 and 2, alone or side by side.
//! * [`layout`]: names and formats of the files, for both versions.
//! * [`leaf`]: a group for one command with a time limit, so that nothing it started escapes its end.
//!
//! The launcher makes, fills and removes the sandboxes' groups; this module decides what stands in them. A limit that no
//! controller here can keep is refused by name before anything is made.

mod clear;
mod find;
mod layout;
mod leaf;
#[cfg(test)]
mod tests;

pub(crate) use clear::clear;
pub(crate) use find::{Places, advice, check, find};
pub(crate) use layout::Account;
pub(crate) use leaf::Leaf;

use crate::{EngineError, Limits};
use computesdk_guest_protocol::launcher::{GroupFile, GroupLimit};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// What can be limited or counted by a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Controller {
    Memory,
    Pids,
    /// Limits CPU time.
    Cpu,
    /// Counts CPU time. In version 2 that is part of every group.
    CpuAccounting,
}

/// Version of a hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

/// One hierarchy with what is used of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    pub(crate) version: Version,
    /// The directory below which groups are made.
    pub(crate) dir: PathBuf,
    pub(crate) controllers: Vec<Controller>,
}

/// The engine's own groups, which hold those of its sandboxes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Groups {
    hierarchies: Vec<Hierarchy>,
    /// Sandboxes have other ids than whoever made the groups. Version 1 then lets nobody in but at the start
    /// (`cgroup1_procs_write`).
    foreign_ids: bool,
}

/// What the launcher is told about one sandbox.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) hierarchies: Vec<u8>,
    pub(crate) limits: Vec<GroupLimit>,
}

impl Groups {
    /// Makes the engine's group in each hierarchy; `before` is called with each path before it is made. A hierarchy that
    /// refuses is left out: what is lost by that is refused when it is asked for.
    pub(crate) fn prepare(
        places: &Places,
        name: &str,
        foreign_ids: bool,
        mut before: impl FnMut(&Path) -> Result<(), EngineError>,
    ) -> Result<Self, EngineError> {
        let mut hierarchies = Vec::new();
        for place in &places.hierarchies {
            let dir = place.dir.join(name);
            before(&dir)?;
            match std::fs::create_dir(&dir) {
                Ok(()) => {}
                Err(error) => {
                    tracing::debug!(dir = %dir.display(), %error, "no control group can be made here");
                    continue;
                }
            }
            let mut hierarchy = Hierarchy { dir, ..place.clone() };
            if hierarchy.version == Version::Two {
                hierarchy.controllers = find::enable(&hierarchy.dir, &place.controllers);
            }
            hierarchies.push(hierarchy);
        }
        Ok(Self { hierarchies, foreign_ids })
    }

    /// The directories, in the order that the launcher's messages count them.
    pub(crate) fn dirs(&self) -> impl Iterator<Item = &Path> {
        self.hierarchies.iter().map(|hierarchy| hierarchy.dir.as_path())
    }

    /// Removes what a launcher that was killed has left. Of one that ended in order, nothing is left.
    pub(crate) fn clear(&self) {
        for dir in self.dirs() {
            if !clear(dir) {
                tracing::warn!(dir = %dir.display(), "a control group is still busy, and left behind");
            }
        }
    }

    pub(crate) fn wire_dirs(&self) -> Vec<Vec<u8>> {
        self.dirs().map(|dir| dir.as_os_str().as_bytes().to_vec()).collect()
    }

    /// The files that tell what a sandbox used.
    pub(crate) fn readings(&self) -> Vec<GroupFile> {
        self.sources().map(|(hierarchy, source)| GroupFile { hierarchy, name: source.file.to_owned() }).collect()
    }

    fn sources(&self) -> impl Iterator<Item = (u8, &'static layout::Source)> {
        numbered(&self.hierarchies)
            .flat_map(|(number, hierarchy)| layout::sources(hierarchy).map(move |source| (number, source)))
    }

    fn position(&self, controller: Controller) -> Option<(u8, Version)> {
        numbered(&self.hierarchies)
            .find(|(_, hierarchy)| hierarchy.controllers.contains(&controller))
            .map(|(number, hierarchy)| (number, hierarchy.version))
    }

    /// What these limits mean here.
    pub(crate) fn plan(&self, limits: &Limits) -> Result<Plan, EngineError> {
        let mut plan = Plan::default();
        for (number, hierarchy) in numbered(&self.hierarchies) {
            // One that can only limit CPU time is entered only when that is asked for.
            let is_needed = hierarchy.controllers != [Controller::Cpu] || limits.cpus.is_some();
            if is_needed {
                plan.hierarchies.push(number);
            }
        }
        for wanted in layout::limits(limits) {
            let Some((hierarchy, version)) = self.position(wanted.controller) else {
                return Err(EngineError::NoLimit { limit: wanted.option });
            };
            for (name, value, may_be_missing) in wanted.writes(version) {
                let file = GroupFile { hierarchy, name: name.to_owned() };
                plan.limits.push(GroupLimit { file, value, may_be_missing });
            }
        }
        // Not asked for by anybody: left out where it cannot be had.
        if limits.pids.is_none()
            && let Some((hierarchy, version)) = self.position(Controller::Pids)
        {
            for (name, value, may_be_missing) in layout::default_pids().writes(version) {
                let file = GroupFile { hierarchy, name: name.to_owned() };
                plan.limits.push(GroupLimit { file, value, may_be_missing });
            }
        }
        Ok(plan)
    }

    /// What a sandbox used, from what its files said.
    pub(crate) fn account(&self, readings: &[Option<String>]) -> Account {
        let mut account = Account::default();
        for ((_, source), text) in self.sources().zip(readings) {
            if let Some(text) = text {
                (source.take)(&mut account, text);
            }
        }
        account
    }

    /// What a running sandbox has used so far; `group` is the name of its groups.
    pub(crate) fn read(&self, group: &str) -> Account {
        self.read_some(group, |_| true)
    }

    /// How many of its processes the kernel has killed for want of memory, and how many it has refused to make.
    pub(crate) fn troubles(&self, group: &str) -> Account {
        self.read_some(group, |source| source.is_trouble)
    }

    fn read_some(&self, group: &str, wanted: impl Fn(&layout::Source) -> bool) -> Account {
        let mut account = Account::default();
        if group.is_empty() {
            return account;
        }
        for (hierarchy, source) in self.sources().filter(|(_, source)| wanted(source)) {
            let path = self.hierarchies[usize::from(hierarchy)].dir.join(group).join(source.file);
            if let Ok(text) = std::fs::read_to_string(path) {
                (source.take)(&mut account, &text);
            }
        }
        account
    }

    /// The hierarchy in which commands get groups of their own: one that can be killed at once, or at least stopped from
    /// growing.
    pub(crate) fn for_commands(&self) -> Option<(u8, &Hierarchy)> {
        numbered(&self.hierarchies)
            .find(|(_, hierarchy)| hierarchy.version == Version::Two)
            .or_else(|| numbered(&self.hierarchies).find(|(_, one)| one.controllers.contains(&Controller::Pids)))
            .filter(|(_, hierarchy)| hierarchy.version == Version::Two || !self.foreign_ids)
    }
}

fn numbered(hierarchies: &[Hierarchy]) -> impl Iterator<Item = (u8, &Hierarchy)> {
    // A machine has a dozen at most.
    (0_u8..).zip(hierarchies)
}
