use super::*;
use crate::prng::Prng;

fn request(head: &str) -> Request {
    match super::head(head.as_bytes()) {
        Head::Request(request) => request,
        other => panic!("{other:?}: {head}"),
    }
}

fn bad(head: &str) -> &'static str {
    match super::head(head.as_bytes()) {
        Head::Bad(why) => why,
        other => panic!("{other:?}: {head}"),
    }
}

fn rewritten(head: &str) -> String {
    String::from_utf8(origin_form(head.as_bytes()).unwrap()).unwrap()
}

fn name(host: &str, port: Option<u16>) -> Option<(String, Option<u16>)> {
    Some((host.into(), port))
}

#[test]
fn whom_a_request_is_for() {
    let head = "GET /x?y HTTP/1.1\r\nHost: Example.com:8080\r\n\r\n";
    let read = request(&format!("{head}rest"));
    assert_eq!((read.method.as_str(), read.target.as_str(), read.len), ("GET", "/x?y", head.len()));
    assert_eq!(read.host, name("example.com", Some(8080)));
    assert!(!read.upgrade && !read.absolute);
    let absolute = request("GET HTTP://a.example:81/x HTTP/1.1\r\nhost: A.example:81\r\n\r\n");
    assert_eq!(absolute.host, name("a.example", Some(81)));
    assert!(absolute.absolute);
    assert_eq!(request("GET http://a.example HTTP/1.1\r\nHost: a.example:80\r\n\r\n").host, name("a.example", None));
    assert_eq!(request("GET / HTTP/1.0\r\n\r\n").host, None);
    assert_eq!(request("GET / HTTP/1.1\r\nHost:\r\n\r\n").host, None);
    assert_eq!(request("GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n").host, name("::1", None));
    assert_eq!(request("OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n").host, name("a.example", None));
    let connect = request("CONNECT a.example:443 HTTP/1.1\r\nHost: whatever.example\r\n\r\n");
    assert_eq!(connect.host, name("a.example", Some(443)));
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let with = |headers: &str| format!("POST / HTTP/1.1\r\nHost: a.example\r\n{headers}\r\n");
    for (headers, part) in [
        ("Host: b.example\r\n", "more than one `Host`"),
        ("host: a.example\r\n", "more than one `Host`"),
        ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", "more than once"),
        ("Content-Length: 1\r\nContent-Length: 1\r\n", "more than once"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "more than once"),
        ("Content-Length: +1\r\n", "no number"),
        ("Content-Length: 1, 1\r\n", "no number"),
        ("Content-Length: -1\r\n", "no number"),
        ("Content-Length:\r\n", "no number"),
        ("Content-Length: 99999999999999999999999\r\n", "no number"),
        ("Transfer-Encoding: gzip, chunked\r\n", "not `chunked`"),
        ("Transfer-Encoding: xchunked\r\n", "not `chunked`"),
        ("X: a\nContent-Length: 1\r\n", "CR LF"),
        ("X: a\r\n\tb: c\r\n", "no HTTP request"),
        ("X: a\r\n folded\r\n", "no HTTP request"),
        ("X: a\rb\r\n", "no HTTP request"),
        ("X : a\r\n", "no HTTP request"),
        ("X: a\0b\r\n", "no HTTP request"),
        (": a\r\n", "no HTTP request"),
    ] {
        let why = bad(&with(headers));
        assert!(why.contains(part), "{headers:?}: {why}");
    }
    for (head, part) in [
        ("GET http://a.example/ HTTP/1.1\r\nHost: b.example\r\n\r\n", "different hosts"),
        ("GET http://a.example/ HTTP/1.1\r\nHost: a.example:81\r\n\r\n", "different hosts"),
        ("GET http://user@a.example/ HTTP/1.1\r\n\r\n", "no valid host"),
        ("GET http://a.example\\@b.example/ HTTP/1.1\r\n\r\n", "no valid host"),
        ("GET http:///x HTTP/1.1\r\n\r\n", "no valid host"),
        ("GET https://a.example/ HTTP/1.1\r\n\r\n", "neither"),
        ("GET a.example HTTP/1.1\r\n\r\n", "neither"),
        ("GET * HTTP/1.1\r\n\r\n", "neither"),
        ("GET / HTTP/1.1\r\nHost: a.example b.example\r\n\r\n", "no host"),
        ("GET / HTTP/1.1\r\nHost: a.example, b.example\r\n\r\n", "no host"),
        ("GET /\u{e4} HTTP/1.1\r\n\r\n", ""),
        ("CONNECT a.example HTTP/1.1\r\n\r\n", "HOST:PORT"),
        ("CONNECT http://a.example:443 HTTP/1.1\r\n\r\n", "HOST:PORT"),
        ("CONNECT a.example:443 HTTP/1.1\r\nContent-Length: 1\r\n\r\n", "no body"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "not HTTP/1"),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "not `chunked`"),
        ("\u{16}\u{3}\u{1}", "no HTTP request"),
        ("GET / HTTP/1.1\n\n", "CR LF"),
    ] {
        let why = bad(head);
        assert!(why.contains(part), "{head:?}: {why}");
    }
}

#[test]
fn every_beginning_asks_for_more() {
    let head = "POST http://a.example/x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\n";
    for len in 0..head.len() {
        assert_eq!(super::head(&head.as_bytes()[..len]), Head::More, "{len}");
    }
    assert_eq!(request(head), request(&format!("{head}abc")));
}

#[test]
fn sizes_are_held() {
    let line = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(MOST));
    assert!(bad(&line).contains("16 KiB"));
    let fits = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(MOST - 18));
    assert_eq!(request(&fits).len, MOST);
    let many = |count| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(count));
    assert!(bad(&many(101)).contains("100 headers"));
    request(&many(100));
    assert!(bad(&"\r\n".repeat(MOST)).contains("16 KiB"));
}

#[test]
fn what_is_passed_on_is_for_one_server_and_one_request() {
    let out = rewritten(
        "GET http://A.example:81?q HTTP/1.1\r\nHost: a.example:81\r\nProxy-Connection: keep-alive\r\nX-Kept: 1\r\n\
         proxy-authorization: secret\r\nConnection: keep-alive, X-Hop\r\nx-hop: 2\r\nKeep-Alive: 9\r\nTE: trailers\r\n\r\n",
    );
    assert_eq!(out, "GET /?q HTTP/1.1\r\nHost: a.example:81\r\nX-Kept: 1\r\nConnection: close\r\n\r\n");
    let out = rewritten("GET /x HTTP/1.0\r\n\r\n");
    assert_eq!(out, "GET /x HTTP/1.0\r\nConnection: close\r\n\r\n");
    assert!(
        rewritten("OPTIONS http://a.example HTTP/1.1\r\n\r\n").starts_with("OPTIONS * HTTP/1.1\r\nHost: a.example\r\n")
    );
    assert!(rewritten("GET http://[::1]:81/ HTTP/1.1\r\n\r\n").contains("Host: [::1]:81\r\n"));
    assert!(origin_form(b"CONNECT a.example:443 HTTP/1.1\r\n\r\n").is_none());
    // A body whose length is hidden would be read as a request.
    let out = rewritten(
        "POST / HTTP/1.1\r\nHost: a.example\r\nConnection: content-length, host\r\nContent-Length: 3\r\n\r\n",
    );
    assert!(out.contains("Host: a.example\r\n") && out.contains("Content-Length: 3\r\n"));
}

#[test]
fn websockets_are_the_only_upgrade() {
    let with = |headers: &str| format!("GET / HTTP/1.1\r\nHost: a.example\r\n{headers}\r\n");
    let websocket = with("Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n");
    assert!(request(&websocket).upgrade);
    let out = rewritten(&websocket);
    assert!(out.ends_with("Sec-WebSocket-Key: x\r\nConnection: close, Upgrade\r\nUpgrade: websocket\r\n\r\n"), "{out}");
    let h2c = with("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n");
    assert!(!request(&h2c).upgrade);
    assert!(rewritten(&h2c).ends_with("Host: a.example\r\nConnection: close\r\n\r\n"));
    assert!(!request(&with("Upgrade: websocket\r\n")).upgrade);
}

#[test]
fn authorities() {
    for (text, wanted) in [
        ("Example.com:443", Some(("example.com", 443))),
        ("192.0.2.1:80", Some(("192.0.2.1", 80))),
        ("[2001:db8:0::1]:443", Some(("2001:db8::1", 443))),
        ("example.com", None),
        ("example.com:", None),
        ("example.com:0", None),
        ("example.com:65536", None),
        ("example.com:+80", None),
        ("example.com:080000", None),
        ("[::1]", None),
        ("[::1:443", None),
        ("::1:443", None),
        ("[fe80::1%eth0]:443", None),
        ("[example.com]:443", None),
        ("127.1:80", None),
        ("user@example.com:80", None),
        ("", None),
        (":443", None),
        ("[]:443", None),
    ] {
        assert_eq!(authority(text), wanted.map(|(host, port)| (host.to_string(), port)), "{text}");
    }
}

#[test]
fn mutated_heads_break_nothing() {
    let seeds = [
        "GET http://a.example:81/x?y HTTP/1.1\r\nHost: a.example:81\r\nConnection: keep-alive, X\r\nX: 1\r\n\r\nrest",
        "CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: a.example\r\nProxy-Authorization: x\r\n\r\n\u{16}\u{3}",
        "POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\nabc",
        "GET / HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ];
    let mut prng = Prng::new(80);
    for round in 0..20_000 {
        let bytes = prng.mutate(seeds[round % seeds.len()].as_bytes());
        let whole = super::head(&bytes);
        let Head::Request(read) = &whole else { continue };
        assert_eq!(super::head(&bytes[..read.len]), whole, "what follows does not matter");
        let Some(out) = origin_form(&bytes[..read.len]) else {
            assert_eq!(read.method, "CONNECT");
            continue;
        };
        // What is passed on is for the host that was decided on, and reads the same again.
        let again = match super::head(&out) {
            Head::Request(again) => again,
            other => panic!("{other:?}: {}", String::from_utf8_lossy(&out)),
        };
        assert_eq!((&again.host, &again.method, again.len), (&read.host, &read.method, out.len()));
        assert_eq!(again.upgrade, read.upgrade);
        assert!(!again.absolute);
        assert_eq!(origin_form(&out), Some(out), "once is enough");
    }
}
