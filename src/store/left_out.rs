//! The parts of an inbox that are there and not listed, for those who only look.

use rusqlite::{Connection, params};

use super::{AccountId, Error, Store};

impl Store {
    /// Replaces what is known of them.
    pub async fn record_left_out(&self, account: AccountId, folders: Vec<String>) -> Result<(), Error> {
        self.write(move |tx| {
            tx.prepare_cached("DELETE FROM left_out_folders WHERE account = ?1")?.execute([account.0])?;
            let mut insert = tx.prepare_cached(
                "INSERT INTO left_out_folders (account, folder) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            )?;
            for folder in folders {
                insert.execute(params![account.0, folder])?;
            }
            Ok(())
        })
        .await
    }
}

pub(super) fn load(tx: &Connection, account: i64) -> rusqlite::Result<Vec<String>> {
    let mut statement = tx.prepare_cached("SELECT folder FROM left_out_folders WHERE account = ?1 ORDER BY folder")?;
    statement.query_map([account], |r| r.get(0))?.collect()
}
