//! The configuration: layers in, checked settings of every part out.
//!
//! Everything that is wrong is reported at once, each with file, key and remedy, and without any value. The settings
//! types sit beside the parts they configure; this module knows their names and nothing else of them.

mod accounts;
mod doubts;
mod environment;
mod expand;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod layers;
mod polling;
mod problem;
mod reader;
mod show;
mod sinks;
mod store;
mod syntax;

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::Value;

use crate::mask::Mask;
use crate::settings::Read;

pub use accounts::{Account, FollowedConversation, Shared, shared_budgets};
pub use layers::Sources;
pub use polling::Polling;
pub use problem::{Error, Problem};
pub use sinks::Sink;
pub use store::Store;

use expand::Inserted;
use reader::Reader;

/// A checked configuration.
pub struct Config {
    /// Where state lies.
    pub store: Store,
    /// What is logged, and how.
    pub log: Log,
    /// Accounts, by name.
    pub accounts: Vec<Account>,
    /// Sinks, by name.
    pub sinks: Vec<Sink>,
    /// What a user should know although the configuration is valid.
    pub warnings: Vec<Problem>,
    /// What `${...}` has put anywhere, which nobody is to see again.
    pub inserted: Mask,
    /// The file that was read, in words where there is none.
    pub file: String,
}

impl Config {
    /// Every secret that it has, to be kept out of the log.
    pub fn mask(&self) -> Mask {
        let accounts = self.accounts.iter().map(|account| account.settings.mask());
        let sinks = self.sinks.iter().map(|sink| sink.settings.mask());
        accounts.chain(sinks).fold(self.inserted.clone(), |all, mask| all.and_of(&mask))
    }
}

/// What is logged, and how.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    /// Least important level that is logged.
    pub level: tracing::Level,
    /// How lines look.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogTable {
    level: LogLevel,
    format: LogFormat,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

const SECTIONS: &[&str] = &["store", "log", "polling", "accounts", "sinks"];

/// Reads only where state lies: commands that look need no credentials, and work where the daemon's are out of reach.
pub fn load_store(sources: &Sources) -> Result<Store, Error> {
    let layers = layers::read(sources).map_err(Error)?;
    let mut section = layers.merged.get("store").cloned().unwrap_or_default();
    let mut problems = Vec::new();
    remove_nulls(&mut section);
    expand::expand(&mut section, "store", &mut Inserted::default(), &mut problems);
    let store = keep(&mut problems, table::<store::Table>("store", section).and_then(store::Table::checked));
    store.filter(|_| problems.is_empty()).ok_or_else(|| located(problems, &layers))
}

/// Reads, expands and checks all layers.
pub fn load(sources: &Sources) -> Result<Config, Error> {
    load_and(sources, |_, _| ()).map(|(config, ())| config)
}

/// The effective configuration as TOML, secrets masked.
pub fn show(sources: &Sources) -> Result<String, Error> {
    let (config, masked) = load_and(sources, show::masked)?;
    Ok(show::show(masked, &config))
}

/// Loads, and looks at the expanded tree on the way; the second argument names the keys whose values came from files.
fn load_and<T>(sources: &Sources, look: impl FnOnce(&Value, &[String]) -> T) -> Result<(Config, T), Error> {
    of_layers(layers::read(sources).map_err(Error)?, look)
}

fn of_layers<T>(mut layers: layers::Layers, look: impl FnOnce(&Value, &[String]) -> T) -> Result<(Config, T), Error> {
    let mut tree = std::mem::take(&mut layers.merged);
    let mut problems = Vec::new();
    let mut inserted = Inserted::default();
    remove_nulls(&mut tree);
    expand::expand(&mut tree, "", &mut inserted, &mut problems);
    if !problems.is_empty() {
        // Whatever else is wrong may only follow from these.
        return Err(located(problems, &layers));
    }
    // What is wrong may be named by what was inserted.
    let hidden = |problems: Vec<Problem>| -> Vec<Problem> {
        problems.into_iter().map(|p| Problem { message: inserted.mask.hide(&p.message), ..p }).collect()
    };
    let seen = look(&tree, &inserted.from_files);
    let doubts = doubts::of(&tree);
    let config = checked(tree, &mut problems);
    if let Some(config) = &config {
        problems.extend(sinks::misplaced(&config.sinks, &config.store.path, std::path::Path::new(&layers.file)));
    }
    match config {
        Some(mut config) if problems.is_empty() => {
            config.warnings.splice(0..0, doubts);
            let shown = "has a value of the environment in it, and ps(1) shows it to every user; what is secret belongs into env";
            config.warnings.extend(inserted.in_commands.iter().map(|key| Problem::new(key, shown)));
            config.warnings = hidden(located(std::mem::take(&mut config.warnings), &layers).0);
            config.warnings.append(&mut layers.strays);
            config.inserted = inserted.mask;
            config.file = layers.file.clone();
            Ok((config, seen))
        }
        _ => {
            // What is odd about a value may be why it is refused.
            for problem in &mut problems {
                let doubt = doubts.iter().find(|doubt| doubt.key == problem.key);
                problem.message.extend(doubt.into_iter().flat_map(|doubt| ["; it ", &doubt.message]));
            }
            Err(located(hidden(problems), &layers))
        }
    }
}

fn located(problems: Vec<Problem>, layers: &layers::Layers) -> Error {
    // What all accounts inherit is wrong for each of them.
    let mut told = HashSet::new();
    let once = problems.into_iter().filter(|p| told.insert((p.key.clone(), p.message.clone())));
    Error(once.map(|p| Problem { origin: layers.origin(&p.key), ..p }).collect())
}

fn checked(tree: Value, problems: &mut Vec<Problem>) -> Option<Config> {
    let Value::Object(mut tree) = tree else {
        problems.push(Problem::new("", "is not a table of keys"));
        return None;
    };
    for name in tree.keys().filter(|name| !SECTIONS.contains(&name.as_str())) {
        problems.push(Problem::new(name, problem::unknown("section", name, SECTIONS)));
    }
    let mut section = |name: &str| tree.remove(name).unwrap_or_else(|| Value::Object(serde_json::Map::default()));
    let store = keep(problems, table::<store::Table>("store", section("store")).and_then(store::Table::checked));
    let log = keep(problems, table::<LogTable>("log", section("log")).map(checked_log));
    let defaults = keep(problems, table::<polling::Table>("polling", section("polling")));
    let mut warnings = Vec::new();
    let accounts = accounts::read(section("accounts"), defaults.as_ref(), problems, &mut warnings);
    let sinks = sinks::read(section("sinks"), problems, &mut warnings);
    for sink in &sinks {
        let named = sink.filter.iter().flat_map(|(_, filter)| filter.accounts());
        let known = |name: &&str| accounts.iter().any(|account| account.name.as_str() == *name);
        for unknown in named.filter(|name| !known(name)) {
            let names = accounts.iter().map(|account| account.name.as_str());
            let meant = problem::nearest(unknown, names).map(|meant| format!("; did you mean \"{meant}\"?"));
            let message = format!("names an account that there is not{}", meant.unwrap_or_default());
            warnings.push(Problem::new(format!("sinks.{}.filter", sink.name), message));
        }
    }
    Some(Config { store: store?, log: log?, accounts, sinks, warnings, inserted: Mask::default(), file: String::new() })
}

fn table<T: serde::de::DeserializeOwned>(key: &str, table: Value) -> Result<T, Problem> {
    Reader { key, also_known: &[] }.read(table)
}

fn keep<T>(problems: &mut Vec<Problem>, result: Result<T, Problem>) -> Option<T> {
    result.map_err(|problem| problems.push(problem)).ok()
}

fn checked_log(table: LogTable) -> Log {
    let level = match table.level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Trace => tracing::Level::TRACE,
    };
    Log { level, format: table.format }
}

/// A key set to null is a key not set.
fn remove_nulls(value: &mut Value) {
    match value {
        Value::Object(entries) => {
            entries.retain(|_, entry| !entry.is_null());
            entries.values_mut().for_each(remove_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_nulls),
        _ => {}
    }
}
