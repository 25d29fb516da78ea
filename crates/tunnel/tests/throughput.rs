//! How much of a direct connection's speed is left. Not a test of every run:
//! `cargo test --release -p computesdk-tunnel --test throughput -- --ignored --nocapture`
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

use computesdk_tunnel::{Dialed, Tunnel, TunnelOptions, dial_fn};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

const ALL: u64 = 1 << 30;

/// Sends [`ALL`] bytes to whoever connects.
fn source() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let block = vec![7; 256 * 1024];
            for _ in 0..ALL / block.len() as u64 {
                stream.write_all(&block).unwrap();
            }
        }
    });
    address
}

fn time(address: SocketAddr) -> Duration {
    let begin = Instant::now();
    let mut stream = TcpStream::connect(address).unwrap();
    let (mut block, mut all) = (vec![0; 256 * 1024], 0);
    loop {
        match stream.read(&mut block).unwrap() {
            0 => break,
            n => all += n as u64,
        }
    }
    assert_eq!(all, ALL);
    begin.elapsed()
}

#[test]
#[ignore = "takes seconds, and says little in a debug build"]
fn a_tunnel_is_not_much_slower_than_none() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let address = source();
    let dial = dial_fn(move || async move { tokio::net::TcpStream::connect(address).await.map(Dialed::Tcp) });
    let tunnel = runtime.block_on(Tunnel::open(Arc::new(dial), TunnelOptions::default())).unwrap();
    // By turns: what else the machine does then slows both.
    let (mut direct, mut tunnelled): (Vec<_>, Vec<_>) =
        (0..7).map(|_| (time(address), time(tunnel.plain_addr()))).unzip();
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        1.0 / times[times.len() / 2].as_secs_f64()
    };
    let (direct, tunnelled) = (median(&mut direct), median(&mut tunnelled));
    eprintln!("direct {direct:.2} GiB/s, tunnel {tunnelled:.2} GiB/s, ratio {:.2}", tunnelled / direct);
}
