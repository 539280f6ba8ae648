//! An object that does with its sockets what they, and its tests, say.

#![allow(unreachable_pub, clippy::needless_pass_by_value)]

use std::time::SystemTime;

use opendo::{Closed, Message, Opening, SocketError, Stored, WebSocket, prelude::*};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, Semaphore};

pub struct Room {
    ctx: Ctx,
    /// What has happened, and outlives the instance.
    log: Stored<Vec<String>>,
    /// How many messages this instance has had.
    heard: u64,
    kept: Option<Opening>,
}

/// Holds `message` handlers that are told to wait: it says when one has started, and lets one go with each permit.
pub struct Gate {
    pub started: Notify,
    pub go_on: Semaphore,
}

impl Gate {
    const fn new() -> Self {
        Self { started: Notify::const_new(), go_on: Semaphore::const_new(0) }
    }
}

/// One for each test that needs one: handlers say which.
pub static GATES: [Gate; 2] = [Gate::new(), Gate::new()];

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub name: String,
    pub said: u32,
}

#[durable_object]
impl Room {
    pub fn log(&self) -> Vec<String> {
        self.log.clone()
    }

    /// How many messages this instance has had: none, if it slept since.
    pub fn heard(&self) -> u64 {
        self.heard
    }

    pub fn names(&self, tag: Option<String>) -> Result<Vec<String>, String> {
        self.sockets(tag).iter().map(|socket| Ok(socket.attachment::<Member>()?.name)).collect()
    }

    pub fn tell(&self, tag: Option<String>, text: String) -> Result<(), String> {
        self.sockets(tag).iter().try_for_each(|socket| Ok(socket.send(text.as_str())?))
    }

    /// Writes something, and tells.
    pub fn tell_what_is_written(&mut self, text: String) -> Result<(), String> {
        self.log.edit().push(text.clone());
        self.tell(None, text)
    }

    pub fn close(&self, code: u16, reason: String) -> Result<(), String> {
        self.ctx.web_sockets().iter().try_for_each(|socket| Ok(socket.close(code, &reason)?))
    }

    /// How many bytes could be sent before the peer was behind.
    pub fn flood(&self, size: usize) -> Result<usize, String> {
        let socket = self.ctx.web_sockets().remove(0);
        for sent in 0.. {
            match socket.send(vec![7; size]) {
                Ok(()) => {}
                Err(SocketError::Behind { unsent }) => {
                    assert!(socket.is_open() && unsent > 0);
                    return Ok(sent * size);
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        unreachable!()
    }

    pub fn auto_response(&self, request: String, response: String) -> Result<(), String> {
        self.ctx.set_auto_response(Some((&request, &response)))?;
        assert_eq!(self.ctx.auto_response(), Some((request, response)));
        Ok(())
    }

    pub fn no_auto_response(&self) -> Result<(), String> {
        self.ctx.set_auto_response(None)?;
        assert_eq!(self.ctx.auto_response(), None);
        Ok(())
    }

    pub fn auto_responded_at(&self) -> Option<SystemTime> {
        self.ctx.web_sockets()[0].auto_responded_at()
    }

    pub fn set_tags(&self, name: String, tags: Vec<String>) -> Result<Vec<String>, String> {
        let of_name = |socket: &&WebSocket| socket.attachment::<Member>().is_ok_and(|it| it.name == name);
        let all = self.ctx.web_sockets();
        let socket = all.iter().find(of_name).ok_or("nobody")?;
        socket.set_tags(&tags.iter().map(String::as_str).collect::<Vec<_>>())?;
        Ok(socket.tags())
    }

    pub fn attach(&self, bytes: usize) -> Result<(), String> {
        Ok(self.ctx.web_sockets()[0].set_attachment(&vec![1_u8; bytes])?)
    }

    pub fn attached(&self) -> Result<usize, String> {
        Ok(self.ctx.web_sockets()[0].attachment::<Vec<u8>>()?.len())
    }

    pub fn accept_what_is_kept(&mut self) -> Result<(), String> {
        let kept = self.kept.take().ok_or("nothing")?;
        Ok(kept.accept(&[], &()).map(drop)?)
    }

    pub fn abort(&self) {
        self.ctx.abort("as told")
    }

    fn sockets(&self, tag: Option<String>) -> Vec<WebSocket> {
        tag.map_or_else(|| self.ctx.web_sockets(), |tag| self.ctx.web_sockets_tagged(&tag))
    }
}

impl DurableObject for Room {
    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        let log: Stored<Vec<String>> = ctx.stored("log").await?;
        Ok(Self { ctx, log, heard: 0, kept: None })
    }

    /// By the path behind the object's: what to do.
    async fn connect(&mut self, mut opening: Opening) -> opendo::Result<()> {
        let query = opening.query().unwrap_or("anonymous").to_owned();
        let (name, tags) = query.split_once('&').unwrap_or((&query, ""));
        let tags: Vec<&str> = tags.split(',').filter(|tag| !tag.is_empty()).collect();
        let member = Member { name: name.to_owned(), said: 0 };
        match opening.path() {
            "" => {
                let socket = opening.accept(&tags, &member)?;
                assert!(self.ctx.web_sockets().contains(&socket));
            }
            "/hello" => {
                self.log.edit().push(format!("{name} came"));
                opening.accept(&tags, &member)?.send("hello")?;
            }
            "/facts" => {
                let offered: Vec<String> = opening.subprotocols().map(str::to_owned).collect();
                let key = opening.headers().get("x-key").map(|key| key.to_str().unwrap().to_owned());
                assert!(!opening.choose_subprotocol("not offered"));
                assert!(opening.choose_subprotocol("chat.v2"));
                let peer = opening.peer().to_string();
                let socket = opening.accept(&[], &())?;
                socket.send(format!("{offered:?} {key:?} {query} {peer}"))?;
            }
            "/many" => {
                let tags: Vec<String> = (0..query.parse().unwrap()).map(|at| format!("tag {at}")).collect();
                let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
                self.accepted_or_logged(opening, &tags, &())?;
            }
            "/long" => self.accepted_or_logged(opening, &[&"ä".repeat(query.parse().unwrap())], &())?,
            "/attached" => self.accepted_or_logged(opening, &[], &vec![1_u8; query.parse().unwrap()])?,
            "/refuse" => opening.refuse(query.parse().unwrap(), "not you"),
            "/ignore" => {}
            "/keep" => self.kept = Some(opening),
            "/fail" => return Err(opendo::Error::msg("a secret")),
            "/accept-and-fail" => {
                opening.accept(&tags, &member)?;
                return Err(opendo::Error::msg("a secret"));
            }
            "/panic" => panic!("as asked"),
            path => {
                let reason = format!("there is no {path}");
                opening.refuse(404, reason);
            }
        }
        Ok(())
    }

    async fn message(&mut self, socket: WebSocket, message: Message) -> opendo::Result<()> {
        self.heard += 1;
        assert!(self.ctx.web_sockets().contains(&socket) || !socket.is_open());
        let Message::Text(text) = message else {
            socket.send(message)?; // binary: an echo
            return Ok(());
        };
        let (verb, rest) = text.split_once(' ').unwrap_or((&text, ""));
        match verb {
            "echo" => socket.send(rest)?,
            "log" => self.log.edit().push(rest.to_owned()),
            "count" => {
                let mut member: Member = socket.attachment()?;
                member.said += 1;
                socket.set_attachment(&member)?;
                socket.send(format!("{} {} {:?}", member.name, member.said, socket.tags()))?;
            }
            "wait" => {
                let gate = &GATES[rest.parse::<usize>()?];
                gate.started.notify_one();
                gate.go_on.acquire().await?.forget();
                socket.send("waited")?;
            }
            "close" => {
                socket.close(4000, rest)?;
                socket.close(4001, "a second time")?;
                assert_eq!(socket.send("late"), Err(SocketError::Closed));
                assert!(!socket.is_open());
            }
            "fail" => return Err(opendo::Error::msg(rest)),
            "panic" => panic!("as told"),
            _ => return Err(opendo::Error::msg("what?")),
        }
        Ok(())
    }

    async fn disconnected(&mut self, socket: WebSocket, close: Closed) -> opendo::Result<()> {
        assert!(!self.ctx.web_sockets().contains(&socket));
        assert_eq!(socket.send("are you there?"), Err(SocketError::Closed));
        let name = socket.attachment::<Member>().map_or_else(|_| "somebody".into(), |member| member.name);
        let Closed { code, reason, clean } = close;
        let how = if clean { "cleanly" } else { "lost" };
        self.log.edit().push(format!("{name} left {how}: {code} {reason}"));
        if reason == "panic" {
            panic!("as asked");
        }
        Ok(())
    }
}

impl Room {
    fn accepted_or_logged<T: Serialize>(
        &mut self,
        opening: Opening,
        tags: &[&str],
        attachment: &T,
    ) -> Result<(), SocketError> {
        match opening.accept(tags, attachment) {
            Ok(socket) => self.log.edit().push(format!("{} tags", socket.tags().len())),
            Err(error) => self.log.edit().push(error.to_string()),
        }
        Ok(())
    }
}

/// A class that knows nothing of sockets.
pub struct Plain;

#[durable_object]
impl Plain {}

impl DurableObject for Plain {
    async fn new(_: Ctx) -> opendo::Result<Self> {
        Ok(Self)
    }
}

/// Cannot be made as long as the semaphore has no permits.
pub struct Fragile {
    log: Stored<Vec<String>>,
}

pub static MAKEABLE: Semaphore = Semaphore::const_new(0);

#[durable_object]
impl Fragile {
    pub fn log(&self) -> Vec<String> {
        self.log.clone()
    }
}

impl DurableObject for Fragile {
    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        MAKEABLE.try_acquire()?.forget();
        Ok(Self { log: ctx.stored("log").await? })
    }

    async fn connect(&mut self, opening: Opening) -> opendo::Result<()> {
        opening.accept(&[], &())?;
        Ok(())
    }

    async fn disconnected(&mut self, _: WebSocket, close: Closed) -> opendo::Result<()> {
        self.log.edit().push(close.code.to_string());
        Ok(())
    }
}
