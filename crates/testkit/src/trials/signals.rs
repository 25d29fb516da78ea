//! Signals: to the whole group, with typed causes.

use crate::check::{Failure, Outcome, refused};
use crate::context::{Context, soon};
use crate::probe::{exec, gone, line, script, sh, start};
use computesdk::Sandbox;
use computesdk_core::{BoxRead, ErrorKind, ExitCause, Process, Signal};
use std::sync::Arc;

trials! { "signals";
    a_death_by_signal_is_told,
    kill_reaches_the_group,
    term_reaches_the_group,
    a_handler_runs,
    a_signal_to_one_process_spares_the_others,
    a_signal_after_the_end_is_no_error,
    a_number_that_is_no_signal_is_refused,
    nothing_is_blocked_or_ignored_at_the_start,
    a_live_command_is_killed_on_drop_when_asked,
}

/// Starts a script and waits for its first line.
async fn started(sandbox: &Sandbox, script: &str) -> Outcome<(Arc<dyn Process>, BoxRead, String)> {
    let process = start(sandbox, sh(script)).await?;
    let mut stdout = process.take_stdout().ok_or_else(|| Failure::new("no standard output"))?;
    let first = line(&mut stdout).await?;
    Ok((process, stdout, first))
}

async fn a_death_by_signal_is_told(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    for (signal, code) in [(9, 137), (15, 143), (6, 134), (11, 139)] {
        let status = exec(&sandbox, sh(format!("kill -{signal} $$; sleep 1000"))).await?.status;
        ensure_eq!(status.cause, ExitCause::Signalled { signal }, "the cause");
        ensure_eq!(status.code(), code, "the code");
    }
    // A shell that reports a child's signal has exited itself.
    let status = exec(&sandbox, sh("sh -c 'kill -9 $$'; exit $?")).await?.status;
    ensure_eq!(status.cause, ExitCause::Exited { code: 137 }, "the cause");
    Ok(())
}

/// The signal ends a shell and its child.
async fn reaches_the_group(cx: &Context, signal: Signal) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let (process, _stdout, child) = started(&sandbox, "sleep 1000 & echo $!; wait; sleep 1000").await?;
    process.signal(signal).await?;
    let status = soon("its end", process.wait()).await??;
    ensure_eq!(status.cause, ExitCause::Signalled { signal: signal.0 }, "the cause");
    gone(&sandbox, &child).await
}

async fn kill_reaches_the_group(cx: &Context) -> Outcome {
    reaches_the_group(cx, Signal::KILL).await
}

async fn term_reaches_the_group(cx: &Context) -> Outcome {
    reaches_the_group(cx, Signal::TERM).await
}

async fn a_handler_runs(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let text = "trap 'echo caught; exit 7' TERM; echo up; while :; do sleep 0.01; done";
    let (process, mut stdout, _) = started(&sandbox, text).await?;
    process.signal(Signal::TERM).await?;
    ensure_eq!(line(&mut stdout).await?, "caught", "what the handler printed");
    ensure_eq!(soon("its end", process.wait()).await??.cause, ExitCause::Exited { code: 7 }, "the cause");
    Ok(())
}

async fn a_signal_to_one_process_spares_the_others(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let (one, _out, _) = started(&sandbox, "echo up; exec sleep 1000").await?;
    let (two, _out, pid) = started(&sandbox, "echo $$; exec sleep 1000").await?;
    one.signal(Signal::KILL).await?;
    soon("the end of the first", one.wait()).await??;
    script(&sandbox, format!("kill -0 {pid}")).await?;
    two.signal(Signal::KILL).await?;
    Ok(())
}

async fn a_signal_after_the_end_is_no_error(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let process = start(&sandbox, sh("exit 5")).await?;
    soon("its end", process.wait()).await??;
    process.signal(Signal::TERM).await?;
    process.signal(Signal::KILL).await?;
    ensure_eq!(process.wait().await?.code(), 5, "the code afterwards");
    Ok(())
}

async fn a_number_that_is_no_signal_is_refused(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let (process, _stdout, pid) = started(&sandbox, "echo $$; exec sleep 1000").await?;
    for number in [-1, 65, 1000, i32::MAX, i32::MIN] {
        let what = format!("signal {number}");
        refused(&what, ErrorKind::InvalidArgument, process.signal(Signal(number)).await)?;
    }
    script(&sandbox, format!("kill -0 {pid}")).await?;
    process.signal(Signal::KILL).await?;
    Ok(())
}

async fn nothing_is_blocked_or_ignored_at_the_start(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    // SIGPIPE ignored (as in every Rust program) would make `yes | head` print an error.
    let masks = exec(&sandbox, computesdk_core::ExecOptions::new(["grep", "^Sig[BI]", "/proc/self/status"])).await?;
    for mask in masks.text().lines() {
        ensure!(mask.ends_with("0000000000000000"), "a process starts with {mask}");
    }
    Ok(())
}

async fn a_live_command_is_killed_on_drop_when_asked(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    for killed in [true, false] {
        let mut command = sandbox.shell("echo $$; exec sleep 1000").spawn().await?;
        let mut stdout = command.stdout().ok_or_else(|| Failure::new("no standard output"))?;
        let pid = line(&mut stdout).await?;
        command.kill_on_drop(killed);
        drop(command);
        if killed {
            gone(&sandbox, &pid).await?;
        } else {
            script(&sandbox, format!("kill -0 {pid}")).await?;
        }
    }
    Ok(())
}
