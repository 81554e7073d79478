//! The JSON Schema of events: that the repository has it as the program prints it, and that it only grows.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use inboxd::model::kind;
use serde_json::{Value, json};

use crate::support::{inboxd_in, strict};

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn printed() -> String {
    let printed = inboxd_in(Path::new("."), &["config", "schema", "--events"]);
    assert_eq!((printed.code, printed.stderr.as_str()), (0, ""));
    printed.stdout
}

#[test]
fn the_schema_in_the_repository_is_the_one_that_is_printed() {
    let text = std::fs::read_to_string(in_repository("docs/events.schema.json")).unwrap_or_default();
    assert!(text == printed(), "run: inboxd config schema --events > docs/events.schema.json");
}

#[test]
fn every_type_of_event_is_in_the_schema_and_every_property_is_described() {
    let schema: Value = serde_json::from_str(&printed()).unwrap();
    jsonschema::draft202012::meta::validate(&schema).unwrap();
    let kinds: Vec<_> = kind::ALL.iter().map(|kind| json!({ "$ref": format!("#/$defs/{kind}") })).collect();
    assert_eq!(schema["oneOf"], json!(kinds));
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        assert!(definition["description"].is_string(), "{name}");
        for (property, described) in definition["properties"].as_object().into_iter().flatten() {
            assert!(described["description"].as_str().is_some_and(|text| !text.contains('\n')), "{name}.{property}");
        }
    }
}

#[test]
fn the_providers_of_the_schema_are_those_of_the_configuration() {
    let provider = &inboxd::model::event_schema()["$defs"]["MessageData"]["properties"]["provider"]["enum"];
    let words: BTreeSet<_> = provider.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    assert_eq!(words, BTreeSet::from_iter(inboxd::providers::NAMES.iter().copied()));
}

#[test]
fn receivers_that_know_the_baseline_understand_every_event_of_today() {
    let baseline = std::fs::read_to_string(in_repository("tests/fixtures/events.baseline.schema.json")).unwrap();
    let baseline: Value = serde_json::from_str(&baseline).unwrap();
    let broken = broken(&baseline, &inboxd::model::event_schema());
    assert!(broken.is_empty(), "receivers would break:\n{}", broken.join("\n"));
}

/// What somebody who reads events by the schema `before` would miss or misunderstand by the schema `after`.
fn broken(before: &Value, after: &Value) -> Vec<String> {
    let mut broken = vec![];
    for entry in before["oneOf"].as_array().unwrap() {
        let kind = entry["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
        if after["oneOf"].as_array().unwrap().contains(entry) {
            compare(kind, &Node::of(before, entry), &Node::of(after, entry), &mut broken);
        } else {
            broken.push(format!("{kind}: the type is gone"));
        }
    }
    broken
}

/// A place in a schema with its references followed and its alternatives side by side.
struct Node<'a> {
    document: &'a Value,
    alternatives: Vec<&'a Value>,
}

impl<'a> Node<'a> {
    fn of(document: &'a Value, schema: &'a Value) -> Self {
        let mut alternatives = vec![];
        let mut open = vec![schema];
        while let Some(schema) = open.pop() {
            if let Some(reference) = schema["$ref"].as_str() {
                open.push(document.pointer(reference.trim_start_matches('#')).expect("the reference leads somewhere"));
            } else if let Some(branches) = ["oneOf", "anyOf"].iter().find_map(|word| schema[*word].as_array()) {
                open.extend(branches);
            } else {
                alternatives.push(schema);
            }
        }
        Self { document, alternatives }
    }

    fn at(&self, schema: &'a Value) -> Self {
        Self::of(self.document, schema)
    }

    /// The JSON types it may have; none where it may have any.
    fn types(&self) -> BTreeSet<&'a str> {
        let types = self.alternatives.iter().flat_map(|schema| match &schema["type"] {
            Value::Array(types) => types.iter().collect(),
            one => vec![one],
        });
        types.filter_map(Value::as_str).collect()
    }

    fn values(&self) -> Vec<&'a Value> {
        let listed = self.alternatives.iter().filter_map(|schema| schema["enum"].as_array()).flatten();
        listed.chain(self.alternatives.iter().filter_map(|schema| schema.get("const"))).collect()
    }

    fn properties(&self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.alternatives.iter().filter_map(|schema| schema["properties"].as_object()).flatten()
    }

    fn requires(&self, name: &str) -> bool {
        let mut lists = self.alternatives.iter().filter_map(|schema| schema["required"].as_array());
        lists.any(|names| names.iter().any(|required| required == name))
    }

    fn items(&self) -> Option<Self> {
        self.alternatives.iter().find_map(|schema| schema.get("items")).map(|items| self.at(items))
    }
}

fn compare(path: &str, before: &Node<'_>, after: &Node<'_>, broken: &mut Vec<String>) {
    let (was, is) = (before.types(), after.types());
    if was != is {
        broken.push(format!("{path}: was {was:?} and is {is:?}"));
    }
    for value in before.values() {
        if !after.values().contains(&value) {
            broken.push(format!("{path}: the value {value} is gone"));
        }
    }
    for (name, property) in before.properties() {
        let path = format!("{path}.{name}");
        match after.properties().find(|(known, _)| *known == name) {
            None => broken.push(format!("{path}: the property is gone")),
            Some((_, now)) => compare(&path, &before.at(property), &after.at(now), broken),
        }
        if before.requires(name) && !after.requires(name) {
            broken.push(format!("{path}: was always there and may be missing now"));
        }
    }
    if let (Some(was), Some(is)) = (before.items(), after.items()) {
        compare(&format!("{path}[]"), &was, &is, broken);
    }
}

/// The schema of today with one place changed.
fn changed(pointer: &str, change: impl FnOnce(&mut Value)) -> Vec<String> {
    let before = inboxd::model::event_schema();
    let mut after = before.clone();
    change(after.pointer_mut(pointer).unwrap());
    broken(&before, &after)
}

fn remove(list: &mut Value, at: usize) {
    list.as_array_mut().unwrap().remove(at);
}

#[test]
fn whatever_would_break_a_receiver_is_named() {
    let text = changed("/$defs/Message/properties", |p| drop(p.as_object_mut().unwrap().remove("text")));
    assert!(text.contains(&"message.new.data.message.text: the property is gone".into()), "{text:?}");

    let direction = changed("/$defs/Direction/oneOf", |values| remove(values, 0));
    assert!(direction.contains(&"message.changed.data.message.direction: the value \"inbound\" is gone".into()));
    let flag = changed("/$defs/Flag/oneOf", |values| remove(values, 6));
    assert!(flag.contains(&"message.new.data.message.flags[]: the value \"deleted\" is gone".into()), "{flag:?}");
    let provider = changed("/$defs/NoticeData/properties/provider/enum", |values| remove(values, 3));
    assert!(provider.contains(&"conversation.gap.data.provider: the value \"unipile\" is gone".into()));

    let late = changed("/$defs/Seen/properties/late/type", |kind| *kind = "string".into());
    assert!(late.contains(&"message.new.data.seen.late: was {\"boolean\"} and is {\"string\"}".into()), "{late:?}");
    let title = changed("/$defs/Conversation/properties/title/type", |kind| *kind = "string".into());
    let nullable = "message.new.data.conversation.title: was {\"null\", \"string\"} and is {\"string\"}";
    assert!(title.contains(&nullable.into()), "{title:?}");

    let required = changed("/$defs/Sender/required", |names| remove(names, 0));
    let missing = "message.new.data.message.sender.id: was always there and may be missing now";
    assert!(required.contains(&missing.into()), "{required:?}");
    assert_eq!(changed("/oneOf", |kinds| remove(kinds, 11)), ["sink.recovered: the type is gone"]);
}

#[test]
fn what_is_added_breaks_nobody() {
    let property = json!({ "type": "string", "description": "new" });
    assert!(changed("/$defs/Message/properties", |p| p["thread"] = property).is_empty());
    let value = json!({ "const": "archive", "type": "string" });
    assert!(changed("/$defs/Route/oneOf", |values| values.as_array_mut().unwrap().push(value)).is_empty());
    assert!(changed("/$defs/Sender/description", |text| *text = "other words".into()).is_empty());
}

#[test]
fn a_field_that_the_schema_does_not_know_fails_the_tests_that_see_it() {
    let event = json!({"specversion": "1.0", "id": "evt_a", "source": "/inboxd/sinks/crm", "type": "sink.parked",
        "subject": "crm", "time": "2026-11-20T09:14:03.512Z", "datacontenttype": "application/json",
        "data": {"sink": "crm", "state": "entered", "reason": null, "since": "2026-11-20T09:14:03.512Z", "detail": ""}});
    let reader = strict::Strict::new(inboxd::model::event_schema());
    assert_eq!(reader.check(&event), Ok(()));
    for (pointer, key, value) in [
        ("/data", "colour", json!(1)),
        ("", "colour", json!(1)),
        ("/data", "state", json!("around")),
        ("/data", "detail", Value::Null),
        ("", "type", json!("sink.other")),
        ("", "time", json!("yesterday")),
    ] {
        let mut wrong = event.clone();
        wrong.pointer_mut(pointer).unwrap()[key] = value;
        assert!(reader.check(&wrong).is_err(), "{wrong}");
    }
}
