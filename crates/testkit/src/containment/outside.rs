//! The checker's other half, on the host.

use crate::check::{Failure, Outcome};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Things that are planted on the host, and what to tell a checker about them. Dropping it removes them.
pub(super) struct Outside {
    child: Child,
    output: BufReader<ChildStdout>,
    /// `KEY=VALUE` each.
    pub(super) facts: Vec<String>,
    dir: PathBuf,
}

impl Outside {
    /// Plants them.
    pub(super) fn start() -> Outcome<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("computesdk-containment-{}-{number}", std::process::id()));
        std::fs::create_dir(&dir)?;
        let program = dir.join("checker");
        std::fs::write(&program, super::PROGRAM)?;
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
        let started = spawn(&program);
        let mut child = started.inspect_err(|_| drop(std::fs::remove_dir_all(&dir)))?;
        let output = child.stdout.take().map(BufReader::new).ok_or_else(|| Failure::new("it has no output"))?;
        let mut outside = Self { child, output, facts: Vec::new(), dir };
        loop {
            let mut line = String::new();
            ensure!(outside.output.read_line(&mut line)? > 0, "`checker outside` ended before it was ready");
            match line.trim_end() {
                "ready=1" => return Ok(outside),
                fact => outside.facts.push(fact.to_owned()),
            }
        }
    }

    /// The static checker, where this user can execute it.
    pub(super) fn program(&self) -> PathBuf {
        self.dir.join("checker")
    }

    /// Removes what was planted. Fails if a checker left a mark anywhere on the host.
    pub(super) fn finish(mut self) -> Outcome {
        drop(self.child.stdin.take());
        let mut said = String::new();
        self.output.read_to_string(&mut said)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "what was planted outside did not live to the end: {status}");
        ensure!(said.is_empty(), "the host has files that were written in the sandbox: {said}");
        Ok(())
    }
}

/// Executing a file that another thread's fork still has open for writing is ETXTBSY: tried again.
fn spawn(program: &Path) -> std::io::Result<Child> {
    let mut tries = 0;
    loop {
        match Command::new(program).arg("outside").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy && tries < 1000 => {
                tries += 1;
                std::thread::yield_now();
            }
            result => return result,
        }
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        // The end of its input is what it waits for; it removes what it planted and exits.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
