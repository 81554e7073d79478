//! Values that are valid and yet look as if something had gone wrong on their way here: a variable that nobody put in,
//! quotes that were meant for a shell. Told by the key; the value may be a secret.

use serde_json::Value;

use super::problem::Problem;
use super::show::SECRET_KEYS;

/// Texts with a notation of their own, in which dollars and quotes are nothing unusual.
const LANGUAGES: &[&str] = &["template", "filter", "subject"];

/// What to look at in the values of an expanded tree.
pub(super) fn of(tree: &Value) -> Vec<Problem> {
    let mut doubts = vec![];
    collect(tree, &mut vec![], &mut doubts);
    doubts
}

fn collect<'v>(value: &'v Value, path: &mut Vec<&'v str>, doubts: &mut Vec<Problem>) {
    match value {
        Value::String(text) => {
            let found = doubt(text, path);
            doubts.extend(found.map(|message| Problem::new(path.join("."), message)));
        }
        // All items of a list are told of as the list.
        Value::Array(items) => items.iter().for_each(|item| collect(item, path, doubts)),
        Value::Object(entries) => {
            for (name, entry) in entries {
                path.push(name);
                collect(entry, path, doubts);
                path.pop();
            }
        }
        _ => {}
    }
}

fn doubt(text: &str, path: &[&str]) -> Option<&'static str> {
    let name = path.last().copied().unwrap_or_default();
    if LANGUAGES.contains(&name) {
        return None;
    }
    let quoted = |quote: char| text.len() >= 2 && text.starts_with(quote) && text.ends_with(quote);
    if quoted('"') || quoted('\'') {
        return Some(
            "has quotes around the whole value, as docker's --env-file leaves them; if they are not meant, remove them",
        );
    }
    if text != text.trim() {
        return Some("has white space or a line break around the value; if it is not meant, remove it");
    }
    // A header names a way to log in before its token.
    let of_receiver = path.contains(&"headers") || path.contains(&"env");
    let mut words = text.split_whitespace().take(if of_receiver { usize::MAX } else { 1 });
    if words.any(is_unexpanded) {
        return Some("has a $ before a name, which stays as it is; a variable is written ${NAME}");
    }
    let is_key = SECRET_KEYS.contains(&name) && !of_receiver;
    let starts = |word: &str| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    if is_key && (starts("bearer ") || starts("basic ")) {
        return Some("begins with the name of a way to log in, which inboxd adds by itself; keep what comes after it");
    }
    if is_key && (starts("li_at=") || starts("x-api-key:") || starts("authorization:")) {
        return Some("begins with the name of a cookie or header; keep what comes after it");
    }
    None
}

/// `$NAME`, `$env:NAME` or `%NAME%`, as shells write a variable. In lower case it may as well be a password.
fn is_unexpanded(text: &str) -> bool {
    let name_of =
        |text: &str| text.bytes().take_while(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'_').count();
    let named = |text: &str| name_of(text) >= 2 && !text.starts_with(|c: char| c.is_ascii_digit());
    if let Some(rest) = text.strip_prefix('%').and_then(|rest| rest.strip_suffix('%')) {
        return named(rest) && name_of(rest) == rest.len();
    }
    let Some(rest) = text.strip_prefix('$') else { return false };
    let rest = rest.strip_prefix("env:").unwrap_or(rest);
    let ends = |rest: &str| rest[name_of(rest)..].chars().next().is_none_or(|c| !c.is_alphanumeric());
    named(rest) && ends(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_went_wrong_on_the_way_is_told_by_its_key_and_not_by_its_value() {
        for (key, value, says) in [
            ("api_key", "$S3CR3T_KEY", "${NAME}"),
            ("api_key", "$env:S3CR3T", "${NAME}"),
            ("api_key", "%S3CR3T%", "${NAME}"),
            ("path", "$HOME/events.jsonl", "${NAME}"),
            ("account_id", "\"s3cr3t\"", "quotes"),
            ("api_key", "'s3cr3t'", "quotes"),
            ("api_key", "Bearer s3cr3t", "keep what comes after"),
            ("token", "bearer s3cr3t", "keep what comes after"),
            ("login_token", "li_at=s3cr3t", "keep what comes after"),
            ("api_key", " s3cr3t", "white space"),
            ("secret", "s3cr3t\n", "white space"),
        ] {
            let doubts = of(&json!({"accounts": {"a": {key: value}}}));
            assert_eq!(doubts.len(), 1, "{key} = {value}");
            assert_eq!(doubts[0].key, format!("accounts.a.{key}"));
            let message = &doubts[0].message;
            assert!(message.contains(says) && !message.to_lowercase().contains("s3cr3t"), "{message}");
        }
    }

    #[test]
    fn a_header_may_have_its_token_behind_a_word_and_the_word_is_meant() {
        let doubts = |value: &str| of(&json!({"sinks": {"s": {"headers": {"token": value}}}})).len();
        assert_eq!((doubts("Bearer $S3CR3T"), doubts("Bearer s3cr3t")), (1, 0));
    }

    #[test]
    fn what_may_well_be_meant_is_not_doubted() {
        let values = json!({"api_key": "$2b$12$abc", "password": "$ecret", "token": "$$x", "filter": "'a' == 'a'",
            "template": "$NAME ", "subject": "$JS.x", "title": "Bearer of news", "secret": ["whsec_A", "whsec_B"],
            "text": "say \"x\"", "user": "a$NAME", "price": "$5", "path": "%20"});
        assert_eq!(of(&values), []);
    }
}
