//! The sinks.

use serde_json::Value;

use super::problem::{Problem, unknown};
use super::reader::{Reader, type_of};
use crate::model::{Patterns, SinkName, kind};
use crate::sinks::{Settings, TYPES};

/// A sink of the configuration.
pub struct Sink {
    /// Its name: its identity in the store.
    pub name: SinkName,
    /// The types of events it wants.
    pub events: Patterns,
    /// The keys of its type.
    pub settings: Settings,
}

/// Reads `[sinks]`; what is wrong goes into `problems`.
pub(super) fn read(section: Value, problems: &mut Vec<Problem>, warnings: &mut Vec<Problem>) -> Vec<Sink> {
    let Value::Object(entries) = section else {
        problems.push(Problem::new("sinks", format!("expected a table of sinks, found {}", type_of(&section))));
        return vec![];
    };
    if entries.is_empty() {
        problems.push(Problem::new("sinks", "there is none, so nothing would be delivered; add [sinks.NAME]"));
    }
    let mut sinks: Vec<Sink> = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        let key = format!("sinks.{name}");
        match sink(&key, &name, entry) {
            Ok(sink) => {
                if let Some(other) = sinks.iter().find(|other| same_place(&other.settings, &sink.settings)) {
                    let message = format!("writes to the same place as sinks.{}; their lines would mix", other.name);
                    problems.push(Problem::new(&key, message));
                }
                if let Some(warning) = sink.settings.warning() {
                    warnings.push(Problem::new(&key, warning));
                }
                sinks.push(sink);
            }
            Err(problem) => problems.push(problem),
        }
    }
    sinks
}

fn sink(key: &str, name: &str, entry: Value) -> Result<Sink, Problem> {
    let name = SinkName::new(name).map_err(|e| Problem::new(key, e.to_string()))?;
    let Value::Object(mut entry) = entry else {
        return Err(Problem::new(key, format!("expected a table, found {}", type_of(&entry))));
    };
    let type_key = format!("{key}.type");
    let kind = match entry.remove("type") {
        Some(Value::String(kind)) => kind,
        Some(_) => return Err(Problem::new(type_key, "expected the name of a type")),
        None => return Err(Problem::new(type_key, format!("is missing; known are {}", TYPES.join(", ")))),
    };
    let events = events(&format!("{key}.events"), entry.remove("events"))?;
    let reader = Reader { key, also_known: &["type", "events"] };
    let settings = Settings::read(&kind, &reader, Value::Object(entry))
        .ok_or_else(|| Problem::new(type_key, unknown("type", &kind, TYPES)))??;
    if let Some((name, message)) = settings.problem(&events) {
        return Err(Problem::new(format!("{key}.{name}"), message));
    }
    Ok(Sink { name, events, settings })
}

fn events(key: &str, patterns: Option<Value>) -> Result<Patterns, Problem> {
    let Some(patterns) = patterns else { return Ok(Patterns::default()) };
    let Ok(patterns) = serde_json::from_value::<Vec<String>>(patterns) else {
        return Err(Problem::new(
            key,
            "expected a list of event types or patterns, such as [\"message.new\", \"account.*\"]",
        ));
    };
    if patterns.is_empty() {
        return Err(Problem::new(key, "is empty, so nothing would be delivered; remove the sink or the key"));
    }
    Patterns::new(patterns).map_err(|pattern| {
        let shown = crate::model::Untrusted(&pattern);
        Problem::new(key, format!("\"{shown}\": {}", unknown("event type", &pattern, kind::ALL)))
    })
}

fn same_place(one: &Settings, other: &Settings) -> bool {
    one.place().is_some() && one.place() == other.place()
}
