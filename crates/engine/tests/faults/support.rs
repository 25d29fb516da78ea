//! What all of these tests use.

use computesdk_engine::{Engine, EngineOptions, Exec, ExecEnd, ExecSpec};
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime};
use tokio::io::AsyncReadExt as _;

/// Nothing here takes longer on an idle machine than a tenth of this.
pub(crate) const WITHIN: Duration = Duration::from_secs(20);

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Whether the long versions are asked for.
pub(crate) fn soak() -> bool {
    std::env::var_os("COMPUTESDK_SOAK").is_some()
}

/// The generated part of the image, shared by all tests of this program: making it takes seconds.
fn cache() -> PathBuf {
    static CACHE: OnceLock<PathBuf> = OnceLock::new();
    // A victim gets its parent's.
    let given = || std::env::var_os("COMPUTESDK_VICTIM_CACHE").map(PathBuf::from);
    let own = || PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("faults-cache");
    CACHE.get_or_init(|| given().unwrap_or_else(own)).clone()
}

/// Directories of an engine's own: everything it leaves on disk is below this one.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("tmp")).unwrap();
        Self { dir }
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub(crate) fn tmp(&self) -> PathBuf {
        self.dir.path().join("tmp")
    }

    pub(crate) fn cache() -> PathBuf {
        cache()
    }

    pub(crate) fn options(&self) -> EngineOptions {
        options(self.state())
    }

    /// Starts this program as a victim.
    pub(crate) fn victim(&self, mode: &str) -> Victim {
        Victim::start(self.command(mode))
    }

    pub(crate) fn command(&self, mode: &str) -> Command {
        self.command_through(Command::new(std::env::current_exe().unwrap()), mode)
    }

    /// The same, by a program that is given the victim's command line.
    pub(crate) fn command_through(&self, mut command: Command, mode: &str) -> Command {
        command
            .env("COMPUTESDK_VICTIM", mode)
            .env("COMPUTESDK_VICTIM_STATE", self.state())
            .env("COMPUTESDK_VICTIM_CACHE", cache())
            .env("TMPDIR", self.tmp());
        command
    }

    /// A whole life of an engine: the next start after something went wrong.
    pub(crate) fn next_start(&self) {
        let mut once = self.victim("once");
        let said = once.until_closed();
        let status = once.wait();
        assert!(status.success(), "the next start fails: {status}: {said}");
    }
}

pub(crate) fn options(state: PathBuf) -> EngineOptions {
    let mut options = EngineOptions::default();
    options.state_dir = Some(state);
    options.cache_dir = Some(cache());
    options
}

/// A child that runs an engine. Dropping it kills it.
pub(crate) struct Victim {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Victim {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (send, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        let stdin = child.stdin.take();
        Self { child, stdin, lines }
    }

    /// The next line it says.
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(WITHIN).unwrap_or_else(|error| panic!("the victim says nothing: {error}"))
    }

    /// Everything it still says.
    pub(crate) fn until_closed(&self) -> String {
        let mut said = String::new();
        loop {
            match self.lines.recv_timeout(WITHIN) {
                Ok(line) => said += &(line + "\n"),
                Err(RecvTimeoutError::Disconnected) => return said,
                Err(RecvTimeoutError::Timeout) => panic!("the victim hangs; it said {said:?}"),
            }
        }
    }

    pub(crate) fn stdin(&mut self) -> Option<&mut ChildStdin> {
        self.stdin.as_mut()
    }

    /// Tells it to end in order.
    pub(crate) fn let_go(&mut self) {
        self.stdin = None;
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + WITHIN;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the victim does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> Result<(), String>) {
    let deadline = Instant::now() + WITHIN;
    while let Err(why) = holds() {
        assert!(Instant::now() < deadline, "not within {WITHIN:?}: {what}: {why}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Random moments, reproducible by their seed (SplitMix64).
pub(crate) struct Moments(u64);

impl Moments {
    pub(crate) fn new(test: &str) -> Self {
        let given = std::env::var("COMPUTESDK_SEED").ok().and_then(|seed| seed.parse().ok());
        let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_nanos() as u64);
        let seed = given.unwrap_or_else(now);
        println!("{test}: COMPUTESDK_SEED={seed}");
        Self(seed)
    }

    /// A time below the given one.
    pub(crate) fn next(&mut self, below: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Duration::from_nanos((mixed ^ (mixed >> 31)) % below.as_nanos() as u64)
    }

    /// Lets a random time pass: what happens meanwhile is what the test is about.
    pub(crate) fn pass(&mut self, below: Duration) {
        std::thread::sleep(self.next(below));
    }
}

pub(crate) fn spec(engine: &Engine, argv: &[&str]) -> ExecSpec {
    ExecSpec {
        argv: argv.iter().map(|arg| (*arg).to_owned()).collect(),
        env: vec![(String::from("PATH"), engine.image().path.clone())],
        cwd: String::from("/root"),
        ..ExecSpec::default()
    }
}

/// Output and end of a program without input.
pub(crate) async fn finish(exec: &Exec) -> (String, ExecEnd) {
    drop(exec.take_stdin());
    let mut output = String::new();
    if let Some(mut stdout) = exec.take_stdout() {
        stdout.read_to_string(&mut output).await.unwrap();
    }
    (output, exec.wait().await)
}

/// Awaits with the deadline of all tests.
pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(WITHIN, work).await.unwrap_or_else(|_| panic!("{what} hangs"))
}
