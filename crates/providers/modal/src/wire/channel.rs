//! Connections: made when they are first used, and kept alive.

use std::time::Duration;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// What clients of Modal allow: files are sent in messages of some MiB.
pub(crate) const MAX_MESSAGE: usize = 100 << 20;
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// Whether the other side still lives is asked so often, and must be answered so soon.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(10);
/// What may be on its way to us: of one stream (output that nobody reads waits here), and of all of them.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 64 << 20;

/// A channel to the control plane.
pub(crate) fn control(url: &str) -> Result<Channel, Status> {
    match url.split_once("://") {
        Some(("http", _)) => open(url),
        Some(("https", _)) => Err(no_tls(url)),
        _ => {
            Err(Status::invalid_argument(format!("the server's URL must begin with http:// or https://, not {url:?}")))
        }
    }
}

/// A channel to a router, at the URL that the control plane gave. Towards a control plane on this machine `https` means plain
/// HTTP/2 here, as every client but Python's has it.
pub(crate) fn router(url: &str, control: &str) -> Result<Channel, Status> {
    match (url.split_once("://"), is_local(control)) {
        (Some(("http" | "https", rest)), true) => open(&format!("http://{rest}")),
        (Some(("https", _)), false) => Err(no_tls(url)),
        _ => Err(Status::internal(format!("the server sent a router URL that is none: {url:?}"))),
    }
}

fn no_tls(url: &str) -> Status {
    Status::unimplemented(format!("{url}: connections with TLS are not built into this version; use an http:// server"))
}

fn open(url: &str) -> Result<Channel, Status> {
    let endpoint = Endpoint::from_shared(url.to_owned())
        .map_err(|error| Status::invalid_argument(format!("{url:?} is no URL of a server: {error}")))?;
    let endpoint = endpoint
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    Ok(endpoint.connect_lazy())
}

/// Whether the control plane is on this machine, in the words of Modal's clients.
fn is_local(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    ["localhost", "127.0.0.1", "::1", "172.21.0.1"].contains(&host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_means_four_names() {
        for url in ["http://127.0.0.1:80", "http://localhost", "http://[::1]:9/", "http://172.21.0.1:1"] {
            assert!(is_local(url), "{url}");
        }
        for url in ["http://127.0.0.2:80", "http://localhost.evil.org", "https://api.modal.com", "http://10.0.0.1"] {
            assert!(!is_local(url), "{url}");
        }
    }

    #[tokio::test]
    async fn tls_is_said_to_be_missing() {
        for result in [control("https://api.modal.com"), router("https://x:1", "http://10.0.0.1:1")] {
            let status = result.unwrap_err();
            assert!(status.message().contains("TLS"), "{status}");
        }
        assert!(control("modal.com").is_err() && control("http://").is_err());
        assert!(router("http://x:1", "http://10.0.0.1:1").is_err());
        router("https://127.0.0.1:1", "http://127.0.0.1:1").unwrap();
    }
}
