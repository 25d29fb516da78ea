//! DNS messages as far as the gateway must understand them: which question is asked, which addresses are answered.
//!
//! Everything else stays the bytes it was. The questions come out of a sandbox and the answers, through a resolver, from
//! whoever owns a domain, so nothing here reads the data of records other than addresses, allocates by a number in the
//! message, or follows a compression pointer. RFC 1035, sections 4.1 and 4.2; EDNS: RFC 6891.

use std::net::IpAddr;
use std::ops::Range;

/// A, an IPv4 address.
pub(crate) const A: u16 = 1;
/// AAAA, an IPv6 address.
pub(crate) const AAAA: u16 = 28;
/// SVCB and HTTPS, RFC 9460: other addresses, ports and keys for a name.
pub(crate) const SVCB: u16 = 64;
pub(crate) const HTTPS: u16 = 65;
/// Whatever there is.
pub(crate) const ANY: u16 = 255;
const OPT: u16 = 41;
const IN: u16 = 1;

const HEADER: usize = 12;
const NO_ERROR: u8 = 0;
const SERVER_FAILURE: u8 = 2;
const NO_SUCH_NAME: u8 = 3;
const REFUSED: u8 = 5;
// The third byte of a message: QR, four bits of opcode, AA, TC, RD. The fourth begins with RA.
const QR: u8 = 0x80;
const OPCODE: u8 = 0x78;
const TC: u8 = 0x02;
const RD: u8 = 0x01;
const RA: u8 = 0x80;
/// What every client takes over UDP, and what this gateway says it takes and sends: no datagram is ever in fragments.
const LEAST_UDP: usize = 512;
const MOST_UDP: u16 = 1232;
/// Two to a question are the rule; sixteen addresses are for one that is listed often in `/etc/hosts`.
const MOST_ANSWERS: usize = 16;

/// The one question of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// Chosen by who asks; the answer bears it too.
    pub(crate) id: u16,
    /// Lower-case, without a dot at the end; `.` for the root. A byte that no host name has stands as `\DDD`, so that such
    /// a name matches no pattern.
    pub(crate) name: String,
    /// What is asked for.
    pub(crate) qtype: u16,
}

impl Question {
    /// Reads a query: one question, and nothing that only a response has. `None` for anything else, and for a class that
    /// is not the internet's.
    pub(crate) fn parse(query: &[u8]) -> Option<Self> {
        let at = question(query)?;
        let is_query = query[2] & (QR | OPCODE | TC) == 0;
        let class = u16_at(query, at.end - 2)?;
        (is_query && class == IN && u16_at(query, 6)? == 0).then_some(Self {
            id: u16_at(query, 0)?,
            name: text(query.get(HEADER..at.end - 4)?),
            qtype: u16_at(query, at.end - 4)?,
        })
    }

    /// Whether the answer holds other addresses than those that A and AAAA give, or keys that hide a name.
    ///
    /// Under a policy of names such a question is answered with [`empty`]: what a client would take from an HTTPS record
    /// is never asked for by name, and with the key for an encrypted ClientHello the name it asks for is not seen.
    pub(crate) fn is_hint(&self) -> bool {
        matches!(self.qtype, SVCB | HTTPS | ANY)
    }
}

/// The answer that the policy forbids the name. Empty, as are all answers here, if `query` is no [`Question`].
pub(crate) fn refused(query: &[u8]) -> Vec<u8> {
    answer(query, REFUSED, &[], 0)
}

/// The answer that there is no such name: programs believe it at once, and ask nobody else.
pub(crate) fn no_such_name(query: &[u8]) -> Vec<u8> {
    answer(query, NO_SUCH_NAME, &[], 0)
}

/// Whether a response is the beginning of one that did not fit.
pub(crate) fn is_truncated(response: &[u8]) -> bool {
    response.get(2).is_some_and(|flags| flags & TC != 0)
}

/// The answer that no resolver could be asked.
pub(crate) fn failed(query: &[u8]) -> Vec<u8> {
    answer(query, SERVER_FAILURE, &[], 0)
}

/// The answer that the name is there, and nothing of the kind asked for.
pub(crate) fn empty(query: &[u8]) -> Vec<u8> {
    answer(query, NO_ERROR, &[], 0)
}

/// The answer with those of `addresses` that are of the kind asked for; the first sixteen.
pub(crate) fn answer_addresses(query: &[u8], addresses: &[IpAddr], ttl: u32) -> Vec<u8> {
    answer(query, NO_ERROR, addresses, ttl)
}

fn answer(query: &[u8], code: u8, addresses: &[IpAddr], ttl: u32) -> Vec<u8> {
    let (Some(asked), Some(at)) = (Question::parse(query), question(query)) else { return Vec::new() };
    let mut out = head_of(query, at);
    out[3] = RA | code;
    let of_kind = |addr: &&IpAddr| match addr {
        IpAddr::V4(_) => asked.qtype == A,
        IpAddr::V6(_) => asked.qtype == AAAA,
    };
    for addr in addresses.iter().filter(of_kind).take(MOST_ANSWERS) {
        // The name: a pointer to the one in the question.
        out.extend([0xc0, HEADER as u8]);
        out.extend([asked.qtype, IN].map(u16::to_be_bytes).as_flattened());
        out.extend(ttl.to_be_bytes());
        match addr {
            IpAddr::V4(addr) => out.extend([0, 4].iter().chain(&addr.octets())),
            IpAddr::V6(addr) => out.extend([0, 16].iter().chain(&addr.octets())),
        }
        out[7] += 1;
    }
    if edns_size(query).is_some() {
        out.push(0);
        out.extend([OPT, MOST_UDP, 0, 0, 0].map(u16::to_be_bytes).as_flattened());
        out[11] = 1;
    }
    out
}

/// Header and question of a message whose question is at `at`, as an answer without records.
fn head_of(message: &[u8], at: Range<usize>) -> Vec<u8> {
    let mut out = message.get(..at.end).unwrap_or_default().to_vec();
    if let [_, _, flags, _, _, _, rest @ ..] = out.as_mut_slice() {
        *flags = *flags & (OPCODE | RD) | QR;
        rest.iter_mut().take(6).for_each(|count| *count = 0);
    }
    out
}

/// Whether `response` answers `query`: the same number and the same question. Letter case of the name aside, which some
/// servers do not keep.
pub(crate) fn matches(query: &[u8], response: &[u8]) -> bool {
    let same = || {
        let (asked, answered) = (query.get(question(query)?)?, response.get(question(response)?)?);
        // Type and class are numbers, in which 0x41 and 0x61 are not the same letter.
        let (name, kind) = asked.split_at_checked(asked.len() - 4)?;
        let (answered_name, answered_kind) = answered.split_at_checked(answered.len() - 4)?;
        let same_question = name.eq_ignore_ascii_case(answered_name) && kind == answered_kind;
        let is_response = response[2] & (QR | OPCODE) == QR;
        Some(same_question && is_response && query[..2] == response[..2])
    };
    same().unwrap_or(false)
}

/// The addresses in the answers of `response`, each with the seconds it holds for. None if the message is malformed.
pub(crate) fn addresses(response: &[u8]) -> Vec<(IpAddr, u32)> {
    let Some(records) = records(response) else { return Vec::new() };
    let answers = records.into_iter().filter(|record| record.section == 0 && record.class == IN);
    let address = |record: Record| {
        let data = response.get(record.data)?;
        let addr = match record.kind {
            A => IpAddr::from(<[u8; 4]>::try_from(data).ok()?),
            AAAA => IpAddr::from(<[u8; 16]>::try_from(data).ok()?),
            _ => return None,
        };
        // RFC 2181, 8: with the highest bit set it is 0.
        Some((addr, if record.ttl >> 31 == 0 { record.ttl } else { 0 }))
    };
    answers.filter_map(address).collect()
}

/// `response` without the records that [`Question::is_hint`] is about, which a server may add to any answer. Empty if it
/// is malformed.
pub(crate) fn without_hints(response: &[u8]) -> Vec<u8> {
    let Some(records) = records(response) else { return Vec::new() };
    let Some(hint) = records.iter().position(|record| matches!(record.kind, SVCB | HTTPS)) else {
        return response.to_vec();
    };
    // All from the first of them on goes: pointers lead backwards alone, so what stays before it stays whole.
    let (kept, gone) = records.split_at(hint);
    let mut out = response[..gone[0].start].to_vec();
    for (section, count) in out[6..HEADER].chunks_exact_mut(2).enumerate() {
        let kept = kept.iter().filter(|record| record.section == section).count();
        #[allow(clippy::cast_possible_truncation, reason = "no more than the count that stood here")]
        count.copy_from_slice(&(kept as u16).to_be_bytes());
    }
    out
}

/// How many bytes whoever sent `query` takes in one datagram.
pub(crate) fn accepted_size(query: &[u8]) -> usize {
    edns_size(query).map_or(LEAST_UDP, |size| usize::from(size.min(MOST_UDP)).max(LEAST_UDP))
}

/// `response` as it goes into a datagram of at most `most` bytes: where it does not fit, the question alone, with the
/// mark at which a client asks again over TCP. Empty if it does not fit and is malformed.
pub(crate) fn truncated(response: &[u8], most: usize) -> Vec<u8> {
    if response.len() <= most {
        return response.to_vec();
    }
    let Some(at) = question(response) else { return Vec::new() };
    let mut out = head_of(response, at);
    out[2] |= TC;
    out
}

fn edns_size(query: &[u8]) -> Option<u16> {
    records(query)?.iter().find(|record| record.kind == OPT && record.section == 2).map(|record| record.class)
}

struct Record {
    /// 0 for answers, 1 for authorities, 2 for what is additional.
    section: usize,
    start: usize,
    kind: u16,
    class: u16,
    ttl: u32,
    data: Range<usize>,
}

/// All records of a message that is whole.
fn records(message: &[u8]) -> Option<Vec<Record>> {
    let mut at = question(message)?.end;
    let mut records = Vec::new();
    for section in 0..3 {
        for _ in 0..u16_at(message, 6 + 2 * section)? {
            let start = at;
            let fixed = after_name(message, at, true)?;
            let data = fixed + 10;
            at = data + usize::from(u16_at(message, fixed + 8)?);
            records.push(Record {
                section,
                start,
                kind: u16_at(message, fixed)?,
                class: u16_at(message, fixed + 2)?,
                ttl: u32::from(u16_at(message, fixed + 4)?) << 16 | u32::from(u16_at(message, fixed + 6)?),
                data: message.get(data..at).map(|_| data..at)?,
            });
        }
    }
    Some(records)
}

/// Where the question of a message with one question is: name, type, class. Its name has nothing to point back to.
fn question(message: &[u8]) -> Option<Range<usize>> {
    let end = after_name(message, HEADER, false)? + 4;
    (u16_at(message, 4)? == 1 && message.len() >= end).then_some(HEADER..end)
}

/// Where the name at `at` ends. A name has at most 255 bytes, so this takes at most 128 steps.
fn after_name(message: &[u8], mut at: usize, pointers: bool) -> Option<usize> {
    let start = at;
    loop {
        let byte = *message.get(at)?;
        at += match byte {
            0 => 1,
            1..=63 => 1 + usize::from(byte),
            192.. if pointers => 2,
            _ => return None,
        };
        if at - start > 255 || at > message.len() {
            return None;
        }
        if byte == 0 || byte >= 192 {
            return Some(at);
        }
    }
}

/// The text of a name without pointers: RFC 4343, 2.1.
fn text(mut name: &[u8]) -> String {
    let mut text = String::new();
    while let Some((len @ 1.., rest)) = name.split_first() {
        let Some((label, rest)) = rest.split_at_checked(usize::from(*len)) else { break };
        if !text.is_empty() {
            text.push('.');
        }
        for byte in label {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => text.push(byte.to_ascii_lowercase().into()),
                _ => text.push_str(&format!("\\{byte:03}")),
            }
        }
        name = rest;
    }
    if text.is_empty() { ".".into() } else { text }
}

fn u16_at(message: &[u8], at: usize) -> Option<u16> {
    message.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

#[cfg(test)]
#[path = "dns_tests.rs"]
mod tests;
