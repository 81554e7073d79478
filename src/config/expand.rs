//! `${...}` inside text values, after parsing, so that what is inserted can never be taken for syntax.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use secrecy::SecretString;
use serde_json::Value;

use super::problem::Problem;
use super::syntax;
use crate::mask::Mask;
use crate::ownership::Strangers;
use crate::settings::file_problem;

/// Largest file that is inserted: a bundle of certificates has some 250 KiB.
const FILE_LIMIT: u64 = 1 << 20;

/// What was inserted somewhere.
#[derive(Default)]
pub(super) struct Inserted {
    /// Keys whose values came from a file or a credential, and so are not shown.
    pub(super) from_files: Vec<String>,
    /// What came from a file, a credential or the environment, wherever it was put.
    pub(super) mask: Mask,
    /// Arguments of programs that have a value of the environment in them.
    pub(super) in_commands: Vec<String>,
}

/// Expands every text value below `value`. `key` is its path, for errors.
pub(super) fn expand(value: &mut Value, key: &str, inserted: &mut Inserted, problems: &mut Vec<Problem>) {
    match value {
        Value::String(text) if text.contains("${") => match expand_text(text, key) {
            // Every user of the machine reads the arguments of every program.
            Ok(expanded) if expanded.from_file && key.contains(".command[") => {
                let message = "puts a secret where ps(1) shows it to everybody; give it to the program in env";
                problems.push(Problem::new(key, message));
            }
            Ok(expanded) => {
                if key.contains(".command[") && !expanded.inserted.is_empty() {
                    inserted.in_commands.push(key.to_owned());
                }
                // A template and a command are shown only as they are written down: what is put into them may be a token.
                if expanded.from_file || key.ends_with(".template") || key.contains(".command[") {
                    inserted.from_files.push(key.to_owned());
                }
                // What names a place or a level is no secret, and would be missed in every line that names it.
                let is_plain = key.starts_with("store.") || key.starts_with("log.") || key.ends_with(".path");
                if !is_plain || expanded.from_file {
                    inserted.mask = std::mem::take(&mut inserted.mask).and_all(&expanded.inserted);
                }
                *text = expanded.text;
            }
            Err(problem) => problems.push(problem),
        },
        Value::Array(items) => {
            for (position, item) in items.iter_mut().enumerate() {
                expand(item, &format!("{key}[{position}]"), inserted, problems);
            }
        }
        Value::Object(entries) => {
            for (name, entry) in entries.iter_mut() {
                let path = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                expand(entry, &path, inserted, problems);
            }
        }
        _ => {}
    }
}

#[derive(Debug)]
struct Expanded {
    text: String,
    from_file: bool,
    inserted: Vec<SecretString>,
}

fn expand_text(text: &str, key: &str) -> Result<Expanded, Problem> {
    let mut expanded = String::with_capacity(text.len());
    let mut from_file = false;
    let mut inserted = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, after) = (&rest[..at], &rest[at + 2..]);
        if let Some(escaped) = before.strip_suffix('$') {
            expanded.push_str(escaped);
            expanded.push_str("${");
            rest = after;
            continue;
        }
        expanded.push_str(before);
        let end = after
            .find('}')
            .ok_or_else(|| Problem::new(key, "\"${\" without \"}\"; write \"$${\" for a plain \"${\""))?;
        let reference = &after[..end];
        from_file |= reference.starts_with("file:") || reference.starts_with("credential:");
        let found = look_up(reference, key)?;
        // A default stands in the configuration and is no secret.
        if reference.split_once(":-").is_none_or(|(_, default)| default != found) {
            inserted.push(found.as_str().into());
        }
        expanded.push_str(&found);
        rest = &after[end + 1..];
    }
    expanded.push_str(rest);
    Ok(Expanded { text: expanded, from_file, inserted })
}

fn look_up(reference: &str, key: &str) -> Result<String, Problem> {
    if let Some(path) = reference.strip_prefix("file:") {
        return read_file(Path::new(path), key);
    }
    if let Some(name) = reference.strip_prefix("credential:") {
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Err(Problem::new(key, "a credential is named without a path"));
        }
        let folder = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
            Problem::new(key, format!("credential {name}: $CREDENTIALS_DIRECTORY is not set; under systemd, add LoadCredential={name}:/path to the unit"))
        })?;
        return read_file(&Path::new(&folder).join(name), key);
    }
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    let plain_name = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !name.starts_with(|c: char| c.is_ascii_digit())
    };
    if !plain_name(name) {
        return Err(Problem::new(key, "\"${...}\" takes a variable name, file:/path or credential:name"));
    }
    // A byte order mark is left by editors in files that are read into the environment.
    let variable = std::env::var(name).map(|value| value.trim_start_matches('\u{feff}').to_owned());
    match (variable, default) {
        (Ok(value), None) => Ok(value),
        (Ok(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (Err(std::env::VarError::NotUnicode(_)), None) => {
            Err(Problem::new(key, format!("environment variable {name} is not UTF-8 text")))
        }
        (Err(std::env::VarError::NotPresent), None) => Err(Problem::new(
            key,
            format!("environment variable {name} is not set; set it, or write ${{{name}:-default}}"),
        )),
    }
}

fn read_file(path: &Path, key: &str) -> Result<String, Problem> {
    let shown = path.display();
    if let Some(problem) = file_problem(path) {
        return Err(Problem::new(
            key,
            format!("the path of \"${{file:...}}\" {}", problem.replace("${HOME}", "/home/NAME")),
        ));
    }
    let refused = |e: std::io::Error| Problem::unreadable(key, format!("file {shown} cannot be read: {e}"));
    let found = std::fs::metadata(path).map_err(refused)?;
    if found.file_type().is_char_device() || found.file_type().is_block_device() {
        return Err(Problem::new(key, format!("file {shown} is a device, and a file is wanted")));
    }
    if let (Strangers::Write, Some(problem)) = (Strangers::of(&found), Strangers::Write.may_have_written(path)) {
        return Err(Problem::unreadable(key, format!("file {shown} {problem}")));
    }
    let length = found.len();
    if length > FILE_LIMIT {
        return Err(Problem::new(key, format!("file {shown} is larger than 1 MiB, which nothing that is inserted is")));
    }
    let bytes = syntax::read_at_once(path).map_err(refused)?;
    let text = syntax::text_of(bytes).map_err(|message| Problem::new(key, format!("file {shown} {message}")))?;
    Ok(text.strip_suffix('\n').map_or(text.as_str(), |t| t.strip_suffix('\r').unwrap_or(t)).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, String> {
        expand_text(text, "k").map(|e| e.text).map_err(|p| p.to_string())
    }

    #[test]
    fn variables_have_defaults_and_a_doubled_dollar_is_plain() {
        let home = std::env::var("PATH").unwrap();
        assert_eq!(expanded("a ${PATH} b").unwrap(), format!("a {home} b"));
        assert_eq!(expanded("${INBOXD_TEST_UNSET:-x}${INBOXD_TEST_UNSET:-}y").unwrap(), "xy");
        assert_eq!(expanded("$${PATH} $5").unwrap(), "${PATH} $5");
        assert!(expanded("${INBOXD_TEST_UNSET}").unwrap_err().contains("INBOXD_TEST_UNSET is not set"));
        assert!(expanded("${open").unwrap_err().contains("without"));
        assert!(expanded("${not a name}").is_err());
    }

    #[test]
    fn a_file_gives_its_text_without_the_last_line_break() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "s3cret\n").unwrap();
        let expanded = expand_text(&format!("${{file:{}}}", path.display()), "k").unwrap();
        assert_eq!((expanded.text.as_str(), expanded.from_file), ("s3cret", true));
        std::fs::write(&path, "\u{feff}s3cret\r\n").unwrap();
        assert_eq!(self::expanded(&format!("${{file:{}}}", path.display())).unwrap(), "s3cret", "without its mark");
        let missing = expand_text("${file:/nonexistent/secret}", "k").unwrap_err();
        assert!(missing.unreadable && missing.message.contains("/nonexistent/secret"), "{missing}");
    }

    #[test]
    fn what_is_inserted_is_not_expanded_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "${PATH}").unwrap();
        assert_eq!(expanded(&format!("${{file:{}}}", path.display())).unwrap(), "${PATH}");
    }
}
