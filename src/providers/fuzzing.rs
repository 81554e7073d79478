//! What a provider can answer, for the fuzzer: every request is answered out of its input, and
//! whatever comes of it has to be fit for what is made of it.
//!
//! An input is written as an exchange is:
//!
//! ```text
//! v2 page
//! 200
//! retry-after: 3
//!
//! {"data": []}
//! %%
//! 404
//!
//! {}
//! ```
//!
//! The first line names the settings and the call; each answer has a status, headers and a body.

use std::cell::RefCell;
use std::collections::VecDeque;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::http::{self, Answer};
use super::settings::build_with;
use super::{Class, Error, ListRequest, Listing, Page, PageRequest, Provider, Rest, Settings, Workflow};
use crate::mask::Mask;
use crate::model::{AccountName, Conversation, EVENT_LIMIT, Event, EventContext, Route, Seen};
use crate::settings::Read;
use crate::time::UnixMillis;

/// Parts two answers of an input.
const NEXT_ANSWER: &str = "\n%%\n";

/// Messages of a page that are made into events; the others are alike.
const EVENTS: usize = 20;

/// What every account of this kind is given; no error may repeat it.
const SECRET: &str = "0123456789abcdef-secret-of-the-fuzzer";

thread_local! {
    static ANSWERS: RefCell<Option<VecDeque<Answer>>> = const { RefCell::new(None) };
}

/// The answer to a request, where requests are answered out of an input; an error where that has no more of them.
pub(super) fn next_answer() -> Option<Result<Answer, Error>> {
    ANSWERS.with_borrow_mut(|answers| {
        let answers = answers.as_mut()?;
        Some(answers.pop_front().ok_or_else(|| Error::new(Class::Transient, "the input has no more answers")))
    })
}

struct Values;

impl Read for Values {
    type Error = serde_json::Error;

    fn read<T: DeserializeOwned>(&self, table: Value) -> Result<T, Self::Error> {
        serde_json::from_value(table)
    }
}

/// The settings that the first word of an input names, and conversations of theirs.
fn settings(provider: &str, variant: &str) -> (Value, &'static [&'static str]) {
    match (provider, variant) {
        ("connectsafely", _) => (
            json!({"api_key": SECRET, "account_id": "0123456789abcdef01234567"}),
            &["urn:li:msg_conversation:(urn:li:fsd_profile:ACoAAB1o,2-MGE1Yj==)", "2-X"],
        ),
        ("linkedapi", "inbox") => (
            json!({"linked_api_token": SECRET, "identification_token": SECRET, "channel": "inbox",
                   "inbox_types": ["st", "nv"]}),
            &["inbox:st:2-MGE1Yj==", "inbox:nv:2-MGE1Yj=="],
        ),
        ("linkedapi", _) => (
            json!({"linked_api_token": SECRET, "identification_token": SECRET}),
            &["https://www.linkedin.com/in/ada", "nv:https://www.linkedin.com/in/ada"],
        ),
        ("linkup", "v1") => (
            json!({"api_version": "v1", "api_key": SECRET, "login_token": SECRET}),
            &["2-MGE1Yj==", "https://www.linkedin.com/in/ada"],
        ),
        ("linkup", _) => (
            json!({"api_version": "v2", "api_key": SECRET, "account_id": "acc", "owner_name": "Ada Byron"}),
            &["2-MGE1Yj==", "https://www.linkedin.com/in/ada"],
        ),
        (_, "v1") => (
            json!({"api_version": "v1", "api_key": SECRET, "account_id": "acc", "base_url": "https://api1.unipile.com:13111/api/v1"}),
            &["2-MGE1Yj==", "chat"],
        ),
        _ => (json!({"api_key": SECRET, "account_id": "acc_1"}), &["2-MGE1Yj==", "salesnav_2-X"]),
    }
}

fn client() -> Client {
    thread_local! {
        static CLIENT: Client = {
            http::install_tls();
            http::client(std::time::Duration::from_secs(1), &crate::providers::settings::Road::default()).expect("a client needs no network")
        };
    }
    CLIENT.with(Client::clone)
}

fn answer(text: &str) -> Answer {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let status = lines.next().and_then(|status| status.trim().parse().ok()).unwrap_or(200);
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.trim().parse::<HeaderName>().ok()?, HeaderValue::from_str(value.trim()).ok()?))
    };
    Answer {
        status: StatusCode::from_u16(status).unwrap_or(StatusCode::OK),
        headers: HeaderMap::from_iter(lines.filter_map(header)),
        body: body.as_bytes().to_vec(),
    }
}

/// Asks a provider what the first line of the input says, and judges what it makes of the answers behind it.
pub fn provider(name: &str, data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (first, answers) = text.split_once('\n').unwrap_or((&text, ""));
    let (variant, call) = first.split_once(' ').unwrap_or(("", first));
    let (table, names) = settings(name, variant);
    let settings = Settings::read(name, &Values, table).expect("is a provider").expect("are settings");
    assert!(settings.problem().is_none(), "{:?}", settings.problem());
    let conversations: Vec<_> = names.iter().map(|name| settings.named(name).expect("names a conversation")).collect();
    let provider = build_with(&settings, client(), &Mask::default());
    ANSWERS.set(Some(answers.split(NEXT_ANSWER).map(answer).collect()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(ask(&*provider, call, &conversations));
    ANSWERS.set(None);
}

async fn ask(provider: &dyn Provider, call: &str, conversations: &[Conversation]) {
    let since = Some(UnixMillis::from_millis(1_795_166_043_512));
    let of = |conversation, since| PageRequest { conversation, since, cursor: None };
    match call {
        "list" | "folders" => {
            let Some(inbox) = provider.inbox() else { return };
            let folders = inbox.folders().await;
            let folders = folders.map(|folders| folders.listed).unwrap_or_else(|error| judged_error(&error, vec![]));
            for folder in folders.iter().take(2) {
                let first = inbox.list(ListRequest { folder, since: None, cursor: None }).await;
                if let Some(next) = judge_listing(first) {
                    judge_listing(inbox.list(ListRequest { folder, since, cursor: Some(&next) }).await);
                }
            }
            if let Some(monitoring) = inbox.monitoring() {
                if let Err(error) = monitoring.start("st").await {
                    judge_error(&error);
                }
                judge_workflow(monitoring.status("w").await);
            }
        }
        "account" => {
            for looked in [provider.probe().await, provider.look_at_account().await] {
                looked.unwrap_or_else(|error| judge_error(&error));
            }
            if let Some(balance) = provider.balance() {
                balance.credits_left().await.unwrap_or_else(|error| judged_error(&error, 0));
            }
            judge_page(provider.page(of(&conversations[0], since)).await, &conversations[0]);
        }
        "collect" => {
            let Some(upkeep) = provider.upkeep() else { return };
            if let Err(error) = upkeep.start(&conversations[0]).await {
                judge_error(&error);
            }
            judge_workflow(upkeep.status("w").await);
        }
        "batch" => {
            let requests: Vec<_> = conversations.iter().map(|conversation| of(conversation, since)).collect();
            match provider.batch(&requests).await {
                Ok(pages) => {
                    assert_eq!(pages.len(), requests.len(), "each conversation has an answer of its own");
                    for (page, conversation) in pages.into_iter().zip(conversations) {
                        judge_page(page, conversation);
                    }
                }
                Err(error) => judge_error(&error),
            }
        }
        _ => {
            let since = since.filter(|_| call != "everything");
            for conversation in conversations.iter().take(2) {
                let mut next = judge_page(provider.page(of(conversation, since)).await, conversation);
                for _ in 0..3 {
                    let Some(cursor) = next else { break };
                    let request = PageRequest { conversation, since, cursor: Some(&cursor) };
                    next = judge_page(provider.page(request).await, conversation);
                }
            }
        }
    }
}

/// An error is one bounded line without controls and without our secrets.
fn judge_error(error: &Error) {
    let detail = &error.detail;
    assert!(!detail.contains(char::is_control), "{detail:?}");
    assert!(detail.len() < 4_096, "{detail:?}");
    assert!(!detail.contains(SECRET), "{detail:?}");
    assert!(error.wait.is_none_or(|wait| wait <= std::time::Duration::from_secs(31 * 86_400)), "{:?}", error.wait);
}

fn judged_error<T>(error: &Error, otherwise: T) -> T {
    judge_error(error);
    otherwise
}

fn judge_workflow(workflow: Result<Workflow, Error>) {
    match workflow {
        Ok(Workflow::Failed(error)) | Err(error) => judge_error(&error),
        Ok(_) => {}
    }
}

/// Every row can be asked for. Returns where the listing goes on.
fn judge_listing(listing: Result<Listing, Error>) -> Option<String> {
    let listing = listing.map_err(|error| judge_error(&error)).ok()?;
    for row in &listing.rows {
        assert!(!row.conversation.address.is_empty(), "{row:?}");
        assert!(!row.conversation.id.as_str().is_empty(), "{row:?}");
    }
    assert_ne!(listing.next.as_deref(), Some(""), "no place to go on at");
    listing.next
}

/// Every message is an event that its readers can read. Returns where the page goes on.
fn judge_page(page: Result<Page, Error>, conversation: &Conversation) -> Option<String> {
    let page = page.map_err(|error| judge_error(&error)).ok()?;
    let account = AccountName::new("fuzzed").expect("is a name");
    let title = page.title.as_deref();
    let context = EventContext { provider: "unipile", account: &account, conversation, title };
    let seen =
        Seen { at: UnixMillis::from_millis(1_795_166_043_512), route: Route::Poll, late: false, backfill: false };
    for message in page.messages.iter().take(EVENTS) {
        let event = Event::message_new(&context, message, seen).with_raw(&context, message, seen);
        for body in [Some(&event.body), event.body_with_raw.as_ref()].into_iter().flatten() {
            assert!(body.len() <= EVENT_LIMIT, "an event of {} bytes", body.len());
            assert!(!body.contains(['\n', '\r']), "{body}");
            let parsed: Value = serde_json::from_str(body).expect("an event is JSON");
            assert!(parsed["data"]["message"]["id"].is_string(), "{body}");
        }
    }
    match page.rest {
        Rest::Nothing => None,
        Rest::More(cursor) | Rest::Unsure(cursor) | Rest::UnsureIfNew(cursor) => Some(cursor),
    }
}
