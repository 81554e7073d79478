//! The schema and its upgrades: numbered SQL files, forward only; the number is SQLite's `user_version`.

use std::path::Path;

use rusqlite::Connection;
use rusqlite_migration::{M, Migrations};

use super::error::{Error, OpenError, refused};

/// Marks a file as ours ("inbx"), in the header field that SQLite keeps for this.
const APPLICATION_ID: i64 = 0x696e_6278;

const STEPS: &[M<'_>] = &[
    M::up(include_str!("../../migrations/0001_initial.sql")),
    M::up(include_str!("../../migrations/0002_inbox_coverage_credits.sql")).foreign_key_check(),
    M::up(include_str!("../../migrations/0003_deliveries.sql")).foreign_key_check(),
    M::up(include_str!("../../migrations/0004_budgets.sql")).foreign_key_check(),
    M::up(include_str!("../../migrations/0005_true_to_the_world.sql")).foreign_key_check(),
    M::up(include_str!("../../migrations/0006_bad_company.sql")).foreign_key_check(),
];
const MIGRATIONS: Migrations<'_> = Migrations::from_slice(STEPS);

/// The newest schema this program knows.
pub(super) const SCHEMA: i64 = STEPS.len() as i64;

/// Refuses a file that is not ours, damaged, or newer than this program.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let corrupt = |problem: String| OpenError::Corrupt {
        path: path.display().to_string(),
        problem,
        remedy: "check store.url, restore it from a backup, or move it away to start afresh",
    };
    let pragma = |name: &str| -> Result<i64, OpenError> {
        connection.pragma_query_value(None, name, |row| row.get(0)).map_err(|e| refused(path, e.into()))
    };
    if pragma("application_id")? != APPLICATION_ID {
        return Err(corrupt("is an SQLite database of another program".into()));
    }
    let found = pragma("user_version")?;
    if found > SCHEMA {
        return Err(OpenError::Newer { path: path.display().to_string(), found, known: SCHEMA });
    }
    Ok(())
}

/// Refuses a file that has to be upgraded first, for whoever may not write.
pub(super) fn check_current(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let found = connection.pragma_query_value(None, "user_version", |row| row.get(0));
    match found.map_err(|e| refused(path, e.into()))? {
        found if found < SCHEMA => Err(OpenError::Older { path: path.display().to_string(), found }),
        _ => Ok(()),
    }
}

/// Whether what was removed from the file is still in it: releases up to schema 5 did not overwrite it.
pub(super) fn leaves_text_in_free_pages(connection: &Connection) -> Result<bool, Error> {
    const LAST_THAT_LEFT_IT: i64 = 5;
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let schema = pragma("user_version")?;
    Ok((1..=LAST_THAT_LEFT_IT).contains(&schema))
}

/// Marks a new file as ours.
pub(super) fn claim(connection: &Connection) -> Result<(), Error> {
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    Ok(())
}

/// Brings the file to the newest schema, each step in one transaction.
pub(super) fn upgrade(connection: &mut Connection) -> Result<(), Error> {
    // A table that others refer to can be made anew only while nobody checks; each step checks at its end.
    connection.pragma_update(None, "foreign_keys", false)?;
    let upgraded = MIGRATIONS.to_latest(connection).map_err(|error| match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => Error::from(err),
        other => Error::from(rusqlite::Error::ToSqlConversionFailure(Box::new(other))),
    });
    connection.pragma_update(None, "foreign_keys", true)?;
    upgraded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_applies_to_an_empty_file_and_applying_it_again_changes_nothing() {
        let mut connection = Connection::open_in_memory().unwrap();
        upgrade(&mut connection).unwrap();
        let dump = |c: &Connection| -> Vec<String> {
            let mut statement = c.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name").unwrap();
            statement.query_map([], |r| r.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
        };
        let first = dump(&connection);
        upgrade(&mut connection).unwrap();
        assert_eq!(first, dump(&connection));
        assert!(first.len() > 10);
    }
}
