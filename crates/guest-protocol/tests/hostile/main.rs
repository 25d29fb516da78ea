//! Replays the fuzz corpus (`fuzz/corpus`) on stable Rust, and what lies near it: every shortened and every slightly
//! changed input. `./ci soak` searches further with cargo-fuzz.
//!
//! The seeds come from `seeds.rs`. After a change of the protocol: `COMPUTESDK_WRITE_SEEDS=1 cargo test -p
//! computesdk-guest-protocol --test hostile`.

#![allow(clippy::unwrap_used)]

mod checks;
mod seeds;

use computesdk_guest_protocol::agent::{Answer, FromAgent};
use computesdk_guest_protocol::decode;
use std::path::{Path, PathBuf};

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 3] =
    [("from_agent", checks::from_agent), ("change", checks::change), ("packet", checks::packet)];

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target)
}

#[test]
fn the_corpus_holds_a_seed_of_every_kind() {
    for (target, name, bytes) in seeds::all() {
        let path = corpus(target).join(&name);
        if std::env::var_os("COMPUTESDK_WRITE_SEEDS").is_some() {
            std::fs::create_dir_all(corpus(target)).unwrap();
            std::fs::write(&path, &bytes).unwrap();
        }
        let kept = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(kept, bytes, "{target}/{name} is not of this protocol: see the head of this file");
    }
}

#[test]
fn what_the_corpus_holds_is_taken_or_refused() {
    for (target, check) in TARGETS {
        let mut seen = 0;
        for entry in std::fs::read_dir(corpus(target)).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            check(&bytes);
            (0..bytes.len()).for_each(|len| check(&bytes[..len]));
            for at in 0..bytes.len().min(64) {
                for value in [0, 1, 7, 8, 0x7f, 0x80, 0xff] {
                    let mut changed = bytes.clone();
                    changed[at] = value;
                    check(&changed);
                }
            }
            seen += 1;
        }
        assert!(seen >= 4, "{target}: {seen} inputs");
    }
}

/// The most memory for the fewest bytes: if messages grow past the bound, this fails first.
#[test]
fn the_densest_listing_stays_within_the_bound() {
    // Answer, call 1, Entries; 4000 as a varint; and as many entries of eleven zero bytes.
    let bytes = [&[3, 1, 2, 0xa0, 0x1f][..], &[0; 4000 * 11]].concat();
    let FromAgent::Answer { answer: Answer::Entries(entries), .. } = decode(&bytes).unwrap() else {
        panic!("a listing")
    };
    assert_eq!(entries.len(), 4000);
    checks::from_agent(&bytes);
}
