//! Stubs whose methods only the other side knows.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::{self, Deserialize, Deserializer};
use serde::ser::{self, Serialize, Serializer};

use crate::encoding::capnweb::ALONE;
use crate::encoding::{DecodeError, Decoder, EncodeError, Encoded, Encoder, Form, Shape, with_encoder};
use crate::rpc::call::Call;
use crate::rpc::cap::{CAP, Cap, Capabilities, Erased, Passed, complain, pass, stub_of};
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::info::{CallInfo, Origin};
use crate::rpc::limits::Limits;
use crate::rpc::member::{Member, Part};
use crate::rpc::method::{Method, MethodDesc, MethodFlags};
use crate::rpc::outgoing::{CallParts, RemoteCall, send};
use crate::rpc::pipeline::{PipelineOf, Pipelined};
use crate::rpc::promise::{Promise, Resolution};
use crate::rpc::remote::Remote;
use crate::rpc::stub::Stub;
use crate::stream::place;
use crate::value::Value;

/// A stub of something of which no interface is known here: what a peer without types passes.
///
/// Its methods are called by name, with [`Value`]s. What a method throws is the call's error; what is called or read
/// within a result that has not come is pipelined, as with typed stubs.
///
/// It is called in the text encoding, so it cannot be called if it leads to a session that speaks another one.
///
/// It is a value like every other stub: it can be passed on, and whoever gets it where a typed stub is asked for has
/// that. A clone is a second hold. Two are equal if one is a clone of the other.
///
/// ```
/// use opendo::prelude::*;
/// use opendo::value::Value;
/// use opendo::DynStub;
///
/// pub struct Adder;
///
/// #[rpc_target]
/// impl Adder {
///     pub fn add(&self, a: f64, b: f64) -> f64 { a + b }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> opendo::Result<()> {
/// let adder: AdderStub = opendo::serve(Adder);
/// let adder = DynStub::from(adder);
/// assert_eq!(adder.call("add", [1.0, 2.0]).await.unwrap().as_f64(), Some(3.0));
/// assert!(adder.call("divide", [1.0, 2.0]).await.is_err());
/// let typed: AdderStub = adder.typed()?;
/// assert_eq!(typed.add(2.0, 2.0).await?, 4.0);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct DynStub(pub(crate) Cap);

impl DynStub {
    /// The same as a typed stub.
    ///
    /// # Errors
    /// When it leads to something of this process that is of another interface. Elsewhere it shows when it is called.
    pub fn typed<S: Stub>(&self) -> Result<S, RpcError> {
        stub_of(&self.0).map_err(|text| RpcError::new(ErrorKind::Decode, text))
    }

    /// Calls a method.
    pub fn call<V: Into<Value>>(
        &self,
        method: &str,
        args: impl IntoIterator<Item = V>,
    ) -> Call<Value, Value> {
        self.send(vec![Part::Name(method.to_owned())], Some(args.into_iter().map(Into::into).collect()))
    }

    /// Calls what it leads to itself: a function.
    pub fn invoke<V: Into<Value>>(&self, args: impl IntoIterator<Item = V>) -> Call<Value, Value> {
        self.send(Vec::new(), Some(args.into_iter().map(Into::into).collect()))
    }

    /// Reads a property: of an unknown one, `Undefined` comes.
    pub fn get(&self, property: &str) -> Call<Value, Value> {
        self.send(vec![Part::Name(property.to_owned())], None)
    }

    /// Resolves when calls can never succeed any more, with the reason; see
    /// [`StubExt::broken`](crate::StubExt::broken).
    pub fn broken(&self) -> impl Future<Output = RpcError> + Send + 'static {
        self.0.broken()
    }

    /// The way there, for calls in the text encoding.
    fn remote(&self) -> Remote {
        if let Some(remote) = self.0.remote() {
            return remote.clone();
        }
        let here = Promise::new(Form::CapnWeb, Limits::default().max_pipelined);
        here.resolve(Ok(Resolution::Result {
            capabilities: Capabilities::None,
            value: Encoded {
                form: Form::CapnWeb,
                bytes: Bytes::from_static(ALONE),
                passed: Passed::Cap(self.0.clone()).into(),
            },
        }));
        Remote::of_promise(here, Arc::new([]))
    }

    fn send(&self, path: Vec<Part>, args: Option<Vec<Value>>) -> Call<Value, Value> {
        let remote = self.remote();
        let object = remote.object().clone();
        if object.number.is_some() && !remote.form().is_text() {
            let text = "it leads to a session with another encoding: call it through a typed stub";
            return Call::failed(RpcError::new(ErrorKind::Encode, text));
        }
        let Origin { caller, chain, trace } = CallInfo::origin();
        let member = Member::new(path, args.is_some());
        let parts = CallParts {
            method: Untyped::DESC,
            form: Form::CapnWeb,
            member: Some(Arc::new(member)),
            deadline: None,
            trace,
            chain: chain.clone(),
            caller,
        };
        let args = args.unwrap_or_default();
        let sent = with_encoder(
            Form::CapnWeb,
            Shape::Arguments,
            |out| args.iter().try_for_each(|argument| out.append(argument)),
            |encoded| {
                let (body, passed) = encoded
                    .map_err(|error| RpcError::new(ErrorKind::Encode, format!("the arguments: {error}")))?;
                // Anything may be in the result, so anything may be called on it.
                let call = RemoteCall::awaited(object.clone(), Untyped::DESC, true, None);
                send(&call, &parts, body, passed);
                Ok(call)
            },
        );
        match sent {
            Ok(call) => Call::remote::<Untyped>(call, chain, None),
            Err(error) => Call::failed(error),
        }
    }
}

/// A method of which only the name is known, and that not here.
enum Untyped {}

impl Method for Untyped {
    const DESC: MethodDesc = MethodDesc {
        fingerprint: 0,
        ..MethodDesc::new(
            "method",
            "",
            MethodFlags {
                shared: false,
                concurrent: false,
                idempotent: false,
                cancel: false,
                property: false,
            },
        )
    };
    type Args = ();
    type Ok = Value;
    type Err = Value;
    const PIPELINE: Option<fn(&Value) -> Capabilities> = None;

    fn encode_args((): &(), _: &mut Encoder) -> Result<(), EncodeError> {
        Ok(())
    }

    fn decode_args(_: &mut Decoder<'_>) -> Result<(), DecodeError> {
        Ok(())
    }

    fn encode_ok(value: &Value, out: &mut Encoder) -> Result<(), EncodeError> {
        out.append(value)
    }

    fn decode_ok(input: &mut Decoder<'_>) -> Result<Value, DecodeError> {
        input.take()
    }

    fn encode_err(value: &Value, out: &mut Encoder) -> Result<(), EncodeError> {
        out.append(value)
    }

    fn decode_err(input: &mut Decoder<'_>) -> Result<Value, DecodeError> {
        input.take()
    }
}

/// Of a value that has not come, its stubs can be called.
impl Pipelined for Value {
    type Pipeline = DynStub;

    fn pipeline(of: PipelineOf) -> DynStub {
        DynStub(Arc::new(of.into_remote()))
    }

    fn capabilities(&self) -> Capabilities {
        match self {
            Self::Stub(stub) => Capabilities::One(Erased(stub.0.clone())),
            _ => Capabilities::None,
        }
    }
}

impl fmt::Debug for DynStub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DynStub").field(&self.0.interface().name()).finish()
    }
}

impl<S: Stub> From<S> for DynStub {
    fn from(stub: S) -> Self {
        Self(Arc::new(stub))
    }
}

impl PartialEq for DynStub {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Serialize for DynStub {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let place = pass(|| Passed::Cap(self.0.clone())).map_err(|why| ser::Error::custom(complain(why)))?;
        serializer.serialize_newtype_struct(CAP, &place)
    }
}

impl<'de> Deserialize<'de> for DynStub {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match place::<D>(deserializer, CAP)? {
            Passed::Cap(cap) => Ok(Self(cap)),
            _ => Err(de::Error::custom(complain("a stream or value where a stub was expected"))),
        }
    }
}
