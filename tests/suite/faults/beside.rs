//! What a hand-made peer passes beside its calls and answers.

use opendo::Stub;
use opendo::transport::envelope::{CallHeader, ReplyHeader, ReplyStatus};

use super::raw::{call_with, method_of, put_signed, put_text, put_varint};

/// What travels beside a body.
#[derive(Clone, Debug)]
pub(super) enum Beside {
    Mine(i64, u32),
    /// An object: of that class, id and name.
    MineNamed(i64, u32, &'static str, [u8; 32], Option<&'static str>),
    Yours(i64),
    Stream(i64),
    Result(u64),
    Value(Vec<u8>, Vec<Beside>),
}

impl Beside {
    fn put_cap(&self, out: &mut Vec<u8>) {
        match self {
            Self::Mine(id, class) => {
                out.push(0);
                put_signed(out, *id);
                put_varint(out, u64::from(*class));
                out.push(0);
            }
            Self::MineNamed(id, class, name_of_class, key, name) => {
                out.push(0);
                put_signed(out, *id);
                put_varint(out, u64::from(*class));
                out.push(1);
                put_text(out, name_of_class);
                out.extend_from_slice(key);
                out.push(u8::from(name.is_some()));
                name.iter().for_each(|name| put_text(out, name));
            }
            Self::Yours(id) => {
                out.push(1);
                put_signed(out, *id);
            }
            Self::Stream(id) => {
                out.push(2);
                put_signed(out, *id);
            }
            Self::Result(_) | Self::Value(..) => panic!("not a capability"),
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Result(call) => {
                out.push(1);
                put_varint(out, *call);
            }
            Self::Value(body, inner) => {
                out.push(2);
                put_varint(out, body.len() as u64);
                out.extend_from_slice(body);
                put_varint(out, inner.len() as u64);
                inner.iter().for_each(|inner| inner.put_cap(out));
            }
            cap => {
                out.push(0);
                cap.put_cap(out);
            }
        }
    }
}

pub(super) fn beside(all: &[Beside]) -> Vec<u8> {
    let mut out = Vec::new();
    all.iter().for_each(|it| it.put(&mut out));
    out
}

/// A call of a method of `S`, with what it passes.
pub(super) fn call_of<S: Stub>(id: u64, target: i64, name: &str, passes: &[Beside], args: &[u8]) -> Vec<u8> {
    call_beside(id, target, method_of::<S>(name), false, &beside(passes), args)
}

/// The same, and the result is kept.
pub(super) fn keep_of<S: Stub>(id: u64, target: i64, name: &str, passes: &[Beside], args: &[u8]) -> Vec<u8> {
    call_beside(id, target, method_of::<S>(name), true, &beside(passes), args)
}

pub(super) fn call_beside(
    call: u64,
    target: i64,
    method: u32,
    keep: bool,
    capabilities: &[u8],
    args: &[u8],
) -> Vec<u8> {
    call_with(&CallHeader { call, target, method, keep, capabilities, ..CallHeader::default() }, args)
}

/// A call of one of the three methods of a sink.
pub(super) fn stream_call(call: u64, target: i64, name: &str, args: &[u8]) -> Vec<u8> {
    call_beside(call, target, fnv32(name), false, &[], args)
}

/// How methods are numbered.
fn fnv32(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// A good answer that passes something.
pub(super) fn reply_beside(id: u64, passes: &[Beside], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    ReplyHeader { call: id, status: ReplyStatus::Ok, capabilities: &beside(passes) }.encode(&mut out);
    out.extend_from_slice(body);
    out
}
