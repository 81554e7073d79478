//! What an operator changes by command: which conversations are followed, and from where one is read again.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::follow::{Follow, insert, load_source};
use super::{AccountId, Error, Source, SourceId, Store, walks};
use crate::model::Conversation;
use crate::time::UnixMillis;

/// Why a command changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is followed.
    #[error("is followed already")]
    Followed,
    /// The configuration lists it.
    #[error("is listed in the configuration; remove it there")]
    Pinned,
    /// Nobody follows it.
    #[error("is not followed")]
    NotFollowed,
    /// It has not been read yet.
    #[error("has not been read yet: there is nothing to go back over")]
    NeverRead,
}

impl Store {
    /// Follows a conversation from now on, whatever the inbox lists.
    pub async fn follow_conversation(
        &self,
        account: AccountId,
        conversation: Conversation,
        max_interval: Duration,
    ) -> Result<Result<Source, Refused>, Error> {
        self.write(move |tx| {
            let source = match find(tx, account, conversation.id.as_str())? {
                Some((_, Follow::Pinned | Follow::Stored)) => return Ok(Err(Refused::Followed)),
                Some((source, Follow::Discovered | Follow::None | Follow::Unfollowed)) => source,
                None => insert(tx, account, &conversation, Follow::Stored, UnixMillis::now())?,
            };
            tx.prepare_cached(
                "UPDATE conversations SET follow = 'stored', address = ?2, person_url = coalesce(?3, person_url),
                    max_interval = ?4 WHERE id = ?1",
            )?
            .execute(params![
                source.0,
                conversation.address,
                conversation.person_url,
                i64::try_from(max_interval.as_millis()).unwrap_or(i64::MAX),
            ])?;
            Ok(Ok(load_source(tx, source)?))
        })
        .await
    }

    /// Follows a conversation no more; discovery leaves it alone too. Everything known of it is kept.
    pub async fn unfollow_conversation(
        &self,
        account: AccountId,
        conversation_id: String,
    ) -> Result<Result<SourceId, Refused>, Error> {
        self.write(move |tx| {
            Ok(match find(tx, account, &conversation_id)? {
                Some((_, Follow::Pinned)) => Err(Refused::Pinned),
                Some((source, Follow::Stored | Follow::Discovered)) => {
                    tx.prepare_cached("UPDATE conversations SET follow = 'unfollowed' WHERE id = ?1")?
                        .execute([source.0])?;
                    Ok(source)
                }
                _ => Err(Refused::NotFollowed),
            })
        })
        .await
    }

    /// Sets the watermark of a conversation back, so that the next poll reads everything from there on. What nobody was
    /// told of is forgotten and announced when it is read; what was announced stays announced.
    pub async fn rewind(
        &self,
        account: AccountId,
        conversation_id: String,
        to: UnixMillis,
    ) -> Result<Result<Source, Refused>, Error> {
        // What is noted of earlier polls must not come behind it.
        self.flush().await?;
        self.write(move |tx| {
            let Some((source, Follow::Pinned | Follow::Stored | Follow::Discovered)) =
                find(tx, account, &conversation_id)?
            else {
                return Ok(Err(Refused::NotFollowed));
            };
            let read: bool = tx
                .prepare_cached("SELECT first_polled_at IS NOT NULL FROM conversations WHERE id = ?1")?
                .query_row([source.0], |r| r.get(0))?;
            if !read {
                return Ok(Err(Refused::NeverRead));
            }
            walks::forget(tx, source)?;
            tx.prepare_cached(
                "DELETE FROM messages WHERE conversation = ?1 AND event IS NULL AND (sent_at IS NULL OR sent_at > ?2)",
            )?
            .execute(params![source.0, to.as_millis()])?;
            tx.prepare_cached(
                "UPDATE conversations SET watermark = min(coalesce(watermark, ?2), ?2),
                    history_until = CASE WHEN history_until > ?2 THEN ?2 ELSE history_until END,
                    verified_until = CASE WHEN verified_until > ?2 THEN ?2 ELSE verified_until END,
                    due_at = ?3, failures = 0, failing_since = NULL, failure_class = NULL, failure_detail = NULL
                 WHERE id = ?1",
            )?
            .execute(params![source.0, to.as_millis(), UnixMillis::now().as_millis()])?;
            Ok(Ok(load_source(tx, source)?))
        })
        .await
    }
}

fn find(tx: &Connection, account: AccountId, conversation_id: &str) -> Result<Option<(SourceId, Follow)>, Error> {
    Ok(tx
        .prepare_cached("SELECT id, follow FROM conversations WHERE account = ?1 AND conversation_id = ?2")?
        .query_row(params![account.0, conversation_id], |r| {
            Ok((SourceId(r.get(0)?), Follow::from_word(&r.get::<_, String>(1)?)))
        })
        .optional()?)
}
