//! A call with nothing in it, beside one byte there and back.

use crate::Result;
use crate::house::House;
use crate::report::{Bound, Report};
use crate::samples::Samples;
use std::time::Instant;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// So many of the one, then of the other.
const BLOCK: usize = 100;

pub(crate) async fn measure(rounds: usize, report: &mut Report) -> Result<()> {
    let house = House::open().await?;
    let mut guest = house.guest().await?;
    let mut wire = echo().await?;
    let (mut bytes, mut calls) = (Samples::default(), Samples::default());
    for round in 0..=rounds {
        let is_warm = round > 0;
        for _ in 0..BLOCK {
            let begun = Instant::now();
            wire.write_u8(7).await?;
            wire.read_u8().await?;
            if is_warm {
                bytes.push_time(begun.elapsed());
            }
        }
        for _ in 0..BLOCK {
            let begun = Instant::now();
            guest.hello().await?;
            if is_warm {
                calls.push_time(begun.elapsed());
            }
        }
    }
    house.close().await?;
    report.samples("a byte there and back, TCP", "ms", &bytes);
    report.samples("an empty call", "ms", &calls);
    report.bounded("  the call, beside the byte", "x", calls.p50() / bytes.p50(), Bound::AtMost(15.0));
    Ok(())
}

/// A connection whose other end sends every byte back.
async fn echo() -> Result<TcpStream> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let near = TcpStream::connect(listener.local_addr()?).await?;
    let (mut far, _) = listener.accept().await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    tokio::spawn(async move {
        while let Ok(byte) = far.read_u8().await {
            if far.write_u8(byte).await.is_err() {
                break;
            }
        }
    });
    Ok(near)
}
