//! Idle times against this machine's kernel: what counts as use of a sandbox, seen from beside it.
//!
//! Needs user namespaces; without them every test says so and passes, as the reason is this machine's.

#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

use computesdk_engine::{End, Engine, EngineError, EngineOptions, Exec, ExecSpec, Open, Sandbox, SandboxSpec};
use std::io::Write as _;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const IDLE: Duration = Duration::from_millis(1000);
const LONG: Duration = Duration::from_millis(3000);
/// Nothing that is waited for takes longer on an idle machine than a tenth of this.
const SOON: Duration = Duration::from_secs(20);

struct Bench {
    engine: Engine,
    sandbox: Sandbox,
    _dir: tempfile::TempDir,
}

async fn bench(idle: Duration) -> Option<Bench> {
    let dir = tempfile::tempdir().unwrap();
    let mut options = EngineOptions::default();
    options.state_dir = Some(dir.path().join("state"));
    let engine = match Engine::start(options).await {
        Ok(engine) => engine,
        Err(EngineError::NoIsolation(failures)) => {
            eprintln!("skipped: no user namespaces here: {failures:?}");
            return None;
        }
        Err(error) => panic!("{error:?}"),
    };
    let mut spec = SandboxSpec::default();
    spec.idle = Some(idle);
    let sandbox = engine.create(&spec).await.unwrap();
    Some(Bench { engine, sandbox, _dir: dir })
}

impl Bench {
    async fn exec(&self, script: &str) -> Exec {
        let spec = ExecSpec {
            argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
            env: vec![(String::from("PATH"), self.engine.image().path.clone())],
            cwd: String::from("/root"),
            ..ExecSpec::default()
        };
        self.sandbox.exec(spec).await.unwrap()
    }

    /// Its end, which must come.
    async fn end(&self) -> End {
        tokio::time::timeout(SOON, self.sandbox.wait()).await.expect("it does not end").unwrap()
    }

    /// That it does not end while this is done over and over.
    async fn lives_with(&self, mut used: impl AsyncFnMut()) {
        let begun = Instant::now();
        while begun.elapsed() < LONG {
            used().await;
            let end = tokio::time::timeout(IDLE / 10, self.sandbox.wait()).await;
            assert!(end.is_err(), "it was used, and ended: {end:?}");
        }
    }
}

#[tokio::test]
async fn a_program_that_runs_is_use_whatever_becomes_of_its_handle() {
    let Some(bench) = bench(IDLE).await else { return };
    let begun = Instant::now();
    drop(bench.exec("sleep 3").await);
    assert_eq!(bench.end().await, End::IdleTimedOut);
    assert!(begun.elapsed() >= Duration::from_secs(3) + IDLE, "{:?}", begun.elapsed());
    let refused = bench.sandbox.stat("/", true).await;
    assert!(matches!(refused, Err(EngineError::Ended(End::IdleTimedOut))), "{refused:?}");
}

#[tokio::test]
async fn a_program_that_cannot_be_started_holds_nothing() {
    let Some(bench) = bench(IDLE).await else { return };
    let spec = ExecSpec { argv: vec![String::from("/no/such")], cwd: String::from("/"), ..ExecSpec::default() };
    bench.sandbox.exec(spec).await.unwrap_err();
    assert_eq!(bench.end().await, End::IdleTimedOut);
}

#[tokio::test]
async fn the_main_program_is_no_use_and_its_input_is() {
    let Some(bench) = bench(IDLE).await else { return };
    let main = bench.exec("exec cat").await;
    bench.sandbox.set_main(&main);
    let (mut stdin, mut stdout) = (main.take_stdin().unwrap(), main.take_stdout().unwrap());
    bench
        .lives_with(async || {
            stdin.write_all(b"x").await.unwrap();
            // What it says is no use; that it can still say it is what is checked.
            assert_eq!(stdout.read_u8().await.unwrap(), b'x');
        })
        .await;
    assert_eq!(bench.end().await, End::IdleTimedOut);
    drop(stdin);
}

#[tokio::test]
async fn what_is_asked_of_it_is_use() {
    let Some(bench) = bench(IDLE).await else { return };
    bench.lives_with(async || drop(bench.sandbox.stat("/root", true).await.unwrap())).await;
    let mut file = bench.sandbox.open("/root/f", Open::Write, 0o644).await.unwrap();
    file.write_all(b"x").unwrap();
    // A file that is open is none.
    assert_eq!(bench.end().await, End::IdleTimedOut);
    drop(file);
}

#[tokio::test]
async fn it_is_kept_while_it_is_held() {
    let Some(bench) = bench(IDLE).await else { return };
    let (one, other) = (bench.sandbox.activity().hold(), bench.sandbox.activity().hold());
    drop(one);
    bench.lives_with(async || ()).await;
    drop(other);
    assert_eq!(bench.end().await, End::IdleTimedOut);
}

/// The clock is the engine's: a caller whose only thread does something else does not stop it.
#[test]
fn a_caller_that_is_busy_does_not_keep_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let Some(bench) = runtime.block_on(bench(IDLE)) else { return };
    let deadline = Instant::now() + SOON;
    while bench.sandbox.ended().is_none() {
        assert!(Instant::now() < deadline, "it does not end");
        std::thread::yield_now();
    }
    assert_eq!(bench.sandbox.ended(), Some(End::IdleTimedOut));
    runtime.block_on(bench.engine.shut_down());
}

#[tokio::test]
async fn an_end_by_hand_is_told_as_such() {
    let Some(bench) = bench(Duration::from_secs(3600)).await else { return };
    assert_eq!(bench.sandbox.terminate().await.unwrap(), End::Terminated);
}
