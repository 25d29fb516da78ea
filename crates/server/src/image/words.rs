//! Words of ENV, WORKDIR, ARG and FROM: quotes, escapes and variables, as Docker reads them.
//!
//! Outside of quotes a backslash keeps the next character as it is; within double quotes only before `"`, `$` and itself; single
//! quotes keep everything. `$X`, `${X}`, `${X:-word}`, `${X-word}`, `${X:+word}`, `${X+word}`, `${X:?word}` and `${X?word}` are
//! replaced outside of single quotes; a variable that is not set is nothing. What comes out is bounded, so that no few lines
//! that double a variable fill the memory.

use std::iter::Peekable;
use std::str::Chars;

/// Longest value of a variable: what the kernel takes for one string of a new program.
pub(super) const MOST_VALUE: usize = 128 << 10;
/// `${A:-${B:-…}}` in one another.
const MOST_DEPTH: usize = 16;

/// Takes words apart at spaces outside of quotes; quotes and escapes stay.
pub(super) fn split(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match quote {
            None if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ => {}
        }
        word.push(c);
        if c == '\\' && quote != Some('\'') {
            word.extend(chars.next());
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// A word without its quotes, variables replaced by what `lookup` has for them. An error continues "`LINE` …".
pub(super) fn expand(word: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut reader = Reader { chars: word.chars().peekable(), lookup, depth: 0 };
    let value = reader.until(None)?;
    if value.contains('\0') {
        return Err("has a zero byte, which no program can be given".to_owned());
    }
    Ok(value)
}

/// Whether something can be the name of a variable that `$NAME` reads.
fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

struct Reader<'a> {
    chars: Peekable<Chars<'a>>,
    lookup: &'a dyn Fn(&str) -> Option<String>,
    depth: usize,
}

impl Reader<'_> {
    /// Reads on to `end`, or to the end of the word.
    fn until(&mut self, end: Option<char>) -> Result<String, String> {
        let mut out = String::new();
        loop {
            let Some(c) = self.chars.next() else {
                return match end {
                    None => Ok(out),
                    Some(_) => Err("has a `${` without its `}`".to_owned()),
                };
            };
            match c {
                c if Some(c) == end => return Ok(out),
                '\'' => self.quoted(&mut out)?,
                '"' => self.double_quoted(&mut out)?,
                '\\' => match self.chars.next() {
                    Some(c) => out.push(c),
                    None => out.push('\\'),
                },
                '$' => self.variable(&mut out)?,
                c => out.push(c),
            }
            bounded(&out)?;
        }
    }

    fn quoted(&mut self, out: &mut String) -> Result<(), String> {
        loop {
            match self.chars.next() {
                Some('\'') => return Ok(()),
                Some(c) => out.push(c),
                None => return Err("has a `'` without its end".to_owned()),
            }
        }
    }

    fn double_quoted(&mut self, out: &mut String) -> Result<(), String> {
        loop {
            match self.chars.next() {
                Some('"') => return Ok(()),
                Some('\\') => match self.chars.next_if(|c| matches!(c, '"' | '$' | '\\')) {
                    Some(c) => out.push(c),
                    None => out.push('\\'),
                },
                Some('$') => self.variable(out)?,
                Some(c) => out.push(c),
                None => return Err("has a `\"` without its end".to_owned()),
            }
            bounded(out)?;
        }
    }

    /// After a `$`.
    fn variable(&mut self, out: &mut String) -> Result<(), String> {
        if self.chars.next_if_eq(&'{').is_none() {
            let name = self.name();
            match name.is_empty() {
                true => out.push('$'),
                false => out.push_str(&(self.lookup)(&name).unwrap_or_default()),
            }
            return Ok(());
        }
        let name = self.name();
        if name.is_empty() {
            return Err("has a `${` without a name".to_owned());
        }
        let value = (self.lookup)(&name);
        let mut operator = self.chars.next();
        let colon = operator == Some(':');
        if colon {
            operator = self.chars.next();
        }
        let value = value.filter(|value| !(colon && value.is_empty()));
        match operator {
            Some('}') if !colon => out.push_str(&value.unwrap_or_default()),
            Some(operator @ ('-' | '+' | '?')) => {
                self.depth += 1;
                if self.depth > MOST_DEPTH {
                    return Err(format!("has more than {MOST_DEPTH} `${{…}}` in one another"));
                }
                let word = self.until(Some('}'))?;
                self.depth -= 1;
                match (operator, value) {
                    ('-', Some(value)) => out.push_str(&value),
                    ('-', None) | ('+', Some(_)) => out.push_str(&word),
                    ('?', Some(value)) => out.push_str(&value),
                    ('?', None) => {
                        let why = if word.is_empty() { "is not set" } else { &word };
                        return Err(format!("needs `{name}`: {why}"));
                    }
                    _ => {}
                }
            }
            _ => {
                return Err(format!(
                    "does with `{name}` what is not done here: only ${{X}}, ${{X:-word}}, ${{X:+word}} and ${{X:?word}} are"
                ));
            }
        }
        Ok(())
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.chars.next_if(|c| is_name_char(*c)) {
            name.push(c);
        }
        name
    }
}

fn bounded(out: &str) -> Result<(), String> {
    if out.len() > MOST_VALUE {
        return Err(format!("makes a value of more than {} KiB", MOST_VALUE >> 10));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "X" => Some("x y".to_owned()),
            "EMPTY" => Some(String::new()),
            "BIG" => Some("b".repeat(MOST_VALUE)),
            _ => None,
        }
    }

    fn expanded(word: &str) -> String {
        expand(word, &lookup).unwrap_or_else(|why| format!("ERROR {why}"))
    }

    #[test]
    fn quotes_keep_what_they_should() {
        for (word, expected) in [
            ("a", "a"),
            ("'x y'", "x y"),
            ("'it'\"'\"'s'", "it's"),
            ("'$X'", "$X"),
            ("\"$X\"", "x y"),
            ("\"a\\\"b\\n\\\\\"", "a\"b\\n\\"),
            ("'a\"b\\n'", "a\"b\\n"),
            ("a\\ b\\$X", "a b$X"),
            ("''", ""),
            ("\\", "\\"),
        ] {
            assert_eq!(expanded(word), expected, "{word}");
        }
        assert!(expanded("'a").contains("without its end"));
        assert!(expanded("\"a").contains("without its end"));
        assert!(expanded("a\0").contains("zero byte"));
    }

    #[test]
    fn variables_are_replaced() {
        for (word, expected) in [
            ("$X-", "x y-"),
            ("${X}z", "x yz"),
            ("$NONE|${NONE}", "|"),
            ("${NONE:-d}${NONE-d}", "dd"),
            ("${EMPTY:-d}${EMPTY-d}", "d"),
            ("${X:-d}", "x y"),
            ("${X:+w}${EMPTY:+w}${EMPTY+v}${NONE+w}", "wv"),
            ("${NONE:-${ALSO_NONE:-'$deep}'}}", "$deep}"),
            ("$", "$"),
            ("a$ $.", "a$ $."),
            ("${X:?no}", "x y"),
        ] {
            assert_eq!(expanded(word), expected, "{word}");
        }
        assert!(expanded("${NONE:?say it}").contains("needs `NONE`: say it"));
        assert!(expanded("${NONE?}").contains("needs `NONE`: is not set"));
        for bad in ["${", "${X", "${X:-a", "${}", "${X#a}", "${X:1}", "${X:}"] {
            assert!(expanded(bad).starts_with("ERROR"), "{bad}");
        }
    }

    #[test]
    fn what_comes_out_is_bounded() {
        assert_eq!(expanded("$BIG").len(), MOST_VALUE);
        assert!(expanded("$BIG$BIG").contains("more than 128 KiB"));
        assert!(expanded(&format!("\"{}\"", "$BIG".repeat(1000))).contains("more than 128 KiB"));
        assert!(expanded(&"${NONE:-".repeat(100_000)).contains("in one another"));
    }

    #[test]
    fn words_end_at_spaces_outside_of_quotes() {
        assert_eq!(split(" a='x y'  b=\"c 'd\" e\\ f 'g\\' h"), ["a='x y'", "b=\"c 'd\"", "e\\ f", "'g\\'", "h"]);
        assert_eq!(split(""), Vec::<String>::new());
        assert_eq!(split("'open a"), ["'open a"]);
    }
}
