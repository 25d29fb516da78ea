//! Many things at once.

use crate::check::{Failure, Outcome};
use crate::context::{Context, soon, within};
use crate::probe::{exec, script, sh, start};
use computesdk_core::ExecOptions;
use futures_util::future::{join_all, try_join_all};
use std::collections::BTreeSet;
use std::time::Duration;

trials! { "concurrency";
    three_commands_run_at_the_same_time,
    twenty_codes_in_one_sandbox[Python],
    twenty_commands_in_one_sandbox,
    twenty_sandboxes_at_once,
    many_files_at_once[Files],
    one_file_by_many_is_whole[Files],
    destroy_in_the_middle_ends_all_calls,
    a_cancelled_call_harms_no_other,
}

async fn three_commands_run_at_the_same_time(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    // Each ends only when all three have started: one after the other would never end.
    let meet = |name: &str| {
        format!(
            "mkdir -p /tmp/meet; : > /tmp/meet/{name}; while test $(ls /tmp/meet | wc -l) -lt 3; do sleep 0.01; done; echo {name}"
        )
    };
    let calls = async {
        tokio::try_join!(script(&sandbox, meet("a")), script(&sandbox, meet("b")), script(&sandbox, meet("c")))
    };
    let (a, b, c) = soon("the meeting", calls).await??;
    ensure_eq!((a.as_str(), b.as_str(), c.as_str()), ("a", "b", "c"), "the outputs");
    Ok(())
}

async fn twenty_codes_in_one_sandbox(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let calls = (0..20).map(|number| {
        let sandbox = sandbox.clone();
        async move { sandbox.run_code(format!("import sys\nprint({number} ** 2)\nsys.exit({number})")).await }
    });
    let results = within(Duration::from_secs(25), "twenty codes", join_all(calls)).await?;
    for (number, result) in results.into_iter().enumerate() {
        let result = result?;
        ensure_eq!(result.stdout, format!("{}\n", number * number), "the output of {number}");
        ensure_eq!(usize::try_from(result.exit_code).ok(), Some(number), "the code of {number}");
    }
    Ok(())
}

async fn twenty_commands_in_one_sandbox(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let sandbox = &sandbox;
    let calls = (0..20).map(|number| async move {
        let text = format!("for i in $(seq 200); do echo {number}; echo e{number} >&2; done; exit {number}");
        (number, exec(sandbox, sh(text)).await)
    });
    for (number, output) in within(Duration::from_secs(25), "twenty commands", join_all(calls)).await? {
        let output = output?;
        ensure_eq!(output.status.code(), number, "the code");
        ensure!(output.stdout == format!("{number}\n").repeat(200).as_bytes(), "the output of {number} is not its own");
        ensure!(
            output.stderr == format!("e{number}\n").repeat(200).as_bytes(),
            "the errors of {number} are not its own"
        );
    }
    Ok(())
}

async fn twenty_sandboxes_at_once(cx: &Context) -> Outcome {
    let calls = (0..20).map(|number| async move {
        let sandbox = cx.sandbox().await?;
        script(&sandbox, format!("echo {number} > /tmp/mark")).await?;
        let seen = script(&sandbox, "cat /tmp/mark").await?;
        ensure_eq!(seen, number.to_string(), "what sandbox {number} wrote");
        let id = sandbox.sandbox_id().to_owned();
        sandbox.destroy().await?;
        Ok::<_, Failure>(id)
    });
    let ids = within(Duration::from_secs(28), "twenty sandboxes", try_join_all(calls)).await??;
    ensure_eq!(ids.into_iter().collect::<BTreeSet<_>>().len(), 20, "how many ids");
    Ok(())
}

async fn many_files_at_once(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let files = sandbox.filesystem();
    let files = &files;
    let calls = (0..100).map(|number| async move {
        let (path, content) = (format!("/tmp/many/{}/{number}", number % 7), format!("content {number}"));
        files.write_file(&path, &content).await?;
        ensure_eq!(files.read_file(&path).await?, content, "the content of {path}");
        Ok::<_, Failure>(())
    });
    soon("a hundred files", try_join_all(calls)).await??;
    ensure_eq!(script(&sandbox, "find /tmp/many -type f | wc -l").await?, "100", "how many there are");
    Ok(())
}

async fn one_file_by_many_is_whole(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let files = sandbox.filesystem();
    let files = &files;
    let calls = (0..10_u8).map(|number| async move {
        files.write_bytes("/tmp/one", &vec![b'a' + number; 1000]).await.map_err(Failure::from)
    });
    soon("ten writers", try_join_all(calls)).await??;
    ensure_eq!(files.read_bytes("/tmp/one").await?.len(), 1000, "the length");
    Ok(())
}

async fn destroy_in_the_middle_ends_all_calls(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let mut processes = Vec::new();
    for _ in 0..5 {
        processes.push(start(&sandbox, ExecOptions::new(["sleep", "1000"])).await?);
    }
    let storm = join_all((0..20).map(|_| sandbox.run_command("sleep", ["1000"]).into_future()));
    let ends = join_all(processes.iter().map(|process| process.wait()));
    let (results, ends, destroyed) =
        soon("the end of every call", async { tokio::join!(storm, ends, sandbox.destroy()) }).await?;
    destroyed?;
    for end in ends {
        ensure_eq!(end?.code(), 137, "the code of a running process");
    }
    for result in results {
        // Those that had started were killed; those that came too late found no sandbox.
        match result {
            Ok(result) => ensure_eq!(result.exit_code, 137, "the code"),
            Err(error) => ensure_eq!(error.kind(), computesdk_core::ErrorKind::NotFound, "the kind of {error}"),
        }
    }
    Ok(())
}

async fn a_cancelled_call_harms_no_other(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    for number in 0..20_u64 {
        // Dropped at a different moment each time.
        let limit = Duration::from_micros(number * 500);
        let _ = tokio::time::timeout(limit, sandbox.run_command("echo", ["cancelled"]).into_future()).await;
    }
    ensure_eq!(script(&sandbox, "echo fine").await?, "fine", "a call afterwards");
    Ok(())
}
