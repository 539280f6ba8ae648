//! How the engine's keys of an object are divided: the user's, and those of the framework, by their first byte.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::engine::{KeyRange, UnixMillis};
use crate::object::storage::ledger::Timer;
use crate::object::storage::{MAX_KEY, StorageError};

const USER: u8 = b'u';
/// The alarm and schedules.
const TIMER: u8 = b't';

/// Of an object that keeps its state itself, in the engine: that it has one.
const OWN: u8 = b's';

/// See [`OWN`].
pub(super) fn own() -> Bytes {
    Bytes::from_static(&[OWN])
}

fn all_of(space: u8) -> KeyRange {
    KeyRange { start: Bytes::copy_from_slice(&[space]), end: Some(Bytes::copy_from_slice(&[space + 1])) }
}

fn key(space: u8, name: &[u8]) -> Bytes {
    let mut key = BytesMut::with_capacity(1 + name.len());
    key.put_u8(space);
    key.put_slice(name);
    key.freeze()
}

/// Every key of the user's.
pub(super) fn user() -> KeyRange {
    all_of(USER)
}

/// Whether a name is short enough.
pub(super) fn check(name: &str) -> Result<(), StorageError> {
    if name.len() > MAX_KEY {
        let key = name.chars().take(64).collect();
        return Err(StorageError::TooLarge { key, size: name.len(), limit: MAX_KEY });
    }
    Ok(())
}

/// The key as the engine knows it.
pub(super) fn of_user(name: &str) -> Result<Bytes, StorageError> {
    check(name)?;
    Ok(key(USER, name.as_bytes()))
}

/// A bound of a range: it need not be a key.
pub(super) fn bound(name: &[u8]) -> Bytes {
    key(USER, name)
}

/// The key as the user knows it.
pub(super) fn to_user(key: &[u8]) -> String {
    String::from_utf8_lossy(&key[1..]).into_owned()
}

/// Every timer.
pub(super) fn timers() -> KeyRange {
    all_of(TIMER)
}

/// The alarm has the shortest key; a schedule's name is behind a mark, as it may be empty.
pub(super) fn of_timer(timer: &Timer) -> Bytes {
    match timer {
        Timer::Alarm => key(TIMER, b""),
        Timer::Schedule(name) => key(TIMER, &[b":", name.as_bytes()].concat()),
    }
}

/// A timer and when it is due, from its record.
pub(super) fn timer(key: &[u8], record: &[u8]) -> Option<(Timer, UnixMillis)> {
    let timer = match key {
        [TIMER] => Timer::Alarm,
        [TIMER, b':', name @ ..] => Timer::Schedule(Arc::from(std::str::from_utf8(name).ok()?)),
        _ => return None,
    };
    let (due, _) = postcard::take_from_bytes(record).ok()?;
    Some((timer, UnixMillis(due)))
}
