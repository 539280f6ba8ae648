//! The one connection that writes.

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::super::{EngineError, EngineResult, UnixMillis};
use super::failed;
use super::owners::Accepted;

#[derive(Debug)]
pub(super) struct Writer {
    connection: Connection,
    /// Why nothing is written any more. After a failed flush nobody knows what the disk has: the kernel may have
    /// dropped what it could not write, and a second attempt would succeed without it. Only what a new process reads
    /// is certain.
    poison: Option<EngineError>,
}

impl Writer {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, poison: None }
    }

    /// Writes commits, all or none: with one flush.
    pub(super) fn commit(&mut self, commits: &[Accepted<'_>]) -> EngineResult<()> {
        if commits.is_empty() {
            return Ok(());
        }
        if let Some(first) = &self.poison {
            return Err(first.clone());
        }
        self.write(commits).map_err(|error| {
            let error = failed("could not commit, and writes nothing more", &error);
            self.poison.insert(error).clone()
        })
    }

    /// As if the disk had room for no more.
    #[cfg(test)]
    pub(super) fn limit_pages(&mut self, count: i64) {
        self.connection.pragma_update(None, "max_page_count", count).unwrap();
    }

    #[cfg(test)]
    pub(super) fn total_changes(&self) -> u64 {
        self.connection.total_changes()
    }

    fn write(&mut self, commits: &[Accepted<'_>]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        commits.iter().try_for_each(|accepted| apply(&transaction, accepted))?;
        transaction.commit()
    }
}

/// An object has a row exactly as long as it holds something.
fn apply(transaction: &Transaction<'_>, Accepted { commit, key }: &Accepted<'_>) -> rusqlite::Result<()> {
    let changes = &commit.changes;
    let row = transaction
        .prepare_cached("SELECT number, name IS NULL FROM object WHERE class = ? AND id = ?")?
        .query_row(params![key.class(), key.bytes()], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, bool>(1)?))
        })
        .optional()?;
    let adds = changes.writes.values().any(Option::is_some) || matches!(changes.wake, Some(Some(_)));
    let number = match row {
        Some((number, nameless)) => {
            if nameless && key.name().is_some() {
                transaction
                    .prepare_cached("UPDATE object SET name = ? WHERE number = ?")?
                    .execute(params![key.name(), number])?;
            }
            number
        }
        None if adds => transaction
            .prepare_cached("INSERT INTO object (class, id, name) VALUES (?, ?, ?)")?
            .insert(params![key.class(), key.bytes(), key.name()])?,
        None => return Ok(()),
    };
    for range in changes.cleared.iter().filter(|range| !range.is_empty()) {
        match &range.end {
            Some(end) => transaction
                .prepare_cached("DELETE FROM kv WHERE object = ? AND key >= ? AND key < ?")?
                .execute(params![number, &range.start[..], &end[..]])?,
            None => transaction
                .prepare_cached("DELETE FROM kv WHERE object = ? AND key >= ?")?
                .execute(params![number, &range.start[..]])?,
        };
    }
    for (key, value) in &changes.writes {
        match value {
            Some(value) => transaction
                .prepare_cached("REPLACE INTO kv (object, key, value) VALUES (?, ?, ?)")?
                .execute(params![number, &key[..], &value[..]])?,
            None => transaction
                .prepare_cached("DELETE FROM kv WHERE object = ? AND key = ?")?
                .execute(params![number, &key[..]])?,
        };
    }
    if let Some(wake) = changes.wake {
        // The column ends in the year 292,278,994: later is as good as then.
        let wake = wake.map(|UnixMillis(at)| i64::try_from(at).unwrap_or(i64::MAX));
        transaction
            .prepare_cached("UPDATE object SET wake = ? WHERE number = ?")?
            .execute(params![wake, number])?;
    }
    if !adds {
        transaction
            .prepare_cached(
                "DELETE FROM object WHERE number = ?1 AND wake IS NULL \
                 AND NOT EXISTS (SELECT 1 FROM kv WHERE object = ?1)",
            )?
            .execute([number])?;
    }
    Ok(())
}
