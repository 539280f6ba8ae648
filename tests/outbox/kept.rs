//! On a real disk, by a real clock.

use std::time::{Duration, Instant};

use opendo::prelude::*;
use opendo::testing::crash;
use tokio::time::sleep;

use crate::post::{Post, PostStub};

async fn arrives(post: &PostStub, many: usize) -> Vec<u64> {
    let since = Instant::now();
    loop {
        let got = post.got().await.unwrap();
        if got.len() >= many {
            return got;
        }
        assert!(since.elapsed() < Duration::from_secs(60), "{got:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn messages_outlive_the_process() {
    let data = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for life in 1..=3 {
        let node = Node::builder().object::<Post>().storage(data.path()).start().await.unwrap();
        let (from, to): (PostStub, PostStub) = (node.get("kept/from"), node.get("kept/to"));
        let sent = from.send(vec![to.clone()], 20).await.unwrap();
        assert_eq!(sent, 20 * life);
        expected.extend(sent - 19..=sent);
        if life == 3 {
            assert_eq!(arrives(&to, expected.len()).await, expected);
        }
        crash(&node).await;
    }
}

#[tokio::test]
#[ignore]
async fn measure() {
    for sqlite in [false, true] {
        for lanes in [1, 32] {
            let data = tempfile::tempdir().unwrap();
            let node = Node::builder().object::<Post>();
            let node = if sqlite { node.storage(data.path()) } else { node };
            let node = node.start().await.unwrap();
            let from: PostStub = node.get("kept/from");
            let to: Vec<PostStub> = (0..lanes).map(|n| node.get(format!("m/{n}"))).collect();
            let many = 1000 / lanes;
            let start = Instant::now();
            from.send(to.clone(), many).await.unwrap();
            println!("sent {:?}", start.elapsed());
            for to in &to {
                arrives(to, many as usize).await;
            }
            println!("sqlite {sqlite} lanes {lanes}: {:?} each", start.elapsed() / 1000);
        }
    }
}
