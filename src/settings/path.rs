//! Paths as people write them elsewhere: with `~`, as a URL, with a slash at the end. What inboxd would not read as it is
//! meant is refused, with the form to write.

use std::path::{Path, PathBuf};

/// What is wrong with the path of a file, apart from whether it can be opened; the words follow the name of its key.
pub fn file_problem(path: &Path) -> Option<String> {
    let Some(text) = path.to_str() else {
        // Not text, so none of what people write by habit.
        return folder_problem(path);
    };
    if text.trim().is_empty() {
        return Some("is empty; name a file".into());
    }
    if let Some(rest) = of_home(text) {
        return Some(format!("begins with ~, which only a shell knows; write {}", at_home(rest)));
    }
    if let Some(rest) = text.strip_prefix("file:") {
        let plain = rest.strip_prefix("//").unwrap_or(rest);
        return Some(format!("is a URL, and a path is wanted; write \"{}\"", shown(plain)));
    }
    if text.contains(char::is_control) {
        return Some("has a line break or another control character in it".into());
    }
    folder_problem(path)
}

fn folder_problem(path: &Path) -> Option<String> {
    if path.file_name().is_none() {
        return Some("names no file: it is a folder; name a file in it".into());
    }
    let ends_as_folder = path.as_os_str().as_encoded_bytes().ends_with(b"/");
    (ends_as_folder || path.is_dir()).then(|| "is a folder; name a file in it".into())
}

/// What stands behind `~/`; other people's homes are named by `~name/`.
fn of_home(text: &str) -> Option<&str> {
    let rest = text.strip_prefix('~')?;
    match rest.split_once('/') {
        Some((_, rest)) => Some(rest),
        None => Some(rest).filter(|name| name.is_empty()),
    }
}

/// The form to write: `${HOME}` where it is set, so that it stays what it was meant to be on another machine.
fn at_home(rest: &str) -> String {
    match std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute()) {
        Some(_) => format!("\"${{HOME}}/{}\", or the whole path", shown(rest)),
        None => "the whole path".into(),
    }
}

/// A path in an error: what it may be taken from is the configuration, where text may be anything.
fn shown(path: &str) -> String {
    path.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_a_shell_or_a_browser_reads_is_refused_with_what_to_write() {
        for (path, says) in [
            ("", "is empty"),
            (" ", "is empty"),
            ("~/events.jsonl", "${HOME}/events.jsonl"),
            ("~ada/events.jsonl", "only a shell knows"),
            ("~", "only a shell knows"),
            ("file:///var/log/events.jsonl", "write \"/var/log/events.jsonl\""),
            ("file:events.jsonl", "write \"events.jsonl\""),
            ("events/", "is a folder"),
            ("/", "is a folder"),
            (".", "is a folder"),
            ("..", "is a folder"),
            ("a/..", "is a folder"),
            ("/tmp", "is a folder"),
            ("events\n.jsonl", "control character"),
        ] {
            let problem = file_problem(Path::new(path)).unwrap_or_else(|| panic!("{path} is taken"));
            assert!(problem.contains(says), "{path}: {problem}");
        }
        for path in ["events.jsonl", "/var/x/events~.jsonl", "~events.jsonl", "a b.jsonl", "%20", "é.jsonl", "./x"] {
            assert_eq!(file_problem(Path::new(path)), None, "{path}");
        }
    }
}
