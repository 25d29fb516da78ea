//! The end of sandboxes and of engines, and what is left of them.

use crate::ROLE;
use crate::bench::{Bench, Outcome, Room, eventually, options, within};
use computesdk_engine::Engine;
use rustix::process::WaitOptions;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, Command, ExitCode, Stdio};

const WEB: &str = "203.0.113.10";

pub(crate) async fn a_sandbox_ends(bench: Bench) -> Outcome {
    let (room, neighbour) = (bench.room("egress").await, bench.room("egress").await);
    let (ends, stays) = (bench.label("ends"), bench.label("stays"));
    let mut held = room.start(&["hold", WEB, "9002", &ends]).await;
    let mut other = neighbour.start(&["hold", WEB, "9002", &stays]).await;
    assert_eq!((held.line().await, other.line().await), ("held".into(), "held".into()));
    room.end().await;
    bench.servers.sees(&["hold", &ends, "end"]).await;
    assert_eq!(bench.servers.log(&["hold", &stays, "end"]), "");
    Ok(())
}

pub(crate) async fn an_engine_ends(bench: Bench) -> Outcome {
    let state = bench.dir().join("second");
    for (what, shut_down) in [("shut-down", true), ("dropped", false)] {
        let label = bench.label(what);
        let engine = Engine::start(options(state.clone())).await.unwrap();
        let room = Room::new(&engine, "egress").await;
        let mut held = room.start(&["hold", WEB, "9002", &label]).await;
        assert_eq!(held.line().await, "held");
        if shut_down {
            within("shut down", engine.shut_down()).await;
        }
        drop((held, room, engine));
        bench.servers.sees(&["hold", &label, "end"]).await;
    }
    Ok(())
}

pub(crate) async fn two_engines(bench: Bench) -> Outcome {
    let host = bench.servers.host();
    let second = Engine::start(options(bench.dir().join("second"))).await.unwrap();
    let rooms = [bench.room("egress").await, Room::new(&second, "egress").await];
    for room in &rooms {
        assert_eq!(room.probe1(&["echo", WEB, "7", "100000"]).await, "100000 True True");
    }
    assert_eq!(host, bench.servers.host(), "the host's network has changed while engines run");
    within("shut down", second.shut_down()).await;
    assert_eq!(rooms[0].probe1(&["echo", WEB, "7", "100000"]).await, "100000 True True");
    Ok(())
}

/// Whoever ends the sandboxes is gone: so are they, and their connections.
pub(crate) async fn a_launcher_is_lost(bench: Bench) -> Outcome {
    let second = Engine::start(options(bench.dir().join("second"))).await.unwrap();
    let launchers = || {
        let named = |pid: &u32| {
            std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"computesdk-launcher"))
        };
        children().into_iter().filter(named).collect::<Vec<_>>()
    };
    let room = Room::new(&second, "egress").await;
    let label = bench.label("lost");
    let mut held = room.start(&["hold", WEB, "9002", &label]).await;
    assert_eq!(held.line().await, "held");
    assert!(!launchers().is_empty(), "no child is called so");
    for pid in launchers() {
        let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    bench.servers.sees(&["hold", &label, "end"]).await;
    Ok(())
}

/// What a killed engine leaves: nothing. And the host is as it was.
pub(crate) async fn an_engine_is_killed(bench: Bench) -> Outcome {
    // Whatever loses its parent becomes a child of this process.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    let host = bench.servers.host();
    let own = children();
    for network in ["egress", "domain:web.test"] {
        let label = bench.label("killed");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(ROLE, "victim")
            .env("COMPUTESDK_VICTIM_STATE", bench.dir().join("victim"))
            .env("COMPUTESDK_VICTIM_NETWORK", network)
            .env("COMPUTESDK_VICTIM_LABEL", &label)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let namespaces = namespaces(&child);
        assert_eq!(host, bench.servers.host(), "the host's network has changed while an engine runs");
        child.kill().unwrap();
        child.wait().unwrap();
        let none = || {
            while matches!(rustix::process::wait(WaitOptions::NOHANG), Ok(Some(_))) {}
            let left: Vec<_> = children().into_iter().filter(|pid| !own.contains(pid)).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        };
        eventually("everything of it ends by itself", none).await;
        if network == "egress" {
            bench.servers.sees(&["hold", &label, "end"]).await;
        }
        let gone = || {
            let left: Vec<_> = in_use().into_iter().filter(|inode| namespaces.contains(inode)).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?} of {namespaces:?}")) }
        };
        eventually("its network namespaces are gone", gone).await;
        assert_eq!(host, bench.servers.host(), "the host's network has changed");
    }
    // What its launcher could not take away itself, the next engine does, by the journal.
    let next = Engine::start(options(bench.dir().join("victim"))).await.unwrap();
    within("shut down", next.shut_down()).await;
    // This engine has not noticed.
    assert!(bench.room("egress").await.probe1(&["tcp", "203.0.113.10|80"]).await.contains(" ok "));
    Ok(())
}

/// Processes below this one.
fn children() -> Vec<u32> {
    below(std::process::id())
}

fn below(top: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            // proc_pid_stat(5): the name is in parentheses, the state and the parent follow.
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            Some((pid, parent))
        })
        .collect();
    let mut found = vec![top];
    let mut at = 0;
    while at < found.len() {
        let parent = found[at];
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    found.split_off(1)
}

/// Network namespaces of its processes that are not the one of this process, as far as they may be looked at.
fn namespaces(child: &Child) -> Vec<u64> {
    let own = namespace(std::process::id());
    let mut found: Vec<u64> = below(child.id()).into_iter().filter_map(namespace).collect();
    found.retain(|inode| Some(*inode) != own);
    if rustix::process::geteuid().is_root() {
        assert!(!found.is_empty(), "no sandbox of the victim has a network namespace");
    }
    found
}

fn namespace(pid: u32) -> Option<u64> {
    std::fs::metadata(format!("/proc/{pid}/ns/net")).ok().map(|metadata| metadata.ino())
}

fn in_use() -> Vec<u64> {
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    pids.filter_map(|entry| namespace(entry.file_name().to_str()?.parse().ok()?)).collect()
}

/// An engine with a sandbox that holds a connection, until somebody kills it.
pub(crate) fn victim() -> ExitCode {
    let variable = |name: &str| std::env::var(name).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let engine = Engine::start(options(variable("COMPUTESDK_VICTIM_STATE").into())).await.unwrap();
        let network = variable("COMPUTESDK_VICTIM_NETWORK");
        let (room, _spare) = (Room::new(&engine, &network).await, Room::new(&engine, "none").await);
        let mut held = room.start(&["hold", WEB, "9002", &variable("COMPUTESDK_VICTIM_LABEL")]).await;
        if network == "egress" {
            assert_eq!(held.line().await, "held");
        }
        let mut stdout = std::io::stdout();
        writeln!(stdout, "ready").and_then(|()| stdout.flush()).unwrap();
        std::future::pending::<ExitCode>().await
    })
}
