use super::*;

pub(super) async fn no_commits_no_answers(w: World) {
    assert_eq!(w.commit(Vec::new()).await, []);
}

pub(super) async fn answers_are_in_the_order_of_the_batch(w: World) {
    let mut owners = Vec::new();
    for n in 0..6 {
        owners.push(w.claim(&room(n)).await);
    }
    w.claim(&room(1)).await; // fences the second
    w.claim(&room(2)).await; // and the third
    let batch = owners.iter().map(|owner| owner.next(edit().put("a", "1"))).collect();
    use Outcome::{Committed, Fenced};
    assert_eq!(w.commit(batch).await, [Committed, Fenced, Fenced, Committed, Committed, Committed]);
}

pub(super) async fn a_fenced_commit_holds_nobody_back(w: World) {
    let (first, fenced, last) = (w.claim(&room(1)).await, w.claim(&room(2)).await, w.claim(&room(3)).await);
    let changes = || edit().put("a", "1").wake(5);
    let gap = fenced.commit(fenced.sequence + 2, changes());
    w.commit(vec![first.next(changes()), gap, last.next(changes())]).await;
    assert_eq!(w.all(&room(1)).await, [pair("a", "1")]);
    assert_eq!(w.all(&room(2)).await, []);
    assert_eq!(w.all(&room(3)).await, [pair("a", "1")]);
    let woken: Vec<_> = w.wakes(9).await.into_iter().map(|(_, room)| room).collect();
    assert_eq!(woken, [1, 3]);
}

pub(super) async fn a_repeat_stands_beside_others(w: World) {
    let (mut first, second) = (w.claim(&room(1)).await, w.claim(&room(2)).await);
    w.apply(&mut first, edit().put("a", "1")).await;
    let repeat = first.commit(first.sequence, edit().put("a", "2"));
    let answers = w.commit(vec![repeat, second.next(edit().put("a", "3"))]).await;
    assert_eq!(answers, [Outcome::Committed; 2]);
    assert_eq!(w.get(&room(1), "a").await, Some(bytes("1")));
    assert_eq!(w.get(&room(2), "a").await, Some(bytes("3")));
}

pub(super) async fn a_large_batch_is_applied(w: World) {
    let mut owners = Vec::new();
    for n in 0..=255 {
        owners.push(w.claim(&room(n)).await);
    }
    for _ in 0..2 {
        let batch = owners
            .iter()
            .map(|owner| owner.next(edit().put("n", [owner.key.bytes()[0]]).put("b", "2")))
            .collect();
        assert_eq!(w.commit(batch).await, [Outcome::Committed; 256]);
        owners.iter_mut().for_each(|owner| owner.sequence += 1);
    }
    for owner in &owners {
        assert_eq!(w.all(&owner.key).await, [pair("b", "2"), pair("n", [owner.key.bytes()[0]])]);
    }
}

/// As many batches at once, each with an object of its own.
pub(super) async fn batches_race(w: World) {
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..8 {
        let engine = w.engine.clone().unwrap();
        tasks.spawn(async move {
            let w = World::of(engine);
            let mut owner = w.claim(&room(n)).await;
            for count in 0..20_u8 {
                w.apply(&mut owner, edit().put([count], [n])).await;
            }
        });
    }
    tasks.join_all().await;
    for n in 0..8 {
        let expected: Vec<_> = (0..20_u8).map(|count| pair([count], [n])).collect();
        assert_eq!(w.all(&room(n)).await, expected);
    }
}
