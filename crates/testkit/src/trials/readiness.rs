//! Waiting until what runs in a sandbox can be used.

use crate::check::{Failure, Outcome, refused};
use crate::context::{Context, soon, until};
use crate::probe::{script, start};
use computesdk::{Probe, Sandbox};
use computesdk_core::{ErrorKind, ExecOptions};
use std::time::Duration;

trials! { "readiness";
    a_port_is_ready_once_it_listens[Ports, Python],
    a_command_is_ready_once_it_succeeds,
    what_is_never_ready_is_told,
    a_port_that_never_listens_is_told[Ports],
    the_end_of_the_sandbox_ends_the_waiting,
}

/// A command that succeeds once there is a file `/tmp/go`, and notes each attempt.
const GO: [&str; 3] = ["sh", "-c", "echo >> /tmp/tries; test -e /tmp/go"];

/// Waits until it was tried twice.
async fn was_tried(sandbox: &Sandbox) -> Outcome {
    until("two attempts", || async {
        let tries = script(sandbox, "cat /tmp/tries 2>/dev/null | wc -l").await?;
        Ok(tries.parse::<u32>()? >= 2)
    })
    .await
}

async fn a_port_is_ready_once_it_listens(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let early = Probe::tcp(8080).deadline(Duration::from_millis(200));
    refused("a port too early", ErrorKind::Timeout, sandbox.wait_until_ready(early).await)?;
    let waiting = sandbox.wait_until_ready(Probe::tcp(8080).deadline(Duration::from_secs(9)));
    let server = start(&sandbox, ExecOptions::new(["python3", "-m", "http.server", "8080", "--bind", "127.0.0.1"]));
    let (ready, _server) = soon("its readiness", async { tokio::join!(waiting, server) }).await?;
    ready?;
    sandbox.connect(8080).await?;
    Ok(())
}

async fn a_command_is_ready_once_it_succeeds(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let waiting = sandbox.wait_until_ready(Probe::exec(GO).interval(Duration::from_millis(20)));
    let go = async {
        was_tried(&sandbox).await?;
        script(&sandbox, ": > /tmp/go").await
    };
    let (ready, go) = soon("its readiness", async { tokio::join!(waiting, go) }).await?;
    go?;
    ready?;
    Ok(())
}

async fn what_is_never_ready_is_told(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let probe = Probe::exec(["sh", "-c", "echo 'not today' >&2; exit 3"]).deadline(Duration::from_millis(700));
    let result = soon("the deadline", sandbox.wait_until_ready(probe)).await?;
    let text = refused("what is never ready", ErrorKind::Timeout, result)?.to_string();
    for part in ["`sh -c", "700ms", "attempt", "exit code 3", "not today"] {
        ensure!(text.contains(part), "no {part:?} in: {text}");
    }
    // One that hangs is not waited for either, and does not go on.
    let probe = Probe::exec(["sleep", "86512"]).deadline(Duration::from_millis(300));
    let result = soon("the deadline", sandbox.wait_until_ready(probe)).await?;
    refused("what hangs", ErrorKind::Timeout, result)?;
    until("the probe is killed", || async {
        // A zombie has no command line.
        let found =
            script(&sandbox, "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -cx 8651[2] || true");
        Ok(found.await? == "0")
    })
    .await
}

async fn a_port_that_never_listens_is_told(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let probe = Probe::tcp(8099).deadline(Duration::from_millis(500)).interval(Duration::from_millis(50));
    let result = soon("the deadline", sandbox.wait_until_ready(probe)).await?;
    let text = refused("a port where nobody listens", ErrorKind::Timeout, result)?.to_string();
    ensure!(text.starts_with("port 8099 was not ready within 500ms: "), "the message: {text}");
    Ok(())
}

async fn the_end_of_the_sandbox_ends_the_waiting(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let waiting = sandbox.wait_until_ready(Probe::exec(GO));
    let end = async {
        was_tried(&sandbox).await?;
        Ok::<_, Failure>(sandbox.destroy().await?)
    };
    let (result, ended) = soon("the end of the waiting", async { tokio::join!(waiting, end) }).await?;
    ended?;
    let text = refused("a sandbox that has ended", ErrorKind::NotFound, result)?.to_string();
    ensure!(text.contains("has ended: it was destroyed"), "the message: {text}");
    Ok(())
}
