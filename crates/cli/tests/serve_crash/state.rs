//! States that no server can start with.

use crate::common::{PATIENCE, json, parts};
use crate::home::{Home, Serving};
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tonic::Code;

/// A `compute serve` that cannot start: one sentence, and quickly.
#[track_caller]
fn refused(what: &str, mut command: Command, says: &[&str]) {
    let begun = Instant::now();
    let mut child = command.spawn().expect("compute starts");
    let end = begun + PATIENCE;
    while child.try_wait().expect("it can be asked").is_none() {
        if Instant::now() > end {
            let _ = child.kill();
            panic!("{what}: it neither starts nor ends: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output: Output = child.wait_with_output().expect("it has ended");
    let (code, stdout, stderr) = parts(&output);
    assert_eq!((code, stdout.as_str()), (Some(125), ""), "{what}: {stderr}");
    assert!(!stderr.contains("panicked") && !stderr.contains("RUST_BACKTRACE"), "{what}: {stderr}");
    let lines = stderr.lines().filter(|line| !line.is_empty()).count();
    assert!((1..=2).contains(&lines), "{what}: one sentence, and perhaps a hint: {stderr}");
    for part in says {
        assert!(stderr.contains(part), "{what}: {part:?} in: {stderr}");
    }
}

/// A state as a server leaves it.
fn a_state(home: &Home) -> PathBuf {
    let serving = home.serve();
    serving.send(Signal::TERM);
    assert_eq!(serving.ended(PATIENCE).0, Some(0));
    let state = home.state();
    assert!(state.join("state.db").is_file() && state.join("key").is_file());
    state
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("made");
    std::fs::set_permissions(to, std::fs::metadata(from).expect("it is there").permissions()).expect("its mode");
    for entry in std::fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

#[test]
fn a_broken_state_is_told_and_left_as_it_is() {
    let home = Home::new();
    let good = a_state(&home);
    let serve =
        |dir: &Path| home.compute(&["serve", "--listen", "127.0.0.1:0", "--state", dir.to_str().expect("UTF-8")]);
    type Break = fn(&Path);
    let edit = |dir: &Path, change: fn(&mut Vec<u8>)| {
        let path = dir.join("state.db");
        let mut bytes = std::fs::read(&path).expect("readable");
        change(&mut bytes);
        std::fs::write(&path, bytes).expect("written");
    };
    type Edit = fn(&mut Vec<u8>);
    let cases: [(&str, Edit, &[&str]); 7] = [
        ("half of it", |bytes| bytes.truncate(bytes.len() / 2), &["state.db is damaged", "move it away"]),
        ("not quite all of it", |bytes| bytes.truncate(bytes.len() - 100), &["state.db is damaged"]),
        ("ten bytes of it", |bytes| bytes.truncate(10), &["state.db is damaged"]),
        ("nothing of it", Vec::clear, &["state.db is damaged"]),
        (
            "garbage",
            |bytes| bytes.iter_mut().for_each(|byte| *byte = byte.wrapping_mul(31) ^ 0x5a),
            &["state.db is damaged"],
        ),
        // The header of SQLite's files has the program's number at 60, big-endian.
        (
            "from a later version",
            |bytes| bytes[60..64].copy_from_slice(&999_u32.to_be_bytes()),
            &["newer version", "999"],
        ),
        (
            "holes in the middle",
            |bytes| {
                let (from, to) = (4096, bytes.len() - 4096);
                bytes[from..to].fill(0xa5);
            },
            &["state.db is damaged"],
        ),
    ];
    for (what, change, says) in cases {
        let dir = home.0.path().join(what.replace(' ', "-"));
        copy(&good, &dir);
        edit(&dir, change);
        let before = std::fs::read(dir.join("state.db")).expect("readable");
        refused(what, serve(&dir), says);
        // Whoever comes with a copy, or with the later version, finds what was there.
        assert!(std::fs::read(dir.join("state.db")).expect("readable") == before, "{what}: it was changed");
        // The same again: no loop, no repair by accident.
        refused(what, serve(&dir), says);
    }
    let others: [(&str, Break, &[&str]); 5] = [
        (
            "a folder for the file",
            |dir| {
                std::fs::remove_file(dir.join("state.db")).expect("removed");
                std::fs::create_dir(dir.join("state.db")).expect("made");
            },
            &["state.db"],
        ),
        ("no key", |dir| std::fs::remove_file(dir.join("key")).expect("removed"), &["key file", "is missing"]),
        ("another key", |dir| std::fs::write(dir.join("key"), [7; 32]).expect("written"), &["another key"]),
        ("half a key", |dir| std::fs::write(dir.join("key"), [7; 16]).expect("written"), &["exactly 32 bytes"]),
        (
            "a file for the folder",
            |dir| {
                std::fs::remove_dir_all(dir).expect("removed");
                std::fs::write(dir, "").expect("written");
            },
            &["a-file-for-the-folder"],
        ),
    ];
    for (what, damage, says) in others {
        let dir = home.0.path().join(what.replace(' ', "-"));
        copy(&good, &dir);
        damage(&dir);
        refused(what, serve(&dir), says);
    }
    // What was not touched starts.
    let again = home.serve();
    again.send(Signal::TERM);
    assert_eq!(again.ended(PATIENCE).0, Some(0));
}

/// Modes bind everybody but root: root starts it as somebody else.
#[test]
fn a_state_that_may_not_be_read_or_written_is_told() {
    use std::os::unix::fs::{PermissionsExt, chown};
    use std::os::unix::process::CommandExt as _;
    const NOBODY: u32 = 65_534;
    let home = Home::new();
    let good = a_state(&home);
    let is_root = rustix::process::geteuid().is_root();
    let everybody = |path: &Path| std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("its mode");
    everybody(home.0.path());
    // A copy of the program where everybody can start it.
    let program = home.0.path().join("compute");
    std::fs::copy(env!("CARGO_BIN_EXE_compute"), &program).expect("copied");
    everybody(&program);
    let theirs = home.0.path().join("home");
    std::fs::create_dir(&theirs).expect("made");
    let give = |path: &Path| {
        if is_root {
            chown(path, Some(NOBODY), Some(NOBODY)).expect("given");
        }
    };
    give(&theirs);
    let mode = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("its mode");
    for (what, path, bits, says) in [
        ("unreadable file", "state.db", 0o000, "state.db"),
        ("read-only file", "state.db", 0o400, "state.db"),
        ("unreadable key", "key", 0o000, "key"),
        ("unreadable folder", "", 0o000, "unreadable-folder"),
        ("read-only folder", "", 0o500, "read-only-folder"),
    ] {
        let dir = home.0.path().join(what.replace(' ', "-"));
        copy(&good, &dir);
        for entry in std::fs::read_dir(&dir).expect("readable").flatten() {
            give(&entry.path());
        }
        give(&dir);
        mode(&dir.join(path), bits);
        let mut command = Command::new(&program);
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--state", dir.to_str().expect("UTF-8")])
            .env("HOME", &theirs)
            .env_remove("XDG_STATE_HOME")
            .env_remove("XDG_DATA_HOME")
            .env_remove("XDG_CACHE_HOME")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if is_root {
            command.gid(NOBODY).uid(NOBODY);
        }
        refused(what, command, &[says]);
        mode(&dir, 0o700);
    }
}

/// A `compute serve` with its state on a disk of this size, in a mount of the test's own; none where this user may not mount.
fn on_a_disk(home: &Home, size: &str) -> Option<Command> {
    let disk = home.0.path().join("disk");
    std::fs::create_dir(&disk).expect("made");
    let disk = disk.to_str().expect("UTF-8");
    let mount = format!("mount -t tmpfs -o size={size} none '{disk}'");
    let can = Command::new("unshare").args(["-m", "sh", "-c", &mount]).output();
    if !can.is_ok_and(|output| output.status.success()) {
        println!("skipped: this user may not mount here");
        return None;
    }
    let serve = "exec \"$0\" -o json serve --listen 127.0.0.1:0 --state";
    let script = format!("{mount} && mkdir -m 700 '{disk}/state' && {serve} '{disk}/state'");
    let like = home.compute(&[]);
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &script, env!("CARGO_BIN_EXE_compute")]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, value) in like.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Some(command)
}

#[test]
fn a_full_disk_is_told() {
    let home = Home::new();
    let Some(mut command) = on_a_disk(&home, "64k") else { return };
    let output = command.output().expect("compute starts");
    let error = json(&output);
    let message = error["error"]["message"].as_str().unwrap_or_default();
    assert_eq!(output.status.code(), Some(125), "{error}");
    assert!(message.contains("no room on the disk") && message.contains("--state DIR"), "{error}");
}

/// A disk that fills up meanwhile: what needs no room goes on, what does is refused in words, and is there when there is room again.
#[test]
fn a_disk_that_fills_up_is_told_to_the_clients() {
    let home = Home::new();
    let Some(command) = on_a_disk(&home, "700k") else { return };
    let serving = Serving::start(command);
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(async {
        let client = serving.client().await;
        let app = client.app(true).await.expect("an app");
        let value = "x".repeat(20_000);
        let mut kept = Vec::new();
        let refused = loop {
            match client.secret(&format!("secret-{}", kept.len()), Some(&value)).await {
                Ok(id) => kept.push(id),
                Err(status) => break status,
            }
            assert!(kept.len() < 100, "the disk does not fill up");
        };
        assert!(!kept.is_empty());
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        assert!(refused.message().contains("disk under the server's state is full"), "{refused}");
        assert!(!refused.message().contains(&value[..10]), "{refused}");
        // All of what was answered is there, what was refused is not, and nobody hangs.
        assert_eq!(client.app(false).await.expect("the app"), app);
        for (number, id) in kept.iter().enumerate() {
            assert_eq!(client.secret(&format!("secret-{number}"), None).await.expect("it is there"), *id);
        }
        let missing = client.secret(&format!("secret-{}", kept.len()), None).await.expect_err("it was refused");
        assert_eq!(missing.code(), Code::NotFound, "{missing}");
        assert!(client.listed(true).await.is_empty());
    });
    serving.send(Signal::TERM);
    assert_eq!(serving.ended(PATIENCE).0, Some(0));
}
