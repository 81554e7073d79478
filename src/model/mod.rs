//! The nouns: accounts, conversations, messages, events and their ids. No I/O, no async, no policy.

mod chat;
mod cited;
mod conversation;
mod envelope;
mod event;
mod ids;
mod json_line;
mod message;
mod notice;
mod raw;
mod readable;
mod sample;
mod schema;
#[cfg(test)]
#[path = "../../tests/it/support/strict.rs"]
mod strict;
mod unreadable;
mod untrusted;

pub use chat::{END_OF_ISOLATE, open_isolates};
pub use cited::{Cited, subject};
pub use conversation::{Conversation, ConversationType, Listed};
pub use event::{EVENT_LIMIT, Event, EventContext, Route, Seen, event_id, kind};
pub use ids::{AccountName, ConversationId, InvalidName, MessageId, SinkName};
pub use json_line::{harmless_json, json_line};
pub use message::{Direction, Flag, Message, Sender, WITHOUT_TIME, assign_missing_ids};
pub use notice::{BudgetPeriod, BudgetView, Change, ConversationView, Notice, Patterns, SinkNotice};
pub use raw::fit_for_event;
pub use readable::{Readable, counted, readable_line};
pub use sample::sample_events;
pub use schema::event_schema;
pub use unreadable::Unreadable;
pub use untrusted::{Untrusted, chain, cut_at};
