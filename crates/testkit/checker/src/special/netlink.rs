//! Changes that the kernel would be asked for by messages (`netlink(7)`).

use super::Done;
use crate::generic::by_right;
use crate::reach::apart;
use crate::sys::{self, Page};
use crate::{Facts, Verdict};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

// linux/netlink.h, linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h, linux/netfilter/nfnetlink_log.h
const NETLINK_ROUTE: i32 = 0;
const NETLINK_NETFILTER: i32 = 12;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
const CREATE_EXCL: u16 = 0x600;
const NLMSG_ERROR: u16 = 2;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NF_TABLES: u16 = 10;
const ULOG: u16 = 4;
const INET: u8 = 1;

pub(super) fn run(name: &str, facts: &Facts) -> Option<Done> {
    Some(match name {
        "add_interface" => apart(facts).map(|()| add_interface()),
        "netfilter_list" => apart(facts).map(|()| {
            // NFT_MSG_GETTABLE
            filter(&message(NF_TABLES << 8 | 1, REQUEST | DUMP, &[0; 4]))
        }),
        "netfilter_delete" => apart(facts).map(|()| {
            let batch = [&[0, 0][..], &NF_TABLES.to_be_bytes()].concat();
            // NFT_MSG_DELTABLE; NFTA_TABLE_NAME
            let table = [&[INET, 0, 0, 0][..], &attribute(1, b"computesdk\0")].concat();
            let messages = [
                message(BATCH_BEGIN, REQUEST, &batch),
                message(NF_TABLES << 8 | 2, REQUEST | ACK, &table),
                message(BATCH_END, REQUEST, &batch),
            ];
            filter(&messages.concat())
        }),
        "netfilter_log" => apart(facts).map(|()| {
            // NFULNL_MSG_CONFIG of group 1; NFULA_CFG_CMD: NFULNL_CFG_CMD_BIND
            filter(&message(ULOG << 8 | 1, REQUEST | ACK, &[&[0, 0, 0, 1][..], &attribute(1, &[1])].concat()))
        }),
        _ => return None,
    })
}

fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + body.len()).unwrap_or(0);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend([kind, flags].map(u16::to_ne_bytes).concat());
    bytes.extend([0; 8]);
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn attribute(kind: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + payload.len()).unwrap_or(0);
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// `rtnetlink(7)`: RTM_NEWLINK for a dummy interface.
fn add_interface() -> Verdict {
    // IFLA_IFNAME, and IFLA_LINKINFO with IFLA_INFO_KIND.
    let body = [vec![0; 16], attribute(3, b"computesdk0\0"), attribute(18, &attribute(1, b"dummy\0"))].concat();
    match sys::socket(libc::AF_NETLINK, libc::SOCK_RAW, NETLINK_ROUTE) {
        Ok(socket) => answer(&socket, &message(16, REQUEST | ACK | CREATE_EXCL, &body)),
        Err(error) => Verdict::Held(error.to_string()),
    }
}

/// Whether it is allowed is asked before what it says is looked at.
pub(crate) fn rtnetlink(number: &str, facts: &Facts) -> Done {
    apart(facts)?;
    let kind = number.parse().map_err(|_| Verdict::NotHeld(format!("no message is {number}")))?;
    Ok(match sys::socket(libc::AF_NETLINK, libc::SOCK_RAW, NETLINK_ROUTE) {
        Ok(socket) => answer(&socket, &message(kind, REQUEST | ACK, &[0; 32])),
        Err(error) => Verdict::Held(error.to_string()),
    })
}

fn filter(messages: &[u8]) -> Verdict {
    match sys::socket(libc::AF_NETLINK, libc::SOCK_RAW, NETLINK_NETFILTER) {
        Ok(socket) => answer(&socket, messages),
        Err(error) => Verdict::Held(error.to_string()),
    }
}

/// Sends it; held if the kernel's answer is that it is not this process's to ask.
fn answer(socket: &OwnedFd, messages: &[u8]) -> Verdict {
    let fd = u64::from(socket.as_raw_fd().cast_unsigned());
    let (page, length) = (Page::with(messages), messages.len() as u64);
    if let Err(errno) = sys::native_call(libc::SYS_sendto, &[fd, page.0, length, 0, 0, 0]) {
        return Verdict::Held(io::Error::from_raw_os_error(errno).to_string());
    }
    let answer = Page::new();
    if let Err(errno) = sys::native_call(libc::SYS_recvfrom, &[fd, answer.0, 4096, 0, 0, 0]) {
        return Verdict::NotHeld(io::Error::from_raw_os_error(errno).to_string());
    }
    // A header of 16 bytes, the type among them, then the error, negative.
    let bytes: [u8; 20] = answer.bytes();
    let kind = u16::from_ne_bytes([bytes[4], bytes[5]]);
    let error = i32::from_ne_bytes([bytes[16], bytes[17], bytes[18], bytes[19]]);
    match (kind, error) {
        (NLMSG_ERROR, error @ ..0) => by_right(Err(-error)),
        _ => by_right(Ok(kind.into())),
    }
}
