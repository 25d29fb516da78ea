//! Limits and accounts against this machine's kernel: kept from outside, told by name, and nobody else's trouble.
//!
//! Needs user namespaces and control groups in which this user can make others; without them every test says so and
//! passes, as the reason is this machine's.

#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

use computesdk_engine::{
    End, Engine, EngineError, EngineOptions, Exec, ExecEnd, ExecSpec, Limits, Sandbox, SandboxSpec,
};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt as _;

/// An engine with directories of its own.
struct Bench {
    engine: Engine,
    _dir: tempfile::TempDir,
}

async fn bench() -> Option<Bench> {
    let dir = tempfile::tempdir().unwrap();
    let mut options = EngineOptions::default();
    options.state_dir = Some(dir.path().join("state"));
    let kept = Engine::will_keep(&options);
    if !(kept.memory && kept.pids && kept.cpus) {
        eprintln!("skipped: no limits here: {:?}", kept.advice);
        return None;
    }
    match Engine::start(options).await {
        Ok(engine) => Some(Bench { engine, _dir: dir }),
        Err(EngineError::NoIsolation(failures)) => {
            eprintln!("skipped: no user namespaces here: {failures:?}");
            None
        }
        Err(error) => panic!("{error:?}"),
    }
}

impl Bench {
    async fn sandbox(&self, set: impl FnOnce(&mut Limits)) -> Sandbox {
        let mut spec = SandboxSpec::default();
        set(&mut spec.limits);
        self.engine.create(&spec).await.unwrap()
    }

    fn sh(&self, script: &str) -> ExecSpec {
        ExecSpec {
            argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
            env: vec![(String::from("PATH"), self.engine.image().path.clone())],
            cwd: String::from("/root"),
            ..ExecSpec::default()
        }
    }

    async fn run(&self, sandbox: &Sandbox, script: &str) -> (String, ExecEnd) {
        let exec = sandbox.exec(self.sh(script)).await.unwrap();
        let output = all_of(&exec).await;
        (output, within(exec.wait()).await)
    }

    async fn main(&self, sandbox: &Sandbox, script: &str) -> End {
        let exec = sandbox.exec(self.sh(script)).await.unwrap();
        sandbox.set_main(&exec);
        within(sandbox.wait()).await.unwrap()
    }
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), work).await.expect("not within 30 s")
}

async fn all_of(exec: &Exec) -> String {
    drop(exec.take_stdin());
    let mut output = String::new();
    within(exec.take_stdout().unwrap().read_to_string(&mut output)).await.unwrap();
    output
}

/// Keeps its whole input in memory: 400 MB without a newline.
const GREEDY: &str = "head -c 400000000 /dev/zero | tail";

#[tokio::test]
async fn running_out_of_memory_is_told_and_nobody_elses_trouble() {
    let Some(bench) = bench().await else { return };
    let limited = bench.sandbox(|limits| limits.memory_bytes = Some(64 << 20)).await;
    let neighbour = bench.sandbox(|limits| limits.memory_bytes = Some(64 << 20)).await;
    let beside = neighbour.exec(bench.sh("read go; echo unharmed")).await.unwrap();
    for round in 1..=3 {
        // The last of the pipe is killed, and the shell says 137.
        assert_eq!(bench.run(&limited, GREEDY).await.1, ExecEnd::OutOfMemory { code: 137 });
        assert_eq!(limited.usage().oom_kills, Some(round));
        assert_eq!(bench.run(&limited, "echo on").await, (String::from("on\n"), ExecEnd::Exited { code: 0 }));
        // A failure of another kind, afterwards, is not blamed on it.
        assert_eq!(bench.run(&limited, "exit 3").await.1, ExecEnd::Exited { code: 3 });
    }
    let peak = limited.usage().peak_memory_bytes.unwrap();
    assert!((48 << 20..=64 << 20).contains(&peak), "{peak}");
    assert_eq!(neighbour.usage().oom_kills, Some(0));
    tokio::io::AsyncWriteExt::write_all(&mut beside.take_stdin().unwrap(), b"go\n").await.unwrap();
    assert_eq!(all_of(&beside).await, "unharmed\n");
}

#[tokio::test]
async fn the_end_of_a_sandbox_has_its_cause_and_its_account() {
    let Some(bench) = bench().await else { return };
    let sandbox = bench.sandbox(|limits| limits.memory_bytes = Some(64 << 20)).await;
    assert_eq!(bench.main(&sandbox, &format!("echo last words; {GREEDY}")).await, End::OutOfMemory);
    let usage = sandbox.usage();
    assert!(usage.oom_kills == Some(1) && usage.peak_memory_bytes.is_some(), "{usage:?}");
    assert!(usage.cpu_time.is_some_and(|time| !time.is_zero()), "{usage:?}");

    let sandbox = bench.sandbox(|limits| limits.pids = Some(20)).await;
    let forks = "for i in $(seq 60); do sleep 1000 & done";
    assert_eq!(bench.main(&sandbox, forks).await, End::ProcessLimit);

    let sandbox = bench.sandbox(|limits| limits.disk_bytes = Some(8 << 20)).await;
    assert_eq!(bench.main(&sandbox, "head -c 100000000 /dev/zero > /tmp/large").await, End::DiskFull);

    // One that is asked to end, while it runs.
    let sandbox = bench.sandbox(|_| {}).await;
    let exec = sandbox.exec(bench.sh("echo first; echo second; exec sleep 1000")).await.unwrap();
    within(exec.take_stdout().unwrap().read_exact(&mut [0; 13])).await.unwrap();
    assert_eq!(within(sandbox.terminate()).await.unwrap(), End::Terminated);
    assert_eq!(sandbox.last_output(), "first\nsecond\n");
    assert_eq!(sandbox.usage().output_bytes, 13);
    assert!(sandbox.usage().peak_memory_bytes.is_some_and(|bytes| bytes > 0));
}

#[tokio::test]
async fn what_a_program_used_is_told() {
    let Some(bench) = bench().await else { return };
    let sandbox = bench.sandbox(|_| {}).await;
    let exec = sandbox.exec(bench.sh("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo done")).await.unwrap();
    assert_eq!(all_of(&exec).await, "done\n");
    within(exec.wait()).await;
    let usage = exec.usage();
    assert!(usage.cpu_time.is_some_and(|time| !time.is_zero()), "{usage:?}");
    assert!(usage.peak_memory_bytes.is_some_and(|bytes| bytes > 100_000), "{usage:?}");
    assert_eq!((usage.output_bytes, exec.last_output().as_str()), (5, "done\n"));
}

#[tokio::test]
async fn a_time_limit_reaches_whatever_was_started() {
    let Some(bench) = bench().await else { return };
    let sandbox = bench.sandbox(|_| {}).await;
    let scripts = [
        // Deaf to polite signals; stopped; in a session of its own, twice forked; holding the output open.
        "trap '' TERM INT HUP; sleep 86601; sleep 86601",
        "kill -STOP $$; sleep 86601",
        "setsid sh -c 'setsid sh -c \"exec sleep 86601\" & exit 0'; sleep 86601",
        "(sleep 86601 &) ; sleep 86601",
        "b() { b | b & }; (b) 2>/dev/null & while :; do :; done",
    ];
    for script in scripts {
        let mut spec = bench.sh(script);
        spec.timeout = Some(Duration::from_millis(300));
        let exec = sandbox.exec(spec).await.unwrap();
        assert_eq!(within(exec.wait()).await, ExecEnd::TimedOut, "{script}");
        // Nothing but the agent, the shell that looks, and what it looks with.
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let (running, _) = bench.run(&sandbox, "ls -d /proc/[0-9]* | wc -l").await;
            if running.trim().parse::<u32>().unwrap() <= 4 {
                break;
            }
            assert!(Instant::now() < deadline, "{script}: {running} processes are left");
        }
    }
}

#[tokio::test]
async fn a_program_that_left_something_behind_has_ended_all_the_same() {
    let Some(bench) = bench().await else { return };
    let sandbox = bench.sandbox(|_| {}).await;
    // With a limit that does not pass: what it left goes on.
    let mut spec = bench.sh("sleep 86602 & echo left");
    spec.timeout = Some(Duration::from_secs(60));
    let exec = sandbox.exec(spec).await.unwrap();
    assert_eq!(within(exec.wait()).await, ExecEnd::Exited { code: 0 });
    assert_eq!(bench.run(&sandbox, "pgrep -f 86602 | wc -l").await.0, "2\n", "the one left, and the shell that looks");
    within(sandbox.terminate()).await.unwrap();
}

#[tokio::test]
async fn the_share_of_a_processor_is_kept() {
    let Some(bench) = bench().await else { return };
    let sandbox = bench.sandbox(|limits| limits.cpus = Some(0.2)).await;
    let mut spec = bench.sh("while :; do :; done");
    spec.timeout = Some(Duration::from_secs(2));
    let started = Instant::now();
    let exec = sandbox.exec(spec).await.unwrap();
    within(exec.wait()).await;
    let share = sandbox.usage().cpu_time.unwrap().as_secs_f64() / started.elapsed().as_secs_f64();
    assert!((0.05..0.35).contains(&share), "{share:.2} of a processor with a limit of 0.2");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_before_anything_is_made() {
    let Some(bench) = bench().await else { return };
    let mut spec = SandboxSpec::default();
    spec.limits.memory_bytes = Some(1000);
    let error = bench.engine.create(&spec).await.unwrap_err();
    assert!(matches!(error, EngineError::Invalid { field: "memory", .. }), "{error:?}");
    // The smallest that is allowed is enough to come up and run something.
    let small = bench.sandbox(|limits| {
        limits.memory_bytes = Some(8 << 20);
        limits.disk_bytes = Some(1 << 20);
        limits.pids = Some(2);
        limits.open_files = Some(16);
    });
    let small = small.await;
    assert_eq!(bench.run(&small, "echo fits").await, (String::from("fits\n"), ExecEnd::Exited { code: 0 }));
}
