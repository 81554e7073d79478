//! The messages of one conversation, newest first, in pages that go back in time: the same in both versions.

use serde_json::{Map, Value, json};

use super::{Body, Paging, Trouble, Version, fields::Fields, profile_url};
use crate::simulator::conversation::{Conversation, Message};
use crate::simulator::exchange::Twist;
use crate::simulator::people::{self, OWNER};
use crate::simulator::switches::Switches;
use crate::simulator::world::{ConversationRef, Kind, State};
use crate::time::UnixMillis;

/// What a request names a conversation with.
pub(super) enum Named {
    Thread(String),
    Profile(String),
}

/// A request for a page.
pub(super) struct Ask {
    pub(super) named: Named,
    pub(super) count: u64,
    pub(super) cursor: Option<(String, UnixMillis)>,
    /// Which of the two stores is read; v1 has but one.
    pub(super) sales_navigator: Option<bool>,
}

impl Ask {
    /// Takes out what both versions ask for, under the names that this one has for it.
    pub(super) fn read(fields: &mut Fields, profile: &str, count: &str) -> Result<Self, Trouble> {
        let named = match (fields.text("conversation_id")?, fields.text(profile)?) {
            (Some(id), _) => Named::Thread(id),
            (None, Some(url)) => Named::Profile(url),
            (None, None) => return Err(Trouble::Params(format!("conversation_id or {profile} is required"))),
        };
        let cursor = match fields.text("cursor")? {
            Some(text) => {
                let at = text.parse().map_err(|_| Trouble::Params("cursor must be a timestamp".into()))?;
                Some((text, UnixMillis::from_millis(at)))
            }
            None => None,
        };
        Ok(Self { named, count: fields.count(count)?.unwrap_or(10), cursor, sales_navigator: None })
    }
}

/// The conversation that a request names.
pub(super) fn find(state: &State, version: Version, named: &Named) -> Option<ConversationRef> {
    let index = state.linkup.index(version);
    match named {
        Named::Thread(id) if state.switches.linkup.whole_urn_required && !id.starts_with("urn:li:") => None,
        Named::Thread(id) => index.thread(id),
        Named::Profile(url) => {
            let name = ["/in/", "/sales/people/", "/sales/lead/"].into_iter().find_map(|at| url.split_once(at))?.1;
            let name = name.split(['/', '?', '#', ',']).next()?;
            index.profile(name).or_else(|| state.find_slug(version.dialect(), &name.to_lowercase()))
        }
    }
}

/// A page and where its messages are.
pub(super) struct Page {
    pub(super) reference: ConversationRef,
    pub(super) places: Vec<usize>,
    pub(super) body: Body,
}

pub(super) fn page(state: &State, version: Version, ask: &Ask, twist: Twist, now: UnixMillis) -> Result<Page, Trouble> {
    let right_store = |reference: &ConversationRef| {
        let sales_navigator = state.conversations[reference.0].kind == Kind::SalesNavigator;
        ask.sales_navigator.is_none_or(|asked| asked == sales_navigator)
    };
    let reference = find(state, version, &ask.named).filter(right_store).ok_or(Trouble::Conversation)?;
    let conversation = &state.conversations[reference.0];
    let switches = &state.switches.linkup;
    let messages = &conversation.messages;
    let end = ask.cursor.as_ref().map_or(messages.len(), |(_, cursor)| {
        messages.partition_point(|it| it.sent_at < *cursor || (switches.cursor_inclusive && it.sent_at == *cursor))
    });
    let count = usize::try_from(ask.count).unwrap_or(usize::MAX).min(switches.page_cap).max(1);
    let shown = |place: &usize| messages[*place].is_visible(now);
    let places: Vec<usize> = (0..end).rev().filter(shown).take(count).collect();
    let oldest = places.last().map(|place| messages[*place].sent_at.as_millis().to_string());
    let has_more = places.last().is_some_and(|oldest| (0..*oldest).rev().any(|place| shown(&place)));
    let paging = if twist.repeat_cursor {
        Paging { cursor: ask.cursor.as_ref().map(|(text, _)| text.clone()).or(oldest), has_more: true, flagged: true }
    } else {
        Paging { cursor: oldest, has_more, flagged: true }
    };
    let writer = Writer { conversation, switches: &state.switches, version, seed: state.settings.seed };
    let written = places.iter().map(|place| writer.message(&messages[*place])).collect();
    let mut data = about(conversation, state, reference, version, now);
    if version == Version::V1 {
        data.insert("conversation_id".into(), json!(conversation.address));
        data.insert("total_results".into(), json!(places.len()));
        if matches!(ask.named, Named::Profile(_)) {
            data.insert("profile_url".into(), json!(profile_url(&conversation.person, switches.vanity_urls)));
        }
    }
    Ok(Page { reference, places, body: Body { data, array: "messages".into(), rows: written, paging } })
}

/// What both versions say of the whole conversation.
fn about(
    conversation: &Conversation,
    state: &State,
    reference: ConversationRef,
    version: Version,
    now: UnixMillis,
) -> Map<String, Value> {
    let visible = || conversation.messages.iter().rev().filter(|message| message.is_visible(now));
    let theirs = visible().find(|message| !message.outbound).map(|message| message.sent_at);
    let ours = visible().find(|message| message.outbound).map(|message| message.sent_at);
    let total = match version {
        Version::V1 => "total_other_member_message_count",
        Version::V2 => "total_message_count",
    };
    let mut about = Map::new();
    about.insert(total.into(), json!(visible().count()));
    about.insert("unread_count".into(), json!(unread(conversation, state.linkup.read_mark(reference), now)));
    // Whoever has answered has read what came before.
    about.insert("last_seen_message".into(), json!(theirs.is_some() && theirs >= ours));
    about.insert("last_seen_at".into(), theirs.map_or(Value::Null, |at| time(at, &state.switches)));
    about
}

/// Inbound messages since the owner wrote or read, as far as anybody counts them.
pub(super) fn unread(conversation: &Conversation, read_mark: u64, now: UnixMillis) -> usize {
    const MOST: usize = 99;
    let visible = conversation.messages.iter().rev().filter(|message| message.is_visible(now));
    visible.take_while(|message| !message.outbound && message.seq >= read_mark).take(MOST).count()
}

/// A time as the switches say.
pub(super) fn time(at: UnixMillis, switches: &Switches) -> Value {
    let switches = &switches.linkup;
    let number = if switches.timestamp_in_seconds { at.as_millis().div_euclid(1000) } else { at.as_millis() };
    if switches.timestamp_as_string { json!(number.to_string()) } else { json!(number) }
}

/// Writes messages of one conversation as the switches say.
struct Writer<'a> {
    conversation: &'a Conversation,
    switches: &'a Switches,
    version: Version,
    seed: u64,
}

impl Writer<'_> {
    fn message(&self, message: &Message) -> Value {
        let linkup = &self.switches.linkup;
        let person = &self.conversation.person;
        let vanity = linkup.vanity_urls != linkup.mixed_urls;
        let (name, url) = match &message.sender_name {
            _ if message.outbound => (OWNER.name(), OWNER.url()),
            Some(name) => (name.clone(), format!("https://www.linkedin.com/in/{}", people::slug(name))),
            None => (person.name.clone(), profile_url(person, vanity)),
        };
        let (first, last) = name.split_once(' ').unwrap_or((&name, ""));
        let mut info = json!({ "first_name": first, "last_name": last });
        if self.version == Version::V2 {
            info["profile_url"] = json!(url);
        }
        let mut written = json!({
            "text": message.text,
            "timestamp": message.time_text.as_ref().map_or_else(|| time(message.sent_at, self.switches), |it| json!(it)),
            "sender": if linkup.sender_as_object { json!({ "name": name, "profile_url": url }) } else { json!(name) },
            "message_type": message.message_type.as_deref().unwrap_or("TEXT"),
        });
        if linkup.messages_say_is_me {
            info["is_me"] = json!(message.outbound);
        }
        if linkup.sender_info {
            written["sender_info"] = info;
        }
        if linkup.entity_urn && !message.omit_id {
            written["entity_urn"] = json!(self.urn(message));
        }
        if linkup.plain_id && !message.omit_id {
            written["id"] = json!(message.id);
        }
        written
    }

    fn urn(&self, message: &Message) -> String {
        let owner = people::profile_id("ACoAA", self.seed, u64::MAX);
        let made = || format!("urn:li:msg_message:(urn:li:fsd_profile:{owner},{})", message.id);
        message.verbatim_id.clone().unwrap_or_else(made)
    }
}
