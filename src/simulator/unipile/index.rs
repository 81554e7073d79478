//! Who is where: chats by id, chats by activity and, for version 1, messages by time.
//!
//! Kept up to date as messages are written, so that a list of a thousand chats costs what its page costs.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::v2::{Cache, Pace};
use crate::simulator::conversation::{Conversation, Message};
use crate::simulator::world::{ConversationRef, Dialect, State};
use crate::time::UnixMillis;

/// A place in a list of chats: time of the last message, and who.
pub(super) type Activity = (i64, ConversationRef);

/// A place among messages: time, and number in order of creation.
pub(super) type Moment = (i64, u64);

/// Stands for all inboxes together.
pub(super) const EVERY_INBOX: &str = "";

/// The activity of a chat in which nothing is to be seen.
pub(super) const EMPTY: i64 = 0;

/// What both versions know beside the conversations.
#[derive(Default)]
pub(in crate::simulator) struct Unipile {
    /// Version 1 also knows its chats by LinkedIn's id.
    chats: HashMap<(Dialect, String), ConversationRef>,
    /// The chats of an inbox, or under no name all of them, by activity.
    lists: HashMap<(Dialect, String), BTreeSet<Activity>>,
    /// Where a chat stands in its lists.
    activity: HashMap<ConversationRef, i64>,
    /// Messages that are to be seen later.
    late: BTreeSet<(UnixMillis, ConversationRef)>,
    /// The messages of version 1.
    feed: BTreeMap<Moment, ConversationRef>,
    /// The same by id.
    ids: HashMap<String, Moment>,
    /// Set while version 1 is cut off from LinkedIn.
    stale: Option<View>,
    pub(super) cache: Cache,
    pub(super) pace: Pace,
}

/// What can be seen: everything written by then.
#[derive(Clone, Copy)]
pub(super) struct View {
    pub(super) now: UnixMillis,
    written: u64,
    conversations: usize,
}

impl View {
    pub(super) fn shows(&self, message: &Message) -> bool {
        message.seq < self.written && message.is_visible(self.now)
    }

    fn has(&self, chat: ConversationRef) -> bool {
        chat.0 < self.conversations
    }

    /// The last message of a chat.
    pub(super) fn latest<'a>(&self, conversation: &'a Conversation) -> Option<&'a Message> {
        conversation.messages.iter().rev().find(|message| self.shows(message))
    }
}

impl Unipile {
    /// What answers of a dialect may show.
    pub(super) fn view(&self, dialect: Dialect, now: UnixMillis) -> View {
        let all = View { now, written: u64::MAX, conversations: usize::MAX };
        if dialect == Dialect::UnipileV1 { self.stale.unwrap_or(all) } else { all }
    }

    /// Takes in a new conversation of one of the two.
    pub(in crate::simulator) fn add(&mut self, chat: ConversationRef, conversation: &Conversation) {
        let dialect = conversation.dialect;
        self.chats.insert((dialect, conversation.id.clone()), chat);
        if dialect == Dialect::UnipileV1 {
            self.chats.insert((dialect, conversation.thread.clone()), chat);
        }
        self.place(chat, conversation, EMPTY);
    }

    /// Takes in the message at this place of its conversation.
    pub(in crate::simulator) fn wrote(&mut self, chat: ConversationRef, conversation: &Conversation, place: usize) {
        let message = &conversation.messages[place];
        if conversation.dialect == Dialect::UnipileV1 {
            self.feed.insert(moment(message), chat);
            self.ids.insert(message.id.clone(), moment(message));
        }
        self.late.extend(message.visible_at.map(|at| (at, chat)));
        self.refresh(chat, conversation, UnixMillis::now());
    }

    /// Moves a chat to where its last message puts it.
    pub(in crate::simulator) fn refresh(
        &mut self,
        chat: ConversationRef,
        conversation: &Conversation,
        now: UnixMillis,
    ) {
        let latest = self.view(conversation.dialect, now).latest(conversation);
        self.place(chat, conversation, latest.map_or(EMPTY, |message| message.sent_at.as_millis()));
    }

    fn place(&mut self, chat: ConversationRef, conversation: &Conversation, activity: i64) {
        let before = self.activity.insert(chat, activity);
        if before == Some(activity) {
            return;
        }
        for inbox in [EVERY_INBOX, &conversation.inbox] {
            let list = self.lists.entry((conversation.dialect, inbox.to_owned())).or_default();
            if let Some(before) = before {
                list.remove(&(before, chat));
            }
            list.insert((activity, chat));
        }
    }

    /// A chat by its id.
    pub(super) fn chat(&self, dialect: Dialect, id: &str) -> Option<ConversationRef> {
        let chat = *self.chats.get(&(dialect, id.to_owned()))?;
        self.view(dialect, UnixMillis::now()).has(chat).then_some(chat)
    }

    /// The chats of an inbox, the last one to move first, from below `end` on.
    pub(super) fn chats(
        &self,
        dialect: Dialect,
        inbox: &str,
        end: Activity,
    ) -> impl Iterator<Item = Activity> + use<'_> {
        let view = self.view(dialect, UnixMillis::now());
        let list = self.lists.get(&(dialect, inbox.to_owned()));
        list.into_iter().flat_map(move |list| list.range(..end).rev()).copied().filter(move |(_, chat)| view.has(*chat))
    }

    /// How many chats there are.
    pub(super) fn count(&self, dialect: Dialect, inbox: &str) -> usize {
        self.lists.get(&(dialect, inbox.to_owned())).map_or(0, BTreeSet::len)
    }

    /// The messages of version 1, newest first, from before `end` on.
    pub(super) fn feed(&self, end: Moment) -> impl Iterator<Item = (Moment, ConversationRef)> + '_ {
        self.feed.range(..end).rev().map(|(moment, chat)| (*moment, *chat))
    }

    /// A message of version 1 by its id.
    pub(super) fn message(&self, id: &str) -> Option<(Moment, ConversationRef)> {
        let moment = *self.ids.get(id)?;
        Some((moment, *self.feed.get(&moment)?))
    }
}

impl State {
    /// Moves the chats whose late messages have come to be seen. To be called before chats are listed.
    pub(super) fn settle_chats(&mut self, now: UnixMillis) {
        while let Some((at, chat)) = self.unipile.late.first().copied()
            && at <= now
        {
            self.unipile.late.pop_first();
            self.unipile.refresh(chat, &self.conversations[chat.0], now);
        }
    }

    /// Cuts version 1 off from LinkedIn, or lets it catch up, as the switch says.
    pub(in crate::simulator) fn follow_source_status(&mut self) {
        let cut_off = self.switches.unipile.v1_source_status != "OK";
        if cut_off == self.unipile.stale.is_some() {
            return;
        }
        let now = UnixMillis::now();
        self.settle_chats(now);
        let view = View { now, written: self.written(), conversations: self.conversations.len() };
        self.unipile.stale = cut_off.then_some(view);
        for (index, conversation) in self.conversations.iter().enumerate() {
            if conversation.dialect == Dialect::UnipileV1 {
                self.unipile.refresh(ConversationRef(index), conversation, now);
            }
        }
    }
}

/// Where a message stands among all.
pub(super) fn moment(message: &Message) -> Moment {
    (message.sent_at.as_millis(), message.seq)
}
