//! What goes in comes out, byte for byte, in both directions and however it is cut.

use crate::{Bench, MEMORY, noise, read_all, soak, within};
use computesdk_engine::{ExecEnd, Open};
use std::io::Write as _;
use std::process::{Command, Stdio};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// As `sha256sum` of this machine sees it.
fn sha256(bytes: &[u8]) -> String {
    let mut child =
        Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("coreutils is installed");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(bytes).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_bytes_in_any_pieces_both_ways() {
    let _alone = MEMORY.lock().await;
    let Some(bench) = Bench::new().await else { return };
    let data = noise(if soak() { 256 << 20 } else { 16 << 20 });
    let hash = sha256(&data);

    // In: what the program was given, by its own account. Pieces of every size, a prime, and one that is no page.
    let exec = bench.exec(&["sha256sum"]).await;
    let mut stdin = exec.take_stdin().unwrap();
    let mut rest = &data[..];
    for piece in [1, 2, 4095, 4097, 65_537, 1_000_003].into_iter().cycle() {
        let (now, later) = rest.split_at(rest.len().min(piece));
        within(stdin.write_all(now)).await.unwrap();
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    within(stdin.shutdown()).await.unwrap();
    assert_eq!(String::from_utf8(read_all(&exec).await).unwrap(), format!("{hash}  -\n"));

    // Out: both streams at the same time, each with all of it.
    let mut file = bench.sandbox.open("/tmp/data", Open::Write, 0o600).await.unwrap();
    let file = tokio::task::spawn_blocking(move || file.write_all(&data).map(|()| data));
    let data = within(file).await.unwrap().unwrap();
    assert_eq!(bench.output("sha256sum < /tmp/data").await, format!("{hash}  -\n"));
    let exec = bench.sh("cat /tmp/data & cat /tmp/data >&2; wait").await;
    let (mut out, mut err) = (exec.take_stdout().unwrap(), exec.take_stderr().unwrap());
    let (mut from_out, mut from_err) = (Vec::new(), Vec::new());
    let both = async { tokio::try_join!(out.read_to_end(&mut from_out), err.read_to_end(&mut from_err)) };
    within(both).await.unwrap();
    assert!(from_out == data && from_err == data, "{} and {} bytes of {}", from_out.len(), from_err.len(), data.len());
    assert_eq!(within(exec.wait()).await, ExecEnd::Exited { code: 0 });

    // Round: through a program that only passes on, while both ends are busy.
    let exec = bench.exec(&["cat"]).await;
    let (mut stdin, mut stdout) = (exec.take_stdin().unwrap(), exec.take_stdout().unwrap());
    let mut back = Vec::new();
    let write = async {
        stdin.write_all(&data).await?;
        stdin.shutdown().await
    };
    within(async { tokio::try_join!(write, stdout.read_to_end(&mut back)) }).await.unwrap();
    assert!(back == data);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_byte_at_a_time_and_no_newline() {
    let Some(bench) = Bench::new().await else { return };
    let data = noise(20_000);
    // One byte a write here, one byte a write there.
    let exec = bench.exec(&["dd", "bs=1", "status=none"]).await;
    let (mut stdin, mut stdout) = (exec.take_stdin().unwrap(), exec.take_stdout().unwrap());
    let mut back = Vec::new();
    let write = async {
        for byte in &data {
            stdin.write_all(std::slice::from_ref(byte)).await?;
        }
        stdin.shutdown().await
    };
    within(async { tokio::try_join!(write, stdout.read_to_end(&mut back)) }).await.unwrap();
    assert!(back == data);
    // Seen at once, though no line ends and nothing is flushed but by write(2).
    let exec = bench.sh("printf 'a\\0b'; read line; printf c").await;
    let mut stdout = exec.take_stdout().unwrap();
    let mut seen = [0; 3];
    within(stdout.read_exact(&mut seen)).await.unwrap();
    assert_eq!(&seen, b"a\0b");
    within(exec.take_stdin().unwrap().write_all(b"\n")).await.unwrap();
    let mut rest = Vec::new();
    within(stdout.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"c");
    // Nothing at all is something, too.
    assert_eq!(bench.output("true").await, "");
    bench.end().await;
}
