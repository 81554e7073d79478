//! The provider's own object of a message, as it went over the wire.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use inboxd::config::{Account, Sources};
use inboxd::model::{Conversation, Message};
use inboxd::providers::{ListRequest, PageRequest, Provider};
use inboxd::simulator::Draft;
use serde_json::Value;
use tokio::net::TcpListener;

use super::Row;
use crate::support::Rig;

/// Stands between provider and simulator and keeps what the simulator sends.
struct Wire {
    simulator: String,
    client: reqwest::Client,
    sent: Mutex<String>,
}

impl Wire {
    /// Returns the address that takes the place of the simulator's.
    async fn start(simulator: &str) -> (Arc<Self>, String) {
        inboxd::providers::install_tls();
        let client = reqwest::Client::new();
        let wire = Arc::new(Self { simulator: simulator.into(), client, sent: Mutex::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let app = Router::new().fallback(pass_on).with_state(Arc::clone(&wire));
        tokio::spawn(async move { axum::serve(listener, app).await });
        (wire, address)
    }
}

async fn pass_on(
    State(wire): State<Arc<Wire>>,
    method: Method,
    uri: Uri,
    mut headers: HeaderMap,
    body: Bytes,
) -> Response {
    headers.remove(header::HOST);
    let request = wire.client.request(method, format!("http://{}{uri}", wire.simulator)).headers(headers).body(body);
    let answer = request.send().await.unwrap();
    let status = StatusCode::from_u16(answer.status().as_u16()).unwrap();
    let sent = answer.text().await.unwrap();
    wire.sent.lock().unwrap().push_str(&sent);
    (status, [(header::CONTENT_TYPE, "application/json")], sent).into_response()
}

/// The only account of the configuration, asked through `address`.
fn account(rig: &Rig, simulator: &str, address: &str) -> Account {
    let file = rig.path().join("inboxd.toml");
    std::fs::write(&file, rig.config().replace(simulator, address)).unwrap();
    let config = inboxd::config::load(&Sources { file: Some(file), overrides: vec![] }).unwrap();
    config.accounts.into_iter().next().unwrap()
}

async fn conversation(account: &Account, provider: &dyn Provider) -> Conversation {
    if let Some(followed) = account.conversations.first() {
        return (*followed.conversation).clone();
    }
    let inbox = provider.inbox().unwrap();
    let folder = inbox.folders().await.unwrap().listed.remove(0);
    let listing = inbox.list(ListRequest { folder: &folder, since: None, cursor: None }).await.unwrap();
    listing.rows.into_iter().next().unwrap().conversation
}

pub(super) async fn the_providers_own_object_is_kept_as_it_was_sent(row: &Row) {
    let mut rig = row.rig().await;
    let followed = row.conversation(&mut rig, "Ada Byron");
    rig.world().push(followed, "plain");
    let text = "two\nlines, \"quoted\" \\ and \u{1f44d}".to_owned();
    rig.world().push_draft(followed, Draft { text, outbound: true, ..Draft::default() });
    let simulator = rig.simulator.base_url(row.dialect).split('/').nth(2).unwrap().to_owned();
    let (wire, address) = Wire::start(&simulator).await;
    let account = account(&rig, &simulator, &address);
    // Some providers show nothing before they were told to collect it, which the daemon does.
    let daemon = rig.start();
    rig.until_taken(2).await;
    assert_eq!(daemon.stop(), 0);

    let provider = inboxd::providers::build(&account.settings, std::time::Duration::from_secs(30)).unwrap();
    let conversation = conversation(&account, &*provider).await;
    wire.sent.lock().unwrap().clear();
    let request = PageRequest { conversation: &conversation, since: None, cursor: None };
    let mut messages = provider.page(request).await.unwrap().messages;
    messages.sort_by_key(|message| message.text.len());
    assert_eq!(messages.len(), 2);
    let sent = wire.sent.lock().unwrap().clone();
    for message in &messages {
        assert!(is_of(message, &sent), "{message:?} of {sent}");
    }
    assert_ne!(messages[0].raw.as_ref().unwrap().get(), messages[1].raw.as_ref().unwrap().get());
}

/// Whether a message has its own object, letter by letter as it was sent.
fn is_of(message: &Message, sent: &str) -> bool {
    let raw = message.raw.as_ref().unwrap().get();
    let object: Value = serde_json::from_str(raw).unwrap();
    sent.contains(raw) && object["text"] == message.text.as_str()
}
