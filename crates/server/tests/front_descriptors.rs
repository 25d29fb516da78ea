//! No descriptors left. Alone in its program: it is the program that has none.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Running, read_all, soon, works};
use computesdk_server::front::FrontOptions;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;

#[tokio::test]
async fn a_server_without_descriptors_gets_over_it() {
    setrlimit(Resource::Nofile, Rlimit { current: Some(200), ..getrlimit(Resource::Nofile) }).unwrap();
    let server = Running::start(FrontOptions::default()).await;
    let mut client = server.client().await;
    works(&mut client).await;
    let sockets: Vec<TcpSocket> = (0..3).map(|_| TcpSocket::new_v4().unwrap()).collect();
    let mut files = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }
    let mut waiting = Vec::new();
    for socket in sockets {
        let mut stream = soon(socket.connect(server.addr)).await.unwrap();
        stream.write_all(b"GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
        waiting.push(stream);
    }
    // Whoever is idle may have to go, and comes again; it is answered in any case.
    soon(async {
        for stream in &mut waiting {
            assert!(read_all(stream).await.ends_with("hello\n"));
        }
    })
    .await;
    drop(files);
    works(&mut server.client().await).await;
    assert!(server.stop().await.evicted >= 1);
}
