//! The walls between modules, read off the `crate::` paths of the sources.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Module, and the modules it may name. Every module may name itself.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("time", &[]),
    ("calendar", &["time"]),
    ("model", &["time"]),
    ("backoff", &["time"]),
    ("mask", &[]),
    ("ownership", &[]),
    ("status", &[]),
    ("settings", &[]),
    ("connect", &["settings"]),
    ("filter", &["model"]),
    ("fuzzing", &["config", "daemon", "filter", "mask", "providers", "sinks"]),
    ("providers", &["model", "mask", "time", "backoff", "settings", "connect"]),
    ("sinks", &["model", "mask", "ownership", "time", "backoff", "settings", "connect"]),
    ("store", &["model", "ownership", "calendar", "time"]),
    ("scheduler", &["providers", "store", "model", "calendar", "time", "backoff", "status"]),
    ("dispatcher", &["sinks", "store", "model", "time", "backoff", "status"]),
    ("ops", &["status", "store", "model", "mask", "ownership", "time"]),
    (
        "config",
        &["model", "mask", "ownership", "calendar", "time", "settings", "filter", "providers", "sinks", "scheduler"],
    ),
    ("plan", &["scheduler", "providers", "model", "time", "backoff"]),
    ("simulator", &["model", "time", "backoff"]),
    (
        "daemon",
        &[
            "config",
            "scheduler",
            "dispatcher",
            "ops",
            "providers",
            "sinks",
            "store",
            "status",
            "filter",
            "model",
            "mask",
            "time",
        ],
    ),
    (
        "cli",
        &[
            "config",
            "daemon",
            "ops",
            "simulator",
            "store",
            "model",
            "mask",
            "time",
            "settings",
            "providers",
            "sinks",
            "scheduler",
            "plan",
        ],
    ),
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let nested = entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] });
    nested.filter(|path| path.extension().is_some_and(|e| e == "rs")).collect()
}

/// The modules that a source names in `crate::...`, also inside `crate::{a::..., b::...}`.
fn named(source: &str) -> BTreeSet<String> {
    let word = |text: &str| -> String { text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect() };
    let mut named = BTreeSet::new();
    for (at, _) in source.match_indices("crate::") {
        let rest = &source[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut begins = true;
            for (position, c) in group.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => begins = true,
                    c if begins && c.is_ascii_alphabetic() => {
                        named.insert(word(&group[position..]));
                        begins = false;
                    }
                    _ => {}
                }
            }
        } else {
            named.insert(word(rest));
        }
    }
    named
}

#[test]
fn modules_name_only_what_lies_below_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = BTreeSet::new();
    for path in sources(&root) {
        let relative = path.strip_prefix(&root).unwrap();
        let first = relative.iter().next().unwrap().to_str().unwrap();
        let module = first.strip_suffix(".rs").unwrap_or(first);
        if matches!(module, "main" | "lib") {
            continue;
        }
        let (_, allowed) = MAY_NAME
            .iter()
            .find(|(name, _)| *name == module)
            .unwrap_or_else(|| panic!("{module} has no place in the table of tests/it/architecture.rs"));
        seen.insert(module.to_owned());
        for name in named(&std::fs::read_to_string(&path).unwrap()) {
            let known = MAY_NAME.iter().any(|(known, _)| *known == name);
            assert!(
                !known || name == module || allowed.contains(&name.as_str()),
                "{} names {name}",
                relative.display()
            );
        }
    }
    assert_eq!(seen.len(), MAY_NAME.len(), "the table names a module that does not exist");
}

#[test]
fn sql_stands_in_the_store_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for path in sources(&root).into_iter().filter(|path| !path.starts_with(root.join("store"))) {
        let source = std::fs::read_to_string(&path).unwrap();
        for word in ["rusqlite", "SELECT ", "INSERT INTO", "UPDATE "] {
            assert!(!source.contains(word), "{word} in {}", path.display());
        }
    }
}

#[test]
fn only_the_account_of_paths_finds_what_it_should() {
    let names = named(
        "use crate::model::Event;\nuse crate::{\n    store::{Store, writer},\n    time,\n};\nfn f() { crate::ops::x() }",
    );
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["model", "ops", "store", "time"]);
}
