//! Failures that outlive the process: paused accounts and conversations that cannot be polled.

use rusqlite::{Connection, OptionalExtension, params};

use super::announce::{Outlet, StateChange};
use super::{AccountId, Error, SourceId, Store, quiet};
use crate::model::{Change, kind};
use crate::time::UnixMillis;

/// Why and until when nothing of an account is polled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// When the account is tried again.
    pub until: UnixMillis,
    /// When the state began.
    pub since: UnixMillis,
    /// Error class.
    pub class: String,
    /// What the provider said, made safe for logs.
    pub reason: String,
    /// Tries in a row that ended like this.
    pub failures: u32,
}

pub(super) fn load_pause(tx: &Connection, account: AccountId) -> Result<Option<Pause>, Error> {
    let pause = tx
        .prepare_cached(
            "SELECT paused_until, paused_since, pause_class, pause_reason, failures FROM accounts
             WHERE id = ?1 AND paused_until IS NOT NULL",
        )?
        .query_row([account.0], |r| {
            Ok(Pause {
                until: UnixMillis::from_millis(r.get(0)?),
                since: UnixMillis::from_millis(r.get(1)?),
                class: r.get(2)?,
                reason: r.get(3)?,
                failures: r.get(4)?,
            })
        })
        .optional()?;
    Ok(pause)
}

/// The class of a pause that waits for a person; entering and leaving it is announced.
const WAITS_FOR_A_PERSON: &str = "auth";

impl Store {
    /// Records that an account is paused, or with `None` that it works again.
    pub async fn record_pause(&self, account: AccountId, pause: Option<Pause>) -> Result<(), Error> {
        let sinks = self.sinks();
        self.write(move |tx| {
            let before = load_pause(tx, account)?;
            let p = pause.as_ref();
            tx.prepare_cached(
                "UPDATE accounts SET paused_until = ?2, paused_since = ?3, pause_class = ?4, pause_reason = ?5,
                    failures = ?6 WHERE id = ?1",
            )?
            .execute(params![
                account.0,
                p.map(|p| p.until.as_millis()),
                p.map(|p| p.since.as_millis()),
                p.map(|p| p.class.as_str()),
                p.map(|p| p.reason.as_str()),
                p.map_or(0, |p| p.failures),
            ])?;
            announce(Outlet { tx, sinks: &sinks, now: UnixMillis::now() }, account, before.as_ref(), p)
        })
        .await?;
        self.deliveries().notify_waiters();
        Ok(())
    }

    /// Records a failed poll: when it is tried again and why it failed. The watermark stays.
    pub async fn record_failure(
        &self,
        source: SourceId,
        class: &'static str,
        detail: String,
        failures: u32,
        due_at: UnixMillis,
    ) -> Result<(), Error> {
        let before = self.take_quiet_poll(source);
        let written = self.write(move |tx| {
            let now = UnixMillis::now();
            // What the poll before has proved stays proved.
            quiet::write(tx, &before, now)?;
            tx.prepare_cached(
                "UPDATE conversations SET failure_class = ?2, failure_detail = ?3, failures = ?4, due_at = ?5,
                    failing_since = coalesce(failing_since, ?6) WHERE id = ?1",
            )?
            .execute(params![source.0, class, detail, failures, due_at.as_millis(), now.as_millis()])?;
            Ok(())
        });
        let written = written.await;
        if let (Err(_), Some(before)) = (&written, before) {
            self.put_back_quiet_poll(before);
        }
        written
    }
}

fn announce(outlet: Outlet<'_>, account: AccountId, before: Option<&Pause>, now: Option<&Pause>) -> Result<(), Error> {
    let waits = |pause: Option<&Pause>| pause.is_some_and(|pause| pause.class == WAITS_FOR_A_PERSON);
    let change = match (waits(before), now) {
        (false, Some(pause)) if waits(now) => StateChange {
            kind: kind::ACCOUNT_ACTION_REQUIRED,
            state: Change::Entered,
            reason: Some(&pause.class),
            since: pause.since,
            detail: &pause.reason,
        },
        (true, pause) if !waits(pause) => StateChange {
            kind: kind::ACCOUNT_RECOVERED,
            state: Change::Left,
            reason: Some(WAITS_FOR_A_PERSON),
            since: outlet.now,
            detail: "the account works again; what was written meanwhile is read now",
        },
        _ => return Ok(()),
    };
    outlet.about_account(account, change)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{AccountName, Conversation, ConversationId, ConversationType};
    use crate::store::{QuietPoll, ReadOnlyStore};

    #[tokio::test]
    async fn a_failure_keeps_what_the_poll_before_it_has_proved() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("inboxd.db");
        let store = Store::open(&path).unwrap();
        let account = store.account("linkup", AccountName::new("leads").unwrap()).await.unwrap();
        let conversation = Conversation {
            id: ConversationId::new("2-A"),
            address: "2-A".into(),
            kind: ConversationType::Standard,
            person_url: None,
        };
        let followed = store.follow_conversation(account, conversation, Duration::from_secs(60)).await.unwrap();
        let source = followed.unwrap().id;
        let proved = UnixMillis::now() - Duration::from_secs(5);
        let quiet =
            QuietPoll { source, polled_at: proved, verified_until: Some(proved), lapsed_at: None, due_at: proved };
        store.record_quiet_poll(quiet);
        let due_at = UnixMillis::now() + Duration::from_secs(60);
        store.record_failure(source, "transient", "status 503".into(), 1, due_at).await.unwrap();
        let overview = ReadOnlyStore::open(&path).unwrap().overview().unwrap();
        let shown = &overview.accounts[0].conversations[0];
        assert_eq!((shown.verified_until, shown.failures), (Some(proved), 1));
        assert!(shown.failing_since.is_some());
    }
}
