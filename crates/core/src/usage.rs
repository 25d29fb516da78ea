//! What a process or a sandbox used.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What was used, as far as the provider can tell; `None` is not known. Final once the process or sandbox has ended.
///
/// Serialises with camelCase keys, `cpuSeconds` as a number; what is not known is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct Usage {
    /// Most memory at a time, in bytes. Of a sandbox: of everything in it, files in memory included. Of a process: its
    /// largest resident set, or that of a descendant it waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_memory_bytes: Option<u64>,
    /// CPU time, of a process with the descendants it waited for.
    #[serde(rename = "cpuSeconds", with = "crate::time::seconds", skip_serializing_if = "Option::is_none")]
    pub cpu_time: Option<Duration>,
    /// Bytes of output that were read from it, standard output and error together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
    /// Processes that the kernel killed because memory ran out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_kills: Option<u64>,
}

impl Usage {
    /// Whether nothing at all is known.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_left_out() {
        let usage =
            Usage { peak_memory_bytes: Some(1 << 20), cpu_time: Some(Duration::from_millis(1500)), ..Usage::default() };
        let json = serde_json::to_string(&usage).unwrap();
        assert_eq!(json, r#"{"peakMemoryBytes":1048576,"cpuSeconds":1.5}"#);
        assert_eq!(serde_json::from_str::<Usage>(&json).unwrap(), usage);
        assert!(Usage::default().is_unknown() && !usage.is_unknown());
    }
}
