//! Heads of HTTP/1.1 requests and responses: read within bounds, checked, and written anew.
//!
//! Nothing of a head is passed on as it came: what goes out is made of what was understood.

use crate::body::Framing;
use crate::relay;
use crate::side::Reader;

/// Bytes of a request's head.
const REQUEST: usize = 16 * 1024;
/// Bytes of a response's head. Servers set many cookies.
const RESPONSE: usize = 64 * 1024;
const MOST_HEADERS: usize = 100;

/// Why there is no head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadHead {
    /// The connection ended or broke within it.
    Ended,
    TooLarge,
    Malformed(&'static str),
}

pub(crate) type Header = (String, Vec<u8>);

/// Whether two header names are one to a server. CGI and WSGI make `_` and `-` the same.
pub(crate) fn same_name(a: &str, b: &str) -> bool {
    let fold = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    a.len() == b.len() && a.bytes().zip(b.bytes()).all(|(a, b)| fold(a) == fold(b))
}

/// Whether a header that lists words has this one.
fn lists(value: &[u8], word: &str) -> bool {
    value.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
}

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Of HTTP/1.x.
    pub(crate) version: u8,
    pub(crate) headers: Vec<Header>,
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) version: u8,
    pub(crate) code: u16,
    pub(crate) reason: String,
    pub(crate) headers: Vec<Header>,
}

/// Length and content of a head, once it is whole.
type Parsed<T> = Result<Option<(usize, T)>, BadHead>;

/// Reads a head; what came after it stays in `buffer`. `None` where the connection ended before its first byte.
async fn read<T>(
    reader: &mut Reader,
    buffer: &mut Vec<u8>,
    most: usize,
    parse: fn(&[u8]) -> Parsed<T>,
) -> Result<Option<T>, BadHead> {
    let mut chunk = [0; 4096];
    let mut look = !buffer.is_empty();
    loop {
        if look && let Some((length, head)) = parse(buffer)? {
            buffer.drain(..length);
            return Ok(Some(head));
        }
        let room = most.saturating_sub(buffer.len()).min(chunk.len());
        if room == 0 {
            return Err(BadHead::TooLarge);
        }
        match relay::read(reader, &mut chunk[..room]).await {
            Ok(0) if buffer.is_empty() => return Ok(None),
            Ok(0) | Err(_) => return Err(BadHead::Ended),
            Ok(n) => {
                // A head ends with a line: without one, there is nothing new to see.
                look = chunk[..n].contains(&b'\n');
                buffer.extend_from_slice(&chunk[..n]);
            }
        }
    }
}

fn malformed(error: httparse::Error) -> BadHead {
    match error {
        httparse::Error::TooManyHeaders => BadHead::TooLarge,
        _ => BadHead::Malformed("this is no HTTP/1.1"),
    }
}

fn owned(headers: &[httparse::Header<'_>]) -> Vec<Header> {
    headers.iter().map(|header| (header.name.to_owned(), header.value.to_vec())).collect()
}

pub(crate) async fn request(reader: &mut Reader, buffer: &mut Vec<u8>) -> Result<Option<Request>, BadHead> {
    read(reader, buffer, REQUEST, parse_request).await
}

fn parse_request(bytes: &[u8]) -> Parsed<Request> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = request.parse(bytes).map_err(malformed)? else { return Ok(None) };
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Ok(None);
    };
    let headers = owned(request.headers);
    Ok(Some((length, Request { method: method.to_owned(), target: target.to_owned(), version, headers })))
}

pub(crate) async fn response(reader: &mut Reader, buffer: &mut Vec<u8>) -> Result<Option<Response>, BadHead> {
    read(reader, buffer, RESPONSE, parse_response).await
}

fn parse_response(bytes: &[u8]) -> Parsed<Response> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = response.parse(bytes).map_err(malformed)? else { return Ok(None) };
    let (Some(version), Some(code)) = (response.version, response.code) else { return Ok(None) };
    let reason = response.reason.unwrap_or_default().to_owned();
    Ok(Some((length, Response { version, code, reason, headers: owned(response.headers) })))
}

impl Request {
    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.iter().filter(move |(other, _)| same_name(other, name)).map(|(_, value)| value.as_slice())
    }

    /// Where the body ends; refused where that can be read in two ways.
    pub(crate) fn framing(&self) -> Result<Framing, BadHead> {
        let mut codings = self.values("Transfer-Encoding");
        let mut lengths = self.values("Content-Length");
        match (codings.next(), lengths.next()) {
            (None, None) => Ok(Framing::Length(0)),
            (Some(coding), None) if self.version >= 1 && codings.next().is_none() => {
                if coding.eq_ignore_ascii_case(b"chunked") {
                    Ok(Framing::Chunked)
                } else {
                    Err(BadHead::Malformed("the one Transfer-Encoding taken is `chunked`"))
                }
            }
            (None, Some(length)) if lengths.next().is_none() => {
                let digits = std::str::from_utf8(length).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
                let length = digits.and_then(|text| text.parse().ok());
                length.map(Framing::Length).ok_or(BadHead::Malformed("Content-Length is no number"))
            }
            _ => Err(BadHead::Malformed("it is not clear where the body of this request ends")),
        }
    }

    /// Whether it asks to go on as a WebSocket. Other protocols are not switched to: over HTTP/2, a client could send more
    /// requests, unseen.
    pub(crate) fn wants_websocket(&self) -> bool {
        let mut upgrades = self.values("Upgrade");
        self.method == "GET"
            && self.version >= 1
            && self.framing() == Ok(Framing::Length(0))
            && self.values("Connection").any(|value| lists(value, "upgrade"))
            && upgrades.next().is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"))
            && upgrades.next().is_none()
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let first = format!("{} {} HTTP/1.{}", self.method, self.target, self.version);
        written(&first, &self.headers)
    }
}

impl Response {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        written(&format!("HTTP/1.{} {:03} {}", self.version, self.code, self.reason), &self.headers)
    }
}

fn written(first: &str, headers: &[Header]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1024);
    bytes.extend_from_slice(first.as_bytes());
    bytes.extend_from_slice(b"\r\n");
    for (name, value) in headers {
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Request {
        parse_request(text.as_bytes()).unwrap().unwrap().1
    }

    #[test]
    fn the_end_of_a_body_is_clear_or_the_request_is_refused() {
        let framing = |headers: &str| parsed(&format!("POST / HTTP/1.1\r\n{headers}\r\n")).framing();
        assert_eq!(framing(""), Ok(Framing::Length(0)));
        assert_eq!(framing("Content-Length: 12\r\n"), Ok(Framing::Length(12)));
        assert_eq!(framing("transfer-encoding: Chunked\r\n"), Ok(Framing::Chunked));
        for headers in [
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            "Content-Length: 1\r\nContent_Length: 2\r\n",
            "Content-Length: 1, 1\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: \r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: \x0bchunked\r\n",
        ] {
            let text = format!("POST / HTTP/1.1\r\n{headers}\r\n");
            let refused = parse_request(text.as_bytes()).map(|read| read.unwrap().1.framing());
            assert!(!matches!(refused, Ok(Ok(_))), "{headers:?}");
        }
        let old = parsed("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
        old.framing().unwrap_err();
    }

    #[test]
    fn only_a_websocket_is_an_upgrade() {
        let upgrade =
            |name: &str| parsed(&format!("GET / HTTP/1.1\r\nConnection: x, Upgrade\r\nUpgrade: {name}\r\n\r\n"));
        assert!(upgrade("WebSocket").wants_websocket());
        assert!(!upgrade("h2c").wants_websocket());
        assert!(!upgrade("websocket\r\nUpgrade: h2c").wants_websocket());
        assert!(!upgrade("websocket\r\nContent-Length: 4").wants_websocket());
    }

    #[test]
    fn what_is_no_http_is_told_at_once() {
        for bytes in
            [&b"\x16\x03\x01\x02\0"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\n a: b\r\n\r\n"]
        {
            assert!(parse_request(bytes).is_err(), "{:?}", bytes.escape_ascii().to_string());
        }
    }
}
