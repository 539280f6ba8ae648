//! What outlives the process.
#![cfg(feature = "sqlite")]

use super::*;

pub(super) async fn keys_are_kept(mut w: World) {
    let every: Vec<u8> = (0..=255).collect();
    w.store(&room(1), edit().put(&every, &every).put("", "").put("a", "1")).await;
    w.store(&key("Hall", [1; 32], None), edit().put("a", "2")).await;
    w.store(&room(2), edit().put("a", "1").put("b", "2")).await;
    w.store(&room(2), edit().delete("a")).await;
    w.reopen();
    let values = vec![pair("", ""), pair(&every, &every), pair("a", "1")];
    assert_eq!(w.all(&room(1)).await, values);
    assert_eq!(w.claim(&room(1)).await.values, Some(values));
    assert_eq!(w.all(&key("Hall", [1; 32], None)).await, [pair("a", "2")]);
    assert_eq!(w.all(&room(2)).await, [pair("b", "2")]);
}

pub(super) async fn times_and_names_are_kept(mut w: World) {
    w.store(&key("Room", [1; 32], Some("lobby")), edit().wake(300)).await;
    w.store(&room(2), edit().wake(100)).await;
    w.store(&room(3), edit().wake(200)).await;
    w.store(&room(3), edit().no_wake()).await;
    w.reopen();
    assert_eq!(w.wakes(9).await, [(100, 2), (300, 1)]);
    let names: Vec<_> = w
        .engine()
        .wakes(UnixMillis::ZERO, 9)
        .await
        .unwrap()
        .iter()
        .map(|(_, key)| key.name().map(str::to_owned))
        .collect();
    assert_eq!(names, [None, Some("lobby".to_owned())]);
}

pub(super) async fn epochs_rise_over_a_restart(mut w: World) {
    let mut last = Epoch(0);
    for _ in 0..3 {
        for _ in 0..3 {
            let epoch = w.claim(&room(1)).await.epoch;
            assert!(epoch > last);
            last = epoch;
        }
        w.reopen();
    }
}

pub(super) async fn former_owners_are_fenced(mut w: World) {
    let mut owner = w.claim(&room(1)).await;
    w.apply(&mut owner, edit().put("a", "1")).await;
    w.reopen();
    assert_eq!(w.send(owner.next(edit().put("a", "2"))).await, Outcome::Fenced);
    w.claim(&room(1)).await;
    assert_eq!(w.send(owner.next(edit().put("a", "2"))).await, Outcome::Fenced);
    assert_eq!(w.get(&room(1), "a").await, Some(bytes("1")));
}

/// Whoever would repeat it is gone with the process.
pub(super) async fn a_repeat_is_not_known_any_more(mut w: World) {
    let mut owner = w.claim(&room(1)).await;
    w.apply(&mut owner, edit().put("a", "1")).await;
    w.reopen();
    assert_eq!(w.send(owner.commit(owner.sequence, edit().put("a", "1"))).await, Outcome::Fenced);
}

pub(super) async fn owners_without_keys_are_gone(mut w: World) {
    let mut owner = w.claim(&room(1)).await;
    w.apply(&mut owner, edit()).await;
    w.reopen();
    assert!(w.objects("Room", None, 9).await.is_empty());
}

pub(super) async fn what_was_emptied_is_gone_without_a_release(mut w: World) {
    let mut owner = w.claim(&room(1)).await;
    w.apply(&mut owner, edit().put("a", "1").wake(1)).await;
    w.apply(&mut owner, edit().clear(everything())).await;
    w.apply(&mut owner, edit().no_wake()).await;
    w.reopen();
    assert!(w.objects("Room", None, 9).await.is_empty());
    assert_eq!(w.claim(&room(1)).await.values, Some(Vec::new()));
}

/// By the same owner, and by one that has taken over from it.
pub(super) async fn what_was_emptied_may_hold_something_again(mut w: World) {
    let mut owner = w.claim(&room(1)).await;
    w.apply(&mut owner, edit().put("a", "1")).await;
    w.apply(&mut owner, edit().delete("a")).await;
    w.apply(&mut owner, edit().put("b", "2")).await;
    w.apply(&mut owner, edit().clear(everything())).await;
    let mut next = w.claim(&room(1)).await;
    w.apply(&mut next, edit().put("c", "3")).await;
    w.apply(&mut next, edit().put("d", "4")).await;
    w.reopen();
    assert_eq!(w.objects("Room", None, 9).await, [1]);
    assert_eq!(w.all(&room(1)).await, [pair("c", "3"), pair("d", "4")]);
}

pub(super) async fn objects_are_listed_without_owners(mut w: World) {
    for n in [3, 1, 2] {
        w.store(&room(n), edit().put("a", "1")).await;
    }
    w.reopen();
    assert_eq!(w.objects("Room", None, 2).await, [1, 2]);
    assert_eq!(w.objects("Room", Some(2), 2).await, [3]);
}

pub(super) async fn commits_go_on(mut w: World) {
    for n in ["1", "2", "3"] {
        let mut owner = w.claim(&room(1)).await;
        w.apply(&mut owner, edit().put(n, n)).await;
        w.apply(&mut owner, edit().put("last", n)).await;
        w.reopen();
        assert_eq!(w.get(&room(1), "last").await, Some(bytes(n)));
    }
    assert_eq!(w.all(&room(1)).await.len(), 4);
}
