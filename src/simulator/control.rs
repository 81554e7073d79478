//! The world over HTTP, under `/control`: for people with curl and for tests of the finished program.

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::conversation::Draft;
use super::exchange::{Answer, Incoming};
use super::faults::{Fault, When};
use super::requests::Endpoint;
use super::switches::Switches;
use super::traffic::Traffic;
use super::world::{ConversationRef, Dialect, Kind, World};
use crate::time::UnixMillis;

/// How many of the last requests are shown.
const SHOWN: usize = 200;

pub(super) fn routes() -> Router<World> {
    Router::new()
        .route("/ledger", get(ledger))
        .route("/requests", get(requests))
        .route("/credits", get(credits))
        .route("/conversations", get(conversations).post(add_conversation))
        .route("/conversations/sync", post(set_synced))
        .route("/messages", post(push).patch(edit).delete(remove))
        .route("/messages/retract", post(retract))
        .route("/faults", post(inject).delete(clear_faults))
        .route("/switches", get(switches).post(set_switches))
        .route("/traffic", post(start_traffic).delete(stop_traffic))
}

fn bad(message: impl std::fmt::Display) -> Answer {
    Answer::json(StatusCode::BAD_REQUEST, &json!({ "error": message.to_string() }))
}

/// Reads the body, and answers with what is wrong with it or what `act` says.
fn with_body<T: DeserializeOwned>(
    incoming: &Incoming,
    act: impl FnOnce(&World, T) -> Result<Answer, Answer>,
) -> Response {
    let answer = serde_json::from_slice(&incoming.body).map_err(bad).and_then(|body| act(&incoming.world, body));
    answer.unwrap_or_else(|refused| refused).into_response()
}

fn done() -> Answer {
    Answer::ok(&json!({ "ok": true }))
}

/// Refuses a number that is no conversation's, which inside the program would be a slip of the caller.
fn known(world: &World, conversation: ConversationRef) -> Result<ConversationRef, Answer> {
    let count = world.conversation_count();
    if conversation.0 < count { Ok(conversation) } else { Err(bad(format!("conversation must be below {count}"))) }
}

async fn ledger(incoming: Incoming) -> Response {
    Answer::ok(&incoming.world.ledger()).into_response()
}

async fn requests(incoming: Incoming) -> Response {
    let counts: serde_json::Map<_, _> = Endpoint::ALL
        .into_iter()
        .filter_map(|endpoint| match serde_json::to_value(endpoint) {
            Ok(Value::String(name)) => Some((name, json!(incoming.world.request_count(endpoint)))),
            _ => None,
        })
        .collect();
    let all = incoming.world.requests();
    let last = &all[all.len().saturating_sub(SHOWN)..];
    Answer::ok(&json!({ "counts": counts, "last": last })).into_response()
}

/// What LinkupAPI has taken.
async fn credits(incoming: Incoming) -> Response {
    let world = &incoming.world;
    let entries = world.credit_entries();
    let last = &entries[entries.len().saturating_sub(SHOWN)..];
    let today = world.linkup_credits_of_day(UnixMillis::now());
    Answer::ok(&json!({ "total": world.linkup_credits(), "today": today, "last": last })).into_response()
}

#[derive(Serialize)]
struct Listed {
    conversation: ConversationRef,
    dialect: Dialect,
    kind: Kind,
    person: String,
    address: String,
    conversation_id: String,
    sync_until: Option<UnixMillis>,
    messages: usize,
}

async fn conversations(incoming: Incoming) -> Response {
    let mut state = incoming.world.state();
    state.settle_workflows(UnixMillis::now());
    let listed: Vec<_> = state
        .conversations
        .iter()
        .enumerate()
        .map(|(index, conversation)| Listed {
            conversation: ConversationRef(index),
            dialect: conversation.dialect,
            kind: conversation.kind,
            person: conversation.person.name.clone(),
            address: conversation.address.clone(),
            conversation_id: conversation.id.clone(),
            sync_until: conversation.sync_until,
            messages: conversation.messages.len(),
        })
        .collect();
    Answer::ok(&listed).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewConversation {
    dialect: Dialect,
    #[serde(default)]
    kind: Kind,
    person: Option<String>,
    inbox: Option<String>,
}

async fn add_conversation(incoming: Incoming) -> Response {
    with_body(&incoming, |world, new: NewConversation| {
        if !new.dialect.has(new.kind) {
            return Err(bad("kind recruiter is Unipile's alone"));
        }
        if new.inbox.is_some() && new.dialect != Dialect::UnipileV2 {
            return Err(bad("only unipile_v2 has inboxes"));
        }
        let names = super::people::NAMES;
        let person = new.person.unwrap_or_else(|| names[world.conversation_count() % names.len()].into());
        let conversation = match &new.inbox {
            Some(inbox) => world.add_to_inbox(inbox, &person),
            None => world.add_conversation(new.dialect, new.kind, &person),
        };
        Ok(Answer::ok(&json!({
            "conversation": conversation,
            "address": world.address(conversation),
            "conversation_id": world.conversation_id(conversation),
        })))
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Synced {
    conversation: ConversationRef,
    sync_until: Option<UnixMillis>,
}

async fn set_synced(incoming: Incoming) -> Response {
    with_body(&incoming, |world, synced: Synced| {
        world.set_synced(known(world, synced.conversation)?, synced.sync_until);
        Ok(done())
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewMessage {
    conversation: ConversationRef,
    #[serde(default)]
    text: String,
    sent_at: Option<UnixMillis>,
    visible_at: Option<UnixMillis>,
    #[serde(default)]
    outbound: bool,
    id: Option<String>,
    #[serde(default)]
    attachments: Value,
    time_text: Option<String>,
    #[serde(default)]
    omit_id: bool,
    #[serde(default)]
    hidden: bool,
    #[serde(default)]
    event: bool,
    #[serde(default)]
    deleted: bool,
    #[serde(default)]
    edited: bool,
    message_type: Option<String>,
    sender_name: Option<String>,
}

async fn push(incoming: Incoming) -> Response {
    with_body(&incoming, |world, new: NewMessage| {
        let conversation = known(world, new.conversation)?;
        let draft = Draft {
            text: new.text,
            sent_at: new.sent_at,
            visible_at: new.visible_at,
            outbound: new.outbound,
            id: new.id,
            attachments: new.attachments,
            time_text: new.time_text,
            omit_id: new.omit_id,
            hidden: new.hidden,
            event: new.event,
            deleted: new.deleted,
            edited: new.edited,
            message_type: new.message_type,
            sender_name: new.sender_name,
        };
        Ok(Answer::ok(&json!({ "message_id": world.push_draft(conversation, draft) })))
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edited {
    conversation: ConversationRef,
    message_id: String,
    text: String,
}

async fn edit(incoming: Incoming) -> Response {
    with_body(&incoming, |world, edited: Edited| {
        world.edit(known(world, edited.conversation)?, &edited.message_id, &edited.text);
        Ok(done())
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Removed {
    conversation: ConversationRef,
    message_id: String,
}

async fn remove(incoming: Incoming) -> Response {
    with_body(&incoming, |world, removed: Removed| {
        world.remove(known(world, removed.conversation)?, &removed.message_id);
        Ok(done())
    })
}

async fn retract(incoming: Incoming) -> Response {
    with_body(&incoming, |world, removed: Removed| {
        world.retract(known(world, removed.conversation)?, &removed.message_id);
        Ok(done())
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Injected {
    fault: Fault,
    #[serde(default)]
    when: When,
}

async fn inject(incoming: Incoming) -> Response {
    with_body(&incoming, |world, injected: Injected| {
        world.inject(injected.fault, injected.when);
        Ok(done())
    })
}

async fn clear_faults(incoming: Incoming) -> Response {
    incoming.world.clear_faults();
    done().into_response()
}

async fn switches(incoming: Incoming) -> Response {
    Answer::ok(&incoming.world.switches()).into_response()
}

/// Lays the given fields over the switches as they are.
async fn set_switches(incoming: Incoming) -> Response {
    with_body(&incoming, |world, change: Value| {
        if !change.is_object() {
            return Err(bad("the body must be an object of switches"));
        }
        let mut switches = serde_json::to_value(world.switches()).map_err(bad)?;
        lay_over(&mut switches, change);
        let switches: Switches = serde_json::from_value(switches).map_err(bad)?;
        let answer = Answer::ok(&switches);
        world.set_switches(|now| *now = switches);
        Ok(answer)
    })
}

fn lay_over(target: &mut Value, change: Value) {
    match (target, change) {
        (Value::Object(target), Value::Object(change)) => {
            for (key, change) in change {
                match target.get_mut(&key) {
                    Some(Value::Object(nested)) if change.is_object() && is_group(&key) => {
                        let mut group = Value::Object(std::mem::take(nested));
                        lay_over(&mut group, change);
                        target.insert(key, group);
                    }
                    _ => {
                        target.insert(key, change);
                    }
                }
            }
        }
        (target, change) => *target = change,
    }
}

/// Groups are merged field by field; the value of a switch is replaced whole, also when it is an object.
fn is_group(key: &str) -> bool {
    matches!(key, "linked_api" | "connect_safely" | "unipile" | "linkup")
}

async fn start_traffic(incoming: Incoming) -> Response {
    with_body(&incoming, |world, traffic: Traffic| {
        if !(traffic.messages_per_minute >= 0.0 && (0.0..=1.0).contains(&traffic.outbound_share)) {
            return Err(bad("messages_per_minute must be at least 0 and outbound_share from 0 to 1"));
        }
        world.replace_traffic(Some(world.start_traffic(traffic)));
        Ok(done())
    })
}

async fn stop_traffic(incoming: Incoming) -> Response {
    incoming.world.replace_traffic(None);
    done().into_response()
}
