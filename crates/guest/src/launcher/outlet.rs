//! Ways out of a network namespace: see [`computesdk_guest_protocol::outlet`] for how they work.
//!
//! The launcher has every power over the namespace, whether it is root or not, because it made it; so a gateway needs no
//! privilege over the host, no device, and no rule outside of the namespace. Whatever is set up here goes with it.

use super::netlink::{self, Messages};
use super::step;
use crate::sys;
use computesdk_guest_protocol::launcher::Failure;
use computesdk_guest_protocol::outlet::{
    GATEWAY_PORT, Hooks, LOG_GROUP, Outlet, PROXY_PORT, RELEASED, SANDBOX_V4, SANDBOX_V6,
};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, ipproto, listen, netlink as protocols, socket_with, sockopt,
};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// The table of the packet filter.
const TABLE: &str = "computesdk";
const CHAIN: &str = "held";

/// Makes the current namespace one with this outlet: addresses, routes, filter. The hooks are made for each sandbox.
pub(super) fn prepare(outlet: Outlet) -> Result<(), Failure> {
    match outlet {
        Outlet::Closed | Outlet::Proxy => Ok(()),
        Outlet::Gateway { ipv6 } => {
            step("give the sandbox an address and a way to the gateway", routes(ipv6))?;
            step("load the gateway's packet filter (nf_tables)", filter())
        }
    }
}

// linux/rtnetlink.h, linux/if_addr.h
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;
const IFA_LOCAL: u16 = 2;
const IFA_F_NODAD: u8 = 2;
const RTA_OIF: u16 = 4;
const RTA_PREFSRC: u16 = 7;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const RT_SCOPE_HOST: u8 = 254;
const RTN_LOCAL: u8 = 2;

/// The loopback device is the first of every namespace.
const LO: u32 = 1;

/// The own addresses, and everything else as local too: what is sent anywhere then comes in again, where the filter waits.
fn routes(ipv6: bool) -> Result<(), Errno> {
    let mut messages = Messages::default();
    let families = [(libc::AF_INET, SANDBOX_V4.octets().to_vec()), (libc::AF_INET6, SANDBOX_V6.octets().to_vec())];
    for (family, address) in families.iter().take(if ipv6 { 2 } else { 1 }) {
        let family = u8::try_from(*family).unwrap_or_default();
        let bits = u8::try_from(address.len() * 8).unwrap_or_default();
        // ifaddrmsg: family, prefix length, flags, scope, index.
        let fixed = [&[family, bits, IFA_F_NODAD, 0][..], &LO.to_ne_bytes()].concat();
        messages.message(RTM_NEWADDR, NLM_F_CREATE, &fixed).attribute(IFA_LOCAL, address);
    }
    for (family, address) in families.iter().take(if ipv6 { 2 } else { 1 }) {
        let family = u8::try_from(*family).unwrap_or_default();
        // rtmsg: family, lengths of destination and source, tos, table, protocol, scope, type, flags.
        let fixed = [family, 0, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, RT_SCOPE_HOST, RTN_LOCAL, 0, 0, 0, 0];
        messages
            .message(RTM_NEWROUTE, NLM_F_CREATE, &fixed)
            .attribute(RTA_OIF, &LO.to_ne_bytes())
            .attribute(RTA_PREFSRC, address);
    }
    // NETLINK_ROUTE is 0.
    messages.send(netlink::open(None)?)
}

// linux/netfilter.h, linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h
const NFPROTO_INET: u8 = 1;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;
const NF_INET_PRE_ROUTING: u32 = 0;
const NFNL_SUBSYS_ULOG: u16 = 4;
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
const NFT_MSG_NEWTABLE: u16 = 0;
const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_NEWRULE: u16 = 6;
const NFT_REG_VERDICT: u32 = 0;
const NFT_REG_1: u32 = 1;
const NFT_META_MARK: u32 = 3;
const NFT_META_NFPROTO: u32 = 15;
const NFT_META_L4PROTO: u32 = 16;
const NFT_PAYLOAD_NETWORK_HEADER: u32 = 1;
const NFT_PAYLOAD_TRANSPORT_HEADER: u32 = 2;
const NFT_CMP_EQ: u32 = 0;
const NFT_CMP_NEQ: u32 = 1;
/// That of `mangle`, where this is usually done: fragments are put together by then (-400).
const PRIORITY: i32 = -150;

/// What a SYN is cut to: two headers, with all their options.
const SYN_LEN: u32 = 160;

/// In words (`nft list ruleset`):
///
/// ```text
/// ip daddr 127.0.0.0/8 accept;  ip daddr SANDBOX accept;  ip6 daddr ::1 accept;  ip6 daddr SANDBOX accept
/// tcp flags & (fin|syn|rst|ack) == syn meta mark != RELEASED log group 1 snaplen 160 drop
/// meta l4proto tcp tproxy to :GATEWAY_PORT accept
/// meta mark RELEASED drop
/// log group 1 drop
/// ```
///
/// The last but one is about answers that the engine puts back. They go to whoever asked: a program may have asked in the name of
/// another address, and told again its answer would go out to there.
fn filter() -> Result<(), Errno> {
    let mut messages = Messages::default();
    // nfgenmsg: family, version, subsystem.
    let batch = [&[0, 0][..], &NFNL_SUBSYS_NFTABLES.to_be_bytes()].concat();
    let message = |kind: u16| NFNL_SUBSYS_NFTABLES << 8 | kind;
    let fixed = [NFPROTO_INET, 0, 0, 0];
    messages.message(NFNL_MSG_BATCH_BEGIN, 0, &batch);
    // NFTA_TABLE_NAME
    messages.message(message(NFT_MSG_NEWTABLE), NLM_F_CREATE, &fixed).name(1, TABLE);
    messages
        .message(message(NFT_MSG_NEWCHAIN), NLM_F_CREATE, &fixed)
        // NFTA_CHAIN_TABLE, _NAME, _HOOK, _POLICY, _TYPE
        .name(1, TABLE)
        .name(3, CHAIN)
        .list(4, |hook| {
            // NFTA_HOOK_HOOKNUM, _PRIORITY
            hook.number(1, NF_INET_PRE_ROUTING).number(2, PRIORITY.cast_unsigned());
        })
        .number(5, NF_DROP)
        .name(7, "filter");
    let mut rule = |fill: &dyn Fn(&mut Messages)| {
        messages
            .message(message(NFT_MSG_NEWRULE), NLM_F_CREATE | NLM_F_APPEND, &fixed)
            // NFTA_RULE_TABLE, _CHAIN, _EXPRESSIONS
            .name(1, TABLE)
            .name(2, CHAIN)
            .list(4, |expressions| fill(expressions));
    };
    // The destination stands at 16 of a header of the fourth version, at 24 of the sixth.
    let own: [(u8, u32, &[u8]); 4] = [
        (NFPROTO_IPV4, 16, &[127]),
        (NFPROTO_IPV4, 16, &SANDBOX_V4.octets()),
        (NFPROTO_IPV6, 24, &Ipv6Addr::LOCALHOST.octets()),
        (NFPROTO_IPV6, 24, &SANDBOX_V6.octets()),
    ];
    for (family, offset, address) in own {
        rule(&|rule| {
            meta(rule, NFT_META_NFPROTO);
            compare(rule, NFT_CMP_EQ, &[family]);
            payload(rule, NFT_PAYLOAD_NETWORK_HEADER, offset, address.len());
            compare(rule, NFT_CMP_EQ, address);
            verdict(rule, NF_ACCEPT);
        });
    }
    let is_tcp = |rule: &mut Messages| {
        meta(rule, NFT_META_L4PROTO);
        compare(rule, NFT_CMP_EQ, &[6]);
    };
    rule(&|rule| {
        is_tcp(rule);
        // The flags stand at 13; fin, syn, rst and ack are 1, 2, 4 and 16.
        payload(rule, NFT_PAYLOAD_TRANSPORT_HEADER, 13, 1);
        mask(rule, &[0x17]);
        compare(rule, NFT_CMP_EQ, &[2]);
        meta(rule, NFT_META_MARK);
        compare(rule, NFT_CMP_NEQ, &RELEASED.to_ne_bytes());
        log(rule, Some(SYN_LEN));
        verdict(rule, NF_DROP);
    });
    rule(&|rule| {
        is_tcp(rule);
        expression(rule, "immediate", |data| {
            // NFTA_IMMEDIATE_DREG, _DATA: NFTA_DATA_VALUE
            data.number(1, NFT_REG_1).list(2, |value| {
                value.attribute(1, &GATEWAY_PORT.to_be_bytes());
            });
        });
        // NFTA_TPROXY_FAMILY (either), _REG_PORT
        expression(rule, "tproxy", |data| {
            data.number(1, 0).number(3, NFT_REG_1);
        });
        verdict(rule, NF_ACCEPT);
    });
    rule(&|rule| {
        meta(rule, NFT_META_MARK);
        compare(rule, NFT_CMP_EQ, &RELEASED.to_ne_bytes());
        verdict(rule, NF_DROP);
    });
    rule(&|rule| {
        log(rule, None);
        verdict(rule, NF_DROP);
    });
    messages.message(NFNL_MSG_BATCH_END, 0, &batch);
    messages.send(netlink::open(Some(protocols::NETFILTER))?)
}

fn expression(rule: &mut Messages, name: &str, fill: impl FnOnce(&mut Messages)) {
    // NFTA_LIST_ELEM: NFTA_EXPR_NAME, NFTA_EXPR_DATA
    rule.list(1, |element| {
        element.name(1, name).list(2, fill);
    });
}

fn meta(rule: &mut Messages, key: u32) {
    // NFTA_META_DREG, _KEY
    expression(rule, "meta", |data| {
        data.number(1, NFT_REG_1).number(2, key);
    });
}

fn payload(rule: &mut Messages, base: u32, offset: u32, len: usize) {
    // NFTA_PAYLOAD_DREG, _BASE, _OFFSET, _LEN
    expression(rule, "payload", |data| {
        data.number(1, NFT_REG_1).number(2, base).number(3, offset).number(4, u32::try_from(len).unwrap_or_default());
    });
}

fn mask(rule: &mut Messages, mask: &[u8]) {
    // NFTA_BITWISE_SREG, _DREG, _LEN, _MASK, _XOR
    expression(rule, "bitwise", |data| {
        data.number(1, NFT_REG_1)
            .number(2, NFT_REG_1)
            .number(3, u32::try_from(mask.len()).unwrap_or_default())
            .list(4, |value| {
                value.attribute(1, mask);
            })
            .list(5, |value| {
                value.attribute(1, &vec![0; mask.len()]);
            });
    });
}

fn compare(rule: &mut Messages, how: u32, with: &[u8]) {
    // NFTA_CMP_SREG, _OP, _DATA: NFTA_DATA_VALUE
    expression(rule, "cmp", |data| {
        data.number(1, NFT_REG_1).number(2, how).list(3, |value| {
            value.attribute(1, with);
        });
    });
}

fn log(rule: &mut Messages, len: Option<u32>) {
    // NFTA_LOG_GROUP, _SNAPLEN
    expression(rule, "log", |data| {
        data.attribute(1, &LOG_GROUP.to_be_bytes());
        if let Some(len) = len {
            data.number(3, len);
        }
    });
}

fn verdict(rule: &mut Messages, code: u32) {
    // NFTA_IMMEDIATE_DREG, _DATA: NFTA_DATA_VERDICT: NFTA_VERDICT_CODE
    expression(rule, "immediate", |data| {
        data.number(1, NFT_REG_VERDICT).list(2, |value| {
            value.list(2, |verdict| {
                verdict.number(1, code);
            });
        });
    });
}

/// Makes the sockets that come with an outlet, in the current namespace.
pub(super) fn hooks(outlet: Outlet) -> Result<Vec<OwnedFd>, Failure> {
    let make = |hook: &Hooks| match (hook, outlet) {
        (Hooks::Listener, Outlet::Gateway { ipv6 }) => {
            step("open the gateway's listening socket", gateway_listener(ipv6))
        }
        (Hooks::Listener, _) => step("open the proxy's listening socket", proxy_listener()),
        (Hooks::Log, _) => step("open the packet filter's log (nfnetlink_log)", log_socket()),
        (Hooks::Raw4, _) => step("open a raw socket", raw(AddressFamily::INET)),
        (Hooks::Raw6, _) => step("open a raw socket", raw(AddressFamily::INET6)),
    };
    outlet.hooks().iter().map(make).collect()
}

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);
const BACKLOG: i32 = 1024;

fn gateway_listener(ipv6: bool) -> Result<OwnedFd, Errno> {
    let (family, any) = if ipv6 {
        (AddressFamily::INET6, SocketAddr::from((Ipv6Addr::UNSPECIFIED, GATEWAY_PORT)))
    } else {
        (AddressFamily::INET, SocketAddr::from((Ipv4Addr::UNSPECIFIED, GATEWAY_PORT)))
    };
    let socket = socket_with(family, SocketType::STREAM, FLAGS, None)?;
    // ip(7), ipv6(7): it may then have any address, which is what the filter needs.
    sys::set_option(&socket, libc::SOL_IP, libc::IP_TRANSPARENT, 1)?;
    if ipv6 {
        sockopt::set_ipv6_v6only(&socket, false)?;
        sys::set_option(&socket, libc::SOL_IPV6, libc::IPV6_TRANSPARENT, 1)?;
    }
    bind(&socket, &any)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn proxy_listener() -> Result<OwnedFd, Errno> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, FLAGS, None)?;
    bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, PROXY_PORT)))?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Room for what is told while the engine is busy. More is lost, which its sender takes for a lost packet.
const LOG_BUFFER: usize = 256 * 1024;

fn log_socket() -> Result<OwnedFd, Errno> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, FLAGS, Some(protocols::NETFILTER))?;
    let _ = sockopt::set_socket_recv_buffer_size(&socket, LOG_BUFFER);
    let mut messages = Messages::default();
    // linux/netfilter/nfnetlink_log.h: NFULNL_MSG_CONFIG
    let kind = NFNL_SUBSYS_ULOG << 8 | 1;
    let fixed = [&[0, 0][..], &LOG_GROUP.to_be_bytes()].concat();
    // NFULA_CFG_CMD: NFULNL_CFG_CMD_BIND
    messages.message(kind, 0, &fixed).attribute(1, &[1]);
    // NFULA_CFG_MODE: the whole packet, NFULNL_COPY_PACKET
    let mode = [&u32::from(u16::MAX).to_be_bytes()[..], &[2, 0]].concat();
    // NFULA_CFG_QTHRESH: each at once
    messages.message(kind, 0, &fixed).attribute(2, &mode).number(5, 1);
    messages.send(&socket)?;
    Ok(socket)
}

fn raw(family: AddressFamily) -> Result<OwnedFd, Errno> {
    // raw(7): with this protocol the sender writes the IP header, and nothing is received.
    let socket = socket_with(family, SocketType::RAW, FLAGS, Some(ipproto::RAW))?;
    sys::set_option(&socket, libc::SOL_SOCKET, libc::SO_MARK, RELEASED.cast_signed())?;
    Ok(socket)
}
