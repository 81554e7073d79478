//! Keeps secrets out of text that comes back from outside: a receiver, a provider or a program may
//! repeat what it was sent, and errors go into the log, the database and the answers of commands.
//!
//! A secret is recognised whole or in part, and however it is written: as it is, with its
//! characters escaped (`%2F`, `\/`, `\u002f`, `&#47;`), in base64 or in hexadecimal digits. So the
//! text is looked at in each of these readings, and what is found is masked where it stands.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use data_encoding::BASE64_NOPAD;
use percent_encoding::percent_decode_str;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

/// What stands for a secret.
pub const MASK: &str = "***";

/// So many characters of a secret in a row are masked wherever they stand.
const RUN: usize = 8;

/// A shorter secret is masked only where it stands alone, as a word of its own.
const SHORTEST: usize = 4;

/// So many characters of a secret at the end of a text are its beginning, cut off by a limit.
const CUT: usize = 4;

/// How often a text may have been escaped: a gateway escapes what a receiver has escaped.
const ESCAPED: usize = 3;

/// Base64 and hexadecimal digits in a row that may hold a run of a secret.
const ENCODED: usize = 11;

/// Text after which a limit has cut a text off.
const ELLIPSES: [&str; 2] = ["...", "…"];

/// Secrets, and how to find them in a text; clones share them.
#[derive(Clone, Default)]
pub struct Mask(Arc<Words>);

/// Words in lower case, because some servers repeat an address so.
#[derive(Clone, Default)]
struct Words {
    /// Those that are long enough to be found by a part.
    long: Vec<SecretString>,
    /// Those that are found as a whole only.
    short: Vec<SecretString>,
    /// Every run of [`RUN`] characters of the long ones.
    runs: HashSet<[u8; RUN]>,
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mask({} secrets)", self.0.long.len() + self.0.short.len())
    }
}

impl Mask {
    /// Masks also this secret: each of its words, and where one is base64, as a login is in a
    /// header, what is written in it.
    #[must_use]
    pub fn and(self, secret: &str) -> Self {
        let mut words = Arc::unwrap_or_clone(self.0);
        let secret = within_armour(secret);
        let alone = secret.split_whitespace().nth(1).is_none();
        for word in secret.split_whitespace() {
            // `Bearer` and `Token` say of what kind the secret is that stands beside.
            if !alone && word.len() < RUN && word.bytes().all(|b| b.is_ascii_alphabetic()) {
                continue;
            }
            words.add(word);
            let word = word.trim_end_matches('=');
            let decoded = BASE64_NOPAD.decode(word.as_bytes()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            for part in decoded.iter().filter(|text| !text.contains(char::is_control)).flat_map(|text| text.split(':'))
            {
                words.add(part);
            }
        }
        Self(Arc::new(words))
    }

    /// Masks also these secrets.
    #[must_use]
    pub fn and_all<'a>(self, secrets: impl IntoIterator<Item = &'a SecretString>) -> Self {
        secrets.into_iter().fold(self, |mask, secret| mask.and(secret.expose_secret()))
    }

    /// Masks also what may be secret in an address: user and password, the parts of its path and
    /// the values of its query; all of it where it is no address.
    #[must_use]
    pub fn and_address(self, address: &SecretString) -> Self {
        let text = address.expose_secret().trim();
        let Ok(url) = Url::parse(text) else { return self.and(text) };
        let mut words = Arc::unwrap_or_clone(self.0);
        let segments = url.path_segments().into_iter().flatten().filter(|segment| !is_plain_word(segment));
        let login = [url.username(), url.password().unwrap_or_default()];
        for part in login.into_iter().chain(segments) {
            words.add(part);
            words.add(&percent_decode_str(part).decode_utf8_lossy());
        }
        for (name, value) in url.query_pairs() {
            // What has no value is itself one.
            words.add(if value.is_empty() { &name } else { &value });
        }
        Self(Arc::new(words))
    }

    /// Masks also the secrets of another mask.
    #[must_use]
    pub fn and_of(self, other: &Self) -> Self {
        self.and_all(other.0.long.iter().chain(&other.0.short))
    }

    /// The text without the secrets.
    pub fn hide(&self, text: &str) -> String {
        let mut found = self.found(text);
        if found.is_empty() {
            return text.to_owned();
        }
        found.sort_unstable_by_key(|range| range.start);
        let (mut hidden, mut at) = (String::with_capacity(text.len()), 0);
        for Range { start, end } in found {
            if start >= at {
                let between = &text[text.floor_char_boundary(at)..text.floor_char_boundary(start)];
                // What follows without a gap is of the same secret.
                if start > at || at == 0 {
                    hidden += between;
                    hidden += MASK;
                }
            }
            at = at.max(text.ceil_char_boundary(end));
        }
        hidden + &text[at..]
    }

    /// Whether there is a secret in the text.
    pub fn is_in(&self, text: &str) -> bool {
        !self.found(text).is_empty()
    }

    /// Where secrets stand in the text, in any order; the places may overlap.
    fn found(&self, text: &str) -> Vec<Range<usize>> {
        if self.0.long.is_empty() && self.0.short.is_empty() {
            return vec![];
        }
        let plain = Reading::plain(text);
        let mut found = Vec::new();
        self.find_in(&plain, &mut found);
        let mut escaped = plain;
        for _ in 0..ESCAPED {
            let Some(unescaped) = escaped.unescaped() else { break };
            self.find_in(&unescaped, &mut found);
            escaped = unescaped;
        }
        found
    }

    fn find_in(&self, reading: &Reading, found: &mut Vec<Range<usize>>) {
        self.0.find_runs(reading, found);
        self.0.find_short(reading, found);
        self.0.find_cut(reading, found);
        self.0.find_encoded(reading, found);
    }
}

/// A short word of an address, such as `api` and `hook`, which would be missed in an answer and is no secret.
fn is_plain_word(segment: &str) -> bool {
    segment.len() < RUN && segment.bytes().all(|b| b.is_ascii_lowercase())
}

/// Of the text of PEM and `.creds` files what is secret in them: their marks are words that anybody uses, and certificates are
/// public. Everything that is no whole block is kept.
fn within_armour(text: &str) -> Cow<'_, str> {
    let label = |line: &str, mark: &str| -> Option<String> {
        let label = line.trim().trim_matches('-').strip_prefix(mark)?.trim().to_owned();
        (line.trim().starts_with("-----") && line.trim().ends_with("-----") && !label.contains("--")).then_some(label)
    };
    let lines: Vec<_> = text.lines().collect();
    let (mut kept, mut at) = (Vec::new(), 0);
    while at < lines.len() {
        let block = label(lines[at], "BEGIN ").and_then(|of| {
            let end = lines[at..].iter().position(|line| label(line, "END ").as_ref() == Some(&of))?;
            Some((of, at + end))
        });
        match block {
            Some((of, end)) => {
                if !of.contains("CERTIFICATE") {
                    kept.extend(&lines[at + 1..end]);
                }
                at = end;
            }
            None => kept.push(lines[at]),
        }
        at += 1;
    }
    if kept.len() == lines.len() { Cow::Borrowed(text) } else { Cow::Owned(kept.join("\n")) }
}

impl Words {
    fn add(&mut self, word: &str) {
        let word = word.to_ascii_lowercase();
        // A date or a number has runs in common with every other.
        let is_number = word.len() < 2 * RUN && !word.bytes().any(|b| b.is_ascii_alphabetic());
        let is_short = word.len() < RUN || is_number;
        let known = if is_short { &self.short } else { &self.long };
        if known.iter().any(|known| known.expose_secret() == word) {
            return;
        }
        match word.len() {
            ..SHORTEST => {}
            _ if is_short => self.short.push(word.into()),
            _ => {
                self.runs.extend(word.as_bytes().windows(RUN).filter_map(|run| <[u8; RUN]>::try_from(run).ok()));
                self.long.push(word.into());
            }
        }
    }

    fn find_runs(&self, reading: &Reading, found: &mut Vec<Range<usize>>) {
        for (at, run) in reading.bytes.windows(RUN).enumerate() {
            if self.runs.contains(run) {
                found.push(reading.place(at..at + RUN));
            }
        }
    }

    fn find_short(&self, reading: &Reading, found: &mut Vec<Range<usize>>) {
        let is_word =
            |at: Option<usize>| at.and_then(|at| reading.bytes.get(at)).is_some_and(u8::is_ascii_alphanumeric);
        for word in self.short.iter().map(|word| word.expose_secret().as_bytes()) {
            for (at, _) in reading.bytes.windows(word.len()).enumerate().filter(|(_, window)| *window == word) {
                if !is_word(at.checked_sub(1)) && !is_word(Some(at + word.len())) {
                    found.push(reading.place(at..at + word.len()));
                }
            }
        }
    }

    /// The beginning of a secret at the end of the text, which a limit may have cut there.
    fn find_cut(&self, reading: &Reading, found: &mut Vec<Range<usize>>) {
        let bytes = &reading.bytes;
        let end = ELLIPSES.iter().find_map(|mark| bytes.strip_suffix(mark.as_bytes())).map_or(bytes.len(), <[u8]>::len);
        for word in self.long.iter().chain(&self.short).map(|word| word.expose_secret().as_bytes()) {
            let longest = (CUT..word.len()).rev().find(|length| bytes[..end].ends_with(&word[..*length]));
            found.extend(longest.map(|length| reading.place(end - length..end)));
        }
    }

    /// Digits of base64 or of hexadecimal numbers in which a part of a secret is written.
    fn find_encoded(&self, reading: &Reading, found: &mut Vec<Range<usize>>) {
        let mut at = 0;
        for digits in reading.cased.split(|byte| !is_digit(*byte)) {
            let place = at..at + digits.len();
            at = place.end + 1;
            if digits.len() >= ENCODED && decodings(digits).iter().any(|decoded| self.holds_part(decoded)) {
                found.push(reading.place(place));
            }
        }
    }

    fn holds_part(&self, decoded: &[u8]) -> bool {
        let decoded = decoded.to_ascii_lowercase();
        decoded.windows(RUN).any(|run| self.runs.contains(run))
            || self
                .short
                .iter()
                .map(|word| word.expose_secret().as_bytes())
                .any(|word| decoded.windows(word.len()).any(|window| window == word))
    }
}

/// A digit of base64, in either of its alphabets; those of hexadecimal numbers are among them.
fn is_digit(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

/// What digits say, from each place on where what they say may begin.
fn decodings(digits: &[u8]) -> Vec<Vec<u8>> {
    let value = |digit: u8| match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' | b'-' => 62,
        _ => 63,
    };
    let base64 = (0..4).map(|from| {
        let digits = digits.get(from..).unwrap_or_default();
        let mut said = Vec::with_capacity(digits.len());
        for four in digits.chunks(4) {
            let bits = four.iter().fold(0_u32, |bits, digit| (bits << 6) | u32::from(value(*digit)));
            let bits = bits << (6 * (4 - four.len()));
            said.extend_from_slice(&bits.to_be_bytes()[1..four.len().max(1)]);
        }
        said
    });
    let hexadecimal = (0..2).map(|from| {
        let pairs = digits.get(from..).unwrap_or_default().chunks_exact(2);
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        // What is no number parts what stands before it from what stands behind it.
        pairs.map(|pair| byte(pair).unwrap_or_default()).collect()
    });
    base64.chain(hexadecimal).collect()
}

/// A way of reading a text: its bytes in lower case, and where each of them stands in the text.
struct Reading {
    bytes: Vec<u8>,
    cased: Vec<u8>,
    places: Vec<Range<usize>>,
}

impl Reading {
    fn plain(text: &str) -> Self {
        Self {
            bytes: text.to_ascii_lowercase().into_bytes(),
            cased: text.as_bytes().to_vec(),
            places: (0..text.len()).map(|at| at..at + 1).collect(),
        }
    }

    /// Where these bytes stand in the text.
    fn place(&self, of: Range<usize>) -> Range<usize> {
        match &self.places[of] {
            [] => 0..0,
            [first, .., last] => first.start..last.end,
            [only] => only.clone(),
        }
    }

    /// The same with its escapes undone; `None` where there are none.
    fn unescaped(&self) -> Option<Self> {
        let (mut cased, mut places) = (Vec::with_capacity(self.cased.len()), Vec::with_capacity(self.places.len()));
        let mut at = 0;
        while at < self.cased.len() {
            let (says, length) = escape(&self.cased[at..]).unwrap_or_else(|| (vec![self.cased[at]], 1));
            let place = self.place(at..at + length);
            places.extend(std::iter::repeat_n(place, says.len()));
            cased.extend(says);
            at += length;
        }
        let changed = cased.len() != self.cased.len();
        changed.then(|| Self { bytes: cased.to_ascii_lowercase(), cased, places })
    }
}

/// What the escape at the beginning of a text says, and how long it is.
fn escape(text: &[u8]) -> Option<(Vec<u8>, usize)> {
    let number = |digits: &[u8], radix| u32::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok();
    let character = |number: u32| char::from_u32(number).map(|c| c.to_string().into_bytes());
    let until = |end: u8, from: usize| text.iter().take(12).skip(from).position(|byte| *byte == end);
    match text {
        // Two of them may be one character: each byte stands for itself.
        [b'%', high, low, ..] => Some((vec![u8::try_from(number(&[*high, *low], 16)?).ok()?], 3)),
        [b'\\', b'u', b'{', ..] => {
            let length = until(b'}', 3)?;
            Some((character(number(&text[3..3 + length], 16)?)?, 4 + length))
        }
        [b'\\', b'u', digits @ ..] => Some((character(number(digits.get(..4)?, 16)?)?, 6)),
        [b'\\', b'x', digits @ ..] => Some((character(number(digits.get(..2)?, 16)?)?, 4)),
        [b'\\', c @ (b'/' | b'\\' | b'"' | b'\''), ..] => Some((vec![*c], 2)),
        [b'&', ..] => {
            let length = until(b';', 1)?;
            let says = match &text[1..1 + length] {
                b"amp" => b"&".to_vec(),
                b"lt" => b"<".to_vec(),
                b"gt" => b">".to_vec(),
                b"quot" => b"\"".to_vec(),
                b"apos" => b"'".to_vec(),
                [b'#', b'x' | b'X', digits @ ..] => character(number(digits, 16)?)?,
                [b'#', digits @ ..] => character(number(digits, 10)?)?,
                _ => return None,
            };
            Some((says, 2 + length))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOKEN: &str = "xoxb-2/9Kq+Zr7ÄLm4";

    fn mask() -> Mask {
        Mask::default().and(TOKEN)
    }

    #[test]
    fn of_a_pem_file_what_is_secret_is_masked_and_its_marks_are_words_like_others() {
        let block = |of: &str, line: &str| format!("-----BEGIN {of}-----\n{line}\n-----END {of}-----\n");
        let key = block("PRIVATE KEY", "MIGHAgEAMBMGByqGSM49");
        let file = format!("{key}{}tok-en0123456789\n", block("CERTIFICATE", "MIIBpublicpublic"));
        let mask = Mask::default().and(&file);
        let words = "the server wants a CERTIFICATE, a PRIVATE KEY and no BEGIN; it has MIIBpublicpublic";
        assert_eq!(mask.hide(words), words);
        assert_eq!(mask.hide("sent MIGHAgEAMBMGByqGSM49 and tok-en0123456789 back"), "sent *** and *** back");
        // As variables have it, and cut off.
        for odd in [key.replace('\n', " "), "-----BEGIN X-----\nMIGHAgEAMBMGByqGSM49".into()] {
            assert_eq!(Mask::default().and(&odd).hide("sent MIGHAgEAMBMGByqGSM49 back"), "sent *** back", "{odd}");
        }
    }

    #[test]
    fn a_secret_is_masked_however_it_is_written() {
        let escaped = |each: fn(u8) -> String| TOKEN.bytes().map(each).collect::<String>();
        let base64 = data_encoding::BASE64.encode(format!("ada:{TOKEN}").as_bytes());
        for written in [
            TOKEN.to_owned(),
            TOKEN.to_uppercase(),
            TOKEN.replace('/', "\\/"),
            TOKEN.replace('/', "\\u002F").replace('+', "\\u{2b}"),
            TOKEN.replace('/', "&#x2F;").replace('+', "&#43;"),
            TOKEN.replace('/', "%2f"),
            TOKEN.replace('/', "%252F"),
            escaped(|byte| format!("%{byte:02X}")),
            escaped(|byte| format!("%25{byte:02x}")),
            base64.clone(),
            base64.trim_end_matches('=').replace('+', "-").replace('/', "_"),
            data_encoding::BASE64URL_NOPAD.encode(format!("x{TOKEN}").as_bytes()),
            data_encoding::HEXLOWER.encode(TOKEN.as_bytes()),
            TOKEN[..12].to_owned(),
            TOKEN[6..].to_owned(),
        ] {
            let hidden = mask().hide(&format!("no entry: <{written}> at 9"));
            let rest = hidden.strip_prefix("no entry: <").and_then(|rest| rest.strip_suffix("> at 9"));
            assert!(rest.is_some_and(|rest| rest.trim_end_matches('=') == MASK), "{written}: {hidden}");
            let cut = format!("no entry: {}", &written[..written.floor_char_boundary(written.len() - 2)]);
            assert!(mask().hide(&cut).starts_with("no entry: ***"), "{cut}");
        }
        assert_eq!(mask().hide("nothing of it"), "nothing of it");
        assert_eq!(mask().hide("it ends so: xoxb-2/..."), "it ends so: ***...");
    }

    #[test]
    fn of_an_address_the_login_the_path_and_the_query_are_secret_and_plain_words_are_not() {
        let address =
            "https://ada:p%40ss-w0rd@hooks.example.com/hook/services/T0SECRET/B0SECRET/x%2Fy9zSECRET?key=QSECRET1&a=1";
        let mask = Mask::default().and_address(&address.into());
        let hidden =
            mask.hide("Cannot POST /hook/services/T0SECRET/B0SECRET/x%2Fy9zSECRET?key=QSECRET1 of ada, p@ss-w0rd");
        for secret in ["services", "T0SECRET", "B0SECRET", "y9zSECRET", "QSECRET1", "w0rd"] {
            assert!(!hidden.contains(secret), "{hidden}");
        }
        assert_eq!(hidden, "Cannot POST /hook/***/***/***/***?key=*** of ada, ***");
        assert_eq!(Mask::default().and_address(&"s3cr3t-and-no-url".into()).hide("s3cr3t-and-no-url"), "***");
    }

    #[test]
    fn a_login_is_masked_in_its_parts_and_a_short_word_where_it_stands_alone() {
        let mask = Mask::default().and("Basic U0VDUkVUVVNFUjpTRUNSRVRQQVNTOTk=");
        assert_eq!(mask.hide("bad login for SECRETUSER: SECRETPASS99"), "bad login for ***: ***");
        let short = Mask::default().and("s3cr3t");
        assert_eq!(short.hide("s3cr3t, \"s3cr3t\" and s3cr3ts"), "***, \"***\" and s3cr3ts");
    }

    proptest! {
        #[test]
        fn whatever_stands_around_it_no_part_of_a_secret_is_left(
            before in "[a-z%\\\\&; üß]{0,12}",
            after in "[a-z%\\\\&; üß]{0,12}",
            secret in "[A-Z][A-Z0-9/+ü]{7,23}",
        ) {
            let hidden = Mask::default().and(&secret).hide(&format!("{before}{secret}{after}"));
            prop_assert!(!hidden.to_lowercase().contains(&secret.to_lowercase()), "{hidden}");
        }

        #[test]
        fn any_text_can_be_looked_at(text in "(\\PC|[%&\\\\;#xu0-9a-fA-F{}]){0,60}") {
            mask().hide(&text);
        }
    }
}
