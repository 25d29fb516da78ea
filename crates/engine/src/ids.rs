//! Host user ids for the sandboxes of a root engine.
//!
//! Each sandbox gets 65536 ids that no other sandbox of an engine in the same network namespace has. They come from above what useradd, systemd and
//! container tools hand out: systemd documents 524288 to 1879048191 for containers (`UIDS-GIDS`), so ours start at
//! 1879048192 (0x7000_0000) and end below 2^31. The 4096 ranges are handed to engines in blocks of 64; a block is held
//! by an abstract Unix socket with a well-known name, which the kernel releases however the engine ends.

use crate::EngineError;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with};
use std::io;
use std::os::fd::OwnedFd;

const FIRST: u32 = 0x7000_0000;
/// Ids of one sandbox.
pub(crate) const COUNT: u32 = 65_536;
const BLOCKS: u32 = 64;
const RANGES_PER_BLOCK: u32 = 64;

/// The ranges that this engine holds.
#[derive(Debug, Default)]
pub(crate) struct Ranges {
    held: Vec<OwnedFd>,
    free: Vec<u32>,
}

impl Ranges {
    /// The first id of a free range.
    pub(crate) fn take(&mut self) -> Result<u32, EngineError> {
        if self.free.is_empty() {
            self.hold_block()?;
        }
        self.free.pop().ok_or_else(exhausted)
    }

    /// Gives a range back, after its sandbox has ended.
    pub(crate) fn give_back(&mut self, first: u32) {
        self.free.push(first);
    }

    fn hold_block(&mut self) -> Result<(), EngineError> {
        for block in 0..BLOCKS {
            let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
                .map_err(|errno| EngineError::host("open a socket")(errno.into()))?;
            let name = format!("computesdk/uid-range/{block}");
            let held = SocketAddrUnix::new_abstract_name(name.as_bytes()).and_then(|address| bind(&socket, &address));
            if held.is_ok() {
                self.held.push(socket);
                let start = FIRST + block * RANGES_PER_BLOCK * COUNT;
                // Popped from the end: the lowest range first.
                self.free.extend((0..RANGES_PER_BLOCK).rev().map(|range| start + range * COUNT));
                return Ok(());
            }
        }
        Err(exhausted())
    }
}

fn exhausted() -> EngineError {
    EngineError::Host {
        what: String::from("find a free range of user ids (4096 sandboxes of root engines are the most on a machine)"),
        source: io::Error::from(io::ErrorKind::AddrInUse),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_engines_never_share_a_range() {
        let (mut a, mut b) = (Ranges::default(), Ranges::default());
        let mut seen: Vec<u32> = (0..100).map(|_| a.take().unwrap()).chain((0..3).map(|_| b.take().unwrap())).collect();
        let all = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), all);
        assert!(seen.iter().all(|first| (FIRST..=0x7fff_0000).contains(first) && first % COUNT == 0));
    }

    #[test]
    fn a_range_comes_back() {
        let mut ranges = Ranges::default();
        let first = ranges.take().unwrap();
        ranges.give_back(first);
        assert_eq!(ranges.take().unwrap(), first);
    }
}
