use super::sandbox;
use crate::testing::Host;
use crate::{Compute, CreateParams, ErrorKind, Event, EventKind, Network, Probe, Sandbox, UrlProtocol};
use futures_util::{FutureExt as _, StreamExt as _};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// A listener on a port of its own.
async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A port that nobody listens on.
async fn free_port() -> u16 {
    listener().await.1
}

async fn publishing(ports: &[u16]) -> Sandbox {
    let params = CreateParams::new().ports(ports.iter().copied());
    Compute::with_provider(Host::new("host")).sandbox().create(params).await.unwrap()
}

#[test]
fn futures_go_to_other_tasks() {
    fn is_send<T: Send>(_: &T) {}
    fn check(sandbox: &Sandbox, events: &mut crate::Events) {
        is_send(&sandbox.get_url(1));
        is_send(&sandbox.connect(1));
        is_send(&sandbox.wait_until_ready(Probe::exec(["true"])));
        is_send(&events.next());
    }
    // Compiling it is the test.
    let _: fn(&Sandbox, &mut crate::Events) = check;
}

#[test]
fn params_gather_ports_and_ranges() {
    let options = CreateParams::new().port(1).ports([2, 3]).inbound("10.0.0.0/8").inbound("::1").options;
    assert_eq!(options.ports, [1, 2, 3]);
    assert_eq!(options.inbound.unwrap(), ["10.0.0.0/8", "::1"]);
    assert_eq!(CreateParams::new().options.inbound, None);
}

#[tokio::test]
async fn urls_are_those_of_published_ports() {
    let sandbox = publishing(&[8080, 3000]).await;
    assert_eq!(sandbox.get_url(8080).await.unwrap(), "http://127.0.0.1:8080");
    assert_eq!(sandbox.get_url_with(3000, UrlProtocol::Ws).await.unwrap(), "ws://127.0.0.1:3000");
    let error = sandbox.get_url_with(3000, UrlProtocol::Https).await.unwrap_err();
    assert_eq!((error.kind(), error.hint()), (ErrorKind::Unsupported, Some("it has one for http")));
    let error = sandbox.get_url(9000).await.unwrap_err();
    assert_eq!((error.kind(), error.provider()), (ErrorKind::NotFound, Some("host")));
    assert_eq!(error.to_string(), "No tunnel found for port 9000. Available ports: 3000, 8080");

    let published = sandbox.publish(9000).await.unwrap();
    assert_eq!(published.url(false).unwrap(), sandbox.get_url(9000).await.unwrap());
    let ports: Vec<_> = sandbox.tunnels().await.unwrap().iter().map(|tunnel| tunnel.port).collect();
    assert_eq!(ports, [3000, 8080, 9000]);

    sandbox.destroy().await.unwrap();
    assert!(sandbox.tunnels().await.unwrap().is_empty());
    let error = sandbox.get_url(8080).await.unwrap_err();
    assert_eq!((error.kind(), error.hint()), (ErrorKind::NotFound, None));
    assert!(error.to_string().ends_with("has ended: it was destroyed"), "{error}");
    assert_eq!(sandbox.publish(8080).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_sandbox_without_ports_says_so() {
    let error = self::sandbox().await.get_url(80).await.unwrap_err();
    assert_eq!(error.to_string(), "No tunnel found for port 80. Available ports: none");
    assert!(error.report().contains("hint: publish it: `CreateParams::port(80)`"), "{}", error.report());
}

#[tokio::test]
async fn port_0_is_refused_before_anybody_is_asked() {
    let sandbox = sandbox().await;
    for (field, error) in [
        ("port", sandbox.publish(0).await.map(drop).unwrap_err()),
        ("port", sandbox.connect(0).await.map(drop).unwrap_err()),
        ("port", sandbox.wait_until_ready(Probe::tcp(0)).await.map(drop).unwrap_err()),
        ("command", sandbox.wait_until_ready(Probe::exec(())).await.map(drop).unwrap_err()),
        ("deadline", sandbox.wait_until_ready(Probe::tcp(1).deadline(Duration::ZERO)).await.map(drop).unwrap_err()),
    ] {
        assert_eq!((error.kind(), error.context_value("field")), (ErrorKind::InvalidArgument, Some(field)), "{error}");
    }
    let sandboxes = Compute::with_provider(Host::new("host")).sandbox();
    let error = sandboxes.create(CreateParams::new().ports([80, 0])).await.unwrap_err();
    assert_eq!((error.kind(), error.context_value("field")), (ErrorKind::InvalidArgument, Some("ports")));
    let error = sandboxes.create(CreateParams::new().inbound("::1")).await.unwrap_err();
    assert_eq!((error.kind(), error.context_value("option")), (ErrorKind::Unsupported, Some("inbound")));
    assert!(sandboxes.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn connections_go_both_ways_and_end_each_on_its_own() {
    let (listener, port) = listener().await;
    let sandbox = sandbox().await;
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = String::new();
        stream.read_to_string(&mut asked).await.unwrap();
        stream.write_all(asked.to_uppercase().as_bytes()).await.unwrap();
    };
    let client = async {
        let mut stream = sandbox.connect(port).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    assert_eq!(tokio::join!(server, client).1, "HELLO");
    drop(listener);
    assert_eq!(sandbox.connect(port).await.map(drop).unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_network_that_cannot_be_kept_is_told_by_name() {
    let error = sandbox().await.set_network(Network::Egress).await.unwrap_err();
    assert_eq!((error.kind(), error.context_value("option")), (ErrorKind::Unsupported, Some("network=egress")));
}

#[tokio::test]
async fn events_come_in_order_and_none_is_lost_by_waiting_in_vain() {
    let sandbox = sandbox().await;
    let mut events = sandbox.events().await.unwrap();
    assert_eq!(events.next().await.unwrap().kind, EventKind::Created);
    for _ in 0..3 {
        assert!(events.next().now_or_never().is_none());
    }
    sandbox.destroy().await.unwrap();
    assert!(matches!(events.next().await.unwrap().kind, EventKind::Ended { .. }));
    assert_eq!(events.next().await, None);
    assert_eq!(events.next().await, None, "asked again");
    // As a stream, and for whoever comes later.
    let all: Vec<Event> = sandbox.events().await.unwrap().collect().await;
    assert_eq!(all.len(), 2);
}

#[tokio::test]
async fn a_port_is_ready_once_somebody_listens() {
    let sandbox = sandbox().await;
    let port = free_port().await;
    let probe = Probe::tcp(port).interval(Duration::from_millis(5)).deadline(Duration::from_secs(20));
    let pause = Duration::from_millis(60);
    let listen = async {
        tokio::time::sleep(pause).await;
        TcpListener::bind(("127.0.0.1", port)).await.unwrap()
    };
    let (waited, _listener) = tokio::join!(sandbox.wait_until_ready(probe), listen);
    assert!(waited.unwrap() >= pause);
}

#[tokio::test]
async fn a_command_is_ready_once_it_exits_with_0() {
    let sandbox = sandbox().await;
    let dir = std::env::temp_dir().join(super::unique_seconds());
    let path = dir.display().to_string();
    // Fails twice.
    let count = "echo x >> \"$0\"; test \"$(wc -l < \"$0\")\" -ge 3";
    let probe = Probe::exec(["sh", "-c", count, &path]).interval(Duration::from_millis(5));
    sandbox.wait_until_ready(probe).await.unwrap();
    assert_eq!(std::fs::read_to_string(&dir).unwrap().lines().count(), 3);
    std::fs::remove_file(&dir).unwrap();
}

#[tokio::test]
async fn what_was_never_ready_says_what_was_tried() {
    let sandbox = sandbox().await;
    let quick = |probe: Probe| probe.interval(Duration::from_millis(20)).deadline(Duration::from_millis(300));
    let port = free_port().await;
    let error = sandbox.wait_until_ready(quick(Probe::tcp(port))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let text = error.to_string();
    assert!(text.starts_with(&format!("port {port} was not ready within 300ms: ")), "{text}");
    assert!(text.contains(" attempts, the last one: Connection refused"), "{text}");

    // What it says at last is told; a descendant that holds its streams open for a while does not hold us up.
    let started = Instant::now();
    let script = "sleep 3 & echo early >&2; echo 'not yet' >&2; kill -9 $$";
    let error = sandbox.wait_until_ready(quick(Probe::exec(["sh", "-c", script]))).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(3));
    let text = error.to_string();
    assert!(text.ends_with(" the last one: ended by signal 9, not yet"), "{text}");

    let error = sandbox.wait_until_ready(quick(Probe::exec(["no-such-program"]))).await.unwrap_err();
    assert!(error.to_string().ends_with("the last one: exit code 127, not found"), "{error}");
}

#[tokio::test]
async fn a_probe_that_hangs_or_floods_is_cut_short() {
    let sandbox = sandbox().await;
    let seconds = super::unique_seconds();
    let started = Instant::now();
    let hangs = Probe::exec(["sleep", &seconds]).deadline(Duration::from_millis(200));
    let error = sandbox.wait_until_ready(hangs).await.unwrap_err();
    assert!(error.to_string().contains("200ms: 1 attempt, the last one: no answer within "), "{error}");
    super::until("the probe is killed", || !super::runs(&seconds)).await;
    let floods = Probe::exec(["sh", "-c", "exec yes >&2"]).deadline(Duration::from_millis(300));
    sandbox.wait_until_ready(floods).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn the_end_of_the_sandbox_ends_the_waiting() {
    let sandbox = sandbox().await;
    let port = free_port().await;
    let end = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        sandbox.destroy().await.unwrap();
    };
    let (ready, ()) = tokio::join!(sandbox.wait_until_ready(Probe::tcp(port)), end);
    let error = ready.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().ends_with("never was ready: sandbox host-0 has ended: it was destroyed"), "{error}");
    // And one that has ended before.
    let error = sandbox.wait_until_ready(Probe::exec(["true"])).await.unwrap_err();
    assert!(error.to_string().contains("has ended: it was destroyed"), "{error}");
}
