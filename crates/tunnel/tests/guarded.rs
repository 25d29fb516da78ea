//! Tunnels that ask for a token.
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

mod common;

use common::{nobody, read_all, read_head, sandbox, soon};
use computesdk_tunnel::{ConnectToken, Dial, Guard, Tunnel, TunnelError, TunnelOptions};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

struct Fixture {
    guard: Guard,
    token: ConnectToken,
    tunnel: Tunnel,
}

impl Fixture {
    async fn new(dial: Arc<dyn Dial>) -> Self {
        let guard = Guard::new();
        let token = guard.issue(Some("{\"user\": \"ann\"}".to_owned()), None).unwrap();
        let mut options = TunnelOptions::default();
        options.guard = Some(guard.clone());
        Self { guard, token, tunnel: Tunnel::open(dial, options).await.unwrap() }
    }

    async fn send(&self, text: &str) -> TcpStream {
        let mut client = soon(TcpStream::connect(self.tunnel.plain_addr())).await.unwrap();
        client.write_all(text.replace("TOKEN", self.token.as_str()).as_bytes()).await.unwrap();
        client
    }

    async fn ask(&self, text: &str) -> String {
        read_all(&mut self.send(text).await).await
    }
}

/// A sandbox whose answer is the whole of what it received, up to the end of a body of so many bytes; it tells what came
/// after.
async fn echo(body: usize) -> (Arc<dyn Dial>, UnboundedReceiver<String>) {
    let (told, tell) = unbounded_channel();
    let dial = sandbox(move |mut stream| {
        let told = told.clone();
        async move {
            let mut text = read_head(&mut stream).await;
            let mut bytes = vec![0; body];
            stream.read_exact(&mut bytes).await.unwrap();
            text.push_str(&String::from_utf8(bytes).unwrap());
            // A server that does not do as `Connection: close` says.
            let answer =
                format!("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: {}\r\n\r\n{text}", text.len());
            let _ = stream.write_all(answer.as_bytes()).await;
            let mut more = String::new();
            let _ = stream.read_to_string(&mut more).await;
            let _ = told.send(more);
        }
    })
    .await;
    (dial, tell)
}

/// Head and body of an answer.
fn split(answer: &str) -> (&str, &str) {
    answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"))
}

/// As clients do: reads an answer of known length, and hangs up.
async fn answer_of(mut client: TcpStream) -> String {
    let mut text = read_head(&mut client).await;
    let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap().parse().unwrap();
    let mut body = vec![0; length];
    soon(client.read_exact(&mut body)).await.unwrap();
    text.push_str(&String::from_utf8(body).unwrap());
    text
}

#[tokio::test]
async fn without_a_token_nothing_reaches_the_sandbox() {
    let (dial, mut tell) = echo(0).await;
    let fixture = Fixture::new(dial).await;
    for request in [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /?_modal_connect_token=0123 HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nAuthorization: Bearer wrong\r\nContent-Length: 3\r\n\r\nabc",
        "GET / HTTP/1.1\r\nAuthorization: Basic TOKEN\r\n\r\n",
        "GET / HTTP/1.1\r\nX: _modal_connect_token=TOKEN\r\n\r\n",
    ] {
        let answer = fixture.ask(request).await;
        let (head, body) = split(&answer);
        assert!(head.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{answer}");
        assert!(body.starts_with("This port of the sandbox asks for a connect token"), "{answer}");
    }
    fixture.guard.revoke(fixture.token.as_str());
    let answer = fixture.ask("GET / HTTP/1.1\r\nAuthorization: Bearer TOKEN\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    tell.try_recv().unwrap_err();
}

#[tokio::test]
async fn with_a_token_in_any_of_three_places_the_request_goes_on() {
    let (dial, _tell) = echo(0).await;
    let fixture = Fixture::new(dial).await;
    for (request, cookie) in [
        ("GET /x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer TOKEN\r\n\r\n", false),
        ("GET /x?_modal_connect_token=TOKEN HTTP/1.1\r\nHost: x\r\n\r\n", true),
        ("GET /x HTTP/1.1\r\nHost: x\r\nCookie: _modal_connect_token=TOKEN\r\n\r\n", false),
    ] {
        let answer = answer_of(fixture.send(request).await).await;
        let (head, seen) = split(&answer);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("Connection: close"), "{answer}");
        assert!(!head.contains("keep-alive"), "{answer}");
        let expected =
            format!("Set-Cookie: _modal_connect_token={}; HttpOnly; SameSite=Lax; Path=/", fixture.token.as_str());
        assert_eq!(head.contains(&expected), cookie, "{answer}");
        let expected = "GET /x HTTP/1.1\r\nHost: x\r\nX-Verified-User-Data: {\"user\": \"ann\"}\r\n\
                        X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nConnection: close\r\n\r\n";
        assert_eq!(seen, expected);
    }
}

#[tokio::test]
async fn a_second_request_is_not_smuggled_in() {
    let second = "POST /admin HTTP/1.1\r\nX-Verified-User-Data: root\r\nContent-Length: 0\r\n\r\n";
    for first in [
        "POST / HTTP/1.1\r\nAuthorization: Bearer TOKEN\r\nContent-Length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nAuthorization: Bearer TOKEN\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let (dial, mut tell) = echo(5).await;
        let fixture = Fixture::new(dial).await;
        let answer = answer_of(fixture.send(&format!("{first}{second}")).await).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && !answer.contains("root"), "{answer}");
        assert_eq!(soon(tell.recv()).await.unwrap(), "");
    }
    let (dial, mut tell) = echo(0).await;
    let fixture = Fixture::new(dial).await;
    for headers in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
    ] {
        let request = format!("POST / HTTP/1.1\r\nAuthorization: Bearer TOKEN\r\n{headers}\r\nhello{second}");
        let answer = fixture.ask(&request).await;
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    }
    // A trailer is no way to set a header either; here it is too late for an answer.
    let request = "POST / HTTP/1.1\r\nAuthorization: Bearer TOKEN\r\nTransfer-Encoding: chunked\r\n\r\n\
                   0\r\nX-Verified-User-Data: root\r\n\r\n";
    let mut client = fixture.send(request).await;
    let mut answer = Vec::new();
    let _ = soon(client.read_to_end(&mut answer)).await;
    assert_eq!(soon(tell.recv()).await.unwrap(), "");
}

#[tokio::test]
async fn a_websocket_goes_through_once_the_server_agreed() {
    let dial = sandbox(|mut stream| async move {
        let head = read_head(&mut stream).await;
        assert!(head.contains("Connection: Upgrade\r\nUpgrade: websocket\r\n"), "{head}");
        assert!(head.contains("Sec-WebSocket-Key: abc\r\n"), "{head}");
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhi ")
            .await
            .unwrap();
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
    });
    let fixture = Fixture::new(dial.await).await;
    let head = "GET /?_modal_connect_token=TOKEN HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Key: abc\r\n\r\n";
    let mut client = fixture.send(&format!("{head}early ")).await;
    let answer = read_head(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 101 ") && answer.contains("Connection: Upgrade"), "{answer}");
    assert!(answer.contains("Set-Cookie: "), "{answer}");
    client.write_all(b"late").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut client).await, "hi early late");
}

#[tokio::test]
async fn a_websocket_that_is_refused_is_a_request_like_others() {
    let (dial, mut tell) = echo(0).await;
    let fixture = Fixture::new(dial).await;
    let head = "GET / HTTP/1.1\r\nAuthorization: Bearer TOKEN\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let client = fixture.send(&format!("{head}GET /admin HTTP/1.1\r\nX-Verified-User-Data: root\r\n\r\n")).await;
    let answer = answer_of(client).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("Connection: close\r\n"), "{answer}");
    assert_eq!(soon(tell.recv()).await.unwrap(), "");
}

#[tokio::test]
async fn interim_answers_and_long_bodies_go_through() {
    const ALL: usize = 3 << 20;
    let dial = sandbox(|mut stream| async move {
        let head = read_head(&mut stream).await;
        assert!(head.contains("Expect: 100-continue"), "{head}");
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
        let mut body = vec![0; ALL];
        stream.read_exact(&mut body).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        stream.write_all(&body).await.unwrap();
    });
    let fixture = Fixture::new(dial.await).await;
    let head = format!(
        "PUT / HTTP/1.1\r\nAuthorization: Bearer TOKEN\r\nExpect: 100-continue\r\nContent-Length: {ALL}\r\n\r\n"
    );
    let mut client = fixture.send(&head).await;
    assert_eq!(read_head(&mut client).await, "HTTP/1.1 100 Continue\r\n\r\n");
    let (mut read, mut write) = client.split();
    let body = "x".repeat(ALL);
    let (answer, sent) = tokio::join!(read_all(&mut read), write.write_all(body.as_bytes()));
    sent.unwrap();
    assert_eq!(split(&answer).1.len(), ALL);
}

#[tokio::test]
async fn a_server_that_answers_before_the_end_is_heard() {
    let dial = sandbox(|mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno").await.unwrap();
        stream.shutdown().await.unwrap();
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    });
    let fixture = Fixture::new(dial.await).await;
    let head = "PUT / HTTP/1.1\r\nAuthorization: Bearer TOKEN\r\nContent-Length: 10000000\r\n\r\nsome";
    let answer = fixture.ask(head).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.ends_with("\r\n\r\nno"), "{answer}");
}

#[tokio::test]
async fn what_goes_wrong_is_said_in_a_sentence() {
    let fixture = Fixture::new(common::dial_to(nobody().await)).await;
    let request = "GET / HTTP/1.1\r\nAuthorization: Bearer TOKEN\r\n\r\n";
    let answer = fixture.ask(request).await;
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("Nothing answers on this port"), "{answer}");
    assert_eq!(fixture.tunnel.stats().failed_dials, 1);

    let dial = sandbox(|mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(b"SSH-2.0-OpenSSH\r\n").await.unwrap();
    });
    let fixture = Fixture::new(dial.await).await;
    let answer = fixture.ask(request).await;
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("is no HTTP/1.1"), "{answer}");

    let answer = fixture.ask("\x16\x03\x01\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let answer = fixture.ask(&format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(20_000))).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let answer = fixture.ask(&format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(101))).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn a_guard_and_http2_do_not_go_together() {
    let dir = tempfile::tempdir().unwrap();
    let authority = computesdk_tunnel::Authority::open(dir.path()).unwrap();
    let mut options = TunnelOptions::default();
    let mut face = computesdk_tunnel::TlsFace::new(authority, ["localhost"]);
    face.h2 = true;
    options.tls = Some(face);
    options.guard = Some(Guard::new());
    let error = Tunnel::open(common::dial_to(nobody().await), options).await.unwrap_err();
    assert!(matches!(error, TunnelError::Invalid(_)));
}
