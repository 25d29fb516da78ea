//! What a sandbox may use.

use crate::EngineError;
use crate::cgroup::{Controller, Places, advice};

/// Limits of one sandbox. `None` asks for nothing; what then holds stands at each.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct Limits {
    /// Memory in bytes: of processes, of files in memory (which the writable part is), and of the kernel on their behalf.
    /// At least 8 MiB. Default: what the machine has.
    pub memory_bytes: Option<u64>,
    /// CPU time in cores, over periods of 100 ms; 0.5 is half of one. At least 0.01. Default: all of them.
    pub cpus: Option<f64>,
    /// Processes and threads at a time, the engine's own not counted. Default: 4096 where that can be kept.
    pub pids: Option<u64>,
    /// The writable part of the file system in bytes. At least 1 MiB. Default: half of the machine's memory.
    pub disk_bytes: Option<u64>,
    /// Open files of each program. At least 16. Default: 1024, which a program may raise to 524288.
    pub open_files: Option<u64>,
}

const MIB: u64 = 1 << 20;

impl Limits {
    /// The smallest memory in which a sandbox comes up, with some for a program.
    const LEAST_MEMORY: u64 = 8 * MIB;
    const LEAST_DISK: u64 = MIB;
    const LEAST_FILES: u64 = 16;
    /// Above it nothing is limited any more, and kernels differ in what they do with the number.
    const MOST: u64 = 1 << 62;

    /// Refuses what makes no sense, before anything is made. `create` does so too; this is for whoever wants to know
    /// before an engine is started.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] with the name of the limit, in the words of the command line.
    pub fn check(&self) -> Result<(), EngineError> {
        let invalid = |field, problem: String| Err(EngineError::Invalid { field, problem });
        let least = [
            ("memory", self.memory_bytes, Self::LEAST_MEMORY, "bytes (8 MiB)"),
            ("pids", self.pids, 1, "process"),
            ("disk", self.disk_bytes, Self::LEAST_DISK, "bytes (1 MiB)"),
            ("max_open_files", self.open_files, Self::LEAST_FILES, "files"),
        ];
        for (field, value, least, unit) in least {
            match value {
                Some(value) if value < least => {
                    return invalid(field, format!("{value} is too little: a sandbox needs at least {least} {unit}"));
                }
                Some(value) if value > Self::MOST => return invalid(field, format!("{value} is no limit")),
                _ => {}
            }
        }
        match self.cpus {
            Some(cpus) if !(0.01..=65_536.0).contains(&cpus) => {
                invalid("cpu", format!("{cpus} is no number of cores from 0.01 to 65536"))
            }
            _ => Ok(()),
        }
    }
}

/// Which limits can be kept on this machine by this user.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeptLimits {
    /// Memory.
    pub memory: bool,
    /// CPU time.
    pub cpus: bool,
    /// Processes and threads.
    pub pids: bool,
    /// What to do about what cannot.
    pub advice: Option<String>,
}

impl KeptLimits {
    pub(crate) fn of(places: &Places) -> Self {
        let have = |controller| places.have(controller);
        let (memory, cpus, pids) = (have(Controller::Memory), have(Controller::Cpu), have(Controller::Pids));
        let advice = (!(memory && cpus && pids)).then(advice);
        Self { memory, cpus, pids, advice }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        let problem = |limits: Limits| limits.check().unwrap_err().to_string();
        assert!(problem(Limits { memory_bytes: Some(0), ..Limits::default() }).contains("`memory`"));
        assert!(problem(Limits { pids: Some(0), ..Limits::default() }).contains("`pids`"));
        assert!(problem(Limits { disk_bytes: Some(4096), ..Limits::default() }).contains("at least 1048576 bytes"));
        assert!(problem(Limits { open_files: Some(3), ..Limits::default() }).contains("`max_open_files`"));
        assert!(problem(Limits { memory_bytes: Some(u64::MAX), ..Limits::default() }).contains("no limit"));
        for cpus in [0.0, -1.0, 0.001, f64::NAN, f64::INFINITY] {
            assert!(problem(Limits { cpus: Some(cpus), ..Limits::default() }).contains("`cpu`"), "{cpus}");
        }
        let sensible = Limits { memory_bytes: Some(8 << 20), cpus: Some(0.5), pids: Some(1), ..Limits::default() };
        sensible.check().unwrap();
    }
}
