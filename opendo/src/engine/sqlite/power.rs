//! What is acknowledged outlives a cut of the power, and of what was on its way there is all or nothing.
//!
//! Killing a process proves nothing of this: the operating system still writes what the process has given it. So the
//! database is on a simulated disk here, which loses what was not flushed. What differs from the database of a node:
//! one connection that locks the database for itself, because the disk has no memory that connections share, and a
//! log that is moved into the database after 8 pages, so that cuts meet that too.

mod disk;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::super::{Changes, Commit, Epoch, KeyRange};
use super::open::{Database, Settings};
use super::owners::{Accepted, Row};
use super::read;
use super::write::Writer;
use crate::object::id::ObjectKey;
use disk::{Disk, FILES, Random};

const EXCLUSIVE: (&str, &str) = ("locking_mode", "EXCLUSIVE");
const WAL: (&str, &str) = ("journal_mode", "WAL");
const FULL: (&str, &str) = ("synchronous", "FULL");
const CHECKPOINT: (&str, &str) = ("wal_autocheckpoint", "8");

const OURS: Settings = &[EXCLUSIVE, WAL, FULL, CHECKPOINT];

/// None of these may pass.
const LAX: [Settings; 3] = [
    &[EXCLUSIVE, WAL, ("synchronous", "OFF"), CHECKPOINT],
    &[EXCLUSIVE, WAL, ("synchronous", "NORMAL"), CHECKPOINT],
    &[EXCLUSIVE, ("journal_mode", "MEMORY"), FULL, CHECKPOINT],
];

/// The simulated files are for one thread at a time.
static ALONE: Mutex<()> = Mutex::new(());

const ROOMS: u8 = 3;
const LIVES: usize = 8;
const SEEDS: u64 = 150;

type Values = BTreeMap<Bytes, Bytes>;

/// What has to be there.
#[derive(Default)]
struct Expected {
    acknowledged: [Values; ROOMS as usize],
    /// With the batch that was on its way when the power went.
    or: Option<[Values; ROOMS as usize]>,
    incarnation: u64,
}

fn room(n: usize) -> Arc<ObjectKey> {
    Arc::new(ObjectKey::kept("Room".into(), [u8::try_from(n).unwrap(); 32], None))
}

fn changes(random: &mut Random) -> Changes {
    let key = |random: &mut Random| Bytes::copy_from_slice(&[u8::try_from(random.below(20)).unwrap()]);
    let mut changes = Changes::default();
    if random.one_in(8) {
        changes.cleared.push(KeyRange { start: key(random), end: random.one_in(2).then(|| key(random)) });
    }
    for _ in 0..=random.below(4) {
        let length = if random.one_in(4) { random.below(9000) } else { random.below(100) };
        let value = vec![u8::try_from(random.below(256)).unwrap(); length];
        changes.writes.insert((key(random), (!random.one_in(5)).then(|| value.into())));
    }
    changes
}

fn apply(values: &mut Values, changes: &Changes) {
    values.retain(|key, _| !changes.cleared.iter().any(|range| range.contains(key)));
    for (key, value) in changes.writes.iter() {
        match value {
            Some(value) => values.insert(key.to_bytes(), value.to_bytes()),
            None => values.remove(&*key),
        };
    }
}

/// Opens what is left, compares, commits, and loses power again.
fn live(
    disk: &Disk,
    settings: Settings,
    random: &mut Random,
    expected: &mut Expected,
) -> Result<Disk, String> {
    let database = Database { path: PathBuf::from(disk.mount()), settings, files: Some(FILES) };
    disk.last(random.one_in(3).then(|| random.below(40)));
    let (mut connection, incarnation) = match database.open() {
        Ok(opened) => opened,
        Err(_) if disk.is_off() => return Ok(disk.cut(random)),
        Err(error) => return Err(format!("it does not open: {error}")),
    };
    disk.last(None);
    if incarnation <= expected.incarnation {
        return Err(format!("incarnation {incarnation} after {}", expected.incarnation));
    }
    expected.incarnation = incarnation;

    let text = |error: rusqlite::Error| format!("it cannot be read: {error}");
    let snapshot = connection.transaction().map_err(text)?;
    let sound: String = snapshot.query_row("PRAGMA integrity_check", [], |row| row.get(0)).map_err(text)?;
    if sound != "ok" {
        return Err(sound);
    }
    let everything = KeyRange { start: Bytes::new(), end: None };
    let mut found = <[Values; ROOMS as usize]>::default();
    let mut rows = [Row::default(); ROOMS as usize];
    for (n, values) in found.iter_mut().enumerate() {
        let listed = read::list(&snapshot, &room(n), &everything, false, usize::MAX).map_err(text)?;
        *values = listed.into_iter().collect();
        rows[n] = read::load(&snapshot, &room(n)).map_err(text)?.row;
    }
    snapshot.finish().map_err(text)?;
    if found != expected.acknowledged && expected.or.as_ref() != Some(&found) {
        return Err("it holds neither what was acknowledged nor that with what was on its way".into());
    }
    expected.acknowledged = found;
    expected.or = None;

    disk.last((!random.one_in(4)).then(|| random.below(150)));
    disk.fail_a_flush(random.one_in(4).then(|| random.below(20)));
    let mut writer = Writer::new(connection);
    for sequence in 1..=20 {
        let mut after = expected.acknowledged.clone();
        let mut commits = Vec::new();
        for (n, values) in after.iter_mut().enumerate() {
            if random.one_in(2) {
                let changes = changes(random);
                apply(values, &changes);
                commits.push(Commit {
                    object: room(n),
                    epoch: Epoch(1),
                    sequence,
                    changes: Arc::new(changes),
                });
            }
        }
        let place = |commit: &Commit| usize::from(commit.object.bytes()[0]);
        let accept = |commit| Accepted { commit, row: rows[place(commit)], name: None };
        let mut accepted: Vec<_> = commits.iter().map(accept).collect();
        match writer.commit(&mut accepted) {
            Ok(()) => {
                expected.acknowledged = after;
                for Accepted { commit, row, .. } in accepted {
                    rows[place(commit)] = row;
                }
            }
            Err(first) => {
                expected.or = Some(after);
                if !disk.is_off() {
                    // A flush failed. The next one would not: the engine must not go on.
                    let mut next = [Accepted { commit: &commits[0], row: Row::default(), name: None }];
                    if !disk.has_failed() || writer.commit(&mut next).as_ref() != Err(&first) {
                        return Err(format!("it fails without a reason, or goes on: {first}"));
                    }
                }
                break;
            }
        }
    }
    if random.one_in(4) {
        drop(writer);
        return Ok(disk.cut(random));
    }
    let left = disk.cut(random);
    drop(writer);
    Ok(left)
}

/// Some lives of one database.
fn survives(settings: Settings, seed: u64) -> Result<(), String> {
    let (mut disk, mut expected, mut random) = (Disk::default(), Expected::default(), Random(seed));
    for _ in 0..LIVES {
        disk = live(&disk, settings, &mut random, &mut expected)?;
    }
    Ok(())
}

#[test]
fn what_is_acknowledged_outlives_a_cut_of_the_power() {
    let _alone = ALONE.lock();
    for seed in 0..SEEDS {
        if let Err(why) = survives(OURS, seed) {
            panic!("seed {seed}: {why}");
        }
    }
}

#[test]
fn a_database_that_flushes_less_does_not_outlive_it() {
    let _alone = ALONE.lock();
    for settings in LAX {
        let lost = (0..SEEDS).find_map(|seed| survives(settings, seed).err().map(|why| (seed, why)));
        let (seed, why) = lost.unwrap_or_else(|| panic!("{settings:?} lost nothing"));
        println!("{settings:?}: seed {seed}: {why}");
    }
}
