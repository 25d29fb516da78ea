//! The file calls of the facade: write, read, directories, removal, renaming.

use crate::check::{Failure, Outcome, refused};
use crate::context::{Context, soon};
use crate::probe::{script, sh};
use computesdk_core::ErrorKind;

trials! { "filesystem";
    a_file_exists_after_writing[Files],
    writing_makes_the_parents[Files],
    writing_replaces_the_content[Files],
    reading_a_missing_file_raises[Files],
    reading_a_directory_raises[Files],
    mkdir_makes_parents_and_is_idempotent[Files],
    mkdir_over_a_file_already_exists[Files],
    readdir_lists_names_kinds_and_sizes[Files],
    readdir_of_an_empty_directory_is_empty[Files],
    readdir_of_a_large_directory_is_complete[Files],
    readdir_of_a_file_or_nothing_raises[Files],
    remove_of_a_file[Files],
    remove_of_a_tree[Files],
    remove_of_a_missing_path_is_fine[Files],
    remove_of_the_root_is_refused[Files],
    rename_moves_and_replaces[Files],
    rename_of_a_missing_file_raises[Files],
    exists_of_odd_things[Files],
    commands_see_the_same_files[Files],
    writing_beside_a_running_command[Files],
}

async fn a_file_exists_after_writing(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let files = sandbox.filesystem();
    ensure!(!files.exists("/tmp/new.txt").await?, "it is there before");
    files.write_file("/tmp/new.txt", "Hello, filesystem!").await?;
    ensure!(files.exists("/tmp/new.txt").await?, "it is not there afterwards");
    ensure_eq!(files.read_file("/tmp/new.txt").await?, "Hello, filesystem!", "its content");
    Ok(())
}

async fn writing_makes_the_parents(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    sandbox.filesystem().write_file("/app/src/deep/train.py", "print(1)\n").await?;
    ensure_eq!(script(&sandbox, "cat /app/src/deep/train.py").await?, "print(1)", "its content");
    Ok(())
}

async fn writing_replaces_the_content(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let files = sandbox.filesystem();
    files.write_file("/tmp/f", "a longer content than the next").await?;
    script(&sandbox, "chmod 755 /tmp/f").await?;
    files.write_file("/tmp/f", "short").await?;
    ensure_eq!(files.read_file("/tmp/f").await?, "short", "its content");
    ensure_eq!(script(&sandbox, "stat -c %a /tmp/f").await?, "755", "the mode of a file that was there");
    Ok(())
}

async fn reading_a_missing_file_raises(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let path = "/tmp/no such/file.txt";
    let error = refused(path, ErrorKind::NotFound, sandbox.filesystem().read_file(path).await)?;
    let text = error.to_string();
    ensure!(text.starts_with(&format!("Failed to read file {path}")), "the text is {text}");
    Ok(())
}

async fn reading_a_directory_raises(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    refused("/tmp", ErrorKind::InvalidArgument, sandbox.filesystem().read_file("/tmp").await)?;
    refused("/tmp", ErrorKind::InvalidArgument, sandbox.filesystem().write_file("/tmp", "x").await)?;
    Ok(())
}

async fn mkdir_makes_parents_and_is_idempotent(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let files = sandbox.filesystem();
    for _ in 0..2 {
        files.mkdir("/ml-project/data/raw").await?;
    }
    ensure!(files.exists("/ml-project/data/raw").await?, "it is not there");
    script(&sandbox, "test -d /ml-project/data/raw && : > /ml-project/data/raw/f").await?;
    Ok(())
}

async fn mkdir_over_a_file_already_exists(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let files = sandbox.filesystem();
    files.write_file("/tmp/f", "x").await?;
    let error = refused("mkdir", ErrorKind::AlreadyExists, files.mkdir("/tmp/f").await)?;
    ensure!(error.to_string().starts_with("Failed to create directory /tmp/f"), "the text is {error}");
    Ok(())
}

async fn readdir_lists_names_kinds_and_sizes(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let files = sandbox.filesystem();
    files.write_file("/tmp/d/one.txt", "1").await?;
    files.write_file("/tmp/d/two words.txt", "22").await?;
    files.write_file("/tmp/d/.hidden", "").await?;
    files.mkdir("/tmp/d/sub").await?;
    let entries = files.readdir("/tmp/d").await?;
    let seen: Vec<_> = entries.iter().map(|e| (e.name.as_str(), e.path.as_str(), e.is_directory, e.size)).collect();
    let expected = [
        (".hidden", "/tmp/d/.hidden", false, 0),
        ("one.txt", "/tmp/d/one.txt", false, 1),
        ("sub", "/tmp/d/sub", true, 0),
        ("two words.txt", "/tmp/d/two words.txt", false, 2),
    ];
    ensure_eq!(seen, expected, "the entries");
    let slashed = files.readdir("/tmp/d/").await?;
    ensure_eq!(slashed.first().map(|e| e.path.as_str()), Some("/tmp/d/.hidden"), "the path under a slash");
    Ok(())
}

async fn readdir_of_an_empty_directory_is_empty(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    sandbox.filesystem().mkdir("/tmp/empty").await?;
    ensure_eq!(sandbox.filesystem().readdir("/tmp/empty").await?.len(), 0, "how many entries");
    Ok(())
}

async fn readdir_of_a_large_directory_is_complete(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let long = "n".repeat(200);
    script(&sandbox, format!("mkdir /tmp/many && cd /tmp/many && for i in $(seq 1000 4999); do : > {long}$i; done"))
        .await?;
    let entries = sandbox.filesystem().readdir("/tmp/many").await?;
    ensure_eq!(entries.len(), 4000, "how many entries");
    ensure!(entries.is_sorted_by(|a, b| a.name < b.name), "they are not sorted, or doubled");
    Ok(())
}

async fn readdir_of_a_file_or_nothing_raises(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let files = sandbox.filesystem();
    let error = refused("a file", ErrorKind::InvalidArgument, files.readdir("/etc/passwd").await)?;
    ensure!(error.to_string().starts_with("Failed to read directory /etc/passwd"), "the text is {error}");
    refused("a missing directory", ErrorKind::NotFound, files.readdir("/no/such/directory").await)?;
    Ok(())
}

async fn remove_of_a_file(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let files = sandbox.filesystem();
    files.write_file("/tmp/f", "x").await?;
    files.remove("/tmp/f").await?;
    ensure!(!files.exists("/tmp/f").await?, "it is still there");
    Ok(())
}

async fn remove_of_a_tree(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let files = sandbox.filesystem();
    // Depth, read-only parts, and links that must not be followed.
    let make = "mkdir -p /tmp/keep && echo kept > /tmp/keep/f && mkdir -p /tmp/t/a/b/c/d/e/f/g/h && cd /tmp/t && \
                touch a/1 a/b/2 a/b/c/d/3 && ln -s /tmp/keep a/link && ln -s /tmp/keep/f a/b/link && mkfifo a/pipe && chmod 555 a/b";
    script(&sandbox, make).await?;
    soon("removing the tree", files.remove("/tmp/t")).await??;
    ensure!(!files.exists("/tmp/t").await?, "it is still there");
    ensure_eq!(files.read_file("/tmp/keep/f").await?, "kept\n", "what a link in it pointed to");
    script(&sandbox, "ln -s /tmp/keep /tmp/link").await?;
    files.remove("/tmp/link").await?;
    ensure!(files.exists("/tmp/keep/f").await?, "removing a link removed what it points to");
    Ok(())
}

async fn remove_of_a_missing_path_is_fine(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    sandbox.filesystem().remove("/app/temp_file.txt").await?;
    sandbox.filesystem().remove("/no/such/directory/file").await?;
    Ok(())
}

async fn remove_of_the_root_is_refused(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    for path in ["/", "//", "/.", "/tmp/.."] {
        refused(path, ErrorKind::InvalidArgument, sandbox.filesystem().remove(path).await)?;
    }
    script(&sandbox, "test -d /tmp && test -e /etc/passwd").await?;
    Ok(())
}

async fn rename_moves_and_replaces(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let files = sandbox.filesystem();
    files.write_file("/tmp/a", "from").await?;
    files.write_file("/tmp/b", "replaced").await?;
    files.rename("/tmp/a", "/tmp/b").await?;
    ensure!(!files.exists("/tmp/a").await?, "the old name is still there");
    ensure_eq!(files.read_file("/tmp/b").await?, "from", "its content");
    files.mkdir("/tmp/dir/sub").await?;
    files.rename("/tmp/dir", "/tmp/moved").await?;
    ensure!(files.exists("/tmp/moved/sub").await?, "a directory was not moved");
    Ok(())
}

async fn rename_of_a_missing_file_raises(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    refused("rename", ErrorKind::NotFound, sandbox.filesystem().rename("/tmp/none", "/tmp/other").await)?;
    Ok(())
}

async fn exists_of_odd_things(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    script(&sandbox, "ln -s /no/such /tmp/dangling; mkfifo /tmp/pipe; ln -s loop /tmp/loop").await?;
    let files = sandbox.filesystem();
    for (path, expected) in [("/", true), ("/tmp/pipe", true), ("/dev/null", true), ("/etc/passwd/x", false)] {
        ensure_eq!(soon(path, files.exists(path)).await??, expected, "whether {path} exists");
    }
    // As `test -e` answers.
    ensure!(!files.exists("/tmp/dangling").await?, "a dangling link exists");
    Ok(())
}

async fn commands_see_the_same_files(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let files = sandbox.filesystem();
    files.write_file("/tmp/shared", "from outside").await?;
    ensure_eq!(script(&sandbox, "cat /tmp/shared").await?, "from outside", "what a command reads");
    script(&sandbox, "printf 'from inside' > /tmp/shared").await?;
    ensure_eq!(files.read_file("/tmp/shared").await?, "from inside", "what we read");
    Ok(())
}

async fn writing_beside_a_running_command(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let wait = crate::probe::start(&sandbox, sh("while ! test -s /tmp/go; do sleep 0.01; done; cat /tmp/go")).await?;
    sandbox.filesystem().write_file("/tmp/go", "went").await?;
    let output = soon("the command", crate::probe::finish(wait.as_ref())).await??;
    if output.text() != "went" {
        return Err(Failure::new(format!("the command saw {:?}", output.text())));
    }
    Ok(())
}
