//! Engine and launcher.

use crate::Bytes;
use crate::outlet::Outlet;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// How the launcher gets the privilege to make sandboxes. Rungs D and E of the design are not the launcher's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Privilege {
    /// It has `CAP_SYS_ADMIN` in the initial user namespace.
    Root,
    /// It makes a user namespace of its own and has `newuidmap` map a range of subordinate ids into it.
    SubordinateIds,
    /// It makes a user namespace of its own with one id in it.
    SingleId,
}

/// The first message: everything that is the same for all sandboxes. The agent's program comes with it, as a descriptor.
#[derive(Debug, Serialize, Deserialize)]
pub struct Init {
    /// [`PROTOCOL`](crate::PROTOCOL).
    pub protocol: u32,
    /// How to get privilege.
    pub privilege: Privilege,
    /// First subordinate uid and how many, for [`Privilege::SubordinateIds`].
    pub subuid: (u32, u32),
    /// First subordinate gid and how many.
    pub subgid: (u32, u32),
    /// `newuidmap` and `newgidmap`, absolute.
    pub map_programs: (Bytes, Bytes),
    /// The engine's journal, which the launcher removes when it has ended every sandbox: the engine's process may be gone
    /// by then.
    pub journal: Bytes,
    /// The engine's own cgroups, one directory a hierarchy. They exist; the launcher makes a group for each sandbox below
    /// them, and removes everything at its end. Empty where there are none.
    pub cgroups: Vec<Bytes>,
    /// Files of a sandbox's groups whose content is told at its end.
    pub readings: Vec<GroupFile>,
    /// The way out that most sandboxes will have. It is tried at once, and one is made ahead.
    pub outlet: Outlet,
    /// What every sandbox is held to.
    pub policy: Policy,
}

/// A file of a sandbox's control group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupFile {
    /// Which hierarchy, by its place in [`Init::cgroups`].
    pub hierarchy: u8,
    /// The name, such as `memory.max`.
    pub name: String,
}

/// A limit: a value for a file of a sandbox's control group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupLimit {
    /// Where it is written.
    pub file: GroupFile,
    /// What is written.
    pub value: String,
    /// Whether a kernel without this file will do (swap accounting, for one).
    pub may_be_missing: bool,
}

/// What every sandbox is held to, as data.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Policy {
    /// Seccomp programs in load order, each a sequence of `struct sock_filter`.
    pub filters: Vec<Vec<(u16, u8, u8, u32)>>,
    /// Capabilities that stay in the bounding set, one bit each (`capabilities(7)`).
    pub capabilities: u64,
    /// Files of `/proc` that are covered by `/dev/null`.
    pub proc_masked_files: Vec<String>,
    /// Directories of `/proc` that are covered by an empty one.
    pub proc_masked_dirs: Vec<String>,
    /// Paths of `/proc` that are made read-only.
    pub proc_read_only: Vec<String>,
    /// Nodes of the host's `/dev` that appear in the sandbox's.
    pub devices: Vec<String>,
    /// Links in `/dev`: name, target.
    pub device_links: Vec<(String, String)>,
    /// Settings of each network namespace: path below `/proc/sys`, value.
    pub sysctls: Vec<(String, String)>,
    /// Resource limits of every process: number (`getrlimit(2)`), soft, hard.
    pub rlimits: Vec<(u32, u64, u64)>,
}

/// A directory that is made in a layer's upper.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OwnedDir {
    /// Path relative to the layer.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// User and group, as the sandbox numbers them.
    pub owner: u32,
}

/// One overlay of a sandbox's root file system.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Layer {
    /// Absolute path in the sandbox; the first layer's is `/`.
    pub target: String,
    /// Host directories, topmost first.
    pub lowers: Vec<Bytes>,
    /// Made in the upper, where host ids are not mapped and a merged directory would belong to nobody.
    pub owned: Vec<OwnedDir>,
}

/// One sandbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Create {
    /// The engine's number for it.
    pub sandbox: u64,
    /// Host name inside.
    pub hostname: String,
    /// First id, in the launcher's user namespace, of the sandbox's ids, and how many it has.
    pub ids: (u32, u32),
    /// Whether lower directories are idmapped, so that the sandbox's root owns what the host's root owns.
    pub idmapped: bool,
    /// The root file system.
    pub layers: Vec<Layer>,
    /// Size of the writable part in bytes; 0 is the kernel's default, half of the memory.
    pub disk_bytes: u64,
    /// The hierarchies in which it gets a group of its own, by their place in [`Init::cgroups`].
    pub hierarchies: Vec<u8>,
    /// Written to its groups before any program of it runs.
    pub limits: Vec<GroupLimit>,
    /// The way out of its network namespace.
    pub outlet: Outlet,
    /// Most descriptors of its first process, which no process below it can raise; 0 leaves the policy's limit.
    pub open_files: u64,
    /// Leave `/proc` empty where the kernel refuses a fresh one. Only when the caller asked for less isolation.
    pub without_proc: bool,
}

/// Engine to launcher.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToLauncher {
    /// The first message.
    Init(Box<Init>),
    /// Make a sandbox.
    Create(Box<Create>),
    /// End a sandbox.
    Kill {
        /// Its number.
        sandbox: u64,
    },
    /// Give a sandbox that has none a way out of its network namespace. Answered by [`FromLauncher::Opened`].
    Open {
        /// Its number.
        sandbox: u64,
        /// The way.
        outlet: Outlet,
    },
    /// Kill every process that is in a group below one of a sandbox's groups, once. Nothing is answered: the engine sees
    /// by itself whether the group is empty, and asks again.
    KillGroup {
        /// The sandbox's number.
        sandbox: u64,
        /// The hierarchy, by its place in [`Init::cgroups`].
        hierarchy: u8,
        /// The name of the group below the sandbox's.
        name: String,
    },
}

/// Launcher to engine.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromLauncher {
    /// The answer to [`ToLauncher::Init`].
    Ready {
        /// Why [`Init::outlet`] cannot be had here, if it cannot.
        outlet: Option<Failure>,
    },
    /// [`ToLauncher::Init`] failed; the launcher exits.
    InitFailed(Failure),
    /// A sandbox is there: its root file system is built, it is in its groups and under its limits. Its agent's socket comes
    /// with the packet, before the [`Hooks`](crate::outlet::Hooks) of its outlet, and can be written to, while the process gives up its privileges and becomes the agent.
    Created {
        /// Its number.
        sandbox: u64,
        /// Its first process, as the host numbers processes.
        pid: i32,
        /// The name of its groups, below each of [`Init::cgroups`]; empty if it has none.
        group: String,
    },
    /// The answer to [`ToLauncher::Open`]; the hooks come with the packet.
    Opened {
        /// The sandbox's number.
        sandbox: u64,
        /// Why it has no way out, if it still has none.
        failure: Option<Failure>,
    },
    /// A sandbox could not be made; nothing of it is left.
    CreateFailed {
        /// Its number.
        sandbox: u64,
        /// Why.
        failure: Failure,
    },
    /// A sandbox's first process is reaped, hence every process in it is gone.
    Ended {
        /// Its number.
        sandbox: u64,
        /// Its wait status, as `waitpid(2)` gives it.
        status: i32,
        /// What kept it from becoming the agent, if it never did.
        failure: Option<Failure>,
        /// CPU time of everything in it that was waited for, in microseconds (`getrusage(2)`).
        cpu_micros: u64,
        /// What stood in each of [`Init::readings`]; `None` where it has no such group, or it could not be read.
        readings: Vec<Option<String>>,
    },
}

/// What failed, where.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failure {
    /// The step, as a user can read it: `mount overlay on /usr`.
    pub step: String,
    /// The error number; 0 if there is none.
    pub errno: i32,
    /// What the kernel or a helper program said besides.
    pub detail: String,
}
