//! What user SQL may not do: checklist 6.6 to 6.8.

use super::*;

#[test]
fn transactions_are_the_objects() {
    let place = Place::new();
    place.exec("CREATE TABLE t(a)");
    for sql in [
        "BEGIN",
        "begin immediate",
        "COMMIT",
        "END",
        "ROLLBACK",
        "SAVEPOINT s",
        "RELEASE s",
        "ROLLBACK TO s",
        "INSERT INTO t VALUES (1); COMMIT",
    ] {
        let error = place.sql.exec(sql, ()).unwrap_err();
        assert_eq!(error, SqlError::Transaction, "{sql}");
        assert!(error.to_string().contains("`sql.transaction(…)`"));
    }
    assert_eq!(place.one::<i64>("SELECT count(*) FROM t"), 1);
}

#[test]
fn our_names_are_nobody_elses() {
    let place = Place::new();
    place.sealed(&put("secret", "value")).sync().unwrap();
    place.exec("CREATE TABLE t(a); CREATE INDEX i ON t(a)");
    // Ours are prepared, and cached.
    place.db.get(&["secret".into()]).unwrap();
    place.db.list(&crate::engine::KeyRange { start: "".into(), end: None }, false, 1).unwrap();
    for sql in [
        "SELECT value FROM _opendo_kv WHERE key = ?1",
        "SELECT * FROM _opendo_kv WHERE key >= ?1 ORDER BY key LIMIT ?2",
        "SELECT * FROM _opendo_kv",
        "SELECT count(*) FROM _OPENDO_KV",
        "SELECT (SELECT value FROM \"_OpenDo_kv\")",
        "SELECT * FROM main._opendo_meta",
        "INSERT INTO _opendo_kv VALUES (x'00', x'00')",
        "UPDATE _opendo_meta SET value = 0",
        "DELETE FROM [_opendo_kv]",
        "DROP TABLE `_opendo_kv`",
        "ALTER TABLE _opendo_kv RENAME TO x",
        "ALTER TABLE t RENAME TO _opendo_x",
        "ALTER TABLE t RENAME TO \"_oPENDO_x\"",
        "ALTER TABLE _opendo_kv ADD COLUMN x",
        "CREATE TABLE _opendo_x(a)",
        "CREATE TABLE IF NOT EXISTS _OPENDO_x AS SELECT 1",
        "CREATE INDEX x ON _opendo_kv(value)",
        "CREATE INDEX _opendo_x ON t(a)",
        "CREATE VIEW _opendo_x AS SELECT 1",
        "CREATE TRIGGER x AFTER INSERT ON _opendo_kv BEGIN SELECT 1; END",
        "CREATE TRIGGER _opendo_x AFTER INSERT ON t BEGIN SELECT 1; END",
        "CREATE VIRTUAL TABLE _opendo_x USING fts5(a)",
        "CREATE VIEW v AS SELECT * FROM _opendo_kv; SELECT * FROM v",
        "CREATE TRIGGER x AFTER INSERT ON t BEGIN DELETE FROM _opendo_kv; END; INSERT INTO t VALUES (1)",
        "CREATE VIRTUAL TABLE f USING fts5(value, content='_opendo_kv', content_rowid='key'); SELECT * FROM f",
        "PRAGMA table_info(_opendo_kv)",
        "SELECT * FROM pragma_table_info('_opendo_kv')",
    ] {
        let error = place.sql.exec(sql, &[1, 2][..sql.matches('?').count()]).unwrap_err();
        let sqlite = error.sqlite().unwrap_or_else(|| panic!("{sql}: {error:?}"));
        assert!(["SQLITE_AUTH", "SQLITE_ERROR"].contains(&sqlite.code_name()), "{sql}: {error}");
        if !sql.contains("VIRTUAL") {
            assert_eq!(sqlite.code_name(), "SQLITE_AUTH", "{sql}: {error}");
        }
    }
    assert_eq!(place.db.get(&["secret".into()]).unwrap(), [Some("value".into())]);
    // A text is no name.
    assert_eq!(place.one::<String>("SELECT '_opendo_kv'"), "_opendo_kv");
}

#[test]
fn other_databases_extensions_and_the_engine_are_out_of_reach() {
    let place = Place::new();
    place.exec("CREATE TABLE t(a)");
    for sql in [
        "ATTACH ':memory:' AS x",
        "DETACH main",
        "CREATE TEMP TABLE x(a)",
        "CREATE TABLE temp.x(a)",
        "CREATE TEMP VIEW x AS SELECT 1",
        "CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END",
        "CREATE VIRTUAL TABLE temp.x USING fts5(a)",
        "CREATE VIRTUAL TABLE x USING rtree(a, b, c)",
        "CREATE VIRTUAL TABLE x USING fts4(a)",
        "CREATE VIRTUAL TABLE x USING dbstat",
        "PRAGMA user_version",
        "PRAGMA user_version = 7",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA synchronous = OFF",
        "PRAGMA writable_schema = ON",
        "PRAGMA max_page_count = 1000000000",
        "PRAGMA locking_mode = NORMAL",
        "PRAGMA wal_checkpoint",
        "SELECT * FROM pragma_user_version",
        "SELECT sqlite_version()",
        "SELECT load_extension('x')",
        "SELECT sqlite_compileoption_get(0)",
        "SELECT fts3_tokenizer('simple')",
    ] {
        let said = place.refused(sql);
        assert!(said.contains("SQLITE_AUTH") || said.contains("not authorized"), "{sql}: {said}");
    }
    assert!(place.refused("SELECT sqlite_rename_table(1, 2, 3, 4, 5, 6, 7)").contains("no such function"));
    assert!(place.refused("DELETE FROM sqlite_schema").contains("may not be modified"));
    assert!(place.refused("VACUUM").contains("from within a transaction"));
    assert!(place.refused("VACUUM INTO 'x'").contains("from within a transaction"));
    assert!(place.refused("SELECT \"misspelt\"").contains("no such column"));
}

#[test]
fn what_is_harmless_works() {
    let place = Place::new();
    place.exec("CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p REFERENCES p(id), j TEXT)");
    assert_eq!(place.one::<i64>("PRAGMA foreign_keys"), 1);
    assert!(place.refused("INSERT INTO c VALUES (1, '')").contains("SQLITE_CONSTRAINT_FOREIGNKEY"));
    assert_eq!(place.sql.exec("PRAGMA table_info(c)", ()).unwrap().raw().len(), 2);
    place.exec("PRAGMA quick_check; PRAGMA table_list; ANALYZE; REINDEX; PRAGMA optimize");
    place.exec("ALTER TABLE c RENAME TO d; ALTER TABLE d RENAME COLUMN j TO k; ALTER TABLE d DROP COLUMN k");
    assert_eq!(place.one::<i64>("SELECT json_extract('{\"a\":[1,2]}', '$.a[1]')"), 2);
    assert_eq!(place.one::<i64>("SELECT '{\"a\":3}' ->> 'a'"), 3);
    assert_eq!(place.one::<i64>("SELECT sum(value) FROM json_each('[1,2,3]')"), 6);
    assert_eq!(place.one::<String>("SELECT strftime('%Y', 0, 'unixepoch')"), "1970");
    let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9)
        SELECT sum(r) FROM (SELECT row_number() OVER (ORDER BY i) AS r FROM n)";
    assert_eq!(place.one::<i64>(sql), 45);
}

#[test]
fn sql_computes() {
    let place = Place::new();
    let nothing: (Option<f64>, Option<f64>, Option<f64>) = place.one("SELECT sqrt(-1), ln(0), acos('x')");
    assert_eq!(nothing, (None, None, None));
    let found: (f64, f64, f64, f64) =
        place.one("SELECT pow(2, 10), log(1000), log(2, 8), round(sin(pi() / 2))");
    assert!((found.0 - 1024.0).abs() < 1e-9 && (found.1 - 3.0).abs() < 1e-9 && (found.2 - 3.0).abs() < 1e-9);
    assert!((found.3 - 1.0).abs() < 1e-9);
    assert_eq!(
        place.one::<(i64, f64, f64)>("SELECT ceil(9007199254740993), floor(-1.5), trunc('2.9')").0,
        9_007_199_254_740_993
    );
    // Also where a schema calls them.
    place.exec("CREATE TABLE t(a CHECK (sqrt(a) < 3)); INSERT INTO t VALUES (4)");
    assert!(place.refused("INSERT INTO t VALUES (16)").contains("CHECK"));
}

#[test]
fn full_text_search_works_and_survives() {
    let place = Place::new();
    place.exec(
        "CREATE TABLE doc(id INTEGER PRIMARY KEY, text);
        CREATE VIRTUAL TABLE search USING fts5(text, content='doc', content_rowid='id');
        CREATE TRIGGER added AFTER INSERT ON doc BEGIN
            INSERT INTO search(rowid, text) VALUES (new.id, new.text); END;
        INSERT INTO doc(text) VALUES ('a durable object'), ('a plain one')",
    );
    place.seal();
    let place = place.reopened();
    let sql = "SELECT highlight(search, 0, '<', '>') FROM search WHERE search MATCH 'durable' ORDER BY bm25(search)";
    assert_eq!(place.one::<String>(sql), "a <durable> object");
}

#[test]
fn a_pragma_that_writes_is_part_of_the_transaction() {
    let place = Place::new();
    place.exec("CREATE TABLE t(a); CREATE INDEX i ON t(a)");
    place.seal();
    place.exec("PRAGMA optimize = 0x10002");
    place.db.rollback();
    place.db.end();
    assert_eq!(
        place.reopened().one::<i64>("SELECT count(*) FROM sqlite_schema WHERE name = 'sqlite_stat1'"),
        0
    );
}
