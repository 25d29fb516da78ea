//! Metadata of files: kinds, sizes, modes, owners, times, links.

use crate::check::{Outcome, refused};
use crate::context::Context;
use crate::probe::script;
use computesdk_core::{ErrorKind, FileKind};
use std::time::{Duration, SystemTime};

trials! { "files_metadata";
    stat_tells_kind_size_and_mode[AllFiles],
    stat_tells_owners_by_number_and_name[AllFiles],
    owners_without_a_name_have_none[AllFiles],
    times_are_those_of_the_content[AllFiles],
    links_are_followed_when_asked[AllFiles],
    a_dangling_link_is_a_link[AllFiles],
    lists_describe_links_themselves[AllFiles],
    special_files_are_other[AllFiles],
    stat_of_a_missing_path_is_not_found[Files],
    names_that_are_no_utf8_are_listed[AllFiles],
    modes_have_setuid_and_sticky[AllFiles],
}

async fn stat_tells_kind_size_and_mode(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    script(&sandbox, "mkdir -m 750 /tmp/d && printf 12345 > /tmp/d/f && chmod 640 /tmp/d/f").await?;
    let files = sandbox.as_core().files();
    let file = files.stat("/tmp/d/f", true).await?;
    ensure_eq!((file.kind, file.size, file.mode), (FileKind::File, 5, 0o640), "the file");
    ensure_eq!(file.symlink_target, None, "the target of what is no link");
    let directory = files.stat("/tmp/d", true).await?;
    ensure_eq!((directory.kind, directory.size, directory.mode), (FileKind::Directory, 0, 0o750), "the directory");
    ensure_eq!(files.stat("/", true).await?.kind, FileKind::Directory, "the root");
    Ok(())
}

async fn stat_tells_owners_by_number_and_name(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let files = sandbox.as_core().files();
    sandbox.filesystem().write_file("/tmp/f", "x").await?;
    let stat = files.stat("/tmp/f", true).await?;
    ensure_eq!((stat.uid, stat.gid), (0, 0), "the numbers");
    ensure_eq!((stat.owner.as_deref(), stat.group.as_deref()), (Some("root"), Some("root")), "the names");
    if cx.capabilities.users {
        script(&sandbox, "chown nobody /tmp/f").await?;
        let stat = files.stat("/tmp/f", true).await?;
        ensure_eq!((stat.uid, stat.owner.as_deref()), (65534, Some("nobody")), "after chown");
    }
    Ok(())
}

async fn owners_without_a_name_have_none(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let files = sandbox.as_core().files();
    if cx.capabilities.users {
        script(&sandbox, ": > /tmp/f && chown 12345:54321 /tmp/f").await?;
        let stat = files.stat("/tmp/f", true).await?;
        ensure_eq!((stat.uid, stat.gid), (12345, 54321), "the numbers");
        ensure_eq!((stat.owner, stat.group), (None, None), "the names");
    } else {
        // Names come from the sandbox's own files, not from ours.
        script(&sandbox, ": > /tmp/f && printf 'boss:x:0:0::/root:/bin/sh\\n' > /etc/passwd").await?;
        ensure_eq!(files.stat("/tmp/f", true).await?.owner.as_deref(), Some("boss"), "the name");
    }
    Ok(())
}

async fn times_are_those_of_the_content(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let files = sandbox.as_core().files();
    let slack = Duration::from_secs(120);
    let before = SystemTime::now() - slack;
    sandbox.filesystem().write_file("/tmp/f", "x").await?;
    let modified = files.stat("/tmp/f", true).await?.modified;
    ensure!(modified > before && modified < SystemTime::now() + slack, "modified at {modified:?}");
    script(&sandbox, "touch -d '2001-02-03T04:05:06Z' /tmp/f && chmod 600 /tmp/f").await?;
    let expected = SystemTime::UNIX_EPOCH + Duration::from_secs(981_173_106);
    ensure_eq!(files.stat("/tmp/f", true).await?.modified, expected, "the time that was set");
    let listed = sandbox.filesystem().readdir("/tmp").await?;
    ensure_eq!(listed.first().map(|entry| entry.last_modified), Some(expected), "the time in the list");
    Ok(())
}

async fn links_are_followed_when_asked(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    script(&sandbox, "printf 12345 > /tmp/f && ln -s ./f /tmp/link && ln -s /tmp /tmp/up").await?;
    let files = sandbox.as_core().files();
    let followed = files.stat("/tmp/link", true).await?;
    ensure_eq!((followed.kind, followed.size), (FileKind::File, 5), "followed");
    let link = files.stat("/tmp/link", false).await?;
    ensure_eq!(link.kind, FileKind::Symlink, "not followed");
    ensure_eq!(link.symlink_target.as_deref(), Some("./f"), "its target as written");
    ensure_eq!(files.stat("/tmp/up", true).await?.kind, FileKind::Directory, "a link to a directory");
    ensure_eq!(sandbox.filesystem().read_file("/tmp/up/up/link").await?, "12345", "content through links");
    sandbox.filesystem().write_file("/tmp/link", "through").await?;
    ensure_eq!(script(&sandbox, "cat /tmp/f").await?, "through", "what was written through a link");
    Ok(())
}

async fn a_dangling_link_is_a_link(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    script(&sandbox, "ln -s /no/such /tmp/dangling").await?;
    let files = sandbox.as_core().files();
    refused("followed", ErrorKind::NotFound, files.stat("/tmp/dangling", true).await)?;
    let link = files.stat("/tmp/dangling", false).await?;
    ensure_eq!(link.symlink_target.as_deref(), Some("/no/such"), "its target");
    Ok(())
}

async fn lists_describe_links_themselves(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    script(&sandbox, "mkdir /tmp/d && cd /tmp/d && mkdir a && ln -s a b && ln -s none c && mkfifo d").await?;
    let entries = sandbox.as_core().files().list("/tmp/d").await?;
    let kinds: Vec<_> = entries.iter().map(|entry| (entry.name.as_str(), entry.stat.kind)).collect();
    let expected =
        [("a", FileKind::Directory), ("b", FileKind::Symlink), ("c", FileKind::Symlink), ("d", FileKind::Other)];
    ensure_eq!(kinds, expected, "the kinds");
    Ok(())
}

async fn special_files_are_other(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    script(&sandbox, "mkfifo /tmp/pipe").await?;
    let files = sandbox.as_core().files();
    for path in ["/tmp/pipe", "/dev/null", "/dev/zero"] {
        ensure_eq!(files.stat(path, true).await?.kind, FileKind::Other, "the kind of {path}");
    }
    Ok(())
}

async fn stat_of_a_missing_path_is_not_found(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let files = sandbox.as_core().files();
    for path in ["/no/such", "/etc/passwd/below", "/tmp/none"] {
        let error = match files.stat(path, true).await {
            Ok(stat) => return Err(crate::check::Failure::new(format!("{path} is {stat:?}"))),
            Err(error) => error,
        };
        // Below a file there is nothing, which may also be told as a bad path.
        let fine = error.kind() == ErrorKind::NotFound
            || (path.contains("passwd") && error.kind() == ErrorKind::InvalidArgument);
        ensure!(fine, "{path}: {error:?}");
    }
    Ok(())
}

async fn names_that_are_no_utf8_are_listed(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    script(&sandbox, "mkdir /tmp/d && : > \"/tmp/d/$(printf 'a\\377b')\" && : > /tmp/d/plain").await?;
    let entries = sandbox.as_core().files().list("/tmp/d").await?;
    let names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
    ensure_eq!(names, ["a\u{fffd}b", "plain"], "the names");
    sandbox.filesystem().remove("/tmp/d").await?;
    ensure!(!sandbox.filesystem().exists("/tmp/d").await?, "such a name cannot be removed with its directory");
    Ok(())
}

async fn modes_have_setuid_and_sticky(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    script(&sandbox, "mkdir /tmp/d && chmod 1777 /tmp/d && : > /tmp/f && chmod 4755 /tmp/f").await?;
    let files = sandbox.as_core().files();
    ensure_eq!(files.stat("/tmp/d", true).await?.mode, 0o1777, "the mode of the directory");
    ensure_eq!(files.stat("/tmp/f", true).await?.mode, 0o4755, "the mode of the file");
    Ok(())
}
