//! What a transport carries, as a type.
//!
//! Encodings and transports both name a [`Kind`]; that the two agree is checked by the compiler, not at run time.

use std::fmt::Debug;

use crate::{Frames, Lines, Tree, Trees};

/// A kind of message: [`Bytes`], [`Text`] or [`Value`]. Sealed, because sessions are written against exactly these.
pub trait Kind: sealed::Sealed + Debug + Send + Sync + 'static {
    /// One received message.
    type Message: Debug + Send + 'static;
    /// Messages on their way out, which leave together.
    type Batch: Batch<Message = Self::Message>;
}

/// Binary messages, framed and moved as [`Frames`].
#[derive(Debug)]
pub enum Bytes {}

/// Text messages, moved as [`Lines`].
#[derive(Debug)]
pub enum Text {}

/// Messages that are values, not yet encoded, moved as [`Trees`]: for transports that bring an encoding of their own.
#[derive(Debug)]
pub enum Value {}

impl Kind for Bytes {
    type Message = bytes::Bytes;
    type Batch = Frames;
}

impl Kind for Text {
    type Message = String;
    type Batch = Lines;
}

impl Kind for Value {
    type Message = Tree;
    type Batch = Trees;
}

/// What transports need to know of a batch, whatever it holds. Sealed through [`Kind`]: only [`Frames`],
/// [`Lines`] and [`Trees`].
///
/// ```
/// use opendo_transport::{Lines, kind::Batch};
///
/// let mut batch = Lines::default();
/// batch.push("one".to_owned());
/// let taken = Batch::take(&mut batch);
/// assert!(batch.is_empty());
/// assert_eq!(taken.into_messages().collect::<Vec<_>>(), ["one"]);
/// ```
pub trait Batch: sealed::Sealed + Default + Debug + Send + 'static {
    /// One message of this batch.
    type Message: Debug + Send + 'static;
    /// The messages of this batch, in order.
    type Messages: Iterator<Item = Self::Message> + Debug + Send;

    /// How many messages wait here.
    fn len(&self) -> usize;

    /// How many bytes wait here, with whatever framing the batch has.
    fn byte_len(&self) -> usize;

    /// Whether nothing waits here.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends one message.
    fn append(&mut self, message: Self::Message);

    /// Moves everything out, and leaves a batch ready for about as much again.
    #[must_use]
    fn take(&mut self) -> Self;

    /// Takes the batch apart.
    fn into_messages(self) -> Self::Messages;

    /// The size of one message, as limits count it.
    fn message_len(message: &Self::Message) -> usize;
}

pub(crate) mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Bytes {}
    impl Sealed for super::Text {}
    impl Sealed for super::Value {}
    impl Sealed for crate::Frames {}
    impl Sealed for crate::Lines {}
    impl Sealed for crate::Trees {}
}
