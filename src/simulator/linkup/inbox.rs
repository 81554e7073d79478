//! The conversations of an account, the one that moved last first: the same in both versions.

use data_encoding::BASE64;
use serde_json::{Map, Value, json};

use super::index::Place;
use super::messages::{time, unread};
use super::{Body, Paging, Trouble, Version, fields::Fields, profile_url};
use crate::simulator::conversation::Conversation;
use crate::simulator::exchange::Twist;
use crate::simulator::people::{self, OWNER};
use crate::simulator::world::{ConversationRef, Kind, State};
use crate::time::UnixMillis;

/// A request for a page of the inbox.
pub(super) struct Ask {
    pub(super) count: u64,
    category: String,
    cursor: Option<String>,
    /// Which of the two stores is listed; v1 has but one.
    pub(super) sales_navigator: Option<bool>,
    pub(super) unread_only: bool,
}

impl Ask {
    /// Takes out what both versions ask for, under the names that this one has for it.
    pub(super) fn read(fields: &mut Fields, count: &str, cursor: &str) -> Result<Self, Trouble> {
        const CATEGORIES: [&str; 5] = ["INBOX", "UNREAD", "MY_CONNECTIONS", "INMAIL", "STARRED"];
        let category = fields.text("category")?.unwrap_or_else(|| "INBOX".into());
        if !CATEGORIES.contains(&category.as_str()) {
            return Err(Trouble::Params(format!("category must be one of {}", CATEGORIES.join(", "))));
        }
        let count = fields.count(count)?.unwrap_or(10);
        let cursor = fields.text(cursor)?;
        Ok(Self { count, category, cursor, sales_navigator: None, unread_only: false })
    }
}

pub(super) fn page(
    state: &mut State,
    version: Version,
    ask: &Ask,
    twist: Twist,
    now: UnixMillis,
) -> Result<Body, Trouble> {
    state.linkup.index_mut(version).settle(now);
    let state = &*state;
    let switches = &state.switches.linkup;
    let below = match &ask.cursor {
        Some(cursor) => {
            Some(read_cursor(state, version, cursor).ok_or_else(|| Trouble::Params("cursor is not valid".into()))?)
        }
        None => None,
    };
    let unread_only = ask.unread_only || ask.category == "UNREAD";
    // Nothing here was starred or came by InMail.
    let has_any = !matches!(ask.category.as_str(), "INMAIL" | "STARRED");
    let count = usize::try_from(ask.count).unwrap_or(usize::MAX).min(switches.page_cap).max(1);
    let mut rows = Vec::new();
    let mut last = None;
    let mut has_more = false;
    for place in state.linkup.index(version).inbox(below).take_while(|_| has_any) {
        let conversation = &state.conversations[place.1.0];
        let sales_navigator = conversation.kind == Kind::SalesNavigator;
        if ask.sales_navigator.is_some_and(|asked| asked != sales_navigator) {
            continue;
        }
        let Some(row) = row(state, version, place.1, now).filter(|row| !unread_only || row["unread"] != 0) else {
            continue;
        };
        if rows.len() == count {
            has_more = true;
            break;
        }
        rows.push(row);
        last = Some(place);
    }
    let next = last.map(|place| write_cursor(place, &state.conversations[place.1.0].thread));
    let paging = if twist.repeat_cursor {
        Paging { cursor: ask.cursor.clone().or(next), has_more: true, flagged: false }
    } else {
        Paging { cursor: next, has_more, flagged: false }
    };
    let mut data = Map::new();
    data.insert("total_results".into(), json!(rows.len()));
    Ok(Body { data, array: switches.inbox_array.clone(), rows, paging })
}

/// Opaque to clients: the order, the time of a row's last message, its thread.
fn write_cursor(place: Place, thread: &str) -> String {
    BASE64.encode(format!("DESCENDING&{}&{thread}", place.0).as_bytes())
}

fn read_cursor(state: &State, version: Version, cursor: &str) -> Option<Place> {
    let cursor = String::from_utf8(BASE64.decode(cursor.as_bytes()).ok()?).ok()?;
    let (millis, thread) = cursor.strip_prefix("DESCENDING&")?.split_once('&')?;
    Some((millis.parse().ok()?, state.linkup.index(version).thread(thread)?))
}

/// The row of a conversation that shows a message.
fn row(state: &State, version: Version, reference: ConversationRef, now: UnixMillis) -> Option<Value> {
    let conversation: &Conversation = &state.conversations[reference.0];
    let switches = &state.switches.linkup;
    let person = &conversation.person;
    let last = conversation.messages.iter().rev().find(|message| message.is_visible(now))?;
    let profile = |name: String, headline: &str, url: String| json!({ "name": name, "headline": headline, "profile_url": url, "profile_picture": null });
    let counterpart = || profile(person.name.clone(), "Operations lead", profile_url(person, switches.vanity_urls));
    let mut last_message =
        json!({ "text": last.text, "time": time(switches.list_times.of(last.sent_at), &state.switches) });
    if switches.inbox_sender {
        let mut sender = match &last.sender_name {
            _ if last.outbound => profile(OWNER.name(), "Partnerships", OWNER.url()),
            Some(name) => {
                let url = format!("https://www.linkedin.com/in/{}", people::slug(name));
                profile(name.clone(), "Operations lead", url)
            }
            None => counterpart(),
        };
        if version == Version::V2 {
            sender["is_me"] = json!(last.outbound);
        }
        last_message["sender"] = sender;
    }
    Some(json!({
        "conversation_id": conversation.address,
        "participant": counterpart(),
        "last_message": last_message,
        "unread": unread(conversation, state.linkup.read_mark(reference), now),
        "type": "normal",
    }))
}
