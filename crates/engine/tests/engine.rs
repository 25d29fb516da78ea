//! The engine against this machine's kernel: what no in-process test can show.
//!
//! Needs user namespaces; without them every test says so and passes, as the reason is this machine's.

#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

use computesdk_engine::{
    Doctor, End, Engine, EngineError, EngineOptions, Exec, ExecEnd, ExecSpec, Open, Sandbox, SandboxSpec,
};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// An engine with directories of its own, so that tests do not meet each other's journals.
struct Bench {
    engine: Engine,
    state: PathBuf,
    _dir: tempfile::TempDir,
}

async fn bench() -> Option<Bench> {
    let dir = tempfile::tempdir().unwrap();
    let mut options = EngineOptions::default();
    options.state_dir = Some(dir.path().join("state"));
    match Engine::start(options).await {
        Ok(engine) => Some(Bench { engine, state: dir.path().join("state"), _dir: dir }),
        Err(EngineError::NoIsolation(failures)) => {
            eprintln!("skipped: no user namespaces here: {failures:?}");
            None
        }
        Err(error) => panic!("{error:?}"),
    }
}

fn spec(engine: &Engine, argv: &[&str]) -> ExecSpec {
    ExecSpec {
        argv: argv.iter().map(|arg| (*arg).to_owned()).collect(),
        env: vec![(String::from("PATH"), engine.image().path.clone())],
        cwd: String::from("/root"),
        ..ExecSpec::default()
    }
}

async fn run(engine: &Engine, sandbox: &Sandbox, script: &str) -> (String, ExecEnd) {
    let exec = sandbox.exec(spec(engine, &["sh", "-c", script])).await.unwrap();
    finish(&exec).await
}

async fn finish(exec: &Exec) -> (String, ExecEnd) {
    drop(exec.take_stdin());
    let mut output = String::new();
    if let Some(mut stdout) = exec.take_stdout() {
        stdout.read_to_string(&mut output).await.unwrap();
    }
    (output, exec.wait().await)
}

/// Waits until something holds, at most 10 s.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "not within 10 s: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Processes of this machine whose command line has this word.
fn processes_with(word: &str) -> usize {
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .filter(|line| line.split(|byte| *byte == 0).any(|part| part == word.as_bytes()))
        .count()
}

#[tokio::test]
async fn terminating_ends_everything_and_says_so() {
    let Some(Bench { engine, state: _, _dir }) = bench().await else { return };
    let sandbox = engine.create(&SandboxSpec::default()).await.unwrap();
    // One that ignores polite signals, in a session of its own.
    let script = "trap '' TERM INT HUP; setsid sh -c 'exec sleep 86411' & echo up; exec sleep 86412";
    let exec = sandbox.exec(spec(&engine, &["sh", "-c", script])).await.unwrap();
    let mut up = [0; 3];
    exec.take_stdout().unwrap().read_exact(&mut up).await.unwrap();
    eventually("both run", || processes_with("86411") == 1 && processes_with("86412") == 1).await;
    assert_eq!(sandbox.terminate().await.unwrap(), End::Terminated);
    assert_eq!(processes_with("86411") + processes_with("86412"), 0, "something still runs when terminate returns");
    assert_eq!(exec.wait().await, ExecEnd::SandboxEnded);
    assert_eq!(sandbox.terminate().await.unwrap(), End::Terminated, "a second time is fine");
    assert!(matches!(sandbox.exec(spec(&engine, &["true"])).await, Err(EngineError::Ended(End::Terminated))));
}

#[tokio::test]
async fn a_lifetime_and_a_time_limit_are_kept_from_outside() {
    let Some(Bench { engine, state: _, _dir }) = bench().await else { return };
    let mut short = SandboxSpec::default();
    short.lifetime = Some(Duration::from_millis(300));
    let sandbox = engine.create(&short).await.unwrap();
    assert_eq!(sandbox.wait().await.unwrap(), End::TimedOut);

    let sandbox = engine.create(&SandboxSpec::default()).await.unwrap();
    // A tree, part of it deaf to TERM.
    let mut limited = spec(&engine, &["sh", "-c", "echo first; trap '' TERM; sleep 86421 & sleep 86422"]);
    limited.timeout = Some(Duration::from_millis(300));
    let exec = sandbox.exec(limited).await.unwrap();
    let (output, end) = finish(&exec).await;
    assert_eq!((output.as_str(), end), ("first\n", ExecEnd::TimedOut));
    assert_eq!(processes_with("86421") + processes_with("86422"), 0);
    // The sandbox itself lives on.
    assert_eq!(run(&engine, &sandbox, "echo on").await.0, "on\n");
}

#[tokio::test]
async fn the_end_of_the_main_program_is_the_sandboxes() {
    let Some(Bench { engine, state: _, _dir }) = bench().await else { return };
    let sandbox = engine.create(&SandboxSpec::default()).await.unwrap();
    let exec = sandbox.exec(spec(&engine, &["sh", "-c", "read line; exit 7"])).await.unwrap();
    sandbox.set_main(&exec);
    assert!(sandbox.ended().is_none());
    exec.take_stdin().unwrap().write_all(b"go\n").await.unwrap();
    assert_eq!(sandbox.wait().await.unwrap(), End::Exited { code: 7 });
}

#[tokio::test]
async fn a_cancelled_create_leaves_nothing() {
    let Some(Bench { engine, state, _dir }) = bench().await else { return };
    for after in [0, 200, 1000, 3000] {
        let create = engine.create(&SandboxSpec::default()).await.map(|_| ());
        create.unwrap();
        let cancelled =
            tokio::time::timeout(Duration::from_micros(after), engine.create(&SandboxSpec::default())).await;
        if let Ok(Ok(sandbox)) = cancelled {
            sandbox.terminate().await.unwrap();
        }
    }
    engine.shut_down().await;
    assert_eq!(std::fs::read_dir(state.join("engines")).unwrap().count(), 0, "a journal is left");
}

#[tokio::test]
async fn a_killed_launcher_is_host_lost_and_nothing_survives() {
    let Some(Bench { engine, state, _dir }) = bench().await else { return };
    let sandbox = engine.create(&SandboxSpec::default()).await.unwrap();
    let exec = sandbox.exec(spec(&engine, &["sleep", "86431"])).await.unwrap();
    eventually("it runs", || processes_with("86431") == 1).await;
    // The journal names it: the second process, after the engine itself.
    let journal = std::fs::read_dir(state.join("engines")).unwrap().next().unwrap().unwrap().path().join("journal");
    let text = std::fs::read_to_string(journal).unwrap();
    let launcher = text.lines().find_map(|line| line.strip_prefix("process ")).unwrap();
    let pid = rustix::process::Pid::from_raw(launcher.split(' ').next().unwrap().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    assert!(matches!(sandbox.wait().await.unwrap(), End::HostLost { .. }));
    assert_eq!(exec.wait().await, ExecEnd::SandboxEnded);
    eventually("the sandbox's program ends", || processes_with("86431") == 0).await;
    assert!(matches!(engine.create(&SandboxSpec::default()).await, Err(EngineError::HostLost(_))));
    assert!(!engine.is_running());
    engine.shut_down().await;
    assert_eq!(std::fs::read_dir(state.join("engines")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_killed_agent_ends_its_sandbox_alone() {
    let Some(Bench { engine, state: _, _dir }) = bench().await else { return };
    let neighbour = engine.create(&SandboxSpec::default()).await.unwrap();
    let sandbox = engine.create(&SandboxSpec::default()).await.unwrap();
    sandbox.exec(spec(&engine, &["sleep", "86441"])).await.unwrap();
    eventually("it runs", || processes_with("86441") == 1).await;
    let pid = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .find(|entry| std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == b"sleep\x0086441\0"))
        .unwrap();
    let status = std::fs::read_to_string(pid.path().join("status")).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap();
    let parent = rustix::process::Pid::from_raw(parent).unwrap();
    rustix::process::kill_process(parent, rustix::process::Signal::KILL).unwrap();
    assert!(matches!(sandbox.wait().await.unwrap(), End::HostLost { .. }));
    assert_eq!(processes_with("86441"), 0);
    assert_eq!(run(&engine, &neighbour, "echo fine").await.0, "fine\n");
}

#[tokio::test]
async fn nothing_of_the_host_comes_in() {
    let Some(Bench { engine, state: _, _dir }) = bench().await else { return };
    let sandbox = engine.create(&SandboxSpec::default()).await.unwrap();
    let script = "ls /proc/self/fd | wc -l; env | sort | cut -d= -f1 | tr '\\n' ' '; cat /proc/1/environ 2>&1; \
                  cat /proc/1/maps 2>&1; dd if=/proc/1/mem count=1 2>&1; cat /proc/1/fd/3 2>&1; ls /sys | wc -l; \
                  cat /proc/self/status";
    let exec = sandbox.exec(spec(&engine, &["sh", "-c", script])).await.unwrap();
    let output = finish(&exec).await.0;
    // ls itself has its directory open besides the three streams.
    assert!(output.starts_with("4\nHOME PATH PWD USER "), "{output}");
    assert_eq!(output.matches("Permission denied").count(), 3, "environ, maps and mem: {output}");
    assert!(output.contains("/proc/1/fd/3: No such file"), "its descriptors are covered: {output}");
    assert!(output.contains("SigIgn:\t0000000000000000"), "{output}");
    assert!(output.contains("NoNewPrivs:\t1") && output.contains("Seccomp:\t2"), "{output}");
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_ne!(run(&engine, &sandbox, "cat /proc/sys/kernel/hostname").await.0, host);
    // The only interface is a loopback that is up.
    let net = run(&engine, &sandbox, "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' \\n'").await.0;
    assert_eq!(net, "lo");
    let mounts = run(&engine, &sandbox, "cat /proc/self/mountinfo").await.0;
    let home = std::env::var("HOME").unwrap_or_default();
    assert!(!mounts.contains("computesdk") && !mounts.contains(".cache"), "{home}: {mounts}");
}

#[tokio::test]
async fn what_the_policy_forbids_is_refused() {
    let Some(Bench { engine, state: _, _dir }) = bench().await else { return };
    let sandbox = engine.create(&SandboxSpec::default()).await.unwrap();
    for forbidden in [
        "mount -t tmpfs none /mnt",
        "umount /proc",
        "unshare -r true",
        "unshare -m true",
        "hostname other",
        "dmesg",
        "echo 1 > /proc/sys/kernel/sysrq",
        "echo x > /proc/sysrq-trigger && test -s /proc/sysrq-trigger",
        "mknod /tmp/disk b 8 0",
        "chroot / true && nsenter -t 1 -m true",
        "ip link set lo down",
        "touch /sys/x",
    ] {
        let (_, end) = run(&engine, &sandbox, &format!("( {forbidden} ) 2>/dev/null")).await;
        assert_ne!(end, ExecEnd::Exited { code: 0 }, "{forbidden}");
    }
}

#[tokio::test]
async fn files_are_reached_inside_or_not_at_all() {
    let Some(Bench { engine, state: _, _dir }) = bench().await else { return };
    let sandbox = engine.create(&SandboxSpec::default()).await.unwrap();
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "host").unwrap();
    let secret = secret.path().display().to_string();
    run(&engine, &sandbox, "mkfifo /tmp/fifo; ln -s /etc/hostname /tmp/link; ln -s /tmp/loop /tmp/loop; mkdir /tmp/d")
        .await;
    for path in [
        "/tmp/fifo",
        "/dev/zero",
        "/proc/self/root/etc/passwd",
        "/proc/self/fd/0",
        "/proc/cpuinfo",
        "/tmp/loop",
        "/tmp/d",
    ] {
        for how in [Open::Read, Open::Write] {
            let opened = tokio::time::timeout(Duration::from_secs(5), sandbox.open(path, how, 0o644)).await;
            assert!(opened.expect("never blocks").is_err(), "{path} {how:?}");
        }
    }
    assert!(matches!(sandbox.open(&secret, Open::Read, 0).await, Err(EngineError::File(_))), "a host file");
    let up = format!("/tmp/../../../../..{secret}");
    assert!(sandbox.open(&up, Open::Read, 0).await.is_err());
    let mut link = sandbox.open("/tmp/link", Open::Read, 0).await.unwrap();
    assert_eq!(std::io::read_to_string(&mut link).unwrap(), "sandbox\n");
    assert!(sandbox.remove("/").await.is_err() && sandbox.remove("/tmp/..").await.is_err());
    assert!(sandbox.open("/a\0b", Open::Read, 0).await.is_err());
    // A tree with a link out of it: the link goes, what it leads to stays.
    run(&engine, &sandbox, "mkdir -p /tmp/t/u && ln -s /etc /tmp/t/etc && touch /tmp/t/u/f").await;
    sandbox.remove("/tmp/t").await.unwrap();
    assert!(sandbox.stat("/tmp/t", false).await.is_err());
    sandbox.stat("/etc/passwd", true).await.unwrap();
    sandbox.remove("/tmp/never").await.unwrap();
}

#[tokio::test]
async fn a_terminal_is_one_and_can_be_resized() {
    let Some(Bench { engine, state: _, _dir }) = bench().await else { return };
    let sandbox = engine.create(&SandboxSpec::default()).await.unwrap();
    let mut terminal = spec(&engine, &["sh", "-c", "test -t 0 && stty size; read go; stty size; exec cat"]);
    terminal.pty = Some((33, 77));
    let exec = sandbox.exec(terminal).await.unwrap();
    let (mut stdin, mut stdout) = (exec.take_stdin().unwrap(), exec.take_stdout().unwrap());
    let mut seen = String::new();
    let mut until = async |word: &str| {
        let mut byte = [0];
        while !seen.contains(word) {
            assert_eq!(stdout.read(&mut byte).await.unwrap(), 1, "ended before {word:?}: {seen:?}");
            seen.push(char::from(byte[0]));
        }
    };
    until("33 77").await;
    assert!(exec.resize(40, 100).unwrap());
    stdin.write_all(b"go\n").await.unwrap();
    until("40 100").await;
    // Once by the terminal and once by cat, which therefore runs; a shell would treat Ctrl-C in its own way.
    stdin.write_all(b"ping\n").await.unwrap();
    until("ping\r\nping").await;
    // Ctrl-C reaches what runs in the foreground.
    stdin.write_all(b"\x03").await.unwrap();
    assert_eq!(exec.wait().await, ExecEnd::Signalled { signal: 2 });
}

#[tokio::test]
async fn a_port_inside_is_reached_without_a_network() {
    let Some(Bench { engine, state: _, _dir }) = bench().await else { return };
    let Some(python) = engine.image().python.as_ref().map(|python| python.executable.clone()) else { return };
    let sandbox = engine.create(&SandboxSpec::default()).await.unwrap();
    assert!(sandbox.connect(8080).await.is_err(), "nobody listens yet");
    let server = "import socket; s = socket.create_server(('127.0.0.1', 80)); print('up', flush=True); \
                  c = s.accept()[0]; c.sendall(c.recv(9)[::-1])";
    let exec = sandbox.exec(spec(&engine, &[&python, "-c", server])).await.unwrap();
    exec.take_stdout().unwrap().read_exact(&mut [0; 3]).await.unwrap();
    let mut stream = sandbox.connect(80).await.unwrap();
    stream.write_all(b"abc").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "cba");
}

#[test]
fn handles_work_from_any_runtime_and_thread() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // The engine starts on a runtime that is gone when it is used.
    let Some(Bench { engine, state: _, _dir }) = runtime().block_on(bench()) else { return };
    let sandbox = runtime().block_on(engine.create(&SandboxSpec::default())).unwrap();
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let (engine, sandbox) = (engine.clone(), sandbox.clone());
            std::thread::spawn(move || runtime().block_on(run(&engine, &sandbox, &format!("echo {number}"))).0)
        })
        .collect();
    for (number, thread) in threads.into_iter().enumerate() {
        assert_eq!(thread.join().unwrap(), format!("{number}\n"));
    }
    runtime().block_on(engine.shut_down());
}

#[tokio::test]
async fn the_doctor_tries_every_rung_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = EngineOptions::default();
    options.state_dir = Some(dir.path().join("state"));
    let doctor = Doctor::examine(options).await.unwrap();
    assert_eq!(doctor.rung.is_some(), doctor.rungs.iter().any(|rung| rung.works));
    assert!(doctor.rungs.iter().all(|rung| rung.works || rung.why.is_some()), "{doctor:?}");
    assert_eq!(std::fs::read_dir(dir.path().join("state/engines")).unwrap().count(), 0);
}
