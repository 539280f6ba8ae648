//! Targets that their object makes again.

#[path = "suite/behaviour/by_name.rs"]
#[allow(dead_code)] // the suite needs more of it
mod by_name;
#[macro_use]
#[path = "durable/world.rs"]
#[allow(dead_code, unused_macros)] // as above
mod world;

#[path = "lasting/promises.rs"]
mod promises;
#[path = "lasting/restarts.rs"]
mod restarts;

#[path = "lasting/room.rs"]
mod room;
