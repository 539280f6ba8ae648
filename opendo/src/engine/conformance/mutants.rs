//! Engines with one fault each. A suite that lets one of them pass is not worth its name.

use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use futures::future::Either;
use parking_lot::Mutex;

use super::super::{Claiming, Directory, EAGER, Id, Ownership, Store, Write, id};
use super::*;

macro_rules! faults {
    ($($fault:ident)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Fault { None, $($fault),* }
        const FAULTS: &[Fault] = &[$(Fault::$fault),*];
    };
}

faults! {
    // Owners.
    NoFence FenceJudgedBeforeTheWrite NoSequence GapsTaken RepeatsApplied RepeatsFenced OldRepeatsCommitted
    EpochsReused ReleaseForgotten ReleaseByAnybody ReleaseDeletes EmptyCommitsUncounted
    // Commits.
    RepliesEarly BatchEndsAtAFence BatchAsOneOrNothing AnswersReversed FencedTimesSet FencedKeysDeleted
    ClearsLost ClearsAfterWrites ClearsTheEnd ClearsNotTheStart OnlyTheFirstRange ReversedRangesClear
    DeletesKeepAnEmptyValue EmptyValuesDelete ClassesShareKeys KeysAsText LastKeyOfManyLost
    // Reads.
    ValuesSorted MissingLeftOut EmptyIsMissing
    EndIncluded StartExcluded LimitIgnored ReverseIgnored LimitBeforeReverse NoLimitIsNone
    // Claims.
    LoadsTooMuch LoadsTooLittle LoadsAPart KeysNotCounted LoadsTheFirstClaim
    // Objects.
    OwnersNotListed EmptyLeftBehind PagesRepeat ClassesByPrefix ObjectsUnordered ObjectsUnlimited
    // Times.
    TimesUnordered TimesFromTheFirst TimesUnlimited TimesKept TimesLostByCommits TimesLostByClears TimesOnce NamesLost
}

struct Mutant {
    fault: Fault,
    memory: Memory,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What the engine behind would take next.
    owners: HashMap<Id, Ownership>,
    /// Epochs as the outside knows them.
    outside: HashMap<Id, u64>,
    held: Vec<Commit>,
    first: HashMap<Id, BTreeMap<Bytes, Bytes>>,
}

impl Mutant {
    fn new(fault: Fault) -> Self {
        Self { fault, memory: Memory::default(), state: Mutex::default() }
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// One class for all.
    fn object(&self, object: &Key) -> Key {
        match self.fault {
            Fault::ClassesShareKeys => key("Room", *object.bytes(), object.name()),
            _ => object.clone(),
        }
    }

    /// As if it were what may come now.
    fn forced(&self, mut commit: Commit) -> Commit {
        if let Some(owner) = self.state.lock().owners.get(&id(&commit.object)) {
            (commit.epoch, commit.sequence) = (owner.epoch, owner.sequence + 1);
        }
        commit
    }

    fn changed(&self, commit: &mut Commit) {
        let mut changes = (*commit.changes).clone();
        match self.fault {
            Fault::ClearsLost => changes.cleared.clear(),
            Fault::OnlyTheFirstRange => changes.cleared.truncate(1),
            Fault::ReversedRangesClear => {
                for range in &mut changes.cleared {
                    if let Some(end) = &mut range.end
                        && *end < range.start
                    {
                        std::mem::swap(end, &mut range.start);
                    }
                }
            }
            Fault::ClearsTheEnd => {
                let ends = changes.cleared.iter().filter(|range| !range.is_empty());
                let ends: Vec<_> = ends.filter_map(|range| range.end.clone()).collect();
                let ends = ends.into_iter().filter(|end| changes.writes.get(end).is_none());
                let ends: Vec<_> = ends.map(|end| (end, None)).collect();
                changes.writes.extend(ends);
            }
            Fault::ClearsNotTheStart => {
                for range in &mut changes.cleared {
                    range.start = [&range.start[..], b"\0"].concat().into();
                }
            }
            Fault::ClearsAfterWrites => {
                let cleared = changes.cleared.clone();
                changes.writes.retain(|key| !cleared.iter().any(|range| range.contains(key)));
            }
            Fault::DeletesKeepAnEmptyValue => {
                let kept = |(key, value): (_, Option<Bytes>)| (key, Some(value.unwrap_or_default()));
                changes.writes = changes.writes.into_iter().map(Write::into_pair).map(kept).collect();
            }
            Fault::EmptyValuesDelete => {
                let filtered =
                    |(key, value): (_, Option<Bytes>)| (key, value.filter(|value| !value.is_empty()));
                changes.writes = changes.writes.into_iter().map(Write::into_pair).map(filtered).collect();
            }
            Fault::KeysAsText => {
                let lossy = |key: Bytes| bytes(String::from_utf8_lossy(&key).as_bytes());
                let writes = changes.writes.into_iter().map(Write::into_pair);
                changes.writes = writes.map(|(key, value)| (lossy(key), value)).collect();
            }
            Fault::LastKeyOfManyLost if changes.writes.iter().count() > 1000 => {
                let last = changes.writes.iter().last().map(|(key, _)| key.to_bytes());
                changes.writes.retain(|key| Some(key) != last.as_deref());
            }
            Fault::TimesKept if changes.wake == Some(None) => changes.wake = None,
            Fault::TimesLostByCommits if changes.wake.is_none() => changes.wake = Some(None),
            Fault::TimesLostByClears if !changes.cleared.is_empty() && changes.wake.is_none() => {
                changes.wake = Some(None);
            }
            _ => {}
        }
        commit.changes = Arc::new(changes);
    }

    /// The next one that would be taken, with a part of what the fenced one was to change.
    async fn smuggle(&self, commit: &Commit, part: Changes) {
        let forced = self.forced(Commit { changes: Arc::new(part), ..commit.clone() });
        self.carry(forced).await;
        // Nobody else is to notice it by the sequence.
        let mut state = self.state.lock();
        if let Some(owner) = state.owners.get_mut(&id(&commit.object)) {
            owner.sequence += 1;
        }
    }

    async fn carry(&self, commit: Commit) -> Outcome {
        self.memory.commit(vec![commit]).await.remove(0).unwrap()
    }

    async fn apply(&self, mut commit: Commit) -> Outcome {
        commit.object = self.object(&commit.object);
        let place = id(&commit.object);
        self.changed(&mut commit);
        let owner = self.state.lock().owners.get(&place).map(|owner| (owner.epoch, owner.sequence));
        let Some((epoch, sequence)) = owner else { return self.carry(commit).await };
        if self.has(Fault::EpochsReused) && self.state.lock().outside.get(&place) == Some(&commit.epoch.0) {
            commit.epoch = epoch;
        }
        let current = commit.epoch == epoch;
        match self.fault {
            Fault::NoFence if !current => commit = self.forced(commit),
            Fault::FenceJudgedBeforeTheWrite if current && commit.sequence == sequence + 1 => {
                // In the race a claim is on its way: it comes between, however busy the machine is.
                let raced = commit.changes.writes.get(b"count").is_some();
                while raced && self.state.lock().owners.get(&place).is_some_and(|owner| owner.epoch == epoch)
                {
                    tokio::task::yield_now().await;
                }
                commit = self.forced(commit);
            }
            Fault::NoSequence if current => commit = self.forced(commit),
            Fault::GapsTaken if current && commit.sequence > sequence => commit = self.forced(commit),
            Fault::RepeatsApplied if current && commit.sequence == sequence => {
                self.smuggle(&commit, (*commit.changes).clone()).await;
                return Outcome::Committed;
            }
            Fault::RepeatsFenced if current && commit.sequence == sequence => return Outcome::Fenced,
            Fault::OldRepeatsCommitted if current && commit.sequence < sequence => return Outcome::Committed,
            Fault::EmptyCommitsUncounted if current && commit.changes.is_empty() => {
                return Outcome::Committed;
            }
            Fault::RepliesEarly => {
                let before = std::mem::replace(&mut self.state.lock().held, vec![commit]);
                for commit in before {
                    self.memory.commit(vec![commit]).await;
                }
                return Outcome::Committed;
            }
            Fault::FencedTimesSet if !current => {
                self.smuggle(&commit, Changes { wake: commit.changes.wake, ..Changes::default() }).await;
                return Outcome::Fenced;
            }
            Fault::FencedKeysDeleted if !current => {
                let part = Changes { cleared: commit.changes.cleared.clone(), ..Changes::default() };
                self.smuggle(&commit, part).await;
                return Outcome::Fenced;
            }
            _ => {}
        }
        let outcome = self.carry(commit).await;
        if outcome == Outcome::Committed
            && let Some(owner) = self.state.lock().owners.get_mut(&place)
        {
            owner.sequence = sequence + 1;
        }
        outcome
    }

    async fn size(&self, object: &Key) -> usize {
        let all = self.memory.list(object, everything(), false, usize::MAX).await.unwrap();
        let keys = if self.has(Fault::KeysNotCounted) { 0 } else { 1 };
        all.iter().map(|(key, value)| keys * key.len() + value.len()).sum()
    }
}

impl Directory for Mutant {
    fn claim<'a>(&'a self, object: &'a Key) -> Claiming<'a> {
        let claiming = async move {
            let object = self.object(object);
            let mut claim = self.memory.claim(&object).await?;
            let size = self.size(&object).await;
            let all = self.memory.list(&object, everything(), false, usize::MAX).await?;
            match self.fault {
                Fault::LoadsTooMuch => claim.values = Some(all.into_iter().collect()),
                Fault::LoadsTooLittle if size == EAGER => claim.values = None,
                Fault::KeysNotCounted => claim.values = (size <= EAGER).then(|| all.into_iter().collect()),
                Fault::LoadsAPart => claim.values = Some(all.into_iter().take(2).collect()),
                _ => {}
            }
            let mut state = self.state.lock();
            let Ownership { epoch, sequence } = claim.ownership;
            state.owners.insert(id(&object), Ownership { epoch, sequence });
            match self.fault {
                Fault::EpochsReused => {
                    let outside = state.outside.entry(id(&object)).or_default();
                    *outside = (*outside).max(1);
                    claim.ownership.epoch = Epoch(*outside);
                }
                Fault::LoadsTheFirstClaim => {
                    let values = claim.values.take().unwrap_or_default();
                    claim.values = Some(state.first.entry(id(&object)).or_insert(values).clone());
                }
                _ => {}
            }
            Ok(claim)
        };
        Either::Right(claiming.boxed())
    }

    fn release<'a>(&'a self, object: &'a Key, mut epoch: Epoch) -> BoxFuture<'a, EngineResult<()>> {
        async move {
            let object = self.object(object);
            let current = self.state.lock().owners.get(&id(&object)).map(|owner| owner.epoch);
            match self.fault {
                Fault::ReleaseForgotten => return Ok(()),
                Fault::ReleaseByAnybody | Fault::EpochsReused => epoch = current.unwrap_or(epoch),
                Fault::ReleaseDeletes | Fault::EmptyLeftBehind if current == Some(epoch) => {
                    let claim = self.memory.claim(&object).await?.ownership;
                    let mut changes = Changes { cleared: vec![everything()], ..Changes::default() };
                    if self.has(Fault::EmptyLeftBehind) {
                        changes = Edit::default().wake(1 << 50).0;
                    }
                    let (epoch, sequence) = (claim.epoch, claim.sequence + 1);
                    self.carry(Commit { object: object.clone(), epoch, sequence, changes: changes.into() })
                        .await;
                }
                _ => {}
            }
            self.memory.release(&object, epoch).await
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.memory.close()
    }

    fn objects<'a>(
        &'a self,
        class: &'a str,
        after: Option<[u8; 32]>,
        limit: usize,
    ) -> BoxFuture<'a, EngineResult<Vec<ObjectKey>>> {
        async move {
            let (mut after, mut most) = (after, limit);
            match (self.fault, &mut after) {
                (Fault::PagesRepeat, Some(after)) => after[31] = after[31].wrapping_sub(1),
                (Fault::ObjectsUnlimited | Fault::OwnersNotListed, _) => most = usize::MAX,
                _ => {}
            }
            let mut found = self.memory.objects(class, after, most).await?;
            match self.fault {
                Fault::ClassesByPrefix => {
                    found.extend(self.memory.objects(&format!("{class}\0"), after, limit).await?);
                }
                Fault::ObjectsUnordered => found.reverse(),
                Fault::OwnersNotListed => {
                    let mut kept = Vec::new();
                    let wakes = self.memory.wakes(UnixMillis::ZERO, usize::MAX).await?;
                    for object in found {
                        if self.size(&Arc::new(object.clone())).await > 0
                            || wakes.iter().any(|(_, o)| *o == object)
                        {
                            kept.push(object);
                        }
                    }
                    kept.truncate(limit);
                    found = kept;
                }
                _ => {}
            }
            Ok(found)
        }
        .boxed()
    }
}

impl Store for Mutant {
    fn commit(&self, batch: Vec<Commit>) -> BoxFuture<'_, Vec<EngineResult<Outcome>>> {
        async move {
            let many = batch.len();
            let mut answers = Vec::new();
            if self.has(Fault::BatchAsOneOrNothing) {
                let owners = &self.state.lock().owners;
                let fits = |commit: &Commit| {
                    owners.get(&id(&commit.object)).is_some_and(|owner| {
                        owner.epoch == commit.epoch && commit.sequence <= owner.sequence + 1
                    })
                };
                if !batch.iter().all(fits) {
                    return vec![Ok(Outcome::Fenced); many];
                }
            }
            for commit in batch {
                let outcome = self.apply(commit).await;
                answers.push(Ok(outcome));
                if self.has(Fault::BatchEndsAtAFence) && outcome == Outcome::Fenced {
                    break;
                }
            }
            answers.resize(many, Ok(Outcome::Fenced));
            if self.has(Fault::AnswersReversed) {
                answers.reverse();
            }
            answers
        }
        .boxed()
    }

    fn get<'a>(
        &'a self,
        object: &'a Key,
        mut keys: Vec<Bytes>,
    ) -> BoxFuture<'a, EngineResult<Vec<Option<Bytes>>>> {
        async move {
            if self.has(Fault::ValuesSorted) {
                keys.sort();
            }
            let mut values = self.memory.get(&self.object(object), keys).await?;
            match self.fault {
                Fault::MissingLeftOut if values.len() > 1 => values.retain(Option::is_some),
                Fault::EmptyIsMissing => {
                    values
                        .iter_mut()
                        .for_each(|value| *value = value.take().filter(|value| !value.is_empty()));
                }
                _ => {}
            }
            Ok(values)
        }
        .boxed()
    }

    fn list<'a>(
        &'a self,
        object: &'a Key,
        mut range: KeyRange,
        mut reverse: bool,
        mut limit: usize,
    ) -> BoxFuture<'a, EngineResult<Vec<(Bytes, Bytes)>>> {
        async move {
            let backwards = reverse;
            match self.fault {
                Fault::EndIncluded => {
                    range.end = range.end.map(|end| [&end[..], b"\0"].concat().into());
                }
                Fault::StartExcluded if !range.start.is_empty() => {
                    range.start = [&range.start[..], b"\0"].concat().into();
                }
                Fault::LimitIgnored => limit = usize::MAX,
                Fault::NoLimitIsNone if limit == 0 => limit = usize::MAX,
                Fault::ReverseIgnored | Fault::LimitBeforeReverse => reverse = false,
                _ => {}
            }
            let mut found = self.memory.list(&self.object(object), range, reverse, limit).await?;
            if self.has(Fault::LimitBeforeReverse) && backwards {
                found.reverse();
            }
            Ok(found)
        }
        .boxed()
    }

    fn wakes(
        &self,
        from: UnixMillis,
        limit: usize,
    ) -> BoxFuture<'_, EngineResult<Vec<(UnixMillis, ObjectKey)>>> {
        async move {
            let most = if self.has(Fault::TimesUnlimited) { usize::MAX } else { limit };
            let from = if self.has(Fault::TimesFromTheFirst) { UnixMillis::ZERO } else { from };
            let mut found = self.memory.wakes(from, most).await?;
            match self.fault {
                Fault::TimesUnordered => found.reverse(),
                Fault::TimesOnce => found.dedup_by_key(|(at, _)| *at),
                Fault::NamesLost => {
                    found.iter_mut().for_each(|(_, object)| {
                        *object = ObjectKey::kept(object.class_arc().clone(), *object.bytes(), None);
                    });
                }
                _ => {}
            }
            Ok(found)
        }
        .boxed()
    }
}

/// The cases that fail.
async fn failures(fault: Fault, enough: usize) -> Vec<&'static str> {
    let mut failed = Vec::new();
    for (name, case) in CASES {
        let world = World::of(Arc::new(Mutant::new(fault)));
        if AssertUnwindSafe(case(world)).catch_unwind().await.is_err() {
            failed.push(*name);
        }
        if failed.len() == enough {
            break;
        }
    }
    failed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_is_found() {
    let mut missed = Vec::new();
    for fault in FAULTS {
        match failures(*fault, 1).await.first() {
            Some(case) => println!("{fault:?} is found by {case}"),
            None => missed.push(fault),
        }
    }
    assert!(missed.is_empty(), "these pass: {missed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_without_a_fault_passes() {
    assert_eq!(failures(Fault::None, usize::MAX).await, Vec::<&str>::new());
}
