use super::super::EAGER;
use super::*;

pub(super) async fn a_new_object_is_claimed_empty(w: World) {
    assert_eq!(w.claim(&room(1)).await.values, Some(Vec::new()));
    w.store(&room(2), edit().put("a", "1")).await;
    assert_eq!(w.claim(&room(1)).await.values, Some(Vec::new()));
}

pub(super) async fn a_claim_has_what_was_committed(w: World) {
    w.store(&room(1), edit().put("b", "2").put("a", "1").put("c", "3")).await;
    w.store(&room(1), edit().delete("b").put("c", "4")).await;
    assert_eq!(w.claim(&room(1)).await.values, Some(vec![pair("a", "1"), pair("c", "4")]));
}

pub(super) async fn a_claim_has_what_the_former_owner_committed_last(w: World) {
    let mut former = w.claim(&room(1)).await;
    for n in ["1", "2", "3"] {
        w.apply(&mut former, edit().put("a", n)).await;
        assert_eq!(w.claim(&room(1)).await.values, Some(vec![pair("a", n)]));
        former = w.claim(&room(1)).await;
    }
}

pub(super) async fn a_claim_has_as_much_as_is_eager(w: World) {
    w.store(&room(1), edit().put("a", "1").put("key", vec![7; EAGER - 5])).await;
    let values = w.claim(&room(1)).await.values.expect("no more than is eager");
    assert_eq!(values, [pair("a", "1"), pair("key", vec![7; EAGER - 5])]);
}

pub(super) async fn a_claim_has_nothing_of_more_than_that(w: World) {
    w.store(&room(1), edit().put("a", "1").put("key", vec![7; EAGER - 4])).await;
    assert_eq!(w.claim(&room(1)).await.values, None);
    w.store(&room(2), edit().put("key", vec![7; EAGER - 2])).await;
    assert_eq!(w.claim(&room(2)).await.values, None);
    assert_eq!(w.get(&room(2), "key").await, Some(bytes(vec![7; EAGER - 2])));
}

pub(super) async fn keys_count_as_much_as_values(w: World) {
    let keys = |count: u8| (0..count).fold(edit(), |edit, n| edit.put(vec![n; 1 << 10], ""));
    w.store(&room(1), keys(64)).await;
    assert_eq!(w.claim(&room(1)).await.values.map(|values| values.len()), Some(64));
    w.store(&room(1), edit().put("a", "")).await;
    assert_eq!(w.claim(&room(1)).await.values, None);
}

pub(super) async fn what_was_replaced_or_deleted_does_not_count(w: World) {
    let mut owner = w.claim(&room(1)).await;
    let large = vec![7; EAGER];
    w.apply(&mut owner, edit().put("a", &large).put("b", &large).put("c", &large)).await;
    w.apply(&mut owner, edit().put("a", "1")).await;
    w.apply(&mut owner, edit().delete("b")).await;
    assert_eq!(w.claim(&room(1)).await.values, None);
    let mut owner = w.claim(&room(1)).await;
    w.apply(&mut owner, edit().clear(range("c", None))).await;
    assert_eq!(w.claim(&room(1)).await.values, Some(vec![pair("a", "1")]));
}

pub(super) async fn a_claim_of_what_only_wakes_is_empty(w: World) {
    w.store(&room(1), edit().wake(1)).await;
    assert_eq!(w.claim(&room(1)).await.values, Some(Vec::new()));
}
