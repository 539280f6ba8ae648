//! The connections that read, beside the one that writes: each read sees one committed state.

use std::collections::BTreeMap;
use std::num::NonZeroI64;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use rusqlite::types::{FromSql, FromSqlResult, ValueRef};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::super::{EAGER, EngineResult, KeyRange, UnixMillis};
use super::failed;
use super::open::Database;
use super::owners::Row;
use crate::object::id::ObjectKey;
use crate::object::name::Name;

#[derive(Debug)]
pub(super) struct Readers {
    database: Database,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn new(database: Database) -> Self {
        Self { database, idle: Mutex::default() }
    }

    /// Reads in a blocking task. A connection that failed is not used again.
    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> EngineResult<T> {
        let idle = self.idle.lock().pop();
        let read = || {
            let mut connection = idle.map_or_else(|| self.database.reader(), Ok)?;
            let snapshot = connection.transaction()?;
            let found = work(&snapshot)?;
            snapshot.finish()?;
            self.idle.lock().push(connection);
            Ok(found)
        };
        read().map_err(|error| failed("could not read", &error))
    }
}

fn number(snapshot: &Transaction<'_>, object: &ObjectKey) -> rusqlite::Result<Option<(i64, Option<Name>)>> {
    snapshot
        .prepare_cached("SELECT number, name FROM object WHERE class = ? AND id = ?")?
        .query_row(params![object.class(), object.bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

impl FromSql for Name {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str().map(Self::from)
    }
}

fn bytes(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Bytes> {
    Ok(row.get::<_, Vec<u8>>(column)?.into())
}

fn pair(row: &rusqlite::Row<'_>) -> rusqlite::Result<(Bytes, Bytes)> {
    Ok((bytes(row, 0)?, bytes(row, 1)?))
}

fn as_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// What there is of an object.
#[derive(Default)]
pub(super) struct Loaded {
    pub(super) row: Row,
    pub(super) name: Option<Name>,
    /// What it holds, if that is little.
    pub(super) values: Option<BTreeMap<Bytes, Bytes>>,
}

pub(super) fn load(snapshot: &Transaction<'_>, object: &ObjectKey) -> rusqlite::Result<Loaded> {
    let Some((number, name)) = number(snapshot, object)? else {
        return Ok(Loaded { values: Some(BTreeMap::new()), ..Loaded::default() });
    };
    let row = Row { number: NonZeroI64::new(number), is_named: name.is_some() };
    let mut statement = snapshot.prepare_cached("SELECT key, value FROM kv WHERE object = ?")?;
    let (mut rows, mut values, mut size) = (statement.query([number])?, BTreeMap::new(), 0);
    while let Some(found) = rows.next()? {
        size += found.get_ref(0)?.as_blob()?.len() + found.get_ref(1)?.as_blob()?.len();
        if size > EAGER {
            return Ok(Loaded { row, name, values: None });
        }
        let (key, value) = pair(found)?;
        values.insert(key, value);
    }
    Ok(Loaded { row, name, values: Some(values) })
}

pub(super) fn get(
    snapshot: &Transaction<'_>,
    object: &ObjectKey,
    keys: &[Bytes],
) -> rusqlite::Result<Vec<Option<Bytes>>> {
    let Some((number, _)) = number(snapshot, object)? else { return Ok(vec![None; keys.len()]) };
    let mut statement = snapshot.prepare_cached("SELECT value FROM kv WHERE object = ? AND key = ?")?;
    keys.iter()
        .map(|key| statement.query_row(params![number, &key[..]], |row| bytes(row, 0)).optional())
        .collect()
}

pub(super) fn list(
    snapshot: &Transaction<'_>,
    object: &ObjectKey,
    range: &KeyRange,
    reverse: bool,
    limit: usize,
) -> rusqlite::Result<Vec<(Bytes, Bytes)>> {
    let Some((number, _)) = number(snapshot, object)? else { return Ok(Vec::new()) };
    let order = if reverse { "DESC" } else { "ASC" };
    let (start, limit) = (&range.start[..], as_limit(limit));
    let select = "SELECT key, value FROM kv WHERE object = ?1 AND key >= ?2";
    match &range.end {
        Some(end) => snapshot
            .prepare_cached(&format!("{select} AND key < ?4 ORDER BY key {order} LIMIT ?3"))?
            .query_map(params![number, start, limit, &end[..]], pair)?
            .collect(),
        None => snapshot
            .prepare_cached(&format!("{select} ORDER BY key {order} LIMIT ?3"))?
            .query_map(params![number, start, limit], pair)?
            .collect(),
    }
}

pub(super) fn objects(
    snapshot: &Transaction<'_>,
    class: &Arc<str>,
    after: Option<[u8; 32]>,
    limit: usize,
) -> rusqlite::Result<Vec<ObjectKey>> {
    let after: &[u8] = after.as_ref().map_or(&[], |after| after); // nothing is before every id
    snapshot
        .prepare_cached("SELECT id, name FROM object WHERE class = ? AND id > ? ORDER BY id LIMIT ?")?
        .query_map(params![&**class, after, as_limit(limit)], |row| {
            Ok(ObjectKey::kept(class.clone(), row.get(0)?, row.get(1)?))
        })?
        .collect()
}

pub(super) fn wakes(
    snapshot: &Transaction<'_>,
    from: UnixMillis,
    limit: usize,
) -> rusqlite::Result<Vec<(UnixMillis, ObjectKey)>> {
    snapshot
        .prepare_cached(
            "SELECT wake, class, id, name FROM object WHERE wake >= ? ORDER BY wake, number LIMIT ?",
        )?
        .query_map((i64::try_from(from.0).unwrap_or(i64::MAX), as_limit(limit)), |row| {
            let at = UnixMillis(row.get::<_, i64>(0)?.unsigned_abs()); // never negative
            Ok((at, ObjectKey::kept(row.get(1)?, row.get(2)?, row.get(3)?)))
        })?
        .collect()
}
