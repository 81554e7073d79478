//! What goes over the wire, against a server that plays back answers and notes what it was asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, Uri};
use serde_json::{Value, json};

use super::settings::tests::with;
use super::{Api, encoded};
use crate::model::Conversation;
use crate::providers::settings::OfProvider;
use crate::providers::{Class, Fault, ListRequest, Page, PageRequest, Proof, Provider, Rest, http};
use crate::time::UnixMillis;

const WELL: &str = r#"{"object":"Account","connection_params":{"im":{"id":"ACoAAme"}},"sources":[{"status":"OK"}]}"#;

type Played = (u16, Option<(&'static str, &'static str)>, String);

#[derive(Clone, Default)]
struct Player {
    answers: Arc<Mutex<Vec<Played>>>,
    asked: Arc<Mutex<Vec<(String, HeaderMap)>>>,
}

impl Player {
    fn play(&self, status: u16, body: impl ToString) {
        self.answers.lock().unwrap().push((status, None, body.to_string()));
    }

    fn play_with(&self, header: (&'static str, &'static str), body: impl ToString) {
        self.answers.lock().unwrap().push((200, Some(header), body.to_string()));
    }

    /// What has been asked since the last time.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap()).into_iter().map(|(asked, _)| asked).collect()
    }

    fn answer(&self, uri: &Uri, headers: HeaderMap) -> (StatusCode, HeaderMap, String) {
        self.asked.lock().unwrap().push((uri.to_string(), headers));
        let (status, header, body) = self.answers.lock().unwrap().remove(0);
        let headers = header.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        (StatusCode::from_u16(status).unwrap(), HeaderMap::from_iter(headers), body)
    }
}

async fn provider(more: Value) -> (Player, Box<dyn Provider>) {
    http::install_tls();
    let player = Player::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut keys = json!({ "base_url": format!("http://{}", listener.local_addr().unwrap()) });
    keys.as_object_mut().unwrap().append(&mut more.as_object().unwrap().clone());
    let playing = player.clone();
    let router = axum::Router::new()
        .fallback(move |uri: Uri, headers: HeaderMap| std::future::ready(playing.answer(&uri, headers)));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (
        player,
        with(keys).build(http::client(Duration::from_secs(5), &crate::providers::settings::Road::default()).unwrap()),
    )
}

async fn v1() -> (Player, Box<dyn Provider>) {
    provider(json!({ "api_version": "v1", "account_id": "dfX" })).await
}

fn chat() -> Conversation {
    with(json!({})).named("2-QWxw/GE=").unwrap()
}

async fn page(
    provider: &dyn Provider,
    since: Option<&str>,
    cursor: Option<&str>,
) -> Result<Page, crate::providers::Error> {
    let since = since.map(|since| UnixMillis::parse(since).unwrap());
    let request = PageRequest { conversation: &chat(), since, cursor };
    look_if_wanted(provider).await;
    let page = provider.page(request).await?;
    if !page.awaits_account {
        return Ok(page);
    }
    look_if_wanted(provider).await;
    provider.page(request).await
}

/// What the scheduler does before a page or a listing.
async fn look_if_wanted(provider: &dyn Provider) {
    if provider.wants_account() {
        // What follows from a look that fails the page says.
        drop(provider.look_at_account().await);
    }
}

fn list_request<'a>(folder: &'a str, since: Option<UnixMillis>, cursor: Option<&'a str>) -> ListRequest<'a> {
    ListRequest { folder, since, cursor }
}

/// A page of v2 with messages of these numbers.
fn messages(numbers: std::ops::Range<u32>) -> Value {
    let message = |number: u32| {
        json!({ "object": "Message", "id": format!("m{number}"), "timestamp": "2026-11-20T09:14:03.512Z",
            "is_sender": false })
    };
    json!({ "data": numbers.map(message).collect::<Vec<_>>() })
}

#[tokio::test]
async fn v2_is_asked_for_fresh_answers_with_the_key_and_says_which_were_not() {
    let (player, provider) = provider(json!({})).await;
    player.play_with(("x-cache", "HIT"), messages(0..3));
    let cached = page(&*provider, Some("2026-11-20T09:00:00Z"), None).await.unwrap();
    assert!(cached.proof == Proof::Cached && cached.rest == Rest::Nothing && cached.messages.len() == 3);
    let (asked, headers) = player.asked.lock().unwrap().remove(0);
    assert_eq!(asked, "/acc_7h2/chats/2-QWxw%2FGE%3D/messages?limit=25");
    assert_eq!(
        (&headers["x-api-key"], &headers["cache-control"]),
        (&"k_demo".parse().unwrap(), &"no-cache".parse().unwrap())
    );
    player.play_with(("x-cache", "MISS"), messages(0..3));
    assert_eq!(page(&*provider, None, None).await.unwrap().proof, Proof::Now);
}

#[tokio::test]
async fn v2_goes_on_by_what_the_page_says_and_ends_where_only_cursors_would_go_on() {
    let (player, provider) = provider(json!({})).await;
    player.play(200, messages(0..25));
    assert_eq!(page(&*provider, None, None).await.unwrap().rest, Rest::More("offset:24".into()));
    player.play(200, messages(24..30));
    assert_eq!(page(&*provider, None, Some("offset:24")).await.unwrap().rest, Rest::Nothing);
    let refusal = |detail: &str| json!({ "object": "Error", "type": "provider/invalid_parameters", "status": 400, "title": "Invalid", "detail": detail });
    player.play(400, refusal("a cursor is needed"));
    let end = page(&*provider, None, Some("offset:24")).await.unwrap();
    assert!(end.messages.is_empty() && end.rest == Rest::Nothing);
    player.play(400, refusal("the cursor has expired"));
    assert!(page(&*provider, None, Some("cursor:b3A=")).await.unwrap_err().cursor_refused);
    let asked = player.asked();
    assert!(asked[1].ends_with("?limit=25&offset=24") && asked[3].ends_with("?cursor=b3A%3D"), "{asked:?}");
}

#[tokio::test]
async fn v2_asks_once_who_owns_the_account_and_watches_it_only_while_it_is_in_trouble() {
    let (player, provider) = provider(json!({})).await;
    let own = json!({ "data": [{ "id": "m", "timestamp": "2026-11-20T09:14:03Z", "sender_id": "ACoAAme" }] });
    let account = |status: &str| json!({ "object": "Account", "user_id": "ACoAAme", "status": status });
    player.play(200, &own);
    player.play(200, account("running"));
    player.play(200, &own);
    player.play(200, &own);
    for _ in 0..2 {
        let page = page(&*provider, None, None).await.unwrap();
        assert_eq!(page.messages[0].direction, crate::model::Direction::Outbound);
        assert_eq!(page.proof, Proof::Now);
    }
    assert_eq!(player.asked().len(), 4, "the first page is read again once the owner is known");
    player.play(200, account("errored"));
    let errored = provider.probe().await.unwrap_err();
    assert_eq!((errored.class, errored.wait), (Class::Transient, Some(Duration::from_secs(300))));
    player.play(200, &own);
    assert!(matches!(page(&*provider, None, None).await.unwrap().proof, Proof::CollectedUntil(_)));
    player.play(200, account("disconnected"));
    let signed_out = provider.probe().await.unwrap_err();
    assert_eq!((signed_out.class, signed_out.fault), (Class::Auth, Fault::SignedOut));
    player.play(200, account("partial"));
    provider.probe().await.unwrap();
    player
        .play(404, json!({ "object": "Error", "type": "api/resource_not_found", "status": 404, "title": "Not found" }));
    assert_eq!(provider.probe().await.unwrap_err().class, Class::Auth, "the account was removed");
}

#[tokio::test]
async fn the_inbox_of_v2_is_its_enabled_primary_folders_and_a_refused_folder_is_gone_alone() {
    let (player, provider) = provider(json!({})).await;
    let inbox = provider.inbox().unwrap();
    let off = json!({ "id": "RECRUITER_PRIMARY", "disabled": true });
    player
        .play(200, json!({ "data": [{ "id": "CLASSIC_PRIMARY", "disabled": false }, { "id": "CLASSIC_SPAM" }, off] }));
    let folders = inbox.folders().await.unwrap();
    assert_eq!((folders.listed, folders.left_out), (vec!["CLASSIC_PRIMARY".into()], vec!["CLASSIC_SPAM".into()]));
    let chat = |number: u32| json!({ "object": "Chat", "id": format!("c{number}") });
    player.play(200, json!({ "data": (0..25).map(chat).collect::<Vec<_>>() }));
    let since = Some(UnixMillis::now());
    let listing = inbox.list(list_request("CLASSIC_PRIMARY", since, None)).await.unwrap();
    assert_eq!((listing.rows.len(), listing.next.as_deref()), (25, Some("offset:24")));
    player.play(
        403,
        json!({ "object": "Error", "type": "provider/insufficient_permissions", "status": 403, "title": "No contract" }),
    );
    assert_eq!(inbox.list(list_request("RECRUITER_PRIMARY", since, None)).await.unwrap_err().class, Class::Gone);
    assert_eq!(
        player.asked(),
        [
            "/acc_7h2/inboxes",
            "/acc_7h2/inboxes/CLASSIC_PRIMARY/chats?limit=25",
            "/acc_7h2/inboxes/RECRUITER_PRIMARY/chats?limit=25",
        ]
    );
}

#[tokio::test]
async fn v1_looks_at_the_account_first_and_once_and_pages_by_cursor_alone() {
    let (player, provider) = v1().await;
    player.play(200, WELL);
    player.play(200, json!({ "object": "MessageList", "items": [{ "id": "m" }], "cursor": "YQ==" }));
    player.play(200, json!({ "object": "MessageList", "items": [], "cursor": null }));
    let first = page(&*provider, Some("2026-11-20T09:00:00Z"), None).await.unwrap();
    assert_eq!(first.rest, Rest::More("cursor:YQ==".into()));
    assert!(matches!(first.proof, Proof::SeenCollecting(_)));
    let last = page(&*provider, Some("2026-11-20T09:00:00Z"), Some("cursor:YQ==")).await.unwrap();
    assert_eq!(last.rest, Rest::Nothing);
    let asked = player.asked();
    assert_eq!(asked[0], "/accounts/dfX");
    // A day earlier now and then, for what is imported late.
    assert!(
        ["20", "19"].iter().any(|day| {
            asked[1] == format!("/chats/2-QWxw%2FGE%3D/messages?limit=100&after=2026-11-{day}T09%3A00%3A00.000Z")
        }),
        "{asked:?}"
    );
    assert_eq!(asked[2], "/chats/2-QWxw%2FGE%3D/messages?cursor=YQ%3D%3D");
}

#[tokio::test]
async fn v1_claims_nothing_while_the_account_is_ill_and_asks_nothing_while_it_is_signed_out() {
    let (player, provider) = v1().await;
    player.play(200, json!({ "sources": [{ "status": "CONNECTING" }] }));
    player.play(200, json!({ "items": [], "cursor": null }));
    player.play(200, json!({ "items": [], "cursor": null }));
    let before = UnixMillis::now();
    for _ in 0..2 {
        let page = page(&*provider, None, None).await.unwrap();
        assert_eq!(page.proof, Proof::Stopped);
    }
    assert_eq!(player.asked().len(), 3);
    player.play(200, json!({ "sources": [{ "status": "CREDENTIALS" }] }));
    assert_eq!(provider.probe().await.unwrap_err().fault, Fault::SignedOut);
    let refused = page(&*provider, None, None).await.unwrap_err();
    assert_eq!((refused.class, player.asked().len()), (Class::Auth, 1));
    let still_ill = UnixMillis::now();
    player.play(200, WELL);
    provider.probe().await.unwrap();
    // What was missed may be imported with its old times.
    player.play(200, json!({ "items": [], "cursor": null }));
    let since = Some(UnixMillis::now() + Duration::from_secs(3600));
    provider.inbox().unwrap().list(list_request("", since, None)).await.unwrap();
    let asked = player.asked();
    let after = asked[1].strip_prefix("/messages?limit=250&account_id=dfX&after=").unwrap().replace("%3A", ":");
    let day = Duration::from_secs(24 * 3600);
    assert!((before - day..=still_ill - day).contains(&UnixMillis::parse(&after).unwrap()), "{after}");
}

#[tokio::test]
async fn the_inbox_of_v1_is_its_chats_and_then_the_messages_of_the_account() {
    let (player, provider) = v1().await;
    let inbox = provider.inbox().unwrap();
    assert_eq!(inbox.folders().await.unwrap().listed, [""]);
    player.play(200, WELL);
    look_if_wanted(&*provider).await;
    player.play(200, json!({ "items": [{ "id": "R8J", "timestamp": "2026-11-20T09:14:03.5Z" }], "cursor": "YQ==" }));
    let chats = inbox.list(list_request("", None, None)).await.unwrap();
    assert_eq!(chats.next.as_deref(), Some("cursor:YQ=="));
    player.play(
        200,
        json!({ "items": [{ "id": "m", "chat_id": "R8J", "timestamp": "2026-11-20T09:14:03.500Z" }], "cursor": null }),
    );
    let moved = inbox.list(list_request("", UnixMillis::parse("2026-11-20T09:00:00Z"), None)).await.unwrap();
    assert_eq!((moved.next, &moved.rows[0].mark), (None, &chats.rows[0].mark));
    let asked = player.asked();
    assert_eq!(asked[1], "/chats?limit=100&account_id=dfX");
    assert_eq!(asked[2], "/messages?limit=250&account_id=dfX&after=2026-11-20T09%3A00%3A00.000Z");
}

#[test]
fn an_id_is_one_path_segment_and_the_query_of_the_base_stays() {
    http::install_tls();
    let base_url = "http://127.0.0.1:1/api/v1?port=13111";
    let client = http::client(Duration::from_secs(1), &crate::providers::settings::Road::default()).unwrap();
    let api = Api::new(with(json!({ "base_url": base_url })), client);
    let path = format!("/chats/{}/messages", encoded("2-a+b/c:d%=="));
    assert_eq!(
        api.url(&path, "limit=100"),
        "http://127.0.0.1:1/api/v1/chats/2-a%2Bb%2Fc%3Ad%25%3D%3D/messages?port=13111&limit=100"
    );
    assert_eq!(api.url("/accounts/a", ""), "http://127.0.0.1:1/api/v1/accounts/a?port=13111");
}
