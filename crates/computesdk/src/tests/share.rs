//! Ports for those who show a token.

use super::sandbox;
use computesdk_core::ErrorKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Answers each request with its own head.
async fn echo(listener: TcpListener) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.unwrap() > 0 {}
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", head.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.write_all(&head).await.unwrap();
    }
}

async fn get(address: std::net::SocketAddr, path: &str, header: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{header}\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_shared_port_is_for_those_who_show_a_token() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(echo(listener));
    let sandbox = sandbox().await;
    let share = sandbox.share(port).await.unwrap();
    let token = share.issue(Some("user 17"), None).unwrap();

    assert!(get(share.address(), "/", "").await.starts_with("HTTP/1.1 401"));
    let answer = get(share.address(), "/a", &format!("Authorization: Bearer {}\r\n", token.as_str())).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.to_lowercase().contains("x-verified-user-data: user 17"));
    assert!(!answer.contains(token.as_str()) && !format!("{token:?} {share:?}").contains(token.as_str()));
    let path = share.url_with(&token).strip_prefix(&share.url()).unwrap().to_owned();
    assert!(get(share.address(), &path, "").await.starts_with("HTTP/1.1 200"));

    assert!(share.revoke(&token) && !share.revoke(&token));
    assert!(get(share.address(), &path, "").await.starts_with("HTTP/1.1 401"));
    let address = share.address();
    drop(share);
    super::until("the port is closed", || std::net::TcpStream::connect(address).is_err()).await;
    server.abort();
}

#[tokio::test]
async fn what_no_header_can_carry_is_refused() {
    let sandbox = sandbox().await;
    assert_eq!(sandbox.share(0).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    let share = sandbox.share(1).await.unwrap();
    assert_eq!(share.issue(Some("a\r\nb"), None).unwrap_err().kind(), ErrorKind::InvalidArgument);
}
