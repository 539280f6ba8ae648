//! Statements, parameters and rows: checklist 6.1 to 6.5, 6.9 to 6.13, 6.15.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::*;
use crate::object::sql::SqlValue;

#[test]
fn of_several_statements_the_last_one_has_the_parameters_and_the_rows() {
    let place = Place::new();
    let rows = place
        .sql
        .exec("CREATE TABLE t(a); INSERT INTO t VALUES (1); /* ; */ SELECT a + ? AS b FROM t; --", 2);
    let rows = rows.unwrap();
    assert_eq!((rows.columns(), rows.one::<i64>().unwrap()), (&["b".to_owned()][..], 3));
    let error = place.sql.exec("INSERT INTO t VALUES (?); SELECT 1", 2).unwrap_err();
    assert_eq!(error, SqlError::ParameterCount { expected: 1, given: 0 });
    assert_eq!(place.one::<i64>("SELECT count(*) FROM t"), 1);
}

#[test]
fn statements_before_one_that_fails_stay() {
    let place = Place::new();
    let text = "CREATE TABLE t(a UNIQUE); INSERT INTO t VALUES (1); INSERT INTO t VALUES (1); COMMIT";
    assert!(place.sql.exec(text, ()).unwrap_err().is_constraint());
    assert_eq!(place.one::<i64>("SELECT count(*) FROM t"), 1);
}

#[test]
fn a_trigger_is_one_statement() {
    let place = Place::new();
    place.exec(
        "CREATE TABLE t(a); CREATE TABLE log(a);
        CREATE TRIGGER copy AFTER INSERT ON t BEGIN INSERT INTO log VALUES (new.a); SELECT 1; END;
        INSERT INTO t VALUES ('x;y')",
    );
    assert_eq!(place.one::<String>("SELECT a FROM log"), "x;y");
}

#[test]
fn a_statement_has_run_when_its_rows_were_not_read() {
    let place = Place::new();
    place.exec("CREATE TABLE t(a UNIQUE)");
    let nothing = |_: &mut crate::sql::Cursor<'_>| Ok::<_, SqlError>(());
    place.sql.cursor("INSERT INTO t VALUES (1), (2) RETURNING a", (), nothing).unwrap();
    assert_eq!(place.one::<i64>("SELECT count(*) FROM t"), 2);
    assert!(place.sql.cursor("INSERT INTO t VALUES (1)", (), nothing).unwrap_err().is_constraint());
}

#[test]
fn one_row_is_neither_none_nor_two() {
    let place = Place::new();
    place.exec("CREATE TABLE t(a)");
    let one = || place.sql.query_one::<i64>("SELECT a FROM t", ());
    let said = "Expected exactly one result from SQL query, but got no results.";
    assert_eq!(one().unwrap_err().to_string(), said);
    assert_eq!(place.sql.query_optional::<i64>("SELECT a FROM t", ()).unwrap(), None);
    place.exec("INSERT INTO t VALUES (7)");
    assert_eq!(one().unwrap(), 7);
    place.exec("INSERT INTO t VALUES (7)");
    let said = "Expected exactly one result from SQL query, but got multiple results.";
    assert_eq!(one().unwrap_err().to_string(), said);
    assert_eq!(place.sql.exec("SELECT a FROM t", ()).unwrap().one::<i64>().unwrap_err().to_string(), said);
}

#[test]
fn a_text_without_a_statement_is_refused() {
    let place = Place::new();
    for sql in ["", "  ", ";", "-- nothing", "/* nothing */;"] {
        assert_eq!(place.refused(sql), "SQL code did not contain a statement.", "{sql:?}");
    }
    assert_eq!(
        place.sql.exec("SELECT ?", ()).unwrap_err(),
        SqlError::ParameterCount { expected: 1, given: 0 }
    );
    assert_eq!(
        place.sql.exec("SELECT 1", (1,)).unwrap_err(),
        SqlError::ParameterCount { expected: 0, given: 1 }
    );
}

#[test]
fn parameters_keep_their_types() {
    let place = Place::new();
    let types = |params: &dyn Fn() -> Result<Vec<String>, SqlError>| params().unwrap();
    let sql = "SELECT typeof(?), typeof(?), typeof(?), typeof(?), typeof(?)";
    let found = types(&|| place.sql.query_one(sql, (5_u8, 1.5, "text", vec![1_u8, 2], None::<i64>)));
    assert_eq!(found, ["integer", "real", "text", "blob", "null"]);
    let found = types(&|| place.sql.query_one(sql, (true, 'c', ByteBuf::from([1]), [0_u8; 4], ())));
    assert_eq!(found, ["integer", "text", "blob", "blob", "null"]);
    assert_eq!(place.sql.query_one::<i64>("SELECT ?", i64::MIN).unwrap(), i64::MIN);
    assert_eq!(
        place.sql.query_one::<i64>("SELECT ?", 9_007_199_254_740_993_i64).unwrap(),
        9_007_199_254_740_993
    );
    assert_eq!(place.sql.query_one::<i64>("SELECT ?1 + ?2", &[1, 2][..]).unwrap(), 3);
    assert_eq!(
        place.sql.query_one::<SqlValue>("SELECT ?", SqlValue::Blob(vec![9])).unwrap(),
        SqlValue::Blob(vec![9])
    );
}

#[test]
fn parameters_that_sqlite_has_no_type_for_are_refused() {
    let place = Place::new();
    let refused = |error: Result<i64, SqlError>| match error.unwrap_err() {
        SqlError::Parameter { reason } => reason,
        other => panic!("{other:?}"),
    };
    assert!(refused(place.sql.query_one("SELECT ?", u64::MAX)).contains("out of the range"));
    assert!(refused(place.sql.query_one("SELECT ?", f64::NAN)).contains("NaN"));
    assert!(refused(place.sql.query_one("SELECT ?", (vec![1_i64],))).contains("list"));
    assert!(refused(place.sql.query_one("SELECT ?", (vec!["a"],))).contains("list"));
    assert!(refused(place.sql.query_one("SELECT ?", (BTreeMap::from([("a", 1)]),))).contains("map"));
}

#[test]
fn fields_are_parameters_by_name() {
    #[derive(Serialize)]
    struct Params<'a> {
        id: i64,
        name: &'a str,
    }
    let place = Place::new();
    let params = Params { id: 7, name: "x" };
    let found: (String, i64) = place.sql.query_one("SELECT :name, $id + @id", &params).unwrap();
    assert_eq!(found, ("x".to_owned(), 14));
    let error = place.sql.query_one::<i64>("SELECT :id, :nam", &params).unwrap_err();
    assert_eq!(error.to_string(), "SQL parameters: there is no field for `:nam`");
    let error = place.sql.query_one::<i64>("SELECT :id", &params).unwrap_err();
    assert_eq!(error.to_string(), "SQL parameters: the statement has no `:name`");
    let error = place.sql.query_one::<i64>("SELECT :id, :name, ?", &params).unwrap_err();
    assert_eq!(error.to_string(), "SQL parameters: fields have names, and the statement has a `?`");
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Colour {
    Red,
    Green,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Id(i64);

#[test]
fn rows_are_structs_tuples_and_single_values() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Row {
        id: Id,
        colour: Option<Colour>,
        done: bool,
        bytes: Vec<u8>,
        share: f64,
    }
    let place = Place::new();
    place.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, share, bytes, done, colour, more)");
    let row = (Id(1), 1, [1_u8, 2], true, Colour::Green);
    place.sql.exec("INSERT INTO t VALUES (?, ?, ?, ?, ?, NULL)", row).unwrap();
    let row: Row = place.one("SELECT * FROM t");
    let bytes = vec![1, 2];
    assert_eq!(row, Row { id: Id(1), colour: Some(Colour::Green), done: true, bytes, share: 1.0 });
    let tuple: (Id, Option<Colour>, [u8; 2]) = place.one("SELECT id, NULL, bytes FROM t");
    assert_eq!(tuple, (Id(1), None, [1, 2]));
    assert_eq!(place.one::<Option<i64>>("SELECT max(more) FROM t"), None);
    assert_eq!(place.one::<ByteBuf>("SELECT bytes FROM t"), ByteBuf::from([1, 2]));
    assert_eq!(place.one::<Id>("SELECT id FROM t"), Id(1));
    assert_eq!(place.one::<BTreeMap<String, SqlValue>>("SELECT id, more FROM t").len(), 2);
}

#[test]
fn a_row_of_another_type_says_which_column_does_not_fit() {
    let place = Place::new();
    let said = |error: SqlError| match error {
        SqlError::Row { reason, .. } => reason,
        other => panic!("{other:?}"),
    };
    let error = place.sql.query_one::<(i64, i64)>("SELECT 1 AS a, 'x' AS b", ()).unwrap_err();
    assert_eq!(said(error), "column `b`: invalid type: string \"x\", expected i64");
    let error = place.sql.query_one::<(u8,)>("SELECT 256 AS a", ()).unwrap_err();
    assert!(said(error).starts_with("column `a`: invalid value: integer `256`"));
    let error = place.sql.query_one::<i64>("SELECT 1, 2", ()).unwrap_err();
    assert!(said(error).contains("2 columns"));
    let error = place.sql.query_one::<(i64, i64)>("SELECT 1, 2, 3", ()).unwrap_err();
    assert!(said(error).contains("3 columns"));
    let error = place.sql.query_one::<(bool,)>("SELECT 2 AS a", ()).unwrap_err();
    assert!(said(error).contains("boolean"));
    let error = place.sql.query_one::<(String,)>("SELECT CAST(x'ff' AS TEXT)", ()).unwrap_err();
    assert!(said(error).contains("utf-8"));
}

#[test]
fn of_columns_with_one_name_a_struct_sees_the_last() {
    #[derive(Deserialize)]
    struct Row {
        a: i64,
        b: i64,
    }
    let place = Place::new();
    let row: Row = place.one("SELECT 1 AS a, 2 AS b, 3 AS a");
    assert_eq!((row.a, row.b), (3, 2));
    let rows = place.sql.exec("SELECT 1 AS a, 2 AS b, 3 AS a", ()).unwrap();
    assert_eq!(rows.raw(), [[SqlValue::Integer(1), SqlValue::Integer(2), SqlValue::Integer(3)]]);
}

#[test]
fn a_cursor_is_no_snapshot_and_its_closure_may_use_the_database() {
    let place = Place::new();
    place.exec("CREATE TABLE t(a INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)");
    let mut seen = Vec::new();
    let read = place.sql.cursor("SELECT a FROM t ORDER BY a", (), |rows| {
        while let Some(a) = rows.next::<i64>()? {
            seen.push(a);
            if a < 4 {
                place.sql.transaction(|sql| sql.exec("INSERT INTO t VALUES (?)", a + 1))?;
            }
            place.db.get(&["k".into()])?;
        }
        Ok::<_, SqlError>(rows.columns().to_vec())
    });
    assert_eq!(read.unwrap(), ["a"]);
    assert_eq!(seen, [1, 2, 3, 4]);
}

#[test]
fn a_cursor_lends_what_it_reads() {
    let place = Place::new();
    let length = place.sql.cursor("SELECT 'abc', x'0102'", (), |rows| {
        let (text, bytes): (&str, &[u8]) = rows.next()?.unwrap();
        Ok::<_, SqlError>(text.len() + bytes.len())
    });
    assert_eq!(length.unwrap(), 5);
}

#[test]
fn a_failed_statement_undoes_itself_alone() {
    let place = Place::new();
    place.exec("CREATE TABLE t(a UNIQUE); INSERT INTO t VALUES (1)");
    let error = place.sql.exec("INSERT INTO t VALUES (2), (1)", ()).unwrap_err();
    assert!(error.is_constraint());
    assert_eq!(place.one::<i64>("SELECT count(*) FROM t"), 1);
    place.exec("INSERT INTO t VALUES (2)");
    place.seal();
    assert_eq!(place.reopened().one::<i64>("SELECT count(*) FROM t"), 2);
}

#[test]
fn errors_carry_sqlites_words_and_codes() {
    let place = Place::new();
    place.exec("CREATE TABLE un(a UNIQUE, b CHECK (b > 0)); INSERT INTO un VALUES (1, 1)");
    assert_eq!(place.refused("selec 1"), "near \"selec\": syntax error at offset 0: SQLITE_ERROR");
    assert_eq!(
        place.refused("INSERT INTO un VALUES (1, 1)"),
        "UNIQUE constraint failed: un.a: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_UNIQUE)"
    );
    assert_eq!(
        place.refused("INSERT INTO un VALUES (2, 0)"),
        "CHECK constraint failed: b > 0: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_CHECK)"
    );
    // The offset is in the whole text.
    let sql = "SELECT 1; SELECT 2; SELECT x FROM un";
    assert_eq!(place.refused(sql), "no such column: x at offset 27: SQLITE_ERROR");
    let error = place.sql.exec(sql, ()).unwrap_err();
    assert_eq!(error.sqlite().map(|error| (error.code, error.offset)), Some((1, Some(27))));
}

#[test]
fn select_of_everything_sees_a_column_that_was_added() {
    let place = Place::new();
    place.exec("CREATE TABLE t(a); INSERT INTO t VALUES (1)");
    assert_eq!(place.sql.exec("SELECT * FROM t", ()).unwrap().columns(), ["a"]);
    place.exec("ALTER TABLE t ADD COLUMN b DEFAULT 2");
    let rows = place.sql.exec("SELECT * FROM t", ()).unwrap();
    assert_eq!((rows.columns().len(), rows.one::<(i64, i64)>().unwrap()), (2, (1, 2)));
}

#[test]
fn rows_written_are_counted() {
    let place = Place::new();
    place.exec("CREATE TABLE t(a)");
    assert_eq!(place.sql.exec("INSERT INTO t VALUES (1), (2), (3)", ()).unwrap().rows_written(), 3);
    assert_eq!(place.sql.exec("UPDATE t SET a = 0 WHERE a > 1", ()).unwrap().rows_written(), 2);
    assert_eq!(place.sql.exec("SELECT * FROM t", ()).unwrap().rows_written(), 0);
}
