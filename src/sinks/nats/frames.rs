//! What a server sends, held to bounds before the client library hears it: the library takes a line of any length, a message
//! as long as the server announces, and as many questions as it asks; and of an error without a word it panics.

/// Longest line. The longest that a server has to say is INFO, which names the other servers of its cluster.
pub(super) const LINE_LIMIT: usize = 64 << 10;

/// Longest message. What is sent to us are acknowledgements, of some hundred bytes each.
const MESSAGE_LIMIT: usize = 256 << 10;

/// Questions in a minute whether we are there, each of which is answered. An honest server asks once in two.
const PINGS: u32 = 100;

/// A server sends what no honest one would.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OutOfBounds {
    #[error("the server sends a line of more than {} KiB", LINE_LIMIT >> 10)]
    Line,
    #[error("the server announces a message of {0} bytes, and {limit} KiB are taken", limit = MESSAGE_LIMIT >> 10)]
    Message(usize),
    #[error("the server sends what is not the protocol of NATS")]
    Nonsense,
    #[error("the server asks more than {PINGS} times a minute whether we are there")]
    Pings,
}

/// Where in the stream of a server we are: in a line, or in a message.
#[derive(Default)]
pub(super) struct Frames {
    line: Vec<u8>,
    /// Bytes of a message that are still to come, the line break behind it among them.
    message: usize,
    /// Questions since the last minute began.
    pings: u32,
}

impl Frames {
    /// A minute has gone by.
    pub(super) fn begin_minute(&mut self) {
        self.pings = 0;
    }

    /// Looks at what comes next; an error is where the connection has to end.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) -> Result<(), OutOfBounds> {
        while !bytes.is_empty() {
            let skipped = self.message.min(bytes.len());
            self.message -= skipped;
            bytes = &bytes[skipped..];
            let end = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
            self.line.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end..];
            if self.line.len() > LINE_LIMIT {
                return Err(OutOfBounds::Line);
            }
            if self.line.ends_with(b"\r\n") {
                self.message = behind(&self.line)?;
                self.pings += u32::from(self.line.starts_with(b"PING"));
                if self.pings > PINGS {
                    return Err(OutOfBounds::Pings);
                }
                self.line.clear();
            }
        }
        Ok(())
    }
}

/// What a server says without a message behind it. Source: docs.nats.io, "Client Protocol".
const WORDS: [&[u8]; 5] = [b"INFO ", b"PING\r\n", b"PONG\r\n", b"+OK\r\n", b"-ERR "];

/// How many bytes of a message follow a line.
fn behind(line: &[u8]) -> Result<usize, OutOfBounds> {
    if WORDS.iter().any(|word| line.starts_with(word)) {
        return Ok(0);
    }
    if !line.starts_with(b"MSG ") && !line.starts_with(b"HMSG ") {
        return Err(OutOfBounds::Nonsense);
    }
    let length = std::str::from_utf8(line).ok().and_then(|line| line.split_whitespace().last());
    let length: usize = length.and_then(|length| length.parse().ok()).ok_or(OutOfBounds::Nonsense)?;
    if length > MESSAGE_LIMIT { Err(OutOfBounds::Message(length)) } else { Ok(length + 2) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(bytes: &[u8]) -> Result<(), OutOfBounds> {
        Frames::default().pass(bytes)
    }

    #[test]
    fn what_servers_say_passes_and_what_none_would_say_does_not() {
        let message = |length: usize| format!("MSG _INBOX.x 1 {length}\r\n{}\r\nPING\r\n", "x".repeat(length));
        let headed = "HMSG _INBOX.x 1 12 15\r\nNATS/1.0\r\n\r\nabc\r\n+OK\r\n";
        for honest in ["INFO {}\r\nPING\r\n+OK\r\n-ERR 'x'\r\n", headed, &message(0), &message(MESSAGE_LIMIT)] {
            assert_eq!(whole(honest.as_bytes()), Ok(()), "{}", &honest[..20]);
        }
        assert_eq!(whole(b"MSG a 1 3000000000\r\n"), Err(OutOfBounds::Message(3_000_000_000)));
        assert_eq!(whole(b"HMSG a 1 reply 12 262145\r\n"), Err(OutOfBounds::Message(262_145)));
        assert_eq!(whole(b"MSG a 1 99999999999999999999999\r\n"), Err(OutOfBounds::Nonsense));
        for nonsense in ["MSG a 1 many\r\n", "-ERR\r\n", "PINGS\r\n", "HTTP/1.1 200 OK\r\n", "\r\n"] {
            assert_eq!(whole(nonsense.as_bytes()), Err(OutOfBounds::Nonsense), "{nonsense:?}");
        }
        let (mut asked, ping) = (Frames::default(), b"PING\r\n".repeat(PINGS as usize));
        assert_eq!(asked.pass(&ping), Ok(()));
        asked.begin_minute();
        assert_eq!(asked.pass(&ping), Ok(()));
        assert_eq!(asked.pass(b"PING\r\n"), Err(OutOfBounds::Pings));
        for endless in ["x", "INFO \n", "\r"] {
            assert_eq!(whole(endless.repeat(LINE_LIMIT + 1).as_bytes()), Err(OutOfBounds::Line), "{endless:?}");
        }
        assert_eq!(whole("MSG a 1 15\r\nMSG b 1 9999999\r\n".as_bytes()), Ok(()), "a message may say what it likes");
    }

    proptest! {
        #[test]
        fn a_stream_is_judged_alike_however_it_is_cut(
            parts in prop::collection::vec(prop::sample::select(vec![
                "MSG a 1 5\r\n", "hello\r\n", "MSG a 1 300000\r\n", "HMSG a 1 1 x\r\n", "PING\r\n", "\n", "\r", "MSG ", "7\r\n",
            ]), 0..12),
            size in 1_usize..9,
        ) {
            let stream = parts.concat();
            let mut cut = Frames::default();
            let judged = stream.as_bytes().chunks(size).try_for_each(|chunk| cut.pass(chunk));
            prop_assert_eq!(judged, whole(stream.as_bytes()));
        }
    }
}
