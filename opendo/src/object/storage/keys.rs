//! How the engine's keys of an object are divided: the user's, and those of the framework, by their first byte.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::engine::{KeyRange, UnixMillis};
use crate::object::storage::ledger::Timer;
use crate::object::storage::{MAX_KEY, StorageError};

const USER: u8 = b'u';
/// The alarm and schedules.
const TIMER: u8 = b't';
/// Messages to others: by receiver, in order. Before those of each, how it stands with it.
const MESSAGE: u8 = b'o';
/// The number of the last message of each sender.
const RECEIVED: u8 = b'i';

/// Of an object that keeps its state itself, in the engine: that it has one.
const OWN: u8 = b's';

/// See [`OWN`].
pub(super) fn own() -> Bytes {
    Bytes::from_static(&[OWN])
}

fn all_of<const SPACE: u8>() -> KeyRange {
    KeyRange {
        start: Bytes::from_static(const { &[SPACE] }),
        end: Some(Bytes::from_static(const { &[SPACE + 1] })),
    }
}

fn key(space: u8, name: &[u8]) -> Bytes {
    let mut key = BytesMut::with_capacity(1 + name.len());
    key.put_u8(space);
    key.put_slice(name);
    key.freeze()
}

/// Every key of the user's.
pub(super) fn user() -> KeyRange {
    all_of::<USER>()
}

/// Whether a name is short enough.
pub(super) fn check(name: &str) -> Result<(), StorageError> {
    if name.len() > MAX_KEY {
        let key = name.chars().take(64).collect();
        return Err(StorageError::TooLarge { key, size: name.len(), limit: MAX_KEY });
    }
    Ok(())
}

/// The key as the engine knows it, behind what is there.
pub(super) fn put_user(name: &str, to: &mut Vec<u8>) -> Result<(), StorageError> {
    check(name)?;
    to.put_u8(USER);
    to.put_slice(name.as_bytes());
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
    all_of::<TIMER>()
}

/// The alarm has the shortest key; a schedule's name is behind a mark, as it may be empty.
pub(super) fn of_timer(timer: &Timer) -> Bytes {
    match timer {
        Timer::Alarm => key(TIMER, b""),
        Timer::Schedule(name) => key(TIMER, &[b":", name.as_bytes()].concat()),
        Timer::Messages => key(TIMER, b"o"),
    }
}

/// The record of a timer of which there is nothing else to be said.
pub(super) fn due(due: UnixMillis) -> Bytes {
    postcard::to_allocvec(&due.0).expect("a number can be encoded").into()
}

/// A timer and when it is due, from its record.
pub(super) fn timer(key: &[u8], record: &[u8]) -> Option<(Timer, UnixMillis)> {
    let timer = match key {
        [TIMER] => Timer::Alarm,
        [TIMER, b'o'] => Timer::Messages,
        [TIMER, b':', name @ ..] => Timer::Schedule(Arc::from(std::str::from_utf8(name).ok()?)),
        _ => return None,
    };
    let (due, _) = postcard::take_from_bytes(record).ok()?;
    Some((timer, UnixMillis(due)))
}

/// The number of a message: larger than those of all that its sender has recorded before it, to whomever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Number(u128);

impl Number {
    pub(crate) fn new(epoch: u64, count: u64) -> Self {
        Self(u128::from(epoch) << 64 | u128::from(count))
    }

    /// From its record.
    pub(crate) fn read(record: &[u8]) -> Option<Self> {
        Some(Self(u128::from_be_bytes(record.try_into().ok()?)))
    }

    /// Its record.
    pub(crate) fn record(self) -> Bytes {
        Bytes::copy_from_slice(&self.0.to_be_bytes())
    }
}

/// Every message to others, and how it stands with them.
pub(crate) fn messages() -> KeyRange {
    all_of::<MESSAGE>()
}

/// A message.
pub(crate) fn of_message(receiver: &[u8; 32], number: Number) -> Bytes {
    key(MESSAGE, &[&receiver[..], &number.0.to_be_bytes()].concat())
}

/// How it stands with a receiver.
pub(crate) fn of_attempts(receiver: &[u8; 32]) -> Bytes {
    key(MESSAGE, receiver)
}

/// The receiver and the number of a message; `None` if the key is none of a message.
pub(crate) fn message(key: &[u8]) -> Option<([u8; 32], Number)> {
    let [MESSAGE, rest @ ..] = key else { return None };
    let (receiver, number) = rest.split_first_chunk()?;
    Some((*receiver, Number::read(number)?))
}

/// The receiver, if the key says how it stands with it.
pub(crate) fn attempts(key: &[u8]) -> Option<[u8; 32]> {
    let [MESSAGE, rest @ ..] = key else { return None };
    rest.try_into().ok()
}

/// The number of the last message of a sender.
pub(crate) fn of_received(sender: &[u8; 32]) -> Bytes {
    key(RECEIVED, sender)
}
