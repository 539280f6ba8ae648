//! What a text peer may pile up, and what happens beyond that.

use opendo::Limits;
use opendo::testing::SessionStats;

use super::text::*;
use super::world::settle;

#[tokio::test(start_paused = true)]
async fn a_peer_that_passes_more_capabilities_than_may_be_ends_its_session() {
    let mut world = World::with(Limits { max_capabilities: 10, ..Limits::default() }).await;
    for what in ["export", "writable", "promise"] {
        let mut peer = world.peer().await;
        for id in 1..=10 {
            peer.say(format!(r#"["push",["pipeline",0,["keep"],[[[["{what}",-{id}]]]]]]"#)).await;
        }
        settle().await;
        assert_eq!(world.other().imports, 10);
        peer.say(format!(r#"["push",["pipeline",0,["keep"],[["{what}",-11]]]]"#)).await;
        assert!(peer.aborted().await.contains("more than 10 capabilities"));
        drop(peer);
        world.alone().await;
    }
}

/// In the other direction the call fails, and others go on.
#[tokio::test(start_paused = true)]
async fn a_result_with_more_capabilities_than_may_be_is_refused() {
    let mut world = World::with(Limits { max_capabilities: 10, ..Limits::default() }).await;
    let mut peer = world.peer().await;
    peer.say(r#"["push",["pipeline",0,["counters"],[11]]]"#).await;
    peer.say(r#"["pull",1]"#).await;
    assert!(peer.hear().await.unwrap().contains("10 are allowed"));
    peer.follow(
        r#"< ["release",1,1]
           < ["push",["pipeline",0,["counters"],[2]]]
           < ["pull",2]
           > ["resolve",2,[[["export",-1],["export",-2]]]]
           < ["release",2,1]"#,
    )
    .await;
    settle().await;
    assert_eq!((world.other().exports, counters()), (2, 2));
    drop(peer);
    world.alone().await;
}

#[tokio::test(start_paused = true)]
async fn pushes_and_pipes_that_nobody_releases_end_their_session() {
    let mut world = World::with(Limits { max_bindings: 100, ..Limits::default() }).await;
    for line in [r#"["push",["pipeline",0,["makeCounter"],[1]]]"#, r#"["push",1]"#, r#"["pipe"]"#] {
        let mut peer = world.peer().await;
        for _ in 0..100 {
            peer.say(line).await;
        }
        settle().await;
        let SessionStats { kept_results, exports, .. } = world.other();
        assert_eq!(kept_results + exports, 100);
        peer.say(line).await;
        assert!(peer.aborted().await.contains("more than 100"));
        drop(peer);
        world.alone().await;
    }
}

/// Results are kept until they are released, up to so many bytes; literals too.
#[tokio::test(start_paused = true)]
async fn results_that_nobody_releases_may_have_so_many_bytes() {
    let mut world = World::with(Limits { max_call_bytes: 10_000, ..Limits::default() }).await;
    for line in [
        r#"["push",["pipeline",0,["make"],[1000]]]"#.to_owned(),
        format!(r#"["push","{}"]"#, "x".repeat(1000)),
        r#"["push",[[["pipeline",1],["pipeline",1]]]]"#.to_owned(),
    ] {
        let mut peer = world.peer().await;
        peer.say(format!(r#"["push","{}"]"#, "x".repeat(500))).await;
        for id in 2..=20 {
            peer.say(line.as_str()).await;
            peer.say(format!(r#"["pull",{id}]"#)).await;
        }
        let (mut good, mut refused) = (0, 0);
        for _ in 2..=20 {
            let line = peer.hear().await.unwrap();
            let is_good = line.starts_with(r#"["resolve""#);
            assert!(is_good || line.contains("bytes of results are kept"), "{line}");
            *(if is_good { &mut good } else { &mut refused }) += 1;
        }
        assert!((8..=9).contains(&good) && refused >= 10, "{good} and {refused}");
        // There is room again for others.
        for id in 1..=20 {
            peer.say(format!(r#"["release",{id},1]"#)).await;
        }
        peer.say(line.replace("[\"pipeline\",1]", "0")).await;
        peer.say(r#"["pull",21]"#).await;
        assert!(peer.hear().await.unwrap().starts_with(r#"["resolve",21"#));
        drop(peer);
        world.alone().await;
    }
}

/// The arguments of unanswered calls count as what they are when results were put in.
#[tokio::test(start_paused = true)]
async fn arguments_that_grow_count_as_large_as_they_are() {
    let mut world = World::with(Limits { max_call_bytes: 10_000, ..Limits::default() }).await;
    let mut peer = world.peer().await;
    peer.say(format!(r#"["push","{}"]"#, "x".repeat(1000))).await;
    for _ in 0..20 {
        peer.say(r#"["push",["pipeline",0,["hold"],[["pipeline",1]]]]"#).await;
    }
    settle().await;
    let running = world.other().running_calls;
    assert!((4..=9).contains(&running), "{running}");
    assert_eq!(held(), running as i64);
    drop(peer);
    world.alone().await;
}

#[tokio::test(start_paused = true)]
async fn more_calls_than_may_be_unanswered_are_refused() {
    let mut world = World::with(Limits { max_calls: 5, ..Limits::default() }).await;
    let mut peer = world.peer().await;
    for _ in 0..6 {
        peer.say(r#"["push",["pipeline",0,["hold"],[]]]"#).await;
    }
    peer.say(r#"["pull",6]"#).await;
    assert!(peer.hear().await.unwrap().contains("5 calls of this session are unanswered"));
    assert_eq!(held(), 5);
    // A release does not end a call.
    peer.say(r#"["release",1,1]"#).await;
    settle().await;
    assert_eq!(held(), 4, "this method watches for that");
    drop(peer);
    world.alone().await;
}

#[tokio::test(start_paused = true)]
async fn more_calls_than_may_wait_for_one_result_are_refused() {
    let mut world = World::with(Limits { max_pipelined: 3, ..Limits::default() }).await;
    let mut peer = world.peer().await;
    peer.say(r#"["push",["promise",-1]]"#).await;
    for _ in 0..5 {
        peer.say(r#"["push",["pipeline",1,["x"]]]"#).await;
    }
    peer.say(r#"["pull",6]"#).await;
    assert!(peer.hear().await.unwrap().contains("3 calls wait for a result"));
    drop(peer);
    world.alone().await;
}

/// Whoever writes without waiting for answers loses that stream.
#[tokio::test(start_paused = true)]
async fn a_writer_that_does_not_wait_loses_its_stream() {
    let mut world = World::with(Limits { max_stream_buffer: 1000, ..Limits::default() }).await;
    let mut peer = world.peer().await;
    peer.follow(
        r#"< ["pipe"]
           < ["push",["pipeline",0,["keep"],[["readable",1]]]]"#,
    )
    .await;
    let line = format!(r#"["stream",["pipeline",1,["write"],["{}"]]]"#, "x".repeat(100));
    for _ in 0..20 {
        peer.say(line.as_str()).await;
    }
    let mut refused = 0;
    while let Some(line) = peer.more().await {
        assert!(line.contains("wait for their reader"), "{line}");
        refused += 1;
    }
    assert!((10..=14).contains(&refused), "{refused}");
    // Another one is not touched by that.
    peer.follow(
        r#"< ["pipe"]
           < ["push",["pipeline",0,["collect"],[["readable",23]]]]
           < ["pull",24]
           < ["stream",["pipeline",23,["write"],[5]]]
           > ["resolve",25,["undefined"]]
           < ["stream",["pipeline",23,["close"],[]]]
           > ["resolve",26,["undefined"]]
           > ["resolve",24,[[5]]]"#,
    )
    .await;
    drop(peer);
    world.alone().await;
}

/// Nor may a blob be larger, which is read to its end before it is there.
#[tokio::test(start_paused = true)]
async fn a_blob_larger_than_may_be_is_refused() {
    let mut world = World::with(Limits { max_stream_buffer: 1000, ..Limits::default() }).await;
    let mut peer = world.peer().await;
    peer.follow(
        r#"< ["pipe"]
           < ["push",["pipeline",0,["keep"],[["blob","a/b",["readable",1]]]]]
           < ["pull",2]"#,
    )
    .await;
    let line = format!(r#"["stream",["pipeline",1,["write"],[["bytes","{}"]]]]"#, "AAAA".repeat(100));
    let mut heard = Vec::new();
    for _ in 0..6 {
        peer.say(line.as_str()).await;
        while let Some(line) = peer.more().await {
            heard.push(line);
        }
    }
    assert!(heard.iter().any(|line| line.contains("a blob of more than 1000 bytes")), "{heard:#?}");
    drop(peer);
    world.alone().await;
}

/// Answers pile up, or releases: a peer that reads neither is disconnected.
#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_disconnected() {
    let mut world = World::with(Limits { max_unsent: 20_000, ..Limits::default() }).await;
    let calls: &[&str] = &[r#"["push",["pipeline",0,["make"],[1000]]]"#, "pull"];
    let releases: &[&str] = &[r#"["resolve",99,["export",-1]]"#];
    let refusals: &[&str] = &[r#"["pipe"]"#, "pull"];
    for lines in [calls, releases, refusals] {
        let mut peer = world.peer().await;
        let mut id = 0;
        for _ in 0..5_000 {
            for line in lines {
                match *line {
                    "pull" => {
                        id += 1;
                        peer.say(format!(r#"["pull",{id}]"#)).await;
                    }
                    line => peer.say(line).await,
                }
            }
            if world.is_alone() {
                break;
            }
        }
        assert!(world.is_alone(), "{lines:?}");
        drop(peer);
        world.alone().await;
    }
}
