//! `POST /inbox/poll`: the whole inbox of an account in one request, once the provider was told to monitor it.
//!
//! A second channel beside `/conversations/poll`: it finds conversations by itself, and its messages have other ids. So a
//! thread of the inbox is another conversation than the one of the same person that is polled by their address.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use reqwest::Method;
use serde::Serialize;

use super::poll::{SAYS_NOTHING, of, told};
use super::{LinkedApi, errors, one_spelling, wire_type};
use crate::model::{Conversation, ConversationId, ConversationType, Message, assign_missing_ids};
use crate::providers::json::{Document, Object};
use crate::providers::{
    Class, Error, Folders, Inbox, ListRequest, Listed, Listing, Monitoring, Page, PageRequest, Proof, Started,
    Unreadable, Workflow,
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

/// What an answer says.
struct Answered {
    messages: Vec<InboxMessage>,
    unreadable: Unreadable,
}

/// A message of the inbox, and what tells where it belongs.
struct InboxMessage {
    kind: Option<String>,
    thread_id: Option<String>,
    /// The public address where the provider has it, else the one made of LinkedIn's own id.
    person_url: Option<String>,
    /// The id as it is written, quotes and all.
    written_id: String,
    message: Message,
}

impl Answered {
    /// `None`: the answer has no list of messages. Where each `has_thread`, one without its thread is as good as unread,
    /// because nothing else tells where it belongs.
    fn read(result: &Object<'_>, has_thread: bool) -> Option<Self> {
        let without = if has_thread { "a message without a thread" } else { SAYS_NOTHING };
        let messages = result.list("messages")?.each(without, |object, raw| {
            let message = told(object, raw)?;
            let thread_id: Option<String> = object.filled("threadId").map(Into::into);
            if has_thread && thread_id.is_none() {
                return None;
            }
            let person_url = object.filled("personPublicUrl").or_else(|| object.filled("personHashedUrl"));
            Some(InboxMessage {
                thread_id,
                person_url: person_url.map(|url| one_spelling(&url)),
                kind: object.text("type").map(Into::into),
                written_id: object.scalar("id").and(object.raw("id")).map(|id| id.get().to_owned()).unwrap_or_default(),
                message,
            })
        });
        Some(Self { messages, unreadable: result.take_unreadable() })
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
    async fn inbox_poll(&self, asked: Asked<'_>) -> Result<Answered, Error> {
        let has_thread = asked.thread_id.is_none() && asked.person_url.is_none();
        let body = serde_json::to_vec(&asked).expect("strings and times always serialise");
        let answer = self.call(Method::POST, "/inbox/poll", Some(body)).await?;
        let document = Document::of(&answer.body);
        let result = errors::success(&document, &answer)?.object("result");
        let answered = result.and_then(|result| Answered::read(&result, has_thread));
        answered.ok_or_else(|| Error::new(Class::Protocol, "the answer has no messages array"))
    }

    /// Polls one thread. There are no pages: the answer is complete.
    pub(super) async fn poll_thread(&self, request: PageRequest<'_>, thread_id: &str) -> Result<Page, Error> {
        let kind = wire_type(request.conversation);
        let asked = Asked { since: request.since, kind, thread_id: Some(thread_id), person_url: None };
        let Answered { messages, unreadable } = self.inbox_poll(asked).await?;
        // What the service mixes in of other threads is theirs.
        let own = messages.into_iter().filter(|m| m.thread_id.as_deref().is_none_or(|id| id == thread_id));
        let mut messages: Vec<_> = own.map(|m| m.message).collect();
        messages.iter_mut().for_each(|message| of(request.conversation, message));
        assign_missing_ids(&mut messages);
        Ok(Page { messages, unreadable, ..Page::default() })
    }

    /// Polls the conversation with one person: what the inbox has captured of it, and what a sync has loaded before.
    pub(super) async fn poll_person(&self, request: PageRequest<'_>) -> Result<Page, Error> {
        let kind = wire_type(request.conversation);
        let person_url = Some(request.conversation.address.as_str());
        let asked = Asked { since: request.since, kind, thread_id: None, person_url };
        let Answered { messages, unreadable } = self.inbox_poll(asked).await?;
        // What the service mixes in of the other product is another conversation.
        let other = if kind == "nv" { "st" } else { "nv" };
        let own = messages.into_iter().filter(|m| m.kind.as_deref() != Some(other));
        let mut messages: Vec<_> = own.map(|m| m.message).collect();
        messages.iter_mut().for_each(|message| of(request.conversation, message));
        assign_missing_ids(&mut messages);
        let is_collected = self.collected.of(kind).load(Ordering::Relaxed);
        let proof = if is_collected { Proof::Now } else { Proof::Cached };
        Ok(Page { messages, proof, unreadable, ..Page::default() })
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
        let answered = polled.map_err(|mut error| {
            // Which of the three the service says when monitoring is off is not documented.
            if matches!(error.class, Class::Gone) && error.whole_product {
                error.detail = format!("{} has no inbox: {}", request.folder, error.detail);
            }
            error
        })?;
        let (rows, unreadable) = (threads(request.folder, answered.messages), answered.unreadable);
        Ok(Listing { rows, unreadable, ..Listing::default() })
    }

    fn monitoring(&self) -> Option<&dyn Monitoring> {
        Some(self)
    }
}

/// One row for each thread, by its youngest message.
fn threads(kind: &str, messages: Vec<InboxMessage>) -> Vec<Listed> {
    let mut rows: HashMap<String, Listed> = HashMap::new();
    for InboxMessage { thread_id, person_url, written_id, message, .. } in messages {
        let Some(thread_id) = thread_id else { continue };
        let sent_at = message.sent_at;
        let mark = mark(sent_at, &written_id);
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
fn mark(sent_at: Option<UnixMillis>, written_id: &str) -> Option<String> {
    Some(format!("{} {written_id}", sent_at?.as_millis()))
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
        let document = Document::of(
            br#"{"messages":[
                {"id":"a","threadId":"2-X","time":"2026-03-01T09:05:00.000Z","sender":"them","text":"1"},
                {"id":"c","threadId":"2-X","time":"2026-03-01T09:06:00.000Z","sender":"us","text":"3","personPublicUrl":null},
                {"id":"b","threadId":"2-X","time":"2026-03-01T09:06:00.000Z","sender":"them","text":"2"},
                {"id":"d","threadId":"2-Y","time":"2026-03-01T09:07:00.000Z","sender":"them","text":"4",
                 "personPublicUrl":"https://www.linkedin.com/in/ada/"},
                {"id":"e","threadId":null,"time":"2026-03-01T09:08:00.000Z","sender":"them","text":"5"},
                null]}"#,
        );
        let answered = Answered::read(&document.object().unwrap(), true).unwrap();
        let rows = threads("st", answered.messages);
        let unreadable = answered.unreadable;
        assert_eq!((unreadable.items, unreadable.looks), (2, Some("a message without a thread")));
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
