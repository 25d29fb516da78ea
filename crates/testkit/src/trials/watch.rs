//! Watching files: changes arrive, below what was asked for, until the watch or the sandbox ends.

use crate::check::{Failure, Outcome, refused};
use crate::context::{Context, soon};
use crate::probe::script;
use computesdk_core::{ErrorKind, WatchEvent, WatchKind, WatchStream};

trials! { "watch";
    changes_in_a_directory_arrive[Watch],
    changes_through_the_file_calls_arrive[Watch, Files],
    a_file_is_watched_itself[Watch],
    deeper_changes_arrive_only_when_asked[Watch],
    new_directories_are_watched_too[Watch],
    a_move_is_removed_and_created[Watch],
    a_missing_path_is_not_found[Watch],
    the_end_of_the_sandbox_ends_it[Watch],
    two_watches_see_the_same[Watch],
}

/// Reads events until one of this kind and path comes; returns those before it.
async fn expect(watch: &mut dyn WatchStream, kind: WatchKind, path: &str) -> Outcome<Vec<WatchEvent>> {
    let mut before = Vec::new();
    soon(&format!("{kind:?} {path}"), async {
        loop {
            match watch.next().await {
                Some(event) if event.kind == kind && event.path == path => return Ok(()),
                Some(event) => before.push(event),
                None => return Err(Failure::new(format!("the watch ended before {kind:?} {path}; seen: {before:?}"))),
            }
        }
    })
    .await??;
    Ok(before)
}

async fn changes_in_a_directory_arrive(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    script(&sandbox, "mkdir /tmp/d").await?;
    let mut watch = sandbox.as_core().files().watch("/tmp/d", false).await?;
    script(&sandbox, "echo 1 > /tmp/d/f").await?;
    expect(watch.as_mut(), WatchKind::Created, "/tmp/d/f").await?;
    script(&sandbox, "echo 2 >> /tmp/d/f").await?;
    expect(watch.as_mut(), WatchKind::Modified, "/tmp/d/f").await?;
    script(&sandbox, "rm /tmp/d/f").await?;
    expect(watch.as_mut(), WatchKind::Removed, "/tmp/d/f").await?;
    Ok(())
}

async fn changes_through_the_file_calls_arrive(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let files = sandbox.filesystem();
    files.mkdir("/tmp/d").await?;
    let mut watch = sandbox.as_core().files().watch("/tmp/d", false).await?;
    files.write_file("/tmp/d/f", "x").await?;
    expect(watch.as_mut(), WatchKind::Created, "/tmp/d/f").await?;
    files.mkdir("/tmp/d/sub").await?;
    expect(watch.as_mut(), WatchKind::Created, "/tmp/d/sub").await?;
    files.remove("/tmp/d/f").await?;
    expect(watch.as_mut(), WatchKind::Removed, "/tmp/d/f").await?;
    Ok(())
}

async fn a_file_is_watched_itself(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    script(&sandbox, "echo 1 > /tmp/f").await?;
    let mut watch = sandbox.as_core().files().watch("/tmp/f", false).await?;
    script(&sandbox, "echo 1 > /tmp/other; echo 2 >> /tmp/f").await?;
    let before = expect(watch.as_mut(), WatchKind::Modified, "/tmp/f").await?;
    ensure!(before.iter().all(|event| event.path == "/tmp/f"), "another file's changes: {before:?}");
    Ok(())
}

async fn deeper_changes_arrive_only_when_asked(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    script(&sandbox, "mkdir -p /tmp/d/sub").await?;
    let files = sandbox.as_core().files();
    let mut shallow = files.watch("/tmp/d", false).await?;
    let mut deep = files.watch("/tmp/d", true).await?;
    script(&sandbox, "echo 1 > /tmp/d/sub/f; : > /tmp/d/last").await?;
    expect(deep.as_mut(), WatchKind::Created, "/tmp/d/sub/f").await?;
    expect(deep.as_mut(), WatchKind::Created, "/tmp/d/last").await?;
    let before = expect(shallow.as_mut(), WatchKind::Created, "/tmp/d/last").await?;
    ensure!(!before.iter().any(|event| event.path == "/tmp/d/sub/f"), "deeper changes: {before:?}");
    Ok(())
}

async fn new_directories_are_watched_too(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    script(&sandbox, "mkdir /tmp/d").await?;
    let mut watch = sandbox.as_core().files().watch("/tmp/d", true).await?;
    // All at once: what came before the inner watch was set must not be lost.
    script(&sandbox, "mkdir -p /tmp/d/a/b && : > /tmp/d/a/b/f").await?;
    expect(watch.as_mut(), WatchKind::Created, "/tmp/d/a/b/f").await?;
    script(&sandbox, ": > /tmp/d/a/b/later").await?;
    expect(watch.as_mut(), WatchKind::Created, "/tmp/d/a/b/later").await?;
    Ok(())
}

async fn a_move_is_removed_and_created(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    script(&sandbox, "mkdir /tmp/d && : > /tmp/d/old && : > /tmp/d/out").await?;
    let files = sandbox.as_core().files();
    let (mut one, mut two) = (files.watch("/tmp/d", false).await?, files.watch("/tmp/d", false).await?);
    script(&sandbox, "mv /tmp/d/old /tmp/d/new").await?;
    expect(one.as_mut(), WatchKind::Removed, "/tmp/d/old").await?;
    expect(two.as_mut(), WatchKind::Created, "/tmp/d/new").await?;
    script(&sandbox, "mv /tmp/d/out /tmp/out").await?;
    expect(one.as_mut(), WatchKind::Removed, "/tmp/d/out").await?;
    Ok(())
}

async fn a_missing_path_is_not_found(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let files = sandbox.as_core().files();
    refused("a missing path", ErrorKind::NotFound, files.watch("/no/such", false).await.map(drop))?;
    refused("a relative path", ErrorKind::InvalidArgument, files.watch("tmp", false).await.map(drop))?;
    Ok(())
}

async fn the_end_of_the_sandbox_ends_it(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let mut watch = sandbox.as_core().files().watch("/tmp", true).await?;
    sandbox.destroy().await?;
    soon("the end of the watch", async { while watch.next().await.is_some() {} }).await
}

async fn two_watches_see_the_same(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    script(&sandbox, "mkdir /tmp/d").await?;
    let files = sandbox.as_core().files();
    let (mut one, mut two) = (files.watch("/tmp/d", false).await?, files.watch("/tmp/d", false).await?);
    script(&sandbox, ": > /tmp/d/f").await?;
    expect(one.as_mut(), WatchKind::Created, "/tmp/d/f").await?;
    drop(one);
    expect(two.as_mut(), WatchKind::Created, "/tmp/d/f").await?;
    script(&sandbox, ": > /tmp/d/g").await?;
    expect(two.as_mut(), WatchKind::Created, "/tmp/d/g").await?;
    Ok(())
}
