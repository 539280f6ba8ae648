//! What opendo promises, tested from outside.

#[path = "suite/behaviour.rs"]
mod behaviour;
#[path = "suite/faults.rs"]
mod faults;
#[path = "suite/retained.rs"]
mod retained;
#[path = "suite/simulation.rs"]
mod simulation;
#[path = "suite/web.rs"]
mod web;
