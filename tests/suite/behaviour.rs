//! What calls do, the same on every way they can take.
//!
//! A case is written once, with [`every_way!`], and runs in process, over memory, over a Unix socket, over
//! TCP, and over WebSockets in our own protocol and in Cap'n Web; where that makes sense, in HTTP batches, too.

// Remote methods are `pub`, their types with them, and they take their arguments by value: that is what makes them so.
#![allow(unreachable_pub, clippy::needless_pass_by_value)]

#[macro_use]
#[path = "behaviour/world.rs"]
mod world;
#[path = "behaviour/actor.rs"]
mod actor;
#[path = "behaviour/broker.rs"]
mod broker;
#[path = "behaviour/by_name.rs"]
mod by_name;
#[path = "behaviour/library.rs"]
mod library;
#[path = "behaviour/place.rs"]
mod place;

#[path = "behaviour/arguments.rs"]
mod arguments;
#[path = "behaviour/broken.rs"]
mod broken;
#[path = "behaviour/cancellation.rs"]
mod cancellation;
#[path = "behaviour/capabilities.rs"]
mod capabilities;
#[path = "behaviour/concurrency.rs"]
mod concurrency;
#[path = "behaviour/cycles.rs"]
mod cycles;
#[path = "behaviour/deadlines.rs"]
mod deadlines;
#[path = "behaviour/encoding.rs"]
mod encoding;
#[path = "behaviour/errors.rs"]
mod errors;
#[path = "behaviour/groups.rs"]
mod groups;
#[path = "behaviour/identity.rs"]
mod identity;
#[path = "behaviour/info.rs"]
mod info;
#[path = "behaviour/lifecycle.rs"]
mod lifecycle;
#[path = "behaviour/ordering.rs"]
mod ordering;
#[path = "behaviour/passing.rs"]
mod passing;
#[path = "behaviour/promises.rs"]
mod promises;
#[path = "behaviour/returns.rs"]
mod returns;
#[path = "behaviour/roots.rs"]
mod roots;
#[path = "behaviour/scopes.rs"]
mod scopes;
#[path = "behaviour/service_binding.rs"]
mod service_binding;
#[path = "behaviour/sinks.rs"]
mod sinks;
#[path = "behaviour/storage.rs"]
mod storage;
#[path = "behaviour/streams.rs"]
mod streams;
#[path = "behaviour/targets.rs"]
mod targets;
#[path = "behaviour/trips.rs"]
mod trips;
#[path = "behaviour/values.rs"]
mod values;
#[path = "behaviour/versions.rs"]
mod versions;
