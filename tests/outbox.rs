//! Messages between objects: in any case, in order, once.

#[path = "outbox/crashes.rs"]
mod crashes;
#[path = "outbox/delivery.rs"]
mod delivery;
#[path = "outbox/kept.rs"]
mod kept;
#[path = "outbox/post.rs"]
mod post;
#[path = "outbox/threads.rs"]
mod threads;
