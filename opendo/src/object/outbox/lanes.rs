//! Which messages go when: one lane for each receiver.

use std::collections::{BTreeSet, VecDeque};

use rustc_hash::FxHashMap;

use crate::engine::UnixMillis;
use crate::object::storage::keys::Number;

pub(super) type Id = [u8; 32];

/// How many lanes have messages on their way at a time.
const BUSY: usize = 32;

/// How many messages of a lane are on their way at a time.
const TOGETHER: usize = 16;

/// The messages that are durable and not delivered, by receiver.
#[derive(Default)]
pub(super) struct Lanes {
    lanes: FxHashMap<Id, Lane>,
    /// Those that can go on.
    ready: VecDeque<Id>,
    /// Those that go on at that time.
    resting: BTreeSet<(UnixMillis, Id)>,
    /// How many have messages on their way.
    busy: usize,
}

#[derive(Default)]
struct Lane {
    messages: BTreeSet<Number>,
    phase: Phase,
    /// How many attempts have failed in a row.
    failures: u32,
}

#[derive(Clone, Copy, Default)]
enum Phase {
    /// Nothing is known of it yet.
    #[default]
    New,
    Ready,
    Busy,
    Resting(UnixMillis),
}

impl Lanes {
    /// A message is to be delivered.
    pub(super) fn add(&mut self, receiver: Id, number: Number) {
        self.lanes.entry(receiver).or_default().messages.insert(number);
        self.settle(receiver);
    }

    /// Nothing is to be delivered any more. What is on its way is let go.
    pub(super) fn clear(&mut self) {
        self.lanes.retain(|_, lane| matches!(lane.phase, Phase::Busy));
        self.lanes.values_mut().for_each(|lane| lane.messages.clear());
        self.ready.clear();
        self.resting.clear();
    }

    pub(super) fn contains(&self, receiver: &Id, number: Number) -> bool {
        self.lanes.get(receiver).is_some_and(|lane| lane.messages.contains(&number))
    }

    /// The messages that are to go next, in order; their lane is busy from now on.
    pub(super) fn next(&mut self) -> Option<(Id, Vec<Number>)> {
        if self.busy == BUSY {
            return None;
        }
        let receiver = self.ready.pop_front()?;
        let lane = self.lanes.get_mut(&receiver)?;
        lane.phase = Phase::Busy;
        self.busy += 1;
        Some((receiver, lane.messages.iter().take(TOGETHER).copied().collect()))
    }

    /// What was on its way in a lane is not any more.
    pub(super) fn has_ended(&mut self, receiver: Id) {
        self.set(receiver, Phase::New);
        self.settle(receiver);
    }

    /// The message is not to be delivered any more. Returns whether an attempt for that receiver had failed before.
    pub(super) fn remove(&mut self, receiver: Id, number: Number) -> bool {
        let Some(lane) = self.lanes.get_mut(&receiver) else { return false };
        lane.messages.remove(&number);
        let failed = std::mem::take(&mut lane.failures) > 0;
        // The next message has all its attempts before it.
        if matches!(lane.phase, Phase::Resting(_)) {
            self.set(receiver, Phase::New);
        }
        self.settle(receiver);
        failed
    }

    /// How many attempts have failed in a row.
    pub(super) fn failures(&self, receiver: &Id) -> u32 {
        self.lanes.get(receiver).map_or(0, |lane| lane.failures)
    }

    /// What was on its way has failed, for so many times in a row; the lane goes on at that time. False if there is nothing
    /// in it any more.
    pub(super) fn rest(&mut self, receiver: Id, failures: u32, until: UnixMillis) -> bool {
        let Some(lane) = self.lanes.get_mut(&receiver) else { return false };
        if lane.messages.is_empty() {
            self.has_ended(receiver);
            return false;
        }
        lane.failures = failures;
        self.set(receiver, Phase::Resting(until));
        true
    }

    /// An earlier instance had this lane rest. Before its messages are added.
    pub(super) fn still_rests(&mut self, receiver: Id, failures: u32, until: UnixMillis) {
        self.lanes.entry(receiver).or_default().failures = failures;
        self.set(receiver, Phase::Resting(until));
    }

    /// Those that have rested until now go on.
    pub(super) fn wake(&mut self, now: UnixMillis) {
        while let Some((until, receiver)) = self.resting.first().copied()
            && until <= now
        {
            self.set(receiver, Phase::New);
            self.settle(receiver);
        }
    }

    /// When the first one that rests goes on.
    pub(super) fn resting(&self) -> Option<UnixMillis> {
        self.resting.first().map(|(until, _)| *until)
    }

    /// Whether nothing happens before one has rested.
    pub(super) fn is_at_rest(&self) -> bool {
        self.busy == 0 && self.ready.is_empty()
    }

    fn set(&mut self, receiver: Id, phase: Phase) {
        let Some(lane) = self.lanes.get_mut(&receiver) else { return };
        match std::mem::replace(&mut lane.phase, phase) {
            Phase::Resting(until) => drop(self.resting.remove(&(until, receiver))),
            Phase::Ready => self.ready.retain(|ready| *ready != receiver),
            Phase::Busy => self.busy -= 1,
            Phase::New => {}
        }
        if let Phase::Resting(until) = phase {
            self.resting.insert((until, receiver));
        }
    }

    /// A lane that neither rests nor is busy goes on, if there is something in it.
    fn settle(&mut self, receiver: Id) {
        let Some(lane) = self.lanes.get_mut(&receiver) else { return };
        match (lane.phase, lane.messages.is_empty()) {
            (Phase::Busy, _) => {}
            (_, true) => {
                self.set(receiver, Phase::New);
                self.lanes.remove(&receiver);
            }
            (Phase::New, false) => {
                lane.phase = Phase::Ready;
                self.ready.push_back(receiver);
            }
            (Phase::Ready | Phase::Resting(_), false) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Id = [1; 32];
    const B: Id = [2; 32];

    fn number(n: u64) -> Number {
        Number::new(1, n)
    }

    fn numbers(all: impl IntoIterator<Item = u64>) -> Vec<Number> {
        all.into_iter().map(number).collect()
    }

    #[test]
    fn a_lane_has_one_batch_on_its_way_and_the_others_go_on() {
        let mut lanes = Lanes::default();
        (1..=20).for_each(|n| lanes.add(A, number(n)));
        assert_eq!(lanes.next(), Some((A, numbers(1..=16))));
        lanes.add(A, number(21));
        lanes.add(B, number(22));
        assert_eq!(lanes.next(), Some((B, numbers([22]))));
        assert_eq!(lanes.next(), None);
        for n in 1..=16 {
            assert!(!lanes.remove(A, number(n)));
        }
        lanes.has_ended(A);
        assert_eq!(lanes.next(), Some((A, numbers(17..=21))));
    }

    #[test]
    fn a_lane_that_rests_goes_on_at_its_time_and_not_before() {
        let mut lanes = Lanes::default();
        lanes.add(A, number(1));
        lanes.next().unwrap();
        assert!(lanes.rest(A, 1, UnixMillis(10)));
        lanes.add(A, number(2));
        lanes.wake(UnixMillis(9));
        assert_eq!((lanes.next(), lanes.resting(), lanes.failures(&A)), (None, Some(UnixMillis(10)), 1));
        lanes.wake(UnixMillis(10));
        assert_eq!(lanes.next(), Some((A, numbers([1, 2]))));
        assert_eq!(lanes.resting(), None);
    }

    #[test]
    fn what_is_taken_back_leaves_nothing_behind() {
        let mut lanes = Lanes::default();
        for receiver in [A, B] {
            lanes.add(receiver, number(1));
        }
        lanes.next().unwrap();
        lanes.still_rests(B, 3, UnixMillis(10));
        lanes.clear();
        assert!(!lanes.rest(A, 1, UnixMillis(10)));
        assert!(lanes.lanes.is_empty() && lanes.ready.is_empty() && lanes.resting.is_empty());
        assert!(lanes.is_at_rest());
    }

    #[test]
    fn what_is_given_up_while_it_rests_lets_the_next_one_go() {
        let mut lanes = Lanes::default();
        lanes.add(A, number(1));
        lanes.add(A, number(2));
        lanes.next().unwrap();
        lanes.rest(A, 1, UnixMillis(10));
        assert!(lanes.remove(A, number(1)));
        assert_eq!(lanes.next(), Some((A, numbers([2]))));
        assert!(!lanes.remove(A, number(2)));
        lanes.has_ended(A);
        assert!(lanes.lanes.is_empty());
    }
}
