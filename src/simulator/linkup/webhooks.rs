//! Hosted webhooks of v2: events to fetch, which cost nothing, about an account that is watched, which does.
//!
//! An event names neither message nor thread: it is a reason to read, no more.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use axum::extract::{Path, Query};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::credits::{self, CreditReason};
use super::{Endpoint, Trouble, fields::Fields, profile_url, v2};
use crate::backoff::mix;
use crate::simulator::conversation::{Conversation, Message};
use crate::simulator::exchange::Incoming;
use crate::simulator::people::{self, OWNER};
use crate::simulator::switches::Order;
use crate::simulator::world::{State, arrange};
use crate::time::UnixMillis;

/// How long events are kept.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// How long one credit watches an account.
const PER_CREDIT: Duration = Duration::from_secs(144 * 60);

struct Event {
    id: String,
    at: UnixMillis,
    event: Value,
}

struct Webhook {
    active: bool,
    url: Option<String>,
    created_at: UnixMillis,
    /// Oldest first.
    events: VecDeque<Event>,
}

/// The webhooks of the account.
#[derive(Default)]
pub(super) struct Webhooks {
    made: u64,
    noted: u64,
    by_id: BTreeMap<String, Webhook>,
    /// Up to when watching is paid for.
    paid_until: Option<UnixMillis>,
}

impl Webhooks {
    /// Notes an inbound message for every webhook that is active.
    pub(super) fn happened(&mut self, conversation: &Conversation, message: &Message) {
        if message.outbound || !self.watching() {
            return;
        }
        self.noted += 1;
        let at = message.visible_at.unwrap_or(message.created_at).max(message.created_at);
        let name = message.sender_name.as_ref().unwrap_or(&conversation.person.name);
        let url = match &message.sender_name {
            Some(name) => format!("https://www.linkedin.com/in/{}", people::slug(name)),
            None => profile_url(&conversation.person, true),
        };
        let event = json!({
            "type": "message",
            "sender_name": name,
            "sender_profile": url,
            "sender": { "name": name, "profile_url": url },
            "message_text": message.text,
            "metadata": { "delivered_at": message.sent_at.as_millis() },
        });
        for webhook in self.by_id.values_mut().filter(|webhook| webhook.active) {
            let id = format!("evt-{:016x}", mix(self.noted, 7));
            // Messages that become visible later wait for their turn at the end, as events are asked for by time.
            webhook.events.push_back(Event { id, at, event: event.clone() });
            while webhook.events.front().is_some_and(|event| event.at + KEPT < at) {
                webhook.events.pop_front();
            }
        }
    }

    fn watching(&self) -> bool {
        self.by_id.values().any(|webhook| webhook.active)
    }

    fn get(&mut self, id: &str) -> Result<&mut Webhook, Trouble> {
        self.by_id.get_mut(id).ok_or(Trouble::Webhook)
    }
}

/// Takes the credits for watching the account up to `now`: one for every 144 minutes begun, however many webhooks.
pub(super) fn charge_monitoring(state: &mut State, now: UnixMillis) {
    let mut due = Vec::new();
    let webhooks = &mut state.linkup.webhooks;
    if webhooks.watching() {
        let mut paid = webhooks.paid_until.unwrap_or(now);
        while paid <= now {
            due.push(paid);
            paid = paid + PER_CREDIT;
        }
        webhooks.paid_until = Some(paid);
    }
    for at in due {
        credits::charge(state, Endpoint::LinkupV2Webhooks, 1, CreditReason::Monitored, at);
    }
}

pub(super) async fn create(incoming: Incoming) -> Response {
    let respond = |state: &mut State, incoming: &Incoming, now| {
        let mut fields = Fields::read(&incoming.body)?;
        if fields.required("account_id")? != state.settings.linkup_account_id {
            return Err(Trouble::Account);
        }
        let url = fields.text("url")?;
        let webhooks = &mut state.linkup.webhooks;
        webhooks.made += 1;
        let id = format!("wh-{:08x}", mix(webhooks.made, 3) >> 32);
        webhooks.by_id.insert(id.clone(), Webhook { active: true, url, created_at: now, events: VecDeque::new() });
        charge_monitoring(state, now);
        described(state, &id)
    };
    v2::free(incoming, Endpoint::LinkupV2Webhooks, respond).await
}

pub(super) async fn list(incoming: Incoming) -> Response {
    let respond = |state: &mut State, _: &Incoming, _| {
        let ids: Vec<String> = state.linkup.webhooks.by_id.keys().cloned().collect();
        let items = ids.iter().map(|id| described(state, id)).collect::<Result<Vec<_>, _>>()?;
        Ok(json!({ "items": items, "total": ids.len() }))
    };
    v2::free(incoming, Endpoint::LinkupV2Webhooks, respond).await
}

pub(super) async fn change(Path(id): Path<String>, incoming: Incoming) -> Response {
    let respond = |state: &mut State, incoming: &Incoming, _| {
        let url = Fields::read(&incoming.body)?.text("url")?;
        state.linkup.webhooks.get(&id)?.url = url;
        described(state, &id)
    };
    v2::free(incoming, Endpoint::LinkupV2Webhooks, respond).await
}

pub(super) async fn delete(Path(id): Path<String>, incoming: Incoming) -> Response {
    let respond = |state: &mut State, _: &Incoming, now| {
        charge_monitoring(state, now);
        let webhooks = &mut state.linkup.webhooks;
        webhooks.by_id.remove(&id).map(|_| json!({ "deleted": true })).ok_or(Trouble::Webhook)
    };
    v2::free(incoming, Endpoint::LinkupV2Webhooks, respond).await
}

pub(super) async fn start(Path(id): Path<String>, incoming: Incoming) -> Response {
    switch(id, incoming, true).await
}

pub(super) async fn stop(Path(id): Path<String>, incoming: Incoming) -> Response {
    switch(id, incoming, false).await
}

async fn switch(id: String, incoming: Incoming, active: bool) -> Response {
    let respond = |state: &mut State, _: &Incoming, now: UnixMillis| {
        charge_monitoring(state, now);
        let webhooks = &mut state.linkup.webhooks;
        let watched = webhooks.watching();
        webhooks.get(&id)?.active = active;
        if !watched {
            // The time without watching is not paid for.
            webhooks.paid_until = webhooks.paid_until.map(|paid| paid.max(now));
        }
        charge_monitoring(state, now);
        described(state, &id)
    };
    v2::free(incoming, Endpoint::LinkupV2Webhooks, respond).await
}

fn described(state: &mut State, id: &str) -> Result<Value, Trouble> {
    let account_id = state.settings.linkup_account_id.clone();
    let webhook = state.linkup.webhooks.get(id)?;
    Ok(json!({
        "webhook_id": id,
        "account_id": account_id,
        "url": webhook.url,
        "is_active": webhook.active,
        "created_at": webhook.created_at,
    }))
}

#[derive(Deserialize)]
struct Since {
    since: Option<String>,
    limit: Option<usize>,
}

pub(super) async fn events(Path(id): Path<String>, incoming: Incoming) -> Response {
    let respond = |state: &mut State, incoming: &Incoming, now: UnixMillis| {
        charge_monitoring(state, now);
        let Ok(Query(ask)) = Query::<Since>::try_from_uri(&incoming.uri) else {
            return Err(Trouble::Params("limit must be a whole number".into()));
        };
        let limit = ask.limit.unwrap_or(50);
        if !(1..=200).contains(&limit) {
            return Err(Trouble::Params("limit must be from 1 to 200".into()));
        }
        let since = match ask.since.as_deref().map(UnixMillis::parse) {
            None => now - KEPT,
            Some(Some(since)) => since.max(now - KEPT),
            Some(None) => return Err(Trouble::Params("since must be an ISO 8601 time".into())),
        };
        let entropy = state.entropy();
        let switches = state.switches.linkup.clone();
        let account_id = state.settings.linkup_account_id.clone();
        let webhook = state.linkup.webhooks.get(&id)?;
        let listed = webhook.events.iter().filter(|event| event.at > since && event.at <= now).take(limit);
        let mut items: Vec<Value> = listed
            .map(|event| {
                let inner = json!({
                    "account_id": account_id,
                    "account_name": OWNER.name(),
                    "event": event.event,
                    "timestamp": event.at,
                });
                json!({ "event_id": event.id, "event": inner, "created_at": event.at })
            })
            .collect();
        if switches.duplicate_events {
            items.extend(items.clone());
        }
        arrange(&mut items, if switches.shuffle_events { Order::Shuffled } else { Order::Ascending }, entropy);
        Ok(json!({ "items": items }))
    };
    v2::free(incoming, Endpoint::LinkupV2Events, respond).await
}
