use super::*;

async fn letters() -> Edit {
    ["b", "d", "a", "e", "c"].iter().fold(edit(), |edit, letter| edit.put(letter, letter))
}

/// The keys that are listed, one letter each.
async fn listed(w: &World, start: &str, end: Option<&str>, reverse: bool, limit: usize) -> String {
    let found = w.list(&room(1), range(start, end), reverse, limit).await;
    assert!(found.iter().all(|(key, value)| key == value));
    found.iter().map(|(key, _)| char::from(key[0])).collect()
}

pub(super) async fn a_list_is_in_order(w: World) {
    w.store(&room(1), letters().await).await;
    w.store(&room(2), edit().put("other", "o")).await;
    assert_eq!(listed(&w, "", None, false, 99).await, "abcde");
}

pub(super) async fn a_list_begins_with_its_start(w: World) {
    w.store(&room(1), letters().await).await;
    assert_eq!(listed(&w, "c", None, false, 99).await, "cde");
    assert_eq!(listed(&w, "e", None, false, 99).await, "e");
    assert_eq!(listed(&w, "f", None, false, 99).await, "");
}

pub(super) async fn a_list_ends_before_its_end(w: World) {
    w.store(&room(1), letters().await).await;
    assert_eq!(listed(&w, "b", Some("d"), false, 99).await, "bc");
    assert_eq!(listed(&w, "", Some("a"), false, 99).await, "");
    assert_eq!(listed(&w, "", Some("z"), false, 99).await, "abcde");
}

pub(super) async fn an_empty_or_reversed_range_lists_nothing(w: World) {
    w.store(&room(1), letters().await).await;
    for reverse in [false, true] {
        assert_eq!(listed(&w, "c", Some("c"), reverse, 99).await, "");
        assert_eq!(listed(&w, "d", Some("b"), reverse, 99).await, "");
        assert_eq!(listed(&w, "", Some(""), reverse, 99).await, "");
    }
}

pub(super) async fn a_limit_is_kept(w: World) {
    w.store(&room(1), letters().await).await;
    for (limit, expected) in [(0, ""), (1, "b"), (2, "bc"), (3, "bcd"), (4, "bcd"), (usize::MAX, "bcd")] {
        assert_eq!(listed(&w, "b", Some("e"), false, limit).await, expected);
    }
}

pub(super) async fn a_reversed_list_is_in_the_opposite_order(w: World) {
    w.store(&room(1), letters().await).await;
    assert_eq!(listed(&w, "", None, true, 99).await, "edcba");
    assert_eq!(listed(&w, "b", Some("e"), true, 99).await, "dcb");
}

pub(super) async fn a_reversed_list_begins_at_its_end(w: World) {
    w.store(&room(1), letters().await).await;
    for (limit, expected) in [(0, ""), (1, "d"), (2, "dc"), (usize::MAX, "dcb")] {
        assert_eq!(listed(&w, "b", Some("e"), true, limit).await, expected);
    }
}

pub(super) async fn the_bounds_need_not_be_there(w: World) {
    w.store(&room(1), letters().await).await;
    assert_eq!(listed(&w, "aa", Some("dd"), false, 99).await, "bcd");
    assert_eq!(listed(&w, "aa", Some("dd"), true, 99).await, "dcb");
    assert_eq!(listed(&w, "a\0", Some("b\0"), false, 99).await, "b");
}

pub(super) async fn a_range_of_high_bytes_is_listed(w: World) {
    let keys: [&[u8]; 4] = [b"\xfe", b"\xff", b"\xff\0", b"\xff\xff"];
    w.store(&room(1), keys.iter().fold(edit().put("a", "a"), |edit, key| edit.put(key, ""))).await;
    let found = w.list(&room(1), range(b"\xff", None), false, 9).await;
    assert_eq!(found, [pair(b"\xff", ""), pair(b"\xff\0", ""), pair(b"\xff\xff", "")]);
    let bounded = KeyRange { start: bytes(b"\xfe\xff"), end: Some(bytes(b"\xff\xff")) };
    assert_eq!(w.list(&room(1), bounded, true, 9).await, [pair(b"\xff\0", ""), pair(b"\xff", "")]);
}

pub(super) async fn a_list_of_nobody_is_empty(w: World) {
    assert_eq!(w.all(&room(1)).await, []);
    w.store(&room(2), letters().await).await;
    assert_eq!(w.all(&room(1)).await, []);
    w.claim(&room(1)).await;
    assert_eq!(w.all(&room(1)).await, []);
}
