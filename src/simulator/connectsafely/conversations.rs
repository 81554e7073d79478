//! `GET /conversations` and what else tells which conversations there are.

use std::time::Duration;

use axum::extract::Path;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Incoming, Refusal, answer, check_account, number, query, success, truth};
use crate::simulator::Endpoint;
use crate::simulator::conversation::{Conversation, Message};
use crate::simulator::exchange::Answer;
use crate::simulator::people::OWNER;
use crate::simulator::switches::{ActivityForm, ConnectSafelySwitches};
use crate::simulator::world::{ConversationRef, Dialect, Kind, State};
use crate::time::UnixMillis;

const DEFAULT_COUNT: usize = 20;

/// Most conversations on a page.
const MOST: usize = 100;

/// What a cursor begins with once the vendor's database is used up.
const AT_LINKEDIN: &str = "linkedin:";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ask {
    account_id: Option<String>,
    linkedin_account_ids: Option<String>,
    count: Option<String>,
    next_cursor: Option<String>,
    label_id: Option<String>,
    unread_only: Option<String>,
    labeled_only: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    conversation_urn: &'a str,
    conversation_id: &'a str,
    last_activity_at: Value,
    unread_count: u32,
    participants: [Value; 1],
    latest_message: Option<Latest<'a>>,
    source: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sales_nav_thread_id: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Latest<'a> {
    text: &'a str,
    sent_at: i64,
    sender_name: String,
    has_attachment: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListBody<'a> {
    success: bool,
    conversations: Vec<Row<'a>>,
    accounts: [Value; 1],
    next_cursor: Option<String>,
    has_more: bool,
    from_cache: bool,
}

pub(super) async fn list(incoming: Incoming) -> Response {
    let ask = query::<Ask>(&incoming);
    let cursor = ask.as_ref().is_ok_and(|ask| ask.next_cursor.is_some());
    let respond = |state: &mut State, _| listed(state, &ask?);
    answer(incoming, Endpoint::ConnectSafelyConversations, cursor, |_| Vec::new(), respond).await
}

fn listed(state: &State, ask: &Ask) -> Result<Answer, Refusal> {
    check_account(state, ask.account_id.as_deref())?;
    for id in ask.linkedin_account_ids.iter().flat_map(|ids| ids.split(',')) {
        check_account(state, Some(id.trim()))?;
    }
    let switches = &state.switches.connect_safely;
    let count = number("count", ask.count.as_deref(), 1)?.map_or(DEFAULT_COUNT, |n| usize::try_from(n).unwrap_or(MOST));
    let unread_only = truth("unreadOnly", ask.unread_only.as_deref())?.unwrap_or(false);
    // Nothing here has a label.
    let labeled = truth("labeledOnly", ask.labeled_only.as_deref())?.unwrap_or(false) || ask.label_id.is_some();
    let starts_empty = switches.list_starts_empty && ask.next_cursor.is_none();
    let end = match &ask.next_cursor {
        Some(cursor) => read_cursor(cursor).ok_or_else(|| Refusal::invalid("nextCursor", "is not a cursor"))?,
        None => (i64::MAX, ConversationRef(usize::MAX)),
    };
    let now = UnixMillis::now();
    let lag = Duration::from_millis(switches.list_lag_ms);
    let mut rows = Vec::new();
    let mut last = None;
    let mut has_more = starts_empty;
    if !starts_empty && !labeled {
        for entry in state.activity.range(..end).rev() {
            let row = row(&state.conversations[entry.1.0], switches, now, lag);
            if unread_only && row.unread_count == 0 {
                continue;
            }
            if rows.len() == count.min(MOST) {
                has_more = true;
                break;
            }
            rows.push(row);
            last = Some(*entry);
        }
    }
    let prefix = if switches.list_starts_empty { AT_LINKEDIN } else { "" };
    let next_cursor = if starts_empty { Some(end) } else { last.filter(|_| has_more) };
    let body = ListBody {
        success: true,
        conversations: rows,
        accounts: [json!({ "id": state.settings.account_id, "name": OWNER.name() })],
        next_cursor: next_cursor.map(|(millis, reference)| format!("{prefix}{millis}.{}", reference.0)),
        has_more,
        from_cache: switches.from_cache && !ask.next_cursor.as_ref().is_some_and(|it| it.starts_with(AT_LINKEDIN)),
    };
    Ok(success(&state.switches, &body))
}

fn read_cursor(cursor: &str) -> Option<(i64, ConversationRef)> {
    let (millis, index) = cursor.strip_prefix(AT_LINKEDIN).unwrap_or(cursor).rsplit_once('.')?;
    Some((millis.parse().ok()?, ConversationRef(index.parse().ok()?)))
}

fn row<'a>(
    conversation: &'a Conversation,
    switches: &ConnectSafelySwitches,
    now: UnixMillis,
    lag: Duration,
) -> Row<'a> {
    let shown = |message: &&Message| message.is_visible(now) && message.is_copied(now, lag);
    let latest = conversation.messages.iter().rev().find(shown);
    let active_at = latest.map(|message| switches.list_times.of(message.sent_at));
    let person = &conversation.person;
    let sales_navigator = conversation.kind == Kind::SalesNavigator;
    Row {
        conversation_urn: &conversation.address,
        conversation_id: &conversation.thread,
        last_activity_at: active_at.map_or(Value::Null, |at| match switches.last_activity {
            ActivityForm::Iso => json!(at),
            ActivityForm::Millis => json!(at.as_millis()),
            ActivityForm::NumericString => json!(at.as_millis().to_string()),
            ActivityForm::Null => Value::Null,
        }),
        unread_count: latest.is_some_and(|message| !message.outbound).into(),
        participants: [json!({
            "profileId": person.profile_id,
            "name": person.name,
            "headline": "Operations lead",
            "profileUrl": format!("https://www.linkedin.com/in/{}", person.slug),
            "profilePicture": null,
            "distance": "DISTANCE_1",
        })],
        latest_message: latest.map(|message| Latest {
            text: &message.text,
            sent_at: message.sent_at.as_millis(),
            sender_name: if message.outbound { OWNER.name() } else { person.name.clone() },
            has_attachment: !message.attachments.is_null(),
        }),
        source: if sales_navigator { "sales_navigator" } else { "linkedin" },
        sales_nav_thread_id: sales_navigator.then_some(conversation.thread.as_str()),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfAccount {
    account_id: Option<String>,
}

pub(super) async fn exists(Path(slug): Path<String>, incoming: Incoming) -> Response {
    let ask = query::<OfAccount>(&incoming);
    let respond = |state: &mut State, _| {
        check_account(state, ask?.account_id.as_deref())?;
        let known = state.find_slug(Dialect::ConnectSafely, &slug).map(|it| &state.conversations[it.0]);
        let body = json!({
            "success": true,
            "hasConversation": known.is_some(),
            "conversationUrn": known.map(|it| &it.address),
            "profileUrn": known.map(|it| format!("urn:li:fsd_profile:{}", it.person.profile_id)),
            "accountId": state.settings.account_id,
        });
        Ok(success(&state.switches, &body))
    };
    answer(incoming, Endpoint::ConnectSafelyExists, false, |_| Vec::new(), respond).await
}

pub(super) async fn sync_status(incoming: Incoming) -> Response {
    let ask = query::<OfAccount>(&incoming);
    let respond = |state: &mut State, _| {
        check_account(state, ask?.account_id.as_deref())?;
        let body = json!({
            "success": true,
            "accounts": [{
                "accountId": state.settings.account_id,
                "accountName": OWNER.name(),
                "accountPicture": null,
                "syncState": {
                    "lastSyncAt": UnixMillis::now(),
                    "syncInProgress": false,
                    "totalConversations": state.activity.len(),
                    "totalMessages": state.written(),
                    "consecutiveFailures": 0,
                    "lastError": null,
                    "initialSyncCompleted": true,
                },
            }],
        });
        Ok(success(&state.switches, &body))
    };
    answer(incoming, Endpoint::ConnectSafelySyncStatus, false, |_| Vec::new(), respond).await
}
