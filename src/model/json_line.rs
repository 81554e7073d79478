//! One JSON object on one line, for every usual reader.

use serde::Serialize;

/// Renders a value as JSON without a line break in it, by whatever a reader takes for one: U+2028,
/// U+2029 and U+0085 end a line for some (Node's readline, Python's splitlines), so they are
/// escaped as the control characters are, which JSON escapes by itself.
pub fn json_line(value: &impl Serialize) -> Result<String, serde_json::Error> {
    serde_json::to_string(value).map(escaped)
}

/// In valid JSON these stand inside of strings only.
fn escaped(json: String) -> String {
    if !json.contains(BREAKS) {
        return json;
    }
    let mut line = String::with_capacity(json.len() + 64);
    for c in json.chars() {
        match c {
            '\u{85}' => line.push_str("\\u0085"),
            '\u{2028}' => line.push_str("\\u2028"),
            '\u{2029}' => line.push_str("\\u2029"),
            c => line.push(c),
        }
    }
    line
}

const BREAKS: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All that Python's `str.splitlines` ends a line at, which is more than any other reader does.
    fn ends_a_line(c: char) -> bool {
        matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
    }

    proptest! {
        #[test]
        fn any_text_is_one_line_and_reads_back_as_it_was(text in "[\\PC\n\r\t\u{b}\u{c}\u{1c}-\u{1e}\u{85}\u{2028}\u{2029}\\\\\"]{0,40}") {
            let line = json_line(&[&text]).unwrap();
            prop_assert!(!line.contains(ends_a_line), "{line:?}");
            prop_assert_eq!(serde_json::from_str::<Vec<String>>(&line).unwrap(), vec![text]);
        }
    }

    #[test]
    fn a_backslash_before_a_separator_stays_one() {
        assert_eq!(json_line(&"\\\u{2028}").unwrap(), r#""\\\u2028""#);
    }
}
