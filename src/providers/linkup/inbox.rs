//! The inbox: one request tells which of its conversations moved. A row has the text of the last message and not its id,
//! so a conversation that moved is read all the same.

use async_trait::async_trait;
use sha2::{Digest, Sha256};

use super::Linkup;
use super::person::{self, Author, Me};
use super::reply::Reply;
use super::settings::identified;
use crate::model::{ConversationType, cut_at};
use crate::providers::http;
use crate::providers::json::{Document, Object};
use crate::providers::moment::moment;
use crate::providers::{Class, Error, Inbox, ListRequest, Listed, Listing};

/// The field by which a row is told from anything else.
const ID: &str = "conversation_id";

/// Longest title in bytes.
const TITLE_LIMIT: usize = 200;

#[async_trait]
impl Inbox for Linkup {
    async fn list(&self, request: ListRequest<'_>) -> Result<Listing, Error> {
        let asked = self.asked(request.cursor);
        let answer = self.send(self.generation.inbox(request.cursor)).await?;
        let credits = self.generation.reply(&answer, asked)?;
        let document = Document::of(&answer.body);
        let reply = Reply::of(document.object().map_err(|e| http::malformed(&answer, &e))?, credits);
        let listing = listing(&reply, request.cursor, self.settings.kind(), &mut self.me())?;
        let answered_at = http::answered_at(&answer.headers);
        Ok(Listing { answered_at, unreadable: document.unreadable(), ..listing })
    }
}

fn listing(reply: &Reply<'_>, used: Option<&str>, kind: ConversationType, me: &mut Me) -> Result<Listing, Error> {
    let wire = reply.rows(ID).ok_or_else(|| Error::new(Class::Protocol, "the answer has no list of conversations"))?;
    let rows = wire.each("an object without an id", |row, _| listed(row, kind, me));
    // The cursor is opaque here: only a repetition tells that it does not advance.
    let next = reply.next_cursor().filter(|next| !wire.is_empty() && Some(next.as_str()) != used);
    Ok(Listing { rows, next, credits: reply.credits, ..Listing::default() })
}

fn listed(row: &Object<'_>, kind: ConversationType, me: &mut Me) -> Option<Listed> {
    let last = row.object("last_message");
    if let Some(last) = &last {
        me.learn(&Author::of(last));
    }
    // An id with a line break in it is nobody's, and would stand in the log.
    let id = row.filled(ID).filter(|id| !id.contains(char::is_control))?;
    let participant = row.object("participant");
    let of_participant = |key| participant.as_ref().and_then(|participant| participant.filled(key));
    let last_activity_at = last.as_ref().and_then(|last| last.time("time", moment));
    let text = last.as_ref().and_then(|last| last.words("text"));
    Some(Listed {
        conversation: identified(&id, kind, of_participant("profile_url").and_then(|url| person::profile_url(&url))),
        title: of_participant("name").map(|name| cut_at(&name, TITLE_LIMIT).to_owned()),
        last_activity_at,
        mark: last_activity_at.map(|at| format!("{} {}", at.as_millis(), digest(text.as_deref()))),
    })
}

/// Enough of a hash to tell two texts of the same moment apart; the text itself is not kept.
fn digest(text: Option<&str>) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(text.unwrap_or_default())[..6])
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::providers::json::tests::object;
    use crate::time::UnixMillis;

    fn list(body: Value, used: Option<&str>) -> Result<Listing, Error> {
        listing(&Reply::of(object(&body), 2), used, ConversationType::Standard, &mut Me::default())
    }

    fn row(time: i64, text: &str) -> Value {
        json!({"conversation_id": "urn:li:msg_conversation:(urn:li:fsd_profile:ACoAAB1o,2-A==)",
            "participant": {"name": "Mara Lind", "profile_url": "https://www.linkedin.com/in/Mara-Lind?x=1"},
            "last_message": {"text": text, "time": time, "sender": {"is_me": true}}, "unread": 0, "type": "normal"})
    }

    #[test]
    fn a_row_is_read_whole_and_its_address_stays_as_received() {
        let listing = list(json!({"data": {"threads": [row(1_760_000_123_456, "hi")], "next_cursor": "b64"}}), None);
        let Listing { rows, next, credits, .. } = listing.unwrap();
        assert_eq!((next.as_deref(), credits), (Some("b64"), 2));
        let Listed { conversation, title, last_activity_at, .. } = &rows[0];
        assert_eq!(conversation.id.as_str(), "2-A==");
        assert_eq!(conversation.address, "urn:li:msg_conversation:(urn:li:fsd_profile:ACoAAB1o,2-A==)");
        assert_eq!(conversation.person_url.as_deref(), Some("https://www.linkedin.com/in/mara-lind"));
        assert_eq!(title.as_deref(), Some("Mara Lind"));
        assert_eq!(*last_activity_at, Some(UnixMillis::from_millis(1_760_000_123_456)));
    }

    #[test]
    fn the_mark_moves_with_time_or_text_and_with_nothing_else() {
        let mark = |row: Value| list(json!({"data": {"x": [row]}}), None).unwrap().rows.remove(0).mark;
        let (time, read) = (1_760_000_123_456, |mut row: Value| {
            row["unread"] = 9.into();
            row
        });
        assert_eq!(mark(row(time, "hi")), mark(read(row(time, "hi"))));
        assert_ne!(mark(row(time, "hi")), mark(row(time + 1, "hi")));
        assert_ne!(mark(row(time, "hi")), mark(row(time, "ho")));
        assert_eq!(mark(json!({"conversation_id": "2-A"})), None, "it may have moved");
    }

    #[test]
    fn a_list_ends_with_its_cursor_and_is_never_mistaken() {
        let full = |cursor: Value| json!({"data": {"x": [row(1, "")], "next_cursor": cursor}});
        assert_eq!(list(full(json!("a")), Some("a")).unwrap().next, None);
        assert_eq!(list(full(json!(null)), None).unwrap().next, None);
        assert_eq!(list(json!({"data": {"x": [], "next_cursor": "a"}}), None).unwrap().next, None);
        let odd = json!({"data": {"x": [{"conversation_id": "2-A"}, {"name": "an advertisement"}]}});
        assert_eq!(list(odd, None).unwrap().rows.len(), 1);
        for unread in [json!([{"name": "Mara"}]), json!([null]), json!([{"conversation_id": []}])] {
            assert!(list(json!({"data": {"x": unread}}), None).unwrap().rows.is_empty());
        }
        for broken in [json!({"data": {}}), json!({"data": {"x": {}}}), json!({"data": {"x": [1]}})] {
            assert_eq!(list(broken.clone(), None).unwrap_err().class, Class::Protocol, "{broken}");
        }
    }
}
