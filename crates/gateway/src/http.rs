//! The head of an HTTP/1 request: whom it is for, and how it is passed on.
//!
//! httparse splits it. What a server might split otherwise is [`Head::Bad`], because then its request would be another
//! than the one decided on: line ends other than CR LF, two lengths, two hosts. RFC 9110 and 9112.
//!
//! What is passed on says `Connection: close`, so that no second request, for another host, follows on the connection.

use crate::domain::normal_name;
use std::net::{Ipv4Addr, Ipv6Addr};

/// What the first bytes of a connection are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Head {
    /// The beginning of a head.
    More,
    /// A head.
    Request(Request),
    /// What is wrong, in words.
    Bad(&'static str),
}

/// The head of a request, as far as it is decided on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Whom it is for, by the target or else by `Host`: a [`normal_name`] or an address, and the port if there is one.
    pub(crate) host: Option<(String, Option<u16>)>,
    /// Bytes of the head, the empty line included.
    pub(crate) len: usize,
    /// Whether it asks for a WebSocket. Other upgrades do not count: `h2c` would lead to requests that nobody sees.
    pub(crate) upgrade: bool,
    /// Whether the target is a whole URL, as a proxy gets it.
    pub(crate) absolute: bool,
}

/// Bytes of a head, its empty line included.
pub(crate) const MOST: usize = 16 << 10;
const MOST_HEADERS: usize = 100;

/// Reads the first bytes of a connection. Once it is not [`Head::More`] it stays so, whatever follows.
pub(crate) fn head(seen: &[u8]) -> Head {
    let seen = seen.get(..MOST).unwrap_or(seen);
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    match split(seen, &mut headers) {
        Ok(None) if seen.len() == MOST => Head::Bad("the head of the request is larger than 16 KiB"),
        Ok(None) => Head::More,
        Ok(Some((parts, len))) => read(&parts, len).map_or_else(Head::Bad, Head::Request),
        Err(problem) => Head::Bad(problem),
    }
}

/// The head of a request, [`Request::len`] bytes, as it goes to the server itself: a path for a target, one `Host`, nothing
/// that is between the client and a proxy.
///
/// `Connection` becomes `close`, and `close, Upgrade` for a WebSocket: the server may decline, and then nothing is to
/// follow either. `None` for `CONNECT` and for what [`head`] refuses.
pub(crate) fn origin_form(head: &[u8]) -> Option<Vec<u8>> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let (parts, len) = split(head, &mut headers).ok()??;
    let request = read(&parts, len).ok()?;
    if request.method == "CONNECT" {
        return None;
    }
    let mut out = Vec::with_capacity(head.len() + 64);
    let mut push = |parts: &[&[u8]]| parts.iter().for_each(|part| out.extend_from_slice(part));
    let path = match url(&request.target) {
        Some((_, "")) if request.method == "OPTIONS" => "*".into(),
        Some((_, path)) if !path.starts_with('/') => format!("/{path}"),
        Some((_, path)) => path.into(),
        None => request.target.clone(),
    };
    let version: &[u8] = if parts.version == Some(0) { b" HTTP/1.0\r\n" } else { b" HTTP/1.1\r\n" };
    push(&[request.method.as_bytes(), b" ", path.as_bytes(), version]);
    if let Some((host, port)) = &request.host {
        let brackets = if host.contains(':') { ["[", "]"] } else { ["", ""] };
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        push(&[b"Host: ", brackets[0].as_bytes(), host.as_bytes(), brackets[1].as_bytes(), port.as_bytes(), b"\r\n"]);
    }
    let named: Vec<&str> = tokens(parts.headers, "connection").collect();
    for header in parts.headers.iter().filter(|header| !is_between(header.name, &named)) {
        push(&[header.name.as_bytes(), b": ", header.value, b"\r\n"]);
    }
    push(&[if request.upgrade {
        b"Connection: close, Upgrade\r\nUpgrade: websocket\r\n\r\n"
    } else {
        b"Connection: close\r\n\r\n"
    }]);
    Some(out)
}

/// Whether a header is between the client and us: by its kind, or because `Connection` names it. RFC 9110, 7.6.1.
fn is_between(name: &str, named: &[&str]) -> bool {
    const ALWAYS: [&str; 6] = ["connection", "host", "http2-settings", "keep-alive", "te", "upgrade"];
    // Without its length the body would be a request.
    const NEVER: [&str; 2] = ["content-length", "transfer-encoding"];
    let is = |other: &&str| name.eq_ignore_ascii_case(other);
    let is_proxy = name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("proxy-"));
    is_proxy || ALWAYS.iter().any(is) || named.iter().any(is) && !NEVER.iter().any(is)
}

/// Host and port of a `CONNECT`: `example.com:443`, `192.0.2.1:443`, `[2001:db8::1]:443`, the host without brackets.
pub(crate) fn authority(text: &str) -> Option<(String, u16)> {
    host_port(text).and_then(|(host, port)| Some((host, port?)))
}

fn host_port(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?.to_string(),
        None => match host.parse::<Ipv4Addr>() {
            Ok(addr) => addr.to_string(),
            Err(_) => normal_name(host)?,
        },
    };
    let number = |port: &str| {
        let is_number = (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| port.parse().ok()).flatten().filter(|port| *port != 0)
    };
    match port {
        Some(port) => Some((host, Some(number(port)?))),
        None => Some((host, None)),
    }
}

/// Authority and the rest of an `http` URL.
fn url(target: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = target.split_at_checked(7)?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    scheme.eq_ignore_ascii_case("http://").then(|| rest.split_at(end))
}

type Parts<'h, 'b> = httparse::Request<'h, 'b>;

fn split<'h, 'b>(
    seen: &'b [u8],
    headers: &'h mut [httparse::Header<'b>],
) -> Result<Option<(Parts<'h, 'b>, usize)>, &'static str> {
    let mut parts = httparse::Request::new(headers);
    let len = match parts.parse(seen) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err("the request has more than 100 headers"),
        Err(httparse::Error::Version) => return Err("the request is not HTTP/1.0 or HTTP/1.1"),
        Err(_) => return Err("this is no HTTP request"),
    };
    // httparse takes a lone LF for the end of a line.
    let head = &seen[..len];
    let lone = |(at, byte): (usize, &u8)| match byte {
        b'\n' => at == 0 || head[at - 1] != b'\r',
        b'\r' => head.get(at + 1) != Some(&b'\n'),
        _ => false,
    };
    if head.iter().enumerate().any(lone) {
        return Err("a line of the request does not end with CR LF");
    }
    Ok(Some((parts, len)))
}

fn read(parts: &Parts<'_, '_>, len: usize) -> Result<Request, &'static str> {
    let (method, target) = (parts.method.unwrap_or_default(), parts.path.unwrap_or_default());
    if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("the target of the request has a character that no URL has");
    }
    let has_body = check_length(parts)?;
    let named = match values(parts.headers, "host").collect::<Vec<_>>()[..] {
        [] | [b""] => None,
        [host] => {
            let host = std::str::from_utf8(host).ok().and_then(host_port);
            Some(host.ok_or("the `Host` of the request is no host")?)
        }
        _ => return Err("the request has more than one `Host`"),
    };
    let url = url(target);
    let host = if method == "CONNECT" {
        if has_body {
            return Err("CONNECT has no body");
        }
        let (host, port) = authority(target).ok_or("CONNECT needs HOST:PORT")?;
        Some((host, Some(port)))
    } else if let Some((authority, _)) = url {
        let asked = host_port(authority).ok_or("the URL of the request has no valid host")?;
        let same =
            |(host, port): &(String, Option<u16>)| *host == asked.0 && port.unwrap_or(80) == asked.1.unwrap_or(80);
        if !named.iter().all(same) {
            return Err("the URL of the request and its `Host` are different hosts");
        }
        Some(asked)
    } else if target.starts_with('/') || target == "*" && method == "OPTIONS" {
        named
    } else {
        return Err("the target of the request is neither a path nor an `http` URL");
    };
    let upgrade = method == "GET"
        && parts.version == Some(1)
        && !has_body
        && tokens(parts.headers, "connection").any(|token| token.eq_ignore_ascii_case("upgrade"))
        && tokens(parts.headers, "upgrade").any(|token| token.eq_ignore_ascii_case("websocket"));
    Ok(Request { method: method.into(), target: target.into(), host, len, upgrade, absolute: url.is_some() })
}

/// Whether there is a body, the length of which can be understood in one way only: RFC 9112, 6.3.
fn check_length(parts: &Parts<'_, '_>) -> Result<bool, &'static str> {
    let lengths: Vec<_> = values(parts.headers, "content-length").collect();
    let encodings: Vec<_> = values(parts.headers, "transfer-encoding").collect();
    match (&lengths[..], &encodings[..]) {
        ([], []) => Ok(false),
        ([length], []) => {
            let length = std::str::from_utf8(length).ok();
            let digits = length.filter(|length| length.bytes().all(|byte| byte.is_ascii_digit()));
            let length: Option<u64> = digits.and_then(|digits| digits.parse().ok());
            length.map(|length| length > 0).ok_or("the `Content-Length` of the request is no number")
        }
        ([], [encoding]) if parts.version == Some(1) && encoding.eq_ignore_ascii_case(b"chunked") => Ok(true),
        ([], [_]) => Err("the `Transfer-Encoding` of the request is not `chunked`"),
        _ => Err("the request gives its length more than once"),
    }
}

fn values<'a>(headers: &'a [httparse::Header<'a>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
}

/// The parts of a header that is a list.
fn tokens<'a>(headers: &'a [httparse::Header<'a>], name: &'a str) -> impl Iterator<Item = &'a str> {
    values(headers, name)
        .filter_map(|value| std::str::from_utf8(value).ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
