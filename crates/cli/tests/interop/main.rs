//! Official Modal clients, unmodified and pinned, against `compute serve`.
//!
//! ```text
//! clients     which clients there are, and which programs of interop/ each one runs
//! environment makes and reuses the place where a client is installed, under target/interop/
//! server      `compute serve` on loopback, for as long as the run lasts
//! program     runs one program with a deadline, and reads its lines
//! catalog     what each feature is called, in order
//! matrix      docs/compatibility.md, made of what the programs said
//! ```
//!
//! Every pair of a client and a feature is a trial: `cargo test -p computesdk-cli --test interop -- python-1.6.4::exec`
//! runs the programs that the selected trials need, and nothing else. A trial passes if the feature works, if the server
//! refuses it in a sentence, or if this version of the client does not offer it; which of the three it is stands in
//! `docs/compatibility.md`, and a run of everything fails if that is not what was seen. `COMPUTESDK_REGENERATE=1` writes it.
//!
//! Skipped, with the reason, where python3, node, a package registry or user namespaces are missing; a failure instead
//! where `CI` is set. No program runs without an address on loopback: the runner and the program both check.

#![allow(missing_docs, clippy::print_stdout)]

mod catalog;
mod clients;
mod environment;
mod matrix;
mod program;
mod server;

use catalog::Catalog;
use clients::{Client, Runtime};
use libtest_mimic::{Arguments, Completion, Failed, FormatSetting, Trial};
use program::{Said, Seen};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

/// How many programs run at a time. Most of each one's time goes into waiting.
const JOBS: usize = 2;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(1);
    match run(&arguments) {
        Ok(code) => code,
        Err(why) => {
            println!("interop: {why}");
            ExitCode::FAILURE
        }
    }
}

/// The folder with the programs, at the top of the repository.
fn interop() -> PathBuf {
    repository().join("interop")
}

fn repository() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// A line for the reader of the log.
fn say(line: &str) {
    println!("{line}");
}

fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    let catalog = Catalog::read(&interop())?;
    let quiet = arguments.list || arguments.format == Some(FormatSetting::Json);
    let clients = clients::all();
    let selected = |client: &Client, feature: &str| !arguments.is_filtered_out(&trial_of(client, feature));
    let wanted: Vec<Job<'_>> = clients
        .iter()
        .flat_map(|client| client.programs().map(move |program| Job { client, program: program.clone() }))
        .filter(|job| catalog.features_of(&job.program).any(|feature| selected(job.client, feature)))
        .collect();
    let outcome = if arguments.list || wanted.is_empty() { Outcome::default() } else { carry_out(wanted, quiet)? };

    let mut trials = Vec::new();
    for client in &clients {
        for program in client.programs() {
            for feature in catalog.features_of(&program) {
                trials.push(outcome.trial(client, &program.name(), feature));
            }
        }
    }
    let whole =
        !arguments.list && arguments.filter.is_none() && arguments.skip.is_empty() && outcome.skipped.is_empty();
    let partly = if whole { server::lacks() } else { Some("only a part was run".to_owned()) };
    trials.push(catalog.trial());
    trials.extend(outcome.own_trials());
    trials.push(matrix::trial(&catalog, &clients, &outcome.seen, partly));
    if !quiet {
        for (client, reason) in &outcome.skipped {
            say(&format!("skipped: {client}: {reason}"));
        }
    }
    Ok(libtest_mimic::run(arguments, trials).exit_code())
}

fn trial_of(client: &Client, feature: &str) -> Trial {
    Trial::test(format!("{}::{feature}", client.id), || Ok(()))
}

/// One program, run with one client.
struct Job<'a> {
    client: &'a Client,
    program: clients::Program,
}

/// What a run left to report.
#[derive(Default)]
struct Outcome {
    /// What each program said, by client and feature.
    seen: BTreeMap<(String, String), Said>,
    /// Why a program has no line for a feature, by client and program.
    silent: BTreeMap<(String, String), String>,
    /// Why a client did not run, by client.
    skipped: BTreeMap<String, String>,
    /// Whether programs refuse to run elsewhere, if any ran.
    guarded: Option<Result<(), String>>,
    /// How the servers ended, if any was started.
    stopped: Option<Result<(), String>>,
}

impl Outcome {
    /// The trial of one feature with one client.
    fn trial(&self, client: &Client, program: &str, feature: &str) -> Trial {
        let name = trial_of(client, feature).name().to_owned();
        let key = (client.id.to_owned(), feature.to_owned());
        if let Some(reason) = self.skipped.get(client.id).cloned() {
            return Trial::ignorable_test(name, || Ok(Completion::ignored_with(reason)));
        }
        let verdict = match self.seen.get(&key) {
            Some(Said::Failed(why)) => Err(why.clone()),
            Some(_) => Ok(()),
            None => Err(self.silent.get(&(client.id.to_owned(), program.to_owned())).cloned().unwrap_or_else(|| {
                format!("{program} told nothing of it: it ended early, or the feature is not one of its checks")
            })),
        };
        Trial::test(name, move || verdict.map_err(Failed::from))
    }

    /// Whether the servers went away in order, and no program would have run at another address.
    fn own_trials(&self) -> [Trial; 2] {
        [("server::stops_in_order", self.stopped.clone()), ("programs::refuse_other_hosts", self.guarded.clone())].map(
            |(name, verdict)| {
                Trial::ignorable_test(name, move || match verdict {
                    Some(Ok(())) => Ok(Completion::Completed),
                    Some(Err(why)) => Err(why.into()),
                    None => Ok(Completion::ignored_with("no program ran")),
                })
            },
        )
    }
}

/// Installs what is needed, starts the server, and runs the programs, a few at a time.
fn carry_out(jobs: Vec<Job<'_>>, quiet: bool) -> Result<Outcome, String> {
    let mut outcome = Outcome::default();
    let strict = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
    let ids: BTreeSet<&str> = jobs.iter().map(|job| job.client.id).collect();
    let mut places = BTreeMap::new();
    let unavailable = server::unavailable();
    for id in ids {
        let client = jobs.iter().map(|job| job.client).find(|client| client.id == id).ok_or("a client without jobs")?;
        let place = match &unavailable {
            Some(reason) => Err(reason.clone()),
            None => environment::prepare(client, &interop()),
        };
        match place {
            Ok(place) => drop(places.insert(id, place)),
            Err(reason) if strict => return Err(format!("{id} cannot run, and CI is set: {reason}")),
            Err(reason) => drop(outcome.skipped.insert(id.to_owned(), reason)),
        }
    }
    let jobs: Vec<Job<'_>> = jobs.into_iter().filter(|job| places.contains_key(job.client.id)).collect();
    if jobs.is_empty() {
        return Ok(outcome);
    }
    let server = server::Server::start(&[])?;
    let faulty = match jobs.iter().any(|job| job.client.faults) {
        true => Some(server::Server::start(clients::FAULTS)?),
        false => None,
    };
    if jobs.iter().any(|job| job.client.runtime == Runtime::Node) {
        seed(&jobs, &places, &server)?;
    }
    let guard = |job: &Job<'_>| program::refuses_elsewhere(job.client, &job.program, &places[job.client.id], &server);
    let mut guarded = BTreeSet::new();
    // One program of each folder: they begin alike.
    let mut once = jobs.iter().filter(|job| guarded.insert((job.client.environment, job.program.path.parent())));
    outcome.guarded = Some(once.try_for_each(guard));
    let queue = Mutex::new(jobs.into_iter());
    let results: Mutex<Vec<(String, String, Seen)>> = Mutex::default();
    let of = |client: &Client| faulty.as_ref().filter(|_| client.faults).unwrap_or(&server);
    std::thread::scope(|scope| {
        for _ in 0..JOBS {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(job) = next else { return };
                    let place = &places[job.client.id];
                    let seen = program::run(job.client, &job.program, place, of(job.client));
                    if !quiet {
                        say(&format!("{} {}: {}", job.client.id, job.program.name(), seen.summary()));
                    }
                    let entry = (job.client.id.to_owned(), job.program.name(), seen);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
                }
            });
        }
    });
    for (client, program, seen) in results.into_inner().unwrap_or_else(PoisonError::into_inner) {
        if let Some(why) = seen.trouble {
            outcome.silent.insert((client.clone(), program), why);
        }
        outcome.seen.extend(seen.lines.into_iter().map(|(feature, said)| ((client.clone(), feature), said)));
    }
    let stopped: Vec<_> = [Some(server), faulty].into_iter().flatten().map(server::Server::stop).collect();
    outcome.stopped = Some(stopped.into_iter().collect());
    Ok(outcome)
}

/// Makes what the programs for JavaScript look up and cannot make themselves.
fn seed(jobs: &[Job<'_>], places: &BTreeMap<&str, environment::Place>, server: &server::Server) -> Result<(), String> {
    let all = clients::all();
    let client = all.iter().find(|client| client.id == clients::SEEDER).ok_or("no client seeds")?;
    let made;
    let place = match places.get(client.id) {
        Some(place) => place,
        None => {
            made = environment::prepare(client, &interop())?;
            &made
        }
    };
    let program = clients::Program::new(client.runtime, "client", "seed");
    let seen = program::run(client, &program, place, server);
    match seen.trouble {
        Some(why) => Err(format!("nothing could be made ready for {} programs: {why}", jobs.len())),
        None => Ok(()),
    }
}
