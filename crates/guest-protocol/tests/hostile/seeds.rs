//! The seeds of the fuzz corpus: one of every kind of message an honest agent sends, and the malice we thought of.

use computesdk_guest_protocol::agent::{Answer, Change, ChangeKind, Exit, FromAgent, Kind, Refusal, Stat, Usage};
use computesdk_guest_protocol::{Envelope, encode};

/// Target, name and content of each.
pub(crate) fn all() -> Vec<(&'static str, String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for (name, message) in messages() {
        let bytes = encode(&Envelope::Inline(&message)).unwrap();
        seeds.push(("packet", format!("inline-{name}"), packet(&[], &bytes, &[])));
        seeds.push(("from_agent", name.to_owned(), bytes));
        let spilled = encode(&message).unwrap();
        let envelope = encode(&Envelope::<FromAgent>::Spilled(spilled.len() as u64)).unwrap();
        seeds.push(("packet", format!("spilled-{name}"), packet(&[0, 1], &envelope, &spilled)));
    }
    for (name, kind) in [
        ("created", ChangeKind::Created),
        ("modified", ChangeKind::Modified),
        ("removed", ChangeKind::Removed),
        ("overflow", ChangeKind::Overflow),
    ] {
        seeds.push(("change", name.to_owned(), encode(&Change { kind, path: b"/tmp/d/f\xff".to_vec() }).unwrap()));
    }
    seeds.extend(malice());
    seeds
}

fn malice() -> Vec<(&'static str, String, Vec<u8>)> {
    let named = |target, name: &str, bytes: Vec<u8>| (target, name.to_owned(), bytes);
    // A length of 2^60, as a varint.
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f];
    // Envelope, Answer, call 1, Entries.
    let listing = [&[0, 3, 1, 2][..], &huge].concat();
    // As many entries as fit, each as small as it can be: the most memory for the fewest bytes.
    let smallest = [0_u8; 11];
    let dense = [&[0, 3, 1, 2, 64][..], &smallest.repeat(64)].concat();
    let one = encode(&messages()[0].1).unwrap();
    let spilled = |len: u64| encode(&Envelope::<FromAgent>::Spilled(len)).unwrap();
    let exact = spilled(one.len() as u64);
    vec![
        named("from_agent", "listing-without-end", listing.clone()),
        named("from_agent", "listing-dense", dense),
        named("from_agent", "unknown-kind", vec![0, 0x7f, 1]),
        named("from_agent", "trailing", vec![0, 2, 1, 0, 0, 0]),
        named("change", "path-without-end", [&[0][..], &huge].concat()),
        named("packet", "empty", packet(&[], &[], &[])),
        named("packet", "no-message-with-a-pipe", packet(&[0], &[], &[])),
        named("packet", "listing-without-end", packet(&[0; 8], &listing, &[])),
        named("packet", "too-many-descriptors", packet(&[0; 12], &[0, 2, 1, 0, 0], &[])),
        named("packet", "one-descriptor-too-many", packet(&[0; 9], &[0, 2, 1, 0, 0], &[])),
        named("packet", "spilled-without-a-descriptor", packet(&[], &exact, &one)),
        named("packet", "spilled-into-a-pipe", packet(&[0], &exact, &one)),
        named("packet", "spilled-write-only", packet(&[2], &exact, &one)),
        named("packet", "spilled-device", packet(&[3], &exact, &one)),
        named("packet", "spilled-proc", packet(&[4], &exact, &one)),
        named("packet", "spilled-path", packet(&[5], &exact, &one)),
        named("packet", "spilled-eventfd", packet(&[6], &exact, &one)),
        named("packet", "spilled-socket", packet(&[7], &exact, &one)),
        named("packet", "spilled-too-short", packet(&[1], &spilled(1 << 20), &one)),
        named("packet", "spilled-too-large", packet(&[1], &spilled(u64::MAX), &one)),
        named(
            "packet",
            "spilled-then-trailing",
            packet(&[1], &spilled(one.len() as u64 + 1), &[&one[..], &[0]].concat()),
        ),
    ]
}

/// The input of `checks::packet`.
fn packet(kinds: &[u8], bytes: &[u8], content: &[u8]) -> Vec<u8> {
    let (count, len) = (u8::try_from(kinds.len()).unwrap(), u8::try_from(bytes.len()).unwrap());
    [&[count][..], kinds, &[len], bytes, content].concat()
}

fn messages() -> Vec<(&'static str, FromAgent)> {
    let file = Stat {
        kind: Kind::File,
        size: 1 << 40,
        mode: 0o4755,
        uid: 1000,
        gid: 65_535,
        owner: Some(String::from("user")),
        group: None,
        mtime: -1,
        mtime_nanos: 999_999_999,
        target: None,
    };
    let usage = Usage { cpu_micros: u64::MAX, peak_kib: 5678, disk_full: true };
    let link = Stat { kind: Kind::Symlink, target: Some(b"/etc/\xfe".to_vec()), ..file.clone() };
    let answer = |answer| FromAgent::Answer { call: 9, answer };
    vec![
        ("started", FromAgent::Started { exec: 1, pid: 77 }),
        ("refused", FromAgent::Refused { exec: 2, refusal: Refusal::BadInterpreter, errno: 2 }),
        ("exited", FromAgent::Exited { exec: 3, exit: Exit::Code(-1), usage }),
        ("signalled", FromAgent::Exited { exec: u32::MAX, exit: Exit::Signal(i32::MIN), usage: Usage::default() }),
        ("done", answer(Answer::Done)),
        ("failed", answer(Answer::Failed { errno: i32::MAX })),
        ("stat", answer(Answer::Stat(link.clone()))),
        ("entries", answer(Answer::Entries(vec![(b"a".to_vec(), file), (b"\0/..".to_vec(), link)]))),
    ]
}
