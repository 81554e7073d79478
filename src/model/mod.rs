//! The nouns: accounts, conversations, messages, events and their ids. No I/O, no async, no policy.

mod conversation;
mod event;
mod ids;
mod message;
mod readable;
mod untrusted;

pub use conversation::{Conversation, ConversationType};
pub use event::{EVENT_LIMIT, Event, EventContext, MESSAGE_NEW, Route, Seen, event_id};
pub use ids::{AccountName, ConversationId, InvalidName, MessageId, SinkName};
pub use message::{Direction, Flag, Message, Sender, assign_missing_ids};
pub use readable::{counted, readable_line};
pub use untrusted::{Untrusted, chain, cut_at};
