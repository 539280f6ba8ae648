//! What programs that are compared have in common: how they are called, the load, and the lines that say what was
//! measured. Each of them is a counter object behind some library, and understands
//!
//! ```text
//! serve TRANSPORT ADDRESS     serves the counter until it is killed; says READY when it listens
//! bench TRANSPORT [ADDRESS]   measures calls to it; without an address, to one of its own process
//! actors [COUNT]              measures that many objects of its own process
//! ```
//!
//! and prints a line of JSON for each measurement, with the same keys whatever the library. Transports are `inproc`, `tcp`,
//! `uds`, or the library's own. The environment:
//!
//! | | |
//! | --- | --- |
//! | `PEERS_SECS` | seconds of each measurement (2) |
//! | `PEERS_REP` | number of the repetition, for the lines |
//! | `PEERS_RT` | `multi` (two workers) or `current` |
//! | `PEERS_OPS`, `PEERS_FLIGHTS` | only these operations, only so many in flight: lists with commas |
//! | `PEERS_SERVER_PID` | the server's process: its processor time goes into the lines |
//! | `PEERS_ALLOC_FILE` | a path that both processes are given: allocations go into the lines (feature `allocations`) |

mod allocations;
mod command;
mod load;
mod objects;
mod process;
pub mod stream;

pub use command::{Args, Command, ready, version_in};
pub use load::{Load, Subject, Tally, bench};
pub use objects::objects;
