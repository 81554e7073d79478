//! What an HTTP sink sends besides the plain event: templates, headers, signatures; and what it makes of replies.

use std::time::{Duration, Instant};

use data_encoding::BASE64;
use inboxd::simulator::Dialect;
use serde_json::{Value, json};

use crate::support::{Daemon, Receiver, Reply, Rig, inboxd_in, until};

/// Text that breaks whatever forgets to escape.
const TRICKY: &str = "say \"hi\" \\ to\nGrüße 😀 {{ id }} ${HOME}";

#[tokio::test(flavor = "multi_thread")]
async fn a_template_makes_the_body_and_what_is_signed_is_what_is_sent() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    let template = "{\"said\": {{ data.message.text }}, \"by\": {{ headline }},\n \"no\": {{ data.message.raw }}, \
                    \"id\": {{ id }}}";
    rig.http = format!("template = '''{template}'''\ncontent_type = \"application/vnd.crm+json\"\n");
    rig.world().push(conversation, TRICKY);
    let daemon = rig.start();
    until("the event", || !rig.receiver.arrived().is_empty()).await;
    let arrived = rig.receiver.arrived().remove(0);
    assert_eq!(
        arrived.event(),
        json!({"said": TRICKY, "by": "Ada Byron · work", "no": null, "id": arrived.id()}),
        "{}",
        arrived.body
    );
    assert_eq!(arrived.headers["content-type"], "application/vnd.crm+json");
    let receiver = standardwebhooks::Webhook::new(Rig::secret()).unwrap();
    receiver.verify(arrived.body.as_bytes(), &arrived.headers).unwrap();
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_parses_json_alone_reads_events_and_content_type_makes_them_cloud_events() {
    for (key, expected) in [
        ("", "application/json"),
        ("content_type = \"application/cloudevents+json\"\n", "application/cloudevents+json"),
    ] {
        let mut rig = Rig::new().await;
        let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
        rig.http = key.into();
        rig.world().push(conversation, TRICKY);
        let daemon = rig.start();
        rig.until_taken(1).await;
        let arrived = rig.receiver.arrived().remove(0);
        assert_eq!(arrived.headers["content-type"], expected);
        assert_eq!(arrived.event()["data"]["message"]["text"], TRICKY);
        let receiver = standardwebhooks::Webhook::new(Rig::secret()).unwrap();
        receiver.verify(arrived.body.as_bytes(), &arrived.headers).unwrap();
        assert_eq!(daemon.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_plain_template_nothing_is_escaped() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    rig.http = "template = \"{{ headline }}: {{ data.message.text }}\"\ncontent_type = \"text/plain\"\n".into();
    rig.world().push(conversation, TRICKY);
    let daemon = rig.start();
    until("the event", || !rig.receiver.arrived().is_empty()).await;
    assert_eq!(rig.receiver.arrived()[0].body, format!("Ada Byron · work: {TRICKY}"));
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_the_template_fails_on_is_dead_and_the_next_one_arrives() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::LinkedApi, "Ada Byron");
    rig.http = "template = \"[{{ 1 // (data.message.text|length - 7) }}]\"\n".into();
    rig.world().push(conversation, "7 chars");
    rig.world().push(conversation, "8 chars.");
    let daemon = rig.start();
    until("the event", || !rig.receiver.arrived().is_empty()).await;
    assert_eq!(rig.receiver.arrived()[0].event(), json!([1]));
    let sink = || rig.overview().unwrap().sinks.remove(0);
    until("both to be settled", || (sink().delivered, sink().dead) == (1, 1)).await;
    assert!(sink().last_failure.unwrap().contains("the template fails: "), "{:?}", sink().last_failure);
    assert!(!daemon.log().contains("7 chars"), "message text in the log");
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_arrive_and_no_secret_is_shown_or_logged() {
    const SECRETS: [&str; 4] = ["s3cr3t-token", "s3cr3t-key", "s3cr3t-path", "s3cr3t-user"];
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::LinkedApi, "Ada Byron");
    let proxy = Receiver::start().await;
    rig.http = "headers = { Authorization = \"Bearer s3cr3t-token\", \"X-Api.Key\" = \"s3cr3t-key\" }\n".into();
    rig.more = format!(
        "\n[sinks.far]\ntype = \"http\"\nurl = \"http://crm.example.invalid/s3cr3t-path\"\nproxy = \"{}\"\n",
        proxy.url_of("").replace("http://", "http://s3cr3t-user:s3cr3t-key@")
    );
    rig.receiver.script(vec![Reply::Status(503)]);
    rig.http += "retry = [\"100ms\"]\n";
    rig.world().push(conversation, "hello");
    rig.write_config();
    let daemon = Daemon::start(rig.path(), &["--log-level", "trace"]);
    rig.until_taken(1).await;
    for arrived in rig.receiver.arrived() {
        assert_eq!(arrived.headers["authorization"], "Bearer s3cr3t-token");
        assert_eq!(arrived.headers["x-api.key"], "s3cr3t-key");
    }
    until("the event at the proxy", || !proxy.arrived().is_empty()).await;
    let through = proxy.arrived().remove(0);
    assert_eq!(through.headers["host"], "crm.example.invalid");
    let user = BASE64.encode(b"s3cr3t-user:s3cr3t-key");
    assert_eq!(through.headers["proxy-authorization"], format!("Basic {user}"));
    let shown = inboxd_in(rig.path(), &["config", "show"]);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    assert!(
        shown.stdout.contains("Authorization = \"***\"") && shown.stdout.contains("X-Api.Key\" = \"***\""),
        "{shown:?}"
    );
    for secret in SECRETS.into_iter().chain([user.as_str()]) {
        assert!(!shown.stdout.contains(secret) && !shown.stderr.contains(secret), "{secret}: {shown:?}");
        assert!(!daemon.log().contains(secret), "{secret} in the log");
    }
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_that_a_reply_asks_for_in_its_body_are_kept() {
    for reply in
        [json!({"message": "slow down", "retry_after": 1.2}), json!({"ok": false, "parameters": {"retry_after": 2}})]
    {
        let mut rig = Rig::new().await;
        let conversation = rig.follow(Dialect::LinkedApi, "Ada Byron");
        rig.http = "retry = [\"100ms\"]\n".into();
        rig.receiver.script(vec![Reply::Json(429, reply.clone())]);
        rig.world().push(conversation, "patient");
        let began = Instant::now();
        let daemon = rig.start();
        rig.until_taken(1).await;
        assert!(began.elapsed() >= Duration::from_millis(1200), "the told wait was not kept: {reply}");
        assert_eq!(daemon.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_is_kept_and_a_preset_brings_its_own() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::LinkedApi, "Ada Byron");
    rig.http = "rate = \"4/s\"\n".into();
    let slack = Receiver::start().await;
    rig.more = format!("\n[sinks.team]\ntype = \"http\"\npreset = \"slack\"\nurl = \"{}\"\n", slack.url());
    for number in 0..4 {
        rig.world().push(conversation, &number.to_string());
    }
    let began = Instant::now();
    let daemon = rig.start();
    rig.until_taken(4).await;
    assert!(began.elapsed() >= Duration::from_millis(750), "four events in {:?}", began.elapsed());
    until("the same at the other", || slack.arrived().len() == 4).await;
    assert!(began.elapsed() >= Duration::from_millis(3000), "four messages in {:?}", began.elapsed());
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_pair_that_the_program_makes_signs_what_its_public_key_verifies_also_while_rotating() {
    use ring::signature::{ED25519, UnparsedPublicKey};
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::LinkedApi, "Ada Byron");
    let made = inboxd_in(rig.path(), &["secret", "new", "--ed25519", "--json"]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    let (private, public) = (made["secret"].as_str().unwrap(), made["public"].as_str().unwrap());
    let signed = Receiver::start().await;
    rig.more = format!(
        "\n[sinks.signed]\ntype = \"http\"\nurl = \"{}\"\nsecret = [\"{private}\", \"{}\"]\n",
        signed.url(),
        Rig::secret()
    );
    rig.world().push(conversation, TRICKY);
    let daemon = rig.start();
    until("the event", || !signed.arrived().is_empty()).await;
    let arrived = signed.arrived().remove(0);
    let header = |name: &str| arrived.headers[name].to_str().unwrap();
    let (first, second) = header("webhook-signature").split_once(' ').expect("two signatures");
    let public = BASE64.decode(public.strip_prefix("whpk_").unwrap().as_bytes()).unwrap();
    let signature = BASE64.decode(first.strip_prefix("v1a,").unwrap().as_bytes()).unwrap();
    let content = format!("{}.{}.{}", header("webhook-id"), header("webhook-timestamp"), arrived.body);
    UnparsedPublicKey::new(&ED25519, public).verify(content.as_bytes(), &signature).unwrap();
    assert!(second.starts_with("v1,"), "{second}");
    standardwebhooks::Webhook::new(Rig::secret()).unwrap().verify(arrived.body.as_bytes(), &arrived.headers).unwrap();
    assert!(!daemon.log().contains(private));
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn secrets_are_printed_bare_where_no_person_reads() {
    let folder = tempfile::tempdir().unwrap();
    let made = |arguments: &[&str]| {
        let output = inboxd_in(folder.path(), &[&["secret", "new"], arguments].concat());
        assert_eq!((output.code, output.stderr.as_str()), (0, ""));
        output.stdout
    };
    let shared = made(&[]);
    assert_eq!(BASE64.decode(shared.strip_prefix("whsec_").unwrap().trim_end().as_bytes()).unwrap().len(), 32);
    assert_ne!(shared, made(&[]));
    let pair = made(&["--ed25519"]);
    let prefixes: Vec<_> = pair.lines().map(|line| line.split_once('_').unwrap().0).collect();
    assert_eq!(prefixes, ["whsk", "whpk"]);
    let json: Value = serde_json::from_str(&made(&["--json"])).unwrap();
    assert!(json["secret"].as_str().unwrap().starts_with("whsec_") && json.get("public").is_none());
}

#[test]
fn what_is_wrong_with_a_sink_is_told_by_key_and_without_its_values() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        ("headers = { \"X-Key\" = \"s3cr3t\\r\\nX-Evil: 1\" }", "headers: the value of X-Key has a line break"),
        ("headers = { Host = \"s3cr3t\" }", "headers: Host is set by the HTTP client"),
        (
            "headers = { Content-Type = \"s3cr3t\" }",
            "headers: Content-Type is set by the sink: application/json, or what the key content_type",
        ),
        ("headers = { webhook-id = \"s3cr3t\" }", "headers: webhook-id is set by the sink"),
        ("headers = [\"s3cr3t\"]", "headers: expected a table, found a list"),
        ("template = \"{{ hedline }}\"", "template: uses hedline, which no event of this sink has"),
        (
            "template = '{\"a\": \"{{ headline }}\"}'",
            "template: cannot render an event of type message.new: what it gives",
        ),
        ("template = '''\n{\n{{ headline }\n}'''", "template: line 2: "),
        ("preset = \"slack\"\ntemplate = \"x\"", "template: and preset each make the body"),
        ("content_type = \"text/plain\"", "content_type: names no JSON, and an event is JSON: application/json,"),
        (
            "preset = \"slack\"\ncontent_type = \"application/json\"",
            "content_type: and preset cannot both be there: a preset brings its own; remove it",
        ),
        ("preset = \"irc\"", "preset: must be one of slack, discord, telegram, teams, ntfy"),
        ("preset = \"telegram\"\nchat_id = 5", "url: must be that of a bot's sendMessage"),
        ("rate = \"10\"", "rate: expected a rate of at least 1, such as \"10/s\""),
        ("rate = 10", "rate: expected a rate of at least 1, such as \"10/s\""),
        ("network = \"lan\"", "network: expected \"any\", \"public\" or a list of address ranges"),
        ("network = [\"10.0.0.0/40\"]", "network: expected \"any\", \"public\" or a list of address ranges"),
        (
            "proxy = \"http://s3cr3t@127.0.0.1\"\nnetwork = \"public\"",
            "proxy: makes the connections, so network could not",
        ),
        ("secret = \"s3cr3t\"", "secret: must be \"whsec_\" or \"whsk_\" and base64; \"inboxd secret new\" makes one"),
    ];
    for (keys, says) in cases {
        let text = format!(
            "[accounts.work]\nprovider = \"connectsafely\"\napi_key = \"k\"\naccount_id = \"65f0c0ffee00c0ffee00c0de\"\n\
             [sinks.crm]\ntype = \"http\"\nurl = \"https://crm.example.com/s3cr3t/TOPIC\"\n{keys}\n"
        );
        std::fs::write(folder.path().join("inboxd.toml"), text).unwrap();
        let output = inboxd_in(folder.path(), &["check"]);
        assert_eq!(output.code, 78, "{keys}: {}", output.stderr);
        assert!(
            output.stderr.contains(&format!("inboxd.toml: sinks.crm.{says}")),
            "{says:?} is not in:\n{}",
            output.stderr
        );
        assert!(!output.stderr.contains("s3cr3t"), "{}", output.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_repeats_our_token_puts_it_into_no_record() {
    let mut rig = Rig::new().await;
    rig.http = "headers = { Authorization = \"Bearer s3cr3t-token\" }\nretry = [\"1h\"]\n\
                template = '{\"said\": {{ data.message.text }}}'\n"
        .into();
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    rig.receiver.reply(Reply::Echo(422));
    rig.world().push(conversation, "you sent Authorization: Bearer s3cr3t-token");
    let daemon = rig.start();
    until("a dead delivery", || rig.overview().is_some_and(|o| o.sinks.iter().any(|sink| sink.dead == 1))).await;
    let listed = crate::support::inboxd_in(rig.path(), &["deliveries", "list"]).stdout;
    assert!(
        listed.contains("you sent Authorization: Bearer ***"),
        "what it repeated is there but for the token: {listed}"
    );
    assert!(!listed.contains("s3cr3t"), "{listed}");
    assert_eq!(daemon.stop(), 0);
}
