//! What is left after a crash at any moment: checklist 5.12, 5.29, 5.31.

use std::fs;
use std::path::Path;

use super::*;

/// What the disk has when the power fails: the database file, and some beginning of the WAL.
fn crashed(place: &Place, wal_bytes: usize) -> Place {
    let wal = wal(place);
    with_wal(place, &wal[..wal_bytes.min(wal.len())])
}

fn with_wal(place: &Place, wal: &[u8]) -> Place {
    let directory = tempfile::tempdir().unwrap();
    fs::copy(place.path(), directory.path().join("object.sqlite3")).unwrap();
    fs::write(directory.path().join("object.sqlite3-wal"), wal).unwrap();
    Place::open(directory, &SqlLimits::default())
}

fn wal(place: &Place) -> Vec<u8> {
    fs::read(Path::new(&format!("{}-wal", place.path().display()))).unwrap()
}

/// Writes `n` by each of the ways there are.
fn write(place: &Place, n: u64) -> Changes {
    place.sql.exec("INSERT INTO t VALUES (?, zeroblob(?))", (n, n * 997 % 9000)).unwrap();
    place.sql.transaction(|sql| sql.exec("UPDATE last SET n = ?", n)).unwrap();
    Changes { wake: Some(Some(UnixMillis(n))), ..put("n", n.to_be_bytes()) }
}

/// Up to which number everything was written, and that it was written as a whole.
fn found(place: &Place) -> u64 {
    let Some(UnixMillis(n)) = place.db.wake().unwrap() else { return 0 };
    let key = place.db.get(&["n".into()]).unwrap();
    assert_eq!(key[0].as_deref(), Some(&n.to_be_bytes()[..]));
    assert_eq!(place.one::<u64>("SELECT n FROM last"), n);
    assert_eq!(place.one::<(u64, u64)>("SELECT count(*), max(n) FROM t"), (n, n));
    assert_eq!(place.one::<String>("PRAGMA quick_check"), "ok");
    n
}

#[test]
fn whatever_the_disk_has_of_the_log_is_a_sealed_state_and_what_was_synced_is_in_it() {
    let place = Place::new();
    place.exec("CREATE TABLE t(n PRIMARY KEY, b); CREATE TABLE last(n); INSERT INTO last VALUES (0)");
    place.seal();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut cut = |from: usize, to: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        from + usize::try_from(random).unwrap() % (to - from + 1)
    };
    let (mut synced, mut durable) = (0, wal(&place).len());
    for n in 1..=40 {
        let changes = write(&place, n);
        let open = wal(&place).len();
        let crash = crashed(&place, cut(durable, open));
        assert!((synced..n).contains(&found(&crash)), "not sealed yet");
        let sealed = place.sealed(&changes);
        let after = wal(&place).len();
        for _ in 0..4 {
            let crash = crashed(&place, cut(durable, after));
            assert!((synced..=n).contains(&found(&crash)));
        }
        assert_eq!(found(&crashed(&place, after)), n, "a process that is killed loses nothing");
        if n % 3 == 0 {
            sealed.sync().unwrap();
            (synced, durable) = (n, wal(&place).len());
        }
    }
}

#[test]
fn a_torn_page_of_the_log_takes_its_commit_along() {
    let place = Place::new();
    place.exec("CREATE TABLE t(n PRIMARY KEY, b); CREATE TABLE last(n); INSERT INTO last VALUES (0)");
    place.seal();
    let before = wal(&place).len();
    let changes = write(&place, 1);
    place.sealed(&changes).sync().unwrap();
    let mut torn = wal(&place);
    assert_eq!(found(&with_wal(&place, &torn)), 1);
    torn[before + 100] ^= 1;
    assert_eq!(found(&with_wal(&place, &torn)), 0);
}

#[test]
fn checkpoints_lose_nothing_and_bound_the_log() {
    let place = Place::new();
    place.exec("CREATE TABLE t(n PRIMARY KEY, b); CREATE TABLE last(n); INSERT INTO last VALUES (0)");
    place.seal();
    let pages = |n: usize| n * 4120;
    let mut largest = 0;
    for n in 1..=40 {
        place.sql.exec("CREATE TABLE IF NOT EXISTS fill(b)", ()).unwrap();
        place.sql.exec("DELETE FROM fill; INSERT INTO fill VALUES (zeroblob(1000000))", ()).unwrap();
        let changes = write(&place, n);
        place.sealed(&changes).sync().unwrap();
        largest = largest.max(wal(&place).len());
        assert_eq!(found(&crashed(&place, usize::MAX)), n);
    }
    assert!(largest > pages(900) && largest < pages(2000), "{largest}");
}

#[test]
fn without_syncs_the_log_is_bounded_too() {
    let place = Place::new();
    place.exec("CREATE TABLE t(b)");
    place.seal();
    let mut largest = 0;
    for n in 0..60_u8 {
        place.exec("DELETE FROM t; INSERT INTO t VALUES (zeroblob(2000000))");
        let _unsynced = place.db.seal(&put("n", [n])).unwrap();
        largest = largest.max(wal(&place).len());
    }
    assert!(largest < 9000 * 4120, "{largest}");
}

#[test]
fn delete_all_is_whole_after_a_crash() {
    let place = Place::new();
    place.exec("CREATE TABLE t(a); INSERT INTO t VALUES (1)");
    place.sealed(&put("k", "v")).sync().unwrap();
    let before = wal(&place).len();
    place.db.drop_tables().unwrap();
    let _unsynced = place.sealed(&everything_cleared());
    let after = wal(&place).len();
    for cut in (before..=after).step_by(509).chain([after]) {
        let crash = crashed(&place, cut);
        let key = crash.db.get(&["k".into()]).unwrap().remove(0);
        let tables: i64 = crash.one("SELECT count(*) FROM sqlite_schema WHERE name = 't'");
        assert_eq!(key.is_some(), tables == 1);
        assert_eq!(key.is_none(), cut == after);
    }
}

#[test]
fn what_was_sealed_is_there_after_the_file_was_closed_without_a_sync() {
    let place = Place::new();
    place.exec("CREATE TABLE t(a)");
    let sealed = place.sealed(&put("k", "v"));
    place.exec("INSERT INTO t VALUES (1)");
    let place = place.reopened();
    sealed.sync().unwrap();
    assert_eq!(place.db.get(&["k".into()]).unwrap(), [Some("v".into())]);
    assert_eq!(place.one::<i64>("SELECT count(*) FROM t"), 0, "that was not sealed");
}
