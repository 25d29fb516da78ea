//! Streams that nobody reads, in both directions: memory stays bounded, and the program is not held up.

use crate::{Bench, MEMORY, memory, soak, within};
use computesdk_engine::ExecEnd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What this process may grow by, in MiB, whatever a program does. The tests beside it hold a few tens at most.
const GROWTH: u64 = 96;

/// Megabytes of the large ones.
fn large() -> u64 {
    if soak() { 1000 } else { 200 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn input_that_a_program_never_reads_waits_and_ends_with_it() {
    let _alone = MEMORY.lock().await;
    let Some(bench) = Bench::new().await else { return };
    let exec = bench.exec(&["sleep", "86400"]).await;
    let mut stdin = exec.take_stdin().unwrap();
    let before = memory();
    let written = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&written);
    let writer = tokio::spawn(async move {
        let piece = vec![b'x'; 1 << 20];
        // 1 GB; more than any pipe holds is enough, as none of it is read.
        for _ in 0..1000 {
            let mut rest = &piece[..];
            while !rest.is_empty() {
                let taken = stdin.write(rest).await?;
                count.fetch_add(taken as u64, Ordering::Relaxed);
                rest = &rest[taken..];
            }
        }
        stdin.shutdown().await
    });
    // Until the pipe is full: no more is taken for a while.
    let deadline = Instant::now() + crate::WITHIN;
    let mut last = (0, Instant::now());
    while last.0 == 0 || last.1.elapsed() < Duration::from_millis(300) {
        assert!(Instant::now() < deadline, "input goes on: {} bytes", last.0);
        let now = written.load(Ordering::Relaxed);
        if now != last.0 {
            last = (now, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(last.0 <= 16 << 20, "{} bytes were taken for a program that reads none", last.0);
    assert!(!writer.is_finished());
    assert!(memory() < before + GROWTH, "{before} MiB, then {}", memory());
    exec.signal(15).await;
    assert_eq!(within(exec.wait()).await, ExecEnd::Signalled { signal: 15 });
    let error = within(writer).await.unwrap().expect_err("nobody read it");
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    bench.end().await;
}

/// A program of numbered lines: whoever reads them later can tell if one is missing or twice.
fn lines(megabytes: u64) -> (String, u64) {
    // Ten bytes each.
    let count = megabytes * 100_000;
    (format!("seq -f %09.0f 1 {count}; echo done >&2"), count)
}

/// Reads what is left and checks every line.
async fn all_lines(stdout: &mut computesdk_engine::ReadStream, mut rest: Vec<u8>, mut next: u64, count: u64) {
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = within(stdout.read(&mut buffer)).await.unwrap();
        rest.extend_from_slice(&buffer[..read]);
        let whole = rest.len() / 10 * 10;
        for line in rest[..whole].chunks(10) {
            next += 1;
            assert_eq!(line, format!("{next:09}\n").as_bytes(), "line {next}");
        }
        rest.drain(..whole);
        if read == 0 {
            break;
        }
    }
    assert!(rest.is_empty() && next == count, "{next} lines of {count}, and {rest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_that_nobody_reads_is_kept_and_holds_nobody_up() {
    let _alone = MEMORY.lock().await;
    let Some(bench) = Bench::new().await else { return };
    let before = memory();
    let (script, count) = lines(large());
    let exec = bench.sh(&script).await;
    // It ends, and says so on its other stream, though nobody has looked at the first.
    assert_eq!(within(exec.wait()).await, ExecEnd::Exited { code: 0 });
    assert!(memory() < before + GROWTH, "{before} MiB, then {}", memory());
    let mut said = String::new();
    within(exec.take_stderr().unwrap().read_to_string(&mut said)).await.unwrap();
    assert_eq!(said, "done\n");
    all_lines(&mut exec.take_stdout().unwrap(), Vec::new(), 0, count).await;
    assert!(memory() < before + GROWTH, "{before} MiB, then {}", memory());
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_holds_nobody_up_and_misses_nothing() {
    let _alone = MEMORY.lock().await;
    let Some(bench) = Bench::new().await else { return };
    let before = memory();
    let (script, count) = lines(large());
    let exec = bench.sh(&script).await;
    let mut stdout = exec.take_stdout().unwrap();
    // 10 KB/s, until the program has ended.
    let mut seen = Vec::new();
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    let slowly = async {
        loop {
            pace.tick().await;
            let mut piece = vec![0; 1000];
            let read = stdout.read(&mut piece).await.unwrap();
            seen.extend_from_slice(&piece[..read]);
        }
    };
    tokio::select! {
        end = within(exec.wait()) => assert_eq!(end, ExecEnd::Exited { code: 0 }),
        () = slowly => {}
    }
    assert!(memory() < before + GROWTH, "{before} MiB, then {}", memory());
    all_lines(&mut stdout, seen, 0, count).await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_cap_a_program_waits_and_goes_on_when_it_is_read() {
    const CAP: u64 = 4 << 20;
    let Some(bench) = Bench::with(|options| options.unread_output_bytes = Some(CAP)).await else { return };
    let (_, count) = lines(20);
    let script = format!("seq -f %09.0f 1 {count}; echo done > /tmp/done");
    let exec = bench.sh(&script).await;
    // Until it is held up: what is kept does not grow any more.
    let deadline = Instant::now() + crate::WITHIN;
    let mut last = (0, Instant::now());
    // What does not fit whole may be left in the pipe.
    while last.0 < CAP - (128 << 10) || last.1.elapsed() < Duration::from_millis(300) {
        assert!(Instant::now() < deadline, "{} bytes are kept", last.0);
        let now = exec.usage().output_bytes;
        if now != last.0 {
            last = (now, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(last.0 <= CAP + (1 << 20), "{} bytes are kept, the cap is {CAP}", last.0);
    assert!(bench.sandbox.stat("/tmp/done", false).await.is_err(), "it was not held up");
    all_lines(&mut exec.take_stdout().unwrap(), Vec::new(), 0, count).await;
    assert_eq!(within(exec.wait()).await, ExecEnd::Exited { code: 0 });
    bench.sandbox.stat("/tmp/done", false).await.unwrap();
    bench.end().await;
}
