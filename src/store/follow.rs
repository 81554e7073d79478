//! What the configuration follows, matched with what the store knows of it.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use rusqlite::{Connection, params};

use super::accounts::{self, Pause};
use super::outbox;
use super::syncs::{self, SyncRow};
use super::walks::{self, Walk};
use super::{AccountId, Error, SinkId, SourceId, Store, millis};
use crate::model::{AccountName, Conversation, SinkName};
use crate::time::UnixMillis;

/// An account as the configuration has it.
#[derive(Clone, Debug)]
pub struct FollowedAccount {
    /// Provider name; together with the account's name its identity.
    pub provider: &'static str,
    /// Name in the configuration.
    pub name: AccountName,
    /// Conversations to poll.
    pub conversations: Vec<Conversation>,
}

/// What the store knows of one followed conversation; see the table `conversations` for the clocks.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its row.
    pub id: SourceId,
    /// When first contact succeeded; `None` while it is still to come.
    pub first_polled_at: Option<UnixMillis>,
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
    /// When the next poll is due.
    pub due_at: UnixMillis,
    /// Where the provider stopped collecting, until that range has been read again.
    pub lapsed_at: Option<UnixMillis>,
    /// Polls failed in a row.
    pub failures: u32,
    /// A walk to go on with.
    pub walk: Option<Walk>,
    /// Where upkeep at the provider stands.
    pub sync: Option<SyncRow>,
}

/// The answer to [`Store::follow`], in the order asked.
pub struct Followed {
    /// Each account with its row, its pause if it is paused, and its conversations.
    pub accounts: Vec<(AccountId, Option<Pause>, Vec<Source>)>,
    /// Each sink's row.
    pub sinks: Vec<SinkId>,
}

impl Store {
    /// Makes the store follow exactly these accounts and conversations and owe new events to exactly these sinks.
    /// What is no longer named stays in the store, unpolled; a sink seen for the first time starts from now.
    pub async fn follow(
        &self,
        accounts: Vec<FollowedAccount>,
        sinks: Vec<SinkName>,
        now: UnixMillis,
    ) -> Result<Followed, Error> {
        let followed = self.write(move |tx| follow(tx, &accounts, &sinks, now)).await?;
        let owed: Arc<[SinkId]> = followed.sinks.clone().into();
        *self.shared.sinks.write().unwrap_or_else(PoisonError::into_inner) = owed;
        Ok(followed)
    }
}

fn follow(
    tx: &Connection,
    accounts: &[FollowedAccount],
    sinks: &[SinkName],
    now: UnixMillis,
) -> Result<Followed, Error> {
    let mut walks = walks::load(tx)?;
    let mut syncs = syncs::load(tx)?;
    let mut rows = Vec::with_capacity(accounts.len());
    let mut kept_accounts = Vec::new();
    for account in accounts {
        let id = account_row(tx, account)?;
        kept_accounts.push(id.0.to_string());
        let mut known = known_sources(tx, id, &mut walks, &mut syncs)?;
        let mut sources = Vec::with_capacity(account.conversations.len());
        for conversation in &account.conversations {
            sources.push(match known.remove(conversation.id.as_str()) {
                Some((source, true)) => source,
                Some((source, false)) => {
                    tx.prepare_cached("UPDATE conversations SET followed = 1 WHERE id = ?1")?.execute([source.id.0])?;
                    source
                }
                None => new_source(tx, id, conversation, now)?,
            });
        }
        for (source, followed) in known.into_values() {
            if followed {
                tx.prepare_cached("UPDATE conversations SET followed = 0 WHERE id = ?1")?.execute([source.id.0])?;
            }
        }
        rows.push((id, accounts::load_pause(tx, id)?, sources));
    }
    let others = format!(
        "UPDATE conversations SET followed = 0 WHERE followed = 1 AND account NOT IN ({})",
        kept_accounts.join(",")
    );
    tx.execute(&others, [])?;
    tx.execute("UPDATE sinks SET configured = 0 WHERE configured = 1", [])?;
    let sinks = sinks.iter().map(|name| sink_row(tx, name, now)).collect::<Result<_, _>>()?;
    outbox::believe_due_times(tx, now)?;
    Ok(Followed { accounts: rows, sinks })
}

fn account_row(tx: &Connection, account: &FollowedAccount) -> Result<AccountId, Error> {
    let key = params![account.provider, account.name.as_str()];
    tx.prepare_cached("INSERT INTO accounts (provider, name) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?.execute(key)?;
    let id =
        tx.prepare_cached("SELECT id FROM accounts WHERE provider = ?1 AND name = ?2")?.query_row(key, |r| r.get(0))?;
    Ok(AccountId(id))
}

fn sink_row(tx: &Connection, name: &SinkName, now: UnixMillis) -> Result<SinkId, Error> {
    tx.prepare_cached(
        "INSERT INTO sinks (name, added_at) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET configured = 1",
    )?
    .execute(params![name.as_str(), now.as_millis()])?;
    Ok(SinkId(tx.prepare_cached("SELECT id FROM sinks WHERE name = ?1")?.query_row([name.as_str()], |r| r.get(0))?))
}

/// Everything known of an account's conversations, by their ids, with whether each was followed until now.
fn known_sources(
    tx: &Connection,
    account: AccountId,
    walks: &mut HashMap<SourceId, Walk>,
    syncs: &mut HashMap<SourceId, SyncRow>,
) -> Result<HashMap<String, (Source, bool)>, Error> {
    let mut statement = tx.prepare_cached(
        "SELECT id, conversation_id, followed, first_polled_at, watermark, history_until, verified_until,
                last_message_at, rechecked_at, due_at, lapsed_at, failures
         FROM conversations WHERE account = ?1",
    )?;
    let rows = statement.query_map([account.0], |row| {
        let id = SourceId(row.get(0)?);
        let source = Source {
            id,
            first_polled_at: millis(row.get(3)?),
            watermark: millis(row.get(4)?),
            history_until: millis(row.get(5)?),
            verified_until: millis(row.get(6)?),
            last_message_at: millis(row.get(7)?),
            rechecked_at: millis(row.get(8)?),
            due_at: UnixMillis::from_millis(row.get(9)?),
            lapsed_at: millis(row.get(10)?),
            failures: row.get(11)?,
            walk: walks.remove(&id),
            sync: syncs.remove(&id),
        };
        Ok((row.get(1)?, (source, row.get(2)?)))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn new_source(
    tx: &Connection,
    account: AccountId,
    conversation: &Conversation,
    now: UnixMillis,
) -> Result<Source, Error> {
    let kind = serde_json::to_value(conversation.kind).ok();
    tx.prepare_cached("INSERT INTO conversations (account, conversation_id, kind, due_at) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            account.0,
            conversation.id.as_str(),
            kind.as_ref().and_then(|k| k.as_str()).unwrap_or("unknown"),
            now.as_millis()
        ])?;
    Ok(Source {
        id: SourceId(tx.last_insert_rowid()),
        first_polled_at: None,
        watermark: None,
        history_until: None,
        verified_until: None,
        last_message_at: None,
        rechecked_at: None,
        due_at: now,
        lapsed_at: None,
        failures: 0,
        walk: None,
        sync: None,
    })
}
