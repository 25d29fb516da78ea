//! What an idle sandbox takes of the memory of the process that holds it: one with the server, one with the provider alone.
//!
//! Each is a process of its own, this program again with `--hold`. What is compared is all of it, the server's own needs
//! included: proportional set size (`smaps_rollup` in `proc(5)`), once it has stopped changing.

use crate::Result;
use crate::house::{Guest, House};
use crate::report::{Bound, Report};
use crate::samples::Samples;
use computesdk_core::{CreateOptions, Provider as _};
use computesdk_local::{Local, LocalConfig};
use secrecy::ExposeSecret as _;
use std::io::BufRead as _;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// How many are idle at a time.
const LIVE: usize = 200;
const PASSES: usize = 3;
/// More for each than for one of the provider's.
const BOUND: Bound = Bound::AtMost(64.0);
/// A change of less is noise.
const STEADY: f64 = 64.0;
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);
const SETTLED_WITHIN: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(300);
/// For a sandbox that has a command.
const IDLE: [&str; 2] = ["sleep", "infinity"];

pub(crate) async fn measure(report: &mut Report) -> Result<()> {
    for (what, command) in [("with a command", &IDLE[..]), ("without one", &[][..])] {
        let (mut server, mut provider, mut each) = (Samples::default(), Samples::default(), Samples::default());
        for _ in 0..PASSES {
            let with = with_server(command).await?;
            let without = alone(command).await?;
            server.push(with / 1024.0);
            provider.push(without / 1024.0);
            each.push((with - without) / LIVE as f64);
        }
        report.samples(format!("{LIVE} idle sandboxes {what}, the provider alone"), "MiB", &provider);
        report.samples(format!("{LIVE} idle sandboxes {what}, the server"), "MiB", &server);
        report.bounded("  more for each", "KiB", each.p50(), BOUND);
    }
    Ok(())
}

/// KiB of a process with a server that holds the sandboxes.
async fn with_server(command: &[&str]) -> Result<f64> {
    let mut holder = Holder::start("server")?;
    let told = holder.line().await?;
    let mut words = told.split(' ');
    let mut word = || words.next().ok_or("the server's process told too little");
    let (address, id, secret) = (word()?.parse()?, word()?, word()?);
    let mut guest = Guest::arrive(address, id, secret).await?;
    for _ in 0..LIVE {
        guest.create(command).await?;
    }
    holder.settle_and_end().await
}

/// KiB of a process with the provider alone.
async fn alone(command: &[&str]) -> Result<f64> {
    let mut holder = Holder::start("provider")?;
    holder.tell(&command.join(" ")).await?;
    holder.line().await?;
    holder.settle_and_end().await
}

/// The other process.
struct Holder {
    child: Child,
    stdin: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Holder {
    fn start(what: &str) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--hold", what]).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let stdin = child.stdin.take().ok_or("no standard input")?;
        let answers = BufReader::new(child.stdout.take().ok_or("no standard output")?).lines();
        Ok(Self { child, stdin, answers })
    }

    async fn tell(&mut self, line: &str) -> Result<()> {
        self.stdin.write_all(format!("{line}\n").as_bytes()).await?;
        Ok(self.stdin.flush().await?)
    }

    async fn line(&mut self) -> Result<String> {
        let line =
            timeout(PATIENCE, self.answers.next_line()).await.map_err(|_| "the other process says nothing")??;
        line.ok_or_else(|| "the other process ended".into())
    }

    /// Its memory in KiB once that has stopped changing.
    async fn settle_and_end(mut self) -> Result<f64> {
        let pid = self.child.id().ok_or("it has ended")?;
        let end = Instant::now() + SETTLED_WITHIN;
        let mut last = memory(pid)?;
        loop {
            tokio::time::sleep(PAUSE).await;
            let now = memory(pid)?;
            if (now - last).abs() < STEADY || Instant::now() > end {
                last = now;
                break;
            }
            last = now;
        }
        drop(self.stdin);
        let status = timeout(PATIENCE, self.child.wait()).await.map_err(|_| "the other process does not end")??;
        if status.success() { Ok(last) } else { Err(format!("the other process ended with {status}").into()) }
    }
}

fn memory(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).ok_or("no Pss in smaps_rollup")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// The other process: holds sandboxes until its standard input ends.
pub(crate) fn hold(what: &str) -> Result<()> {
    let runtime = crate::runtime()?;
    let mut lines = std::io::stdin().lock().lines();
    if what == "server" {
        let house = runtime.block_on(House::open())?;
        let credentials = &house.credentials;
        println!("{} {} {}", house.address, credentials.token_id, credentials.token_secret.expose_secret());
        for line in lines.by_ref() {
            line?;
        }
        return runtime.block_on(house.close());
    }
    let scratch = tempfile::Builder::new().prefix("computesdk-bench-").tempdir()?;
    let mut config = LocalConfig::default();
    config.state_dir = Some(scratch.path().join("engine"));
    config.authority_dir = Some(scratch.path().join("ca"));
    let local = Local::new(config);
    let command = lines.next().ok_or("it was not told what to hold")??;
    let mut options = CreateOptions::default();
    options.command =
        Some(command.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).filter(|all| !all.is_empty());
    options.timeout = Some(Duration::from_secs(3600));
    let live = runtime.block_on(async {
        let mut live = Vec::with_capacity(LIVE);
        for _ in 0..LIVE {
            // What the server adds.
            let id = String::from("sb-0123456789012345678901");
            options.env.insert(String::from("MODAL_SANDBOX_ID"), id.clone());
            options.env.insert(String::from("MODAL_TASK_ID"), id.clone());
            options.metadata.insert(String::from("modal.sandbox_id"), id);
            live.push(local.create(options.clone()).await?);
        }
        Result::Ok(live)
    })?;
    println!("done");
    for line in lines {
        line?;
    }
    drop(live);
    runtime.block_on(local.shutdown());
    Ok(scratch.close()?)
}
