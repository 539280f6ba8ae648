//! A closure that can be called from elsewhere.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::encoding::{DecodeError, Decoder, EncodeError, Encoder};
use crate::object::local::Local;
use crate::object::pace::Pace;
use crate::object::target::serve;
use crate::rpc::call::Call;
use crate::rpc::cap::{Capabilities, deserialize_stub, serialize_stub};
use crate::rpc::incoming::Incoming;
use crate::rpc::method::{ArgType, ErrorCodec, Interface, Method, MethodDesc, MethodFlags, ReplyType, Run};
use crate::rpc::remote::Remote;
use crate::rpc::stub::{CallOptions, Calls, ServedBy, Stub, StubCore};

/// A function of one argument (a tuple, for several) that can be called from wherever it is passed to.
///
/// It is a stub: it can be an argument or result of remote methods and a part of one, cloned, kept and
/// [watched](crate::StubExt::broken). Calls start in the order in which they are made, and overlap. For more than one
/// function, or `&mut` state, write an [`rpc_target`](macro@crate::rpc_target). Peers compare the signatures of methods,
/// but not the types of a callback.
///
/// ```
/// use opendo::{Callback, prelude::*};
///
/// pub struct Greeter;
///
/// #[rpc_target]
/// impl Greeter {
///     pub async fn greet(&self, say: Callback<(String, u32), bool>) -> bool {
///         say.call(("hello".into(), 3)).await.unwrap_or(false)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> opendo::Result<()> {
/// let greeter: GreeterStub = opendo::serve(Greeter);
/// let say = Callback::new(async |(text, times): (String, u32)| text.len() > times as usize);
/// assert!(greeter.greet(say).await?);
/// # Ok(()) }
/// ```
pub struct Callback<A: 'static, R: 'static>(StubCore<dyn CallbackCalls<A, R>>);

/// What a callback's calls go to.
#[doc(hidden)]
pub trait CallbackCalls<A, R>: Calls {
    fn call(&self, options: &CallOptions, args: A) -> Call<R>;
    fn fresh(&self) -> Arc<dyn CallbackCalls<A, R>>;
    fn deliver(&self, call: Incoming);
}

/// What can be the argument and result of a [`Callback`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the argument or result of a callback",
    label = "not `Serialize + DeserializeOwned + Send`",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it"
)]
pub trait CallbackType: ArgType + ReplyType + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<T: ArgType + ReplyType + Send + 'static> CallbackType for T {}

impl<A: CallbackType, R: CallbackType> Callback<A, R> {
    /// A callback that runs `function`.
    ///
    /// The future may not borrow from the closure, since calls overlap: one that captures state is written
    /// `move |n| { let state = state.clone(); async move { … } }`.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn new<F>(function: F) -> Self
    where
        F: CallbackFn<A, R>,
    {
        serve(Closure { function, signature: PhantomData })
    }

    /// Calls it. Like every [`Call`], it is on its way when this returns.
    pub fn call(&self, args: A) -> Call<R> {
        self.0.calls().call(self.0.options(), args)
    }
}

/// A function that returns a future which can run on any thread: an async closure, or a closure that returns one.
pub trait CallbackFn<A, R>: Send + Sync + 'static {
    #[doc(hidden)]
    fn run(&self, args: A) -> impl Future<Output = R> + Send;
}

impl<A: Send, R, F, Fut> CallbackFn<A, R> for F
where
    F: Fn(A) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = R> + Send,
{
    fn run(&self, args: A) -> impl Future<Output = R> + Send {
        self(args)
    }
}

struct Closure<A, R, F> {
    function: F,
    signature: PhantomData<fn(A) -> R>,
}

/// The one method of a callback.
#[doc(hidden)]
pub(crate) struct CallMethod<A, R>(PhantomData<fn(A) -> R>);

impl<A: CallbackType, R: CallbackType> Method for CallMethod<A, R> {
    const DESC: MethodDesc = MethodDesc {
        // Types have no text in a constant: a fingerprint of zero fits all.
        fingerprint: 0,
        ..MethodDesc::new(
            // A function is a target whose only method has no name.
            "",
            "callback",
            MethodFlags { shared: true, concurrent: true, idempotent: false, cancel: false, property: false },
        )
    };
    type Args = (A,);
    type Ok = R;
    type Err = std::convert::Infallible;
    const PIPELINE: Option<fn(&R) -> Capabilities> = None;

    fn has_promises(args: &(A,)) -> bool {
        args.0.is_promise()
    }

    fn encode_args(args: &(A,), out: &mut Encoder) -> Result<(), EncodeError> {
        ArgType::push(&args.0, out)
    }

    fn decode_args(input: &mut Decoder<'_>) -> Result<(A,), DecodeError> {
        Ok((<A as ArgType>::next(input)?,))
    }

    fn encode_ok(value: &R, out: &mut Encoder) -> Result<(), EncodeError> {
        ReplyType::push(value, out)
    }

    fn decode_ok(input: &mut Decoder<'_>) -> Result<R, DecodeError> {
        <R as ReplyType>::next(input)
    }

    fn encode_err(value: &Self::Err, out: &mut Encoder) -> Result<(), EncodeError> {
        ErrorCodec::<Self::Err>::push(value, out)
    }

    fn decode_err(input: &mut Decoder<'_>) -> Result<Self::Err, DecodeError> {
        ErrorCodec::<Self::Err>::next(input)
    }
}

impl<A, R, F> Run<Closure<A, R, F>> for CallMethod<A, R>
where
    A: CallbackType,
    R: CallbackType,
    F: CallbackFn<A, R>,
{
    const WAITS: bool = true;
    type Call = ();

    /// A closure often shares a lock with the code that has it called.
    fn pace() -> Option<&'static Pace> {
        None
    }

    async fn run(object: &mut Arc<Closure<A, R, F>>, args: (A,), (): &()) -> Result<R, Self::Err> {
        Ok(object.function.run(args.0).await)
    }
}

impl<A: CallbackType, R: CallbackType> CallbackCalls<A, R> for Remote {
    fn call(&self, options: &CallOptions, args: A) -> Call<R> {
        Remote::call::<CallMethod<A, R>>(self, options, (args,))
    }

    fn fresh(&self) -> Arc<dyn CallbackCalls<A, R>> {
        Remote::fresh(self)
    }

    fn deliver(&self, call: Incoming) {
        self.deliver_as(call, |remote, call| {
            if call.method() == <CallMethod<A, R> as Method>::DESC.id {
                remote.translate::<CallMethod<A, R>>(call);
            } else {
                call.no_such_method();
            }
        });
    }
}

impl<A, R, F> CallbackCalls<A, R> for Local<Closure<A, R, F>>
where
    A: CallbackType,
    R: CallbackType,
    F: CallbackFn<A, R>,
{
    fn call(&self, options: &CallOptions, args: A) -> Call<R> {
        Local::call::<CallMethod<A, R>>(self, options, (args,))
    }

    fn fresh(&self) -> Arc<dyn CallbackCalls<A, R>> {
        Local::fresh(self)
    }

    fn deliver(&self, call: Incoming) {
        <Callback<A, R> as ServedBy<Closure<A, R, F>>>::dispatch(self, call);
    }
}

impl<A: CallbackType, R: CallbackType> Stub for Callback<A, R> {
    const INTERFACE: &'static Interface =
        &Interface { name: "opendo.Callback", methods: &[<CallMethod<A, R> as Method>::DESC] };

    type Calls = dyn CallbackCalls<A, R>;

    fn from_core(core: StubCore<Self::Calls>) -> Self {
        Self(core)
    }

    fn core(&self) -> &StubCore<Self::Calls> {
        &self.0
    }

    fn remote(remote: Remote) -> Arc<Self::Calls> {
        Arc::new(remote)
    }

    fn fresh(calls: &Self::Calls) -> Arc<Self::Calls> {
        calls.fresh()
    }

    fn deliver(calls: &Self::Calls, call: Incoming) {
        calls.deliver(call);
    }
}

impl<A, R, F> ServedBy<Closure<A, R, F>> for Callback<A, R>
where
    A: CallbackType,
    R: CallbackType,
    F: CallbackFn<A, R>,
{
    fn local(local: Arc<Local<Closure<A, R, F>>>) -> Arc<Self::Calls> {
        local
    }

    fn dispatch(local: &Local<Closure<A, R, F>>, call: Incoming) {
        if call.method() == <CallMethod<A, R> as Method>::DESC.id {
            local.accept::<CallMethod<A, R>>(call);
        } else {
            call.no_such_method();
        }
    }
}

impl<A, R> Clone for Callback<A, R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<A, R> fmt::Debug for Callback<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callback").finish_non_exhaustive()
    }
}

impl<A: CallbackType, R: CallbackType> Serialize for Callback<A, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_stub(self, serializer)
    }
}

impl<'de, A: CallbackType, R: CallbackType> Deserialize<'de> for Callback<A, R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_stub(deserializer)
    }
}
