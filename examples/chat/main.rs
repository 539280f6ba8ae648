//! A chat: rooms that call their members back, and notice when one is gone.
//!
//! `cargo run --bin chat -- serve unix:/tmp/chat.sock` in one terminal, `… join unix:/tmp/chat.sock lobby ann` in others.
//! Kill what you like: the others are told who was lost, and members of a lost server come back when it does.

pub mod room;
mod terminal;

use std::time::Duration;

use opendo::prelude::*;

#[tokio::main]
async fn main() -> opendo::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", address] => serve(address).await,
        ["join", address, room, name] => terminal::join(address, room, name).await,
        _ => Err(opendo::Error::msg("usage: chat serve <address> | chat join <address> <room> <name>")),
    }
}

/// Hosts rooms until Ctrl-C.
async fn serve(address: &str) -> opendo::Result<()> {
    // Peers get a door and name no objects: rooms are called by doors and seats only, so nobody speaks for another.
    let door = |session: &opendo::Session| Ok(room::Door::to(session.objects()));
    let node = Node::builder().object::<room::Room>().accept(door).start().await?;
    println!("listening on {}", node.listen(address).await?);
    tokio::signal::ctrl_c().await?;
    node.shutdown(Duration::from_secs(5)).await;
    Ok(())
}
