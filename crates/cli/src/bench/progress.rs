//! A line on standard error that says how far it is, if that is a terminal.

use std::io::{IsTerminal as _, Write as _};

/// Clears its line when it is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    shown: bool,
    terminal: bool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { shown: false, terminal: std::io::stderr().is_terminal() }
    }

    /// Say it before the round, never within what is timed.
    pub(crate) fn show(&mut self, what: &str, done: usize, of: usize) {
        if self.terminal {
            self.shown = true;
            // To the start of the line, and clear the rest of it (ECMA-48 EL).
            let _ = write!(std::io::stderr(), "\rmeasuring {what}: {done} of {of}\x1b[K");
        }
    }
}

impl Progress {
    /// Something that is worth a line of its own, whoever listens.
    pub(crate) fn note(&mut self, text: &str) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
        let _ = writeln!(std::io::stderr(), "note: {text}");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
