//! How opendo's messages move.
//!
//! A [`Transport`] carries whole messages between two peers and knows nothing of their meaning. It is typed by what it
//! carries ([`kind::Bytes`], [`kind::Text`] or [`kind::Value`]), so that an encoding can only be put on a transport that fits. Messages
//! travel in batches: a session encodes as many as it has into one [`Frames`] buffer, and a stream transport writes that
//! buffer as it is.
//!
//! | module | what it does | feature |
//! | --- | --- | --- |
//! | [`memory`] | two ends in one process; named listeners | always |
//! | `tcp` | TCP streams | `tcp` |
//! | `tls` | TCP streams with TLS, and what WebSockets and HTTP need for theirs | `tls` |
//! | `unix` | Unix domain sockets | `unix` |
//! | `websocket` | WebSockets, binary or text | `websocket` |
//! | `http` | HTTP batches of text | `http` |
//! | `stdio` | lines of text over standard input and output, or any streams | `stdio` |
//! | `socket` | what WebSockets and HTTP are spoken on | `websocket`, `http` or `tls` |
//! | [`envelope`] | the header of a binary message, readable without touching its body | always |
//!
//! An [`Address`] picks a transport at run time:
//!
//! ```
//! use opendo_transport::{Address, Frames, Limits};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), opendo_transport::TransportError> {
//! use opendo_transport::Transport;
//!
//! let address: Address = "memory:front-door".parse()?;
//! let mut listener = address.listen(&Limits::default()).await?;
//! let (mut sender, _) = address.connect(&Limits::default()).await?.split();
//! let (_, mut receiver) = listener.accept().await?.split();
//!
//! let mut batch = Frames::default();
//! batch.push(b"hello");
//! batch.push(b"world");
//! sender.send(&mut batch).await?;
//! assert_eq!(receiver.receive().await.unwrap()?, "hello");
//! assert_eq!(receiver.receive().await.unwrap()?, "world");
//!
//! sender.close().await?;
//! assert!(receiver.receive().await.is_none());
//! # Ok(())
//! # }
//! ```

pub mod envelope;
#[cfg(feature = "http")]
pub mod http;
pub mod kind;
pub mod memory;
#[cfg(any(feature = "websocket", feature = "http", feature = "tls"))]
pub mod socket;
#[cfg(feature = "stdio")]
pub mod stdio;
#[cfg(feature = "tcp")]
pub mod tcp;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(all(unix, feature = "unix"))]
pub mod unix;
#[cfg(feature = "websocket")]
pub mod websocket;

mod address;
mod error;
mod frame;
mod inflow;
mod lines;
mod options;
mod stream;
mod transport;
mod tree;

pub use address::{Address, AnyConnection, Listener};
pub use error::TransportError;
pub use frame::{FrameMessages, Frames};
pub use lines::Lines;
pub use options::{ConnectOptions, ListenOptions};
pub use stream::ByteStream;
pub use transport::{CloseReason, Connection, Limits, Peer, Receiver, Sender, Sent, Transport};
pub use tree::{Tree, Trees};
