//! The streams of programs: many of them, large ones, odd ones, and what happens when somebody stops listening.
//!
//! Deadlines are wide; nothing is measured but memory and bytes. `COMPUTESDK_SOAK` set makes the long ones long.
//!
//! Needs user namespaces; without them every test says so and passes.

#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

mod bytes;
mod cancelled;
mod many;
mod unread;

use computesdk_engine::{Engine, EngineError, EngineOptions, Exec, ExecEnd, ExecSpec, Sandbox, SandboxSpec};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt as _;

/// No single wait takes longer, on a machine that has other things to do as well.
const WITHIN: Duration = Duration::from_secs(60);

/// Held by tests that look at the memory of this process, and by those that use much of it.
static MEMORY: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// An engine with directories of its own, and one sandbox.
struct Bench {
    engine: Engine,
    sandbox: Sandbox,
    _dir: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Option<Self> {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut EngineOptions)) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut options = EngineOptions::default();
        change(&mut options);
        options.state_dir = Some(dir.path().join("state"));
        let engine = match Engine::start(options).await {
            Ok(engine) => engine,
            Err(EngineError::NoIsolation(failures)) => {
                eprintln!("skipped: no user namespaces here: {failures:?}");
                return None;
            }
            Err(error) => panic!("{error:?}"),
        };
        let sandbox = engine.create(&SandboxSpec::default()).await.unwrap();
        Some(Self { engine, sandbox, _dir: dir })
    }

    fn spec(&self, argv: &[&str]) -> ExecSpec {
        ExecSpec {
            argv: argv.iter().map(|arg| (*arg).to_owned()).collect(),
            env: vec![(String::from("PATH"), self.engine.image().path.clone())],
            cwd: String::from("/root"),
            ..ExecSpec::default()
        }
    }

    async fn exec(&self, argv: &[&str]) -> Exec {
        self.sandbox.exec(self.spec(argv)).await.unwrap()
    }

    async fn sh(&self, script: &str) -> Exec {
        self.exec(&["sh", "-c", script]).await
    }

    /// Its output, when it has ended well.
    async fn output(&self, script: &str) -> String {
        let exec = self.sh(script).await;
        drop(exec.take_stdin());
        let output = read_all(&exec).await;
        assert_eq!(within(exec.wait()).await, ExecEnd::Exited { code: 0 }, "{script}");
        String::from_utf8(output).unwrap()
    }

    /// Nothing runs inside but the agent and what looks.
    async fn is_quiet(&self) {
        let deadline = Instant::now() + WITHIN;
        loop {
            // The shell and its `ls`, and pid 1.
            let running = self.output("ls -d /proc/[0-9]* | wc -l").await;
            if running.trim().parse::<usize>().unwrap() <= 4 {
                return;
            }
            assert!(Instant::now() < deadline, "{running} processes are left inside");
        }
    }

    async fn end(self) {
        within(self.sandbox.terminate()).await.unwrap();
        within(self.engine.shut_down()).await;
    }
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(WITHIN, work).await.expect("it hangs")
}

async fn read_all(exec: &Exec) -> Vec<u8> {
    let mut output = Vec::new();
    within(exec.take_stdout().unwrap().read_to_end(&mut output)).await.unwrap();
    output
}

fn soak() -> bool {
    std::env::var_os("COMPUTESDK_SOAK").is_some()
}

/// Bytes that look like nothing in particular: every value, zeros among them, and no newline at the end.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(len)
    .collect();
    if let Some(last) = bytes.last_mut() {
        *last = 0;
    }
    bytes
}

/// Memory of this process that is its own, in MiB (`proc_pid_status(5)`).
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}
