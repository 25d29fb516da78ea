//! How fast `compute serve` is, beside what it stands in front of, in one run.
//!
//! ```text
//! cargo bench -p computesdk-server --bench serve                            everything; a table; not 0 if a bound is missed
//! cargo bench -p computesdk-server --bench serve -- --only unary,share      some of it
//! cargo bench -p computesdk-server --bench serve -- -n 100 --json           more often, for programs
//!
//!  house: Server over `local`, in this process ◄── unary, stream: a client in this process
//!         and the provider itself, for comparison ◄── share, crowd: Modal's own SDKs, pinned in `interop/`
//!  idle: processes of their own, which hold a server or the provider alone
//! ```
//!
//! Each thing is measured between the same without the server, round after round, and the first rounds are dropped: what counts
//! is the ratio. `docs/performance.md` says what was seen. What the SDKs need is installed under `target/` once; where Python, Node or
//! the registries are missing, what they would have driven is left out, and the table says so. They are told of no server but
//! the one in this process.

#![allow(missing_docs, clippy::print_stdout, clippy::print_stderr, reason = "a program, not an API")]

mod client;
mod crowd;
mod house;
mod idle;
mod report;
mod samples;
mod share;
mod spans;
mod stream;
mod unary;

use report::Report;
use std::process::ExitCode;

/// Why something could not be measured.
pub(crate) type Trouble = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Result<T> = std::result::Result<T, Trouble>;

/// What can be measured, in this order.
const PARTS: [&str; 5] = ["unary", "share", "stream", "crowd", "idle"];

/// What was asked for.
struct Args {
    only: Vec<String>,
    rounds: usize,
    json: bool,
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1).peekable();
    if let Some("--hold") = words.peek().map(String::as_str) {
        return told(idle::hold(&words.nth(1).unwrap_or_default()));
    }
    let words: Vec<String> = words.collect();
    if !words.iter().any(|word| word == "--bench") {
        eprintln!("nothing is measured but by `cargo bench`: without optimisation it would tell nothing");
        return ExitCode::SUCCESS;
    }
    told(Args::parse(words).and_then(|args| run(&args)).and_then(|is_kept| {
        if is_kept { Ok(()) } else { Err("a bound is missed, or something could not be measured".into()) }
    }))
}

fn told(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("serve: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Args {
    fn parse(words: Vec<String>) -> Result<Self> {
        let mut args = Self { only: Vec::new(), rounds: 40, json: false };
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--bench" => {}
                "--json" => args.json = true,
                "-n" => args.rounds = value()?.parse()?,
                "--only" => args.only.extend(value()?.split(',').map(str::to_owned)),
                _ => return Err(format!("{word}: unknown; there are --only PART,…, -n ROUNDS and --json").into()),
            }
        }
        match args.only.iter().find(|part| !PARTS.contains(&part.as_str())) {
            Some(part) => Err(format!("{part}: unknown; there are {}", PARTS.join(", ")).into()),
            None => Ok(args),
        }
    }
}

/// The same kind of runtime as `compute serve` has.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// Measures, prints, and says whether every bound was kept.
fn run(args: &Args) -> Result<bool> {
    let mut report = Report::begin();
    for part in PARTS.into_iter().filter(|part| args.only.is_empty() || args.only.iter().any(|only| only == part)) {
        eprintln!("serve: {part}…");
        // Each in a runtime and with a server of its own: nothing of one is left for the next.
        let runtime = runtime()?;
        let measured = runtime.block_on(async {
            match part {
                "unary" => unary::measure(args.rounds, &mut report).await,
                "share" => share::measure(args.rounds, &mut report).await,
                "stream" => stream::measure(args.rounds, &mut report).await,
                "crowd" => crowd::measure(&mut report).await,
                _ => idle::measure(&mut report).await,
            }
        });
        measured.map_err(|error| format!("{part}: {error}"))?;
    }
    report.end();
    println!("{}", if args.json { report.json()? } else { report.table() });
    Ok(report.is_kept())
}
