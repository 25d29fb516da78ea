//! `run_command` and `shell` of the facade: what users of the JavaScript SDK know.

use crate::check::Outcome;
use crate::context::{Context, soon, until};
use crate::probe::script;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

trials! { "command";
    an_argument_with_spaces_is_one_argument,
    a_result_is_complete,
    an_unknown_command_is_a_result,
    no_shell_is_involved,
    shell_runs_a_script,
    quotes_reach_an_inner_shell,
    home_expands_in_an_inner_shell,
    redirects_and_conditions_work,
    cwd_env_and_stdin_reach_it,
    background_returns_at_once,
    callbacks_get_all_output[Streaming],
    callbacks_keep_the_streams_apart[Streaming],
    a_live_command_is_written_and_read,
    many_commands_leave_nothing_behind,
}

async fn an_argument_with_spaces_is_one_argument(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let result = sandbox.run_command("echo", ["Hello from the command"]).await?;
    ensure_eq!(result.stdout, "Hello from the command\n", "the output");
    ensure_eq!(result.exit_code, 0, "the code");
    let result = sandbox.run_command("printf", ["[%s]", "a  b", "c"]).await?;
    ensure_eq!(result.stdout, "[a  b][c]", "the output");
    Ok(())
}

async fn a_result_is_complete(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let start = Instant::now();
    let result = sandbox.run_command("sh", ["-c", "echo out; echo err >&2; exit 3"]).await?;
    let most = start.elapsed();
    ensure_eq!(result.stdout, "out\n", "standard output");
    ensure_eq!(result.stderr, "err\n", "standard error");
    ensure_eq!(result.exit_code, 3, "the code");
    ensure!(!result.success() && !result.timed_out(), "a failure that is no timeout: {result:?}");
    ensure_eq!(result.sandbox_id.to_string(), sandbox.sandbox_id(), "the sandbox's id");
    ensure_eq!(result.provider.to_string(), cx.name, "the provider");
    ensure!(result.execution_time > Duration::ZERO, "it took no time");
    ensure!(result.execution_time <= most, "it took longer than the call: {:?}", result.execution_time);
    Ok(())
}

async fn an_unknown_command_is_a_result(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let result = sandbox.run_command("nonexistent-command-12345", ()).await?;
    ensure_eq!(result.exit_code, 127, "the code");
    ensure!(result.stderr.contains("nonexistent-command-12345"), "stderr does not name it: {:?}", result.stderr);
    Ok(())
}

async fn no_shell_is_involved(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let text = "$HOME `id` $(id) ; echo x | cat > /tmp/made && * ~ \\ \" '";
    let result = sandbox.run_command("echo", [text]).await?;
    ensure_eq!(result.stdout, format!("{text}\n"), "the output");
    ensure_eq!(script(&sandbox, "ls /tmp").await?, "", "what was made");
    Ok(())
}

async fn shell_runs_a_script(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let result = sandbox.shell("for i in 1 2 3; do echo $i; done | tr '\\n' ' '\nexit 4").await?;
    ensure_eq!(result.stdout, "1 2 3 ", "the output");
    ensure_eq!(result.exit_code, 4, "the code");
    Ok(())
}

async fn quotes_reach_an_inner_shell(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let result = sandbox.shell("sh -c 'echo \"hello world\"'").await?;
    ensure_eq!(result.stdout, "hello world\n", "the output");
    ensure_eq!(result.exit_code, 0, "the code");
    Ok(())
}

async fn home_expands_in_an_inner_shell(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let result = sandbox.run_command("sh", ["-c", "sh -c 'echo $HOME'"]).await?;
    ensure!(result.stdout.starts_with('/'), "$HOME gives {:?}", result.stdout);
    Ok(())
}

async fn redirects_and_conditions_work(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let result = sandbox.shell("echo 'to a file' > /tmp/out.txt && cat /tmp/out.txt").await?;
    ensure_eq!(result.stdout, "to a file\n", "the output");
    let result = sandbox.shell("false && echo no || echo yes").await?;
    ensure_eq!(result.stdout, "yes\n", "the output");
    Ok(())
}

async fn cwd_env_and_stdin_reach_it(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let result = sandbox.shell("pwd; echo \"$A\"; cat").cwd("/tmp").env("A", "x  y").stdin("in\0put").await?;
    ensure_eq!(result.stdout_bytes(), b"/tmp\nx  y\nin\0put", "the output");
    Ok(())
}

async fn background_returns_at_once(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    // It could not end by itself before the file is there, which is made after `await` returned.
    let script_text = "while ! test -e /tmp/go; do sleep 0.01; done; echo done > /tmp/done";
    let result = soon("starting it", sandbox.shell(script_text).background()).await??;
    ensure_eq!(result.exit_code, 0, "the code of a start");
    script(&sandbox, ": > /tmp/go").await?;
    until("the command is done", || async { Ok(script(&sandbox, "cat /tmp/done || true").await? == "done") }).await
}

/// What callbacks have collected.
#[derive(Clone, Default)]
struct Collected(Arc<Mutex<Vec<u8>>>);

impl Collected {
    fn callback(&self) -> impl FnMut(&[u8]) + Send + 'static {
        let bytes = Arc::clone(&self.0);
        move |chunk| bytes.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(chunk)
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn callbacks_get_all_output(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let seen = Collected::default();
    let result = sandbox.shell("seq 1 20000").on_stdout(seen.callback()).await?;
    let seen = seen.bytes();
    ensure_eq!(seen.len(), 108_894, "how many bytes the callback saw");
    ensure!(seen == result.stdout_bytes(), "the chunks together are not the output of the result");
    Ok(())
}

async fn callbacks_keep_the_streams_apart(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let (out, err) = (Collected::default(), Collected::default());
    let text = "echo o1; echo e1 >&2; echo o2; echo e2 >&2; exit 3";
    let result = sandbox.shell(text).on_stdout(out.callback()).on_stderr(err.callback()).await?;
    ensure_eq!(result.exit_code, 3, "the code");
    ensure_eq!(out.bytes(), b"o1\no2\n", "standard output");
    ensure_eq!(err.bytes(), b"e1\ne2\n", "standard error");
    Ok(())
}

async fn a_live_command_is_written_and_read(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let mut command = sandbox.shell("read a; echo \"1 $a\"; read b; echo \"2 $b\"; exit 5").spawn().await?;
    command.write_stdin("first\nsecond\n").await?;
    command.close_stdin().await;
    let result = soon("its end", command.wait_with_output()).await??;
    ensure_eq!(result.stdout, "1 first\n2 second\n", "the output");
    ensure_eq!(result.exit_code, 5, "the code");
    Ok(())
}

async fn many_commands_leave_nothing_behind(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let process = crate::probe::start(&sandbox, crate::probe::sh("while read line; do ls /proc; echo .; done")).await?;
    let missing = || crate::check::Failure::new("a pipe is missing");
    let (mut stdin, mut stdout) =
        (process.take_stdin().ok_or_else(missing)?, process.take_stdout().ok_or_else(missing)?);
    // How many processes there are, counted from one and the same place.
    let mut count = async || -> Outcome<usize> {
        stdin.write_all(b"\n").await?;
        let (mut seen, mut byte) = (Vec::new(), [0]);
        while !seen.ends_with(b".\n") {
            soon("the list of processes", stdout.read_exact(&mut byte)).await??;
            seen.push(byte[0]);
        }
        let seen = String::from_utf8_lossy(&seen).into_owned();
        Ok(seen.lines().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).count())
    };
    let before = count().await?;
    for _ in 0..30 {
        sandbox.run_command("true", ()).await?;
    }
    // A few more may be the provider's own.
    let after = count().await?;
    ensure!(after < before + 10, "{before} processes before 30 commands, {after} after them");
    Ok(())
}
