use opendo::testing;
use tokio::sync::mpsc;

use super::*;

/// Keeps the number and the text of what a page is told when it comes in.
struct Reader(mpsc::UnboundedSender<Vec<(u64, String)>>);

#[rpc_target]
impl Member for Reader {
    async fn welcome(&mut self, _here: Vec<String>, missed: Vec<Message>) {
        let _ = self.0.send(missed.into_iter().map(|message| (message.number, message.text)).collect());
    }

    async fn here(&mut self, _names: Vec<String>) {}

    async fn said(&mut self, _message: Message) {}
}

async fn enter(room: &RoomStub, name: &str, since: u64) -> (SeatStub, Vec<(u64, String)>) {
    let (sender, mut read) = mpsc::unbounded_channel();
    let guest = Guest { name: name.into(), key: name.into(), since };
    let seat = room.join(guest, opendo::serve(Reader(sender))).await.expect("the room takes everybody");
    (seat, read.recv().await.expect("the welcome comes"))
}

async fn node() -> Node {
    Node::builder().object::<Room>().start().await.expect("there is one class")
}

#[tokio::test]
async fn a_room_that_begins_anew_tells_what_it_has_stored_since_a_message() {
    let node = node().await;
    let room: RoomStub = node.get("lobby");
    let (seat, nothing) = enter(&room, "ann", 0).await;
    assert_eq!(nothing, []);
    for text in ["one", "two", "three"] {
        seat.say(text.into()).await.unwrap();
    }
    assert!(testing::reset(&node, &room, "a test").await);

    let room: RoomStub = node.get("lobby");
    let (seat, all) = enter(&room, "ann", 0).await;
    let first = all[0].0;
    assert_eq!(all, [(first, "one".into()), (first + 1, "two".into()), (first + 2, "three".into())]);
    seat.say("four".into()).await.unwrap();
    let (_, missed) = enter(&room, "bob", first + 1).await;
    assert_eq!(missed, [(first + 2, "three".into()), (first + 3, "four".into())]);
}

#[tokio::test]
async fn a_room_forgets_the_oldest_in_memory_and_in_storage_alike() {
    let node = node().await;
    let room: RoomStub = node.get("lobby");
    let (seat, _) = enter(&room, "ann", 0).await;
    for number in 0..450 {
        seat.say(number.to_string()).await.unwrap();
    }
    let texts = |said: Vec<(u64, String)>| said.into_iter().map(|(_, text)| text).collect::<Vec<_>>();
    let kept: Vec<_> = (250..450).map(|number| number.to_string()).collect();
    assert_eq!(texts(enter(&room, "bob", 0).await.1), kept);
    assert!(testing::reset(&node, &room, "a test").await);
    let room: RoomStub = node.get("lobby");
    assert_eq!(texts(enter(&room, "bob", 0).await.1), kept);
}

#[tokio::test]
async fn no_more_seats_are_given_than_there_are_and_one_that_is_left_is_given_again() {
    let node = node().await;
    let room: RoomStub = node.get("lobby");
    let mut members = Vec::new();
    for number in 0..SEATS {
        members.push(enter(&room, &number.to_string(), 0).await);
    }
    let guest = |name: &str| Guest { name: name.into(), key: String::new(), since: 0 };
    let reader = || opendo::serve::<MemberStub, _>(Reader(mpsc::unbounded_channel().0));
    let refused = room.join(guest("late"), reader()).await;
    assert!(matches!(refused, Err(CallError::App(RoomError::RoomFull))), "{refused:?}");
    // Somebody else with that name is refused for the name, not for the room.
    let refused = room.join(guest("7"), reader()).await;
    assert!(matches!(refused, Err(CallError::App(RoomError::NameTaken(name))) if name == "7"));
    room.leave(7 + 1).await.unwrap();
    assert!(room.join(guest("late"), reader()).await.is_ok());
}
