//! Output: exact bytes, streams apart, large amounts, arrival while the process runs.

use crate::check::{Failure, Outcome, short};
use crate::context::{Context, soon, within};
use crate::probe::{exec, finish, gone, line, sh, start};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

trials! { "output";
    it_is_kept_on_failure,
    streams_are_never_mixed,
    bytes_are_exact,
    text_of_bad_utf8_is_still_text,
    ten_mib_on_both_streams_are_exact,
    it_arrives_while_the_process_runs[Streaming],
    an_unread_process_does_not_lose_output,
    a_background_child_holding_it_does_not_hang,
    closing_it_is_a_broken_pipe,
    a_closed_stream_ends_before_the_process[Streaming],
}

async fn it_is_kept_on_failure(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let output = exec(&sandbox, sh("echo before; echo why >&2; exit 1")).await?;
    ensure_eq!((output.text().as_str(), output.error_text().as_str()), ("before", "why\n"), "the output");
    let output = exec(&sandbox, sh("echo before; kill -9 $$")).await?;
    ensure_eq!((output.text().as_str(), output.status.code()), ("before", 137), "when it is killed");
    Ok(())
}

async fn streams_are_never_mixed(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let output = exec(&sandbox, sh("i=0; while [ $i -lt 500 ]; do echo out; echo err >&2; i=$((i+1)); done")).await?;
    ensure!(output.stdout == b"out\n".repeat(500), "standard output: {}", short(&output.text()));
    ensure!(output.stderr == b"err\n".repeat(500), "standard error: {}", short(&output.error_text()));
    Ok(())
}

async fn bytes_are_exact(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let output = exec(&sandbox, sh("printf '\\000\\377\\200a\\r\\n\\033'; printf '\\376\\000' >&2")).await?;
    ensure_eq!(output.stdout, b"\0\xff\x80a\r\n\x1b", "standard output");
    ensure_eq!(output.stderr, b"\xfe\0", "standard error");
    let result = sandbox.shell("printf '\\000\\377\\200a\\r\\n\\033'").await?;
    ensure_eq!(result.stdout_bytes(), b"\0\xff\x80a\r\n\x1b", "standard output of the facade");
    Ok(())
}

async fn text_of_bad_utf8_is_still_text(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let result = sandbox.shell("printf 'a\\377b'; printf '\\303\\251' >&2").await?;
    ensure_eq!(result.stdout, "a\u{fffd}b", "standard output as text");
    ensure_eq!(result.stderr, "é", "standard error as text");
    Ok(())
}

/// The first bytes of `seq 1 …`: position-dependent, so that a lost or doubled piece shows.
fn counting(length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 16);
    let mut number = 1_u64;
    while bytes.len() < length {
        bytes.extend_from_slice(number.to_string().as_bytes());
        bytes.push(b'\n');
        number += 1;
    }
    bytes.truncate(length);
    bytes
}

async fn ten_mib_on_both_streams_are_exact(cx: &Context) -> Outcome {
    const LENGTH: usize = 10 << 20;
    let sandbox = cx.sandbox().await?;
    let one = format!("seq 1 2000000 | head -c {LENGTH}");
    let output = exec(&sandbox, sh(format!("({one}) & ({one}) >&2; wait"))).await?;
    let expected = counting(LENGTH);
    for (stream, bytes) in [("standard output", &output.stdout), ("standard error", &output.stderr)] {
        ensure_eq!(bytes.len(), LENGTH, "the length of {stream}");
        let wrong = bytes.iter().zip(&expected).position(|(got, expected)| got != expected);
        ensure_eq!(wrong, None, "the first wrong byte of {stream}");
    }
    Ok(())
}

async fn it_arrives_while_the_process_runs(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    // Each line must be seen before the next can be written: no clock is needed.
    let process = start(&sandbox, sh("for i in 1 2 3 4 5; do echo tick $i; read line; done; exit 3")).await?;
    let missing = || Failure::new("a pipe is missing");
    let (mut stdin, mut stdout) =
        (process.take_stdin().ok_or_else(missing)?, process.take_stdout().ok_or_else(missing)?);
    for i in 1..=5 {
        ensure_eq!(line(&mut stdout).await?, format!("tick {i}"), "the line");
        stdin.write_all(b"go\n").await?;
        stdin.flush().await?;
    }
    ensure_eq!(soon("its end", process.wait()).await??.code(), 3, "the code");
    Ok(())
}

async fn an_unread_process_does_not_lose_output(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let process = start(&sandbox, sh("seq 1 5000; exit 2")).await?;
    // It fits into no more than a pipe, so that the process ends before anybody reads.
    ensure_eq!(soon("its end", process.wait()).await??.code(), 2, "the code");
    let output = soon("its output", finish(process.as_ref())).await??;
    ensure!(output.stdout == counting(23_893), "{} bytes of 23893 are left", output.stdout.len());
    Ok(())
}

async fn a_background_child_holding_it_does_not_hang(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let process = start(&sandbox, sh("sleep 1000 & echo started")).await?;
    ensure_eq!(soon("the end of the process", process.wait()).await??.code(), 0, "the code");
    let result = within(Duration::from_secs(15), "run_command", sandbox.shell("sleep 1000 & echo started")).await??;
    ensure_eq!(result.stdout, "started\n", "the output");
    ensure_eq!(result.exit_code, 0, "the code of the facade");
    Ok(())
}

async fn closing_it_is_a_broken_pipe(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let process = start(&sandbox, sh("echo $$; exec yes")).await?;
    let mut stdout = process.take_stdout().ok_or_else(|| Failure::new("no standard output"))?;
    let pid = line(&mut stdout).await?;
    drop(stdout);
    drop(process.take_stderr());
    // A provider that reads ahead may have to be read to its cap; it must not run for ever either way.
    process.signal(computesdk_core::Signal::TERM).await?;
    soon("its end", process.wait()).await??;
    gone(&sandbox, &pid).await
}

async fn a_closed_stream_ends_before_the_process(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let process = start(&sandbox, sh("echo last; exec >&-; read line; exit 4")).await?;
    let mut stdout = process.take_stdout().ok_or_else(|| Failure::new("no standard output"))?;
    let mut bytes = Vec::new();
    soon("the end of its output", stdout.read_to_end(&mut bytes)).await??;
    ensure_eq!(bytes, b"last\n", "its output");
    drop(process.take_stdin());
    ensure_eq!(soon("its end", process.wait()).await??.code(), 4, "the code");
    Ok(())
}
