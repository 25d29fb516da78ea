//! Bytes through the plain listener: whole, in both directions, and to their ends.
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

mod common;

use common::{dial_to, eventually, nobody, read_all, read_head, sandbox, soon};
use computesdk_tunnel::{Dialed, Tunnel, TunnelError, TunnelOptions, dial_fn};
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

async fn open(dial: Arc<dyn computesdk_tunnel::Dial>) -> Tunnel {
    Tunnel::open(dial, TunnelOptions::default()).await.unwrap()
}

async fn connect(tunnel: &Tunnel) -> TcpStream {
    soon(TcpStream::connect(tunnel.plain_addr())).await.unwrap()
}

#[tokio::test]
async fn http_goes_through_as_it_is() {
    let dial = sandbox(|mut stream| async move {
        let head = read_head(&mut stream).await;
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}", head.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    let tunnel = open(dial.await).await;
    assert!(tunnel.plain_addr().ip().is_loopback());
    let mut client = connect(&tunnel).await;
    let request = "GET /a?b HTTP/1.1\r\nHost: x\r\nX-Odd:   spaces \r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    assert!(read_all(&mut client).await.ends_with(request));
}

#[tokio::test]
async fn a_server_that_speaks_first_is_heard() {
    let dial = sandbox(|mut stream| async move { stream.write_all(b"220 hello\r\n").await.unwrap() });
    let tunnel = open(dial.await).await;
    assert_eq!(read_all(&mut connect(&tunnel).await).await, "220 hello\r\n");
}

#[tokio::test]
async fn each_direction_ends_by_itself() {
    let dial = sandbox(|mut stream| async move {
        // Its end is seen while ours is open; what follows it still arrives.
        let question = read_all(&mut stream).await;
        stream.write_all(question.to_uppercase().as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    });
    let tunnel = open(dial.await).await;
    let mut client = connect(&tunnel).await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut client).await, "QUESTION");

    let heard = Arc::new(tokio::sync::Notify::new());
    let hears = Arc::clone(&heard);
    let dial = sandbox(move |mut stream| {
        let hears = Arc::clone(&hears);
        async move {
            stream.write_all(b"all I have").await.unwrap();
            stream.shutdown().await.unwrap();
            assert_eq!(read_all(&mut stream).await, "thanks");
            hears.notify_one();
        }
    });
    let tunnel = open(dial.await).await;
    let mut client = connect(&tunnel).await;
    assert_eq!(read_all(&mut client).await, "all I have");
    client.write_all(b"thanks").await.unwrap();
    client.shutdown().await.unwrap();
    soon(heard.notified()).await;
}

#[tokio::test]
async fn a_reset_is_passed_on_both_ways() {
    let dial = sandbox(|mut stream| async move {
        stream.read_u8().await.unwrap();
        stream.set_zero_linger().unwrap();
    });
    let tunnel = open(dial.await).await;
    let mut client = connect(&tunnel).await;
    client.write_all(b"x").await.unwrap();
    assert_eq!(soon(client.read_u8()).await.unwrap_err().kind(), ErrorKind::ConnectionReset);

    let (told, mut tell) = tokio::sync::mpsc::channel(1);
    let dial = sandbox(move |mut stream| {
        let told = told.clone();
        async move {
            stream.read_u8().await.unwrap();
            told.send(stream.read_u8().await.unwrap_err().kind()).await.unwrap();
        }
    });
    let tunnel = open(dial.await).await;
    let mut client = connect(&tunnel).await;
    client.write_all(b"x").await.unwrap();
    eventually("the sandbox is reached", || tunnel.stats().open == 1).await;
    client.set_zero_linger().unwrap();
    drop(client);
    assert_eq!(soon(tell.recv()).await.unwrap(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_client_that_is_gone_leaves_room_although_the_server_is_stuck() {
    let dial = sandbox(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    });
    let tunnel = open(dial.await).await;
    let mut client = connect(&tunnel).await;
    // Until nothing more is taken.
    let block = vec![0; 1 << 20];
    while tokio::time::timeout(std::time::Duration::from_millis(300), client.write_all(&block)).await.is_ok() {}
    client.set_zero_linger().unwrap();
    drop(client);
    eventually("there is room again", || tunnel.stats().open == 0).await;
}

#[tokio::test]
async fn a_slow_reader_slows_its_sender() {
    const ALL: usize = 20 << 20;
    let sent = Arc::new(AtomicUsize::new(0));
    let sends = Arc::clone(&sent);
    // No socket at the sandbox's side: what is sent there is held by the tunnel, or by the client's connection.
    let dial = dial_fn(move || {
        let (ours, mut theirs) = tokio::io::duplex(4096);
        let sends = Arc::clone(&sends);
        tokio::spawn(async move {
            let block = [7; 4096];
            for _ in 0..ALL / block.len() {
                theirs.write_all(&block).await.unwrap();
                sends.fetch_add(block.len(), Ordering::Relaxed);
            }
        });
        std::future::ready(Ok(Dialed::other(ours)))
    });
    let tunnel = open(Arc::new(dial)).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let mut client = soon(socket.connect(tunnel.plain_addr())).await.unwrap();
    let (mut last, mut same) = (0, 0);
    eventually("it is stuck", || {
        let now = sent.load(Ordering::Relaxed);
        same = if now > 0 && now == last { same + 1 } else { 0 };
        last = now;
        same > 40
    })
    .await;
    // The kernel gives a sender up to 4 MiB.
    assert!(last < 8 << 20, "{last} bytes are held somewhere");
    let mut all = Vec::new();
    soon(client.read_to_end(&mut all)).await.unwrap();
    assert!(all.len() == ALL && all.iter().all(|byte| *byte == 7));
}

#[tokio::test]
async fn what_a_connection_keeps_goes_with_it() {
    let address = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move { drop(stream.read_to_end(&mut Vec::new()).await) });
            }
        });
        address
    };
    let count = Arc::new(());
    let counts = Arc::clone(&count);
    let dial = dial_fn(move || {
        let one = Arc::clone(&counts);
        async move { TcpStream::connect(address).await.map(|stream| Dialed::Tcp(stream).keeping(one)) }
    });
    let tunnel = open(Arc::new(dial)).await;
    // One is here, one in the function.
    let is = |open: usize| Arc::strong_count(&count) == open + 2;
    let (ends, breaks, stays) = (connect(&tunnel).await, connect(&tunnel).await, connect(&tunnel).await);
    eventually("all three are kept", || is(3)).await;
    drop(ends);
    eventually("one has ended", || is(2)).await;
    breaks.set_zero_linger().unwrap();
    drop(breaks);
    eventually("one was reset", || is(1)).await;
    drop(tunnel);
    eventually("nothing is left", || Arc::strong_count(&count) == 1).await;
    drop(stays);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_connections_at_once() {
    let dial = sandbox(|mut stream| async move {
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
    });
    // More than there is room for at a time: the others wait.
    let mut options = TunnelOptions::default();
    options.max_connections = 50;
    let tunnel = Arc::new(Tunnel::open(dial.await, options).await.unwrap());
    let mut clients = tokio::task::JoinSet::new();
    for n in 0..200 {
        let tunnel = Arc::clone(&tunnel);
        clients.spawn(async move {
            let mut client = connect(&tunnel).await;
            let text = format!("client {n}").repeat(1000);
            client.write_all(text.as_bytes()).await.unwrap();
            client.shutdown().await.unwrap();
            assert_eq!(read_all(&mut client).await, text);
        });
    }
    soon(clients.join_all()).await;
    assert_eq!(tunnel.stats().accepted, 200);
    eventually("all have ended", || tunnel.stats().open == 0).await;
}

#[tokio::test]
async fn nothing_outlives_the_tunnel() {
    let dial = sandbox(|mut stream| async move {
        stream.write_all(b"x").await.unwrap();
        let _ = stream.read_u8().await;
    });
    let dial = dial.await;
    for close in [true, false] {
        let tunnel = open(Arc::clone(&dial)).await;
        let address = tunnel.plain_addr();
        let mut client = connect(&tunnel).await;
        soon(client.read_u8()).await.unwrap();
        if close {
            soon(tunnel.close()).await;
            std::net::TcpListener::bind(address).expect("the port is free at once");
        } else {
            drop(tunnel);
        }
        // Never a clean end: bytes may be missing.
        assert_eq!(soon(client.read_u8()).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        eventually("nobody listens", || std::net::TcpStream::connect(address).is_err()).await;
    }
}

#[tokio::test]
async fn only_those_let_in_come_in() {
    let dial = sandbox(|mut stream| async move { stream.write_all(b"hello").await.unwrap() });
    let mut options = TunnelOptions::default();
    options.inbound = Some(vec!["10.0.0.0/8".parse().unwrap(), "127.0.0.2/32".parse().unwrap()]);
    let tunnel = Tunnel::open(dial.await, options).await.unwrap();
    let from = |address: &str| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
        socket.connect(tunnel.plain_addr())
    };
    let mut stranger = soon(from("127.0.0.1")).await.unwrap();
    soon(stranger.read_u8()).await.unwrap_err();
    assert_eq!(tunnel.stats().refused, 1);
    assert_eq!(read_all(&mut soon(from("127.0.0.2")).await.unwrap()).await, "hello");
}

#[tokio::test]
async fn a_port_that_is_taken_is_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut options = TunnelOptions::default();
    options.port = address.port();
    let error = Tunnel::open(dial_to(address), options).await.unwrap_err();
    assert!(matches!(&error, TunnelError::Listen { address: at, .. } if *at == address));
    let text = error.to_string();
    assert!(text.contains(&format!("another program has port {}: end it", address.port())), "{text}");
}

#[tokio::test]
async fn a_port_that_nothing_listens_on_in_the_sandbox_is_told() {
    let tunnel = open(dial_to(nobody().await)).await;
    let mut client = connect(&tunnel).await;
    assert_eq!(soon(client.read_u8()).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(tunnel.stats().failed_dials, 1);
    assert!(tunnel.last_error().unwrap().contains("refused"));
}

#[tokio::test]
async fn a_dial_that_hangs_is_bounded() {
    let mut options = TunnelOptions::default();
    options.dial_timeout = std::time::Duration::from_millis(20);
    let tunnel = Tunnel::open(Arc::new(dial_fn(std::future::pending)), options).await.unwrap();
    let mut client = connect(&tunnel).await;
    soon(client.read_u8()).await.unwrap_err();
    assert!(tunnel.last_error().unwrap().contains("within 20ms"));
}

#[test]
fn without_a_runtime_it_says_so() {
    let dial: Arc<dyn computesdk_tunnel::Dial> = Arc::new(dial_fn(std::future::pending));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut options = TunnelOptions::default();
    options.runtime = Some(runtime.handle().clone());
    let waker = std::task::Waker::noop();
    let poll = |options: TunnelOptions| {
        let mut open = std::pin::pin!(Tunnel::open(Arc::clone(&dial), options));
        match open.as_mut().poll(&mut std::task::Context::from_waker(waker)) {
            std::task::Poll::Ready(result) => result,
            std::task::Poll::Pending => panic!("nothing to wait for"),
        }
    };
    assert!(matches!(poll(TunnelOptions::default()).unwrap_err(), TunnelError::NoRuntime));
    poll(options).unwrap();
}
