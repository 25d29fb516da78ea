//! The packet filter's log: netlink messages of `nfnetlink_log`, one a packet (`linux/netfilter/nfnetlink_log.h`).

// `NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET`
const PACKET: u16 = 4 << 8;
const NFULA_PAYLOAD: u16 = 9;
/// Of an attribute's type, what is not a flag.
const TYPE: u16 = 0x3fff;
const HEADER: usize = 16;
/// `nfgenmsg`
const GENERIC: usize = 4;

/// The packets in what was read from the log.
pub(crate) fn packets(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        loop {
            let (kind, body) = take(&mut bytes)?;
            if kind == PACKET
                && let Some(payload) = payload(body)
            {
                return Some(payload);
            }
        }
    })
}

fn take<'a>(bytes: &mut &'a [u8]) -> Option<(u16, &'a [u8])> {
    let len = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let kind = u16::from_ne_bytes(*bytes.get(4..6)?.first_chunk()?);
    let body = bytes.get(HEADER..len)?;
    *bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, body))
}

fn payload(body: &[u8]) -> Option<&[u8]> {
    let mut rest = body.get(GENERIC..)?;
    loop {
        let len = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
        let kind = u16::from_ne_bytes(*rest.get(2..4)?.first_chunk()?) & TYPE;
        let value = rest.get(4..len)?;
        if kind == NFULA_PAYLOAD {
            return Some(value);
        }
        rest = rest.get(len.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![0; GENERIC];
        for (kind, value) in attributes {
            body.extend_from_slice(&u16::try_from(value.len() + 4).unwrap().to_ne_bytes());
            body.extend_from_slice(&kind.to_ne_bytes());
            body.extend_from_slice(value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let mut bytes = u32::try_from(HEADER + body.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&[0; 10]);
        bytes.extend_from_slice(&body);
        bytes
    }

    #[test]
    fn packets_are_found_among_other_messages() {
        let bytes = [
            message(3, &[]),
            message(PACKET, &[(1, &[0; 4]), (10, b"prefix\0"), (NFULA_PAYLOAD, b"first")]),
            message(PACKET, &[(1, &[0; 4])]),
            message(PACKET, &[(NFULA_PAYLOAD | 0x8000, b"second")]),
        ]
        .concat();
        assert_eq!(packets(&bytes).collect::<Vec<_>>(), [&b"first"[..], b"second"]);
    }

    #[test]
    fn what_is_cut_or_lies_about_its_length_ends_the_list() {
        let whole = message(PACKET, &[(NFULA_PAYLOAD, b"first")]);
        for len in 0..whole.len() {
            let _ = packets(&whole[..len]).count();
        }
        let mut lying = whole.clone();
        lying[0..4].copy_from_slice(&3_u32.to_ne_bytes());
        assert_eq!(packets(&lying).count(), 0);
        lying[0..4].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(packets(&lying).count(), 0);
    }
}
