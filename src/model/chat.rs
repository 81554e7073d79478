//! Text of people for people, as a chat shows it: what belongs to writing stays, what only steers a
//! machine goes.
//!
//! Unlike [`Untrusted`](super::Untrusted), which spells out what it does not show, for terminals
//! and logs.

/// Text of many lines. Tabs, marks of direction and isolates stay; everything that ends a line is a
/// line break; overrides and embeddings of direction, with which a text could look like another
/// one, and the other control characters go. An isolate ends with its line, as it does on a screen,
/// so that it reaches nothing that stands behind the text.
pub(super) fn lines(text: &str) -> String {
    let unified = text.trim().replace("\r\n", "\n");
    unified.split(ends_a_line).map(one_line).collect::<Vec<_>>().join("\n")
}

/// Text of one line.
pub(super) fn line(text: &str) -> String {
    lines(text).replace('\n', " ")
}

/// The isolates that a text begins and does not end.
pub fn open_isolates(text: &str) -> usize {
    text.chars().fold(0, |open: usize, c| match c {
        '\n' => 0,
        c if begins_isolate(c) => open + 1,
        END_OF_ISOLATE => open.saturating_sub(1),
        _ => open,
    })
}

/// Ends the isolate that was begun last.
pub const END_OF_ISOLATE: char = '\u{2069}';

fn begins_isolate(c: char) -> bool {
    matches!(c, '\u{2066}'..='\u{2068}')
}

/// Whether a line ends here, for any of the usual readers.
pub(super) fn ends_a_line(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn one_line(text: &str) -> String {
    let mut open = 0_usize;
    let mut line: String = text
        .chars()
        .filter(|&c| {
            if begins_isolate(c) {
                open += 1;
            } else if c == END_OF_ISOLATE {
                // One without a beginning would end what the text stands in.
                let begun = open > 0;
                open = open.saturating_sub(1);
                return begun;
            }
            c == '\t' || !(c.is_control() || steers(c))
        })
        .collect();
    line.extend(std::iter::repeat_n(END_OF_ISOLATE, open));
    line
}

/// Embeddings and overrides of direction, and the deprecated shapers.
fn steers(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_belongs_to_writing_stays() {
        for text in
            ["a\tb", "\u{200f}שלום\u{200e}", "\u{61c}ab", "\u{2067}שלום\u{2069}!", "👩\u{200d}💻", "a\n\nb", "naïve"]
        {
            assert_eq!(lines(text), text);
        }
    }

    #[test]
    fn everything_that_ends_a_line_is_a_line_break() {
        assert_eq!(lines("a\r\nb\rc\u{b}d\u{c}e\u{85}f\u{2028}g\u{2029}h\ni\r\n"), "a\nb\nc\nd\ne\nf\ng\nh\ni");
        assert_eq!(line("a\r\nb\u{2028}c"), "a b c");
    }

    #[test]
    fn overrides_and_other_controls_go_without_a_trace() {
        assert_eq!(lines("pay \u{202e}evil\u{202c}\u{1b}[2J\u{0}\u{7f}\u{9b}x\u{7}\u{202a}\u{206e}"), "pay evil[2Jx");
    }

    #[test]
    fn an_isolate_ends_with_its_line_and_never_before_it_began() {
        assert_eq!(lines("\u{2067}a\u{2066}b"), "\u{2067}a\u{2066}b\u{2069}\u{2069}");
        assert_eq!(lines("\u{2068}a\nb\u{2069}c"), "\u{2068}a\u{2069}\nbc");
        assert_eq!(lines("\u{2069}a\u{2069}"), "a");
    }

    proptest! {
        #[test]
        fn nothing_but_tabs_and_line_breaks_controls_a_chat(text in "[\\PC\\pC\u{2066}-\u{2069}\u{202a}-\u{202e}]{0,60}") {
            let shown = lines(&text);
            prop_assert!(!shown.chars().any(|c| (c.is_control() && c != '\n' && c != '\t') || steers(c)), "{shown:?}");
            prop_assert!(shown.split('\n').all(|line| open_isolates(line) == 0), "{shown:?}");
            prop_assert_eq!(lines(&shown), shown.trim().to_owned());
        }
    }
}
