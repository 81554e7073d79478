//! Another message inside a message: what a reply quotes, what is passed on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Sender, cut_at};

/// Longest text in bytes that is repeated of another message.
const TEXT_LIMIT: usize = 4 * 1024;

/// Longest subject in bytes. LinkedIn allows 200 characters.
const SUBJECT_LIMIT: usize = 1024;

/// Another message that is repeated in this one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cited {
    /// The provider's id of that message.
    pub id: Option<String>,
    /// Who wrote it.
    pub sender: Sender,
    /// Its text, or the first 4 KiB of it; empty where the provider gives none.
    pub text: String,
    /// How many attachments it has.
    pub attachments: u32,
}

impl Cited {
    /// The message, with its text inside the limit.
    pub fn new(id: Option<String>, sender: Sender, text: &str, attachments: usize) -> Self {
        let attachments = u32::try_from(attachments).unwrap_or(u32::MAX);
        Self { id, sender, text: cut_at(text, TEXT_LIMIT).to_owned(), attachments }
    }

    /// The same small enough for an event that has no room left.
    pub(super) fn shorten(&mut self, limit: usize) {
        let Self { id, sender, text, .. } = self;
        let Sender { id: sender_id, name, profile_url } = sender;
        for part in [id, sender_id, name, profile_url].into_iter().flatten() {
            part.truncate(part.floor_char_boundary(limit));
        }
        text.truncate(text.floor_char_boundary(limit));
    }
}

/// A subject inside its limit; one that says nothing is none.
pub fn subject(text: &str) -> Option<String> {
    Some(cut_at(text.trim(), SUBJECT_LIMIT).to_owned()).filter(|subject| !subject.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_repeated_is_bounded() {
        let cited = Cited::new(None, Sender::default(), &"ü".repeat(TEXT_LIMIT), 2);
        assert_eq!((cited.text.len(), cited.attachments), (TEXT_LIMIT, 2));
        assert_eq!(subject(&"x".repeat(2 * SUBJECT_LIMIT)).unwrap().len(), SUBJECT_LIMIT);
        assert_eq!((subject(" Hello "), subject("  ")), (Some("Hello".into()), None));
    }
}
