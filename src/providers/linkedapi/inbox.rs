//! `POST /inbox/poll`: the whole inbox of an account in one request, once the provider was told to monitor it.
//!
//! A second channel beside `/conversations/poll`: it finds conversations by itself, and its messages have other ids. So a
//! thread of the inbox is another conversation than the one of the same person that is polled by their address.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::poll::{WireMessage, message, time};
use super::{LinkedApi, errors, one_spelling, wire_type};
use crate::model::{Conversation, ConversationId, ConversationType, assign_missing_ids};
use crate::providers::json::Received;
use crate::providers::{
    Class, Error, Folders, Inbox, ListRequest, Listed, Listing, Monitoring, Page, PageRequest, Proof, Started, Workflow,
};
use crate::time::UnixMillis;

/// What the address of a thread begins with; no address of a person does.
pub(super) const THREAD: &str = "inbox:";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Asked<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<UnixMillis>,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    person_url: Option<&'a str>,
}

/// Of which inboxes it is known that the provider collects them: an answer for one person does not tell, and is as empty
/// when nobody listens.
#[derive(Default)]
pub(super) struct Collected {
    standard: AtomicBool,
    sales_navigator: AtomicBool,
}

impl Collected {
    fn of(&self, kind: &str) -> &AtomicBool {
        if kind == "nv" { &self.sales_navigator } else { &self.standard }
    }
}

#[derive(Deserialize)]
struct Answered {
    #[serde(default)]
    messages: Option<Vec<Received<InboxMessage>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InboxMessage {
    #[serde(default, rename = "type")]
    kind: Option<Value>,
    #[serde(default)]
    thread_id: Option<String>,
    #[serde(default)]
    person_public_url: Option<String>,
    #[serde(default)]
    person_hashed_url: Option<String>,
    #[serde(flatten)]
    wire: WireMessage,
}

impl InboxMessage {
    /// The public address where the provider has it, else the one made of LinkedIn's own id.
    fn person_url(&self) -> Option<String> {
        let url = self.person_public_url.as_deref().or(self.person_hashed_url.as_deref())?;
        Some(one_spelling(url))
    }
}

/// A thread of the inbox, as discovery or a command names it.
pub(super) fn thread(kind: &str, thread_id: &str, person_url: Option<String>) -> Conversation {
    let address = format!("{THREAD}{kind}:{thread_id}");
    Conversation {
        id: ConversationId::new(address.clone()),
        address,
        kind: if kind == "nv" { ConversationType::SalesNavigator } else { ConversationType::Standard },
        person_url,
    }
}

/// The id that the provider knows a thread by; `None` for a conversation of the other channel.
pub(super) fn thread_id(conversation: &Conversation) -> Option<&str> {
    conversation.address.strip_prefix(THREAD)?.split_once(':').map(|(_, id)| id)
}

impl LinkedApi {
    async fn inbox_poll(&self, asked: Asked<'_>) -> Result<Vec<Received<InboxMessage>>, Error> {
        let body = serde_json::to_vec(&asked).expect("strings and times always serialise");
        let answer = self.call(Method::POST, "/inbox/poll", Some(body)).await?;
        let answered: Answered = errors::result(&answer)?;
        answered.messages.ok_or_else(|| Error::new(Class::Protocol, "the answer has no messages array"))
    }

    /// Polls one thread. There are no pages: the answer is complete.
    pub(super) async fn poll_thread(&self, request: PageRequest<'_>, thread_id: &str) -> Result<Page, Error> {
        let kind = wire_type(request.conversation);
        let asked = Asked { since: request.since, kind, thread_id: Some(thread_id), person_url: None };
        let messages = self.inbox_poll(asked).await?;
        // What the service mixes in of other threads is theirs.
        let own = messages.into_iter().filter(|m| m.part.thread_id.as_deref().is_none_or(|id| id == thread_id));
        let mut messages: Vec<_> = own.map(|m| message(request.conversation, m.part.wire, m.raw)).collect();
        assign_missing_ids(&mut messages);
        Ok(Page { messages, ..Page::default() })
    }

    /// Polls the conversation with one person: what the inbox has captured of it, and what a sync has loaded before.
    pub(super) async fn poll_person(&self, request: PageRequest<'_>) -> Result<Page, Error> {
        let kind = wire_type(request.conversation);
        let person_url = Some(request.conversation.address.as_str());
        let asked = Asked { since: request.since, kind, thread_id: None, person_url };
        let messages = self.inbox_poll(asked).await?;
        // What the service mixes in of the other product is another conversation.
        let other = if kind == "nv" { "st" } else { "nv" };
        let own = messages.into_iter().filter(|m| m.part.kind.as_ref().and_then(Value::as_str) != Some(other));
        let mut messages: Vec<_> = own.map(|m| message(request.conversation, m.part.wire, m.raw)).collect();
        assign_missing_ids(&mut messages);
        let is_collected = self.collected.of(kind).load(Ordering::Relaxed);
        let proof = if is_collected { Proof::Now } else { Proof::Cached };
        Ok(Page { messages, proof, ..Page::default() })
    }
}

#[async_trait]
impl Inbox for LinkedApi {
    fn known_folders(&self) -> Option<Folders> {
        Some(Folders::all(self.settings.inbox_types()))
    }

    async fn list(&self, request: ListRequest<'_>) -> Result<Listing, Error> {
        let asked = Asked { since: request.since, kind: request.folder, thread_id: None, person_url: None };
        let polled = self.inbox_poll(asked).await;
        if polled.is_ok() || polled.as_ref().is_err_and(|error| error.class == Class::NotReady) {
            self.collected.of(request.folder).store(polled.is_ok(), Ordering::Relaxed);
        }
        let messages = polled.map_err(|mut error| {
            // Which of the three the service says when monitoring is off is not documented.
            if matches!(error.class, Class::Gone) && error.whole_product {
                error.detail = format!("{} has no inbox: {}", request.folder, error.detail);
            }
            error
        })?;
        Ok(Listing { rows: threads(request.folder, messages), ..Listing::default() })
    }

    fn monitoring(&self) -> Option<&dyn Monitoring> {
        Some(self)
    }
}

/// One row for each thread, by its youngest message. What belongs to no thread cannot be read again, and is left out.
fn threads(kind: &str, messages: Vec<Received<InboxMessage>>) -> Vec<Listed> {
    let mut rows: HashMap<String, Listed> = HashMap::new();
    for Received { part: message, .. } in messages {
        let Some(thread_id) = message.thread_id.clone().filter(|id| !id.is_empty()) else { continue };
        let sent_at = message.wire.time.as_ref().and_then(time);
        let person_url = message.person_url();
        let mark = mark(sent_at, message.wire.id.as_ref());
        let row = rows.entry(thread_id.clone()).or_insert_with(|| Listed {
            conversation: thread(kind, &thread_id, person_url),
            title: None,
            last_activity_at: sent_at,
            mark: mark.clone(),
        });
        if (sent_at, &mark) > (row.last_activity_at, &row.mark) {
            (row.last_activity_at, row.mark) = (sent_at, mark);
        }
    }
    let mut rows: Vec<_> = rows.into_values().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.last_activity_at));
    rows
}

/// Times may be coarse: the id tells two messages of one minute apart.
fn mark(sent_at: Option<UnixMillis>, id: Option<&Value>) -> Option<String> {
    Some(format!("{} {}", sent_at?.as_millis(), id.map(Value::to_string).unwrap_or_default()))
}

#[async_trait]
impl Monitoring for LinkedApi {
    async fn start(&self, folder: &str) -> Result<Started, Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct SyncInbox {
            action_type: String,
        }
        let action = SyncInbox { action_type: format!("{folder}.syncInbox") };
        self.start_workflow(serde_json::to_vec(&action).expect("strings always serialise")).await
    }

    async fn status(&self, workflow_id: &str) -> Result<Workflow, Error> {
        self.workflow_status(workflow_id).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_listed_once_by_its_youngest_message() {
        let answered: Answered = serde_json::from_str(
            r#"{"messages":[
                {"id":"a","threadId":"2-X","time":"2026-03-01T09:05:00.000Z","sender":"them","text":"1"},
                {"id":"c","threadId":"2-X","time":"2026-03-01T09:06:00.000Z","sender":"us","text":"3","personPublicUrl":null},
                {"id":"b","threadId":"2-X","time":"2026-03-01T09:06:00.000Z","sender":"them","text":"2"},
                {"id":"d","threadId":"2-Y","time":"2026-03-01T09:07:00.000Z","sender":"them","text":"4",
                 "personPublicUrl":"https://www.linkedin.com/in/ada/"},
                {"id":"e","threadId":null,"time":"2026-03-01T09:08:00.000Z","sender":"them","text":"5"}]}"#,
        )
        .unwrap();
        let rows = threads("st", answered.messages.unwrap());
        let shown: Vec<_> =
            rows.iter().map(|row| (row.conversation.id.as_str(), row.mark.as_deref().unwrap())).collect();
        assert_eq!(shown, [("inbox:st:2-Y", "1772356020000 \"d\""), ("inbox:st:2-X", "1772355960000 \"c\"")]);
        assert_eq!(rows[0].conversation.person_url.as_deref(), Some("https://www.linkedin.com/in/ada"));
    }

    #[test]
    fn a_thread_is_never_taken_for_a_person() {
        assert_eq!(thread_id(&thread("nv", "2-X:1", None)), Some("2-X:1"));
        let person = Conversation { address: "https://www.linkedin.com/in/ada".into(), ..thread("st", "x", None) };
        assert_eq!(thread_id(&person), None);
    }
}
