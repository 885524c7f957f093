//! A set of offsets, kept as sorted half-open ranges that never touch.
//!
//! It keeps its capacity, so that steady use does not allocate.

use core::ops::Range;
use std::collections::VecDeque;

#[derive(Debug, Default)]
pub(crate) struct RangeSet {
    ranges: VecDeque<(u64, u64)>,
}

impl RangeSet {
    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The lowest range.
    pub(crate) fn first(&self) -> Option<Range<u64>> {
        self.ranges.front().map(|&(start, end)| start..end)
    }

    /// The ranges that share an offset with `range`, whole, lowest first.
    pub(crate) fn overlapping(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        let from = self.ranges.partition_point(|r| r.1 <= range.start);
        self.ranges.range(from..).take_while(move |r| r.0 < range.end).map(|&(start, end)| start..end)
    }

    pub(crate) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let from = self.ranges.partition_point(|r| r.1 < range.start);
        let to = self.ranges.partition_point(|r| r.0 <= range.end);
        if from == to {
            self.ranges.insert(from, (range.start, range.end));
        } else {
            let joined = (range.start.min(self.ranges[from].0), range.end.max(self.ranges[to - 1].1));
            self.ranges[from] = joined;
            self.ranges.drain(from + 1..to);
        }
    }

    pub(crate) fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let from = self.ranges.partition_point(|r| r.1 <= range.start);
        let to = self.ranges.partition_point(|r| r.0 < range.end);
        if from >= to {
            return;
        }
        let left = (self.ranges[from].0, range.start);
        let right = (range.end, self.ranges[to - 1].1);
        self.ranges.drain(from..to);
        for (start, end) in [right, left] {
            if start < end {
                self.ranges.insert(from, (start, end));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_set_of_numbers(steps in prop::collection::vec((any::<bool>(), 0u64..60, 0u64..12), 0..60)) {
            let mut set = RangeSet::default();
            let mut model = BTreeSet::new();
            for (add, start, len) in steps {
                let range = start..start + len;
                let hit: BTreeSet<u64> = set.overlapping(range.clone()).flatten().filter(|n| range.contains(n)).collect();
                prop_assert_eq!(hit, model.range(range.clone()).copied().collect::<BTreeSet<_>>());
                if add {
                    set.insert(range.clone());
                    model.extend(range);
                } else {
                    set.remove(range.clone());
                    model.retain(|n| !range.contains(n));
                }
                let flat: Vec<u64> = set.ranges.iter().flat_map(|&(a, b)| a..b).collect();
                prop_assert_eq!(flat, model.iter().copied().collect::<Vec<_>>());
                prop_assert!(set.ranges.iter().zip(set.ranges.iter().skip(1)).all(|(a, b)| a.1 < b.0));
                prop_assert_eq!(set.first().map(|r| r.start), model.first().copied());
            }
        }
    }
}
