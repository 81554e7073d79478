//! An event as people read it: one line for a terminal, or a headline and a text for a chat.

use serde_json::Value;

use super::chat::{ends_a_line, line, lines};
use super::{Untrusted, kind};

/// Renders an event for a terminal: time, account, direction, person and text, with nothing in it that could move the
/// cursor or break the line. An event that is not a message shows its type, subject and detail.
pub fn readable_line(event: &str) -> String {
    let Ok(event) = serde_json::from_str::<Value>(event) else {
        return "(an event that is not JSON)".into();
    };
    let time = text(&event, "/time").get(..19).unwrap_or_default().replace('T', " ");
    let account = text(&event, "/data/account");
    if !event["data"]["message"].is_object() {
        let [kind, subject, detail] =
            ["/type", "/subject", "/data/detail"].map(|field| Untrusted(text(&event, field)).to_string());
        let about = if detail.is_empty() { String::new() } else { format!(": {detail}") };
        return format!("{time}  {account}  {kind}  {subject}{about}");
    }
    // With whom, not by whom: the arrow says the rest.
    let arrow = match text(&event, "/data/message/direction") {
        "inbound" => "<-",
        "outbound" => "->",
        _ => "--",
    };
    let marks = ["late", "backfill"].map(|mark| match event["data"]["seen"][mark].as_bool() {
        Some(true) => format!(" [{mark}]"),
        _ => String::new(),
    });
    let parts: Vec<_> = written(&event["data"]["message"]).iter().map(|part| Untrusted(part).to_string()).collect();
    let words = parts.join(" / ");
    let person = Untrusted(person(&event));
    format!("{time}  {account}  {arrow} {person}: {words}{}{}", attached(&event), marks.concat())
}

/// What an event says, for people in a chat: nothing is spelled out, and what could disguise the
/// text is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readable {
    /// Who and where, on one line: `Ada Byron · sales`; of an operator event its state in words.
    pub headline: String,
    /// The text of the message, or the detail; never empty. Its line breaks are line breaks.
    pub summary: String,
}

impl Readable {
    /// Reads an event.
    pub fn of(event: &Value) -> Self {
        if event["data"]["message"].is_object() { Self::of_message(event) } else { Self::of_state(event) }
    }

    fn of_message(event: &Value) -> Self {
        let to = if text(event, "/data/message/direction") == "outbound" { "to " } else { "" };
        let deleted =
            event["data"]["message"]["flags"].as_array().is_some_and(|flags| flags.contains(&"deleted".into()));
        let change = match text(event, "/type") {
            kind::MESSAGE_CHANGED if deleted => " · deleted",
            kind::MESSAGE_CHANGED => " · changed",
            _ => "",
        };
        let parts: Vec<_> = written(&event["data"]["message"]).iter().map(|part| lines(part)).collect();
        let words = format!("{}{}", parts.join("\n"), attached(event));
        let summary = if words.is_empty() { "(no text)" } else { words.trim_start_matches(' ') };
        Self { headline: format!("{to}{}{change}", place(event)), summary: summary.to_owned() }
    }

    fn of_state(event: &Value) -> Self {
        let (kind, left) = (text(event, "/type"), text(event, "/data/state") == "left");
        let account = line(first(event, &["/data/account", "/subject"]));
        let (place, subject) = (place(event), line(text(event, "/subject")));
        let headline = match (kind, left) {
            (kind::ACCOUNT_ACTION_REQUIRED, false) => format!("{account} needs a person"),
            (kind::ACCOUNT_ACTION_REQUIRED, true) | (kind::ACCOUNT_RECOVERED, _) => format!("{account} works again"),
            (kind::CONVERSATION_COVERAGE_LAPSED, false) => format!("{place} is not collected any more"),
            (kind::CONVERSATION_COVERAGE_LAPSED, true) => format!("{place} is collected again"),
            (kind::CONVERSATION_GAP, false) => format!("a part of {place} cannot be read"),
            (kind::ACCOUNT_FULL, false) => format!("the inbox of {account} lists more conversations than are followed"),
            (kind::ACCOUNT_FULL, true) => format!("{account} follows whatever its inbox lists again"),
            (kind::CONVERSATION_POISONED, false) => format!("inboxd has not survived an answer of {place}"),
            (kind::CONVERSATION_POISONED, true) => format!("{place} has been read without harm"),
            (kind::CONVERSATION_GAP, true) => format!("the missing part of {place} has been read"),
            (kind::BUDGET_WARNING, left) if event.pointer("/data/budget").is_none() => match left {
                false => format!("few credits of {account} are left"),
                true => format!("{account} has enough credits again"),
            },
            (kind::BUDGET_WARNING, _) => {
                let percent = event.pointer("/data/budget/percent").and_then(Value::as_u64).unwrap_or_default();
                let period = line(text(event, "/data/budget/period"));
                format!("{percent} % of the credits of {account} for this {period} are spent")
            }
            (kind::BUDGET_EXHAUSTED, false) => format!("the credits of {account} are spent"),
            (kind::BUDGET_EXHAUSTED, true) => format!("{account} has credits again"),
            (kind::SINK_PARKED, false) => format!("sink {subject} only fails"),
            (kind::SINK_PARKED, true) | (kind::SINK_RECOVERED, _) => format!("sink {subject} takes events again"),
            (kind::DELIVERY_DEAD, false) => format!("sink {subject} has a dead delivery"),
            (kind::DELIVERY_DEAD, true) => format!("sink {subject} has no dead delivery any more"),
            (other, _) => format!("{}: {subject}", line(other)),
        };
        let summary = lines(first(event, &["/data/detail", "/data/reason", "/type"]));
        Self { headline, summary }
    }
}

fn text<'e>(event: &'e Value, pointer: &str) -> &'e str {
    event.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The first of these that says anything.
fn first<'e>(event: &'e Value, pointers: &[&str]) -> &'e str {
    pointers.iter().map(|pointer| text(event, pointer)).find(|text| !text.is_empty()).unwrap_or_default()
}

/// With whom, by the best name that is known.
fn person(event: &Value) -> &str {
    let inbound = text(event, "/data/message/direction") == "inbound";
    let author = if inbound { text(event, "/data/message/sender/name") } else { "" };
    let profile = text(event, "/data/conversation/person_url").rsplit('/').next().unwrap_or_default();
    let names = [author, text(event, "/data/conversation/title"), profile, text(event, "/subject")];
    names.into_iter().find(|name| !line(name).is_empty()).unwrap_or_default()
}

/// Who, and by which account.
fn place(event: &Value) -> String {
    format!("{} · {}", line(person(event)), line(text(event, "/data/account")))
}

fn attached(event: &Value) -> String {
    match event["data"]["message"]["attachments"].as_array().map_or(0, Vec::len) {
        0 => String::new(),
        count => format!(" [{count} attached]"),
    }
}

/// Characters of another message that are repeated: enough to know which one it is.
const REPEATED: usize = 200;

/// What a message says, part by part: subject, what it quotes, text, what it passes on.
fn written(message: &Value) -> Vec<String> {
    let quoted = repeated(&message["quoted"]).map(|quoted| {
        let lines: Vec<_> = quoted.trim().split(ends_a_line).map(|line| format!("> {line}")).collect();
        lines.join("\n")
    });
    let forwarded = repeated(&message["forwarded"]).map(|forwarded| format!("Forwarded: {forwarded}"));
    let own = |name: &str| message[name].as_str().map(str::to_owned);
    let parts = [own("subject"), quoted, own("text"), forwarded];
    parts.into_iter().flatten().filter(|part| !part.trim().is_empty()).collect()
}

/// The beginning of another message, behind the name of its author.
fn repeated(cited: &Value) -> Option<String> {
    let text = cited.as_object()?.get("text")?.as_str()?;
    let mut shown: String = text.chars().take(REPEATED).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    if shown.trim().is_empty() {
        shown = match cited["attachments"].as_u64() {
            Some(count) if count > 0 => format!("[{count} attached]"),
            _ => "(no text)".to_owned(),
        };
    }
    Some(match cited["sender"]["name"].as_str() {
        Some(name) => format!("{name}: {shown}"),
        None => shown,
    })
}

/// A number with its noun, in the plural where it should be: "1 sink", "2 sinks".
pub fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_message_is_one_harmless_line() {
        let event = json!({
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

    fn message(kind: &str, message: Value) -> Readable {
        Readable::of(&json!({"type": kind, "subject": "2-Q",
            "data": {"account": "sales", "conversation": {"title": "Ada Byron"}, "message": message}}))
    }

    #[test]
    fn a_message_has_who_and_where_above_its_text_and_its_line_breaks_stay() {
        let inbound = json!({"direction": "inbound", "sender": {"name": "Ada\u{202e} King"}, "text": "See\r\nyou\u{1b}[2J\n",
            "attachments": [{}, {}]});
        let read = message("message.new", inbound);
        assert_eq!(read.headline, "Ada King · sales");
        assert_eq!(read.summary, "See\nyou[2J [2 attached]");
        let outbound = json!({"direction": "outbound", "sender": {"name": "Me"}, "text": ""});
        let read = message("message.new", outbound);
        assert_eq!((read.headline.as_str(), read.summary.as_str()), ("to Ada Byron · sales", "(no text)"));
        let deleted = json!({"direction": "unknown", "text": "", "flags": ["deleted"], "attachments": [{}]});
        let read = message("message.changed", deleted);
        assert_eq!((read.headline.as_str(), read.summary.as_str()), ("Ada Byron · sales · deleted", "[1 attached]"));
    }

    #[test]
    fn what_is_only_made_of_controls_says_nothing() {
        let read = message(
            "message.new",
            json!({"direction": "inbound", "sender": {"name": "\u{202e}\u{7}"}, "text": "\u{1b}\n"}),
        );
        assert_eq!((read.headline.as_str(), read.summary.as_str()), ("Ada Byron · sales", "(no text)"));
    }

    #[test]
    fn subject_quote_and_forward_are_told_with_the_text() {
        let full = json!({"direction": "inbound", "sender": {"name": "Ada"}, "subject": "Lunch", "text": "At noon?",
            "quoted": {"sender": {"name": "Robin"}, "text": "Where?\nAnd when?", "attachments": 0},
            "forwarded": {"sender": {"name": null}, "text": "x".repeat(300), "attachments": 0}});
        let long = format!("{}…", "x".repeat(200));
        let read = message("message.new", full.clone());
        assert_eq!(read.summary, format!("Lunch\n> Robin: Where?\n> And when?\nAt noon?\nForwarded: {long}"));
        let line = readable_line(&json!({"subject": "2-Q", "data": {"message": full}}).to_string());
        assert!(line.contains("Lunch / > Robin: Where?\\n> And when? / At noon? / Forwarded: xxx"), "{line}");
        let bare = json!({"text": "", "subject": null, "quoted": null,
            "forwarded": {"sender": {"name": "Ada"}, "text": "", "attachments": 2}});
        assert_eq!(message("message.new", bare).summary, "Forwarded: Ada: [2 attached]");
    }

    #[test]
    fn every_type_of_event_has_a_headline_of_its_own_and_a_summary() {
        let headlines: std::collections::BTreeSet<_> = crate::model::sample_events(kind::ALL)
            .iter()
            .map(|event| {
                let read = Readable::of(event);
                assert!(!read.summary.is_empty(), "{event}");
                assert!(!read.headline.starts_with(text(event, "/type")), "{read:?} is not in words");
                read.headline
            })
            .collect();
        // Of new messages there is a sample with names and one without.
        assert_eq!(headlines.len(), kind::ALL.len() + 1, "{headlines:?}");
    }
}
