//! URLs of published ports.

use computesdk_core::{EndCause, Error, ErrorKind, HostPort, Result, Tunnel};
use std::fmt;

const GET_URL: &str = "sandbox.get_url";

/// What a URL to a published port begins with, for [`Sandbox::get_url_with`](crate::Sandbox::get_url_with).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UrlProtocol {
    /// `http`: no TLS.
    Http,
    /// `https`: TLS, which ends before the sandbox.
    Https,
    /// `ws`: a WebSocket without TLS.
    Ws,
    /// `wss`: a WebSocket over TLS, which ends before the sandbox.
    Wss,
}

impl UrlProtocol {
    /// The word before `://`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    /// The same without TLS, or with it.
    const fn other(self) -> Self {
        match self {
            Self::Http => Self::Https,
            Self::Https => Self::Http,
            Self::Ws => Self::Wss,
            Self::Wss => Self::Ws,
        }
    }

    const fn face(self, tunnel: &Tunnel) -> Option<&HostPort> {
        match self {
            Self::Http | Self::Ws => tunnel.plain.as_ref(),
            Self::Https | Self::Wss => tunnel.tls.as_ref(),
        }
    }
}

impl fmt::Display for UrlProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The URL of one port, among these tunnels. Without a protocol, the one that this tunnel has, plain first.
pub(crate) fn of(tunnels: &[Tunnel], port: u16, protocol: Option<UrlProtocol>) -> Result<String> {
    let Some(tunnel) = tunnels.iter().find(|tunnel| tunnel.port == port) else {
        return Err(unknown(tunnels, port));
    };
    let protocols = match &protocol {
        Some(protocol) => std::slice::from_ref(protocol),
        None => &[UrlProtocol::Http, UrlProtocol::Https],
    };
    let url = protocols.iter().find_map(|protocol| Some(format!("{protocol}://{}", protocol.face(tunnel)?)));
    url.ok_or_else(|| {
        let protocol = protocol.unwrap_or(UrlProtocol::Http);
        let other = protocol.other();
        let why = format!("the tunnel of port {port} has no address for {protocol}");
        let error = Error::unsupported(GET_URL, "protocol", why).with_context("port", port.to_string());
        match other.face(tunnel) {
            Some(_) => error.with_hint(format!("it has one for {other}")),
            None => error,
        }
    })
}

/// The error for a sandbox that has no ports any more.
pub(crate) fn ended(port: u16, sandbox: &str, end: &EndCause) -> Error {
    let text = format!("No tunnel found for port {port}: sandbox {sandbox} has ended: {end}");
    Error::new(ErrorKind::NotFound, GET_URL, text).with_context("port", port.to_string())
}

fn unknown(tunnels: &[Tunnel], port: u16) -> Error {
    let mut ports: Vec<u16> = tunnels.iter().map(|tunnel| tunnel.port).collect();
    ports.sort_unstable();
    let available = match &*ports {
        [] => String::from("none"),
        ports => ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", "),
    };
    let text = format!("No tunnel found for port {port}. Available ports: {available}");
    Error::new(ErrorKind::NotFound, GET_URL, text)
        .with_context("port", port.to_string())
        .with_hint(format!("publish it: `CreateParams::port({port})` at create, or `Sandbox::publish({port})` later"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tunnel(port: u16, plain: Option<(&str, u16)>, tls: Option<(&str, u16)>) -> Tunnel {
        let mut tunnel = Tunnel::new(port);
        tunnel.plain = plain.map(|(host, port)| HostPort::new(host, port));
        tunnel.tls = tls.map(|(host, port)| HostPort::new(host, port));
        tunnel
    }

    #[test]
    fn each_protocol_has_its_face() {
        let tunnels = [
            tunnel(8080, Some(("127.0.0.1", 40000)), Some(("p8080-sb-1.localhost", 40001))),
            tunnel(3000, None, Some(("::1", 40002))),
            tunnel(5000, Some(("127.0.0.1", 40003)), None),
        ];
        let url = |port, protocol| of(&tunnels, port, protocol).unwrap();
        assert_eq!(url(8080, None), "http://127.0.0.1:40000");
        assert_eq!(url(8080, Some(UrlProtocol::Https)), "https://p8080-sb-1.localhost:40001");
        assert_eq!(url(8080, Some(UrlProtocol::Ws)), "ws://127.0.0.1:40000");
        assert_eq!(url(8080, Some(UrlProtocol::Wss)), "wss://p8080-sb-1.localhost:40001");
        assert_eq!(url(3000, None), "https://[::1]:40002", "a tunnel with TLS alone");

        let error = of(&tunnels, 5000, Some(UrlProtocol::Wss)).unwrap_err();
        assert_eq!((error.kind(), error.hint()), (ErrorKind::Unsupported, Some("it has one for ws")));
        assert_eq!(error.to_string(), "`protocol` is not supported: the tunnel of port 5000 has no address for wss");
        let error = of(&[Tunnel::new(1)], 1, None).unwrap_err();
        assert_eq!((error.kind(), error.hint()), (ErrorKind::Unsupported, None));
    }

    #[test]
    fn an_unknown_port_is_told_with_those_that_there_are() {
        let tunnels = [tunnel(8080, None, None), tunnel(3000, None, None)];
        let error = of(&tunnels, 9000, None).unwrap_err();
        assert_eq!(error.to_string(), "No tunnel found for port 9000. Available ports: 3000, 8080");
        assert_eq!((error.kind(), error.context_value("port")), (ErrorKind::NotFound, Some("9000")));
        assert!(error.hint().unwrap().contains("Sandbox::publish(9000)"), "{error:?}");
        let error = of(&[], 9000, Some(UrlProtocol::Http)).unwrap_err();
        assert_eq!(error.to_string(), "No tunnel found for port 9000. Available ports: none");
    }
}
