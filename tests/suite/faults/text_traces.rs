//! What Cap'n Web's own library says, line for line: `text_traces.txt` holds conversations with it.

use super::text::{World, counters, sunk};
use super::world::settle;
use opendo::testing::SessionStats;

const TRACES: &str = include_str!("text_traces.txt");

/// The conversations: title and lines.
fn traces() -> impl Iterator<Item = (&'static str, &'static str)> {
    TRACES.split("\n# ").skip(1).map(|trace| trace.split_once('\n').expect("a title and lines"))
}

#[tokio::test(start_paused = true)]
async fn every_conversation_goes_as_with_the_library_and_leaves_nothing() {
    let mut world = World::new().await;
    let mut differences = Vec::new();
    for (title, script) in traces() {
        let mut peer = world.peer().await;
        let followed = peer.try_follow(script).await;
        let more = peer.more().await;
        if let Err(difference) = followed {
            differences.push(format!("{title}: {difference}"));
        } else if let Some(more) = more {
            differences.push(format!("{title}: {more} at the end"));
        } else if !script.contains("> [\"abort\"") {
            let left = (world.other(), counters());
            if left != (SessionStats::default(), 0) {
                differences.push(format!("{title}: {left:?} at the end"));
            }
        }
        drop(peer);
        settle().await;
        world.alone().await;
        sunk();
    }
    assert!(differences.is_empty(), "{differences:#?}");
}
