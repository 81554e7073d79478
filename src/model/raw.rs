//! What a provider sent, made fit to stand inside an event.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Deepest nesting kept. Parsers of receivers stop at 64 levels (.NET), 100 (Ruby) or 128 (ours), and the event has some of
/// its own.
const DEPTH_LIMIT: usize = 50;

/// The value as it was received, without the blanks between its tokens, so that no line break can split an event; `None`
/// where a usual reader would not take it: it is nested too deeply, or has a number in it that no double can hold.
pub fn fit_for_event(raw: &RawValue) -> Option<Box<RawValue>> {
    let compact = compact(raw.get())?;
    serde_json::from_str::<Readable>(&compact).ok()?;
    RawValue::from_string(compact).ok()
}

/// The same of an object; `None` for anything else.
pub(super) fn object_fit_for_event(raw: &RawValue) -> Option<Box<RawValue>> {
    raw.get().starts_with('{').then(|| fit_for_event(raw))?
}

fn compact(text: &str) -> Option<String> {
    let (mut compact, mut depth, mut in_text, mut escaped) = (String::with_capacity(text.len()), 0, false, false);
    for c in text.chars() {
        if in_text {
            in_text = escaped || c != '"';
            escaped = c == '\\' && !escaped;
        } else {
            match c {
                '"' => in_text = true,
                '{' | '[' => depth += 1,
                '}' | ']' => depth -= 1,
                ' ' | '\t' | '\n' | '\r' => continue,
                _ => {}
            }
        }
        if depth > DEPTH_LIMIT {
            return None;
        }
        compact.push(c);
    }
    Some(compact)
}

/// Any value, read as a reader of the event will read it, and nothing built of it.
struct Readable;

impl<'de> Deserialize<'de> for Readable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Readable {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self, A::Error> {
        while entries.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compacted(text: &str) -> Option<String> {
        object_fit_for_event(&serde_json::from_str::<Box<RawValue>>(text).unwrap()).map(|raw| raw.get().to_owned())
    }

    #[test]
    fn an_object_keeps_everything_but_the_blanks_between_its_tokens() {
        let pretty =
            "{\n \"b\" : [1.50,\t1e3, -0 ],\r\n \"a\": \"two  words\\n \\\" { \\\\\", \"b\": 12345678901234567890123 }";
        let compact = "{\"b\":[1.50,1e3,-0],\"a\":\"two  words\\n \\\" { \\\\\",\"b\":12345678901234567890123}";
        assert_eq!(compacted(pretty).as_deref(), Some(compact));
        assert_eq!(compacted("{\"a\":\"\\\\\" }").as_deref(), Some("{\"a\":\"\\\\\"}"));
    }

    #[test]
    fn what_a_reader_would_refuse_is_not_kept() {
        for odd in ["{\"a\":1e999}", "{\"a\":[-1e400]}", "{\"a\":\"\\ud83d\"}", "{\"\\udc4d\":1}"] {
            assert_eq!(compacted(odd), None, "{odd}");
        }
        let huge = "{\"a\":1e308,\"b\":123456789012345678901234567890,\"c\":\"\\ud83d\\udc4d\",\"d\":[null,true]}";
        assert_eq!(compacted(huge).as_deref(), Some(huge));
    }

    #[test]
    fn only_objects_of_bounded_depth_are_kept() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(compacted(&nested(DEPTH_LIMIT - 1)).is_some());
        assert_eq!(compacted(&nested(DEPTH_LIMIT)), None);
        assert_eq!(compacted(&nested(50_000)), None);
        for other in ["[1]", "null", "\"{}\"", "5"] {
            assert_eq!(compacted(other), None, "{other}");
        }
    }
}
