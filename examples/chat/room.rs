//! What a chat is made of: doors lead to rooms, rooms give their members seats and call them back.

use std::collections::{BTreeMap, VecDeque};

use opendo::prelude::*;
use opendo::{MemberId, Objects};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

/// Somebody in a room. The client implements it; the room calls.
#[opendo::interface]
pub trait Member {
    /// Comes first: who else is there, and what was said last.
    async fn welcome(&mut self, others: Vec<String>, said: Vec<Message>);
    /// Something has happened.
    async fn told(&mut self, message: Message);
}

/// What happens in a room.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Message {
    /// A member said something.
    Said {
        /// Who.
        name: String,
        /// What.
        text: String,
    },
    /// Somebody came.
    Joined(String),
    /// Somebody went.
    Left(String),
    /// The connection to somebody is gone.
    Lost(String),
}

/// Why somebody cannot join.
#[derive(Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub enum JoinError {
    /// Somebody else is called so.
    #[error("somebody called {0} is there already")]
    NameTaken(String),
    /// The room failed.
    #[error("{0}")]
    Room(String),
}

/// All that a peer can reach without having been given it.
#[derive(Debug)]
pub struct Door {
    rooms: Objects,
}

impl Door {
    /// A door to these rooms.
    pub fn to(rooms: Objects) -> DoorStub {
        opendo::serve(Self { rooms })
    }
}

#[rpc_target]
impl Door {
    /// A seat in the room of that name; `member` is told what happens there.
    pub async fn enter(&self, room: String, name: String, member: MemberStub) -> Result<SeatStub, JoinError> {
        let room: RoomStub = self.rooms.get(&room);
        room.join(name, member).await.map_err(|error| match error {
            CallError::App(error) => error,
            CallError::Rpc(error) => JoinError::Room(error.to_string()),
        })
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
    /// Tells the others.
    pub async fn say(&self, text: String) -> Result<(), String> {
        self.room.say(self.number, text).await.map_err(|error| error.to_string())
    }

    /// Says goodbye.
    pub async fn leave(&self) -> Result<(), String> {
        self.room.leave(self.number, false).await.map_err(|error| error.to_string())
    }
}

/// A room, as long as its node runs.
#[derive(Debug)]
pub struct Room {
    ctx: Ctx,
    members: Group<MemberStub>,
    seats: BTreeMap<u64, Taken>,
    last_seat: u64,
    said: VecDeque<Message>,
}

#[derive(Debug)]
struct Taken {
    name: String,
    member: MemberId,
    /// Dropped with the seat, which ends the watch over its member.
    _watch: oneshot::Sender<()>,
}

/// How much of what was said is kept for those who come later.
const REMEMBERED: usize = 20;

#[durable_object]
impl Room {
    /// Takes a member in.
    pub async fn join(&mut self, name: String, member: MemberStub) -> Result<SeatStub, JoinError> {
        if self.seats.values().any(|seat| seat.name == name) {
            return Err(JoinError::NameTaken(name));
        }
        self.tell(Message::Joined(name.clone()));
        let others = self.seats.values().map(|seat| seat.name.clone()).collect();
        // Before it is in the group, so before everything that the group is told.
        Call::detach(member.welcome(others, self.said.iter().cloned().collect()));

        self.last_seat += 1;
        let (room, number) = (self.ctx.this::<RoomStub>(), self.last_seat);
        let (watch, let_go) = oneshot::channel();
        let (gone, seat) = (member.broken(), room.clone());
        self.ctx.wait_until(async move {
            tokio::select! {
                _ = gone => { let _ = room.leave(number, true).await; }
                _ = let_go => {}
            }
        });
        let member = self.members.join(member);
        self.seats.insert(number, Taken { name, member, _watch: watch });
        Ok(opendo::serve(Seat { room: seat, number }))
    }

    /// What the member on that seat says.
    pub fn say(&mut self, seat: u64, text: String) -> Result<(), String> {
        let name = self.seats.get(&seat).ok_or("you are not in the room any more")?.name.clone();
        let message = Message::Said { name, text };
        if self.said.len() == REMEMBERED {
            self.said.pop_front();
        }
        self.said.push_back(message.clone());
        self.tell(message);
        Ok(())
    }

    /// Frees that seat. Once.
    pub fn leave(&mut self, seat: u64, lost: bool) {
        if let Some(Taken { name, member, .. }) = self.seats.remove(&seat) {
            self.members.leave(member);
            self.tell(if lost { Message::Lost(name) } else { Message::Left(name) });
        }
    }
}

impl Room {
    /// Tells all members, and waits for none of them: one that is slow, or calls back, holds up nobody.
    fn tell(&self, message: Message) {
        Call::detach(self.members.told(message));
    }
}

impl DurableObject for Room {
    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        let (members, seats, said) = (Group::new(), BTreeMap::new(), VecDeque::new());
        Ok(Self { ctx, members, seats, last_seat: 0, said })
    }
}
