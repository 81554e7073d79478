//! An event as one line for people.

use serde_json::Value;

use super::Untrusted;

/// Renders an event for a terminal: time, account, direction, person and text, with nothing in it that could move the
/// cursor or break the line. An event that is not a message shows its type and subject.
pub fn readable_line(event: &str) -> String {
    let Ok(event) = serde_json::from_str::<Value>(event) else {
        return "(an event that is not JSON)".into();
    };
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let time = text("/time").get(..19).unwrap_or_default().replace('T', " ");
    let account = text("/data/account");
    if !event["data"]["message"].is_object() {
        return format!("{time}  {account}  {}  {}", Untrusted(text("/type")), Untrusted(text("/subject")));
    }
    let arrow = match text("/data/message/direction") {
        "inbound" => "<-",
        "outbound" => "->",
        _ => "--",
    };
    // With whom, not by whom: the arrow says the rest.
    let author = if arrow == "<-" { text("/data/message/sender/name") } else { "" };
    let profile = text("/data/conversation/person_url").rsplit('/').next().unwrap_or_default();
    let person = [author, text("/data/conversation/title"), profile, text("/subject")]
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or_default();
    let marks = ["late", "backfill"].map(|mark| match event["data"]["seen"][mark].as_bool() {
        Some(true) => format!(" [{mark}]"),
        _ => String::new(),
    });
    let attachments = event["data"]["message"]["attachments"].as_array().map_or(0, Vec::len);
    let attached = if attachments > 0 { format!(" [{attachments} attached]") } else { String::new() };
    let words = Untrusted(text("/data/message/text")).to_string();
    format!("{time}  {account}  {arrow} {}: {words}{attached}{}", Untrusted(person), marks.concat())
}

/// A number with its noun, in the plural where it should be: "1 sink", "2 sinks".
pub fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_harmless_line() {
        let event = serde_json::json!({
            "time": "2026-11-20T09:14:03.512Z", "type": "message.new", "subject": "2-Q",
            "data": {"account": "main", "conversation": {"title": "Ada"},
                "message": {"direction": "inbound", "sender": {"name": "Ada\u{202e}"}, "text": "See\nyou\u{1b}[2J", "attachments": [{}]},
                "seen": {"late": true, "backfill": false}}
        });
        assert_eq!(
            readable_line(&event.to_string()),
            "2026-11-20 09:14:03  main  <- Ada\\u{202e}: See\\nyou\\u{1b}[2J [1 attached] [late]"
        );
    }
}
