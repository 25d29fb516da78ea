//! Standard input: none, empty, bytes, much, its end, a reader that is gone.

use crate::check::{Failure, Outcome};
use crate::context::{Context, soon};
use crate::probe::{feed, finish, line, sh, start};
use computesdk_core::{ExecOptions, Stdio};
use tokio::io::AsyncWriteExt as _;

trials! { "stdin";
    none_is_at_its_end,
    null_is_at_its_end,
    empty_is_at_its_end,
    bytes_are_exact,
    one_mib_is_exact,
    its_end_is_seen,
    it_arrives_in_pieces[Streaming],
    a_reader_that_is_gone_is_no_error,
    a_reader_of_a_part_is_no_error,
    dropping_it_is_its_end,
}

async fn none_is_at_its_end(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let result = soon("a command that reads to the end", sandbox.run_command("cat", ())).await??;
    ensure_eq!((result.stdout.as_str(), result.exit_code), ("", 0), "output and code");
    Ok(())
}

async fn null_is_at_its_end(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let mut command = ExecOptions::new(["wc", "-c"]);
    command.stdin = Stdio::Null;
    let process = start(&sandbox, command).await?;
    ensure!(process.take_stdin().is_none(), "a null standard input can be taken");
    ensure_eq!(soon("its end", finish(process.as_ref())).await??.text().trim(), "0", "how much it read");
    Ok(())
}

async fn empty_is_at_its_end(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let result = soon("wc", sandbox.run_command("wc", ["-c"]).stdin("")).await??;
    ensure_eq!(result.stdout.trim(), "0", "how much it read");
    Ok(())
}

async fn bytes_are_exact(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let bytes: Vec<u8> = (0..=255).chain([0, 0, 10, 13, 26, 4, 3, 255]).collect();
    let result = sandbox.run_command("cat", ()).stdin(bytes.clone()).await?;
    ensure_eq!(result.stdout_bytes(), bytes, "what came back");
    Ok(())
}

async fn one_mib_is_exact(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let bytes: Vec<u8> = (0_u32..1 << 18).flat_map(|word| word.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let output = soon("cat", feed(&sandbox, ExecOptions::new(["cat"]), &bytes)).await??;
    ensure!(output.stdout == bytes, "{} bytes of {} came back, or others", output.stdout.len(), bytes.len());
    let result = soon("cat", sandbox.run_command("cat", ()).stdin(bytes.clone())).await??;
    ensure!(result.stdout_bytes() == bytes, "other bytes came back through the facade");
    Ok(())
}

async fn its_end_is_seen(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let output = soon("a reader", feed(&sandbox, sh("cat > /tmp/in; echo end; wc -c < /tmp/in"), b"12345")).await??;
    ensure_eq!(output.text().split_whitespace().collect::<Vec<_>>(), ["end", "5"], "its output");
    Ok(())
}

async fn it_arrives_in_pieces(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let process = start(&sandbox, sh("while read word; do echo \"<$word>\"; done; echo end")).await?;
    let missing = || Failure::new("a pipe is missing");
    let (mut stdin, mut stdout) =
        (process.take_stdin().ok_or_else(missing)?, process.take_stdout().ok_or_else(missing)?);
    for word in ["one", "two", "three"] {
        stdin.write_all(format!("{word}\n").as_bytes()).await?;
        stdin.flush().await?;
        ensure_eq!(line(&mut stdout).await?, format!("<{word}>"), "the answer");
    }
    stdin.shutdown().await?;
    drop(stdin);
    ensure_eq!(line(&mut stdout).await?, "end", "the answer to the end");
    Ok(())
}

async fn a_reader_that_is_gone_is_no_error(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let bytes = vec![b'x'; 1 << 20];
    let result = soon("`true`", sandbox.run_command("true", ()).stdin(bytes.clone())).await??;
    ensure_eq!(result.exit_code, 0, "the code");
    let result = soon("a closed input", sandbox.shell("exec <&-; echo on").stdin(bytes)).await??;
    ensure_eq!((result.stdout.as_str(), result.exit_code), ("on\n", 0), "output and code");
    Ok(())
}

async fn a_reader_of_a_part_is_no_error(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let result = soon("head", sandbox.run_command("head", ["-c", "3"]).stdin(vec![b'y'; 1 << 20])).await??;
    ensure_eq!((result.stdout.as_str(), result.exit_code), ("yyy", 0), "output and code");
    Ok(())
}

async fn dropping_it_is_its_end(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let process = start(&sandbox, sh("cat; exit 8")).await?;
    drop(process.take_stdin());
    ensure_eq!(soon("its end", process.wait()).await??.code(), 8, "the code");
    Ok(())
}
