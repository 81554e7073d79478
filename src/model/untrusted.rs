//! Text from outside, made harmless for a terminal or a log line.

use std::fmt::{self, Display, Write};

/// Displays text on one line: control characters, line breaks and bidirectional overrides appear as escapes, so that
/// a message cannot move the cursor, forge a log line or reorder what a person reads.
pub struct Untrusted<'a>(pub &'a str);

impl Display for Untrusted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\n' => f.write_str("\\n")?,
                '\t' => f.write_str("\\t")?,
                c if c.is_control() || reorders(c) => write!(f, "\\u{{{:x}}}", c as u32)?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Bidirectional controls and the separators that some terminals take for a line break.
pub(super) fn reorders(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The longest start of `text` that has at most `limit` bytes and ends between characters.
pub fn cut_at(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

/// An error and everything behind it, on one line of at most `limit` bytes.
pub fn chain(error: &(dyn std::error::Error + 'static), limit: usize) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    Untrusted(cut_at(&text, limit)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_controls_and_bidi_overrides_are_spelled_out() {
        let shown = Untrusted("a\u{1b}[2J\r\nb\u{202e}c\u{9b}d\u{7f}ü").to_string();
        assert_eq!(shown, "a\\u{1b}[2J\\u{d}\\nb\\u{202e}c\\u{9b}d\\u{7f}ü");
    }

    #[test]
    fn cutting_never_splits_a_character() {
        assert_eq!(cut_at("aü", 2), "a");
        assert_eq!(cut_at("aü", 3), "aü");
    }
}
