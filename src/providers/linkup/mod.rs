//! LinkupAPI (linkupapi.com), both generations of its API.
//!
//! A thread is read from its newest message back; there is no `since`. Every answer costs credits, one for up to ten
//! results: in the first generation a refusal too, so there even a probe is charged. Facts are from the vendor's
//! documentation and from client code in public; the real service has not been called. Where the two leave something
//! open, both readings are taken: fields under `data` or at the top, times in milliseconds or seconds, errors with
//! their own status or with 200.

mod errors;
mod inbox;
mod messages;
mod person;
mod reply;
mod settings;
mod v1;
mod v2;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::http::{self, Answer};
use super::json::Document;
use super::settings::OfProvider;
use super::{Balance, Call, Class, Error, Inbox, Page, PageRequest, Profile, Provider};
use crate::backoff::Backoff;
use crate::model::Conversation;
use errors::Asked;
use person::Me;
use reply::Reply;
use settings::ApiVersion;

pub(super) use settings::{ConversationSettings, Settings};

pub(super) const PROFILE: Profile = Profile {
    name: "linkup",
    // The vendor's documentation allows 300 a minute; LinkedIn itself bears less of one account, and one at a time.
    requests_per_minute: 120,
    concurrency: 1,
    // One request may be several at LinkedIn.
    timeout: Duration::from_secs(60),
    // As long as the newest page holds it, a longer overlap costs nothing, and each page beyond costs a credit.
    overlap: Duration::from_secs(60),
    resolution: Duration::from_secs(1),
    // Already 288 credits a day for one conversation.
    advised_min_interval: Duration::from_secs(300),
    transient: Backoff { base: Duration::from_secs(10), cap: Duration::from_secs(600) },
    throttled: Backoff { base: Duration::from_secs(30), cap: Duration::from_secs(900) },
};

/// Results that one credit buys, says the vendor's documentation; a request costs one at least.
const RESULTS_PER_CREDIT: u32 = 10;

/// A probe asks for one result, where it costs anything.
const PROBE_PRICE: u32 = 1;

/// A generation of the API: its requests, and how their answers are read.
trait Generation: Send + Sync {
    /// Asks for a page of messages.
    fn messages(&self, conversation: &Conversation, cursor: Option<&str>) -> Request;

    /// Asks for a page of the inbox.
    fn inbox(&self, cursor: Option<&str>) -> Request;

    /// Asks how the account does.
    fn probe(&self) -> Request;

    /// Asks what is left of the credits, where that can be asked for.
    fn credits(&self) -> Option<Request> {
        None
    }

    /// Reads the answer to that.
    fn credits_left(&self, _answer: &Answer, _asked: Asked<'_>) -> Result<u64, Error> {
        Err(Error::new(Class::Protocol, "this generation of the API does not tell the credits that are left"))
    }

    /// Whether a probe costs as much as a page.
    fn charges_probes(&self) -> bool;

    /// Reads the envelope of the answer to a page of either kind: what it cost, if it is a success.
    fn reply(&self, answer: &Answer, asked: Asked<'_>) -> Result<u32, Error>;

    /// Reads the answer to a probe.
    fn health(&self, answer: &Answer, asked: Asked<'_>) -> Result<(), Error>;
}

/// A request, apart from where it goes and what every one carries.
struct Request {
    method: Method,
    path: String,
    body: Option<Vec<u8>>,
}

impl Request {
    fn get(path: &str) -> Self {
        Self { method: Method::GET, path: path.into(), body: None }
    }

    fn post(path: &str, body: &Value) -> Self {
        Self { method: Method::POST, path: path.into(), body: Some(body.to_string().into_bytes()) }
    }
}

/// One LinkedIn account.
pub(super) struct Linkup {
    client: Client,
    settings: Settings,
    generation: Box<dyn Generation>,
    secrets: Vec<SecretString>,
    /// What answers have told of the owner, so far.
    me: Mutex<Me>,
}

impl Linkup {
    fn new(settings: Settings, client: Client) -> Self {
        let generation: Box<dyn Generation> = match settings.api_version {
            ApiVersion::V1 => Box::new(v1::V1::new(&settings)),
            ApiVersion::V2 => Box::new(v2::V2::new(&settings)),
        };
        let secrets = settings.secrets();
        Self { client, generation, secrets, settings, me: Mutex::default() }
    }

    async fn send(&self, request: Request) -> Result<Answer, Error> {
        let url = format!("{}{}", self.settings.base_url(), request.path);
        let mut builder = self.client.request(request.method, url).headers(self.headers());
        if let Some(body) = request.body {
            builder = builder.body(body);
        }
        http::send(builder).await
    }

    fn headers(&self) -> HeaderMap {
        let mut key = HeaderValue::from_str(self.settings.api_key.expose_secret())
            .expect("the key is checked with the configuration");
        key.set_sensitive(true);
        let json = HeaderValue::from_static("application/json");
        HeaderMap::from_iter([
            (HeaderName::from_static("x-api-key"), key),
            (CONTENT_TYPE, json.clone()),
            (ACCEPT, json),
        ])
    }

    fn me(&self) -> MutexGuard<'_, Me> {
        self.me.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asked(&self, cursor: Option<&str>) -> Asked<'_> {
        Asked { price: self.price(Call::Page), by_cursor: cursor.is_some(), secrets: &self.secrets }
    }
}

#[async_trait]
impl Provider for Linkup {
    async fn page(&self, request: PageRequest<'_>) -> Result<Page, Error> {
        let asked = self.asked(request.cursor);
        let answer = self.send(self.generation.messages(request.conversation, request.cursor)).await?;
        let credits = self.generation.reply(&answer, asked)?;
        let document = Document::of(&answer.body);
        let reply = Reply::of(document.object().map_err(|e| http::malformed(&answer, &e))?, credits);
        let messages = messages::read(&reply, request.conversation, &self.settings, &mut self.me())?;
        let rest = reply.rest(request.cursor, self.settings.page_size());
        Ok(Page { messages, rest, credits, unreadable: document.unreadable(), ..Page::default() })
    }

    async fn probe(&self) -> Result<(), Error> {
        let answer = self.send(self.generation.probe()).await?;
        self.generation.health(&answer, Asked { price: PROBE_PRICE, ..self.asked(None) })
    }

    async fn examine(&self, _listed: &[&Conversation]) -> Result<Vec<String>, Error> {
        self.probe().await?;
        if self.balance().is_none() {
            return Ok(vec![]);
        }
        Ok(vec![match self.credits_left().await {
            Ok(left) => format!("{left} credits are left"),
            Err(error) => format!("how many credits are left is not known ({error})"),
        }])
    }

    fn balance(&self) -> Option<&dyn Balance> {
        self.generation.credits().map(|_| self as &dyn Balance)
    }

    fn inbox(&self) -> Option<&dyn Inbox> {
        Some(self)
    }

    /// Reserved by what is asked for; what was returned settles it, where the answer says what it cost.
    fn price(&self, call: Call) -> u32 {
        match call {
            Call::Page | Call::Listing => OfProvider::price(&self.settings),
            Call::Account if self.generation.charges_probes() => PROBE_PRICE,
            Call::Account | Call::Collecting => 0,
        }
    }
}

#[async_trait]
impl Balance for Linkup {
    async fn credits_left(&self) -> Result<u64, Error> {
        let request = self.generation.credits().expect("a balance is offered only where it can be asked for");
        let answer = self.send(request).await?;
        self.generation.credits_left(&answer, self.asked(None))
    }
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;
    use crate::model::ConversationType;

    impl Request {
        pub(super) fn json(&self) -> Value {
            serde_json::from_slice(self.body.as_deref().unwrap_or_default()).unwrap()
        }
    }

    pub(super) fn answer(status: u16, body: &str) -> Answer {
        Answer { status: StatusCode::from_u16(status).unwrap(), headers: HeaderMap::new(), body: body.into() }
    }

    pub(super) fn conversation(address: &str) -> Conversation {
        settings::identified(address, ConversationType::Standard, None)
    }

    /// What an answer cost, as a success or as a failure.
    pub(super) fn price_of(of: &dyn Generation, status: u16, body: &str, price: u32) -> Result<u32, Option<u32>> {
        let asked = Asked { price, by_cursor: false, secrets: &[] };
        of.reply(&answer(status, body), asked).map_err(|error| error.credits)
    }

    #[test]
    fn a_credit_buys_ten_results_and_a_page_costs_one_at_least() {
        http::install_tls();
        for (size, price) in [(1, 1), (10, 1), (11, 2), (50, 5)] {
            let v1 = format!(r#"{{"api_version":"v1","api_key":"k","login_token":"t","total_results":{size}}}"#);
            let v2 = format!(r#"{{"api_key":"k","account_id":"a","count":{size}}}"#);
            for (json, charges_probes) in [(v1, true), (v2, false)] {
                let client =
                    http::client(Duration::from_secs(1), &crate::providers::settings::Road::default()).unwrap();
                let linkup = Linkup::new(serde_json::from_str(&json).unwrap(), client);
                let prices = Call::ALL.map(|call| linkup.price(call));
                assert_eq!(prices, [price, price, u32::from(charges_probes), 0], "{json}");
            }
        }
    }
}
