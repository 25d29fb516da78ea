//! The features: `interop/features.txt` has their order and what they are called; the programs say which of them they check.

use crate::clients::{self, Client, Program};
use libtest_mimic::{Failed, Trial};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A group of features, in the matrix a table.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) title: String,
    /// Names and descriptions.
    pub(crate) features: Vec<(String, String)>,
}

/// All features, and which program checks which.
#[derive(Debug)]
pub(crate) struct Catalog {
    pub(crate) sections: Vec<Section>,
    checks: BTreeMap<std::path::PathBuf, Vec<String>>,
}

impl Catalog {
    /// Reads the list and every program.
    pub(crate) fn read(interop: &Path) -> Result<Self, String> {
        let read = |path: &Path| std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
        let sections = sections(&read(&interop.join("features.txt"))?)?;
        let mut checks = BTreeMap::new();
        for client in clients::all() {
            for program in client.programs() {
                let found = declared(&read(&interop.join(&program.path))?);
                checks.insert(program.path, found);
            }
        }
        Ok(Self { sections, checks })
    }

    /// The features that a program checks, in its order.
    pub(crate) fn features_of(&self, program: &Program) -> impl Iterator<Item = &str> {
        self.checks.get(&program.path).into_iter().flatten().map(String::as_str)
    }

    /// The features that a client's programs tell of.
    pub(crate) fn told_by(&self, client: &Client) -> BTreeSet<&str> {
        client.programs().flat_map(|program| self.checks.get(&program.path)).flatten().map(String::as_str).collect()
    }

    /// Whether the list and the programs agree, and no cell of a table stays empty: a client tells of all features of a
    /// section, or of none.
    pub(crate) fn trial(&self) -> Trial {
        let listed: BTreeSet<&str> = self.sections.iter().flat_map(Section::names).collect();
        let mut wrong = Vec::new();
        for client in clients::all().into_iter().filter(|client| !client.faults) {
            let told = self.told_by(&client);
            let unknown: Vec<_> = told.difference(&listed).collect();
            if !unknown.is_empty() {
                wrong.push(format!("interop/features.txt lacks {unknown:?}"));
            }
            for section in &self.sections {
                let missing: Vec<_> = section.names().filter(|name| !told.contains(name)).collect();
                if !missing.is_empty() && missing.len() < section.features.len() {
                    wrong.push(format!("no program of {} tells of {missing:?}", client.id));
                }
            }
        }
        Trial::test("catalog::lists_what_is_checked", move || {
            if wrong.is_empty() { Ok(()) } else { Err(Failed::from(wrong.join("\n"))) }
        })
    }
}

impl Section {
    fn names(&self) -> impl Iterator<Item = &str> {
        self.features.iter().map(|(name, _)| name.as_str())
    }
}

/// `## title`, then lines of a name and a description; others are comments.
fn sections(text: &str) -> Result<Vec<Section>, String> {
    let mut sections: Vec<Section> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if let Some(title) = line.strip_prefix("## ") {
            sections.push(Section { title: title.to_owned(), features: Vec::new() });
        } else if !line.is_empty() && !line.starts_with('#') {
            let place = format!("interop/features.txt, line {}", number + 1);
            let (name, description) = line.split_once("  ").ok_or(format!("{place}: no description"))?;
            let section = sections.last_mut().ok_or(format!("{place}: no section"))?;
            section.features.push((name.to_owned(), description.trim().to_owned()));
        }
    }
    Ok(sections)
}

/// The names in `check("name"` and `lacks("name"`, at the start of a line.
fn declared(source: &str) -> Vec<String> {
    let names = source.lines().filter_map(|line| {
        let rest = ["@check(\"", "check(\"", "lacks(\""].into_iter().find_map(|start| line.strip_prefix(start))?;
        Some(rest.split_once('"')?.0.to_owned())
    });
    names.collect()
}
