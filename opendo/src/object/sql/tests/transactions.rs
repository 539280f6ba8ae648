//! Checklist 5.15, 5.20, 5.22, 5.23, 6.16, 6.17.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

type Never = Result<(), SqlError>;

fn place() -> Place {
    let place = Place::new();
    place.exec("CREATE TABLE t(a UNIQUE)");
    place
}

impl Place {
    fn all(&self) -> Vec<i64> {
        self.sql.query("SELECT a FROM t ORDER BY a", ()).unwrap()
    }

    fn add(&self, a: i64) -> Never {
        self.sql.exec("INSERT INTO t VALUES (?)", a).map(drop)
    }
}

#[test]
fn an_error_undoes_what_the_transaction_wrote() {
    let place = place();
    place.add(1).unwrap();
    let mut borrowed = String::new();
    let failed = place.sql.transaction(|_| {
        place.add(2)?;
        borrowed.push('x');
        Err::<(), _>(SqlError::NoRows)
    });
    assert_eq!(failed, Err(SqlError::NoRows));
    assert_eq!((place.all(), &*borrowed), (vec![1], "x"));
    let value = place.sql.transaction(|sql| sql.query_one::<i64>("INSERT INTO t VALUES (3) RETURNING a", ()));
    assert_eq!((value, place.all()), (Ok(3), vec![1, 3]));
}

#[test]
fn an_error_outside_of_a_transaction_undoes_nothing() {
    let place = place();
    place.add(1).unwrap();
    place.add(1).unwrap_err();
    place.seal();
    assert_eq!(place.reopened().all(), [1]);
}

#[test]
fn a_panic_undoes_what_the_transaction_wrote() {
    let place = place();
    let caught = catch_unwind(AssertUnwindSafe(|| {
        place.sql.transaction(|sql| -> Never {
            place.add(1)?;
            sql.cursor("SELECT a FROM t", (), |rows| -> Never {
                rows.next::<i64>()?;
                panic!("on purpose")
            })
        })
    }));
    assert!(caught.is_err());
    assert_eq!(place.all(), [0_i64; 0]);
    place.add(1).unwrap();
}

#[test]
fn an_inner_transaction_undoes_its_own_writes_only() {
    let place = place();
    place
        .sql
        .transaction(|sql| {
            place.add(1)?;
            sql.transaction(|_| place.add(2).and(Err::<(), _>(SqlError::NoRows))).unwrap_err();
            sql.transaction(|_| place.add(3))
        })
        .unwrap();
    assert_eq!(place.all(), [1, 3]);
    place
        .sql
        .transaction(|sql| {
            sql.transaction(|_| place.add(4))?;
            Err::<(), _>(SqlError::NoRows)
        })
        .unwrap_err();
    place.seal();
    assert_eq!(place.reopened().all(), [1, 3]);
}

#[test]
fn a_transaction_that_writes_nothing_leaves_nothing_to_seal() {
    let place = place();
    place.seal();
    place.sql.transaction(|sql| sql.query::<i64>("SELECT a FROM t", ())).unwrap();
    place.sql.transaction(|_| place.add(1).and(Err::<(), _>(SqlError::NoRows))).unwrap_err();
    assert!(!place.db.is_written());
    assert!(place.db.seal(&Changes::default()).unwrap().is_none());
    place.exec("SELECT 1");
    assert!(place.db.seal(&Changes::default()).unwrap().is_none());
    place.add(1).unwrap();
    assert!(place.db.is_written());
}

#[test]
fn other_threads_wait_for_the_end_of_a_transaction() {
    let place = place();
    let entered = std::sync::Barrier::new(2);
    let seen = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            entered.wait();
            place.all().len()
        });
        let written = place.sql.transaction(|_| {
            entered.wait();
            (0..100).try_for_each(|a| place.add(a))
        });
        written.unwrap();
        other.join().unwrap()
    });
    assert_eq!(seen, 100);
}

#[test]
fn delete_all_is_refused_in_a_transaction() {
    let place = place();
    let refused = place.sql.transaction(|_| place.db.drop_tables()).unwrap_err();
    assert_eq!(refused.to_string(), "Cannot call deleteAll() within a transaction");
}

#[test]
fn a_deferred_constraint_that_is_violated_when_sealed_resets_the_object() {
    let place = place();
    place.exec("CREATE TABLE c(a REFERENCES t(a) DEFERRABLE INITIALLY DEFERRED)");
    place.seal();
    place.add(1).unwrap();
    place.exec("INSERT INTO c VALUES (7)");
    let error = place.db.seal(&put("k", "v")).unwrap_err();
    let said = error.to_string();
    assert!(said.contains("rolled back to its last known good state"), "{said}");
    assert!(said.ends_with(
        "FOREIGN KEY constraint failed: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_FOREIGNKEY)"
    ));
    assert!(matches!(place.add(2), Err(SqlError::Critical { .. })));
    let place = place.reopened();
    assert_eq!(place.all(), [0_i64; 0]);
    assert_eq!(place.db.get(&["k".into()]).unwrap(), [None]);
}

#[test]
fn a_deferred_constraint_may_be_violated_for_a_while() {
    let place = place();
    place.exec("CREATE TABLE c(a REFERENCES t(a) DEFERRABLE INITIALLY DEFERRED)");
    place.sql.transaction(|sql| sql.exec("INSERT INTO c VALUES (7)", ())).unwrap();
    place.add(7).unwrap();
    place.seal();
}

#[test]
fn a_thrown_away_instance_reaches_nothing() {
    let place = place();
    place.seal();
    place.add(1).unwrap();
    let ended = place.sql.transaction(|_| {
        place.add(2)?;
        place.db.rollback();
        place.db.end();
        place.add(3)
    });
    assert_eq!(ended, Err(SqlError::Closed));
    assert_eq!(place.add(4), Err(SqlError::Closed));
    assert!(matches!(place.db.seal(&put("k", "v")), Err(DbError::Sql(SqlError::Closed))));
    let zombie = place.sql.clone();
    let place = place.reopened();
    assert_eq!(zombie.exec("DELETE FROM t", ()).unwrap_err(), SqlError::Closed);
    assert_eq!(place.all(), [0_i64; 0]);
}
