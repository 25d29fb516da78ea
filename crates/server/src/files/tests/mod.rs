//! Both ways over the `local` provider: what comes out is compared with what commands in the sandbox say.

mod helper;
mod numberless;
mod old;

use computesdk_core::{CreateOptions, ExecOptions, Files, Provider as _, Sandbox};
use computesdk_local::{Local, LocalConfig, doctor};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;

/// Far more than anything here takes.
const DEADLINE: Duration = Duration::from_secs(60);

/// A sandbox, and what a test does with it.
struct Room {
    sandbox: Arc<dyn Sandbox>,
    files: Arc<dyn Files>,
}

impl Room {
    /// Runs a shell script; its output.
    async fn shell(&self, script: &str) -> String {
        let process = self.sandbox.exec(ExecOptions::new(["sh", "-ec", script])).await.unwrap();
        let (mut stdout, mut stderr) = (process.take_stdout().unwrap(), process.take_stderr().unwrap());
        let (mut out, mut err) = (Vec::new(), Vec::new());
        tokio::try_join!(stdout.read_to_end(&mut out), stderr.read_to_end(&mut err)).unwrap();
        let status = process.wait().await.unwrap();
        assert!(status.success(), "{script}: {status:?}: {}", String::from_utf8_lossy(&err));
        String::from_utf8(out).unwrap()
    }
}

/// Gives a fresh sandbox to a test and removes it afterwards; skips, saying so, where there can be none.
async fn with_sandbox(test: impl AsyncFnOnce(&Room)) {
    let state = tempfile::tempdir().unwrap();
    let mut config = LocalConfig::default();
    config.state_dir = Some(state.path().to_owned());
    if doctor(&config).await.unwrap().rung.is_none() {
        assert!(std::env::var_os("COMPUTESDK_EXPECT_RUNG").is_none(), "this machine offers no sandbox isolation");
        eprintln!("skipped: this machine offers no sandbox isolation; see `compute doctor`");
        return;
    }
    let local = Local::new(config);
    let sandbox = local.create(CreateOptions::default()).await.unwrap();
    let room = Room { files: sandbox.files(), sandbox };
    let done = tokio::time::timeout(DEADLINE, test(&room)).await;
    local.shutdown().await;
    done.expect("the test ends in time");
}

/// Waits for something that is about to be so.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(tokio::time::Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The path that a watch is poked with until its first event comes: nothing else tells that it has begun.
async fn poke(files: Arc<dyn Files>, path: String) {
    loop {
        let _ = files.make_dir(&path).await;
        let _ = files.remove(&path).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
