use super::*;

/// With `a` to `e`, each its own value.
async fn letters(w: &World) -> Owner {
    let mut owner = w.claim(&room(1)).await;
    let letters = ["a", "b", "c", "d", "e"].iter().fold(edit(), |edit, letter| edit.put(letter, letter));
    w.apply(&mut owner, letters).await;
    owner
}

/// The keys, one letter each.
async fn left(w: &World) -> String {
    w.all(&room(1)).await.iter().map(|(key, _)| char::from(key[0])).collect()
}

pub(super) async fn what_was_never_written_is_missing(w: World) {
    assert_eq!(w.get(&room(1), "a").await, None);
    assert_eq!(w.get(&room(1), "").await, None);
    letters(&w).await;
    assert_eq!(w.get(&room(1), "f").await, None);
    assert_eq!(w.get(&room(1), "").await, None);
    assert_eq!(w.get(&room(1), "aa").await, None);
}

pub(super) async fn what_is_written_is_read(w: World) {
    let owner = letters(&w).await;
    assert_eq!(w.get(&room(1), "c").await, Some(bytes("c")));
    w.release(&owner).await;
    assert_eq!(w.get(&room(1), "c").await, Some(bytes("c")));
}

pub(super) async fn a_value_is_replaced(w: World) {
    let mut owner = letters(&w).await;
    for value in ["longer than before", "", "short"] {
        w.apply(&mut owner, edit().put("c", value)).await;
        assert_eq!(w.get(&room(1), "c").await, Some(bytes(value)));
    }
    assert_eq!(left(&w).await, "abcde");
}

pub(super) async fn a_deleted_key_is_missing(w: World) {
    let mut owner = letters(&w).await;
    w.apply(&mut owner, edit().delete("c").delete("not there")).await;
    assert_eq!(w.get(&room(1), "c").await, None);
    assert_eq!(left(&w).await, "abde");
    w.apply(&mut owner, edit().delete("c")).await;
    w.apply(&mut owner, edit().put("c", "again")).await;
    assert_eq!(w.get(&room(1), "c").await, Some(bytes("again")));
}

pub(super) async fn values_are_in_the_order_of_the_keys(w: World) {
    letters(&w).await;
    let keys = ["d", "none", "a", "d", "", "b"].map(bytes).to_vec();
    let values = w.engine().get(&room(1), keys).await.unwrap();
    let expected = [Some("d"), None, Some("a"), Some("d"), None, Some("b")];
    assert_eq!(values, expected.map(|value| value.map(bytes)));
    assert_eq!(w.engine().get(&room(2), vec![bytes("a"); 3]).await.unwrap(), vec![None; 3]);
}

pub(super) async fn no_keys_no_values(w: World) {
    letters(&w).await;
    assert_eq!(w.engine().get(&room(1), Vec::new()).await.unwrap(), Vec::<Option<Bytes>>::new());
}

pub(super) async fn an_empty_value_is_a_value(w: World) {
    let mut owner = w.claim(&room(1)).await;
    w.apply(&mut owner, edit().put("a", "")).await;
    assert_eq!(w.get(&room(1), "a").await, Some(Bytes::new()));
    assert_eq!(w.all(&room(1)).await, [pair("a", "")]);
    assert_eq!(w.claim(&room(1)).await.values, Some(vec![pair("a", "")]));
}

pub(super) async fn the_empty_key_is_a_key(w: World) {
    let mut owner = letters(&w).await;
    w.apply(&mut owner, edit().put("", "nothing")).await;
    assert_eq!(w.get(&room(1), "").await, Some(bytes("nothing")));
    assert_eq!(w.all(&room(1)).await[0], pair("", "nothing"));
    w.apply(&mut owner, edit().delete("")).await;
    assert_eq!(left(&w).await, "abcde");
}

pub(super) async fn keys_and_values_have_every_byte(w: World) {
    let mut owner = w.claim(&room(1)).await;
    let every: Vec<u8> = (0..=255).collect();
    let mut changes = edit().put(&every, &every);
    for byte in 0..=255 {
        changes = changes.put([byte], [byte, 0, byte]);
    }
    w.apply(&mut owner, changes).await;
    let all = w.all(&room(1)).await;
    assert_eq!(all.len(), 257);
    for byte in 0..=255 {
        assert_eq!(w.get(&room(1), [byte]).await, Some(bytes([byte, 0, byte])));
    }
    assert_eq!(w.get(&room(1), &every).await, Some(bytes(&every)));
    assert_eq!(w.claim(&room(1)).await.values, Some(all));
}

pub(super) async fn keys_are_in_byte_order(w: World) {
    let sorted: &[&[u8]] = &[
        b"", b"\0", b"\0\0", b"\0a", b"A", b"B", b"a", b"a\0", b"a\0b", b"aa", b"b", b"\x7f", b"\x80",
        b"\xff",
    ];
    let mut owner = w.claim(&room(1)).await;
    for key in sorted.iter().rev() {
        w.apply(&mut owner, edit().put(key, "v")).await;
    }
    let keys: Vec<_> = w.all(&room(1)).await.into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, sorted);
}

pub(super) async fn a_large_value_is_kept(w: World) {
    let mut owner = w.claim(&room(1)).await;
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    w.apply(&mut owner, edit().put("large", &large).put("small", "s")).await;
    assert_eq!(w.get(&room(1), "large").await, Some(bytes(&large)));
    assert_eq!(w.list(&room(1), everything(), true, 9).await, [pair("small", "s"), pair("large", large)]);
}

pub(super) async fn a_long_key_is_kept(w: World) {
    let mut owner = w.claim(&room(1)).await;
    let (long, longer) = ("k".repeat(10_000), "k".repeat(10_001));
    w.apply(&mut owner, edit().put(&longer, "2").put(&long, "1")).await;
    assert_eq!(w.all(&room(1)).await, [pair(&long, "1"), pair(&longer, "2")]);
}

pub(super) async fn many_keys_are_kept(w: World) {
    let mut owner = w.claim(&room(1)).await;
    let number = |n: u32| n.to_be_bytes();
    w.apply(&mut owner, (0..3000).fold(edit(), |edit, n| edit.put(number(n), number(n)))).await;
    w.apply(&mut owner, (0..3000).step_by(2).fold(edit(), |edit, n| edit.delete(number(n)))).await;
    let expected: Vec<_> = (1..3000).step_by(2).map(|n| pair(number(n), number(n))).collect();
    assert_eq!(w.all(&room(1)).await, expected);
}

pub(super) async fn ranges_are_cleared_before_writes(w: World) {
    let mut owner = letters(&w).await;
    w.apply(&mut owner, edit().clear(everything()).put("c", "new").put("x", "new").delete("a")).await;
    assert_eq!(w.all(&room(1)).await, [pair("c", "new"), pair("x", "new")]);
}

pub(super) async fn a_cleared_range_has_its_start_and_not_its_end(w: World) {
    let mut owner = letters(&w).await;
    w.apply(&mut owner, edit().clear(range("b", Some("d")))).await;
    assert_eq!(left(&w).await, "ade");
}

pub(super) async fn a_cleared_range_without_end_goes_to_the_last_key(w: World) {
    let mut owner = letters(&w).await;
    w.apply(&mut owner, edit().put([0xff; 40], "last")).await;
    w.apply(&mut owner, edit().clear(range("c", None))).await;
    assert_eq!(left(&w).await, "ab");
}

pub(super) async fn an_empty_or_reversed_range_clears_nothing(w: World) {
    let mut owner = letters(&w).await;
    let ranges = [range("b", Some("b")), range("d", Some("b")), range("", Some("")), range("x", None)];
    w.apply(&mut owner, ranges.into_iter().fold(edit(), Edit::clear)).await;
    assert_eq!(left(&w).await, "abcde");
}

pub(super) async fn several_ranges_are_cleared(w: World) {
    let mut owner = letters(&w).await;
    let ranges = [range("a", Some("b")), range("c", Some("e")), range("d", Some("e"))];
    w.apply(&mut owner, ranges.into_iter().fold(edit(), Edit::clear)).await;
    assert_eq!(left(&w).await, "be");
}

pub(super) async fn clearing_nothing_is_fine(w: World) {
    let mut owner = w.claim(&room(1)).await;
    w.apply(&mut owner, edit().clear(everything())).await;
    w.apply(&mut owner, edit().clear(everything()).put("a", "1")).await;
    assert_eq!(left(&w).await, "a");
}

pub(super) async fn everything_is_deleted_and_begins_anew(w: World) {
    let mut owner = letters(&w).await;
    w.apply(&mut owner, edit().wake(1)).await;
    w.apply(&mut owner, edit().clear(everything()).no_wake()).await;
    assert_eq!(w.all(&room(1)).await, []);
    assert_eq!(w.get(&room(1), "a").await, None);
    w.apply(&mut owner, edit().put("a", "2")).await;
    assert_eq!(w.all(&room(1)).await, [pair("a", "2")]);
    w.apply(&mut owner, edit().delete("a")).await;
    w.release(&owner).await;
    let mut owner = w.claim(&room(1)).await;
    assert_eq!(owner.values, Some(Vec::new()));
    w.apply(&mut owner, edit().put("b", "3")).await;
    assert_eq!(w.all(&room(1)).await, [pair("b", "3")]);
}

pub(super) async fn other_objects_keep_what_they_have(w: World) {
    let rooms = [room(0), room(1), key("Hall", [1; 32], None), room(2)];
    for key in &rooms {
        w.store(key, edit().put("a", key.to_string())).await;
    }
    w.store(&rooms[1], edit().clear(everything()).delete("a")).await;
    for key in [&rooms[0], &rooms[2], &rooms[3]] {
        assert_eq!(w.all(key).await, [pair("a", key.to_string())]);
    }
    assert_eq!(w.all(&rooms[1]).await, []);
}
