//! What a sandbox must not see: the host, and other sandboxes.

use crate::check::{Failure, Outcome};
use crate::context::{Context, soon};
use crate::probe::{exec, line, script, sh, start};
use computesdk_core::ExecOptions;

trials! { "isolation";
    the_hosts_environment_is_not_visible,
    the_hosts_processes_are_not_visible,
    the_hosts_files_are_not_visible,
    the_hostname_is_not_the_hosts,
    sandboxes_do_not_share_files,
    sandboxes_do_not_see_each_others_processes,
    killing_everything_stays_inside,
    the_environment_of_one_command_is_not_kept,
}

/// Names that say nothing of the host: every Linux has them, with much the same values.
const COMMON: &[&str] = &[
    "PATH",
    "HOME",
    "LANG",
    "LC_CTYPE",
    "TERM",
    "USER",
    "SHELL",
    "PWD",
    "LOGNAME",
    "SHLVL",
    "HOSTNAME",
    "_",
    "TZ",
    "DEBIAN_FRONTEND",
];

async fn the_hosts_environment_is_not_visible(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    // Of every process that root in the sandbox can see, pid 1 above all.
    let seen = exec(&sandbox, sh("cat /proc/[0-9]*/environ 2>/dev/null; env")).await?.stdout;
    let seen = String::from_utf8_lossy(&seen).into_owned();
    for (name, value) in std::env::vars() {
        if COMMON.contains(&name.as_str()) || name.starts_with("LC_") || name.starts_with("PYTHON") {
            continue;
        }
        ensure!(!seen.contains(&format!("{name}={value}")), "the host's variable {name} is visible");
    }
    Ok(())
}

async fn the_hosts_processes_are_not_visible(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let seen = script(&sandbox, "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n'").await?;
    // This very program is one of them.
    let own = std::env::current_exe()?;
    let own = own.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    ensure!(!own.is_empty() && !seen.contains(&own), "this test, {own}, is visible: {seen}");
    Ok(())
}

async fn the_hosts_files_are_not_visible(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let mark = cx.unique("host-mark");
    let path = std::env::temp_dir().join(&mark);
    std::fs::write(&path, "host")?;
    let own = std::env::current_exe()?;
    let result = async {
        for path in [&path, &own] {
            let path = path.display().to_string();
            let output = exec(&sandbox, ExecOptions::new(["cat", path.as_str()])).await?;
            ensure!(!output.status.success(), "{path} of the host is visible");
        }
        Ok(())
    }
    .await;
    std::fs::remove_file(&path)?;
    result
}

async fn the_hostname_is_not_the_hosts(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    for look in ["cat /proc/sys/kernel/hostname", "cat /etc/hostname", "uname -n"] {
        let seen = script(&sandbox, look).await?;
        ensure!(!seen.is_empty() && seen != host.trim(), "`{look}` says {seen:?}, as on the host");
    }
    Ok(())
}

async fn sandboxes_do_not_share_files(cx: &Context) -> Outcome {
    let (one, two) = (cx.sandbox().await?, cx.sandbox().await?);
    for directory in ["/tmp", "/root", "/etc", "/var/tmp", "/dev/shm", "/run", "/usr/local"] {
        script(&one, format!("mkdir -p {directory}; echo one > {directory}/mark || true")).await?;
        let seen = script(&two, format!("cat {directory}/mark 2>/dev/null || true")).await?;
        ensure_eq!(seen, "", "what the other sees in {directory}");
    }
    // And removing what all have harms only oneself.
    script(&one, "rm -rf /usr/share /etc/passwd 2>/dev/null || true").await?;
    script(&two, "test -e /etc/passwd").await?;
    Ok(())
}

async fn sandboxes_do_not_see_each_others_processes(cx: &Context) -> Outcome {
    let (one, two) = (cx.sandbox().await?, cx.sandbox().await?);
    let mark = cx.unique("process-mark");
    let mut command = sh("echo up; read line; true");
    command.argv.push(mark.clone());
    let process = start(&one, command).await?;
    let mut stdout = process.take_stdout().ok_or_else(|| Failure::new("no standard output"))?;
    ensure_eq!(line(&mut stdout).await?, "up", "its first line");
    let look = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '";
    ensure!(script(&one, look).await?.contains(&mark), "its own sandbox does not see it");
    ensure!(!script(&two, look).await?.contains(&mark), "another sandbox sees it");
    Ok(())
}

async fn killing_everything_stays_inside(cx: &Context) -> Outcome {
    let (one, two) = (cx.sandbox().await?, cx.sandbox().await?);
    let bystander = start(&two, sh("read line; exit 5")).await?;
    let _ = soon("killing everything", exec(&one, sh("kill -9 -1; kill -9 1"))).await??;
    drop(bystander.take_stdin());
    ensure_eq!(soon("the bystander's end", bystander.wait()).await??.code(), 5, "the bystander's code");
    ensure_eq!(script(&one, "echo fine").await?, "fine", "a command afterwards");
    Ok(())
}

async fn the_environment_of_one_command_is_not_kept(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let secret = cx.unique("secret");
    let mut command = sh("true");
    command.env.insert("SECRET".into(), secret.clone());
    exec(&sandbox, command).await?;
    let seen = exec(&sandbox, sh("env; cat /proc/[0-9]*/environ 2>/dev/null")).await?.text();
    ensure!(!seen.contains(&secret), "a later command sees it");
    Ok(())
}
