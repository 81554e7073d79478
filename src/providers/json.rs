//! Reading answers as JSON, tolerant of text that was cut inside a character.
//!
//! A sender that cuts a message in the middle of an emoji writes half of a surrogate pair (`"\ud83d"`) or half of a
//! UTF-8 sequence. Strict parsing would refuse the whole answer, at every poll, for ever; the half character becomes
//! U+FFFD instead, as everywhere else that text is decoded.

use serde::de::DeserializeOwned;

/// Parses `body`; where that fails, once more with half characters replaced.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(body).or_else(|error| match with_whole_characters(body) {
        Some(repaired) => serde_json::from_str(&repaired),
        None => Err(error),
    })
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
}
