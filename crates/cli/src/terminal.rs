//! The terminal of the person in front of it.

use crate::exit::Failure;
use computesdk::{Error, ErrorKind, PtySize};
use rustix::stdio::stdin;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The terminal on standard input, in raw mode from [`Terminal::raw`] until this is dropped.
#[derive(Debug)]
pub(crate) struct Terminal {
    before: Termios,
    resized: Signal,
}

impl Terminal {
    /// The terminal on standard input, still as it is.
    pub(crate) fn open(what: &str) -> Result<Self, Failure> {
        if !isatty(stdin()) {
            let text = format!("{what} needs a terminal, and standard input is none");
            let hint = if what == "-t" {
                "without -t, input is taken from pipes and files"
            } else {
                "`compute run` without -t takes input from pipes and files"
            };
            return Err(Error::new(ErrorKind::FailedPrecondition, "terminal", text).with_hint(hint).into());
        }
        let failed = |error: std::io::Error| {
            Error::new(ErrorKind::Unexpected, "terminal", "cannot use the terminal").with_source(error)
        };
        let before = tcgetattr(stdin()).map_err(|errno| failed(errno.into()))?;
        let resized = signal(SignalKind::window_change()).map_err(failed)?;
        Ok(Self { before, resized })
    }

    /// Hands every key to the sandbox, Ctrl-C too.
    pub(crate) fn raw(&self) {
        let mut raw = self.before.clone();
        raw.make_raw();
        // Not raw is a nuisance, not a failure.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &raw);
    }

    /// Its size; one that does not say gets the usual one.
    pub(crate) fn size() -> PtySize {
        match tcgetwinsize(stdin()) {
            Ok(size) if size.ws_row > 0 && size.ws_col > 0 => PtySize { rows: size.ws_row, cols: size.ws_col },
            _ => PtySize::default(),
        }
    }

    /// Returns when its size has changed.
    pub(crate) async fn resized(&mut self) -> PtySize {
        if self.resized.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
        Self::size()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A terminal that is gone needs no more care.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.before);
    }
}
