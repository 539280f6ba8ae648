//! The one connection that writes.

use std::num::NonZeroI64;

use rusqlite::{CachedStatement, Connection, Params, Transaction, TransactionBehavior, params};

use super::super::{EngineError, EngineResult, UnixMillis};
use super::failed;
use super::owners::{Accepted, Row};

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

    /// Writes commits, all or none: with one flush. Says what has become of their rows.
    pub(super) fn commit(&mut self, commits: &mut [Accepted<'_>]) -> EngineResult<()> {
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

    fn write(&mut self, commits: &mut [Accepted<'_>]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut statements = Statements::of(&transaction)?;
        commits.iter_mut().try_for_each(|accepted| statements.apply(accepted))?;
        drop(statements);
        transaction.commit()
    }
}

/// What a batch is written with. The most common one is looked up once for all of it.
struct Statements<'a> {
    transaction: &'a Transaction<'a>,
    put: CachedStatement<'a>,
}

impl<'a> Statements<'a> {
    fn of(transaction: &'a Transaction<'a>) -> rusqlite::Result<Self> {
        let put = transaction.prepare_cached("REPLACE INTO kv (object, key, value) VALUES (?, ?, ?)")?;
        Ok(Self { transaction, put })
    }

    fn run(&self, sql: &str, params: impl Params) -> rusqlite::Result<usize> {
        self.transaction.prepare_cached(sql)?.execute(params)
    }

    /// An object has a row exactly as long as it holds something.
    fn apply(&mut self, accepted: &mut Accepted<'_>) -> rusqlite::Result<()> {
        let Accepted { commit, row, name } = accepted;
        let name = name.as_deref();
        let changes = &commit.changes;
        let adds =
            changes.writes.iter().any(|(_, value)| value.is_some()) || matches!(changes.wake, Some(Some(_)));
        let number = match row.number {
            Some(number) => {
                let number = number.get();
                if name.is_some() {
                    self.run("UPDATE object SET name = ? WHERE number = ?", params![name, number])?;
                }
                number
            }
            None if adds => {
                let object = &commit.object;
                self.transaction
                    .prepare_cached("INSERT INTO object (class, id, name) VALUES (?, ?, ?)")?
                    .insert(params![object.class(), object.bytes(), name])?
            }
            None => return Ok(()),
        };
        *row = Row { number: NonZeroI64::new(number), is_named: row.is_named || name.is_some() };
        for range in changes.cleared.iter().filter(|range| !range.is_empty()) {
            let start = &range.start[..];
            match &range.end {
                Some(end) => self.run(
                    "DELETE FROM kv WHERE object = ? AND key >= ? AND key < ?",
                    params![number, start, &end[..]],
                )?,
                None => self.run("DELETE FROM kv WHERE object = ? AND key >= ?", params![number, start])?,
            };
        }
        for (key, value) in changes.writes.iter() {
            match value {
                Some(value) => {
                    self.put.raw_bind_parameter(1, number)?;
                    self.put.raw_bind_parameter(2, &key[..])?;
                    self.put.raw_bind_parameter(3, &value[..])?;
                    self.put.raw_execute()?
                }
                None => self.run("DELETE FROM kv WHERE object = ? AND key = ?", params![number, &key[..]])?,
            };
        }
        if let Some(wake) = changes.wake {
            // The column ends in the year 292,278,994: later is as good as then.
            let wake = wake.map(|UnixMillis(at)| i64::try_from(at).unwrap_or(i64::MAX));
            self.run("UPDATE object SET wake = ? WHERE number = ?", params![wake, number])?;
        }
        if !adds {
            let deleted = self.run(
                "DELETE FROM object WHERE number = ?1 AND wake IS NULL \
                 AND NOT EXISTS (SELECT 1 FROM kv WHERE object = ?1)",
                [number],
            )?;
            if deleted > 0 {
                *row = Row::default();
            }
        }
        Ok(())
    }
}
