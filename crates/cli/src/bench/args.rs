//! The arguments of `compute bench`. The comments of fields and variants are the help text.

use super::metric::Metric;
use crate::args::InterpreterArgs;
use crate::duration;
use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  compute bench                                everything, beside this machine without a sandbox
  compute bench --vs bwrap,crun,runc           and beside these, where installed
  compute bench --only cold_create,exec -n 200 two metrics, more often
  compute bench -o json > bench.json           for programs

`x bare` is the median divided by that of the same without a sandbox, taken in the same rounds; for
rates and MB/s more is better. Compare ratios, on a quiet machine: the times are this machine's.";

/// `compute bench`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BenchArgs {
    /// How often each thing is measured; a few rounds before that are dropped
    #[arg(short, long, value_name = "N", default_value_t = 30,
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    pub(crate) number: usize,

    /// Wait so long before each short operation, as a caller does who is not in a hurry; default: not at all
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) pause: Option<Duration>,

    /// Measure these only, separated by commas; default: all of them
    #[arg(long, value_enum, value_name = "METRIC", value_delimiter = ',')]
    pub(crate) only: Vec<Metric>,

    /// Beside these too, separated by commas, where they are installed
    #[arg(long, value_enum, value_name = "SYSTEM", value_delimiter = ',')]
    pub(crate) vs: Vec<PeerName>,

    /// The provider to measure
    #[arg(long, value_enum, value_name = "NAME", default_value = "local")]
    pub(crate) provider: ProviderName,

    #[command(flatten)]
    pub(crate) interpreters: InterpreterArgs,

    /// Do one thing so often, and print nothing: for `strace -c` and profilers, which count or sample what happens
    #[arg(long, value_enum, value_name = "METRIC", hide = true, conflicts_with_all = ["only", "vs"])]
    pub(crate) count: Option<Metric>,

    /// Run commands for another one of this program
    #[arg(long, hide = true)]
    pub(crate) worker: bool,
}

/// The providers that this build knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProviderName {
    /// Sandboxes on this machine
    Local,
}

/// What people use today to run one command apart from the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum PeerName {
    /// Bubblewrap
    Bwrap,
    /// The container runtime of podman
    Crun,
    /// The container runtime of docker
    Runc,
}

impl PeerName {
    /// Its program, which is also its name in the results.
    pub(crate) const fn program(self) -> &'static str {
        match self {
            Self::Bwrap => "bwrap",
            Self::Crun => "crun",
            Self::Runc => "runc",
        }
    }
}
