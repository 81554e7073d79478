//! A scripted world from a TOML file: who writes what and when, and what goes wrong meanwhile.
//!
//! Everything is laid down in the file; what lies in the past is there at once, the rest happens when its time comes.
//! `config/scenario.toml` is the commented example.

use std::path::Path;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use tokio::time::Instant;
use tokio_util::sync::DropGuard;

use super::conversation::Draft;
use super::faults::{Fault, When};
use super::people;
use super::switches::Switches;
use super::world::{ConversationRef, Dialect, Kind, World};
use crate::time::UnixMillis;

/// What a file calls the dialects.
const PROVIDERS: &[(&str, Dialect)] = &[
    ("linkedapi", Dialect::LinkedApi),
    ("connectsafely", Dialect::ConnectSafely),
    ("linkup-v1", Dialect::LinkupV1),
    ("linkup-v2", Dialect::LinkupV2),
    ("unipile-v2", Dialect::UnipileV2),
    ("unipile-v1", Dialect::UnipileV1),
];

/// A script for a world.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scenario {
    /// What ids, traffic and dice are made from.
    pub seed: Option<u64>,
    /// Random messages besides the scripted ones.
    pub messages_per_minute: Option<f64>,
    switches: Switches,
    conversations: Vec<Conversation>,
    faults: Vec<TimedFault>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Conversation {
    #[serde(deserialize_with = "provider")]
    provider: Dialect,
    #[serde(default)]
    kind: Kind,
    person: Option<String>,
    /// The inbox of Unipile v2 that alone lists it.
    inbox: Option<String>,
    /// So many conversations like this one.
    count: Option<u32>,
    #[serde(default)]
    history: u32,
    /// When the newest message of the history was sent.
    history_ends: Option<Moment>,
    #[serde(default)]
    messages: Vec<Message>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    #[serde(default)]
    text: String,
    #[serde(default)]
    from: From,
    at: Option<Moment>,
    visible: Option<Moment>,
    id: Option<String>,
    sender_name: Option<String>,
    message_type: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum From {
    #[default]
    Them,
    Us,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TimedFault {
    fault: Fault,
    #[serde(default)]
    when: When,
    at: Option<Moment>,
}

/// A time, absolute or from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    At(UnixMillis),
    Before(Duration),
    After(Duration),
}

impl Moment {
    fn read(text: &str) -> Option<Self> {
        let duration = |text: &str| humantime::parse_duration(text.trim()).ok();
        match (text.strip_prefix('-'), text.strip_prefix('+')) {
            (Some(text), _) => duration(text).map(Self::Before),
            (_, Some(text)) => duration(text).map(Self::After),
            _ => UnixMillis::parse(text).map(Self::At),
        }
    }

    fn counted_from(self, start: UnixMillis) -> UnixMillis {
        match self {
            Self::At(at) => at,
            Self::Before(duration) => start - duration,
            Self::After(duration) => start + duration,
        }
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // TOML has times of its own, which a person may well write without quotes.
        let text = match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => text,
            toml::Value::Datetime(time) => time.to_string(),
            _ => String::new(),
        };
        Self::read(&text).ok_or_else(|| D::Error::custom("expected a time such as -2h, +30s or 2026-01-31T09:00:00Z"))
    }
}

fn provider<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Dialect, D::Error> {
    let name = String::deserialize(deserializer)?;
    let known = PROVIDERS.iter().find(|(known, _)| *known == name);
    known.map(|(_, dialect)| *dialect).ok_or_else(|| {
        let names: Vec<&str> = PROVIDERS.iter().map(|(name, _)| *name).collect();
        D::Error::custom(format!("unknown provider {name}, expected one of {}", names.join(", ")))
    })
}

/// Why a scenario cannot be played: the file, the key where there is one, and what is wrong.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ScenarioError(String);

/// What is to happen later.
enum Event {
    Write(ConversationRef, Draft),
    Break(Fault, When),
}

/// A scenario under way; what is left of it is dropped with this.
pub struct PlayingScenario {
    _stop: DropGuard,
}

impl Scenario {
    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ScenarioError(format!("{} cannot be read: {error}", path.display())))?;
        Self::parse(&text).map_err(|problem| ScenarioError(format!("{}: {problem}", path.display())))
    }

    /// Reads a text; the error names the key.
    fn parse(text: &str) -> Result<Self, String> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
        let scenario: Self = serde_path_to_error::deserialize(toml::Value::Table(table)).map_err(|error| {
            let key = error.path().to_string();
            let problem = error.inner().message();
            if key == "." { problem.to_owned() } else { format!("{key}: {problem}") }
        })?;
        for (number, conversation) in scenario.conversations.iter().enumerate() {
            if conversation.inbox.is_some() && conversation.provider != Dialect::UnipileV2 {
                return Err(format!("conversations[{number}].inbox: only unipile-v2 has inboxes"));
            }
        }
        let count = scenario.conversations.iter().map(|conversation| conversation.count.unwrap_or(1) as usize).sum();
        for (number, fault) in scenario.faults.iter().enumerate() {
            let wanted = fault.when.conversation.map(ConversationRef::index);
            if wanted.is_some_and(|wanted| wanted >= count) {
                return Err(format!("faults[{number}].when.conversation: must be below {count}, counted from 0"));
            }
        }
        if scenario.messages_per_minute.is_some_and(|rate| !(rate >= 0.0 && rate.is_finite())) {
            return Err("messages_per_minute: must be at least 0".into());
        }
        Ok(scenario)
    }

    /// Makes the world as the file says and plays the rest in its time. Meant for a world that is still empty: faults
    /// count conversations as the file does. Must be called on a tokio runtime.
    pub fn play(self, world: &World) -> PlayingScenario {
        let (start, begun) = (UnixMillis::now(), Instant::now());
        let mut events = Vec::new();
        world.set_switches(|switches| *switches = self.switches);
        for conversation in self.conversations {
            let ends = conversation.history_ends.unwrap_or(Moment::Before(DAY)).counted_from(start);
            for number in 1..=conversation.count.unwrap_or(1) {
                let reference = conversation.add(world, number);
                write_history(world, reference, conversation.history, ends);
                for message in conversation.messages.clone() {
                    let at = message.at.map(|at| at.counted_from(start));
                    events.push((at.unwrap_or(start), Event::Write(reference, message.draft(at, start))));
                }
            }
        }
        for TimedFault { fault, when, at } in self.faults {
            events.push((at.map_or(start, |at| at.counted_from(start)), Event::Break(fault, when)));
        }
        // Stable: what shares a moment stays in the order of the file.
        events.sort_by_key(|(at, _)| *at);
        let later = events.split_off(events.partition_point(|(at, _)| *at <= start));
        for (_, event) in events {
            event.happen(world);
        }
        let stop = world.stopping().child_token();
        let playing = PlayingScenario { _stop: stop.clone().drop_guard() };
        let world = world.clone();
        tokio::spawn(async move {
            stop.run_until_cancelled(async {
                for (at, event) in later {
                    let Some(due) = begun.checked_add(at.since(start)) else { return };
                    tokio::time::sleep_until(due).await;
                    event.happen(&world);
                }
            })
            .await
        });
        playing
    }
}

impl Conversation {
    /// The copies of one conversation are with people of one name, who are told apart by a number.
    fn add(&self, world: &World, number: u32) -> ConversationRef {
        let names = people::NAMES;
        let person = self.person.as_deref().unwrap_or(names[world.conversation_count() % names.len()]);
        let person = if number > 1 { format!("{person} {number}") } else { person.to_owned() };
        match &self.inbox {
            Some(inbox) => world.add_to_inbox(inbox, &person),
            None => world.add_conversation(self.provider, self.kind, &person),
        }
    }
}

impl Event {
    fn happen(self, world: &World) {
        match self {
            Self::Write(conversation, draft) => {
                world.push_draft(conversation, draft);
            }
            Self::Break(fault, when) => world.inject(fault, when),
        }
    }
}

impl Message {
    fn draft(self, at: Option<UnixMillis>, start: UnixMillis) -> Draft {
        Draft {
            text: self.text,
            sent_at: at,
            visible_at: self.visible.map(|visible| visible.counted_from(start)),
            outbound: self.from == From::Us,
            id: self.id,
            sender_name: self.sender_name,
            message_type: self.message_type,
            ..Draft::default()
        }
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);

/// So many messages, the last of them shortly before `ends`, some hours apart, the same for the same seed.
fn write_history(world: &World, conversation: ConversationRef, count: u32, ends: UnixMillis) {
    /// To the millisecond: a second's fraction of their own is what rounding is about.
    const APART: std::ops::Range<u64> = 60_000..8 * 3_600_000;
    let seed = world.state().settings.seed;
    let mut dice = StdRng::seed_from_u64(crate::backoff::mix(seed, conversation.index() as u64));
    let mut at = ends;
    let mut drafts: Vec<Draft> = (0..count)
        .map(|_| {
            at = at - Duration::from_millis(dice.random_range(APART));
            let text = people::PHRASES[dice.random_range(0..people::PHRASES.len())];
            let outbound = dice.random_range(0..4) == 0;
            Draft { text: text.into(), sent_at: Some(at), outbound, ..Draft::default() }
        })
        .collect();
    drafts.reverse();
    for draft in drafts {
        world.push_draft(conversation, draft);
    }
}
