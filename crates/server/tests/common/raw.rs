//! HTTP/2 by hand, for what no client does.

use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;
/// Of HEADERS: no more of them follow.
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const END_STREAM: u8 = 1;
/// Of SETTINGS and PING.
pub(crate) const ACK: u8 = 1;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The head of a gRPC call, as HPACK without compression.
pub(crate) fn head(method: &str) -> Vec<u8> {
    // Of the static table: :method POST, :scheme http.
    let mut block = vec![0x83, 0x86];
    field(&mut block, &[0x04], &format!("/modal.task_command_router.TaskCommandRouter/{method}"));
    field(&mut block, &[0x01], "localhost");
    field(&mut block, &[0x0f, 0x10], "application/grpc");
    block
}

/// Of a plain request that is no gRPC.
pub(crate) fn plain_head(path: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    field(&mut block, &[0x04], path);
    field(&mut block, &[0x01], "localhost");
    block
}

/// A field of any name.
pub(crate) fn named(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    text(block, name);
    text(block, value);
}

fn field(block: &mut Vec<u8>, name: &[u8], value: &str) {
    block.extend(name);
    text(block, value);
}

fn text(block: &mut Vec<u8>, value: &str) {
    // An integer with a prefix of seven bits.
    let mut length = value.len();
    if length < 127 {
        block.push(u8::try_from(length).unwrap());
    } else {
        block.push(127);
        length -= 127;
        while length >= 128 {
            block.push(u8::try_from(length % 128).unwrap() | 128);
            length /= 128;
        }
        block.push(u8::try_from(length).unwrap());
    }
    block.extend(value.as_bytes());
}

/// A connection with the settings exchanged.
pub(crate) async fn connect(addr: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    let (kind, _, _) = read_frame(&mut stream).await.unwrap();
    assert_eq!(kind, SETTINGS);
    stream.write_all(&frame(SETTINGS, ACK, 0, &[])).await.unwrap();
    stream
}

/// Kind, stream and payload; `None` at the end.
pub(crate) async fn read_frame(stream: &mut TcpStream) -> Option<(u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    super::soon(stream.read_exact(&mut head)).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    super::soon(stream.read_exact(&mut payload)).await.ok()?;
    Some((head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
}

/// Until the server says why it goes: the code of its GOAWAY. `None` if it went without a word.
pub(crate) async fn goaway(stream: &mut TcpStream) -> Option<u32> {
    while let Some((kind, _, payload)) = read_frame(stream).await {
        if kind == GOAWAY {
            return Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
    }
    None
}
