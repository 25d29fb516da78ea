//! Whether a request is meant for this server, and made by a program rather than by a web page.
//!
//! A page in a browser on this machine can send requests to a port on loopback. What it cannot do is lie about where it
//! comes from (`Origin`), nor, once its own name is made to point at 127.0.0.1, about that name (`Host`).

use crate::front::Peer;
use crate::http::Problem;
use axum::body::Body;
use http::header::{CONTENT_TYPE, HOST, ORIGIN};
use http::uri::Authority;
use http::{Request, Response, StatusCode, Version};
use std::net::IpAddr;

/// Why a request is none of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("the request does not say for which host it is, as HTTP/1.1 asks of it")]
    NoHost,
    #[error("this server is not {0:?}; whoever runs it can allow that name")]
    Host(String),
    #[error("requests of web pages are refused, and this one is from {0:?}")]
    Origin(String),
}

/// Refuses what has another host than this server's, or an origin that is not this server.
pub(super) fn check<B>(request: &Request<B>, peer: &Peer, allowed: &[String]) -> Result<(), Refused> {
    let mut own = None;
    if let Some(authority) = request.uri().authority() {
        check_host(authority.as_str(), peer, allowed)?;
        own = Some(authority.as_str());
    }
    for host in request.headers().get_all(HOST) {
        let host = host.to_str().map_err(|_| Refused::Host(shown(host.as_bytes())))?;
        check_host(host, peer, allowed)?;
        own = Some(host);
    }
    if own.is_none() && request.version() == Version::HTTP_11 {
        return Err(Refused::NoHost);
    }
    for origin in request.headers().get_all(ORIGIN) {
        let ours = own.map(|own| format!("{}://{own}", if peer.tls { "https" } else { "http" }));
        if !ours.is_some_and(|ours| ours.as_bytes().eq_ignore_ascii_case(origin.as_bytes())) {
            return Err(Refused::Origin(shown(origin.as_bytes())));
        }
    }
    Ok(())
}

fn check_host(host: &str, peer: &Peer, allowed: &[String]) -> Result<(), Refused> {
    let refused = || Refused::Host(shown(host.as_bytes()));
    let authority: Authority = host.parse().map_err(|_| refused())?;
    if host.contains('@') {
        return Err(refused());
    }
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let fine = match name.parse::<IpAddr>() {
        // An address cannot be made to point elsewhere, but it can be another machine's that asks through this one.
        Ok(address) => {
            let address = address.to_canonical();
            address.is_loopback() || address == peer.local.ip().to_canonical()
        }
        Err(_) => name == "localhost" || name.ends_with(".localhost"),
    };
    let same = |allowed: &String| allowed.trim_matches(['[', ']']).eq_ignore_ascii_case(&name);
    if fine || allowed.iter().any(same) { Ok(()) } else { Err(refused()) }
}

/// As much of it as is worth showing.
fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 100;
    let mut text: String = String::from_utf8_lossy(bytes).chars().take(MOST).collect();
    if bytes.len() > MOST {
        text.push('…');
    }
    text
}

impl Refused {
    /// The answer, in the way of whoever asks.
    pub(super) fn answer<B>(&self, request: &Request<B>) -> Response<Body> {
        if is_grpc(request) {
            return tonic::Status::permission_denied(self.to_string()).into_http();
        }
        let (status, kind, hint) = match self {
            Self::NoHost => (StatusCode::BAD_REQUEST, "InvalidArgument", "send a Host header"),
            Self::Host(_) => (
                StatusCode::MISDIRECTED_REQUEST,
                "PermissionDenied",
                "use localhost, 127.0.0.1 or the address that the server listens on",
            ),
            Self::Origin(_) => {
                (StatusCode::FORBIDDEN, "PermissionDenied", "use a program, such as curl, instead of a browser")
            }
        };
        Problem::new(status, kind, self.to_string()).hint(hint).answer()
    }
}

/// Whether it is gRPC that is spoken.
pub(crate) fn is_grpc<B>(request: &Request<B>) -> bool {
    request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(version: Version, uri: &str, headers: &[(&str, &str)]) -> Result<(), Refused> {
        let mut request = Request::builder().version(version).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (addr, local) = ("10.1.2.3:50000".parse().unwrap(), "10.9.9.9:8000".parse().unwrap());
        let peer = Peer { addr, local, tls: false };
        let allowed = ["build.example".to_owned(), "[fd00::1]".to_owned()];
        check(&request.body(()).unwrap(), &peer, &allowed)
    }

    #[test]
    fn only_its_own_names_are_answered() {
        for host in [
            "localhost",
            "LOCALHOST:8000",
            "localhost.",
            "p80.localhost:1",
            "127.0.0.1:8000",
            "127.8.8.8",
            "[::1]:8000",
            "[::ffff:127.0.0.1]",
            "10.9.9.9:8000",
            "build.example:8000",
            "BUILD.example.",
            "[fd00::1]:80",
        ] {
            assert_eq!(checked(Version::HTTP_11, "/x", &[("host", host)]), Ok(()), "{host}");
            let uri = format!("http://{host}/x");
            assert_eq!(checked(Version::HTTP_2, &uri, &[]), Ok(()), "{host}");
            // Both must be ours.
            checked(Version::HTTP_2, &uri, &[("host", "evil.example")]).unwrap_err();
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.9.9.8",
            "0.0.0.0",
            "evil.example@localhost",
            "localhost@evil.example",
            "xlocalhost",
            "[::2]",
            "a b",
            "http://localhost",
        ] {
            let refused = checked(Version::HTTP_11, "/x", &[("host", host)]).unwrap_err();
            assert!(matches!(refused, Refused::Host(_)), "{host}: {refused}");
        }
        checked(Version::HTTP_11, "/x", &[("host", "localhost"), ("host", "evil.example")]).unwrap_err();
        assert_eq!(checked(Version::HTTP_11, "/x", &[]), Err(Refused::NoHost));
        assert_eq!(checked(Version::HTTP_2, "/x", &[]), Ok(()));
    }

    #[test]
    fn pages_are_refused_but_its_own() {
        let from = |origin| checked(Version::HTTP_11, "/x", &[("host", "localhost:8000"), ("origin", origin)]);
        assert_eq!(from("http://localhost:8000"), Ok(()));
        for origin in ["null", "", "https://localhost:8000", "http://localhost", "http://localhost:8001", "http://x"] {
            assert!(matches!(from(origin).unwrap_err(), Refused::Origin(_)), "{origin}");
        }
        checked(Version::HTTP_2, "/x", &[("origin", "http://")]).unwrap_err();
        assert!(shown(&[b'x'; 5000]).len() < 200);
    }
}
