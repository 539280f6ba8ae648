//! A chat in browsers: a web server with one page, which calls durable objects with Cloudflare's `capnweb` client.
//!
//! `cargo run --bin browser_chat`, then open <http://127.0.0.1:8080> in two windows. Another address can be given as
//! an argument, and behind it a directory in which rooms keep what was said; otherwise a new process begins with empty
//! rooms. What follows the `#` in the page's address is the room.
//!
//! Stop the server and start it again: the pages come back by themselves, ask for what they have missed, and go on.

pub mod log;
mod page;
pub mod room;

use std::net::SocketAddr;
use std::time::Duration;

use opendo::prelude::*;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> opendo::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".into());
    // Pages get a door and name no objects: a page speaks with the seat it was given, and in nobody else's name.
    let door = |session: &opendo::Session| Ok(room::Door::to(session.objects()));
    let mut node = Node::builder().object::<room::Room>().accept(door);
    if let Some(data) = std::env::args().nth(2) {
        node = node.storage(data);
    }
    let node = node.start().await?;
    let app = page::router().nest("/api", node.into_router());

    let listener = TcpListener::bind(&address).await?;
    println!("open http://{}", listener.local_addr()?);
    let stopped = async move {
        let _ = tokio::signal::ctrl_c().await;
        node.shutdown(Duration::from_secs(5)).await;
    };
    // With the peers' addresses, by which the node keeps pages of elsewhere from reaching into this machine.
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, app).with_graceful_shutdown(stopped).await?;
    Ok(())
}
