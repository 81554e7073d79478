//! Chats: all of them, the last one to move first, and one by its id.

use axum::extract::Path;
use axum::response::Response;
use serde::Serialize;

use super::messages::{MessageBody, Writer};
use super::paging::{Last, List, Page};
use super::{DIALECT, Refusal, answer, check_account};
use crate::simulator::Endpoint;
use crate::simulator::conversation::Conversation;
use crate::simulator::exchange::{Answer, Incoming, Twist};
use crate::simulator::switches::ListTimes;
use crate::simulator::unipile::index::{Activity, EMPTY, EVERY_INBOX, View};
use crate::simulator::unipile::query;
use crate::simulator::world::{ConversationRef, Kind, State};
use crate::time::UnixMillis;

/// Every kind of messaging account there is.
const ACCOUNT_TYPES: [&str; 8] =
    ["LINKEDIN", "WHATSAPP", "INSTAGRAM", "MESSENGER", "TELEGRAM", "TWITTER", "SLACK", "MOBILE"];

#[derive(Serialize)]
struct ChatBody<'a> {
    object: &'static str,
    id: &'a str,
    account_id: &'a str,
    account_type: &'static str,
    provider_id: &'a str,
    attendee_provider_id: &'a str,
    name: &'a str,
    r#type: u8,
    timestamp: Option<UnixMillis>,
    unread_count: u32,
    archived: u8,
    muted_until: Option<&'a str>,
    read_only: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'static str>,
    folder: [&'static str; 2],
}

pub(super) async fn list(incoming: Incoming) -> Response {
    let page = Page::read(&incoming, None);
    let cursor = page.as_ref().is_ok_and(Page::goes_on);
    let respond = |state: &mut State, twist| listed(state, &page?, twist);
    answer(incoming, Endpoint::UnipileV1Chats, cursor, |_| Vec::new(), respond).await
}

fn listed(state: &mut State, page: &Page, twist: Twist) -> Result<Answer, Refusal> {
    let filters = &page.filters;
    for id in filters.account_id.iter().flat_map(|ids| ids.split(',')) {
        check_account(state, Some(id.trim()))?;
    }
    let account_type = filters.account_type.as_deref().unwrap_or("LINKEDIN");
    if !ACCOUNT_TYPES.contains(&account_type) {
        return Err(Refusal::invalid("account_type", "is not known"));
    }
    let now = UnixMillis::now();
    state.settle_chats(now);
    let view = state.unipile.view(DIALECT, now);
    let end = match &page.last {
        None => (i64::MAX, ConversationRef(usize::MAX)),
        Some(last) => {
            let chat = state.unipile.chat(DIALECT, &last.id).ok_or_else(Page::bad_cursor)?;
            (last.date.as_millis(), chat)
        }
    };
    let takes = |(activity, chat): &Activity| {
        let at = UnixMillis::from_millis(*activity);
        let unread = || unread(&state.conversations[chat.0], view) > 0;
        filters.before.is_none_or(|before| at < before)
            && filters.after.is_none_or(|after| at > after)
            && filters.unread.is_none_or(|wanted| wanted == unread())
            && account_type == "LINKEDIN"
    };
    let mut chats = state.unipile.chats(DIALECT, EVERY_INBOX, end).filter(takes);
    let places: Vec<Activity> = chats.by_ref().take(page.limit).collect();
    let last = places.last().filter(|_| chats.next().is_some()).map(|(activity, chat)| Last {
        id: state.conversations[chat.0].id.clone(),
        date: UnixMillis::from_millis(*activity),
    });
    let account = &state.settings.unipile_v1_account_id;
    let times = state.switches.unipile.v1_list_times;
    let body = |(_, chat): &Activity| body(&state.conversations[chat.0], view, account, times);
    let items: Vec<_> = places.iter().map(body).collect();
    let cursor = page.cursor(last, twist.repeat_cursor);
    Ok(Answer::ok(&List { object: "ChatList", items, cursor }))
}

#[derive(serde::Deserialize)]
struct OfAccount {
    account_id: Option<String>,
}

pub(super) async fn one(Path(id): Path<String>, incoming: Incoming) -> Response {
    let ask = query::<OfAccount>(&incoming).ok_or_else(|| Refusal::invalid("query", "is malformed"));
    let concerns = |state: &State| state.unipile.chat(DIALECT, &id).into_iter().collect();
    let respond = |state: &mut State, twist| found(state, &id, ask?.account_id.as_deref(), twist);
    answer(incoming, Endpoint::UnipileV1Chat, false, concerns, respond).await
}

fn found(state: &mut State, id: &str, account_id: Option<&str>, twist: Twist) -> Result<Answer, Refusal> {
    #[derive(Serialize)]
    struct WithLast<'a> {
        #[serde(flatten)]
        chat: ChatBody<'a>,
        #[serde(rename = "lastMessage")]
        last_message: Option<MessageBody<'a>>,
    }
    check_account(state, account_id)?;
    let chat = state.unipile.chat(DIALECT, id).ok_or_else(|| Refusal::not_found("Chat"))?;
    let conversation = &state.conversations[chat.0];
    if conversation.id != id && account_id.is_none() {
        return Err(Refusal::invalid("account_id", "is required with an id of the provider"));
    }
    let now = UnixMillis::now();
    let view = state.unipile.view(DIALECT, now);
    let place = conversation.messages.iter().rposition(|message| view.shows(message));
    let writer = Writer::new(conversation, state);
    let body = WithLast {
        chat: body(conversation, view, &state.settings.unipile_v1_account_id, state.switches.unipile.v1_list_times),
        last_message: place.map(|place| writer.message(&conversation.messages[place])),
    };
    let answer = Answer::ok(&body);
    if twist.delivered {
        state.conversations[chat.0].mark_served(place, now);
    }
    Ok(answer)
}

fn unread(conversation: &Conversation, view: View) -> u32 {
    view.latest(conversation).is_some_and(|message| !message.outbound).into()
}

fn body<'a>(conversation: &'a Conversation, view: View, account_id: &'a str, times: ListTimes) -> ChatBody<'a> {
    let folder = match conversation.kind {
        Kind::Standard => "INBOX_LINKEDIN_CLASSIC",
        Kind::SalesNavigator => "INBOX_LINKEDIN_SALES_NAVIGATOR",
        Kind::Recruiter => "INBOX_LINKEDIN_RECRUITER",
    };
    let timestamp = view.latest(conversation).map(|message| message.sent_at);
    ChatBody {
        object: "Chat",
        id: &conversation.id,
        account_id,
        account_type: "LINKEDIN",
        provider_id: &conversation.thread,
        attendee_provider_id: &conversation.person.profile_id,
        name: &conversation.person.name,
        r#type: 0,
        timestamp: timestamp.filter(|at| at.as_millis() != EMPTY).map(|at| times.of(at)),
        unread_count: unread(conversation, view),
        archived: 0,
        muted_until: None,
        read_only: 0,
        content_type: (conversation.kind != Kind::Standard).then_some("inmail"),
        folder: ["INBOX", folder],
    }
}
