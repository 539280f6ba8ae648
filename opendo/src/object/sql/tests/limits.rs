//! Checklist 6.14, 6.15, 6.19, 10.1, 10.2.

use super::*;

#[test]
fn what_is_too_large_is_refused() {
    let place = Place::new();
    place.exec("CREATE TABLE t(a)");
    let list = |count: usize, item: &str| vec![item; count].join(",");
    let refused = |sql: &str, said: &str| {
        let error = place.refused(sql);
        assert!(error.starts_with(said) && error.contains("SQLITE_"), "{error}");
    };
    refused(&format!("SELECT {}", list(101, "?")), "too many SQL variables");
    place.sql.exec(&format!("SELECT {}", list(100, "?")), &[1; 100][..]).unwrap();
    let columns = (0..101).map(|n| format!("c{n}")).collect::<Vec<_>>().join(",");
    refused(&format!("CREATE TABLE c101({columns})"), "too many columns on c101");
    refused(&format!("SELECT 'a' LIKE '{}'", "a".repeat(51)), "LIKE or GLOB pattern too complex");
    refused(&format!("SELECT 'a' GLOB '{}'", "a".repeat(51)), "LIKE or GLOB pattern too complex");
    refused(&format!("SELECT max({})", list(33, "1")), "too many arguments on function max");
    refused(&["SELECT 1"; 6].join(" UNION ALL "), "too many terms in compound SELECT");
    refused(&format!("SELECT 1{}", "+1".repeat(101)), "Expression tree is too large");
    assert!(place.refused(&format!("SELECT 1 --{}", "x".repeat(100_000))).contains("SQLITE_TOOBIG"));
    assert!(place.refused("SELECT length(zeroblob(3000000))").contains("SQLITE_TOOBIG"));
    let large = serde_bytes::ByteBuf::from(vec![0; 3_000_000]);
    assert!(place.sql.exec("INSERT INTO t VALUES (?)", (large,)).is_err());
    place.sql.exec("INSERT INTO t VALUES (?)", (vec![0_u8; 2 << 20],)).unwrap();
    // 6.13: none of it has hurt.
    place.seal();
    assert_eq!(place.reopened().one::<i64>("SELECT count(*) FROM t"), 1);
}

#[test]
fn a_key_and_its_value_may_be_as_large_as_promised() {
    let place = Place::new();
    place.sealed(&put("key", vec![1; (2 << 20) - 3])).sync().unwrap();
    assert_eq!(place.db.get(&["key".into()]).unwrap()[0].as_ref().unwrap().len(), (2 << 20) - 3);
}

#[test]
fn a_full_database_resets_the_object_and_can_be_read_and_emptied() {
    let place = Place::with(&SqlLimits { database: 100 * 4096, ..SqlLimits::default() });
    place.exec("CREATE TABLE t(a)");
    let mut count = 0_i64;
    let error = loop {
        match place.sql.exec("INSERT INTO t VALUES (zeroblob(10000))", ()) {
            Ok(_) => count += 1,
            Err(error) => break error,
        }
        place.seal();
    };
    assert_eq!(error.to_string(), "database or disk is full: SQLITE_FULL");
    // SQLite has rolled the whole transaction back, and what the call had written before: it must not go on (6.17).
    assert!(
        place.refused("SELECT 1").starts_with("Cannot commit transaction due to an earlier SQL critical")
    );
    let error = place.db.seal(&put("k", "v")).unwrap_err().to_string();
    assert!(error.starts_with("Cannot commit transaction due to an earlier SQL critical error"), "{error}");
    let place = place.reopened();
    assert_eq!(place.one::<i64>("SELECT count(*) FROM t"), count);
    assert_eq!(place.db.get(&["k".into()]).unwrap(), [None]);
    let before = place.sql.database_size().unwrap();
    place.exec("DELETE FROM t");
    assert!(place.sql.database_size().unwrap() < before / 4, "6.18");
    place.seal();
    assert_eq!(place.reopened().one::<i64>("SELECT count(*) FROM t"), 0);
}
