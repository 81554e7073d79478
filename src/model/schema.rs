//! The JSON Schema of every event, made of the types that are rendered.
//!
//! Receivers build on it, so it only grows: a type, a property or a value that was in it stays in it.

use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::envelope::Envelope;
use super::event::{MessageData, kind};
use super::notice::{NoticeData, SinkNoticeData};

/// Names of the providers, which events repeat from the configuration.
pub(super) fn provider(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["connectsafely", "linkedapi", "linkup", "unipile"] })
}

type Shape = fn(&mut SchemaGenerator) -> Schema;

const MESSAGE: Shape = Envelope::<MessageData<'static>>::json_schema;
const NOTICE: Shape = Envelope::<NoticeData<'static>>::json_schema;
const SINK_NOTICE: Shape = Envelope::<SinkNoticeData<'static>>::json_schema;

/// Every type, when it is sent, and its shape.
const EVENTS: [(&str, &str, Shape); kind::ALL.len()] = [
    (kind::MESSAGE_NEW, "A message that was not known.", MESSAGE),
    (kind::MESSAGE_CHANGED, "A known message says something else now; each content is told once.", MESSAGE),
    (
        kind::ACCOUNT_ACTION_REQUIRED,
        "Credentials are refused or the LinkedIn account is signed out: a person is needed.",
        NOTICE,
    ),
    (kind::ACCOUNT_RECOVERED, "An account that waited for a person works again.", NOTICE),
    (
        kind::ACCOUNT_FULL,
        "The inbox of an account lists more conversations than `max_conversations`: those beyond are not followed; or no longer.",
        NOTICE,
    ),
    (
        kind::CONVERSATION_COVERAGE_LAPSED,
        "The provider has stopped collecting a conversation, or collects it again.",
        NOTICE,
    ),
    (kind::CONVERSATION_GAP, "Part of a conversation cannot be read, or has been read after all.", NOTICE),
    (
        kind::CONVERSATION_POISONED,
        "inboxd has not survived an answer of a conversation, which is left alone with growing pauses; or it has been read.",
        NOTICE,
    ),
    (
        kind::BUDGET_WARNING,
        "Half of the credits of a day or a month are spent, or four fifths of them: each mark is told once in its period, and not left. Without `budget`: fewer credits are left at the provider than a day may cost, which is left when there are more again.",
        NOTICE,
    ),
    (
        kind::BUDGET_EXHAUSTED,
        "The credits of a day or a month are spent: only what is free is asked until there are some again.",
        NOTICE,
    ),
    (kind::SINK_PARKED, "A sink has only failed for so long that it is tried rarely from now on.", SINK_NOTICE),
    (kind::SINK_RECOVERED, "A sink that was parked takes events again.", SINK_NOTICE),
    (kind::DELIVERY_DEAD, "The first delivery of a sink was given up; or none of them is dead any more.", SINK_NOTICE),
];

/// The JSON Schema (draft 2020-12) of all events: one entry of `oneOf` for each type, named by it in `$defs`.
pub fn event_schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let events = EVENTS.map(|(kind, description, shape)| {
        let mut schema = shape(&mut generator).to_value();
        schema["title"] = kind.into();
        schema["description"] = description.into();
        schema["properties"]["type"]["const"] = kind.into();
        (kind, schema)
    });
    let mut definitions = generator.take_definitions(true);
    definitions.extend(events.map(|(kind, schema)| (kind.to_owned(), schema)));
    let mut document = json_schema!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Events of inboxd",
        "description": "What every sink is sent: CloudEvents 1.0, one JSON object of at most 64 KiB. Releases add types, \
            properties and values, and remove none; receivers should ignore what they do not know.",
        "oneOf": EVENTS.map(|(kind, ..)| json!({ "$ref": format!("#/$defs/{kind}") })),
        "$defs": definitions,
    });
    RecursiveTransform(unwrap_lines).transform(&mut document);
    document.to_value()
}

/// The lines of a doc comment end where the source has no room, not where the sentence ends.
fn unwrap_lines(schema: &mut Schema) {
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = description.replace('\n', " ");
    }
}
