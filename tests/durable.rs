//! What is kept, what leaves before it is, and what happens when it cannot be.

#[path = "suite/behaviour/by_name.rs"]
#[allow(dead_code)] // the suite needs more of it
mod by_name;
#[macro_use]
#[path = "durable/world.rs"]
mod world;

#[path = "durable/alarms.rs"]
mod alarms;
#[path = "durable/desk.rs"]
mod desk;

#[path = "durable/gates.rs"]
mod gates;
#[path = "durable/idle.rs"]
mod idle;
#[path = "durable/keeper.rs"]
mod keeper;
#[path = "durable/lifecycle.rs"]
mod lifecycle;
#[path = "durable/list.rs"]
mod list;
#[path = "durable/retries.rs"]
mod retries;
#[path = "durable/rings.rs"]
mod rings;
#[path = "durable/schedules.rs"]
mod schedules;
#[path = "durable/simulation.rs"]
mod simulation;
#[path = "durable/storage.rs"]
mod storage;
#[path = "durable/transactions.rs"]
mod transactions;
