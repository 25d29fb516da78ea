//! The instructions of a Dockerfile: comments, empty lines and continued lines are taken out, and nothing is understood yet.
//!
//! As in Docker, an instruction goes on in the next line after a backslash at its end (spaces may follow), and comments and empty
//! lines in between do not end it. Clients send lines one by one or several in one string: it makes no difference here.

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Instruction {
    /// The line it starts at, from 1.
    pub(super) number: usize,
    /// `RUN`, in upper case.
    pub(super) keyword: String,
    /// What follows, trimmed.
    pub(super) rest: String,
    /// The whole of it.
    pub(super) text: String,
}

/// What is in some lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) instructions: Vec<Instruction>,
    /// `# escape=` among the comments at the top, which would change how lines continue.
    pub(super) escape: Option<String>,
}

/// Takes lines apart.
pub(super) fn parse(lines: &[String]) -> Parsed {
    let mut parsed = Parsed::default();
    let mut open: Option<(usize, String)> = None;
    let mut top = true;
    for (index, line) in lines.iter().flat_map(|text| text.split('\n')).enumerate() {
        let line = if index == 0 { line.strip_prefix('\u{feff}').unwrap_or(line) } else { line };
        let line = line.trim_end_matches('\r');
        let trimmed = line.trim();
        if let Some(comment) = trimmed.strip_prefix('#') {
            let directive = comment.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("escape"));
            if let (true, Some((_, value))) = (top, directive) {
                parsed.escape = Some(value.trim().to_owned());
            }
            continue;
        }
        top = false;
        if trimmed.is_empty() {
            continue;
        }
        // A continued line keeps what it is indented by: it may be inside of quotes.
        let line = if open.is_some() { line } else { trimmed };
        let (number, mut text) = open.take().unwrap_or((index + 1, String::new()));
        let bare = line.trim_end();
        if let Some(begun) = bare.strip_suffix('\\') {
            text.push_str(begun);
            open = Some((number, text));
        } else {
            text.push_str(line);
            parsed.instructions.push(instruction(number, &text));
        }
    }
    if let Some((number, text)) = open {
        parsed.instructions.push(instruction(number, &text));
    }
    parsed.instructions.retain(|instruction| !instruction.text.is_empty());
    parsed
}

fn instruction(number: usize, text: &str) -> Instruction {
    let text = text.trim();
    let (keyword, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    Instruction { number, keyword: keyword.to_ascii_uppercase(), rest: rest.trim().to_owned(), text: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<(usize, String, String)> {
        let parsed = parse(&[text.to_owned()]);
        parsed.instructions.into_iter().map(|i| (i.number, i.keyword, i.rest)).collect()
    }

    #[test]
    fn comments_and_empty_lines_are_no_instructions() {
        let text = "\u{feff}# first\n\n  from x \r\n# RUN no\n\trun a # b\n\n";
        let expected = [(3, "FROM".to_owned(), "x".to_owned()), (5, "RUN".to_owned(), "a # b".to_owned())];
        assert_eq!(parsed(text), expected);
        assert_eq!(parsed(""), []);
        assert_eq!(parsed("\n # nothing\n"), []);
    }

    #[test]
    fn lines_continue_after_a_backslash() {
        let text = "RUN a && \\ \n# not this\n\n  b \\\n\tc\nCMD d";
        let expected = [(1, "RUN".to_owned(), "a &&   b \tc".to_owned()), (6, "CMD".to_owned(), "d".to_owned())];
        assert_eq!(parsed(text), expected);
        assert_eq!(parsed("ENV a=b \\"), [(1, "ENV".to_owned(), "a=b".to_owned())]);
        assert_eq!(parsed("\\"), []);
        assert_eq!(parsed("\\\nRUN x"), [(1, "RUN".to_owned(), "x".to_owned())]);
    }

    #[test]
    fn lines_may_come_in_several_strings() {
        let lines = ["FROM base".to_owned(), "RUN a\nRUN \\".to_owned(), "b".to_owned()];
        let numbers: Vec<_> = parse(&lines).instructions.into_iter().map(|i| (i.number, i.text)).collect();
        assert_eq!(numbers, [(1, "FROM base".to_owned()), (2, "RUN a".to_owned()), (3, "RUN b".to_owned())]);
    }

    #[test]
    fn the_escape_directive_is_seen_at_the_top_only() {
        let escape = |text: &str| parse(&[text.to_owned()]).escape;
        assert_eq!(escape("# syntax=docker/dockerfile:1\n#ESCAPE = `\nFROM x").as_deref(), Some("`"));
        assert_eq!(escape("FROM x\n# escape=`"), None);
    }
}
