//! What a trial works with: an engine of its own, sandboxes, and the world's servers.

use crate::servers::CONTROL;
use crate::world::{LEAK, TOP, Who};
use computesdk_engine::{
    Decision, Engine, EngineError, EngineOptions, EventKind, Exec, ExecEnd, ExecSpec, NetworkPolicy, Sandbox,
    SandboxSpec, Stdio, Verdict, WayOut,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};

/// Nothing that is waited for takes longer on an idle machine than a tenth of this.
pub(crate) const WITHIN: Duration = Duration::from_secs(30);

const PROBE: &str = include_str!("probe.py");

/// What a trial comes to: done, or skipped for a reason.
pub(crate) type Outcome = Result<(), Skipped>;

pub(crate) struct Skipped(pub(crate) String);

pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) who: Who,
    pub(crate) servers: Control,
    dir: tempfile::TempDir,
}

/// Asks the world's servers.
#[derive(Clone, Copy)]
pub(crate) struct Control;

/// A sandbox, with what is often done in one.
#[derive(Clone)]
pub(crate) struct Room {
    pub(crate) sandbox: Sandbox,
    path: String,
}

/// A program that runs on.
pub(crate) struct Running {
    pub(crate) exec: Exec,
    lines: Lines<BufReader<computesdk_engine::ReadStream>>,
}

pub(crate) fn who() -> Who {
    let name = std::env::var("COMPUTESDK_NETWORK_WHO").unwrap();
    Who::ALL.into_iter().find(|who| who.name() == name).unwrap()
}

pub(crate) fn options(state: PathBuf) -> EngineOptions {
    let mut options = EngineOptions::default();
    options.state_dir = Some(state);
    options.cache_dir = Some(std::env::var_os("COMPUTESDK_NETWORK_CACHE").unwrap().into());
    options.way_out = if who() == Who::RootProxy { WayOut::Proxy } else { WayOut::Best };
    options
}

/// A trial, in a process of its own.
pub(crate) fn run(test: fn(Bench) -> Pin<Box<dyn Future<Output = Outcome>>>) -> ExitCode {
    // As an embedding program with many connections does.
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let engine = match Engine::start(options(dir.path().join("state"))).await {
            Ok(engine) => engine,
            Err(EngineError::NoIsolation(failures)) => {
                println!("skipped: no user namespaces here: {failures:?}");
                return ExitCode::SUCCESS;
            }
            Err(error) => panic!("{error:?}"),
        };
        let who = who();
        assert!(who.name().starts_with(&engine.rung().label()[..1]), "{:?} on rung {}", who, engine.rung());
        let before = Control.log(&[LEAK]);
        let (ended, groups) = (engine.clone(), groups(dir.path()));
        if let Err(Skipped(why)) = test(Bench { engine, who, servers: Control, dir }).await {
            println!("skipped: {why}");
        }
        let after = Control.log(&[LEAK]);
        assert_eq!(after.strip_prefix(&before), Some(""), "somebody was reached who must not be");
        // Its journal goes with the directory: what is left would be found by nobody.
        within("shut down", ended.shut_down()).await;
        let gone = || {
            let left: Vec<_> = groups.iter().filter(|group| group.exists()).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        };
        eventually("its control groups are gone", gone).await;
        ExitCode::SUCCESS
    })
}

/// The control groups of the engine that has its state here, where they are near the top of a hierarchy.
fn groups(dir: &Path) -> Vec<PathBuf> {
    let names = |path: &Path| {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    let top = Path::new("/sys/fs/cgroup");
    let engines = names(&dir.join("state/engines"));
    let groups = |engine: &String| {
        let group = format!("computesdk-{engine}");
        names(top).into_iter().map(move |hierarchy| top.join(hierarchy).join(&group))
    };
    engines.iter().flat_map(groups).filter(|group| group.exists()).collect()
}

/// Awaits with the deadline of all.
pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(WITHIN, work).await.unwrap_or_else(|_| panic!("{what} hangs"))
}

/// Waits until something is so, and says what it was last.
pub(crate) async fn eventually<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = tokio::time::Instant::now() + WITHIN;
    loop {
        match look() {
            Ok(value) => return value,
            Err(last) => assert!(tokio::time::Instant::now() < deadline, "not in time: {what}: {last}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn policy(text: &str) -> NetworkPolicy {
    let list = |list: &str| list.split(',').map(String::from).collect::<Vec<_>>();
    match text.split_once(':') {
        Some(("cidr", ranges)) => NetworkPolicy::ranges(&list(ranges)).unwrap(),
        Some(("domain", names)) => NetworkPolicy::names(&list(names)).unwrap(),
        _ if text == "egress" => NetworkPolicy::Internet,
        _ => NetworkPolicy::Nothing,
    }
}

impl Bench {
    /// Whether programs reach the network only by a proxy.
    pub(crate) fn by_proxy(&self) -> bool {
        self.who == Who::RootProxy
    }

    /// A name for what this trial does alone, among all that the servers see.
    pub(crate) fn label(&self, what: &str) -> String {
        format!("{what}-{}", std::process::id())
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Whether a connection of a probe ended as one that nobody allows: at once, and in words of a network.
    #[track_caller]
    pub(crate) fn is_refused(&self, line: &str) {
        let words: Vec<_> = line.split(' ').collect();
        let how = words[2];
        let expected: &[&str] =
            if self.by_proxy() { &["403"] } else { &["ECONNREFUSED", "EHOSTUNREACH", "EACCES", "ENETUNREACH"] };
        assert!(expected.contains(&how), "{line}");
        assert!(words[3].parse::<u32>().unwrap() < 1000, "{line}: it takes too long");
    }

    pub(crate) async fn room(&self, network: &str) -> Room {
        Room::new(&self.engine, network).await
    }
}

impl Control {
    fn ask(self, request: &str) -> String {
        let mut stream = UnixStream::connect(Path::new(TOP).join(CONTROL)).unwrap();
        stream.set_read_timeout(Some(WITHIN)).unwrap();
        writeln!(stream, "{request}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// What a name leads to: steps parted by `;`, their addresses by `,`.
    pub(crate) fn zone(self, name: &str, steps: &str) {
        self.ask(&format!("zone {name} {steps}"));
    }

    /// What the servers saw: lines that have all of these words.
    pub(crate) fn log(self, words: &[&str]) -> String {
        self.ask(&format!("log {}", words.join(" ")))
    }

    /// Waits until they have seen something.
    pub(crate) async fn sees(self, words: &[&str]) -> String {
        let seen = || Some(self.log(words)).filter(|seen| !seen.is_empty()).ok_or_else(|| self.log(&[]));
        eventually(&format!("the servers see {words:?}"), seen).await
    }

    /// What the host's network is like.
    pub(crate) fn host(self) -> String {
        self.ask("host")
    }

    /// Makes packages to install; or says why there are none.
    pub(crate) fn packages(self) -> Outcome {
        let problem = self.ask("packages");
        if problem.is_empty() { Ok(()) } else { Err(Skipped(format!("no packages can be made here: {problem}"))) }
    }
}

impl Room {
    pub(crate) async fn new(engine: &Engine, network: &str) -> Self {
        let mut spec = SandboxSpec::default();
        spec.network = policy(network);
        let sandbox = within("create", engine.create(&spec)).await.unwrap();
        Self { sandbox, path: engine.image().path.clone() }
    }

    fn spec(&self, argv: &[&str]) -> ExecSpec {
        ExecSpec {
            argv: argv.iter().map(|arg| (*arg).to_owned()).collect(),
            env: vec![(String::from("PATH"), self.path.clone())],
            cwd: String::from("/root"),
            stdio: [Stdio::Piped, Stdio::Piped, Stdio::Merged],
            ..ExecSpec::default()
        }
    }

    /// Output and exit code of a program without input.
    pub(crate) async fn run(&self, argv: &[&str]) -> (String, i32) {
        let what = argv.last().copied().unwrap_or_default();
        let exec = self.sandbox.exec(self.spec(argv)).await.unwrap();
        drop(exec.take_stdin());
        let mut output = Vec::new();
        within(what, exec.take_stdout().unwrap().read_to_end(&mut output)).await.unwrap();
        let end = within(what, exec.wait()).await;
        (String::from_utf8_lossy(&output).into_owned(), end.code())
    }

    pub(crate) async fn sh(&self, script: &str) -> (String, i32) {
        self.run(&["sh", "-c", script]).await
    }

    /// The output of a script that ends well.
    pub(crate) async fn ok(&self, script: &str) -> String {
        let (output, code) = self.sh(script).await;
        assert_eq!(code, 0, "{script}: {output}");
        output
    }

    /// Whether a program is in there, as a reason to skip.
    pub(crate) async fn needs(&self, program: &str) -> Outcome {
        match self.sh(&format!("command -v {program}")).await {
            (_, 0) => Ok(()),
            _ => Err(Skipped(format!("no {program} in sandboxes here"))),
        }
    }

    /// What a probe says, line by line. It must end well.
    pub(crate) async fn probe(&self, arguments: &[&str]) -> Vec<String> {
        let (output, code) = self.run(&[&["python3", "-c", PROBE], arguments].concat()).await;
        assert_eq!(code, 0, "{arguments:?}: {output}");
        output.lines().map(String::from).collect()
    }

    /// The one line that a probe says.
    pub(crate) async fn probe1(&self, arguments: &[&str]) -> String {
        let lines = self.probe(arguments).await;
        assert_eq!(lines.len(), 1, "{arguments:?}: {lines:?}");
        lines.into_iter().next().unwrap_or_default()
    }

    /// Starts a probe that runs on.
    pub(crate) async fn start(&self, arguments: &[&str]) -> Running {
        let exec = self.sandbox.exec(self.spec(&[&["python3", "-c", PROBE], arguments].concat())).await.unwrap();
        let lines = BufReader::new(exec.take_stdout().unwrap()).lines();
        Running { exec, lines }
    }

    /// What was decided so far.
    pub(crate) async fn decisions(&self) -> Vec<Decision> {
        let mut events = self.sandbox.events();
        let mut decisions = Vec::new();
        while let Ok(Some(event)) = tokio::time::timeout(Duration::ZERO, events.next()).await {
            if let EventKind::Network(decision) = event.kind {
                decisions.push(decision);
            }
        }
        decisions
    }

    /// The first decision of this kind, as soon as there is one.
    pub(crate) async fn decided(&self, what: &str, is_it: impl Fn(&Decision) -> bool) -> Decision {
        let mut events = self.sandbox.events();
        let mut seen = Vec::new();
        let look = async {
            while let Some(event) = events.next().await {
                match event.kind {
                    EventKind::Network(decision) if is_it(&decision) => return decision,
                    kind => seen.push(kind),
                }
            }
            panic!("it ended before: {what}");
        };
        let found = tokio::time::timeout(WITHIN, look).await;
        found.unwrap_or_else(|_| panic!("never told: {what}; but {seen:#?}"))
    }

    /// A refusal for this reason.
    pub(crate) async fn refused(&self, reason: &str) -> Decision {
        let is_it = |decision: &Decision| {
            decision.verdict == Verdict::Refused && decision.reason.as_ref().is_some_and(|told| told.contains(reason))
        };
        self.decided(&format!("refused: {reason}"), is_it).await
    }

    pub(crate) async fn end(&self) {
        within("terminate", self.sandbox.terminate()).await.unwrap();
    }
}

impl Running {
    /// The next line it says; nothing if it has ended.
    pub(crate) async fn line(&mut self) -> String {
        within("a probe", self.lines.next_line()).await.unwrap().unwrap_or_default()
    }

    pub(crate) async fn ends(&self) -> ExecEnd {
        within("a probe", self.exec.wait()).await
    }
}
