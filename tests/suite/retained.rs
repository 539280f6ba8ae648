//! Stubs that objects keep while they sleep, and what happens when their connections end.

#![allow(clippy::needless_pass_by_value)] // arguments of remote methods are owned

use std::time::Duration;

use opendo::testing::{self, Network};
use opendo::{Lost, Stored, prelude::*};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

#[opendo::interface]
pub(crate) trait Watcher {
    async fn told(&self, text: String);
}

struct Page(UnboundedSender<String>);

#[rpc_target]
impl Watcher for Page {
    async fn told(&self, text: String) {
        let _ = self.0.send(text);
    }
}

pub(crate) struct Board {
    ctx: Ctx,
    gone: Stored<Vec<String>>,
}

#[durable_object]
impl Board {
    pub fn watch(&self, name: String, watcher: WatcherStub) -> Result<(), String> {
        Ok(self.ctx.retain("watchers", &watcher, &name)?)
    }

    /// Tells all, and gives back their names.
    pub fn tell(&self, text: String) -> Result<Vec<String>, String> {
        let watchers = self.ctx.retained::<WatcherStub>("watchers");
        for watcher in &watchers {
            Call::detach(watcher.told(text.clone()));
        }
        watchers.iter().map(|watcher| Ok(watcher.attachment()?)).collect()
    }

    pub fn release(&self, name: String) {
        for watcher in self.ctx.retained::<WatcherStub>("watchers") {
            if watcher.attachment::<String>().is_ok_and(|other| other == name) {
                watcher.release();
            }
        }
    }

    pub fn gone(&self) -> Vec<String> {
        self.gone.clone()
    }
}

impl DurableObject for Board {
    async fn new(ctx: Ctx) -> opendo::Result<Self> {
        Ok(Self { gone: ctx.stored("gone").await?, ctx })
    }

    async fn lost(&mut self, lost: Lost) -> opendo::Result<()> {
        let name = lost.attachment()?;
        self.gone.edit().push(name);
        Ok(())
    }
}

async fn node() -> Node {
    Node::builder().object::<Board>().start().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_retained_callback_is_called_after_a_sleep_and_its_loss_wakes_the_object() {
    let node = node().await;
    let board: BoardStub = node.get("a");
    let network = Network::new(&node);
    let client = network.client().connect().await.unwrap();
    let (told, mut heard) = unbounded_channel();
    let remote: BoardStub = client.get("a");
    remote.watch("ann".into(), opendo::serve(Page(told.clone()))).await.unwrap();
    board.watch("ben".into(), opendo::serve(Page(told))).await.unwrap();

    // Nothing but what is retained: it leaves memory by itself.
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert!(node.live::<BoardStub>().is_empty());

    assert_eq!(board.tell("hello".into()).await.unwrap(), ["ann", "ben"]);
    assert_eq!(heard.recv().await.unwrap(), "hello");
    assert_eq!(heard.recv().await.unwrap(), "hello");

    testing::hibernate(&node, &board).await;
    network.cut();
    while board.gone().await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(board.gone().await.unwrap(), ["ann"]);
    assert_eq!(board.tell("still there?".into()).await.unwrap(), ["ben"]);
    assert_eq!(heard.recv().await.unwrap(), "still there?");
}

#[tokio::test(start_paused = true)]
async fn what_is_released_is_neither_called_nor_missed() {
    let node = node().await;
    let network = Network::new(&node);
    let client = network.client().connect().await.unwrap();
    let board: BoardStub = client.get("a");
    let (told, mut heard) = unbounded_channel();
    for name in ["ann", "ben"] {
        board.watch(name.into(), opendo::serve(Page(told.clone()))).await.unwrap();
    }
    board.release("ann".into()).await.unwrap();
    assert_eq!(board.tell("hello".into()).await.unwrap(), ["ben"]);
    assert_eq!(heard.recv().await.unwrap(), "hello");
    network.cut();
    let board: BoardStub = node.get("a");
    while board.gone().await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(board.gone().await.unwrap(), ["ben"]);
}

/// Checklist 8.6.
#[tokio::test]
async fn an_attachment_has_a_limit() {
    let node = node().await;
    let board: BoardStub = node.get("a");
    let (told, _heard) = unbounded_channel();
    let page = |told| opendo::serve(Page(told));
    board.watch("x".repeat(16 * 1024 - 3), page(told.clone())).await.unwrap();
    let error = board.watch("x".repeat(16 * 1024 - 2), page(told)).await.unwrap_err();
    assert!(error.to_string().contains("16384 are the most"), "{error}");
}
