//! How far a page has brought us: whether the range asked for is complete. Pure.

use std::hash::{BuildHasher, RandomState};

use crate::model::{Cited, Flag, Message};
use crate::providers::{Page, Rest};
use crate::time::UnixMillis;

/// What to do after a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Everything down to the lower bound has been read.
    Complete,
    /// Go on at the cursor.
    GoOn(String),
    /// Forget the page and read the range from the cursor on.
    StartOver(String),
    /// Complete if the page holds no unknown message, else start over.
    StartOverIfNew(String),
}

/// Decides after a page whether the range down to `low` is complete. Pages go from newest to oldest, so one message
/// below the bound proves that everything above it has been read.
pub(super) fn step(page: &Page, low: Option<UnixMillis>) -> Step {
    let oldest = page.messages.iter().filter_map(|m| m.sent_at).min();
    if low.zip(oldest).is_some_and(|(low, oldest)| oldest < low) {
        return Step::Complete;
    }
    match &page.rest {
        Rest::Nothing => Step::Complete,
        Rest::More(cursor) => Step::GoOn(cursor.clone()),
        Rest::Unsure(cursor) => Step::StartOver(cursor.clone()),
        Rest::UnsureIfNew(cursor) => Step::StartOverIfNew(cursor.clone()),
    }
}

/// A number that is equal for pages with the same messages and as many that cannot be read, in any order. Keyed per process, so nobody can make two
/// pages look alike.
pub(super) fn fingerprint(page: &Page, keys: &RandomState) -> u64 {
    let cited = |cited: &Option<Box<Cited>>| cited.as_ref().map(|cited| keys.hash_one((&cited.id, &cited.text)));
    let content = |m: &Message| {
        let is_deleted = m.flags.contains(&Flag::Deleted);
        (keys.hash_one((&m.text, &m.subject, is_deleted)), cited(&m.quoted), cited(&m.forwarded))
    };
    let sum = page
        .messages
        .iter()
        .map(|m| keys.hash_one((m.id.as_str(), m.sent_at.map(UnixMillis::as_millis), content(m))))
        .fold(0u64, u64::wrapping_add);
    keys.hash_one((page.messages.len(), page.unreadable.items, sum)) | 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Direction, MessageId, Sender};

    fn page(times: &[i64], rest: Rest) -> Page {
        let messages = times.iter().map(|&t| Message {
            id: MessageId::new(t.to_string()),
            direction: Direction::Unknown,
            sent_at: Some(UnixMillis::from_millis(t)),
            sender: Sender::default(),
            text: String::new(),
            subject: None,
            quoted: None,
            forwarded: None,
            attachments: vec![],
            flags: vec![],
            unannounced: false,
            raw: None,
        });
        Page { messages: messages.collect(), rest, ..Page::default() }
    }

    fn at(millis: i64) -> Option<UnixMillis> {
        Some(UnixMillis::from_millis(millis))
    }

    #[test]
    fn one_message_below_the_bound_completes_the_range_and_one_at_it_does_not() {
        let more = || Rest::More("c".into());
        assert_eq!(step(&page(&[30, 20, 9], more()), at(10)), Step::Complete);
        assert_eq!(step(&page(&[30, 20, 10], more()), at(10)), Step::GoOn("c".into()));
        assert_eq!(step(&page(&[30, 20, 9], more()), None), Step::GoOn("c".into()));
    }

    #[test]
    fn a_page_without_a_rest_is_complete_even_when_it_is_empty() {
        assert_eq!(step(&page(&[], Rest::Nothing), at(10)), Step::Complete);
        assert_eq!(step(&page(&[], Rest::More("c".into())), at(10)), Step::GoOn("c".into()));
    }

    #[test]
    fn the_fingerprint_sees_messages_and_not_their_order() {
        let keys = RandomState::new();
        let of = |times: &[i64]| fingerprint(&page(times, Rest::Nothing), &keys);
        assert_eq!(of(&[1, 2, 3]), of(&[3, 1, 2]));
        assert_ne!(of(&[1, 2, 3]), of(&[1, 2]));
        assert_ne!(of(&[]), of(&[0]));
        let mut subject = page(&[1, 2, 3], Rest::Nothing);
        subject.messages[0].subject = Some("another".into());
        assert_ne!(of(&[1, 2, 3]), fingerprint(&subject, &keys));
        let mut odd = page(&[1, 2, 3], Rest::Nothing);
        odd.unreadable.items = 1;
        assert_ne!(of(&[1, 2, 3]), fingerprint(&odd, &keys));
        assert_ne!(of(&[]), 0, "zero means that no page has been recorded yet");
    }
}
