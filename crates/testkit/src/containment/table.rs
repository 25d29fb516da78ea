//! The table in SECURITY.md, from recorded answers.
//!
//! A run with `COMPUTESDK_CONTAINMENT_RECORD=DIR` leaves one file for each way into a sandbox there.
//! [`Record::merge`] puts them together: a check is held in a column if it was held by every way and not lost by any. The
//! record is checked in as `containment.json`, so that the table does not depend on what machine tests it;
//! `scripts/containment --refresh` makes both anew.

use super::answer::{self, Answer};
use super::exceptions::EXCEPTIONS;
use crate::check::Outcome;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

/// The columns, in order: the rungs, and what they are compared with.
const COLUMNS: [&str; 5] = ["A", "B", "C", "runc", "bwrap"];

/// Around the table in SECURITY.md.
pub const BEGIN: &str = "<!-- containment: made by scripts/containment --refresh -->\n";
/// Its end.
pub const END: &str = "<!-- containment: end -->\n";

/// Leaves answers in the directory that the environment names, if it does.
pub(super) fn record(name: &str, answers: &[Answer]) -> Outcome {
    let Some(dir) = std::env::var_os("COMPUTESDK_CONTAINMENT_RECORD") else { return Ok(()) };
    // The evidence is for people who wonder.
    let line = |Answer { id, result, evidence, .. }: &Answer| format!("{id}\t{result}\t{}\n", evidence.escape_debug());
    let lines: Vec<String> = answers.iter().map(line).collect();
    std::fs::write(Path::new(&dir).join(format!("{name}.answers")), lines.concat())?;
    Ok(())
}

/// The answers of every column: one letter each, `h`eld, `n`ot held, `-` not applicable, `?` never asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    answers: BTreeMap<String, [char; COLUMNS.len()]>,
}

impl Record {
    /// From the text of `containment.json`.
    ///
    /// # Errors
    /// If it is no object of such strings.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let strings: BTreeMap<String, String> = serde_json::from_str(text)?;
        let letters = |text: String| {
            let mut letters = ['?'; COLUMNS.len()];
            letters.iter_mut().zip(text.chars()).for_each(|(place, letter)| *place = letter);
            letters
        };
        Ok(Self { answers: strings.into_iter().map(|(id, text)| (id, letters(text))).collect() })
    }

    /// As `containment.json`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let strings: BTreeMap<&String, String> =
            self.answers.iter().map(|(id, letters)| (id, letters.iter().collect())).collect();
        format!("{:#}\n", serde_json::json!(strings))
    }

    /// Takes what a directory of recorded answers has; columns that it lacks stay as they are.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn merge(&mut self, dir: &Path) -> std::io::Result<()> {
        let mut fresh: BTreeMap<usize, BTreeMap<String, char>> = BTreeMap::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(name) = name.strip_suffix(".answers") else { continue };
            let column = name.split('-').next().unwrap_or(name);
            let Some(column) = COLUMNS.iter().position(|other| *other == column) else { continue };
            let answers = fresh.entry(column).or_default();
            for line in std::fs::read_to_string(entry.path())?.lines() {
                let mut fields = line.split('\t');
                let (Some(id), Some(result)) = (fields.next(), fields.next()) else { continue };
                let letter = match result {
                    "held" => 'h',
                    "not held" => 'n',
                    _ => '-',
                };
                let place = answers.entry(id.to_owned()).or_insert('-');
                // Lost once is lost; held once applies.
                if *place == '-' || letter == 'n' {
                    *place = letter;
                }
            }
        }
        let ids = answer::expected();
        self.answers.retain(|id, _| ids.contains(id));
        for id in ids {
            let letters = self.answers.entry(id.clone()).or_insert(['?'; COLUMNS.len()]);
            for (column, answers) in &fresh {
                letters[*column] = answers.get(&id).copied().unwrap_or('?');
            }
        }
        Ok(())
    }

    /// What is wrong with it: checks that are missing or gone, or that were never asked, and checks that a rung loses
    /// without an exception.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let ids: BTreeSet<String> = self.answers.keys().cloned().collect();
        let mut problems: Vec<String> = ids
            .symmetric_difference(&answer::expected())
            .map(|id| format!("{id} is in only one of the record and the list of checks"))
            .collect();
        for (id, letters) in &self.answers {
            for (column, letter) in COLUMNS.iter().zip(letters) {
                let ours = column.len() == 1;
                let excused = EXCEPTIONS.iter().any(|exception| {
                    exception.id == id && (exception.rungs.is_empty() || exception.rungs.contains(column))
                });
                match letter {
                    'n' if ours && !excused => problems.push(format!("{id} is not held on rung {column}")),
                    '?' => problems.push(format!("{id} was never asked of {column}")),
                    _ => {}
                }
            }
        }
        problems
    }

    /// How many of a group's checks are held, and how many apply. All groups if none is named.
    fn count(&self, column: usize, group: Option<&str>) -> (usize, usize) {
        let in_group = |id: &str| group.is_none_or(|group| id.split('.').next() == Some(group));
        let letters = self.answers.iter().filter(|(id, _)| in_group(id)).map(|(_, letters)| letters[column]);
        letters.fold((0, 0), |(held, all), letter| match letter {
            'h' => (held + 1, all + 1),
            'n' => (held, all + 1),
            _ => (held, all),
        })
    }

    /// The table with its exceptions, in Markdown.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut text =
            String::from("| group | ours, A | ours, B | ours, C | runc | bwrap |\n|---|---|---|---|---|---|\n");
        let mut groups: Vec<&str> = self.answers.keys().filter_map(|id| id.split('.').next()).collect();
        groups.dedup();
        for group in groups.into_iter().map(Some).chain([None]) {
            let _ = write!(text, "| {} |", group.map_or("**all**".to_owned(), |group| group.replace('_', " ")));
            for column in 0..COLUMNS.len() {
                let (held, all) = self.count(column, group);
                let _ = write!(text, " {held}/{all} |");
            }
            text.push('\n');
        }
        text.push_str("\nWhat we lose, and why:\n\n");
        let mut reasons: Vec<&str> = EXCEPTIONS.iter().map(|exception| exception.reason).collect();
        reasons.dedup();
        for reason in reasons {
            let of_reason = EXCEPTIONS.iter().filter(|exception| exception.reason == reason);
            let names: Vec<String> = of_reason.clone().map(|exception| format!("`{}`", exception.id)).collect();
            let rungs = of_reason.map(|exception| exception.rungs.join(", ")).next().filter(|rungs| !rungs.is_empty());
            let rungs = rungs.map(|rungs| format!(" (rung {rungs})")).unwrap_or_default();
            let _ = writeln!(text, "- {}{rungs}: {reason}.", names.join(", "));
        }
        text
    }

    /// One line for each column, for people.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut text = String::new();
        for (index, column) in COLUMNS.iter().enumerate() {
            let (held, all) = self.count(index, None);
            let _ = writeln!(text, "{column:5} {held:4} of {all} held");
        }
        text
    }
}

/// `document` with the table between the markers replaced; `None` if it lacks them.
#[must_use]
pub fn replace(document: &str, table: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{table}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_once_is_lost_and_what_was_not_asked_is_told() {
        let dir = std::env::temp_dir().join(format!("computesdk-record-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).expect("a file");
        write(
            "A-one.answers",
            "namespaces.user\theld\tit is 4026\nnamespaces.mnt\theld\nnamespaces.ipc\tnot applicable\n",
        );
        write("A-two.answers", "namespaces.user\tnot held\nnamespaces.mnt\tnot applicable\n");
        write("other.txt", "namespaces.pid\theld\n");
        let mut record = Record::default();
        let merged = record.merge(&dir);
        std::fs::remove_dir_all(&dir).expect("removed");
        merged.expect("merged");
        let letter = |id: &str| record.answers[id][0];
        assert_eq!(["user", "mnt", "ipc", "pid"].map(|n| letter(&format!("namespaces.{n}"))), ['n', 'h', '-', '?']);
        let problems = record.problems();
        assert!(problems.contains(&"namespaces.user is not held on rung A".to_owned()), "{problems:?}");
        assert!(problems.contains(&"namespaces.pid was never asked of A".to_owned()), "{problems:?}");
        assert_eq!(Record::parse(&record.to_json()).expect("json"), record);
        assert!(record.to_markdown().contains("| namespaces | 1/2 |"), "{}", record.to_markdown());
    }

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let document = format!("a\n{BEGIN}old\n{END}b\n");
        assert_eq!(replace(&document, "new"), Some(format!("a\n{BEGIN}\nnew\n{END}b\n")));
        assert_eq!(replace("no markers", "new"), None);
    }
}
