//! The name in a TLS ClientHello, from the bytes seen so far.
//!
//! RFC 8446: records in 5.1, the ClientHello in 4.1.2, extensions in 4.2; the name: RFC 6066, 3. Nothing is decrypted and
//! nothing is changed. What a server might read otherwise than this reader does is [`Hello::NotTls`]: two names, lengths
//! that disagree, bytes left over.

use crate::domain::normal_name;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hello {
    /// The beginning of a ClientHello.
    More,
    /// A ClientHello for this name, in the form of [`normal_name`].
    Name(String),
    /// A ClientHello without a name.
    NoName,
    /// Anything else, a ClientHello that is malformed or larger than 16 KiB among it.
    NotTls,
}

/// With keys that withstand quantum computers a ClientHello has about 2 KiB.
const MOST: usize = 16 << 10;
/// As many bytes are looked at: records have headers.
const MOST_SEEN: usize = MOST + 1024;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// Reads the first bytes of a connection. Once it is not [`Hello::More`] it stays so, whatever follows.
pub(crate) fn hello(seen: &[u8]) -> Hello {
    match start(seen.get(..MOST_SEEN).unwrap_or(seen)) {
        Hello::More if seen.len() >= MOST_SEEN => Hello::NotTls,
        hello => hello,
    }
}

fn start(seen: &[u8]) -> Hello {
    let mut message = Vec::new();
    let mut rest = seen;
    loop {
        // As early as it can be told: a client of another protocol may be waiting for the server to speak.
        let looks_right = rest.iter().zip([HANDSHAKE, 3]).all(|(byte, wanted)| *byte == wanted);
        if !looks_right {
            return Hello::NotTls;
        }
        let Some((header, after)) = rest.split_first_chunk::<5>() else { return Hello::More };
        let len = usize::from(u16::from_be_bytes([header[3], header[4]]));
        // A record of nothing is forbidden for handshakes; without this, one could send them forever.
        if len == 0 || len > MOST {
            return Hello::NotTls;
        }
        message.extend_from_slice(after.get(..len).unwrap_or(after));
        match body(&message) {
            Body::Whole(body) => return name(body).unwrap_or(Hello::NotTls),
            Body::Malformed => return Hello::NotTls,
            Body::Part => {}
        }
        match after.get(len..) {
            Some(next) => rest = next,
            None => return Hello::More,
        }
    }
}

enum Body<'a> {
    Part,
    Whole(&'a [u8]),
    Malformed,
}

/// The ClientHello within the handshake messages so far. It is the first, and may be in any number of records.
fn body(message: &[u8]) -> Body<'_> {
    if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return Body::Malformed;
    }
    let Some((header, body)) = message.split_first_chunk::<4>() else { return Body::Part };
    let len = u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
    if len > MOST - 4 {
        return Body::Malformed;
    }
    body.get(..len).map_or(Body::Part, Body::Whole)
}

fn name(body: &[u8]) -> Option<Hello> {
    let mut body = Reader(body);
    let version = body.take(2)?;
    let _random = body.take(32)?;
    let session = body.vector8()?;
    let suites = body.vector16()?;
    let compressions = body.vector8()?;
    if version[0] != 3 || session.len() > 32 || suites.is_empty() || suites.len() % 2 != 0 || compressions.is_empty() {
        return None;
    }
    // Before TLS 1.3 a ClientHello may end here.
    if body.0.is_empty() {
        return Some(Hello::NoName);
    }
    let mut extensions = Reader(body.vector16()?);
    if !body.0.is_empty() {
        return None;
    }
    let mut found = None;
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let data = extensions.vector16()?;
        if kind == SERVER_NAME && found.replace(server_name(data)?).is_some() {
            return None;
        }
    }
    Some(found.map_or(Hello::NoName, Hello::Name))
}

/// The one name of the extension. Other kinds of names were never defined.
fn server_name(data: &[u8]) -> Option<String> {
    let mut data = Reader(data);
    let mut list = Reader(data.vector16()?);
    let kind = list.take(1)?;
    let name = list.vector16()?;
    if kind != [HOST_NAME] || !list.0.is_empty() || !data.0.is_empty() {
        return None;
    }
    normal_name(std::str::from_utf8(name).ok()?)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn vector8(&mut self) -> Option<&'a [u8]> {
        let len = self.take(1)?[0];
        self.take(len.into())
    }

    fn vector16(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.take(len.into())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::prng::Prng;

    fn vector16(data: &[u8]) -> Vec<u8> {
        [&(data.len() as u16).to_be_bytes()[..], data].concat()
    }

    fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &vector16(data)].concat()
    }

    fn sni(name: &[u8]) -> Vec<u8> {
        extension(SERVER_NAME, &vector16(&[&[HOST_NAME][..], &vector16(name)].concat()))
    }

    fn message(extensions: Option<&[u8]>) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.push(32);
        body.extend([9; 32]);
        body.extend(vector16(&[0x13, 1, 0x13, 2]));
        body.extend([1, 0]);
        body.extend(extensions.map(vector16).unwrap_or_default());
        let len = (body.len() as u32).to_be_bytes();
        [&[CLIENT_HELLO], &len[1..], &body].concat()
    }

    fn records(message: &[u8], size: usize) -> Vec<u8> {
        let record = |part: &[u8]| [&[HANDSHAKE, 3, 1][..], &vector16(part)].concat();
        message.chunks(size).flat_map(record).collect()
    }

    /// The first bytes of a client that wants `name`.
    pub(crate) fn client_hello(name: &str) -> Vec<u8> {
        let extensions = [extension(43, &[2, 3, 4]), sni(name.as_bytes()), extension(0x0a0a, &[])].concat();
        records(&message(Some(&extensions)), 16384)
    }

    fn with(extensions: &[Vec<u8>]) -> Hello {
        hello(&records(&message(Some(&extensions.concat())), 16384))
    }

    /// What curl 7.88 with OpenSSL 3.0 sends for `https://example.com`, as a listener of ours got it.
    fn curl() -> Vec<u8> {
        const BEGINNING: &str = "\
        1603010200010001fc030318aaf07d5a89d58381b163e93b2751100dba88f256c6f1f46213a093bb6b368720ce65e4066b961f7b08e131\
        4ac68971b119d4083e67587ab9a1da9eb309680270003e130213031301c02cc030009fcca9cca8ccaac02bc02f009ec024c028006bc023\
        c0270067c00ac0140039c009c0130033009d009c003d003c0035002f00ff0100017500000010000e00000b6578616d706c652e636f6d00\
        0b000403000102000a00160014001d0017001e00190018010001010102010301040010000e000c02683208687474702f312e3100160000\
        0017000000310000000d002a0028040305030603080708080809080a080b08040805080604010501060103030301030204020502060200\
        2b0009080304030303020301002d00020101003300260024001d00203b56135a63ae713a1c7a633554d846d9e85a2c7658d1cfda6913f2\
        c1aa704611001500b2";
        let byte = |at: usize| u8::from_str_radix(&BEGINNING[at..at + 2], 16).unwrap();
        // The rest is padding.
        (0..BEGINNING.len()).step_by(2).map(byte).chain([0; 178]).collect()
    }

    #[test]
    fn the_name_is_found() {
        assert_eq!(hello(&curl()), Hello::Name("example.com".into()));
        assert_eq!(hello(&client_hello("WWW.Example.com")), Hello::Name("www.example.com".into()));
        assert_eq!(hello(&records(&message(None), 16384)), Hello::NoName);
        assert_eq!(with(&[extension(43, &[2, 3, 4])]), Hello::NoName);
        assert_eq!(with(&[]), Hello::NoName);
    }

    #[test]
    fn every_beginning_asks_for_more() {
        for whole in [curl(), client_hello("a.example"), records(&message(Some(&sni(b"a.example"))), 7)] {
            for len in 0..whole.len() {
                assert_eq!(hello(&whole[..len]), Hello::More, "{len}");
            }
            assert!(matches!(hello(&whole), Hello::Name(_)));
            assert_eq!(
                hello(&[whole.clone(), vec![0; 20_000]].concat()),
                hello(&whole),
                "what follows does not matter"
            );
        }
    }

    #[test]
    fn a_hello_may_be_in_many_records() {
        let message = message(Some(&sni(b"a.example")));
        for size in 1..message.len() {
            assert_eq!(hello(&records(&message, size)), Hello::Name("a.example".into()), "{size}");
        }
        let mut between = records(&message[..30], 30);
        between.extend(b"\x15\x03\x01\x00\x02\x01\x00");
        assert_eq!(hello(&between), Hello::NotTls, "an alert within a handshake message");
        let mut nothing = records(&message[..30], 30);
        nothing.extend(b"\x16\x03\x01\x00\x00");
        assert_eq!(hello(&nothing), Hello::NotTls, "a record of nothing");
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        assert_eq!(with(&[sni(b"a.example"), sni(b"b.example")]), Hello::NotTls);
        assert_eq!(with(&[sni(b"a.example"), sni(b"a.example")]), Hello::NotTls);
        let name = |name: &[u8]| [&[HOST_NAME][..], &vector16(name)].concat();
        let two = vector16(&[name(b"a.example"), name(b"b.example")].concat());
        assert_eq!(with(&[extension(SERVER_NAME, &two)]), Hello::NotTls);
        assert_eq!(with(&[extension(SERVER_NAME, &[vector16(&name(b"a.example")), vec![0]].concat())]), Hello::NotTls);
        assert_eq!(
            with(&[extension(SERVER_NAME, &vector16(&[&[1][..], &vector16(b"a.example")].concat()))]),
            Hello::NotTls
        );
        assert_eq!(with(&[extension(SERVER_NAME, &[])]), Hello::NotTls);
        for name in [&b""[..], b"a\0.example", b"1.2.3.4", b"::1", b"\xff.example", b"a..example", b"a.example:443"] {
            assert_eq!(with(&[sni(name)]), Hello::NotTls, "{name:?}");
        }
        let mut left_over = message(Some(&sni(b"a.example")));
        left_over.push(0);
        left_over[3] += 1;
        assert_eq!(hello(&records(&left_over, 16384)), Hello::NotTls);
    }

    #[test]
    fn other_protocols_are_told_at_once() {
        for bytes in [&b"G"[..], b"SSH-2.0-x", b"\x80\x2e\x01", b"\x16\x02", b"\x16\x03\x01\x00\x05\x02", b"\x15\x03"] {
            assert_eq!(hello(bytes), Hello::NotTls, "{bytes:?}");
        }
        assert_eq!(hello(b"\x16\x03\x01\x40\x01"), Hello::NotTls, "a record larger than records are");
        assert_eq!(hello(b"\x16\x03\x01\x00\x05\x01\x00\x40\x00"), Hello::NotTls, "a ClientHello larger than we read");
        let large = message(Some(&[sni(b"a.example"), extension(21, &[0; 16000])].concat()));
        assert_eq!(hello(&records(&large, 16384)), Hello::Name("a.example".into()));
        assert_eq!(hello(&records(&large, 1)), Hello::NotTls, "six bytes for each");
    }

    #[test]
    fn mutated_hellos_break_nothing() {
        let seeds = [curl(), client_hello("a.example"), records(&message(Some(&sni(b"a.example"))), 20)];
        let mut prng = Prng::new(443);
        for round in 0..20_000 {
            let bytes = prng.mutate(&seeds[round % seeds.len()]);
            let whole = hello(&bytes);
            if let Hello::Name(name) = &whole {
                assert_eq!(normal_name(name).as_ref(), Some(name));
            }
            // Bytes that come one by one lead to the same as all at once.
            let first = (0..=bytes.len()).map(|len| hello(&bytes[..len])).find(|hello| *hello != Hello::More);
            assert_eq!(first.unwrap_or(Hello::More), whole);
        }
    }
}
