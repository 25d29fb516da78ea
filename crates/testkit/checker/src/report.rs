//! Verdicts on their way out of the check's process, and as lines of JSON.

use crate::Verdict;
use crate::list::Check;
use std::fmt::Write as _;

pub(crate) fn encode(verdict: Verdict) -> String {
    match verdict {
        Verdict::Held(evidence) => format!("h{evidence}"),
        Verdict::NotHeld(evidence) => format!("n{evidence}"),
        Verdict::NotApplicable(evidence) => format!("-{evidence}"),
    }
}

pub(crate) fn decode(said: &str, status: i32) -> Verdict {
    let mut letters = said.chars();
    match letters.next() {
        Some('h') => Verdict::Held(letters.collect()),
        Some('n') => Verdict::NotHeld(letters.collect()),
        Some('-') => Verdict::NotApplicable(letters.collect()),
        // The low seven bits of a wait status are the signal (`wait(2)`). A kernel without the i386 entry answers the
        // instruction with SIGSEGV; a filter may answer with SIGSYS.
        _ if [libc::SIGSEGV, libc::SIGSYS].contains(&(status & 0x7f)) => {
            Verdict::Held(format!("ended by signal {}", status & 0x7f))
        }
        _ => Verdict::NotHeld(format!("the check did not end as it should: wait status {status:#x}")),
    }
}

pub(crate) fn line(check: &Check, verdict: &Verdict) -> String {
    let (result, evidence) = match verdict {
        Verdict::Held(evidence) => ("held", evidence),
        Verdict::NotHeld(evidence) => ("not held", evidence),
        Verdict::NotApplicable(evidence) => ("not applicable", evidence),
    };
    // Evidence may hold anything; a line of it is enough.
    let evidence: String = evidence.chars().take(300).collect();
    let fields = [
        ("id", &*check.id),
        ("group", check.group),
        ("severity", check.severity),
        ("tried", check.tried),
        ("result", result),
        ("evidence", &evidence),
    ];
    let mut line = String::from("{");
    for (index, (name, value)) in fields.into_iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(line, "{comma}\"{name}\":{}", quote(value));
    }
    line.push_str("}\n");
    line
}

/// A JSON string, in ASCII.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            ' '..='~' => quoted.push(letter),
            _ => {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    let _ = write!(quoted, "\\u{unit:04x}");
                }
            }
        }
    }
    quoted.push('"');
    quoted
}
