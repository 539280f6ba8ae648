use super::*;

const ONE: &str = "CREATE TABLE t(a); INSERT INTO t VALUES (1)";
const TWO: &str = "ALTER TABLE t ADD COLUMN b DEFAULT 2";

#[test]
fn each_migration_runs_once() {
    let place = Place::new();
    place.sql.migrate(&[ONE]).unwrap();
    place.sql.migrate(&[ONE]).unwrap();
    place.seal();
    let place = place.reopened();
    place.sql.migrate(&[ONE, TWO]).unwrap();
    assert_eq!(place.one::<(i64, i64)>("SELECT * FROM t"), (1, 2));
}

#[test]
fn of_a_migration_that_fails_nothing_is_kept() {
    let place = Place::new();
    let error = place
        .sql
        .migrate(&[ONE, "INSERT INTO t VALUES (2); INSERT INTO nowhere VALUES (1)", TWO])
        .unwrap_err();
    assert_eq!(error.to_string(), "migration 2: no such table: nowhere: SQLITE_ERROR");
    assert_eq!(place.sql.query::<i64>("SELECT * FROM t", ()).unwrap(), [1]);
    place.sql.migrate(&[ONE, TWO]).unwrap();
    assert_eq!(place.one::<(i64, i64)>("SELECT * FROM t"), (1, 2));
}

#[test]
fn an_older_program_is_told() {
    let place = Place::new();
    place.sql.migrate(&[ONE, TWO]).unwrap();
    assert_eq!(place.sql.migrate(&[ONE]).unwrap_err(), SqlError::MigrationsMissing { ran: 2, known: 1 });
}

#[test]
fn what_was_not_sealed_is_migrated_again() {
    let place = Place::new();
    place.sql.migrate(&[ONE]).unwrap();
    place.db.rollback();
    place.db.end();
    let place = place.reopened();
    place.sql.migrate(&[ONE]).unwrap();
    assert_eq!(place.one::<i64>("SELECT a FROM t"), 1);
}
