//! `docs/compatibility.md`: what the programs saw, client by client and feature by feature.

use crate::catalog::Catalog;
use crate::clients::Client;
use crate::program::Said;
use crate::repository;
use libtest_mimic::{Completion, Failed, Trial};
use std::collections::BTreeMap;
use std::fmt::Write as _;

const HEAD: &str = "# Compatibility

Official Modal clients, unmodified, against `compute serve` with the provider `local`: what was seen when they ran. Each cell is a program with assertions in
[`interop/`](../interop/README.md); this file is written by their run and checked by it.

```console
$ cargo test -p computesdk-cli --test interop                               # runs them all, and compares
$ COMPUTESDK_REGENERATE=1 cargo test -p computesdk-cli --test interop       # writes this file
```

**yes**: it works. **refused**: the server says so at once, in the sentence given below; the client raises its own error type for it. **–**: this version of the client does not offer it; one
that offers nothing of a table is not in it.
V1 and V2 are the two families of calls that these clients know; the ones without a note use what is their default.
";

/// What the server says of one feature, and to whom.
type Sentences<'a> = Vec<(String, Vec<&'a str>)>;

/// The matrix as the document has it.
pub(crate) fn text(catalog: &Catalog, clients: &[Client], seen: &BTreeMap<(String, String), Said>) -> String {
    let mut out = HEAD.to_owned();
    let mut refusals: Vec<(String, Sentences<'_>)> = Vec::new();
    for section in &catalog.sections {
        // A client without any of these features has no column.
        let told =
            |client: &&Client| section.features.iter().any(|(name, _)| catalog.told_by(client).contains(&**name));
        let columns: Vec<&Client> = clients.iter().filter(|client| !client.faults).filter(told).collect();
        let _ = write!(out, "\n## {}\n\n| |", section.title);
        for client in &columns {
            let _ = write!(out, " {} |", client.title);
        }
        let _ = write!(out, "\n|---|{}\n", "---|".repeat(columns.len()));
        for (feature, description) in &section.features {
            let _ = write!(out, "| {description} |");
            let mut sentences = Sentences::new();
            for client in &columns {
                let cell = match seen.get(&(client.id.to_owned(), feature.clone())) {
                    Some(Said::Works) => "yes",
                    Some(Said::Failed(_)) => "**fails**",
                    Some(Said::Absent) | None => "–",
                    Some(Said::Refused(sentence)) => {
                        match sentences.iter_mut().find(|(known, _)| known == sentence) {
                            Some((_, who)) => who.push(client.title),
                            None => sentences.push((sentence.clone(), vec![client.title])),
                        }
                        "refused"
                    }
                };
                let _ = write!(out, " {cell} |");
            }
            out.push('\n');
            if !sentences.is_empty() {
                refusals.push((description.clone(), sentences));
            }
        }
    }
    if !refusals.is_empty() {
        out.push_str("\n## Refused, and in what words\n\n");
        for (description, sentences) in refusals {
            let only = sentences.len() == 1;
            for (sentence, who) in sentences {
                let who = if only { String::new() } else { format!(" ({})", who.join("; ")) };
                let _ = writeln!(out, "- {description}{who}: \"{sentence}\"");
            }
        }
    }
    out
}

/// Compares the document with what was seen, or writes it; not where only a part was seen, for this reason.
pub(crate) fn trial(
    catalog: &Catalog,
    clients: &[Client],
    seen: &BTreeMap<(String, String), Said>,
    partly: Option<String>,
) -> Trial {
    let name = "docs::compatibility_is_what_was_seen";
    if let Some(reason) = partly {
        return Trial::ignorable_test(name, || Ok(Completion::ignored_with(reason)));
    }
    let expected = text(catalog, clients, seen);
    Trial::test(name, move || {
        let path = repository().join("docs/compatibility.md");
        if std::env::var_os("COMPUTESDK_REGENERATE").is_some() {
            return std::fs::write(&path, expected).map_err(|error| Failed::from(error.to_string()));
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        if found == expected {
            return Ok(());
        }
        let differs = expected.lines().zip(found.lines().chain(std::iter::repeat(""))).find(|(a, b)| a != b);
        let (new, old) = differs.unwrap_or(("fewer lines", "more lines"));
        Err(Failed::from(format!(
            "docs/compatibility.md is not what was seen; COMPUTESDK_REGENERATE=1 writes it. First difference:\n\
            seen: {new}\nfile: {old}"
        )))
    })
}
