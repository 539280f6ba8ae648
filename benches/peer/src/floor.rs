//! The floor: the same calls, written by hand on the same runtime (`benches/common/floor.rs`).

use harness::{Args, Command, bench, objects, ready, version_in};

use crate::floor::{Actor, Connection};
use crate::subject::Subject;

#[path = "../../common/floor.rs"]
mod floor;
mod subject {
    pub(crate) use harness::Subject;
}

fn main() {
    let args = Args::parse("floor", version_in(include_str!("../../../Cargo.lock"), "tokio"));
    args.runtime().block_on(run(&args));
}

async fn run(args: &Args) {
    match args.command.clone() {
        Command::Serve { transport, address } => {
            floor::serve(&url(&transport, &address)).await.expect("a free address");
            ready();
            std::future::pending::<()>().await;
        }
        Command::Bench { address: None, .. } => {
            let actor = Actor::spawn();
            bench(args, &actor, |load| tokio::spawn(load.run(actor.clone()))).await;
        }
        Command::Bench { transport, address: Some(address) } => {
            let connection = Connection::open(&url(&transport, &address)).await.expect("it listens");
            bench(args, &connection, |load| tokio::spawn(load.run(connection.clone()))).await;
        }
        Command::Objects { .. } => {
            let args = args.clone();
            let make = |_| async { Actor::spawn() };
            let call = |actor: Actor| async move { actor.increment(1).await };
            tokio::spawn(async move { objects(&args, make, call).await }).await.expect("no panics");
        }
    }
}

fn url(transport: &str, address: &str) -> String {
    if transport == "uds" { format!("unix:{address}") } else { format!("tcp://{address}") }
}
