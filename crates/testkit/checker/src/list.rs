//! The list of checks, from `checks.txt`.

use crate::sys::Entry;

const TEXT: &str = include_str!("../checks.txt");

/// One check.
pub(crate) struct Check {
    /// `group.name`, and for calls the entry: stable, it stands in tables and reports.
    pub(crate) id: String,
    pub(crate) group: &'static str,
    pub(crate) severity: &'static str,
    pub(crate) kind: &'static str,
    /// Without the entry.
    pub(crate) name: &'static str,
    pub(crate) arguments: &'static str,
    pub(crate) tried: &'static str,
    /// The way in and the number, for calls.
    pub(crate) call: Option<(Entry, u64)>,
}

#[cfg(target_arch = "x86_64")]
const ENTRIES: &[(Entry, usize, &str)] =
    &[(Entry::Native, 0, "x86_64"), (Entry::X32, 1, "x32"), (Entry::I386, 2, "i386")];
#[cfg(not(target_arch = "x86_64"))]
const ENTRIES: &[(Entry, usize, &str)] = &[(Entry::Native, 3, "arm64")];

/// Every check of this architecture, in order.
pub(crate) fn all() -> Vec<Check> {
    let (mut checks, mut group) = (Vec::new(), "");
    for line in TEXT.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            group = name;
            continue;
        }
        let fields: Vec<&str> = line.split('|').map(str::trim).collect();
        let (kind, name) = fields[0].split_once(' ').unwrap_or_default();
        let make =
            |id, arguments, tried, call| Check { id, group, severity: fields[1], kind, name, arguments, tried, call };
        if kind != "call" {
            checks.push(make(format!("{group}.{name}"), fields[2], fields[3], None));
            continue;
        }
        let numbers: Vec<&str> = fields[2].split(' ').collect();
        for &(entry, column, entry_name) in ENTRIES {
            if let Ok(number) = numbers[column].parse() {
                checks.push(make(format!("{group}.{name}.{entry_name}"), fields[3], fields[4], Some((entry, number))));
            }
        }
    }
    checks
}
