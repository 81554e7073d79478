//! The store alone: one new message a poll, recorded with its event and one delivery, synchronous=FULL.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use inboxd::calendar::Calendar;
use inboxd::model::{
    AccountName, Conversation, ConversationId, ConversationType, Direction, Message, MessageId, Route, Sender, SinkName,
};
use inboxd::store::{
    Announce, BudgetRow, FollowedAccount, FollowedSink, Pinned, PollRecord, ReadOnlyStore, SourceId, Store, Tail, Wants,
};
use inboxd::time::UnixMillis;
use tokio::task::JoinSet;

use crate::table::{Pair, Table, median};

/// Short and often: what a sync costs on a shared disk changes from second to second.
const WINDOW: Duration = Duration::from_millis(500);
const ROUNDS: usize = 9;

const TEXT: &str = "Thanks for the offer; shall we talk it over on Thursday, at nine or at half past two?";

/// `record_poll` by one caller and by many, beside the smallest transaction that keeps a message.
pub(crate) async fn commits(table: &mut Table, folder: &Path) -> Result<()> {
    let (mut alone, mut together, mut groups): (Vec<Pair>, Vec<Pair>, Vec<f64>) = Default::default();
    for _ in 0..ROUNDS {
        let plain = {
            let folder = tempfile::tempdir_in(folder)?;
            let path = folder.path().join("plain.db");
            tokio::task::spawn_blocking(move || plain(&path)).await??
        };
        alone.push((Some(record(folder, 1).await?.0), Some(plain)));
        let (rate, group) = record(folder, CALLERS).await?;
        together.push((Some(rate), Some(plain)));
        groups.push(group);
    }
    table.row("store, one caller", "commits/s, FULL", alone);
    table.row(format!("store, {CALLERS} callers"), "commits/s, FULL", together);
    if let Some((_, group, _)) = median(groups) {
        table.remark(format!("store: {CALLERS} callers share a transaction, {group:.0} polls in each"));
    }
    table.remark("store: synchronous=FULL on both sides; bare is one INSERT a transaction, with rusqlite");
    Ok(())
}

const CALLERS: usize = 64;

/// Polls recorded per second, and how many of them went into one transaction.
async fn record(folder: &Path, callers: usize) -> Result<(f64, f64)> {
    let folder = tempfile::tempdir_in(folder)?;
    let store = Store::open(&folder.path().join("inboxd.db"))?;
    let account = AccountName::new("bench")?;
    let conversations: Vec<_> = (0..callers).map(conversation).collect();
    let followed = FollowedAccount {
        today: Calendar::default().day(UnixMillis::now()),
        budget: BudgetRow::default(),
        provider: "bench",
        name: account.clone(),
        conversations: conversations.iter().map(|c| pinned(c, Duration::from_secs(60))).collect(),
        discover: false,
        channel: "",
        max_interval: Duration::from_secs(60),
    };
    let sink = FollowedSink { name: SinkName::new("sink")?, wants: Wants::default(), max_pending: u64::MAX };
    let known = store.follow(vec![followed], vec![sink], UnixMillis::now()).await?;
    let sources = known.accounts.into_iter().next().context("the store follows no account")?.pinned;
    let (groups, began) = (store.commits(), Instant::now());
    let mut tasks = JoinSet::new();
    for (source, conversation) in sources.into_iter().zip(conversations) {
        let (store, account, conversation) = (store.clone(), account.clone(), Arc::new(conversation));
        tasks.spawn(async move {
            let mut recorded = 0_u64;
            while began.elapsed() < WINDOW {
                let poll = poll(source.id, &account, &conversation, recorded);
                recorded += u64::from(store.record_poll(poll).await?.announced);
            }
            anyhow::Ok(recorded)
        });
    }
    let mut recorded = 0;
    while let Some(ended) = tasks.join_next().await {
        recorded += ended??;
    }
    let seconds = began.elapsed().as_secs_f64();
    let groups = store.commits() - groups;
    store.close().await?;
    Ok((recorded as f64 / seconds, recorded as f64 / groups as f64))
}

fn conversation(number: usize) -> Conversation {
    let urn = format!("urn:li:msg_conversation:{number}");
    Conversation {
        id: ConversationId::new(urn.clone()),
        address: urn,
        kind: ConversationType::Standard,
        person_url: None,
    }
}

fn poll(source: SourceId, account: &AccountName, conversation: &Arc<Conversation>, number: u64) -> PollRecord {
    let now = UnixMillis::now();
    let message = Message {
        id: MessageId::new(format!("2-{number:040}")),
        direction: Direction::Inbound,
        sent_at: Some(now),
        sender: Sender { id: None, name: Some("Ada Byron".into()), profile_url: None },
        text: TEXT.into(),
        subject: None,
        quoted: None,
        forwarded: None,
        attachments: vec![],
        flags: vec![],
        unannounced: false,
        raw: None,
    };
    PollRecord {
        source,
        provider: "bench",
        account: account.clone(),
        conversation: Arc::clone(conversation),
        title: None,
        messages: vec![message],
        announce: Announce::New { route: Route::Poll, history_until: None },
        polled_at: now,
        verified_until: Some(now),
        recheck: false,
        lapsed_at: None,
        ends_walk: false,
        mark: None,
        covers_gaps_from: None,
        read_from: None,
        unreadable: Default::default(),
        due: Box::new(move |_| now + Duration::from_secs(60)),
    }
}

/// Messages kept per second with one INSERT a transaction.
fn plain(path: &Path) -> Result<f64> {
    let connection = rusqlite::Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute("CREATE TABLE messages (id TEXT PRIMARY KEY, sent_at INTEGER, text TEXT) WITHOUT ROWID", [])?;
    let mut insert = connection.prepare("INSERT INTO messages VALUES (?1, ?2, ?3)")?;
    let (began, mut kept) = (Instant::now(), 0_u64);
    while began.elapsed() < WINDOW {
        insert.execute(rusqlite::params![format!("2-{kept:040}"), UnixMillis::now().as_millis(), TEXT])?;
        kept += 1;
    }
    Ok(kept as f64 / began.elapsed().as_secs_f64())
}

/// A database in which so many conversations have so many events each, all of them owed to a sink named "sink"; returns the
/// events' bytes.
pub(crate) async fn outbox(path: &Path, conversations: usize, each: usize) -> Result<Vec<String>> {
    let store = Store::open(path)?;
    let account = AccountName::new("bench")?;
    let conversations: Vec<_> = (0..conversations).map(conversation).collect();
    let minute = Duration::from_secs(60);
    let followed = FollowedAccount {
        today: Calendar::default().day(UnixMillis::now()),
        budget: BudgetRow::default(),
        provider: "bench",
        name: account.clone(),
        conversations: conversations.iter().map(|c| pinned(c, minute)).collect(),
        discover: false,
        channel: "",
        max_interval: minute,
    };
    let sink = FollowedSink { name: SinkName::new("sink")?, wants: Wants::default(), max_pending: u64::MAX };
    let known = store.follow(vec![followed], vec![sink], UnixMillis::now()).await?;
    let sources = known.accounts.into_iter().next().context("the store follows no account")?.pinned;
    let conversations: Vec<_> = conversations.into_iter().map(Arc::new).collect();
    let total = conversations.len() * each;
    for round in 0..each {
        let mut tasks = JoinSet::new();
        for (source, conversation) in sources.iter().zip(&conversations) {
            let poll = poll(source.id, &account, conversation, round as u64);
            let store = store.clone();
            tasks.spawn(async move { store.record_poll(poll).await });
        }
        while let Some(recorded) = tasks.join_next().await {
            recorded??;
        }
    }
    store.close().await?;
    let events = ReadOnlyStore::open(path)?.tail(Tail::Last(u32::try_from(total)?))?;
    Ok(events.into_iter().map(|event| event.body).collect())
}

fn pinned(conversation: &Conversation, max_interval: Duration) -> Pinned {
    Pinned { conversation: conversation.clone(), formerly: None, max_interval }
}
