//! What the pages call: a door leads to rooms, rooms give their members seats and call them back.

use std::collections::BTreeMap;

use opendo::prelude::*;
use opendo::{MemberId, Objects, StorageError};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::log::{Log, Message};

#[cfg(test)]
mod tests;

/// A page in a room. The page implements it, in JavaScript; the room calls.
#[opendo::interface]
pub trait Member {
    /// Comes first: who is here, and what the page has missed.
    async fn welcome(&mut self, here: Vec<String>, missed: Vec<Message>);
    /// Somebody came or went.
    async fn here(&mut self, names: Vec<String>);
    /// Somebody, perhaps this member, said something.
    async fn said(&mut self, message: Message);
}

/// Who wants to come in.
#[derive(Debug, Serialize, Deserialize)]
pub struct Guest {
    /// How the others shall call the guest.
    pub name: String,
    /// What only this page knows: with it, it gets its seat again before the room knows that its connection was lost.
    pub key: String,
    /// The number of the last message that the page has.
    pub since: u64,
}

/// Why a room refuses. JavaScript gets an `Error` with this text, and the variant's name as its `code`.
#[derive(Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub enum RoomError {
    /// Rooms and people need names.
    #[error("a name is missing")]
    NameEmpty,
    /// The name of a room or of somebody.
    #[error("a name has at most {MAX_NAME} characters")]
    NameTooLong,
    /// Somebody else is called so.
    #[error("somebody called {0} is here already")]
    NameTaken(String),
    /// There is no seat left.
    #[error("the room is full")]
    RoomFull,
    /// Only blanks.
    #[error("there is nothing to say")]
    TextEmpty,
    /// More than others want to read.
    #[error("a message has at most {MAX_TEXT} characters")]
    TextTooLong,
    /// The seat was given to somebody else.
    #[error("you are not in the room any more")]
    SeatLost,
    /// The room, or what it stores in, failed.
    #[error("{0}")]
    Failed(String),
}

impl From<StorageError> for RoomError {
    fn from(error: StorageError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// A room's own error; everything else that can go wrong on the way to it is one too.
fn of_room(error: CallError<RoomError>) -> RoomError {
    match error {
        CallError::App(error) => error,
        CallError::Rpc(error) => RoomError::Failed(error.to_string()),
    }
}

const MAX_NAME: usize = 24;
const MAX_TEXT: usize = 2_000;
const SEATS: usize = 100;

fn checked_name(name: &str) -> Result<&str, RoomError> {
    match name.trim() {
        "" => Err(RoomError::NameEmpty),
        name if name.chars().count() > MAX_NAME => Err(RoomError::NameTooLong),
        name => Ok(name),
    }
}

/// All that a page can reach without having been given it.
#[derive(Debug)]
pub struct Door {
    rooms: Objects,
}

impl Door {
    /// A door to these rooms.
    pub(crate) fn to(rooms: Objects) -> DoorStub {
        opendo::serve(Self { rooms })
    }
}

#[rpc_target]
impl Door {
    /// A seat in the room of that name, until the session ends; `member` is told what happens there.
    pub async fn enter(&self, room: String, guest: Guest, member: MemberStub) -> Result<SeatStub, RoomError> {
        let room: RoomStub = self.rooms.get(checked_name(&room)?);
        room.join(guest, member).await.map_err(of_room)
    }
}

/// What a member holds of the room: who has it speaks in that name.
#[derive(Debug)]
pub struct Seat {
    room: RoomStub,
    number: u64,
}

#[rpc_target]
impl Seat {
    /// Tells everybody here. Returns when it is stored.
    pub async fn say(&self, text: String) -> Result<(), RoomError> {
        self.room.say(self.number, text).await.map_err(of_room)
    }
}

/// A room: who is in it, and what they said.
#[derive(Debug)]
pub struct Room {
    ctx: Ctx,
    log: Log,
    members: Group<MemberStub>,
    seats: BTreeMap<u64, Taken>,
    last_seat: u64,
}

#[derive(Debug)]
struct Taken {
    name: String,
    key: String,
    member: MemberId,
    /// Dropped with the seat, which ends the watch over its member.
    _watch: oneshot::Sender<()>,
}

#[durable_object]
impl Room {
    /// Takes a member in.
    pub fn join(&mut self, guest: Guest, member: MemberStub) -> Result<SeatStub, RoomError> {
        let Guest { key, since, .. } = guest;
        let name = checked_name(&guest.name)?.to_owned();
        let same = |taken: &Taken| taken.name.to_lowercase() == name.to_lowercase();
        match self.seats.iter().find(|(_, taken)| same(taken)) {
            Some((_, taken)) if taken.key != key => return Err(RoomError::NameTaken(name)),
            Some((&number, _)) => drop(self.free(number)),
            None if self.seats.len() == SEATS => return Err(RoomError::RoomFull),
            None => {}
        }

        self.last_seat += 1;
        let number = self.last_seat;
        let watch = self.watch(number, &member);
        let mut here = self.names();
        here.push(name.clone());
        // Before it is in the group, so before everything that the group is told.
        Call::detach(member.welcome(here, self.log.after(since)));
        let member = self.members.join(member);
        self.seats.insert(number, Taken { name, key, member, _watch: watch });
        self.tell_who_is_here();
        Ok(opendo::serve(Seat { room: self.ctx.this(), number }))
    }

    /// What the member on that seat says.
    pub fn say(&mut self, seat: u64, text: String) -> Result<(), RoomError> {
        let name = self.seats.get(&seat).ok_or(RoomError::SeatLost)?.name.clone();
        if text.trim().is_empty() {
            return Err(RoomError::TextEmpty);
        }
        if text.chars().count() > MAX_TEXT {
            return Err(RoomError::TextTooLong);
        }
        let message = self.log.add(name, text)?.clone();
        Call::detach(self.members.said(message));
        Ok(())
    }

    /// Frees that seat, if it is not free already.
    pub fn leave(&mut self, seat: u64) {
        if self.free(seat).is_some() {
            self.tell_who_is_here();
        }
    }
}

impl Room {
    /// Has the seat freed when the page is gone: closed, or cut off.
    fn watch(&self, seat: u64, member: &MemberStub) -> oneshot::Sender<()> {
        let (watch, let_go) = oneshot::channel();
        let (gone, room) = (member.broken(), self.ctx.this::<RoomStub>());
        self.ctx.wait_until(async move {
            tokio::select! {
                _ = gone => { let _ = room.leave(seat).await; }
                _ = let_go => {}
            }
        });
        watch
    }

    fn free(&mut self, seat: u64) -> Option<Taken> {
        let taken = self.seats.remove(&seat)?;
        self.members.leave(taken.member);
        Some(taken)
    }

    fn names(&self) -> Vec<String> {
        self.seats.values().map(|taken| taken.name.clone()).collect()
    }

    /// Waits for nobody: a page that is slow holds up no other.
    fn tell_who_is_here(&self) {
        Call::detach(self.members.here(self.names()));
    }
}

impl DurableObject for Room {
    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        let log = Log::open(ctx.storage()).await?;
        Ok(Self { ctx, log, members: Group::new(), seats: BTreeMap::new(), last_seat: 0 })
    }
}
