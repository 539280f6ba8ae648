//! Nodes that end, connections that are lost, names that were not handed out.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use opendo::prelude::*;
use opendo::testing::{self, Disk, Network, hibernate, on_disk};
use opendo::transport::{AnyConnection, Connection, TransportError, kind, memory};
use opendo::{Client, ErrorKind, NodeBuilder, StartError};
use tokio::time::timeout;

use super::room::{Does, Door, DoorStub, Room, RoomStub, hosted};
use crate::by_name::ByName;
use crate::world::failure;

/// A client of whichever node is there.
async fn client_of(node: &Arc<Mutex<Option<Node>>>) -> Client {
    connect::<kind::Bytes>(node).await
}

async fn connect<K: kind::Kind>(node: &Arc<Mutex<Option<Node>>>) -> Client
where
    Connection<K>: Into<AnyConnection>,
{
    let node = node.clone();
    let connector = move || {
        let node = node.lock().unwrap().clone();
        async move {
            let node = node.ok_or(TransportError::NotFound { address: "the node".into() })?;
            let (ours, theirs) = memory::pair::<K>(16);
            tokio::spawn(async move { node.serve_connection(Connection::new(theirs)).await });
            Ok(Connection::new(ours))
        }
    };
    Client::over(connector).connect().await.unwrap()
}

/// Cap'n Web has no words for names of its own.
#[tokio::test(start_paused = true)]
async fn to_a_text_client_it_is_a_target_like_others_and_outlives_its_objects_sleep_all_the_same() {
    let node = hosted().start().await.unwrap();
    let client = connect::<kind::Text>(&Arc::new(Mutex::new(Some(node.clone())))).await;
    let room: RoomStub = client.get("a");
    let door = room.plain("front".into()).await.unwrap();
    assert_eq!(door.knock().await.unwrap(), 1);
    hibernate(&node, &node.get::<RoomStub>("a")).await;
    assert_eq!(door.knock().await.unwrap(), 1);
    assert_eq!(room.knock(door.clone()).await.unwrap(), 2);
    room.keep(door.clone()).await.unwrap();
    assert_eq!(room.kept().await.unwrap()[0].knock().await.unwrap(), 3);

    client.session().unwrap().abort("as the test wants");
    assert_eq!(room.written().await.unwrap(), "");
    assert_eq!(failure(door.knock().await).0, ErrorKind::Broken);
    assert_eq!(room.kept().await.unwrap()[0].knock().await.unwrap(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_stored_stub_survives_a_crash_of_the_node() {
    let disk = Disk::new();
    let node = on_disk(hosted(), &disk).start().await.unwrap();
    let (a, b): (RoomStub, RoomStub) = (node.get("a"), node.get("b"));
    let door = a.plain("front".into()).await.unwrap();
    b.keep(door.clone()).await.unwrap();
    testing::crash(&node).await;
    assert_eq!(failure(door.knock().await).0, ErrorKind::Closed);

    let node = on_disk(hosted(), &disk).start().await.unwrap();
    let b: RoomStub = node.get("b");
    let door = b.kept().await.unwrap().remove(0);
    assert_eq!(door.knock().await.unwrap(), 1);
    assert_eq!(door.name().await.unwrap(), "front");
    testing::crash(&node).await;

    // A program that does not know such targets says so, and keeps what is stored.
    let node = on_disk(Node::builder().object::<Room>(), &disk).start().await.unwrap();
    let b: RoomStub = node.get("b");
    let door = b.kept().await.unwrap().remove(0);
    assert_eq!(failure(door.knock().await), (ErrorKind::NoSuchClass, false));
}

/// What strangers get.
pub(crate) struct Gatekeeper(RoomStub);

#[rpc_target]
impl Gatekeeper {
    pub async fn enter(&self) -> Result<DoorStub, String> {
        self.0.plain("front".into()).await.map_err(|error| error.to_string())
    }
}

/// A node of which nothing can be named.
fn guarded() -> NodeBuilder {
    hosted().accept(|session| Ok(opendo::serve::<GatekeeperStub, _>(Gatekeeper(session.objects().get("a")))))
}

#[tokio::test(start_paused = true)]
async fn a_client_goes_on_after_a_lost_connection_and_after_a_restart_also_where_nothing_can_be_named() {
    let disk = Disk::new();
    let node = on_disk(guarded(), &disk).start().await.unwrap();
    let current = Arc::new(Mutex::new(Some(node.clone())));
    let client = client_of(&current).await;
    let door = client.root::<GatekeeperStub>().enter().await.unwrap();
    assert_eq!(door.knock().await.unwrap(), 1);

    client.session().unwrap().abort("as the test wants");
    assert_eq!(door.knock().await.unwrap(), 2, "the target did not notice");

    *current.lock().unwrap() = None;
    testing::crash(&node).await;
    let waiting = door.knock();
    *current.lock().unwrap() = Some(on_disk(guarded(), &disk).start().await.unwrap());
    assert_eq!(waiting.await.unwrap(), 1);
    assert_eq!(door.name().await.unwrap(), "front");
}

#[tokio::test(start_paused = true)]
async fn a_client_gives_back_what_it_was_given_after_a_restart_too() {
    let disk = Disk::new();
    let node = on_disk(hosted(), &disk).start().await.unwrap();
    let current = Arc::new(Mutex::new(Some(node.clone())));
    let client = client_of(&current).await;
    let (a, b): (RoomStub, RoomStub) = (client.get("a"), client.get("b"));
    let door = a.plain("front".into()).await.unwrap();
    testing::crash(&node).await;
    let node = on_disk(hosted(), &disk).start().await.unwrap();
    *current.lock().unwrap() = Some(node.clone());
    b.keep(door).await.unwrap();
    let stored = node.get::<RoomStub>("b").kept().await.unwrap().remove(0);
    assert_eq!(stored.knock().await.unwrap(), 1);
}

/// Another node is asked for what this one has handed out.
#[tokio::test(start_paused = true)]
async fn a_name_is_worth_nothing_where_it_was_not_handed_out() {
    let node = hosted().start().await.unwrap();
    let current = Arc::new(Mutex::new(Some(node.clone())));
    let client = client_of(&current).await;
    let (a, b): (RoomStub, RoomStub) = (client.get("a"), client.get("b"));
    let door = a.plain("front".into()).await.unwrap();
    assert_eq!(door.knock().await.unwrap(), 1);

    let other = hosted().start().await.unwrap();
    *current.lock().unwrap() = Some(other.clone());
    testing::crash(&node).await;
    assert_eq!(failure(door.knock().await), (ErrorKind::Unauthorized, false));
    assert!(other.live::<RoomStub>().is_empty(), "no object was asked");
    // It is not stored as if it were one.
    assert!(b.keep(door.clone()).await.is_err());
    assert_eq!(failure(door.knock().await), (ErrorKind::Unauthorized, false));
    assert!(b.fresh().kept().await.unwrap().is_empty(), "the session goes on");
}

#[tokio::test(start_paused = true)]
async fn the_secret_of_a_node_is_made_once_however_its_first_commit_ends() {
    let disk = Disk::new();
    disk.inject_next(testing::Fault::Fail);
    let failed = on_disk(hosted(), &disk).start().await;
    assert!(matches!(failed, Err(StartError::Secret(_))));
    disk.inject_next(testing::Fault::LoseAnswer);
    let node = on_disk(hosted(), &disk).start().await.unwrap();
    let current = Arc::new(Mutex::new(Some(node.clone())));
    let client = client_of(&current).await;
    let door = client.get::<RoomStub>("a").plain("front".into()).await.unwrap();
    testing::crash(&node).await;
    *current.lock().unwrap() = Some(on_disk(hosted(), &disk).start().await.unwrap());
    assert_eq!(door.knock().await.unwrap(), 1);
}

#[tokio::test]
async fn it_is_an_ordinary_capability_to_a_third_node() {
    let (near, far) = (hosted().start().await.unwrap(), hosted().start().await.unwrap());
    let network = Network::new(&far);
    let client = network.client_of(&near).connect().await.unwrap();
    let door = near.get::<RoomStub>("a").plain("front".into()).await.unwrap();
    let remote: RoomStub = client.get("a");
    assert_eq!(remote.knock(door.clone()).await.unwrap(), 1);
    // There it would end with the session.
    assert!(remote.keep(door.clone()).await.is_err());
    hibernate(&near, &near.get::<RoomStub>("a")).await;
    assert_eq!(remote.fresh().knock(door).await.unwrap(), 1);
}

/// Two of the same name, on one class.
pub(crate) struct Twin;

#[rpc_target]
impl Twin {
    pub fn look(&self) {}
}

impl Lasting for Twin {
    type Object = Room;
    type Stub = TwinStub;
    type Params = ();
    const NAME: &'static str = "door";

    async fn restore(_: &mut Room, (): ()) -> opendo::Result<Self> {
        Ok(Self)
    }
}

#[tokio::test]
async fn names_are_unique_in_a_class_and_the_class_is_hosted() {
    let twins = hosted().lasting::<Twin>().start().await.unwrap_err();
    assert_eq!(twins, StartError::DuplicateTarget { class: "Room", target: "door" });
    let homeless = Node::builder().lasting::<Door>().start().await.unwrap_err();
    assert_eq!(homeless, StartError::NoClass { class: "Room", target: "door" });
}

/// A new one waits until the one before is dropped, which may take its time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_that_race_with_panics_find_the_only_one() {
    let node = hosted().start().await.unwrap();
    let room: RoomStub = node.get("a");
    let door = room.door("front".into(), Does::Alone(ByName::new())).await.unwrap();
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let door = door.clone();
            tokio::spawn(async move {
                for _ in 0..200 {
                    assert_eq!(failure(door.fresh().panic().await).0, ErrorKind::Reset);
                    let _ = door.fresh().knock().await; // of the one that somebody else has reset, perhaps
                }
            })
        })
        .collect();
    for caller in callers {
        timeout(Duration::from_secs(60), caller).await.expect("a call hangs").unwrap();
    }
    // `restore` panics when there are two, which is a reset of the room.
    room.written().await.unwrap();
    assert!(door.fresh().knock().await.unwrap() > 0);
}

/// Every knock is counted, whenever the room falls asleep, and no two doors of one name are there at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_that_race_with_hibernation_all_arrive_at_the_only_one() {
    let node = hosted().start().await.unwrap();
    let room: RoomStub = node.get("a");
    let door = room.door("front".into(), Does::Alone(ByName::new())).await.unwrap();
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let door = door.fresh();
            tokio::spawn(async move {
                for _ in 0..2_000 {
                    assert!(door.knock().await.unwrap() > 0);
                }
            })
        })
        .collect();
    let sleeper = {
        let (node, room) = (node.clone(), room.clone());
        tokio::spawn(async move {
            loop {
                hibernate(&node, &room).await;
                tokio::task::yield_now().await;
            }
        })
    };
    for caller in callers {
        timeout(Duration::from_secs(60), caller).await.expect("a call hangs").unwrap();
    }
    sleeper.abort();
}
