//! The run: each form of the checker by each way into a sandbox, without a network and with one.

use super::answer::{self, Answer};
use super::neighbours::Neighbours;
use super::outside::Outside;
use super::{exceptions, peers, table};
use crate::check::{Failure, Outcome};
use crate::context::{Context, within};
use crate::probe::{self, Output};
use computesdk_core::{CreateOptions, ExecOptions, FileUpload, Network, Provider, PtySize};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
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
    /// By exec, with a time limit of its own.
    Timed,
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

/// What the sandbox may reach, and by what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Nothing.
    None,
    /// The internet, by the gateway if the kernel has what it needs.
    Egress,
    /// The internet, by an HTTP proxy.
    Proxy,
}

/// One run.
#[derive(Debug, Clone, Copy)]
struct Run {
    reach: Reach,
    form: Form,
    way: Way,
    user: User,
    /// So many other sandboxes are there.
    neighbours: usize,
}

const fn alone(reach: Reach, form: Form, way: Way, user: User) -> Run {
    Run { reach, form, way, user, neighbours: 1 }
}

const USER: User = Some("user");

const RUNS: &[Run] = &[
    alone(Reach::None, Form::Static, Way::Main, None),
    alone(Reach::None, Form::Static, Way::Exec, None),
    alone(Reach::None, Form::Static, Way::Timed, None),
    alone(Reach::None, Form::Static, Way::Terminal, None),
    alone(Reach::None, Form::Static, Way::Exec, USER),
    alone(Reach::None, Form::Static, Way::Terminal, USER),
    alone(Reach::None, Form::Static, Way::Exec, Some("nobody")),
    alone(Reach::None, Form::Python, Way::Main, None),
    alone(Reach::None, Form::Python, Way::Exec, None),
    alone(Reach::None, Form::Python, Way::Terminal, None),
    alone(Reach::None, Form::Python, Way::Exec, USER),
    alone(Reach::Egress, Form::Static, Way::Main, None),
    alone(Reach::Egress, Form::Static, Way::Exec, None),
    alone(Reach::Egress, Form::Static, Way::Terminal, None),
    alone(Reach::Egress, Form::Static, Way::Exec, USER),
    alone(Reach::Egress, Form::Python, Way::Main, None),
    alone(Reach::Egress, Form::Python, Way::Exec, None),
    alone(Reach::Egress, Form::Python, Way::Exec, USER),
    alone(Reach::Proxy, Form::Static, Way::Exec, USER),
    alone(Reach::Proxy, Form::Python, Way::Exec, None),
    Run { reach: Reach::Egress, form: Form::Static, way: Way::Exec, user: None, neighbours: 100 },
];

/// Descriptors of this process that a sandbox and its server need, generously: streams, sockets, the gateway's ends.
const DESCRIPTORS_EACH: u64 = 16;

/// The provider under test, and the same without a packet filter, where sandboxes have an HTTP proxy instead.
#[derive(Debug, Clone)]
pub struct Providers {
    /// As it is by itself.
    pub usual: Arc<dyn Provider>,
    /// With the proxy, if it has that.
    pub proxy: Option<Arc<dyn Provider>>,
}

/// Runs the checkers over the provider, on the rung of this letter, and `runc` and `bwrap` beside it; prints what libtest
/// prints. Takes libtest's arguments.
#[must_use]
pub fn run(rung: &str, providers: Providers) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Each takes a processor, and the peers are compared by the same load.
    arguments.test_threads.get_or_insert(2);
    raise_open_files();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => Arc::new(runtime),
        Err(_) => return ExitCode::FAILURE,
    };
    // One that a sandbox must not inherit, although nothing closes it on exec.
    let leak = leaky();
    let python = arguments.list || has_python(&runtime, &providers.usual);
    let mut trials = Vec::new();
    for &run in RUNS {
        let name = format!("containment::{}", run.label());
        let provider =
            if run.reach == Reach::Proxy { providers.proxy.clone() } else { Some(Arc::clone(&providers.usual)) };
        let trial = provider
            .ok_or_else(|| String::from("this provider has no such way out"))
            .and_then(|provider| run.missing(&provider, python).map_or(Ok(provider), Err));
        trials.push(match trial {
            Err(reason) => Trial::ignorable_test(name, move || Ok(Completion::ignored_with(reason))),
            Ok(provider) => {
                let (runtime, rung) = (Arc::clone(&runtime), rung.to_owned());
                Trial::test(name, move || {
                    let outcome = runtime.block_on(within(DEADLINE, "the checker", check(provider, &rung, run)));
                    outcome.and_then(|outcome| outcome).map_err(|failure| Failed::from(failure.to_string()))
                })
            }
        });
    }
    trials.extend(peers::trials());
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop((leak, providers));
    if let Some(runtime) = Arc::into_inner(runtime) {
        runtime.shutdown_timeout(Duration::from_secs(10));
    }
    conclusion.exit_code()
}

impl Reach {
    fn network(self) -> Network {
        if self == Self::None { Network::None } else { Network::Egress }
    }

    fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Egress => "egress",
            Self::Proxy => "proxy",
        }
    }
}

impl Run {
    /// `NETWORK::FORM_WAY_as_USER`
    fn label(self) -> String {
        let form = if self.form == Form::Static { "static" } else { "python" };
        let way = match self.way {
            Way::Main => "main_process",
            Way::Exec => "exec",
            Way::Timed => "exec_with_a_time_limit",
            Way::Terminal => "terminal",
        };
        let others = if self.neighbours > 1 { format!("_among_{}", self.neighbours) } else { String::new() };
        format!("{}::{form}_{way}_as_{}{others}", self.reach.word(), self.user.unwrap_or("root"))
    }

    /// Why it cannot be had here.
    fn missing(self, provider: &Arc<dyn Provider>, python: bool) -> Option<String> {
        let capabilities = provider.capabilities();
        if self.user.is_some() && !capabilities.users {
            return Some(String::from("there is one user only on this rung"));
        }
        if self.form == Form::Python && !python {
            return Some(String::from("the image has no python3"));
        }
        if self.reach != Reach::None && !capabilities.network.egress {
            return Some(String::from("this provider has no network"));
        }
        let needed = self.neighbours as u64 * DESCRIPTORS_EACH;
        let may = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        (self.neighbours > 1 && may < needed)
            .then(|| format!("{may} open files are too few for {} sandboxes: {needed} at least", self.neighbours))
    }
}

/// As many open files as this user may have: the usual limit of 1024 is too low for a hundred sandboxes.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
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

async fn check(provider: Arc<dyn Provider>, rung: &str, run: Run) -> Outcome {
    let outside = Outside::start()?;
    let context = Context::new("containment", provider);
    let answers = answers(&context, &outside, run).await;
    let cleaned = context.clean_up().await;
    let finished = outside.finish();
    let answers = answers?;
    cleaned?;
    table::record(&format!("{rung}-{}", run.label().replace("::", "-")), &answers)?;
    judge(&answers, rung, run.user.is_some(), run.way == Way::Timed)?;
    finished
}

/// Runs the checker.
async fn answers(context: &Context, outside: &Outside, run: Run) -> Outcome<Vec<Answer>> {
    let Run { reach, form, way, user, neighbours } = run;
    let neighbours = Neighbours::start(context, &reach.network(), neighbours).await?;
    let program: &[&str] = match form {
        Form::Static => &["/opt/check/checker", "check"],
        Form::Python => &["python3", "-I", "/opt/check/checker.py", "check", "/opt/check/checks.txt"],
    };
    let facts = outside.facts.iter().chain(&neighbours.facts).cloned();
    let argv: Vec<String> = program
        .iter()
        .map(|word| (*word).to_owned())
        .chain(facts)
        .chain([format!("network={}", reach.word())])
        .collect();
    let mut options = CreateOptions::default();
    let mut program = FileUpload::new("/opt/check/checker", super::PROGRAM);
    program.mode = Some(0o755);
    options.network = Some(reach.network());
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
        options.timeout = (way == Way::Timed).then_some(DEADLINE);
        options.pty = (way == Way::Terminal).then(PtySize::default);
        let process = probe::start(&sandbox, options).await?;
        // A terminal whose input is closed hangs up; a pipe's reader is not kept waiting.
        let _stdin = if way == Way::Terminal { process.take_stdin() } else { None };
        if way != Way::Terminal {
            drop(process.take_stdin());
        }
        probe::finish(process.as_ref()).await?
    };
    let answers = answer::parse(&stdout);
    ensure!(status.success(), "the checker ended with {:?}: {}", status.cause, String::from_utf8_lossy(&stderr));
    answers
}

/// Every check was answered, and everything is held but the exceptions.
fn judge(answers: &[Answer], rung: &str, ordinary_user: bool, timed: bool) -> Outcome {
    let expected = answer::expected();
    let answered: BTreeSet<String> = answers.iter().map(|answer| answer.id.clone()).collect();
    ensure!(answers.len() == answered.len(), "a check was answered twice");
    let difference: Vec<_> = expected.symmetric_difference(&answered).collect();
    ensure!(difference.is_empty(), "asked and answered checks differ: {difference:?}");
    let lost: Vec<String> = answers
        .iter()
        .filter(|answer| {
            answer.result == "not held" && exceptions::allowing(answer, rung, ordinary_user, timed).is_none()
        })
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
            // Without control groups there is none for one command either.
            .filter(|exception| !exception.timed)
            .filter(|exception| answers.iter().any(|answer| answer.id == exception.id && answer.result == "held"))
            .map(|exception| exception.id)
            .collect();
        ensure!(idle.is_empty(), "these are held, and no exceptions any more: {idle:?}");
    }
    Ok(())
}
