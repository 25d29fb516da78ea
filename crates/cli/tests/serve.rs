//! `compute serve` as a program: for a command, until a signal, and what it refuses. What clients see is tested in `interop`.
#![cfg(feature = "serve")]

mod common;

use common::{compute, json, parts, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Output};

/// A home of its own: no state, no authority and no `server.json` of whoever runs the tests.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn compute(&self, args: &[&str]) -> Command {
        let mut command = compute(args);
        command.env("XDG_STATE_HOME", self.0.path().join("state"));
        command.env("XDG_DATA_HOME", self.0.path().join("data"));
        for name in ["MODAL_SERVER_URL", "MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET", "COMPUTESDK_SERVER", "SSL_CERT_FILE"] {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.compute(args).output().expect("compute starts")
    }

    fn server_file(&self) -> std::path::PathBuf {
        self.0.path().join("state/computesdk/server.json")
    }
}

/// A server that stays, ended with the test.
struct Serving {
    child: Child,
    said: serde_json::Value,
}

impl Serving {
    fn start(home: &Home, args: &[&str]) -> Self {
        let all = [&["-o", "json", "serve", "--listen", "127.0.0.1:0"], args].concat();
        let mut child = home.compute(&all).spawn().expect("compute starts");
        let mut line = String::new();
        let read = BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line);
        assert!(read.expect("readable") > 0, "{:?}", child.wait_with_output());
        Self { said: serde_json::from_str(&line).expect("one line of JSON"), child }
    }

    fn said(&self, key: &str) -> &str {
        self.said[key].as_str().unwrap_or_else(|| panic!("{key} in {}", self.said))
    }

    /// The answer to a request over HTTP/1.1, its head included.
    fn http(&self, request: &str, headers: &str, body: &str) -> String {
        let host = self.said("url").strip_prefix("http://").expect("a URL");
        let mut stream = TcpStream::connect(host).expect("it listens");
        stream.set_read_timeout(Some(common::PATIENCE)).expect("a time limit");
        let length = body.len();
        let text = format!(
            "{request} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        );
        stream.write_all(text.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    }

    fn bearer(&self) -> String {
        format!("Authorization: Bearer {}:{}\r\n", self.said("tokenId"), self.said("tokenSecret"))
    }

    fn end(mut self, signal: Signal) -> (Option<i32>, String) {
        kill_process(Pid::from_raw(self.child.id().cast_signed()).expect("a pid"), signal).expect("it runs");
        let status = self.child.wait().expect("it ends");
        let mut said = String::new();
        self.child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("readable");
        (status.code(), said)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_command_gets_the_environment_and_its_exit_code_is_passed_on() {
    let home = Home::new();
    let script = r#"
        case "$MODAL_SERVER_URL" in http://127.0.0.1:*) ;; *) exit 90;; esac
        [ -n "$MODAL_TOKEN_ID" ] && [ -n "$MODAL_TOKEN_SECRET" ] && [ "$MODAL_ENVIRONMENT" = main ] || exit 91
        [ -s "$NODE_EXTRA_CA_CERTS" ] && [ -s "$SSL_CERT_FILE" ] && [ "$REQUESTS_CA_BUNDLE" = "$SSL_CERT_FILE" ] || exit 92
        dirname "$SSL_CERT_FILE"
        exit 7"#;
    let (code, state, stderr) = parts(&home.run(&["serve", "--", "sh", "-c", script]));
    assert_eq!((code, stderr.as_str()), (Some(7), ""));
    assert!(!std::path::Path::new(state.trim()).exists(), "the state of {state} goes with the command");
    assert!(!home.server_file().exists(), "a server for one command is nobody else's");
    assert_eq!(home.run(&["serve", "--", "sh", "-c", "kill -TERM $$"]).status.code(), Some(143));
    assert_eq!(home.run(&["serve", "--", "/nonexistent/program"]).status.code(), Some(127));
    assert_eq!(home.run(&["serve", "--", "/"]).status.code(), Some(126));
}

#[test]
fn it_says_where_it_is_until_a_signal_comes() {
    let home = Home::new();
    let none = home.run(&["serve", "--print-env"]);
    let (code, stdout, stderr) = parts(&none);
    assert_eq!((code, stdout.as_str()), (Some(125), ""));
    assert!(stderr.contains("hint: start one: compute serve"), "{stderr}");

    let serving = Serving::start(&home, &[]);
    let written: serde_json::Value =
        serde_json::from_slice(&std::fs::read(home.server_file()).expect("it is written")).expect("it is JSON");
    assert_eq!(written["url"], serving.said["url"]);
    assert_eq!(written["token_secret"], serving.said["tokenSecret"]);
    let exports = home.run(&["serve", "--print-env"]);
    assert!(String::from_utf8_lossy(&exports.stdout).contains(serving.said("tokenSecret")), "{exports:?}");

    assert!(serving.http("GET /healthz", "", "").contains("\"status\":\"ok\""));
    assert!(serving.http("GET /v1/faults", "", "").starts_with("HTTP/1.1 401 "));
    assert!(serving.http("GET /v1/faults", &serving.bearer(), "").contains("\"rules\":[]"));
    let web = format!("Origin: http://elsewhere.example\r\n{}", serving.bearer());
    assert!(serving.http("GET /v1/faults", &web, "").starts_with("HTTP/1.1 403 "));
    assert_eq!(serving.end(Signal::TERM), (Some(0), String::new()));
    wait_for("server.json to be gone", || !home.server_file().exists());
}

#[test]
fn tokens_of_other_workspaces_do_not_touch_what_is_everybodys() {
    let home = Home::new();
    let serving = Serving::start(&home, &[]);
    let body = |answer: &str| -> serde_json::Value {
        serde_json::from_str(answer.split("\r\n\r\n").nth(1).expect("a body").trim()).expect("JSON")
    };
    let answer = serving.http("POST /v1/tokens", &serving.bearer(), r#"{"workspace":"team","note":"ci"}"#);
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    let issued = body(&answer);
    let team = format!(
        "Authorization: Bearer {}:{}\r\n",
        issued["id"].as_str().expect("id"),
        issued["secret"].as_str().expect("secret")
    );
    assert!(serving.http("GET /v1/tokens", &team, "").starts_with("HTTP/1.1 401 "));
    let listed = serving.http("GET /v1/tokens?workspace=team", &serving.bearer(), "");
    assert!(
        listed.contains("\"note\":\"ci\"") && !listed.contains(issued["secret"].as_str().expect("secret")),
        "{listed}"
    );
    let path = format!("DELETE /v1/tokens/{}", issued["id"].as_str().expect("id"));
    assert!(serving.http(&path, &serving.bearer(), "").starts_with("HTTP/1.1 200 "));
    assert!(serving.http(&path, &serving.bearer(), "").starts_with("HTTP/1.1 404 "));
    assert!(
        serving.http("POST /v1/tokens", &serving.bearer(), r#"{"workspace":"a b"}"#).contains("invalid `workspace`")
    );
}

#[test]
fn a_state_folder_has_one_server_and_a_token_outlives_it() {
    let home = Home::new();
    let first = Serving::start(&home, &[]);
    let token = first.bearer();
    let second = home.run(&["-o", "json", "serve", "--listen", "127.0.0.1:0"]);
    let error = json(&second);
    assert_eq!((second.status.code(), error["error"]["kind"].as_str()), (Some(125), Some("FailedPrecondition")));
    assert!(error["error"]["message"].as_str().expect("text").contains("--state"), "{error}");
    assert_eq!(first.end(Signal::TERM).0, Some(0));

    let again = Serving::start(&home, &[]);
    assert_ne!(again.bearer(), token, "each start prints a fresh token");
    assert!(again.http("GET /v1/faults", &token, "").starts_with("HTTP/1.1 200 "), "the one before stays good");
    assert_eq!(again.end(Signal::INT).0, Some(130));
}

#[test]
fn what_cannot_be_is_told_with_what_to_do() {
    let home = Home::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let (code, _, stderr) = parts(&home.run(&["serve", "--listen", &address]));
    assert_eq!(code, Some(125));
    assert!(stderr.contains("cannot listen on") && stderr.contains("hint: another server"), "{stderr}");
    let (code, _, stderr) = parts(&home.run(&["serve", "--fault", "SandboxCreate: dealy=2s"]));
    assert_eq!(code, Some(125));
    assert!(stderr.contains("dealy"), "{stderr}");
    let (code, _, stderr) = parts(&home.run(&["serve", "--key", "/nonexistent/key", "--listen", "127.0.0.1:0"]));
    assert_eq!(code, Some(125));
    assert!(stderr.contains("/nonexistent/key"), "{stderr}");
    let (code, _, stderr) = parts(&home.run(&["serve", "--tls-cert", "/nonexistent/a", "--tls-key", "/nonexistent/b"]));
    assert_eq!(code, Some(125));
    assert!(stderr.contains("/nonexistent/a"), "{stderr}");
}
