use super::{end, runs, sandbox, unique_seconds, until};
use crate::testing::Host;
use crate::{Compute, ErrorKind, ExitCause, Signal};
use futures_util::future::{Either, select};
use std::future::IntoFuture as _;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt as _;

#[tokio::test]
async fn output_code_and_arguments_arrive() {
    let sandbox = sandbox().await;
    let result = sandbox.run_command("sh", ["-c", "printf %s \"$1\"; printf e >&2; exit 3", "sh", "a 'b' $c"]).await;
    let result = result.unwrap();
    assert_eq!((&*result.stdout, &*result.stderr, result.exit_code), ("a 'b' $c", "e", 3));
    assert_eq!((result.sandbox_id.as_str(), &*result.provider), (sandbox.sandbox_id(), "host"));
    assert!(result.execution_time > Duration::ZERO && !result.success());
    let result = sandbox.shell("cat; pwd; echo $A").stdin("in\n").cwd("/").env("A", "b").await.unwrap();
    assert_eq!(result.stdout, "in\n/\nb\n");
    let result = sandbox.run_command("cat", ()).await.unwrap();
    assert_eq!((&*result.stdout, result.exit_code), ("", 0));
}

#[tokio::test]
async fn an_unknown_command_and_a_time_limit_are_results() {
    let sandbox = sandbox().await;
    let result = sandbox.run_command("nonexistent-command-12345", ()).await.unwrap();
    assert_eq!(result.exit_code, 127);
    assert!(matches!(result.status.cause, ExitCause::NotStarted { .. }));
    let result = sandbox.shell("echo before; sleep 600").timeout(Duration::from_millis(300)).await.unwrap();
    assert_eq!((&*result.stdout, result.exit_code, result.timed_out()), ("before\n", 124, true));
}

#[tokio::test]
async fn ten_mebibytes_each_way_do_not_block() {
    let sandbox = sandbox().await;
    let script = "head -c 10485760 /dev/zero & head -c 10485760 /dev/zero >&2; wait; exit 4";
    let result = sandbox.shell(script).await.unwrap();
    assert_eq!((result.stdout_bytes().len(), result.stderr_bytes().len(), result.exit_code), (10 << 20, 10 << 20, 4));
    let result = sandbox.run_command("cat", ()).stdin(vec![b'x'; 10 << 20]).await.unwrap();
    assert_eq!(result.stdout.len(), 10 << 20);
    // A command that does not read its input is no error.
    let result = sandbox.run_command("true", ()).stdin(vec![b'x'; 10 << 20]).await.unwrap();
    assert!(result.success());
}

#[tokio::test]
async fn a_descendant_that_keeps_the_pipe_open_does_not_hold_the_call_up() {
    let sandbox = sandbox().await;
    let seconds = unique_seconds();
    let start = Instant::now();
    let result = sandbox.shell(format!("sleep {seconds} & echo done")).await.unwrap();
    assert_eq!(result.stdout, "done\n");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(runs(&seconds), "the descendant is not ours to kill");
    end(&seconds);
}

#[tokio::test]
async fn callbacks_see_output_as_it_comes_and_the_result_holds_it_too() {
    let sandbox = sandbox().await;
    let seen = format!("/tmp/computesdk-test-{}", unique_seconds());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    // It ends only because its first line was seen while it ran.
    let result = sandbox
        .shell("echo 1; until [ -e \"$SEEN\" ]; do sleep 0.01; done; echo 2; echo e >&2")
        .env("SEEN", &seen)
        .timeout(Duration::from_secs(20))
        .on_stdout(|bytes| {
            std::fs::write(&seen, "").unwrap();
            out.extend_from_slice(bytes);
        })
        .on_stderr(|bytes| err.extend_from_slice(bytes))
        .await
        .unwrap();
    std::fs::remove_file(&seen).unwrap();
    assert_eq!((&*result.stdout, &*result.stderr, result.timed_out()), ("1\n2\n", "e\n", false));
    assert_eq!((out.as_slice(), err.as_slice()), (result.stdout_bytes(), result.stderr_bytes()));
}

#[tokio::test]
async fn a_dropped_call_kills_the_whole_group() {
    let sandbox = sandbox().await;
    let seconds = unique_seconds();
    let call = sandbox.shell(format!("sleep {seconds} & sleep {seconds}; echo never")).into_future();
    let running = until("started", || runs(&seconds));
    assert!(matches!(select(call, pin!(running)).await, Either::Right(_)), "it ended by itself");
    until("killed", || !runs(&seconds)).await;
}

#[tokio::test]
async fn a_call_dropped_while_the_provider_starts_it_leaves_nothing() {
    let mut host = Host::new("slow");
    host.exec_delay = Duration::from_millis(200);
    let started = std::sync::Arc::clone(&host.started);
    let sandbox = Compute::with_provider(host).sandbox().create(()).await.unwrap();
    let seconds = unique_seconds();
    let call = sandbox.run_command("sleep", [&seconds]);
    assert!(tokio::time::timeout(Duration::from_millis(50), call.into_future()).await.is_err());
    // It is started none the less, and then killed.
    until("started", || started.load(Ordering::Relaxed) == 1).await;
    until("killed", || !runs(&seconds)).await;
}

#[tokio::test]
async fn in_the_background_it_returns_at_once() {
    let sandbox = sandbox().await;
    let start = Instant::now();
    let seconds = unique_seconds();
    let result = sandbox.run_command("sleep", [&seconds]).background().await.unwrap();
    assert_eq!((result.exit_code, &*result.stdout), (0, ""));
    assert!(start.elapsed() < Duration::from_secs(5));
    until("started", || runs(&seconds)).await;
    end(&seconds);
    let result = sandbox.run_command("nonexistent-command-12345", ()).background().await.unwrap();
    assert_eq!(result.exit_code, 127);
    let error = sandbox.run_command("true", ()).background().on_stdout(|_| ()).await.unwrap_err();
    assert!(error.to_string().contains("does not support background mode"), "{error}");
}

#[tokio::test]
async fn a_spawned_command_is_talked_to_and_signalled() {
    let sandbox = sandbox().await;
    let mut command = sandbox.shell("while read line; do echo got $line; done; exit 5").spawn().await.unwrap();
    command.write_stdin("one\n").await.unwrap();
    let mut stdout = command.stdout().unwrap();
    let mut line = [0; 8];
    stdout.read_exact(&mut line).await.unwrap();
    assert_eq!(&line, b"got one\n");
    assert!(command.stdout().is_none());
    command.write_stdin(b"two\n").await.unwrap();
    command.close_stdin().await;
    command.close_stdin().await;
    assert_eq!(command.write_stdin("x").await.unwrap_err().kind(), ErrorKind::FailedPrecondition);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).await.unwrap();
    assert_eq!((&*rest, command.wait().await.unwrap().code()), ("got two\n", 5));

    let command = sandbox.run_command("sleep", ["1000"]).spawn().await.unwrap();
    command.signal(Signal::TERM).await.unwrap();
    assert_eq!(command.wait_with_output().await.unwrap().exit_code, 128 + 15);

    let mut command = sandbox.run_command("cat", ()).stdin("given").spawn().await.unwrap();
    assert!(command.stdin().is_none());
    assert_eq!(command.wait_with_output().await.unwrap().stdout, "given");
    let error = sandbox.run_command("true", ()).on_stdout(|_| ()).spawn().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn a_spawned_command_outlives_its_handle_unless_asked() {
    let sandbox = sandbox().await;
    let (kept, killed) = (unique_seconds(), unique_seconds());
    drop(sandbox.run_command("sleep", [&kept]).spawn().await.unwrap());
    let mut command = sandbox.run_command("sleep", [&killed]).spawn().await.unwrap();
    until("started", || runs(&killed) && runs(&kept)).await;
    command.kill_on_drop(true);
    drop(command);
    until("killed", || !runs(&killed)).await;
    assert!(runs(&kept));
    end(&kept);
}

#[tokio::test]
async fn twenty_at_once_do_not_mix() {
    let sandbox = sandbox().await;
    let runs = (0..20).map(|n| sandbox.shell(format!("echo {n}; exit {n}")).into_future());
    for (n, result) in futures_util::future::join_all(runs).await.into_iter().enumerate() {
        let result = result.unwrap();
        assert_eq!((result.stdout, result.exit_code), (format!("{n}\n"), i32::try_from(n).unwrap()));
    }
}

#[tokio::test]
async fn bad_input_never_reaches_the_provider() {
    let sandbox = sandbox().await;
    let field = |error: crate::Error| {
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        error.context_value("field").unwrap().to_owned()
    };
    assert_eq!(field(sandbox.run_command("", ()).await.unwrap_err()), "command");
    assert_eq!(field(sandbox.run_command("echo", ["a\0b"]).await.unwrap_err()), "args");
    assert_eq!(field(sandbox.run_command("echo", ()).env("", "x").await.unwrap_err()), "env");
    assert_eq!(field(sandbox.run_code("1").args(["\0"]).await.unwrap_err()), "args");
    assert_eq!(field(sandbox.run_code("1").cwd("x").spawn().await.unwrap_err()), "cwd");
}
