//! The commands for sandboxes that outlive one `compute`, against a server of the test's own.
#![cfg(feature = "serve")]

mod common;

use common::session::Session;
use common::{PATIENCE, compute, json, parts, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

/// A server with a home of its own, ended with the test, and with it every sandbox.
struct Server {
    home: tempfile::TempDir,
    child: Option<Child>,
    said: serde_json::Value,
}

/// `compute` in this home, with nothing of the caller's that names a server.
fn compute_in(home: &Path, args: &[&str]) -> Command {
    let mut command = compute(args);
    command.env("XDG_STATE_HOME", home.join("state")).env("XDG_DATA_HOME", home.join("data"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("MODAL_") || text.starts_with("COMPUTESDK_SERVE") {
            command.env_remove(name);
        }
    }
    command
}

impl Server {
    fn start() -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let mut child = compute_in(home.path(), &["-o", "json", "serve", "--listen", "127.0.0.1:0"])
            .stderr(Stdio::inherit())
            .spawn()
            .expect("compute starts");
        let mut line = String::new();
        let read = BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line);
        assert!(read.expect("readable") > 0, "{:?}", child.wait_with_output());
        Self { home, child: Some(child), said: serde_json::from_str(&line).expect("one line of JSON") }
    }

    fn compute(&self, args: &[&str]) -> Command {
        compute_in(self.home.path(), args)
    }

    fn run(&self, args: &[&str]) -> Output {
        self.compute(args).output().expect("compute starts")
    }

    /// Standard output of a run that succeeds and says nothing else.
    #[track_caller]
    fn says(&self, args: &[&str]) -> String {
        let (code, stdout, stderr) = parts(&self.run(args));
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{args:?}");
        stdout
    }

    /// A sandbox of this name; its id.
    #[track_caller]
    fn create(&self, name: &str, more: &[&str]) -> String {
        let id = self.says(&[&["create", "--name", name], more].concat());
        let id = id.strip_suffix('\n').expect("a line");
        assert!(id.starts_with("sb-") && id.len() == 29, "{id}");
        id.to_owned()
    }

    fn with_input(&self, args: &[&str], input: &[u8]) -> Output {
        let mut child = self.compute(args).stdin(Stdio::piped()).spawn().expect("compute starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        let input = input.to_vec();
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().expect("compute ends");
        let _ = writer.join();
        output
    }

    fn said(&self, key: &str) -> &str {
        self.said[key].as_str().unwrap_or_else(|| panic!("{key} in {}", self.said))
    }

    fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let pid = Pid::from_raw(child.id().cast_signed()).expect("a pid");
        let _ = kill_process(pid, Signal::TERM);
        let end = Instant::now() + PATIENCE;
        while child.try_wait().expect("it is ours").is_none() {
            if Instant::now() > end {
                let _ = child.kill();
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

#[test]
fn a_sandbox_from_its_creation_to_its_end() {
    let server = Server::start();
    assert_eq!(server.says(&["ps"]), "NAME  ID  STATUS  AGE\n");
    let id = server.create("box", &["--env", "GREETING=hello", "--cwd", "/tmp/w", "--tag", "team=ci"]);

    // Each of these is another process: the sandbox is the server's.
    let table = server.says(&["ps"]);
    assert!(table.lines().nth(1).is_some_and(|line| line.starts_with(&format!("box   {id}  running  "))), "{table}");
    assert_eq!(server.says(&["ps", "-q", "--tag", "team=ci"]), format!("{id}\n"));
    assert_eq!(server.says(&["ps", "-q", "--tag", "team=other"]), "");
    assert_eq!(
        server.says(&["exec", "box", "--", "sh", "-c", "echo $GREETING; pwd; echo kept > /tmp/f"]),
        "hello\n/tmp/w\n"
    );
    assert_eq!(
        server.says(&[
            "exec",
            &id,
            "--env",
            "GREETING=other",
            "--cwd",
            "/tmp",
            "--",
            "sh",
            "-c",
            "echo $GREETING; cat f"
        ]),
        "other\nkept\n"
    );

    assert_eq!(server.says(&["tags", "box"]), "team=ci\n");
    assert_eq!(server.says(&["tags", "box", "set", "run=1", "team=x"]), "");
    assert_eq!(server.says(&["tags", "box", "unset", "run"]), "");
    assert_eq!(server.says(&["tags", &id]), "team=x\n");

    let (code, stdout, stderr) = parts(&server.run(&["create", "--name", "box"]));
    assert_eq!((code, stdout.as_str()), (Some(125), ""));
    assert!(stderr.contains("already") && stderr.contains("box"), "{stderr}");

    assert_eq!(server.says(&["stop", "box"]), "box\n");
    assert_eq!(server.says(&["stop", &id]), format!("{id}\n"), "a second time");
    assert_eq!(server.says(&["rm", "box"]), "box\n");
    assert_eq!(server.says(&["ps"]), "NAME  ID  STATUS  AGE\n");
    let table = server.says(&["ps", "-a"]);
    assert!(table.contains("WHY IT ENDED") && table.ends_with("it was destroyed\n"), "{table}");
    let (code, _, stderr) = parts(&server.run(&["exec", "box", "--", "true"]));
    assert_eq!(code, Some(125));
    assert!(stderr.contains("no running sandbox") && stderr.contains("hint: `compute ps`"), "{stderr}");
    let (code, _, stderr) = parts(&server.run(&["exec", &id, "--", "true"]));
    assert_eq!(code, Some(125));
    assert!(stderr.contains("has ended: it was destroyed"), "{stderr}");
    assert_eq!(server.run(&["stop", "box"]).status.code(), Some(125));
}

#[test]
fn what_a_command_says_and_how_it_ends_is_passed_on() {
    let server = Server::start();
    server.create("box", &[]);
    let sh = |script: &str| server.run(&["exec", "box", "--", "sh", "-c", script]);
    assert_eq!(parts(&sh("echo out; echo err >&2; exit 7")), (Some(7), "out\n".into(), "err\n".into()));
    assert_eq!(sh("kill -TERM $$").status.code(), Some(143));
    assert_eq!(sh(r"printf 'a\000\377\r\n'").stdout, b"a\0\xff\r\n");
    assert_eq!(server.run(&["exec", "box", "--", "no-such-program"]).status.code(), Some(127));
    assert_eq!(sh("head -c 20000000 /dev/zero | tr '\\0' x").stdout.len(), 20_000_000);

    // Standard input is passed on when that is asked for, and then to its end.
    assert_eq!(parts(&server.with_input(&["exec", "box", "--", "cat"], b"unseen")).1, "");
    let input: Vec<u8> = (0..5_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    assert!(server.with_input(&["exec", "-i", "box", "--", "cat"], &input).stdout == input, "other bytes came back");
    assert_eq!(parts(&server.with_input(&["exec", "-i", "box", "--", "head", "-c", "3"], b"abcdef")).1, "abc");

    let (code, stdout, stderr) =
        parts(&server.run(&["exec", "box", "--timeout", "1s", "--", "sh", "-c", "echo a; sleep 60"]));
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(124), "a\n", "killed: timed out after 1s\n"));

    let report = json(&server.run(&["-o", "json", "exec", "box", "--", "sh", "-c", "echo out; echo err >&2; exit 3"]));
    assert_eq!(
        (&report["stdout"], &report["stderr"], &report["exitCode"]),
        (&"out\n".into(), &"err\n".into(), &3.into())
    );
    assert_eq!(report["provider"], "modal");
    let error = &json(&server.run(&["-o", "json", "exec", "nobody", "--", "true"]))["error"];
    assert_eq!(error["kind"], "NotFound");
}

#[test]
fn a_signal_ends_exec_at_once() {
    let server = Server::start();
    server.create("box", &[]);
    let mut child =
        server.compute(&["exec", "box", "--", "sh", "-c", "echo begun; sleep 1000"]).spawn().expect("compute");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("readable");
    assert_eq!(line, "begun\n");
    let start = Instant::now();
    kill_process(Pid::from_raw(child.id().cast_signed()).expect("a pid"), Signal::TERM).expect("it runs");
    let output = child.wait_with_output().expect("it ends");
    let (code, _, stderr) = parts(&output);
    assert_eq!((code, stderr.as_str()), (Some(143), "compute: the command goes on in the sandbox\n"));
    assert!(start.elapsed() < PATIENCE / 3, "it took {:?}", start.elapsed());
    assert_eq!(
        server
            .says(&[
                "exec",
                "box",
                "--",
                "sh",
                "-c",
                "pgrep -c '^sleep$' || ls /proc/*/exe >/dev/null 2>&1; echo there"
            ])
            .lines()
            .last(),
        Some("there")
    );
}

#[test]
fn a_command_may_have_a_terminal() {
    let server = Server::start();
    server.create("box", &[]);
    let mut session = Session::of(server.compute(&["exec", "-t", "box", "--", "sh"]));
    session.type_line("stty size; test -t 0 && test -t 1 && echo te'rminal' $TERM");
    session.expect("31 91");
    session.expect("terminal xterm");
    assert!(session.is_raw());
    // Another size cannot be told, and is no failure.
    common::session::resize(&session.slave, 40, 120);
    session.signal(Signal::WINCH);
    session.type_line("sh -c 'echo be\"gun\"; exec sleep 1000'");
    session.expect("begun");
    session.master.write_all(b"\x03").expect("typed");
    session.type_line("echo interrupted $?");
    session.expect("interrupted 130");
    session.type_line("exit 7");
    assert_eq!(session.child.wait().expect("compute ends").code(), Some(7));
    assert!(!session.is_raw());
}

#[test]
fn the_main_process_has_a_log() {
    let server = Server::start();
    let script = "echo one; echo two >&2; while ! test -e /tmp/go; do sleep 0.01; done; echo three; exit 3";
    let id = server.create("main", &["--", "sh", "-c", script]);
    wait_for("its first lines", || {
        let (code, stdout, stderr) = parts(&server.run(&["logs", "main"]));
        code == Some(0) && stdout == "one\n" && stderr == "two\n"
    });
    let mut follower = server.compute(&["logs", "-f", "main"]).spawn().expect("compute starts");
    let mut line = String::new();
    BufReader::new(follower.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("readable");
    assert_eq!(line, "one\n");
    server.says(&["exec", "main", "--", "touch", "/tmp/go"]);
    let mut rest = String::new();
    follower.stdout.as_mut().expect("a pipe").read_to_string(&mut rest).expect("readable");
    assert_eq!(rest, "three\n");
    let mut errors = String::new();
    follower.stderr.as_mut().expect("a pipe").read_to_string(&mut errors).expect("readable");
    assert_eq!(errors, "two\n");
    assert_eq!(follower.wait().expect("it ends").code(), Some(0));

    // It has ended, and so has its sandbox.
    wait_for("its end in the list", || server.says(&["ps", "-a"]).contains("its main process exited with code 3"));
    for target in ["main", &id] {
        let (code, stdout, stderr) = parts(&server.run(&["logs", target]));
        assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), "one\nthree\n", "two\n"), "{target}");
    }
    let report = json(&server.run(&["-o", "json", "logs", &id]));
    assert_eq!(report["lines"].as_array().map(Vec::len), Some(3), "{report}");

    // Without a command there is nothing that could say something.
    server.create("quiet", &[]);
    assert_eq!(server.says(&["logs", "quiet"]), "");
}

#[test]
fn files_are_copied_either_way() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let server = Server::start();
    server.create("box", &[]);
    let dir = tempfile::tempdir().expect("a folder");
    let tree = dir.path().join("tree");
    std::fs::create_dir_all(tree.join("deep/er")).unwrap();
    let large: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(tree.join("large"), &large).unwrap();
    std::fs::write(tree.join("empty"), "").unwrap();
    std::fs::write(tree.join("deep/er/odd\nname ž"), "odd").unwrap();
    std::fs::write(tree.join("tool"), "#!/bin/sh\necho ran\n").unwrap();
    std::fs::set_permissions(tree.join("tool"), std::fs::Permissions::from_mode(0o750)).unwrap();
    symlink("tool", tree.join("link")).unwrap();
    symlink("/nonexistent", tree.join("dangling")).unwrap();
    let here = tree.to_str().unwrap();

    let (code, stdout, stderr) = parts(&server.run(&["cp", here, "box:/root/there"]));
    assert_eq!((code, stdout.as_str()), (Some(0), ""), "{stderr}");
    assert!(stderr.contains("left out: ") && stderr.contains("dangling: it is a link to nothing"), "{stderr}");
    assert_eq!(server.says(&["exec", "box", "--", "/root/there/tool"]), "ran\n");
    assert_eq!(
        server.says(&["exec", "box", "--", "stat", "-c", "%a %s", "/root/there/tool", "/root/there/large"]),
        "750 19\n644 12000000\n"
    );
    // Into a directory that is there, under its own name.
    let copied = json(&server.run(&["-o", "json", "cp", here, "box:/root/there"]));
    assert_eq!((copied["files"].as_u64(), copied["bytes"].as_u64()), (Some(5), Some(12_000_041)), "{copied}");
    assert_eq!(server.says(&["exec", "box", "--", "cat", "/root/there/tree/deep/er/odd\nname ž"]), "odd");

    let back = dir.path().join("back");
    server.says(&["cp", "box:/root/there", back.to_str().unwrap()]);
    assert!(std::fs::read(back.join("large")).unwrap() == large, "other bytes came back");
    assert_eq!(std::fs::read(back.join("empty")).unwrap(), b"");
    assert_eq!(std::fs::read(back.join("tree/deep/er/odd\nname ž")).unwrap(), b"odd");
    assert_eq!(std::fs::metadata(back.join("tool")).unwrap().permissions().mode() & 0o111, 0o110);
    assert!(std::fs::symlink_metadata(back.join("link")).unwrap().is_file());

    // One file: under another name, into a directory, and onto what is there.
    let file = dir.path().join("one");
    server.says(&["cp", "box:/root/there/tool", file.to_str().unwrap()]);
    server.says(&["cp", file.to_str().unwrap(), "box:/new/dir/"]);
    server.says(&["cp", "box:/new/dir/one", dir.path().to_str().unwrap()]);
    assert_eq!(std::fs::read(&file).unwrap(), b"#!/bin/sh\necho ran\n");

    for args in [
        ["cp", "box:/nonexistent", "x"],
        ["cp", "/nonexistent", "box:/x"],
        ["cp", here, "box:/etc/passwd"],
        ["cp", "box:/dev/zero", "x"],
    ] {
        let (code, _, stderr) = parts(&server.run(&args));
        assert_eq!(code, Some(125), "{args:?}: {stderr}");
    }
}

#[test]
fn what_a_sandbox_holds_does_not_lead_elsewhere() {
    let server = Server::start();
    server.create("box", &[]);
    let script = "mkdir -p /x/d && cd /x && mkfifo pipe && ln -s / root && ln -s /etc/passwd file && printf a > '..b' && ln -s pipe to-pipe";
    server.says(&["exec", "box", "--", "sh", "-c", script]);
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("out");
    let (code, _, stderr) = parts(&server.run(&["cp", "box:/x", out.to_str().unwrap()]));
    assert_eq!(code, Some(0), "{stderr}");
    for left in ["/x/pipe", "/x/root", "/x/to-pipe"] {
        assert!(stderr.contains(&format!("left out: {left}: ")), "{stderr}");
    }
    let mut names: Vec<_> = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["..b", "d", "file"]);
    assert!(std::fs::symlink_metadata(out.join("file")).unwrap().is_file(), "no link is made here");
}

#[test]
fn the_server_is_found_or_said_to_be_missing() {
    let mut server = Server::start();
    server.create("box", &[]);
    let home = tempfile::tempdir().expect("a folder");
    let elsewhere = |args: &[&str]| compute_in(home.path(), args);
    let missing = |output: Output, what: &str| {
        let (code, stdout, stderr) = parts(&output);
        assert_eq!((code, stdout.as_str()), (Some(125), ""), "{what}: {stderr}");
        assert!(stderr.ends_with("hint: start one: compute serve\n"), "{what}: {stderr}");
    };
    missing(elsewhere(&["ps"]).output().unwrap(), "nothing is known");
    // A token in the environment leads nowhere, and neither does the URL of somebody else's server.
    let token = [("MODAL_TOKEN_ID", server.said("tokenId")), ("MODAL_TOKEN_SECRET", server.said("tokenSecret"))];
    missing(elsewhere(&["ps"]).envs(token).output().unwrap(), "a token alone");
    missing(
        elsewhere(&["ps"]).envs(token).env("MODAL_SERVER_URL", server.said("url")).output().unwrap(),
        "an unmarked URL",
    );

    let names = |output: Output| {
        let (code, stdout, stderr) = parts(&output);
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        stdout.contains("box")
    };
    assert!(names(elsewhere(&["ps", "--server", server.said("url")]).envs(token).output().unwrap()));
    assert!(names(elsewhere(&["ps"]).env("COMPUTESDK_SERVER", server.said("url")).envs(token).output().unwrap()));
    let (code, _, stderr) = parts(&elsewhere(&["ps", "--server", server.said("url")]).output().unwrap());
    assert_eq!(code, Some(125));
    assert!(stderr.contains("there is no token for the server"), "{stderr}");
    let wrong = [("MODAL_TOKEN_ID", "ak-wrong"), ("MODAL_TOKEN_SECRET", "as-s3cret")];
    let (code, _, stderr) = parts(&elsewhere(&["ps", "--server", server.said("url")]).envs(wrong).output().unwrap());
    assert_eq!(code, Some(125));
    assert!(stderr.contains("Modal authentication failed") && !stderr.contains("s3cret"), "{stderr}");

    // Below `compute serve -- COMMAND`, it is that server.
    let script = format!("\"{0}\" create --name inner >/dev/null && \"{0}\" ps", env!("CARGO_BIN_EXE_compute"));
    let (code, stdout, stderr) = parts(&elsewhere(&["serve", "--", "sh", "-c", &script]).output().unwrap());
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.contains("inner") && !stdout.contains("box"), "{stdout}");

    // What a server wrote stays when it is killed; then nobody answers there.
    let mut child = server.child.take().expect("it runs");
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    missing(server.run(&["ps"]), "a server that is gone");
}

#[test]
fn ports_are_published_and_told() {
    let server = Server::start();
    let script =
        "import http.server as h; h.test(HandlerClass=h.SimpleHTTPRequestHandler, port=8080, bind='127.0.0.1')";
    let output = server.run(&["-o", "json", "create", "--port", "8080", "--", "python3", "-c", script]);
    let report = json(&output);
    assert_eq!(report["tunnels"][0]["port"], 8080, "{report}");
    let plain = &report["tunnels"][0]["plain"];
    let address = format!("{}:{}", plain["host"].as_str().expect("a host"), plain["port"]);
    wait_for("an answer of its server", || {
        let Ok(mut stream) = std::net::TcpStream::connect(&address) else { return false };
        let mut answer = String::new();
        let asked = stream.write_all(b"GET / HTTP/1.0\r\n\r\n");
        asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.0 200")
    });
    assert_eq!(report["status"], "running");
    server.says(&["stop", report["id"].as_str().expect("an id")]);
}
