//! What is measured.

use clap::ValueEnum;

/// One metric. The comments are what the help says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Metric {
    /// Making a sandbox, to the first output of `/bin/echo` in it
    ColdCreate,
    /// A further command in a live sandbox, to its exit status
    Exec,
    /// Destroying a sandbox, until the call returns
    Destroy,
    /// Writing a file of 1 KiB
    #[value(name = "file_write_1k")]
    FileWrite1k,
    /// Sandboxes made, used and destroyed in a second, four at a time
    CreationsPerSecond,
    /// Memory that an idle sandbox takes from the machine, with 100 of them
    IdleMemory,
    /// 256 MiB of standard output
    Stdout,
    /// A file of 64 MiB into a sandbox
    FileUp,
    /// A file of 64 MiB out of a sandbox
    FileDown,
    /// Making a sandbox that may reach the network, beside one that may not
    EgressCreate,
    /// 1 MiB from a server of this machine, fetched in a sandbox
    #[value(name = "fetch_1m")]
    Fetch,
    /// A server in a sandbox through its published port, to the first byte
    TunnelFirstByte,
    /// 256 MiB from a server in a sandbox through its published port
    Tunnel,
}

impl Metric {
    /// Its name on the command line and in the results.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ColdCreate => "cold_create",
            Self::Exec => "exec",
            Self::Destroy => "destroy",
            Self::FileWrite1k => "file_write_1k",
            Self::CreationsPerSecond => "creations_per_second",
            Self::IdleMemory => "idle_memory",
            Self::Stdout => "stdout",
            Self::FileUp => "file_up",
            Self::FileDown => "file_down",
            Self::EgressCreate => "egress_create",
            Self::Fetch => "fetch_1m",
            Self::TunnelFirstByte => "tunnel_first_byte",
            Self::Tunnel => "tunnel",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_and_the_results_use_the_same_names() {
        for metric in Metric::value_variants() {
            assert_eq!(metric.to_possible_value().expect("none is hidden").get_name(), metric.name());
        }
    }
}
