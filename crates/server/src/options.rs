//! What a server can be told.

use crate::fault::Rule;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of a [`Server`](crate::Server).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerOptions {
    /// Where the state is kept: a folder of its own, used by one server at a time.
    pub state_dir: PathBuf,
    /// The file with the key that seals secrets and signs tokens. Default: `key` in the folder, made on first use. A copy of the folder
    /// without it shows no secret; whoever has both, or is root here, reads them all.
    pub key_file: Option<PathBuf>,
    /// Where output is set aside that does not stay in memory. Default: the system's temporary folder.
    pub spool_dir: PathBuf,
    /// Most bytes that are kept of one stream of a process. What somebody has read is given up for more; if nobody has, the process
    /// waits. Default: 1 GiB; at least 4 MiB.
    pub spool_cap: u64,
    /// Most sandboxes that run at a time. Default: no limit.
    pub max_sandboxes: Option<usize>,
    /// The same for each token.
    pub max_sandboxes_per_token: Option<usize>,
    /// How long a token for the command router of one sandbox is good for; clients ask for the next one by themselves. Default: 1 h.
    pub router_token_life: Duration,
    /// Faults to inject.
    pub faults: Vec<Rule>,
    /// For faults that come with a probability. Default: random.
    pub fault_seed: Option<u64>,
    /// How the port behaves.
    pub front: crate::front::FrontOptions,
}

impl ServerOptions {
    /// The defaults, with the state in this folder.
    #[must_use]
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            key_file: None,
            spool_dir: std::env::temp_dir(),
            spool_cap: 1 << 30,
            max_sandboxes: None,
            max_sandboxes_per_token: None,
            router_token_life: Duration::from_secs(3600),
            faults: Vec::new(),
            fault_seed: None,
            front: crate::front::FrontOptions::default(),
        }
    }
}
