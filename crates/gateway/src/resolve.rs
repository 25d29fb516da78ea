//! The name service, as this machine has it: its resolvers, private and loopback ones alike, and its `/etc/hosts`.
//!
//! Questions of sandboxes are passed on as they are, under an id of our own; answers are passed back if they are answers to
//! them. Names are also looked up here, for connections that are made by name.

use crate::dns;
use crate::resolver_config::{hosts_lookup, nameservers};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// How long the files are believed.
const BELIEVED: Duration = Duration::from_secs(1);
/// How long one resolver is waited for, and how often all are asked.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
const ROUNDS: usize = 2;
/// `resolv.conf(5)`: more than three are not asked.
const MOST_SERVERS: usize = 3;
const PORT: u16 = 53;
/// Largest message over UDP that a resolver could send in one piece.
const MOST_UDP: usize = 64 * 1024;
/// How long an answer for a name is kept, whatever its owner wishes: long enough for one page, short enough to move.
const KEPT: Duration = Duration::from_secs(5);
const MOST_KEPT: usize = 1024;

/// What stands in the files.
#[derive(Debug)]
pub(crate) struct Files {
    servers: Vec<IpAddr>,
    /// The text of `/etc/hosts`.
    hosts: String,
}

/// Asks this machine's resolvers.
#[derive(Debug, Default)]
pub(crate) struct Resolver {
    files: Mutex<Option<(Instant, Arc<Files>)>>,
    kept: Mutex<HashMap<String, (Instant, Vec<IpAddr>)>>,
}

impl Resolver {
    fn files(&self) -> Arc<Files> {
        let mut place = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        match &*place {
            Some((read, files)) if read.elapsed() < BELIEVED => Arc::clone(files),
            _ => {
                let read = |path| std::fs::read_to_string(path).unwrap_or_default();
                let mut servers = nameservers(&read("/etc/resolv.conf"));
                servers.truncate(MOST_SERVERS);
                if servers.is_empty() {
                    // resolv.conf(5)
                    servers.push(Ipv4Addr::LOCALHOST.into());
                }
                let files = Arc::new(Files { servers, hosts: read("/etc/hosts") });
                *place = Some((Instant::now(), Arc::clone(&files)));
                files
            }
        }
    }

    /// Whether this is one of this machine's resolvers.
    pub(crate) fn is_server(&self, address: IpAddr) -> bool {
        self.files().servers.contains(&address)
    }

    /// What `/etc/hosts` says about a name.
    pub(crate) fn listed(&self, name: &str) -> Vec<IpAddr> {
        hosts_lookup(&self.files().hosts, name)
    }

    /// The answer to a question.
    ///
    /// # Errors
    /// If no resolver answers in time.
    pub(crate) async fn exchange(&self, query: &[u8], over_tcp: bool) -> io::Result<Vec<u8>> {
        let servers = self.files();
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for _ in 0..ROUNDS {
            for server in &servers.servers {
                let server = SocketAddr::new(*server, PORT);
                let asked =
                    async { if over_tcp { ask_tcp(server, query).await } else { ask_udp(server, query).await } };
                match timeout(ANSWER_WITHIN, asked).await {
                    Ok(Ok(answer)) => return Ok(answer),
                    Ok(Err(error)) => last = error,
                    Err(_) => last = io::ErrorKind::TimedOut.into(),
                }
            }
        }
        Err(last)
    }

    /// The addresses of a name, or of an address itself.
    ///
    /// # Errors
    /// If no resolver answers; `NotFound` if the name has none.
    pub(crate) async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        if let Ok(address) = name.parse() {
            return Ok(vec![address]);
        }
        let listed = self.listed(name);
        if !listed.is_empty() {
            return Ok(listed);
        }
        let kept = self.kept().get(name).filter(|(at, _)| at.elapsed() < KEPT).map(|(_, found)| found.clone());
        if let Some(found) = kept {
            return Ok(found);
        }
        let (four, six) = tokio::join!(self.ask(name, dns::A), self.ask(name, dns::AAAA));
        let found = match (four, six) {
            (Err(error), Err(_)) => return Err(error),
            (four, six) => [four.unwrap_or_default(), six.unwrap_or_default()].concat(),
        };
        if found.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        let mut kept = self.kept();
        if kept.len() >= MOST_KEPT {
            kept.clear();
        }
        kept.insert(name.to_owned(), (Instant::now(), found.clone()));
        Ok(found)
    }

    async fn ask(&self, name: &str, qtype: u16) -> io::Result<Vec<IpAddr>> {
        let query = query(name, qtype).ok_or(io::ErrorKind::InvalidInput)?;
        let mut answer = self.exchange(&query, false).await?;
        if dns::is_truncated(&answer) {
            answer = self.exchange(&query, true).await?;
        }
        Ok(dns::addresses(&answer).into_iter().map(|(address, _)| address).collect())
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Instant, Vec<IpAddr>)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question of our own (RFC 1035 4.1), recursion desired.
fn query(name: &str, qtype: u16) -> Option<Vec<u8>> {
    let mut query = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        let len = u8::try_from(label.len()).ok().filter(|len| (1..64).contains(len))?;
        query.push(len);
        query.extend_from_slice(label.as_bytes());
    }
    query.push(0);
    query.extend_from_slice(&qtype.to_be_bytes());
    // The class of the internet.
    query.extend_from_slice(&[0, 1]);
    (query.len() <= 12 + 255 + 4).then_some(query)
}

/// The query under an id that nobody can guess, and the id it had.
fn disguised(query: &[u8]) -> io::Result<(Vec<u8>, [u8; 2])> {
    let own = *query.first_chunk::<2>().ok_or(io::ErrorKind::InvalidInput)?;
    let mut asked = query.to_vec();
    rustix::rand::getrandom(&mut asked[..2], rustix::rand::GetRandomFlags::empty())?;
    Ok((asked, own))
}

async fn ask_udp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let any = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    // A port that the kernel chose at random, and that hears this server alone.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    let (asked, own) = disguised(query)?;
    socket.send(&asked).await?;
    let mut answer = vec![0; MOST_UDP];
    loop {
        let len = socket.recv(&mut answer).await?;
        if dns::matches(&asked, &answer[..len]) {
            answer.truncate(len);
            answer[..2].copy_from_slice(&own);
            return Ok(answer);
        }
    }
}

async fn ask_tcp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let (asked, own) = disguised(query)?;
    let len = u16::try_from(asked.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&len.to_be_bytes()[..], &asked].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    if !dns::matches(&asked, &answer) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the resolver answered another question"));
    }
    answer[..2].copy_from_slice(&own);
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_one() {
        let query = query("www.example.com", dns::AAAA).unwrap();
        let question = dns::Question::parse(&query).unwrap();
        assert_eq!((question.name.as_str(), question.qtype), ("www.example.com", dns::AAAA));
        for wrong in ["", ".", "a..b", &"x".repeat(64), &["x".repeat(60).as_str(); 5].join(".")] {
            assert!(super::query(wrong, dns::A).is_none(), "{wrong}");
        }
    }
}
