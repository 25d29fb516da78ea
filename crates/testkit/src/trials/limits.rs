//! Limits that the provider declares: kept, told, and harmless to the rest.

use crate::check::Outcome;
use crate::context::{Context, soon, within};
use crate::probe::{exec, script, sh};
use computesdk::Sandbox;
use computesdk_core::{CreateOptions, Resources};
use std::time::Duration;

trials! { "limits";
    memory_is_limited[Memory],
    memory_in_tmp_is_limited[Memory],
    processes_are_limited[Pids],
    a_fork_bomb_is_survived[Pids],
    disk_is_limited[Disk],
    open_files_are_limited[OpenFiles],
    cpu_is_limited[Cpus, Python],
    nonsense_is_refused[Memory],
}

/// A sandbox with limits.
async fn limited(cx: &Context, set: impl FnOnce(&mut Resources)) -> Outcome<Sandbox> {
    let mut options = CreateOptions::default();
    set(&mut options.resources);
    Ok(cx.create(options).await?)
}

async fn memory_is_limited(cx: &Context) -> Outcome {
    let sandbox = limited(cx, |resources| resources.memory_bytes = Some(64 << 20)).await?;
    // `tail` keeps its whole input, which has no newline.
    let greedy = sh("head -c 400000000 /dev/zero | tail | wc -c");
    let output = within(Duration::from_secs(20), "a greedy command", exec(&sandbox, greedy)).await??;
    ensure!(output.text() != "400000000", "400 MB fit into 64 MiB");
    ensure_eq!(script(&sandbox, "echo fine").await?, "fine", "a command afterwards");
    Ok(())
}

async fn memory_in_tmp_is_limited(cx: &Context) -> Outcome {
    let sandbox = limited(cx, |resources| resources.memory_bytes = Some(64 << 20)).await?;
    for directory in ["/dev/shm", "/run"] {
        // Only where files are memory; on a disk the disk's limit counts.
        let text = format!(
            "test \"$(stat -f -c %T {directory} 2>/dev/null)\" = tmpfs || exit 7; head -c 400000000 /dev/zero > {directory}/f"
        );
        let output = within(Duration::from_secs(20), directory, exec(&sandbox, sh(text))).await??;
        ensure!(!output.status.success(), "400 MB fit into {directory} of a sandbox with 64 MiB");
    }
    Ok(())
}

async fn processes_are_limited(cx: &Context) -> Outcome {
    let sandbox = limited(cx, |resources| resources.pids = Some(40)).await?;
    let many = sh("for i in $(seq 100); do sleep 1000 >/dev/null 2>&1 & done; echo all");
    let output = soon("starting many", exec(&sandbox, many)).await??;
    ensure!(output.text() != "all" || !output.error_text().is_empty(), "100 processes fit into a limit of 40");
    Ok(())
}

async fn a_fork_bomb_is_survived(cx: &Context) -> Outcome {
    let sandbox = limited(cx, |resources| resources.pids = Some(64)).await?;
    let other = cx.sandbox().await?;
    let mut bomb = sh("b() { b | b & }; b; sleep 1000");
    if cx.capabilities.limits.exec_timeout {
        bomb.timeout = Some(Duration::from_secs(1));
    }
    let process = soon("the start", crate::probe::start(&sandbox, bomb)).await??;
    ensure_eq!(script(&other, "echo fine").await?, "fine", "another sandbox beside it");
    soon("destroying it", sandbox.destroy()).await??;
    soon("its end", process.wait()).await??;
    Ok(())
}

async fn disk_is_limited(cx: &Context) -> Outcome {
    let sandbox = limited(cx, |resources| resources.disk_bytes = Some(32 << 20)).await?;
    for directory in ["/tmp", "/root", "/var/tmp"] {
        let text = format!("mkdir -p {directory} && head -c 200000000 /dev/zero > {directory}/large");
        let output = within(Duration::from_secs(20), directory, exec(&sandbox, sh(text))).await??;
        ensure!(!output.status.success(), "200 MB fit into {directory} of a sandbox with 32 MiB");
        script(&sandbox, format!("rm -f {directory}/large")).await?;
    }
    script(&sandbox, "head -c 1000000 /dev/zero > /tmp/small").await?;
    Ok(())
}

async fn open_files_are_limited(cx: &Context) -> Outcome {
    let sandbox = limited(cx, |resources| resources.open_files = Some(64)).await?;
    ensure_eq!(script(&sandbox, "ulimit -Hn").await?, "64", "the limit that a process sees");
    ensure!(!exec(&sandbox, sh("ulimit -n 1000")).await?.status.success(), "it could be raised");
    Ok(())
}

async fn cpu_is_limited(cx: &Context) -> Outcome {
    let sandbox = limited(cx, |resources| resources.cpus = Some(0.5)).await?;
    let code = "import time\n\
                start = time.monotonic()\n\
                while time.monotonic() - start < 3: pass\n\
                print(time.process_time() / (time.monotonic() - start))";
    let result = sandbox.run_code(code).runtime(computesdk_core::Runtime::Python).await?;
    let share: f64 = result.json()?;
    // A period is 100 ms; the first may be whole.
    ensure!(share < 0.65, "it got {share:.2} of one CPU with a limit of 0.5");
    Ok(())
}

async fn nonsense_is_refused(cx: &Context) -> Outcome {
    let mut options = CreateOptions::default();
    options.resources.memory_bytes = Some(0);
    let result = cx.create(options).await;
    crate::check::refused_naming("no memory at all", "memory", result)?;
    Ok(())
}
