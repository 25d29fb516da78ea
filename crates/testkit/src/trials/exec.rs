//! `exec` at the waist: arguments, exit codes, users, ids, standard streams.

use crate::check::{Failure, Outcome};
use crate::context::{Context, soon, until};
use crate::probe::{exec, finish, line, script, sh, start};
use computesdk_core::{ExecOptions, ExitCause, ProcessId, Stdio};
use std::time::Duration;

trials! { "exec";
    arguments_are_exact,
    a_large_argument_arrives,
    many_arguments_arrive,
    exit_codes_are_exact,
    a_relative_program_is_found_in_the_directory,
    the_environments_path_is_searched,
    one_id_starts_one_process,
    every_process_has_its_own_id,
    waiting_is_free_for_everybody,
    dropping_the_process_leaves_it_running,
    null_streams_are_null,
    merged_output_keeps_its_order,
    streams_are_taken_once,
    only_the_standard_streams_are_open,
    processes_are_reaped,
    the_user_is_root_unless_said,
    a_user_by_name[Users],
    a_user_by_number[Users],
    another_user_cannot_write_for_root[Users],
    no_limit_is_accepted[ExecTimeout],
}

async fn arguments_are_exact(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let arguments = [
        "",
        " ",
        "a b",
        "-n",
        "--",
        "'",
        "\"",
        "$HOME",
        "`id`",
        "\\",
        "\\n",
        "a\nb",
        "\n",
        "*",
        "~",
        "%s",
        "\u{1b}[1m",
        "žluťoučký",
        "🐎",
        "\t",
        "=",
        "a=b",
        "",
        "!",
    ];
    let mut command = sh("printf '%s\\0' \"$@\"");
    command.argv.push("sh".into());
    command.argv.extend(arguments.map(String::from));
    let output = exec(&sandbox, command).await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let seen: Vec<&str> = text.strip_suffix('\0').unwrap_or(&text).split('\0').collect();
    ensure_eq!(seen, arguments, "the arguments");
    Ok(())
}

async fn a_large_argument_arrives(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let large = "x".repeat(100 * 1024);
    let output = exec(&sandbox, ExecOptions::new(["printf".to_owned(), "%s".to_owned(), large.clone()])).await?;
    ensure!(output.stdout == large.as_bytes(), "got {} bytes of {}", output.stdout.len(), large.len());
    Ok(())
}

async fn many_arguments_arrive(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let mut command = sh("echo $#");
    command.argv.push("sh".into());
    command.argv.extend((0..5000).map(|i| format!("argument number {i}")));
    ensure_eq!(exec(&sandbox, command).await?.text(), "5000", "how many arrived");
    Ok(())
}

async fn exit_codes_are_exact(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    for code in [0, 1, 2, 3, 124, 126, 127, 137, 255] {
        let output = exec(&sandbox, sh(format!("exit {code}"))).await?;
        ensure_eq!(output.status.cause, ExitCause::Exited { code }, "the cause");
        ensure_eq!(output.status.code(), code, "the code");
        let result = sandbox.run_command("sh", ["-c".to_owned(), format!("exit {code}")]).await?;
        ensure_eq!(result.exit_code, code, "the code of the facade");
        ensure!(!result.timed_out(), "exit code {code} was taken for a timeout");
    }
    Ok(())
}

async fn a_relative_program_is_found_in_the_directory(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    script(&sandbox, "mkdir /tmp/w && printf '#!/bin/sh\\necho mine\\n' > /tmp/w/tool && chmod +x /tmp/w/tool").await?;
    let mut command = ExecOptions::new(["./tool"]);
    command.cwd = Some("/tmp/w".into());
    ensure_eq!(exec(&sandbox, command).await?.text(), "mine", "the output");
    Ok(())
}

async fn the_environments_path_is_searched(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    script(&sandbox, "mkdir /tmp/w && printf '#!/bin/sh\\necho mine\\n' > /tmp/w/tool && chmod +x /tmp/w/tool").await?;
    let mut command = ExecOptions::new(["tool"]);
    command.env.insert("PATH".into(), "/tmp/w:/usr/bin:/bin".into());
    ensure_eq!(exec(&sandbox, command).await?.text(), "mine", "the output");
    ensure_eq!(exec(&sandbox, ExecOptions::new(["tool"])).await?.status.code(), 127, "without that PATH");
    Ok(())
}

async fn one_id_starts_one_process(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let mut command = sh("echo started >> /tmp/count; exit 6");
    command.id = Some(ProcessId::new(cx.unique("p")));
    let first = start(&sandbox, command.clone()).await?;
    ensure_eq!(soon("its end", first.wait()).await??.code(), 6, "the code");
    let second = start(&sandbox, command.clone()).await?;
    ensure_eq!(second.id(), first.id(), "the id");
    ensure_eq!(soon("the same end", second.wait()).await??.code(), 6, "the code of the second handle");
    ensure_eq!(script(&sandbox, "cat /tmp/count").await?, "started", "how often it was started");
    Ok(())
}

async fn every_process_has_its_own_id(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let (one, two) = (start(&sandbox, sh("true")).await?, start(&sandbox, sh("true")).await?);
    ensure!(one.id() != two.id(), "two processes have the id {}", one.id());
    ensure!(!one.id().as_str().is_empty(), "the id is empty");
    Ok(())
}

async fn waiting_is_free_for_everybody(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let process = start(&sandbox, sh("read line; exit 7")).await?;
    let stdin = process.take_stdin();
    let (one, two, ()) =
        soon("its end", async { tokio::join!(process.wait(), process.wait(), async { drop(stdin) }) }).await?;
    ensure_eq!((one?.code(), two?.code()), (7, 7), "the codes of two waiters");
    ensure_eq!(soon("waiting afterwards", process.wait()).await??.code(), 7, "the code afterwards");
    Ok(())
}

async fn dropping_the_process_leaves_it_running(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let mut command = sh("while ! test -e /tmp/go; do sleep 0.01; done; echo done > /tmp/done");
    (command.stdin, command.stdout, command.stderr) = (Stdio::Null, Stdio::Null, Stdio::Null);
    drop(start(&sandbox, command).await?);
    script(&sandbox, ": > /tmp/go").await?;
    until("it has gone on", || async { Ok(script(&sandbox, "cat /tmp/done || true").await? == "done") }).await
}

async fn null_streams_are_null(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let mut command = sh("cat; echo out; echo err >&2; readlink /proc/self/fd/0");
    (command.stdin, command.stdout, command.stderr) = (Stdio::Null, Stdio::Null, Stdio::Null);
    let process = start(&sandbox, command).await?;
    ensure!(process.take_stdin().is_none(), "a null standard input can be taken");
    ensure!(process.take_stdout().is_none(), "a null standard output can be taken");
    ensure!(process.take_stderr().is_none(), "a null standard error can be taken");
    ensure_eq!(soon("its end", process.wait()).await??.code(), 0, "the code");
    Ok(())
}

async fn merged_output_keeps_its_order(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let mut command = sh("for i in 1 2 3; do echo o$i; echo e$i >&2; done");
    command.stderr = Stdio::Merged;
    let output = exec(&sandbox, command).await?;
    ensure_eq!(output.text(), "o1\ne1\no2\ne2\no3\ne3", "standard output");
    ensure_eq!(output.error_text(), "", "standard error");
    Ok(())
}

async fn streams_are_taken_once(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let process = start(&sandbox, sh("cat")).await?;
    let first = (process.take_stdin(), process.take_stdout(), process.take_stderr());
    ensure!(first.0.is_some() && first.1.is_some() && first.2.is_some(), "a piped stream is missing");
    let second = (process.take_stdin(), process.take_stdout(), process.take_stderr());
    ensure!(second.0.is_none() && second.1.is_none() && second.2.is_none(), "a stream was given twice");
    drop(first);
    soon("its end", process.wait()).await??;
    Ok(())
}

async fn only_the_standard_streams_are_open(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    // `ls` itself opens the directory that it lists.
    let open = exec(&sandbox, ExecOptions::new(["ls", "/proc/self/fd"])).await?.text();
    ensure_eq!(open.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"], "the open descriptors");
    Ok(())
}

async fn processes_are_reaped(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    // Orphans become children of pid 1.
    script(&sandbox, "for i in 1 2 3 4 5 6 7 8; do (sleep 0.01 &); done").await?;
    until("no zombie is left", || async {
        let states = script(&sandbox, "cat /proc/[0-9]*/stat 2>/dev/null | grep -c ') Z ' || true").await?;
        Ok(states == "0")
    })
    .await
}

async fn the_user_is_root_unless_said(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    ensure_eq!(script(&sandbox, "id -u; id -g; id -un").await?, "0\n0\nroot", "the user");
    Ok(())
}

/// What `id` says as this user.
async fn id_as(cx: &Context, user: &str) -> Outcome<String> {
    let sandbox = cx.sandbox().await?;
    let mut command = sh("id -u; id -un; id -G");
    command.user = Some(user.into());
    Ok(exec(&sandbox, command).await?.text())
}

async fn a_user_by_name(cx: &Context) -> Outcome {
    let told = id_as(cx, "nobody").await?;
    let lines: Vec<_> = told.lines().collect();
    ensure_eq!(lines.get(..2), Some(["65534", "nobody"].as_slice()), "the user");
    ensure!(!lines.get(2).is_some_and(|groups| groups.split(' ').any(|group| group == "0")), "it is in root's group");
    ensure!(id_as(cx, "root").await?.starts_with("0\nroot"), "root is not root");
    Ok(())
}

async fn a_user_by_number(cx: &Context) -> Outcome {
    ensure!(id_as(cx, "65534").await?.starts_with("65534\n"), "65534 is another user");
    ensure!(id_as(cx, "0").await?.starts_with("0\n"), "0 is another user");
    Ok(())
}

async fn another_user_cannot_write_for_root(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    script(&sandbox, "echo mine > /tmp/roots && chmod 600 /tmp/roots").await?;
    let mut command = sh("cat /tmp/roots || echo x > /tmp/roots || echo x > /etc/passwd");
    command.user = Some("nobody".into());
    let output = exec(&sandbox, command).await?;
    ensure!(!output.status.success() && output.stdout.is_empty(), "it could: {output:?}");
    ensure_eq!(script(&sandbox, "cat /tmp/roots").await?, "mine", "the file");
    Ok(())
}

async fn no_limit_is_accepted(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let mut command = sh("echo up; read line");
    command.timeout = Some(Duration::MAX);
    let process = start(&sandbox, command).await?;
    let mut stdout = process.take_stdout().ok_or_else(|| Failure::new("no standard output"))?;
    ensure_eq!(line(&mut stdout).await?, "up", "its output");
    drop(process.take_stdin());
    soon("its end", finish(process.as_ref())).await??;
    Ok(())
}
