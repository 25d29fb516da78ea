//! The machine that the numbers are of, and how busy it was.

use serde::Serialize;
use std::fs;

/// What the results say about the machine and the thing measured.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) kernel: String,
    pub(crate) architecture: &'static str,
    pub(crate) cpus: usize,
    pub(crate) cpu: Option<String>,
    pub(crate) memory_mib: Option<u64>,
    /// Over 1, 5 and 15 minutes, before the first measurement (`proc_loadavg(5)`).
    pub(crate) load_average: Option<[f64; 3]>,
    /// And after the last one, which this program takes part in.
    pub(crate) load_average_after: Option<[f64; 3]>,
    /// The wait before each short operation.
    pub(crate) pause_ms: f64,
    /// How long all of it took.
    pub(crate) seconds: f64,
    pub(crate) version: &'static str,
    pub(crate) provider: String,
    pub(crate) isolation: Option<String>,
    pub(crate) limits: Limits,
    /// Systems that were asked for and are not in the results.
    pub(crate) skipped: Vec<Skipped>,
}

/// The limits that every measured sandbox had; `None` where the provider does not declare that it keeps one.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Limits {
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) cpus: Option<f64>,
    pub(crate) pids: Option<u64>,
}

/// A system that was left out.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Skipped {
    pub(crate) system: &'static str,
    pub(crate) why: String,
}

impl Machine {
    /// As it is now.
    pub(crate) fn look(provider: &str, limits: Limits) -> Self {
        Self {
            kernel: read("/proc/sys/kernel/osrelease"),
            architecture: std::env::consts::ARCH,
            cpus: cpus(),
            cpu: field("/proc/cpuinfo", "model name"),
            memory_mib: meminfo("MemTotal").map(|bytes| bytes >> 20),
            load_average: load_average(),
            load_average_after: None,
            pause_ms: 0.0,
            seconds: 0.0,
            version: env!("CARGO_PKG_VERSION"),
            provider: provider.to_owned(),
            isolation: None,
            limits,
            skipped: Vec::new(),
        }
    }
}

/// How many processors this process may use.
pub(crate) fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A line of `/proc/meminfo` in bytes (`proc_meminfo(5)`).
pub(crate) fn meminfo(name: &str) -> Option<u64> {
    let text = field("/proc/meminfo", name)?;
    text.strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// The sum of some of its lines, of those that this kernel has.
pub(crate) fn meminfo_sum(names: &[&str]) -> u64 {
    names.iter().filter_map(|name| meminfo(name)).sum()
}

/// CPU time that the whole machine has spent, in milliseconds: everything on the first line of `/proc/stat` but idle,
/// waiting for disks and time stolen by other machines (`proc_stat(5)`; its unit is `USER_HZ`, 100 on every Linux).
pub(crate) fn cpu_ms() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let fields: Vec<u64> = text.lines().next()?.split_whitespace().skip(1).filter_map(|w| w.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq
    let [user, nice, system, _, _, irq, softirq] = *fields.first_chunk()?;
    Some((user + nice + system + irq + softirq) as f64 * 10.0)
}

pub(crate) fn load_average() -> Option<[f64; 3]> {
    let text = read("/proc/loadavg");
    let numbers: Vec<f64> = text.split_whitespace().take(3).filter_map(|word| word.parse().ok()).collect();
    numbers.try_into().ok()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// The first `name: value` line.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'))?;
    Some(value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_says_what_it_is() {
        let machine = Machine::look("none", Limits::default());
        assert!(!machine.kernel.is_empty() && machine.cpus > 0, "{machine:?}");
        assert!(machine.memory_mib.is_some_and(|mib| mib > 0) && machine.load_average.is_some(), "{machine:?}");
        assert!(meminfo("MemAvailable") < meminfo("MemTotal"));
        assert!(cpu_ms().is_some_and(|ms| ms > 0.0));
    }
}
