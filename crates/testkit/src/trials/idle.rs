//! The end of a sandbox that nobody uses, and what counts as use.

use crate::check::{Failure, Outcome, refused, refused_naming};
use crate::context::{Context, soon, until, within};
use crate::probe::{exec, script, sh};
use crate::server::{dial, greeter};
use computesdk::Sandbox;
use computesdk_core::{BoxStream, CreateOptions, EndCause, ErrorKind, EventKind, SandboxStatus};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

trials! { "idle";
    an_unused_sandbox_ends[IdleTimeout],
    its_end_is_an_event[IdleTimeout],
    a_running_command_is_use[IdleTimeout],
    the_main_process_is_no_use[IdleTimeout, Command],
    input_of_the_main_process_is_use[IdleTimeout, Command],
    a_connection_is_use[IdleTimeout, Command, Python],
    a_connection_over_a_tunnel_is_use[IdleTimeout, Command, Ports, Python],
    looking_at_it_is_no_use[IdleTimeout],
    an_idle_time_of_zero_is_refused[IdleTimeout],
    a_lifetime_goes_before_a_longer_idle_time[IdleTimeout, Timeout],
}

const IDLE: Duration = Duration::from_millis(1500);
/// What would have ended it were it not used.
const LONG: Duration = Duration::from_millis(4000);

/// Options with this idle time.
fn idle(timeout: Duration) -> CreateOptions {
    let mut options = CreateOptions::default();
    options.idle_timeout = Some(timeout);
    options
}

/// Options with this idle time and main process.
fn idle_with<W: Into<String>>(command: impl IntoIterator<Item = W>) -> CreateOptions {
    let mut options = idle(IDLE);
    options.command = Some(command.into_iter().map(Into::into).collect());
    options
}

async fn ends(sandbox: &Sandbox) -> Outcome {
    ensure_eq!(soon("its end", sandbox.as_core().wait()).await??, EndCause::IdleTimedOut, "the cause");
    Ok(())
}

/// That it does not end for long enough.
async fn lives(sandbox: &Sandbox) -> Outcome {
    match tokio::time::timeout(LONG, sandbox.as_core().wait()).await {
        Err(_elapsed) => Ok(()),
        Ok(end) => Err(Failure::new(format!("it was used, and ended: {end:?}"))),
    }
}

async fn an_unused_sandbox_ends(cx: &Context) -> Outcome {
    let begun = Instant::now();
    let sandbox = cx.create(idle(IDLE)).await?;
    ensure_eq!(sandbox.get_info().await?.status, SandboxStatus::Running, "the status at first");
    ends(&sandbox).await?;
    ensure!(begun.elapsed() >= IDLE, "it ended early, after {:?}", begun.elapsed());
    let info = sandbox.get_info().await?;
    ensure_eq!(info.status, SandboxStatus::Stopped, "the status");
    ensure_eq!(info.end, Some(EndCause::IdleTimedOut), "the cause in the info");
    refused("exec afterwards", ErrorKind::NotFound, exec(&sandbox, sh("true")).await)?;
    sandbox.destroy().await?;
    ensure_eq!(sandbox.get_info().await?.end, Some(EndCause::IdleTimedOut), "the cause after a destroy");
    Ok(())
}

async fn its_end_is_an_event(cx: &Context) -> Outcome {
    let sandbox = cx.create(idle(IDLE)).await?;
    let mut events = sandbox.events().await?;
    let mut last = None;
    while let Some(event) = soon("the next event", events.next()).await? {
        last = Some(event.kind);
    }
    ensure_eq!(last, Some(EventKind::Ended { end: EndCause::IdleTimedOut }), "the last event");
    Ok(())
}

async fn a_running_command_is_use(cx: &Context) -> Outcome {
    let sandbox = cx.create(idle(IDLE)).await?;
    // One command that takes longer than the idle time, by the sandbox's own clock.
    let output = soon("the command", exec(&sandbox, sh("sleep 4; echo alive"))).await??;
    ensure_eq!(output.text(), "alive", "the output");
    // Its time begins when the command has ended, so there is time for another.
    ensure_eq!(script(&sandbox, "echo again").await?, "again", "the output of another");
    ends(&sandbox).await
}

async fn the_main_process_is_no_use(cx: &Context) -> Outcome {
    let sandbox = cx.create(idle_with(["sleep", "1000"])).await?;
    ends(&sandbox).await
}

async fn input_of_the_main_process_is_use(cx: &Context) -> Outcome {
    let sandbox = cx.create(idle_with(["sh", "-c", "exec cat > /dev/null"])).await?;
    let main = sandbox.as_core().main_process().ok_or_else(|| Failure::new("there is no main process"))?;
    let mut stdin = main.take_stdin().ok_or_else(|| Failure::new("no standard input"))?;
    let begun = Instant::now();
    while begun.elapsed() < LONG {
        stdin.write_all(b"x").await?;
        if let Ok(end) = tokio::time::timeout(IDLE / 10, sandbox.as_core().wait()).await {
            return Err(Failure::new(format!("it was used, and ended: {end:?}")));
        }
    }
    // An input that is open and not written to is no use.
    ends(&sandbox).await?;
    drop(stdin);
    Ok(())
}

async fn a_connection_is_use(cx: &Context) -> Outcome {
    let sandbox = cx.create(idle_with(greeter(7000, "hello"))).await?;
    let greeted = || async { Ok(greeted(sandbox.connect(7000).await.ok()).await) };
    let stream = connected(greeted).await?;
    lives(&sandbox).await?;
    drop(stream);
    ends(&sandbox).await
}

async fn a_connection_over_a_tunnel_is_use(cx: &Context) -> Outcome {
    let mut options = idle_with(greeter(7000, "hello"));
    options.ports = vec![7000];
    let sandbox = cx.create(options).await?;
    let tunnel = sandbox.tunnels().await?.pop().ok_or_else(|| Failure::new("there is no tunnel"))?;
    let greeted = || async {
        let stream: BoxStream = Box::new(dial(&tunnel).await?);
        Ok(greeted(Some(stream)).await)
    };
    let stream = connected(greeted).await?;
    lives(&sandbox).await?;
    drop(stream);
    ends(&sandbox).await
}

/// A connection, if it was greeted: the server is up.
async fn greeted(stream: Option<BoxStream>) -> Option<BoxStream> {
    let mut stream = stream?;
    let mut greeting = [0; 6];
    let read = within(IDLE, "the greeting", stream.read_exact(&mut greeting)).await;
    matches!(read, Ok(Ok(_)) if greeting == *b"hello\n").then_some(stream)
}

/// The first connection that comes about.
async fn connected<R>(connect: impl Fn() -> R) -> Outcome<BoxStream>
where
    R: Future<Output = Outcome<Option<BoxStream>>>,
{
    let found = Mutex::new(None);
    until("a connection", || async {
        let stream = connect().await?;
        let is_there = stream.is_some();
        *found.lock().unwrap_or_else(PoisonError::into_inner) = stream;
        Ok(is_there)
    })
    .await?;
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.ok_or_else(|| Failure::new("there is no connection"))
}

async fn looking_at_it_is_no_use(cx: &Context) -> Outcome {
    let sandbox = cx.create(idle(IDLE)).await?;
    let begun = Instant::now();
    while tokio::time::timeout(IDLE / 10, sandbox.as_core().wait()).await.is_err() {
        sandbox.get_info().await?;
        ensure!(begun.elapsed() < Duration::from_secs(10), "it does not end while somebody looks at it");
    }
    ends(&sandbox).await
}

async fn an_idle_time_of_zero_is_refused(cx: &Context) -> Outcome {
    refused_naming("an idle time of zero", "idle_timeout", cx.create(idle(Duration::ZERO)).await)?;
    Ok(())
}

async fn a_lifetime_goes_before_a_longer_idle_time(cx: &Context) -> Outcome {
    let mut options = idle(Duration::MAX);
    options.timeout = Some(IDLE);
    let sandbox = cx.create(options).await?;
    ensure_eq!(soon("its end", sandbox.as_core().wait()).await??, EndCause::TimedOut, "the cause");
    Ok(())
}
