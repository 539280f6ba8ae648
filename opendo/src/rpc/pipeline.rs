//! Using a result before it has arrived.

use std::fmt;
use std::sync::Arc;

use crate::rpc::cap::{Capabilities, Erased};
use crate::rpc::outgoing::RemoteCall;
use crate::rpc::promise::Promise;
#[cfg(feature = "capnweb")]
use crate::rpc::remote::Place;
use crate::rpc::remote::Remote;
use crate::rpc::stub::{Stub, StubCore};

/// A result whose stubs can be called before it has arrived.
///
/// `Call<T, E>` dereferences to `T::Pipeline`: for a stub that is the stub itself, for a struct that derives
/// `Pipelined` a struct whose fields are the pipelines of its fields. Calls made through it leave at once and start
/// when the result is there, in order; when it does not come, they fail with the same error. Over a session that is
/// one round trip, however many calls deep.
///
/// ```
/// use opendo::prelude::*;
/// # #[derive(Clone)]
/// # pub struct Profile; #[rpc_target] impl Profile { pub fn name(&self) -> String { "Ann".into() } }
///
/// #[derive(serde::Serialize, serde::Deserialize, opendo::Pipelined)]
/// pub struct Login {
///     pub profile: ProfileStub,
///     pub visits: u64,
/// }
///
/// pub struct Api;
///
/// #[rpc_target]
/// impl Api {
///     pub fn login(&self, token: String) -> Result<Login, String> {
///         if token != "sesame" { return Err("no".into()) }
///         Ok(Login { profile: opendo::serve(Profile), visits: 1 })
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> opendo::Result<()> {
/// let api: ApiStub = opendo::serve(Api);
/// let login = api.login("sesame".into());
/// assert_eq!(login.profile.name().await?, "Ann"); // `login` itself was not awaited
///
/// let error = api.login("guess".into()).profile.name().await.unwrap_err();
/// assert_eq!(error.rpc().unwrap().kind(), opendo::ErrorKind::Failed);
/// # Ok(()) }
/// ```
#[diagnostic::on_unimplemented(
    message = "calls cannot be made on a `{Self}` that has not arrived",
    label = "not `Pipelined`",
    note = "derive `opendo::Pipelined` for it, or await the call first"
)]
pub trait Pipelined: Sized {
    /// What can be called before the result is there.
    type Pipeline: Send + Sync + 'static;

    #[doc(hidden)]
    fn pipeline(of: PipelineOf) -> Self::Pipeline;

    #[doc(hidden)]
    fn capabilities(&self) -> Capabilities;
}

#[diagnostic::do_not_recommend]
impl<S: Stub> Pipelined for S {
    type Pipeline = S;

    fn pipeline(of: PipelineOf) -> S {
        of.stub()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::One(Erased(Arc::new(self.clone())))
    }
}

/// `None` fails the calls made on it.
impl<T: Pipelined> Pipelined for Option<T> {
    type Pipeline = T::Pipeline;

    fn pipeline(of: PipelineOf) -> T::Pipeline {
        T::pipeline(of)
    }

    fn capabilities(&self) -> Capabilities {
        self.as_ref().map(T::capabilities).unwrap_or_default()
    }
}

/// A part of a result that has not arrived.
#[derive(Clone)]
pub struct PipelineOf {
    source: Source,
    path: Vec<Box<str>>,
}

#[derive(Clone)]
pub(crate) enum Source {
    /// The result of a call over a session: the other side has it first.
    Call(Arc<RemoteCall>),
    Promise(Arc<Promise>),
    /// An element of a result, in a function that is recorded.
    #[cfg(feature = "capnweb")]
    Recording(Arc<crate::rpc::capnweb::Recording>),
}

impl PipelineOf {
    pub(crate) fn new(source: Source) -> Self {
        Self { source, path: Vec::new() }
    }

    /// A field of it.
    #[must_use]
    pub fn field(&self, name: &str) -> Self {
        let mut path = self.path.clone();
        path.push(name.into());
        Self { source: self.source.clone(), path }
    }

    pub(crate) fn into_remote(self) -> Remote {
        match self.source {
            Source::Call(call) => Remote::of_result(call, self.path.into()),
            Source::Promise(promise) => Remote::of_promise(promise, self.path.into()),
            #[cfg(feature = "capnweb")]
            Source::Recording(recording) => Remote::new(recording, Place::Promise(self.path.into())),
        }
    }

    pub(crate) fn stub<S: Stub>(self) -> S {
        S::from_core(StubCore::new(S::remote(self.into_remote().known_as(S::INTERFACE))))
    }
}

impl fmt::Debug for PipelineOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PipelineOf").field(&self.path.join(".")).finish()
    }
}

/// The pipeline of a field of any type: that of a field which has none is [`NoPipeline`].
pub trait FieldOf<const IS_PIPELINED: bool> {
    /// The pipeline.
    type Pipeline: Send + Sync + 'static;
    /// Makes it.
    fn pipeline(of: PipelineOf) -> Self::Pipeline;
    /// The capabilities in the field.
    fn capabilities(&self) -> Capabilities;
}

/// In the pipeline of a struct: a field that cannot be called before the struct has arrived.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPipeline;

impl<T> FieldOf<false> for T {
    type Pipeline = NoPipeline;

    fn pipeline(_: PipelineOf) -> NoPipeline {
        NoPipeline
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::None
    }
}

impl<T: Pipelined> FieldOf<true> for T {
    type Pipeline = T::Pipeline;

    fn pipeline(of: PipelineOf) -> T::Pipeline {
        T::pipeline(of)
    }

    fn capabilities(&self) -> Capabilities {
        T::capabilities(self)
    }
}
