use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::*;
use crate::encoding::capnweb::{Malformed, Resolver, Special, append, evaluate, take};
use crate::encoding::{Form, Shape, decode_all, with_encoder};
use crate::rpc::cap::{self, AllPassed, Passed};

/// Text carries no capabilities here.
struct Nothing;

impl Resolver for Nothing {
    fn begin_arguments(&mut self) {}

    fn special(&mut self, special: Special<'_>) -> Result<u32, Malformed> {
        Err(Malformed::new(format!("{special:?}")))
    }
}

fn text_of<T: Serialize>(value: &T) -> (String, AllPassed) {
    let mut out = Vec::new();
    let (appended, passed) = cap::encoding(|| append(value, &mut out));
    appended.unwrap();
    (String::from_utf8(out).unwrap(), passed)
}

fn through_text<T: Serialize + DeserializeOwned>(value: &T) -> T {
    let (text, passed) = text_of(value);
    if passed.is_empty() {
        assert_eq!(evaluate(&text, &mut Nothing).unwrap(), None, "{text}");
    }
    cap::decoding(passed, || take(&text)).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn through_bytes<T: Serialize + DeserializeOwned + 'static>(value: &T) -> T {
    let (body, passed) = with_encoder(
        Form::Postcard,
        Shape::Value,
        |out| out.append(value),
        |encoded| encoded.map(|(body, passed)| (body.to_vec(), passed)).unwrap(),
    );
    decode_all(Form::Postcard, &Shape::Value, &body, passed, |input| input.take()).unwrap()
}

fn value() -> impl Strategy<Value = Value> {
    let bytes = any::<Vec<u8>>().prop_map(Bytes::from);
    let pairs = any::<Vec<(String, String)>>().prop_map(Headers);
    let scalar = prop_oneof![
        Just(()).prop_map(Value::from),
        Just(None::<()>).prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_filter("NaN is equal to nothing", |it| !it.is_nan()).prop_map(Value::from),
        any::<i128>().prop_map(|it| Value::BigInt(it.into())),
        any::<String>().prop_map(Value::from),
        any::<f64>().prop_map(|it| Date::from_millis(it).into()),
        bytes.clone().prop_map(Value::from),
        bytes.clone().prop_map(|it| Value::Bytes(it, ByteContainer::DataView)),
        bytes.clone().prop_map(|it| Value::Bytes(it.slice(..it.len() / 8 * 8), ByteContainer::Float64Array)),
        (any::<String>(), bytes).prop_map(|(kind, bytes)| Blob { kind, bytes }.into()),
        any::<String>().prop_map(|it| Url(it).into()),
        pairs.clone().prop_map(Value::from),
        (any::<String>(), "[A-Z]{0,4}", pairs.clone(), any::<String>()).prop_map(
            |(url, method, headers, body)| { Request { url, method, headers, body: body.into() }.into() }
        ),
        (any::<u16>(), any::<String>(), pairs).prop_map(|(status, status_text, headers)| {
            Response { status, status_text, headers, body: Body::None }.into()
        }),
    ];
    scalar.prop_recursive(4, 32, 4, |inner| {
        let members = prop::collection::btree_map("[a-l_\"é]{0,4}", inner.clone(), 0..4);
        let members = members.prop_map(|members| members.into_iter().collect::<Vec<_>>());
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::Array),
            members.clone().prop_map(Value::Object),
            (any::<String>(), any::<String>(), any::<Option<String>>(), members)
                .prop_map(|(name, message, stack, props)| ErrorValue { name, message, stack, props }.into()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn values_come_through_both_encodings(value in value()) {
        prop_assert_eq!(&through_text(&value), &value);
        prop_assert_eq!(&through_bytes(&value), &value);
    }
}

#[test]
fn each_type_comes_through_by_itself() {
    macro_rules! both {
        ($($value:expr),*) => {$(
            assert_eq!(through_text(&$value), $value);
            assert_eq!(through_bytes(&$value), $value);
            // What one sends as a value another takes as what it is.
            let (text, passed) = text_of(&Value::from($value));
            assert_eq!(cap::decoding(passed, || take(&text)).map(|it| [it, $value]).map(|[a, b]| a == b).unwrap(), true);
        )*};
    }
    both!(
        BigInt::from(u128::MAX),
        Date::from_millis(1.5),
        Date::INVALID,
        ErrorValue::new("E", "m").with("cause", ErrorValue::new("F", "n")),
        Blob { kind: "text/plain".into(), bytes: "hi".into() },
        Url("https://a/".into()),
        Headers(vec![("a".into(), "b".into())]),
        Request { body: Bytes::from_static(b"x").into(), ..Request::get("https://a/") },
        Response { status: 404, ..Response::ok("gone") }
    );
    assert_eq!(take::<Value>("9007199254740993").unwrap(), 9_007_199_254_740_992.0.into());
    assert_eq!(take::<Value>(r#"["bigint","1"]"#).unwrap(), BigInt::from(1).into());
    assert_eq!(take::<BigInt>("12").unwrap(), BigInt::from(12));
    assert_eq!(take::<Date>("\"x\"").unwrap_err().to_string(), "expected a date, got a string");
    assert!(take::<BigInt>("1.5").is_err());
}

#[test]
fn values_are_written_as_javascript_has_them() {
    for (value, expected) in [
        (Value::Undefined, r#"["undefined"]"#),
        (Value::Null, "null"),
        (Value::from(u64::MAX), r#"["bigint","18446744073709551615"]"#),
        (Date::INVALID.into(), r#"["date",null]"#),
        (
            Value::Bytes(Bytes::from_static(&[1, 2]), ByteContainer::Uint16Array),
            r#"["bytes","AQI","Uint16Array"]"#,
        ),
        (
            Value::object([("a", 1.into()), ("b", Value::Array(Vec::new())), ("a", 2.into())]),
            r#"{"b":[[]],"a":2}"#,
        ),
        (
            ErrorValue { stack: Some("s".into()), ..ErrorValue::new("E", "m") }.into(),
            r#"["error","E","m","s"]"#,
        ),
        (
            ErrorValue::new("E", "m").with("toString", 1).with("name", 2).with("a", 3).into(),
            r#"["error","E","m",null,{"a":3}]"#,
        ),
        (ErrorValue::new("E", "m").with("stack", 1).into(), r#"["error","E","m"]"#),
        (
            Request { method: "POST".into(), body: "hi".into(), ..Request::get("u") }.into(),
            r#"["request","u",{"method":"POST","body":"hi","duplex":"half"}]"#,
        ),
        (Response::ok(Body::None).into(), r#"["response",null,{}]"#),
        (Headers(vec![("a".into(), "b".into())]).into(), r#"["headers",[["a","b"]]]"#),
    ] {
        assert_eq!(text_of(&value).0, expected);
    }
    let many = (0..20).chain(0..10).map(|at| (at.to_string(), at.into()));
    let many = text_of(&Value::object(many)).0;
    assert!(
        many.starts_with(r#"{"10":10,"11":11"#)
            && many.ends_with(r#""9":9}"#)
            && many.matches(':').count() == 20
    );
    let blob = Value::from(vec![Value::from(1), Blob { kind: "k".into(), bytes: "b".into() }.into()]);
    let (text, passed) = text_of(&blob);
    assert_eq!(text, r##"[[1,["#",0]]]"##);
    assert!(matches!(&passed[..], [Passed::Blob(blob)] if blob.kind == "k"));
}

#[tokio::test]
async fn streams_and_stubs_come_through() {
    use futures::StreamExt;

    fn value() -> Value {
        let (sink, stream) = crate::pipe::<Value>();
        let body = RpcStream::from_iter([Bytes::from_static(b"a").into(), "b".into()]);
        Value::object([
            ("w", sink.into()),
            ("r", stream.into()),
            ("re", Response::ok(Body::Stream(body)).into()),
        ])
    }
    for value in [through_text(&value()), through_bytes(&value())] {
        let Value::Object(members) = value else { panic!() };
        let [(_, w), (_, r), (_, re)] = <[_; 3]>::try_from(members).unwrap();
        let (mut sink, mut stream) = (RpcSink::try_from(w).unwrap(), RpcStream::try_from(r).unwrap());
        let (sent, read) = tokio::join!(sink.send("x".into()), stream.next());
        sent.unwrap();
        assert_eq!(read.unwrap().unwrap(), "x".into());
        assert_eq!(Response::try_from(re).unwrap().body.text().await.unwrap(), "ab");
    }
}

#[test]
fn values_go_into_types_that_look_at_anything() {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        Any(Value),
    }
    assert_eq!(take::<Either>("3").unwrap(), Either::Number(3));
    assert_eq!(
        take::<Either>("[[1,\"x\",null]]").unwrap(),
        Either::Any(vec![Value::from(1), "x".into(), Value::Null].into())
    );
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Holder {
        any: Value,
        maybe: Option<Value>,
        when: Date,
    }
    let holder = Holder { any: Value::Undefined, maybe: None, when: Date::from_millis(1.0) };
    assert_eq!(text_of(&holder).0, r#"{"any":["undefined"],"maybe":null,"when":["date",1]}"#);
    assert_eq!(through_text(&holder), holder);
    assert_eq!(through_bytes(&holder), holder);
}

/// What the npm package writes for these values.
const GOLDEN: &str = include_str!("golden/lines.txt");

#[test]
fn what_the_reference_writes_is_read_and_written_the_same() {
    for line in GOLDEN.lines() {
        let (name, text) = line.split_once('\t').unwrap();
        assert_eq!(evaluate(text, &mut Nothing), Ok(None), "{name}");
        let value: Value = take(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(text_of(&value).0, text, "{name}");
        assert_eq!(text_of(&through_bytes(&value)).0, text, "{name}");
    }
}

#[test]
fn the_reference_and_types_agree() {
    fn golden<T: DeserializeOwned>(name: &str) -> T {
        let line = GOLDEN.lines().find(|line| line.split('\t').next() == Some(name)).unwrap();
        take(line.split_once('\t').unwrap().1).unwrap()
    }
    assert_eq!(golden::<i8>("negative"), -7);
    assert_eq!(golden::<i64>("bigint-negative"), i64::MIN);
    assert_eq!(golden::<String>("string"), "a\"\\\n\u{1}\u{2028}é😀");
    assert_eq!(golden::<Vec<u8>>("bytes"), [0, 255, 128]);
    assert_eq!(golden::<Bytes>("bytes"), [0, 255, 128][..]);
    assert_eq!(golden::<Vec<i16>>("Int16Array"), [-2, 2]);
    assert_eq!(golden::<Vec<u64>>("BigUint64Array"), [u64::MAX]);
    assert_eq!(golden::<Vec<f32>>("Float32Array"), [0.5, -1.5]);
    assert_eq!(golden::<Vec<f64>>("Float64Array"), [0.1]);
    assert_eq!(golden::<Url>("url").0, "https://example.com/a?b#c");
    assert_eq!(golden::<Headers>("headers").get("B"), Some("2"));
    assert_eq!(golden::<Response>("response").status, 404);
    let error = golden::<ErrorValue>("error-props");
    assert_eq!((error.name.as_str(), error.get("code").as_str()), ("TypeError", Some("E")));
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "Error: c");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever is done to a text, it is read or refused.
    #[test]
    fn no_text_is_too_strange(
        line in 0..GOLDEN.lines().count(),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), "[\\[\\]{}\",:#a0\\\\-]{0,3}"), 0..4),
    ) {
        let mut text: Vec<char> = GOLDEN.lines().nth(line).unwrap().split_once('\t').unwrap().1.chars().collect();
        for (at, new) in cuts {
            let at = at.index(text.len() + 1);
            text.splice(at..(at + 1).min(text.len()), new.chars());
        }
        let text: String = text.into_iter().collect();
        let evaluated = evaluate(&text, &mut Nothing);
        let taken = cap::decoding(AllPassed::NOTHING, || take::<Value>(&text));
        if let Ok(None) = evaluated && let Ok(value) = taken {
            let again = text_of(&value).0;
            prop_assert_eq!(text_of(&take::<Value>(&again).unwrap()).0, again);
        }
    }
}

/// What a peer nests takes stack, and a thread has as much as it has.
#[test]
fn values_as_deep_as_they_may_be_need_little_stack() {
    for (open, close) in [("[[", "]]"), (r#"{"a":"#, "}"), (r#"["error","a","b",null,{"a":"#, "}]")] {
        let text = [&open.repeat(255), "1", &close.repeat(255)].concat();
        let through = move || {
            assert_eq!(evaluate(&text, &mut Nothing), Ok(None));
            let value: Value = take(&text).unwrap();
            assert_eq!(text_of(&value).0, text);
        };
        std::thread::Builder::new().stack_size(256 * 1024).spawn(through).unwrap().join().unwrap();
    }
}
