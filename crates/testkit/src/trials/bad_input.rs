//! Input that a caller can get wrong: each has its own documented answer, and nothing half done.

use crate::check::{Outcome, refused, refused_naming};
use crate::context::{Context, soon};
use crate::probe::{exec, script, sh, start};
use computesdk::Sandbox;
use computesdk_core::{CreateOptions, ErrorKind, ExecOptions, ExitCause, FileUpload, StartFailure};
use std::collections::BTreeMap;
use std::time::Duration;

trials! { "bad_input";
    a_missing_program_is_127,
    a_missing_path_is_127,
    an_empty_program_is_no_success,
    a_directory_is_126,
    a_file_without_execute_permission_is_126,
    a_missing_interpreter_is_126,
    text_without_an_interpreter_is_126,
    a_program_for_another_machine_is_126,
    no_program_at_all_is_refused,
    an_unknown_user_is_named[Users],
    a_missing_cwd_is_named,
    a_file_as_cwd_is_named,
    nul_is_refused_everywhere,
    nul_is_refused_at_create,
    a_bad_name_of_a_variable_is_refused,
    a_too_large_argument_is_refused,
    too_many_arguments_are_refused,
    a_too_large_environment_is_refused,
    a_relative_upload_is_refused[Files],
    a_timeout_of_zero_is_refused[Timeout],
    a_failed_start_leaves_the_sandbox_usable,
}

/// The result of a program that cannot be started: a process that has ended, with a reason on standard error.
async fn not_started(sandbox: &Sandbox, program: &str, reason: StartFailure) -> Outcome {
    let output = soon(program, exec(sandbox, ExecOptions::new([program, "argument"]))).await??;
    ensure_eq!(output.status.cause, ExitCause::NotStarted { reason }, "the cause for {program}");
    ensure!(output.error_text().contains(program), "stderr does not name {program}: {:?}", output.error_text());
    ensure_eq!(output.text(), "", "standard output");
    let result = sandbox.run_command(program, ["argument"]).await?;
    ensure_eq!(result.exit_code, reason.exit_code(), "the code of the facade for {program}");
    ensure!(result.stderr.contains(program), "stderr of the facade does not name {program}: {:?}", result.stderr);
    Ok(())
}

async fn a_missing_program_is_127(cx: &Context) -> Outcome {
    not_started(&cx.sandbox().await?, "no-such-program-at-all", StartFailure::NotFound).await
}

async fn a_missing_path_is_127(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    not_started(&sandbox, "/no/such/program", StartFailure::NotFound).await?;
    not_started(&sandbox, "./no such program", StartFailure::NotFound).await
}

async fn an_empty_program_is_no_success(cx: &Context) -> Outcome {
    // Refused or not found: both are answers.
    let sandbox = cx.sandbox().await?;
    match exec(&sandbox, ExecOptions::new([""])).await {
        Ok(output) => ensure_eq!(output.status.code(), 127, "the code"),
        Err(error) => ensure_eq!(error.kind(), ErrorKind::InvalidArgument, "the kind"),
    }
    Ok(())
}

async fn a_directory_is_126(cx: &Context) -> Outcome {
    not_started(&cx.sandbox().await?, "/tmp", StartFailure::IsDirectory).await
}

async fn a_file_without_execute_permission_is_126(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    script(&sandbox, "printf '#!/bin/sh\\necho no\\n' > /tmp/tool && chmod 644 /tmp/tool").await?;
    not_started(&sandbox, "/tmp/tool", StartFailure::NotExecutable).await
}

async fn a_missing_interpreter_is_126(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    script(&sandbox, "printf '#!/no/such/interpreter -x\\n' > /tmp/tool && chmod 755 /tmp/tool").await?;
    not_started(&sandbox, "/tmp/tool", StartFailure::BadInterpreter).await?;
    let output = exec(&sandbox, ExecOptions::new(["/tmp/tool"])).await?;
    let text = output.error_text();
    ensure!(text.contains("interpreter"), "stderr does not speak of the interpreter: {text:?}");
    Ok(())
}

async fn text_without_an_interpreter_is_126(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    script(&sandbox, "echo 'just text' > /tmp/tool && : > /tmp/empty && chmod 755 /tmp/tool /tmp/empty").await?;
    not_started(&sandbox, "/tmp/tool", StartFailure::WrongFormat).await?;
    not_started(&sandbox, "/tmp/empty", StartFailure::WrongFormat).await
}

async fn a_program_for_another_machine_is_126(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    // An ELF header of a machine that nobody has (0xfeed), and an ELF magic with garbage after it.
    script(
        &sandbox,
        "printf '\\177ELF\\002\\001\\001\\000\\000\\000\\000\\000\\000\\000\\000\\000\\002\\000\\355\\376\\001\\000' > /tmp/alien\n\
         head -c 200 /dev/zero >> /tmp/alien\n\
         (printf '\\177ELF'; head -c 4096 /dev/urandom) > /tmp/garbage\n\
         chmod 755 /tmp/alien /tmp/garbage",
    )
    .await?;
    not_started(&sandbox, "/tmp/alien", StartFailure::WrongFormat).await?;
    not_started(&sandbox, "/tmp/garbage", StartFailure::WrongFormat).await
}

async fn no_program_at_all_is_refused(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    refused("an empty argv", ErrorKind::InvalidArgument, exec(&sandbox, ExecOptions::new([""; 0])).await)?;
    Ok(())
}

async fn an_unknown_user_is_named(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    for user in ["no-such-user", "", "root\nx", "-1", "99999999999999999999"] {
        let mut command = sh("echo ran");
        command.user = Some(user.into());
        refused_naming(&format!("the user {user:?}"), "user", exec(&sandbox, command).await)?;
    }
    Ok(())
}

async fn a_missing_cwd_is_named(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let mut command = sh("echo ran");
    command.cwd = Some("/no/such/directory".into());
    let error = refused_naming("a missing directory", "cwd", exec(&sandbox, command).await)?;
    ensure!(error.to_string().contains("/no/such/directory"), "the error does not name the directory: {error}");
    // Not even the program's own failure may come first.
    let mut command = ExecOptions::new(["/no/such/program"]);
    command.cwd = Some("/no/such/directory".into());
    refused_naming("a missing directory and program", "cwd", exec(&sandbox, command).await)?;
    Ok(())
}

async fn a_file_as_cwd_is_named(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let mut command = sh("echo ran");
    command.cwd = Some("/etc/passwd".into());
    refused_naming("a file as directory", "cwd", exec(&sandbox, command).await)?;
    Ok(())
}

async fn nul_is_refused_everywhere(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let mut cases = vec![("program", ExecOptions::new(["tr\0ue"])), ("argument", ExecOptions::new(["true", "a\0b"]))];
    let mut command = sh("true");
    command.env = BTreeMap::from([("A".into(), "x\0y".into())]);
    cases.push(("value of a variable", command));
    let mut command = sh("true");
    command.env = BTreeMap::from([("A\0B".into(), "x".into())]);
    cases.push(("name of a variable", command));
    let mut command = sh("true");
    command.cwd = Some("/tmp\0".into());
    cases.push(("cwd", command));
    if cx.capabilities.users {
        let mut command = sh("true");
        command.user = Some("ro\0ot".into());
        cases.push(("user", command));
    }
    for (what, command) in cases {
        refused(&format!("a NUL in a {what}"), ErrorKind::InvalidArgument, start(&sandbox, command).await)?;
    }
    Ok(())
}

async fn nul_is_refused_at_create(cx: &Context) -> Outcome {
    let mut env = CreateOptions::default();
    env.env = BTreeMap::from([("A".into(), "x\0y".into())]);
    refused("a NUL in env", ErrorKind::InvalidArgument, cx.create(env).await)?;
    let mut cwd = CreateOptions::default();
    cwd.cwd = Some("/tmp/a\0b".into());
    refused("a NUL in cwd", ErrorKind::InvalidArgument, cx.create(cwd).await)?;
    if cx.capabilities.command {
        let mut command = CreateOptions::default();
        command.command = Some(vec!["tr\0ue".into()]);
        refused("a NUL in command", ErrorKind::InvalidArgument, cx.create(command).await)?;
        let mut command = CreateOptions::default();
        command.command = Some(Vec::new());
        refused("an empty command", ErrorKind::InvalidArgument, cx.create(command).await)?;
    }
    Ok(())
}

async fn a_bad_name_of_a_variable_is_refused(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    for name in ["", "A=B", "="] {
        let mut command = sh("true");
        command.env = BTreeMap::from([(name.into(), "x".into())]);
        refused(&format!("a variable {name:?}"), ErrorKind::InvalidArgument, start(&sandbox, command).await)?;
    }
    Ok(())
}

/// Refused before anything was spawned, in a message that tells the limit.
async fn too_large(cx: &Context, options: ExecOptions) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let what = format!("{} arguments", options.argv.len());
    let error = refused(&what, ErrorKind::InvalidArgument, soon(&what, start(&sandbox, options)).await?)?;
    ensure!(error.to_string().bytes().any(|byte| byte.is_ascii_digit()), "the error does not tell the limit: {error}");
    ensure_eq!(script(&sandbox, "ls /tmp").await?, "", "what was done");
    Ok(())
}

async fn a_too_large_argument_is_refused(cx: &Context) -> Outcome {
    let mut command = sh(": > /tmp/ran");
    command.argv.push("x".repeat(200 * 1024));
    too_large(cx, command).await
}

async fn too_many_arguments_are_refused(cx: &Context) -> Outcome {
    let mut command = sh(": > /tmp/ran");
    command.argv.extend(std::iter::repeat_n("x".repeat(1024), 16 * 1024));
    too_large(cx, command).await
}

async fn a_too_large_environment_is_refused(cx: &Context) -> Outcome {
    let mut command = sh(": > /tmp/ran");
    command.env = (0..16 * 1024).map(|i| (format!("V{i}"), "x".repeat(1024))).collect();
    too_large(cx, command).await
}

async fn a_relative_upload_is_refused(cx: &Context) -> Outcome {
    for path in ["relative/file", "", "/tmp/a\0b"] {
        let mut options = CreateOptions::default();
        options.files = vec![FileUpload::new(path, "x")];
        refused(&format!("an upload to {path:?}"), ErrorKind::InvalidArgument, cx.create(options).await)?;
    }
    Ok(())
}

async fn a_timeout_of_zero_is_refused(cx: &Context) -> Outcome {
    let mut options = CreateOptions::default();
    options.timeout = Some(Duration::ZERO);
    refused_naming("a lifetime of zero", "timeout", cx.create(options).await)?;
    Ok(())
}

async fn a_failed_start_leaves_the_sandbox_usable(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    for _ in 0..20 {
        let output = exec(&sandbox, ExecOptions::new(["/no/such/program"])).await?;
        ensure_eq!(output.status.code(), 127, "the code");
    }
    ensure_eq!(script(&sandbox, "echo fine").await?, "fine", "a command afterwards");
    Ok(())
}
