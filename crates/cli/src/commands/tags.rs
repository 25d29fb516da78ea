//! `compute tags`: the tags of a sandbox.

use crate::exit::{Exit, Failure};
use crate::printer::{Printer, to_json};
use crate::remote::Remote;
use crate::remote::args::{TagChange, TagsArgs};
use crate::values;
use computesdk::Error;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Serialize)]
struct Report<'a> {
    tags: &'a BTreeMap<String, String>,
}

/// Prints or changes them.
pub(crate) async fn tags(args: &TagsArgs, printer: Printer) -> Result<Exit, Failure> {
    let invalid = |problem: &str| Error::invalid("tags", "TAG", problem);
    let mut set = Vec::new();
    if args.change == Some(TagChange::Set) {
        for tag in &args.tags {
            set.push(values::tag(tag).map_err(|_| invalid(&format!("{tag:?} is not KEY=VALUE")))?);
        }
    }
    if let (Some(TagChange::Unset), Some(tag)) = (args.change, args.tags.iter().find(|tag| tag.contains('='))) {
        return Err(invalid(&format!("{tag:?}: to remove a tag, give its key alone")).into());
    }
    let remote = Remote::open(&args.server)?;
    let sandbox = remote.sandbox(&args.target).await?;
    let mut tags = remote.told(sandbox.get_info().await)?.metadata;
    match args.change {
        None => {}
        Some(TagChange::Set) => tags.extend(set.into_iter().map(|tag| (tag.name, tag.value))),
        Some(TagChange::Unset) => tags.retain(|key, _| !args.tags.contains(key)),
    }
    if args.change.is_some() {
        // The wire replaces all of them: who changes others at the same moment is not seen.
        remote.told(sandbox.as_core().set_metadata(tags.clone()).await)?;
    }
    if printer.is_json() {
        printer.json(&to_json(&Report { tags: &tags })?)?;
    } else if args.change.is_none() {
        printer.result(&tags.iter().map(|(key, value)| format!("{key}={value}\n")).collect::<String>())?;
    }
    Ok(Exit::OK)
}
