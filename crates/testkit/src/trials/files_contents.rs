//! Contents of files: exactly what was written comes back, whatever it is.

use crate::check::Outcome;
use crate::context::Context;
use crate::probe::{exec, script};
use computesdk_core::{ExecOptions, OpenMode};
use std::io::SeekFrom;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

trials! { "files_contents";
    text_comes_back_exactly[Files],
    every_byte_comes_back[Files],
    five_mib_come_back[Files],
    bad_utf8_is_no_lost_content[Files],
    odd_names_are_names[Files],
    a_long_name_is_a_name[Files],
    streams_read_and_write[Files],
    appending_keeps_what_is_there[AllFiles],
    reading_and_writing_at_an_offset[AllFiles],
    writing_empties_and_sets_the_mode[AllFiles],
    two_readers_do_not_disturb_each_other[Files],
}

async fn text_comes_back_exactly(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let files = sandbox.filesystem();
    let contents = [
        "",
        "\n",
        "no newline",
        "newline\n",
        "two\n\n",
        "$HOME ${PATH} $(id) `id`",
        "it's \"quoted\" \\n \\\\ \\",
        "carriage\r\nreturns\r\n\r",
        "žluťoučký 🐎 \u{202e}\u{feff}",
        "tab\t\u{b}\u{c}\u{1b}[0m",
        "a\0b",
        "EOF\n'EOF'\n",
        "-n",
        "%s%d%%",
        "!!",
        "  spaces  ",
        "def f(x):\n    return f\"{x['a']}\"\n",
    ];
    for (number, content) in contents.iter().enumerate() {
        let path = format!("/tmp/content-{number}");
        files.write_file(&path, content).await?;
        ensure_eq!(files.read_file(&path).await?, *content, "the content");
        // And a program in the sandbox sees the same.
        let seen = exec(&sandbox, ExecOptions::new(["cat", path.as_str()])).await?.stdout;
        ensure_eq!(String::from_utf8_lossy(&seen), *content, "the content as `cat` sees it");
    }
    Ok(())
}

async fn every_byte_comes_back(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let bytes: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
    sandbox.filesystem().write_bytes("/tmp/bytes", &bytes).await?;
    ensure_eq!(sandbox.filesystem().read_bytes("/tmp/bytes").await?, bytes, "the bytes");
    Ok(())
}

async fn five_mib_come_back(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let files = sandbox.filesystem();
    let words = (5 << 20) / 4;
    let bytes: Vec<u8> = (0_u32..words).flat_map(|word| word.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    files.write_bytes("/tmp/large", &bytes).await?;
    ensure!(files.read_bytes("/tmp/large").await? == bytes, "other bytes came back");
    // 5 MiB and one byte: no page or chunk size divides it.
    script(&sandbox, "printf x >> /tmp/large").await?;
    let longer = files.read_bytes("/tmp/large").await?;
    ensure!(longer.len() == bytes.len() + 1 && longer.ends_with(b"x"), "{} bytes came back", longer.len());
    Ok(())
}

async fn bad_utf8_is_no_lost_content(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    script(&sandbox, "printf 'a\\377b' > /tmp/bad").await?;
    ensure_eq!(sandbox.filesystem().read_bytes("/tmp/bad").await?, b"a\xffb", "the bytes");
    // As text it is an error or marked, never shortened without a word.
    if let Ok(text) = sandbox.filesystem().read_file("/tmp/bad").await {
        ensure_eq!(text, "a\u{fffd}b", "the text");
    }
    Ok(())
}

async fn odd_names_are_names(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let files = sandbox.filesystem();
    let mut names = [
        "with space",
        "it's",
        "\"q\"",
        "$HOME",
        "`id`",
        "-rf",
        "new\nline",
        "back\\slash",
        "*",
        "ž🐎",
        "...",
        "a:b",
        "%",
    ];
    for name in names {
        files.write_file(&format!("/tmp/odd/{name}"), name).await?;
    }
    for name in names {
        ensure_eq!(files.read_file(&format!("/tmp/odd/{name}")).await?, name, "the content");
    }
    let listed: Vec<_> = files.readdir("/tmp/odd").await?.into_iter().map(|entry| entry.name).collect();
    names.sort_unstable();
    ensure_eq!(listed, names, "the names");
    for name in names {
        files.remove(&format!("/tmp/odd/{name}")).await?;
    }
    ensure_eq!(script(&sandbox, "ls -A /tmp/odd").await?, "", "what is left");
    Ok(())
}

async fn a_long_name_is_a_name(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let files = sandbox.filesystem();
    let longest = format!("/tmp/{}", "n".repeat(255));
    files.write_file(&longest, "x").await?;
    ensure_eq!(files.read_file(&longest).await?, "x", "the content");
    ensure!(files.write_file(&format!("{longest}n"), "x").await.is_err(), "a name of 256 bytes was accepted");
    ensure!(files.write_file(&"/d".repeat(5000), "x").await.is_err(), "a path of 10000 bytes was accepted");
    ensure_eq!(files.read_file(&longest).await?, "x", "the content after the failures");
    Ok(())
}

async fn streams_read_and_write(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let files = sandbox.filesystem();
    let piece = b"0123456789abcdef".repeat(4096);
    let mut writer = files.open_write("/tmp/streams/f").await?;
    for _ in 0..8 {
        writer.write_all(&piece).await?;
    }
    writer.shutdown().await?;
    drop(writer);
    let mut bytes = Vec::new();
    files.open_read("/tmp/streams/f").await?.read_to_end(&mut bytes).await?;
    ensure!(bytes == piece.repeat(8), "{} bytes came back, or others", bytes.len());
    Ok(())
}

async fn appending_keeps_what_is_there(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let files = sandbox.as_core().files();
    for piece in ["one\n", "two\n", "three\n"] {
        let mut file = files.open("/tmp/new/log", OpenMode::Append, None).await?;
        file.write_all(piece.as_bytes()).await?;
        file.shutdown().await?;
    }
    ensure_eq!(script(&sandbox, "cat /tmp/new/log").await?, "one\ntwo\nthree", "the content");
    Ok(())
}

async fn reading_and_writing_at_an_offset(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    script(&sandbox, "printf 0123456789 > /tmp/f").await?;
    let files = sandbox.as_core().files();
    let mut file = files.open("/tmp/f", OpenMode::ReadWrite, None).await?;
    file.seek(SeekFrom::Start(4)).await?;
    file.write_all(b"XY").await?;
    file.flush().await?;
    let mut rest = String::new();
    file.read_to_string(&mut rest).await?;
    ensure_eq!(rest, "6789", "what stands after the write");
    ensure_eq!(file.seek(SeekFrom::End(-3)).await?, 7, "three before the end");
    rest.clear();
    file.read_to_string(&mut rest).await?;
    ensure_eq!(rest, "789", "the last three");
    file.shutdown().await?;
    drop(file);
    ensure_eq!(script(&sandbox, "cat /tmp/f").await?, "0123XY6789", "the content");
    let mut file = files.open("/tmp/f", OpenMode::Read, None).await?;
    file.seek(SeekFrom::Start(8)).await?;
    rest.clear();
    file.read_to_string(&mut rest).await?;
    ensure_eq!(rest, "89", "a read at an offset");
    Ok(())
}

async fn writing_empties_and_sets_the_mode(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let files = sandbox.as_core().files();
    for (path, mode, expected) in
        [("/tmp/plain", None, "644"), ("/tmp/secret", Some(0o600), "600"), ("/tmp/x", Some(0o755), "755")]
    {
        let mut file = files.open(path, OpenMode::Write, mode).await?;
        file.write_all(b"content").await?;
        file.shutdown().await?;
        ensure_eq!(script(&sandbox, format!("stat -c %a {path}")).await?, expected, "the mode of {path}");
    }
    files.open("/tmp/plain", OpenMode::Write, None).await?.shutdown().await?;
    ensure_eq!(script(&sandbox, "stat -c %s /tmp/plain").await?, "0", "the size of a file that was opened to write");
    Ok(())
}

async fn two_readers_do_not_disturb_each_other(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    script(&sandbox, "printf abcdef > /tmp/f").await?;
    let files = sandbox.as_core().files();
    let (mut one, mut two) =
        (files.open("/tmp/f", OpenMode::Read, None).await?, files.open("/tmp/f", OpenMode::Read, None).await?);
    let mut three = [0; 3];
    one.read_exact(&mut three).await?;
    ensure_eq!(three, *b"abc", "the first reader's");
    two.read_exact(&mut three).await?;
    ensure_eq!(three, *b"abc", "the second reader's");
    one.read_exact(&mut three).await?;
    ensure_eq!(three, *b"def", "the rest of the first");
    Ok(())
}
