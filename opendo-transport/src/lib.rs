//! How opendo's messages move.
//!
//! A [`Transport`] carries whole messages between two peers and knows nothing of their meaning. It is typed by what it
//! carries ([`kind::Bytes`] or [`kind::Text`]), so that an encoding can only be put on a transport that fits. Messages
//! travel in batches: a session encodes as many as it has into one [`Frames`] buffer, and a stream transport writes that
//! buffer as it is.
//!
//! | module | what it does | feature |
//! | --- | --- | --- |
//! | [`memory`] | two ends in one process; named listeners | always |
//! | `tcp` | TCP streams | `tcp` |
//! | `unix` | Unix domain sockets | `unix` |
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
pub mod kind;
pub mod memory;
#[cfg(feature = "tcp")]
pub mod tcp;
#[cfg(all(unix, feature = "unix"))]
pub mod unix;

mod address;
mod error;
mod frame;
mod lines;
mod stream;
mod transport;

pub use address::{Address, Listener};
pub use error::TransportError;
pub use frame::{FrameMessages, Frames};
pub use lines::Lines;
pub use stream::ByteStream;
pub use transport::{Connection, Limits, Peer, Receiver, Sender, Sent, Transport};
