//! What a provider sent, made fit to stand inside an event.

use serde_json::value::RawValue;

/// Deepest nesting kept: parsers of receivers stop at 128 levels, and the event has some of its own.
const DEPTH_LIMIT: usize = 100;

/// The object as it was received, without the blanks between its tokens, so that no line break can split an event; `None`
/// for what is no object or is nested too deeply.
pub(super) fn compact(raw: &RawValue) -> Option<Box<RawValue>> {
    let text = raw.get();
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
    RawValue::from_string(compact).ok().filter(|raw| raw.get().starts_with('{'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compacted(text: &str) -> Option<String> {
        compact(&serde_json::from_str::<Box<RawValue>>(text).unwrap()).map(|raw| raw.get().to_owned())
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
