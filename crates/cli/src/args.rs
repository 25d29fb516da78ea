//! The command line, as data. The comments of fields and variants are the help text.

use crate::bench::args::BenchArgs;
#[cfg(feature = "serve")]
use crate::remote::args::{CpArgs, CreateArgs, ExecArgs, LogsArgs, PsArgs, RmArgs, StopArgs, TagsArgs};
#[cfg(feature = "serve")]
use crate::serve::args::ServeArgs;
use crate::values::{self, LocalFile, Variable};
use crate::{duration, size};
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum, value_parser};
use computesdk::Network;
use std::path::PathBuf;
use std::time::Duration;

const RUN_EXAMPLES: &str = "\
Examples:
  compute run script.py
  compute run -c 'print(6*7)'
  echo 'print(1)' | compute run -
  compute run --lang sh -c 'wc -l \"$1\"' --file ./report.csv:/data/report.csv -- /data/report.csv
  compute run --timeout 30s --env MODE=test main.js -- --fast
  compute run --memory 256MiB --cpu 0.5 --pids 64 untrusted.py
  compute run --network 'domain:pypi.org,*.pythonhosted.org' --network-log script.py
  compute run --port 8080 server.py
  compute run -o json -c 'print(1)' | jq .exitCode

Exit codes:
  the program's own; 128+N if signal N ended it; 124 if the time limit passed;
  126 if it cannot be run; 127 if it is not there; 125 if `compute` itself failed";

const MAIN_EXAMPLES: &str = "\
Examples:
  compute run script.py            run a program in a fresh sandbox
  compute run -c 'print(6*7)'      run a line of code
  compute shell                    look around in a sandbox
  compute doctor                   what isolation this machine offers, and how to get more
  compute serve -- pytest          Modal's API on this machine, for a command
  compute create --name box        a sandbox that stays, at the server that runs
  compute exec box -- ls           a command in it
  compute bench                    what a sandbox costs, beside none";

/// Run other people's code in a sandbox on this machine: no daemon, no account, nothing downloaded.
#[derive(Debug, Parser)]
#[command(name = "compute", version, max_term_width = 100, after_help = MAIN_EXAMPLES)]
pub(crate) struct Cli {
    /// How results and errors are printed: for people, or as one JSON object on standard output
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "text", global = true)]
    pub(crate) output: Output,

    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How results and errors are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    // For people.
    Text,
    // One JSON object on standard output.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a program in a fresh sandbox, with this terminal's input and output
    Run(Box<RunArgs>),
    /// Open an interactive shell in a fresh sandbox
    Shell(Box<ShellArgs>),
    /// Show what isolation this machine offers, and what to do about what is missing
    Doctor(DoctorArgs),
    /// Measure sandboxes beside this machine without one
    Bench(Box<BenchArgs>),
    /// Serve Modal's API on this machine: Modal's own SDKs run against it unmodified
    #[cfg(feature = "serve")]
    Serve(Box<ServeArgs>),
    /// Make a sandbox at a server, which lives until it is stopped
    #[cfg(feature = "serve")]
    Create(Box<CreateArgs>),
    /// Run a command in a sandbox of a server
    #[cfg(feature = "serve")]
    Exec(ExecArgs),
    /// List the sandboxes of a server
    #[cfg(feature = "serve")]
    Ps(PsArgs),
    /// Print what the main process of a sandbox wrote
    #[cfg(feature = "serve")]
    Logs(LogsArgs),
    /// Copy files between this machine and a sandbox
    #[cfg(feature = "serve")]
    Cp(CpArgs),
    /// Stop sandboxes
    #[cfg(feature = "serve")]
    Stop(StopArgs),
    /// Stop sandboxes that may have ended already
    #[cfg(feature = "serve")]
    Rm(RmArgs),
    /// Print or change the tags of a sandbox
    #[cfg(feature = "serve")]
    Tags(TagsArgs),
    /// Show the certificate authority of published ports, and how to trust it
    Ca(CaArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}

/// `compute run`.
#[derive(Debug, Args)]
#[command(after_help = RUN_EXAMPLES, group(ArgGroup::new("program").required(true).args(["script", "code"])))]
pub(crate) struct RunArgs {
    /// Program to run, a file of this machine; `-` reads its code from standard input
    #[arg(value_name = "FILE")]
    pub(crate) script: Option<PathBuf>,

    /// Code to run
    #[arg(short, value_name = "CODE", allow_hyphen_values = true)]
    pub(crate) code: Option<String>,

    /// Language; default: by the file's extension, its `#!` line, or the look of the code
    #[arg(long, value_enum)]
    pub(crate) lang: Option<Lang>,

    /// End the program after so long: 30s, 5m, 1h30m, 500ms; default: no limit
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) timeout: Option<Duration>,

    /// Give the program a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,

    #[command(flatten)]
    pub(crate) sandbox: SandboxArgs,

    /// Arguments of the program
    #[arg(last = true)]
    pub(crate) args: Vec<String>,
}

/// `compute shell`.
#[derive(Debug, Args)]
pub(crate) struct ShellArgs {
    #[command(flatten)]
    pub(crate) sandbox: SandboxArgs,
}

/// What can be said about a sandbox, whatever runs in it.
#[derive(Debug, Args)]
pub(crate) struct SandboxArgs {
    /// Set an environment variable in the sandbox
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::variable)]
    pub(crate) env: Vec<Variable>,

    /// Put a copy of a file of this machine into the sandbox
    #[arg(long = "file", value_name = "LOCAL:REMOTE", value_parser = values::local_file)]
    pub(crate) files: Vec<LocalFile>,

    #[command(flatten)]
    pub(crate) network: NetworkArgs,

    #[command(flatten)]
    pub(crate) limits: LimitArgs,

    /// Working directory in the sandbox, made if missing; default: /root
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<String>,

    /// User in the sandbox, by name or number; default: the sandbox's root
    #[arg(long)]
    pub(crate) user: Option<String>,

    #[command(flatten)]
    pub(crate) interpreters: InterpreterArgs,

    /// `degraded` accepts less isolation where this machine offers no more
    #[arg(long, value_enum, value_name = "HOW", default_value = "full")]
    pub(crate) isolation: Isolation,

    /// Tell about sandbox, isolation, interpreter and times on standard error
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

/// The part of the help text that tells of the network.
const NETWORK: &str = "Network";

/// What the sandbox may reach, and how it is reached.
#[derive(Debug, Clone, Args)]
pub(crate) struct NetworkArgs {
    /// What the sandbox may reach: `none`; `egress`, the internet and nothing private; `cidr:RANGE,…`, these address
    /// ranges; `domain:NAME,…`, these host names, `*.NAME` being all below one; default: egress
    #[arg(long, help_heading = NETWORK, value_name = "POLICY")]
    pub(crate) network: Option<Network>,

    /// Tell what is decided about each connection on standard error; with `-o json`, in the result
    #[arg(long, help_heading = NETWORK)]
    pub(crate) network_log: bool,

    /// Publish a port of the sandbox on this machine, and tell on standard error where; may be repeated
    #[arg(long = "port", help_heading = NETWORK, value_name = "PORT", value_parser = value_parser!(u16).range(1..))]
    pub(crate) ports: Vec<u16>,

    /// Who may use published ports: an address range or one address; may be repeated; default: whoever is on this machine
    #[arg(long, help_heading = NETWORK, value_name = "CIDR", requires = "ports")]
    pub(crate) inbound: Vec<String>,
}

/// The part of the help text that tells of limits.
const LIMITS: &str = "Limits";

/// What the sandbox may use. What cannot be kept here is refused before anything is made.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct LimitArgs {
    /// Memory, files included: 256MiB, 1.5GiB, 500MB, or bytes; default: what this machine has
    #[arg(long, help_heading = LIMITS, value_name = "SIZE", value_parser = size::parse)]
    pub(crate) memory: Option<u64>,

    /// CPU time in cores: 0.5 is half of one; default: all of them
    #[arg(long, help_heading = LIMITS, value_name = "CORES", value_parser = values::cores)]
    pub(crate) cpu: Option<f64>,

    /// Processes and threads at a time; default: 4096 where that can be kept
    #[arg(long, help_heading = LIMITS, value_name = "N")]
    pub(crate) pids: Option<u64>,

    /// What the sandbox may write: 128MiB, 2GiB, or bytes; default: half of this machine's memory
    #[arg(long, help_heading = LIMITS, value_name = "SIZE", value_parser = size::parse)]
    pub(crate) disk: Option<u64>,

    /// Open files of each process; default: 1024, which a process may raise
    #[arg(long, help_heading = LIMITS, value_name = "N")]
    pub(crate) max_open_files: Option<u64>,
}

/// Which interpreters the sandbox offers.
#[derive(Debug, Args)]
pub(crate) struct InterpreterArgs {
    /// Python to use; default: the first on PATH that is not a virtual environment's
    #[arg(long, value_name = "PATH")]
    pub(crate) python: Option<PathBuf>,

    /// Node.js to use; default: the first on PATH
    #[arg(long, value_name = "PATH")]
    pub(crate) node: Option<PathBuf>,
}

/// How much isolation to insist on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Isolation {
    // All of it, or an error.
    Full,
    // Less, where this machine offers no more. Never chosen by itself.
    Degraded,
}

/// `compute doctor`.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 if sandboxes can be made with full isolation, else 1.")]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) interpreters: InterpreterArgs,
}

/// `compute ca`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  curl --cacert \"$(compute ca path)\" https://…")]
pub(crate) struct CaArgs {
    #[command(subcommand)]
    pub(crate) command: CaCommand,
}

/// What to tell of it.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum CaCommand {
    /// Print where its certificate is, for programs that are told whom to trust
    Path,
    /// Print how to make programs, browsers and this system trust it
    InstallHint,
}

/// `compute completions`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  compute completions bash > ~/.local/share/bash-completion/completions/compute")]
pub(crate) struct CompletionsArgs {
    /// Which shell
    pub(crate) shell: clap_complete::Shell,
}

/// The language of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lang {
    #[value(alias = "python3", alias = "py")]
    Python,
    #[value(alias = "nodejs", alias = "javascript", alias = "js")]
    Node,
    #[value(alias = "shell")]
    Sh,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn run(args: &[&str]) -> Result<RunArgs, clap::Error> {
        match Cli::try_parse_from([&["compute", "run"], args].concat())?.command {
            Command::Run(args) => Ok(*args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn code_and_arguments_may_begin_with_a_hyphen() {
        let args = run(&["-c", "-1", "--", "--x", "-y"]).unwrap();
        assert_eq!(args.code.as_deref(), Some("-1"));
        assert_eq!(args.args, ["--x", "-y"]);
        assert_eq!(run(&["-", "--", "-"]).unwrap().script, Some(PathBuf::from("-")));
    }

    #[test]
    fn a_program_is_needed_once() {
        for wrong in [&[][..], &["a.py", "-c", "1"], &["a.py", "b.py"]] {
            assert!(run(wrong).is_err(), "{wrong:?}");
        }
    }
}
