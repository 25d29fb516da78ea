//! The run: each form of the checker by each way into a sandbox.

use super::answer::{self, Answer};
use super::outside::Outside;
use super::{exceptions, peers, table};
use crate::check::{Failure, Outcome};
use crate::context::{Context, within};
use crate::probe::{self, Output};
use computesdk_core::{CreateOptions, ExecOptions, FileUpload, Provider, PtySize};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

/// A thousand processes of Python on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// How the checker comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// As the main process of the sandbox.
    Main,
    /// By exec, on pipes.
    Exec,
    /// By exec, in a terminal.
    Terminal,
}

/// Which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Static,
    Python,
}

/// Who runs it: nobody named is the sandbox's root.
type User = Option<&'static str>;

const RUNS: &[(Form, Way, User)] = &[
    (Form::Static, Way::Main, None),
    (Form::Static, Way::Exec, None),
    (Form::Static, Way::Terminal, None),
    (Form::Static, Way::Exec, Some("user")),
    (Form::Static, Way::Terminal, Some("user")),
    (Form::Static, Way::Exec, Some("nobody")),
    (Form::Python, Way::Main, None),
    (Form::Python, Way::Exec, None),
    (Form::Python, Way::Terminal, None),
    (Form::Python, Way::Exec, Some("user")),
];

/// Runs the checkers over the provider, on the rung of this letter, and `runc` and `bwrap` beside it; prints what libtest
/// prints. Takes libtest's arguments.
#[must_use]
pub fn run(rung: &str, provider: Arc<dyn Provider>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Each takes a processor, and the peers are compared by the same load.
    arguments.test_threads.get_or_insert(2);
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => Arc::new(runtime),
        Err(_) => return ExitCode::FAILURE,
    };
    // One that a sandbox must not inherit, although nothing closes it on exec.
    let leak = leaky();
    let capabilities = provider.capabilities();
    let python = arguments.list || has_python(&runtime, &provider);
    let mut trials = Vec::new();
    for &(form, way, user) in RUNS {
        let name = format!("containment::{}", label(form, way, user));
        let missing = match () {
            () if user.is_some() && !capabilities.users => Some("there is one user only on this rung"),
            () if form == Form::Python && !python => Some("the image has no python3"),
            () => None,
        };
        trials.push(match missing {
            Some(reason) => Trial::ignorable_test(name, move || Ok(Completion::ignored_with(reason))),
            None => {
                let (runtime, provider, rung) = (Arc::clone(&runtime), Arc::clone(&provider), rung.to_owned());
                Trial::test(name, move || {
                    let outcome =
                        runtime.block_on(within(DEADLINE, "the checker", check(provider, &rung, form, way, user)));
                    outcome.and_then(|outcome| outcome).map_err(|failure| Failed::from(failure.to_string()))
                })
            }
        });
    }
    trials.extend(peers::trials());
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop((leak, provider));
    if let Some(runtime) = Arc::into_inner(runtime) {
        runtime.shutdown_timeout(Duration::from_secs(10));
    }
    conclusion.exit_code()
}

fn label(form: Form, way: Way, user: User) -> String {
    let form = if form == Form::Static { "static" } else { "python" };
    let way = match way {
        Way::Main => "main_process",
        Way::Exec => "exec",
        Way::Terminal => "terminal",
    };
    format!("{form}_{way}_as_{}", user.unwrap_or("root"))
}

/// A descriptor of the host's that is inherited by what this process starts.
fn leaky() -> Option<std::fs::File> {
    let file = std::fs::File::open("/proc/self/environ").ok()?;
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).ok()?;
    Some(file)
}

fn has_python(runtime: &Runtime, provider: &Arc<dyn Provider>) -> bool {
    let context = Context::new("containment", Arc::clone(provider));
    runtime.block_on(probe::programs(context, BTreeSet::from(["python3"]))).contains("python3")
}

async fn check(provider: Arc<dyn Provider>, rung: &str, form: Form, way: Way, user: User) -> Outcome {
    let outside = Outside::start()?;
    let context = Context::new("containment", provider);
    let answers = answers(&context, &outside, form, way, user).await;
    let cleaned = context.clean_up().await;
    let finished = outside.finish();
    let answers = answers?;
    cleaned?;
    table::record(&format!("{rung}-{}", label(form, way, user)), &answers)?;
    judge(&answers, rung, user.is_some())?;
    finished
}

/// Runs the checker.
async fn answers(context: &Context, outside: &Outside, form: Form, way: Way, user: User) -> Outcome<Vec<Answer>> {
    let program: &[&str] = match form {
        Form::Static => &["/opt/check/checker", "check"],
        Form::Python => &["python3", "-I", "/opt/check/checker.py", "check", "/opt/check/checks.txt"],
    };
    let argv: Vec<String> = program.iter().map(|word| (*word).to_owned()).chain(outside.facts.clone()).collect();
    let mut options = CreateOptions::default();
    let mut program = FileUpload::new("/opt/check/checker", super::PROGRAM);
    program.mode = Some(0o755);
    options.files = vec![
        program,
        FileUpload::new("/opt/check/checker.py", super::SCRIPT),
        FileUpload::new("/opt/check/checks.txt", super::CHECKS),
    ];
    let Output { stdout, stderr, status } = if way == Way::Main {
        options.command = Some(argv);
        let sandbox = context.create(options).await?;
        let main = sandbox.as_core().main_process().ok_or_else(|| Failure::new("there is no main process"))?;
        drop(main.take_stdin());
        probe::finish(main.as_ref()).await?
    } else {
        let sandbox = context.create(options).await?;
        let mut options = ExecOptions::new(argv);
        options.user = user.map(str::to_owned);
        options.pty = (way == Way::Terminal).then(PtySize::default);
        let process = probe::start(&sandbox, options).await?;
        // A terminal whose input is closed hangs up; a pipe's reader is not kept waiting.
        let _stdin = if way == Way::Terminal { process.take_stdin() } else { None };
        if way == Way::Exec {
            drop(process.take_stdin());
        }
        probe::finish(process.as_ref()).await?
    };
    let answers = answer::parse(&stdout);
    ensure!(status.success(), "the checker ended with {:?}: {}", status.cause, String::from_utf8_lossy(&stderr));
    answers
}

/// Every check was answered, and everything is held but the exceptions.
fn judge(answers: &[Answer], rung: &str, ordinary_user: bool) -> Outcome {
    let expected = answer::expected();
    let answered: BTreeSet<String> = answers.iter().map(|answer| answer.id.clone()).collect();
    ensure!(answers.len() == answered.len(), "a check was answered twice");
    let difference: Vec<_> = expected.symmetric_difference(&answered).collect();
    ensure!(difference.is_empty(), "asked and answered checks differ: {difference:?}");
    let lost: Vec<String> = answers
        .iter()
        .filter(|answer| answer.result == "not held" && exceptions::allowing(answer, rung, ordinary_user).is_none())
        .map(ToString::to_string)
        .collect();
    ensure!(lost.is_empty(), "{} checks are not held:\n{}", lost.len(), lost.join("\n"));
    // Too many that do not apply would be a checker that looks at nothing.
    let skipped = answers.iter().filter(|answer| answer.result == "not applicable").count();
    ensure!(skipped * 10 < answers.len(), "{skipped} of {} checks did not apply", answers.len());
    if !ordinary_user {
        // What is held is no exception: the list would only grow.
        let idle: Vec<&str> = exceptions::EXCEPTIONS
            .iter()
            .filter(|exception| exception.rungs.is_empty() || exception.rungs.contains(&rung))
            .filter(|exception| answers.iter().any(|answer| answer.id == exception.id && answer.result == "held"))
            .map(|exception| exception.id)
            .collect();
        ensure!(idle.is_empty(), "these are held, and no exceptions any more: {idle:?}");
    }
    Ok(())
}
