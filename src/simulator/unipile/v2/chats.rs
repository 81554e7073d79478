//! Chats: of one inbox, of the account, and one by its id. The chat that moved last comes first.

use axum::extract::Path;
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};

use super::paging::{RawQuery, Wanted, envelope, stamp, written};
use super::{Ask, Below, Refusal, answer_live};
use crate::simulator::Endpoint;
use crate::simulator::conversation::Conversation;
use crate::simulator::exchange::{Answer, Incoming, Twist};
use crate::simulator::people::OWNER;
use crate::simulator::unipile::ids;
use crate::simulator::unipile::index::{Activity, EMPTY, EVERY_INBOX, View};
use crate::simulator::unipile::switches::UnipileSwitches;
use crate::simulator::world::{ConversationRef, Dialect, Kind, State};
use crate::time::UnixMillis;

const DIALECT: Dialect = Dialect::UnipileV2;

/// Which chats a list has.
struct Of {
    /// Those filed in this inbox.
    inbox: String,
    /// Of these, those that have an unread message.
    unread: bool,
}

impl Of {
    fn inbox(id: &str) -> Self {
        match id.strip_suffix("_UNREAD") {
            Some(product) => Self { inbox: format!("{product}_PRIMARY"), unread: true },
            None => Self { inbox: id.to_owned(), unread: false },
        }
    }

    fn product(&self) -> Option<Kind> {
        [Kind::Standard, Kind::SalesNavigator, Kind::Recruiter]
            .into_iter()
            .find(|kind| self.inbox.starts_with(&format!("{}_", ids::product(*kind))))
    }
}

#[derive(Serialize)]
struct ChatBody<'a> {
    object: &'static str,
    id: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_message_timestamp: Option<Value>,
    muted_until: bool,
    user_id: &'a str,
    is_group: bool,
    is_1to1: bool,
    is_channel: bool,
    r#type: &'static str,
    is_pinned: bool,
    is_readonly: bool,
    is_archived: bool,
    folders: [&'static str; 0],
    participants_count: u32,
    unread_count: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_message: Option<Preview<'a>>,
    user: Value,
    provider: &'static str,
}

/// Neither id nor time: it tells nothing that could be recorded.
#[derive(Serialize)]
struct Preview<'a> {
    text: &'a str,
    sender_display_name: String,
    is_sender: bool,
}

pub(super) async fn of_inbox(Path((account, inbox)): Below, incoming: Incoming) -> Response {
    let raw = RawQuery::of(&incoming);
    let goes_on = raw.as_ref().is_ok_and(RawQuery::goes_on);
    let ask = Ask { endpoint: Endpoint::UnipileInboxChats, account, goes_on };
    let respond = |state: &mut State, twist| {
        let of = check_inbox(&inbox, &state.switches.unipile)?;
        listed(state, &format!("inboxes/{inbox}"), &of, &raw?, twist)
    };
    answer_live(incoming, ask, |_| Vec::new(), respond).await
}

pub(super) async fn of_account(Path(account): Path<String>, incoming: Incoming) -> Response {
    let raw = RawQuery::of(&incoming);
    let goes_on = raw.as_ref().is_ok_and(RawQuery::goes_on);
    let ask = Ask { endpoint: Endpoint::UnipileChats, account, goes_on };
    let respond = |state: &mut State, twist| listed(state, "chats", &Of::inbox(EVERY_INBOX), &raw?, twist);
    answer_live(incoming, ask, |_| Vec::new(), respond).await
}

pub(super) async fn one(Path((account, id)): Below, incoming: Incoming) -> Response {
    let ask = Ask { endpoint: Endpoint::UnipileChat, account, goes_on: false };
    let concerns = |state: &State| state.unipile.chat(DIALECT, &id).into_iter().collect();
    let respond = |state: &mut State, _| {
        let chat = state.unipile.chat(DIALECT, &id).ok_or_else(|| Refusal::not_found("Chat"))?;
        let view = state.unipile.view(DIALECT, UnixMillis::now());
        Ok(Answer::ok(&body(&state.conversations[chat.0], view, &state.switches.unipile)))
    };
    answer_live(incoming, ask, concerns, respond).await
}

fn check_inbox(inbox: &str, switches: &UnipileSwitches) -> Result<Of, Refusal> {
    let is_one_of = |inboxes: &[String]| inboxes.iter().any(|id| id == inbox);
    if !is_one_of(&switches.inboxes) {
        return Err(Refusal::not_found("Inbox"));
    }
    if is_one_of(&switches.forbidden_inboxes) {
        return Err(Refusal::forbidden("The product is not subscribed."));
    }
    if is_one_of(&switches.disabled_inboxes) {
        return Err(Refusal::forbidden("Messaging is off for this inbox."));
    }
    Ok(Of::inbox(inbox))
}

fn listed(state: &mut State, list: &str, of: &Of, raw: &RawQuery, twist: Twist) -> Result<Answer, Refusal> {
    raw.refuse_filters()?;
    let now = UnixMillis::now();
    state.settle_chats(now);
    let switches = &state.switches.unipile;
    let wanted = Wanted::<Activity>::read(raw, list, of.product(), switches)?;
    let view = state.unipile.view(DIALECT, now);
    let filters = &wanted.filters;
    let filtered = filters.before.is_some() || filters.after.is_some() || of.unread;
    let takes = |(activity, chat): &Activity| {
        filters.takes(stamp(UnixMillis::from_millis(*activity), switches))
            && (!of.unread || unread(&state.conversations[chat.0], view) > 0)
    };
    let behind = |end: Activity| state.unipile.chats(DIALECT, &of.inbox, end).filter(|place| takes(place));
    let everything = (i64::MAX, ConversationRef(usize::MAX));
    let keyed = behind(wanted.behind.unwrap_or(everything)).map(|place| (place, place.1));
    let (page, next) = wanted.page(keyed, twist.repeat_cursor);
    let total = switches
        .total_count
        .then(|| if filtered { behind(everything).count() } else { state.unipile.count(DIALECT, &of.inbox) });
    let bodies: Vec<_> = page.iter().map(|chat| body(&state.conversations[chat.0], view, switches)).collect();
    Ok(Answer::ok(&envelope(bodies, total, next)))
}

fn unread(conversation: &Conversation, view: View) -> u32 {
    view.latest(conversation).is_some_and(|message| !message.outbound).into()
}

fn body<'a>(conversation: &'a Conversation, view: View, switches: &UnipileSwitches) -> ChatBody<'a> {
    let latest = view.latest(conversation);
    let person = &conversation.person;
    ChatBody {
        object: "Chat",
        id: &conversation.id,
        name: &person.name,
        last_message_timestamp: latest
            .filter(|message| switches.last_message_timestamp && message.sent_at.as_millis() != EMPTY)
            .map(|message| written(switches.list_times.of(message.sent_at), switches)),
        muted_until: false,
        user_id: &person.profile_id,
        is_group: false,
        is_1to1: true,
        is_channel: false,
        r#type: "1to1",
        is_pinned: false,
        is_readonly: false,
        is_archived: conversation.inbox.ends_with("_ARCHIVED"),
        folders: [],
        participants_count: 2,
        unread_count: unread(conversation, view),
        last_message: latest.map(|message| Preview {
            text: if message.deleted { "" } else { &message.text },
            sender_display_name: if message.outbound { OWNER.name() } else { person.name.clone() },
            is_sender: message.outbound,
        }),
        user: json!({
            "object": "User",
            "id": person.profile_id,
            "type": "individual",
            "display_name": person.name,
            "public_identifier": person.slug,
            "profile_url": format!("https://www.linkedin.com/in/{}", person.slug),
        }),
        provider: "linkedin",
    }
}
