//! `kill -9` of the launcher and of agents, while calls are under way: each ends, with an error that says so.

use crate::leftovers::{Before, descendants};
use crate::support::{Moments, Place, eventually, finish, runtime, spec, within};
use computesdk_engine::{End, Engine, EngineError, ExecEnd, Open, Sandbox, SandboxSpec};
use rustix::process::{Pid, Signal, kill_process};
use std::time::Duration;

const TIMES: usize = 10;

fn of_this_name(name: &str) -> Vec<Pid> {
    // comm is cut to fifteen bytes (proc_pid_comm(5)), and is the program's; the launcher and the agent are told apart
    // by their first argument.
    descendants()
        .into_iter()
        .filter(|(pid, _)| {
            std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(name.as_bytes()))
        })
        .filter_map(|(pid, _)| Pid::from_raw(pid.cast_signed()))
        .collect()
}

/// The launcher: a child of this process. A first process that is not the agent yet is a fork of it and looks like it, and the
/// launcher of an engine that was shut down may take a moment to be gone.
fn own_launcher() -> Pid {
    let is_child = |pid: &Pid| {
        let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap_or_default();
        status.lines().any(|line| line == format!("PPid:\t{}", std::process::id()))
    };
    let mut found = Vec::new();
    eventually("there is one launcher", || {
        found = of_this_name("computesdk-launcher").into_iter().filter(is_child).collect();
        if found.len() == 1 { Ok(()) } else { Err(format!("{found:?}")) }
    });
    found[0]
}

/// Calls of every kind, again and again, until one fails; returns its error.
async fn use_it(engine: Engine, sandbox: Sandbox) -> EngineError {
    loop {
        match sandbox.exec(spec(&engine, &["cat"])).await {
            Ok(exec) => {
                let (_, end) = finish(&exec).await;
                assert!(matches!(end, ExecEnd::Exited { code: 0 } | ExecEnd::SandboxEnded), "{end:?}");
            }
            Err(error) => return error,
        }
        match sandbox.open("/tmp/file", Open::Write, 0o600).await {
            Ok(_) => {}
            Err(error) => return error,
        }
        if let Err(error) = sandbox.list("/usr/bin").await {
            return error;
        }
    }
}

fn is_lost(error: &EngineError) -> bool {
    matches!(error, EngineError::Ended(End::HostLost { .. }) | EngineError::HostLost(_))
}

pub(crate) fn launcher() {
    let mut moments = Moments::new("a_lost_launcher");
    let place = Place::new();
    place.next_start();
    let before = Before::look();
    before.nothing_runs();
    let runtime = runtime();
    for _ in 0..TIMES {
        runtime.block_on(async {
            let engine = Engine::start(place.options()).await.unwrap();
            let sandbox = engine.create(&SandboxSpec::default()).await.unwrap();
            let waiting = sandbox.exec(spec(&engine, &["sleep", "86400"])).await.unwrap();
            let users: Vec<_> = (0..3).map(|_| tokio::spawn(use_it(engine.clone(), sandbox.clone()))).collect();
            let creating = engine.clone();
            let creator = tokio::spawn(async move {
                loop {
                    match creating.create(&SandboxSpec::default()).await {
                        Ok(sandbox) => sandbox.request_end(),
                        Err(error) => return error,
                    }
                }
            });
            let launcher = own_launcher();
            tokio::time::sleep(moments.next(Duration::from_millis(20))).await;
            kill_process(launcher, Signal::KILL).unwrap();
            let end = within("the sandbox's end", sandbox.wait()).await.unwrap();
            assert!(matches!(end, End::HostLost { .. }), "{end:?}");
            assert_eq!(within("the program's end", waiting.wait()).await, ExecEnd::SandboxEnded);
            for user in users {
                let error = within("a call", user).await.unwrap();
                assert!(is_lost(&error), "{error:?}");
            }
            let error = within("a create", creator).await.unwrap();
            assert!(is_lost(&error), "{error:?}");
            assert!(error.to_string().starts_with("host lost"), "{error}");
            assert!(!engine.is_running());
            within("the engine's end", engine.shut_down()).await;
        });
        before.nothing_is_left(&place);
    }
}

pub(crate) fn agent() {
    let mut moments = Moments::new("a_lost_agent");
    let place = Place::new();
    place.next_start();
    let before = Before::look();
    before.nothing_runs();
    runtime().block_on(async {
        let engine = Engine::start(place.options()).await.unwrap();
        let neighbour = engine.create(&SandboxSpec::default()).await.unwrap();
        // An answer of theirs says that there are agents.
        neighbour.stat("/", true).await.unwrap();
        let others = of_this_name("computesdk-agent");
        for _ in 0..TIMES {
            let sandbox = engine.create(&SandboxSpec::default()).await.unwrap();
            sandbox.stat("/", true).await.unwrap();
            let users: Vec<_> = (0..3).map(|_| tokio::spawn(use_it(engine.clone(), sandbox.clone()))).collect();
            let agents = of_this_name("computesdk-agent");
            // The parent comes first; programs that are just being started look like their agent.
            let agent = agents.into_iter().find(|pid| !others.contains(pid)).unwrap();
            tokio::time::sleep(moments.next(Duration::from_millis(20))).await;
            kill_process(agent, Signal::KILL).unwrap();
            let end = within("the sandbox's end", sandbox.wait()).await.unwrap();
            assert!(matches!(end, End::HostLost { .. }), "{end:?}");
            for user in users {
                let error = within("a call", user).await.unwrap();
                assert!(is_lost(&error), "{error:?}");
                assert!(error.to_string().contains("host lost"), "{error}");
            }
            let exec = neighbour.exec(spec(&engine, &["echo", "fine"])).await.unwrap();
            assert_eq!(within("the neighbour", finish(&exec)).await.0, "fine\n");
        }
        engine.shut_down().await;
    });
    before.nothing_is_left(&place);
}
