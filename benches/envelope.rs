//! Is a binary envelope really cheaper than JSON, and by how much?
//!
//! opendo's envelope (header and postcard arguments, as a session writes and reads them) beside the same fields as
//! typed JSON through `serde_json`, and as JSON through `serde_json::Value`. All write into buffers that are kept.

use std::hint::black_box;

use opendo::__private::append_postcard;
use opendo_transport::envelope::{CallHeader, EnvelopeView};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use serde_json::Value;

use crate::base64::Base64;
use crate::spread::Spread;
use crate::table::{Number, table};
use crate::timed::{Timed, measure, timed};

#[path = "common/base64.rs"]
mod base64;
#[path = "common/processor.rs"]
mod processor;
#[path = "common/spread.rs"]
mod spread;
#[path = "common/table.rs"]
mod table;
#[path = "common/timed.rs"]
mod timed;

/// The same call as JSON says it. The name stands where the binary envelope has the four bytes of its hash.
#[derive(Serialize, Deserialize)]
#[serde(bound(deserialize = "A: Deserialize<'de>"))]
struct JsonCall<'a, A> {
    call: u64,
    target: i64,
    #[serde(borrow)]
    method: &'a str,
    timestamp: u64,
    args: A,
}

const CALL: u64 = 300;
const TARGET: i64 = 2;
const METHOD: u32 = 0x1e47_b9f3;
const TIMESTAMP: u64 = 1_795_219_200_000_000;

/// One row of every table: the same arguments in the three forms.
struct Row {
    name: &'static str,
    sizes: [usize; 2],
    encode: [Timed; 3],
    decode: [Timed; 3],
    route: [Timed; 3],
}

/// One thing that is done with a call.
type Part = fn(&mut Row) -> &mut [Timed; 3];

fn binary<B: Serialize>(args: &B, scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
    scratch.clear();
    out.clear();
    // As a session does it: user code fills a scratch buffer, which then goes behind the header under the lock.
    append_postcard(args, scratch).expect("encodable");
    CallHeader { call: CALL, target: TARGET, method: METHOD, timestamp: TIMESTAMP, ..CallHeader::default() }
        .encode(out);
    out.extend_from_slice(scratch);
}

fn json<J>(args: J) -> JsonCall<'static, J> {
    JsonCall { call: CALL, target: TARGET, method: "increment", timestamp: TIMESTAMP, args }
}

fn row<B, J>(name: &'static str, args: B, json_args: J) -> Row
where
    B: Serialize + DeserializeOwned + Clone + 'static,
    J: Serialize + DeserializeOwned + Clone + 'static,
{
    let mut message = Vec::new();
    binary(&args, &mut Vec::new(), &mut message);
    let text = serde_json::to_vec(&json(json_args.clone())).expect("encodable");

    let encode = {
        let (mut scratch, mut out) = (Vec::new(), Vec::new());
        let (mut typed_out, mut value_out) = (Vec::new(), Vec::new());
        let (call, same_call) = (json(json_args.clone()), json(json_args));
        [
            timed(move || {
                binary(black_box(&args), &mut scratch, &mut out);
                out.len()
            }),
            timed(move || {
                typed_out.clear();
                serde_json::to_writer(&mut typed_out, black_box(&call)).expect("encodable");
                typed_out.len()
            }),
            timed(move || {
                value_out.clear();
                let value = serde_json::to_value(black_box(&same_call)).expect("encodable");
                serde_json::to_writer(&mut value_out, &value).expect("encodable");
                value_out.len()
            }),
        ]
    };
    let messages = || (message.clone(), text.clone(), text.clone());
    let decode = {
        let (message, typed, value) = messages();
        [
            timed(move || {
                let view = EnvelopeView::parse(black_box(&message)).expect("an envelope");
                let args: B = postcard::from_bytes(view.body()).expect("arguments");
                (view.call(), view.target(), view.method(), args)
            }),
            timed(move || {
                let call: JsonCall<'_, J> = serde_json::from_slice(black_box(&typed)).expect("a call");
                (call.call, call.target, call.method.len(), call.args)
            }),
            timed(move || {
                let call: Value = serde_json::from_slice(black_box(&value)).expect("a call");
                let args = J::deserialize(&call["args"]).expect("arguments");
                (call["call"].as_u64(), call["target"].as_i64(), call["method"].as_str().map(str::len), args)
            }),
        ]
    };
    let route = {
        let (message, typed, value) = messages();
        [
            timed(move || {
                let view = EnvelopeView::parse(black_box(&message)).expect("an envelope");
                (view.call(), view.target(), view.method() == METHOD)
            }),
            timed(move || {
                let call: JsonCall<'_, IgnoredAny> =
                    serde_json::from_slice(black_box(&typed)).expect("a call");
                (call.call, call.target, call.method == "increment")
            }),
            timed(move || {
                let call: Value = serde_json::from_slice(black_box(&value)).expect("a call");
                (call["call"].as_u64(), call["target"].as_i64(), call["method"] == "increment")
            }),
        ]
    };
    Row { name, sizes: [message.len(), text.len()], encode, decode, route }
}

fn main() {
    let bytes = |size: usize| (0..size).map(|at| (at * 31) as u8).collect::<Vec<_>>();
    let buf = |size| (ByteBuf::from(bytes(size)),);
    let mut rows = [
        row("`(u64, String)`, 6 characters", (5_u64, "room-1".to_owned()), (5_u64, "room-1".to_owned())),
        row("1 KiB, bytes / base64", buf(1 << 10), (Base64(bytes(1 << 10)),)),
        row("1 KiB, `Vec<u8>` / base64", (bytes(1 << 10),), (Base64(bytes(1 << 10)),)),
        row("1 KiB, `Vec<u8>` / numbers", (bytes(1 << 10),), (bytes(1 << 10),)),
        row("64 KiB, bytes / base64", buf(1 << 16), (Base64(bytes(1 << 16)),)),
        row("64 KiB, `Vec<u8>` / base64", (bytes(1 << 16),), (Base64(bytes(1 << 16)),)),
        row("64 KiB, `Vec<u8>` / numbers", (bytes(1 << 16),), (bytes(1 << 16),)),
    ];
    let columns =
        ["arguments, as opendo / as JSON", "opendo ns", "JSON ns", "`Value` ns", "JSON ÷", "`Value` ÷"];
    let parts: [(_, Part); 3] = [
        ("Encode", |row| &mut row.encode),
        ("Decode: header and arguments", |row| &mut row.decode),
        ("Route and refuse: header only", |row| &mut row.route),
    ];
    for (title, part) in parts {
        let lines: Vec<_> = rows
            .iter_mut()
            .map(|row| {
                let name = row.name.to_owned();
                let [ours, typed, value] = measure(part(row));
                let mut line = vec![name];
                line.extend([&ours, &typed, &value].map(|it| Spread::of(it.iter().copied()).to_string()));
                line.extend([&typed, &value].map(|it| Number(Spread::ratios(it, &ours).median).to_string()));
                line
            })
            .collect();
        table(title, &columns, &lines);
    }
    let lines: Vec<_> = rows
        .iter()
        .map(|row| {
            let [ours, json] = row.sizes.map(|size| size as f64);
            let mut line = vec![row.name.to_owned()];
            line.extend([ours, json, json / ours].map(|it| Number(it).to_string()));
            line
        })
        .collect();
    table("Bytes on the wire", &["arguments, as opendo / as JSON", "opendo", "JSON", "JSON ÷"], &lines);
}
