//! Terminals: seen as one, resized, with Ctrl-C and Ctrl-D.

use crate::check::{Failure, Outcome, refused};
use crate::context::{Context, soon};
use crate::probe::{exec, finish, line, sh, start};
use computesdk::Sandbox;
use computesdk_core::{BoxRead, BoxWrite, ErrorKind, ExecOptions, ExitCause, Process, PtySize, Signal};
use std::sync::Arc;
use tokio::io::AsyncWriteExt as _;

trials! { "pty";
    all_three_streams_are_a_terminal[Pty],
    without_one_no_stream_is_a_terminal,
    its_size_is_seen[Pty],
    a_resize_is_seen[Pty],
    output_comes_on_one_stream[Pty],
    input_is_echoed_and_read[Pty],
    ctrl_c_interrupts[Pty],
    ctrl_d_is_the_end_of_input[Pty],
    it_is_the_controlling_terminal[Pty],
    a_long_output_is_complete[Pty],
    exit_codes_are_kept[Pty],
    a_signal_reaches_its_group[Pty],
    resizing_what_has_none_is_refused,
    the_facade_runs_in_one[Pty],
}

/// A shell script on a terminal of 24 by 80.
fn on_terminal(script: &str) -> ExecOptions {
    let mut options = sh(script);
    options.pty = Some(PtySize::default());
    options
}

/// A started terminal with its two ends.
async fn terminal(sandbox: &Sandbox, script: &str) -> Outcome<(Arc<dyn Process>, BoxWrite, BoxRead)> {
    let process = start(sandbox, on_terminal(script)).await?;
    let missing = || Failure::new("an end of the terminal is missing");
    let (stdin, stdout) = (process.take_stdin().ok_or_else(missing)?, process.take_stdout().ok_or_else(missing)?);
    Ok((process, stdin, stdout))
}

/// Types into a terminal.
async fn type_in(stdin: &mut BoxWrite, text: &[u8]) -> Outcome {
    stdin.write_all(text).await?;
    stdin.flush().await?;
    Ok(())
}

/// Reads lines until this one comes (what is typed is echoed between).
async fn until_line(stdout: &mut BoxRead, wanted: &str) -> Outcome {
    for _ in 0..100 {
        if line(stdout).await? == wanted {
            return Ok(());
        }
    }
    Err(Failure::new(format!("100 lines and no {wanted:?}")))
}

const TTY_TEST: &str = "for fd in 0 1 2; do test -t $fd && echo yes || echo no; done";

async fn all_three_streams_are_a_terminal(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let output = soon("the end", exec(&sandbox, on_terminal(TTY_TEST))).await??;
    ensure_eq!(output.text(), "yes\r\nyes\r\nyes\r", "what `test -t` says");
    Ok(())
}

async fn without_one_no_stream_is_a_terminal(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    ensure_eq!(exec(&sandbox, sh(TTY_TEST)).await?.text(), "no\nno\nno", "what `test -t` says");
    ensure!(!exec(&sandbox, sh("exec 3<> /dev/tty")).await?.status.success(), "there is a controlling terminal");
    Ok(())
}

async fn its_size_is_seen(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    for (rows, cols) in [(24, 80), (50, 132), (1, 1), (1000, 1000)] {
        let mut command = sh("stty size");
        command.pty = Some(PtySize { rows, cols });
        let output = soon("the end", exec(&sandbox, command)).await??;
        ensure_eq!(output.text().trim(), format!("{rows} {cols}"), "the size");
    }
    Ok(())
}

async fn a_resize_is_seen(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let text = "trap 'echo changed; stty size; exit 0' WINCH; stty size; echo ready; while :; do sleep 0.01; done";
    let (process, _stdin, mut stdout) = terminal(&sandbox, text).await?;
    until_line(&mut stdout, "24 80").await?;
    until_line(&mut stdout, "ready").await?;
    process.resize(PtySize { rows: 33, cols: 111 }).await?;
    until_line(&mut stdout, "changed").await?;
    until_line(&mut stdout, "33 111").await?;
    ensure_eq!(soon("its end", process.wait()).await??.code(), 0, "the code");
    Ok(())
}

async fn output_comes_on_one_stream(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let process = start(&sandbox, on_terminal("echo out; echo err >&2; echo out")).await?;
    ensure!(process.take_stderr().is_none(), "there is a standard error beside the terminal");
    let output = soon("its end", finish(process.as_ref())).await??;
    ensure_eq!(output.text(), "out\r\nerr\r\nout\r", "the output");
    Ok(())
}

async fn input_is_echoed_and_read(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let (process, mut stdin, mut stdout) = terminal(&sandbox, "read word; echo \"<$word>\"; exit 3").await?;
    type_in(&mut stdin, b"hello\n").await?;
    until_line(&mut stdout, "hello").await?;
    until_line(&mut stdout, "<hello>").await?;
    ensure_eq!(soon("its end", process.wait()).await??.code(), 3, "the code");
    Ok(())
}

async fn ctrl_c_interrupts(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let (process, mut stdin, mut stdout) = terminal(&sandbox, "echo ready; exec sleep 1000").await?;
    until_line(&mut stdout, "ready").await?;
    type_in(&mut stdin, b"\x03").await?;
    let status = soon("its end", process.wait()).await??;
    ensure_eq!(status.cause, ExitCause::Signalled { signal: 2 }, "the cause");
    Ok(())
}

async fn ctrl_d_is_the_end_of_input(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let (process, mut stdin, mut stdout) = terminal(&sandbox, "echo ready; cat > /tmp/f; echo end").await?;
    until_line(&mut stdout, "ready").await?;
    type_in(&mut stdin, b"text\n\x04").await?;
    until_line(&mut stdout, "end").await?;
    ensure_eq!(soon("its end", process.wait()).await??.code(), 0, "the code");
    Ok(())
}

async fn it_is_the_controlling_terminal(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let output =
        soon("the end", exec(&sandbox, on_terminal("echo to-tty > /dev/tty; tty; test -w \"$(tty)\""))).await??;
    ensure!(output.status.success(), "`tty` names no terminal: {:?}", output.text());
    ensure!(output.text().starts_with("to-tty\r\n/dev/"), "the output is {:?}", output.text());
    Ok(())
}

async fn a_long_output_is_complete(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let output = soon("the end", exec(&sandbox, on_terminal("seq 1 20000; echo the end"))).await??;
    let text = output.text();
    ensure_eq!(text.lines().count(), 20_001, "how many lines");
    ensure!(text.ends_with("20000\r\nthe end\r"), "the last output is missing");
    Ok(())
}

async fn exit_codes_are_kept(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    for code in [0, 1, 42] {
        let output = soon("the end", exec(&sandbox, on_terminal(&format!("exit {code}")))).await??;
        ensure_eq!(output.status.cause, ExitCause::Exited { code }, "the cause");
    }
    let mut missing = ExecOptions::new(["/no/such/program"]);
    missing.pty = Some(PtySize::default());
    ensure_eq!(soon("the end", exec(&sandbox, missing)).await??.status.code(), 127, "a missing program");
    Ok(())
}

async fn a_signal_reaches_its_group(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let (process, _stdin, mut stdout) = terminal(&sandbox, "echo ready; sleep 1000").await?;
    until_line(&mut stdout, "ready").await?;
    process.signal(Signal::KILL).await?;
    ensure_eq!(soon("its end", process.wait()).await??.code(), 137, "the code");
    Ok(())
}

async fn resizing_what_has_none_is_refused(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let process = start(&sandbox, sh("read line")).await?;
    refused("resize", ErrorKind::FailedPrecondition, process.resize(PtySize::default()).await)?;
    drop(process.take_stdin());
    soon("its end", process.wait()).await??;
    Ok(())
}

async fn the_facade_runs_in_one(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let result = soon("the end", sandbox.shell("stty size; test -t 1").pty(PtySize { rows: 10, cols: 20 })).await??;
    ensure_eq!((result.stdout.as_str(), result.exit_code), ("10 20\r\n", 0), "output and code");
    Ok(())
}
