//! `[store]`: where state lies, by an address that leaves no doubt of which file is meant. Databases are addressed in
//! many ways elsewhere; each that would lead somewhere else here is refused with the form to write.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::problem::Problem;
use crate::settings::file_problem;

/// Where state lies and how long it is kept.
#[derive(Clone, Debug)]
pub struct Store {
    /// The database.
    pub path: PathBuf,
    /// Delivered events are removed after this.
    pub retention: Duration,
    /// With less free space than this, in bytes, polling pauses.
    pub min_free: u64,
    /// Text of messages is kept after it was delivered.
    pub keep_text: bool,
    /// Whoever else may make files in the folder of the database is trusted.
    pub trust_folder: bool,
}

/// Shortest retention: long enough that a receiver's outage over a weekend can still be looked into.
const SHORTEST_RETENTION: Duration = Duration::from_secs(3600);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    url: String,
    #[serde(with = "crate::settings::duration")]
    retention: Duration,
    #[serde(with = "crate::settings::size")]
    min_free: u64,
    keep_text: bool,
    trust_folder: bool,
}

impl Table {
    pub(super) fn checked(self) -> Result<Store, Problem> {
        let written = path_in(&self.url).map_err(|message| Problem::new("store.url", message))?;
        if self.retention < SHORTEST_RETENTION {
            return Err(Problem::new("store.retention", "must be at least 1h"));
        }
        // systemd may give several state directories, separated by colons; the first is ours.
        let state = std::env::var("STATE_DIRECTORY").ok().and_then(|dirs| dirs.split(':').next().map(PathBuf::from));
        let state = state.filter(|dir| !dir.as_os_str().is_empty());
        let path = state.map_or_else(|| PathBuf::from(written), |dir| dir.join(written));
        if path.is_dir() {
            return Err(Problem::new("store.url", format!("{} is a folder; name a file in it", path.display())));
        }
        Ok(Store {
            path,
            retention: self.retention,
            min_free: self.min_free,
            keep_text: self.keep_text,
            trust_folder: self.trust_folder,
        })
    }
}

/// The path in an address. What is refused is repeated only where it is a path for certain: an address of another
/// database may have a password in it.
fn path_in(url: &str) -> Result<&str, String> {
    const FORM: &str = "must be \"sqlite:\" and a path, such as \"sqlite:inboxd.db\"";
    let form = |path: &str| format!("write \"sqlite:{}\"", crate::model::Untrusted(crate::model::cut_at(path, 200)));
    let Some(path) = url.strip_prefix("sqlite:") else {
        let (scheme, _) = url.split_once(':').unwrap_or_default();
        return Err(match scheme.trim().to_ascii_lowercase().as_str() {
            _ if url.contains(":memory:") => return refuse_memory(),
            "" if !url.trim().is_empty() && !url.contains('@') => format!("{FORM}; {}", form(plain(url.trim()))),
            "sqlite" | "sqlite3" | "file" | "jdbc" => format!("{FORM}, and begins with nothing else"),
            "postgres" | "postgresql" | "mysql" | "mariadb" => format!("{FORM}: state is kept by SQLite alone"),
            _ => FORM.into(),
        });
    };
    let refused = |why: &str, path: &str| Err(format!("{why}; {}", form(plain(path))));
    if path.contains(":memory:") || path.contains("mode=memory") {
        return refuse_memory();
    }
    if path.trim().is_empty() {
        return Err(FORM.into());
    }
    if path.contains('$') || is_windows_variable(path) {
        return Err(format!("has a variable in it that nothing expands; {}", form("inboxd.db")));
    }
    if path != path.trim() {
        return refused("has white space around the path", path);
    }
    if let Some(rest) = path.strip_prefix("file:") {
        return refused("names the file twice over, as a URL in a URL", rest);
    }
    if let Some(rest) = path.strip_prefix("//") {
        // Three slashes are an absolute path to some programs, and a relative one to others.
        return match rest.strip_prefix('/') {
            Some(rest) => {
                let rest = plain(rest);
                let (absolute, relative) = (form(&format!("/{rest}")), form(rest));
                Err(format!(
                    "has slashes that programs read differently; {absolute}, or {relative} for a relative path"
                ))
            }
            None => refused("has two slashes before the path, which would make it one at the root", rest),
        };
    }
    if let Some((before, _)) = path.split_once('?') {
        return refused("takes no options, and \"?\" begins some", before);
    }
    if let Some((before, _)) = path.split_once('#') {
        return refused("takes no \"#\", which begins what is no part of a path", before);
    }
    if is_encoded(path) {
        let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned();
        return refused("is taken as it is, without decoding \"%\"", &decoded);
    }
    match file_problem(path.as_ref()) {
        // In front of the whole address, so that it is what to write.
        Some(problem) => Err(problem.replace("write \"", "write \"sqlite:")),
        None => Ok(path),
    }
}

fn refuse_memory<T>() -> Result<T, String> {
    Err("would keep nothing: state is a file; write \"sqlite:inboxd.db\"".into())
}

/// Whether there is a name between two percent signs.
fn is_windows_variable(path: &str) -> bool {
    let name = path.split('%').nth(1).filter(|_| path.matches('%').count() >= 2);
    name.is_some_and(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
}

/// The path without what other programs put around it.
fn plain(path: &str) -> &str {
    let path = path.split(['?', '#']).next().unwrap_or_default().trim();
    // However many slashes there are before the path: the first of them is enough.
    let path = path.trim_end_matches('/');
    let bare = path.trim_start_matches('/');
    let bare = if path.starts_with('/') { &path[path.len() - bare.len() - 1..] } else { bare };
    if bare.is_empty() { "inboxd.db" } else { bare }
}

/// Whether a character is written as `%` and two digits.
fn is_encoded(path: &str) -> bool {
    path.match_indices('%')
        .any(|(at, _)| path.get(at + 1..at + 3).is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_as_it_is() {
        for path in ["inboxd.db", "/var/lib/inboxd/inboxd.db", "./x.db", "../x.db", "a b.db", "é.db", "100%.db", "a:b"]
        {
            assert_eq!(path_in(&format!("sqlite:{path}")).as_deref(), Ok(path));
        }
    }

    #[test]
    fn every_other_form_is_refused_with_the_one_to_write() {
        for (url, says) in [
            ("sqlite://x.db", "write \"sqlite:x.db\""),
            ("sqlite://a/x.db?mode=rwc", "write \"sqlite:a/x.db\""),
            ("sqlite:///x.db", "write \"sqlite:/x.db\", or write \"sqlite:x.db\""),
            ("sqlite:////x.db", "write \"sqlite:/x.db\""),
            ("sqlite::memory:", "write \"sqlite:inboxd.db\""),
            ("sqlite://:memory:", "would keep nothing"),
            ("sqlite:file::memory:?cache=shared", "would keep nothing"),
            ("sqlite:x.db?mode=memory", "would keep nothing"),
            (":memory:", "sqlite:inboxd.db"),
            ("sqlite:x.db?mode=rwc", "write \"sqlite:x.db\""),
            ("sqlite:x.db#1", "write \"sqlite:x.db\""),
            ("sqlite:~/x.db", "write \"sqlite:${HOME}/x.db\""),
            ("sqlite:~ada/x.db", "only a shell knows"),
            ("sqlite:file:x.db", "write \"sqlite:x.db\""),
            ("sqlite:file:///x.db", "write \"sqlite:/x.db\""),
            ("sqlite:my%20state.db", "write \"sqlite:my state.db\""),
            ("sqlite:", "such as \"sqlite:inboxd.db\""),
            ("sqlite: ", "such as \"sqlite:inboxd.db\""),
            ("sqlite: x.db", "write \"sqlite:x.db\""),
            ("sqlite:x.db\n", "write \"sqlite:x.db\""),
            ("sqlite:state/", "is a folder"),
            ("sqlite:.", "is a folder"),
            ("x.db", "write \"sqlite:x.db\""),
            ("/var/x.db", "write \"sqlite:/var/x.db\""),
            ("file:x.db", "must be \"sqlite:\" and a path"),
            ("SQLite:x.db", "begins with nothing else"),
            ("sqlite3:///x.db", "begins with nothing else"),
            ("postgres://u:s3cr3t@h/db", "SQLite alone"),
            ("u:s3cr3t@h", "must be \"sqlite:\" and a path"),
            ("", "must be \"sqlite:\" and a path"),
        ] {
            let message = path_in(url).expect_err(url);
            assert!(message.contains(says) && !message.contains("s3cr3t"), "{url}: {message}");
        }
    }
}
