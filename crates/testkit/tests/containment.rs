//! The containment table in SECURITY.md is the one that the recorded answers make.
//!
//! `COMPUTESDK_CONTAINMENT_REFRESH=DIR` takes the answers that a run left in `DIR` and writes record and table anew;
//! `scripts/containment --refresh` does all of it.

#![allow(clippy::print_stdout)]

use computesdk_testkit::containment::table::{Record, replace};
use std::path::Path;

#[test]
fn the_table_in_security_md_is_fresh() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (json, security) = (here.join("containment.json"), here.join("../../SECURITY.md"));
    let mut record = Record::parse(&std::fs::read_to_string(&json).unwrap_or_else(|_| "{}".into())).expect("a record");
    let document = std::fs::read_to_string(&security).expect("SECURITY.md");
    if let Some(dir) = std::env::var_os("COMPUTESDK_CONTAINMENT_REFRESH") {
        record.merge(Path::new(&dir)).expect("recorded answers");
        std::fs::write(json, record.to_json()).expect("the record is written");
        std::fs::write(security, replace(&document, &record.to_markdown()).expect("SECURITY.md has the markers"))
            .expect("SECURITY.md is written");
        println!("{}", record.summary());
        return;
    }
    // The list of checks is another one elsewhere: the record is x86-64's.
    if cfg!(target_arch = "x86_64") {
        assert_eq!(record.problems(), Vec::<String>::new(), "run scripts/containment --refresh");
    }
    let fresh = replace(&document, &record.to_markdown()).expect("SECURITY.md has the markers");
    assert!(fresh == document, "SECURITY.md is not what containment.json says: run scripts/containment --refresh");
}
