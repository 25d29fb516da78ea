//! Paths that a sandbox controls: resolved inside it or refused, and nothing blocks.

use crate::check::{Failure, Outcome, refused};
use crate::context::{Context, soon};
use crate::probe::{script, sh, start};
use computesdk::Sandbox;
use computesdk_core::{ErrorKind, OpenMode};
use std::path::PathBuf;
use tokio::io::AsyncReadExt as _;

trials! { "files_hostile";
    dots_stay_inside[Files],
    links_stay_inside[Files],
    proc_links_stay_inside[Files],
    writing_stays_inside[Files],
    swapped_links_stay_inside[Files],
    a_fifo_is_refused_without_blocking[Files],
    devices_are_refused_without_blocking[Files],
    a_socket_is_refused[Files, Python],
    a_loop_of_links_is_refused[Files],
    relative_paths_are_refused[Files],
    nul_in_a_path_is_refused[Files],
    an_empty_path_is_refused[Files],
    a_file_below_a_file_is_refused[Files],
    an_endless_file_can_be_left[AllFiles],
}

/// A file of this machine that no sandbox may see. Removed when dropped.
struct HostFile {
    path: PathBuf,
    secret: String,
}

impl HostFile {
    fn new(cx: &Context) -> Outcome<Self> {
        let secret = cx.unique("host-secret");
        let path = std::env::temp_dir().join(&secret);
        std::fs::write(&path, &secret)?;
        Ok(Self { path, secret })
    }

    fn path(&self) -> String {
        self.path.display().to_string()
    }

    /// Fails if the path leads to the host's content.
    async fn is_not_behind(&self, sandbox: &Sandbox, path: &str) -> Outcome {
        match soon(path, sandbox.filesystem().read_bytes(path)).await? {
            Ok(bytes) if String::from_utf8_lossy(&bytes).contains(&self.secret) => {
                Err(Failure::new(format!("{path} leads out of the sandbox")))
            }
            _ => Ok(()),
        }
    }

    fn is_untouched(&self) -> Outcome {
        ensure_eq!(std::fs::read_to_string(&self.path)?, self.secret, "the host's file");
        Ok(())
    }
}

impl Drop for HostFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn dots_stay_inside(cx: &Context) -> Outcome {
    let host = HostFile::new(cx)?;
    let sandbox = cx.sandbox().await?;
    host.is_not_behind(&sandbox, &host.path()).await?;
    host.is_not_behind(&sandbox, &format!("/{}{}", "../".repeat(40), host.path())).await?;
    host.is_not_behind(&sandbox, &format!("/tmp/{}{}", "../".repeat(40), host.path())).await?;
    let files = sandbox.filesystem();
    files.write_file("/tmp/a/b/../c", "inside").await?;
    ensure_eq!(files.read_file("/tmp/a/./c").await?, "inside", "the content");
    ensure_eq!(files.read_file("/../../tmp//a/c").await?, "inside", "the content above the root");
    Ok(())
}

async fn links_stay_inside(cx: &Context) -> Outcome {
    let host = HostFile::new(cx)?;
    let sandbox = cx.sandbox().await?;
    let up = "../".repeat(40);
    let script_text = format!(
        "ln -s {path} /tmp/absolute; ln -s {up}{path} /tmp/relative; ln -s / /tmp/root; ln -s {up} /tmp/up",
        path = host.path()
    );
    script(&sandbox, script_text).await?;
    for path in ["/tmp/absolute".into(), "/tmp/relative".into()]
        .into_iter()
        .chain(["/tmp/root", "/tmp/up"].map(|link| format!("{link}{}", host.path())))
    {
        host.is_not_behind(&sandbox, &path).await?;
    }
    script(&sandbox, "echo inside > /etc/mark").await?;
    ensure_eq!(sandbox.filesystem().read_file("/tmp/up/etc/mark").await?, "inside\n", "the content");
    Ok(())
}

async fn proc_links_stay_inside(cx: &Context) -> Outcome {
    let host = HostFile::new(cx)?;
    let sandbox = cx.sandbox().await?;
    // Whoever resolves these is asked for its own root and directory.
    for prefix in ["/proc/self/root", "/proc/1/root", "/proc/thread-self/root", "/proc/self/cwd/../../../.."] {
        host.is_not_behind(&sandbox, &format!("{prefix}{}", host.path())).await?;
    }
    for number in 0..32 {
        for process in ["self", "1"] {
            host.is_not_behind(&sandbox, &format!("/proc/{process}/fd/{number}")).await?;
            host.is_not_behind(&sandbox, &format!("/proc/{process}/fd/{number}{}", host.path())).await?;
        }
    }
    Ok(())
}

async fn writing_stays_inside(cx: &Context) -> Outcome {
    let host = HostFile::new(cx)?;
    let sandbox = cx.sandbox().await?;
    let files = sandbox.filesystem();
    script(&sandbox, format!("ln -s {} /tmp/absolute; ln -s / /tmp/root", host.path())).await?;
    let up = format!("/{}{}", "../".repeat(40), host.path());
    let proc_root = format!("/proc/self/root{}", host.path());
    for path in [host.path(), up, proc_root, "/tmp/absolute".into(), format!("/tmp/root{}", host.path())] {
        // Writing may succeed, inside.
        let _ = soon(&path, files.write_file(&path, "overwritten")).await?;
        host.is_untouched()?;
        let _ = soon(&path, files.rename(&path, "/tmp/moved")).await?;
        host.is_untouched()?;
        let _ = soon(&path, files.remove(&path)).await?;
        host.is_untouched()?;
    }
    Ok(())
}

async fn swapped_links_stay_inside(cx: &Context) -> Outcome {
    let host = HostFile::new(cx)?;
    let sandbox = cx.sandbox().await?;
    // A directory that turns into a link and back while we resolve through it.
    let swap = "mkdir -p /tmp/real/tmp; ln -s / /tmp/link; echo up; \
                while :; do mv -T /tmp/real /tmp/x; mv -T /tmp/link /tmp/real; mv -T /tmp/real /tmp/link; mv -T /tmp/x /tmp/real; done";
    let process = start(&sandbox, sh(swap)).await?;
    let mut stdout = process.take_stdout().ok_or_else(|| Failure::new("no standard output"))?;
    crate::probe::line(&mut stdout).await?;
    for _ in 0..50 {
        let path = format!("/tmp/real{}", host.path());
        host.is_not_behind(&sandbox, &path).await?;
        let _ = soon(&path, sandbox.filesystem().remove(&path)).await?;
        host.is_untouched()?;
    }
    Ok(())
}

/// Reading, writing and appending are refused without waiting for anybody.
async fn refused_without_blocking(sandbox: &Sandbox, path: &str) -> Outcome {
    let files = sandbox.as_core().files();
    for how in [OpenMode::Read, OpenMode::Write, OpenMode::Append, OpenMode::ReadWrite] {
        let result = soon(path, files.open(path, how, None)).await?;
        refused(&format!("{path} opened to {how:?}"), ErrorKind::InvalidArgument, result.map(drop))?;
    }
    Ok(())
}

async fn a_fifo_is_refused_without_blocking(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    script(&sandbox, "mkfifo /tmp/pipe && ln -s pipe /tmp/link").await?;
    refused_without_blocking(&sandbox, "/tmp/pipe").await?;
    refused_without_blocking(&sandbox, "/tmp/link").await
}

async fn devices_are_refused_without_blocking(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    for path in ["/dev/null", "/dev/zero", "/dev/random"] {
        refused_without_blocking(&sandbox, path).await?;
    }
    // A terminal may not be there; it must not be opened either way.
    for path in ["/dev/tty", "/dev/ptmx", "/dev/console"] {
        let result = soon(path, sandbox.as_core().files().open(path, OpenMode::Read, None)).await?;
        ensure!(result.is_err(), "{path} was opened");
    }
    Ok(())
}

async fn a_socket_is_refused(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let make = "python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('/tmp/socket')\"";
    script(&sandbox, make).await?;
    refused_without_blocking(&sandbox, "/tmp/socket").await
}

async fn a_loop_of_links_is_refused(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    script(&sandbox, "ln -s b /tmp/a && ln -s a /tmp/b").await?;
    let files = sandbox.as_core().files();
    ensure!(soon("open", files.open("/tmp/a", OpenMode::Read, None)).await?.is_err(), "a loop was opened");
    ensure!(soon("stat", files.stat("/tmp/a", true)).await?.is_err(), "a loop was followed");
    ensure!(soon("list", files.list("/tmp/a/x")).await?.is_err(), "a loop was listed");
    Ok(())
}

/// Every operation refuses this path.
async fn refused_by_every_operation(cx: &Context, path: &str) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let files = sandbox.as_core().files();
    let kind = ErrorKind::InvalidArgument;
    for how in [OpenMode::Read, OpenMode::Write] {
        refused("open", kind, files.open(path, how, None).await.map(drop))?;
    }
    refused("stat", kind, files.stat(path, true).await)?;
    refused("list", kind, files.list(path).await)?;
    refused("make_dir", kind, files.make_dir(path).await)?;
    refused("remove", kind, files.remove(path).await)?;
    refused("rename from", kind, files.rename(path, "/tmp/x").await)?;
    refused("rename to", kind, files.rename("/tmp", path).await)?;
    Ok(())
}

async fn relative_paths_are_refused(cx: &Context) -> Outcome {
    refused_by_every_operation(cx, "relative/path").await
}

async fn nul_in_a_path_is_refused(cx: &Context) -> Outcome {
    refused_by_every_operation(cx, "/tmp/a\0b").await
}

async fn an_empty_path_is_refused(cx: &Context) -> Outcome {
    refused_by_every_operation(cx, "").await
}

async fn a_file_below_a_file_is_refused(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let files = sandbox.filesystem();
    ensure!(files.write_file("/etc/passwd/x", "x").await.is_err(), "a file was written below a file");
    ensure!(files.mkdir("/etc/passwd/x").await.is_err(), "a directory was made below a file");
    script(&sandbox, "test -f /etc/passwd").await?;
    Ok(())
}

async fn an_endless_file_can_be_left(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    // A sparse file of 1 TiB: opened at once, read as far as one likes.
    script(&sandbox, "truncate -s 1T /tmp/huge").await?;
    let files = sandbox.as_core().files();
    let mut file = soon("open", files.open("/tmp/huge", OpenMode::Read, None)).await??;
    let mut bytes = vec![1; 1 << 20];
    soon("one MiB", file.read_exact(&mut bytes)).await??;
    ensure!(bytes.iter().all(|byte| *byte == 0), "a hole is not zeros");
    drop(file);
    soon("another call", files.stat("/tmp/huge", true)).await??;
    Ok(())
}
