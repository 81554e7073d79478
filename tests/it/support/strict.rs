//! Events held against their schema, more strictly than receivers should: a field that the schema does not know is an
//! error. Shared with the unit tests of the model.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// A strict reader of a schema of events.
pub(crate) struct Strict(BTreeMap<String, jsonschema::Validator>);

impl Strict {
    pub(crate) fn new(mut schema: Value) -> Self {
        close(&mut schema);
        let kinds = schema["oneOf"].as_array().expect("an entry for each type").iter();
        let validator = |entry: &Value| {
            let of_one = json!({ "$ref": entry["$ref"], "$defs": schema["$defs"] });
            let validator = jsonschema::options().should_validate_formats(true).build(&of_one).expect("a schema");
            (entry["$ref"].as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default().to_owned(), validator)
        };
        Self(kinds.map(validator).collect())
    }

    /// What is wrong with an event.
    pub(crate) fn check(&self, event: &Value) -> Result<(), String> {
        let kind = event["type"].as_str().unwrap_or_default();
        let validator = self.0.get(kind).ok_or_else(|| format!("{kind:?} is no type of the schema: {event}"))?;
        let errors = validator.iter_errors(event).map(|error| format!("{}: {error}", error.instance_path()));
        let errors: Vec<_> = errors.collect();
        if errors.is_empty() { Ok(()) } else { Err(format!("{kind} is not as its schema says: {}", errors.join("; "))) }
    }

    /// Parses an event; panics where it is not valid.
    pub(crate) fn valid(&self, event: &str) -> Value {
        let event: Value = serde_json::from_str(event).expect("an event is JSON");
        self.check(&event).unwrap_or_else(|violation| panic!("{violation}"));
        event
    }
}

/// Makes every object refuse what it does not list.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.contains_key("properties") {
                object.insert("additionalProperties".into(), false.into());
            }
            object.values_mut().for_each(close);
        }
        Value::Array(array) => array.iter_mut().for_each(close),
        _ => {}
    }
}
