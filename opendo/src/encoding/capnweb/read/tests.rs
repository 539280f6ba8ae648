use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::StreamExt;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;
use crate::encoding::capnweb::append;
use crate::encoding::{Encoded, Form};
use crate::rpc::arg::Value as Promised;
use crate::rpc::cap::{AllPassed, Passed};
use crate::stream::RpcStream;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Everything {
    unit: (),
    flag: bool,
    small: i8,
    large: u64,
    huge: i128,
    float: f64,
    short: f32,
    letter: char,
    text: String,
    bytes: Vec<u8>,
    option: Option<Vec<Option<u16>>>,
    pair: (u8, String),
    map: BTreeMap<String, Kind>,
    numbers: BTreeMap<i32, ()>,
    pairs: BTreeMap<(bool, u8), String>,
    by_kind: BTreeMap<Kind, bool>,
    #[serde(default)]
    time: Option<SystemTime>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Kind {
    Plain,
    New(Vec<u8>),
    Two(u8, i64),
    Named { a: Option<bool> },
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Plain),
        any::<Vec<u8>>().prop_map(Kind::New),
        any::<(u8, i64)>().prop_map(|(a, b)| Kind::Two(a, b)),
        any::<Option<bool>>().prop_map(|a| Kind::Named { a }),
    ]
}

fn everything() -> impl Strategy<Value = Everything> {
    let scalars = (any::<(bool, i8, u64, i128, f64, f32, char, String)>(), any::<Vec<u8>>());
    let maps = (
        prop::collection::btree_map("[a-z\"\\\\é]{0,3}", kind(), 0..4),
        any::<BTreeMap<i32, ()>>(),
        any::<BTreeMap<(bool, u8), String>>(),
        prop::collection::btree_map(kind(), any::<bool>(), 0..4),
    );
    let rest = (any::<Option<Vec<Option<u16>>>>(), any::<(u8, String)>(), any::<Option<u32>>());
    (scalars, maps, rest).prop_map(
        |((scalars, bytes), (map, numbers, pairs, by_kind), (option, pair, time))| {
            let (flag, small, large, huge, float, short, letter, text) = scalars;
            let time = time.map(|millis| UNIX_EPOCH + Duration::from_millis(millis.into()));
            Everything {
                unit: (),
                flag,
                small,
                large,
                huge,
                float,
                short,
                letter,
                text,
                bytes,
                option,
                pair,
                map,
                numbers,
                pairs,
                by_kind,
                time,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read(value in everything()) {
        let mut text = Vec::new();
        append(&value, &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        prop_assert_eq!(take::<Everything>(&text).unwrap(), value, "{}", text);
    }
}

fn reads<T: DeserializeOwned + PartialEq + Debug>(cases: &[&str], expected: &T) {
    for text in cases {
        match take::<T>(text) {
            Ok(value) => assert_eq!(value, *expected, "{text}"),
            Err(error) => panic!("{text}: {error}"),
        }
    }
}

fn refusal<T: DeserializeOwned + Debug>(text: &str) -> String {
    take::<T>(text).unwrap_err().to_string()
}

#[test]
fn what_javascript_means_is_understood() {
    reads(&["200", "2e2", "200.0", r#"["bigint","200"]"#, r#"["bigint","0xc8"]"#], &200_u8);
    reads(&["-5", r#"["bigint"," -5 "]"#], &-5_i64);
    reads(&["18446744073709551615", r#"["bigint","18446744073709551615"]"#], &u64::MAX);
    reads(&[r#"["bigint","-170141183460469231731687303715884105728"]"#], &i128::MIN);
    reads(&[r#"["bigint","340282366920938463463374607431768211455"]"#], &u128::MAX);
    reads(&["1", "1.0"], &1.0_f64);
    reads(&[r#"["inf"]"#, "1e999"], &f64::INFINITY);
    assert!(take::<f64>(r#"["nan"]"#).unwrap().is_nan());
    reads(&["null", r#"["undefined"]"#], &None::<u8>);
    reads(&["null", r#"["undefined"]"#], &());
    reads(&["\"\\ud800\"", "\"\u{fffd}\""], &"\u{fffd}".to_owned());
    reads(&["\"a\"", r#"["url","a"]"#], &"a".to_owned());
    reads(&[r#"["bytes","AQI"]"#, r#"["bytes","AQI=","DataView"]"#, "[[1,2]]", "[[1.0,2]]"], &vec![1_u8, 2]);
    reads(&[r#"["bytes","AQI"]"#, r#"["bytes","AQI","ArrayBuffer"]"#], &Bytes::from_static(&[1, 2]));
    reads(&[r#"["bytes","//8","Int16Array"]"#], &vec![-1_i32]);
    reads(&[r#"["bytes","AACAPw","Float32Array"]"#], &vec![1.0_f64]);
    reads(&[r#"["bytes","AQAAAAAAAAA","BigInt64Array"]"#], &vec![1_u64]);
    reads(&[r#"["date",1500.5]"#], &(UNIX_EPOCH + Duration::from_micros(1_500_500)));
    reads(&[r#"[["a",1]]"#, r#" [ [ "a" , 1 ] ] "#], &("a".to_owned(), 1_u8));
    reads(&[r#"["headers",[["a","b"]]]"#, r#"[[[["a","b"]]]]"#], &vec![("a".to_owned(), "b".to_owned())]);
    reads(
        &[r#"["headers",[["a","b"]]]"#, r#"{"a":"b"}"#],
        &HashMap::from([("a".to_owned(), "b".to_owned())]),
    );
}

#[test]
fn structs_take_what_they_know() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Fields {
        a: u8,
        b: Option<String>,
        #[serde(default)]
        c: bool,
    }
    let expected = Fields { a: 1, b: None, c: false };
    reads(&[r#"{"a":1}"#, r#"{"b":null,"x":[[{}]],"a":1}"#, r#"{"a":1,"b":["undefined"]}"#], &expected);
    assert!(refusal::<Fields>(r#"{"b":"x"}"#).contains("missing field `a`"));

    #[derive(Debug, PartialEq, Deserialize)]
    struct Thrown {
        name: String,
        message: String,
        code: u16,
        cause: Option<Box<Thrown>>,
    }
    let cause = Thrown { name: "E".into(), message: "n".into(), code: 2, cause: None };
    let thrown =
        Thrown { name: "TypeError".into(), message: "m".into(), code: 1, cause: Some(Box::new(cause)) };
    reads(
        &[r#"["error","TypeError","m",null,{"code":1,"cause":["error","E","n","at x",{"code":2}]}]"#],
        &thrown,
    );

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u32),
        Text(String),
        List(Vec<Either>),
    }
    reads(&[r#"[["a",1]]"#], &Either::List(vec![Either::Text("a".into()), Either::Number(1)]));
}

#[test]
fn what_does_not_fit_is_refused_in_words() {
    assert_eq!(refusal::<u64>("\"x\""), "expected an integer, got \"x\"");
    assert_eq!(refusal::<u64>("1.5"), "expected an integer, got 1.5");
    assert_eq!(refusal::<f64>("null"), "expected a number, got null");
    assert_eq!(refusal::<String>("{\"a\":1}"), "expected a string, got {\"a\":1}");
    assert_eq!(refusal::<Vec<u16>>("{}"), "expected an array, got {}");
    assert_eq!(refusal::<BTreeMap<String, u8>>("5"), "expected an object, got 5");
    assert_eq!(refusal::<bool>("1"), "expected a boolean, got 1");
    assert_eq!(refusal::<SystemTime>(r#"["date",null]"#), "expected a date, got the invalid one");
    assert_eq!(refusal::<SystemTime>(r#"["date",-1]"#), "expected a date from 1970 on");
    assert_eq!(refusal::<()>("0"), "expected undefined, got 0");
    assert!(refusal::<u8>("300").contains("300"));
    // JavaScript does not take one for the other, and integers have no other form beyond 2^53.
    assert!(refusal::<f64>(r#"["bigint","1"]"#).contains("expected a number"));
    assert!(refusal::<u64>(r#"["bigint","18446744073709551616"]"#).contains("18446744073709551616"));
    assert!(refusal::<Kind>("\"Other\"").contains("unknown variant `Other`"));
    assert!(refusal::<Kind>("3").contains("Plain, New, Two, Named"));
    assert!(refusal::<(u8, u8)>("[[1]]").contains("length"));
    assert!(refusal::<(u8, u8)>("[[1,2,3]]").contains("end of the list"));
    assert!(refusal::<String>(&"9".repeat(10_000)).len() < 200);
    assert!(refusal::<u8>("1 2").contains("Unexpected token"));
}

#[test]
fn a_text_cut_anywhere_is_refused() {
    let text = r#"{"unit":["undefined"],"list":[["bytes","AAE"],1.5e3,true,null]}"#;
    for end in 0..text.len() {
        assert!(take::<HashMap<String, serde::de::IgnoredAny>>(&text[..end]).is_err(), "{end}");
    }
}

#[test]
fn arguments_are_taken_one_by_one() {
    let mut args = ArgsReader::new(r#"[1,"a",[[]],{"x":2}]"#).unwrap();
    assert_eq!(args.next::<u8>().unwrap(), 1);
    assert_eq!(args.next::<String>().unwrap(), "a");
    assert_eq!(args.rest().unwrap(), ["[[]]", r#"{"x":2}"#]);
    let mut args = ArgsReader::new("[]").unwrap();
    assert_eq!(args.next::<Option<u8>>().unwrap(), None);
    args.next::<()>().unwrap();
    assert_eq!(args.next::<u8>().unwrap_err().to_string(), "expected an integer, got [\"undefined\"]");
    assert!(ArgsReader::new("{}").is_err());
}

fn there(text: impl Into<String>, passed: impl Into<AllPassed>) -> Passed {
    let (bytes, passed) = (Bytes::from(text.into()), passed.into());
    Passed::Value(Promised::There(Encoded { form: Form::CapnWeb, bytes, passed }))
}

#[test]
fn what_a_promise_resolved_to_is_read_in_its_place() {
    let inner = there(r##"{"a":["#",0],"b":2}"##, vec![there("7", AllPassed::NOTHING)]);
    let both = || vec![inner.clone(), there("null", AllPassed::NOTHING)];
    let value: (BTreeMap<String, u8>, Option<u8>, u8) =
        cap::decoding(both().into(), || take(r##"[[["#",0],["#",1],3]]"##)).unwrap();
    assert_eq!(value, (BTreeMap::from([("a".into(), 7), ("b".into(), 2)]), None, 3));
}

/// A body that is a stream of `1, 2`.
fn stream() -> Passed {
    let (written, passed) = cap::encoding(|| append(&RpcStream::from_iter([1_u8, 2]), &mut Vec::new()));
    written.unwrap();
    there(r##"["#",0]"##, passed)
}

#[tokio::test]
async fn promises_of_streams_and_of_promises_of_them_are_streams() {
    for promise in [stream(), there(r##"["#",0]"##, vec![stream()])] {
        let table = vec![there("7", AllPassed::NOTHING), promise.clone()];
        let (stream, number): (RpcStream<u8>, u8) =
            cap::decoding(table.into(), || take(r##"[[["#",1],["#",0]]]"##)).unwrap();
        assert_eq!(number, 7);
        assert_eq!(stream.map(Result::unwrap).collect::<Vec<_>>().await, [1, 2]);
    }
    let table = vec![stream(), there(r#"{"a":1}"#, AllPassed::NOTHING)];
    let value: Vec<crate::Value> = cap::decoding(table.into(), || take(r##"[[["#",1],["#",0]]]"##)).unwrap();
    assert_eq!(value[0].get("a").as_f64(), Some(1.0));
    assert!(matches!(value[1], crate::Value::Readable(_)));
}

#[test]
fn what_is_no_capability_or_not_in_the_message_is_no_stream() {
    let read =
        |text: &str, table| cap::decoding(table, || take::<RpcStream<u8>>(text)).unwrap_err().to_string();
    assert_eq!(read("5", AllPassed::NOTHING), "expected a stream to read, got 5");
    assert_eq!(
        read(r##"["#",0]"##, there("5", AllPassed::NOTHING).into()),
        "expected a stream to read, got 5"
    );
    for text in [r##"["#",0]"##, r##"["#",4294967295]"##] {
        assert_eq!(read(text, AllPassed::NOTHING), "a capability that is not in the message");
    }
    assert_eq!(
        read(r##"["#",99999999999]"##, AllPassed::NOTHING),
        r##"expected a stream to read, got ["#",99999999999]"##
    );
}

#[test]
fn bodies_in_bodies_cannot_outgrow_the_stack() {
    #[derive(Debug, Deserialize)]
    struct Nested(#[allow(dead_code)] Vec<Nested>);
    let mut promise = there("[[]]", AllPassed::NOTHING);
    for _ in 0..200 {
        promise = there(format!("{}[\"#\",0]{}", "[[".repeat(100), "]]".repeat(100)), vec![promise]);
    }
    let error = cap::decoding(promise.into(), || take::<Nested>(r##"["#",0]"##)).unwrap_err();
    assert!(error.to_string().contains("depth"), "{error}");
}
