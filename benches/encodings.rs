//! What arguments cost as Cap'n Web's text, in our own bytes, and as plain JSON.
//!
//! The first two as a session writes and reads them, with the scope in which stubs are found, the guard against
//! panics and the bounds on nesting; plain JSON is `serde_json` into a buffer that is kept, with none of that.

use std::hint::black_box;

use opendo::__private::{
    ArgType, DecodeError, Decoder, EncodeError, Encoder, read_arguments, write_arguments,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

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

/// One of a hundred.
#[derive(Clone, Serialize, Deserialize)]
struct Member {
    id: u64,
    name: String,
    score: f64,
    active: bool,
}

/// A list of arguments.
trait Arguments: Clone + 'static {
    fn push(&self, out: &mut Encoder) -> Result<(), EncodeError>;
    fn next(input: &mut Decoder<'_>) -> Result<Self, DecodeError>;
}

impl<A: ArgType + Clone + 'static> Arguments for (A,) {
    fn push(&self, out: &mut Encoder) -> Result<(), EncodeError> {
        self.0.push(out)
    }

    fn next(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok((A::next(input)?,))
    }
}

impl<A: ArgType + Clone + 'static, B: ArgType + Clone + 'static> Arguments for (A, B) {
    fn push(&self, out: &mut Encoder) -> Result<(), EncodeError> {
        self.0.push(out)?;
        self.1.push(out)
    }

    fn next(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok((A::next(input)?, B::next(input)?))
    }
}

struct Row {
    name: &'static str,
    sizes: [usize; 3],
    write: [Timed; 3],
    read: [Timed; 3],
}

fn row<A, J>(name: &'static str, args: &A, json_args: J) -> Row
where
    A: Arguments,
    J: Serialize + DeserializeOwned + 'static,
{
    let [text, bytes] = [true, false].map(|text| {
        write_arguments(text, |out| args.push(out), <[u8]>::to_vec).expect("they can be written")
    });
    let json = serde_json::to_vec(&json_args).expect("encodable");
    let sizes = [&text, &bytes, &json].map(Vec::len);
    let writing = |text| {
        let args = args.clone();
        timed(move || write_arguments(text, |out| black_box(&args).push(out), <[u8]>::len).is_ok())
    };
    let reading = |text, body: Vec<u8>| {
        timed(move || read_arguments(text, black_box(&body), A::next).expect("they can be read"))
    };
    let mut out = Vec::new();
    Row {
        name,
        sizes,
        write: [
            writing(true),
            writing(false),
            timed(move || {
                out.clear();
                serde_json::to_writer(&mut out, black_box(&json_args)).is_ok()
            }),
        ],
        read: [
            reading(true, text),
            reading(false, bytes),
            timed(move || serde_json::from_slice::<J>(black_box(&json)).expect("they can be read")),
        ],
    }
}

/// One thing that is done with arguments.
type Part = fn(&mut Row) -> &mut [Timed; 3];

fn main() {
    let bytes = |size: usize| (0..size).map(|at| (at * 31) as u8).collect::<Vec<_>>();
    let member = |at: u64| Member {
        id: at,
        name: format!("member {at}"),
        score: at as f64 / 4.0,
        active: at.is_multiple_of(3),
    };
    let members: Vec<_> = (0..100).map(member).collect();
    let mut rows = [
        row("`(u64, String)`, 6 characters", &(5_u64, "room-1".to_owned()), (5_u64, "room-1".to_owned())),
        row("1 KiB of bytes", &(ByteBuf::from(bytes(1 << 10)),), (Base64(bytes(1 << 10)),)),
        row("64 KiB of bytes", &(ByteBuf::from(bytes(1 << 16)),), (Base64(bytes(1 << 16)),)),
        row("100 structs of 4 fields", &(members.clone(),), (members,)),
    ];
    let columns = ["arguments", "text ns", "bytes ns", "plain JSON ns", "text ÷ bytes", "text ÷ JSON"];
    let parts: [(_, Part); 2] = [("Write", |row| &mut row.write), ("Read", |row| &mut row.read)];
    for (title, part) in parts {
        let lines: Vec<_> = rows
            .iter_mut()
            .map(|row| {
                let mut line = vec![row.name.to_owned()];
                let [text, bytes, json] = measure(part(row));
                line.extend([&text, &bytes, &json].map(|it| Spread::of(it.iter().copied()).to_string()));
                line.extend([&bytes, &json].map(|it| Number(Spread::ratios(&text, it).median).to_string()));
                line
            })
            .collect();
        table(title, &columns, &lines);
    }
    let lines: Vec<_> = rows
        .iter()
        .map(|row| {
            let mut line = vec![row.name.to_owned()];
            line.extend(row.sizes.map(|size| Number(size as f64).to_string()));
            line
        })
        .collect();
    table("How long they are", &["arguments", "text", "bytes", "plain JSON"], &lines);
}
