//! Peers that break Cap'n Web's rules, or keep to them in bad faith: each harms nobody but itself.

use opendo::Limits;
use opendo::testing::{SessionStats, node_stats};

use super::text::*;
use super::world::settle;

/// Each of these ends the session, with the reason. All before the last line is good.
const VIOLATIONS: &[(&str, &str)] = &[
    ("", "Unexpected end of JSON input"),
    ("null", "bad RPC message: null"),
    ("{}", "bad RPC message: {}"),
    ("[]", "bad RPC message: []"),
    (r#"["push"]"#, "bad RPC message"),
    (r#"["push",[]]"#, "unknown special value: []"),
    (r#"["push",[1,2]]"#, "unknown special value: [1,2]"),
    (r#"["push",[[1],[2]]]"#, "unknown special value"),
    (r#"["push",["pipeline"]]"#, "unknown special value"),
    (r#"["push",["pipeline","0",["square"],[1]]]"#, "unknown special value"),
    (r#"["push",["pipeline",0,"square",[1]]]"#, "unknown special value"),
    (r#"["push",["pipeline",0,["square"],{}]]"#, "unknown special value"),
    (r#"["push",["pipeline",0,[null],[1]]]"#, "unknown special value"),
    (r#"["push",["pipeline",0,["square"],[1],1]]"#, "unknown special value"),
    (r#"["push",["pipeline",0.5,["square"],[1]]]"#, "no such entry on exports table: 0.5"),
    (r#"["push",["pipeline",1e308,["square"],[1]]]"#, "no such entry on exports table: 1e308"),
    (
        r#"["push",["pipeline",-9223372036854775808,[],[]]]"#,
        "no such entry on exports table: -9223372036854775808",
    ),
    (r#"["push",["pipeline",9,[]]]"#, "no such entry on exports table: 9"),
    (r#"["push",["import",-1]]"#, "no such entry on exports table: -1"),
    (r#"["push",["pipeline",0]]"#, "Can't dup an RpcTarget stub as a promise."),
    (r#"["push",["export",1]]"#, "not the peer's to choose"),
    (r#"["push",["export",0]]"#, "not the peer's to choose"),
    (r#"["push",["promise",1]]"#, "not the peer's to choose"),
    (r#"["push",["writable",1]]"#, "not the peer's to choose"),
    (r#"["push",["export",-0.5]]"#, "no such entry"),
    (r#"["push",["export",-1e300]]"#, "no such entry"),
    (r#"["push",["readable",0]]"#, "Export 0 is not a pipe"),
    (r#"["push",["readable",-5]]"#, "Export -5 is not a pipe"),
    (r#"["push",["blob","a/b",["readable",9]]]"#, "Export 9 is not a pipe"),
    (r#"["push",["remap",0,[],[["import",5]],[1]]]"#, "no such entry on exports table: 5"),
    (r#"["push",["remap",0,[],[["export",5]],[1]]]"#, "not the peer's to choose"),
    (r#"["push",["remap",0,[],[],1]]"#, "unknown special value"),
    (r#"["push",["bigint","1x"]]"#, "BigInt"),
    (r#"["push",["date","x"]]"#, "unknown special value"),
    (r#"["push",["bytes","A"]]"#, "base64"),
    (r#"["push",["bytes","AAAA","Float16Array"]]"#, "Unknown bytes type marker: Float16Array"),
    (r#"["push",["error","E"]]"#, "unknown special value"),
    (r#"["push",["error","E","m",null,[]]]"#, "unknown special value"),
    (r##"["push",["pipeline",0,["echo"],[["#",0]]]]"##, "unknown special value"),
    (r##"["push",{"a":["\u0023",0]}]"##, "unknown special value"),
    (r#"["pull",0.5]"#, "bad RPC message"),
    (r#"["pull",9]"#, "no such export ID: 9"),
    (r#"["pull",-1]"#, "no such export ID: -1"),
    (r#"["release",0,0]"#, "a release of 0"),
    (r#"["release",0,-1]"#, "a release of -1"),
    (r#"["release",0,0.5]"#, "bad RPC message"),
    (r#"["release",0,2]"#, "refcount would go negative: 1 < 2"),
    (r#"["release",3,1]"#, "no such export ID: 3"),
    (r#"["resolve",1]"#, "bad RPC message"),
    (r#"["resolve","1",1]"#, "bad RPC message"),
    (r#"["resolve",5,["nonsense"]]"#, "unknown special value"),
    (r#"["resolve",0,["export",1]]"#, "not the peer's to choose"),
    (r#"["stream"]"#, "bad RPC message"),
    (r#"["push",1] ["push",1]"#, "Unexpected token"),
    ("\u{feff}[\"push\",1]", "Unexpected token"),
];

#[tokio::test(start_paused = true)]
async fn a_violation_ends_the_session_with_its_reason_and_no_other() {
    let mut world = World::new().await;
    for (line, reason) in VIOLATIONS {
        let mut peer = world.peer().await;
        peer.follow(
            r#"< ["push",["pipeline",0,["hold"],[]]]
               < ["push",["pipeline",0,["makeCounter"],[1]]]
               < ["push",["pipeline",0,["keep"],[["pipeline",2]]]]
               < ["release",1,1]
               < ["release",2,1]
               < ["release",3,1]"#,
        )
        .await;
        peer.say(*line).await;
        let abort = peer.aborted().await;
        assert!(abort.contains(reason), "{line}: {abort}");
        drop(peer);
        world.alone().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_too_deep_ends_the_session() {
    let mut world = World::new().await;
    let deep = |depth: usize| format!("{}0{}", "[[".repeat(depth), "]]".repeat(depth));
    for line in [
        format!(r#"["push",{}]"#, deep(256)),
        format!(r#"["push",["pipeline",0,["echo"],[{}]]]"#, deep(255)),
        format!(r#"["push",{}1{}]"#, r#"{"a":"#.repeat(256), "}".repeat(256)),
        format!(r#"["push",{}"#, "[[".repeat(1_000_000)),
        "[".repeat(2_000_000),
        r#"{"a":"#.repeat(2_000_000),
        format!(r#"["push",{}1{}]"#, r#"["pipeline",0,["echo"],["#.repeat(300), "]]".repeat(300)),
    ] {
        let mut peer = world.peer().await;
        peer.say(line).await;
        let abort = peer.aborted().await;
        assert!(abort.contains("Deserialization exceeded maximum allowed message depth of 256."), "{abort}");
        drop(peer);
        world.alone().await;
    }
    let mut peer = world.peer().await;
    peer.say(format!(r#"["push",["pipeline",0,["echo"],[{}]]]"#, deep(254))).await;
    peer.say(r#"["pull",1]"#).await;
    assert_eq!(peer.hear().await.unwrap(), format!(r#"["resolve",1,{}]"#, deep(254)));
}

/// Characters that are none are replaced; the session goes on.
#[tokio::test(start_paused = true)]
async fn a_lone_surrogate_is_a_character_like_others() {
    let mut world = World::new().await;
    let mut peer = world.peer().await;
    peer.follow(
        r#"< ["push",["pipeline",0,["echo"],["a\ud800b\udc00"]]]
           < ["pull",1]
           > ["resolve",1,"a�b�"]
           < ["push",["pipeline",0,["\ud800"],[]]]
           < ["pull",2]
           > ["reject",2,["error","TypeError","'�' is not a function."]]"#,
    )
    .await;
    drop(peer);
    world.alone().await;
}

/// Nobody resolves it. What waits for it is forgotten with the session, also what was passed with it.
#[tokio::test(start_paused = true)]
async fn a_promise_that_is_never_resolved_holds_nothing_longer_than_its_session() {
    let mut world = World::new().await;
    let mut peer = world.peer().await;
    peer.follow(
        r#"< ["push",["pipeline",0,["makeCounter"],[1]]]
           < ["push",["pipeline",0,["echo"],[[[["promise",-1],["pipeline",1]]]]]]
           < ["push",["remap",2,[],[["import",0]],[["pipeline",-1,["echo"],[["pipeline",0]]]]]]
           < ["push",["pipeline",2,["a","b"],[["pipeline",3]]]]
           < ["pull",4]
           < ["release",1,1]"#,
    )
    .await;
    assert_eq!(peer.more().await, None);
    assert_eq!(counters(), 1);
    drop(peer);
    world.alone().await;
}

/// What the peer answers with what only it can resolve is not answered, until its session ends.
#[tokio::test(start_paused = true)]
async fn a_method_that_waits_for_an_answer_that_waits_for_it_ends_with_the_session() {
    let mut world = World::new().await;
    let mut peer = world.peer().await;
    peer.follow(
        r#"< ["push",["pipeline",0,["callFunction"],[["export",-1],4]]]
           < ["pull",1]
           > ["push",["pipeline",-1,[],[4]]]
           > ["pull",1]
           < ["resolve",1,["pipeline",1]]"#,
    )
    .await;
    assert_eq!(peer.more().await, None);
    assert_eq!(world.other().running_calls, 1);
    // Answered is answered.
    peer.say(r#"["resolve",1,5]"#).await;
    peer.say(r#"["reject",1,5]"#).await;
    assert_eq!(peer.more().await, None);
    drop(peer);
    world.alone().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_over_the_limit_ends_the_session() {
    let mut world = World::with(Limits { max_message: 4096, ..Limits::default() }).await;
    let mut peer = world.peer().await;
    let text = "x".repeat(4096 - r#"["push",""]"#.len());
    peer.say(format!(r#"["push","{text}"]"#)).await;
    peer.say(r#"["pull",1]"#).await;
    assert!(peer.hear().await.unwrap().contains(&text));
    peer.say(format!(r#"["push","{text}x"]"#)).await;
    peer.aborted().await;
    drop(peer);
    // A result that is larger fails the call.
    let mut peer = world.peer().await;
    peer.follow(
        r#"< ["push",["pipeline",0,["make"],[5000]]]
           < ["pull",1]"#,
    )
    .await;
    let refusal = peer.hear().await.unwrap();
    assert!(refusal.starts_with(r#"["reject",1,"#) && refusal.contains("4096"), "{refusal}");
    drop(peer);
    world.alone().await;
}

/// In the middle of everything, and nothing after it counts.
#[tokio::test(start_paused = true)]
async fn an_abort_of_the_peer_is_the_end() {
    let mut world = World::new().await;
    for abort in
        [r#"["abort"]"#, r#"["abort","bye"]"#, r#"["abort",["error","RangeError","no"]]"#, r#"["abort",[]]"#]
    {
        let mut peer = world.peer().await;
        peer.follow(
            r#"< ["push",["pipeline",0,["hold"],[]]]
               < ["pull",1]
               < ["push",["pipeline",0,["callFunction"],[["export",-1],4]]]
               > ["push",["pipeline",-1,[],[4]]]
               > ["pull",1]"#,
        )
        .await;
        peer.say(abort).await;
        peer.say(r#"["push",["pipeline",0,["square"],[3]]]"#).await;
        while peer.hear().await.is_some() {}
        assert_eq!(squares(), 0);
        drop(peer);
        world.alone().await;
    }
}

/// A long conversation of everything, ended after each line.
#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_after_any_line_leaves_nothing() {
    const LINES: &[&str] = &[
        r#"["push",["pipeline",0,["makeCounter"],[4]]]"#,
        r#"["push",["pipeline",1,["increment"],[["pipeline",1,["value"]]]]]"#,
        r#"["pull",2]"#,
        r#"["push",["pipeline",0,["hold"],[]]]"#,
        r#"["push",["pipeline",0,["callFunction"],[["export",-1],4]]]"#,
        r#"["pull",4]"#,
        r#"["push",["pipeline",0,["keep"],[{"a":["export",-2],"b":["pipeline",1]}]]]"#,
        r#"["pipe"]"#,
        r#"["push",["pipeline",0,["collect"],[["readable",6]]]]"#,
        r#"["stream",["pipeline",6,["write"],[["pipeline",1]]]]"#,
        r#"["stream",["pipeline",6,["write"],[["export",-3]]]]"#,
        r#"["pipe"]"#,
        r#"["stream",["pipeline",10,["write"],[["pipeline",1]]]]"#,
        r#"["push",["pipeline",0,["giveStream"],[100]]]"#,
        r#"["pull",12]"#,
        r#"["push",["pipeline",0,["fill"],[["writable",-4],100]]]"#,
        r#"["push",["pipeline",0,["openSink"],[]]]"#,
        r#"["pull",14]"#,
        r#"["push",["pipeline",0,["counters"],[5]]]"#,
        r#"["push",["remap",15,[],[["import",0],["export",-5]],[["pipeline",0,["value"]],["pipeline",-1,["square"],[["pipeline",1]]]]]]"#,
        r#"["pull",15]"#,
        r#"["pull",16]"#,
        r#"["push",["pipeline",0,["echo"],[[[["promise",-6],["pipeline",1]]]]]]"#,
        r#"["pull",17]"#,
        r#"["resolve",-6,[[["pipeline",17]]]]"#,
        r#"["resolve",1,[[["promise",-7]]]]"#,
        r#"["push",["pipeline",0,["incrementCounter"],[["export",-8],1]]]"#,
        r#"["release",1,1]"#,
        r#"["abort","enough"]"#,
    ];
    let mut world = World::new().await;
    for end in 0..=LINES.len() {
        for answers in [false, true] {
            let mut peer = world.peer().await;
            for line in &LINES[..end] {
                peer.say(*line).await;
                if answers {
                    peer.more().await;
                }
            }
            settle().await;
            if answers {
                peer.close().await;
            }
            drop(peer);
            settle().await;
            sunk();
            world.alone().await;
        }
    }
}

/// An abort of ours goes behind what was said before.
#[tokio::test(start_paused = true)]
async fn an_abort_of_ours_is_the_last_word() {
    let mut world = World::new().await;
    let mut peer = world.peer().await;
    peer.follow(
        r#"< ["push",["pipeline",0,["square"],[3]]]
           < ["pull",1]
           > ["resolve",1,9]"#,
    )
    .await;
    peer.session.abort("that is enough");
    assert_eq!(peer.hear().await.as_deref(), Some(r#"["abort",["error","Error","that is enough"]]"#));
    assert_eq!(peer.hear().await, None);
    drop(peer);
    world.alone().await;
    assert_eq!(node_stats(&world.node), [SessionStats::default()]);
}
