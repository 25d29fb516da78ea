//! What must hold for any bytes that come out of a sandbox. Used by the corpus test beside this file and, as it stands,
//! by the fuzz targets in `fuzz/`: one place says what "total" means.

use computesdk_guest_protocol::agent::{Answer, Change, FromAgent, Stat};
use computesdk_guest_protocol::packet::{MAX_FDS, PacketError, receive};
use computesdk_guest_protocol::{Envelope, MAX_INLINE, decode, encode};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, Mode, OFlags, memfd_create, open};
use rustix::io::FdFlags;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sendmsg, socketpair,
};
use rustix::pipe::{PipeFlags, pipe_with};
use std::io::IoSlice;
use std::mem::MaybeUninit;

/// What one byte of a message may cost in memory. The worst is a listing of entries with empty names, 11 bytes each.
const MEMORY_PER_BYTE: usize = 32;

/// Most descriptors that [`packet`] sends: some more than are taken.
const MOST_SENT: usize = 12;

/// Bytes as the agent's packet, and as a message that was spilled.
pub(crate) fn from_agent(bytes: &[u8]) {
    if let Ok(Envelope::Inline(message)) = decode::<Envelope<FromAgent>>(bytes) {
        holds(bytes, &message);
    }
    if let Ok(message) = decode::<FromAgent>(bytes) {
        holds(bytes, &message);
    }
}

fn holds(bytes: &[u8], message: &FromAgent) {
    let memory = memory(message);
    assert!(memory <= bytes.len() * MEMORY_PER_BYTE + 1024, "{} bytes became {memory}", bytes.len());
    // A message has one meaning: what is read is what is written again, though padded numbers may become shorter.
    let written = encode(message).expect("every message can be written");
    assert!(written.len() <= bytes.len(), "{message:?} grew");
    let again = decode::<FromAgent>(&written).expect("what was written can be read");
    assert_eq!(format!("{message:?}"), format!("{again:?}"));
}

/// What a decoded message holds on to.
fn memory(message: &FromAgent) -> usize {
    let stat = |stat: &Stat| {
        [&stat.owner, &stat.group].iter().filter_map(|name| name.as_ref().map(String::capacity)).sum::<usize>()
            + stat.target.as_ref().map_or(0, Vec::capacity)
    };
    size_of::<FromAgent>()
        + match message {
            FromAgent::Answer { answer: Answer::Entries(entries), .. } => {
                entries.capacity() * size_of::<(Vec<u8>, Stat)>()
                    + entries.iter().map(|(name, of)| name.capacity() + stat(of)).sum::<usize>()
            }
            FromAgent::Answer { answer: Answer::Stat(of), .. } => stat(of),
            _ => 0,
        }
}

/// Bytes as one record of a watch, after its length.
pub(crate) fn change(bytes: &[u8]) {
    if let Ok(change) = decode::<Change>(bytes) {
        assert!(change.path.capacity() <= bytes.len() * MEMORY_PER_BYTE + 1024);
        let written = encode(&change).expect("every change can be written");
        assert_eq!(decode::<Change>(&written).expect("what was written can be read"), change);
    }
}

/// A packet with odd descriptors. The first byte says how many, one byte each says which kind, the next how much of the
/// rest is the packet; what remains is the content of the memfds.
pub(crate) fn packet(input: &[u8]) {
    let Some((&count, rest)) = input.split_first() else { return };
    let count = usize::from(count) % (MOST_SENT + 1);
    let Some((kinds, rest)) = rest.split_at_checked(count) else { return };
    let Some((&len, rest)) = rest.split_first() else { return };
    let (bytes, content) = rest.split_at(usize::from(len).min(rest.len()));

    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).expect("a socket pair");
    // The far end of this pipe is among the descriptors that are sent: it ends when every copy is closed.
    let (watched, sent) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
    let fds: Vec<OwnedFd> = kinds.iter().map(|kind| descriptor(*kind, content, &sent)).collect();
    send(&theirs, bytes, &fds);
    let last_is_memfd = kinds.last().is_some_and(|kind| is_memory(*kind));
    drop((theirs, fds, sent));

    let mut buffer = Vec::new();
    let received = receive::<FromAgent>(&ours, &mut buffer);
    assert!(buffer.capacity() <= 2 * MAX_INLINE);
    match &received {
        Ok((message, fds)) => {
            assert!(count <= MAX_FDS && fds.len() <= count, "{count} sent, {} taken", fds.len());
            for fd in fds {
                assert!(rustix::io::fcntl_getfd(fd).expect("it is open").contains(FdFlags::CLOEXEC));
            }
            match decode::<Envelope<FromAgent>>(bytes).expect("what was taken is a message") {
                Envelope::Inline(inline) => assert_eq!(format!("{message:?}"), format!("{inline:?}")),
                Envelope::Spilled(len) => {
                    assert!(last_is_memfd, "a spilled message was read from something that is no memfd");
                    assert!(usize::try_from(len).is_ok_and(|len| len <= content.len()));
                }
            }
        }
        Err(PacketError::Closed) => assert!(bytes.is_empty() && count == 0),
        Err(_) => {}
    }
    drop(received);
    // Nothing more comes, and the end is the end.
    assert!(matches!(receive::<FromAgent>(&ours, &mut buffer), Err(PacketError::Closed)));
    let mut fds = [PollFd::new(&watched, PollFlags::IN)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&at_once)).expect("poll");
    assert!(fds[0].revents().contains(PollFlags::HUP), "a descriptor that came with a packet was kept");
}

fn is_memory(kind: u8) -> bool {
    matches!(kind % 8, 1 | 2)
}

fn descriptor(kind: u8, content: &[u8], sent: &OwnedFd) -> OwnedFd {
    let memfd = || {
        let memfd = memfd_create(c"fuzz", MemfdFlags::CLOEXEC).expect("a memfd");
        let mut written = 0;
        while written < content.len() {
            written += rustix::io::pwrite(&memfd, &content[written..], written as u64).expect("memory");
        }
        memfd
    };
    let opened = |path: &str, flags| open(path, flags | OFlags::CLOEXEC, Mode::empty()).expect("it can be opened");
    match kind % 8 {
        1 => memfd(),
        // Write-only: it has the type and the file system, and cannot be read.
        2 => {
            use rustix::fd::AsRawFd as _;
            let memfd = memfd();
            opened(&format!("/proc/self/fd/{}", memfd.as_raw_fd()), OFlags::WRONLY)
        }
        3 => opened("/dev/zero", OFlags::RDONLY),
        4 => opened("/proc/self/status", OFlags::RDONLY),
        5 => opened("/", OFlags::PATH),
        6 => eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd"),
        7 => socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).expect("sockets").0,
        _ => sent.try_clone().expect("a copy of the pipe"),
    }
}

/// Sends bytes as they are, not as an honest `Packet` would.
fn send(socket: &OwnedFd, bytes: &[u8], fds: &[OwnedFd]) {
    let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SENT))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(borrowed.is_empty() || control.push(SendAncillaryMessage::ScmRights(&borrowed)));
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).expect("there is room");
}
