//! What is decided about a sandbox's network, told as it happens: on standard error, or in the result.

use crate::printer::Printer;
use crate::size;
use crate::stdio::{self, Output};
use computesdk::{Event, EventKind, Events, NetworkEvent, NetworkProtocol, Sandbox, Verdict};
use std::collections::HashSet;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::Duration;
use tokio::io::{AsyncWriteExt as _, Stderr};
use tokio::time::{Instant, timeout_at};

/// How long, after the program's end, connections may take to be over, which then tell what they carried.
const SETTLE: Duration = Duration::from_millis(500);
/// How long nothing must be told before there is nothing more, where no connection is open.
const QUIET: Duration = Duration::from_millis(20);
/// How long the end of the sandbox may take to be told.
const END: Duration = Duration::from_secs(2);
/// More events do not go into a result.
const MOST: usize = 100_000;

/// The log of one sandbox.
#[derive(Debug)]
pub(crate) struct NetworkLog {
    sandbox: Sandbox,
    events: Events,
    out: Out,
    /// Connections that were allowed and are not over.
    open: HashSet<u64>,
    settled: bool,
    ended: bool,
}

/// Where it goes.
enum Out {
    /// To people. `left` is what is not written yet: being dropped half-way must not tear a line.
    Lines { stderr: Output<Stderr>, left: Vec<u8>, raw: bool },
    /// Into the result.
    Kept { events: Vec<Event>, surplus: u64 },
}

impl std::fmt::Debug for Out {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Lines { .. } => "Lines",
            Self::Kept { .. } => "Kept",
        })
    }
}

impl NetworkLog {
    /// The log of this sandbox, from its beginning. With a terminal in raw mode, `raw`, lines end as that needs it.
    pub(crate) async fn open(sandbox: &Sandbox, printer: Printer, raw: bool) -> computesdk::Result<Self> {
        let out = if printer.is_json() {
            Out::Kept { events: Vec::new(), surplus: 0 }
        } else {
            let raw = raw && std::io::stderr().is_terminal();
            Out::Lines { stderr: stdio::stderr(), left: Vec::new(), raw }
        };
        let events = sandbox.events().await?;
        Ok(Self { sandbox: sandbox.clone(), events, out, open: HashSet::new(), settled: false, ended: false })
    }

    /// Tells what happens until this is dropped, which loses nothing.
    pub(crate) async fn follow(&mut self) -> Infallible {
        while self.next().await {}
        std::future::pending().await
    }

    /// After the program's end: tells what is still on its way.
    pub(crate) async fn settle(&mut self) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        let end = Instant::now() + SETTLE;
        loop {
            let patience = if self.open.is_empty() { end.min(Instant::now() + QUIET) } else { end };
            match timeout_at(patience, self.next()).await {
                Ok(true) => {}
                Ok(false) | Err(_) => return,
            }
        }
    }

    /// Ends the sandbox, and tells all that was decided until then.
    pub(crate) async fn finish(&mut self) {
        // If it cannot be asked, the engine's end is its own.
        let _ = self.sandbox.destroy().await;
        let all = async { while self.next().await {} };
        let _ = timeout_at(Instant::now() + END, all).await;
    }

    /// What goes into the result: the events, and how many more there were.
    pub(crate) fn kept(&self) -> Option<(&[Event], u64)> {
        match &self.out {
            Out::Kept { events, surplus } => Some((events, *surplus)),
            Out::Lines { .. } => None,
        }
    }

    /// Tells the next one; whether there may be more.
    async fn next(&mut self) -> bool {
        self.out.flush().await;
        if self.ended {
            return false;
        }
        let Some(event) = self.events.next().await else {
            self.ended = true;
            return false;
        };
        if let EventKind::Network(network) = &event.kind {
            // A question is over with its answer.
            if network.verdict == Verdict::Allowed && network.protocol != NetworkProtocol::Dns {
                self.open.insert(network.connection);
            } else {
                self.open.remove(&network.connection);
            }
        }
        self.out.take(event);
        self.out.flush().await;
        true
    }
}

impl Out {
    fn take(&mut self, event: Event) {
        match (self, line(&event.kind)) {
            (Self::Lines { left, raw, .. }, Some(line)) => {
                left.extend(line.bytes());
                left.extend_from_slice(if *raw { b"\r\n" } else { b"\n" });
            }
            (Self::Kept { events, .. }, Some(_)) if events.len() < MOST => events.push(event),
            (Self::Kept { surplus, .. }, Some(_)) => *surplus += 1,
            (_, None) => {}
        }
    }

    async fn flush(&mut self) {
        if let Self::Lines { stderr, left, .. } = self {
            while !left.is_empty() {
                match stderr.write(left).await {
                    Ok(count @ 1..) => drop(left.drain(..count)),
                    // Nobody wants to know.
                    _ => left.clear(),
                }
            }
            let _ = stderr.flush().await;
        }
    }
}

/// One line about it; `None` for what is not about the network.
fn line(kind: &EventKind) -> Option<String> {
    match kind {
        EventKind::Network(event) => Some(format!("network: {}", decision(event))),
        EventKind::NetworkChanged { policy } => Some(format!("network: it may reach {} from now on", plain(policy))),
        EventKind::Lost { count } => {
            Some(format!("network: {count} decisions are not told: there were too many at once"))
        }
        _ => None,
    }
}

fn decision(event: &NetworkEvent) -> String {
    let verdict = match event.verdict {
        Verdict::Allowed => "allowed",
        Verdict::Refused => "refused",
        Verdict::Failed => "failed",
        Verdict::Closed => "closed",
        _ => "told",
    };
    let protocol = match event.protocol {
        NetworkProtocol::Tcp => "tcp",
        NetworkProtocol::Udp => "udp",
        NetworkProtocol::Dns => "dns",
        NetworkProtocol::Http => "http",
        _ => "other",
    };
    let mut text = format!("{verdict} {protocol}");
    // Writing to a string does not fail.
    let _ = match (&event.host, event.address) {
        (Some(host), Some(address)) if *host != address.to_string() => write!(text, " {} ({address})", plain(host)),
        (_, Some(address)) => write!(text, " {address}"),
        (Some(host), None) => write!(text, " {}", plain(host)),
        (None, None) => Ok(()),
    };
    if event.port != 0 {
        let _ = write!(text, " port {}", event.port);
    }
    if event.verdict == Verdict::Closed {
        let _ = write!(text, ", sent {}, received {}", size::show(event.sent), size::show(event.received));
    }
    if let Some(reason) = &event.reason {
        let _ = write!(text, ": {}", plain(reason));
    }
    text
}

/// A text that is partly the sandbox's own, such as a name that it asked for: fit for a terminal, and one line.
fn plain(text: &str) -> String {
    let fit = |c: char| c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric();
    text.chars().map(|c| if fit(c) { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(verdict: Verdict, protocol: NetworkProtocol, host: Option<&str>, address: Option<&str>) -> NetworkEvent {
        let mut event = NetworkEvent::new(1, verdict, protocol);
        event.host = host.map(str::to_owned);
        event.address = address.map(|address| address.parse().unwrap());
        event
    }

    fn told(event: NetworkEvent) -> String {
        line(&EventKind::Network(event)).unwrap()
    }

    #[test]
    fn lines_for_people() {
        use {NetworkProtocol as P, Verdict as V};
        let mut allowed = event(V::Allowed, P::Tcp, Some("pypi.org"), Some("151.101.0.223"));
        allowed.port = 443;
        assert_eq!(told(allowed.clone()), "network: allowed tcp pypi.org (151.101.0.223) port 443");
        (allowed.verdict, allowed.sent, allowed.received) = (V::Closed, 781, 15 << 10);
        assert_eq!(
            told(allowed),
            "network: closed tcp pypi.org (151.101.0.223) port 443, sent 781 bytes, received 15 KiB"
        );
        let mut refused = event(V::Refused, P::Tcp, None, Some("10.0.0.1"));
        (refused.port, refused.reason) = (22, Some("10.0.0.1 is a private address".into()));
        assert_eq!(told(refused), "network: refused tcp 10.0.0.1 port 22: 10.0.0.1 is a private address");
        assert_eq!(told(event(V::Allowed, P::Dns, Some("pypi.org"), None)), "network: allowed dns pypi.org");
        assert_eq!(told(event(V::Failed, P::Http, Some("::1"), Some("::1"))), "network: failed http ::1");
        assert_eq!(line(&EventKind::Created), None);
    }

    #[test]
    fn what_a_sandbox_says_cannot_reach_the_terminal() {
        let host = "a\x1b[31m\nnetwork: allowed tcp b\u{202e}\u{9b}1mč";
        let text = told(event(Verdict::Refused, NetworkProtocol::Dns, Some(host), None));
        assert_eq!(text, "network: refused dns a?[31m?network: allowed tcp b??1mč");
    }
}
