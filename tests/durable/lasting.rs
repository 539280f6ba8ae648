//! Targets that their object makes again.

#[path = "lasting/promises.rs"]
mod promises;
#[path = "lasting/restarts.rs"]
mod restarts;
#[path = "lasting/room.rs"]
mod room;
