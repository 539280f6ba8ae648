//! A member at a terminal: says what it reads, prints what it is told.

use std::time::Duration;

use opendo::prelude::*;
use tokio::sync::mpsc;

use crate::room::{DoorStub, Member, MemberStub, Message, SeatStub};

struct Screen {
    room: String,
    name: String,
}

#[rpc_target]
impl Member for Screen {
    async fn welcome(&mut self, others: Vec<String>, said: Vec<Message>) {
        for message in said {
            show(message);
        }
        let others = if others.is_empty() { "nobody".to_owned() } else { others.join(", ") };
        println!("* you are in {} with {others}", self.room);
    }

    async fn told(&mut self, message: Message) {
        match message {
            Message::Said { name, .. } if name == self.name => {} // it is on the screen already
            message => show(message),
        }
    }
}

fn show(message: Message) {
    match message {
        Message::Said { name, text } => println!("{name}: {text}"),
        Message::Joined(name) => println!("* {name} has joined"),
        Message::Left(name) => println!("* {name} has left"),
        Message::Lost(name) => println!("* {name} was lost"),
    }
}

/// Takes part until the input ends.
pub(crate) async fn join(address: &str, room: &str, name: &str) -> opendo::Result<()> {
    // Calls wait for a lost server this long.
    let client = Client::builder(address).patience(Duration::from_secs(60)).connect().await?;
    let door: DoorStub = client.root();
    let screen: MemberStub = opendo::serve(Screen { room: room.into(), name: name.into() });
    let mut lines = lines_of_stdin();
    let mut rejoins = false;
    loop {
        let why = match door.enter(room.into(), name.into(), screen.clone()).await {
            Ok(seat) => match sit(&seat, &mut lines).await {
                Some(why) => {
                    Call::detach(seat.leave()); // in case that it is only we who gave up
                    why
                }
                None => {
                    let left = seat.leave().await;
                    client.close().await;
                    return left.map_err(Into::into);
                }
            },
            // Lost while we went in; or the server has not noticed yet that we were lost, and our name is taken.
            Err(error) if error.may_have_run() && (rejoins || error.app().is_none()) => {
                tokio::time::sleep(Duration::from_secs(1)).await;
                error.to_string()
            }
            Err(error) => return Err(error.into()),
        };
        // The client reconnects and the door heals, but a seat ends with its session, and so does the room's way to us.
        println!("* you were lost: {why}");
        rejoins = true;
    }
}

/// Says what is read, until there is no more (`None`), or with the reason why nobody hears it.
async fn sit(seat: &SeatStub, lines: &mut mpsc::UnboundedReceiver<String>) -> Option<String> {
    loop {
        tokio::select! {
            why = seat.broken() => return Some(why.to_string()),
            line = lines.recv() => if let Err(error) = seat.say(line?).await {
                println!("* that was perhaps not heard");
                return Some(error.to_string());
            },
        }
    }
}

/// On a thread of its own, which does not keep the program from ending.
fn lines_of_stdin() -> mpsc::UnboundedReceiver<String> {
    let (sender, lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        std::io::stdin().lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    lines
}
