//! Objects that send to each other, and a node of them.
#![allow(clippy::needless_pass_by_value)] // remote methods own their arguments

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use opendo::prelude::*;
use opendo::testing::{Disk, on_disk, with_tokio_clock};
use opendo::{KeepaliveReason, Limits, NodeBuilder, SendError, Stored, Undelivered};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// An object that sends and receives.
pub(crate) struct Post {
    ctx: Ctx,
    /// How often it was told to send, to anybody.
    sent: Stored<u64>,
    got: Stored<Vec<u64>>,
    undelivered: Stored<Vec<String>>,
}

/// What is to happen in the object of a name, whichever instance it is.
#[derive(Default)]
pub(crate) struct Fate {
    /// How many messages it panics at.
    pub(crate) panics: Mutex<u32>,
    /// How many calls of `undelivered` it panics at.
    pub(crate) hook_panics: Mutex<u32>,
    /// How many messages have run, committed or not.
    pub(crate) runs: Mutex<Vec<u64>>,
    /// Where messages wait, as long as it is shut.
    gate: Mutex<Option<Arc<Notify>>>,
}

impl Fate {
    /// Names are for one test each.
    pub(crate) fn of(name: &str) -> Arc<Self> {
        static ALL: LazyLock<Mutex<HashMap<String, Arc<Fate>>>> = LazyLock::new(Mutex::default);
        ALL.lock().unwrap().entry(name.to_owned()).or_default().clone()
    }

    /// Messages wait from now on.
    pub(crate) fn shut(&self) {
        *self.gate.lock().unwrap() = Some(Arc::default());
    }

    /// No others wait, and the one goes on that does.
    pub(crate) fn open(&self) {
        if let Some(gate) = self.gate.lock().unwrap().take() {
            gate.notify_one();
        }
    }

    async fn passes(&self) {
        let gate = self.gate.lock().unwrap().clone();
        if let Some(gate) = gate {
            gate.notified().await;
        }
    }

    /// Until a message runs.
    pub(crate) async fn runs_one(&self) {
        while self.runs.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    }

    fn takes(count: &Mutex<u32>) -> bool {
        let mut count = count.lock().unwrap();
        let is_left = *count > 0;
        *count = count.saturating_sub(1);
        is_left
    }
}

#[durable_object]
impl Post {
    /// Sends the next numbers to each of these.
    pub fn send(&mut self, to: Vec<PostStub>, many: u64) -> Result<u64, String> {
        for _ in 0..many {
            let number = *self.sent + 1;
            for to in &to {
                self.ctx.send(to, |to| to.take(number))?;
            }
            *self.sent.edit() = number;
        }
        Ok(*self.sent)
    }

    pub async fn take(&mut self, number: u64) {
        let fate = self.fate();
        fate.runs.lock().unwrap().push(number);
        fate.passes().await;
        self.got.edit().push(number);
        assert!(!Fate::takes(&fate.panics), "as the test wants");
    }

    #[method(concurrent)]
    pub async fn take_beside(&self, number: u64) {
        self.fate().runs.lock().unwrap().push(number);
        tokio::task::yield_now().await;
        let mut got: Vec<u64> = self.ctx.storage().get("got").await.unwrap().unwrap_or_default();
        got.push(number);
        self.ctx.storage().put("got", &got).unwrap();
    }

    /// Writes, and refuses.
    pub fn refuse(&mut self, number: u64) -> Result<(), String> {
        self.got.edit().push(number);
        Err("as the test wants".into())
    }

    /// Takes a number and passes what is left on.
    pub fn pass_on(&mut self, ring: Vec<PostStub>, left: u64) -> Result<(), String> {
        self.got.edit().push(left);
        if left > 0 {
            let mut rest = ring.clone();
            rest.rotate_left(1);
            self.ctx.send(&ring[0], |next| next.pass_on(rest, left - 1))?;
        }
        Ok(())
    }

    /// Takes a number and answers to one that is in the arguments.
    pub fn answer(&mut self, to: Option<PostStub>, number: u64) -> Result<(), String> {
        if let Some(to) = to {
            self.ctx.send(&to, |to| to.take(number))?;
        }
        Ok(())
    }

    /// Sends what `answer` takes.
    pub fn ask(&mut self, to: PostStub, number: u64) -> Result<(), String> {
        let this = self.ctx.this::<PostStub>();
        Ok(self.ctx.send(&to, |to| to.answer(Some(this), number))?)
    }

    /// Sends to itself.
    pub fn remind(&mut self, number: u64) -> Result<(), String> {
        let this = self.ctx.this::<PostStub>();
        Ok(self.ctx.send(&this, |this| this.take(number))?)
    }

    /// Sends in a transaction, and one message behind it.
    pub async fn send_in_transaction(&mut self, to: PostStub, keep: bool) -> Result<(), String> {
        let ctx = &self.ctx;
        let _ = ctx
            .storage()
            .transaction(async {
                ctx.send(&to, |to| to.take(1)).map_err(String::from)?;
                let inner = ctx.storage().transaction(async {
                    ctx.send(&to, |to| to.take(2)).map_err(String::from)?;
                    Err::<(), String>("rolled back".into())
                });
                assert!(inner.await.is_err());
                ctx.send(&to, |to| to.take(3)).map_err(String::from)?;
                if keep { Ok(()) } else { Err("rolled back".to_owned()) }
            })
            .await;
        Ok(ctx.send(&to, |to| to.take(4))?)
    }

    /// Sends in a transaction that ends when it is told to.
    #[method(concurrent)]
    pub async fn send_slowly(&self, to: PostStub, number: u64) -> Result<(), String> {
        let fate = self.fate();
        let storage = self.ctx.storage();
        storage
            .transaction(async {
                self.ctx.send(&to, |to| to.take(number))?;
                fate.passes().await;
                Ok::<_, String>(())
            })
            .await
    }

    #[method(concurrent)]
    pub fn send_beside(&self, to: PostStub, number: u64) -> Result<(), String> {
        Ok(self.ctx.send(&to, |to| to.take(number))?)
    }

    pub fn send_beside_others(&self, to: PostStub, number: u64) -> Result<(), String> {
        Ok(self.ctx.send(&to, |to| to.take_beside(number))?)
    }

    pub fn send_refused(&self, to: PostStub, number: u64) -> Result<(), String> {
        self.ctx.send(&to, |to| to.refuse(number))?;
        Ok(self.ctx.send(&to, |to| to.take(number + 1))?)
    }

    /// Sends and is lost before it is recorded.
    pub fn send_and_panic(&mut self, to: PostStub) {
        self.ctx.send(&to, |to| to.take(1)).unwrap();
        panic!("as the test wants");
    }

    /// Sends and then removes everything.
    pub fn send_and_clear(&mut self, to: PostStub) -> Result<(), String> {
        self.ctx.send(&to, |to| to.take(1))?;
        self.ctx.storage().delete_all()?;
        Ok(self.ctx.send(&to, |to| to.take(2))?)
    }

    pub fn clear(&self) -> Result<(), String> {
        Ok(self.ctx.storage().delete_all()?)
    }

    pub fn forget_what_it_got(&mut self) -> Result<(), String> {
        self.ctx.storage().delete_all()?;
        self.got.edit().clear();
        Ok(())
    }

    /// Sends to objects of other classes.
    pub fn send_elsewhere(&self, to: MovedStub) -> Result<(), String> {
        self.ctx.send(&to, |to| to.old(7))?;
        Ok(self.ctx.send(&to, |to| to.kept())?)
    }

    /// What messages refuse.
    pub fn try_all(&self, to: PostStub, remote: TellerStub, callback: Callback<u64, ()>) -> Vec<String> {
        let say = |result: Result<(), SendError>| match result {
            Ok(()) => "recorded".to_owned(),
            Err(error) => error.to_string(),
        };
        let here = opendo::serve::<TellerStub, _>(Ear);
        let kept = std::cell::RefCell::new(None);
        let tries = vec![
            say(self.ctx.send(&remote, |it| it.told(1))),
            say(self.ctx.send(&here, |it| it.told(1))),
            say(self.ctx.send(&to, |to| to.with_callback(callback))),
            say(self.ctx.send(&to, |to| to.with_teller(here.clone()))),
            say(self.ctx.send(&to, |to| to.with_result(self.ctx.this::<PostStub>().got().into()))),
            say(self.ctx.send(&to, |to| to.with_bytes("x".repeat(3 << 20)))),
            say(self.ctx.send(&to, |_| to.take(1))),
            say(self.ctx.send(&to, |to| {
                Call::detach(to.take(1));
                to.take(2)
            })),
            say(self.ctx.send(&to, |to| {
                *kept.borrow_mut() = Some(to.clone());
                to.take(9)
            })),
        ];
        Call::detach(kept.take().unwrap().take(10)); // goes nowhere
        tries
    }

    pub fn with_callback(&self, _callback: Callback<u64, ()>) {}
    pub fn with_teller(&self, _teller: TellerStub) {}
    pub fn with_result(&self, _result: opendo::Arg<Vec<u64>>) {}
    pub fn with_bytes(&self, _bytes: String) {}

    /// Sends so many, and says what becomes of the next.
    pub fn fill(&mut self, to: PostStub, many: u64) -> Result<String, String> {
        for number in 1..=many {
            self.ctx.send(&to, |to| to.take(number))?;
        }
        Ok(self.ctx.send(&to, |to| to.take(0)).unwrap_err().to_string())
    }

    pub fn got(&self) -> Vec<u64> {
        self.got.clone()
    }

    pub fn sent(&self) -> u64 {
        *self.sent
    }

    pub fn undelivered_ones(&self) -> Vec<String> {
        self.undelivered.clone()
    }

    #[method(concurrent)]
    pub fn messages_on_their_way(&self) -> usize {
        let count = |reason: &KeepaliveReason| match reason {
            KeepaliveReason::Messages(count) => Some(*count),
            _ => None,
        };
        self.ctx.keepalive_reasons().iter().find_map(count).unwrap_or(0)
    }
}

impl Post {
    fn fate(&self) -> Arc<Fate> {
        Fate::of(self.ctx.key().name().unwrap_or_default())
    }
}

impl DurableObject for Post {
    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        Ok(Self {
            sent: ctx.stored("sent").await?,
            got: ctx.stored("got").await?,
            undelivered: ctx.stored("undelivered").await?,
            ctx,
        })
    }

    async fn undelivered(&mut self, message: Undelivered) -> opendo::Result<()> {
        assert!(!Fate::takes(&self.fate().hook_panics), "as the test wants");
        let text = format!("{}.{}: {:?}", message.receiver(), message.method(), message.reason().kind());
        self.undelivered.edit().push(text);
        Ok(())
    }
}

/// What is no object of the node.
#[opendo::interface]
pub(crate) trait Teller {
    async fn told(&self, number: u64);
}

pub(crate) struct Ear;

#[rpc_target]
impl Teller for Ear {
    async fn told(&self, _number: u64) {}
}

/// As it was when messages to it were recorded.
pub(crate) struct Moved(Stored<Vec<String>>);

#[durable_object]
impl Moved {
    pub fn old(&mut self, number: u32) {
        self.0.edit().push(number.to_string());
    }
    pub fn kept(&mut self) {
        self.0.edit().push("kept".into());
    }
    pub fn all(&self) -> Vec<String> {
        self.0.clone()
    }
}

impl DurableObject for Moved {
    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        Ok(Self(ctx.stored("all").await?))
    }
}

/// The same class in a later version of the program.
pub(crate) struct MovedOn(Stored<Vec<String>>);

#[durable_object(name = "Moved")]
impl MovedOn {
    pub fn old(&mut self, text: String) {
        self.0.edit().push(text);
    }
    pub fn kept(&mut self) {
        self.0.edit().push("kept".into());
    }
    pub fn all(&self) -> Vec<String> {
        self.0.clone()
    }
}

impl DurableObject for MovedOn {
    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        Ok(Self(ctx.stored("all").await?))
    }
}

/// A node of posts.
pub(crate) fn posts(disk: &Disk) -> NodeBuilder {
    with_tokio_clock(on_disk(Node::builder().object::<Post>(), disk))
}

pub(crate) async fn node_on(disk: &Disk) -> Node {
    posts(disk).start().await.unwrap()
}

pub(crate) async fn few(disk: &Disk, max_messages: usize) -> Node {
    posts(disk).limits(Limits { max_messages, ..Limits::default() }).start().await.unwrap()
}

/// Waits until the object has this, under a paused clock; then sees that nothing more comes.
pub(crate) async fn has_got(post: &PostStub, expected: &[u64]) {
    let arriving = async {
        loop {
            let got = post.fresh().got().await;
            if got.is_ok_and(|got| got.len() >= expected.len()) {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    if timeout(Duration::from_secs(3600), arriving).await.is_err() {
        panic!("{:?} of {expected:?} have come", post.fresh().got().await);
    }
    sleep(Duration::from_secs(60)).await;
    assert_eq!(post.fresh().got().await.unwrap(), expected);
}
