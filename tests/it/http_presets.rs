//! What the presets send, field by field as the services document it.

use inboxd::simulator::{Dialect, Endpoint, Fault, When};
use serde_json::{Value, json};

use crate::support::{Arrived, Receiver, Reply, Rig, inboxd_in, until};

const TOKEN: &str = "12345:s3cr3t";

/// Sinks of all presets, to one receiver that they tell apart by the path.
fn sinks(receiver: &Receiver, events: &str) -> String {
    let paths = [
        ("slack", "/services/T0/B0/x".to_owned(), ""),
        ("discord", "/api/webhooks/1/x".to_owned(), ""),
        ("telegram", format!("/bot{TOKEN}/sendMessage"), "chat_id = -1001234\n"),
        ("teams", "/workflows/x".to_owned(), ""),
        ("ntfy", "/my_topic-1".to_owned(), ""),
    ];
    let sink = |(preset, path, more): (&str, String, &str)| {
        let url = receiver.url_of(&path);
        format!(
            "\n[sinks.{preset}]\ntype = \"http\"\npreset = \"{preset}\"\nurl = \"{url}\"\nevents = {events}\n{more}"
        )
    };
    paths.map(sink).concat()
}

/// What arrived of a service, in order.
fn sent(receiver: &Receiver, preset: &str) -> Vec<Arrived> {
    receiver.arrived_at(match preset {
        "slack" => "/services/T0/B0/x",
        "discord" => "/api/webhooks/1/x",
        "telegram" => "/bot12345:s3cr3t/sendMessage",
        "teams" => "/workflows/x",
        _ => "/",
    })
}

async fn all_sent(receiver: &Receiver, count: usize) -> [Value; 5] {
    let presets = ["slack", "discord", "telegram", "teams", "ntfy"];
    until("every service to be told", || presets.iter().all(|preset| sent(receiver, preset).len() >= count)).await;
    presets.map(|preset| {
        let arrived = sent(receiver, preset).remove(count - 1);
        assert_eq!(arrived.headers["content-type"], "application/json");
        assert!(!arrived.headers.contains_key("webhook-signature"));
        arrived.event()
    })
}

fn units(value: &Value) -> usize {
    value.as_str().unwrap().encode_utf16().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_preset_sends_what_its_service_documents() {
    let mut rig = Rig::new().await;
    let services = Receiver::start().await;
    services.reply(Reply::Json(200, json!({"ok": true})));
    rig.more = sinks(&services, "[\"message.new\"]");
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    let daemon = rig.start();
    rig.world().push(conversation, "Tom & <!here> *said* \"hi\"\nsee https://a.example/b_c \u{202e}😀");
    let [slack, discord, telegram, teams, ntfy] = all_sent(&services, 1).await;

    let (head, text) = ("Ada Byron · work", "Tom & <!here> *said* \"hi\"\nsee https://a.example/b_c 😀");
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    assert_eq!(
        slack,
        json!({"text": format!("{head}: {escaped}"), "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": head, "emoji": false}},
            {"type": "section", "text": {"type": "plain_text", "text": text, "emoji": false}}
        ]})
    );
    let time = rig.receiver.taken()[0]["time"].clone();
    let markdown = "Tom \\& \\<!here\\> \\*said\\* \"hi\"\nsee https://a.example/b_c 😀";
    assert_eq!(
        discord,
        json!({"embeds": [{"title": head, "description": markdown, "timestamp": time}], "allowed_mentions": {"parse": []}})
    );
    assert_eq!(
        telegram,
        json!({"chat_id": "-1001234", "text": format!("{head}\n{text}"), "link_preview_options": {"is_disabled": true}})
    );
    let card = &teams["attachments"][0];
    assert_eq!(
        (&teams["type"], &card["contentType"]),
        (&json!("message"), &json!("application/vnd.microsoft.card.adaptive"))
    );
    assert_eq!((&card["content"]["type"], &card["content"]["version"]), (&json!("AdaptiveCard"), &json!("1.4")));
    let runs = [0, 1].map(|block| card["content"]["body"][block]["inlines"][0]["text"].as_str().unwrap().to_owned());
    assert_eq!(runs, [head, text]);
    assert_eq!(ntfy, json!({"topic": "my_topic-1", "title": head, "message": text}));

    assert!(!daemon.log().contains(TOKEN), "the token of a bot is a secret");
    assert!(!daemon.log().contains("has no secret"), "{}", daemon.log());
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_long_for_a_service_is_cut_and_says_so() {
    let mut rig = Rig::new().await;
    let services = Receiver::start().await;
    services.reply(Reply::Json(200, json!({"ok": true})));
    rig.more = sinks(&services, "[\"message.new\"]");
    let conversation = rig.follow(Dialect::LinkedApi, &"Ada ".repeat(100));
    let daemon = rig.start();
    for (count, text) in ["\"😀".repeat(4_000), "*<\n\u{8a9e}".repeat(2_500)].iter().enumerate() {
        rig.world().push(conversation, text);
        let [slack, discord, telegram, teams, ntfy] = all_sent(&services, count + 1).await;
        let limits = [
            (&slack["blocks"][0]["text"]["text"], 150),
            (&slack["blocks"][1]["text"]["text"], 3_000),
            (&discord["embeds"][0]["title"], 256),
            (&discord["embeds"][0]["description"], 4_096),
            (&telegram["text"], 4_096),
            (&teams["attachments"][0]["content"]["body"][1]["inlines"][0]["text"], 7_000),
        ];
        for (value, limit) in limits {
            assert!(value.as_str().unwrap().ends_with('…'), "{value}");
            assert!((limit - 1..=limit).contains(&units(value)), "{} of {limit}: {value}", units(value));
        }
        assert!(slack["text"].as_str().unwrap().len() <= 40_000);
        let message = ntfy["message"].as_str().unwrap();
        assert!(message.ends_with('…') && (3_490..=3_500).contains(&message.len()), "{}", message.len());
        let bytes = |preset: &str| sent(&services, preset).remove(count).body.len();
        assert!(bytes("teams") <= 28_000, "{}", bytes("teams"));
        assert!(bytes("ntfy") <= 8_192, "{}", bytes("ntfy"));
    }
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_needs_a_person_is_told_in_words() {
    let mut rig = Rig::new().await;
    let services = Receiver::start().await;
    services.reply(Reply::Json(200, json!({"ok": true})));
    rig.more = sinks(&services, "[\"account.*\"]");
    rig.follow(Dialect::ConnectSafely, "Ada Byron");
    let refused = Fault::Status { code: 401, body: "{\"error\":\"who are you?\"}".into(), headers: vec![] };
    rig.world().inject(refused, When { endpoint: Some(Endpoint::ConnectSafelyMessages), ..When::default() });
    let daemon = rig.start();
    let [slack, _, telegram, _, ntfy] = all_sent(&services, 1).await;
    assert_eq!(ntfy["title"], "work needs a person");
    assert_eq!(slack["blocks"][0]["text"]["text"], "work needs a person");
    let detail = ntfy["message"].as_str().unwrap();
    assert!(!detail.is_empty());
    assert_eq!(telegram["text"], format!("work needs a person\n{detail}"));
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn telegram_says_no_in_its_body_whatever_the_status() {
    let mut rig = Rig::new().await;
    let bot = Receiver::start().await;
    bot.reply(Reply::Json(200, json!({"ok": true})));
    bot.script(vec![
        Reply::Json(200, json!({"ok": false, "error_code": 403, "description": "bot was blocked by the user"})),
        Reply::Json(200, json!({"ok": false, "error_code": 429, "parameters": {"retry_after": 1}})),
        Reply::Status(200),
    ]);
    rig.more = format!(
        "\n[sinks.bot]\ntype = \"http\"\npreset = \"telegram\"\nchat_id = \"@sales\"\nurl = \"{}\"\n\
         retry = [\"100ms\", \"100ms\"]\n",
        bot.url_of("/bot1:x/sendMessage")
    );
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    rig.world().push(conversation, "blocked");
    rig.world().push(conversation, "held back, then taken");
    let daemon = rig.start();
    until("five attempts", || bot.arrived().len() == 5).await;
    let said = |position: usize| bot.arrived()[position].event()["text"].as_str().unwrap().to_owned();
    assert!(
        (0..4).all(|position| said(position) == "Ada Byron · work\nblocked"),
        "that is about the bot, not the message"
    );
    assert!(said(4).ends_with("then taken"));
    let sink = || rig.overview().unwrap().sinks.into_iter().find(|sink| sink.name.as_str() == "bot").unwrap();
    until("both to be settled", || (sink().delivered, sink().dead) == (2, 0)).await;
    assert!(daemon.log().contains("the reply itself says no (as status 403)"), "{}", daemon.log());
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_200_that_says_no_is_no_delivery() {
    let mut rig = Rig::new().await;
    let services = Receiver::start().await;
    services.reply(Reply::Text(200, "ok".into()));
    let teams = "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error";
    services.script(vec![
        Reply::Text(200, "invalid_payload".into()),
        Reply::Json(200, json!({"ok": false, "error": "ratelimited"})),
        Reply::Text(200, format!("{teams} 429 with ContextId tcid=0..")),
        Reply::Text(200, "<html>Please sign in</html>".into()),
    ]);
    rig.more = format!(
        "\n[sinks.team]\ntype = \"http\"\npreset = \"slack\"\nurl = \"{}\"\nrate = \"100/s\"\nretry = [\"50ms\", \
         \"50ms\", \"50ms\", \"50ms\"]\n",
        services.url_of("/services/T0/B0/x")
    );
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    rig.world().push(conversation, "too odd for Slack");
    rig.world().push(conversation, "taken in the end");
    let daemon = rig.start();
    until("five attempts", || services.arrived().len() == 5).await;
    let sink = || rig.overview().unwrap().sinks.into_iter().find(|sink| sink.name.as_str() == "team").unwrap();
    until("both to be settled", || (sink().delivered, sink().dead) == (1, 1)).await;
    let said: Vec<_> = services.arrived().iter().map(|arrived| arrived.event()["text"].clone()).collect();
    assert!(said[1..].iter().all(|text| text == "Ada Byron · work: taken in the end"), "{said:?}");
    let log = daemon.log();
    for because in ["(invalid_payload)", "(ratelimited)", "(as status 429)", "(this is not an answer of the service)"] {
        assert!(log.contains(&format!("status 200, but the reply itself says no {because}")), "{because}: {log}");
    }
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn addresses_that_a_preset_cannot_work_with_are_warned_of_without_being_shown() {
    let folder = tempfile::tempdir().unwrap();
    for (keys, says) in [
        ("preset = \"slack\"\nurl = \"https://hooks.slack.com/triggers/T0/1/s3cr3t\"", "url starts a workflow"),
        ("preset = \"slack\"\nurl = \"https://hooks.slack.com/services/T0/B0/s3cr3t\"", ""),
        ("preset = \"teams\"\nurl = \"https://a.webhook.office.com/webhookb2/s3cr3t\"", "which Microsoft retires"),
        ("preset = \"slack\"\nurl = \"https://discord.com/api/webhooks/1/s3cr3t\"", "write preset = \"discord\""),
        ("url = \"https://hooks.slack.com/services/T0/B0/s3cr3t\"", "preset = \"slack\" writes messages for it"),
        ("url = \"https://n8n.example.com/webhook-test/s3cr3t\"", "url is a test address of n8n"),
    ] {
        let text = format!(
            "[accounts.work]\nprovider = \"connectsafely\"\napi_key = \"k\"\naccount_id = \"65f0c0ffee00c0ffee00c0de\"\n\
             [sinks.team]\ntype = \"http\"\n{keys}\n"
        );
        crate::support::write_private(&folder.path().join("inboxd.toml"), &text);
        let output = inboxd_in(folder.path(), &["check"]);
        assert_eq!(output.code, 0, "{}", output.stderr);
        assert!(output.stderr.contains(says) && output.stderr.is_empty() == says.is_empty(), "{}", output.stderr);
        assert!(!output.stderr.contains("s3cr3t"), "{}", output.stderr);
    }
}
