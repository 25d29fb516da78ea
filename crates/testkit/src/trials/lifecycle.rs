//! The life of a sandbox: destroy, what is left of it, handles and guards.

use crate::check::{Outcome, refused};
use crate::context::{Context, soon};
use crate::probe::{exec, finish, line, script, sh, start};
use computesdk_core::{CreateOptions, EndCause, ErrorKind, EventKind, SandboxId, SandboxStatus};

trials! { "lifecycle";
    status_moves_from_running_to_stopped,
    wait_tells_that_it_was_destroyed,
    destroying_twice_is_fine,
    destroying_at_once_from_two_sides_is_fine,
    kill_is_destroy,
    destroy_by_id,
    destroying_an_unknown_id_is_fine,
    run_after_destroy_is_not_found,
    files_after_destroy_are_not_found[Files],
    destroy_ends_a_running_process,
    a_destroyed_sandbox_is_told_or_forgotten,
    dropping_the_handle_leaves_it_alive[Reconnect],
    a_guard_destroys_it,
    a_clone_is_the_same_sandbox,
    a_refused_create_leaves_nothing_behind[List],
    events_tell_of_the_beginning_and_the_end,
}

async fn status_moves_from_running_to_stopped(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    ensure_eq!(sandbox.get_info().await?.status, SandboxStatus::Running, "before");
    sandbox.destroy().await?;
    let info = sandbox.get_info().await?;
    ensure_eq!(info.status, SandboxStatus::Stopped, "after");
    ensure_eq!(info.end, Some(EndCause::Terminated), "the cause");
    Ok(())
}

async fn wait_tells_that_it_was_destroyed(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let core = sandbox.as_core();
    let (first, second, destroyed) =
        soon("the end", async { tokio::join!(core.wait(), core.wait(), sandbox.destroy()) }).await?;
    destroyed?;
    ensure_eq!(first?, EndCause::Terminated, "the cause");
    ensure_eq!(second?, EndCause::Terminated, "the cause for a second waiter");
    ensure_eq!(soon("waiting afterwards", core.wait()).await??, EndCause::Terminated, "the cause afterwards");
    Ok(())
}

async fn destroying_twice_is_fine(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    sandbox.destroy().await?;
    sandbox.destroy().await?;
    cx.compute.sandbox().destroy(sandbox.sandbox_id()).await?;
    Ok(())
}

async fn destroying_at_once_from_two_sides_is_fine(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let (one, two) = soon("destroying", async { tokio::join!(sandbox.destroy(), sandbox.destroy()) }).await?;
    one?;
    two?;
    Ok(())
}

async fn kill_is_destroy(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    sandbox.kill().await?;
    ensure_eq!(sandbox.get_info().await?.status, SandboxStatus::Stopped, "the status");
    Ok(())
}

async fn destroy_by_id(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    cx.compute.sandbox().destroy(sandbox.sandbox_id()).await?;
    ensure_eq!(sandbox.get_info().await?.status, SandboxStatus::Stopped, "the status");
    Ok(())
}

async fn destroying_an_unknown_id_is_fine(cx: &Context) -> Outcome {
    let id = cx.unique("sb");
    cx.compute.sandbox().destroy(id.as_str()).await?;
    Ok(())
}

async fn run_after_destroy_is_not_found(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    sandbox.destroy().await?;
    refused("exec", ErrorKind::NotFound, exec(&sandbox, sh("true")).await)?;
    refused("run_command", ErrorKind::NotFound, sandbox.run_command("true", ()).await)?;
    let error = refused("run_code", ErrorKind::NotFound, sandbox.run_code("print(1)").await)?;
    ensure!(error.to_string().contains(sandbox.sandbox_id()), "the error does not say which sandbox: {error}");
    Ok(())
}

async fn files_after_destroy_are_not_found(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let files = sandbox.as_core().files();
    sandbox.destroy().await?;
    refused("stat", ErrorKind::NotFound, files.stat("/tmp", true).await)?;
    refused("make_dir", ErrorKind::NotFound, files.make_dir("/tmp/x").await)?;
    refused("remove", ErrorKind::NotFound, files.remove("/tmp/x").await)?;
    Ok(())
}

async fn destroy_ends_a_running_process(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let process = start(&sandbox, sh("trap '' TERM HUP INT; echo up; sleep 1000 & wait; sleep 1000")).await?;
    let mut stdout = process.take_stdout().ok_or_else(|| crate::check::Failure::new("no standard output"))?;
    ensure_eq!(line(&mut stdout).await?, "up", "its first line");
    let (ended, destroyed) =
        soon("the end of the process", async { tokio::join!(process.wait(), sandbox.destroy()) }).await?;
    destroyed?;
    ensure_eq!(ended?.code(), 137, "its code");
    soon("the end of its output", finish(process.as_ref())).await??;
    Ok(())
}

async fn a_destroyed_sandbox_is_told_or_forgotten(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    sandbox.destroy().await?;
    if let Some(again) = cx.provider.get(&SandboxId::new(sandbox.sandbox_id())).await? {
        ensure_eq!(again.info().await?.status, SandboxStatus::Stopped, "the status of what `get` gives");
    }
    Ok(())
}

async fn dropping_the_handle_leaves_it_alive(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let id = SandboxId::new(sandbox.sandbox_id());
    script(&sandbox, "echo kept > /tmp/mark").await?;
    drop(sandbox);
    let again = cx.compute.sandbox().get_by_id(id.as_str()).await?;
    let Some(again) = again else { return Err(crate::check::Failure::new("it is gone")) };
    ensure_eq!(script(&again, "cat /tmp/mark").await?, "kept", "its file");
    Ok(())
}

async fn a_guard_destroys_it(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let core = std::sync::Arc::clone(sandbox.as_core());
    {
        let guard = sandbox.into_guard();
        ensure_eq!(guard.get_info().await?.status, SandboxStatus::Running, "under the guard");
    }
    ensure_eq!(soon("the end", core.wait()).await??, EndCause::Terminated, "the cause");
    Ok(())
}

async fn a_clone_is_the_same_sandbox(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let clone = sandbox.clone();
    script(&clone, "echo 1 > /tmp/mark").await?;
    drop(clone);
    ensure_eq!(script(&sandbox, "cat /tmp/mark").await?, "1", "what the clone wrote");
    Ok(())
}

async fn a_refused_create_leaves_nothing_behind(cx: &Context) -> Outcome {
    let mark = cx.unique("mark");
    let mut options = CreateOptions::default();
    options.metadata = std::collections::BTreeMap::from([("mark".into(), mark)]);
    let mut filter = computesdk_core::ListFilter::default();
    filter.metadata = options.metadata.clone();
    options.env = std::collections::BTreeMap::from([("BAD\0NAME".into(), "x".into())]);
    refused("a NUL in the environment", ErrorKind::InvalidArgument, cx.create(options).await)?;
    ensure_eq!(cx.provider.list(&filter).await?.len(), 0, "how many sandboxes were made");
    Ok(())
}

async fn events_tell_of_the_beginning_and_the_end(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let mut live = sandbox.events().await?;
    ensure_eq!(soon("the first event", live.next()).await?.map(|event| event.kind), Some(EventKind::Created), "it");
    sandbox.destroy().await?;
    // Those who looked on, and those who come later, are told the same.
    for mut events in [live, sandbox.events().await?] {
        let mut last = None;
        while let Some(event) = soon("the next event", events.next()).await? {
            last = Some(event.kind);
        }
        ensure_eq!(last, Some(EventKind::Ended { end: EndCause::Terminated }), "the last event");
        ensure_eq!(soon("what follows", events.next()).await?, None, "what follows");
    }
    Ok(())
}
