//! Addresses from which a sandbox must get nothing.
//!
//! Nothing is sent from within the host's own network: there most of these addresses are somebody's.

use crate::generic::needed;
use crate::{Facts, Verdict};
use std::fs;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV6, TcpStream, UdpSocket};
use std::time::Duration;

type Done = Result<Verdict, Verdict>;

/// An error must come within this time: where none does, the packet has gone somewhere.
pub(crate) const WITHIN: Duration = Duration::from_secs(2);
/// How long is waited for what nobody should answer.
pub(crate) const SILENCE: Duration = Duration::from_millis(250);

/// Whether this is another network than the host's.
pub(crate) fn apart(facts: &Facts) -> Result<(), Verdict> {
    let host = facts.get("ns.net")?;
    let own = needed("its own", fs::read_link("/proc/self/ns/net"))?;
    let apart = own.as_os_str() != host;
    if apart { Ok(()) } else { Err(Verdict::NotHeld("it is in the host's network: nothing was sent".into())) }
}

/// Every address of the host.
pub(crate) fn host(facts: &Facts) -> Result<Vec<IpAddr>, Verdict> {
    Ok(facts.get("host.addresses")?.split(',').filter_map(|address| address.parse().ok()).collect())
}

/// Those of the fourth version.
pub(crate) fn host_v4(facts: &Facts) -> Result<Vec<Ipv4Addr>, Verdict> {
    let all = host(facts)?;
    let v4: Vec<Ipv4Addr> = all
        .into_iter()
        .filter_map(|address| match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        })
        .collect();
    if v4.is_empty() { Err(Verdict::NotApplicable("the host has no IPv4 address".into())) } else { Ok(v4) }
}

/// A number, or a fact that is one.
pub(crate) fn port(word: &str, facts: &Facts) -> Result<u16, Verdict> {
    let number = if word.starts_with(|c: char| c.is_ascii_digit()) { word } else { facts.get(word)? };
    number.parse().map_err(|_| Verdict::NotHeld(format!("{number} is no port")))
}

/// What `localhost` is called for.
fn localhost() -> Result<Vec<IpAddr>, Verdict> {
    let hosts = needed("/etc/hosts", fs::read_to_string("/etc/hosts"))?;
    let found: Vec<IpAddr> = hosts
        .lines()
        .filter(|line| line.split_whitespace().skip(1).any(|word| word == "localhost"))
        .filter_map(|line| line.split_whitespace().next()?.parse().ok())
        .collect();
    if found.is_empty() { Err(Verdict::NotApplicable("there is no localhost".into())) } else { Ok(found) }
}

/// Where the first two words of the arguments lead.
fn targets(arguments: &str, facts: &Facts) -> Result<Vec<SocketAddr>, Verdict> {
    apart(facts)?;
    let mut words = arguments.split_whitespace();
    let (address, port) = (words.next().unwrap_or_default(), port(words.next().unwrap_or_default(), facts)?);
    let all = match address {
        "@host" => host(facts)?,
        "@mapped" => host_v4(facts)?.into_iter().map(|address| address.to_ipv6_mapped().into()).collect(),
        "localhost" => localhost()?,
        _ => {
            let text = if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") };
            let target = text.parse().map_err(|_| Verdict::NotHeld(format!("{text} is no address")))?;
            return Ok(vec![target]);
        }
    };
    Ok(all.into_iter().map(|address| at(address, port)).collect())
}

/// An address with its port; with the device too, of which there is one only, for an address that needs it.
pub(crate) fn at(address: IpAddr, port: u16) -> SocketAddr {
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => SocketAddrV6::new(v6, port, 0, 1).into(),
        other => SocketAddr::new(other, port),
    }
}

fn nobody(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Tries each; held if all of them end with an error in time.
pub(crate) fn refused<T: std::fmt::Debug>(
    targets: Vec<SocketAddr>,
    try_one: impl Fn(SocketAddr) -> io::Result<T>,
) -> Verdict {
    let mut said = String::from("there is none");
    for target in targets {
        match try_one(target) {
            Ok(got) => return Verdict::NotHeld(format!("{target}: it worked: {got:?}")),
            Err(error) if nobody(&error) => return Verdict::NotHeld(format!("{target}: no error within {WITHIN:?}")),
            Err(error) => said = format!("{target}: {error}"),
        }
    }
    Verdict::Held(said)
}

pub(crate) fn tcp(arguments: &str, facts: &Facts) -> Done {
    Ok(refused(targets(arguments, facts)?, |target| TcpStream::connect_timeout(&target, WITHIN)))
}

pub(crate) fn udp(arguments: &str, facts: &Facts) -> Done {
    let targets = targets(arguments, facts)?;
    if !arguments.ends_with(" silent") {
        return Ok(refused(targets, |target| ask(target, b"mark", WITHIN)));
    }
    Ok(refused(targets, |target| match ask(target, b"mark", SILENCE) {
        Err(error) if nobody(&error) => Err(io::Error::other("nobody answers")),
        other => other,
    }))
}

/// A datagram, and what comes back.
pub(crate) fn ask(target: SocketAddr, said: &[u8], within: Duration) -> io::Result<String> {
    let any = if target.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_broadcast(true)?;
    socket.connect(target)?;
    socket.set_read_timeout(Some(within))?;
    socket.send(said)?;
    let mut answer = [0; 512];
    let len = socket.recv(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..len]).into_owned())
}

/// Says this on a new connection and reads what comes, to its end.
pub(crate) fn talk(target: SocketAddr, said: &[u8], and_ends: bool) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&target, WITHIN)?;
    stream.set_read_timeout(Some(WITHIN))?;
    // It may be gone already, which is what reading tells.
    let _ = stream.write_all(said);
    if and_ends {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut heard = Vec::new();
    match stream.take(4096).read_to_end(&mut heard) {
        Err(error) if nobody(&error) && heard.is_empty() => Err(error),
        // Reset or ended: the same.
        _ => Ok(heard),
    }
}

/// Held if nothing was heard.
pub(crate) fn unheard(target: SocketAddr, talked: io::Result<Vec<u8>>) -> Verdict {
    match talked {
        Ok(heard) if heard.is_empty() => Verdict::Held(format!("{target}: it ends without a byte")),
        Ok(heard) => Verdict::NotHeld(format!("{target}: it says {:?}", String::from_utf8_lossy(&heard))),
        Err(error) if nobody(&error) => Verdict::NotHeld(format!("{target}: it stays open for {WITHIN:?}")),
        Err(error) => Verdict::Held(format!("{target}: {error}")),
    }
}

pub(crate) fn mute(arguments: &str, facts: &Facts) -> Done {
    let port = facts.get("canary.any_tcp").unwrap_or("80");
    let request = format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    let mut verdict = Verdict::NotHeld("there is none".into());
    for target in targets(arguments, facts)? {
        for said in ["", request.as_str()] {
            verdict = unheard(target, talk(target, said.as_bytes(), false));
            if matches!(verdict, Verdict::NotHeld(_)) {
                return Ok(verdict);
            }
        }
    }
    Ok(verdict)
}
