//! Callbacks made of closures, one call to many stubs, and events that are not missed without notice.

use futures::StreamExt;
use opendo::prelude::*;
use opendo::{Callback, Cursor, Feed, FeedEvent, Group, MemberId, NodeBuilder, Resumable, RpcStream, Update};

use super::by_name::{Gate, Log, Signal};
use super::world::World;

#[opendo::interface]
pub trait Member {
    async fn told(&mut self, what: u64) -> u64;
    async fn refuse(&self) -> Result<(), String>;
}

pub struct Ear(Log);

#[rpc_target]
impl Member for Ear {
    async fn told(&mut self, what: u64) -> u64 {
        self.0.push(what);
        what
    }

    async fn refuse(&self) -> Result<(), String> {
        Err("no".into())
    }
}

fn ear() -> (MemberStub, Log) {
    let log = Log::new();
    (opendo::serve(Ear(log.clone())), log)
}

/// A member whose calls wait.
pub struct Slow(Gate);

#[rpc_target]
impl Member for Slow {
    async fn told(&mut self, what: u64) -> u64 {
        self.0.pass().await;
        what
    }

    async fn refuse(&self) -> Result<(), String> {
        panic!("as the test wants")
    }
}

pub struct Hall {
    members: Group<MemberStub>,
    ids: Vec<MemberId>,
    news: Feed<u64>,
}

#[durable_object]
impl Hall {
    pub fn join(&mut self, member: MemberStub) {
        self.ids.push(self.members.join(member));
    }

    pub fn leave(&mut self, index: u32) -> bool {
        self.members.leave(self.ids[index as usize])
    }

    pub async fn tell(&self, what: u64) -> Result<u64, String> {
        self.members.told(what).await.map_err(|error| error.to_string())
    }

    pub fn tell_and_go_on(&self, what: u64) {
        Call::detach(self.members.told(what));
    }

    pub async fn provoke(&self) -> String {
        self.members.refuse().await.map_err(|error| error.to_string()).unwrap_err()
    }

    pub fn members(&self) -> u64 {
        self.members.len() as u64
    }

    pub async fn apply(&self, function: Callback<(u64, String), Option<u64>>) -> Option<u64> {
        function.call((20, "ab".into())).await.unwrap()
    }

    pub async fn apply_often(&self, function: Callback<u64, u64>, times: u64) -> u64 {
        let calls: Vec<_> = (0..times).map(|n| function.call(n)).collect();
        let mut sum = 0;
        for call in calls {
            sum += call.await.unwrap();
        }
        sum
    }

    pub fn adder(&self, by: u64) -> Callback<u64, u64> {
        Callback::new(move |n| async move { n + by })
    }

    pub fn publish(&self, event: u64) {
        self.news.publish(event);
    }

    pub fn news(&self, from: Option<Cursor>) -> RpcStream<FeedEvent<u64>> {
        self.news.subscribe(from)
    }

    pub fn close_news(&mut self) {
        std::mem::replace(&mut self.news, Feed::new(4)).close();
    }
}

impl DurableObject for Hall {
    async fn new(_: Ctx) -> opendo::Result<Self> {
        Ok(Self { members: Group::new(), ids: Vec::new(), news: Feed::new(4) })
    }
}

fn hosted() -> NodeBuilder {
    Node::builder().object::<Hall>()
}

/// Follows the news of the object, whatever becomes of it.
fn follow(hall: &HallStub) -> Resumable<u64> {
    let hall = hall.clone();
    Resumable::new(move |from| hall.fresh().news(from))
}

async fn update(news: &mut Resumable<u64>) -> Update<u64> {
    news.next().await.expect("the news go on").unwrap()
}

/// Nobody reads the news any more: over text, who writes them learns it from the next one only.
async fn unfollow(world: &World, hall: &HallStub) -> opendo::Result<()> {
    if world.is_text() {
        hall.publish(0).await?;
    }
    Ok(())
}

/// What the object keeps is let go with its instance.
async fn asleep(world: &World, hall: &HallStub) {
    opendo::testing::hibernate(&world.node, hall).await;
}

every_way! {
    async fn a_closure_is_called_from_elsewhere(world: &World) {
        let hall: HallStub = world.get("a");
        let offset = 2;
        let function =
            Callback::new(move |(n, text): (u64, String)| async move { Some(n + offset + text.len() as u64) });
        assert_eq!(hall.apply(function).await?, Some(24));
    }

    async fn calls_of_a_closure_start_in_order_and_overlap(world: &World) {
        let hall: HallStub = world.get("a");
        let (log, all) = (Log::new(), Signal::new());
        let (seen, wait) = (log.clone(), all.clone());
        let function = Callback::new(move |n: u64| {
            seen.push(n);
            let wait = wait.clone();
            async move {
                if n == 99 {
                    (0..100).for_each(|_| wait.raise());
                }
                wait.wait().await;
                n
            }
        });
        assert_eq!(hall.apply_often(function, 100).await?, 4950);
        assert_eq!(log.take(), (0..100).collect::<Vec<_>>());
    }

    async fn a_closure_made_by_a_method_is_called_before_it_has_arrived(world: &World) {
        let hall: HallStub = world.get("a");
        assert_eq!(hall.adder(1).call(3).await?, 4);
        let adder = hall.adder(2).await?;
        assert_eq!(adder.call(3).await?, 5);
        // At home it is the one that left.
        assert_eq!(hall.apply_often(adder, 2).await?, 5);
    }

    async fn a_call_on_a_group_reaches_every_member_in_order(world: &World) {
        let hall: HallStub = world.get("a");
        let logs: Vec<_> = (0..10)
            .map(|_| {
                let (member, log) = ear();
                Call::detach(hall.join(member));
                log
            })
            .collect();
        for what in 0..20 {
            hall.tell_and_go_on(what).await?;
        }
        assert_eq!(hall.tell(20).await?, 20);
        for log in logs {
            assert_eq!(log.take(), (0..=20).collect::<Vec<_>>());
        }
        asleep(world, &hall).await;
    }

    async fn members_leave_by_number_and_may_join_twice(world: &World) {
        let hall: HallStub = world.get("a");
        let (member, log) = ear();
        hall.join(member.clone()).await?;
        hall.join(member).await?;
        assert_eq!(hall.tell(1).await?, 1);
        assert_eq!(log.take(), [1, 1]);
        assert!(hall.leave(0).await?);
        assert!(!hall.leave(0).await?);
        assert_eq!(hall.tell(2).await?, 2);
        assert_eq!(log.take(), [2]);
        assert!(hall.leave(1).await?);
        // Nobody is there to give a result.
        assert!(hall.tell(3).await.unwrap_err().app().is_some_and(|text| text.contains("no members")));
    }

    async fn a_member_that_is_gone_leaves_and_fails_nobody(world: &World) {
        let hall: HallStub = world.get("a");
        let (member, log) = ear();
        let gone = Gate::new();
        hall.join(opendo::serve::<MemberStub, _>(Slow(gone.clone()))).await?;
        hall.join(member).await?;
        // The first member panics: its target is reset, and the refusal of the other one counts.
        assert_eq!(hall.provoke().await?, "no");
        assert_eq!(hall.tell(1).await?, 1);
        assert_eq!(hall.members().await?, 1);
        assert_eq!(log.take(), [1]);
        assert_eq!(gone.waiting(), 0);
        asleep(world, &hall).await;
    }

    async fn a_call_on_a_group_waits_for_the_slowest(world: &World) {
        let hall: HallStub = world.get("a");
        let (member, log) = ear();
        let gate = Gate::new();
        hall.join(member).await?;
        hall.join(opendo::serve::<MemberStub, _>(Slow(gate.clone()))).await?;
        let telling = hall.tell(7);
        gate.reached().await;
        assert_eq!(log.take(), [7]);
        gate.open();
        assert_eq!(telling.await?, 7);
        asleep(world, &hall).await;
    }

    async fn news_come_in_order_from_where_one_was(world: &World) {
        let hall: HallStub = world.get("a");
        hall.publish(0).await?;
        let mut news = follow(&hall);
        assert_eq!(update(&mut news).await, Update::Began);
        for event in 1..=3 {
            hall.publish(event).await?;
        }
        for event in 1..=3 {
            assert_eq!(update(&mut news).await, Update::Event(event));
        }
        hall.close_news().await?;
        assert!(news.next().await.is_none());
    }

    /// Nothing is queued for a subscriber: one that comes too late is told how much it missed.
    async fn a_slow_subscriber_is_told_of_the_gap(world: &World) {
        let hall: HallStub = world.get("a");
        let mut stream = hall.news(None).await?;
        let Some(Ok(FeedEvent::Began(cursor))) = stream.next().await else { panic!() };
        drop(stream);
        for event in 0..10 {
            hall.publish(event).await?;
        }
        let mut stream = hall.news(Some(cursor)).await?;
        assert_eq!(stream.next().await.unwrap()?, FeedEvent::Began(cursor));
        let Some(Ok(FeedEvent::Gap { missed: Some(6), .. })) = stream.next().await else { panic!() };
        for event in 6..10 {
            let Some(Ok(FeedEvent::Event { event: next, .. })) = stream.next().await else { panic!() };
            assert_eq!(next, event);
        }
        drop(stream);
        unfollow(world, &hall).await?;
    }

    /// Nothing has to be written for that: what a silent stream holds is let go on both sides.
    async fn the_reader_of_a_silent_stream_is_missed_at_once(world: &World) {
        let hall: HallStub = world.get("a");
        for _ in 0..100 {
            let mut stream = hall.news(None).await?;
            assert!(matches!(stream.next().await, Some(Ok(FeedEvent::Began(_)))));
        }
        unfollow(world, &hall).await?;
        drop(hall);
        world.settled().await;
    }

    async fn a_feed_that_was_lost_with_its_object_is_a_gap_of_unknown_size(world: &World) {
        let hall: HallStub = world.get("a");
        let mut news = follow(&hall);
        assert_eq!(update(&mut news).await, Update::Began);
        hall.publish(1).await?;
        assert_eq!(update(&mut news).await, Update::Event(1));
        opendo::testing::hibernate(&world.node, &hall).await;
        assert_eq!(update(&mut news).await, Update::Gap { missed: None });
        hall.publish(2).await?;
        assert_eq!(update(&mut news).await, Update::Event(2));
        assert!(opendo::testing::reset(&world.node, &hall, "as the test wants").await);
        assert_eq!(update(&mut news).await, Update::Gap { missed: None });
        hall.fresh().publish(3).await?;
        assert_eq!(update(&mut news).await, Update::Event(3));
        drop(news);
        unfollow(world, &hall.fresh()).await?;
    }
}

/// On a cut connection the subscription goes on where it was: no event is missed, none comes twice.
#[tokio::test(start_paused = true)]
async fn news_survive_a_lost_connection() {
    let node = hosted().start().await.unwrap();
    let network = opendo::testing::Network::new(&node);
    let client = network.client().connect().await.unwrap();
    let hall: HallStub = client.get("a");
    let here: HallStub = node.get("a");
    let mut news = follow(&hall);
    assert_eq!(update(&mut news).await, Update::Began);
    for round in 0..10 {
        here.publish(2 * round).await.unwrap();
        network.cut();
        here.publish(2 * round + 1).await.unwrap();
        assert_eq!(update(&mut news).await, Update::Event(2 * round));
        assert_eq!(update(&mut news).await, Update::Event(2 * round + 1));
    }
    // More than is kept, while nobody is connected.
    network.refuse(true);
    network.cut();
    for event in 100..110 {
        here.publish(event).await.unwrap();
    }
    network.refuse(false);
    assert_eq!(update(&mut news).await, Update::Gap { missed: Some(6) });
    for event in 106..110 {
        assert_eq!(update(&mut news).await, Update::Event(event));
    }
    client.close().await;
}

/// A session's members go with it, and the others are told all the same.
#[tokio::test]
async fn the_members_of_a_lost_session_leave_the_group() {
    let node = hosted().start().await.unwrap();
    let network = opendo::testing::Network::new(&node);
    let (staying, leaving) =
        (network.client().connect().await.unwrap(), network.client().connect().await.unwrap());
    let (hall, other): (HallStub, HallStub) = (staying.get("a"), leaving.get("a"));
    let (member, log) = ear();
    let (lost, lost_log) = ear();
    other.join(lost).await.unwrap();
    hall.join(member).await.unwrap();
    assert_eq!(hall.tell(1).await.unwrap(), 1);
    leaving.close().await;
    while node.sessions() > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(hall.tell(2).await.unwrap(), 2);
    assert_eq!(hall.members().await.unwrap(), 1);
    assert_eq!((log.take(), lost_log.take()), (vec![1, 2], vec![1]));
}
