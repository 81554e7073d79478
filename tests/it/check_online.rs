//! `inboxd check --online`: which of wrong key, wrong URL, no network and signed out it is, and that it costs nothing.

use inboxd::simulator::{Dialect, KeyOf, Settings};

use crate::support::{Rig, inboxd_in};

async fn all_accounts() -> Rig {
    let mut rig = Rig::new().await;
    for dialect in Dialect::ALL {
        rig.discover(dialect, "");
    }
    rig
}

/// Runs the check on a changed configuration; returns the exit code and the line of every account.
fn checked(rig: &Rig, change: impl Fn(&str) -> String) -> (i32, Vec<String>) {
    std::fs::write(rig.path().join("inboxd.toml"), change(&rig.config())).unwrap();
    let output = inboxd_in(rig.path(), &["check", "--online"]);
    let lines = output.stdout.lines().filter(|line| line.starts_with("accounts.")).map(str::to_owned).collect();
    (output.code, lines)
}

/// The same, and the line of the sink.
fn checked_sink(rig: &Rig, change: impl Fn(&str) -> String) -> (i32, String) {
    std::fs::write(rig.path().join("inboxd.toml"), change(&rig.config())).unwrap();
    let output = inboxd_in(rig.path(), &["check", "--online"]);
    (output.code, output.stdout.lines().last().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_that_work_are_ok_and_only_where_every_call_is_billed_does_it_cost() {
    let rig = all_accounts().await;
    let (code, lines) = checked(&rig, str::to_owned);
    assert_eq!((code, lines.len()), (0, 6), "{lines:?}");
    assert!(lines.iter().all(|line| line.ends_with(": ok")), "{lines:?}");
    assert_eq!(rig.world().linkup_credits(), 1, "v1 has no call that is free, v2 has");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_account_is_asked_through_its_proxy_and_through_no_other() {
    let rig = all_accounts().await;
    // It refuses everybody, and keeps what it was asked.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = format!("http://user:s3cr3t%23key@{}", listener.local_addr().unwrap());
    let (tell, asked) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 16 << 10];
            let length = stream.read(&mut request).unwrap_or(0);
            drop(tell.send(String::from_utf8_lossy(&request[..length]).to_lowercase()));
            drop(stream.write_all(b"HTTP/1.1 407 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"));
        }
    });
    let through = |text: &str| {
        let text = text.replace(&rig.simulator.addr().to_string(), "api.example.invalid");
        text.replace("\nprovider = ", &format!("\nproxy = \"{proxy}\"\nprovider = "))
    };
    let (code, lines) = checked(&rig, through);
    assert_eq!((code, lines.len()), (3, 6), "{lines:#?}");
    assert!(lines.iter().all(|line| line.contains("status 407: a proxy wants a user")), "{lines:#?}");
    assert!(!lines.concat().contains("s3cr3t"), "{lines:#?}");
    let login = format!("proxy-authorization: basic {}", data_encoding::BASE64.encode(b"user:s3cr3t#key"));
    let asked: Vec<_> = asked.try_iter().collect();
    assert_eq!(asked.len(), 6);
    for request in asked {
        let first = request.lines().next().unwrap_or_default();
        assert!(first.contains(" http://api.example.invalid/"), "{request}");
        assert!(request.contains(&login.to_lowercase()), "{request}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_a_wrong_url_and_no_network_are_told_apart() {
    let rig = all_accounts().await;
    let wrong_keys = |text: &str| text.replace("\"sim-", "\"wrong-");
    let (code, lines) = checked(&rig, wrong_keys);
    assert_eq!(code, 3);
    assert!(lines.iter().all(|line| line.contains("WRONG KEY")), "{lines:#?}");
    // A server that is none of these APIs.
    let elsewhere = format!("http://{}/nothing-here", rig.simulator.addr());
    let wrong_urls = |text: &str| {
        let mut text = text.to_owned();
        for dialect in Dialect::ALL {
            text = text.replace(&format!("\"{}\"", rig.simulator.base_url(dialect)), &format!("\"{elsewhere}\""));
        }
        text
    };
    let (code, lines) = checked(&rig, wrong_urls);
    assert_eq!(code, 3);
    assert!(lines.iter().all(|line| line.contains("WRONG URL")), "{lines:#?}");
    let nobody = |text: &str| text.replace(&rig.simulator.addr().to_string(), "127.0.0.1:9");
    let (code, lines) = checked(&rig, nobody);
    assert_eq!(code, 3);
    assert!(lines.iter().all(|line| line.contains("NO NETWORK")), "{lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_linkedin_account_that_is_signed_out_is_told_as_that() {
    let rig = all_accounts().await;
    rig.world().set_switches(|s| {
        s.connect_safely.account_has_tokens = false;
        s.unipile.account_status = "disconnected".into();
        s.unipile.v1_source_status = "CREDENTIALS".into();
        s.linkup.dead_session = Some("Cookie invalid or expired".into());
    });
    let (code, lines) = checked(&rig, str::to_owned);
    assert_eq!(code, 3);
    for account in ["work", "main", "old", "legacy"] {
        let line = lines.iter().find(|line| line.starts_with(&format!("accounts.{account} "))).unwrap();
        assert!(line.contains("SIGNED OUT"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_only_says_that_it_runs_is_signed_out() {
    let mut rig = Rig::new().await;
    rig.discover(Dialect::UnipileV2, "");
    rig.world().set_switches(|s| s.unipile.is_connected = false);
    let (code, lines) = checked(&rig, str::to_owned);
    assert_eq!(code, 3);
    assert!(lines[0].contains("SIGNED OUT") && lines[0].contains("LinkedIn does not answer"), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_and_an_account_of_the_other_generation_are_named_as_that() {
    let mut rig = Rig::new().await;
    rig.discover(Dialect::UnipileV2, "");
    rig.discover(Dialect::UnipileV1, "");
    let line = |lines: &[String], account: &str| {
        lines.iter().find(|line| line.starts_with(&format!("accounts.{account} "))).unwrap().clone()
    };
    for (key_of, account, said) in [(KeyOf::V1, "main", "a key of API v1"), (KeyOf::V2, "old", "a key of API v2")] {
        rig.world().set_switches(|s| s.unipile.key_of = key_of);
        let (code, lines) = checked(&rig, str::to_owned);
        let line = line(&lines, account);
        assert!(code == 3 && line.contains("WRONG KEY") && line.contains(said), "{line}");
    }
    rig.world().set_switches(|s| s.unipile.key_of = KeyOf::Both);
    let own = Settings::default().unipile_v1_account_id;
    let (code, lines) = checked(&rig, |config| config.replace(&own, "acc_sim0000001"));
    let line = line(&lines, "old");
    assert!(code == 3 && line.contains("acc_... is an id of API v2"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_credits_that_are_left_and_the_channels_that_work_are_told() {
    let mut rig = Rig::new().await;
    rig.discover(Dialect::LinkupV2, "");
    rig.follow(Dialect::LinkedApi, "Ada Byron");
    rig.world().set_switches(|s| s.linkup.balance = 4_825);
    let notes = |rig: &Rig| {
        rig.write_config();
        let output = inboxd_in(rig.path(), &["check", "--online"]);
        (output.code, output.stdout)
    };
    let (code, said) = notes(&rig);
    assert!(code == 0 && said.contains("4825 credits are left"), "{said}");
    assert!(said.contains("channel = \"conversations\" works") && said.contains("channel = \"inbox\" works"), "{said}");
    assert_eq!(rig.world().linkup_credits(), 0);
    rig.world().set_switches(|s| s.linked_api.inbox_by_person = false);
    let (code, said) = notes(&rig);
    assert!(code == 0 && said.contains("channel = \"inbox\" does not work"), "{said}");
    rig.linkedapi = "channel = \"inbox\"\n".into();
    assert_eq!(notes(&rig).0, 3, "it is the one that is configured");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_cannot_be_reached_is_told_without_an_event_being_sent() {
    let mut rig = Rig::new().await;
    rig.follow(Dialect::ConnectSafely, "Ada Byron");
    assert_eq!(checked_sink(&rig, str::to_owned), (0, "sinks.crm: can be reached".to_owned()));
    let (code, line) = checked_sink(&rig, |config| config.replace(&rig.receiver.url(), "http://127.0.0.1:9/"));
    assert_eq!(code, 3);
    assert!(line.starts_with("sinks.crm: CANNOT BE REACHED: "), "{line}");
    assert_eq!(rig.receiver.taken_count(), 0);
}
