//! Text with half characters, made readable.
//!
//! A sender that cuts a message in the middle of an emoji writes half of a surrogate pair (`"\ud83d"`)
//! or half of a UTF-8 sequence. Strict parsing would refuse the whole answer, at every poll, for ever;
//! the half character becomes U+FFFD instead, as everywhere else that text is decoded.

use std::borrow::Cow;

/// The text with half characters replaced, borrowed when it has none.
pub(super) fn whole(body: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(body) {
        Ok(text) if !text.contains("\\u") => Cow::Borrowed(text),
        _ => with_whole_characters(body).map_or_else(|| String::from_utf8_lossy(body), Cow::Owned),
    }
}

/// The text with half characters replaced; `None` when it has none.
pub(super) fn with_whole_characters(body: &[u8]) -> Option<String> {
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
