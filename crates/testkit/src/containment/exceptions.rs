//! What a sandbox of ours loses on purpose, with the reason. SECURITY.md names it.

use super::answer::Answer;

/// Checks that are not held.
pub(super) struct Exception {
    /// Of the check.
    pub(super) id: &'static str,
    /// The rungs where it is so; none is all of them.
    pub(super) rungs: &'static [&'static str],
    /// Also for an ordinary user inside.
    pub(super) ordinary_user: bool,
    /// Only for a command with a time limit of its own.
    pub(super) timed: bool,
    /// Why.
    pub(super) reason: &'static str,
}

const CAPABILITIES: &str = "the sandbox's root keeps eleven capabilities over the sandbox's own user namespace, which package managers, \
     `su` and daemons that give up privileges need; an ordinary user inside has none";

const fn capability(id: &'static str) -> Exception {
    Exception { id, rungs: &[], ordinary_user: false, timed: false, reason: CAPABILITIES }
}

/// All of them.
pub(super) const EXCEPTIONS: &[Exception] = &[
    Exception {
        id: "namespaces.time",
        rungs: &[],
        ordinary_user: true,
        timed: false,
        reason: "a time namespace shifts the monotonic and boot clocks and nothing else: it would hide how long the host is up, \
                 and make timestamps of the two sides incomparable",
    },
    Exception {
        id: "cgroup.self_root",
        rungs: &[],
        ordinary_user: true,
        timed: true,
        reason: "a command with a time limit of its own is in a group of its own below the sandbox's, which shows as `/e` and a number; nothing outside shows",
    },
    capability("capabilities.chown"),
    capability("capabilities.dac_override"),
    capability("capabilities.fowner"),
    capability("capabilities.fsetid"),
    capability("capabilities.kill"),
    capability("capabilities.setgid"),
    capability("capabilities.setuid"),
    capability("capabilities.setpcap"),
    capability("capabilities.net_bind_service"),
    capability("capabilities.sys_chroot"),
    capability("capabilities.setfcap"),
];

/// The exception that allows this answer on this rung.
pub(super) fn allowing(answer: &Answer, rung: &str, ordinary_user: bool, timed: bool) -> Option<&'static Exception> {
    EXCEPTIONS.iter().find(|exception| {
        exception.id == answer.id
            && (exception.rungs.is_empty() || exception.rungs.contains(&rung))
            && (exception.ordinary_user || !ordinary_user)
            && (timed || !exception.timed)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exception_is_a_check_and_stands_once() {
        let ids = super::super::answer::expected();
        for (index, exception) in EXCEPTIONS.iter().enumerate() {
            assert!(ids.contains(exception.id), "{} is no check", exception.id);
            assert!(EXCEPTIONS[index + 1..].iter().all(|other| other.id != exception.id), "{} twice", exception.id);
        }
    }
}
