//! Bad input: exit code, message and no secret in it.

use std::path::Path;
use std::process::Command;

use inboxd::config::Sources;
use inboxd::scheduler::Priority;

use crate::support::{Output, finished, inboxd, inboxd_in, write_private};

const GOOD: &str = r#"
[accounts.work]
provider = "connectsafely"
api_key = "s3cr3t-key"
account_id = "65f0c0ffee00c0ffee00c0de"
base_url = "http://127.0.0.1:9/linkedin"

[[accounts.work.conversations]]
conversation_urn = "urn:li:messagingThread:2-MGE1"

[sinks.archive]
type = "file"
path = "events.jsonl"
"#;

fn checked(text: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("inboxd.toml"), text).unwrap();
    inboxd_in(folder.path(), &["check"])
}

/// Refused with this code and a message that has all of these, and no secret.
fn refused(code: i32, text: &str, says: &[&str]) {
    let output = checked(text);
    assert_eq!(output.code, code, "{}", output.stderr);
    for part in says {
        assert!(output.stderr.contains(part), "{part:?} is not in:\n{}", output.stderr);
    }
    assert!(!output.stderr.contains("s3cr3t"), "{}", output.stderr);
    assert!(output.stdout.is_empty(), "{}", output.stdout);
}

#[test]
fn a_good_configuration_passes() {
    let output = checked(GOOD);
    assert_eq!((output.code, output.stdout.as_str()), (0, "configuration ok: 1 account, 1 conversation, 1 sink\n"));
}

#[test]
fn a_typo_in_a_key_names_file_key_path_and_the_nearest_known_key() {
    let cases = [
        (
            "conversation_urn",
            "conversation_run",
            "accounts.work.conversations[0].conversation_run: unknown key; did you mean \"conversation_urn\"?",
        ),
        (
            "[[accounts.work.conversations]]",
            "[[accounts.work.conversatoins]]",
            "accounts.work.conversatoins: unknown key; did you mean \"conversations\"?",
        ),
        ("account_id =", "acount_id =", "accounts.work.acount_id: unknown key; did you mean \"account_id\"?"),
        ("path =", "pth =", "sinks.archive.pth: unknown key; did you mean \"path\"?"),
        (
            "[accounts.work]",
            "[polling]\nmin_intervall = \"1s\"\n[accounts.work]",
            "polling.min_intervall: unknown key; did you mean \"min_interval\"?",
        ),
        ("[accounts.work]", "[stoer]\n[accounts.work]", "stoer: unknown section; did you mean \"store\"?"),
        (
            "[sinks.archive]",
            "[accounts.work.polling]\noverlaps = \"1m\"\n[sinks.archive]",
            "accounts.work.polling.overlaps: unknown key; did you mean \"overlap\"?",
        ),
    ];
    for (from, to, says) in cases {
        refused(78, &GOOD.replace(from, to), &["inboxd.toml: ", says]);
    }
}

#[test]
fn wrong_types_and_missing_units_say_what_is_expected_and_repeat_no_value() {
    let polling = |line: &str| GOOD.replace("[accounts.work]", &format!("[polling]\n{line}\n[accounts.work]"));
    refused(
        78,
        &polling("min_interval = 30"),
        &["polling.min_interval: expected a duration with a unit, such as \"30s\"", "found a number"],
    );
    refused(78, &polling("min_interval = \"30\""), &["polling.min_interval: expected a duration with a unit"]);
    refused(78, &polling("max_pages = \"many\""), &["polling.max_pages: expected a whole number, found other text"]);
    refused(78, &polling("max_pages = -1"), &["polling.max_pages: expected a whole number"]);
    refused(78, &GOOD.replace("\"s3cr3t-key\"", "8675309"), &["accounts.work.api_key: expected text, found a number"]);
    refused(
        78,
        &GOOD.replace("\"s3cr3t-key\"", "[\"s3cr3t-key\"]"),
        &["accounts.work.api_key: expected text, found a list"],
    );
    refused(
        78,
        &GOOD.replace("[accounts.work]", "[store]\nmin_free = 5\n[accounts.work]"),
        &["store.min_free: expected a size with a unit"],
    );
    assert!(!checked(&GOOD.replace("\"s3cr3t-key\"", "8675309")).stderr.contains("8675309"));
}

#[test]
fn contradictions_are_refused_with_their_consequence() {
    let polling =
        |lines: &str| GOOD.replace("[sinks.archive]", &format!("[accounts.work.polling]\n{lines}\n[sinks.archive]"));
    refused(78, &polling("min_interval = \"0s\""), &["accounts.work.polling.min_interval: must be at least 100ms"]);
    refused(
        78,
        &polling("min_interval = \"1h\"\nmax_interval = \"1m\""),
        &["accounts.work.polling.max_interval: is 1m, shorter than min_interval (1h)"],
    );
    refused(78, &polling("requests_per_minute = 0"), &["requests_per_minute: must be at least 1"]);
    refused(78, &polling("overlap = \"8d\""), &["recheck_depth: must be longer than overlap"]);
    refused(78, &polling("first_poll = \"yesterday\""), &["first_poll: must be \"now\", \"all\" or a time"]);
    let shared = GOOD.replace("[accounts.work]", "[polling]\nmin_interval = \"0s\"\n[accounts.work]");
    refused(78, &shared, &["inboxd.toml: polling.min_interval: must be at least 100ms"]);
    let twice = GOOD.replace(
        "[sinks.archive]",
        "[[accounts.work.conversations]]\nconversation_urn = \"urn:li:msg_conversation:(urn:li:fsd_profile:ACoAAx,2-MGE1)\"\n[sinks.archive]",
    );
    refused(78, &twice, &["accounts.work.conversations[1]: names a conversation that is listed before it"]);
    let same_file = format!("{GOOD}\n[sinks.other]\ntype = \"file\"\npath = \"./events.jsonl\"\n");
    refused(78, &same_file, &["sinks.other: writes to the same place as sinks.archive"]);
}

#[test]
fn unknown_providers_and_types_name_the_known_ones() {
    refused(
        78,
        &GOOD.replace("\"connectsafely\"", "\"conectsafely\""),
        &["accounts.work.provider: unknown provider; did you mean \"connectsafely\"?"],
    );
    refused(
        78,
        &GOOD.replace("\"connectsafely\"", "\"pigeon\""),
        &["accounts.work.provider: unknown provider; known are connectsafely, linkedapi"],
    );
    refused(78, &GOOD.replace("provider = \"connectsafely\"\n", ""), &["accounts.work.provider: is missing"]);
    refused(78, &GOOD.replace("\"file\"", "\"fiel\""), &["sinks.archive.type: unknown type; did you mean \"file\"?"]);
    refused(
        78,
        &GOOD.replace("accounts.work", "accounts.\"My Work\""),
        &["accounts.My Work: a name has 1 to 64 characters"],
    );
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let text = GOOD
        .replace("account_id =", "acount_id =")
        .replace("path =", "pth =")
        .replace("[sinks.archive]", "[accounts.work.polling]\noverlaps = \"1m\"\n[sinks.archive]");
    refused(78, &text, &["accounts.work.acount_id", "accounts.work.polling.overlaps", "sinks.archive.pth"]);
    let text = GOOD.replace("http://127.0.0.1:9/linkedin", "nonsense").replace("conversation_urn", "conversation_run");
    refused(78, &text, &["accounts.work.base_url", "accounts.work.conversations[0].conversation_run"]);
}

#[test]
fn a_configuration_that_would_do_nothing_is_refused() {
    refused(78, "", &["accounts: there is none", "sinks: there is none"]);
    let no_conversations =
        GOOD.replace("[[accounts.work.conversations]]\nconversation_urn = \"urn:li:messagingThread:2-MGE1\"\n", "");
    let and_no_discovery = no_conversations.replace("[accounts.work]\n", "[accounts.work]\ndiscover = false\n");
    refused(78, &and_no_discovery, &["accounts.work.conversations: there is none and discover is false"]);
}

#[test]
fn an_unset_variable_is_78_and_an_unreadable_file_77_each_with_its_name() {
    refused(
        78,
        &GOOD.replace("s3cr3t-key", "${INBOXD_TEST_UNSET}"),
        &["accounts.work.api_key: environment variable INBOXD_TEST_UNSET is not set"],
    );
    refused(
        77,
        &GOOD.replace("s3cr3t-key", "${file:/nonexistent/key}"),
        &["accounts.work.api_key: file /nonexistent/key cannot be read"],
    );
    refused(
        78,
        &GOOD.replace("s3cr3t-key", "${credential:key}"),
        &["accounts.work.api_key: credential key: $CREDENTIALS_DIRECTORY is not set"],
    );
}

#[test]
fn syntax_errors_give_the_place_and_do_not_quote_the_line() {
    refused(78, &GOOD.replace("\"s3cr3t-key\"", "\"s3cr3t-key"), &["inboxd.toml: line 4, column ", "is not TOML"]);
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("bad.json", "{\"accounts\": {\"work\": {\"api_key\": \"s3cr3t\" \"x\"}}}"),
        ("bad.yaml", "accounts:\n  work: [s3cr3t\n"),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
        let output = inboxd_in(folder.path(), &["check", "--config", name]);
        assert_eq!(output.code, 78);
        assert!(output.stderr.contains(name) && !output.stderr.contains("s3cr3t"), "{}", output.stderr);
    }
}

#[test]
fn toml_yaml_and_json_say_the_same() {
    let tree: serde_json::Value = toml::from_str(GOOD).unwrap();
    let yaml = "accounts:\n  work:\n    provider: connectsafely\n    api_key: s3cr3t-key\n    account_id: 65f0c0ffee00c0ffee00c0de\n    conversations:\n      - conversation_urn: \"urn:li:messagingThread:2-MGE1\"\nsinks:\n  archive:\n    type: file\n    path: events.jsonl\n";
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("c.json", tree.to_string()), ("c.yaml", yaml.to_owned())] {
        std::fs::write(folder.path().join(name), text).unwrap();
        let output = inboxd_in(folder.path(), &["check", "--config", name]);
        assert_eq!(output.code, 0, "{name}: {}", output.stderr);
    }
}

fn with_env(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command: Command = inboxd(arguments);
    command.current_dir(folder).envs(variables.iter().copied());
    finished(&mut command)
}

#[test]
fn the_environment_overrides_the_file_and_its_errors_name_the_variable() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("inboxd.toml"), GOOD).unwrap();
    let show = |variables: &[(&str, &str)]| with_env(folder.path(), &["config", "show"], variables);
    let shown = show(&[("INBOXD__POLLING__MIN_INTERVAL", "7m"), ("INBOXD__POLLING__MAX_PAGES", "9")]);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    assert!(
        shown.stdout.contains("min_interval = \"7m\"") && shown.stdout.contains("max_pages = 9"),
        "{}",
        shown.stdout
    );
    assert!(shown.stdout.contains("api_key = \"***\"") && !shown.stdout.contains("s3cr3t"), "{}", shown.stdout);
    let typo = show(&[("INBOXD__POLLING__MIN_INTERVALL", "7m")]);
    assert_eq!(typo.code, 78);
    assert!(
        typo.stderr.contains("environment variable INBOXD__POLLING__MIN_INTERVALL: polling.min_intervall: unknown key; did you mean \"min_interval\"?"),
        "{}",
        typo.stderr
    );
    let numeric_key = show(&[("INBOXD__ACCOUNTS__WORK__API_KEY", "12345")]);
    assert_eq!(numeric_key.code, 0, "a key of digits is text: {}", numeric_key.stderr);
}

#[test]
fn secrets_come_from_files_and_credentials_without_their_last_line_break() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), "s3cr3t-key\n").unwrap();
    for reference in [
        format!("${{file:{}/key}}", folder.path().display()),
        "${credential:key}".into(),
        "${KEY}".into(),
        "${NO_KEY:-fallback}".into(),
    ] {
        std::fs::write(folder.path().join("inboxd.toml"), GOOD.replace("s3cr3t-key", &reference)).unwrap();
        let credentials = folder.path().to_str().unwrap();
        let output = with_env(folder.path(), &["check"], &[("CREDENTIALS_DIRECTORY", credentials), ("KEY", "x")]);
        assert_eq!(output.code, 0, "{reference}: {}", output.stderr);
    }
}

#[test]
fn the_embedded_defaults_the_example_and_all_templates_are_valid() {
    let folder = tempfile::tempdir().unwrap();
    for provider in ["linkedapi", "connectsafely", "linkup", "unipile"] {
        let template = inboxd_in(folder.path(), &["init", provider]);
        assert_eq!(template.code, 0);
        std::fs::write(folder.path().join("inboxd.toml"), template.stdout).unwrap();
        let variables = [
            ("LINKED_API_TOKEN", "a"),
            ("IDENTIFICATION_TOKEN", "b"),
            ("CONNECTSAFELY_API_KEY", "c"),
            ("LINKUP_API_KEY", "d"),
            ("UNIPILE_API_KEY", "e"),
        ];
        let output = with_env(folder.path(), &["check"], &variables);
        assert_eq!(output.code, 0, "{provider}: {}", output.stderr);
    }
    let example = include_str!("../../config/example.toml").replace("/run/secrets", folder.path().to_str().unwrap());
    for name in ["linked_api_token", "identification_token", "connectsafely", "linkup", "unipile", "notify_token"] {
        std::fs::write(folder.path().join(name), "x\n").unwrap();
    }
    std::fs::write(folder.path().join("crm_whsec"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
    std::fs::write(folder.path().join("inboxd.toml"), example).unwrap();
    let output = inboxd_in(folder.path(), &["check"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
}

#[test]
fn every_documented_default_is_a_key_that_is_read() {
    let defaults = include_str!("../../config/default.toml");
    for line in defaults.lines().filter_map(|line| line.strip_prefix("# ")) {
        let Some((key, _)) = line.split_once(" = ") else { continue };
        if !key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
            continue;
        }
        let source = [
            include_str!("../../src/config/polling.rs"),
            include_str!("../../src/config/accounts.rs"),
            include_str!("../../src/config/sinks.rs"),
            include_str!("../../src/providers/settings.rs"),
            include_str!("../../src/providers/linkedapi/mod.rs"),
            include_str!("../../src/providers/connectsafely/mod.rs"),
            include_str!("../../src/providers/linkup/settings.rs"),
            include_str!("../../src/providers/unipile/settings.rs"),
            include_str!("../../src/sinks/http/settings.rs"),
            include_str!("../../src/sinks/exec/mod.rs"),
            include_str!("../../src/sinks/nats/settings.rs"),
            include_str!("../../src/sinks/file/mod.rs"),
            include_str!("../../src/sinks/stdout.rs"),
        ]
        .concat();
        let field = [format!("{key}:"), format!("\"{key}\"")];
        assert!(field.iter().any(|f| source.contains(f.as_str())), "{key} is documented and read nowhere");
    }
}

#[test]
fn an_inbox_that_is_left_unread_is_warned_of_until_somebody_says_so() {
    let text = "[accounts.sales]\nprovider = \"linkedapi\"\nlinked_api_token = \"a\"\nidentification_token = \"b\"\nINBOX\n\
                [sinks.console]\ntype = \"stdout\"\n";
    let warned = |keys: &str| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("inboxd.toml"), text.replace("INBOX", keys)).unwrap();
        let output = inboxd_in(folder.path(), &["check"]);
        assert_eq!(output.code, 0, "{}", output.stderr);
        output.stderr.contains("accounts.sales.inbox_types: is not set")
    };
    assert!(warned(""));
    assert!(!warned("inbox_types = [\"st\"]") && !warned("inbox_types = [\"st\", \"nv\"]"));
}

#[test]
fn a_filter_with_a_typo_names_the_field_that_was_meant_and_the_values_it_has() {
    let with = |filter: &str| GOOD.replace("path =", &format!("filter = \"{filter}\"\npath ="));
    let key = "sinks.archive.filter: ";
    refused(78, &with("data.message.directon == 'inbound'"), &[key, "directon", "did you mean \"direction\"?"]);
    refused(
        78,
        &with("data.message.direction == 'inbond'"),
        &[key, "did you mean \"inbound\"? it has \"inbound\", \"outbound\", \"unknown\""],
    );
    refused(78, &with("data.message.direction =="), &[key]);
    assert_eq!(checked(&with("data.message.direction == 'inbound'")).code, 0);
}

#[test]
fn the_keys_of_every_sink_are_checked() {
    let with = |line: &str| GOOD.replace("path =", &format!("{line}\npath ="));
    refused(78, &with("park_after = \"10ms\""), &["sinks.archive.park_after: must be at least 1s"]);
    refused(78, &with("park_after = 60"), &["sinks.archive.park_after: expected a duration with a unit"]);
    refused(78, &with("max_pending = 0"), &["sinks.archive.max_pending: must be at least 1"]);
    refused(78, &with("max_pendign = 5"), &["sinks.archive.max_pendign", "did you mean \"max_pending\"?"]);
    let bus = |keys: &str| format!("{GOOD}\n[sinks.bus]\ntype = \"nats\"\n{keys}\n");
    refused(78, &bus("url = \"http://127.0.0.1:4222\""), &["sinks.bus.url: must be nats://host:4222"]);
    refused(78, &bus("url = \"nats://h\"\nsubject = \"a..b\""), &["sinks.bus.subject: ", "has an empty token"]);
    assert_eq!(checked(&bus("url = [\"nats://h\", \"tls://i:1\"]\nevents = [\"sink.*\"]")).code, 0);
}

#[test]
fn quiet_hours_are_checked_where_they_are_written() {
    let with = |hours: &str| {
        GOOD.replace("[accounts.work]", &format!("[polling]\nquiet_hours = \"{hours}\"\n[accounts.work]"))
    };
    refused(78, &with("22:00-07:00"), &["polling.quiet_hours: must be two times and a time zone"]);
    refused(78, &with("22:00-07:00 Mars/Olympus"), &["polling.quiet_hours: names a time zone that is not known"]);
    assert_eq!(checked(&with("22:00-07:00 Europe/Berlin")).code, 0);
}

#[test]
fn what_every_account_inherits_is_told_once_and_beside_what_else_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let account = |name: &str| {
        format!("[accounts.{name}]\nprovider = \"linkup\"\napi_key = \"k\"\naccount_id = \"a\"\ndiscover = true\n")
    };
    let polling = "[polling]\nmonthly_credits = 30\ntime_zone = \"Europe/Berln\"\nquiet_hours = \"22-7\"\n";
    let sink = "[sinks.out]\ntype = \"stdout\"\n";
    std::fs::write(folder.path().join("inboxd.toml"), format!("{polling}{}{}{sink}", account("one"), account("two")))
        .unwrap();
    let checked = inboxd_in(folder.path(), &["check"]);
    assert_eq!((checked.code, checked.stderr.lines().count()), (78, 3), "{}", checked.stderr);
    for key in
        ["monthly_credits: must be at least 93", "time_zone: names a time zone", "quiet_hours: must be two times"]
    {
        assert!(checked.stderr.contains(&format!("inboxd.toml: polling.{key}")), "{key}: {}", checked.stderr);
    }
}

fn linkup(keys: &str, polling: &str, conversations: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let account = format!("[accounts.one]\nprovider = \"linkup\"\napi_key = \"k\"\naccount_id = \"a\"\n{keys}\n");
    let text = format!("[polling]\n{polling}\n{account}{conversations}\n[sinks.out]\ntype = \"stdout\"\n");
    std::fs::write(folder.path().join("inboxd.toml"), text).unwrap();
    inboxd_in(folder.path(), &["check"])
}

#[test]
fn credits_that_could_never_buy_a_request_are_refused_with_its_price() {
    let enough = linkup("count = 50\ndiscover = true", "daily_credits = 15", "");
    assert_eq!(enough.code, 0, "{}", enough.stderr);
    let few = linkup("count = 50\ndiscover = true", "daily_credits = 14", "");
    let says = "polling.daily_credits: must be at least 15: a request may cost 5";
    assert!(few.code == 78 && few.stderr.contains(says), "{}", few.stderr);
    let few = linkup("count = 50\ndiscover = true", "monthly_credits = 300", "");
    let says = "polling.monthly_credits: must be at least 465: a request may cost 5";
    assert!(few.code == 78 && few.stderr.contains(says), "{}", few.stderr);
}

#[test]
fn a_budget_that_does_not_hold_the_bounds_of_each_conversation_is_warned_of() {
    let conversation =
        |id: &str, keys: &str| format!("[[accounts.one.conversations]]\nconversation_id = \"{id}\"\n{keys}\n");
    let two = conversation("2-A", "max_interval = \"10m\"\nmin_interval = \"5m\"") + &conversation("2-B", "");
    let warned = linkup("", "daily_credits = 300", &two);
    let says = "polling.daily_credits: leave 100 a day for 2 conversations that have not moved, which need 148 to keep max_interval";
    assert!(warned.code == 0 && warned.stderr.contains(says), "{}", warned.stderr);
    assert!(!linkup("", "daily_credits = 600", &two).stderr.contains("max_interval"));
}

#[test]
fn priority_is_high_normal_or_low() {
    let folder = tempfile::tempdir().unwrap();
    let conversations: String = ["high", "low", "normal"]
        .map(|word| format!("[[accounts.one.conversations]]\nconversation_id = \"2-{word}\"\npriority = \"{word}\"\n"))
        .concat();
    let account = "[accounts.one]\nprovider = \"linkup\"\napi_key = \"k\"\naccount_id = \"a\"\n";
    let file = folder.path().join("inboxd.toml");
    std::fs::write(&file, format!("{account}{conversations}[sinks.out]\ntype = \"stdout\"\n")).unwrap();
    let config =
        inboxd::config::load(&Sources { file: Some(file), overrides: vec![] }).unwrap_or_else(|e| panic!("{e}"));
    let priorities: Vec<_> = config.accounts[0].conversations.iter().map(|c| c.cadence.priority).collect();
    assert_eq!(priorities, [Priority::High, Priority::Low, Priority::Normal]);
    let of = |priority: &str| {
        let conversation =
            format!("[[accounts.one.conversations]]\nconversation_id = \"2-A\"\npriority = \"{priority}\"\n");
        linkup("", "", &conversation)
    };
    assert_eq!(of("high").code, 0);
    let wrong = of("urgent");
    let says = "accounts.one.conversations[0].priority";
    assert!(wrong.code == 78 && wrong.stderr.contains(says) && wrong.stderr.contains("high"), "{}", wrong.stderr);
}

#[test]
fn a_store_address_that_would_lead_elsewhere_is_refused_with_the_one_to_write() {
    let with = |url: &str| GOOD.replace("[accounts.work]", &format!("[store]\nurl = \"{url}\"\n[accounts.work]"));
    for (url, says) in [
        ("sqlite://inboxd.db", "write \"sqlite:inboxd.db\""),
        ("sqlite::memory:", "would keep nothing"),
        ("sqlite:inboxd.db?mode=rwc", "write \"sqlite:inboxd.db\""),
        ("sqlite:~/inboxd.db", "write \"sqlite:${HOME}/inboxd.db\""),
        ("postgres://u:s3cr3t@h/db", "must be \"sqlite:\" and a path"),
    ] {
        refused(78, &with(url), &["inboxd.toml: store.url: ", says]);
    }
}

#[test]
fn a_path_that_only_a_shell_would_read_is_refused_wherever_it_stands() {
    let path = |path: &str| GOOD.replace("\"events.jsonl\"", &format!("\"{path}\""));
    refused(78, &path("~/events.jsonl"), &["sinks.archive.path: begins with ~", "${HOME}/events.jsonl"]);
    refused(78, &path("events/"), &["sinks.archive.path: is a folder"]);
    refused(78, &path("/"), &["sinks.archive.path: names no file"]);
    refused(78, &path("file:///var/events.jsonl"), &["sinks.archive.path: is a URL", "write \"/var/events.jsonl\""]);
    let secret = GOOD.replace("s3cr3t-key", "${file:~/key}");
    refused(78, &secret, &["accounts.work.api_key: the path of \"${file:...}\" begins with ~"]);
    let exec = format!("{GOOD}[sinks.run]\ntype = \"exec\"\ncommand = [\"~/bin/handler\"]\n");
    refused(78, &exec, &["sinks.run.command: begins with ~"]);
    let folder = tempfile::tempdir().unwrap();
    for (config, says) in [("~/inboxd.toml", "begins with ~"), (".", "is a folder")] {
        let output = inboxd_in(folder.path(), &["check", "--config", config]);
        assert!(output.code == 78 && output.stderr.contains(says), "{config}: {}", output.stderr);
    }
}

#[test]
fn true_false_and_lists_can_be_set_from_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let more = "rotate = \"daily\"\n[sinks.crm]\ntype = \"http\"\nurl = \"http://127.0.0.1:9/\"\nsecret = \"x\"\n\
        [sinks.run]\ntype = \"exec\"\ncommand = [\"/bin/true\"]\n";
    std::fs::write(folder.path().join("inboxd.toml"), format!("{GOOD}{more}")).unwrap();
    let secret = "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0";
    let secrets = format!("[\"{secret}\"]");
    for (name, value) in [
        ("INBOXD__ACCOUNTS__WORK__DISCOVER", "true"),
        ("INBOXD__ACCOUNTS__WORK__DISCOVER", "False"),
        ("INBOXD__ACCOUNTS__WORK__CONVERSATIONS", "[{\"conversation_urn\": \"2-A\"}, {\"conversation_urn\": \"2-B\"}]"),
        ("INBOXD__ACCOUNTS__WORK__CONVERSATIONS", "[{ conversation_urn = \"2-A\", since = 2026-01-01T00:00:00Z }]"),
        ("INBOXD__SINKS__ARCHIVE__COMPRESS", "true"),
        ("INBOXD__SINKS__ARCHIVE__INCLUDE_RAW", "TRUE"),
        ("INBOXD__SINKS__ARCHIVE__EVENTS", "[\"message.*\", \"account.*\"]"),
        ("INBOXD__SINKS__ARCHIVE__EVENTS", "['message.*', 'account.*']"),
        ("INBOXD__SINKS__ARCHIVE__EVENTS", "message.*, account.*"),
        ("INBOXD__SINKS__CRM__RETRY", "1s,5s"),
        ("INBOXD__SINKS__CRM__NETWORK", "[\"127.0.0.0/8\"]"),
        ("INBOXD__SINKS__CRM__SECRET", secret),
        ("INBOXD__SINKS__RUN__COMMAND", "[\"/bin/echo\", \"a, b\"]"),
    ] {
        let output = with_env(folder.path(), &["check"], &[("INBOXD__SINKS__CRM__SECRET", &secrets), (name, value)]);
        assert_eq!(output.code, 0, "{name}={value}: {}", output.stderr);
    }
    for (name, value, says) in [
        ("INBOXD__ACCOUNTS__WORK__DISCOVER", "maybe", "accounts.work.discover: expected true or false"),
        ("INBOXD__SINKS__ARCHIVE__COMPRESS", "1", "sinks.archive.compress: expected true or false"),
        ("INBOXD__SINKS__ARCHIVE__EVENTS", "[\"message.new\"", "sinks.archive.events: expected a list"),
        ("INBOXD__ACCOUNTS__WORK__CONVERSATIONS", "2-A", "accounts.work.conversations: expected a list"),
        ("INBOXD__SINKS__RUN__COMMAND", "/bin/echo a", "sinks.run.command: expected a list of texts"),
        ("INBOXD__LOGGING__LEVEL", "debug", "logging: unknown section; did you mean \"log\"?"),
        ("INBOXD__SINKS__ARCHIV__PATH", "x", "sinks.archiv.type: is missing"),
        ("INBOXD__STORE", "x", "store: expected a table"),
        ("INBOXD__POLLING__OVERLAP", "\"5m\"", "polling.overlap: expected a duration"),
    ] {
        let output = with_env(folder.path(), &["check"], &[("INBOXD__SINKS__CRM__SECRET", &secrets), (name, value)]);
        let told = format!("environment variable {name}: {says}");
        assert!(output.code == 78 && output.stderr.contains(&told), "{told}\n{}", output.stderr);
        assert!(!output.stderr.contains(secret), "{}", output.stderr);
    }
}

#[test]
fn a_configuration_variable_that_is_set_to_nothing_is_not_set() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("inboxd.toml"), GOOD).unwrap();
    for nothing in ["", " "] {
        let output = with_env(folder.path(), &["check"], &[("INBOXD_CONFIG", nothing)]);
        assert_eq!(output.code, 0, "{}", output.stderr);
    }
    let output = with_env(folder.path(), &["check"], &[("INBOXD_CONFIG", "~/inboxd.toml")]);
    assert!(output.stderr.contains("environment variable INBOXD_CONFIG: begins with ~"), "{}", output.stderr);
}

#[test]
fn a_value_that_looks_as_if_something_went_wrong_on_its_way_is_warned_of_and_not_repeated() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("inboxd.toml"), GOOD).unwrap();
    let key = "INBOXD__ACCOUNTS__WORK__API_KEY";
    for (value, says) in [
        ("$S3CR3T_KEY", "has a $ before a name"),
        ("\"s3cr3t\"", "has quotes around the whole value"),
        ("Bearer s3cr3t", "keep what comes after it"),
        (" s3cr3t", "has white space or a line break around the value"),
    ] {
        let output = with_env(folder.path(), &["check"], &[(key, value)]);
        assert_eq!(output.code, 0, "{}", output.stderr);
        let told = format!("warning: environment variable {key}: accounts.work.api_key: ");
        assert!(output.stderr.contains(&told) && output.stderr.contains(says), "{says}\n{}", output.stderr);
        assert!(!output.stderr.to_lowercase().contains("s3cr3t"), "{}", output.stderr);
    }
    // What is refused says so too: it may be why.
    let output = with_env(folder.path(), &["check"], &[("INBOXD__POLLING__TIMEOUT", "\"5s\"")]);
    assert!(output.stderr.contains("expected a duration") && output.stderr.contains("quotes"), "{}", output.stderr);
}

#[test]
fn a_mark_before_the_first_character_is_skipped_in_every_notation_and_in_secrets() {
    let tree: serde_json::Value = toml::from_str(&GOOD.replace("s3cr3t-key", "${file:key}")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), "\u{feff}s3cr3t-key\r\n").unwrap();
    let toml = toml::to_string(&tree).unwrap();
    // Every JSON document is a YAML document.
    for (name, text) in [("c.toml", toml), ("c.json", tree.to_string()), ("c.yaml", tree.to_string())] {
        std::fs::write(folder.path().join(name), format!("\u{feff}{text}")).unwrap();
        let output = inboxd_in(folder.path(), &["check", "--config", name]);
        assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{name}");
    }
}

#[test]
fn durations_that_may_be_misread_or_are_longer_than_any_are_refused() {
    let polling = |line: &str| GOOD.replace("[accounts.work]", &format!("[polling]\n{line}\n[accounts.work]"));
    refused(78, &polling("min_interval = \"1M\""), &["polling.min_interval: must", "a month, or `1m` for a minute?"]);
    refused(78, &polling("timeout = \"5MS\""), &["polling.timeout: must have its unit in small letters"]);
    for longest in ["500000000000years", "18446744073709551615s", "101y", "99999999999999999999y"] {
        refused(78, &polling(&format!("max_interval = \"{longest}\"")), &["must be at most 100 years"]);
    }
    let sink = format!("{GOOD}park_after = \"500000000000years\"\n");
    refused(78, &sink, &["sinks.archive.park_after: must be at most 100 years"]);
    // With the longest of all, everything still runs.
    let longest = polling(
        "max_interval = \"100y\"\noverlap = \"99y\"\nrecheck_interval = \"100y\"\nrecheck_depth = \"100y\"\ntimeout = \"100y\"\nsweep_interval = \"100y\"",
    );
    let output = checked(&longest);
    assert_eq!(output.code, 0, "{}", output.stderr);
}

#[test]
fn a_time_that_is_still_to_come_is_warned_of() {
    let first = GOOD.replace("[accounts.work]", "[polling]\nfirst_poll = \"2999-01-01T00:00:00Z\"\n[accounts.work]");
    let since = GOOD.replace("2-MGE1\"", "2-MGE1\"\nsince = \"2999-01-01T00:00:00Z\"");
    for (text, key) in [(first, "accounts.work.polling.first_poll"), (since, "accounts.work.conversations[0].since")] {
        let output = checked(&text);
        assert_eq!(output.code, 0, "{}", output.stderr);
        assert!(output.stderr.contains(&format!("{key}: lies in the future")), "{}", output.stderr);
    }
}

#[test]
fn an_account_takes_a_proxy_and_its_password_is_never_shown() {
    let with = |proxy: &str| GOOD.replace("api_key =", &format!("proxy = \"{proxy}\"\napi_key ="));
    for (proxy, says) in [
        ("http://u:s3cr3t#1@10.0.0.1:3128", "# as %23"),
        ("socks5://u:s3cr3t@10.0.0.1", "must be a URL that begins with http:// or https://"),
        ("10.0.0.1:3128", "must be a URL that begins with http:// or https://"),
    ] {
        refused(78, &with(proxy), &["accounts.work.proxy: ", says]);
    }
    refused(
        78,
        &with("http://10.0.0.1").replace("proxy =", "proxi ="),
        &["proxi: unknown key; did you mean \"proxy\"?"],
    );
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("inboxd.toml"), with("http://u:s3cr3t@10.0.0.1:3128")).unwrap();
    let shown = inboxd_in(folder.path(), &["config", "show"]);
    assert!(shown.stdout.contains("proxy = \"http://10.0.0.1:3128/***\""), "{}", shown.stdout);
    assert!(!shown.stdout.contains("s3cr3t"), "{}", shown.stdout);
}

#[test]
fn two_spellings_of_one_person_are_one_conversation() {
    let account =
        "[accounts.sales]\nprovider = \"linkedapi\"\nlinked_api_token = \"t\"\nidentification_token = \"i\"\n";
    let person = |url: &str| format!("[[accounts.sales.conversations]]\nperson_url = \"{url}\"\ntype = \"st\"\n");
    let sink = "[sinks.archive]\ntype = \"stdout\"\n";
    let both = |one: &str, other: &str| format!("{account}{}{}{sink}", person(one), person(other));
    let base = "https://www.linkedin.com/in/j%C3%B6rg-lind";
    let second = "accounts.sales.conversations[1]";
    for other in ["http://de.linkedin.com/in/JÖRG-lind/?x=1", "www.linkedin.com/in/j%c3%b6rg-lind#top"] {
        refused(78, &both(base, other), &[&format!("{second}: names a conversation that is listed before it")]);
    }
    for (url, says) in [
        ("https://www.linkedin.com/company/acme/", "is the page of a company"),
        ("https://example.com/in/ada", "is no address at linkedin.com"),
        (
            "ada-byron",
            "is a name, and the address of a profile is wanted; write \"https://www.linkedin.com/in/ada-byron\"",
        ),
        ("https://www.linkedin.com/messaging/thread/2-A/", "is the address of a conversation"),
    ] {
        refused(78, &both(base, url), &[&format!("{second}.person_url: {says}")]);
    }
}

#[test]
fn the_environment_alone_is_a_configuration_and_a_variable_is_blamed_for_its_own_key() {
    let folder = tempfile::tempdir().unwrap();
    let keys = [
        ("INBOXD__ACCOUNTS__WORK__PROVIDER", "connectsafely"),
        ("INBOXD__ACCOUNTS__WORK__API_KEY", "0123456789"),
        ("INBOXD__ACCOUNTS__WORK__ACCOUNT_ID", "65f0c0ffee00c0ffee00c0de"),
        ("INBOXD__SINKS__OUT__TYPE", "stdout"),
    ];
    let checked = |more: &[(&str, &str)]| {
        let mut check = inboxd(&["check"]);
        check.current_dir(folder.path()).envs(keys).envs(more.iter().copied());
        finished(&mut check)
    };
    let output = checked(&[]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    let output = checked(&[("INBOXD__ACCOUNTS__WORK__DISCOVER", "perhaps")]);
    assert_eq!(output.code, 78);
    assert!(output.stderr.contains("environment variable INBOXD__ACCOUNTS__WORK__DISCOVER:"), "{}", output.stderr);
    let output = checked(&[("INBOXD__POLING__MIN_INTERVAL", "1m")]);
    assert!(output.stderr.contains("INBOXD__POLING__MIN_INTERVAL"), "{}", output.stderr);
}

#[test]
fn a_configuration_that_others_could_have_written_is_refused_and_one_that_they_can_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (file, secret) = (folder.path().join("inboxd.toml"), folder.path().join("key"));
    let permit = |path: &Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let write = |key: &str| {
        let account = format!("[accounts.a]\nprovider = \"connectsafely\"\napi_key = \"{key}\"\naccount_id = \"1\"\n");
        std::fs::write(&file, account + "discover = true\n[sinks.o]\ntype = \"stdout\"\n").unwrap();
    };
    write("literal-key-0123");
    permit(&file, 0o666);
    let refused = inboxd_in(folder.path(), &["check"]);
    assert!(refused.code == 77 && refused.stderr.contains("chmod 600"), "{refused:?}");
    permit(&file, 0o644);
    let warned = inboxd_in(folder.path(), &["check"]);
    assert!(warned.code == 0 && warned.stderr.contains("is readable by every user"), "{warned:?}");
    permit(&file, 0o600);
    assert!(!inboxd_in(folder.path(), &["check"]).stderr.contains("readable"));

    std::fs::write(&secret, "key-in-a-file-0123").unwrap();
    write(&format!("${{file:{}}}", secret.display()));
    permit(&file, 0o644);
    let elsewhere = inboxd_in(folder.path(), &["check"]);
    assert!(elsewhere.code == 0 && !elsewhere.stderr.contains("readable"), "the key is not in it: {elsewhere:?}");
    permit(&secret, 0o666);
    let refused = inboxd_in(folder.path(), &["check"]);
    assert!(refused.code == 77 && refused.stderr.contains("accounts.a.api_key"), "{refused:?}");
}

#[test]
fn credentials_in_clear_text_over_the_open_network_are_refused_for_providers_and_warned_of_for_sinks() {
    let folder = tempfile::tempdir().unwrap();
    let check = |base_url: &str, more: &str, sink: &str| {
        let text = format!(
            "[accounts.a]\nprovider = \"connectsafely\"\napi_key = \"k\"\naccount_id = \"1\"\nbase_url = \"{base_url}\"\n\
             discover = true\n{more}\n[sinks.s]\n{sink}\n"
        );
        std::fs::write(folder.path().join("inboxd.toml"), text).unwrap();
        inboxd_in(folder.path(), &["check"])
    };
    let stdout = "type = \"stdout\"";
    let refused = check("http://api.example.com/linkedin", "", stdout);
    assert!(refused.code == 78 && refused.stderr.contains("insecure = true"), "{refused:?}");
    assert_eq!(check("http://api.example.com/linkedin", "insecure = true", stdout).code, 0);
    assert_eq!(check("http://10.0.0.5/linkedin", "", stdout).code, 0);
    for sink in
        ["type = \"http\"\nurl = \"http://crm.example.com/x\"", "type = \"nats\"\nurl = \"nats://u:p@n.example.com\""]
    {
        let warned = check("https://api.example.com/linkedin", "", sink);
        assert!(warned.code == 0 && warned.stderr.contains("everybody on the way"), "{warned:?}");
    }
    let near = check("https://api.example.com/linkedin", "", "type = \"http\"\nurl = \"http://crm:8080/x\"");
    assert!(!near.stderr.contains("on the way"), "{near:?}");
}

#[test]
fn a_sink_on_our_own_files_or_on_the_closed_files_of_another_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let check = |path: &str| {
        let text = format!(
            "[accounts.a]\nprovider = \"connectsafely\"\napi_key = \"k\"\naccount_id = \"1\"\ndiscover = true\n\
             [sinks.s]\ntype = \"file\"\npath = \"{path}\"\n\
             [sinks.other]\ntype = \"file\"\npath = \"events.jsonl\"\nrotate = \"daily\"\n"
        );
        std::fs::write(folder.path().join("inboxd.toml"), text).unwrap();
        inboxd_in(folder.path(), &["check"])
    };
    assert_eq!(check("mine.jsonl").code, 0);
    for (path, says) in [
        ("inboxd.db", "is the database"),
        ("./inboxd.db-wal", "is the database"),
        ("inboxd.db.lock", "is the database"),
        ("inboxd.toml", "is the configuration"),
        ("events-2026-11-20.jsonl", "a closed file of sinks.other"),
        ("events-2026-11-20.jsonl.gz", "a closed file of sinks.other"),
    ] {
        let refused = check(path);
        assert!(refused.code == 78 && refused.stderr.contains(says), "{path}: {refused:?}");
    }
}

#[test]
fn a_secret_goes_into_a_new_file_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let made = inboxd_in(folder.path(), &["secret", "new", "--out", "key"]);
    assert_eq!((made.code, made.stdout.as_str()), (0, ""), "{}", made.stderr);
    let file = folder.path().join("key");
    let secret = std::fs::read_to_string(&file).unwrap();
    assert!(secret.starts_with("whsec_") && secret.ends_with('\n'));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(inboxd_in(folder.path(), &["secret", "new", "--out", "key"]).code, 1, "a secret is not replaced");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), secret);
    let pair = inboxd_in(folder.path(), &["secret", "new", "--ed25519", "--out", "pair"]);
    assert!(pair.code == 0 && pair.stdout.starts_with("whpk_"), "{pair:?}");
}

#[test]
fn what_was_inserted_is_repeated_in_no_message_and_shown_by_no_command() {
    let folder = tempfile::tempdir().unwrap();
    let secret = "sk_live_abcdef0123456789ABCDEF";
    let run = |more: &str, arguments: &[&str]| {
        write_private(&folder.path().join("inboxd.toml"), &format!("{GOOD}{more}"));
        with_env(folder.path(), arguments, &[("K", secret)])
    };
    let http = "[sinks.h]\ntype = \"http\"\nurl = \"http://127.0.0.1:9/\"\n";
    for more in [
        format!("{http}template = '{{\"k\": {{{{ ${{K}} }}}} }}'\n"),
        format!("{http}filter = \"data.account == ${{K}}\"\n"),
        format!("{http}events = [\"${{K}}\"]\n"),
        "[sinks.e]\ntype = \"exec\"\ncommand = [\"/bin/true\"]\nuser = \"${K}\"\n".into(),
        "[sinks.e]\ntype = \"exec\"\ncommand = [\"${K}\"]\n".into(),
        "[sinks.n]\ntype = \"nats\"\nurl = \"nats://127.0.0.1:4222\"\nsubject = \"${K} x\"\n".into(),
    ] {
        let output = run(&more, &["check"]);
        assert!(output.code == 78 || output.stderr.contains("warning"), "{more}: {}", output.stderr);
        assert!(!output.stderr.contains("sk_live_abcdef") && !output.stdout.contains("sk_live_abcdef"), "{output:?}");
    }
    let shown = run(&format!("{http}filter = \"data.message.text != '${{K}}'\"\n"), &["config", "show"]);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    assert!(
        !shown.stdout.contains("sk_live_abcdef") && shown.stdout.contains("data.message.text != '***'"),
        "{}",
        shown.stdout
    );
}

#[test]
fn an_account_that_a_filter_names_and_nobody_has_is_warned_of() {
    let with = |filter: &str| checked(&format!("{GOOD}filter = \"{filter}\"\n"));
    for filter in ["data.account == 'wrok'", "data.account not in ['work', 'wrok']", "'wrok' != data.account or true"] {
        let output = with(filter);
        let says = "sinks.archive.filter: names an account that there is not; did you mean \"work\"?";
        assert!(output.code == 0 && output.stderr.contains(says), "{filter}: {}", output.stderr);
    }
    assert!(!with("data.account == 'work' and data.message.text != 'wrok'").stderr.contains("names an account"));
}

#[test]
fn what_is_no_file_is_named_and_not_waited_for_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    for (place, says) in
        [(pipe.to_str().unwrap(), "nothing has come from it"), ("/dev/null", "is a device, and a file is wanted")]
    {
        let text = GOOD.replace("s3cr3t-key", &format!("${{file:{place}}}"));
        write_private(&folder.path().join("inboxd.toml"), &text);
        let output = inboxd_in(folder.path(), &["check"]);
        assert!(output.code != 0 && output.stderr.contains(says), "{place}: {}", output.stderr);
        assert!(output.stderr.contains("accounts.work.api_key") && output.stderr.contains(place), "{}", output.stderr);
        assert!(!output.stderr.contains("chmod"), "{}", output.stderr);
    }
}

#[test]
fn keys_of_accounts_are_known_wherever_they_are_read_and_those_of_a_table_stay_in_it() {
    refused(78, &GOOD.replace("account_id =", "insecur = true\naccount_id ="), &["did you mean \"insecure\"?"]);
    refused(78, &GOOD.replace("account_id =", "netwrk = \"any\"\naccount_id ="), &["did you mean \"network\"?"]);
    let table = GOOD.replace("[[accounts.work.conv", "[accounts.work.tls]\nxyz = \"\"\n[[accounts.work.conv");
    refused(78, &table, &["accounts.work.tls.xyz: unknown key; known are ca, client_certificate, client_key, pin\n"]);
}

#[test]
fn a_configuration_or_a_program_that_another_user_can_replace_is_refused_with_the_command_that_mends_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let permit = |path: &Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    write_private(&folder.path().join("inboxd.toml"), GOOD);
    permit(folder.path(), 0o777);
    let output = inboxd_in(folder.path(), &["check", "--config", "inboxd.toml"]);
    assert_eq!(output.code, 77, "{}", output.stderr);
    let mends = format!("chmod o-w {}", folder.path().display());
    assert!(output.stderr.contains("can replace inboxd.toml") && output.stderr.contains(&mends), "{}", output.stderr);
    permit(folder.path(), 0o700);
    let tools = folder.path().join("tools");
    std::fs::create_dir(&tools).unwrap();
    let program = tools.join("handler");
    std::fs::write(&program, "#!/bin/sh\n").unwrap();
    permit(&program, 0o755);
    let text = format!("{GOOD}[sinks.e]\ntype = \"exec\"\ncommand = [\"{}\"]\n", program.display());
    write_private(&folder.path().join("inboxd.toml"), &text);
    assert_eq!(inboxd_in(folder.path(), &["check"]).code, 0);
    permit(&tools, 0o777);
    let output = inboxd_in(folder.path(), &["check"]);
    assert!(output.code == 78 && output.stderr.contains("chmod o-w "), "{}", output.stderr);
    permit(&tools, 0o755);
    permit(&program, 0o777);
    let output = inboxd_in(folder.path(), &["check"]);
    assert!(output.code == 78 && output.stderr.contains("chmod go-w "), "{}", output.stderr);
}
