//! The sinks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::problem::{Problem, unknown};
use super::reader::{Reader, type_of};
use crate::filter::Filter;
use crate::model::{Patterns, SinkName, kind};
use crate::settings::{Read, Written};
use crate::sinks::{Settings, TYPES};

/// A sink of the configuration.
pub struct Sink {
    /// Its name: its identity in the store.
    pub name: SinkName,
    /// The types of events it wants.
    pub events: Patterns,
    /// Which of them it wants, with the text of the expression; `None`: all.
    pub filter: Option<(String, Filter)>,
    /// It wants the provider's own object of a message too.
    pub include_raw: bool,
    /// Nothing but failure for so long parks it.
    pub park_after: Duration,
    /// Polling waits while more deliveries than this are pending.
    pub max_pending: u64,
    /// The keys of its type.
    pub settings: Settings,
}

/// The keys that every sink may have, beside `type` and `events`.
#[derive(Deserialize)]
struct Common {
    filter: Option<String>,
    #[serde(default)]
    include_raw: bool,
    #[serde(default = "default_park_after", with = "crate::settings::duration")]
    park_after: Duration,
    #[serde(default = "default_max_pending", deserialize_with = "crate::settings::count")]
    max_pending: u64,
}

/// A sink that is parked sooner would be parked for a reply that is slow.
const SHORTEST_PARK: Duration = Duration::from_secs(1);

const ALSO_KNOWN: &[&str] = &["type", "events", "filter", "include_raw", "park_after", "max_pending"];
const COMMON: &[&str] = &["filter", "include_raw", "park_after", "max_pending"];

/// Long enough for a deployment of the receiver, short enough to be told in time.
fn default_park_after() -> Duration {
    Duration::from_secs(3600)
}

fn default_max_pending() -> u64 {
    100_000
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
        match sink(&key, &name, entry, warnings) {
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

fn sink(key: &str, name: &str, entry: Value, warnings: &mut Vec<Problem>) -> Result<Sink, Problem> {
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
    let common = common(key, &mut entry)?;
    let reader = Reader { key, also_known: ALSO_KNOWN };
    let settings = Settings::read(&kind, &reader, Value::Object(entry))
        .ok_or_else(|| Problem::new(type_key, unknown("type", &kind, TYPES)))??;
    if let Some((name, message)) = settings.problem(&events) {
        return Err(Problem::new(format!("{key}.{name}"), message));
    }
    let Common { filter, include_raw, park_after, max_pending } = common;
    let filter = filter.map(|text| parsed(&format!("{key}.filter"), text, &events, warnings)).transpose()?;
    Ok(Sink { name, events, filter, include_raw, park_after, max_pending, settings })
}

/// Takes the keys that every sink may have out of its table.
fn common(key: &str, entry: &mut Map<String, Value>) -> Result<Common, Problem> {
    let table = COMMON.iter().filter_map(|&name| Some((name.to_owned(), entry.remove(name)?))).collect();
    let common: Common = Reader { key, also_known: &[] }.read(Value::Object(table))?;
    if common.park_after < SHORTEST_PARK {
        return Err(Problem::new(format!("{key}.park_after"), "must be at least 1s"));
    }
    if common.max_pending == 0 {
        return Err(Problem::new(format!("{key}.max_pending"), "must be at least 1"));
    }
    Ok(common)
}

fn parsed(
    key: &str,
    text: String,
    events: &Patterns,
    warnings: &mut Vec<Problem>,
) -> Result<(String, Filter), Problem> {
    let (filter, doubts) = Filter::parse(&text, events).map_err(|problem| Problem::new(key, problem))?;
    warnings.extend(doubts.into_iter().map(|doubt| Problem::new(key, doubt)));
    Ok((text, filter))
}

fn events(key: &str, patterns: Option<Value>) -> Result<Patterns, Problem> {
    let Some(patterns) = patterns else { return Ok(Patterns::default()) };
    let Ok(patterns) = Vec::<String>::deserialize(Written(&patterns)) else {
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

/// What is wrong with sinks that write where something of ours lies: the database and what belongs to it, the
/// configuration, or a closed file of another sink.
pub(super) fn misplaced(sinks: &[Sink], database: &Path, configuration: &Path) -> Vec<Problem> {
    let mut problems = Vec::new();
    let ours = ["", "-wal", "-shm", "-journal", ".lock", ".sock"]
        .map(|suffix| real(Path::new(&format!("{}{suffix}", database.display()))));
    for sink in sinks {
        let Some(place) = sink.settings.place() else { continue };
        let key = format!("sinks.{}.path", sink.name);
        if ours.contains(&place) {
            problems.push(Problem::new(&key, "is the database, or belongs to it; name another file"));
        } else if place == real(configuration) {
            problems.push(Problem::new(&key, "is the configuration; name another file"));
        }
        let closes_as_it = |other: &&Sink| other.name != sink.name && other.settings.closes_as(&place);
        if let Some(other) = sinks.iter().find(closes_as_it) {
            let message = format!(
                "is what a closed file of sinks.{} is called, which would be compressed or removed",
                other.name
            );
            problems.push(Problem::new(&key, message));
        }
    }
    problems
}

/// A path with its links followed, as far as it exists.
fn real(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let in_folder = || Some(folder.canonicalize().ok()?.join(path.file_name()?));
    path.canonicalize().ok().or_else(in_folder).unwrap_or_else(|| path.to_owned())
}
