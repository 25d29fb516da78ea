//! Other sandboxes beside the one that is looked at, for it to look for.

use crate::check::{Failure, Outcome};
use crate::context::{Context, soon};
use crate::probe;
use computesdk_core::{BoxRead, BoxWrite, CreateOptions, ExecOptions, FileUpload, Network, Process};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use std::sync::Arc;

/// What each of them listens on. All have the same addresses, so that only what it says tells them apart.
const PORT: u16 = 47_111;
/// So many are made at a time.
const AT_A_TIME: usize = 8;

/// They live until it is dropped, or the context is cleaned up.
pub(super) struct Neighbours {
    /// `KEY=VALUE` each.
    pub(super) facts: Vec<String>,
    _living: Vec<Neighbour>,
}

struct Neighbour {
    name: String,
    published: Option<u16>,
    _process: Arc<dyn Process>,
    _streams: (BoxWrite, BoxRead),
}

impl Neighbours {
    /// Makes so many.
    pub(super) async fn start(context: &Context, network: &Network, count: usize) -> Outcome<Self> {
        let word = context.unique("neighbour");
        let make = |number| one(context, network, &word, number);
        let living: Vec<Neighbour> = stream::iter(0..count).map(make).buffered(AT_A_TIME).try_collect().await?;
        let names: Vec<&str> = living.iter().map(|neighbour| neighbour.name.as_str()).collect();
        let mut facts = vec![
            format!("neighbour.port={PORT}"),
            format!("neighbour.word={word}"),
            format!("neighbour.names={}", names.join(",")),
        ];
        let published = living.iter().find_map(|neighbour| neighbour.published);
        facts.extend(published.map(|port| format!("neighbour.published={port}")));
        Ok(Self { facts, _living: living })
    }
}

async fn one(context: &Context, network: &Network, word: &str, number: usize) -> Outcome<Neighbour> {
    let name = format!("{word}-{number}");
    let mut options = CreateOptions::default();
    let mut program = FileUpload::new("/opt/check/checker", super::PROGRAM);
    program.mode = Some(0o755);
    options.files = vec![program];
    options.network = Some(network.clone());
    let publishes = number == 0 && context.capabilities.ports;
    options.ports = if publishes { vec![PORT] } else { Vec::new() };
    let sandbox = soon("a neighbour", context.create(options)).await??;
    let port = PORT.to_string();
    let process =
        probe::start(&sandbox, ExecOptions::new(["/opt/check/checker", "neighbour", &port, &name, &name])).await?;
    let (Some(input), Some(mut output)) = (process.take_stdin(), process.take_stdout()) else {
        return Err(Failure::new("a neighbour has no streams"));
    };
    let said = probe::line(&mut output).await?;
    ensure!(said == "ready", "a neighbour says {said:?}");
    let published = if publishes {
        let tunnels = sandbox.as_core().tunnels().await?;
        tunnels.into_iter().find_map(|tunnel| tunnel.plain).map(|plain| plain.port)
    } else {
        None
    };
    Ok(Neighbour { name, published, _process: process, _streams: (input, output) })
}
