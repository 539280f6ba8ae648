//! Who is let in.

use std::time::Duration;

use opendo::prelude::*;
use opendo::testing::Network;
use opendo::{ErrorKind, Lasting, ListenError, NodeBuilder};

use super::raw::*;
use super::world::*;

fn guarded() -> NodeBuilder {
    forget_runs();
    watch_panics();
    Node::builder().object::<Worker>().authenticate(|session| match session.credentials() {
        b"sesame" => Ok(()),
        b"bomb" => panic!("an authenticator that panics"),
        b"" => Err("who are you?".into()),
        other => Err(format!("{} is not the word", String::from_utf8_lossy(other))),
    })
}

#[tokio::test(start_paused = true)]
async fn credentials_decide_and_the_reason_reaches_the_client() {
    let node = guarded().start().await.unwrap();
    let network = Network::new(&node);
    let client = network.client().credentials("sesame").connect().await.unwrap();
    let stub: WorkerStub = client.get("a");
    for (credentials, reason) in [("", "who are you?"), ("barley", "barley is not the word")] {
        let refused = soon(network.client().credentials(credentials).connect()).await.unwrap_err();
        let error = RpcError::from(refused);
        assert_eq!((error.kind(), error.message()), (ErrorKind::Unauthorized, reason));
        assert!(!error.is_retryable() && !error.may_have_run());
    }
    assert_eq!(soon(stub.tag(1)).await, Ok(1));
    // Shown again at each new connection.
    network.cut();
    settle().await;
    assert_eq!(soon(stub.tag(2)).await, Ok(2));
    assert_eq!(node.sessions(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_peer_gets_nothing_done() {
    let node = guarded().start().await.unwrap();
    let network = Network::new(&node);
    let mut raw = Raw::new(&network);
    let mut all = frame(hello_with(1000, 1000, b"x"));
    for message in [describe_worker(0), bind_worker(1, "x"), call(1, 1, "tag", &[1])] {
        all.extend(frame(message));
    }
    raw.send_bytes(&all).await;
    assert_eq!(raw.aborted().await.kind, ErrorKind::Unauthorized);
    settle().await;
    assert_eq!((all_runs().len(), node.live::<WorkerStub>().len(), node.sessions()), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_authenticator_that_panics_lets_nobody_in_and_hurts_nobody() {
    let node = guarded().start().await.unwrap();
    node.listen("memory:bomb").await.unwrap();
    for _ in 0..3 {
        let bomb = Client::builder("memory:bomb").credentials("bomb").connect();
        assert!(soon(bomb).await.is_err());
    }
    let client = soon(Client::builder("memory:bomb").credentials("sesame").connect()).await.unwrap();
    let stub: WorkerStub = client.get("a");
    assert_eq!(soon(stub.tag(1)).await, Ok(1));
    assert_eq!((panics(), node.sessions()), (3, 1));
}

#[tokio::test]
async fn everybody_may_come_in_only_where_that_was_said() {
    for address in ["tcp://0.0.0.0:0", "tcp://[::]:0"] {
        let node = Node::builder().object::<Worker>().start().await.unwrap();
        let refused = node.listen(address).await.unwrap_err();
        assert!(matches!(&refused, ListenError::Anonymous { address: named } if named == address));
        let text = refused.to_string();
        assert!(text.contains(".authenticate(") && text.contains(".allow_anonymous()"), "{text}");
        node.listen("tcp://127.0.0.1:0").await.unwrap();
        node.listen(&format!("memory:local-{address}")).await.unwrap();
        node.shutdown(Duration::ZERO).await;
    }
    for (builder, credentials) in [(guarded(), "sesame"), (Node::builder().object::<Worker>(), "")] {
        let builder = if credentials.is_empty() { builder.allow_anonymous() } else { builder };
        let node = builder.start().await.unwrap();
        let address = node.listen("tcp://0.0.0.0:0").await.unwrap().to_string();
        let address = address.replace("0.0.0.0", "127.0.0.1");
        let client = soon(Client::builder(&address).credentials(credentials).connect()).await.unwrap();
        let stub: WorkerStub = client.get("a");
        assert_eq!(soon(stub.tag(1)).await, Ok(1));
        soon(client.close()).await;
    }
}

/// What workers make again.
pub(super) struct Bench;

#[rpc_target]
impl Bench {
    pub fn tag(&self, tag: u32) -> u32 {
        tag
    }
}

impl Lasting for Bench {
    type Object = Worker;
    type Stub = BenchStub;
    type Params = u8;
    const NAME: &'static str = "bench";

    async fn restore(_: &mut Worker, _: u8) -> opendo::Result<Self> {
        Ok(Self)
    }
}

#[tokio::test(start_paused = true)]
async fn names_of_targets_that_were_not_handed_out_are_refused_before_an_object_is_asked() {
    forget_runs();
    let node = Node::builder().object::<Worker>().lasting::<Bench>().start().await.unwrap();
    let network = Network::new(&node);
    let mut raw = Raw::greeted(&network).await;
    let guesses = [
        (bind_lasting(1, "a", "bench", &[7], [0; 16]), ErrorKind::Unauthorized),
        (bind_lasting(2, "a", "bench", &[], [0xff; 16]), ErrorKind::Unauthorized),
        (bind_lasting(3, "a", "stool", &[7], [0; 16]), ErrorKind::NoSuchClass),
        (bind_lasting(4, "a", "bench", &[0; 16 * 1024 + 1], [0; 16]), ErrorKind::Protocol),
    ];
    for (import, (guess, kind)) in (1..).zip(guesses) {
        raw.send(guess).await;
        raw.send(call(import as u64, import, "tag", &[1])).await;
        assert_eq!(raw.refused().await.kind, kind, "{import}");
    }
    assert_eq!((all_runs().len(), node.live::<WorkerStub>().len()), (0, 0));
    raw.send(bind_worker(5, "a")).await;
    raw.works(5, 5).await;

    raw.send(bind_lasting(6, "a", "bench", &[0; 64 * 1024], [0; 16])).await;
    assert_eq!(raw.aborted().await.kind, ErrorKind::Protocol);
}
