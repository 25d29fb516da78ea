//! The helper program.

use super::super::helper::start;
use super::numberless::Numberless;
use super::{poke, until, with_sandbox};
use computesdk_core::{BoxRead, ErrorKind, ExitCause, ExitStatus, Files, Process, PtySize, Signal};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

struct Done {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Done {
    fn json(&self) -> Value {
        assert_eq!((self.status.code(), self.text()), (0, ""));
        serde_json::from_slice(&self.stdout).unwrap()
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.stderr).unwrap()
    }

    /// The kind of the failure.
    fn kind(&self) -> String {
        assert_eq!((self.status, self.stdout.len()), (ExitStatus::exited(1), 0), "{}", self.text());
        let report: Value = serde_json::from_slice(&self.stderr).unwrap();
        assert!(report["message"].as_str().is_some_and(|text| !text.trim().is_empty()), "{report}");
        assert!(report["detail"].is_string(), "{report}");
        report["error_kind"].as_str().unwrap().to_owned()
    }
}

fn begin(files: &Arc<dyn Files>, call: &Value) -> Arc<dyn Process> {
    start(Arc::clone(files), "ex-1".into(), &[call.to_string()])
}

async fn finish(process: Arc<dyn Process>, stdin: &[u8]) -> Done {
    let mut input = process.take_stdin().unwrap();
    let (mut out, mut err) = (process.take_stdout().unwrap(), process.take_stderr().unwrap());
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let write = async move {
        // One that fails early does not take it.
        let _ = input.write_all(stdin).await;
        let _ = input.shutdown().await;
        Ok(0)
    };
    tokio::try_join!(write, out.read_to_end(&mut stdout), err.read_to_end(&mut stderr)).unwrap();
    Done { status: process.wait().await.unwrap(), stdout, stderr }
}

async fn call(files: &Arc<dyn Files>, call: Value) -> Done {
    finish(begin(files, &call), b"").await
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 7_u32;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(length)
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_in_the_sandbox_and_is_read_again() {
    with_sandbox(async |room| {
        let content = noise(20 << 20);
        let write = begin(&room.files, &json!({"WriteFile": {"path": "/tmp/new/deep/big.bin"}}));
        let done = finish(write, &content).await;
        assert_eq!((done.status.code(), done.stdout.len(), done.text()), (0, 0, ""));
        let said = room.shell("sha256sum < /tmp/new/deep/big.bin; stat -c %a /tmp/new/deep/big.bin").await;
        let sum: String = digest(&SHA256, &content).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(said, format!("{sum}  -\n644\n"));
        let done = call(&room.files, json!({"ReadFile": {"path": "/tmp/new/deep/big.bin"}})).await;
        assert!(done.status.success() && done.stdout == content, "{}", done.text());

        // Shorter than what was there, and nothing at all.
        room.shell("chmod 600 /tmp/new/deep/big.bin; ln -s big.bin /tmp/new/deep/link").await;
        for content in [&b"short"[..], b""] {
            let write = begin(&room.files, &json!({"WriteFile": {"path": "/tmp/new/deep/link"}}));
            assert!(finish(write, content).await.status.success());
            let done = call(&room.files, json!({"ReadFile": {"path": "/tmp/new/deep/big.bin"}})).await;
            assert_eq!(done.stdout, content);
        }
        assert_eq!(room.shell("stat -c '%a %F' /tmp/new/deep/big.bin /tmp/new/deep/link").await.lines().count(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_say_what_stat_says() {
    with_sandbox(async |room| {
        room.shell(
            "mkdir -p /tmp/d/sub/below && cd /tmp/d && printf 12345 > file && (chown 12:34567 file 2>&- || true) && chmod 4750 file \
             && ln -s file link && ln -s /none dangling && ln -s sub 'dir link' && mkfifo pipe && printf x > \"$(printf 'a\\nb')\" \
             && printf y > \"$(printf '\\377')\" && touch -d @-1.5 old && ln -s /tmp/d /tmp/way",
        )
        .await;
        let listed = call(&room.files, json!({"ListFiles": {"path": "/tmp/way/"}})).await.json();
        let entry = |name: &str| {
            let found = listed.as_array().unwrap().iter().find(|entry| entry["name"] == name);
            found.unwrap_or_else(|| panic!("{name} in {listed}")).clone()
        };
        let names: Vec<_> = listed.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["a\nb", "dangling", "dir link", "file", "link", "old", "pipe", "sub", "\u{fffd}"]);
        let file = entry("file");
        let keys: Vec<_> = file.as_object().unwrap().keys().map(String::as_str).collect();
        let expected = [
            "group", "mode", "modified_time", "name", "owner", "path", "permissions", "size", "symlink_target", "type",
        ];
        assert_eq!(keys, expected);
        assert_eq!(file["path"], "/tmp/way/file");

        for name in ["file", "link", "dangling", "dir link", "sub", "old"] {
            let said = room.shell(&format!("stat -c '%a|%f|%U|%G|%Y|%F|%u|%g' '/tmp/d/{name}'")).await;
            let said: Vec<_> = said.trim().split('|').collect();
            let entry = entry(name);
            assert_eq!(entry["permissions"], format!("{:0>4}", said[0]), "{name}");
            assert_eq!(entry["mode"], i64::from_str_radix(said[1], 16).unwrap(), "{name}");
            let or_number = |name: &str, number: &str| if name == "UNKNOWN" { number.to_owned() } else { name.to_owned() };
            assert_eq!(entry["owner"], or_number(said[2], said[6]), "{name}");
            assert_eq!(entry["group"], or_number(said[3], said[7]), "{name}");
            let seconds = entry["modified_time"].as_f64().unwrap();
            assert!((seconds - said[4].parse::<f64>().unwrap()).abs() <= 1.0, "{name}: {seconds}");
            let kind = match said[5] {
                "regular file" | "regular empty file" => "file",
                "symbolic link" => "symlink",
                other => other,
            };
            assert_eq!(entry["type"], kind, "{name}");
            // By itself it is the same, but for the path.
            let mut alone = call(&room.files, json!({"Stat": {"path": format!("/tmp/d/{name}")}})).await.json();
            alone["path"] = entry["path"].clone();
            assert_eq!(alone, entry);
        }
        assert_eq!(entry("link")["symlink_target"], "file");
        assert_eq!(entry("dangling")["symlink_target"], "/none");
        assert_eq!(entry("file")["symlink_target"], Value::Null);
        assert_eq!(entry("old")["modified_time"], -1.5);
        assert_eq!(entry("pipe")["type"], "file");
        assert_eq!(call(&room.files, json!({"ListFiles": {"path": "/tmp/d/sub/below"}})).await.json(), json!([]));
        assert_eq!(call(&room.files, json!({"Stat": {"path": "/"}})).await.json()["type"], "directory");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_failure_has_the_kind_that_clients_know() {
    with_sandbox(async |room| {
        room.shell(
            "mkdir -p /tmp/t/full/below /tmp/t/empty && cd /tmp/t && printf x > file && mkfifo pipe && ln -s none dangling \
             && ln -s loop loop && truncate -s 6G huge && printf x > full/f",
        )
        .await;
        let numberless: Arc<dyn Files> = Arc::new(Numberless(Arc::clone(&room.files)));
        let long = format!("/tmp/{}", "n".repeat(300));
        for (operation, path, options, kind) in [
            ("ReadFile", "/tmp/t/none", json!({}), "NotFound"),
            ("ReadFile", "/tmp/t/none/none", json!({}), "NotFound"),
            ("ReadFile", "/tmp/t/dangling", json!({}), "NotFound"),
            ("ReadFile", "/tmp/t/full", json!({}), "IsDirectory"),
            ("ReadFile", "/tmp/t/huge", json!({}), "FileTooLarge"),
            ("ReadFile", "/tmp/t/file/x", json!({}), "NotDirectory"),
            ("ReadFile", "/tmp/t/pipe", json!({}), "InvalidInput"),
            ("ReadFile", "/dev/null", json!({}), "InvalidInput"),
            ("ReadFile", "/dev/zero", json!({}), "InvalidInput"),
            ("ReadFile", "tmp/t/file", json!({}), "InvalidInput"),
            ("ReadFile", "", json!({}), "InvalidInput"),
            ("ReadFile", "/tmp/t/file\0", json!({}), "InvalidInput"),
            ("WriteFile", "/tmp/t/full", json!({}), "IsDirectory"),
            ("WriteFile", "/", json!({}), "IsDirectory"),
            ("WriteFile", "/tmp/t/file/x", json!({}), "NotDirectory"),
            ("WriteFile", "/tmp/t/file/x/y", json!({}), "NotDirectory"),
            ("WriteFile", "/tmp/t/pipe", json!({}), "InvalidInput"),
            ("WriteFile", "/proc/version", json!({}), "PermissionDenied"),
            ("ListFiles", "/tmp/t/none", json!({}), "NotFound"),
            ("ListFiles", "/tmp/t/file", json!({}), "NotDirectory"),
            ("ListFiles", "/tmp/t/pipe", json!({}), "NotDirectory"),
            ("ListFiles", "/tmp/t/file/x", json!({}), "NotDirectory"),
            ("Stat", "/tmp/t/none", json!({}), "NotFound"),
            ("Stat", "/tmp/t/file/x", json!({}), "NotDirectory"),
            ("MakeDirectory", "/tmp/t/full", json!({"parents": false}), "PathAlreadyExists"),
            ("MakeDirectory", "/tmp/t/file", json!({"parents": false}), "PathAlreadyExists"),
            ("MakeDirectory", "/tmp/t/dangling", json!({"parents": false}), "PathAlreadyExists"),
            ("MakeDirectory", "/tmp/t/none/x", json!({"parents": false}), "NotFound"),
            ("MakeDirectory", "/tmp/t/file/x", json!({"parents": false}), "NotDirectory"),
            ("MakeDirectory", "/tmp/t/file", json!({"parents": true}), "PathAlreadyExists"),
            ("MakeDirectory", "/tmp/t/file/x", json!({"parents": true}), "NotDirectory"),
            ("MakeDirectory", "/tmp/t/file/x/y", json!({"parents": true}), "NotDirectory"),
            ("Remove", "/tmp/t/none", json!({"recursive": false}), "NotFound"),
            ("Remove", "/tmp/t/none", json!({"recursive": true}), "NotFound"),
            ("Remove", "/tmp/t/full", json!({"recursive": false}), "DirectoryNotEmpty"),
            ("Watch", "/tmp/t/none", json!({}), "NotFound"),
            ("Watch", "/tmp/t", json!({"timeout_secs": -1}), "InvalidInput"),
        ] {
            for files in [&room.files, &numberless] {
                let mut arguments = options.clone();
                arguments["path"] = path.into();
                let done = call(files, json!({ operation: arguments })).await;
                assert_eq!(done.kind(), kind, "{operation} {path} {options} {files:?}: {}", done.text());
            }
        }
        for (operation, path) in [("Stat", "/tmp/t/loop/x"), ("Stat", &long), ("WriteFile", &long)] {
            // No kind that clients know: the message has the path, which they do not add.
            let done = call(&room.files, json!({ operation: { "path": path } })).await;
            assert_eq!(done.kind(), "InvalidInput");
            assert!(done.text().contains(&path[..20.min(path.len())]), "{}", done.text());
        }
        assert_eq!(room.shell("cat /tmp/t/file /tmp/t/full/f").await, "xx", "failures change nothing");
        for text in ["", "{}", "[1]", r#"{"Reboot":{"path":"/"}}"#, r#"{"Stat":{"file":"/"}}"#, r#"{"Stat":{"path":7}}"#] {
            let process = start(Arc::clone(&room.files), "ex-1".into(), &[text.to_owned()]);
            assert_eq!(finish(process, b"").await.kind(), "InvalidInput", "{text}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_are_made_and_things_are_removed() {
    with_sandbox(async |room| {
        let ok = async |request: Value| {
            let done = call(&room.files, request.clone()).await;
            assert!(done.status.success() && done.stdout.is_empty(), "{request}: {}", done.text());
        };
        ok(json!({"MakeDirectory": {"path": "/tmp/a/b/c", "parents": true}})).await;
        ok(json!({"MakeDirectory": {"path": "/tmp/a/b/c", "parents": true}})).await;
        ok(json!({"MakeDirectory": {"path": "/tmp/a/b/d", "parents": false}})).await;
        room.shell("test -d /tmp/a/b/c -a -d /tmp/a/b/d; mkdir /tmp/keep; touch /tmp/keep/f; ln -s /tmp/keep /tmp/a/link; touch /tmp/a/f").await;
        ok(json!({"Remove": {"path": "/tmp/a/b/c", "recursive": false}})).await;
        ok(json!({"Remove": {"path": "/tmp/a/f", "recursive": false}})).await;
        ok(json!({"Remove": {"path": "/tmp/a/link", "recursive": true}})).await;
        ok(json!({"Remove": {"path": "/tmp/a", "recursive": true}})).await;
        assert_eq!(room.shell("test ! -e /tmp/a; ls /tmp/keep").await, "f\n");
        let done = call(&room.files, json!({"Remove": {"path": "/", "recursive": true}})).await;
        assert_eq!(done.status.code(), 1, "{}", done.text());
        room.shell("test -e /tmp/keep/f").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_are_the_sandboxs_own() {
    with_sandbox(async |room| {
        // A directory of this machine: what has its name in the sandbox is another one.
        let host = tempfile::tempdir().unwrap();
        let canary = host.path().join("canary");
        std::fs::write(&canary, "host").unwrap();
        let path = canary.to_str().unwrap();
        for way in [path.to_owned(), format!("/tmp/../../../..{path}"), format!("/proc/1/root{path}")] {
            let done = call(&room.files, json!({"ReadFile": {"path": way}})).await;
            assert!(!done.status.success() && done.stdout.is_empty(), "{way}");
        }
        room.shell(&format!("ln -s {path} /tmp/link; ln -s ../../../../../../{path} /tmp/climb")).await;
        for way in ["/tmp/link", "/tmp/climb"] {
            assert_eq!(call(&room.files, json!({"ReadFile": {"path": way}})).await.kind(), "NotFound");
            finish(begin(&room.files, &json!({"WriteFile": {"path": way}})), b"inside").await;
        }
        // A directory that becomes a link and a directory again while files in it are written and removed.
        let parent = host.path().to_str().unwrap();
        let script = format!(
            "cd /tmp; mkdir -p race; while [ ! -e stop ]; do rm -rf race; ln -s {parent} race; rm race; mkdir race; done"
        );
        let race = tokio::spawn({
            let sandbox = Arc::clone(&room.sandbox);
            async move {
                let options = computesdk_core::ExecOptions::new(["sh".to_owned(), "-c".to_owned(), script]);
                sandbox.exec(options).await.unwrap().wait().await.unwrap()
            }
        });
        for _ in 0..100 {
            finish(begin(&room.files, &json!({"WriteFile": {"path": "/tmp/race/canary"}})), b"inside").await;
            call(&room.files, json!({"Remove": {"path": "/tmp/race/canary", "recursive": true}})).await;
            call(&room.files, json!({"ListFiles": {"path": "/tmp/race"}})).await;
        }
        room.shell("touch /tmp/stop").await;
        race.await.unwrap();
        assert_eq!(std::fs::read_to_string(&canary).unwrap(), "host");
        assert_eq!(std::fs::read_dir(host.path()).unwrap().count(), 1);
        // Names of any text, and the place that `..` leads to in the sandbox.
        let name = "/tmp/../tmp/./ \n\t\"'\\$(id) ☃";
        finish(begin(&room.files, &json!({"WriteFile": {"path": name}})), b"odd").await;
        assert_eq!(call(&room.files, json!({"ReadFile": {"path": name}})).await.stdout, b"odd");
    })
    .await;
}

/// The next change.
async fn event(lines: &mut tokio::io::Lines<BufReader<BoxRead>>) -> (String, String) {
    let line = lines.next_line().await.unwrap().expect("the watch goes on");
    let event: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(event["paths"].as_array().unwrap().len(), 1, "{line}");
    (event["event_type"].as_str().unwrap().to_owned(), event["paths"][0].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_what_happens_until_its_input_ends() {
    with_sandbox(async |room| {
        room.shell("mkdir -p /tmp/w/sub; ln -s w /tmp/way; ln -s ../tmp/way /tmp/far").await;
        let watch = json!({"Watch": {"path": "/tmp/far", "recursive": true, "filter": null, "timeout_secs": null}});
        let process = begin(&room.files, &watch);
        let mut stdin = process.take_stdin().unwrap();
        let mut lines = BufReader::new(process.take_stdout().unwrap()).lines();
        let poking = tokio::spawn(poke(Arc::clone(&room.files), "/tmp/w/poke".into()));
        // By the name of what the links lead to.
        assert_eq!(event(&mut lines).await.1, "/tmp/w/poke");
        poking.abort();
        room.shell("printf x > /tmp/w/sub/f; chmod 600 /tmp/w/sub/f; rm /tmp/w/sub/f; touch /tmp/outside").await;
        let mut seen = Vec::new();
        while !seen.contains(&(String::from("Remove"), String::from("/tmp/w/sub/f"))) {
            let event = event(&mut lines).await;
            if event.1 != "/tmp/w/poke" {
                seen.push(event);
            }
        }
        assert_eq!(seen[0], (String::from("Create"), String::from("/tmp/w/sub/f")));
        assert!(
            seen[1..seen.len() - 1].iter().all(|(kind, path)| kind == "Modify" && path == "/tmp/w/sub/f"),
            "{seen:?}"
        );
        assert!(seen.len() > 2, "{seen:?}");
        // What is written to it is not read, but taken.
        stdin.write_all(&vec![0; 2 << 20]).await.unwrap();
        stdin.shutdown().await.unwrap();
        assert!(process.wait().await.unwrap().success());
        while let Some(line) = lines.next_line().await.unwrap() {
            assert!(line.contains("/tmp/w"), "{line}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_is_filtered_and_ends_in_time() {
    with_sandbox(async |room| {
        room.shell("mkdir /tmp/w").await;
        let poking = tokio::spawn(poke(Arc::clone(&room.files), "/tmp/w/poke".into()));
        let filter = ["Remove", "Rename", "Whatever"];
        let watch = json!({"Watch": {"path": "/tmp/w", "recursive": false, "filter": filter, "timeout_secs": 1}});
        let started = std::time::Instant::now();
        let process = begin(&room.files, &watch);
        let _stdin = process.take_stdin().unwrap();
        let mut stdout = Vec::new();
        process.take_stdout().unwrap().read_to_end(&mut stdout).await.unwrap();
        assert!(process.wait().await.unwrap().success());
        assert!(started.elapsed() >= Duration::from_secs(1));
        let text = String::from_utf8(stdout).unwrap();
        assert!(!text.is_empty() && text.lines().all(|line| line.contains("\"Remove\"")), "{text}");
        poking.abort();

        for filter in [json!([]), json!(["Access"])] {
            let watch = json!({"Watch": {"path": "/tmp/w", "filter": filter, "timeout_secs": 0}});
            let process = begin(&room.files, &watch);
            let _stdin = process.take_stdin().unwrap();
            assert!(process.wait().await.unwrap().success());
        }
        // What was watched goes away.
        room.shell("touch /tmp/w/f").await;
        let process = begin(&room.files, &json!({"Watch": {"path": "/tmp/w/f"}}));
        let _stdin = process.take_stdin().unwrap();
        let mut lines = BufReader::new(process.take_stdout().unwrap()).lines();
        let files = Arc::clone(&room.files);
        let poking = tokio::spawn(async move {
            loop {
                let _ = files.open("/tmp/w/f", computesdk_core::OpenMode::Append, None).await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        assert_eq!(event(&mut lines).await.1, "/tmp/w/f");
        poking.abort();
        let _ = poking.await;
        room.shell("rm /tmp/w/f").await;
        while let Some(line) = lines.next_line().await.unwrap() {
            assert!(line.contains("/tmp/w/f"), "{line}");
        }
        assert!(process.wait().await.unwrap().success());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_behaves_as_a_process() {
    with_sandbox(async |room| {
        let process = begin(&room.files, &json!({"WriteFile": {"path": "/tmp/f"}}));
        let mut stdin = process.take_stdin().unwrap();
        assert!(process.take_stdin().is_none());
        assert_eq!(process.id().as_str(), "ex-1");
        assert_eq!(process.resize(PtySize::default()).await.unwrap_err().kind(), ErrorKind::FailedPrecondition);
        for number in [0, -1, 65] {
            assert_eq!(process.signal(Signal(number)).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
        stdin.write_all(b"begun").await.unwrap();
        // SIGWINCH ends nothing; the first one that does counts.
        process.signal(Signal(28)).await.unwrap();
        process.signal(Signal::TERM).await.unwrap();
        process.signal(Signal::KILL).await.unwrap();
        for _ in 0..2 {
            assert_eq!(process.wait().await.unwrap().cause, ExitCause::Signalled { signal: 15 });
        }
        process.signal(Signal::KILL).await.unwrap();
        until("its input is refused", || Arc::strong_count(&room.files) == 1).await;
        stdin.write_all(b"more").await.unwrap_err();
        let mut rest = Vec::new();
        process.take_stderr().unwrap().read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_a_write_finds_it_ended() {
    with_sandbox(async |room| {
        for _ in 0..20 {
            let process = begin(&room.files, &json!({"WriteFile": {"path": "/tmp"}}));
            let mut stdin = process.take_stdin().unwrap();
            while stdin.write_all(&[0; 4096]).await.is_ok() {}
            let status = futures_util::FutureExt::now_or_never(process.wait()).expect("it has ended");
            assert_eq!(status.unwrap().code(), 1);
            let mut report = Vec::new();
            process.take_stderr().unwrap().read_to_end(&mut report).await.unwrap();
            assert!(String::from_utf8(report).unwrap().contains("IsDirectory"));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_what_nobody_waits_for() {
    with_sandbox(async |room| {
        room.shell("mkdir /tmp/w; truncate -s 64M /tmp/large").await;
        let idle = |what: &'static str| until(what, || Arc::strong_count(&room.files) == 1);
        idle("at first").await;
        for request in [
            json!({"ReadFile": {"path": "/tmp/large"}}),
            json!({"WriteFile": {"path": "/tmp/f"}}),
            json!({"Watch": {"path": "/tmp/w"}}),
        ] {
            drop(begin(&room.files, &request));
            idle("dropped at once").await;
            let process = begin(&room.files, &request);
            let streams = (process.take_stdin(), process.take_stdout(), process.take_stderr());
            // Its streams are what keeps it, not the handle.
            drop(process);
            drop(streams);
            idle("streams dropped").await;
        }
        // Whoever still feeds a watch does not keep it when nobody reads it.
        let process = begin(&room.files, &json!({"Watch": {"path": "/tmp/w"}}));
        let _stdin = process.take_stdin();
        drop(process.take_stdout());
        idle("nobody reads").await;
        assert_eq!(process.wait().await.unwrap().cause, ExitCause::Signalled { signal: 13 });
        let process = begin(&room.files, &json!({"ReadFile": {"path": "/tmp/large"}}));
        let mut stdout = process.take_stdout().unwrap();
        stdout.read_exact(&mut [0; 10]).await.unwrap();
        drop(stdout);
        assert_eq!(process.wait().await.unwrap().cause, ExitCause::Signalled { signal: 13 });
        idle("reading given up").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_sandbox_is_told() {
    with_sandbox(async |room| {
        let process = begin(&room.files, &json!({"Watch": {"path": "/tmp"}}));
        let _stdin = process.take_stdin();
        let mut lines = BufReader::new(process.take_stdout().unwrap()).lines();
        let poking = tokio::spawn(poke(Arc::clone(&room.files), "/tmp/poke".into()));
        event(&mut lines).await;
        poking.abort();
        room.sandbox.terminate().await.unwrap();
        process.wait().await.unwrap();
        let done = call(&room.files, json!({"ReadFile": {"path": "/tmp/f"}})).await;
        assert_eq!(done.kind(), "Unavailable", "{}", done.text());
        assert!(done.text().contains("has ended"), "{}", done.text());
    })
    .await;
}
