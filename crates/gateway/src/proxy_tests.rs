use super::*;
use crate::hello::tests::client_hello;
use std::sync::Mutex;
use tokio::io::{DuplexStream, duplex};
use tokio::task::JoinHandle;

const WITHIN: Duration = Duration::from_millis(200);
/// Whatever waits longer hangs.
const LONG: Duration = Duration::from_secs(20);

/// Dials one prepared stream.
struct Fake {
    names: bool,
    result: Mutex<Option<Result<DuplexStream, DialError>>>,
}

impl Dialer for Fake {
    type Stream = DuplexStream;

    fn cut(&self, _stream: &DuplexStream) {}

    fn checks_names(&self) -> bool {
        self.names
    }

    async fn dial(&self, _host: &str, _port: u16) -> Result<DuplexStream, DialError> {
        self.result.lock().unwrap().take().unwrap()
    }
}

/// The client's end, the server's end, and what becomes of it.
fn start(names: bool) -> (DuplexStream, DuplexStream, JoinHandle<Outcome>) {
    let (server, dialed) = duplex(64 << 10);
    let (client, outcome) = start_with(names, Ok(dialed));
    (client, server, outcome)
}

fn start_with(names: bool, result: Result<DuplexStream, DialError>) -> (DuplexStream, JoinHandle<Outcome>) {
    let (client, proxied) = duplex(64 << 10);
    let dialer = Fake { names, result: Mutex::new(Some(result)) };
    (client, serving(proxied, dialer))
}

fn serving(mut proxied: DuplexStream, dialer: Fake) -> JoinHandle<Outcome> {
    tokio::spawn(async move { serve(&mut proxied, &dialer, WITHIN, &Copied::default()).await })
}

async fn end(outcome: JoinHandle<Outcome>) -> Outcome {
    timeout(LONG, outcome).await.unwrap().unwrap()
}

async fn all(stream: &mut DuplexStream) -> String {
    let mut bytes = Vec::new();
    timeout(LONG, stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
    String::from_utf8_lossy(&bytes).into()
}

async fn exactly(stream: &mut DuplexStream, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    timeout(LONG, stream.read_exact(&mut read)).await.unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&read), String::from_utf8_lossy(bytes));
}

const WELCOME: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

#[tokio::test]
async fn a_tunnel_carries_both_ways_and_keeps_a_half_open() {
    let (mut client, mut server, outcome) = start(false);
    client.write_all(b"CONNECT A.example:443 HTTP/1.1\r\n\r\nearly").await.unwrap();
    exactly(&mut client, WELCOME).await;
    exactly(&mut server, b"early").await;
    client.write_all(b" more").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(all(&mut server).await, " more");
    // The client has ended; the server has not.
    server.write_all(b"late").await.unwrap();
    drop(server);
    assert_eq!(all(&mut client).await, "late");
    let outcome = end(outcome).await;
    assert!(matches!(outcome.end, End::Carried));
    assert_eq!(outcome.target, Some(("a.example".into(), 443)));
    assert_eq!((outcome.sent, outcome.received), (10, 4));
}

#[tokio::test]
async fn much_is_carried_at_the_same_time() {
    let (client, server, outcome) = start(false);
    let (mut from_server, mut to_server) = split(client);
    let (mut from_client, mut to_client) = split(server);
    let bytes: Vec<u8> = (0..3_000_000u32).map(|at| (at % 251) as u8).collect();
    to_server.write_all(b"CONNECT a.example:443 HTTP/1.1\r\n\r\n").await.unwrap();
    let mut welcome = vec![0; WELCOME.len()];
    from_server.read_exact(&mut welcome).await.unwrap();
    let (mut up, mut down) = (Vec::new(), Vec::new());
    let sends = async {
        tokio::join!(
            async {
                to_server.write_all(&bytes).await.unwrap();
                to_server.shutdown().await.unwrap();
            },
            async {
                to_client.write_all(&bytes).await.unwrap();
                to_client.shutdown().await.unwrap();
            },
            async { from_client.read_to_end(&mut up).await.unwrap() },
            async { from_server.read_to_end(&mut down).await.unwrap() },
        )
    };
    timeout(LONG, sends).await.unwrap();
    assert!(up == bytes && down == bytes);
    let outcome = end(outcome).await;
    assert_eq!((outcome.sent, outcome.received), (3_000_000, 3_000_000));
}

#[tokio::test]
async fn a_name_that_was_asked_for_is_the_name_that_is_used() {
    let (mut client, mut server, outcome) = start(true);
    let hello = client_hello("A.example");
    // The first bytes of TLS come with the head, and the rest later.
    client.write_all(&[&b"CONNECT a.EXAMPLE.:443 HTTP/1.1\r\n\r\n"[..], &hello[..20]].concat()).await.unwrap();
    exactly(&mut client, WELCOME).await;
    client.write_all(&[&hello[20..], b"and so on"].concat()).await.unwrap();
    exactly(&mut server, &[&hello[..], b"and so on"].concat()).await;
    drop((client, server));
    assert!(matches!(end(outcome).await.end, End::Carried));
}

#[tokio::test]
async fn a_tunnel_for_another_name_carries_nothing() {
    for (bytes, part) in [
        (client_hello("b.example"), "TLS with b.example"),
        (b"\x16\x03\x01\x00\x05\x02".to_vec(), "other than TLS"),
        (b"SSH-2.0-x\r\n".to_vec(), "other than TLS"),
        (client_hello("a.example")[..40].to_vec(), "no TLS in time"),
        (vec![], "no TLS in time"),
    ] {
        let (mut client, mut server, outcome) = start(true);
        client.write_all(b"CONNECT a.example:443 HTTP/1.1\r\n\r\n").await.unwrap();
        exactly(&mut client, WELCOME).await;
        client.write_all(&bytes).await.unwrap();
        assert_eq!(all(&mut server).await, "");
        assert_eq!(all(&mut client).await, "");
        let outcome = end(outcome).await;
        assert!(matches!(&outcome.end, End::Mismatch(why) if why.contains(part)), "{outcome:?}");
        assert_eq!((outcome.sent, outcome.received), (0, 0));
    }
}

#[tokio::test]
async fn a_plain_request_is_passed_on() {
    let (mut client, mut server, outcome) = start(true);
    let request = b"POST http://a.example/x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\nabc";
    client.write_all(request).await.unwrap();
    let passed = b"POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc";
    exactly(&mut server, passed).await;
    server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    drop(server);
    assert_eq!(all(&mut client).await, "HTTP/1.1 204 No Content\r\n\r\n");
    drop(client);
    let outcome = end(outcome).await;
    assert_eq!((outcome.target, outcome.sent), (Some(("a.example".into(), 80)), passed.len() as u64));
}

#[tokio::test]
async fn what_fails_is_said() {
    let refused = || DialError::Refused("192.0.2.1 is\r\nrefused".into());
    for (error, line, text) in [
        (refused(), "HTTP/1.1 403 ", "\r\n\r\n192.0.2.1 is  refused\n"),
        (DialError::Failed(io::ErrorKind::TimedOut.into()), "HTTP/1.1 504 ", "in time\n"),
        (DialError::Failed(io::ErrorKind::ConnectionRefused.into()), "HTTP/1.1 502 ", "connection refused\n"),
    ] {
        let (mut client, outcome) = start_with(true, Err(error));
        client.write_all(b"CONNECT 192.0.2.1:443 HTTP/1.1\r\n\r\n").await.unwrap();
        let answer = all(&mut client).await;
        assert!(answer.starts_with(line) && answer.ends_with(text), "{answer}");
        assert!(answer.contains("\r\nConnection: close\r\n"));
        drop(client);
        assert_eq!(end(outcome).await.target, Some(("192.0.2.1".into(), 443)));
    }
}

#[tokio::test]
async fn what_is_no_request_for_a_proxy_is_refused() {
    let long = format!("CONNECT {}:443 HTTP/1.1\r\n\r\n", "a".repeat(40_000));
    for (head, part) in [
        ("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "this is a proxy"),
        ("GET ftp://a.example/ HTTP/1.1\r\n\r\n", "neither"),
        (&long, "16 KiB"),
        ("\u{16}\u{3}\u{1}", "no HTTP request"),
    ] {
        let (mut client, mut server, outcome) = start(false);
        client.write_all(head.as_bytes()).await.unwrap();
        let answer = all(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n") && answer.contains(part), "{answer}");
        drop(client);
        assert_eq!(all(&mut server).await, "");
        assert!(matches!(end(outcome).await.end, End::Bad(_)));
    }
}

#[tokio::test]
async fn a_head_that_never_ends_ends() {
    let (mut client, _server, outcome) = start(false);
    client.write_all(b"GET http://a.example/ HTTP/1.1\r\n").await.unwrap();
    // A header now and then, until the proxy has enough.
    let dribble = async {
        while client.write_all(b"X: y\r\n").await.is_ok() {
            tokio::time::sleep(WITHIN / 20).await;
        }
    };
    timeout(LONG, dribble).await.unwrap();
    assert!(all(&mut client).await.starts_with("HTTP/1.1 408 "));
    assert!(matches!(end(outcome).await.end, End::TooSlow));
}

#[tokio::test]
async fn a_client_that_goes_is_noticed() {
    for head in ["", "GET http", "CONNECT a.example:443 HTTP/1.1\r\n\r\n\u{16}"] {
        let (mut client, _server, outcome) = start(true);
        client.write_all(head.as_bytes()).await.unwrap();
        drop(client);
        assert!(matches!(end(outcome).await.end, End::Gone), "{head}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_holds_nothing_up() {
    let (client, proxied) = duplex(16);
    let dialer = Fake { names: false, result: Mutex::new(None) };
    let outcome = serving(proxied, dialer);
    let (_unread, mut to_proxy) = split(client);
    to_proxy.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(matches!(end(outcome).await.end, End::Bad(_)));
}
