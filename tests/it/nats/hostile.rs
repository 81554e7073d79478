//! Servers that are none, or not honest: what they may cost, and where a connection may lead.

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::sink::{built, event};
use crate::support::nats::NatsServer;

const GREETING: &str = "INFO {\"server_id\":\"x\",\"version\":\"2.10.0\",\"max_payload\":1048576,\"headers\":true}\r\n";

/// A server that says this as soon as somebody has logged in; sends on and on where it is asked to. Returns its address, and
/// how many bytes it could send before it was cut off.
async fn hostile(
    first: &'static str,
    says: &'static str,
    more: &'static str,
) -> (String, tokio::task::JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        drop(stream.write_all(first.as_bytes()).await);
        if first == GREETING {
            answer_until_published(&mut stream).await;
        }
        drop(stream.write_all(says.as_bytes()).await);
        let (chunk, mut sent) = (more.repeat(64 << 10), 0);
        while !more.is_empty() && sent < 256 << 20 && stream.write_all(chunk.as_bytes()).await.is_ok() {
            sent += chunk.len();
        }
        sent
    });
    (url, serving)
}

/// Answers as a server does until an event is published.
async fn answer_until_published(stream: &mut TcpStream) {
    let (reader, mut writer) = stream.split();
    let mut lines = BufReader::new(reader);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).await.is_ok_and(|length| length > 0) {
        if line.starts_with(b"PING") {
            writer.write_all(b"PONG\r\n").await.unwrap();
        } else if line.starts_with(b"HPUB") {
            return;
        }
        line.clear();
    }
}

async fn refused(url: &str, keys: Value) -> String {
    built(url, keys).deliver(&[event("evt_1", "x")]).await.failure.expect("is not delivered").recorded()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_announces_is_not_believed_and_what_has_no_end_is_cut_off() {
    for (first, says, more, told) in [
        (GREETING, "MSG _INBOX.a 1 3221225472\r\n", "x", "the server announces a message of 3221225472 bytes"),
        (GREETING, "HMSG _INBOX.a 1 12 3221225472\r\n", "x", "the server announces a message of 3221225472 bytes"),
        (GREETING, "-ERR '", "x", "the server sends a line of more than 64 KiB"),
        (GREETING, "MSG a 1 18446744073709551616\r\n", "x", "the server sends what is not the protocol of NATS"),
        // The client library panics at it, and with it would the daemon.
        (GREETING, "-ERR\r\n", "", "the server sends what is not the protocol of NATS"),
        // It answers each of them, whether the answers are read or not.
        (GREETING, "PING\r\n", "PING\r\n", "the server asks more than 100 times a minute whether we are there"),
        ("INFO ", "", "x", "no connection: the server sends a line of more than 64 KiB"),
        (
            "HTTP/1.1 400 Bad Request\r\n\r\n",
            "",
            "",
            "no connection: the server sends what is not the protocol of NATS",
        ),
        ("INFO [\r\n", "", "", "no connection: what answers is no NATS server"),
    ] {
        let (url, serving) = hostile(first, says, more).await;
        let failure = refused(&url, json!({"timeout": "20s"})).await;
        assert!(failure.contains(told), "{says:?}: {failure}");
        // The system's own buffers take some.
        let sent = serving.await.unwrap();
        assert!(sent < 32 << 20, "{says:?}: {sent} bytes were taken");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_between_the_greeting_and_tls_is_not_taken_for_the_servers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"INFO {\"tls_required\":true}\r\n+OK\r\n").await.unwrap();
        let mut told = Vec::new();
        drop(stream.read_to_end(&mut told).await);
        told
    });
    let failure = refused(&url, json!({"user": "u", "password": "s3cr3t"})).await;
    assert!(failure.contains("the server says more before TLS than it may"), "{failure}");
    assert!(serving.await.unwrap().is_empty(), "nothing was said to it");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rule_of_addresses_is_kept_for_names_and_odd_spellings_and_for_each_server_of_a_list() {
    let Some(server) = NatsServer::start().await else { return };
    server.create_stream(&["inboxd.>"]).await;
    let port = server.port();
    for host in ["localhost", "2130706433", "127.1", "0x7f000001"] {
        let failure = refused(&format!("nats://{host}:{port}"), json!({"network": "public"})).await;
        assert!(failure.contains("network = \"public\" refuses addresses in "), "{host}: {failure}");
        let failure = refused(&format!("nats://{host}:{port}"), json!({"network": ["10.0.0.0/8"]})).await;
        assert!(failure.contains("network lists other addresses than this one"), "{host}: {failure}");
    }
    let both = json!([format!("nats://localhost:{port}"), format!("nats://127.0.0.1:{port}")]);
    let delivered =
        built("nats://x", json!({"url": both, "network": ["127.0.0.1/32"]})).deliver(&[event("evt_1", "x")]).await;
    assert_eq!((delivered.count, delivered.failure), (1, None));
    assert_eq!(server.count().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_nothing_more_is_left_and_not_kept_beside_the_next_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    let (tell, mut left) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                drop(stream.write_all(GREETING.as_bytes()).await);
                answer_until_published(&mut stream).await;
                // Nothing is read from here on; that the other side has gone is seen by what is said to it.
                while stream.write_all(b"+OK\r\n").await.is_ok() {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
                let _ = tell.send(());
            });
        }
    });
    let sink = built(&url, json!({"timeout": "500ms"}));
    for _ in 0..2 {
        let failure = sink.deliver(&[event("evt_1", "x")]).await.failure.expect("is not delivered").recorded();
        assert!(failure.contains("no acknowledgement within 500ms"), "{failure}");
    }
    for _ in 0..2 {
        left.recv().await.unwrap();
    }
}
