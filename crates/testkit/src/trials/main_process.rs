//! The main process of `create`: its end is the end of the sandbox.

use crate::check::{Failure, Outcome, refused};
use crate::context::{Context, soon};
use crate::probe::{exec, finish, line, script, sh};
use computesdk::Sandbox;
use computesdk_core::{CreateOptions, EndCause, ErrorKind, ExitCause, Process, SandboxStatus, Signal};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::io::AsyncWriteExt as _;

trials! { "main_process";
    there_is_none_without_a_command,
    its_end_ends_the_sandbox[Command],
    its_failure_shows[Command],
    its_signal_shows[Command],
    its_output_is_read_after_its_end[Command],
    its_input_is_ours[Command],
    it_has_the_environment_and_the_directory[Command],
    its_children_end_with_it[Command],
    commands_run_beside_it[Command],
    destroy_ends_it[Command],
    a_missing_program_is_told[Command],
}

/// A sandbox whose main process is this script.
async fn with_command(cx: &Context, script: &str) -> Outcome<(Sandbox, Arc<dyn Process>)> {
    let mut options = CreateOptions::default();
    options.command = Some(vec!["sh".into(), "-c".into(), script.into()]);
    let sandbox = cx.create(options).await?;
    let main = sandbox.as_core().main_process().ok_or_else(|| Failure::new("there is no main process"))?;
    Ok((sandbox, main))
}

async fn there_is_none_without_a_command(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    ensure!(sandbox.as_core().main_process().is_none(), "a main process that nobody asked for");
    // The end of a command is not the end of such a sandbox.
    script(&sandbox, "true").await?;
    ensure_eq!(sandbox.get_info().await?.status, SandboxStatus::Running, "the status");
    Ok(())
}

async fn its_end_ends_the_sandbox(cx: &Context) -> Outcome {
    let (sandbox, main) = with_command(cx, "read line; exit 0").await?;
    ensure_eq!(sandbox.get_info().await?.status, SandboxStatus::Running, "while it runs");
    drop(main.take_stdin());
    ensure_eq!(soon("its end", main.wait()).await??.code(), 0, "its code");
    let cause = soon("the end of the sandbox", sandbox.as_core().wait()).await??;
    ensure_eq!(cause, EndCause::Exited { code: 0 }, "the cause");
    ensure_eq!(sandbox.get_info().await?.status, SandboxStatus::Stopped, "the status");
    refused("exec after its end", ErrorKind::NotFound, exec(&sandbox, sh("true")).await)?;
    Ok(())
}

async fn its_failure_shows(cx: &Context) -> Outcome {
    let (sandbox, main) = with_command(cx, "exit 3").await?;
    ensure_eq!(soon("its end", main.wait()).await??.cause, ExitCause::Exited { code: 3 }, "its cause");
    let cause = soon("the end of the sandbox", sandbox.as_core().wait()).await??;
    ensure_eq!(cause, EndCause::Exited { code: 3 }, "the cause");
    let info = sandbox.get_info().await?;
    ensure_eq!(info.status, SandboxStatus::Error, "the status");
    ensure_eq!(info.end, Some(EndCause::Exited { code: 3 }), "the cause in the info");
    Ok(())
}

async fn its_signal_shows(cx: &Context) -> Outcome {
    let (sandbox, main) = with_command(cx, "exec sleep 1000").await?;
    main.signal(Signal::KILL).await?;
    let cause = soon("the end of the sandbox", sandbox.as_core().wait()).await??;
    ensure_eq!(cause, EndCause::Exited { code: 137 }, "the cause");
    Ok(())
}

async fn its_output_is_read_after_its_end(cx: &Context) -> Outcome {
    let (sandbox, main) = with_command(cx, "echo out; echo err >&2; exit 1").await?;
    soon("the end of the sandbox", sandbox.as_core().wait()).await??;
    let output = soon("its output", finish(main.as_ref())).await??;
    ensure_eq!(output.text(), "out", "standard output");
    ensure_eq!(output.error_text(), "err\n", "standard error");
    Ok(())
}

async fn its_input_is_ours(cx: &Context) -> Outcome {
    let (_sandbox, main) = with_command(cx, "read a; echo \"got $a\"; cat").await?;
    let mut stdin = main.take_stdin().ok_or_else(|| Failure::new("no standard input"))?;
    stdin.write_all(b"one\ntwo\n").await?;
    stdin.shutdown().await?;
    drop(stdin);
    ensure_eq!(soon("its output", finish(main.as_ref())).await??.text(), "got one\ntwo", "its output");
    Ok(())
}

async fn it_has_the_environment_and_the_directory(cx: &Context) -> Outcome {
    let mut options = CreateOptions::default();
    options.command = Some(["sh", "-c", "echo $GREETING; pwd"].map(String::from).to_vec());
    options.env = BTreeMap::from([("GREETING".into(), "hello".into())]);
    options.cwd = Some("/tmp/w".into());
    let sandbox = cx.create(options).await?;
    let main = sandbox.as_core().main_process().ok_or_else(|| Failure::new("there is no main process"))?;
    ensure_eq!(soon("its output", finish(main.as_ref())).await??.text(), "hello\n/tmp/w", "its output");
    Ok(())
}

async fn its_children_end_with_it(cx: &Context) -> Outcome {
    // The child holds the output open: its end is seen as the end of the output.
    let (sandbox, main) = with_command(cx, "setsid sleep 1000 & echo up; read line; exit 0").await?;
    let mut stdout = main.take_stdout().ok_or_else(|| Failure::new("no standard output"))?;
    ensure_eq!(line(&mut stdout).await?, "up", "its first line");
    drop(main.take_stdin());
    soon("the end of the sandbox", sandbox.as_core().wait()).await??;
    let mut rest = Vec::new();
    soon("the end of its child", tokio::io::AsyncReadExt::read_to_end(&mut stdout, &mut rest)).await??;
    Ok(())
}

async fn commands_run_beside_it(cx: &Context) -> Outcome {
    let (sandbox, _main) = with_command(cx, "echo made > /tmp/by-main; exec sleep 1000").await?;
    let wait = "while ! test -s /tmp/by-main; do sleep 0.01; done; cat /tmp/by-main";
    ensure_eq!(script(&sandbox, wait).await?, "made", "its file");
    Ok(())
}

async fn destroy_ends_it(cx: &Context) -> Outcome {
    let (sandbox, main) = with_command(cx, "trap '' TERM; sleep 1000 & wait").await?;
    sandbox.destroy().await?;
    ensure_eq!(soon("its end", main.wait()).await??.code(), 137, "its code");
    ensure_eq!(sandbox.get_info().await?.end, Some(EndCause::Terminated), "the cause");
    Ok(())
}

async fn a_missing_program_is_told(cx: &Context) -> Outcome {
    let mut options = CreateOptions::default();
    options.command = Some(vec!["/no/such/program".into()]);
    // Either way is plain: `create` fails and says so, or the sandbox has ended with the code of a shell.
    match cx.create(options).await {
        Ok(sandbox) => {
            let cause = soon("the end of the sandbox", sandbox.as_core().wait()).await??;
            ensure_eq!(cause, EndCause::Exited { code: 127 }, "the cause");
        }
        Err(error) => {
            let text = error.to_string();
            ensure!(text.contains("/no/such/program"), "the error does not name the program: {text}");
        }
    }
    Ok(())
}
