//! A planted secret is searched for in every log line, file and table.

use std::path::Path;

use inboxd::simulator::{Dialect, Endpoint, Fault, When};

use crate::support::{Reply, Rig, inboxd_in, until};

/// Credentials as they lie in the harness's configuration; the signing secret also without its prefix.
const SECRETS: [&str; 4] =
    ["sim-linked-api-token", "sim-identification-token", "sim-api-key", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"];

/// Text of a message: data, never to be logged.
const TEXT: &str = "the-text-of-a-message";

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_any_log_line_file_or_table_even_when_everything_fails() {
    let mut rig = Rig::new().await;
    rig.more =
        "\n[sinks.console]\ntype = \"stdout\"\n\n[sinks.archive]\ntype = \"file\"\npath = \"events.jsonl\"\n".into();
    let sales = rig.follow(Dialect::LinkedApi, "Ada Byron");
    let work = rig.follow(Dialect::ConnectSafely, "Grace Murray");
    rig.http = "retry = [\"100ms\"]\ntimeout = \"1s\"\n".into();
    rig.receiver.script(vec![Reply::Echo(500), Reply::Echo(400)]);
    // Providers that repeat the request's credentials in their answers.
    for (endpoint, own) in
        [(Endpoint::LinkedApiPoll, SECRETS[..2].join(" or ")), (Endpoint::ConnectSafelyMessages, SECRETS[2].to_owned())]
    {
        let body = format!("{{\"success\":false,\"error\":\"{own} is wrong\"}}");
        let fault = Fault::Status { code: 500, body, headers: vec![] };
        rig.world().inject(fault, When { endpoint: Some(endpoint), times: Some(1), ..When::default() });
    }
    rig.world().inject(Fault::Reset, When { times: Some(2), ..When::default() });
    rig.write_config();
    let daemon = crate::support::Daemon::start(rig.path(), &["--log-level", "trace", "--log-format", "json"]);
    rig.world().push(sales, TEXT);
    rig.world().push(work, TEXT);
    let settled = || {
        let sinks = rig.overview().map(|o| o.sinks).unwrap_or_default();
        sinks.len() == 3 && sinks.iter().all(|s| s.delivered + s.dead == 2)
    };
    until("both messages at every sink", settled).await;
    assert!(daemon.log().contains("*** or *** is wrong"), "{}", daemon.log());
    let status = inboxd_in(rig.path(), &["status"]);
    let json = inboxd_in(rig.path(), &["status", "--json"]);
    let shown = inboxd_in(rig.path(), &["config", "show"]);
    assert_eq!(daemon.stop(), 0);
    for output in [&status, &json, &shown] {
        assert_eq!(output.code, 0, "{}", output.stderr);
        for secret in SECRETS {
            assert!(!output.stdout.contains(secret) && !output.stderr.contains(secret), "{secret} in {output:?}");
        }
    }
    assert!(shown.stdout.contains("***"));
    for file in files(rig.path()) {
        let name = file.file_name().unwrap().to_str().unwrap();
        if name == "inboxd.toml" {
            continue;
        }
        let content = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        for secret in SECRETS {
            assert!(!content.contains(secret), "{secret} in {name}");
        }
        if name == "stderr.log" {
            assert!(!content.contains(TEXT), "message text in the log");
            for line in content.lines() {
                serde_json::from_str::<serde_json::Value>(line).expect("a JSON log has one object per line");
            }
        }
    }
}

/// Answers every request with 404 and what it was asked, as gateways do: path, login and body, each in another writing.
async fn parrot() -> std::net::SocketAddr {
    use axum::http::{HeaderMap, StatusCode, Uri};
    let parrot = axum::Router::new().fallback(|uri: Uri, headers: HeaderMap, body: String| async move {
        let login = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let decoded =
            login.strip_prefix("Basic ").and_then(|login| data_encoding::BASE64.decode(login.as_bytes()).ok());
        let decoded = String::from_utf8(decoded.unwrap_or_default()).unwrap();
        let said = match uri.path().rsplit('/').next() {
            Some("escaped") => format!("Cannot POST {}", uri.to_string().replace('/', "\\/")),
            Some("login") => format!("unknown {login}, which is {decoded}"),
            Some("body") => body,
            _ => format!("Cannot POST {uri}"),
        };
        (StatusCode::NOT_FOUND, said)
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, parrot).await });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_repeats_what_it_was_sent_gives_no_secret_away() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    let at = parrot().await;
    let sinks = [
        ("path", format!("url = \"http://{at}/services/T00PLANTED/B00PLANTED/xPLANTEDx\"")),
        ("query", format!("url = \"http://{at}/q?key=qPLANTED9Kq7\"")),
        ("escaped", format!("url = \"http://{at}/hooks/9PLANTED/Kq7/escaped\"")),
        ("login", format!("url = \"http://ada:pPLANTED-77@{at}/login\"")),
        (
            "basic",
            format!(
                "url = \"http://{at}/login\"\nheaders = {{ Authorization = \"Basic dVBMQU5URUQ6cFBMQU5URUQ5OQ==\" }}"
            ),
        ),
        ("body", format!("url = \"http://{at}/body\"\ntemplate = '{{\"token\": \"tPLANTED0123456789\"}}'")),
    ];
    for (name, keys) in &sinks {
        rig.more += &format!("\n[sinks.{name}]\ntype = \"http\"\n{keys}\n");
    }
    rig.world().push(conversation, TEXT);
    rig.write_config();
    let daemon = crate::support::Daemon::start(rig.path(), &["--log-level", "trace"]);
    let refused = || {
        rig.overview()
            .is_some_and(|seen| seen.sinks.iter().filter(|sink| sink.failing_since.is_some()).count() >= sinks.len())
    };
    until("every sink to have been refused", refused).await;
    let answers = [&["status"][..], &["deliveries", "list"], &["deliveries", "list", "--json"], &["config", "show"]];
    let mut told: Vec<String> = answers.iter().map(|args| inboxd_in(rig.path(), args).stdout).collect();
    assert!(told[1].contains("Cannot POST /***/***/***/***"), "{}", told[1]);
    assert_eq!(daemon.stop(), 0);
    told.extend(
        files(rig.path())
            .iter()
            .filter(|file| !file.ends_with("inboxd.toml") && file.extension().is_none_or(|e| e != "sock"))
            .map(|file| String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned()),
    );
    for told in told {
        for line in told.lines() {
            assert!(!line.contains("PLANTED") && !line.contains("BMQU5URU"), "{line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn control_characters_of_a_provider_reach_neither_log_nor_terminal() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    let body = "\u{1b}[2J\u{202e}evil\r\nforged log line".to_owned();
    let fault = Fault::Status { code: 500, body, headers: vec![] };
    rig.world().inject(fault, When { times: Some(1), ..When::default() });
    rig.world().push(conversation, "\u{1b}]0;title\u{7}hello\u{9b}31m");
    let daemon = rig.start();
    rig.until_taken(1).await;
    let tail = inboxd_in(rig.path(), &["tail"]);
    let status = inboxd_in(rig.path(), &["status"]);
    assert_eq!(daemon.stop(), 0);
    let log = std::fs::read_to_string(rig.path().join("stderr.log")).unwrap();
    assert!(log.contains("\\u{1b}[2J"), "the answer is shown, harmlessly: {log}");
    for shown in [&log, &tail.stdout, &status.stdout] {
        let harmful = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!shown.contains(harmful), "{shown:?}");
    }
    assert!(!log.lines().any(|line| line.starts_with("forged")));
    assert!(tail.stdout.contains("\\u{1b}]0;title\\u{7}hello\\u{9b}31m"), "{}", tail.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_daemon_writes_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let mut rig = Rig::new().await;
    rig.follow(Dialect::ConnectSafely, "Ada Byron");
    let text = rig.config().replace("sqlite:inboxd.db", "sqlite:state/inboxd.db");
    std::fs::write(rig.path().join("inboxd.toml"), text).unwrap();
    let daemon = rig.start_again();
    until("the store", || daemon.log().contains("following 1 conv")).await;
    let state = rig.path().join("state");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    for file in files(&state) {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    assert_eq!(daemon.stop(), 0);
}
