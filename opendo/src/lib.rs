#![doc = include_str!("docs/crate.md")]

pub(crate) mod client;
pub(crate) mod encoding;
pub(crate) mod engine;
pub(crate) mod node;
pub(crate) mod object;
pub(crate) mod registry;
pub(crate) mod rpc;
pub(crate) mod stream;
#[cfg(any(feature = "websocket", feature = "http"))]
pub(crate) mod web;
#[cfg(feature = "websocket")]
pub(crate) mod websocket;

pub mod docs;
pub mod testing;
#[cfg(feature = "typescript")]
pub mod typescript;
#[cfg(feature = "capnweb")]
pub mod value;

#[doc(hidden)]
pub mod __private;

pub use opendo_macros::{Pipelined, TypeScript, durable_object, interface, rpc_target};
pub use opendo_transport as transport;
pub use opendo_transport::envelope::TraceContext;

#[cfg(feature = "websocket")]
pub use opendo_transport::websocket::{Closed, Message};

pub use client::{Client, ClientBuilder, ConnectError, connect};
#[cfg(feature = "sqlite")]
pub use engine::sqlite::open::OpenError;
pub use node::{ListenError, Node, NodeBuilder, StartError};
pub use object::context::Ctx;
pub use object::control::{KeepAlive, KeepaliveReason};
pub use object::id::{ObjectId, ObjectKey, ParseIdError, ToObjectId};
pub use object::lasting::Lasting;
pub use object::lifecycle::{DurableObject, Object};
pub use object::outbox::{SendError, Undelivered};
#[cfg(feature = "sqlite")]
pub use object::sql;
pub use object::storage::{Editing, List, Storage, StorageError, Stored};
pub use object::target::serve;
pub use object::timers::{Alarm, AlarmInfo, Every, Scheduled, When};
#[cfg(feature = "cron")]
pub use object::timers::{Cron, CronError};
pub use registry::namespace::{Namespace, Objects};
pub use registry::retained::{Lost, Retained};
pub use rpc::arg::Arg;
pub use rpc::call::Call;
pub use rpc::callback::{Callback, CallbackFn, CallbackType};
#[cfg(feature = "capnweb")]
pub use rpc::capnweb::Mapped;
#[cfg(feature = "capnweb")]
pub use rpc::dynamic::DynStub;
pub use rpc::error::{CallError, Error, ErrorKind, Result, RpcError};
pub use rpc::group::{Group, MemberId};
pub use rpc::info::{CallInfo, Caller};
pub use rpc::limits::Limits;
pub use rpc::method::{Interface, MethodDesc, MethodFlags};
pub use rpc::pipeline::Pipelined;
pub use rpc::promise::promise;
pub use rpc::rest::Rest;
pub use rpc::session::{EndGuard, Session, SessionStats};
pub use rpc::stub::{ServedBy, Stub, StubExt};
pub use stream::feed::{Cursor, Feed, FeedEvent};
pub use stream::resume::{Resumable, Update};
pub use stream::{RpcSink, RpcStream, Streamed, pipe};
#[cfg(feature = "capnweb")]
pub use value::Value;
#[cfg(any(feature = "websocket", feature = "http"))]
pub use web::Origins;
#[cfg(feature = "websocket")]
pub use websocket::{Opening, SocketError, WebSocket};

/// What most programs use: `use opendo::prelude::*;`.
pub mod prelude {
    pub use crate::{
        Call, CallError, CallInfo, Callback, Client, Ctx, DurableObject, Group, Lasting, Node, ObjectId,
        Pipelined, RpcError, RpcStream, Stub, StubExt, durable_object, rpc_target,
    };
}
