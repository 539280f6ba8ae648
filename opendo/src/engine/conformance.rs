//! What every engine promises, as cases that run against each of them, and against engines with one fault each, which
//! they have to find.

mod batches;
mod claims;
mod fences;
mod keys;
mod mutants;
mod objects;
mod ranges;
mod reopened;
mod wakes;

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;

use super::memory::Memory;
use super::{Changes, Claim, Commit, Engine, EngineResult, Epoch, KeyRange, Outcome, UnixMillis};
use crate::object::id::ObjectKey;
use crate::object::name::Name;

type Key = Arc<ObjectKey>;
type Case = fn(World) -> BoxFuture<'static, ()>;

/// The engine under test, and how to open it again.
struct World {
    engine: Option<Arc<dyn Engine>>,
    #[cfg(feature = "sqlite")]
    directory: Option<tempfile::TempDir>,
}

/// Who claimed an object.
struct Owner {
    key: Key,
    epoch: Epoch,
    sequence: u64,
    /// What came with the claim.
    values: Option<Vec<(Bytes, Bytes)>>,
}

fn key(class: &str, id: [u8; 32], name: Option<&str>) -> Key {
    Arc::new(ObjectKey::kept(class.into(), id, name.map(Name::from)))
}

fn room(n: u8) -> Key {
    key("Room", [n; 32], None)
}

fn bytes(text: impl AsRef<[u8]>) -> Bytes {
    Bytes::copy_from_slice(text.as_ref())
}

fn pair(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> (Bytes, Bytes) {
    (bytes(key), bytes(value))
}

fn range(start: impl AsRef<[u8]>, end: Option<&str>) -> KeyRange {
    KeyRange { start: bytes(start), end: end.map(bytes) }
}

fn everything() -> KeyRange {
    range("", None)
}

/// Changes, put together.
#[derive(Clone, Default)]
struct Edit(Changes);

fn edit() -> Edit {
    Edit::default()
}

impl Edit {
    fn put(mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.0.writes.insert((bytes(key), Some(bytes(value))));
        self
    }

    fn delete(mut self, key: impl AsRef<[u8]>) -> Self {
        self.0.writes.insert((bytes(key), None));
        self
    }

    fn clear(mut self, range: KeyRange) -> Self {
        self.0.cleared.push(range);
        self
    }

    fn wake(mut self, at: u64) -> Self {
        self.0.wake = Some(Some(UnixMillis(at)));
        self
    }

    fn no_wake(mut self) -> Self {
        self.0.wake = Some(None);
        self
    }
}

impl Owner {
    /// The next commit, or another.
    fn commit(&self, sequence: u64, edit: Edit) -> Commit {
        Commit { object: self.key.clone(), epoch: self.epoch, sequence, changes: Arc::new(edit.0) }
    }

    fn next(&self, edit: Edit) -> Commit {
        self.commit(self.sequence + 1, edit)
    }
}

impl World {
    fn of(engine: Arc<dyn Engine>) -> Self {
        Self {
            engine: Some(engine),
            #[cfg(feature = "sqlite")]
            directory: None,
        }
    }

    fn memory() -> Self {
        Self::of(Arc::new(Memory::default()))
    }

    #[cfg(feature = "sqlite")]
    fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { engine: Some(Self::open(&directory)), directory: Some(directory) }
    }

    #[cfg(feature = "sqlite")]
    fn open(directory: &tempfile::TempDir) -> Arc<dyn Engine> {
        Arc::new(super::sqlite::Sqlite::open(directory.path()).unwrap())
    }

    /// Another life of the process. Nobody has released anything.
    #[cfg(feature = "sqlite")]
    fn reopen(&mut self) {
        drop(self.engine.take());
        self.engine = Some(Self::open(self.directory.as_ref().unwrap()));
    }

    fn engine(&self) -> &dyn Engine {
        &**self.engine.as_ref().unwrap()
    }

    async fn claim(&self, key: &Key) -> Owner {
        let Claim { ownership, values } = self.engine().claim(key).await.unwrap();
        let values = values.map(|values| values.into_iter().collect());
        Owner { key: key.clone(), epoch: ownership.epoch, sequence: ownership.sequence, values }
    }

    async fn release(&self, owner: &Owner) {
        self.engine().release(&owner.key, owner.epoch).await.unwrap();
    }

    async fn commit(&self, batch: Vec<Commit>) -> Vec<Outcome> {
        let answers: EngineResult<Vec<_>> = self.engine().commit(batch).await.into_iter().collect();
        answers.unwrap()
    }

    async fn send(&self, commit: Commit) -> Outcome {
        let answers = self.commit(vec![commit]).await;
        assert_eq!(answers.len(), 1);
        answers[0]
    }

    /// The next commit of an owner; it has to be taken.
    async fn apply(&self, owner: &mut Owner, edit: Edit) {
        assert_eq!(self.send(owner.next(edit)).await, Outcome::Committed);
        owner.sequence += 1;
    }

    /// Claims, commits and releases.
    async fn store(&self, key: &Key, edit: Edit) {
        let mut owner = self.claim(key).await;
        self.apply(&mut owner, edit).await;
        self.release(&owner).await;
    }

    async fn get(&self, key: &Key, name: impl AsRef<[u8]>) -> Option<Bytes> {
        let values = self.engine().get(key, vec![bytes(name)]).await.unwrap();
        assert_eq!(values.len(), 1);
        values.into_iter().next().unwrap()
    }

    async fn list(&self, key: &Key, range: KeyRange, reverse: bool, limit: usize) -> Vec<(Bytes, Bytes)> {
        self.engine().list(key, range, reverse, limit).await.unwrap()
    }

    async fn all(&self, key: &Key) -> Vec<(Bytes, Bytes)> {
        self.list(key, everything(), false, usize::MAX).await
    }

    /// The first bytes of the ids.
    async fn objects(&self, class: &str, after: Option<u8>, limit: usize) -> Vec<u8> {
        let found = self.engine().objects(class, after.map(|after| [after; 32]), limit).await.unwrap();
        assert!(found.iter().all(|key| key.class() == class && *key.bytes() == [key.bytes()[0]; 32]));
        found.iter().map(|key| key.bytes()[0]).collect()
    }

    /// The times, and the first bytes of the ids.
    async fn wakes(&self, limit: usize) -> Vec<(u64, u8)> {
        self.wakes_from(0, limit).await
    }

    async fn wakes_from(&self, from: u64, limit: usize) -> Vec<(u64, u8)> {
        let found = self.engine().wakes(UnixMillis(from), limit).await.unwrap();
        found.iter().map(|(UnixMillis(at), key)| (*at, key.bytes()[0])).collect()
    }
}

/// Each case becomes a test of each engine; those that open it again, of the engines that keep something.
macro_rules! cases {
    ($($theme:ident { $($case:ident)* })*; reopened { $($kept:ident)* }) => {
        const CASES: &[(&str, Case)] = &[$($((stringify!($case), |world| Box::pin($theme::$case(world)))),*),*];

        mod memory {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::$theme::$case(super::World::memory()).await;
                }
            )*)*
        }

        #[cfg(feature = "sqlite")]
        mod sqlite {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::$theme::$case(super::World::sqlite()).await;
                }
            )*)*
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $kept() {
                    super::reopened::$kept(super::World::sqlite()).await;
                }
            )*
        }
    };
}

cases! {
    fences {
        the_first_commit_of_an_owner_is_applied
        sequences_go_on
        a_commit_of_nobody_is_fenced
        a_commit_in_a_former_epoch_is_fenced
        a_commit_in_an_epoch_to_come_is_fenced
        a_fenced_commit_changes_nothing
        a_repeat_is_committed_and_changes_nothing
        a_repeat_of_an_older_commit_is_fenced
        a_repeat_after_another_claim_is_fenced
        a_gap_in_the_sequence_is_fenced
        an_empty_commit_counts
        epochs_rise_with_each_claim
        epochs_rise_over_releases
        epochs_rise_over_the_end_of_an_object
        who_has_released_is_fenced
        a_release_in_a_former_epoch_changes_nothing
        releases_may_come_twice_and_of_nobody
        owners_of_other_objects_stay
        one_id_in_two_classes_has_two_owners
        claims_and_commits_race
        claims_race
    }
    batches {
        no_commits_no_answers
        answers_are_in_the_order_of_the_batch
        a_fenced_commit_holds_nobody_back
        a_repeat_stands_beside_others
        a_large_batch_is_applied
        batches_race
    }
    keys {
        what_was_never_written_is_missing
        what_is_written_is_read
        a_value_is_replaced
        a_deleted_key_is_missing
        values_are_in_the_order_of_the_keys
        no_keys_no_values
        an_empty_value_is_a_value
        the_empty_key_is_a_key
        keys_and_values_have_every_byte
        keys_are_in_byte_order
        a_large_value_is_kept
        a_long_key_is_kept
        many_keys_are_kept
        ranges_are_cleared_before_writes
        a_cleared_range_has_its_start_and_not_its_end
        a_cleared_range_without_end_goes_to_the_last_key
        an_empty_or_reversed_range_clears_nothing
        several_ranges_are_cleared
        clearing_nothing_is_fine
        everything_is_deleted_and_begins_anew
        other_objects_keep_what_they_have
    }
    ranges {
        a_list_is_in_order
        a_list_begins_with_its_start
        a_list_ends_before_its_end
        an_empty_or_reversed_range_lists_nothing
        a_limit_is_kept
        a_reversed_list_is_in_the_opposite_order
        a_reversed_list_begins_at_its_end
        the_bounds_need_not_be_there
        a_range_of_high_bytes_is_listed
        a_list_of_nobody_is_empty
    }
    claims {
        a_new_object_is_claimed_empty
        a_claim_has_what_was_committed
        a_claim_has_what_the_former_owner_committed_last
        a_claim_has_as_much_as_is_eager
        a_claim_has_nothing_of_more_than_that
        keys_count_as_much_as_values
        what_was_replaced_or_deleted_does_not_count
        a_claim_of_what_only_wakes_is_empty
    }
    objects {
        an_owned_object_is_listed
        a_released_object_without_keys_leaves_nothing
        a_released_object_with_keys_stays
        a_released_object_that_is_to_be_woken_stays
        an_emptied_object_is_listed_until_it_is_released
        an_object_that_is_woken_no_more_leaves_nothing
        deleting_what_is_not_there_leaves_nothing
        a_stale_release_leaves_the_owned_object_listed
        classes_are_listed_apart
        objects_are_in_the_order_of_ids
        pages_have_each_object_once
        a_page_may_begin_behind_nobody
        no_limit_no_objects
        ids_have_every_byte
    }
    wakes {
        nobody_is_to_be_woken_at_first
        the_earliest_is_first
        those_before_a_time_are_left_out
        a_time_is_replaced
        a_time_is_taken_back
        other_commits_leave_the_time
        deleting_every_key_leaves_the_time
        a_fenced_commit_sets_no_time
        a_release_leaves_the_time
        a_limit_is_kept_when_waking
        one_moment_wakes_all_of_them
        one_id_in_two_classes_is_woken_twice
        times_may_be_far
        a_time_has_the_name_of_the_first_commit
        a_name_outlives_a_claim_without_one
        a_name_has_every_character
    }
    ; reopened {
        keys_are_kept
        times_and_names_are_kept
        epochs_rise_over_a_restart
        former_owners_are_fenced
        a_repeat_is_not_known_any_more
        owners_without_keys_are_gone
        what_was_emptied_is_gone_without_a_release
        what_was_emptied_may_hold_something_again
        objects_are_listed_without_owners
        commits_go_on
    }
}
