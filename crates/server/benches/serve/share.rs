//! The server's own share of a create and of an exec, and the time to the first output, with Modal's own SDKs driving.
//!
//! In each round the SDK makes a sandbox, runs `echo` in it and reads the first of its output; then it asks for the same to be done
//! without the server: the provider is given the very options that the server gave it. So both find the same caches, and a machine
//! on which the SDK has just been at work.

use crate::Result;
use crate::client::{Client, Program};
use crate::house::House;
use crate::report::{Bound, Report};
use crate::samples::Samples;
use crate::spans::{self, Spans};
use computesdk_core::{CreateOptions, ExecOptions, Provider as _};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt as _;

const WARM_UP: usize = 5;
/// Before each sandbox, for what clears away the last one.
const PAUSE: Duration = Duration::from_millis(30);
/// The share of a create, and of an exec, beside the provider's own.
const BOUND: Bound = Bound::AtMost(1.5);

/// What was seen with one SDK, all in milliseconds.
#[derive(Default)]
struct Seen {
    create: Samples,
    create_provider: Samples,
    create_call: Samples,
    create_direct: Samples,
    exec: Samples,
    exec_provider: Samples,
    exec_direct: Samples,
    first: Samples,
    first_direct: Samples,
    theirs: Samples,
}

/// The same without the server.
struct Direct {
    create: Duration,
    exec: Duration,
    /// From the call of create.
    first: Duration,
}

pub(crate) async fn measure(rounds: usize, report: &mut Report) -> Result<()> {
    let spans = spans::listen()?;
    for client in Client::ALL {
        let installed = match client.install().await {
            Ok(installed) => installed,
            Err(error) => {
                report.skip(format!("create, exec and first output by {}", client.name()), error.to_string());
                continue;
            }
        };
        let house = House::open().await?;
        let mut program = installed.start("rounds", &house).await?;
        let mut seen = Seen::default();
        for round in 0..WARM_UP + rounds {
            if round == WARM_UP {
                seen = Seen::default();
            }
            seen.round(&mut program, &house, &spans).await?;
        }
        program.end().await?;
        house.close().await?;
        seen.tell(client, report);
    }
    Ok(())
}

impl Seen {
    async fn round(&mut self, program: &mut Program, house: &House, spans: &Spans) -> Result<()> {
        tokio::time::sleep(PAUSE).await;
        spans.take();
        let first = program.ask_ms("make").await?;
        let heard = spans.take();
        program.ask("end").await?;
        let (create, exec) = (heard.span("create"), heard.span("exec.start"));
        let (Some(create), Some(exec)) = (create, exec) else {
            return Err("the server told nothing of a create and an exec".into());
        };
        self.first.push(first);
        self.create.push_time(create);
        self.create_provider.push_time(heard.span("provider.create").unwrap_or_default());
        self.create_call.push_time(heard.call("SandboxCreateV2").unwrap_or_default());
        self.exec.push_time(exec);
        self.exec_provider.push_time(heard.span("provider.exec").unwrap_or_default());

        tokio::time::sleep(PAUSE).await;
        let options = house.provider.last()?;
        // So that the SDK is what ran last, here too.
        program.ask("nothing").await?;
        let direct = direct(house, options).await?;
        self.create_direct.push_time(direct.create);
        self.exec_direct.push_time(direct.exec);
        self.first_direct.push_time(direct.first);
        // What the calls took, and what `echo` took after its start: the rest is the client's, and the way between.
        let echo = direct.first.saturating_sub(direct.create + direct.exec);
        self.theirs.push(first - (heard.calls() + echo).as_secs_f64() * 1e3);
        Ok(())
    }

    fn tell(&self, client: Client, report: &mut Report) {
        let name = client.name();
        let mut beside = |what: &str, ours: &Samples, inner: &Samples, direct: &Samples| {
            report.samples(format!("{what}, the provider alone"), "ms", direct);
            report.samples(format!("{what}, the server with {name}"), "ms", ours);
            report.samples("  of it the provider's", "ms", inner);
            let ratio = ours.p50() / direct.p50();
            match client {
                Client::Python => report.bounded("  the server, beside the provider alone", "x", ratio, BOUND),
                Client::Js => report.value("  the server, beside the provider alone", "x", ratio),
            }
        };
        beside("create", &self.create, &self.create_provider, &self.create_direct);
        beside("exec", &self.exec, &self.exec_provider, &self.exec_direct);
        report.samples("  the whole call of create, until answered", "ms", &self.create_call);
        report.samples("first output, the provider alone", "ms", &self.first_direct);
        report.samples(format!("first output, {name}"), "ms", &self.first);
        report.samples("  of it the client's, and the way between", "ms", &self.theirs);
    }
}

async fn direct(house: &House, options: CreateOptions) -> Result<Direct> {
    let provider = house.provider.directly();
    let begun = Instant::now();
    let sandbox = provider.create(options).await?;
    let create = begun.elapsed();
    let mut options = ExecOptions::new(["echo", "hello"]);
    options.timeout = Some(Duration::MAX);
    let begun_exec = Instant::now();
    let process = sandbox.exec(options).await?;
    let exec = begun_exec.elapsed();
    let mut stdout = process.take_stdout().ok_or("no standard output")?;
    let mut output = [0; 64];
    let count = stdout.read(&mut output).await?;
    let first = begun.elapsed();
    if &output[..count] != b"hello\n" {
        return Err("echo said something else".into());
    }
    process.wait().await?;
    sandbox.terminate().await?;
    Ok(Direct { create, exec, first })
}
