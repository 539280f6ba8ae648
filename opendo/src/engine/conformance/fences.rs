use futures::future::join;

use super::*;

pub(super) async fn the_first_commit_of_an_owner_is_applied(w: World) {
    let mut owner = w.claim(&room(1)).await;
    w.apply(&mut owner, edit().put("a", "1")).await;
    assert_eq!(w.all(&room(1)).await, [pair("a", "1")]);
}

pub(super) async fn sequences_go_on(w: World) {
    let mut owner = w.claim(&room(1)).await;
    for n in 0..50 {
        w.apply(&mut owner, edit().put("n", n.to_string())).await;
    }
    assert_eq!(w.get(&room(1), "n").await, Some(bytes("49")));
}

pub(super) async fn a_commit_of_nobody_is_fenced(w: World) {
    for epoch in [0, 1, u64::MAX] {
        let nobody = Owner { key: room(1), epoch: Epoch(epoch), sequence: 0, values: None };
        assert_eq!(w.send(nobody.next(edit().put("a", "1"))).await, Outcome::Fenced);
        assert_eq!(w.send(nobody.commit(0, edit().put("a", "1"))).await, Outcome::Fenced);
    }
    assert_eq!(w.all(&room(1)).await, []);
    assert!(w.objects("Room", None, 9).await.is_empty());
}

pub(super) async fn a_commit_in_a_former_epoch_is_fenced(w: World) {
    let mut former = w.claim(&room(1)).await;
    w.apply(&mut former, edit().put("a", "1")).await;
    let mut owner = w.claim(&room(1)).await;
    for ahead in 0..3 {
        let late = former.commit(owner.sequence + ahead, edit().put("a", "2"));
        assert_eq!(w.send(late).await, Outcome::Fenced);
    }
    assert_eq!(w.send(former.next(edit().put("a", "2"))).await, Outcome::Fenced);
    w.apply(&mut owner, edit().put("b", "3")).await;
    assert_eq!(w.all(&room(1)).await, [pair("a", "1"), pair("b", "3")]);
}

pub(super) async fn a_commit_in_an_epoch_to_come_is_fenced(w: World) {
    let mut owner = w.claim(&room(1)).await;
    let guess =
        Owner { epoch: Epoch(owner.epoch.0 + 1), key: room(1), sequence: owner.sequence, values: None };
    assert_eq!(w.send(guess.next(edit().put("a", "1"))).await, Outcome::Fenced);
    w.apply(&mut owner, edit()).await;
    assert_eq!(w.all(&room(1)).await, []);
}

pub(super) async fn a_fenced_commit_changes_nothing(w: World) {
    let mut former = w.claim(&room(1)).await;
    w.apply(&mut former, edit().put("a", "1").put("b", "2").wake(7)).await;
    let owner = w.claim(&room(1)).await;
    let changes = edit().clear(everything()).put("c", "3").delete("a").no_wake();
    assert_eq!(w.send(former.next(changes.clone())).await, Outcome::Fenced);
    assert_eq!(w.send(owner.commit(owner.sequence + 2, changes)).await, Outcome::Fenced);
    assert_eq!(w.all(&room(1)).await, [pair("a", "1"), pair("b", "2")]);
    assert_eq!(w.wakes(9).await, [(7, 1)]);
}

pub(super) async fn a_repeat_is_committed_and_changes_nothing(w: World) {
    let mut owner = w.claim(&room(1)).await;
    w.apply(&mut owner, edit().put("a", "1")).await;
    // Another content shows whether it is applied.
    let repeat = owner.commit(owner.sequence, edit().put("a", "2"));
    assert_eq!(w.send(repeat.clone()).await, Outcome::Committed);
    assert_eq!(w.send(repeat).await, Outcome::Committed);
    assert_eq!(w.get(&room(1), "a").await, Some(bytes("1")));
    w.apply(&mut owner, edit().put("b", "3")).await;
}

pub(super) async fn a_repeat_of_an_older_commit_is_fenced(w: World) {
    let mut owner = w.claim(&room(1)).await;
    for value in ["1", "2", "3"] {
        w.apply(&mut owner, edit().put("a", value)).await;
    }
    for older in 1..3 {
        let repeat = owner.commit(owner.sequence - older, edit().put("a", "old"));
        assert_eq!(w.send(repeat).await, Outcome::Fenced);
    }
    assert_eq!(w.get(&room(1), "a").await, Some(bytes("3")));
}

pub(super) async fn a_repeat_after_another_claim_is_fenced(w: World) {
    let mut former = w.claim(&room(1)).await;
    w.apply(&mut former, edit().put("a", "1")).await;
    w.claim(&room(1)).await;
    assert_eq!(w.send(former.commit(former.sequence, edit().put("a", "1"))).await, Outcome::Fenced);
}

pub(super) async fn a_gap_in_the_sequence_is_fenced(w: World) {
    let mut owner = w.claim(&room(1)).await;
    for gap in [2, 3, 1000] {
        assert_eq!(w.send(owner.commit(owner.sequence + gap, edit().put("a", "1"))).await, Outcome::Fenced);
    }
    assert_eq!(w.all(&room(1)).await, []);
    w.apply(&mut owner, edit().put("a", "2")).await;
    assert_eq!(w.get(&room(1), "a").await, Some(bytes("2")));
}

pub(super) async fn an_empty_commit_counts(w: World) {
    let mut owner = w.claim(&room(1)).await;
    w.apply(&mut owner, edit()).await;
    w.apply(&mut owner, edit().put("a", "1")).await;
    w.apply(&mut owner, edit()).await;
    assert_eq!(w.send(owner.commit(owner.sequence - 1, edit())).await, Outcome::Fenced);
    assert_eq!(w.all(&room(1)).await, [pair("a", "1")]);
}

pub(super) async fn epochs_rise_with_each_claim(w: World) {
    let mut last = Epoch(0);
    for n in 0..20 {
        let epoch = w.claim(&room(n % 2)).await.epoch;
        assert!(epoch > last);
        last = epoch;
    }
}

pub(super) async fn epochs_rise_over_releases(w: World) {
    let mut last = Epoch(0);
    for _ in 0..5 {
        let mut owner = w.claim(&room(1)).await;
        assert!(owner.epoch > last);
        last = owner.epoch;
        w.apply(&mut owner, edit().put("a", "1")).await;
        w.release(&owner).await;
    }
}

pub(super) async fn epochs_rise_over_the_end_of_an_object(w: World) {
    let mut first = w.claim(&room(1)).await;
    w.apply(&mut first, edit().put("a", "1")).await;
    w.apply(&mut first, edit().clear(everything())).await;
    w.release(&first).await;
    let mut second = w.claim(&room(1)).await;
    assert!(second.epoch > first.epoch);
    assert_eq!(w.send(first.next(edit().put("a", "late"))).await, Outcome::Fenced);
    w.apply(&mut second, edit().put("b", "2")).await;
    assert_eq!(w.all(&room(1)).await, [pair("b", "2")]);
}

pub(super) async fn who_has_released_is_fenced(w: World) {
    let mut owner = w.claim(&room(1)).await;
    w.apply(&mut owner, edit().put("a", "1")).await;
    w.release(&owner).await;
    assert_eq!(w.send(owner.next(edit().put("a", "2"))).await, Outcome::Fenced);
    assert_eq!(w.get(&room(1), "a").await, Some(bytes("1")));
    let empty = w.claim(&room(2)).await;
    w.release(&empty).await;
    assert_eq!(w.send(empty.next(edit().put("a", "2"))).await, Outcome::Fenced);
}

pub(super) async fn a_release_in_a_former_epoch_changes_nothing(w: World) {
    let former = w.claim(&room(1)).await;
    let mut owner = w.claim(&room(1)).await;
    w.release(&former).await;
    w.apply(&mut owner, edit().put("a", "1")).await;
}

pub(super) async fn releases_may_come_twice_and_of_nobody(w: World) {
    w.engine().release(&room(1), Epoch(1)).await.unwrap();
    let owner = w.claim(&room(1)).await;
    w.release(&owner).await;
    w.release(&owner).await;
    let mut owner = w.claim(&room(1)).await;
    w.apply(&mut owner, edit().put("a", "1")).await;
}

pub(super) async fn owners_of_other_objects_stay(w: World) {
    let mut first = w.claim(&room(1)).await;
    let mut second = w.claim(&room(2)).await;
    w.apply(&mut first, edit().put("a", "1")).await;
    w.apply(&mut second, edit().put("a", "2")).await;
    w.release(&second).await;
    w.apply(&mut first, edit().put("b", "1")).await;
    assert_eq!(w.all(&room(1)).await, [pair("a", "1"), pair("b", "1")]);
    assert_eq!(w.all(&room(2)).await, [pair("a", "2")]);
}

pub(super) async fn one_id_in_two_classes_has_two_owners(w: World) {
    let (room, hall) = (key("Room", [1; 32], None), key("Hall", [1; 32], None));
    let mut first = w.claim(&room).await;
    let mut second = w.claim(&hall).await;
    w.apply(&mut first, edit().put("a", "room")).await;
    w.apply(&mut second, edit().put("a", "hall")).await;
    assert_eq!(w.get(&room, "a").await, Some(bytes("room")));
    assert_eq!(w.get(&hall, "a").await, Some(bytes("hall")));
}

/// The owner counts in memory and commits; somebody else claims at the same moment, and goes on from what it loads.
pub(super) async fn claims_and_commits_race(w: World) {
    let mut owner = w.claim(&room(1)).await;
    let mut count: u64 = 0;
    let mut fenced = 0;
    for _ in 0..500 {
        let commit = owner.next(edit().put("count", (count + 1).to_be_bytes()));
        let (key, object) = (room(1), w.engine.clone().unwrap());
        let other = tokio::spawn(async move { object.claim(&key).await.unwrap() });
        let (outcome, claim) = join(w.send(commit), other).await;
        let claim = claim.unwrap();
        match outcome {
            Outcome::Committed => count += 1,
            Outcome::Fenced => fenced += 1,
        }
        let stored = claim
            .values
            .unwrap()
            .get(&b"count"[..])
            .map_or(0, |value| u64::from_be_bytes((**value).try_into().unwrap()));
        assert_eq!(stored, count, "what was acknowledged, and nothing else");
        assert!(claim.ownership.epoch > owner.epoch);
        assert_eq!(
            w.send(owner.commit(owner.sequence + 2, edit().put("count", "late"))).await,
            Outcome::Fenced
        );
        owner = Owner { epoch: claim.ownership.epoch, sequence: claim.ownership.sequence, ..owner };
    }
    assert!(fenced < 500, "every commit came too late");
}

pub(super) async fn claims_race(w: World) {
    for _ in 0..100 {
        let claims = [(); 2].map(|()| {
            let (engine, key) = (w.engine.clone().unwrap(), room(1));
            tokio::spawn(async move { engine.claim(&key).await.unwrap().ownership })
        });
        let mut owners = Vec::new();
        for claim in claims {
            let ownership = claim.await.unwrap();
            owners.push(Owner {
                key: room(1),
                epoch: ownership.epoch,
                sequence: ownership.sequence,
                values: None,
            });
        }
        owners.sort_by_key(|owner| owner.epoch);
        assert_ne!(owners[0].epoch, owners[1].epoch);
        assert_eq!(w.send(owners[0].next(edit().put("a", "1"))).await, Outcome::Fenced);
        assert_eq!(w.send(owners[1].next(edit().put("a", "1"))).await, Outcome::Committed);
    }
}
