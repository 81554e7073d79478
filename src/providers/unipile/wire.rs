//! Fields read with patience: of a message only the id and the time are needed, so a field of a wrong type is as good as
//! absent and fails nothing.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::providers::http::Answer;
use crate::providers::{Class, Error, json};
use crate::time::UnixMillis;

/// A text that says something.
pub(super) fn text<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get(key)?.as_str().filter(|text| !text.is_empty())
}

/// An id as given; a number counts as its digits.
pub(super) fn id(object: &Value, key: &str) -> Option<String> {
    match object.get(key)? {
        Value::Number(number) => Some(number.to_string()),
        _ => text(object, key).map(str::to_owned),
    }
}

/// A flag: booleans in v2, 0 and 1 in v1.
pub(super) fn flag(object: &Value, key: &str) -> Option<bool> {
    match object.get(key)? {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => Some(number.as_f64()? != 0.0),
        _ => None,
    }
}

/// A time; one without a zone is UTC, as all of the API's are.
pub(super) fn time(object: &Value, key: &str) -> Option<UnixMillis> {
    let text = text(object, key)?;
    UnixMillis::parse(text).or_else(|| UnixMillis::parse(&format!("{text}Z")))
}

/// A list answer.
#[derive(Default)]
pub(super) struct List {
    pub(super) items: Vec<Value>,
    pub(super) next_cursor: Option<String>,
    pub(super) total_count: Option<u64>,
    /// The answer as it was received.
    pub(super) received: Vec<u8>,
    pub(super) items_key: &'static str,
}

impl List {
    /// The items as they were received.
    pub(super) fn raw_items(&self) -> Vec<Box<RawValue>> {
        if self.items.is_empty() { vec![] } else { json::elements(&self.received, &[self.items_key]) }
    }
}

/// Reads the envelope: the items stand under `items_key`, and are objects or it is not this API that answers.
pub(super) fn list(answer: Answer, mut body: Value, items_key: &'static str, cursor_key: &str) -> Result<List, Error> {
    let next_cursor = id(&body, cursor_key);
    let total_count = body.get("total_count").and_then(Value::as_u64);
    match body.get_mut(items_key).map(Value::take) {
        Some(Value::Array(items)) if items.iter().all(Value::is_object) => {
            Ok(List { items, next_cursor, total_count, received: answer.body, items_key })
        }
        _ => {
            let status = answer.status.as_u16();
            Err(Error::new(Class::Protocol, format!("status {status}: the answer has no list under `{items_key}`")))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_of_a_wrong_type_is_as_good_as_absent() {
        let wrong = json!({ "text": 1, "flag": "yes", "time": 5, "id": [] });
        assert_eq!(text(&wrong, "text"), None);
        assert_eq!(flag(&wrong, "flag"), None);
        assert_eq!(time(&wrong, "time"), None);
        assert_eq!(id(&wrong, "id"), None);
        let right =
            json!({ "flag": 1, "off": 0, "id": 7, "time": "2026-11-20T09:14:03", "zone": "2026-11-20T09:14:03Z" });
        assert_eq!((flag(&right, "flag"), flag(&right, "off")), (Some(true), Some(false)));
        assert_eq!(id(&right, "id").as_deref(), Some("7"));
        assert_eq!(time(&right, "time"), time(&right, "zone"));
        assert!(time(&right, "time").is_some());
    }
}
