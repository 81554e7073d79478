//! The simulator over real HTTP.

mod connectsafely;
mod control;
mod faults;
mod linkedapi;
mod linkedapi_inbox;
mod linkup;
mod linkup_inbox;
mod scenario;
mod traffic;
mod unipile_rules;
mod unipile_states;
mod unipile_v1;
mod unipile_v2;

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use super::*;
use crate::time::UnixMillis;

/// A simulator and a client that knows its secrets.
struct Bench {
    simulator: Simulator,
    client: reqwest::Client,
}

/// An answer, read to its end.
struct Reply {
    status: u16,
    headers: reqwest::header::HeaderMap,
    text: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

impl Bench {
    async fn start() -> Self {
        // A second installation in the same process is refused, which is what we want.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { simulator: Simulator::start(Settings::default()).await.unwrap(), client }
    }

    fn world(&self) -> &World {
        self.simulator.world()
    }

    fn add(&self, dialect: Dialect, person: &str) -> ConversationRef {
        self.world().add_conversation(dialect, Kind::Standard, person)
    }

    fn request(&self, method: Method, url: String) -> RequestBuilder {
        let settings = Settings::default();
        let key = if url.contains("/linkup/") { settings.linkup_api_key } else { settings.unipile_api_key };
        self.client
            .request(method, url)
            .timeout(Duration::from_secs(10))
            .header("linked-api-token", settings.linked_api_token)
            .header("identification-token", settings.identification_token)
            .header("authorization", format!("Bearer {}", settings.api_key))
            .header("x-api-key", key)
    }

    fn linked_api(&self, method: Method, path: &str, body: Value) -> RequestBuilder {
        let url = format!("{}{path}", self.simulator.base_url(Dialect::LinkedApi));
        let request = self.request(method, url);
        if body.is_null() { request } else { request.body(body.to_string()) }
    }

    async fn try_poll(&self, body: Value) -> Result<Reply, reqwest::Error> {
        read(self.linked_api(Method::POST, "/conversations/poll", body)).await
    }

    /// Polls one conversation of Linked API.
    async fn poll(&self, conversation: ConversationRef, since: Option<&str>) -> Value {
        self.try_poll(serde_json::json!([self.entry(conversation, since)])).await.unwrap().json()
    }

    fn entry(&self, conversation: ConversationRef, since: Option<&str>) -> Value {
        let mut entry = serde_json::json!({ "personUrl": self.world().address(conversation), "type": "st" });
        if let Some(since) = since {
            entry["since"] = since.into();
        }
        entry
    }

    fn connect_safely(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, format!("{}{path}", self.simulator.base_url(Dialect::ConnectSafely)))
    }

    async fn try_page(&self, conversation: ConversationRef, query: &str) -> Result<Reply, reqwest::Error> {
        let urn = percent_encoding::utf8_percent_encode(
            &self.world().address(conversation),
            percent_encoding::NON_ALPHANUMERIC,
        )
        .to_string();
        read(self.connect_safely(&format!("/conversations/{urn}/messages?{query}"))).await
    }

    /// One page of a ConnectSafely conversation.
    async fn page(&self, conversation: ConversationRef, query: &str) -> Value {
        self.try_page(conversation, query).await.unwrap().json()
    }

    /// A path below Unipile v2's account.
    fn unipile(&self, path: &str) -> RequestBuilder {
        let account = Settings::default().unipile_account_id;
        self.request(Method::GET, format!("{}/{account}{path}", self.simulator.base_url(Dialect::UnipileV2)))
    }

    /// The path of a chat of Unipile, its id as one segment.
    fn chat(&self, conversation: ConversationRef) -> String {
        let id = self.world().address(conversation);
        format!("/chats/{}", percent_encoding::utf8_percent_encode(&id, percent_encoding::NON_ALPHANUMERIC))
    }

    async fn control(&self, method: Method, path: &str, body: Value) -> Reply {
        let request = self.client.request(method, format!("http://{}/control{path}", self.simulator.addr()));
        read(if body.is_null() { request } else { request.body(body.to_string()) }).await.unwrap()
    }
}

async fn read(request: RequestBuilder) -> Result<Reply, reqwest::Error> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Reply { status, headers, text: response.text().await? })
}

/// The texts of an array of messages.
fn texts(messages: &Value) -> Vec<&str> {
    messages.as_array().unwrap().iter().map(|message| message["text"].as_str().unwrap()).collect()
}

fn at(millis: i64) -> UnixMillis {
    UnixMillis::from_millis(millis)
}

/// A draft with a text and a time.
fn dated(text: &str, millis: i64) -> Draft {
    Draft { text: text.into(), sent_at: Some(at(millis)), ..Draft::default() }
}

#[tokio::test]
async fn stopping_does_not_wait_for_hung_requests_and_frees_the_port() {
    let bench = Bench::start().await;
    bench.world().inject(Fault::Hang, When::default());
    let hung = tokio::spawn(read(bench.connect_safely("/accounts")));
    while bench.world().request_count(Endpoint::ConnectSafelyAccounts) == 0 {
        tokio::task::yield_now().await;
    }
    let addr = bench.simulator.addr();
    tokio::time::timeout(Duration::from_secs(1), bench.simulator.stop()).await.unwrap();
    assert!(hung.await.unwrap().is_err());
    tokio::net::TcpListener::bind(addr).await.unwrap();
}

#[tokio::test]
async fn unknown_paths_are_counted_and_refused() {
    let bench = Bench::start().await;
    for base in ["", "/linkedapi", "/connectsafely", "/connectsafely/linkedin", "/unipile/v2", "/unipile/v1"] {
        let url = format!("http://{}{base}/nowhere", bench.simulator.addr());
        assert_eq!(read(bench.request(Method::GET, url)).await.unwrap().status, 404, "{base}");
    }
    assert_eq!(read(bench.linked_api(Method::GET, "/conversations/poll", Value::Null)).await.unwrap().status, 404);
    assert_eq!(bench.world().request_count(Endpoint::Unknown), 7);
}

#[tokio::test]
async fn request_log_has_query_and_body_but_no_header() {
    let bench = Bench::start().await;
    let conversation = bench.add(Dialect::LinkedApi, "Ada Byron");
    bench.poll(conversation, None).await;
    let thread = bench.add(Dialect::ConnectSafely, "Mara Lind");
    bench.page(thread, "count=2").await;
    let requests = bench.world().requests();
    assert_eq!((requests[0].endpoint, requests[0].method.as_str()), (Endpoint::LinkedApiPoll, "POST"));
    assert!(requests[0].body.contains("ada-byron"));
    assert_eq!((requests[1].endpoint, requests[1].query.as_str()), (Endpoint::ConnectSafelyMessages, "count=2"));
    assert!(!serde_json::to_string(&requests).unwrap().contains(&Settings::default().api_key));
    bench.world().set_switches(|switches| switches.log_requests = false);
    bench.page(thread, "").await;
    assert_eq!(bench.world().requests().len(), 2);
    assert_eq!(bench.world().request_count(Endpoint::ConnectSafelyMessages), 2);
}

#[test]
fn same_seed_makes_same_ids_and_another_seed_others() {
    let ids = |seed| {
        let world = World::new(Settings { seed, ..Settings::default() });
        [Dialect::LinkedApi, Dialect::ConnectSafely, Dialect::UnipileV2, Dialect::UnipileV1].map(|dialect| {
            let conversation = world.add_conversation(dialect, Kind::Standard, "Ada Byron");
            (world.address(conversation), world.push_draft(conversation, dated("x", 1_760_000_000_000)))
        })
    };
    assert_eq!(ids(1), ids(1));
    assert_ne!(ids(1)[1], ids(2)[1]);
}

#[test]
fn namesakes_have_addresses_of_their_own() {
    let world = World::new(Settings::default());
    let addresses: std::collections::HashSet<_> = ["Ada Byron", "Ada Byron", "Ada Byron 2", "Ada Byron"]
        .map(|name| world.address(world.add_conversation(Dialect::LinkedApi, Kind::Standard, name)))
        .into();
    assert_eq!(addresses.len(), 4);
}

#[test]
fn pushed_messages_have_strictly_increasing_times() {
    let world = World::new(Settings::default());
    let conversation = world.add_conversation(Dialect::ConnectSafely, Kind::Standard, "Ada Byron");
    for _ in 0..100 {
        world.push(conversation, "x");
    }
    let ledger = world.ledger();
    assert!(
        ledger.windows(2).all(|pair| pair[0].sent_at < pair[1].sent_at && pair[0].message_id != pair[1].message_id)
    );
}
