//! The conversations of one version, by what requests name them with and by their last activity.

use std::collections::{BTreeSet, HashMap};

use crate::simulator::conversation::{Conversation, token};
use crate::simulator::world::ConversationRef;
use crate::time::UnixMillis;

/// Place of a conversation in the inbox: the time of its newest message in milliseconds, then its number.
pub(super) type Place = (i64, ConversationRef);

#[derive(Default)]
pub(super) struct Index {
    threads: HashMap<String, ConversationRef>,
    /// By opaque profile id.
    profiles: HashMap<String, ConversationRef>,
    /// Oldest activity first. Conversations without a message are not in it: an inbox does not show them.
    activity: BTreeSet<Place>,
    newest: HashMap<ConversationRef, i64>,
    /// Messages that will be visible later, by when.
    later: BTreeSet<(UnixMillis, i64, ConversationRef)>,
}

impl Index {
    pub(super) fn add(&mut self, reference: ConversationRef, conversation: &Conversation) {
        self.threads.insert(conversation.thread.clone(), reference);
        self.profiles.insert(conversation.person.profile_id.clone(), reference);
    }

    /// The conversation with a thread of this URN or token.
    pub(super) fn thread(&self, id: &str) -> Option<ConversationRef> {
        self.threads.get(id).or_else(|| self.threads.get(token(id))).copied()
    }

    /// The conversation with the person of this opaque id.
    pub(super) fn profile(&self, id: &str) -> Option<ConversationRef> {
        self.profiles.get(id).copied()
    }

    /// Notes a message; it moves its conversation when it becomes visible.
    pub(super) fn written(&mut self, reference: ConversationRef, sent_at: UnixMillis, visible_at: Option<UnixMillis>) {
        match visible_at {
            Some(visible_at) => {
                self.later.insert((visible_at, sent_at.as_millis(), reference));
            }
            None => self.moved(reference, sent_at.as_millis()),
        }
    }

    fn moved(&mut self, reference: ConversationRef, sent_at: i64) {
        let newest = self.newest.get(&reference).copied();
        if newest.is_none_or(|newest| sent_at > newest) {
            if let Some(newest) = newest {
                self.activity.remove(&(newest, reference));
            }
            self.activity.insert((sent_at, reference));
            self.newest.insert(reference, sent_at);
        }
    }

    /// Lets every message move its conversation that is visible by `now`.
    pub(super) fn settle(&mut self, now: UnixMillis) {
        while let Some((visible_at, sent_at, reference)) = self.later.first().copied()
            && visible_at <= now
        {
            self.later.pop_first();
            self.moved(reference, sent_at);
        }
    }

    /// The inbox below a place, newest activity first.
    pub(super) fn inbox(&self, below: Option<Place>) -> impl Iterator<Item = Place> {
        let end = below.unwrap_or((i64::MAX, ConversationRef(usize::MAX)));
        self.activity.range(..end).rev().copied()
    }
}
