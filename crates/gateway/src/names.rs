//! The name server of a sandbox.

use crate::dns::{self, Question};
use crate::event::{Protocol, Verdict};
use crate::policy::Policy;
use crate::shared::Shared;
use crate::target::Target;
use std::io;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What is said about a name that `/etc/hosts` has: it may change at any time.
const LISTED_TTL: u32 = 5;

/// The answer to a question of a sandbox; `None` if it is none.
pub(crate) async fn answer(shared: &Shared, query: &[u8], over_tcp: bool) -> Option<Vec<u8>> {
    let question = Question::parse(query)?;
    let target = Target::named(shared.number(), Protocol::Dns, &question.name, 0);
    let policy = shared.policy();
    let limited = match &*policy {
        Policy::Nothing => {
            shared.refused(&target, "the sandbox has no network");
            return Some(dns::refused(query));
        }
        Policy::Names(names) if !names.allows(&question.name) => {
            shared.refused(&target, "the name is not on the list");
            return Some(dns::no_such_name(query));
        }
        Policy::Names(_) => true,
        _ => false,
    };
    if limited && question.is_hint() {
        // They would carry addresses that nobody has checked, and keys with which the name on a connection is hidden.
        return Some(dns::empty(query));
    }
    // What is only this machine's own is nobody else's business.
    let mut listed = shared.world.resolver.listed(&question.name);
    listed.retain(|address| crate::address::special(*address).is_none());
    let response = if listed.is_empty() || !matches!(question.qtype, dns::A | dns::AAAA) {
        match shared.world.resolver.exchange(query, over_tcp).await {
            Ok(response) => response,
            Err(error) => {
                let reason = format!("no resolver of this machine answers: {error}");
                shared.tell(&target, Verdict::Failed, Some(reason), (query.len() as u64, 0));
                return Some(dns::failed(query));
            }
        }
    } else {
        dns::answer_addresses(query, &listed, LISTED_TTL)
    };
    let response = if limited { dns::without_hints(&response) } else { response };
    let told = dns::addresses(&response).into_iter().map(|(address, _)| address);
    let told: Vec<_> = told.filter(|address| crate::address::special(*address).is_none()).collect();
    shared.known().told(&question.name, told);
    let response = if over_tcp { response } else { dns::truncated(&response, dns::accepted_size(query)) };
    shared.tell(&target, Verdict::Allowed, None, (query.len() as u64, response.len() as u64));
    Some(response)
}

/// Answers questions on a connection (RFC 1035 4.2.2) until its other end has no more.
pub(crate) async fn serve(shared: &Shared, stream: &mut TcpStream) -> io::Result<()> {
    loop {
        let len = match stream.read_u16().await {
            Ok(len) => usize::from(len),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut query = vec![0; len];
        stream.read_exact(&mut query).await?;
        let Some(response) = answer(shared, &query, true).await else { return Ok(()) };
        let len = u16::try_from(response.len()).map_err(|_| io::ErrorKind::InvalidData)?;
        stream.write_all(&[&len.to_be_bytes()[..], &response].concat()).await?;
    }
}
