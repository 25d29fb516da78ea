//! The modes of `open`, as Python writes them.

use super::super::trouble::{Trouble, Why};

/// What happens to the file when it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// `r`: it must be there.
    Existing,
    /// `w`: it is emptied, or made.
    Emptied,
    /// `a`: it is kept, or made, and written at its end.
    Kept,
    /// `x`: it must not be there.
    New,
}

/// A mode, such as `r`, `wb` or `a+`. Text or bytes is the client's business: here are bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mode {
    pub(super) how: How,
    pub(super) reads: bool,
    pub(super) writes: bool,
}

impl Mode {
    /// Whether every write goes to the end.
    pub(super) fn appends(self) -> bool {
        self.how == How::Kept
    }

    pub(super) fn parse(text: &str) -> Result<Self, Trouble> {
        let invalid = || {
            let shown: String = text.chars().take(16).collect();
            Trouble::new(Why::Invalid, format!("Invalid file mode {shown:?}: one of r, w, a and x, then + and b or t"))
        };
        let (mut how, mut plus) = (None, false);
        for (at, char) in text.char_indices() {
            let named = match char {
                'r' => Some(How::Existing),
                'w' => Some(How::Emptied),
                'a' => Some(How::Kept),
                'x' => Some(How::New),
                '+' => {
                    plus = true;
                    None
                }
                'b' if !text.contains('t') => None,
                't' if !text.contains('b') => None,
                _ => return Err(invalid()),
            };
            if text[..at].contains(char) || (named.is_some() && how.is_some()) {
                return Err(invalid());
            }
            how = how.or(named);
        }
        let how = how.ok_or_else(invalid)?;
        let reads = how == How::Existing;
        Ok(Self { how, reads: reads || plus, writes: !reads || plus })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_pythons() {
        for (text, how, reads, writes) in [
            ("r", How::Existing, true, false),
            ("rb", How::Existing, true, false),
            ("rt", How::Existing, true, false),
            ("w", How::Emptied, false, true),
            ("a", How::Kept, false, true),
            ("x", How::New, false, true),
            ("r+", How::Existing, true, true),
            ("w+b", How::Emptied, true, true),
            ("ab+", How::Kept, true, true),
            ("+r", How::Existing, true, true),
        ] {
            assert_eq!(Mode::parse(text).unwrap(), Mode { how, reads, writes }, "{text}");
        }
        for text in ["", "b", "+", "rw", "rr", "r++", "rbt", "R", "r w", "é", "rbb"] {
            assert_eq!(Mode::parse(text).unwrap_err().why, Why::Invalid, "{text}");
        }
    }
}
