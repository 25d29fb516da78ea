//! Many programs in one sandbox, one after another and all at once.

use crate::{Bench, read_all, soak, within};
use computesdk_engine::ExecEnd;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Three pipes for each of five hundred, and the tests that run beside.
fn room_for_files() -> bool {
    let limit = getrlimit(Resource::Nofile);
    let enough = limit.maximum.is_none_or(|maximum| maximum >= 4096);
    if enough {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    } else {
        eprintln!("skipped: this user may have only {:?} open files", limit.maximum);
    }
    enough
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_programs_in_one_sandbox() {
    let Some(bench) = Bench::new().await else { return };
    let count = if soak() { 10_000 } else { 1000 };
    let bench = std::sync::Arc::new(bench);
    let workers: Vec<_> = (0..4)
        .map(|worker| {
            let bench = std::sync::Arc::clone(&bench);
            tokio::spawn(async move {
                for number in 0..count / 4 {
                    let token = format!("{worker}-{number}");
                    let exec = bench.exec(&["echo", "-n", &token]).await;
                    drop(exec.take_stdin());
                    assert_eq!(String::from_utf8(read_all(&exec).await).unwrap(), token);
                    assert_eq!(within(exec.wait()).await, ExecEnd::Exited { code: 0 });
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    bench.is_quiet().await;
    std::sync::Arc::into_inner(bench).unwrap().end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_programs_at_once() {
    if !room_for_files() {
        return;
    }
    let Some(bench) = Bench::new().await else { return };
    let mut running = Vec::new();
    for number in 0..500_u32 {
        let exec = bench.exec(&["cat"]).await;
        let (stdin, stdout) = (exec.take_stdin().unwrap(), exec.take_stdout().unwrap());
        running.push((number, exec, stdin, stdout));
    }
    // Every one of them is alive, and its streams are its own.
    for (number, _, stdin, _) in &mut running {
        within(stdin.write_all(&number.to_le_bytes())).await.unwrap();
    }
    for (number, _, _, stdout) in &mut running {
        assert_eq!(within(stdout.read_u32_le()).await.unwrap(), *number);
    }
    let most = open_files();
    for (_, exec, stdin, mut stdout) in running {
        drop(stdin);
        assert_eq!(within(stdout.read(&mut [0])).await.unwrap(), 0);
        assert_eq!(within(exec.wait()).await, ExecEnd::Exited { code: 0 });
    }
    // Their descriptors are gone with the handles. (Other tests of this program hold some.)
    assert!(open_files() + 1000 < most, "{most} open files, then {}", open_files());
    bench.is_quiet().await;

    // And all started in the same moment.
    let starts: Vec<_> = (0..500)
        .map(|number: u32| {
            let (sandbox, spec) = (bench.sandbox.clone(), bench.spec(&["echo", "-n", &number.to_string()]));
            tokio::spawn(async move {
                let exec = within(sandbox.exec(spec)).await.unwrap();
                drop(exec.take_stdin());
                assert_eq!(String::from_utf8(read_all(&exec).await).unwrap(), number.to_string());
                assert_eq!(within(exec.wait()).await, ExecEnd::Exited { code: 0 });
            })
        })
        .collect();
    for start in starts {
        start.await.unwrap();
    }
    bench.is_quiet().await;
    bench.end().await;
}
