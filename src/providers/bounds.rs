//! What is kept of an answer: everything that a person wrote is kept as far as an event holds it, and nothing else may be
//! of any length.

use super::{Class, Error, Folders, Listing, Page, Rest, Unreadable};
use crate::model::{Cited, EVENT_LIMIT, Flag, Listed, Message, Sender};

/// Longest id. LinkedIn's have some 150 bytes. A longer one could not be told from another by its beginning, so an item with
/// one is an item that cannot be read.
const ID_LIMIT: usize = 1024;

/// Longest name, title and address; the rest of a longer one is cut off.
const NAME_LIMIT: usize = 1024;

const LONG_ID: &str = "an object whose id is longer than 1 KiB";
const NO_ID: &str = "an object whose id can be no part of an address";

/// Longest cursor. It is kept, and sent as a part of an address; a longer one no server would take back.
const CURSOR_LIMIT: usize = 4096;

/// An answer that goes on at a place of any length cannot be followed: it is none, so that the walk or the sweep begins again.
fn check_cursor(cursor: Option<&str>) -> Result<(), Error> {
    match cursor {
        Some(cursor) if cursor.len() > CURSOR_LIMIT => {
            Err(Error::new(Class::Protocol, format!("the answer has a cursor of more than {} KiB", CURSOR_LIMIT >> 10)))
        }
        _ => Ok(()),
    }
}

/// The page within the bounds.
pub(super) fn bounded_page(page: Page) -> Result<Page, Error> {
    check_cursor(match &page.rest {
        Rest::Nothing => None,
        Rest::More(cursor) | Rest::Unsure(cursor) | Rest::UnsureIfNew(cursor) => Some(cursor),
    })?;
    Ok(shortened(page))
}

fn shortened(mut page: Page) -> Page {
    keep(&mut page.messages, &mut page.unreadable, |message| message.id.as_str());
    page.messages.iter_mut().for_each(shorten);
    page.title.iter_mut().for_each(cut);
    page
}

/// The listing within the bounds.
pub(super) fn bounded_listing(mut listing: Listing) -> Result<Listing, Error> {
    check_cursor(listing.next.as_deref())?;
    keep(&mut listing.rows, &mut listing.unreadable, |row| row.conversation.id.as_str());
    keep(&mut listing.rows, &mut listing.unreadable, |row| &row.conversation.address);
    let before = listing.rows.len();
    listing.rows.retain(|row| !is_dots(&row.conversation.address));
    count(&mut listing.unreadable, before - listing.rows.len(), NO_ID);
    for Listed { conversation, title, mark, .. } in &mut listing.rows {
        [&mut conversation.person_url, title, mark].into_iter().flatten().for_each(cut);
    }
    Ok(listing)
}

/// Keeps what has an id that is short enough, and counts the rest.
fn keep<T>(items: &mut Vec<T>, unreadable: &mut Unreadable, id: impl Fn(&T) -> &str) {
    let before = items.len();
    items.retain(|item| id(item).len() <= ID_LIMIT);
    count(unreadable, before - items.len(), LONG_ID);
}

fn count(unreadable: &mut Unreadable, gone: usize, looks: &'static str) {
    if gone > 0 {
        unreadable.items = unreadable.items.saturating_add(u32::try_from(gone).unwrap_or(u32::MAX));
        unreadable.looks.get_or_insert(looks);
    }
}

/// In the path of an address they are no name, but lead to another one, however they are written.
fn is_dots(id: &str) -> bool {
    matches!(id, "." | "..")
}

/// The folders within the bounds.
pub(super) fn bounded_folders(mut folders: Folders) -> Folders {
    for ids in [&mut folders.listed, &mut folders.seldom, &mut folders.left_out] {
        ids.retain(|id| id.len() <= ID_LIMIT && !is_dots(id));
    }
    folders
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
    use crate::model::{Conversation, ConversationId, ConversationType, Direction, MessageId};

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
        let page = bounded_page(Page { messages, ..Page::default() }).unwrap();
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
        let page = bounded_page(Page { messages: vec![huge], title: Some(long), ..Page::default() }).unwrap();
        let kept = &page.messages[0];
        assert_eq!((kept.text.len(), &kept.flags[..]), (EVENT_LIMIT, &[Flag::TextCut][..]));
        let quoted = kept.quoted.as_deref().unwrap();
        let names = [&kept.sender.id, &kept.sender.name, &kept.subject, &quoted.id, &quoted.sender.name, &page.title];
        assert!(names.iter().all(|name| name.as_ref().is_some_and(|name| name.len() == NAME_LIMIT)));
    }

    #[test]
    fn an_answer_that_goes_on_at_a_place_of_any_length_is_none() {
        for (length, is_taken) in [(CURSOR_LIMIT, true), (CURSOR_LIMIT + 1, false)] {
            let cursor = "x".repeat(length);
            for rest in [Rest::More(cursor.clone()), Rest::Unsure(cursor.clone()), Rest::UnsureIfNew(cursor.clone())] {
                assert_eq!(bounded_page(Page { rest, ..Page::default() }).is_ok(), is_taken);
            }
            assert_eq!(bounded_listing(Listing { next: Some(cursor), ..Listing::default() }).is_ok(), is_taken);
        }
    }

    #[test]
    fn what_would_lead_to_another_address_is_no_id() {
        let row = |address: &str| Listed {
            conversation: Conversation {
                id: ConversationId::new(address),
                address: address.into(),
                kind: ConversationType::Unknown,
                person_url: None,
            },
            title: None,
            last_activity_at: None,
            mark: None,
        };
        let rows = [".", "..", "...", "a"].map(row).to_vec();
        let listing = bounded_listing(Listing { rows, ..Listing::default() }).unwrap();
        assert_eq!((listing.rows.len(), listing.unreadable.items, listing.unreadable.looks), (2, 2, Some(NO_ID)));
        let listed = [".", "INBOX", &"x".repeat(ID_LIMIT + 1)].map(str::to_owned).to_vec();
        assert_eq!(bounded_folders(Folders::all(listed)).listed, ["INBOX"]);
    }
}
