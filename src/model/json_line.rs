//! One JSON object on one line, for every usual reader.

use serde::Serialize;

use super::untrusted::reorders;

/// Renders a value as JSON without a line break in it, by whatever a reader takes for one: U+2028,
/// U+2029 and U+0085 end a line for some (Node's readline, Python's splitlines). They are escaped as
/// the control characters are, which JSON escapes by itself, and so is what a terminal would obey.
pub fn json_line(value: &impl Serialize) -> Result<String, serde_json::Error> {
    serde_json::to_string(value).map(harmless_json)
}

/// The same JSON with everything escaped that ends a line, or that a terminal obeys: DEL, C1 and
/// overrides of direction. In valid JSON these stand inside of strings only.
pub fn harmless_json(json: String) -> String {
    if !json.contains(is_harmful) {
        return json;
    }
    let mut line = String::with_capacity(json.len() + 64);
    for c in json.chars() {
        match c {
            c if is_harmful(c) => line.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => line.push(c),
        }
    }
    line
}

/// The line break that ends a line, and the characters of blanks, are no part of a text.
fn is_harmful(c: char) -> bool {
    c == '\u{7f}' || ('\u{80}'..='\u{9f}').contains(&c) || reorders(c)
}

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
    fn what_a_terminal_obeys_is_escaped() {
        let line = json_line(&"\u{1b}[2J\u{7f}\u{9b}31m\u{202e}ü\u{2066}\u{200f}").unwrap();
        assert_eq!(line, r#""\u001b[2J\u007f\u009b31m\u202eü\u2066\u200f""#);
    }

    #[test]
    fn a_backslash_before_a_separator_stays_one() {
        assert_eq!(json_line(&"\\\u{2028}").unwrap(), r#""\\\u2028""#);
    }
}
