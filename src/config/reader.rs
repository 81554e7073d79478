//! Reads a table of the merged tree into the settings of a part, and turns what goes wrong into a [`Problem`] that
//! names the key and repeats no value.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::problem::{Problem, unknown};
use crate::settings::{Read, Written};

/// Reads tables at one key path.
pub(super) struct Reader<'a> {
    pub(super) key: &'a str,
    /// Names that are valid here but read elsewhere.
    pub(super) also_known: &'a [&'a str],
}

impl Read for Reader<'_> {
    type Error = Problem;

    fn read<T: DeserializeOwned>(&self, table: Value) -> Result<T, Problem> {
        serde_path_to_error::deserialize(Written(&table)).map_err(|error| {
            let path = error.path().to_string();
            let path = if path == "." { "" } else { path.as_str() };
            self.problem(path, &table, &error.into_inner().to_string())
        })
    }
}

impl Reader<'_> {
    fn problem(&self, path: &str, table: &Value, message: &str) -> Problem {
        let quoted = quoted(message);
        if let Some(field) = message.strip_prefix("unknown field ").and(quoted.first()) {
            let parent = path.strip_suffix(field).map_or(path, |p| p.trim_end_matches('.'));
            // What is read elsewhere stands beside the key, and not in a table below it.
            let also_known = if parent.is_empty() { self.also_known } else { &[] };
            let known: Vec<_> = quoted[1..].iter().chain(also_known).copied().collect();
            return Problem::new(self.join(&[parent, field]), unknown("key", field, &known));
        }
        if let Some(field) = message.strip_prefix("missing field ").and(quoted.first()) {
            return Problem::new(self.join(&[path, field]), "is missing and has no default");
        }
        if message.starts_with("unknown variant ") {
            return Problem::new(self.join(&[path]), format!("must be one of {}", quoted[1..].join(", ")));
        }
        if message.starts_with("must ") {
            // Our own words, which say all there is to say; serde has none that begin so.
            return Problem::new(self.join(&[path]), message);
        }
        let expected = match message.split_once("expected ") {
            Some((before, expected)) if before.is_empty() || before.ends_with(", ") => friendly(expected),
            _ => "another type".to_owned(),
        };
        let found = value_at(table, path).map_or("something else", type_of);
        Problem::new(self.join(&[path]), format!("expected {expected}, found {found}"))
    }

    fn join(&self, parts: &[&str]) -> String {
        let parts: Vec<_> = [self.key].into_iter().chain(parts.iter().copied()).filter(|p| !p.is_empty()).collect();
        parts.join(".").replace(".[", "[")
    }
}

/// The names that a message of serde puts between backticks.
fn quoted(message: &str) -> Vec<&str> {
    message.split('`').skip(1).step_by(2).collect()
}

fn friendly(expected: &str) -> String {
    let expected = expected.split(" at line ").next().unwrap_or(expected);
    match expected {
        "a string" | "a borrowed string" | "string or map" => "text".into(),
        "a sequence" => "a list".into(),
        "a boolean" => "true or false".into(),
        number if number.starts_with('u') || number.starts_with('i') || number == "usize" => "a whole number".into(),
        table if table.starts_with("struct ") || table == "a map" => "a table".into(),
        other => other.to_owned(),
    }
}

pub(super) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "other text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}

fn value_at<'v>(table: &'v Value, path: &str) -> Option<&'v Value> {
    let mut value = table;
    for part in path.split(['.', '[', ']']).filter(|part| !part.is_empty()) {
        value = match value {
            Value::Array(items) => items.get(part.parse::<usize>().ok()?)?,
            table => table.get(part)?,
        };
    }
    Some(value)
}
