//! A server as a program, with a home of its own.

use crate::client::{Client, soon};
use crate::common::{compute, json};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use tonic::transport::Endpoint;

/// A home of its own: no state, no authority and no `server.json` of whoever runs the tests.
pub(crate) struct Home(pub(crate) tempfile::TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    pub(crate) fn compute(&self, args: &[&str]) -> Command {
        let mut command = compute(args);
        command.env("XDG_STATE_HOME", self.0.path().join("state")).env("XDG_DATA_HOME", self.0.path().join("data"));
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("MODAL_") || text.starts_with("COMPUTESDK_SERVE") {
                command.env_remove(name);
            }
        }
        command
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.0.path().join("state/computesdk/server")
    }

    /// A server over what is there.
    pub(crate) fn serve(&self) -> Serving {
        Serving::start(self.compute(&["-o", "json", "serve", "--listen", "127.0.0.1:0"]))
    }
}

/// A server, killed with the test.
pub(crate) struct Serving {
    child: Child,
    url: String,
    pub(crate) token: (String, String),
}

impl Serving {
    /// By a command that says in JSON where it is.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("compute starts");
        let mut line = String::new();
        let read = BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line);
        assert!(read.expect("readable") > 0, "{:?}", child.wait_with_output());
        let said: serde_json::Value = serde_json::from_str(&line).expect("one line of JSON");
        let text = |key: &str| said[key].as_str().expect("a text").to_owned();
        let token = (text("tokenId"), text("tokenSecret"));
        Self { child, url: text("url"), token }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn send(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid().cast_signed()).expect("a pid"), signal).expect("it runs");
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.send(Signal::KILL);
        self.child.wait().expect("it ends");
    }

    /// Its exit code, once it has ended, and what it said.
    pub(crate) fn ended(mut self, within: Duration) -> (Option<i32>, String) {
        let end = Instant::now() + within;
        let status = loop {
            match self.child.try_wait().expect("it can be asked") {
                Some(status) => break status,
                None => assert!(Instant::now() < end, "it has not ended within {within:?}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let mut said = String::new();
        self.child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("readable");
        (status.code(), said)
    }

    pub(crate) async fn client(&self) -> Client {
        self.client_with(self.token.clone()).await
    }

    pub(crate) async fn client_with(&self, token: (String, String)) -> Client {
        // A server of the test's own, on this machine.
        assert!(self.url.starts_with("http://127.0.0.1:"), "{}", self.url);
        let endpoint = Endpoint::from_shared(self.url.clone()).expect("a URL");
        Client { channel: soon(endpoint.connect()).await.expect("it listens"), token }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether sandboxes can be had here; says so where they cannot.
pub(crate) fn has_sandboxes(home: &Home) -> bool {
    let output = home.compute(&["-o", "json", "doctor"]).output().expect("compute starts");
    let found = output.status.success() && json(&output)["rung"].is_string();
    assert!(found || std::env::var_os("COMPUTESDK_EXPECT_RUNG").is_none(), "no sandboxes here: {output:?}");
    if !found {
        println!("skipped: this machine offers no sandbox isolation; see `compute doctor`");
    }
    found
}
