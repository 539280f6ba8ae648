//! Things that are known by numbers which only grow.

use std::collections::VecDeque;

/// A table of what was numbered as it came. Nothing is hashed: a peer that chooses the numbers cannot choose what they
/// cost, and most things are found where their number says.
pub(crate) struct Numbered<T> {
    /// In the order of the numbers. The first and the last place are taken.
    places: VecDeque<(u64, Option<T>)>,
    taken: usize,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { places: VecDeque::new(), taken: 0 }
    }
}

impl<T> Numbered<T> {
    pub(crate) fn len(&self) -> usize {
        self.taken
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// Adds what has a higher number than all before.
    pub(crate) fn push(&mut self, number: u64, thing: T) {
        debug_assert!(self.places.back().is_none_or(|(last, _)| *last < number), "numbers only grow");
        self.places.push_back((number, Some(thing)));
        self.taken += 1;
    }

    pub(crate) fn get(&self, number: u64) -> Option<&T> {
        self.places[self.find(number)?].1.as_ref()
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<T> {
        let at = self.find(number)?;
        let thing = if at == 0 {
            let (_, first) = self.places.pop_front()?;
            while self.places.front().is_some_and(|(_, thing)| thing.is_none()) {
                self.places.pop_front();
            }
            first
        } else {
            let thing = self.places[at].1.take();
            while self.places.back().is_some_and(|(_, thing)| thing.is_none()) {
                self.places.pop_back();
            }
            thing
        }?;
        self.taken -= 1;
        // One that stays long holds up no more places than there are things.
        if self.places.len() > SPARSE + 3 * self.taken {
            self.places.retain(|(_, thing)| thing.is_some());
        }
        Some(thing)
    }

    /// All that is there, by number.
    pub(crate) fn into_iter(self) -> impl Iterator<Item = (u64, T)> {
        self.places.into_iter().filter_map(|(number, thing)| Some((number, thing?)))
    }

    #[inline]
    fn find(&self, number: u64) -> Option<usize> {
        let first = self.places.front()?.0;
        let at = usize::try_from(number.checked_sub(first)?).unwrap_or(usize::MAX);
        match self.places.get(at) {
            Some((there, _)) if *there == number => Some(at),
            // Numbers before it were left out.
            _ => self.places.binary_search_by_key(&number, |(number, _)| *number).ok(),
        }
    }
}

/// So many empty places are not worth looking for.
const SPARSE: usize = 32;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, rng_seed: RngSeed::Fixed(0x0d0), ..ProptestConfig::default() })]

        #[test]
        fn it_holds_what_a_map_would(steps in proptest::collection::vec((any::<bool>(), 0..100_u64), 0..400)) {
            let (mut table, mut map, mut last) = (Numbered::default(), BTreeMap::new(), 0);
            for (step, (adds, what)) in steps.into_iter().enumerate() {
                if adds {
                    last += 1 + what % 3;
                    table.push(last, step);
                    map.insert(last, step);
                } else {
                    let number = last.saturating_sub(what);
                    prop_assert_eq!(table.remove(number), map.remove(&number));
                }
                let number = last.saturating_sub(what / 2);
                prop_assert_eq!(table.get(number), map.get(&number));
                prop_assert_eq!((table.len(), table.is_empty()), (map.len(), map.is_empty()));
            }
            prop_assert_eq!(table.into_iter().collect::<Vec<_>>(), map.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_stays_does_not_keep_the_places_of_what_came_after_it() {
        let mut table = Numbered::default();
        table.push(1, "stays");
        for number in 2..100_000 {
            table.push(number, "goes");
            if number > 20 {
                table.remove(number - 10);
            }
            assert!(table.places.len() <= SPARSE + 3 * (table.len() + 1));
        }
        assert_eq!(table.get(1), Some(&"stays"));
        assert_eq!(table.get(u64::MAX), None);
    }
}
