//! Unipile, both versions of its API: chats and messages of an account, live in the second, synchronised in the first.

mod ids;
mod index;
mod switches;
mod v1;
mod v2;

use axum::Router;
use axum::extract::Query;
use serde_json::Value;

use super::conversation::Message;
use super::exchange::Incoming;
use super::world::World;
use crate::time::UnixMillis;

pub(super) use ids::{chat, chat_v1, message, message_v1, product};
pub(super) use index::Unipile;
pub use switches::{KeyOf, UnipileSwitches};
#[cfg(test)]
pub(super) use v2::{Cache, Control, Left, Pace};

pub(super) fn routes() -> Router<World> {
    Router::new().nest("/unipile/v2", v2::routes()).nest("/unipile/v1/api/v1", v1::routes())
}

/// Reads the query into fields that are all optional text; `None` when it is malformed.
fn query<T: serde::de::DeserializeOwned>(incoming: &Incoming) -> Option<T> {
    Query::try_from_uri(&incoming.uri).ok().map(|Query(query)| query)
}

/// Reads a time in the only form that is taken: `2026-11-20T09:14:03.512Z`.
fn exact_time(text: &str) -> Option<UnixMillis> {
    UnixMillis::parse(text).filter(|at| at.to_string() == text)
}

/// What a message carries besides its text: a list, also where one thing or nothing was scripted.
fn attachments(message: &Message) -> Value {
    match &message.attachments {
        Value::Null => Value::Array(Vec::new()),
        Value::Array(many) => Value::Array(many.clone()),
        one => Value::Array(vec![one.clone()]),
    }
}
