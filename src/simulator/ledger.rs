//! What was ever written, and what of it was shown: the truth that a test compares with what arrived.

use serde::Serialize;

use super::linkedapi::inbox_message_id;
use super::world::{ConversationRef, Dialect, World};
use crate::time::UnixMillis;

/// A message that exists or existed, and whether anybody has been shown it.
#[derive(Clone, Debug, Serialize)]
pub struct LedgerEntry {
    /// Number of the message in order of creation, over all conversations.
    pub seq: u64,
    /// The conversation.
    pub conversation: ConversationRef,
    /// Its dialect.
    pub dialect: Dialect,
    /// Its normalised id.
    pub conversation_id: String,
    /// Normalised id of the message.
    pub message_id: String,
    /// Its id in the inbox of the whole account, which only Linked API has.
    pub inbox_message_id: Option<String>,
    /// What it says now.
    pub text: String,
    /// When it says it was sent.
    pub sent_at: UnixMillis,
    /// When it came to exist.
    pub created_at: UnixMillis,
    /// From when answers show it, where that is later.
    pub visible_at: Option<UnixMillis>,
    /// Whether the account's owner wrote it.
    pub outbound: bool,
    /// Whether it was taken back.
    pub removed: bool,
    /// When an answer that carries it was first made.
    pub first_served_at: Option<UnixMillis>,
}

impl World {
    /// Every message in order of creation.
    pub fn ledger(&self) -> Vec<LedgerEntry> {
        let state = self.state();
        let mut ledger = Vec::with_capacity(usize::try_from(state.written).unwrap_or_default());
        for (index, conversation) in state.conversations.iter().enumerate() {
            ledger.extend(conversation.messages.iter().map(|message| LedgerEntry {
                seq: message.seq,
                conversation: ConversationRef(index),
                dialect: conversation.dialect,
                conversation_id: conversation.id.clone(),
                message_id: message.id.clone(),
                inbox_message_id: inbox_message_id(conversation, message, state.settings.seed),
                text: message.text.clone(),
                sent_at: message.sent_at,
                created_at: message.created_at,
                visible_at: message.visible_at,
                outbound: message.outbound,
                removed: message.removed,
                first_served_at: message.first_served_at,
            }));
        }
        ledger.sort_unstable_by_key(|entry| entry.seq);
        ledger
    }
}
