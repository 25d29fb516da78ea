//! Time limits: of one command (a result) and of a sandbox (its end).

use crate::check::{Failure, Outcome, refused};
use crate::context::{Context, soon, until, within};
use crate::probe::{exec, finish, gone, line, script, sh, start};
use computesdk_core::{CreateOptions, EndCause, ErrorKind, ExitCause, SandboxId, SandboxStatus};
use std::time::{Duration, Instant};

trials! { "timeouts";
    a_commands_limit_is_a_result[ExecTimeout],
    a_commands_limit_kills_its_group[ExecTimeout],
    a_commands_limit_cannot_be_ignored[ExecTimeout],
    a_commands_limit_does_not_wait_for_its_children[ExecTimeout],
    a_commands_limit_holds_on_a_terminal[ExecTimeout, Pty],
    a_commands_limit_leaves_others_alone[ExecTimeout],
    a_quick_command_is_not_touched[ExecTimeout],
    a_sandboxs_lifetime_ends_it[Timeout],
    a_sandboxs_lifetime_ends_its_processes[Timeout],
    a_sandboxs_lifetime_removes_it_from_the_list[Timeout, List],
    a_sandboxs_lifetime_cannot_be_ignored[Timeout],
    no_lifetime_is_accepted[Timeout],
}

const SHORT: Duration = Duration::from_millis(1500);

async fn a_commands_limit_is_a_result(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let start = Instant::now();
    let text = "echo out; echo err >&2; sleep 60";
    let result = soon("the limit", sandbox.shell(text).timeout(SHORT)).await??;
    ensure!(start.elapsed() >= SHORT, "it ended before its limit, after {:?}", start.elapsed());
    ensure_eq!(result.exit_code, 124, "the code");
    ensure!(result.timed_out() && !result.success(), "it does not say that it timed out");
    ensure_eq!((result.stdout.as_str(), result.stderr.as_str()), ("out\n", "err\n"), "the output so far");
    let mut command = sh(text);
    command.timeout = Some(SHORT);
    let output = soon("the limit", exec(&sandbox, command)).await??;
    ensure_eq!(output.status.cause, ExitCause::TimedOut, "the cause");
    ensure_eq!(script(&sandbox, "echo fine").await?, "fine", "a command afterwards");
    Ok(())
}

async fn a_commands_limit_kills_its_group(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let mut command = sh("sleep 1000 & echo $!; (sleep 1000; sleep 1000) & echo $!; wait");
    command.timeout = Some(SHORT);
    let output = soon("the limit", exec(&sandbox, command)).await??;
    ensure_eq!(output.status.cause, ExitCause::TimedOut, "the cause");
    ensure_eq!(output.text().lines().count(), 2, "how many children it told");
    for child in output.text().lines() {
        gone(&sandbox, child).await?;
    }
    Ok(())
}

async fn a_commands_limit_cannot_be_ignored(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let mut command = sh("trap '' TERM INT HUP QUIT ALRM; echo $$; while :; do sleep 1; done");
    command.timeout = Some(SHORT);
    let output = soon("the limit", exec(&sandbox, command)).await??;
    ensure_eq!(output.status.cause, ExitCause::TimedOut, "the cause");
    gone(&sandbox, &output.text()).await
}

async fn a_commands_limit_does_not_wait_for_its_children(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    // A child in a session of its own is not in the group: it may live, but nobody may wait for it.
    let text = "setsid sleep 1000 & echo up; sleep 1000";
    let result = within(Duration::from_secs(15), "the limit", sandbox.shell(text).timeout(SHORT)).await??;
    ensure_eq!((result.stdout.as_str(), result.exit_code), ("up\n", 124), "output and code");
    Ok(())
}

async fn a_commands_limit_holds_on_a_terminal(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let mut command = sh("echo up; sleep 1000");
    command.pty = Some(computesdk_core::PtySize::default());
    command.timeout = Some(SHORT);
    let output = soon("the limit", exec(&sandbox, command)).await??;
    ensure_eq!(output.status.cause, ExitCause::TimedOut, "the cause");
    ensure_eq!(output.text(), "up\r", "the output so far");
    Ok(())
}

async fn a_commands_limit_leaves_others_alone(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let other = start(&sandbox, sh("read line; exit 5")).await?;
    let result = soon("the limit", sandbox.shell("sleep 60").timeout(SHORT)).await??;
    ensure!(result.timed_out(), "it did not time out: {result:?}");
    drop(other.take_stdin());
    ensure_eq!(soon("the other's end", other.wait()).await??.code(), 5, "the code of the other");
    Ok(())
}

async fn a_quick_command_is_not_touched(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let result = sandbox.shell("echo quick; exit 2").timeout(Duration::from_secs(25)).await?;
    ensure_eq!((result.stdout.as_str(), result.exit_code), ("quick\n", 2), "output and code");
    ensure!(!result.timed_out(), "it says that it timed out");
    Ok(())
}

/// Options with this lifetime.
fn lifetime(timeout: Duration) -> CreateOptions {
    let mut options = CreateOptions::default();
    options.timeout = Some(timeout);
    options
}

async fn a_sandboxs_lifetime_ends_it(cx: &Context) -> Outcome {
    let sandbox = cx.create(lifetime(SHORT)).await?;
    ensure_eq!(soon("its end", sandbox.as_core().wait()).await??, EndCause::TimedOut, "the cause");
    let info = sandbox.get_info().await?;
    ensure_eq!(info.status, SandboxStatus::Stopped, "the status");
    ensure_eq!(info.end, Some(EndCause::TimedOut), "the cause in the info");
    refused("exec afterwards", ErrorKind::NotFound, exec(&sandbox, sh("true")).await)?;
    sandbox.destroy().await?;
    ensure_eq!(sandbox.get_info().await?.end, Some(EndCause::TimedOut), "the cause after a destroy");
    Ok(())
}

async fn a_sandboxs_lifetime_ends_its_processes(cx: &Context) -> Outcome {
    let sandbox = cx.create(lifetime(SHORT)).await?;
    let mut command = sh("echo up; sleep 1000");
    command.timeout = Some(Duration::MAX);
    let process = start(&sandbox, command).await?;
    let output = soon("its end", finish(process.as_ref())).await??;
    ensure_eq!(output.text(), "up", "the output so far");
    let killed = matches!(output.status.cause, ExitCause::SandboxEnded | ExitCause::Signalled { signal: 9 });
    ensure!(killed, "the cause is {:?}", output.status.cause);
    Ok(())
}

async fn a_sandboxs_lifetime_removes_it_from_the_list(cx: &Context) -> Outcome {
    let sandbox = cx.create(lifetime(SHORT)).await?;
    let id = SandboxId::new(sandbox.sandbox_id());
    until("it is no longer listed", || async {
        Ok(!cx.provider.list(&computesdk_core::ListFilter::default()).await?.iter().any(|listed| *listed.id() == id))
    })
    .await
}

async fn a_sandboxs_lifetime_cannot_be_ignored(cx: &Context) -> Outcome {
    let sandbox = cx.create(lifetime(Duration::from_secs(2))).await?;
    let process = start(&sandbox, sh("trap '' TERM INT HUP; echo up; while :; do :; done")).await?;
    let mut stdout = process.take_stdout().ok_or_else(|| Failure::new("no standard output"))?;
    ensure_eq!(line(&mut stdout).await?, "up", "its first line");
    ensure_eq!(soon("its end", sandbox.as_core().wait()).await??, EndCause::TimedOut, "the cause");
    Ok(())
}

async fn no_lifetime_is_accepted(cx: &Context) -> Outcome {
    let sandbox = cx.create(lifetime(Duration::MAX)).await?;
    ensure_eq!(sandbox.get_info().await?.timeout, Duration::MAX, "the timeout");
    script(&sandbox, "true").await?;
    Ok(())
}
