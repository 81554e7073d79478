//! Request bodies, read by the types that the contract gives their fields.

use serde_json::{Map, Value};

use super::Trouble;

/// The fields of an object that nobody has asked for yet.
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    pub(super) fn read(body: &[u8]) -> Result<Self, Trouble> {
        serde_json::from_slice(body).map(Self).map_err(|_| Trouble::Params("The body must be a JSON object".into()))
    }

    /// Takes a field out; `null` counts as absent.
    fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Trouble> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Trouble::Params(format!("{name} must be a string"))),
        }
    }

    pub(super) fn required(&mut self, name: &str) -> Result<String, Trouble> {
        let text = self.text(name)?.filter(|text| !text.is_empty());
        text.ok_or_else(|| Trouble::Params(format!("Missing required parameter: {name}")))
    }

    /// A whole number from 1.
    pub(super) fn count(&mut self, name: &str) -> Result<Option<u64>, Trouble> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let count = value.as_u64().filter(|count| *count > 0);
        count.map(Some).ok_or_else(|| Trouble::Params(format!("{name} must be a whole number from 1")))
    }

    pub(super) fn truth(&mut self, name: &str) -> Result<Option<bool>, Trouble> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(truth)) => Ok(Some(truth)),
            Some(_) => Err(Trouble::Params(format!("{name} must be true or false"))),
        }
    }

    pub(super) fn object(&mut self, name: &str) -> Result<Self, Trouble> {
        match self.take(name) {
            None => Ok(Self(Map::new())),
            Some(Value::Object(object)) => Ok(Self(object)),
            Some(_) => Err(Trouble::Params(format!("{name} must be an object"))),
        }
    }

    /// What is left over, which the contract does not know.
    pub(super) fn unknown(&self) -> Option<&str> {
        self.0.keys().next().map(String::as_str)
    }
}

/// How many messages or rows a body asks for, also when the rest of it makes no sense: what an error of v1 costs.
pub(super) fn asked_for(body: &[u8], name: &str) -> u64 {
    const DEFAULT: u64 = 10;
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let place = if body["params"].is_object() { &body["params"] } else { &body };
    place[name].as_u64().filter(|count| *count > 0).unwrap_or(DEFAULT)
}
