use std::collections::{VecDeque, vec_deque};

use crate::kind::Batch;

/// A batch of text messages, which transports move one by one.
///
/// ```
/// use opendo_transport::Lines;
///
/// let mut lines = Lines::default();
/// lines.push("[\"push\"]".to_owned());
/// assert_eq!((lines.len(), lines.byte_len()), (1, 8));
/// assert_eq!(lines.pop_front().as_deref(), Some("[\"push\"]"));
/// assert!(lines.is_empty());
/// ```
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Lines {
    messages: VecDeque<String>,
    bytes: usize,
}

impl Lines {
    /// Appends `message`.
    pub fn push(&mut self, message: String) {
        self.bytes += message.len();
        self.messages.push_back(message);
    }

    /// Removes the first message.
    pub fn pop_front(&mut self) -> Option<String> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.len();
        // A session that waits has two of them, which keep nothing.
        if self.messages.is_empty() {
            self.messages = VecDeque::new();
        }
        Some(message)
    }

    /// The messages, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.messages.iter().map(String::as_str)
    }

    /// How many messages wait here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether nothing waits here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The sizes of all messages added up.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.bytes
    }

    /// Drops all messages.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Batch for Lines {
    type Message = String;
    type Messages = vec_deque::IntoIter<String>;

    fn len(&self) -> usize {
        self.len()
    }

    fn byte_len(&self) -> usize {
        self.byte_len()
    }

    fn append(&mut self, message: String) {
        self.push(message);
    }

    fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    fn into_messages(self) -> Self::Messages {
        self.messages.into_iter()
    }

    fn message_len(message: &String) -> usize {
        message.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted() {
        let mut lines = Lines::default();
        ["é", "", "three"].iter().for_each(|line| lines.push((*line).to_owned()));
        assert_eq!((lines.len(), lines.byte_len()), (3, 7));
        assert_eq!(lines.iter().collect::<Vec<_>>(), ["é", "", "three"]);
        assert_eq!(lines.pop_front().as_deref(), Some("é"));
        assert_eq!((lines.len(), lines.byte_len()), (2, 5));
        let taken = Batch::take(&mut lines);
        assert_eq!((lines.byte_len(), taken.byte_len()), (0, 5));
        lines.push("x".to_owned());
        lines.clear();
        assert_eq!((lines.is_empty(), lines.byte_len(), lines.pop_front()), (true, 0, None));
    }
}
