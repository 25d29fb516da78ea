//! `compute serve`, as data.

use crate::args::InterpreterArgs;
use crate::duration;
use crate::size;
use clap::{Args, ValueEnum};
use computesdk_server::fault::Rule;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  compute serve                            until Ctrl-C; prints `export` lines for Modal's SDKs
  compute serve -- pytest tests/           for this command alone, with its environment set
  compute serve --fault 'SandboxCreate*: status=UNAVAILABLE p=0.1' -- npx vitest
  eval \"$(compute serve --print-env)\"      the environment of the server that runs already

Exit codes:
  with a command, the command's own; 128+N if signal N ended it; 126 and 127 as in a shell;
  125 if `compute` itself failed";

/// Where the server listens unless it is told.
pub(crate) const DEFAULT_PORT: u16 = 8930;

/// `compute serve`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ServeArgs {
    /// Who makes the sandboxes
    #[arg(long, value_enum, default_value = "local")]
    pub(crate) provider: ProviderName,

    /// Address and port to listen on; port 0 takes a free one; default: 127.0.0.1:8930, with a command a free port
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,

    /// Folder for apps, names, secrets, tokens and ended sandboxes; default: $XDG_STATE_HOME/computesdk/server, with a
    /// command one that is removed afterwards
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,

    /// File with the key that seals secrets; default: `key` in that folder, made on first use
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,

    /// Print the environment of the server that runs already, and end
    #[arg(long, conflicts_with_all = ["command", "listen", "state", "faults"])]
    pub(crate) print_env: bool,

    /// Most sandboxes at a time; more are answered with RESOURCE_EXHAUSTED; default: no limit
    #[arg(long, value_name = "N")]
    pub(crate) max_sandboxes: Option<usize>,

    /// The same for each token
    #[arg(long, value_name = "N")]
    pub(crate) max_sandboxes_per_token: Option<usize>,

    /// Most output that is kept of one stream of a process; then it waits for a reader
    #[arg(long, value_name = "SIZE", value_parser = size::parse, default_value = "1GiB")]
    pub(crate) max_output: u64,

    /// How long the token for one sandbox is good for; clients ask for the next one themselves
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "1h")]
    pub(crate) router_token_life: Duration,

    /// Inject a fault, such as `SandboxCreate*: delay=2s p=0.1`; may be repeated; see docs/faults.md
    #[arg(long = "fault", value_name = "RULE")]
    pub(crate) faults: Vec<Rule>,

    /// Seed for faults with a probability; default: random, and printed
    #[arg(long, value_name = "N", requires = "faults")]
    pub(crate) fault_seed: Option<u64>,

    /// Another name or address by which clients reach this server; may be repeated
    #[arg(long = "allow-host", value_name = "HOST")]
    pub(crate) allowed_hosts: Vec<String>,

    /// Certificate chain in PEM for clients that speak TLS; default: one by the local authority (`compute ca`)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// Its private key in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) interpreters: InterpreterArgs,

    /// Tell what happens on standard error; twice for every call
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Command to run with the server, and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// Who makes the sandboxes of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProviderName {
    // This machine.
    Local,
}
