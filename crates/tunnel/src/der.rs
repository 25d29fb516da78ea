//! As much of DER as it takes to look into a certificate of our own making.

/// The parts of a certificate that its key does not determine.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    /// What is signed, whole.
    pub(crate) signed: &'a [u8],
    pub(crate) signature: &'a [u8],
    pub(crate) serial: &'a [u8],
    /// Seconds since 1970.
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next element: its tag, its content, and all of it.
    fn next(&mut self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let (&tag, &first) = (self.0.first()?, self.0.get(1)?);
        let (head, length) = match first {
            0..=0x7f => (2, usize::from(first)),
            0x81 | 0x82 => {
                let bytes = self.0.get(2..2 + usize::from(first & 0x7f))?;
                (2 + bytes.len(), bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
            }
            _ => return None,
        };
        let whole = self.0.get(..head + length)?;
        self.0 = &self.0[whole.len()..];
        Some((tag, &whole[head..], whole))
    }

    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, ..)| *found == tag).map(|(_, content, _)| content)
    }
}

/// Looks into a certificate; `None` for what is none.
pub(crate) fn parts(certificate: &[u8]) -> Option<Parts<'_>> {
    let mut all = Reader(certificate);
    let mut outer = Reader(all.expect(SEQUENCE)?);
    let (tag, content, signed) = outer.next()?;
    let _algorithm = outer.expect(SEQUENCE)?;
    let (unused, signature) = outer.expect(BIT_STRING)?.split_first()?;
    if tag != SEQUENCE || *unused != 0 || !outer.0.is_empty() || !all.0.is_empty() {
        return None;
    }
    let mut inner = Reader(content);
    let _version = inner.expect(VERSION)?;
    let serial = inner.expect(INTEGER)?;
    let _algorithm = inner.expect(SEQUENCE)?;
    let _issuer = inner.expect(SEQUENCE)?;
    let mut validity = Reader(inner.expect(SEQUENCE)?);
    let (not_before, not_after) = (time(&mut validity)?, time(&mut validity)?);
    Some(Parts { signed, signature, serial, not_before, not_after })
}

fn time(reader: &mut Reader<'_>) -> Option<u64> {
    let (tag, content, _) = reader.next()?;
    let digits = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match (tag, digits.len()) {
        // RFC 5280: two digits are 1950 to 2049.
        (UTC_TIME, 12) => {
            let year: u64 = digits[..2].parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, &digits[2..])
        }
        (GENERALIZED_TIME, 14) => (digits[..4].parse().ok()?, &digits[4..]),
        _ => return None,
    };
    let two = |at: usize| rest[at..at + 2].parse::<u64>().ok();
    let (month, day, hour, minute, second) = (two(0)?, two(2)?, two(4)?, two(6)?, two(8)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin in March have their odd day at the end.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        let read = |tag: u8, text: &str| {
            let bytes = [&[tag, text.len() as u8], text.as_bytes()].concat();
            time(&mut Reader(&bytes))
        };
        assert_eq!(read(UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(read(UTC_TIME, "240229120102Z"), Some(1_709_208_062));
        assert_eq!(read(GENERALIZED_TIME, "20500301000000Z"), Some(2_529_705_600));
        for text in ["", "Z", "7001010000Z", "701301000000Z", "24022912010éZ"] {
            assert_eq!(read(UTC_TIME, text), None, "{text}");
        }
    }

    #[test]
    fn what_is_cut_short_is_no_certificate() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let whole = parts(certificate.der()).unwrap();
        assert_eq!(whole.not_before, 157_766_400);
        for length in 0..certificate.der().len() {
            assert_eq!(parts(&certificate.der()[..length]), None);
        }
    }
}
