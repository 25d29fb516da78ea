//! Runs the trials over libtest-mimic: choosing, deadlines, cleaning up, reporting.

use crate::check::Outcome;
use crate::context::{Context, within};
use crate::need::Need;
use crate::probe;
use crate::report::{Ended, Report};
use crate::suite::{Source, Suite};
use crate::trial::Trial;
use crate::trials;
use computesdk_core::Provider;
use libtest_mimic::{Arguments, Completion, Failed, FormatSetting};
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// How long the engine of a provider may take to go away after the last trial.
const SHUTDOWN: Duration = Duration::from_secs(10);

/// Runs every trial that applies to the provider, which must be called `name`, and prints what libtest prints.
///
/// Returns success if no trial failed. The arguments and environment variables are in the crate's documentation.
#[must_use]
pub fn run(name: &'static str, suite: Suite) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(suite.parallel);
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build() {
        Ok(runtime) => Arc::new(runtime),
        Err(error) => return broken(&arguments, format!("no tokio runtime: {error}")),
    };
    let run = Run {
        name,
        deadline: deadline_from_environment().unwrap_or(suite.trial_timeout),
        report: Arc::default(),
        runtime: Arc::clone(&runtime),
    };
    let code = match suite.source {
        Source::Unavailable(reason) => run.all(&arguments, None, |_| Some(reason.clone())),
        // Listing names must not start an engine.
        Source::Make(_) if arguments.list => run.all(&arguments, None, |_| None),
        Source::Make(make) => match runtime.block_on(make()) {
            Ok(provider) => run.over(&arguments, provider),
            Err(error) => broken(&arguments, format!("the provider `{name}` does not start: {}", error.report())),
        },
    };
    drop(run);
    if let Some(runtime) = Arc::into_inner(runtime) {
        runtime.shutdown_timeout(SHUTDOWN);
    }
    code
}

/// One run of the suite.
struct Run {
    name: &'static str,
    deadline: Duration,
    report: Arc<Report>,
    runtime: Arc<Runtime>,
}

impl Run {
    /// Runs what applies to this provider.
    fn over(&self, arguments: &Arguments, provider: Arc<dyn Provider>) -> ExitCode {
        let capabilities = provider.capabilities();
        let wanted = trials::all().filter(|trial| selected(arguments, trial));
        let asked: BTreeSet<_> = wanted
            .flat_map(|trial| trial.needs)
            .filter_map(|need| if let Need::Program(program) = need { Some(*program) } else { None })
            .collect();
        let programs = self.runtime.block_on(probe::programs(Context::new(self.name, Arc::clone(&provider)), asked));
        self.all(arguments, Some(provider), |trial| {
            trial.needs.iter().find_map(|need| need.missing(&capabilities, &programs))
        })
    }

    /// Runs every trial that has no reason to be skipped.
    fn all(
        &self,
        arguments: &Arguments,
        provider: Option<Arc<dyn Provider>>,
        skip: impl Fn(&Trial) -> Option<String>,
    ) -> ExitCode {
        let capabilities = provider.as_ref().map(|provider| provider.capabilities());
        let (mut tests, mut skipped, mut reasons) = (Vec::new(), Vec::new(), Vec::new());
        for trial in trials::all() {
            match skip(trial) {
                Some(reason) => {
                    if selected(arguments, trial) {
                        reasons.push(format!("skipped: {}: {reason}", trial.full_name()));
                    }
                    skipped.push(self.skipped(trial, reason));
                }
                None => tests.push(self.test(trial, provider.clone())),
            }
        }
        // Last, so that the log ends with them.
        tests.append(&mut skipped);
        if !arguments.list && arguments.format != Some(FormatSetting::Json) {
            for line in &reasons {
                say(line);
            }
        }
        drop(provider);
        let conclusion = libtest_mimic::run(arguments, tests);
        if !arguments.list && !self.write_report(capabilities.as_ref()) {
            return ExitCode::FAILURE;
        }
        conclusion.exit_code()
    }

    fn test(&self, trial: &'static Trial, provider: Option<Arc<dyn Provider>>) -> libtest_mimic::Trial {
        let (name, deadline, report) = (self.name, self.deadline, Arc::clone(&self.report));
        let runtime = Arc::clone(&self.runtime);
        libtest_mimic::Trial::test(trial.full_name(), move || {
            let provider = provider.ok_or_else(|| Failed::from("there is no provider"))?;
            let start = Instant::now();
            let outcome = runtime.block_on(supervise(trial, Context::new(name, provider), deadline));
            let message = outcome.err();
            let ended = if message.is_none() { Ended::Passed } else { Ended::Failed };
            report.add(trial, ended, message.as_deref(), start.elapsed());
            message.map_or(Ok(()), |message| Err(message.into()))
        })
    }

    fn skipped(&self, trial: &'static Trial, reason: String) -> libtest_mimic::Trial {
        let report = Arc::clone(&self.report);
        libtest_mimic::Trial::ignorable_test(trial.full_name(), move || {
            report.add(trial, Ended::Skipped, Some(&reason), Duration::ZERO);
            Ok(Completion::ignored_with(reason))
        })
    }

    /// Writes the report where the environment asks for one; false if that failed.
    fn write_report(&self, capabilities: Option<&computesdk_core::Capabilities>) -> bool {
        let Some(path) = std::env::var_os("COMPUTESDK_CONFORMANCE_REPORT") else { return true };
        let text = format!("{:#}\n", self.report.to_json(self.name, capabilities));
        match std::fs::write(&path, text) {
            Ok(()) => true,
            Err(error) => {
                say(&format!("cannot write the report {}: {error}", path.display()));
                false
            }
        }
    }
}

/// Runs one trial in a task of its own, so that a panic or a passed deadline still lets us clean up.
async fn supervise(trial: &Trial, context: Context, deadline: Duration) -> Result<(), String> {
    let context = Arc::new(context);
    let mut task = tokio::spawn((trial.run)(Arc::clone(&context)));
    let outcome: Result<(), String> = match within(deadline, "the trial's deadline", &mut task).await {
        Ok(Ok(outcome)) => outcome.map_err(|failure| failure.to_string()),
        Ok(Err(panic)) => Err(panic_message(panic)),
        Err(_late) => {
            task.abort();
            Err(format!("not done after its deadline of {:.0} s", deadline.as_secs_f64()))
        }
    };
    let cleaned: Outcome = context.clean_up().await;
    match (outcome, cleaned) {
        (outcome, Ok(())) => outcome,
        (Ok(()), Err(cleanup)) => Err(cleanup.to_string()),
        (Err(failure), Err(cleanup)) => Err(format!("{failure}\nand then {cleanup}")),
    }
}

fn panic_message(error: tokio::task::JoinError) -> String {
    let Ok(payload) = error.try_into_panic() else { return "the trial was cancelled".into() };
    let text = payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("(no message)"))
}

/// A run whose only trial fails: the log has the usual form even when nothing could be started.
fn broken(arguments: &Arguments, message: String) -> ExitCode {
    // Filters choose among real trials; this one must not be filtered away.
    let arguments = Arguments { filter: None, skip: Vec::new(), ignored: false, ..arguments.clone() };
    let trial = libtest_mimic::Trial::test("suite::provider_starts", move || Err(message.into()));
    libtest_mimic::run(&arguments, vec![trial]).exit_code()
}

/// Whether the arguments select this trial.
fn selected(arguments: &Arguments, trial: &Trial) -> bool {
    !arguments.is_filtered_out(&libtest_mimic::Trial::test(trial.full_name(), || Ok(())))
}

fn deadline_from_environment() -> Option<Duration> {
    let seconds = std::env::var("COMPUTESDK_TRIAL_TIMEOUT").ok()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// A line for the reader of the log.
#[allow(clippy::print_stdout)]
fn say(line: &str) {
    println!("{line}");
}
