//! Providers whose answers are many megabytes: what they cost, and who else notices.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_LENGTH;
use axum::response::Response;
use inboxd::simulator::Dialect;

use crate::support::{Rig, inboxd_in, until};

/// A little below the limit.
const SIZE: usize = (16 << 20) - 4096;

const MESSAGE: &str =
    r#"{"messageUrn":"urn:li:msg_message:(urn:li:fsd_profile:ACoAAme,2-1)","text":"x","sentAt":1795000000000"#;

/// A page with one message whose attachments are nothing but this, over and over.
fn page_of(unit: &str) -> String {
    let (head, tail) =
        (format!("{{\"success\":true,\"hasMore\":false,\"messages\":[{MESSAGE},\"attachments\":["), "]}]}");
    let units = vec![unit; (SIZE - head.len()) / (unit.len() + 1)];
    format!("{head}{}{tail}", units.join(","))
}

/// A provider that answers every request alike.
async fn provider(answer: impl Fn() -> Response + Clone + Send + Sync + 'static) -> std::net::SocketAddr {
    let router = Router::new().fallback(move || std::future::ready(answer()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn account(name: &str, at: std::net::SocketAddr) -> String {
    format!(
        "\n[accounts.{name}]\nprovider = \"connectsafely\"\nbase_url = \"http://{at}/linkedin\"\n\
         api_key = \"{name}-0123456789\"\naccount_id = \"65f0c0ffee00c0ffee00c0de\"\n\
         [[accounts.{name}.conversations]]\nconversation_urn = \"urn:li:messagingThread:2-{name}\"\n"
    )
}

/// The most memory that a process has had, in MiB.
fn most_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_would_become_many_times_their_size_are_named_errors_and_nobody_else_notices() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::LinkedApi, "Ada Byron");
    let units = ["0", "{\"\":0}", "[]", "\"\""];
    for (number, unit) in (0..12).zip(units.into_iter().cycle()) {
        let page = Bytes::from(page_of(unit));
        let at = provider(move || Response::new(page.clone().into())).await;
        rig.more += &account(&format!("bad{number}"), at);
    }
    let daemon = rig.start();
    let refused = || daemon.log().matches("the answer has more than").count() >= 12;
    until("a named error of each account", refused).await;
    rig.world().push(conversation, "hello");
    rig.until_taken(1).await;
    let most = most_memory(daemon.pid());
    assert!(most <= 4 * 16 + 64, "{most} MiB");
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_the_process_has_not_survived_is_left_alone_and_told_and_the_others_go_on() {
    let mut rig = Rig::new().await;
    let other = rig.follow(Dialect::LinkedApi, "Ada Byron");
    rig.http = "events = [\"*\"]\n".into();
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let requests = asked.clone();
    // It says how much there is to come, and lets the daemon wait for it.
    let endless = move || {
        requests.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let begun = futures_util::stream::once(async { Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 5 << 20])) });
        let never = futures_util::StreamExt::chain(begun, futures_util::stream::pending());
        Response::builder().header(CONTENT_LENGTH, SIZE).body(Body::from_stream(never)).unwrap()
    };
    rig.more += &account("bad", provider(endless).await);
    let daemon = rig.start();
    let is_read = || {
        let database = rusqlite::Connection::open(rig.database());
        database.is_ok_and(|db| db.query_row("SELECT count(*) FROM readings", [], |r| r.get(0)) == Ok(1))
    };
    until("the answer to be on record", is_read).await;
    daemon.kill();
    let before = asked.load(std::sync::atomic::Ordering::SeqCst);

    let daemon = rig.start_again();
    until("the notice", || rig.receiver.notices().contains(&("conversation.poisoned".into(), "entered".into()))).await;
    rig.world().push(other, "hello");
    until("the other's message", || rig.receiver.of_type("message.new").len() == 1).await;
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), before, "it is left alone");
    let status = inboxd_in(rig.path(), &["status"]).stdout;
    assert!(status.contains("FAILING (poison)") && status.contains("1 process ended while an answer"), "{status}");
    assert_eq!(daemon.stop(), 0);
    assert!(!is_read(), "an end in order is no death");
}
