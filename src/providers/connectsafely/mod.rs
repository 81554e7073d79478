//! ConnectSafely (connectsafely.ai).
//!
//! `since` asks for what is newer, `cursor` goes towards older messages; how a full answer to `since` is truncated is
//! not documented. So an answer to `since` that may be incomplete is not trusted at all: the walk begins again at the
//! newest message and pages back by cursor, which is unambiguous. Facts are from the vendor's documentation and
//! public clients; the real service has not been called.

mod account;
mod direction;
mod errors;
mod inbox;
mod messages;
mod nested;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Client;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::address::Address;
use super::http;
use super::settings::{OfProvider, check_base_url, header_problem};
use super::{Class, Error, Inbox, Page, PageRequest, Profile, Provider, Rest, urn};
use crate::backoff::Backoff;
use crate::model::{Conversation, ConversationId};
use crate::time::UnixMillis;

pub(super) const PROFILE: Profile = Profile {
    name: "connectsafely",
    requests_per_minute: 60,
    concurrency: 4,
    // With `sync=true` the reply waits for LinkedIn: seconds are usual, the vendor's own samples allow a minute.
    resolution: Duration::from_millis(1),
    timeout: Duration::from_secs(75),
    overlap: Duration::from_secs(300),
    advised_min_interval: Duration::from_secs(15),
    transient: Backoff { base: Duration::from_secs(5), cap: Duration::from_secs(300) },
    throttled: Backoff { base: Duration::from_secs(60), cap: Duration::from_secs(900) },
};

/// Messages asked for in a page: the documented default. A larger number may be capped silently.
const COUNT: usize = 50;

/// A page at least this long and as long as the longest seen may have been capped by the service.
const SMALLEST_CAP: usize = 10;

/// Cursor of the walk that begins at the newest message, without `since`.
const FROM_NEWEST: &str = "";

/// Everything but the characters that RFC 3986 leaves unreserved: a URN must arrive as one path segment.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The keys of an account, named as in the provider's documentation.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// Key of the workspace.
    api_key: SecretString,
    /// The LinkedIn account in it, 24 hex characters. Always sent: the service's own default moves.
    account_id: String,
    /// Where the API answers, `/linkedin` included.
    #[serde(default = "default_base_url")]
    base_url: String,
}

fn default_base_url() -> String {
    "https://api.connectsafely.ai/linkedin".into()
}

impl OfProvider for Settings {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn secrets(&self) -> Vec<SecretString> {
        vec![self.api_key.clone()]
    }

    fn address(&self) -> &str {
        &self.base_url
    }

    fn limited_by(&self) -> &SecretString {
        &self.api_key
    }

    fn named(&self, text: &str) -> Result<Conversation, String> {
        ConversationSettings { conversation_urn: text.into() }.conversation()
    }

    fn build(&self, client: Client) -> Box<dyn Provider> {
        Box::new(ConnectSafely::new(self.clone(), client))
    }

    fn problem(&self) -> Option<(&'static str, String)> {
        if self.account_id.is_empty() {
            return Some(("account_id", "is empty".into()));
        }
        if let Some(problem) = header_problem(&self.api_key) {
            return Some(("api_key", problem.into()));
        }
        check_base_url(&self.base_url)
    }
}

fn bearer(key: &SecretString) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The keys of a conversation.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConversationSettings {
    conversation_urn: String,
}

impl ConversationSettings {
    pub(super) fn conversation(self) -> Result<Conversation, String> {
        let urn = match Address::of(&self.conversation_urn) {
            Address::Word(urn) if urn.is_empty() => return Err("conversation_urn: is empty".into()),
            Address::Word(urn) => urn,
            Address::Thread(id) => format!("{}{id}", urn::THREAD),
            Address::SalesThread(id) => format!("{}{id}", urn::SALES_NAVIGATOR),
            other => return Err(format!("conversation_urn: {}", other.no_thread())),
        };
        Ok(Conversation {
            id: ConversationId::new(urn::conversation_id(&urn)),
            kind: urn::conversation_type(&urn),
            address: urn,
            person_url: None,
        })
    }
}

/// One LinkedIn account of a workspace.
pub(super) struct ConnectSafely {
    client: Client,
    settings: Settings,
    longest_page: AtomicUsize,
    owner: account::Owner,
}

impl ConnectSafely {
    pub(super) fn new(settings: Settings, client: Client) -> Self {
        Self { client, settings, longest_page: AtomicUsize::new(0), owner: account::Owner::default() }
    }

    async fn get(&self, path: &str, query: &str) -> Result<http::Answer, Error> {
        let base = self.settings.base_url.trim_end_matches('/');
        let account_id = utf8_percent_encode(&self.settings.account_id, SEGMENT);
        let url = format!("{base}{path}?accountId={account_id}{query}");
        let authorization = bearer(&self.settings.api_key).expect("the key is checked with the configuration");
        http::send(self.client.get(url).header(AUTHORIZATION, authorization).header(ACCEPT, "application/json")).await
    }

    /// Whether a page of this length may have been cut by the page size, asked for or imposed.
    fn is_full(&self, length: usize) -> bool {
        let longest = self.longest_page.fetch_max(length, Ordering::Relaxed).max(length);
        length >= COUNT || (length == longest && length >= SMALLEST_CAP)
    }
}

#[async_trait]
impl Provider for ConnectSafely {
    async fn page(&self, request: PageRequest<'_>) -> Result<Page, Error> {
        let urn = utf8_percent_encode(&request.conversation.address, SEGMENT);
        let mut query = format!("&count={COUNT}&sync=true");
        match (request.cursor, request.since) {
            // `since` beside a cursor has no documented meaning.
            (Some(FROM_NEWEST), _) | (None, None) => {}
            (Some(cursor), _) => query += &format!("&cursor={}", utf8_percent_encode(cursor, SEGMENT)),
            (None, Some(since)) => query += &format!("&since={}", since.as_millis().max(0)),
        }
        let answer = self.get(&format!("/conversations/{urn}/messages"), &query).await?;
        let asked_by_cursor = request.cursor.is_some_and(|c| c != FROM_NEWEST);
        let payload = messages::Payload::read(&answer).map_err(|mut error| {
            if asked_by_cursor && answer.status.as_u16() == 400 {
                error = Error::new(Class::Protocol, format!("the cursor was refused: {}", error.detail));
                error.cursor_refused = true;
            }
            error
        })?;
        let quota = http::quota(&answer.headers, UnixMillis::now());
        let asked_since = request.cursor.is_none() && request.since.is_some();
        let full = self.is_full(payload.len());
        let older = payload.older();
        let rest = match (asked_since, full, older) {
            (_, _, _) if payload.len() == 0 => Rest::Nothing,
            (true, true, _) => Rest::Unsure(FROM_NEWEST.into()),
            // `hasMore` may only say that the thread has a history.
            (true, false, Some(_)) => Rest::UnsureIfNew(FROM_NEWEST.into()),
            (false, _, Some(cursor)) => Rest::More(cursor),
            (_, _, None) => Rest::Nothing,
        };
        Ok(Page { quota, ..self.read(request.conversation, payload, rest) })
    }

    async fn probe(&self) -> Result<(), Error> {
        self.check_account().await
    }

    fn wants_account(&self) -> bool {
        self.owner.is_wanted()
    }

    async fn look_at_account(&self) -> Result<(), Error> {
        self.look_at_owner().await
    }

    fn inbox(&self) -> Option<&dyn Inbox> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ConversationType;

    #[test]
    fn an_address_of_the_browser_names_the_conversation_or_says_why_not() {
        let read = |text: &str| ConversationSettings { conversation_urn: text.into() }.conversation();
        let thread = read("https://www.linkedin.com/messaging/thread/2-MGE1Yj%3D%3D/").unwrap();
        let urn = read("urn:li:msg_conversation:(urn:li:fsd_profile:ACoAAB1o,2-MGE1Yj==)").unwrap();
        assert_eq!(thread.id, urn.id);
        assert_eq!(thread.address, "urn:li:messagingThread:2-MGE1Yj==");
        let sales = read("https://www.linkedin.com/sales/inbox/2-X").unwrap();
        assert_eq!(
            (sales.address.as_str(), sales.kind),
            ("urn:li:salesNav_thread:2-X", ConversationType::SalesNavigator)
        );
        for wrong in
            ["https://www.linkedin.com/in/ada", "https://www.linkedin.com/company/acme", "https://x.org/2-A", ""]
        {
            assert!(read(wrong).unwrap_err().starts_with("conversation_urn: is "), "{wrong}");
        }
    }
}
