//! Linked API (linkedapi.io).
//!
//! One request reads one conversation or many; `since` is the only bound and there are no pages, so every answer is
//! complete. A conversation must be synced before it can be polled, and a sync lapses: after `syncUntil` polls still
//! succeed and bring nothing new. Where conversations are discovered, or `channel = "inbox"` is set, the inbox is the channel ([`inbox`]). Facts are from the vendor's public SDKs (linkedapi-node 2.1.0, linkedapi 1.4.7 for
//! Python) and documentation; the real service has not been called.

mod errors;
mod inbox;
mod poll;
mod workflow;

use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::address::Address;
use super::http;
use super::settings::{OfProvider, check_base_url, header_problem};
use super::{Class, Error, Inbox, Page, PageRequest, Profile, Provider, Upkeep};
use crate::backoff::Backoff;
use crate::model::{Conversation, ConversationId, ConversationType};
use crate::time::UnixMillis;

pub(super) const PROFILE: Profile = Profile {
    name: "linkedapi",
    // No figure is published; two a second and two at once is what the vendor's own limits make safe.
    requests_per_minute: 120,
    concurrency: 2,
    resolution: Duration::from_secs(60),
    timeout: Duration::from_secs(30),
    overlap: Duration::from_secs(600),
    advised_min_interval: Duration::from_secs(5),
    transient: Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(300) },
    throttled: Backoff { base: Duration::from_secs(5), cap: Duration::from_secs(300) },
};

/// Sync period where neither the configuration nor the provider says.
const DEFAULT_DAYS: u64 = 30;

/// The keys of an account, named as in the provider's documentation.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// The customer's main token.
    linked_api_token: SecretString,
    /// The token of one connected LinkedIn account.
    identification_token: SecretString,
    /// Where the API answers.
    #[serde(default = "default_base_url")]
    base_url: String,
    /// Sync period in days, 3 to 90; sent only when set, because an older service may refuse the field.
    #[serde(default, deserialize_with = "crate::settings::optional_count")]
    days: Option<u64>,
    /// Conversations that may share one request.
    #[serde(default = "default_batch_size", deserialize_with = "crate::settings::count")]
    batch_size: usize,
    /// By which road people who are listed are read.
    #[serde(default)]
    channel: Channel,
    /// Which inboxes are listed where conversations are discovered, or read through the inbox: "st", and "nv" for Sales
    /// Navigator.
    #[serde(default)]
    inbox_types: Option<Vec<String>>,
}

/// A road to the messages with one person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Channel {
    /// `POST /conversations/poll`: each conversation is synced, and the sync is renewed.
    #[default]
    Conversations,
    /// `POST /inbox/poll` with the person: the inbox is monitored once, and nobody needs to be synced.
    Inbox,
}

impl Channel {
    fn as_str(self) -> &'static str {
        match self {
            Self::Conversations => "conversations",
            Self::Inbox => "inbox",
        }
    }
}

fn default_base_url() -> String {
    "https://api.linkedapi.io".into()
}

fn default_batch_size() -> usize {
    20
}

impl Settings {
    fn inbox_types(&self) -> Vec<String> {
        self.inbox_types.clone().unwrap_or_else(|| vec!["st".into()])
    }
}

impl OfProvider for Settings {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn secrets(&self) -> Vec<SecretString> {
        vec![self.linked_api_token.clone(), self.identification_token.clone()]
    }

    fn address(&self) -> &str {
        &self.base_url
    }

    fn limited_by(&self) -> &SecretString {
        &self.identification_token
    }

    fn batch_size(&self) -> usize {
        match self.channel {
            Channel::Conversations => self.batch_size,
            // It takes one person.
            Channel::Inbox => 1,
        }
    }

    fn channel(&self) -> &'static str {
        match self.channel {
            Channel::Conversations => "",
            Channel::Inbox => self.channel.as_str(),
        }
    }

    fn sweeps_listed(&self) -> bool {
        self.channel == Channel::Inbox
    }

    fn unread(&self, discover: bool) -> Option<(&'static str, String)> {
        (discover && self.inbox_types.is_none()).then(|| {
            let advice = "is not set, so that messages of Sales Navigator are not read; say [\"st\", \"nv\"] where the account \
                          has it, else [\"st\"]";
            ("inbox_types", advice.to_owned())
        })
    }

    fn misplaced(&self, conversation: &Conversation, discover: bool) -> Option<&'static str> {
        let is_monitored = self.inbox_types().iter().any(|kind| kind == wire_type(conversation));
        if self.channel == Channel::Inbox && !discover && !is_monitored {
            return Some("is not in an inbox that is read: name its type in inbox_types, such as [\"st\", \"nv\"]");
        }
        match (inbox::thread_id(conversation).is_some(), discover) {
            (true, true) | (false, false) => None,
            (false, true) => Some(
                "with discover = true the inbox is the channel, which has other ids, so that messages would be announced \
                 twice; give it an account entry of its own",
            ),
            (true, false) => Some("threads of the inbox belong to an account with discover = true"),
        }
    }

    fn named(&self, text: &str) -> Result<Conversation, String> {
        if let Some((kind @ ("st" | "nv"), id)) = text.strip_prefix(inbox::THREAD).and_then(|rest| rest.split_once(':'))
        {
            return Ok(inbox::thread(kind, id, None));
        }
        let (kind, person_url) = match text.split_once(':') {
            Some((kind @ ("st" | "nv"), person_url)) => (kind, person_url),
            _ if matches!(Address::of(text), Address::SalesPerson(_)) => ("nv", text),
            _ => ("st", text),
        };
        ConversationSettings { person_url: person_url.into(), kind: kind.into() }.conversation()
    }

    fn build(&self, client: Client) -> Box<dyn Provider> {
        Box::new(LinkedApi::new(self.clone(), client))
    }

    /// It was the address as it stood in the configuration, up to its query.
    fn former_id(&self, conversation: &Conversation) -> Option<ConversationId> {
        let is_person = inbox::thread_id(conversation).is_none();
        is_person.then(|| ConversationId::new(format!("{}:{}", wire_type(conversation), bare(&conversation.address))))
    }

    fn problem(&self) -> Option<(&'static str, String)> {
        if self.days.is_some_and(|days| !(3..=90).contains(&days)) {
            return Some((
                "days",
                "must be 3 to 90: the provider takes no more, and less cannot be renewed in time".into(),
            ));
        }
        if !(1..=100).contains(&self.batch_size) {
            return Some(("batch_size", "must be 1 to 100".into()));
        }
        let types = self.inbox_types();
        if types.is_empty() || !types.iter().all(|kind| matches!(kind.as_str(), "st" | "nv")) {
            return Some(("inbox_types", "must be a list of \"st\" (standard) and \"nv\" (Sales Navigator)".into()));
        }
        for (key, token) in
            [("linked_api_token", &self.linked_api_token), ("identification_token", &self.identification_token)]
        {
            if let Some(problem) = header_problem(token) {
                return Some((key, problem.into()));
            }
        }
        check_base_url(&self.base_url)
    }
}

/// The keys of a conversation.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConversationSettings {
    person_url: String,
    #[serde(rename = "type")]
    kind: String,
}

impl ConversationSettings {
    pub(super) fn conversation(self) -> Result<Conversation, String> {
        let kind = match self.kind.as_str() {
            "st" => ConversationType::Standard,
            "nv" => ConversationType::SalesNavigator,
            _ => return Err("type: must be \"st\" (standard) or \"nv\" (Sales Navigator)".into()),
        };
        let named = Address::of(&self.person_url);
        if matches!(named, Address::SalesPerson(_)) && kind == ConversationType::Standard {
            let write = "say type = \"nv\", or write the address of the profile";
            return Err(format!("person_url: is an address in Sales Navigator; {write}"));
        }
        let person_url = named.person_url().ok_or_else(|| format!("person_url: {}", named.no_person()))?;
        let whole = self.person_url.starts_with("https://") || self.person_url.starts_with("http://");
        Ok(Conversation {
            id: ConversationId::new(format!("{}:{person_url}", self.kind)),
            // As it was given, where it is whole: what the provider collects it knows by that.
            address: if whole { self.person_url } else { person_url.clone() },
            kind,
            person_url: Some(person_url),
        })
    }
}

/// The address of a person in its one spelling; what is no such address, without query, fragment and trailing slash.
fn one_spelling(url: &str) -> String {
    Address::of(url).person_url().unwrap_or_else(|| bare(url).to_owned())
}

fn bare(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or(url).trim_end_matches('/')
}

fn wire_type(conversation: &Conversation) -> &'static str {
    if conversation.kind == ConversationType::SalesNavigator { "nv" } else { "st" }
}

/// One connected LinkedIn account.
pub(super) struct LinkedApi {
    client: Client,
    settings: Settings,
    /// Whether the inbox of a type was last seen to be collected.
    collected: inbox::Collected,
}

impl LinkedApi {
    pub(super) fn new(settings: Settings, client: Client) -> Self {
        Self { client, settings, collected: inbox::Collected::default() }
    }

    async fn call(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<http::Answer, Error> {
        let url = format!("{}{path}", self.settings.base_url.trim_end_matches('/'));
        let mut request = self.client.request(method, url).headers(self.headers());
        if let Some(body) = body {
            request = request.body(body);
        }
        http::send(request).await
    }

    /// The page of a person who is polled alone. The answer may be a success whose entry is none.
    async fn poll_one(&self, request: PageRequest<'_>) -> Result<Page, Error> {
        let mut pages = self.poll(&[request]).await?;
        pages.pop().unwrap_or_else(|| Err(Error::new(Class::Protocol, "the answer has no entry for the conversation")))
    }

    fn headers(&self) -> HeaderMap {
        let secret = |token: &SecretString| {
            let mut value =
                HeaderValue::from_str(token.expose_secret()).expect("tokens are checked with the configuration");
            value.set_sensitive(true);
            value
        };
        HeaderMap::from_iter([
            (HeaderName::from_static("linked-api-token"), secret(&self.settings.linked_api_token)),
            (HeaderName::from_static("identification-token"), secret(&self.settings.identification_token)),
            (HeaderName::from_static("content-type"), HeaderValue::from_static("application/json")),
            (HeaderName::from_static("client"), HeaderValue::from_static("inboxd")),
        ])
    }
}

#[async_trait]
impl Provider for LinkedApi {
    async fn page(&self, request: PageRequest<'_>) -> Result<Page, Error> {
        if let Some(thread_id) = inbox::thread_id(request.conversation) {
            return self.poll_thread(request, thread_id).await;
        }
        if self.settings.channel == Channel::Inbox {
            return self.poll_person(request).await;
        }
        self.poll_one(request).await
    }

    async fn batch(&self, requests: &[PageRequest<'_>]) -> Result<Vec<Result<Page, Error>>, Error> {
        let by_inbox = self.settings.channel == Channel::Inbox;
        if by_inbox || requests.iter().any(|request| inbox::thread_id(request.conversation).is_some()) {
            return Err(Error::new(Class::Protocol, "the inbox is polled one by one"));
        }
        self.poll(requests).await
    }

    async fn probe(&self) -> Result<(), Error> {
        let answer = self.call(Method::GET, "/account", None).await?;
        errors::result::<serde::de::IgnoredAny>(&answer).map(|_| ())
    }

    /// Both roads are tried with the first person that is listed: the account may lack either.
    async fn examine(&self, listed: &[&Conversation]) -> Result<Vec<String>, Error> {
        self.probe().await?;
        let Some(person) = listed.iter().find(|conversation| inbox::thread_id(conversation).is_none()) else {
            return Ok(vec![]);
        };
        let mut notes = vec![];
        for channel in [Channel::Conversations, Channel::Inbox] {
            let request = PageRequest { conversation: person, since: Some(UnixMillis::now()), cursor: None };
            let tried = match channel {
                Channel::Conversations => self.poll_one(request).await.map(|_| ()),
                Channel::Inbox => self.poll_person(request).await.map(|_| ()),
            };
            match tried {
                Err(error) if error.class != Class::NotReady => {
                    if channel == self.settings.channel {
                        return Err(error);
                    }
                    notes.push(format!("channel = \"{}\" does not work ({error})", channel.as_str()));
                }
                // What is not collected yet will be.
                _ => notes.push(format!("channel = \"{}\" works", channel.as_str())),
            }
        }
        Ok(notes)
    }

    fn upkeep(&self) -> Option<&dyn Upkeep> {
        (self.settings.channel == Channel::Conversations).then_some(self as &dyn Upkeep)
    }

    fn inbox(&self) -> Option<&dyn Inbox> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_no_person_is_refused_and_sales_navigator_has_a_type_of_its_own() {
        let read =
            |url: &str, kind: &str| ConversationSettings { person_url: url.into(), kind: kind.into() }.conversation();
        for url in ["john-doe", "John Doe", "https://www.linkedin.com/company/acme", "https://x.com/in/john", ""] {
            assert!(read(url, "st").unwrap_err().starts_with("person_url: "), "{url}");
        }
        let lead = "https://www.linkedin.com/sales/lead/ACwAAB1,NAME_SEARCH,x";
        assert!(read(lead, "st").unwrap_err().contains("type = \"nv\""));
        let sales = read(lead, "nv").unwrap();
        assert_eq!(sales.id.as_str(), "nv:https://www.linkedin.com/sales/people/ACwAAB1");
        assert_eq!(sales.address, lead, "asked for as it was given");
        assert_eq!(read("linkedin.com/in/john-doe", "st").unwrap().address, "https://www.linkedin.com/in/john-doe");
    }

    #[tokio::test]
    async fn a_road_works_only_where_the_entry_of_the_person_can_be_read() {
        http::install_tls();
        for (entry, works) in [(r#""messages":[]"#, true), (r#""messages":{}"#, false), (r#""x":1"#, false)] {
            let person = "https://www.linkedin.com/in/ada";
            let answer = format!(r#"{{"success":true,"result":[{{"personUrl":"{person}","type":"st",{entry}}}]}}"#);
            let router = axum::Router::new().fallback(move || std::future::ready(answer.clone()));
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let base_url = format!("http://{}", listener.local_addr().unwrap());
            tokio::spawn(async move { axum::serve(listener, router).await });
            let settings =
                serde_json::json!({"linked_api_token": "a", "identification_token": "b", "base_url": base_url});
            let client =
                http::client(std::time::Duration::from_secs(5), &crate::providers::settings::Road::default()).unwrap();
            let provider = LinkedApi::new(serde_json::from_value(settings).unwrap(), client);
            let conversation =
                ConversationSettings { person_url: person.into(), kind: "st".into() }.conversation().unwrap();
            assert_eq!(provider.examine(&[&conversation]).await.is_ok(), works, "{entry}");
        }
    }

    #[test]
    fn a_person_is_known_by_the_id_that_earlier_releases_made_of_the_same_address() {
        let settings: Settings =
            serde_json::from_value(serde_json::json!({"linked_api_token": "a", "identification_token": "b"})).unwrap();
        let former = |url: &str, kind: &str| {
            let named = ConversationSettings { person_url: url.into(), kind: kind.into() };
            settings.former_id(&named.conversation().unwrap()).unwrap().as_str().to_owned()
        };
        assert_eq!(former("https://de.linkedin.com/in/John-Doe/?x=1", "st"), "st:https://de.linkedin.com/in/John-Doe");
        assert_eq!(former("https://www.linkedin.com/in/ada", "nv"), "nv:https://www.linkedin.com/in/ada");
        let lead = "https://www.linkedin.com/sales/lead/ACwAAB1,NAME_SEARCH,x";
        assert_eq!(former(lead, "nv"), format!("nv:{lead}"));
    }

    #[test]
    fn spellings_of_a_person_name_one_conversation() {
        let id = |url: &str| {
            let settings = ConversationSettings { person_url: url.into(), kind: "st".into() };
            settings.conversation().unwrap().id
        };
        assert_eq!(id("https://www.linkedin.com/in/john-doe/?utm=1"), id("https://www.linkedin.com/in/john-doe"));
        assert_eq!(id("https://www.linkedin.com/in/john-doe").as_str(), "st:https://www.linkedin.com/in/john-doe");
    }
}
