//! What a victim does. It says a line when it is where its test wants it, and ends when its standard input does.

use crate::support::{finish, options, runtime, spec};
use computesdk_engine::{Engine, EngineError, ExecEnd, Sandbox, SandboxSpec};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with};
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(crate) fn run(mode: &str) -> ExitCode {
    let state = PathBuf::from(std::env::var_os("COMPUTESDK_VICTIM_STATE").unwrap());
    if mode == "files" {
        let few = rustix::process::Rlimit { current: Some(100), maximum: Some(100) };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, few).unwrap();
    }
    runtime().block_on(async {
        let engine = match Engine::start(options(state)).await {
            Ok(engine) => engine,
            Err(error) => {
                say(&format!("start: {}", chain(&error)));
                return ExitCode::from(3);
            }
        };
        match mode {
            "once" => once(&engine).await,
            "retry" => retry(&engine).await,
            "create" => create(&engine).await,
            "end" => end(&engine).await,
            "exec" => exec(&engine).await,
            "idle" => idle(&engine).await,
            "steady" => steady(&engine).await,
            "files" => files(&engine).await,
            "ids" => ids(&engine).await,
            mode => panic!("no mode is called {mode}"),
        }
        engine.shut_down().await;
        ExitCode::SUCCESS
    })
}

pub(crate) fn say(line: &str) {
    let mut stdout = std::io::stdout();
    // Whoever listened may be gone: then this is about to end as well.
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

async fn let_go() {
    let _ = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await;
}

async fn sandbox(engine: &Engine) -> Sandbox {
    engine.create(&SandboxSpec::default()).await.unwrap()
}

async fn echo(engine: &Engine, sandbox: &Sandbox) {
    let exec = sandbox.exec(spec(engine, &["echo", "hi"])).await.unwrap();
    assert_eq!(finish(&exec).await, (String::from("hi\n"), ExecEnd::Exited { code: 0 }));
}

/// One sandbox, used and ended.
async fn once(engine: &Engine) {
    let sandbox = sandbox(engine).await;
    echo(engine, &sandbox).await;
    sandbox.terminate().await.unwrap();
}

/// A create that may fail, told in one line; then one that must not. Waits for a line before each.
async fn retry(engine: &Engine) {
    say("ready");
    line().await;
    tell(engine.create(&SandboxSpec::default()).await).await;
    line().await;
    if engine.is_running() {
        once(engine).await;
        say("recovered");
    }
}

async fn tell(created: Result<Sandbox, EngineError>) {
    match created {
        Ok(sandbox) => {
            // The last steps are taken while create returns already.
            let asked = sandbox.stat("/", true).await;
            let _ = sandbox.terminate().await;
            match asked {
                Ok(_) | Err(EngineError::File(_)) => say("created"),
                Err(error) => say(&format!("failed: {}", chain(&error))),
            }
        }
        Err(error) => say(&format!("failed: {}", chain(&error))),
    }
}

async fn line() {
    let _ = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await;
}

/// With every block of ids taken, and after that.
async fn ids(engine: &Engine) {
    let blocks: Vec<_> = (0..64)
        .map(|block| {
            let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).unwrap();
            let name = format!("computesdk/uid-range/{block}");
            bind(&socket, &SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap()).unwrap();
            socket
        })
        .collect();
    tell(engine.create(&SandboxSpec::default()).await).await;
    drop(blocks);
    once(engine).await;
    say("recovered");
}

/// Three creates in flight at any time.
async fn create(engine: &Engine) {
    say("ready");
    let one = || async {
        loop {
            sandbox(engine).await.request_end();
        }
    };
    tokio::select! {
        () = let_go() => {}
        _ = async { tokio::join!(one(), one(), one()) } => {}
    }
}

/// Eight sandboxes that end while the next eight are made.
async fn end(engine: &Engine) {
    say("ready");
    let work = async {
        loop {
            let mut sandboxes = Vec::new();
            for _ in 0..8 {
                sandboxes.push(sandbox(engine).await);
            }
            sandboxes.iter().for_each(Sandbox::request_end);
        }
    };
    tokio::select! {
        () = let_go() => {}
        () = work => {}
    }
}

/// Three execs in flight at any time, short and long ones.
async fn exec(engine: &Engine) {
    let sandbox = sandbox(engine).await;
    say("ready");
    let one = || async {
        loop {
            sandbox.exec(spec(engine, &["sleep", "86400"])).await.unwrap();
            echo(engine, &sandbox).await;
        }
    };
    tokio::select! {
        () = let_go() => {}
        _ = async { tokio::join!(one(), one(), one()) } => {}
    }
}

/// Two sandboxes with programs that would run for a day, one of them detached and deaf.
async fn idle(engine: &Engine) {
    let sandboxes = [sandbox(engine).await, sandbox(engine).await];
    for sandbox in &sandboxes {
        let script = "trap '' TERM HUP INT; setsid sleep 86400 & echo up; exec sleep 86400";
        let exec = sandbox.exec(spec(engine, &["sh", "-c", script])).await.unwrap();
        let mut up = [0; 3];
        tokio::io::AsyncReadExt::read_exact(&mut exec.take_stdout().unwrap(), &mut up).await.unwrap();
    }
    say("ready");
    let_go().await;
}

/// One sandbox all the time, and a line for each exec in it.
async fn steady(engine: &Engine) {
    let sandbox = sandbox(engine).await;
    let work = async {
        loop {
            echo(engine, &sandbox).await;
            say("on");
        }
    };
    tokio::select! {
        () = let_go() => {}
        () = work => {}
    }
    echo(engine, &sandbox).await;
    assert!(sandbox.ended().is_none());
    sandbox.terminate().await.unwrap();
}

/// As many sandboxes as this process's limit of open files allows, then one more after some are gone.
async fn files(engine: &Engine) {
    let count = Arc::new(AtomicUsize::new(0));
    let mut sandboxes = Vec::new();
    let error = loop {
        match engine.create(&SandboxSpec::default()).await {
            Ok(sandbox) => sandboxes.push(sandbox),
            Err(error) => break error,
        }
        assert!(count.fetch_add(1, Ordering::Relaxed) < 500, "there is no limit");
    };
    say(&format!("failed after {}: {}", sandboxes.len(), chain(&error)));
    for sandbox in &sandboxes {
        assert!(sandbox.ended().is_none(), "a sandbox ended because another could not be made: {:?}", sandbox.ended());
    }
    for sandbox in sandboxes.drain(..20) {
        sandbox.terminate().await.unwrap();
    }
    // Handles hold descriptors; they are gone now.
    once(engine).await;
    say("recovered");
}
