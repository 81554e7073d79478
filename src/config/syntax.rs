//! The text of a configuration file: what comes before its first character, and where its syntax is wrong. The line is
//! never quoted: it may hold a secret.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use config::FileFormat;
use yaml_rust2::YamlLoader;

use super::problem::Problem;

/// The notation of a file, by its name.
pub(super) fn format_of(path: &Path) -> FileFormat {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    match extension.as_str() {
        "yaml" | "yml" => FileFormat::Yaml,
        "json" => FileFormat::Json,
        _ => FileFormat::Toml,
    }
}

/// Longest wait for what comes through a pipe, such as `<(pass show inboxd)`, where a person may have to type something.
const LONGEST_READ: Duration = Duration::from_secs(60);

/// Largest file that is read at all.
const LARGEST: u64 = 16 << 20;

/// Reads a file. What is none, such as a pipe, may have nobody at its other end: it is read beside, and not waited for for
/// ever.
pub(super) fn read_in_time(path: &Path) -> io::Result<Vec<u8>> {
    read_within(path, LONGEST_READ)
}

/// The same of what is inserted, which nobody types.
pub(super) fn read_at_once(path: &Path) -> io::Result<Vec<u8>> {
    read_within(path, Duration::from_secs(5))
}

fn read_within(path: &Path, limit: Duration) -> io::Result<Vec<u8>> {
    let read = |path: &Path| -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
        match bytes.len() as u64 > LARGEST {
            true => Err(io::Error::other("it has more than 16 MiB, which no configuration has")),
            false => Ok(bytes),
        }
    };
    if std::fs::metadata(path)?.is_file() {
        return read(path);
    }
    let (tell, told) = mpsc::channel();
    let path = path.to_owned();
    std::thread::spawn(move || tell.send(read(&path)));
    told.recv_timeout(limit).unwrap_or_else(|_| {
        let seconds = limit.as_secs();
        Err(io::Error::other(format!("it is no file, and nothing has come from it within {seconds} s; name a file")))
    })
}

/// The bytes of a file as text. Editors of one system put a mark before the first character, which is none of it.
pub(super) fn text_of(bytes: Vec<u8>) -> Result<String, &'static str> {
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        return Err("is UTF-16 text, and UTF-8 is wanted; save it as UTF-8");
    }
    let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8 text")?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Tells where the syntax is wrong.
pub(super) fn check(text: &str, format: FileFormat) -> Result<(), Problem> {
    let at = |line: usize, column: usize, message: &str| {
        Err(Problem::new("", format!("line {line}, column {column}: {message}")))
    };
    match format {
        FileFormat::Toml => match text.parse::<toml::Table>() {
            Ok(_) => Ok(()),
            Err(error) => {
                let offset = error.span().map_or(0, |span| span.start.min(text.len()));
                let before = text.get(..offset).unwrap_or_default();
                let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
                // TOML's words for a repeated key name the key, which is not a secret; values are not repeated.
                let message = error.message().lines().next().unwrap_or_default();
                at(before.matches('\n').count() + 1, column, &format!("is not TOML: {message}"))
            }
        },
        FileFormat::Json => match serde_json::from_str::<serde::de::IgnoredAny>(text) {
            Ok(_) => Ok(()),
            Err(error) => {
                // Its words are fixed ones, and end with the place.
                let words = error.to_string();
                let words = words.split(" at line ").next().unwrap_or_default();
                at(error.line(), error.column(), &format!("is not JSON: {words}"))
            }
        },
        FileFormat::Yaml => match YamlLoader::load_from_str(text) {
            Ok(documents) if documents.len() > 1 => {
                let count = documents.len();
                Err(Problem::new("", format!("has {count} documents, divided by \"---\"; one is wanted")))
            }
            Ok(_) => Ok(()),
            Err(error) => {
                let place = error.marker();
                at(place.line(), place.col() + 1, &format!("is not YAML: {}", in_words(error.info())))
            }
        },
        _ => Ok(()),
    }
}

/// The parser's words, as far as they are fixed ones: some repeat the text.
fn in_words(info: &str) -> &str {
    if info.ends_with("duplicated key in mapping") {
        return "a key is there twice";
    }
    if info.contains(['"', '`']) || info.matches('\'').count() > 6 { "the text cannot be read" } else { info }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, format: FileFormat) -> String {
        check(text, format).unwrap_err().message
    }

    #[test]
    fn every_notation_tells_line_and_column_and_quotes_nothing() {
        for (text, format, says) in [
            ("a = 1\nb = \"s3cr3t\n", FileFormat::Toml, "line 2, column "),
            ("{\n \"a\": \"s3cr3t\" \"x\"}", FileFormat::Json, "line 2, column 16: is not JSON: expected"),
            ("{\n \"a\": \"s3cr3t\",\n}", FileFormat::Json, "line 3, column 1: is not JSON: key must be"),
            ("a: 1\nb: [s3cr3t\n", FileFormat::Yaml, "line 3, column 1: is not YAML: "),
            ("a: 1\n  b: s3cr3t: x\n", FileFormat::Yaml, "line 2, column "),
            ("a: 1\nb: \"s3cr3t\n", FileFormat::Yaml, "line 2, column "),
            ("a: 1\n\tb: s3cr3t\n", FileFormat::Yaml, "line 1, column 4: is not YAML: while scanning"),
            ("a: *s3cr3t\n", FileFormat::Yaml, "line 1, column "),
            ("a: @s3cr3t\n", FileFormat::Yaml, "line 1, column "),
            ("s3cr3t: 1\ns3cr3t: 2\n", FileFormat::Yaml, "a key is there twice"),
            ("a: 1\n---\nb: s3cr3t\n", FileFormat::Yaml, "has 2 documents"),
        ] {
            let message = place(text, format);
            assert!(message.contains(says) && !message.contains("s3cr3t"), "{text:?}: {message}");
        }
        for (text, format) in [("", FileFormat::Toml), ("{}", FileFormat::Json), ("", FileFormat::Yaml)] {
            assert!(check(text, format).is_ok());
        }
    }

    #[test]
    fn a_mark_before_the_first_character_is_none_of_the_text() {
        assert_eq!(text_of("\u{feff}a = 1".into()).unwrap(), "a = 1");
        assert_eq!(text_of("a\u{feff}".into()).unwrap(), "a\u{feff}", "elsewhere it is a character");
        assert!(text_of(vec![0xFF, 0xFE, b'a', 0]).unwrap_err().contains("save it as UTF-8"));
        assert!(text_of(vec![0xC3]).unwrap_err().contains("not UTF-8"));
    }
}
