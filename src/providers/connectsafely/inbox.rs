//! The conversations of an account, youngest activity first. The list may come from the vendor's database and lag behind
//! LinkedIn: it tells what moved, never that nothing did.

use async_trait::async_trait;
use percent_encoding::utf8_percent_encode;

use super::messages::{Participant, title};
use super::{ConnectSafely, SEGMENT, http, nested, urn};
use crate::model::{Conversation, ConversationId, ConversationType};
use crate::providers::json::{Document, Object};
use crate::providers::moment::moment;
use crate::providers::{Class, Error, Inbox, ListRequest, Listed, Listing};
use crate::time::UnixMillis;

/// Conversations asked for in a page. The documented default is 20, an older list took 100.
const COUNT: usize = 50;

#[async_trait]
impl Inbox for ConnectSafely {
    async fn list(&self, request: ListRequest<'_>) -> Result<Listing, Error> {
        let mut query = format!("&count={COUNT}");
        if let Some(cursor) = request.cursor {
            query += &format!("&nextCursor={}", utf8_percent_encode(cursor, SEGMENT));
        }
        let answer = self.get("/conversations", &query).await?;
        let listing = listing(&answer).map_err(|mut error| {
            // Any other refusal is of the account, not of a folder.
            if error.class == Class::Gone {
                error.class = Class::Protocol;
                // That of a conversation, which is hours; an account may be put right at any moment.
                error.wait = None;
            }
            error
        })?;
        let (quota, answered_at) =
            (http::quota(&answer.headers, UnixMillis::now()), http::answered_at(&answer.headers));
        Ok(Listing { quota, answered_at, ..listing })
    }
}

fn listing(answer: &http::Answer) -> Result<Listing, Error> {
    let document = Document::of(&answer.body);
    let (payload, items) = nested::payload(&document, answer, "conversations")?;
    let rows = items.each("an object without an address", |row, _| listed(row));
    let next = payload.cursor("nextCursor");
    Ok(Listing { rows, next, unreadable: document.unreadable(), ..Listing::default() })
}

/// A row without an address cannot be read.
fn listed(row: &Object<'_>) -> Option<Listed> {
    let sales_navigator = row.text("source").as_deref() == Some("sales_navigator");
    let thread = || row.filled("salesNavThreadId").map(|id| format!("{}{id}", urn::SALES_NAVIGATOR));
    // What is no URN is no address, and another field may have one.
    let urn = row.filled("conversationUrn").filter(|urn| urn.contains(':') || urn.starts_with("2-"));
    let address = urn.map(Into::into).or_else(thread);
    let address: String = address.or_else(|| row.filled("conversationId").map(Into::into))?;
    let kind = if sales_navigator { ConversationType::SalesNavigator } else { urn::conversation_type(&address) };
    let latest = row.object("latestMessage");
    let sent_at = latest.as_ref().and_then(|latest| latest.time("sentAt", moment));
    let last_activity_at = sent_at.max(row.time("lastActivityAt", moment));
    let text = latest.as_ref().and_then(|latest| latest.words("text")).unwrap_or_default();
    let mark = last_activity_at.map(|at| format!("{} {:08x}", at.as_millis(), brief(&text)));
    Some(Listed {
        conversation: Conversation {
            id: ConversationId::new(urn::conversation_id(&address)),
            kind,
            person_url: None,
            address,
        },
        title: title(&Participant::all(row), &[]),
        last_activity_at,
        mark,
    })
}

/// Tells texts apart; two messages may have one time.
fn brief(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(json: &str) -> Option<Listed> {
        listed(&Document::of(json.as_bytes()).object().unwrap())
    }

    #[test]
    fn every_spelling_of_a_time_makes_one_mark() {
        let marks: Vec<_> = [r#""2025-10-09T08:55:23.456Z""#, "1760000123456", r#""1760000123456""#]
            .iter()
            .map(|at| row(&format!(r#"{{"conversationUrn":"urn:li:messagingThread:2-A","lastActivityAt":{at}}}"#)))
            .map(|listed| listed.unwrap().mark.unwrap())
            .collect();
        assert_eq!(marks[0], marks[1]);
        assert_eq!(marks[1], marks[2]);
        let null = row(r#"{"conversationUrn":"urn:li:messagingThread:2-A","lastActivityAt":null}"#).unwrap();
        assert_eq!(null.mark, None, "it may have moved at any time");
    }

    #[test]
    fn a_thread_of_sales_navigator_is_one_and_a_row_without_an_address_is_left_out() {
        let listed = row(r#"{"source":"sales_navigator","salesNavThreadId":"2-X"}"#).unwrap();
        assert_eq!(listed.conversation.address, "urn:li:salesNav_thread:2-X");
        assert_eq!(listed.conversation.kind, ConversationType::SalesNavigator);
        assert_eq!(row(r#"{"participants":[]}"#), None);
    }
}
