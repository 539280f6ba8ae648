use super::*;

pub(super) async fn nobody_is_to_be_woken_at_first(w: World) {
    assert_eq!(w.wakes(9).await, []);
    w.store(&room(1), edit().put("a", "1")).await;
    w.store(&room(2), edit().no_wake()).await;
    assert_eq!(w.wakes(9).await, []);
}

pub(super) async fn the_earliest_is_first(w: World) {
    for (n, at) in [(1, 300), (2, 100), (3, 200), (4, 1000)] {
        w.store(&room(n), edit().wake(at)).await;
    }
    assert_eq!(w.wakes(9).await, [(100, 2), (200, 3), (300, 1), (1000, 4)]);
}

pub(super) async fn those_before_a_time_are_left_out(w: World) {
    for (n, at) in [(1, 300), (2, 100), (3, 200), (4, UnixMillis::ASK.0)] {
        w.store(&room(n), edit().wake(at)).await;
    }
    assert_eq!(w.wakes_from(200, 2).await, [(200, 3), (300, 1)]);
    assert_eq!(w.wakes_from(201, 9).await, [(300, 1), (UnixMillis::ASK.0, 4)]);
    assert_eq!(w.wakes_from(UnixMillis::ASK.0, 9).await, [(UnixMillis::ASK.0, 4)]);
}

pub(super) async fn a_time_is_replaced(w: World) {
    w.store(&room(1), edit().wake(100)).await;
    w.store(&room(2), edit().wake(200)).await;
    w.store(&room(1), edit().wake(300)).await;
    assert_eq!(w.wakes(9).await, [(200, 2), (300, 1)]);
    w.store(&room(1), edit().wake(50)).await;
    assert_eq!(w.wakes(9).await, [(50, 1), (200, 2)]);
}

pub(super) async fn a_time_is_taken_back(w: World) {
    w.store(&room(1), edit().put("a", "1").wake(100)).await;
    w.store(&room(2), edit().wake(200)).await;
    w.store(&room(1), edit().no_wake()).await;
    assert_eq!(w.wakes(9).await, [(200, 2)]);
    assert_eq!(w.all(&room(1)).await, [pair("a", "1")]);
    w.store(&room(2), edit().no_wake()).await;
    assert_eq!(w.wakes(9).await, []);
}

pub(super) async fn other_commits_leave_the_time(w: World) {
    let mut owner = w.claim(&room(1)).await;
    w.apply(&mut owner, edit().wake(100)).await;
    w.apply(&mut owner, edit().put("a", "1")).await;
    w.apply(&mut owner, edit()).await;
    w.apply(&mut owner, edit().delete("a")).await;
    assert_eq!(w.wakes(9).await, [(100, 1)]);
}

pub(super) async fn deleting_every_key_leaves_the_time(w: World) {
    w.store(&room(1), edit().put("a", "1").wake(100)).await;
    w.store(&room(1), edit().clear(everything())).await;
    assert_eq!(w.wakes(9).await, [(100, 1)]);
    w.store(&room(1), edit().clear(everything()).wake(200)).await;
    assert_eq!(w.wakes(9).await, [(200, 1)]);
}

pub(super) async fn a_fenced_commit_sets_no_time(w: World) {
    let former = w.claim(&room(1)).await;
    w.claim(&room(1)).await;
    assert_eq!(w.send(former.next(edit().wake(100))).await, Outcome::Fenced);
    assert_eq!(w.wakes(9).await, []);
}

pub(super) async fn a_release_leaves_the_time(w: World) {
    let mut owner = w.claim(&room(1)).await;
    w.apply(&mut owner, edit().wake(100)).await;
    assert_eq!(w.wakes(9).await, [(100, 1)]);
    w.release(&owner).await;
    assert_eq!(w.wakes(9).await, [(100, 1)]);
    w.claim(&room(1)).await;
    assert_eq!(w.wakes(9).await, [(100, 1)]);
}

pub(super) async fn a_limit_is_kept_when_waking(w: World) {
    for n in 1..=5 {
        w.store(&room(n), edit().wake(u64::from(10 - n))).await;
    }
    assert_eq!(w.wakes(0).await, []);
    assert_eq!(w.wakes(1).await, [(5, 5)]);
    assert_eq!(w.wakes(3).await, [(5, 5), (6, 4), (7, 3)]);
    assert_eq!(w.wakes(usize::MAX).await.len(), 5);
}

pub(super) async fn one_moment_wakes_all_of_them(w: World) {
    for n in 1..=5 {
        w.store(&room(n), edit().wake(100)).await;
    }
    let mut woken = w.wakes(9).await;
    woken.sort_unstable();
    assert_eq!(woken, [(100, 1), (100, 2), (100, 3), (100, 4), (100, 5)]);
    w.store(&room(3), edit().no_wake()).await;
    assert_eq!(w.wakes(9).await.len(), 4);
}

pub(super) async fn one_id_in_two_classes_is_woken_twice(w: World) {
    w.store(&key("Room", [1; 32], None), edit().wake(100)).await;
    w.store(&key("Hall", [1; 32], None), edit().wake(200)).await;
    let woken = w.engine().wakes(UnixMillis::ZERO, 9).await.unwrap();
    let classes: Vec<_> = woken.iter().map(|(_, key)| key.class()).collect();
    assert_eq!(classes, ["Room", "Hall"]);
    w.store(&key("Room", [1; 32], None), edit().no_wake()).await;
    assert_eq!(w.wakes(9).await, [(200, 1)]);
}

pub(super) async fn times_may_be_far(w: World) {
    let far = i64::MAX.unsigned_abs();
    w.store(&room(1), edit().wake(far)).await;
    w.store(&room(2), edit().wake(0)).await;
    w.store(&room(3), edit().wake(1 << 40)).await;
    assert_eq!(w.wakes(9).await, [(0, 2), (1 << 40, 3), (far, 1)]);
}

async fn name_of_the_first(w: &World) -> Option<String> {
    let woken = w.engine().wakes(UnixMillis::ZERO, 1).await.unwrap();
    woken[0].1.name().map(str::to_owned)
}

pub(super) async fn a_time_has_the_name_of_the_first_commit(w: World) {
    w.store(&key("Room", [1; 32], Some("lobby")), edit().put("a", "1")).await;
    w.store(&key("Room", [1; 32], None), edit().wake(1)).await;
    assert_eq!(name_of_the_first(&w).await.as_deref(), Some("lobby"));
    w.store(&room(2), edit().wake(0)).await;
    assert_eq!(name_of_the_first(&w).await, None);
}

pub(super) async fn a_name_outlives_a_claim_without_one(w: World) {
    w.store(&key("Room", [1; 32], Some("lobby")), edit().put("a", "1")).await;
    let mut owner = w.claim(&room(1)).await;
    w.apply(&mut owner, edit().clear(everything())).await;
    w.apply(&mut owner, edit().wake(1)).await;
    assert_eq!(name_of_the_first(&w).await.as_deref(), Some("lobby"));
    // And one that is learned later is kept.
    w.store(&room(2), edit().put("a", "1")).await;
    w.store(&key("Room", [2; 32], Some("hall")), edit().put("a", "2")).await;
    w.store(&room(2), edit().wake(0)).await;
    assert_eq!(name_of_the_first(&w).await.as_deref(), Some("hall"));
}

pub(super) async fn a_name_has_every_character(w: World) {
    let every: String = (0..=0x2ff).filter_map(char::from_u32).chain("\u{ffff}é😀\0".chars()).collect();
    for name in [every.as_str(), "", "\0", "'; DROP TABLE object; --"] {
        w.store(&key("Room", [1; 32], Some(name)), edit().wake(1)).await;
        assert_eq!(name_of_the_first(&w).await.as_deref(), Some(name));
        w.store(&room(1), edit().no_wake()).await;
    }
}
