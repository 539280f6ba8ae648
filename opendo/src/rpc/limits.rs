//! How much a session lets its peer, and its own process, pile up.

use std::time::Duration;

/// The bounds of a session, and of objects. Beyond a bound, one call fails or one session ends; never more than that.
///
/// ```
/// let limits = opendo::Limits { max_calls: 1_000, ..Default::default() };
/// assert_eq!(limits.max_message, 32 * 1024 * 1024);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest message accepted, in bytes. A larger call or reply fails with
    /// [`TooLarge`](crate::ErrorKind::TooLarge) at its sender, who knows this number. Default 32 MiB.
    pub max_message: usize,
    /// How many calls of the peer may be unanswered; further ones fail with
    /// [`Overloaded`](crate::ErrorKind::Overloaded), not run. Up to 16 that are about to run are not counted. Default
    /// 65,536.
    pub max_calls: u32,
    /// How many capabilities (stubs and streams passed in arguments and results) one side may hold of the other in a
    /// session. What would pass one more fails with [`Overloaded`](crate::ErrorKind::Overloaded), and a peer that
    /// passes more than that ends the session. Default 65,536.
    pub max_capabilities: u32,
    /// How many bytes the unanswered calls of the peer may have together, and as many the results kept for it, unread values of its streams included;
    /// further ones fail with [`Overloaded`](crate::ErrorKind::Overloaded), not run. Default 256 MiB.
    pub max_call_bytes: usize,
    /// How many calls may wait for one result that has not come; further ones fail with
    /// [`Overloaded`](crate::ErrorKind::Overloaded), not run. Default 16,384.
    pub max_pipelined: usize,
    /// How many steps of recorded functions (`.map()` of text clients) one message may cause: one for each element and
    /// each call made for it, and for each KiB of a long function. More fail. Default 65,536.
    pub max_map_steps: usize,
    /// How many bytes of one stream wait for their reader; a peer that sends more loses the stream. Beyond it, one
    /// more chunk may be on its way. Text peers are not told of it, and begin with 256 KiB: where there are such, less than
    /// that is too little. Default 16 MiB.
    pub max_stream_buffer: usize,
    /// How many names (objects, roots, parts of results, streams) and results the peer may have us hold. What would be
    /// one more fails at the peer with [`Overloaded`](crate::ErrorKind::Overloaded); a peer that sends it all the same
    /// ends the session. Default 1,048,576.
    pub max_bindings: u32,
    /// How many bytes may wait to be written. Beyond it own calls fail with
    /// [`Overloaded`](crate::ErrorKind::Overloaded), and a peer that does not read its replies is disconnected.
    /// Default 64 MiB.
    pub max_unsent: usize,
    /// How many sessions a node serves at a time; further connections wait to be accepted. Default 16,384.
    pub max_sessions: usize,
    /// How long a new connection may take to say hello, and an old one to say goodbye. Default 10 s.
    pub hello_timeout: Duration,
    /// A connection that was silent for this long is asked for a sign of life…  Default 15 s.
    pub keepalive_interval: Duration,
    /// … and counts as lost when none came for this long. Default 15 s.
    pub keepalive_timeout: Duration,
    /// How many calls may wait for one object; further ones fail with
    /// [`Overloaded`](crate::ErrorKind::Overloaded), not run. Up to 16 that are about to run are not counted. Default
    /// 65,536.
    pub max_mailbox: usize,
    /// How many [messages](crate::Ctx::send) of one object may wait to be delivered; further ones are
    /// [refused](crate::SendError::Full). Default 16,384.
    pub max_messages: usize,
    /// How many WebSockets one object may have accepted. Default 32,768 (checklist 8.2).
    pub max_sockets: usize,
    /// How many bytes may wait to be written to one such WebSocket. Beyond it a message is not sent, and fails with
    /// `SocketError::Behind`, unless nothing else waits. Default 16 MiB.
    pub max_socket_unsent: usize,
    /// How long an object's constructor may take before it counts as failed. Default 30 s (checklist 3.7).
    pub construction_timeout: Duration,
    /// How long an object may be idle before it leaves memory, at least; an eighth more at most. [`Duration::MAX`]: it
    /// stays. A class may have [its own](crate::DurableObject::IDLE). Default 10 s (checklist 3.10).
    pub idle_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message: 32 * 1024 * 1024,
            max_calls: 65_536,
            max_capabilities: 65_536,
            max_call_bytes: 256 * 1024 * 1024,
            max_pipelined: 16_384,
            max_map_steps: 65_536,
            max_stream_buffer: 16 * 1024 * 1024,
            max_bindings: 1 << 20,
            max_unsent: 64 * 1024 * 1024,
            max_sessions: 16_384,
            hello_timeout: Duration::from_secs(10),
            keepalive_interval: Duration::from_secs(15),
            keepalive_timeout: Duration::from_secs(15),
            max_mailbox: 65_536,
            max_messages: 16_384,
            max_sockets: 32_768,
            max_socket_unsent: 16 * 1024 * 1024,
            construction_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(10),
        }
    }
}
