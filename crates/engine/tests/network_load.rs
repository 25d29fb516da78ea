//! Many sandboxes with a network at once, and for long: a few of each in every run, 300 and a minute with `COMPUTESDK_SOAK` set
//! (`./ci soak`).
//!
//! Needs user namespaces, and an address of this machine besides its loopback's, at which the sandboxes fetch; without them
//! every test says so and passes.

#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

use computesdk_engine::{
    Engine, EngineError, EngineOptions, EventKind, ExecEnd, ExecSpec, NetworkPolicy, Sandbox, SandboxSpec, Stdio,
    Verdict,
};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt as _;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nyes";

fn is_soak() -> bool {
    std::env::var_os("COMPUTESDK_SOAK").is_some()
}

async fn engine() -> Option<(Engine, tempfile::TempDir)> {
    let dir = tempfile::tempdir().unwrap();
    let mut options = EngineOptions::default();
    options.state_dir = Some(dir.path().join("state"));
    match Engine::start(options).await {
        Ok(engine) => Some((engine, dir)),
        Err(EngineError::NoIsolation(failures)) => {
            eprintln!("skipped: no user namespaces here: {failures:?}");
            None
        }
        Err(error) => panic!("{error:?}"),
    }
}

/// A server at an address of this machine, for as long as the process lives, and how often it was asked.
fn server() -> Option<(IpAddr, u16, Arc<AtomicUsize>)> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // Sends nothing: a route is looked up.
    if socket.connect("203.0.113.1:9").is_err() {
        eprintln!("skipped: this machine has no address but its loopback's");
        return None;
    }
    let address = socket.local_addr().unwrap().ip();
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(ANSWER);
            });
        }
    });
    Some((address, port, asked))
}

fn open(policy: NetworkPolicy) -> SandboxSpec {
    let mut spec = SandboxSpec::default();
    spec.network = policy;
    spec
}

async fn run(engine: &Engine, sandbox: &Sandbox, argv: &[&str]) -> (String, ExecEnd) {
    let spec = ExecSpec {
        argv: argv.iter().map(|arg| (*arg).to_owned()).collect(),
        env: vec![(String::from("PATH"), engine.image().path.clone())],
        cwd: String::from("/root"),
        timeout: Some(Duration::from_secs(60)),
        stdio: [Stdio::Null, Stdio::Piped, Stdio::Merged],
        ..ExecSpec::default()
    };
    let exec = sandbox.exec(spec).await.unwrap();
    let mut output = String::new();
    exec.take_stdout().unwrap().read_to_string(&mut output).await.unwrap();
    (output, exec.wait().await)
}

/// Fetches by bash alone, so that many can at once.
fn fetch(address: IpAddr, port: u16) -> String {
    format!("exec 3<>/dev/tcp/{address}/{port} && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3 | tail -c 3")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_live_sandboxes_fetch() {
    let (Some((engine, _dir)), Some((address, port, asked))) = (engine().await, server()) else { return };
    // Each takes five descriptors of this process, and three more while it fetches.
    let room = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX) / 8;
    let count = if is_soak() { 300 } else { 60 }.min(usize::try_from(room).unwrap());
    let spec = open(NetworkPolicy::ranges(&[address.to_string()]).unwrap());
    let mut sandboxes = Vec::new();
    for _ in 0..count {
        sandboxes.push(engine.create(&spec).await.unwrap());
    }
    // All of them live; now each fetches, a few at a time.
    for some in sandboxes.chunks(16) {
        let fetches = some.iter().map(|sandbox| {
            let (engine, sandbox, script) = (engine.clone(), sandbox.clone(), fetch(address, port));
            tokio::spawn(async move { run(&engine, &sandbox, &["bash", "-c", &script]).await })
        });
        for fetched in fetches.collect::<Vec<_>>() {
            assert_eq!(fetched.await.unwrap(), (String::from("yes"), ExecEnd::Exited { code: 0 }));
        }
    }
    assert_eq!(asked.load(Ordering::Relaxed), count);
    for sandbox in &sandboxes {
        let mut events = sandbox.events();
        sandbox.terminate().await.unwrap();
        let mut verdicts = Vec::new();
        while let Some(event) = events.next().await {
            if let EventKind::Network(decision) = event.kind {
                verdicts.push(decision.verdict);
            }
        }
        assert_eq!(verdicts, [Verdict::Allowed, Verdict::Closed], "each hears of its own only");
    }
    engine.shut_down().await;
}

/// Makes one, runs a program in it, ends it; the time to the program's end.
async fn cycle(engine: &Engine, spec: &SandboxSpec) -> Duration {
    let begun = Instant::now();
    let sandbox = engine.create(spec).await.unwrap();
    assert_eq!(run(engine, &sandbox, &["/bin/echo", "x"]).await, (String::from("x\n"), ExecEnd::Exited { code: 0 }));
    let time = begun.elapsed();
    sandbox.terminate().await.unwrap();
    time
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_half_of_the_rate_that_is_possible_none_fails() {
    let Some((engine, _dir)) = engine().await else { return };
    let spec = open(NetworkPolicy::Internet);
    let (trial, length) = if is_soak() { (50, Duration::from_secs(60)) } else { (15, Duration::from_secs(3)) };
    for _ in 0..5 {
        cycle(&engine, &spec).await;
    }
    let begun = Instant::now();
    for _ in 0..trial {
        cycle(&engine, &spec).await;
    }
    let each = begun.elapsed() / trial;
    let (begun, mut begin, mut cycles) = (Instant::now(), Instant::now(), Vec::new());
    while begun.elapsed() < length {
        let (engine, spec) = (engine.clone(), spec.clone());
        cycles.push(tokio::spawn(async move { cycle(&engine, &spec).await }));
        begin += each * 2;
        tokio::time::sleep_until(begin.into()).await;
    }
    let mut times = Vec::new();
    for cycle in cycles {
        times.push(cycle.await.unwrap());
    }
    times.sort();
    let (middle, late) = (times[times.len() / 2], times[times.len() * 95 / 100]);
    eprintln!("{} in {length:?}, one each {:?}: p50 {middle:?}, p95 {late:?}", times.len(), each * 2);
    // Told, not asserted, in the short run: it shares the machine with other tests.
    assert!(!is_soak() || late <= middle * 3, "p95 {late:?} is more than three times p50 {middle:?}");
    engine.shut_down().await;
}
