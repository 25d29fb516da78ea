//! One rule: which calls, what happens to them, and how often.

use crate::fault::parse;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use tonic::Code;

/// `PATTERN: ACTION… [p=0.1] [times=3] [after=2]`, as in `SandboxCreate*: delay=2s p=0.1`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// As it was written.
    pub(super) text: String,
    /// With `*` for anything.
    pub(super) patterns: Vec<String>,
    /// From, to.
    pub(super) delay: Option<(Duration, Duration)>,
    /// Bytes a second.
    pub(super) throttle: Option<u64>,
    pub(super) end: Option<End>,
    /// From 0 to 1.
    pub(super) chance: f64,
    pub(super) times: Option<u64>,
    pub(super) after: u64,
}

/// How a call ends, if not as it would.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum End {
    /// Refused with this.
    Status { code: Code, message: Option<String>, retry_after: Option<Duration> },
    /// The answer breaks off after so many bytes of its messages.
    CutAfter(u64),
    /// The stream is reset before there is an answer.
    Reset,
    /// The whole connection is.
    ResetConnection,
    /// Never.
    Hang,
    /// The call is carried out, and its answer withheld.
    LoseAnswer,
}

/// A rule that cannot be read: where, and what is allowed there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("fault rule {rule:?}, column {column}: {problem}")]
pub struct RuleError {
    /// The rule, or its beginning.
    pub rule: String,
    /// Counted from 1, in characters.
    pub column: usize,
    /// What is wrong, and what is allowed.
    pub problem: String,
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        parse::rule(text)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Rule {
    pub(super) fn matches(&self, method: &str) -> bool {
        self.patterns.iter().any(|pattern| fits(pattern.as_bytes(), method.as_bytes()))
    }
}

/// Whether a pattern with `*` fits. Goes back to the last `*` alone, so it is quick whatever the pattern.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(byte) if *byte == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    p = at + 1;
                    n = from + 1;
                    star = Some((at, n));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, name, fit) in [
            ("SandboxCreate", "SandboxCreate", true),
            ("SandboxCreate", "SandboxCreateV2", false),
            ("SandboxCreate*", "SandboxCreate", true),
            ("SandboxCreate*", "SandboxCreateV2", true),
            ("*V2", "SandboxCreateV2", true),
            ("*V2", "SandboxCreateV2X", false),
            ("Task*Wait", "TaskExecWait", true),
            ("*Exec*S*o*", "TaskExecStdioRead", true),
            ("*", "", true),
            ("**", "x", true),
            ("A*A", "A", false),
            ("a", "A", false),
        ] {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), fit, "{pattern} {name}");
        }
        // Would take for ever if every star were tried at every place.
        assert!(!fits("*a".repeat(60).as_bytes(), "a".repeat(59).as_bytes()));
        assert!(!fits(format!("{}b", "*a".repeat(60)).as_bytes(), "a".repeat(5000).as_bytes()));
    }
}
