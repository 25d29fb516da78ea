//! `create` and what it promises: identity, information, environment, working directory, files.

use crate::check::Outcome;
use crate::context::Context;
use crate::probe::{exec, script, sh};
use computesdk_core::{CreateOptions, ExecOptions, FileUpload, Runtime, SandboxStatus};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

trials! { "sandbox";
    create_gives_an_id_and_the_providers_name,
    ids_are_unique,
    info_is_complete,
    info_follows_the_options,
    timeout_is_in_the_info[Timeout],
    metadata_can_be_replaced,
    env_reaches_every_process,
    env_of_a_command_wins,
    env_values_are_exact,
    home_and_path_are_set,
    cwd_is_made_and_used,
    cwd_of_a_command_wins,
    files_are_in_place_first[Files],
    tmp_is_writable,
    python_and_python3_are_both_there[Python],
    node_is_there[Node],
}

async fn create_gives_an_id_and_the_providers_name(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    ensure!(!sandbox.sandbox_id().is_empty(), "the id is empty");
    ensure_eq!(sandbox.provider(), cx.name, "the sandbox's provider");
    ensure_eq!(cx.provider.name(), cx.name, "the provider's name");
    ensure_eq!(cx.capabilities.provider, cx.name, "the name in its capabilities");
    ensure_eq!(cx.name.to_lowercase(), cx.name, "a provider's name is lower case");
    Ok(())
}

async fn ids_are_unique(cx: &Context) -> Outcome {
    let (one, two) = (cx.sandbox().await?, cx.sandbox().await?);
    ensure!(one.sandbox_id() != two.sandbox_id(), "two sandboxes have the id {}", one.sandbox_id());
    one.destroy().await?;
    let three = cx.sandbox().await?;
    ensure!(three.sandbox_id() != one.sandbox_id(), "an id was used again: {}", one.sandbox_id());
    Ok(())
}

async fn info_is_complete(cx: &Context) -> Outcome {
    let before = SystemTime::now();
    let sandbox = cx.sandbox().await?;
    let info = sandbox.get_info().await?;
    ensure_eq!(info.id.as_str(), sandbox.sandbox_id(), "the id");
    ensure_eq!(info.provider, cx.name, "the provider");
    ensure_eq!(info.status, SandboxStatus::Running, "the status");
    ensure_eq!(info.end, None, "the end of a sandbox that lives");
    ensure!(info.timeout > Duration::ZERO, "a timeout of zero");
    // A remote clock may be a little off.
    let slack = Duration::from_secs(120);
    ensure!(info.created_at + slack > before, "created_at {:?} is too early", info.created_at);
    ensure!(info.created_at < SystemTime::now() + slack, "created_at {:?} is in the future", info.created_at);
    ensure_eq!(sandbox.get_info().await?.created_at, info.created_at, "created_at when asked again");
    Ok(())
}

async fn info_follows_the_options(cx: &Context) -> Outcome {
    let mut options = CreateOptions::default();
    options.runtime = cx.capabilities.runtimes.last().copied();
    options.metadata = BTreeMap::from([("team".into(), "a b=c\n'é'".into()), ("empty".into(), String::new())]);
    let sandbox = cx.create(options.clone()).await?;
    let info = sandbox.get_info().await?;
    ensure_eq!(info.metadata, options.metadata, "the metadata");
    ensure_eq!(info.runtime, options.runtime.unwrap_or(Runtime::Python), "the runtime");
    ensure_eq!(info.name, None, "the name that was not given");
    Ok(())
}

async fn timeout_is_in_the_info(cx: &Context) -> Outcome {
    let mut options = CreateOptions::default();
    options.timeout = Some(Duration::from_secs(123));
    let info = cx.create(options).await?.get_info().await?;
    ensure_eq!(info.timeout, Duration::from_secs(123), "the timeout");
    Ok(())
}

async fn metadata_can_be_replaced(cx: &Context) -> Outcome {
    let mut options = CreateOptions::default();
    options.metadata = BTreeMap::from([("old".into(), "1".into())]);
    let sandbox = cx.create(options).await?;
    let new = BTreeMap::from([("new".to_owned(), "2".to_owned())]);
    sandbox.as_core().set_metadata(new.clone()).await?;
    ensure_eq!(sandbox.get_info().await?.metadata, new, "the metadata");
    Ok(())
}

async fn env_reaches_every_process(cx: &Context) -> Outcome {
    let mut options = CreateOptions::default();
    options.env = BTreeMap::from([("GREETING".into(), "hello world".into())]);
    let sandbox = cx.create(options).await?;
    ensure_eq!(script(&sandbox, "echo \"$GREETING\"").await?, "hello world", "in a command");
    ensure_eq!(script(&sandbox, "sh -c 'echo \"$GREETING\"'").await?, "hello world", "in a child of a command");
    Ok(())
}

async fn env_of_a_command_wins(cx: &Context) -> Outcome {
    let mut options = CreateOptions::default();
    options.env = BTreeMap::from([("BOTH".into(), "create".into()), ("KEPT".into(), "create".into())]);
    let sandbox = cx.create(options).await?;
    let mut command = sh("echo $BOTH $KEPT $ONLY");
    command.env = BTreeMap::from([("BOTH".into(), "exec".into()), ("ONLY".into(), "exec".into())]);
    ensure_eq!(exec(&sandbox, command).await?.text(), "exec create exec", "the environment");
    ensure_eq!(script(&sandbox, "echo $BOTH $KEPT $ONLY").await?, "create create", "that of the next command");
    Ok(())
}

async fn env_values_are_exact(cx: &Context) -> Outcome {
    let values = ["", " ", "a\nb\n", "a=b=c", "$HOME `id` \\ \" '", "žluťoučký 🐎", "\u{1b}[0m\t"];
    let mut options = CreateOptions::default();
    options.env = values.iter().enumerate().map(|(i, v)| (format!("C{i}"), (*v).to_owned())).collect();
    let sandbox = cx.create(options).await?;
    let names = |letter| (0..values.len()).map(|i| format!("\"${letter}{i}\"")).collect::<Vec<_>>().join(" ");
    let mut command = sh(format!("printf '%s\\0' {} {}", names('C'), names('E')));
    command.env = values.iter().enumerate().map(|(i, v)| (format!("E{i}"), (*v).to_owned())).collect();
    let output = exec(&sandbox, command).await?;
    let expected: Vec<u8> =
        values.iter().chain(&values).flat_map(|value| value.bytes().chain(std::iter::once(0))).collect();
    ensure_eq!(String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&expected), "the values");
    Ok(())
}

async fn home_and_path_are_set(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    ensure!(script(&sandbox, "echo $HOME").await?.starts_with('/'), "$HOME is no absolute path");
    ensure!(script(&sandbox, "echo $PATH").await?.contains("/bin"), "$PATH names no bin directory");
    script(&sandbox, "cd \"$HOME\" && : > \"$HOME/.written\" && rm \"$HOME/.written\"").await?;
    Ok(())
}

async fn cwd_is_made_and_used(cx: &Context) -> Outcome {
    let mut options = CreateOptions::default();
    options.cwd = Some("/tmp/not yet/there".into());
    let sandbox = cx.create(options).await?;
    ensure_eq!(exec(&sandbox, ExecOptions::new(["pwd"])).await?.text(), "/tmp/not yet/there", "the directory");
    script(&sandbox, ": > made-here && test -f '/tmp/not yet/there/made-here'").await?;
    Ok(())
}

async fn cwd_of_a_command_wins(cx: &Context) -> Outcome {
    let mut options = CreateOptions::default();
    options.cwd = Some("/tmp".into());
    let sandbox = cx.create(options).await?;
    let mut command = ExecOptions::new(["pwd"]);
    command.cwd = Some("/usr".into());
    ensure_eq!(exec(&sandbox, command).await?.text(), "/usr", "the directory");
    ensure_eq!(script(&sandbox, "pwd").await?, "/tmp", "that of the next command");
    Ok(())
}

async fn files_are_in_place_first(cx: &Context) -> Outcome {
    let mut tool = FileUpload::new("/opt/deep/down/tool", "#!/bin/sh\necho \"I run: $1\"\n");
    tool.mode = Some(0o755);
    let bytes: Vec<u8> = (0..=255).collect();
    let mut options = CreateOptions::default();
    options.files = vec![tool, FileUpload::new("/tmp/all bytes", bytes.clone()), FileUpload::new("/tmp/empty", "")];
    let sandbox = cx.create(options).await?;
    ensure_eq!(script(&sandbox, "/opt/deep/down/tool yes").await?, "I run: yes", "an uploaded program");
    let all = exec(&sandbox, ExecOptions::new(["cat", "/tmp/all bytes"])).await?;
    ensure_eq!(all.stdout, bytes, "an uploaded file");
    ensure_eq!(script(&sandbox, "stat -c '%a %s' /tmp/empty").await?, "644 0", "mode and size of an uploaded file");
    Ok(())
}

async fn tmp_is_writable(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    script(&sandbox, "mkdir /tmp/d && echo x > /tmp/d/f && test \"$(cat /tmp/d/f)\" = x").await?;
    // Shells, Python and many programs need these.
    script(&sandbox, "echo x > /dev/null && head -c 4 /dev/urandom > /tmp/r && test -e /dev/fd/0").await?;
    Ok(())
}

async fn python_and_python3_are_both_there(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    for program in ["python", "python3"] {
        let version = script(&sandbox, format!("{program} -c 'import sys; print(sys.version_info[0])'")).await?;
        ensure_eq!(version, "3", "`{program}`");
    }
    Ok(())
}

async fn node_is_there(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    ensure_eq!(script(&sandbox, "node -e 'console.log(6 * 7)'").await?, "42", "`node`");
    Ok(())
}
