//! The environment as a layer: `INBOXD__STORE__URL=...`, two underscores before each name of the path.

use std::ffi::OsString;

use serde_json::{Map, Value};

use super::problem::Problem;

pub(super) const PREFIX: &str = "INBOXD__";

/// A variable that sets a key.
#[derive(Clone, Debug)]
pub(super) struct Variable {
    /// Its name, as it was set.
    pub(super) name: String,
    /// The names of the key, from the section down.
    pub(super) path: Vec<String>,
    value: String,
}

/// All variables that set keys, by name.
pub(super) fn variables(of: impl Iterator<Item = (OsString, OsString)>) -> Result<Vec<Variable>, Vec<Problem>> {
    let mut variables: Vec<Variable> = vec![];
    let mut problems = vec![];
    for (name, value) in of {
        let Some(name) = name.to_str() else { continue };
        if !has_prefix(name) {
            continue;
        }
        let path: Vec<_> = name[PREFIX.len()..].split("__").map(str::to_lowercase).collect();
        let refused = |message: &str| Problem { origin: origin(name), ..Problem::new("", message) };
        match value.into_string() {
            _ if path.iter().any(String::is_empty) => problems.push(refused(
                "names no key; it is written INBOXD__SECTION__KEY, with two underscores before each name",
            )),
            Err(_) => problems.push(refused("is not UTF-8 text")),
            Ok(value) => variables.push(Variable { name: name.to_owned(), path, value }),
        }
    }
    variables.sort_by(|one, other| one.path.cmp(&other.path).then_with(|| one.name.cmp(&other.name)));
    for pair in variables.windows(2) {
        let [one, other] = pair else { continue };
        if other.path.starts_with(&one.path) {
            let same = if one.path == other.path { "sets the same key as" } else { "sets a key inside of that of" };
            problems.push(Problem {
                origin: origin(&other.name),
                ..Problem::new("", format!("{same} {}; unset one of them", one.name))
            });
        }
    }
    if problems.is_empty() { Ok(variables) } else { Err(problems) }
}

/// Variables that look as if they were to set a key of one of these sections, and do not: one underscore is not enough. What the
/// configuration itself reads (`${INBOXD_STORE_URL}`) is none of them.
pub(super) fn strays(names: impl Iterator<Item = OsString>, sections: &[&str], file: &str) -> Vec<Problem> {
    let stray = |name: &str| {
        let rest = name.strip_prefix("INBOXD_").filter(|rest| !rest.starts_with('_'))?.to_lowercase();
        let section = sections.iter().find(|section| {
            rest.strip_prefix(**section).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
        })?;
        let is_read = ["}", ":-"].iter().any(|end| file.contains(&format!("${{{name}{end}")));
        let key = rest[section.len()..].trim_start_matches('_').replace("__", "_");
        // Of accounts and sinks each has a name of its own before the key.
        let meant = match (*section, key.split_once('_')) {
            ("accounts" | "sinks", Some((name, key))) => format!("{PREFIX}{section}__{name}__{key}"),
            _ => format!("{PREFIX}{section}__{key}"),
        };
        let meant = meant.to_uppercase();
        let message = format!("sets no key: there are two underscores before each name, as in {meant}");
        (!is_read).then(|| Problem { origin: origin(name), ..Problem::new("", message) })
    };
    let mut strays: Vec<_> = names.filter_map(|name| stray(name.to_str()?)).collect();
    strays.sort_by(|one, other| one.origin.cmp(&other.origin));
    strays
}

/// Whether any variable sets a key.
pub(super) fn sets_any(of: impl Iterator<Item = (OsString, OsString)>) -> bool {
    of.into_iter().any(|(name, _)| name.to_str().is_some_and(has_prefix))
}

fn has_prefix(name: &str) -> bool {
    name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

/// How an error names the variables that set a table.
pub(super) fn origin_of_table(path: &[&str]) -> String {
    format!("environment variables {PREFIX}{}__...", path.join("__").to_uppercase())
}

/// How an error names a variable.
pub(super) fn origin(name: &str) -> String {
    format!("environment variable {name}")
}

/// Puts the variables over a tree.
pub(super) fn lay_over(tree: &mut Value, variables: &[Variable]) {
    for variable in variables {
        set(tree, variable.path.iter().map(String::as_str), &variable.value);
    }
}

/// Sets a key of a tree to a text, whatever was on the way there.
pub(super) fn set<'p>(tree: &mut Value, path: impl Iterator<Item = &'p str>, text: &str) {
    let mut at = tree;
    for name in path {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        at = &mut at[name];
    }
    *at = Value::String(text.to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(set: &[(&str, &str)]) -> Result<Vec<Variable>, Vec<String>> {
        let set = set.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        variables(set).map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_variable_is_laid_over_what_the_file_says() {
        let set =
            [("INBOXD__LOG__LEVEL", "debug"), ("Inboxd__Sinks__F__Path", "x"), ("INBOXD_CONFIG", "y"), ("É", "z")];
        let mut tree = json!({"log": {"level": "info", "format": "json"}, "sinks": {"f": null}});
        lay_over(&mut tree, &read(&set).unwrap());
        let laid = json!({"log": {"level": "debug", "format": "json"}, "sinks": {"f": {"path": "x"}}});
        assert_eq!(tree, laid);
    }

    #[test]
    fn a_variable_that_was_meant_to_set_a_key_and_does_not_is_told() {
        let names = ["INBOXD_LOG_LEVEL", "INBOXD_STORE_URL", "INBOXD_CONFIG", "INBOXD_EVENT_ID", "INBOXD__LOG__LEVEL"];
        let told = strays(names.map(OsString::from).into_iter(), &["store", "log"], "url = \"${INBOXD_STORE_URL}\"");
        let told: Vec<_> = told.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("environment variable INBOXD_LOG_LEVEL: sets no key"), "{told:?}");
        assert!(told[0].ends_with("INBOXD__LOG__LEVEL"), "{told:?}");
    }

    #[test]
    fn what_names_no_key_is_named_as_the_variable_and_its_value_is_not() {
        for (set, says) in [
            (vec![("INBOXD__", "s3cr3t")], "environment variable INBOXD__: names no key"),
            (vec![("INBOXD__LOG__", "s3cr3t")], "names no key"),
            (vec![("INBOXD____LOG", "s3cr3t")], "names no key"),
            (
                vec![("INBOXD__LOG", "s3cr3t"), ("INBOXD__LOG__LEVEL", "info")],
                "sets a key inside of that of INBOXD__LOG",
            ),
            (vec![("INBOXD__A", "s3cr3t"), ("INBOXD__a", "x")], "sets the same key as"),
        ] {
            let message = read(&set).unwrap_err().join("\n");
            assert!(message.contains(says) && !message.contains("s3cr3t"), "{message}");
        }
    }
}
