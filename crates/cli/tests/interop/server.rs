//! `compute serve`, as a user starts it: its own directories, its address from its first line, stopped by SIGTERM.

use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long it may take until it serves, and until it has gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why no server can run here, if so.
pub(crate) fn unavailable() -> Option<String> {
    let doctor = Command::new(env!("CARGO_BIN_EXE_compute")).arg("doctor").stdin(Stdio::null()).output();
    match doctor {
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            Some(format!("no sandboxes can be made here: {}", said.lines().next().unwrap_or_default()))
        }
        Err(error) => Some(format!("`compute doctor`: {error}")),
    }
}

/// What this machine cannot keep, if anything: the server refuses it there, and the matrix would say so of all machines.
pub(crate) fn lacks() -> Option<String> {
    let doctor =
        Command::new(env!("CARGO_BIN_EXE_compute")).args(["-o", "json", "doctor"]).stdin(Stdio::null()).output();
    let found: Value = doctor.ok().and_then(|output| serde_json::from_slice(&output.stdout).ok()).unwrap_or_default();
    let kept = |limit: &str| found["limits"].as_array().is_some_and(|limits| limits.iter().any(|kept| kept == limit));
    let lacking: Vec<&str> = ["memory", "cpu", "pids"].into_iter().filter(|limit| !kept(limit)).collect();
    if !lacking.is_empty() {
        return Some(format!("this machine keeps no limits of {}", lacking.join(", ")));
    }
    (found["network"] != "every program").then(|| "not every program reaches the network in sandboxes here".to_owned())
}

/// A running server.
pub(crate) struct Server {
    child: Child,
    // Held open: the end of its input is no reason to end, and no input at all would be the end of it.
    _stdin: Option<ChildStdin>,
    directory: TempDir,
    /// What the programs are given.
    settings: Vec<(String, String)>,
}

impl Server {
    /// Starts it, with these faults, and waits until it serves.
    pub(crate) fn start(faults: &[&str]) -> Result<Self, String> {
        let directory = tempfile::Builder::new().prefix("interop-").tempdir().map_err(|error| error.to_string())?;
        let log = std::fs::File::create(directory.path().join("server.log")).map_err(|error| error.to_string())?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_compute"));
        command.args(["-o", "json", "serve", "--listen", "127.0.0.1:0", "--state"]).arg(directory.path().join("state"));
        if !faults.is_empty() {
            // With the same seed, the n-th call of a name meets the same in every run.
            command.args(["--fault-seed", "1"]);
        }
        for rule in faults {
            command.args(["--fault", rule]);
        }
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("MODAL_") {
                command.env_remove(name);
            }
        }
        command.env("XDG_STATE_HOME", directory.path().join("xdg"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().map_err(|error| format!("`compute serve`: {error}"))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take();
        let mut server = Self { child, _stdin: stdin, directory, settings: Vec::new() };
        let (send, receive) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let mut reader = BufReader::new(
                stdout
                    .map_or_else(|| Box::new(std::io::empty()) as Box<dyn std::io::Read + Send>, |pipe| Box::new(pipe)),
            );
            let _ = reader.read_line(&mut line);
            let _ = send.send(line);
            // Whatever it writes later must not block it.
            let _ = std::io::copy(&mut reader, &mut std::io::sink());
        });
        let line = receive.recv_timeout(PATIENCE).unwrap_or_default();
        let told: Value = serde_json::from_str(&line)
            .map_err(|error| format!("`compute serve` told no address: {error}: {line:?}\n{}", server.log()))?;
        server.settings = settings(&told, server.directory.path())?;
        Ok(server)
    }

    /// What a program needs to find it and to trust it.
    pub(crate) fn settings(&self) -> &[(String, String)] {
        &self.settings
    }

    /// Its address.
    pub(crate) fn url(&self) -> &str {
        self.settings.iter().find(|(name, _)| name == "MODAL_SERVER_URL").map_or("", |(_, value)| value)
    }

    /// Where programs may leave what they make.
    pub(crate) fn scratch(&self) -> &Path {
        self.directory.path()
    }

    /// Stops it as a service manager would, and says whether it went in order.
    pub(crate) fn stop(mut self) -> Result<(), String> {
        if let Some(status) = self.child.try_wait().map_err(|error| error.to_string())? {
            return Err(format!("the server had ended by itself: {status}\n{}", self.log()));
        }
        signal(&self.child, rustix::process::Signal::TERM);
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().map_err(|error| error.to_string())? {
                let log = self.log();
                return if status.success() { Ok(()) } else { Err(format!("the server ended with {status}\n{log}")) };
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("the server did not end within {PATIENCE:?} of SIGTERM\n{}", self.log()))
    }

    /// The end of what it wrote to standard error.
    fn log(&self) -> String {
        let mut text = String::new();
        if let Ok(mut file) = std::fs::File::open(self.directory.path().join("server.log")) {
            let _ = file.read_to_string(&mut text);
        }
        let lines: Vec<&str> = text.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing to do for one that was stopped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// The environment for programs, from what the server told of itself. Refuses an address that is not on loopback.
fn settings(told: &Value, scratch: &Path) -> Result<Vec<(String, String)>, String> {
    let text = |name: &str| {
        told.get(name).and_then(Value::as_str).ok_or_else(|| format!("`compute serve` told no {name}: {told}"))
    };
    let url = text("url")?;
    if !url.starts_with("http://127.0.0.1:") {
        return Err(format!("refusing to run: {url} is not on loopback"));
    }
    let empty = scratch.join("no-profile.toml");
    std::fs::write(&empty, "").map_err(|error| error.to_string())?;
    let mut settings = vec![
        ("MODAL_CONFIG_PATH".to_owned(), empty.display().to_string()),
        // The clients tell what went wrong on a broken connection with this one only.
        ("MODAL_LOGLEVEL".to_owned(), "WARNING".to_owned()),
    ];
    for (variable, name) in [
        ("MODAL_SERVER_URL", "url"),
        ("MODAL_TOKEN_ID", "tokenId"),
        ("MODAL_TOKEN_SECRET", "tokenSecret"),
        ("MODAL_ENVIRONMENT", "environment"),
        ("SSL_CERT_FILE", "caBundle"),
        ("REQUESTS_CA_BUNDLE", "caBundle"),
        ("NODE_EXTRA_CA_CERTS", "ca"),
    ] {
        settings.push((variable.to_owned(), text(name)?.to_owned()));
    }
    Ok(settings)
}
