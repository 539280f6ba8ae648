//! WebSockets that objects accept: tags, attachments, auto-responses, what wakes and what does not. The numbers are those
//! of the checklist.

#[path = "sockets/room.rs"]
mod room;
#[path = "sockets/world.rs"]
mod world;

#[path = "sockets/accept.rs"]
mod accept;
#[path = "sockets/crowd.rs"]
mod crowd;
#[path = "sockets/ends.rs"]
mod ends;
#[path = "sockets/gates.rs"]
mod gates;
#[path = "sockets/messages.rs"]
mod messages;
