//! The features: `interop/features.txt` has their order and what they are called; the programs say which of them they check.

use crate::clients::{self, Program};
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

    /// Whether the list and the programs agree.
    pub(crate) fn trial(&self) -> Trial {
        let listed: BTreeSet<String> =
            self.sections.iter().flat_map(|section| &section.features).map(|(name, _)| name.clone()).collect();
        let checked: BTreeSet<String> = self.checks.values().flatten().cloned().collect();
        let missing: Vec<_> = checked.difference(&listed).cloned().collect();
        let unused: Vec<_> = listed.difference(&checked).cloned().collect();
        Trial::test("catalog::lists_what_is_checked", move || {
            if missing.is_empty() && unused.is_empty() {
                return Ok(());
            }
            Err(Failed::from(format!(
                "interop/features.txt lacks {missing:?} and has {unused:?}, which no program checks"
            )))
        })
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

/// The names in `check("name"`, at the start of a line.
fn declared(source: &str) -> Vec<String> {
    let names = source.lines().filter_map(|line| {
        let rest = line.strip_prefix("@check(\"").or_else(|| line.strip_prefix("check(\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    });
    names.collect()
}
