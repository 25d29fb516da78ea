//! stub
mod authority;
mod body;
mod der;
mod dial;
mod front;
mod guard;
mod head;
mod hint;
mod leaf;
mod listen;
mod pass;
mod ready;
mod relay;
mod side;
mod store;
mod tunnel;

pub use authority::{Authority, AuthorityError};
pub use dial::{BoxStream, Dial, DialFn, Dialed, Stream, dial_fn};
pub use guard::{ConnectToken, Guard, GuardError};
pub use ready::{Attempt, NotReady, Probe, ReadyOptions, wait_ready};
pub use tunnel::{TlsFace, Tunnel, TunnelError, TunnelOptions, TunnelStats};

/// What others said, as long as is worth showing.
fn shorten(mut text: String) -> String {
    const MOST: usize = 500;
    if text.len() > MOST {
        let end = (0..=MOST).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or_default());
        text.push('…');
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
