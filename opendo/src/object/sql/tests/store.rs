//! Keys and values, the time to be woken, and the end of the file: checklist 5.29, 6.20.

use bytes::Bytes;

use super::*;
use crate::engine::{KeyRange, Writes};

fn range(start: &'static str, end: Option<&'static str>) -> KeyRange {
    KeyRange { start: start.into(), end: end.map(Bytes::from) }
}

#[test]
fn changes_are_applied_as_a_whole_and_in_order() {
    let place = Place::new();
    let all = ["a", "b", "c", "d"].map(|key| (key.into(), Some(key.into())));
    let changes =
        Changes { writes: all.into_iter().collect(), wake: Some(Some(UnixMillis(7))), ..Changes::default() };
    place.sealed(&changes).sync().unwrap();
    let writes = Writes::from([("b".into(), Some("B".into())), ("d".into(), None), ("x".into(), None)]);
    let changes = Changes { cleared: vec![range("b", Some("d"))], writes, wake: None };
    place.sealed(&changes).sync().unwrap();
    let place = place.reopened();
    let expected = [("a", "a"), ("b", "B")].map(|(key, value)| (Bytes::from(key), Bytes::from(value)));
    assert_eq!(place.db.list(&range("", None), false, usize::MAX).unwrap(), expected);
    assert_eq!(place.db.load(4).unwrap(), Some(expected.into()));
    assert_eq!(place.db.load(3).unwrap(), None);
    assert_eq!(place.db.wake().unwrap(), Some(UnixMillis(7)));
    place.sealed(&wake(None)).sync().unwrap();
    assert_eq!(place.reopened().db.wake().unwrap(), None);
}

#[test]
fn keys_are_listed_in_byte_order() {
    let place = Place::new();
    for key in ["Z", "a", "b", "é", "\u{ffee}", "😀"] {
        place.sealed(&put(key, "")).sync().unwrap();
    }
    let list = |start, end, reverse, limit| {
        let listed = place.db.list(&range(start, end), reverse, limit).unwrap();
        listed
            .into_iter()
            .map(|(key, _)| String::from_utf8(key.into()).unwrap())
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(list("", None, false, 9), "Z a b é \u{ffee} 😀");
    assert_eq!(list("a", Some("é"), false, 9), "a b");
    assert_eq!(list("a", Some("é"), true, 1), "b");
    assert_eq!(list("a", None, true, 2), "😀 \u{ffee}");
    assert_eq!(list("b", Some("a"), false, 9), "");
}

#[test]
fn delete_all_leaves_nothing_and_counts_when_it_is_sealed() {
    let place = Place::new();
    place.sql.migrate(&["CREATE TABLE p(id INTEGER PRIMARY KEY AUTOINCREMENT);
        CREATE TABLE c(p NOT NULL REFERENCES p(id)); CREATE TABLE loop(id INTEGER PRIMARY KEY, o REFERENCES loop(id));
        CREATE VIEW v AS SELECT * FROM p; CREATE VIRTUAL TABLE f USING fts5(a); CREATE INDEX i ON c(p);
        CREATE TABLE \"a \"\" quote\"(a); CREATE TABLE xopendoxx(a);
        CREATE TRIGGER t AFTER DELETE ON p BEGIN SELECT raise(ABORT, 'kept'); END;
        INSERT INTO p DEFAULT VALUES; INSERT INTO c VALUES (1); INSERT INTO loop VALUES (1, 1); ANALYZE"]).unwrap();
    place
        .db
        .seal(&Changes { wake: Some(Some(UnixMillis(7))), ..put("k", "v") })
        .unwrap()
        .unwrap()
        .sync()
        .unwrap();

    place.exec("PRAGMA defer_foreign_keys = ON; INSERT INTO c VALUES (99)");
    place.db.drop_tables().unwrap();
    assert!(place.refused("SELECT * FROM p").contains("no such table"));
    place.db.rollback();
    place.db.end();
    let place = place.reopened();
    assert_eq!(place.one::<i64>("SELECT count(*) FROM c"), 1);
    assert_eq!(place.db.get(&["k".into()]).unwrap(), [Some("v".into())]);

    place.db.drop_tables().unwrap();
    place.sealed(&everything_cleared()).sync().unwrap();
    let path = place.path();
    place.db.close().unwrap();
    assert!(!path.exists());
}

#[test]
fn the_file_is_there_as_long_as_it_holds_something() {
    for changes in [put("k", "v"), wake(Some(1))] {
        let place = Place::new();
        place.sealed(&changes).sync().unwrap();
        place.db.close().unwrap();
        assert!(place.path().exists());
    }
    let place = Place::new();
    place.exec("CREATE TABLE t(a)");
    place.db.close().unwrap();
    assert_eq!(std::fs::read_dir(place.directory.path()).unwrap().count(), 0, "it was not sealed");
}

#[test]
fn a_file_that_is_somebody_elses_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.sqlite3");
    rusqlite::Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 3").unwrap();
    let error = ObjectDb::open(path.clone(), &SqlLimits::default()).unwrap_err();
    assert!(error.to_string().contains("is none, or one of a newer version"), "{error}");
    std::fs::write(
        &path,
        "no database at all, but a text that is longer than a header of one hundred bytes, as it is\
        written here for the purpose",
    )
    .unwrap();
    assert!(ObjectDb::open(path, &SqlLimits::default()).is_err());
}

#[test]
fn a_database_that_is_open_is_not_opened_again() {
    let place = Place::new();
    let error = ObjectDb::open(place.path(), &SqlLimits::default()).unwrap_err();
    assert!(error.to_string().contains("SQLITE_BUSY"), "{error}");
}
