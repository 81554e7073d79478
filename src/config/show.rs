//! The effective configuration as a person may see it: secrets masked.

use serde_json::Value;

use super::Config;

/// What stands for a secret.
const MASK: &str = "***";

/// Names of keys that hold secrets, wherever they stand.
pub(super) const SECRET_KEYS: &[&str] = &[
    "linked_api_token",
    "identification_token",
    "login_token",
    "api_key",
    "secret",
    "token",
    "push_secret",
    "password",
    "credentials",
    "user",
    "client_key",
];

/// Keys of sinks in which a secret may stand between other words.
const WRITTEN: &[&str] = &["template", "filter", "subject"];

/// The masked tree as TOML, with what each account's polling resolves to.
pub(super) fn show(mut masked: Value, config: &Config) -> String {
    for account in &config.accounts {
        let polling = &account.polling;
        let text = |duration| humantime::format_duration(duration).to_string();
        let resolved = serde_json::json!({
            "min_interval": text(polling.cadence.min_interval),
            "max_interval": text(polling.cadence.max_interval),
            "requests_per_minute": polling.requests_per_minute,
            "concurrency": polling.concurrency,
            "timeout": text(polling.timeout),
            "overlap": text(polling.overlap),
            "recheck_interval": text(polling.recheck_interval),
            "recheck_depth": text(polling.recheck_depth),
            "max_pages": polling.max_pages,
            "max_conversations": polling.max_conversations,
        });
        let shown = &mut masked["accounts"][account.name.as_str()]["polling"];
        for (key, value) in resolved.as_object().into_iter().flatten() {
            shown[key] = value.clone();
        }
    }
    for sink in &config.sinks {
        // Also what is written down in a template as it is.
        let keys = masked.get_mut("sinks").and_then(|sinks| sinks.get_mut(sink.name.as_str()));
        let Some(keys) = keys else { continue };
        let mask = sink.settings.mask().and_of(&config.inserted);
        for (key, value) in keys.as_object_mut().into_iter().flatten() {
            if let (true, Value::String(text)) = (WRITTEN.contains(&key.as_str()), value) {
                *text = mask.hide(text);
            }
        }
    }
    toml::to_string_pretty(&masked).unwrap_or_else(|error| format!("# cannot be shown: {error}\n"))
}

/// A copy of the tree without its secrets: values of secret keys, of a sink's `env` and `headers`, values that came from
/// files, and all of a sink's URL and proxy but the origin, because many services put a token into the path.
pub(super) fn masked(tree: &Value, from_files: &[String]) -> Value {
    let mut shown = tree.clone();
    mask(&mut shown, "", from_files);
    shown
}

/// Whether a credential is written down in a tree as it is, and not as `${...}`.
pub(super) fn has_written_secrets(tree: &Value) -> bool {
    is_written(tree, "")
}

fn is_written(value: &Value, key: &str) -> bool {
    let name = key.rsplit('.').next().unwrap_or_default();
    let name = name.split('[').next().unwrap_or_default();
    match value {
        Value::Object(entries) => entries.iter().any(|(name, entry)| {
            let path = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
            is_written(entry, &path)
        }),
        Value::Array(items) => items.iter().any(|item| is_written(item, key)),
        Value::String(text) => {
            (SECRET_KEYS.contains(&name) || is_given_away(key)) && !text.is_empty() && !text.contains("${")
        }
        _ => false,
    }
}

fn mask(value: &mut Value, key: &str, from_files: &[String]) {
    let name = key.rsplit('.').next().unwrap_or_default();
    let name = name.split('[').next().unwrap_or_default();
    match value {
        Value::Object(entries) => {
            for (name, entry) in entries.iter_mut() {
                let path = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                mask(entry, &path, from_files);
            }
        }
        Value::Array(items) => {
            for (position, item) in items.iter_mut().enumerate() {
                mask(item, &format!("{key}[{position}]"), from_files);
            }
        }
        _ if SECRET_KEYS.contains(&name) || is_given_away(key) || from_files.iter().any(|k| k == key) => {
            *value = MASK.into()
        }
        Value::String(url) if is_secret_address(key, name) => {
            *value =
                reqwest::Url::parse(url).ok().and_then(|url| origin(&url)).unwrap_or_else(|| MASK.to_owned()).into();
        }
        _ => {}
    }
}

/// A sink's URL may have a token in it, and a proxy's a password.
fn is_secret_address(key: &str, name: &str) -> bool {
    name == "proxy" || key.starts_with("sinks.") && name == "url"
}

/// Where a URL leads, without what is secret in it.
fn origin(url: &reqwest::Url) -> Option<String> {
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    Some(format!("{}://{}{port}/{MASK}", url.scheme(), url.host_str()?))
}

/// What a program or a receiver is given beside the event, which may be its credentials. Names there may have dots in them;
/// that of a sink has none.
fn is_given_away(key: &str) -> bool {
    let mut parts = key.split('.');
    parts.next() == Some("sinks") && matches!(parts.nth(1), Some("env" | "headers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_is_shown() {
        let tree = serde_json::json!({
            "store": {"url": "sqlite:x.db"},
            "accounts": {"a": {"api_key": 12345, "account_id": "from-a-file", "base_url": "http://127.0.0.1",
                "proxy": "http://user:SECRET@10.0.0.1:3128"}},
            "sinks": {"s": {"url": "https://hooks.example.com/T0/SECRET?x=SECRET", "secret": ["whsec_A", "whsec_B"],
                "proxy": "http://user:SECRET@10.0.0.1:3128", "headers": {"Authorization": "SECRET", "X.Url": 12345}},
                      "bus": {"url": ["nats://u:SECRET@10.0.0.1:4222", "tls://SECRET@n.example", "SECRET"], "user": "u",
                              "credentials": "SECRET"},
                      "run": {"command": ["/bin/handler"], "env": {"CRM.KEY": "k", "url": "http://u:p@h/", "N": 5}}}
        });
        let shown = masked(&tree, &["accounts.a.account_id".into()]);
        assert_eq!(
            shown,
            serde_json::json!({
                "store": {"url": "sqlite:x.db"},
                "accounts": {"a": {"api_key": "***", "account_id": "***", "base_url": "http://127.0.0.1",
                    "proxy": "http://10.0.0.1:3128/***"}},
                "sinks": {"s": {"url": "https://hooks.example.com/***", "secret": ["***", "***"],
                    "proxy": "http://10.0.0.1:3128/***", "headers": {"Authorization": "***", "X.Url": "***"}},
                          "bus": {"url": ["nats://10.0.0.1:4222/***", "tls://n.example/***", "***"], "user": "***",
                                  "credentials": "***"},
                          "run": {"command": ["/bin/handler"], "env": {"CRM.KEY": "***", "url": "***", "N": "***"}}}
            })
        );
    }
}
