//! Sessions that begin with a root target: what it gives is all that a peer can reach.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opendo::prelude::*;
use opendo::testing::Network;
use opendo::{ErrorKind, NodeBuilder, Session};
use serde::{Deserialize, Serialize};

use super::broker::{self, BrokerStub, Ear, ListenerStub, listener};
use super::errors::failure;
use super::world::{World, until};

/// All that a stranger can reach: a target of its session's own.
pub struct Gatekeeper {
    session: Session,
    asked: u64,
    objects: Node,
    ear: Ear,
    _held: ListenerStub,
}

#[derive(Clone, Debug, Serialize, Deserialize, opendo::Pipelined)]
pub struct Account {
    pub broker: BrokerStub,
    pub gatekeeper: Option<GatekeeperStub>,
}

#[rpc_target]
impl Gatekeeper {
    /// How often it was asked: by one session only.
    pub fn count(&mut self) -> u64 {
        self.asked += 1;
        self.asked
    }

    pub fn credentials(&self) -> Vec<u8> {
        self.session.credentials().to_vec()
    }

    pub fn authenticate(&self, token: String) -> Result<Account, String> {
        if token != "sesame" {
            return Err("who are you?".into());
        }
        Ok(Account { broker: self.objects.get(token), gatekeeper: None })
    }

    /// Calls the root of its caller.
    pub async fn call_back(&self, what: u64) -> u64 {
        let root: ListenerStub = self.session.root();
        root.hear(what).await.unwrap()
    }

    pub fn make(&self) -> ListenerStub {
        self.ear.serve()
    }
}

/// Counts the roots that there are, by what each of them holds.
#[derive(Clone)]
struct Roots {
    ear: Ear,
    made: Arc<AtomicUsize>,
    objects: Arc<Mutex<Option<Node>>>,
}

impl Roots {
    fn new() -> Self {
        Self { ear: Ear::new(), made: Arc::default(), objects: Arc::default() }
    }

    /// A node that gives out its objects only so.
    fn node(&self) -> NodeBuilder {
        let roots = self.clone();
        broker::hosted().accept(move |session| {
            if session.credentials() == b"stranger" {
                return Err("we are closed to strangers".into());
            }
            roots.made.fetch_add(1, Ordering::SeqCst);
            let objects = roots.objects.lock().unwrap().clone().unwrap();
            let held = roots.ear.serve();
            Ok(opendo::serve::<GatekeeperStub, _>(Gatekeeper {
                session: session.clone(),
                asked: 0,
                objects,
                ear: Ear::new(),
                _held: held,
            }))
        })
    }

    async fn start(&self, builder: NodeBuilder) -> opendo::Result<Node> {
        *self.objects.lock().unwrap() = Some(broker::hosted().start().await?);
        Ok(builder.start().await?)
    }

    fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }
}

fn hosted() -> NodeBuilder {
    broker::hosted()
}

/// A node with roots, on this world's transport.
async fn gate(world: &World, roots: &Roots, builder: NodeBuilder) -> opendo::Result<(Node, String)> {
    let node = roots.start(builder).await?;
    let address = node.listen(&world.another_address()).await?.to_string();
    Ok((node, address))
}

every_way! {
    async fn each_session_has_a_root_of_its_own(world: &World) {
        let roots = Roots::new();
        let (node, address) = gate(world, &roots, roots.node()).await?;
        let one = world.dial_at(&address).credentials("one").connect().await?;
        let two = world.dial_at(&address).credentials("two").connect().await?;
        let (a, b): (GatekeeperStub, GatekeeperStub) = (one.root(), two.root());
        assert_eq!((a.count().await?, a.count().await?, b.count().await?), (1, 2, 1));
        // Every stub of it is the same one.
        assert_eq!(one.root::<GatekeeperStub>().count().await?, 3);
        assert_eq!(one.session().unwrap().root::<GatekeeperStub>().count().await?, 4);
        assert_eq!((a.credentials().await?, b.credentials().await?), (b"one".to_vec(), b"two".to_vec()));
        assert_eq!((roots.made(), roots.ear.live()), (2, 2));
        // It goes with its session, whoever holds a stub.
        one.close().await;
        until("the root is gone", || roots.ear.live() == 1).await;
        assert_eq!(b.count().await?, 2);
        two.close().await;
        roots.ear.gone().await;
        assert_eq!(failure(a.count().await), (ErrorKind::Closed, false));
        drop(node);
    }

    async fn a_refused_peer_is_told_why(world: &World) {
        let roots = Roots::new();
        let (node, address) = gate(world, &roots, roots.node()).await?;
        let stranger = world.dial_at(&address).credentials("stranger").patience(Duration::ZERO);
        if world.is_text() {
            // There is no handshake that would tell; but what is said first is that the session is over, and why.
            let client = stranger.connect().await?;
            client.session().unwrap().closed().await;
            let error = RpcError::from(client.root::<GatekeeperStub>().count().await.unwrap_err());
            assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Disconnected, false));
            assert!(error.message().contains("we are closed to strangers"), "{error}");
            assert_eq!((roots.made(), roots.ear.live()), (0, 0));
            client.close().await;
            return Ok(());
        }
        let refused = stranger.connect().await.unwrap_err();
        assert!(refused.to_string().contains("we are closed to strangers"), "{refused}");
        let error = RpcError::from(refused);
        assert_eq!(error.kind(), ErrorKind::Unauthorized);
        assert_eq!((roots.made(), roots.ear.live()), (0, 0));
        until("it has no session", || node.sessions() == 0).await;
    }

    async fn names_reach_nothing_unless_that_is_allowed(world: &World) {
        let roots = Roots::new();
        let (_closed, address) = gate(world, &roots, roots.node()).await?;
        let client = world.dial_at(&address).connect().await?;
        let named = client.get::<BrokerStub>("a").name().await;
        let error = RpcError::from(named.unwrap_err());
        // Over text objects are asked for from the root, which may have no such method.
        let (kind, text) = match world.is_text() {
            true => (ErrorKind::NoSuchMethod, "'object' is not a function."),
            false => (ErrorKind::Unauthorized, "start from its root target"),
        };
        assert_eq!((error.kind(), error.may_have_run()), (kind, false));
        assert!(error.message().contains(text), "{error}");
        assert_eq!(failure(client.session().unwrap().get::<BrokerStub>("b").name().await).0, error.kind());
        // Nor does it help to pass the name to somebody who may call it.
        let root: GatekeeperStub = client.root();
        let account = root.authenticate("sesame".into()).await.unwrap();
        let told = account.broker.echo_by(client.get("a"), listener().0).await;
        // It unwraps its refusal; over text, the argument is none.
        assert_eq!(failure(told).0, if world.is_text() { kind } else { ErrorKind::Reset });
        client.close().await;
        drop((root, account));

        let roots = Roots::new();
        let node = roots.start(roots.node().allow_names()).await?;
        let network = Network::new(&node);
        let client = network.client().connect().await?;
        assert_eq!(client.get::<BrokerStub>("a").name().await?.as_deref(), Some("a"));
        assert_eq!(client.root::<GatekeeperStub>().count().await?, 1);
        client.close().await;
    }

    async fn what_the_root_gives_leads_on(world: &World) {
        let roots = Roots::new();
        let (_node, address) = gate(world, &roots, roots.node()).await?;
        let client = world.dial_at(&address).connect().await?;
        let root: GatekeeperStub = client.root();
        let ear = Ear::new();
        let account = root.authenticate("sesame".into());
        let (other, made) = (account.broker.other("b".into()), account.broker.make(ear.clone()));
        assert_eq!(other.name().await?.as_deref(), Some("b"));
        assert_eq!(made.hear(1).await?, 2);
        let missing = account.gatekeeper.count().await;
        let kind = if world.is_text() { ErrorKind::NoSuchMethod } else { ErrorKind::Broken };
        assert_eq!(failure(missing), (kind, false));
        assert_eq!(account.await.unwrap().broker.name().await?.as_deref(), Some("sesame"));
        let refused = root.authenticate("guess".into());
        assert_eq!(failure(refused.broker.other("b".into()).name().await), world.failed_dependency());
        assert_eq!(refused.await.unwrap_err(), CallError::App("who are you?".into()));
        drop((other, made));
        ear.gone().await;
        client.close().await;
    }

    async fn the_node_calls_the_root_of_its_client(world: &World) {
        let roots = Roots::new();
        let (_node, address) = gate(world, &roots, roots.node()).await?;
        let (target, ear) = listener();
        let client = world.dial_at(&address).root(&target).connect().await?;
        let root: GatekeeperStub = client.root();
        assert_eq!((root.call_back(1).await?, root.call_back(2).await?), (2, 3));
        assert_eq!(ear.heard(), [1, 2]);
        client.close().await;
        drop((client, root, target));
        ear.gone().await;
    }

    async fn a_peer_without_a_root_says_so(world: &World) {
        let client = world.dial().connect().await?;
        let root: GatekeeperStub = client.root();
        let error = RpcError::from(root.count().await.unwrap_err());
        // Over text a root that gives out the node's objects is there.
        let (kind, text) = match world.is_text() {
            true => (ErrorKind::NoSuchMethod, "'count' is not a function."),
            false => (ErrorKind::NoSuchClass, "no root target"),
        };
        assert_eq!((error.kind(), error.may_have_run()), (kind, false));
        assert!(error.message().contains(text), "{error}");
        client.close().await;
        // The client has none, either: the method unwraps that.
        let roots = Roots::new();
        let (_node, address) = gate(world, &roots, roots.node()).await?;
        let client = world.dial_at(&address).connect().await?;
        let root: GatekeeperStub = client.root();
        assert_eq!(failure(root.call_back(1).await), (ErrorKind::Reset, true));
        client.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_reconnect_a_root_is_the_new_sessions() -> opendo::Result<()> {
    let roots = Roots::new();
    let node = roots.start(roots.node()).await?;
    let network = Network::new(&node);
    let (target, ear) = listener();
    let client = network.client().root(&target).connect().await?;
    let root: GatekeeperStub = client.root();
    assert_eq!((root.count().await?, root.count().await?), (1, 2));
    let made = root.make().await?;
    for round in 1..4 {
        network.cut();
        while client.session().is_some_and(|session| session.stats() != opendo::SessionStats::default()) {
            tokio::task::yield_now().await;
        }
        let count = loop {
            match root.count().await {
                Ok(count) => break count,
                Err(error) => assert_eq!(error.rpc().unwrap().kind(), ErrorKind::Disconnected),
            }
        };
        assert_eq!((count, roots.made()), (1, round + 1));
        // The client's root is there again; what the old one gave is not.
        assert_eq!(root.call_back(9).await?, 10);
        assert_eq!(failure(made.hear(1).await), (ErrorKind::Broken, false));
        until("the old root is gone", || roots.ear.live() == 1).await;
    }
    client.close().await;
    drop((client, root, made, target));
    ear.gone().await;
    Ok(())
}
