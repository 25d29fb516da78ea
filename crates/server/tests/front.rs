//! The one port, as clients meet it: of both versions of HTTP, with TLS and without.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Running, eventually, plain_client, read_all, soon, tls_client, tls_stream};
use computesdk_modal_proto::router::task_exec_poll_response::ExitStatus;
use computesdk_modal_proto::router::{
    TaskExecPollRequest, TaskExecStdinStatusRequest, TaskExecStdioReadRequest, TaskExecWaitRequest,
};
use computesdk_server::front::FrontOptions;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

#[tokio::test]
async fn one_port_answers_all() {
    let server = Running::tls().await;
    let (mut plain, mut tls) = (plain_client(server.addr).await, tls_client(server.addr).await);
    for (client, code) in [(&mut plain, 0), (&mut tls, 1)] {
        let polled = soon(client.task_exec_poll(TaskExecPollRequest::default())).await.unwrap();
        assert_eq!(polled.into_inner().exit_status, Some(ExitStatus::Code(code)));
        let request = TaskExecStdioReadRequest { offset: 3000, ..Default::default() };
        let mut stream = soon(client.task_exec_stdio_read(request)).await.unwrap().into_inner();
        let mut bytes = 0;
        while let Some(message) = soon(stream.message()).await.unwrap() {
            bytes += message.data.len();
        }
        assert_eq!(bytes, 3_000_000);
    }
    let request = b"GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut plain = TcpStream::connect(server.addr).await.unwrap();
    plain.write_all(request).await.unwrap();
    let answer = read_all(&mut plain).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nhello\n"), "{answer}");
    for alpn in [&["http/1.1"][..], &[]] {
        let mut tls = tls_stream(TcpStream::connect(server.addr).await.unwrap(), alpn).await.unwrap();
        tls.write_all(request).await.unwrap();
        assert!(read_all(&mut tls).await.ends_with("hello\n"));
    }
    let report = server.stop().await;
    assert_eq!((report.accepted, report.evicted, report.cut), (5, 0, 0));
}

#[tokio::test]
async fn a_stop_waits_for_requests_but_not_for_ever() {
    let mut options = FrontOptions::default();
    options.drain = Duration::from_millis(500);
    let mut server = Running::start(options.clone()).await;
    let mut client = server.client().await;
    let mut other = client.clone();
    let waiting = tokio::spawn(async move { other.task_exec_wait(TaskExecWaitRequest::default()).await });
    let echo = std::sync::Arc::clone(&server.echo);
    eventually("the call is under way", || echo.waiting.load(Ordering::SeqCst) == 1).await;
    server.signal_stop();
    // It is not answered anywhere else, so a new connection means that the listener is still there.
    let addr = server.addr;
    soon(async { while TcpStream::connect(addr).await.is_ok() {} }).await;
    echo.release.notify_waiters();
    soon(waiting).await.unwrap().unwrap();
    assert_eq!(server.ended().await.cut, 0);
    soon(client.task_exec_stdin_status(TaskExecStdinStatusRequest::default())).await.unwrap_err();

    let server = Running::start(options).await;
    let mut client = server.client().await;
    let waiting = tokio::spawn(async move { client.task_exec_wait(TaskExecWaitRequest::default()).await });
    let echo = std::sync::Arc::clone(&server.echo);
    eventually("the call is under way", || echo.waiting.load(Ordering::SeqCst) == 1).await;
    let start = Instant::now();
    let report = server.stop().await;
    assert_eq!(report.cut, 1);
    assert!(start.elapsed() >= Duration::from_millis(500));
    assert_eq!(echo.waiting.load(Ordering::SeqCst), 0, "the handler has ended too");
    soon(waiting).await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_stop_does_not_wait_for_who_says_nothing() {
    let mut options = FrontOptions::default();
    options.drain = Duration::from_secs(3600);
    let server = Running::start(options).await;
    // One that answers no frame, one that asks nothing, one that is in the middle of a head, and one that keeps its
    // connection for the next request.
    let _deaf = common::raw::connect(server.addr).await;
    let _silent = TcpStream::connect(server.addr).await.unwrap();
    let mut slow = TcpStream::connect(server.addr).await.unwrap();
    slow.write_all(b"GET /hello HTTP/1.1\r\nHost:").await.unwrap();
    let mut kept = TcpStream::connect(server.addr).await.unwrap();
    kept.write_all(b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut client = server.client().await;
    common::works(&mut client).await;
    assert_eq!(server.stop().await.cut, 0);
    assert!(read_all(&mut kept).await.ends_with("hello\n"));
}
