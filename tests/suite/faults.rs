//! What happens when connections, peers and processes fail.
//!
//! Nothing here waits for the real clock: tests run on one thread with a paused one, so time passes in no time, in
//! order, and a hang is a failure after a minute that nobody spends.

#[path = "faults/beside.rs"]
mod beside;
#[path = "faults/broker.rs"]
mod broker;
#[path = "faults/raw.rs"]
mod raw;
#[path = "faults/text.rs"]
mod text;
#[path = "faults/world.rs"]
mod world;

#[path = "faults/access.rs"]
mod access;
#[path = "faults/capabilities.rs"]
mod capabilities;
#[path = "faults/capability_limits.rs"]
mod capability_limits;
#[path = "faults/chains.rs"]
mod chains;
#[path = "faults/disconnect.rs"]
mod disconnect;
#[path = "faults/disconnect_capabilities.rs"]
mod disconnect_capabilities;
#[path = "faults/drain.rs"]
mod drain;
#[path = "faults/fake_node.rs"]
mod fake_node;
#[path = "faults/healing.rs"]
mod healing;
#[path = "faults/hostile.rs"]
mod hostile;
#[path = "faults/limits.rs"]
mod limits;
#[path = "faults/random.rs"]
mod random;
#[path = "faults/silence.rs"]
mod silence;
#[path = "faults/text_bombs.rs"]
mod text_bombs;
#[path = "faults/text_hostile.rs"]
mod text_hostile;
#[path = "faults/text_limits.rs"]
mod text_limits;
#[path = "faults/text_socket.rs"]
mod text_socket;
#[path = "faults/text_traces.rs"]
mod text_traces;
