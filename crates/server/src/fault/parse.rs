//! Reads a rule. Every complaint names the column and what could stand there.

use crate::fault::rule::{End, Rule, RuleError};
use std::time::Duration;
use tonic::Code;

const ACTIONS: &str = "delay=2s, delay=100ms..2s, status=UNAVAILABLE, cut-after=64KiB, throttle=1MiB/s, reset, \
    reset=connection, hang, lose-answer";
const CONDITIONS: &str = "p=0.1, times=3, after=2";
const DETAILS: &str = "message=\"…\", retry-after=1.5s";
const LONGEST: Duration = Duration::from_secs(24 * 3600);

const CODES: [(&str, Code); 16] = [
    ("CANCELLED", Code::Cancelled),
    ("UNKNOWN", Code::Unknown),
    ("INVALID_ARGUMENT", Code::InvalidArgument),
    ("DEADLINE_EXCEEDED", Code::DeadlineExceeded),
    ("NOT_FOUND", Code::NotFound),
    ("ALREADY_EXISTS", Code::AlreadyExists),
    ("PERMISSION_DENIED", Code::PermissionDenied),
    ("RESOURCE_EXHAUSTED", Code::ResourceExhausted),
    ("FAILED_PRECONDITION", Code::FailedPrecondition),
    ("ABORTED", Code::Aborted),
    ("OUT_OF_RANGE", Code::OutOfRange),
    ("UNIMPLEMENTED", Code::Unimplemented),
    ("INTERNAL", Code::Internal),
    ("UNAVAILABLE", Code::Unavailable),
    ("DATA_LOSS", Code::DataLoss),
    ("UNAUTHENTICATED", Code::Unauthenticated),
];

/// A complaint about what begins at this byte.
type Bad = (usize, String);

pub(super) fn rule(text: &str) -> Result<Rule, RuleError> {
    parse(text).map_err(|(at, problem)| {
        const MOST: usize = 200;
        let mut rule: String = text.chars().take(MOST).collect();
        if rule.len() < text.len() {
            rule.push('…');
        }
        let before = text.get(..at).unwrap_or(text);
        RuleError { rule, column: before.chars().count() + 1, problem }
    })
}

fn parse(text: &str) -> Result<Rule, Bad> {
    let Some(colon) = text.find(':') else {
        let problem = format!("no `:` after the names of calls; a rule is `PATTERN: ACTION`, actions are {ACTIONS}");
        return Err((text.len(), problem));
    };
    let mut rule = Rule {
        text: text.trim().to_owned(),
        patterns: patterns(&text[..colon])?,
        delay: None,
        throttle: None,
        end: None,
        chance: 1.0,
        times: None,
        after: 0,
    };
    let (mut message, mut retry_after) = (None, None);
    let mut seen: Vec<&str> = Vec::new();
    for word in words(text, colon + 1)? {
        let Word { at, key, value_at, .. } = word;
        if seen.contains(&key) {
            return Err((at, format!("`{key}` stands here a second time; write a second rule")));
        }
        seen.push(key);
        let end = match (key, word.value.as_deref()) {
            ("delay", Some(value)) => {
                rule.delay = Some(range(value, value_at)?);
                None
            }
            ("throttle", Some(value)) => {
                let bytes =
                    value.strip_suffix("/s").ok_or_else(|| (value_at, format!("`{value}` is no speed: write 1MiB/s")));
                rule.throttle = Some(bytes.and_then(|bytes| size(bytes, value_at))?.max(1));
                None
            }
            ("status", Some(value)) => {
                let known = CODES.iter().find(|(name, _)| *name == value);
                let code = known.map(|(_, code)| *code).ok_or_else(|| {
                    let names: Vec<&str> = CODES.iter().map(|(name, _)| *name).collect();
                    (value_at, format!("`{value}` is no status of a failure; allowed are {}", names.join(", ")))
                })?;
                Some(End::Status { code, message: None, retry_after: None })
            }
            ("message", Some(value)) => {
                message = Some((at, value.to_owned()));
                None
            }
            ("retry-after", Some(value)) => {
                retry_after = Some((at, duration(value, value_at)?));
                None
            }
            ("cut-after", Some(value)) => Some(End::CutAfter(size(value, value_at)?)),
            ("reset", None) => Some(End::Reset),
            ("reset", Some("connection")) => Some(End::ResetConnection),
            ("reset", Some(value)) => {
                return Err((value_at, format!("`{value}` cannot be reset; write `reset` or `reset=connection`")));
            }
            ("hang", None) => Some(End::Hang),
            ("lose-answer", None) => Some(End::LoseAnswer),
            ("p", Some(value)) => {
                let chance = value.parse().ok().filter(|chance| *chance > 0.0 && *chance <= 1.0);
                let bad = || (value_at, format!("`{value}` is no chance; write a number above 0, up to 1"));
                rule.chance = chance.ok_or_else(bad)?;
                None
            }
            ("times", Some(value)) => {
                rule.times = Some(count(value, value_at, 1)?);
                None
            }
            ("after", Some(value)) => {
                rule.after = count(value, value_at, 0)?;
                None
            }
            (
                "delay" | "throttle" | "status" | "message" | "retry-after" | "cut-after" | "p" | "times" | "after",
                None,
            ) => {
                return Err((at, format!("`{key}` needs a value; {}", allowed())));
            }
            ("hang" | "lose-answer", Some(_)) => return Err((value_at, format!("`{key}` takes no value"))),
            _ => return Err((at, format!("`{key}` is unknown; {}", allowed()))),
        };
        match (end, &rule.end) {
            (Some(_), Some(_)) => {
                let problem =
                    "a call ends in one way alone: of status, cut-after, reset, hang and lose-answer, a rule has one";
                return Err((at, problem.to_owned()));
            }
            (Some(end), None) => rule.end = Some(end),
            (None, _) => {}
        }
    }
    match (&mut rule.end, message, retry_after) {
        (Some(End::Status { message, retry_after, .. }), text, after) => {
            *message = text.map(|(_, text)| text);
            *retry_after = after.map(|(_, after)| after);
        }
        (_, Some((at, _)), _) | (_, _, Some((at, _))) => {
            return Err((at, "this goes with `status` alone".to_owned()));
        }
        _ => {}
    }
    if rule.delay.is_none() && rule.throttle.is_none() && rule.end.is_none() {
        return Err((text.len(), format!("nothing happens here; actions are {ACTIONS}")));
    }
    Ok(rule)
}

fn allowed() -> String {
    format!("actions are {ACTIONS}; with a status go {DETAILS}; conditions are {CONDITIONS}")
}

fn patterns(text: &str) -> Result<Vec<String>, Bad> {
    let mut patterns = Vec::new();
    let mut at = 0;
    for piece in text.split(',') {
        let pattern = piece.trim();
        let start = at + (piece.len() - piece.trim_start().len());
        if pattern.is_empty() {
            return Err((start, "a name of a call is missing, such as `SandboxCreate*` or `*`".to_owned()));
        }
        let wrong = |c: char| !(c.is_ascii_alphanumeric() || c == '*' || c == '_');
        if let Some(wrong) = pattern.find(wrong) {
            let problem = "a name of a call has letters, digits and `*` for anything; several are divided by commas";
            return Err((start + wrong, problem.to_owned()));
        }
        patterns.push(pattern.to_owned());
        at += piece.len() + 1;
    }
    Ok(patterns)
}

/// `key`, `key=value` or `key="a value"`, and the bytes where they begin.
struct Word<'a> {
    at: usize,
    key: &'a str,
    value_at: usize,
    value: Option<String>,
}

fn words(text: &str, from: usize) -> Result<Vec<Word<'_>>, Bad> {
    let mut words = Vec::new();
    let mut at = from;
    loop {
        let rest = &text[at..];
        at += rest.len() - rest.trim_start().len();
        let rest = &text[at..];
        if rest.is_empty() {
            return Ok(words);
        }
        let key_end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let key = &rest[..key_end];
        if key.is_empty() {
            return Err((at, format!("a word is missing before `=`; {}", allowed())));
        }
        let mut word = Word { at, key, value_at: at, value: None };
        at += key_end;
        if let Some(value) = rest[key_end..].strip_prefix('=') {
            word.value_at = at + 1;
            let (value, taken) = match value.strip_prefix('"') {
                Some(quoted) => {
                    let (value, taken) = unquote(quoted).ok_or((at + 1, "this quote has no end".to_owned()))?;
                    (value, taken + 1)
                }
                None => {
                    let end = value.find(char::is_whitespace).unwrap_or(value.len());
                    (value[..end].to_owned(), end)
                }
            };
            word.value = Some(value);
            at += 1 + taken;
            if text[at..].chars().next().is_some_and(|c| !c.is_whitespace()) {
                return Err((at, "a space is missing after the quote".to_owned()));
            }
        }
        words.push(word);
    }
}

/// What stands before the closing quote, and how many bytes that took with the quote. `\"` and `\\` stand for `"` and `\`.
fn unquote(text: &str) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    loop {
        match chars.next()? {
            (at, '"') => return Some((value, at + 1)),
            (_, '\\') => match chars.next()?.1 {
                c @ ('"' | '\\') => value.push(c),
                c => value.extend(['\\', c]),
            },
            (_, c) => value.push(c),
        }
    }
}

fn count(value: &str, at: usize, least: u64) -> Result<u64, Bad> {
    let number = value.parse().ok().filter(|number| *number >= least);
    number.ok_or_else(|| (at, format!("`{value}` is no number of calls; write one from {least} on")))
}

fn range(value: &str, at: usize) -> Result<(Duration, Duration), Bad> {
    let Some((least, most)) = value.split_once("..") else {
        let exact = duration(value, at)?;
        return Ok((exact, exact));
    };
    let most_at = at + least.len() + 2;
    let (least, most) = (duration(least, at)?, duration(most, most_at)?);
    if most < least {
        return Err((most_at, "the longer time comes second".to_owned()));
    }
    Ok((least, most))
}

fn duration(value: &str, at: usize) -> Result<Duration, Bad> {
    const UNITS: [(&str, f64); 5] = [("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let time = amount(value, &UNITS).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    match time {
        Some(time) if time <= LONGEST => Ok(time),
        Some(_) => Err((at, format!("`{value}` is longer than 24h"))),
        None => Err((at, format!("`{value}` is no time; write 2s, 100ms, 500us, 1.5m or 1h"))),
    }
}

fn size(value: &str, at: usize) -> Result<u64, Bad> {
    const UNITS: [(&str, f64); 9] = [
        ("", 1.0),
        ("B", 1.0),
        ("kB", 1e3),
        ("KB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
    ];
    let bytes = amount(value, &UNITS).filter(|bytes| *bytes <= 1e15);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, and small enough")]
    let bytes = bytes.map(|bytes| bytes as u64);
    bytes.ok_or_else(|| (at, format!("`{value}` is no number of bytes; write 65536, 64KiB, 1.5MiB, 10kB or 1MB")))
}

/// A number and its unit.
fn amount(value: &str, units: &[(&str, f64)]) -> Option<f64> {
    let unit_at = value.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(value.len());
    let (number, unit) = value.split_at(unit_at);
    let factor = units.iter().find(|(name, _)| *name == unit)?.1;
    number.parse::<f64>().ok().map(|number| number * factor).filter(|amount| amount.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Rule {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn rules_are_read() {
        let rule = parsed("  SandboxCreate*, TaskExec* :delay=2s   p=0.1 times=3 after=2 ");
        assert_eq!(rule.patterns, ["SandboxCreate*", "TaskExec*"]);
        assert_eq!(rule.delay, Some((Duration::from_secs(2), Duration::from_secs(2))));
        assert!((rule.chance - 0.1).abs() < 1e-9);
        assert_eq!((rule.times, rule.after, rule.end.clone()), (Some(3), 2, None));
        assert_eq!(rule.to_string(), "SandboxCreate*, TaskExec* :delay=2s   p=0.1 times=3 after=2");
        assert_eq!(parsed(&rule.to_string()).patterns, rule.patterns);
        let rule = parsed("*: delay=100ms..1.5m throttle=1MiB/s cut-after=64KiB");
        assert_eq!(rule.delay, Some((Duration::from_millis(100), Duration::from_secs(90))));
        assert_eq!((rule.throttle, rule.end), (Some(1 << 20), Some(End::CutAfter(65536))));
        for (text, end) in [
            ("*: reset", End::Reset),
            ("*: reset=connection", End::ResetConnection),
            ("*: hang", End::Hang),
            ("*: lose-answer", End::LoseAnswer),
            ("*: cut-after=0", End::CutAfter(0)),
            ("*: cut-after=1kB", End::CutAfter(1000)),
        ] {
            assert_eq!(parsed(text).end, Some(end), "{text}");
        }
        let rule = parsed(r#"*: status=RESOURCE_EXHAUSTED message="a \"b\" \\ c=d: é" retry-after=1.5s"#);
        let (message, retry_after) = (Some(r#"a "b" \ c=d: é"#.to_owned()), Some(Duration::from_millis(1500)));
        assert_eq!(rule.end, Some(End::Status { code: Code::ResourceExhausted, message, retry_after }));
        for (name, code) in CODES {
            let end = parsed(&format!("*: status={name}")).end;
            assert_eq!(end, Some(End::Status { code, message: None, retry_after: None }));
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_place() {
        for (text, column, part) in [
            ("", 1, "PATTERN: ACTION"),
            ("SandboxCreate", 14, "no `:`"),
            (": hang", 1, "missing"),
            ("A,: hang", 3, "missing"),
            ("Sandbox-Create: hang", 8, "letters"),
            ("A B: hang", 2, "commas"),
            ("A:", 3, "nothing happens"),
            ("A: p=0.5", 9, "nothing happens"),
            ("é: hang", 1, "letters"),
            ("A: dealy=2s", 4, "`dealy` is unknown; actions are delay=2s"),
            ("A: delay", 4, "needs a value"),
            ("A: delay=2", 10, "`2` is no time; write 2s"),
            ("A: delay=2s..1s", 14, "the longer time comes second"),
            ("A: delay=2s..x", 14, "`x` is no time"),
            ("A: delay=25h", 10, "24h"),
            ("A: delay=-1s", 10, "no time"),
            ("A: delay=1e999s", 10, "no time"),
            ("A: delay=..s", 10, "no time"),
            ("A: delay=1s delay=2s", 13, "second time"),
            ("A: status=OK", 11, "`OK` is no status of a failure; allowed are CANCELLED, UNKNOWN"),
            ("A: status=unavailable", 11, "allowed are"),
            ("A: status=", 11, "allowed are"),
            ("A: hang status=INTERNAL", 9, "one way alone"),
            ("A: hang message=\"x\"", 9, "`status` alone"),
            ("A: delay=1s retry-after=1s", 13, "`status` alone"),
            ("A: status=INTERNAL message=\"x", 28, "no end"),
            ("A: status=INTERNAL message=\"é\"x", 31, "space is missing"),
            ("A: hang=1", 9, "takes no value"),
            ("A: reset=stream", 10, "`reset=connection`"),
            ("A: cut-after=64XB", 14, "64KiB"),
            ("A: cut-after=9999999GiB", 14, "no number of bytes"),
            ("A: throttle=1MiB", 13, "1MiB/s"),
            ("A: hang p=0", 11, "above 0"),
            ("A: hang p=1.1", 11, "up to 1"),
            ("A: hang p=NaN", 11, "up to 1"),
            ("A: hang times=0", 15, "from 1 on"),
            ("A: hang after=-1", 15, "from 0 on"),
            ("A: =5", 4, "missing before `=`"),
        ] {
            let error = text.parse::<Rule>().unwrap_err();
            assert_eq!(error.column, column, "{error}");
            assert!(error.to_string().contains(part), "{error}");
        }
        let error = "x".repeat(10_000).parse::<Rule>().unwrap_err();
        assert!(error.to_string().len() < 700 && error.column == 10_001, "{error}");
    }
}
