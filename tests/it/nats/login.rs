//! Every way to log in, TLS, and what a server says to those who may not publish.

use std::path::Path;
use std::process::Command;

use async_nats::ConnectOptions;
use inboxd::simulator::Dialect;
use serde_json::{Value, json};

use super::sink::{built, event};
use crate::support::nats::NatsServer;
use crate::support::nkeys::Operator;
use crate::support::{Daemon, Rig};

async fn delivers(url: &str, keys: Value) -> Result<(), String> {
    let delivered = built(url, keys).deliver(&[event("evt_1", "x")]).await;
    delivered.failure.map_or(Ok(()), |failure| Err(failure.recorded()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_and_a_token_may_stand_in_their_keys_or_before_the_host() {
    let options = ConnectOptions::new().user_and_password("inbox".into(), "p@ss".into());
    let config = "authorization { user: inbox, password: \"p@ss\" }";
    let Some(server) = NatsServer::start_with(config, options).await else { return };
    server.create_stream(&["inboxd.>"]).await;
    let refused = Err("the server refuses our login; look at credentials, token, user and password".to_owned());
    assert_eq!(delivers(&server.url(), json!({"user": "inbox", "password": "p@ss"})).await, Ok(()));
    assert_eq!(delivers(&server.url().replace("//", "//inbox:p%40ss@"), json!({})).await, Ok(()));
    assert_eq!(delivers(&server.url(), json!({})).await, refused);
    assert_eq!(delivers(&server.url(), json!({"token": "p@ss"})).await, refused);

    let token = ConnectOptions::new().token("t0ken".into());
    let Some(server) = NatsServer::start_with("authorization { token: \"t0ken\" }", token).await else { return };
    server.create_stream(&["inboxd.>"]).await;
    assert_eq!(delivers(&server.url(), json!({"token": "t0ken"})).await, Ok(()));
    assert_eq!(delivers(&server.url().replace("//", "//t0ken@"), json!({})).await, Ok(()));
    assert_eq!(delivers(&server.url(), json!({"token": "another"})).await, refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_publish_is_told_what_the_server_says() {
    let options = ConnectOptions::new().user_and_password("admin".into(), "a".into());
    let config = "authorization { users: [ { user: admin, password: a },\
                  { user: inbox, password: b, permissions: { publish: \"other.>\", subscribe: \">\" } } ] }";
    let Some(server) = NatsServer::start_with(config, options).await else { return };
    server.create_stream(&["inboxd.>"]).await;
    let failure =
        delivers(&server.url(), json!({"user": "inbox", "password": "b", "timeout": "1s"})).await.unwrap_err();
    assert!(
        failure.starts_with("no acknowledgement within 1s; the server does not let this login publish"),
        "{failure}"
    );
    assert!(
        failure.to_lowercase().contains("permissions violation for publish to \"inboxd.sales.message.new\""),
        "{failure}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_content_of_a_creds_file_logs_in_also_without_its_last_line_break() {
    let operator = Operator::new();
    let options = ConnectOptions::with_credentials(&operator.credentials).unwrap();
    let Some(server) = NatsServer::start_with(&operator.config, options).await else { return };
    server.create_stream(&["inboxd.>"]).await;
    assert_eq!(delivers(&server.url(), json!({"credentials": operator.credentials})).await, Ok(()));
    assert_eq!(delivers(&server.url(), json!({"credentials": operator.credentials.trim_end()})).await, Ok(()));
    let refused = delivers(&server.url(), json!({})).await.unwrap_err();
    assert!(refused.starts_with("the server refuses our login"), "{refused}");
}

/// Makes an authority and a certificate for 127.0.0.1 in `folder`; false, where openssl is not installed, is a skipped
/// test.
fn make_certificates(folder: &Path) -> bool {
    let steps = [
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.pem",
        "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=nats -addext subjectAltName=IP:127.0.0.1 \
         -keyout key.pem -out request.pem",
        "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -copy_extensions copy -days 2 -out cert.pem",
    ];
    for step in steps {
        let Ok(output) = Command::new("openssl").args(step.split_whitespace()).current_dir(folder).output() else {
            assert!(std::env::var_os("CI").is_none(), "openssl is missing");
            println!("skipped: openssl is not installed");
            return false;
        };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_kept_to_and_its_certificate_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    if !make_certificates(folder.path()) {
        return;
    }
    inboxd::providers::install_tls();
    let file = |name: &str| folder.path().join(name);
    let options = ConnectOptions::new().add_root_certificates(file("ca.pem"));
    let config =
        format!("tls {{ cert_file: \"{}\", key_file: \"{}\" }}", file("cert.pem").display(), file("key.pem").display());
    let Some(server) = NatsServer::start_with(&config, options).await else { return };
    server.create_stream(&["inboxd.>"]).await;
    let tls = |server: &NatsServer| server.url().replace("nats://", "tls://");
    let refused = delivers(&tls(&server), json!({})).await.unwrap_err();
    assert!(refused.contains("certificate"), "nobody here trusts its authority: {refused}");

    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::LinkedApi, "Ada Byron");
    rig.more = format!("\n[sinks.bus]\ntype = \"nats\"\nurl = \"{}\"\n", tls(&server));
    rig.write_config();
    rig.world().push(conversation, "in private");
    let daemon = Daemon::start_with(rig.path(), &[], |command| {
        command.env("SSL_CERT_FILE", file("ca.pem"));
    });
    server.until_stored(1).await;
    assert_eq!(daemon.stop(), 0);

    // The same authority, named by the sink alone; and the server's key, or another.
    let read = |name: &str| std::fs::read_to_string(file(name)).unwrap();
    let pin = crate::support::pin_of(&file("cert.pem"));
    let trusting = json!({"tls": {"ca": read("ca.pem"), "pin": [pin.clone(), "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]}});
    assert_eq!(delivers(&tls(&server), trusting).await, Ok(()));
    let pinned = json!({"tls": {"ca": read("ca.pem"), "pin": "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}});
    let refused = delivers(&tls(&server), pinned).await.unwrap_err();
    assert!(refused.contains("its key is none of those in tls.pin"), "{refused}");

    let options = ConnectOptions::new()
        .add_root_certificates(file("ca.pem"))
        .add_client_certificate(file("cert.pem"), file("key.pem"));
    let verifying =
        config.replace("tls {", &format!("tls {{ ca_file: \"{}\", verify: true,", file("ca.pem").display()));
    let Some(strict) = NatsServer::start_with(&verifying, options).await else { return };
    strict.create_stream(&["inboxd.>"]).await;
    let ours =
        json!({"tls": {"ca": read("ca.pem"), "client_certificate": read("cert.pem"), "client_key": read("key.pem")}});
    assert_eq!(delivers(&tls(&strict), ours).await, Ok(()));
    let refused = delivers(&tls(&strict), json!({"tls": {"ca": read("ca.pem")}})).await.unwrap_err();
    assert!(refused.contains("tls.client_certificate"), "{refused}");

    let plain = NatsServer::start().await.unwrap();
    plain.create_stream(&["inboxd.>"]).await;
    let refused = delivers(&tls(&plain), json!({"user": "u", "password": "p"})).await.unwrap_err();
    assert!(refused.starts_with("no connection"), "{refused}");
    assert_eq!(plain.count().await, 0);
}
