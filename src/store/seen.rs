//! The set of recorded message ids, as a question.

use rusqlite::params;

use super::{Error, SourceId, Store};

impl Store {
    /// Whether every one of these messages of a conversation has been recorded.
    pub async fn knows_all(&self, source: SourceId, ids: Vec<String>) -> Result<bool, Error> {
        self.read(move |connection| {
            let mut statement =
                connection.prepare_cached("SELECT 1 FROM messages WHERE conversation = ?1 AND message_id = ?2")?;
            for id in ids {
                if !statement.exists(params![source.0, id])? {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await
    }
}
