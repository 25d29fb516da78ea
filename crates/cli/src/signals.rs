//! The signals that end us: caught, so that nothing is left behind.

use crate::exit::Failure;
use computesdk::{Error, ErrorKind, Signal};
use std::future::{Future, poll_fn};
use std::task::Poll;
use tokio::signal::unix::{self, SignalKind};

/// Receives INT, QUIT, TERM and HUP. One that was ignored when we were started (`nohup`, `cmd &` in a script) stays so.
#[derive(Debug)]
pub(crate) struct Signals {
    streams: Vec<(Signal, unix::Signal)>,
}

impl Signals {
    pub(crate) fn new() -> Result<Self, Failure> {
        let ignored = ignored();
        let wanted = [Signal::INT, Signal::QUIT, Signal::TERM, Signal::HUP];
        let streams = wanted
            .into_iter()
            .filter(|signal| ignored & (1 << (signal.0 - 1)) == 0)
            .map(|signal| Ok((signal, unix::signal(SignalKind::from_raw(signal.0))?)))
            .collect::<std::io::Result<_>>()
            .map_err(|error| {
                Error::new(ErrorKind::Unexpected, "signals", "cannot listen for signals").with_source(error)
            })?;
        Ok(Self { streams })
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> Signal {
        poll_fn(|context| {
            for (signal, stream) in &mut self.streams {
                if stream.poll_recv(context).is_ready() {
                    return Poll::Ready(*signal);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// The result of the future, unless a signal comes first; the future is then dropped.
    pub(crate) async fn interrupt<T, E: Into<Failure>>(
        &mut self,
        future: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            result = future => result.map_err(Into::into),
            signal = self.next() => Err(Failure::Signalled(signal)),
        }
    }
}

/// The mask of ignored signals (`SigIgn` of `proc(5)`), bit 0 being signal 1.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
