//! What is wrong with a configuration: where, what, and what to do. A value is never repeated: any key may hold a
//! secret, by mistake even the ones that should not.

use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file or the environment variable.
    pub origin: String,
    /// Path of the key, such as `accounts.sales.polling.overlap`; empty for the file as a whole.
    pub key: String,
    /// What is wrong and what to do.
    pub message: String,
    /// A file that may not or cannot be read, rather than bad content.
    pub unreadable: bool,
}

impl Problem {
    pub(super) fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { origin: String::new(), key: key.into(), message: message.into(), unreadable: false }
    }

    pub(super) fn unreadable(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { unreadable: true, ..Self::new(key, message) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.origin, &self.key] {
            if !part.is_empty() {
                // A key is whatever somebody wrote.
                write!(f, "{}: ", crate::model::Untrusted(part))?;
            }
        }
        // What is wrong may name what was written.
        write!(f, "{}", crate::model::Untrusted(&self.message))
    }
}

/// A configuration that cannot be used: everything that is wrong with it, at least one thing.
#[derive(Debug)]
pub struct Error(pub Vec<Problem>);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.0.iter().enumerate() {
            let separator = if position > 0 { "\n" } else { "" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// The known name that was most likely meant.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let known: Vec<_> = known.into_iter().collect();
    known
        .iter()
        .map(|&candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(name.len()) / 3).max(1))
        .min()
        .or_else(|| {
            known.iter().map(|&candidate| (0, candidate)).find(|(_, candidate)| is_longer_form(name, candidate))
        })
        .map(|(_, candidate)| candidate)
}

/// `logging` is a longer form of `log`.
fn is_longer_form(name: &str, known: &str) -> bool {
    let [shorter, longer] = if name.len() < known.len() { [name, known] } else { [known, name] };
    shorter.len() >= 3 && longer.starts_with(shorter)
}

/// "unknown ...", with the nearest known name or else all of them.
pub(super) fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    match nearest(name, known.iter().copied()) {
        Some(meant) => format!("unknown {what}; did you mean \"{meant}\"?"),
        None => {
            let mut known = known.to_vec();
            known.sort_unstable();
            format!("unknown {what}; known are {}", known.join(", "))
        }
    }
}
