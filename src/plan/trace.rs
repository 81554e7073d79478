//! Messages of the past: who wrote in which conversation, when.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::time::UnixMillis;

/// Longest line, in bytes.
const LINE_LIMIT: u64 = 4 * 1024;

/// Messages by conversation, in seconds since 1970.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// The times of each conversation's messages, in order; none is empty.
    pub conversations: Vec<Vec<f64>>,
    /// When the trace ends.
    pub end: f64,
}

/// A trace that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// The system's word.
        source: std::io::Error,
    },
    /// A line.
    #[error("{path}: line {line} is not \"from to unix-seconds\", nor the same with commas")]
    Line {
        /// The file.
        path: String,
        /// Its number, from 1.
        line: usize,
    },
    /// Nothing in it.
    #[error("{path} has no messages")]
    Empty {
        /// The file.
        path: String,
    },
}

impl Trace {
    /// Reads lines `from to unix-seconds`, or CSV with these columns (a heading is skipped, a time may be RFC 3339); gzipped
    /// files too. A conversation is an unordered pair.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let shown = path.display().to_string();
        let io = |source| Error::Io { path: shown.clone(), source };
        let mut file = BufReader::new(std::fs::File::open(path).map_err(io)?);
        let gzipped = file.fill_buf().map_err(io)?.starts_with(&[0x1f, 0x8b]);
        let mut reader: Box<dyn BufRead> =
            if gzipped { Box::new(BufReader::new(MultiGzDecoder::new(file))) } else { Box::new(file) };
        let mut pairs: HashMap<(String, String), Vec<f64>> = HashMap::new();
        let mut line = String::new();
        for number in 1.. {
            line.clear();
            if reader.by_ref().take(LINE_LIMIT).read_line(&mut line).map_err(io)? == 0 {
                break;
            }
            let text = line.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            match message(text) {
                Some((pair, time)) => pairs.entry(pair).or_default().push(time),
                None if number == 1 && text.contains(',') => {}
                None => return Err(Error::Line { path: shown, line: number }),
            }
        }
        let trace = Self::new(pairs.into_values());
        if trace.conversations.is_empty() { Err(Error::Empty { path: shown }) } else { Ok(trace) }
    }

    /// From the times of the messages of each conversation, in any order.
    pub fn new(conversations: impl IntoIterator<Item = Vec<f64>>) -> Self {
        let mut conversations: Vec<_> = conversations.into_iter().filter(|times| !times.is_empty()).collect();
        for times in &mut conversations {
            times.sort_unstable_by(f64::total_cmp);
        }
        // Maps have no order, and a plan must be the same every time.
        conversations.sort_unstable_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
        let last = conversations.iter().filter_map(|times| times.last()).copied();
        let end = last.fold(f64::NEG_INFINITY, f64::max);
        Self { conversations, end }
    }

    /// The same, looked at until a moment after the last message.
    pub fn until(self, end: f64) -> Self {
        Self { end: end.max(self.end), ..self }
    }

    /// Messages.
    pub fn messages(&self) -> usize {
        self.conversations.iter().map(Vec::len).sum()
    }

    /// Days from the first message to the last.
    pub fn days(&self) -> f64 {
        let first = self.conversations.iter().filter_map(|times| times.first()).copied().fold(f64::INFINITY, f64::min);
        ((self.end - first) / 86_400.0).max(1e-9)
    }
}

fn message(line: &str) -> Option<((String, String), f64)> {
    let comma = line.contains(',');
    let mut fields = line.split(|c: char| if comma { c == ',' } else { c.is_whitespace() });
    let mut next = || fields.by_ref().map(str::trim).find(|field| comma || !field.is_empty());
    let (from, to, time) = (next()?, next()?, next()?);
    let seconds = time.parse::<f64>().ok().filter(|seconds| seconds.is_finite());
    let seconds = seconds.or_else(|| UnixMillis::parse(time).map(|at| at.as_millis() as f64 / 1000.0))?;
    let pair = if from <= to { (from, to) } else { (to, from) };
    Some(((pair.0.to_owned(), pair.1.to_owned()), seconds))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(text: &[u8]) -> Result<Trace, Error> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text).unwrap();
        Trace::read(file.path())
    }

    #[test]
    fn a_pair_is_one_conversation_whoever_writes_and_however_it_is_written_down() {
        let plain = read(b"1 2 100\n2 1 90\n1 3 50\n").unwrap();
        assert_eq!(plain.conversations, [vec![50.0], vec![90.0, 100.0]]);
        assert_eq!(plain.end, 100.0);
        let csv = read(b"from,to,time\n1,2,1970-01-01T00:01:40Z\n2,1,90\n1,3,50\n").unwrap();
        assert_eq!(csv.conversations, plain.conversations);
        let mut gzipped = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
        gzipped.write_all(b"1 2 100\n2 1 90\n1 3 50\n").unwrap();
        assert_eq!(read(&gzipped.finish().unwrap()).unwrap().conversations, plain.conversations);
    }

    #[test]
    fn a_line_that_is_no_message_is_named() {
        assert!(read(b"1 2 100\n1 2 soon\n").unwrap_err().to_string().contains("line 2 is not"));
        assert!(read(b"1 2\n").unwrap_err().to_string().contains("line 1 is not"));
        assert!(read(b"").unwrap_err().to_string().contains("has no messages"));
    }
}
