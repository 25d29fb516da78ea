//! What another sandbox offers, while this one looks for it. Both have the same addresses: the word tells whose a server is.

use super::Done;
use crate::generic::needed;
use crate::reach::{WITHIN, apart, ask, at, host, host_v4, port, refused, talk, unheard};
use crate::{Facts, Verdict, banner};
use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::UnixStream;

/// By which a sandbox reaches itself; the first one always.
const OWN: [&str; 9] = [
    "127.0.0.1",
    "127.0.0.2",
    "::1",
    "0.0.0.0",
    "::",
    "::ffff:127.0.0.1",
    "192.0.0.2",
    "::ffff:192.0.0.2",
    "fdc0:c0de:5db0::2",
];
/// Where others might be.
const BESIDE: [&str; 5] = ["192.0.0.1", "192.0.0.3", "192.0.0.4", "fdc0:c0de:5db0::1", "fdc0:c0de:5db0::3"];

pub(super) fn run(name: &str, facts: &Facts) -> Option<Done> {
    Some(match name {
        "neighbour_tcp" => {
            everywhere("neighbour.port", facts).map(|all| refused(all, |target| talk(target, b"", false)))
        }
        "neighbour_udp" => {
            everywhere("neighbour.port", facts).map(|all| refused(all, |target| ask(target, b"mark", WITHIN)))
        }
        "neighbour_port" => own_port(facts),
        "neighbour_published" => everywhere("neighbour.published", facts)
            .map(|all| refused(all, |target| TcpStream::connect_timeout(&target, WITHIN))),
        "neighbour_abstract" => facts.get("neighbour.names").map(|names| {
            let connect = |name: &str| {
                let address = std::os::unix::net::SocketAddr::from_abstract_name(name);
                address.and_then(|address| UnixStream::connect_addr(&address))
            };
            let reached = names.split(',').find(|name| connect(name).is_ok());
            reached.map_or(Verdict::Held("none of them".into()), |name| Verdict::NotHeld(format!("{name} answers")))
        }),
        "neighbour_abstract_listed" => facts.get("neighbour.names").and_then(|names| {
            let text = needed("/proc/net/unix", fs::read_to_string("/proc/net/unix"))?;
            let listed = names.split(',').find(|name| text.contains(name));
            Ok(Verdict::when(listed.is_none(), format!("{} sockets are listed", text.lines().count())))
        }),
        _ => return None,
    })
}

/// That port at every address by which another sandbox might be reached.
fn everywhere(fact: &str, facts: &Facts) -> Result<Vec<SocketAddr>, Verdict> {
    apart(facts)?;
    let port = port(fact, facts)?;
    let mut all: Vec<IpAddr> = OWN.iter().chain(&BESIDE).filter_map(|address| address.parse().ok()).collect();
    all.extend(host(facts).unwrap_or_default());
    all.extend(host_v4(facts).unwrap_or_default().into_iter().map(|address| IpAddr::from(address.to_ipv6_mapped())));
    Ok(all.into_iter().map(|address| at(address, port)).collect())
}

/// Takes the other's port, and looks whose server its own addresses lead to then.
fn own_port(facts: &Facts) -> Done {
    let (port, theirs) = (port("neighbour.port", facts)?, facts.get("neighbour.word")?);
    let listener = match banner::tcp(port) {
        Ok(listener) => listener,
        Err(error) => return Ok(Verdict::NotHeld(format!("it is taken: {error}"))),
    };
    let word = format!("own-{}", std::process::id());
    banner::serve_tcp(listener, word.clone());
    let mut reached = 0;
    for address in OWN.iter().filter_map(|address| address.parse().ok()) {
        let target = SocketAddr::new(address, port);
        match talk(target, b"", false) {
            Ok(heard) if heard == word.as_bytes() => reached += 1,
            Ok(heard) if String::from_utf8_lossy(&heard).contains(theirs) => {
                return Ok(unheard(target, Ok(heard)));
            }
            Ok(heard) => return Ok(Verdict::NotHeld(format!("{target}: somebody says {heard:?}"))),
            Err(_) => {}
        }
    }
    Ok(Verdict::when(reached > 0, format!("{reached} of its own addresses lead to itself")))
}
