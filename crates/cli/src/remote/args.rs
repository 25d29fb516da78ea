//! The command lines of the commands that talk to a server, as data.

use crate::values::{self, LocalFile, Variable};
use crate::{duration, size};
use clap::{Args, ValueEnum};
use computesdk::Network;
use std::time::Duration;

/// Which server.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// Server to talk to; default: COMPUTESDK_SERVER, else the one that `compute serve` runs this command under, else
    /// the one that runs on this machine
    #[arg(long, value_name = "URL", help_heading = "Server")]
    pub(crate) server: Option<String>,
}

/// `compute create`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  compute create --name box                        a sandbox that lives until `compute stop box`
  compute create --name web --port 8080 -- python3 -m http.server 8080
  id=$(compute create --timeout 10m --tag team=ci) && compute exec \"$id\" -- make test

Prints the id of the sandbox.")]
pub(crate) struct CreateArgs {
    /// Image by reference; default: the server's own
    pub(crate) image: Option<String>,

    /// Name, unique among those that run
    #[arg(long)]
    pub(crate) name: Option<String>,

    /// Tag, to find it by; may be repeated
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = values::tag)]
    pub(crate) tags: Vec<Variable>,

    /// End the sandbox after so long: 30s, 5m, 1h30m; default: 24h, the most that Modal has
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) timeout: Option<Duration>,

    /// End the sandbox when nothing used it for so long
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) idle_timeout: Option<Duration>,

    /// Set an environment variable in the sandbox
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::variable)]
    pub(crate) env: Vec<Variable>,

    /// Put a copy of a file of this machine into the sandbox
    #[arg(long = "file", value_name = "LOCAL:REMOTE", value_parser = values::local_file)]
    pub(crate) files: Vec<LocalFile>,

    /// Working directory in the sandbox, made if missing; default: the image's
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<String>,

    /// What the sandbox may reach: `none`, `egress`, `cidr:RANGE,…`, `domain:NAME,…`; default: egress
    #[arg(long, help_heading = "Network", value_name = "POLICY")]
    pub(crate) network: Option<Network>,

    /// Publish a port of the sandbox; may be repeated
    #[arg(long = "port", help_heading = "Network", value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) ports: Vec<u16>,

    /// Who may use published ports: an address range or one address; may be repeated; default: whoever reaches them
    #[arg(long, help_heading = "Network", value_name = "CIDR", requires = "ports")]
    pub(crate) inbound: Vec<String>,

    /// Memory, files included: 256MiB, 1.5GiB, 500MB, or bytes
    #[arg(long, help_heading = "Limits", value_name = "SIZE", value_parser = size::parse)]
    pub(crate) memory: Option<u64>,

    /// CPU time in cores: 0.5 is half of one
    #[arg(long, help_heading = "Limits", value_name = "CORES", value_parser = values::cores)]
    pub(crate) cpu: Option<f64>,

    #[command(flatten)]
    pub(crate) server: ServerArgs,

    /// Main process and its arguments: its end is the end of the sandbox; default: none
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// `compute exec`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  compute exec box -- ls -la /root
  echo 'print(6*7)' | compute exec -i box -- python3 -
  compute exec -t box -- bash

Ctrl-C ends `compute exec`; without -t the command goes on in the sandbox, as Modal ends no single process.

Exit codes:
  the command's own; 128+N if signal N ended it; 124 if the time limit passed;
  126 if it cannot be run; 127 if it is not there; 125 if `compute` itself failed")]
pub(crate) struct ExecArgs {
    /// Sandbox by name or id
    #[arg(value_name = "NAME|ID")]
    pub(crate) target: String,

    /// Pass standard input to the command; without it the command reads an end at once
    #[arg(short, long)]
    pub(crate) interactive: bool,

    /// Give the command a terminal of this one's size, and standard input
    #[arg(short, long)]
    pub(crate) tty: bool,

    /// Set an environment variable for the command
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::variable)]
    pub(crate) env: Vec<Variable>,

    /// Working directory, which must exist; default: the sandbox's
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<String>,

    /// End the command after so long: 30s, 5m, in whole seconds; default: no limit
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) timeout: Option<Duration>,

    #[command(flatten)]
    pub(crate) server: ServerArgs,

    /// Command and its arguments
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<String>,
}

/// `compute ps`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  compute ps
  compute ps -a --tag team=ci
  compute stop $(compute ps -q)")]
pub(crate) struct PsArgs {
    /// Also those that have ended, as far as the server remembers them
    #[arg(short, long)]
    pub(crate) all: bool,

    /// Ids alone
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// Those with this tag alone; may be repeated
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = values::tag)]
    pub(crate) tags: Vec<Variable>,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// `compute logs`.
#[derive(Debug, Args)]
#[command(after_help = "\
What the main process wrote: the command of `compute create -- COMMAND`. What `compute exec` runs has its output there.

Examples:
  compute logs web
  compute logs -f web")]
pub(crate) struct LogsArgs {
    /// Sandbox by name or id; also one that has ended, by id
    #[arg(value_name = "NAME|ID")]
    pub(crate) target: String,

    /// Everything from the beginning, then what comes, until the sandbox ends
    #[arg(short, long)]
    pub(crate) follow: bool,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// `compute cp`.
#[derive(Debug, Args)]
#[command(after_help = "\
One of the two is in a sandbox: NAME:/path, the path beginning with `/`. A file here with a colon in its name is ./a:b.
What is a directory is copied whole. Into a directory that is there it is copied under its own name.
Symbolic links to files are copied as files; other links, and what is neither file nor directory, are left out and told.

Examples:
  compute cp ./data.csv box:/data/
  compute cp box:/root/results ./results
  compute cp src box:/root/src")]
pub(crate) struct CpArgs {
    /// What to copy
    #[arg(value_name = "SRC")]
    pub(crate) from: String,

    /// Where to
    #[arg(value_name = "DST")]
    pub(crate) to: String,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// `compute stop`.
#[derive(Debug, Args)]
#[command(after_help = "\
Everything in them ends, and their files are gone. Stopping one that has ended is fine.

Examples:
  compute stop box
  compute stop $(compute ps -q)")]
pub(crate) struct StopArgs {
    /// Sandboxes by name or id
    #[arg(value_name = "NAME|ID", required = true)]
    pub(crate) targets: Vec<String>,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// `compute rm`.
#[derive(Debug, Args)]
#[command(after_help = "\
The same as `compute stop`, and no failure if there is no such sandbox any more. Modal forgets no sandbox at once: what has
ended stays in `compute ps -a` until the server drops it.

Example:
  compute rm box")]
pub(crate) struct RmArgs {
    /// Sandboxes by name or id
    #[arg(value_name = "NAME|ID", required = true)]
    pub(crate) targets: Vec<String>,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// `compute tags`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  compute tags box
  compute tags box set team=ci run=17
  compute tags box unset run")]
pub(crate) struct TagsArgs {
    /// Sandbox by name or id
    #[arg(value_name = "NAME|ID")]
    pub(crate) target: String,

    /// `set` adds these or gives them other values, `unset` removes them; default: print them
    #[arg(value_enum, requires = "tags")]
    pub(crate) change: Option<TagChange>,

    /// KEY=VALUE to set, KEY to unset
    #[arg(value_name = "TAG", requires = "change")]
    pub(crate) tags: Vec<String>,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// What to do with tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TagChange {
    // Add these, or give them other values.
    Set,
    // Remove these.
    Unset,
}
