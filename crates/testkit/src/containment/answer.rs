//! What a checker said.

use crate::check::{Failure, Outcome};
use std::collections::BTreeSet;
use std::fmt;

/// The answer to one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) id: String,
    pub(super) severity: String,
    pub(super) tried: String,
    /// `held`, `not held` or `not applicable`.
    pub(super) result: String,
    pub(super) evidence: String,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, severity, tried, result, evidence } = self;
        write!(f, "{id} ({severity}): {result}: {tried}: {evidence}")
    }
}

/// Every line of a checker's output. One that is cut short, or no answer, is an error: it is not a check that holds.
pub(super) fn parse(output: &[u8]) -> Outcome<Vec<Answer>> {
    let text = String::from_utf8_lossy(output);
    let mut answers = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let value: serde_json::Value =
            serde_json::from_str(line).map_err(|error| Failure::new(format!("{error} in {line:?}")))?;
        let field = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let answer = Answer {
            id: field("id"),
            severity: field("severity"),
            tried: field("tried"),
            result: field("result"),
            evidence: field("evidence"),
        };
        ensure!(["held", "not held", "not applicable"].contains(&&*answer.result), "no result in {line:?}");
        answers.push(answer);
    }
    Ok(answers)
}

/// The ids of every check that the list has on this architecture.
pub(super) fn expected() -> BTreeSet<String> {
    let entries: &[(&str, usize)] =
        if cfg!(target_arch = "x86_64") { &[("x86_64", 0), ("x32", 1), ("i386", 2)] } else { &[("arm64", 3)] };
    let (mut ids, mut group) = (BTreeSet::new(), "");
    for line in super::CHECKS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            group = name.trim_end_matches(']');
            continue;
        }
        let fields: Vec<&str> = line.split('|').map(str::trim).collect();
        let (kind, name) = fields[0].split_once(' ').unwrap_or_default();
        if kind == "call" {
            let numbers: Vec<&str> = fields[2].split(' ').collect();
            let has = entries.iter().filter(|(_, column)| numbers[*column] != "-");
            ids.extend(has.map(|(entry, _)| format!("{group}.{name}.{entry}")));
        } else {
            ids.insert(format!("{group}.{name}"));
        }
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_no_answer_is_an_error() {
        let line = br#"{"id":"a.b","group":"a","severity":"must","tried":"x","result":"held","evidence":""}"#;
        assert_eq!(parse(line).unwrap_or_default().len(), 1);
        assert!(parse(&line[..40]).is_err());
        assert!(parse(br#"{"id":"a.b","result":"perhaps"}"#).is_err());
    }

    #[test]
    fn the_list_has_every_group_and_no_id_twice() {
        let ids = expected();
        let lines = super::super::CHECKS.lines().filter(|line| line.contains('|') && !line.starts_with('#'));
        let least: usize = lines.count();
        assert!(ids.len() >= least, "{} ids, {least} lines", ids.len());
        for group in
            ["namespaces", "filesystem", "proc", "devices", "capabilities", "seccomp", "cgroup", "network", "ipc"]
        {
            assert!(ids.iter().any(|id| id.starts_with(&format!("{group}."))), "{group}");
        }
    }
}
