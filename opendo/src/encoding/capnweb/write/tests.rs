use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;

use super::*;

#[derive(Serialize)]
struct Unit;

#[derive(Serialize)]
struct Byte(u8);

#[derive(Serialize)]
struct Point {
    x: f64,
    label: Option<&'static str>,
}

#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Plain,
    New(u16),
    Two(u8, bool),
    Named { a: () },
}

fn text<T: Serialize>(value: T) -> String {
    let mut out = b"before".to_vec();
    append(&value, &mut out).unwrap();
    String::from_utf8(out).unwrap().strip_prefix("before").unwrap().to_owned()
}

fn refusal<T: Serialize>(value: T) -> String {
    let mut out = b"before".to_vec();
    let error = append(&value, &mut out).unwrap_err();
    assert_eq!(out, b"before");
    error.to_string()
}

#[test]
fn numbers_are_numbers_as_long_as_doubles_tell_them_apart() {
    assert_eq!(text((1_i8, -1_i64, u32::MAX)), "[[1,-1,4294967295]]");
    assert_eq!(text(9_007_199_254_740_992_u64), "9007199254740992");
    assert_eq!(text(9_007_199_254_740_993_u64), r#"["bigint","9007199254740993"]"#);
    assert_eq!(text(i64::MIN), r#"["bigint","-9223372036854775808"]"#);
    assert_eq!(text(u128::MAX), format!("[\"bigint\",\"{}\"]", u128::MAX));
    assert_eq!((text(-5_i128), text(5_u128)), ("-5".into(), "5".into()));
    assert_eq!(text([1.0, -0.0, 0.5, 1e300]), "[[1,0,0.5,1e+300]]");
    assert_eq!((text(0.1_f32), text(3.0_f32)), ("0.1".into(), "3".into()));
    assert_eq!(text([f64::NAN, f64::INFINITY, f64::NEG_INFINITY]), r#"[[["nan"],["inf"],["-inf"]]]"#);
    assert_eq!(text(f32::NAN), r#"["nan"]"#);
}

#[test]
fn lists_of_nothing_but_bytes_are_bytes() {
    assert_eq!(text(vec![1_u8, 2, 3]), r#"["bytes","AQID"]"#);
    assert_eq!(text([0_u8; 4]), r#"["bytes","AAAAAA"]"#);
    assert_eq!(text(vec![Byte(255)]), r#"["bytes","/w"]"#);
    assert_eq!(text((1_u8, 2_u8, true)), "[[1,2,true]]");
    assert_eq!(text((1_u8, vec![2_u8])), r#"[[1,["bytes","Ag"]]]"#);
    assert_eq!(text(vec![Some(1_u8), None]), "[[1,null]]");
    assert_eq!(text(vec![Some(1_u8)]), "[[1]]");
    assert_eq!(text(Vec::<u8>::new()), "[[]]");
    assert_eq!(text(::bytes::Bytes::from_static(b"a")), r#"["bytes","YQ"]"#);
    assert_eq!(text([[1_u8, 2]]), r#"[[["bytes","AQI"]]]"#);
}

#[test]
fn compounds_have_the_form_that_javascript_expects() {
    assert_eq!(text(()), r#"["undefined"]"#);
    assert_eq!(text(Unit), r#"["undefined"]"#);
    assert_eq!(text(None::<()>), "null");
    assert_eq!(text(Point { x: 1.5, label: None }), r#"{"x":1.5,"label":null}"#);
    assert_eq!(text("a\"\u{1}é\u{2028}"), "\"a\\\"\\u0001é\u{2028}\"");
    assert_eq!(text('x'), "\"x\"");
    let kinds = [Kind::Plain, Kind::New(1), Kind::Two(1, true), Kind::Named { a: () }];
    assert_eq!(text(kinds), r#"[["Plain",{"New":1},{"Two":[[1,true]]},{"Named":{"a":["undefined"]}}]]"#);
    assert_eq!(text(UNIX_EPOCH + Duration::from_micros(1_500_500)), r#"["date",1500.5]"#);
    assert_eq!(text(Duration::from_secs(1)), r#"{"secs":1,"nanos":0}"#);
    assert_eq!(text(vec![UNIX_EPOCH]), r#"[[["date",0]]]"#);
}

#[test]
fn maps_are_objects_if_their_keys_are_texts() {
    assert_eq!(text(BTreeMap::from([("a", 1), ("b", 2)])), r#"{"a":1,"b":2}"#);
    assert_eq!(text(BTreeMap::from([(1_u8, 2_u8), (3, 4)])), r#"{"1":2,"3":4}"#);
    assert_eq!(text(BTreeMap::from([(true, 'c')])), r#"{"true":"c"}"#);
    assert_eq!(text(BTreeMap::from([((1, "a"), 2)])), r#"[[[[[[1,"a"]],2]]]]"#);
    assert_eq!(
        text(BTreeMap::from([(vec![1_u8], 1), (vec![], 2)])),
        r#"[[[[[[]],2]],[[["bytes","AQ"],1]]]]"#
    );
    let mixed = BTreeMap::from([(Kind::Plain, 1), (Kind::New(2), 3), (Kind::Named { a: () }, 4)]);
    assert_eq!(text(mixed), r#"[[[["Plain",1]],[[{"New":2},3]],[[{"Named":{"a":["undefined"]}},4]]]]"#);
    assert_eq!(text(BTreeMap::<Kind, ()>::new()), "{}");
}

#[test]
fn members_that_the_peer_would_drop_are_refused() {
    for key in ["__proto__", "constructor", "toString", "toJSON", "hasOwnProperty"] {
        assert!(refusal(BTreeMap::from([("a", 1), (key, 2)])).contains(key));
    }
    #[derive(Serialize)]
    #[allow(non_camel_case_types, dead_code)]
    enum Odd {
        valueOf(u8),
    }
    assert!(refusal(vec![Odd::valueOf(1)]).contains("valueOf"));
}

#[derive(Serialize)]
struct Nested(Vec<Nested>);

fn nested(levels: usize) -> Nested {
    (0..levels).fold(Nested(Vec::new()), |value, _| Nested(vec![value]))
}

#[test]
fn nesting_is_bounded() {
    assert_eq!(text(nested(255)).len(), 256 * 4);
    assert_eq!(refusal(nested(256)), TOO_DEEP);
}

#[test]
fn arguments_are_one_level_down() {
    let mut out = Vec::new();
    append_argument(&nested(254), &mut out).unwrap();
    assert_eq!(append_argument(&nested(255), &mut out).unwrap_err().to_string(), TOO_DEEP);
}
