use super::*;

pub(super) async fn an_owned_object_is_listed(w: World) {
    assert!(w.objects("Room", None, 9).await.is_empty());
    w.claim(&room(1)).await;
    assert_eq!(w.objects("Room", None, 9).await, [1]);
    let mut owner = w.claim(&room(1)).await;
    w.apply(&mut owner, edit().put("a", "1")).await;
    assert_eq!(w.objects("Room", None, 9).await, [1], "once");
}

pub(super) async fn a_released_object_without_keys_leaves_nothing(w: World) {
    let owner = w.claim(&room(1)).await;
    w.release(&owner).await;
    assert!(w.objects("Room", None, 9).await.is_empty());
    w.store(&room(2), edit()).await;
    assert!(w.objects("Room", None, 9).await.is_empty());
}

pub(super) async fn a_released_object_with_keys_stays(w: World) {
    w.store(&room(1), edit().put("a", "")).await;
    assert_eq!(w.objects("Room", None, 9).await, [1]);
    assert_eq!(w.all(&room(1)).await, [pair("a", "")]);
    w.store(&room(1), edit().put("b", "")).await;
    w.store(&room(1), edit().delete("a")).await;
    assert_eq!(w.objects("Room", None, 9).await, [1]);
}

pub(super) async fn a_released_object_that_is_to_be_woken_stays(w: World) {
    w.store(&room(1), edit().wake(5)).await;
    assert_eq!(w.objects("Room", None, 9).await, [1]);
    w.store(&room(1), edit().put("a", "1")).await;
    w.store(&room(1), edit().delete("a")).await;
    assert_eq!(w.objects("Room", None, 9).await, [1]);
    assert_eq!(w.wakes(9).await, [(5, 1)]);
}

pub(super) async fn an_emptied_object_is_listed_until_it_is_released(w: World) {
    for emptied in [edit().clear(everything()), edit().delete("a").delete("b")] {
        w.store(&room(1), edit().put("a", "1").put("b", "2")).await;
        let mut owner = w.claim(&room(1)).await;
        w.apply(&mut owner, emptied).await;
        assert_eq!(w.objects("Room", None, 9).await, [1]);
        w.release(&owner).await;
        assert!(w.objects("Room", None, 9).await.is_empty());
    }
}

pub(super) async fn an_object_that_is_woken_no_more_leaves_nothing(w: World) {
    w.store(&room(1), edit().wake(5)).await;
    w.store(&room(1), edit().no_wake()).await;
    assert!(w.objects("Room", None, 9).await.is_empty());
    w.store(&room(1), edit().put("a", "1").wake(5)).await;
    w.store(&room(1), edit().no_wake().clear(everything())).await;
    assert!(w.objects("Room", None, 9).await.is_empty());
}

pub(super) async fn deleting_what_is_not_there_leaves_nothing(w: World) {
    w.store(&room(1), edit().delete("a").clear(everything()).no_wake()).await;
    assert!(w.objects("Room", None, 9).await.is_empty());
}

pub(super) async fn a_stale_release_leaves_the_owned_object_listed(w: World) {
    let former = w.claim(&room(1)).await;
    let owner = w.claim(&room(1)).await;
    w.release(&former).await;
    assert_eq!(w.objects("Room", None, 9).await, [1]);
    w.release(&owner).await;
    assert!(w.objects("Room", None, 9).await.is_empty());
}

pub(super) async fn classes_are_listed_apart(w: World) {
    for (n, class) in ["Room", "Rooms", "Roo", "room", "Room\0", ""].into_iter().enumerate() {
        w.store(&key(class, [u8::try_from(n).unwrap(); 32], None), edit().put("a", "1")).await;
        w.claim(&key(class, [u8::try_from(n + 100).unwrap(); 32], None)).await;
    }
    assert_eq!(w.objects("Room", None, 99).await, [0, 100]);
    assert_eq!(w.objects("Room\0", None, 99).await, [4, 104]);
    assert_eq!(w.objects("", None, 99).await, [5, 105]);
    assert!(w.objects("Other", None, 99).await.is_empty());
}

pub(super) async fn objects_are_in_the_order_of_ids(w: World) {
    // Owned ones between those that hold something.
    for n in [9, 3, 0x80, 1, 0xff, 7] {
        w.store(&room(n), edit().put("a", "1")).await;
    }
    for n in [0xfe, 2, 8, 0] {
        w.claim(&room(n)).await;
    }
    assert_eq!(w.objects("Room", None, 99).await, [0, 1, 2, 3, 7, 8, 9, 0x80, 0xfe, 0xff]);
}

pub(super) async fn pages_have_each_object_once(w: World) {
    for n in 0..20 {
        let mut owner = w.claim(&room(n)).await;
        if n % 3 != 0 {
            w.apply(&mut owner, edit().put("a", "1")).await;
        }
        if n % 3 == 1 {
            w.release(&owner).await;
        }
    }
    for size in [1, 3, 20, 21] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = w.objects("Room", after, size).await;
            assert!(page.len() <= size);
            let Some(last) = page.last() else { break };
            assert!(after < Some(*last));
            after = Some(*last);
            found.extend(page);
        }
        assert_eq!(found, (0..20).collect::<Vec<_>>());
    }
}

pub(super) async fn a_page_may_begin_behind_nobody(w: World) {
    for n in [2, 4] {
        w.store(&room(n), edit().put("a", "1")).await;
    }
    w.claim(&room(6)).await;
    assert_eq!(w.objects("Room", Some(0), 9).await, [2, 4, 6]);
    assert_eq!(w.objects("Room", Some(2), 9).await, [4, 6]);
    assert_eq!(w.objects("Room", Some(3), 9).await, [4, 6]);
    assert_eq!(w.objects("Room", Some(5), 9).await, [6]);
    assert!(w.objects("Room", Some(6), 9).await.is_empty());
    assert!(w.objects("Room", Some(0xff), 9).await.is_empty());
}

pub(super) async fn no_limit_no_objects(w: World) {
    w.store(&room(1), edit().put("a", "1")).await;
    w.claim(&room(2)).await;
    assert!(w.objects("Room", None, 0).await.is_empty());
    assert_eq!(w.objects("Room", None, 1).await, [1]);
    assert_eq!(w.objects("Room", None, usize::MAX).await, [1, 2]);
}

pub(super) async fn ids_have_every_byte(w: World) {
    let mut ids: Vec<[u8; 32]> =
        (0..8).map(|at| std::array::from_fn(|n| u8::try_from(at * 32 + n).unwrap())).collect();
    ids.extend([[0; 32], [0xff; 32]]);
    for id in &ids {
        w.store(&key("Room", *id, None), edit().put("id", id).wake(1)).await;
    }
    for id in &ids {
        assert_eq!(w.all(&key("Room", *id, None)).await, [pair("id", id)]);
    }
    ids.sort_unstable();
    let mut found: Vec<_> =
        w.engine().objects("Room", None, 99).await.unwrap().iter().map(|key| *key.bytes()).collect();
    assert_eq!(found, ids);
    found =
        w.engine().wakes(UnixMillis::ZERO, 99).await.unwrap().iter().map(|(_, key)| *key.bytes()).collect();
    found.sort_unstable();
    assert_eq!(found, ids);
}
