//! Packets: messages with descriptors on a SEQPACKET socket (`unix(7)`).
//!
//! Both ends use these functions. They never block by themselves (the socket's mode decides), never trust a length,
//! and close every descriptor they do not hand out.

use crate::wire::{DecodeError, Envelope, MAX_INLINE, MAX_SPILLED, decode, encode};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::mem::MaybeUninit;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, MemfdFlags, fstat, fstatfs, memfd_create};
use rustix::io::{Errno, IoSlice, IoSliceMut};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Serialize, de::DeserializeOwned};

/// Most descriptors of one packet.
pub const MAX_FDS: usize = 8;

/// `TMPFS_MAGIC` of `statfs(2)`: the file system of a memfd.
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// Why a packet could not be sent or taken.
#[derive(Debug)]
pub enum PacketError {
    /// The other end is gone.
    Closed,
    /// The socket refused.
    Io(Errno),
    /// The bytes are no message.
    Decode(DecodeError),
    /// The packet breaks the rules: truncated, too many descriptors, a spilled message that is not in a memfd.
    Malformed(&'static str),
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the other end closed the connection"),
            Self::Io(_) => f.write_str("the socket refused the packet"),
            Self::Decode(_) => f.write_str("the packet is no message"),
            Self::Malformed(what) => write!(f, "malformed packet: {what}"),
        }
    }
}

impl core::error::Error for PacketError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            // Without the standard library, an error number is no error.
            #[cfg(feature = "std")]
            Self::Io(errno) => Some(errno),
            Self::Decode(error) => Some(error),
            _ => None,
        }
    }
}

impl From<Errno> for PacketError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::PIPE | Errno::CONNRESET => Self::Closed,
            other => Self::Io(other),
        }
    }
}

impl From<DecodeError> for PacketError {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

/// A message that is ready to be sent, as often as the socket says "not now".
#[derive(Debug)]
pub struct Packet {
    bytes: Vec<u8>,
    spilled: Option<OwnedFd>,
}

impl Packet {
    /// Encodes a message, into a memfd if it is large.
    ///
    /// # Errors
    /// If the message is larger than [`MAX_SPILLED`], or no memfd can be made.
    pub fn new<T: Serialize>(message: &T) -> Result<Self, PacketError> {
        let bytes = encode(&Envelope::Inline(message))?;
        if bytes.len() <= MAX_INLINE {
            return Ok(Self { bytes, spilled: None });
        }
        let bytes = encode(message)?;
        let len = bytes.len() as u64;
        if len > MAX_SPILLED {
            return Err(PacketError::Malformed("the message is too large"));
        }
        let memfd = memfd_create(c"message", MemfdFlags::CLOEXEC)?;
        let mut rest = &bytes[..];
        let mut offset = 0;
        while !rest.is_empty() {
            let n = rustix::io::pwrite(&memfd, rest, offset)?;
            offset += n as u64;
            rest = &rest[n..];
        }
        Ok(Self { bytes: encode(&Envelope::<T>::Spilled(len))?, spilled: Some(memfd) })
    }

    /// Sends it with these descriptors, which stay the caller's.
    ///
    /// # Errors
    /// [`PacketError::Io`] with `EAGAIN` if a non-blocking socket is full: try again.
    pub fn send(&self, socket: impl AsFd, fds: &[BorrowedFd<'_>]) -> Result<(), PacketError> {
        let mut all: Vec<BorrowedFd<'_>> = fds.to_vec();
        all.extend(self.spilled.as_ref().map(AsFd::as_fd));
        if all.len() > MAX_FDS {
            return Err(PacketError::Malformed("too many descriptors"));
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !all.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&all)) {
            return Err(PacketError::Malformed("too many descriptors"));
        }
        loop {
            match sendmsg(&socket, &[IoSlice::new(&self.bytes)], &mut control, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// Takes the next message and its descriptors (all close-on-exec). If this process has no room for a descriptor, the
/// kernel drops it: the message then comes without any, because that is nobody's fault but this process's.
///
/// # Errors
/// [`PacketError::Closed`] at the end; [`PacketError::Io`] with `EAGAIN` if a non-blocking socket is empty.
pub fn receive<T: DeserializeOwned>(socket: impl AsFd, buffer: &mut Vec<u8>) -> Result<(T, Vec<OwnedFd>), PacketError> {
    buffer.resize(MAX_INLINE + 64, 0);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match recvmsg(&socket, &mut [IoSliceMut::new(buffer)], &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) => break received,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    };
    let mut fds: Vec<OwnedFd> = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    if received.bytes == 0 && fds.is_empty() && !received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(PacketError::Closed);
    }
    // Too many for the buffer fill it. With room left in it, the kernel could not make one (`EMFILE`, `ENFILE`).
    let no_room = received.flags.contains(ReturnFlags::CTRUNC) && fds.len() < MAX_FDS;
    if received.flags.contains(ReturnFlags::TRUNC) || (received.flags.contains(ReturnFlags::CTRUNC) && !no_room) {
        return Err(PacketError::Malformed("truncated"));
    }
    // The buffer is aligned and may hold one more.
    if fds.len() > MAX_FDS {
        return Err(PacketError::Malformed("too many descriptors"));
    }
    match decode::<Envelope<T>>(&buffer[..received.bytes])? {
        Envelope::Spilled(_) if no_room => Err(PacketError::Io(Errno::MFILE)),
        // Not some of them: which are missing cannot be told.
        Envelope::Inline(message) if no_room => Ok((message, Vec::new())),
        Envelope::Inline(message) => Ok((message, fds)),
        Envelope::Spilled(len) => {
            let memfd = fds.pop().ok_or(PacketError::Malformed("no descriptor holds the spilled message"))?;
            Ok((read_spilled(&memfd, len)?, fds))
        }
    }
}

/// Reads a spilled message. The descriptor may be hostile: only a memfd is read, by `pread`, never mapped (its owner
/// could truncate it under a mapping).
fn read_spilled<T: DeserializeOwned>(memfd: &OwnedFd, len: u64) -> Result<T, PacketError> {
    if len > MAX_SPILLED {
        return Err(PacketError::Malformed("the spilled message is too large"));
    }
    let stat = fstat(memfd)?;
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    #[allow(clippy::cast_sign_loss, reason = "a file system magic is a bit pattern")]
    let magic = fstatfs(memfd)?.f_type as u64;
    if !regular || magic != TMPFS_MAGIC || u64::try_from(stat.st_size).unwrap_or(0) < len {
        return Err(PacketError::Malformed("the spilled message is not in a memfd of its length"));
    }
    let len = usize::try_from(len).map_err(|_| PacketError::Malformed("the spilled message is too large"))?;
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while filled < len {
        match rustix::io::pread(memfd, &mut bytes[filled..], filled as u64) {
            Ok(0) => return Err(PacketError::Malformed("the spilled message is cut short")),
            Ok(n) => filled += n,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(decode(&bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{Answer, Ask, FromAgent, ToAgent};
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
    }

    #[test]
    fn large_messages_and_descriptors_arrive() {
        let (a, b) = pair();
        let path = vec![b'x'; 300_000];
        let (read, _write) = rustix::pipe::pipe().unwrap();
        Packet::new(&ToAgent::Ask { call: 1, ask: Ask::MakeDir { path: path.clone() } })
            .unwrap()
            .send(&a, &[read.as_fd()])
            .unwrap();
        let (message, fds) = receive::<ToAgent>(&b, &mut Vec::new()).unwrap();
        assert!(matches!(message, ToAgent::Ask { call: 1, ask: Ask::MakeDir { path: p } } if p == path));
        assert_eq!(fds.len(), 1, "the memfd itself is not handed out");
    }

    #[test]
    fn a_spilled_message_must_be_in_a_memfd() {
        let (a, b) = pair();
        let (read, _write) = rustix::pipe::pipe().unwrap();
        let bytes = encode(&Envelope::<FromAgent>::Spilled(4)).unwrap();
        let packet = Packet { bytes, spilled: Some(read) };
        packet.send(&a, &[]).unwrap();
        assert!(matches!(receive::<FromAgent>(&b, &mut Vec::new()), Err(PacketError::Malformed(_))));
    }

    #[test]
    fn the_end_is_told_from_an_empty_socket() {
        let (a, b) = pair();
        rustix::fs::fcntl_setfl(&b, rustix::fs::OFlags::NONBLOCK).unwrap();
        let mut buffer = Vec::new();
        assert!(matches!(receive::<FromAgent>(&b, &mut buffer), Err(PacketError::Io(Errno::AGAIN))));
        Packet::new(&FromAgent::Answer { call: 0, answer: Answer::Done }).unwrap().send(&a, &[]).unwrap();
        drop(a);
        receive::<FromAgent>(&b, &mut buffer).unwrap();
        assert!(matches!(receive::<FromAgent>(&b, &mut buffer), Err(PacketError::Closed)));
    }
}
