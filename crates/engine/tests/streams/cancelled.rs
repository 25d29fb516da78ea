//! Futures that are dropped, handles that are dropped, and readers that go away.
//!
//! * A dropped `exec` may have started its program or not. Its pipes are closed: a program that reads sees the end, one
//!   that writes gets SIGPIPE. One that does neither runs on until the sandbox ends.
//! * A dropped `read` or `wait` loses nothing. A dropped `terminate` still ends the sandbox.
//! * A dropped [`Exec`](computesdk_engine::Exec) leaves the program running, and its streams to whoever took them. Output
//!   that nobody took goes nowhere, and holds nobody up.

use crate::{Bench, MEMORY, WITHIN, memory, read_all, within};
use computesdk_engine::{End, ExecEnd, Open, SandboxSpec};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_exec_leaves_nothing_that_reads_or_writes() {
    let Some(bench) = Bench::new().await else { return };
    let mut dropped = 0;
    for round in 0..200_u64 {
        let argv: &[&str] = if round % 2 == 0 { &["cat"] } else { &["yes"] };
        let limit = Duration::from_micros(round * 10);
        match tokio::time::timeout(limit, bench.sandbox.exec(bench.spec(argv))).await {
            Ok(exec) => drop((exec.as_ref().unwrap().take_stdin(), exec.unwrap().take_stdout())),
            Err(_) => dropped += 1,
        }
    }
    assert!(dropped > 10, "only {dropped} were dropped in time");
    bench.is_quiet().await;
    assert_eq!(bench.output("echo on").await, "on\n");
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_read_or_wait_loses_nothing() {
    let Some(bench) = Bench::new().await else { return };
    let exec = bench.sh("read go; i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo $i; done; exit 3").await;
    let mut stdout = exec.take_stdout().unwrap();
    let (mut seen, mut dropped) = (Vec::new(), 0);
    // Once for certain: there is nothing yet.
    tokio::time::timeout(Duration::from_millis(1), stdout.read(&mut [0; 7])).await.unwrap_err();
    tokio::time::timeout(Duration::from_millis(1), exec.wait()).await.unwrap_err();
    within(exec.take_stdin().unwrap().write_all(b"go\n")).await.unwrap();
    let started = Instant::now();
    loop {
        let mut piece = [0; 7];
        // Waits for the end meanwhile, and gives up as often.
        let read = tokio::select! {
            biased;
            read = stdout.read(&mut piece) => read.unwrap(),
            _ = exec.wait() => continue,
            () = tokio::task::yield_now() => {
                dropped += 1;
                assert!(started.elapsed() < WITHIN, "it hangs");
                continue;
            }
        };
        if read == 0 {
            break;
        }
        seen.extend_from_slice(&piece[..read]);
    }
    let expected: String = (1..=2000).map(|number| format!("{number}\n")).collect();
    assert!(seen == expected.as_bytes(), "{} bytes, {dropped} more dropped", seen.len());
    assert_eq!(within(exec.wait()).await, ExecEnd::Exited { code: 3 });
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_handle_leaves_the_program_and_its_streams() {
    let Some(bench) = Bench::new().await else { return };
    let exec = bench.sh("cat > /tmp/got; echo done").await;
    let (mut stdin, mut stdout) = (exec.take_stdin().unwrap(), exec.take_stdout().unwrap());
    drop(exec);
    within(stdin.write_all(b"still here")).await.unwrap();
    drop(stdin);
    let mut said = String::new();
    within(stdout.read_to_string(&mut said)).await.unwrap();
    assert_eq!(said, "done\n");
    let got = bench.sandbox.open("/tmp/got", Open::Read, 0).await.unwrap();
    assert_eq!(std::io::read_to_string(got).unwrap(), "still here");
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_handle_lets_a_program_write_on() {
    let _alone = MEMORY.lock().await;
    let Some(bench) = Bench::new().await else { return };
    let before = memory();
    drop(bench.sh("head -c 64000000 /dev/zero; echo written > /tmp/written").await);
    let deadline = Instant::now() + WITHIN;
    while bench.sandbox.stat("/tmp/written", false).await.is_err() {
        assert!(Instant::now() < deadline, "it is held up");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(memory() < before + 32, "{before} MiB, then {}", memory());
    bench.is_quiet().await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_goes_away_is_told_to_the_program() {
    let Some(bench) = Bench::new().await else { return };
    // In the middle of its output.
    let exec = bench.exec(&["yes"]).await;
    let mut stdout = exec.take_stdout().unwrap();
    within(stdout.read_exact(&mut [0; 100_000])).await.unwrap();
    drop(stdout);
    assert_eq!(within(exec.wait()).await, ExecEnd::Signalled { signal: 13 });
    // One that looks at errors instead goes on, and its other stream is unharmed.
    let exec = bench.sh("trap '' PIPE; while echo x; do :; done 2>/dev/null; echo told >&2; exit 5").await;
    drop(exec.take_stdout());
    let mut told = String::new();
    within(exec.take_stderr().unwrap().read_to_string(&mut told)).await.unwrap();
    assert_eq!((told.as_str(), within(exec.wait()).await), ("told\n", ExecEnd::Exited { code: 5 }));
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_goes_away_is_the_end_of_input() {
    let Some(bench) = Bench::new().await else { return };
    let exec = bench.exec(&["wc", "-c"]).await;
    let mut stdin = exec.take_stdin().unwrap();
    within(stdin.write_all(b"12345")).await.unwrap();
    drop(stdin);
    assert_eq!(read_all(&exec).await, b"5\n");
    // A write that is dropped half-way: what was taken was taken, and the rest was not.
    let exec = bench.sh("read go; wc -c").await;
    let mut stdin = exec.take_stdin().unwrap();
    within(stdin.write_all(b"go\n")).await.unwrap();
    let data = vec![b'x'; 8 << 20];
    let _ = tokio::time::timeout(Duration::from_millis(1), stdin.write_all(&data)).await;
    drop(stdin);
    let count: usize = String::from_utf8(read_all(&exec).await).unwrap().trim().parse().unwrap();
    assert!(count <= data.len());
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_terminate_still_ends_the_sandbox() {
    let Some(bench) = Bench::new().await else { return };
    for micros in [0, 50, 500] {
        let sandbox = bench.engine.create(&SandboxSpec::default()).await.unwrap();
        let exec = sandbox.exec(bench.spec(&["sleep", "86400"])).await.unwrap();
        // Polled at least once: a future that never was does nothing.
        let _ = tokio::time::timeout(Duration::from_micros(micros), sandbox.terminate()).await;
        assert_eq!(within(sandbox.wait()).await.unwrap(), End::Terminated);
        assert_eq!(within(exec.wait()).await, ExecEnd::SandboxEnded);
    }
    bench.end().await;
}
