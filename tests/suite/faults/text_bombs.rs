//! Little that is said, and much that would come of it.

use opendo::Limits;

use super::text::*;
use super::world::settle;

/// Results of results of results: each is twice the one before.
#[tokio::test(start_paused = true)]
async fn a_value_that_doubles_itself_is_refused_when_it_is_too_large() {
    let mut world = World::with(Limits { max_message: 1 << 16, ..Limits::default() }).await;
    let mut peer = world.peer().await;
    peer.say(format!(r#"["push","{}"]"#, "x".repeat(100))).await;
    for id in 1..64 {
        peer.say(format!(r#"["push",[[["pipeline",{id}],["pipeline",{id}]]]]"#)).await;
    }
    peer.say(r#"["pull",3]"#).await;
    let value = peer.hear().await.unwrap();
    assert_eq!(value.matches('x').count(), 400, "{value}");
    peer.say(r#"["pull",64]"#).await;
    let refusal = peer.hear().await.unwrap();
    assert!(refusal.starts_with(r#"["reject",64,["error","Error""#), "{refusal}");
    drop(peer);
    world.alone().await;
}

/// Each nests the one before: what is as deep as no message may be is refused.
#[tokio::test(start_paused = true)]
async fn a_value_that_nests_without_end_is_refused() {
    let mut world = World::new().await;
    let mut peer = world.peer().await;
    peer.say(r#"["push",[[0]]]"#).await;
    for id in 1..20_000 {
        peer.say(format!(r#"["push",[[["pipeline",{id}]]]]"#)).await;
    }
    peer.say(r#"["push",["pipeline",0,["echo"],[["pipeline",20000]]]]"#).await;
    peer.say(r#"["pull",20001]"#).await;
    let refusal = peer.hear().await.unwrap();
    assert!(refusal.contains("depth"), "{refusal}");
    drop(peer);
    world.alone().await;
}

/// The same, and nothing has come yet of what is nested.
#[tokio::test(start_paused = true)]
async fn a_promise_that_nests_without_end_is_refused() {
    let mut world = World::new().await;
    for resolved in [true, false] {
        let mut peer = world.peer().await;
        peer.say(r#"["push",[[["promise",-1]]]]"#).await;
        for id in 1..20_000 {
            peer.say(format!(r#"["push",[[["pipeline",{id}]]]]"#)).await;
        }
        peer.say(r#"["pull",20000]"#).await;
        if resolved {
            peer.say(r#"["resolve",-1,1]"#).await;
            assert_eq!(peer.hear().await.as_deref(), Some(r#"["release",-1,1]"#));
            let refusal = peer.hear().await.unwrap();
            assert!(refusal.contains("depth"), "{refusal}");
        }
        drop(peer);
        world.alone().await;
    }
}

/// Many of them in one message take no deeper a stack than one.
#[tokio::test(start_paused = true)]
async fn a_message_of_many_results_is_a_message_like_any_other() {
    let mut world = World::new().await;
    let mut peer = world.peer().await;
    peer.say(r#"["push",1]"#).await;
    let many = vec![r#"["pipeline",1]"#; 60_000].join(",");
    peer.say(format!(r#"["push",[[{many}]]]"#)).await;
    peer.say(r#"["pull",2]"#).await;
    let value = peer.hear().await.unwrap();
    assert_eq!(value.len(), r#"["resolve",2,[[]]]"#.len() + 2 * 60_000 - 1);
    drop(peer);
    world.alone().await;
}

/// Each waits for the one before.
#[tokio::test(start_paused = true)]
async fn a_long_chain_of_results_is_one() {
    let mut world = World::new().await;
    let mut peer = world.peer().await;
    peer.say(r#"["push",["promise",-1]]"#).await;
    for id in 1..20_000 {
        peer.say(format!(r#"["push",["pipeline",{id}]]"#)).await;
    }
    peer.say(r#"["pull",20000]"#).await;
    peer.say(r#"["resolve",-1,"end"]"#).await;
    let mut heard = peer.hear().await.unwrap();
    if heard.contains("release") {
        heard = peer.hear().await.unwrap();
    }
    assert_eq!(heard, r#"["resolve",20000,"end"]"#);
    drop(peer);
    world.alone().await;
}

/// What becomes of what, in a ring, ends with the session.
#[tokio::test(start_paused = true)]
async fn a_ring_of_promises_is_gone_with_its_session() {
    let mut world = World::new().await;
    let mut peer = world.peer().await;
    peer.follow(
        r#"< ["push",["pipeline",0,["makeCounter"],[4]]]
           < ["push",[[["promise",-1],["pipeline",1]]]]
           < ["resolve",-1,[[["pipeline",2],["pipeline",1]]]]
           < ["push",["pipeline",0,["callFunction"],[["export",-2],1]]]
           > ["push",["pipeline",-2,[],[1]]]
           > ["pull",1]
           < ["resolve",1,[[["pipeline",3]]]]
           < ["pull",3]"#,
    )
    .await;
    settle().await;
    assert_eq!(counters(), 1);
    drop(peer);
    world.alone().await;
}

/// What holds a stub of itself, by whatever way, is gone with its session too.
#[tokio::test(start_paused = true)]
async fn a_value_that_holds_itself_is_gone_with_its_session() {
    let mut world = World::new().await;
    for script in [
        r#"< ["push",["promise",-1]]
           < ["push",["pipeline",0,["makeCounter"],[4]]]
           < ["resolve",-1,[[["import",1],["pipeline",2]]]]
           > ["release",-1,1]"#,
        r#"< ["push",[[["promise",-1]]]]
           < ["push",["pipeline",0,["makeCounter"],[4]]]
           < ["push",[[["import",1,["0"]],["pipeline",2]]]]
           < ["resolve",-1,[[["import",3]]]]
           > ["release",-1,1]"#,
        r#"< ["push",["export",-1]]
           < ["push",["pipeline",1,["x"],[]]]
           > ["push",["pipeline",-1,["x"],[]]]
           < ["push",["pipeline",0,["makeCounter"],[4]]]
           < ["resolve",1,[[["import",2,["y"],[]],["pipeline",3]]]]
           > ["push",["pipeline",1,["y"],[]]]"#,
    ] {
        let mut peer = world.peer().await;
        peer.follow(script).await;
        settle().await;
        assert_eq!(counters(), 1, "{script}");
        drop(peer);
        world.alone().await;
    }
}

/// Of the elements there may be many, of the instructions too, and in one message many maps.
#[tokio::test(start_paused = true)]
async fn maps_run_as_many_steps_as_one_message_may_cause() {
    let mut world = World::with(Limits { max_map_steps: 1000, ..Limits::default() }).await;
    let square = r#"["pipeline",-1,["square"],[["pipeline",0]]]"#;
    let map = format!(r#"["remap",1,[],[["import",0]],[{square}]]"#);
    let inner = format!(r#"["remap",1,[],[["import",-1]],[{square}]]"#);
    let nested = format!(r#"["remap",1,[],[["import",0]],[["pipeline",-1,["numbers"],[90]],{inner}]]"#);
    let long = format!(r#"["remap",1,[],[],["{}"]]"#, "x".repeat(1 << 20));
    for (bomb, at_most) in [
        (format!("[[{}]]", vec![map.as_str(); 50].join(",")), 1000),
        (nested, 1000),
        (format!(r#"["remap",1,[],[["import",0]],[{}]]"#, vec![square; 50].join(",")), 1000),
        (long, 0),
    ] {
        let mut peer = world.peer().await;
        peer.say(r#"["push",["pipeline",0,["numbers"],[90]]]"#).await;
        peer.say(format!(r#"["push",{bomb}]"#)).await;
        peer.say(r#"["pull",2]"#).await;
        let refusal = peer.hear().await.unwrap();
        assert!(refusal.contains("a map of more than 1000 steps"), "{}", &refusal[..refusal.len().min(300)]);
        assert!(squares() <= at_most);
        // The next message may do it again.
        peer.follow(
            r#"< ["push",["remap",1,[],[],[["pipeline",0]]]]
               < ["push",["pipeline",0,["echo"],[["pipeline",3]]]]"#,
        )
        .await;
        peer.say(r#"["pull",4]"#).await;
        assert!(peer.hear().await.unwrap().starts_with(r#"["resolve",4,[[0,1,2,"#));
        drop(peer);
        world.alone().await;
    }
}
