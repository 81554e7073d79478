//! The frame that all events share (CloudEvents 1.0, structured JSON), and their ids.

use data_encoding::BASE32_NOPAD;
use schemars::JsonSchema;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::json_line;
use crate::time::UnixMillis;

/// Doc comments of what is rendered are the descriptions in the JSON Schema: they speak to receivers.
#[derive(Serialize, JsonSchema)]
pub(super) struct Envelope<'a, D> {
    /// The version of CloudEvents.
    #[schemars(extend("const" = "1.0"))]
    specversion: &'static str,
    /// Equal for every delivery of the same event, on every host and after every restart: whoever drops repeated ids has
    /// each event once.
    #[schemars(regex(pattern = "^[a-z0-9_]+$"))]
    id: &'a str,
    /// Who speaks: `/inboxd/accounts/NAME` or `/inboxd/sinks/NAME`, by the names in the configuration.
    source: String,
    /// What kind of event it is.
    #[serde(rename = "type")]
    kind: &'a str,
    /// What the event is about: the id of a conversation, or the name of an account or a sink.
    subject: &'a str,
    /// When it happened. For a message the time it was sent, or where that is not known the time it was seen.
    time: UnixMillis,
    /// The media type of `data`.
    #[schemars(extend("const" = "application/json"))]
    datacontenttype: &'static str,
    /// What there is to tell.
    data: D,
}

impl<'a, D: Serialize> Envelope<'a, D> {
    /// The event as one JSON object on one line.
    pub(super) fn render(
        kind: &'a str,
        id: &'a str,
        source: String,
        subject: &'a str,
        time: UnixMillis,
        data: D,
    ) -> String {
        let (specversion, datacontenttype) = ("1.0", "application/json");
        let envelope = Self { specversion, id, source, kind, subject, time, datacontenttype, data };
        json_line(&envelope).expect("an event has string keys only")
    }
}

/// An id that is the same for the same parts, `[a-z0-9_]`.
pub(super) fn stable_id(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    format!("evt_{}", BASE32_NOPAD.encode(&hasher.finalize()[..20]).to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_a_reader_takes_for_a_line_break() {
        let tricky = "a\u{2028}b\u{2029}c\u{85}d\r\ne\u{b}f\u{c}g\u{1c}h";
        // As a provider sends it: the separators need no escape in JSON.
        let raw = "{\"text\":\"a\u{2028}b\u{2029}c\u{85}d\"}".to_owned();
        let data = (tricky, RawValue::from_string(raw.clone()).unwrap());
        let event = Envelope::render("message.new", "evt_1", tricky.into(), tricky, UnixMillis::from_millis(0), data);
        let breaks = ['\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}'];
        assert!(!event.contains(breaks), "{event:?}");
        let read: Value = serde_json::from_str(&event).unwrap();
        assert_eq!((read["subject"].as_str(), read["data"][0].as_str()), (Some(tricky), Some(tricky)));
        assert_eq!(read["data"][1], serde_json::from_str::<Value>(&raw).unwrap());
    }
}
