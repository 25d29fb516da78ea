//! Netlink messages (`netlink(7)`): just enough to set a network namespace up.
//!
//! The kernel does what a message asks for while it is sent, and answers only what failed: when `send` returns and there is
//! nothing to be read, all is done.

use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

// linux/netlink.h
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const NLA_F_NESTED: u16 = 1 << 15;

/// Messages that are sent together.
#[derive(Default)]
pub(super) struct Messages {
    bytes: Vec<u8>,
    /// Where the lengths of what is not finished stand.
    open: Vec<usize>,
}

impl Messages {
    /// Begins a message with this family's fixed part.
    pub(super) fn message(&mut self, kind: u16, flags: u16, fixed: &[u8]) -> &mut Self {
        self.finish();
        self.open.push(self.bytes.len());
        // nlmsghdr: length (later), type, flags, sequence, port.
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 8]);
        self.bytes.extend_from_slice(fixed);
        self.pad();
        self
    }

    /// Adds an attribute to the message, or to the list that is open.
    pub(super) fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        // nlattr: length without padding, type.
        let len = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&len.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
        self
    }

    /// Adds a number in network order, as netfilter has them.
    pub(super) fn number(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// Adds a name.
    pub(super) fn name(&mut self, kind: u16, name: &str) -> &mut Self {
        self.attribute(kind, &[name.as_bytes(), &[0]].concat())
    }

    /// Adds a list of attributes.
    pub(super) fn list(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&(kind | NLA_F_NESTED).to_ne_bytes());
        fill(self);
        let len = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.bytes[start..start + 2].copy_from_slice(&len.to_ne_bytes());
        self
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(&mut self) {
        if let Some(start) = self.open.pop() {
            let len = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
            self.bytes[start..start + 4].copy_from_slice(&len.to_ne_bytes());
        }
    }

    /// Has the kernel do all of it.
    pub(super) fn send(mut self, socket: impl AsFd) -> Result<(), Errno> {
        self.finish();
        send(&socket, &self.bytes, SendFlags::empty())?;
        let mut answer = [0_u8; 1024];
        loop {
            match recv(&socket, &mut answer[..], RecvFlags::DONTWAIT) {
                Ok((_, len)) => first_error(answer.get(..len).unwrap_or(&answer))?,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// The first error in an answer.
fn first_error(mut answer: &[u8]) -> Result<(), Errno> {
    while let Some((header, body)) = answer.split_at_checked(16) {
        let len = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        if let (NLMSG_ERROR, Some(code)) = (kind, body.first_chunk::<4>()) {
            match i32::from_ne_bytes(*code) {
                0 => {}
                code => return Err(Errno::from_raw_os_error(-code)),
            }
        }
        match answer.get(len.next_multiple_of(4)..) {
            Some(rest) if len >= 16 => answer = rest,
            _ => break,
        }
    }
    Ok(())
}

/// A netlink socket of the current network namespace.
pub(super) fn open(protocol: Option<Protocol>) -> Result<OwnedFd, Errno> {
    socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)
}
