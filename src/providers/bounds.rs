//! What is kept of an answer: everything that a person wrote is kept as far as an event holds it, and nothing else may be
//! of any length.

use super::{Listing, Page, Unreadable};
use crate::model::{Cited, EVENT_LIMIT, Flag, Listed, Message, Sender};

/// Longest id. LinkedIn's have some 150 bytes. A longer one could not be told from another by its beginning, so an item with
/// one is an item that cannot be read.
const ID_LIMIT: usize = 1024;

/// Longest name, title and address; the rest of a longer one is cut off.
const NAME_LIMIT: usize = 1024;

const LONG_ID: &str = "an object whose id is longer than 1 KiB";

/// The page within the bounds.
pub(super) fn bounded_page(mut page: Page) -> Page {
    keep(&mut page.messages, &mut page.unreadable, |message| message.id.as_str());
    page.messages.iter_mut().for_each(shorten);
    page.title.iter_mut().for_each(cut);
    page
}

/// The listing within the bounds.
pub(super) fn bounded_listing(mut listing: Listing) -> Listing {
    keep(&mut listing.rows, &mut listing.unreadable, |row| row.conversation.id.as_str());
    keep(&mut listing.rows, &mut listing.unreadable, |row| &row.conversation.address);
    for Listed { conversation, title, mark, .. } in &mut listing.rows {
        [&mut conversation.person_url, title, mark].into_iter().flatten().for_each(cut);
    }
    listing
}

/// Keeps what has an id that is short enough, and counts the rest.
fn keep<T>(items: &mut Vec<T>, unreadable: &mut Unreadable, id: impl Fn(&T) -> &str) {
    let before = items.len();
    items.retain(|item| id(item).len() <= ID_LIMIT);
    let gone = before - items.len();
    if gone > 0 {
        unreadable.items = unreadable.items.saturating_add(u32::try_from(gone).unwrap_or(u32::MAX));
        unreadable.looks.get_or_insert(LONG_ID);
    }
}

fn shorten(message: &mut Message) {
    message.raw.take_if(|raw| raw.get().len() > EVENT_LIMIT);
    if message.text.len() > EVENT_LIMIT {
        message.text.truncate(message.text.floor_char_boundary(EVENT_LIMIT));
        message.text.shrink_to_fit();
        message.flag(Flag::TextCut);
    }
    of_sender(&mut message.sender);
    message.subject.iter_mut().for_each(cut);
    for cited in [&mut message.quoted, &mut message.forwarded].into_iter().flatten() {
        let Cited { id, sender, .. } = &mut **cited;
        id.iter_mut().for_each(cut);
        of_sender(sender);
    }
}

fn of_sender(Sender { id, name, profile_url }: &mut Sender) {
    [id, name, profile_url].into_iter().flatten().for_each(cut);
}

fn cut(text: &mut String) {
    text.truncate(text.floor_char_boundary(NAME_LIMIT));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Direction, MessageId};

    fn message(id: &str) -> Message {
        Message {
            id: MessageId::new(id),
            direction: Direction::Unknown,
            sent_at: None,
            sender: Sender::default(),
            text: String::new(),
            subject: None,
            quoted: None,
            forwarded: None,
            attachments: vec![],
            flags: vec![],
            unannounced: false,
            raw: None,
        }
    }

    #[test]
    fn an_id_of_any_length_is_an_item_that_cannot_be_read_and_stops_no_other() {
        let (longest, longer) = ("x".repeat(ID_LIMIT), "x".repeat(ID_LIMIT + 1));
        let messages = vec![message(&longer), message("1"), message(&longest)];
        let page = bounded_page(Page { messages, ..Page::default() });
        assert_eq!(page.messages.iter().map(|m| m.id.as_str().len()).collect::<Vec<_>>(), [1, ID_LIMIT]);
        assert_eq!((page.unreadable.items, page.unreadable.looks), (1, Some(LONG_ID)));
    }

    #[test]
    fn names_addresses_and_text_are_kept_as_far_as_an_event_holds_them() {
        let long = "ü".repeat(EVENT_LIMIT);
        let sender = Sender { id: Some(long.clone()), name: Some(long.clone()), profile_url: Some(long.clone()) };
        let quoted = Some(Box::new(Cited { id: Some(long.clone()), sender: sender.clone(), ..Cited::default() }));
        let flags = vec![Flag::TextCut];
        let huge = Message { sender, quoted, text: long.clone(), subject: Some(long.clone()), flags, ..message("1") };
        let page = bounded_page(Page { messages: vec![huge], title: Some(long), ..Page::default() });
        let kept = &page.messages[0];
        assert_eq!((kept.text.len(), &kept.flags[..]), (EVENT_LIMIT, &[Flag::TextCut][..]));
        let quoted = kept.quoted.as_deref().unwrap();
        let names = [&kept.sender.id, &kept.sender.name, &kept.subject, &quoted.id, &quoted.sender.name, &page.title];
        assert!(names.iter().all(|name| name.as_ref().is_some_and(|name| name.len() == NAME_LIMIT)));
    }
}
