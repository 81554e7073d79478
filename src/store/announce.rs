//! Events on their way into the outbox: written once, owed to every sink that wants their type.

use rusqlite::{Connection, params};

use super::{AccountId, Error, SinkId, SourceId};
use crate::model::{AccountName, Change, ConversationType, ConversationView, Event, Notice, Patterns};
use crate::time::UnixMillis;

/// A sink and the types of events it wants.
#[derive(Clone, Debug)]
pub(super) struct Subscriber {
    pub(super) sink: SinkId,
    pub(super) events: Patterns,
}

/// A state that begins or ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct StateChange<'a> {
    pub(super) kind: &'static str,
    pub(super) state: Change,
    pub(super) reason: Option<&'a str>,
    pub(super) since: UnixMillis,
    pub(super) detail: &'a str,
}

/// Writes events inside one transaction.
#[derive(Clone, Copy)]
pub(super) struct Outlet<'a> {
    pub(super) tx: &'a Connection,
    pub(super) sinks: &'a [Subscriber],
    pub(super) now: UnixMillis,
}

impl Outlet<'_> {
    /// Whether any sink wants events of this type.
    pub(super) fn wanted(&self, kind: &str) -> bool {
        self.sinks.iter().any(|subscriber| subscriber.events.want(kind))
    }

    /// Stores an event of a conversation and owes it to the sinks that want it. Returns its row.
    pub(super) fn of_conversation(&self, source: SourceId, event: &Event) -> Result<i64, Error> {
        self.store(Some(source), source.0, event)
    }

    fn store(&self, source: Option<SourceId>, lane: i64, event: &Event) -> Result<i64, Error> {
        self.tx
            .prepare_cached("INSERT INTO events (event_id, conversation, created_at, body) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![event.id, source.map(|source| source.0), self.now.as_millis(), event.body])?;
        let row = self.tx.last_insert_rowid();
        for subscriber in self.sinks.iter().filter(|subscriber| subscriber.events.want(event.kind)) {
            self.tx
                .prepare_cached("INSERT INTO deliveries (sink, conversation, event) VALUES (?1, ?2, ?3)")?
                .execute(params![subscriber.sink.0, lane, row])?;
            self.tx
                .prepare_cached(
                    "INSERT INTO lanes (sink, conversation, due_at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
                )?
                .execute(params![subscriber.sink.0, lane, self.now.as_millis()])?;
        }
        Ok(row)
    }

    /// Announces a change of state of a conversation.
    pub(super) fn about_conversation(&self, source: SourceId, change: StateChange<'_>) -> Result<(), Error> {
        type Row = (String, String, String, String, Option<String>, Option<String>);
        let (provider, account, id, product, person_url, title): Row = self
            .tx
            .prepare_cached(
                "SELECT a.provider, a.name, c.conversation_id, c.kind, c.person_url, c.title
                 FROM conversations c JOIN accounts a ON a.id = c.account WHERE c.id = ?1",
            )?
            .query_row([source.0], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?)))?;
        let conversation = ConversationView {
            id: &id,
            kind: ConversationType::from_word(&product),
            person_url: person_url.as_deref(),
            title: title.as_deref(),
        };
        let event = change.event(&provider, &account, Some(conversation))?;
        self.of_conversation(source, &event).map(|_| ())
    }

    /// Announces a change of state of an account.
    pub(super) fn about_account(&self, account: AccountId, change: StateChange<'_>) -> Result<(), Error> {
        let (provider, name): (String, String) = self
            .tx
            .prepare_cached("SELECT provider, name FROM accounts WHERE id = ?1")?
            .query_row([account.0], |r| Ok((r.get(0)?, r.get(1)?)))?;
        let event = change.event(&provider, &name, None)?;
        self.store(None, -account.0, &event).map(|_| ())
    }
}

impl StateChange<'_> {
    fn event(&self, provider: &str, account: &str, conversation: Option<ConversationView<'_>>) -> Result<Event, Error> {
        let account =
            AccountName::new(account).map_err(|e| Error::from(rusqlite::Error::ToSqlConversionFailure(Box::new(e))))?;
        let Self { kind, state, reason, since, detail } = *self;
        Ok(Event::notice(&Notice { kind, provider, account: &account, conversation, state, reason, since, detail }))
    }
}
