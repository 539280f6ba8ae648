//! What was said in a room, as the room's storage keeps it.

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use opendo::{Storage, StorageError};
use serde::{Deserialize, Serialize};

/// What somebody said.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Message {
    /// Greater than that of everything said before it in the room.
    pub number: u64,
    /// When.
    pub at: SystemTime,
    /// Who.
    pub name: String,
    /// What.
    pub text: String,
}

/// How much of what was said is kept.
const KEPT: u64 = 200;

/// The number of the next message.
const NEXT: &str = "next";

/// The last [`KEPT`] messages, in memory and in storage.
#[derive(Debug)]
pub(crate) struct Log {
    storage: Storage,
    said: VecDeque<Message>,
    next: u64,
}

impl Log {
    pub(crate) async fn open(storage: &Storage) -> Result<Self, StorageError> {
        let mut said = VecDeque::new();
        let next = match storage.get::<u64>(NEXT).await? {
            Some(next) => {
                for number in next.saturating_sub(KEPT)..next {
                    // A slot may be empty still, or hold what was said before the room forgot.
                    let message = storage.get::<Message>(&slot(number)).await?;
                    said.extend(message.filter(|message| message.number == number));
                }
                next
            }
            // A room that has lost its storage must not give numbers again that pages know: it begins with the time.
            None => milliseconds(SystemTime::now()),
        };
        Ok(Self { storage: storage.clone(), said, next })
    }

    pub(crate) fn add(&mut self, name: String, text: String) -> Result<&Message, StorageError> {
        let number = self.next;
        let message = Message { number, at: SystemTime::now(), name, text };
        // What one call writes is committed as a whole.
        self.storage.put(&slot(number), &message)?;
        self.storage.put(NEXT, &(number + 1))?;
        self.next += 1;
        if self.said.len() as u64 == KEPT {
            self.said.pop_front();
        }
        self.said.push_back(message);
        Ok(self.said.back().expect("it was just pushed"))
    }

    /// What was said after the message of that number.
    pub(crate) fn after(&self, number: u64) -> Vec<Message> {
        self.said.iter().skip_while(|message| message.number <= number).cloned().collect()
    }
}

/// Where a message is stored: in the place of the one that is forgotten for it.
fn slot(number: u64) -> String {
    format!("message/{}", number % KEPT)
}

fn milliseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
