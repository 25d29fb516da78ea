//! Where the body of a request ends: what comes after it is not the sandbox's to see.
//!
//! Stricter than the standard, because two readers that differ about an end are how requests are smuggled: no chunk
//! extensions, no trailers, line ends of two characters.

/// How the body of a request is told from what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Bytes left of a body of known length.
    Length(u64),
    /// In the line with a chunk's size, of which so many digits were read.
    Size {
        value: u64,
        digits: u8,
    },
    SizeEnd(u64),
    Data(u64),
    DataCr,
    DataLf,
    LastCr,
    LastLf,
    Done,
}

/// A body that is no body: the connection cannot go on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadBody;

/// Follows a body through the bytes of a connection.
#[derive(Debug)]
pub(crate) struct Body(State);

impl Body {
    pub(crate) const fn new(framing: Framing) -> Self {
        Self(match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size { value: 0, digits: 0 },
        })
    }

    /// How many of these bytes, from the first on, belong to the body.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<usize, BadBody> {
        let mut at = 0;
        while at < bytes.len() {
            let have = (bytes.len() - at) as u64;
            match &mut self.0 {
                State::Done => break,
                State::Length(left) | State::Data(left) => {
                    let step = have.min(*left);
                    *left -= step;
                    at += usize::try_from(step).map_err(|_| BadBody)?;
                    match self.0 {
                        State::Length(0) => self.0 = State::Done,
                        State::Data(0) => self.0 = State::DataCr,
                        _ => {}
                    }
                }
                state => {
                    *state = state.step(bytes[at])?;
                    at += 1;
                }
            }
        }
        Ok(at)
    }
}

impl State {
    fn step(self, byte: u8) -> Result<Self, BadBody> {
        Ok(match (self, byte) {
            (Self::Size { value, digits: 1.. }, b'\r') => Self::SizeEnd(value),
            // 15 digits cannot overflow.
            (Self::Size { value, digits: digits @ ..15 }, byte) => {
                let digit = char::from(byte).to_digit(16).ok_or(BadBody)?;
                Self::Size { value: value * 16 + u64::from(digit), digits: digits + 1 }
            }
            (Self::SizeEnd(0), b'\n') => Self::LastCr,
            (Self::SizeEnd(size), b'\n') => Self::Data(size),
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::Size { value: 0, digits: 0 },
            (Self::LastCr, b'\r') => Self::LastLf,
            (Self::LastLf, b'\n') => Self::Done,
            _ => return Err(BadBody),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In pieces of every size, the answer is the same.
    fn taken(framing: Framing, bytes: &[u8]) -> Result<usize, BadBody> {
        let whole = Body::new(framing).take(bytes);
        for size in 1..bytes.len() {
            let mut body = Body::new(framing);
            let pieces: Result<usize, BadBody> = bytes.chunks(size).map(|piece| body.take(piece)).sum();
            assert_eq!(pieces, whole, "in pieces of {size}");
        }
        whole
    }

    #[test]
    fn a_body_ends_where_its_length_says() {
        assert_eq!(taken(Framing::Length(0), b"GET / HTTP/1.1\r\n"), Ok(0));
        assert_eq!(taken(Framing::Length(5), b"helloGET / HTTP/1.1\r\n"), Ok(5));
        assert_eq!(taken(Framing::Length(u64::MAX), b"hello"), Ok(5));
    }

    #[test]
    fn a_body_of_chunks_ends_with_the_empty_one() {
        assert_eq!(taken(Framing::Chunked, b"5\r\nhello\r\n0A\r\n0123456789\r\n0\r\n\r\nGET /"), Ok(31));
        assert_eq!(taken(Framing::Chunked, b"0\r\n\r\n"), Ok(5));
    }

    #[test]
    fn what_two_readers_may_read_in_two_ways_is_refused() {
        let bad: &[&[u8]] = &[
            b"5;ext=1\r\nhello\r\n",
            b"5\nhello\n",
            b"\r\n",
            b"-1\r\n",
            b"0x5\r\nhello\r\n",
            b" 5\r\nhello\r\n",
            b"5\r\nhelloX",
            b"0\r\nX-Verified-User-Data: root\r\n\r\n",
            b"1234567890123456\r\n",
            b"5\r\rhello",
        ];
        for bytes in bad {
            assert_eq!(taken(Framing::Chunked, bytes), Err(BadBody), "{:?}", bytes.escape_ascii().to_string());
        }
    }
}
