//! Events on their way into the outbox: written once, owed to every sink that wants their type.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::{AccountId, Error, LaneId, SinkId, SourceId, text};
use crate::model::{
    AccountName, BudgetView, Change, ConversationType, ConversationView, Event, Notice, Patterns, SinkName, SinkNotice,
};
use crate::time::UnixMillis;

/// A sink as the configuration has it.
#[derive(Clone, Debug)]
pub struct FollowedSink {
    /// Its name, which is its identity.
    pub name: SinkName,
    /// Which events it wants.
    pub wants: Wants,
    /// Polling waits while more than this are pending.
    pub max_pending: u64,
}

/// Whether an event, given as its bytes, passes.
pub type EventFilter = dyn Fn(&str) -> bool + Send + Sync;

/// Which events a sink wants, and how; by default new messages, all of them.
#[derive(Clone, Default)]
pub struct Wants {
    /// Types of events.
    pub events: Patterns,
    /// What the configuration says of the filter, for `explain`.
    pub filter_text: Option<String>,
    /// The filter; `None`: every event passes.
    pub filter: Option<Arc<EventFilter>>,
    /// With the provider's own object of the message.
    pub raw: bool,
}

impl std::fmt::Debug for Wants {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { events, filter_text, raw, .. } = self;
        f.debug_struct("Wants").field("events", events).field("filter", filter_text).field("raw", raw).finish()
    }
}

impl Wants {
    pub(super) fn passes(&self, body: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter(body))
    }
}

/// A sink that events are owed to from now on.
#[derive(Clone, Debug)]
pub(super) struct Subscriber {
    pub(super) sink: SinkId,
    pub(super) wants: Wants,
}

/// A sink that is parked or has dead deliveries, or no longer.
#[derive(Clone, Copy, Debug)]
pub(super) struct SinkState<'a> {
    pub(super) kind: &'static str,
    pub(super) state: Change,
    pub(super) reason: Option<&'a str>,
    pub(super) since: UnixMillis,
    pub(super) detail: &'a str,
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
        self.sinks.iter().any(|subscriber| subscriber.wants.events.want(kind))
    }

    /// Whether any sink wants the provider's own object with events of this type.
    pub(super) fn wants_raw(&self, kind: &str) -> bool {
        self.sinks.iter().any(|subscriber| subscriber.wants.raw && subscriber.wants.events.want(kind))
    }

    /// Stores an event of a conversation and owes it to the sinks that want it. Returns its row.
    pub(super) fn of_conversation(&self, source: SourceId, event: &Event) -> Result<i64, Error> {
        self.store(Some(source), source.into(), event, None)
    }

    fn store(
        &self,
        source: Option<SourceId>,
        lane: LaneId,
        event: &Event,
        not_to: Option<SinkId>,
    ) -> Result<i64, Error> {
        self.tx
            .prepare_cached(
                "INSERT INTO events (event_id, conversation, created_at, body, raw_body) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                event.id,
                source.map(|source| source.0),
                self.now.as_millis(),
                event.body,
                event.body_with_raw
            ])?;
        let row = self.tx.last_insert_rowid();
        let wanting = self.sinks.iter().filter(|s| Some(s.sink) != not_to && s.wants.events.want(event.kind));
        let mut is_owed = false;
        for subscriber in wanting {
            is_owed |= self.owe(subscriber, lane, row, event)?;
        }
        if !is_owed {
            text::is_owed_to_nobody(self.tx, row)?;
        }
        Ok(row)
    }

    /// Says whether it wants it.
    fn owe(&self, to: &Subscriber, lane: LaneId, row: i64, event: &Event) -> Result<bool, Error> {
        let now = self.now.as_millis();
        let mut insert = self.tx.prepare_cached(
            "INSERT INTO deliveries (event, sink, lane, state, raw, settled_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        if !to.wants.passes(&event.body) {
            insert.execute(params![row, to.sink.0, lane.0, 3, to.wants.raw, now])?;
            return Ok(false);
        }
        insert.execute(params![row, to.sink.0, lane.0, 0, to.wants.raw, None::<i64>])?;
        self.tx
            .prepare_cached("INSERT INTO lanes (sink, lane, due_at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")?
            .execute(params![to.sink.0, lane.0, now])?;
        Ok(true)
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
        let event = change.event(&provider, &account, Some(conversation), None)?;
        self.of_conversation(source, &event).map(|_| ())
    }

    /// Announces a change of state of an account.
    pub(super) fn about_account(&self, account: AccountId, change: StateChange<'_>) -> Result<(), Error> {
        self.of_account(account, change, None)
    }

    /// Announces how far a budget of an account is spent.
    pub(super) fn about_budget(
        &self,
        account: AccountId,
        change: StateChange<'_>,
        budget: BudgetView,
    ) -> Result<(), Error> {
        self.of_account(account, change, Some(budget))
    }

    fn of_account(&self, account: AccountId, change: StateChange<'_>, budget: Option<BudgetView>) -> Result<(), Error> {
        let (provider, name): (String, String) = self
            .tx
            .prepare_cached("SELECT provider, name FROM accounts WHERE id = ?1")?
            .query_row([account.0], |r| Ok((r.get(0)?, r.get(1)?)))?;
        let event = change.event(&provider, &name, None, budget)?;
        self.store(None, account.into(), &event, None).map(|_| ())
    }

    /// Announces a change of state of a sink to the other ones.
    pub(super) fn about_sink(&self, sink: SinkId, change: SinkState<'_>) -> Result<(), Error> {
        let name: String =
            self.tx.prepare_cached("SELECT name FROM sinks WHERE id = ?1")?.query_row([sink.0], |r| r.get(0))?;
        let name =
            SinkName::new(&name).map_err(|e| Error::from(rusqlite::Error::ToSqlConversionFailure(Box::new(e))))?;
        let SinkState { kind, state, reason, since, detail } = change;
        let notice = SinkNotice { kind, sink: &name, state, reason, since, detail };
        self.store(None, sink.into(), &Event::sink_notice(&notice), Some(sink)).map(|_| ())
    }
}

impl StateChange<'_> {
    fn event(
        &self,
        provider: &str,
        account: &str,
        conversation: Option<ConversationView<'_>>,
        budget: Option<BudgetView>,
    ) -> Result<Event, Error> {
        let account =
            AccountName::new(account).map_err(|e| Error::from(rusqlite::Error::ToSqlConversionFailure(Box::new(e))))?;
        let Self { kind, state, reason, since, detail } = *self;
        Ok(Event::notice(&Notice {
            kind,
            provider,
            account: &account,
            conversation,
            budget,
            state,
            reason,
            since,
            detail,
        }))
    }
}
