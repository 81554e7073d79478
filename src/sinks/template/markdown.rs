//! Text as it stands, for a place that would read it as Markdown.

use reqwest::Url;

/// `text|markdown`: everything that means something is escaped. A word that is an address and nothing else stays a link: it
/// cannot hide where it leads, and would lead elsewhere with a backslash in it.
pub(super) fn markdown(text: String) -> String {
    text.split_inclusive(char::is_whitespace).map(escaped).collect()
}

fn escaped(word: &str) -> String {
    if is_plain_address(word.trim_end()) {
        return word.to_owned();
    }
    let special = |c: char| c.is_ascii_punctuation() && !matches!(c, '.' | ',' | ';' | '!' | '?' | '\'' | '"' | '/');
    word.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

/// Characters of an address that mean nothing to Markdown wherever they stand. With a bracket, a parenthesis, an asterisk, a
/// backquote, a tilde, a pipe, a backslash or an angle bracket it may be more than an address.
fn is_plain_address(word: &str) -> bool {
    let means_nothing = |c: char| {
        c.is_ascii_alphanumeric()
            || matches!(
                c,
                '-' | '.' | '_' | ':' | '/' | '?' | '#' | '@' | '!' | '$' | '&' | '\'' | ',' | ';' | '=' | '%' | '+'
            )
    };
    let url = || Url::parse(word).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    word.chars().all(means_nothing)
        // A login before the host looks like the host.
        && url().is_some_and(|url| url.username().is_empty() && url.password().is_none())
        // Twice the mark for emphasis may be one around a part of the address.
        && !word.contains("__")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_says_what_the_text_says_and_links_stay_links() {
        assert_eq!(
            markdown("*a* _b_ [c](https://d.example)".into()),
            "\\*a\\* \\_b\\_ \\[c\\]\\(https\\://d.example\\)"
        );
        for plain in ["see\nhttps://a.example/b_c_d now", "http://a.example/?q=1&r=%20#x", "https://a.example:8080/a-b"]
        {
            assert_eq!(markdown(plain.into()), plain);
        }
    }

    #[test]
    fn a_word_that_only_begins_as_an_address_hides_nothing() {
        for hides in [
            "https://a.example/[click](https://evil.example)",
            "http://[x](https://evil.example)",
            "https://a.example/**bold**",
            "https://a.example@evil.example/",
            "https://a.example/<@everyone>",
            "https://a.example/`code`",
            "https://a.example/||spoiler||",
            "https://a.example/~~gone~~",
            "https://a.example/__x__",
            "https://a.example\\/x",
        ] {
            let escaped = markdown(hides.into());
            assert!(escaped.starts_with("http\\://") || escaped.starts_with("https\\://"), "{escaped}");
            assert!(!escaped.contains("](") && !escaped.contains("<@") && !escaped.contains("**"), "{escaped}");
        }
    }
}
