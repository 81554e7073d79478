//! Reading answers as JSON, tolerant of text that was cut inside a character.
//!
//! A sender that cuts a message in the middle of an emoji writes half of a surrogate pair (`"\ud83d"`) or half of a
//! UTF-8 sequence. Strict parsing would refuse the whole answer, at every poll, for ever; the half character becomes
//! U+FFFD instead, as everywhere else that text is decoded.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Parses `body`; where that fails, once more with half characters replaced.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(body).or_else(|error| match with_whole_characters(body) {
        Some(repaired) => serde_json::from_str(&repaired),
        None => Err(error),
    })
}

/// A part of an answer, read as our types have it and kept as it was received.
#[derive(Debug)]
pub(super) struct Received<T> {
    pub(super) part: T,
    pub(super) raw: Box<RawValue>,
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Received<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let part = serde_json::from_str(raw.get()).map_err(D::Error::custom)?;
        // In a field that is not read here, a half character would go unnoticed and spoil the event for receivers.
        if let Cow::Owned(_) = whole(raw.get().as_bytes()) {
            return Err(D::Error::custom("half a character"));
        }
        Ok(Self { part, raw })
    }
}

/// The elements of the array at `path`, each as it was received; none where there is no such array. For answers that are
/// taken apart as values, which keep neither order nor spelling.
pub(super) fn elements(body: &[u8], path: &[&str]) -> Vec<Box<RawValue>> {
    fn at<'b>(text: &'b str, path: &[&str]) -> Option<Vec<&'b RawValue>> {
        let Some((name, rest)) = path.split_first() else { return serde_json::from_str(text).ok() };
        let mut fields: HashMap<String, &RawValue> = serde_json::from_str(text).ok()?;
        at(fields.remove(*name)?.get(), rest)
    }
    at(&whole(body), path).into_iter().flatten().map(ToOwned::to_owned).collect()
}

/// The text with half characters replaced, borrowed when it has none.
fn whole(body: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(body) {
        Ok(text) if !text.contains("\\u") => Cow::Borrowed(text),
        _ => with_whole_characters(body).map_or_else(|| String::from_utf8_lossy(body), Cow::Owned),
    }
}

/// The text with half characters replaced; `None` when it has none.
fn with_whole_characters(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let mut repaired = String::with_capacity(text.len());
    let mut rest = text.as_ref();
    while let Some(at) = rest.find('\\') {
        let escape = &rest[at..];
        repaired.push_str(&rest[..at]);
        let length = match (unit(escape), unit(escape.get(6..).unwrap_or_default())) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 12,
            (Some(0xD800..=0xDFFF), _) => {
                repaired.push('\u{fffd}');
                rest = &escape[6..];
                continue;
            }
            // Two bytes at once, so that an escaped backslash does not begin another escape.
            _ => 1 + escape.chars().nth(1).map_or(0, char::len_utf8),
        };
        repaired.push_str(&escape[..length]);
        rest = &escape[length..];
    }
    repaired.push_str(rest);
    (repaired.as_bytes() != body).then_some(repaired)
}

/// The code unit of a `\u` escape with its four digits at the beginning of `text`.
fn unit(text: &str) -> Option<u16> {
    u16::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_characters_are_replaced_and_whole_ones_stay() {
        let parsed = |body: &[u8]| parse::<String>(body).unwrap();
        assert_eq!(parsed(br#""cut \ud83d""#), "cut \u{fffd}");
        assert_eq!(parsed(br#""\udc4d turned \ud83d\u0041""#), "\u{fffd} turned \u{fffd}A");
        assert_eq!(parsed(br#""whole \ud83d\udc4d, cut \ud83d""#), "whole \u{1f44d}, cut \u{fffd}");
        assert_eq!(parsed(b"\"cut \xf0\x9f\""), "cut \u{fffd}");
        assert_eq!(parsed(br#""no escape: \\ud83d, cut \ud83d""#), "no escape: \\ud83d, cut \u{fffd}");
        assert!(parse::<String>(b"<html>").is_err());
        assert!(parse::<String>(br#""\"#).is_err());
    }

    #[derive(Deserialize)]
    struct Known {
        id: u32,
    }

    #[test]
    fn a_part_is_kept_as_it_was_received_but_for_half_characters() {
        let body = br#"[{"z": 1.50, "id": 7,  "z": "\ud83d\udc4d"}]"#;
        let kept: Vec<Received<Known>> = parse(body).unwrap();
        assert_eq!((kept[0].part.id, kept[0].raw.get()), (7, r#"{"z": 1.50, "id": 7,  "z": "\ud83d\udc4d"}"#));
        for half in [br#"[{"id": 7, "unread": "\ud83d"}]"#.as_slice(), b"[{\"id\": 7, \"unread\": \"\xf0\x9f\"}]"] {
            let kept: Vec<Received<Known>> = parse(half).unwrap();
            assert_eq!(kept[0].raw.get(), "{\"id\": 7, \"unread\": \"\u{fffd}\"}");
        }
        assert!(parse::<Vec<Received<Known>>>(br#"[{"id": "seven"}]"#).is_err());
    }

    #[test]
    fn the_elements_of_an_array_are_found_as_they_were_received() {
        let texts = |body: &[u8], path: &[&str]| -> Vec<String> {
            elements(body, path).iter().map(|raw| raw.get().to_owned()).collect()
        };
        let body = br#"{"data": {"z": 1, "messages": [{"b": 1,  "a": 2.0}, 5]}, "messages": []}"#;
        assert_eq!(texts(body, &["data", "messages"]), [r#"{"b": 1,  "a": 2.0}"#, "5"]);
        assert_eq!(texts(br#"[{"a": "\ud83d"}]"#, &[]), ["{\"a\": \"\u{fffd}\"}"]);
        for path in [&["messages"][..], &["data"], &["data", "z"], &["nothing"], &[]] {
            assert!(texts(body, path).is_empty(), "{path:?}");
        }
        assert!(texts(b"<html>", &["data"]).is_empty());
    }
}
