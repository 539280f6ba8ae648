//! What the macro says about a method, and how the types of a signature are looked at.

use std::convert::Infallible;
use std::fmt::Display;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};

use crate::encoding::{DecodeError, Decoder, EncodeError, Encoder};
use crate::object::pace::Pace;
use crate::rpc::call::Call;
use crate::rpc::cap::Capabilities;
use crate::rpc::info::CallInfo;
use crate::rpc::pipeline::Pipelined;

/// FNV-1a, 32 bits: the method id of a wire name.
const fn fnv32(bytes: &[u8]) -> u32 {
    let mut hash = 0x811c_9dc5_u32;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    hash
}

/// FNV-1a, 64 bits: the fingerprint of a signature.
const fn fnv64(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        at += 1;
    }
    hash
}

/// How a method may be run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MethodFlags {
    /// Takes `&self`.
    pub shared: bool,
    /// `#[method(concurrent)]`: may overlap other concurrent methods of a durable object.
    pub concurrent: bool,
    /// `#[method(idempotent)]`: running it twice is as good as once.
    pub idempotent: bool,
    /// `#[method(cancel)]`: dropped at an await when its caller is gone.
    pub cancel: bool,
    /// `#[method(property)]`: text clients read it as a property, without calling it.
    pub property: bool,
}

/// One method as it is known on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MethodDesc {
    /// FNV-1a-32 of the wire name.
    pub id: u32,
    /// The wire name.
    pub name: &'static str,
    /// FNV-1a-64 of the signature's text.
    pub fingerprint: u64,
    /// The signature's text: types of the arguments and of the result.
    pub signature: &'static str,
    /// How it may be run.
    pub flags: MethodFlags,
}

impl MethodDesc {
    /// Computes id and fingerprint; the macro calls this in a constant.
    pub const fn new(name: &'static str, signature: &'static str, flags: MethodFlags) -> Self {
        Self { id: fnv32(name.as_bytes()), name, fingerprint: fnv64(signature.as_bytes()), signature, flags }
    }

    /// Of work that no peer asks for.
    pub(crate) const fn of_own_work(name: &'static str) -> Self {
        let (shared, concurrent, idempotent, cancel, property) = (false, false, false, false, false);
        Self::new(name, "", MethodFlags { shared, concurrent, idempotent, cancel, property })
    }
}

/// All methods of a class or interface.
#[derive(Clone, Copy, Debug)]
pub struct Interface {
    /// Its wire name.
    pub name: &'static str,
    /// Its methods, in the order of the source.
    pub methods: &'static [MethodDesc],
}

impl Interface {
    /// One whose methods are not known.
    #[cfg(feature = "capnweb")]
    pub(crate) const fn untyped(name: &'static str) -> Self {
        Self { name, methods: &[] }
    }

    /// The method of that name.
    #[cfg(feature = "capnweb")]
    pub(crate) fn named(&self, name: &str) -> Option<&'static MethodDesc> {
        self.method(fnv32(name.as_bytes())).filter(|method| method.name == name)
    }

    /// The method with that id.
    pub fn method(&self, id: u32) -> Option<&'static MethodDesc> {
        self.methods.iter().find(|method| method.id == id)
    }
}

/// One method of an interface, as a type: its signature and its encoding.
pub trait Method: Send + Sync + 'static {
    /// What is known of it on the wire.
    const DESC: MethodDesc;
    /// Its arguments, as a tuple.
    type Args: Send + 'static;
    /// What it returns, or what the `Result` it returns holds.
    type Ok: Send + 'static;
    /// Its error; `Infallible` when it returns no `Result`.
    type Err: Send + 'static;
    /// Finds the capabilities in a result, if calls can be made on it before it has arrived.
    const PIPELINE: Option<fn(&Self::Ok) -> Capabilities>;
    /// How its error reads to people, if it is [`Display`](std::fmt::Display).
    const ERROR_TEXT: Option<fn(&Self::Err) -> String> = None;

    /// Whether an argument is the result of a call that has not come.
    fn has_promises(_: &Self::Args) -> bool {
        false
    }
    /// Appends the arguments, one after the other.
    fn encode_args(args: &Self::Args, out: &mut Encoder) -> Result<(), EncodeError>;
    /// Takes the arguments off a body.
    fn decode_args(input: &mut Decoder<'_>) -> Result<Self::Args, DecodeError>;
    /// Appends a result.
    fn encode_ok(value: &Self::Ok, out: &mut Encoder) -> Result<(), EncodeError>;
    /// Takes a result off a body.
    fn decode_ok(input: &mut Decoder<'_>) -> Result<Self::Ok, DecodeError>;
    /// Appends an error.
    fn encode_err(value: &Self::Err, out: &mut Encoder) -> Result<(), EncodeError>;
    /// Takes an error off a body.
    fn decode_err(input: &mut Decoder<'_>) -> Result<Self::Err, DecodeError>;
}

/// How a method runs on an `O`.
///
/// `object` is the only reference when the method takes `&mut self`: the strand sees to it.
pub trait Run<O>: Method {
    /// Whether it is an `async fn`. One that is not has ended when it is first polled.
    const WAITS: bool;
    /// Whether it asks for its caller while it runs.
    const WATCHES: bool = Self::Call::IS_SEEN || Self::DESC.flags.cancel;
    /// What it sees of its call: a [`CallInfo`], or nothing.
    type Call: Called;

    /// How long it runs before it first waits; `None` if it is never to start on the caller's thread.
    fn pace() -> Option<&'static Pace>;
    /// Calls the method.
    fn run(
        object: &mut Arc<O>,
        args: Self::Args,
        call: &Self::Call,
    ) -> impl Future<Output = Result<Self::Ok, Self::Err>> + Send;
}

/// What a method sees of its call.
pub trait Called: Send + Sync {
    /// Whether it sees anything.
    const IS_SEEN: bool;
    /// What it sees of this one.
    fn of(info: &CallInfo) -> Self;
}

impl Called for CallInfo {
    const IS_SEEN: bool = true;

    fn of(info: &CallInfo) -> Self {
        info.clone()
    }
}

impl Called for () {
    const IS_SEEN: bool = false;

    fn of(_: &CallInfo) -> Self {}
}

/// The object, for a method that takes `&mut self`.
pub fn exclusive<O>(object: &mut Arc<O>) -> &mut O {
    Arc::get_mut(object).expect("a strand runs an exclusive method alone")
}

/// The object, for a method that takes `&self`.
pub fn shared<O>(object: &Arc<O>) -> &O {
    object
}

/// Names the method in the compiler's message when its future is not `Send`.
pub fn assert_send<T: Send>(value: T) -> T {
    value
}

/// Decides by types, not by names, whether a method's declared return type is a `Result`: an alias is seen
/// through, and a user's own type called `Result` is not taken for one.
#[derive(Debug)]
pub struct Probe<R>(PhantomData<R>);

impl<T, E> Probe<Result<T, E>> {
    /// It is one.
    pub const IS_RESULT: bool = true;
}

impl<T: Pipelined> Probe<T> {
    /// It is [`Pipelined`].
    pub const IS_PIPELINED: bool = true;
    /// How to find what can be called on it.
    pub const PIPELINE: Option<fn(&T) -> Capabilities> = Some(T::capabilities);
}

impl<T: Display> Probe<T> {
    /// How to show it.
    pub const ERROR_TEXT: Option<fn(&T) -> String> = Some(T::to_string);
}

/// The answers of [`Probe`] for every other type: an inherent constant wins over a trait's.
pub trait ProbeDefault {
    /// What is asked about.
    type Of;
    /// It is none.
    const IS_RESULT: bool = false;
    /// It is not.
    const IS_PIPELINED: bool = false;
    /// There is nothing to be found.
    const PIPELINE: Option<fn(&Self::Of) -> Capabilities> = None;
    /// It has no text.
    const ERROR_TEXT: Option<fn(&Self::Of) -> String> = None;
}

impl<R> ProbeDefault for Probe<R> {
    type Of = R;
}

/// The call of a method that is declared to return `R`: short where documentation shows it.
pub type CallOf<R, const IS_RESULT: bool> =
    Call<<R as Returned<IS_RESULT>>::Ok, <R as Returned<IS_RESULT>>::Err>;

/// A declared return type, split into value and error.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is named `Result`, but it is another type",
    label = "not `core::result::Result`",
    note = "give the type another name, or an alias to use here: then its type decides, not its name"
)]
pub trait Returned<const IS_RESULT: bool> {
    /// The value.
    type Ok;
    /// The error.
    type Err;
    /// Value or error.
    fn split(self) -> Result<Self::Ok, Self::Err>;
}

impl<T, E> Returned<true> for Result<T, E> {
    type Ok = T;
    type Err = E;

    fn split(self) -> Self {
        self
    }
}

impl<T> Returned<false> for T {
    type Ok = T;
    type Err = Infallible;

    fn split(self) -> Result<T, Infallible> {
        Ok(self)
    }
}

// Three traits that differ in what the compiler says. The methods are their own, and serde's traits no supertraits,
// so that a type without them is one error and not three.

/// What can be an argument of a remote method: owned, and encodable in both directions.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a remote method",
    label = "not `Serialize + DeserializeOwned + Send`",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it and for what it holds, or mark the method `#[method(skip)]`",
    note = "an `Arg` can only be a whole argument, and not a part of one"
)]
pub trait ArgType: Sized {
    /// Whether it is the result of a call that has not come.
    fn is_promise(&self) -> bool {
        false
    }

    /// Appends it to a message.
    fn push(&self, out: &mut Encoder) -> Result<(), EncodeError>;
    /// Takes it off a message.
    fn next(input: &mut Decoder<'_>) -> Result<Self, DecodeError>;
}

/// What can be returned by a remote method.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be returned by a remote method",
    label = "not `Serialize + DeserializeOwned + Send`",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it and for what it holds, or mark the method `#[method(skip)]`"
)]
pub trait ReplyType: Sized {
    /// Appends it to a message.
    fn push(&self, out: &mut Encoder) -> Result<(), EncodeError>;
    /// Takes it off a message.
    fn next(input: &mut Decoder<'_>) -> Result<Self, DecodeError>;
}

/// What can be the error of a remote method.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of a remote method",
    label = "not `Serialize + DeserializeOwned + Send`",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it and for what it holds, or return another error type"
)]
pub trait ErrorType: Sized {
    /// Appends it to a message.
    fn push(&self, out: &mut Encoder) -> Result<(), EncodeError>;
    /// Takes it off a message.
    fn next(input: &mut Decoder<'_>) -> Result<Self, DecodeError>;
}

macro_rules! by_serde {
    ($($role:ident),*) => {$(
        #[diagnostic::do_not_recommend]
        impl<T: Serialize + DeserializeOwned + Send + 'static> $role for T {
            fn push(&self, out: &mut Encoder) -> Result<(), EncodeError> {
                out.append(self)
            }

            fn next(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                input.take()
            }
        }
    )*};
}

by_serde!(ArgType, ReplyType, ErrorType);

/// The encoding of a method's error, where only the compiler knows whether it has one: `Infallible` is no serde
/// type, and its inherent functions win over those of [`AnyError`].
#[derive(Debug)]
pub struct ErrorCodec<E>(PhantomData<E>);

impl ErrorCodec<Infallible> {
    /// Never called: there is no such value.
    pub fn push(value: &Infallible, _: &mut Encoder) -> Result<(), EncodeError> {
        match *value {}
    }

    /// A peer that sends an error all the same is refused.
    pub fn next(input: &mut Decoder<'_>) -> Result<Infallible, DecodeError> {
        input.never()
    }
}

/// [`ErrorCodec`] for every other error.
pub trait AnyError<E> {
    /// Appends it to a message.
    fn push(value: &E, out: &mut Encoder) -> Result<(), EncodeError>
    where
        E: ErrorType,
    {
        value.push(out)
    }

    /// Takes it off a message.
    fn next(input: &mut Decoder<'_>) -> Result<E, DecodeError>
    where
        E: ErrorType,
    {
        E::next(input)
    }
}

impl<E> AnyError<E> for ErrorCodec<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    type Alias<T> = std::result::Result<T, String>;

    #[test]
    fn ids_are_fnv1a() {
        assert_eq!(fnv32(b""), 0x811c_9dc5);
        assert_eq!(fnv32(b"foobar"), 0xbf9c_f968);
        assert_eq!(fnv64(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn results_are_recognised_by_type() {
        #[allow(dead_code)]
        struct Result(u8);
        const { assert!(<Probe<Alias<u8>>>::IS_RESULT) };
        const { assert!(!<Probe<Result>>::IS_RESULT) };
        const { assert!(!<Probe<Option<u8>>>::IS_RESULT) };
        let split = <Alias<u8> as Returned<{ <Probe<Alias<u8>>>::IS_RESULT }>>::split(Ok(1));
        assert_eq!(split, Ok(1));
    }

    #[test]
    fn only_what_can_be_shown_has_a_text() {
        struct Mute;
        let shown = <Probe<String>>::ERROR_TEXT.map(|text| text(&"full".to_owned()));
        assert_eq!(shown.as_deref(), Some("full"));
        assert!(<Probe<Mute>>::ERROR_TEXT.is_none());
    }
}
