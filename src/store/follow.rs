//! What is followed: by the configuration, by a command, or because the inbox lists it; matched with what the store knows
//! of it.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::accounts::{self, Pause};
use super::announce::{FollowedSink, Outlet, Subscriber};
use super::balance::{self, BalanceSeen};
use super::gaps::{self, OpenGaps};
use super::outbox::{self, SinkHealth};
use super::poison;
use super::quiet;
use super::spending;
use super::sweeps::{self, SweptFolder};
use super::syncs::{self, SyncRow};
use super::unreadable::{self, UnreadMessages};
use super::walks::{self, Walk};
use super::{AccountId, Error, SinkId, SourceId, Store, millis};
use crate::calendar::Day;
use crate::model::{AccountName, Conversation, ConversationId, ConversationType};
use crate::time::UnixMillis;

/// An account as the configuration has it.
#[derive(Clone, Debug)]
pub struct FollowedAccount {
    /// Provider name; together with the account's name its identity.
    pub provider: &'static str,
    /// Name in the configuration.
    pub name: AccountName,
    /// Conversations that the configuration lists.
    pub conversations: Vec<Pinned>,
    /// Conversations that the inbox lists are followed too.
    pub discover: bool,
    /// By which road of the provider it is read; empty: the usual one.
    pub channel: &'static str,
    /// Those, and what a command follows, are stale when unverified for longer.
    pub max_interval: Duration,
    /// The day, by its calendar.
    pub today: Day,
    /// Its budget, for those who only look.
    pub budget: BudgetRow,
}

/// A conversation that the configuration lists.
#[derive(Clone, Debug)]
pub struct Pinned {
    /// The conversation.
    pub conversation: Conversation,
    /// The id that earlier releases gave it, where it was another one.
    pub formerly: Option<ConversationId>,
    /// It is stale when unverified for longer.
    pub max_interval: Duration,
}

/// A budget as it is configured.
#[derive(Clone, Debug, Default)]
pub struct BudgetRow {
    /// IANA name of the time zone by which days and months begin.
    pub time_zone: String,
    /// Requests a minute.
    pub requests_per_minute: u32,
    /// Credits of a day, where the provider bills.
    pub daily_credits: Option<u32>,
    /// Credits of a month, where they are limited.
    pub monthly_credits: Option<u32>,
}

/// Who follows a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// The configuration lists it.
    Pinned,
    /// A command follows it.
    Stored,
    /// The inbox lists it.
    Discovered,
    /// Nobody does any more.
    None,
    /// A command said so, and discovery leaves it alone.
    Unfollowed,
}

impl Follow {
    /// The word in the store and in `status`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pinned => "pinned",
            Self::Stored => "stored",
            Self::Discovered => "discovered",
            Self::None => "none",
            Self::Unfollowed => "unfollowed",
        }
    }

    pub(super) fn from_word(word: &str) -> Self {
        let all = [Self::Pinned, Self::Stored, Self::Discovered, Self::Unfollowed];
        all.into_iter().find(|follow| follow.word() == word).unwrap_or(Self::None)
    }
}

/// What the store knows of one followed conversation; see the table `conversations` for the clocks.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its row.
    pub id: SourceId,
    /// Profile of the counterpart, as the configuration or the inbox says.
    pub person_url: Option<String>,
    /// When first contact succeeded; `None` while it is still to come.
    pub first_polled_at: Option<UnixMillis>,
    /// First contact announces what is younger; `None`: what the configuration says of first polls.
    pub line: Option<UnixMillis>,
    /// Largest provider time recorded.
    pub watermark: Option<UnixMillis>,
    /// Messages up to here are history and stay silent.
    pub history_until: Option<UnixMillis>,
    /// Up to here we know we have everything.
    pub verified_until: Option<UnixMillis>,
    /// Time of the youngest message.
    pub last_message_at: Option<UnixMillis>,
    /// Last deeper look for late messages.
    pub rechecked_at: Option<UnixMillis>,
    /// Last complete poll.
    pub last_polled_at: Option<UnixMillis>,
    /// When the next poll is due.
    pub due_at: UnixMillis,
    /// Where the provider stopped collecting, until that range has been read again.
    pub lapsed_at: Option<UnixMillis>,
    /// Polls failed in a row.
    pub failures: u32,
    /// A process has not survived an answer of it: it is left alone until it is due.
    pub poisoned: bool,
    /// A sweep has shown it.
    pub swept: bool,
    /// What is missing of it.
    pub gaps: Option<OpenGaps>,
    /// Messages of it that could not be read.
    pub unread: Option<UnreadMessages>,
    /// A walk to go on with.
    pub walk: Option<Walk>,
    /// Where upkeep at the provider stands.
    pub sync: Option<SyncRow>,
}

/// An account with everything the store knows of it.
pub struct FollowedRows {
    /// Its row.
    pub id: AccountId,
    /// Its pause if it is paused.
    pub pause: Option<Pause>,
    /// The conversations that the configuration lists, in the order asked.
    pub pinned: Vec<Source>,
    /// The others that are followed.
    pub others: Vec<(Conversation, Source)>,
    /// Credits spent this month before today, and today.
    pub spent: (u64, u64),
    /// Requests a minute that the provider seemed to allow; `None`: as many as were configured.
    pub learnt_per_minute: Option<f64>,
    /// The sweeps over its inbox.
    pub folders: Vec<SweptFolder>,
    /// What was last heard of the credits that are left.
    pub balance: BalanceSeen,
}

/// The answer to [`Store::follow`], in the order asked.
pub struct Followed {
    /// Each account.
    pub accounts: Vec<FollowedRows>,
    /// Each sink's row, and how it stood.
    pub sinks: Vec<(SinkId, SinkHealth)>,
}

impl Store {
    /// Makes the store follow these accounts and conversations, beside what commands and the inbox have added, and owe new
    /// events to exactly these sinks. What is no longer followed stays in the store, unpolled; a sink seen for the first
    /// time starts from now.
    pub async fn follow(
        &self,
        accounts: Vec<FollowedAccount>,
        sinks: Vec<FollowedSink>,
        now: UnixMillis,
    ) -> Result<Followed, Error> {
        let wants: Vec<_> = sinks.iter().map(|sink| sink.wants.clone()).collect();
        // After a reload, what is read below is what the polls before have left.
        self.flush().await?;
        let followed = self.write(move |tx| follow(tx, &accounts, &sinks, now)).await?;
        let subscribers = followed.sinks.iter().zip(wants).map(|(&(sink, _), wants)| Subscriber { sink, wants });
        *self.shared.sinks.write().unwrap_or_else(PoisonError::into_inner) = Arc::from_iter(subscribers);
        let sinks = self.sinks();
        self.write(move |tx| poison::announce(Outlet { tx, sinks: &sinks, now })).await?;
        Ok(followed)
    }
}

impl Store {
    /// The row of an account, made where there is none yet.
    pub async fn account(&self, provider: &'static str, name: AccountName) -> Result<AccountId, Error> {
        self.write(move |tx| account_row(tx, provider, &name)).await
    }
}

fn follow(
    tx: &Connection,
    accounts: &[FollowedAccount],
    sinks: &[FollowedSink],
    now: UnixMillis,
) -> Result<Followed, Error> {
    // Whatever the configuration listed is nobody's now, unless it is listed again below.
    tx.execute("UPDATE conversations SET follow = 'none' WHERE follow = 'pinned'", [])?;
    tx.execute("UPDATE accounts SET configured = 0", [])?;
    let mut rows = Vec::with_capacity(accounts.len());
    for account in accounts {
        let id = account_row(tx, account.provider, &account.name)?;
        change_channel(tx, id, account.channel)?;
        let BudgetRow { time_zone, requests_per_minute, daily_credits, monthly_credits } = &account.budget;
        tx.prepare_cached(
            "UPDATE accounts SET configured = 1, discovers = ?2, time_zone = ?3, requests_per_minute = ?4,
                daily_credits = ?5, monthly_credits = ?6 WHERE id = ?1",
        )?
        .execute(params![
            id.0,
            account.discover,
            time_zone,
            requests_per_minute,
            daily_credits,
            monthly_credits
        ])?;
        let mut sources = Vec::with_capacity(account.conversations.len());
        for Pinned { conversation, formerly, max_interval } in &account.conversations {
            let source = match find_or_rename(tx, id, conversation, formerly.as_ref())? {
                Some(source) => {
                    pin(tx, source, conversation)?;
                    source
                }
                None => insert(tx, id, conversation, Follow::Pinned, now)?,
            };
            set_max_interval(tx, source, *max_interval)?;
            sources.push(source);
        }
        let mut pinned = Vec::with_capacity(sources.len());
        for source in sources {
            pinned.push(load_source(tx, source)?);
        }
        let others = load_others(tx, id, account.discover)?;
        for (_, source) in &others {
            set_max_interval(tx, source.id, account.max_interval)?;
        }
        let (pause, folders) = (accounts::load_pause(tx, id)?, sweeps::load(tx, id)?);
        let (today, month) = spending::spent(tx, id, account.today)?;
        let learnt_per_minute = tx
            .prepare_cached("SELECT learnt_per_minute FROM accounts WHERE id = ?1")?
            .query_row([id.0], |r| r.get(0))?;
        rows.push(FollowedRows {
            learnt_per_minute,
            id,
            pause,
            pinned,
            others,
            spent: (month.saturating_sub(today), today),
            folders,
            balance: balance::load(tx, id)?,
        });
    }
    tx.execute("UPDATE sinks SET configured = 0 WHERE configured = 1", [])?;
    let sinks = sinks.iter().map(|sink| sink_row(tx, sink, now)).collect::<Result<_, _>>()?;
    outbox::believe_due_times(tx, now)?;
    Ok(Followed { accounts: rows, sinks })
}

/// By another road, messages that are known may have other ids: what is not younger than the youngest of a conversation is
/// history then, so that nobody is told of it again.
fn change_channel(tx: &Connection, account: AccountId, channel: &str) -> Result<(), Error> {
    tx.prepare_cached(
        "UPDATE conversations SET history_until = max(coalesce(history_until, watermark), watermark)
         WHERE account = ?1 AND watermark IS NOT NULL
            AND EXISTS (SELECT 1 FROM accounts WHERE id = ?1 AND channel <> ?2)",
    )?
    .execute(params![account.0, channel])?;
    tx.prepare_cached("UPDATE accounts SET channel = ?2 WHERE id = ?1 AND channel <> ?2")?
        .execute(params![account.0, channel])?;
    Ok(())
}

fn account_row(tx: &Connection, provider: &str, name: &AccountName) -> Result<AccountId, Error> {
    let key = params![provider, name.as_str()];
    tx.prepare_cached("INSERT INTO accounts (provider, name) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?.execute(key)?;
    let id =
        tx.prepare_cached("SELECT id FROM accounts WHERE provider = ?1 AND name = ?2")?.query_row(key, |r| r.get(0))?;
    Ok(AccountId(id))
}

/// The row of a sink, as the configuration has it now, and how it stood.
pub(super) fn sink_row(tx: &Connection, sink: &FollowedSink, now: UnixMillis) -> Result<(SinkId, SinkHealth), Error> {
    let row = tx
        .prepare_cached(
            "INSERT INTO sinks (name, added_at, events, filter, max_pending) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (name) DO UPDATE SET configured = 1, events = ?3, filter = ?4, max_pending = ?5
             RETURNING id, failing_since, parked_at",
        )?
        .query_row(
            params![
                sink.name.as_str(),
                now.as_millis(),
                sink.wants.events.to_string(),
                sink.wants.filter_text,
                i64::try_from(sink.max_pending).unwrap_or(i64::MAX),
            ],
            |r| Ok((SinkId(r.get(0)?), SinkHealth { failing_since: millis(r.get(1)?), parked_at: millis(r.get(2)?) })),
        )?;
    Ok(row)
}

fn find(tx: &Connection, account: AccountId, conversation_id: &str) -> Result<Option<SourceId>, Error> {
    Ok(tx
        .prepare_cached("SELECT id FROM conversations WHERE account = ?1 AND conversation_id = ?2")?
        .query_row(params![account.0, conversation_id], |r| Ok(SourceId(r.get(0)?)))
        .optional()?)
}

/// The row of a conversation, which takes its new id where it has the one of an earlier release: what is known of it, it
/// keeps.
fn find_or_rename(
    tx: &Connection,
    account: AccountId,
    conversation: &Conversation,
    formerly: Option<&ConversationId>,
) -> Result<Option<SourceId>, Error> {
    let known = find(tx, account, conversation.id.as_str())?;
    let (None, Some(formerly)) = (known, formerly) else { return Ok(known) };
    let known = find(tx, account, formerly.as_str())?;
    if let Some(source) = known {
        tx.prepare_cached("UPDATE conversations SET conversation_id = ?2 WHERE id = ?1")?
            .execute(params![source.0, conversation.id.as_str()])?;
    }
    Ok(known)
}

fn pin(tx: &Connection, source: SourceId, conversation: &Conversation) -> Result<(), Error> {
    tx.prepare_cached(
        "UPDATE conversations SET follow = 'pinned', address = ?2, person_url = coalesce(?3, person_url) WHERE id = ?1",
    )?
    .execute(params![source.0, conversation.address, conversation.person_url])?;
    Ok(())
}

fn set_max_interval(tx: &Connection, source: SourceId, max_interval: Duration) -> Result<(), Error> {
    let millis = i64::try_from(max_interval.as_millis()).unwrap_or(i64::MAX);
    tx.prepare_cached("UPDATE conversations SET max_interval = ?2 WHERE id = ?1 AND max_interval IS NOT ?2")?
        .execute(params![source.0, millis])?;
    Ok(())
}

/// Writes a conversation that was not known; it is due at once.
pub(super) fn insert(
    tx: &Connection,
    account: AccountId,
    conversation: &Conversation,
    follow: Follow,
    now: UnixMillis,
) -> Result<SourceId, Error> {
    tx.prepare_cached(
        "INSERT INTO conversations (account, conversation_id, kind, due_at, follow, address, person_url)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        account.0,
        conversation.id.as_str(),
        conversation.kind.as_str(),
        now.as_millis(),
        follow.word(),
        conversation.address,
        conversation.person_url,
    ])?;
    Ok(SourceId(tx.last_insert_rowid()))
}

const COLUMNS: &str = "id, conversation_id, kind, address, person_url, first_polled_at, line, watermark, history_until,
    verified_until, last_message_at, rechecked_at, due_at, lapsed_at, failures, mark IS NOT NULL,
    last_polled_at, deaths > 0";

fn read_source(r: &rusqlite::Row<'_>) -> rusqlite::Result<(Conversation, Source)> {
    let id: String = r.get(1)?;
    let conversation = Conversation {
        address: r.get::<_, Option<String>>(3)?.unwrap_or_else(|| id.clone()),
        id: ConversationId::new(id),
        kind: ConversationType::from_word(&r.get::<_, String>(2)?),
        person_url: r.get(4)?,
    };
    let source = Source {
        id: SourceId(r.get(0)?),
        person_url: conversation.person_url.clone(),
        first_polled_at: millis(r.get(5)?),
        line: millis(r.get(6)?),
        watermark: millis(r.get(7)?),
        history_until: millis(r.get(8)?),
        verified_until: quiet::verified(millis(r.get(9)?), millis(r.get(7)?), UnixMillis::now()),
        last_message_at: millis(r.get(10)?),
        rechecked_at: millis(r.get(11)?),
        due_at: UnixMillis::from_millis(r.get(12)?),
        lapsed_at: millis(r.get(13)?),
        failures: r.get(14)?,
        swept: r.get(15)?,
        last_polled_at: millis(r.get(16)?),
        poisoned: r.get(17)?,
        gaps: None,
        unread: None,
        walk: None,
        sync: None,
    };
    Ok((conversation, source))
}

/// What an account follows beside what the configuration lists.
fn load_others(tx: &Connection, account: AccountId, discover: bool) -> Result<Vec<(Conversation, Source)>, Error> {
    let mut statement = tx.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM conversations
         WHERE account = ?1 AND (follow = 'stored' OR (?2 AND follow = 'discovered')) ORDER BY id"
    ))?;
    let rows = statement.query_map(params![account.0, discover], read_source)?;
    let mut others = rows.collect::<Result<Vec<_>, _>>()?;
    for (_, source) in &mut others {
        complete(tx, source)?;
    }
    Ok(others)
}

/// One conversation that is followed from now on.
pub(super) fn load_source(tx: &Connection, source: SourceId) -> Result<Source, Error> {
    let (_, mut loaded) = tx
        .prepare_cached(&format!("SELECT {COLUMNS} FROM conversations WHERE id = ?1"))?
        .query_row([source.0], read_source)?;
    complete(tx, &mut loaded)?;
    Ok(loaded)
}

/// What other tables know of it.
fn complete(tx: &Connection, source: &mut Source) -> Result<(), Error> {
    source.walk = walks::load_one(tx, source.id)?;
    source.sync = syncs::load_one(tx, source.id)?;
    source.gaps = gaps::open(tx, source.id)?;
    source.unread = unreadable::open(tx, source.id)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Wants;

    async fn follow(store: &Store, id: &str, formerly: Option<&str>) -> Vec<Source> {
        let conversation = Conversation {
            id: ConversationId::new(id),
            address: "https://www.linkedin.com/in/ACwAAB1".into(),
            kind: ConversationType::Standard,
            person_url: None,
        };
        let max_interval = Duration::from_secs(60);
        let pinned = Pinned { conversation, formerly: formerly.map(ConversationId::new), max_interval };
        let account = FollowedAccount {
            provider: "linkup",
            name: AccountName::new("main").unwrap(),
            conversations: vec![pinned],
            discover: false,
            channel: "",
            max_interval,
            today: crate::calendar::Calendar::default().day(UnixMillis::now()),
            budget: BudgetRow::default(),
        };
        let sink =
            FollowedSink { name: crate::model::SinkName::new("crm").unwrap(), wants: Wants::default(), max_pending: 1 };
        store.follow(vec![account], vec![sink], UnixMillis::now()).await.unwrap().accounts.remove(0).pinned
    }

    #[tokio::test]
    async fn a_conversation_whose_id_another_release_makes_otherwise_keeps_what_is_known_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("inboxd.db");
        let store = Store::open(&path).unwrap();
        let before = follow(&store, "old", None).await.remove(0);
        Connection::open(&path)
            .unwrap()
            .execute("UPDATE conversations SET watermark = 5, first_polled_at = 6", [])
            .unwrap();
        for _ in 0..2 {
            let after = follow(&store, "new", Some("old")).await.remove(0);
            assert_eq!((after.id, after.watermark), (before.id, Some(UnixMillis::from_millis(5))));
            assert!(after.first_polled_at.is_some(), "its first poll is behind it, so nothing is told again");
        }
        let other = follow(&store, "other", Some("never")).await.remove(0);
        assert_ne!(other.id, before.id);
        assert_eq!(follow(&store, "new", Some("other")).await[0].id, before.id, "a known id needs no former one");
        let rows = |id: &str| {
            let count = "SELECT count(*) FROM conversations WHERE conversation_id = ?1";
            Connection::open(&path).unwrap().query_row(count, [id], |r| r.get::<_, i64>(0)).unwrap()
        };
        assert_eq!((rows("old"), rows("new"), rows("other")), (0, 1, 1));
        store.close().await.unwrap();
    }
}
