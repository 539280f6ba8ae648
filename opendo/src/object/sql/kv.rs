//! The object's keys and values, in two tables of its database that are ours.

use std::collections::BTreeMap;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

#[cfg(test)]
use crate::engine::UnixMillis;
use crate::engine::{Changes, KeyRange};

// Each statement here mentions one of our names: the cache of statements relies on it.

pub(super) const SCHEMA: &str = "
    CREATE TABLE _opendo_kv(key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE _opendo_meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
";

/// When the object is to be woken.
pub(super) const WAKE: &str = "wake";
/// How many migrations were run.
pub(super) const MIGRATIONS: &str = "migrations";

pub(super) fn apply(connection: &Connection, changes: &Changes) -> rusqlite::Result<()> {
    for range in &changes.cleared {
        match &range.end {
            Some(end) => {
                let sql = "DELETE FROM _opendo_kv WHERE key >= ?1 AND key < ?2";
                connection.prepare_cached(sql)?.execute(params![&range.start[..], &end[..]])?
            }
            None => {
                let sql = "DELETE FROM _opendo_kv WHERE key >= ?1";
                connection.prepare_cached(sql)?.execute([&range.start[..]])?
            }
        };
    }
    let mut put = connection.prepare_cached("INSERT OR REPLACE INTO _opendo_kv VALUES (?1, ?2)")?;
    let mut delete = connection.prepare_cached("DELETE FROM _opendo_kv WHERE key = ?1")?;
    for (key, value) in changes.writes.iter() {
        match value {
            Some(value) => put.execute(params![&key[..], &value[..]])?,
            None => delete.execute([&key[..]])?,
        };
    }
    if let Some(wake) = changes.wake {
        set(connection, WAKE, wake.map(|wake| i64::try_from(wake.0).unwrap_or(i64::MAX)))?;
    }
    Ok(())
}

pub(super) fn get(connection: &Connection, keys: &[Bytes]) -> rusqlite::Result<Vec<Option<Bytes>>> {
    let mut one = connection.prepare_cached("SELECT value FROM _opendo_kv WHERE key = ?1")?;
    let mut value = |key: &Bytes| one.query_row([&key[..]], |row| bytes(row, 0)).optional();
    keys.iter().map(&mut value).collect()
}

pub(super) fn list(
    connection: &Connection,
    range: &KeyRange,
    reverse: bool,
    limit: usize,
) -> rusqlite::Result<Vec<(Bytes, Bytes)>> {
    let sql = match (&range.end, reverse) {
        (Some(_), false) => "SELECT * FROM _opendo_kv WHERE key >= ?1 AND key < ?3 ORDER BY key LIMIT ?2",
        (Some(_), true) => "SELECT * FROM _opendo_kv WHERE key >= ?1 AND key < ?3 ORDER BY key DESC LIMIT ?2",
        (None, false) => "SELECT * FROM _opendo_kv WHERE key >= ?1 ORDER BY key LIMIT ?2",
        (None, true) => "SELECT * FROM _opendo_kv WHERE key >= ?1 ORDER BY key DESC LIMIT ?2",
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(sql)?;
    let pair = |row: &rusqlite::Row<'_>| Ok((bytes(row, 0)?, bytes(row, 1)?));
    match &range.end {
        Some(end) => statement.query_map(params![&range.start[..], limit, &end[..]], pair)?.collect(),
        None => statement.query_map(params![&range.start[..], limit], pair)?.collect(),
    }
}

/// Everything, if it is not more than `most` bytes.
pub(super) fn load(connection: &Connection, most: usize) -> rusqlite::Result<Option<BTreeMap<Bytes, Bytes>>> {
    let mut statement = connection.prepare_cached("SELECT * FROM _opendo_kv")?;
    let mut rows = statement.query([])?;
    let (mut values, mut size) = (BTreeMap::new(), 0);
    while let Some(row) = rows.next()? {
        size += row.get_ref(0)?.as_blob()?.len() + row.get_ref(1)?.as_blob()?.len();
        if size > most {
            return Ok(None);
        }
        values.insert(bytes(row, 0)?, bytes(row, 1)?);
    }
    Ok(Some(values))
}

#[cfg(test)]
pub(super) fn wake(connection: &Connection) -> rusqlite::Result<Option<UnixMillis>> {
    Ok(meta(connection, WAKE)?.and_then(|at| u64::try_from(at).ok()).map(UnixMillis))
}

pub(super) fn meta(connection: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    let mut one = connection.prepare_cached("SELECT value FROM _opendo_meta WHERE name = ?1")?;
    one.query_row([name], |row| row.get(0)).optional()
}

pub(super) fn set(connection: &Connection, name: &str, value: Option<i64>) -> rusqlite::Result<()> {
    match value {
        Some(value) => connection
            .prepare_cached("INSERT OR REPLACE INTO _opendo_meta VALUES (?1, ?2)")?
            .execute(params![name, value])?,
        None => connection.prepare_cached("DELETE FROM _opendo_meta WHERE name = ?1")?.execute([name])?,
    };
    Ok(())
}

/// Which entries of the schema are neither SQLite's nor ours. No LIKE: users may change what it does.
const OF_USERS: &str = "substr(name, 1, 7) <> 'sqlite_' AND substr(name, 1, 8) <> '_opendo_'";

/// Drops everything that users made. The keys are the ledger's.
pub(super) fn clear(connection: &Connection) -> rusqlite::Result<()> {
    // Rows that refer to a table that goes first are violations until their own has gone too.
    connection.execute_batch("PRAGMA defer_foreign_keys = ON /* _opendo_ */")?;
    // A virtual table takes the tables that it is made of along.
    let sql = format!(
        "SELECT type, name FROM sqlite_schema WHERE type IN ('table', 'view') AND {OF_USERS}
        ORDER BY type = 'table', substr(sql, 1, 14) <> 'CREATE VIRTUAL'"
    );
    let user: Vec<(String, String)> = connection
        .prepare_cached(&sql)?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for (kind, name) in user {
        connection.execute_batch(&format!("DROP {kind} IF EXISTS \"{}\"", name.replace('"', "\"\"")))?;
    }
    set(connection, MIGRATIONS, None)
}

/// Whether nothing would be missed.
pub(super) fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    let sql = format!(
        "SELECT NOT EXISTS (SELECT 1 FROM _opendo_kv) AND NOT EXISTS (SELECT 1 FROM _opendo_meta)
        AND NOT EXISTS (SELECT 1 FROM sqlite_schema WHERE {OF_USERS})"
    );
    connection.prepare_cached(&sql)?.query_row([], |row| row.get(0))
}

fn bytes(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Bytes> {
    Ok(Bytes::copy_from_slice(row.get_ref(column)?.as_blob()?))
}
