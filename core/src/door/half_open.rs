//! Handshakes that were answered and not confirmed, in a table of bounded size.
//!
//! The table has two classes: peers that we know, and strangers. A quarter of it is kept for each, and a newcomer takes
//! the place of the oldest of its own class, or, for a known peer, of a stranger beyond that quarter. So a stranger
//! never takes the place of a known peer. No source has more than its share.

use std::collections::{BTreeMap, BTreeSet};

use super::Source;

/// How an answered handshake stands in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) source: Source,
    /// Its key is in the policy's list, or has a session.
    pub(crate) known: bool,
    /// By which a repetition of its INIT is found.
    pub(crate) ephemeral: [u8; 32],
}

/// Whether there is room for one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    Free,
    /// When this one leaves.
    Instead(u32),
    None,
}

struct Entry<T> {
    place: Place,
    /// Counts arrivals.
    order: u64,
    it: T,
}

pub(crate) struct HalfOpens<T> {
    by_index: BTreeMap<u32, Entry<T>>,
    by_ephemeral: BTreeMap<[u8; 32], u32>,
    /// Source, whether it is known, order of arrival, index.
    by_source: BTreeSet<(Source, bool, u64, u32)>,
    /// Whether it is known, order of arrival, index.
    by_class: BTreeSet<(bool, u64, u32)>,
    known: usize,
    arrivals: u64,
}

impl<T> Default for HalfOpens<T> {
    fn default() -> Self {
        Self {
            by_index: BTreeMap::new(),
            by_ephemeral: BTreeMap::new(),
            by_source: BTreeSet::new(),
            by_class: BTreeSet::new(),
            known: 0,
            arrivals: 0,
        }
    }
}

impl<T> HalfOpens<T> {
    pub(crate) fn len(&self) -> usize {
        self.by_index.len()
    }

    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        self.by_index.get(&index).map(|entry| &entry.it)
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.by_index.get_mut(&index).map(|entry| &mut entry.it)
    }

    /// The one that an INIT with this ephemeral key began.
    pub(crate) fn repeated(&self, ephemeral: &[u8; 32]) -> Option<&T> {
        self.by_ephemeral.get(ephemeral).and_then(|index| self.get(*index))
    }

    /// Index, order of arrival, and what is kept.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, u64, &T)> {
        self.by_index.iter().map(|(index, entry)| (*index, entry.order, &entry.it))
    }

    /// How many a source has.
    pub(crate) fn of_source(&self, source: Source) -> usize {
        self.by_source.range((source, false, 0, 0)..=(source, true, u64::MAX, u32::MAX)).count()
    }

    /// Whether there is room for a newcomer among at most `cap`, of which one source has at most `per_source`. After
    /// `Instead` the one named is to be removed, and the question asked again.
    pub(crate) fn room(&self, cap: usize, per_source: usize, source: Source, known: bool) -> Room {
        if self.of_source(source) >= per_source {
            // A known peer takes the place of a stranger behind the same address first.
            let mut its = self.by_source.range((source, false, 0, 0)..=(source, known, u64::MAX, u32::MAX));
            return its.next().map_or(Room::None, |(.., index)| Room::Instead(*index));
        }
        let most = cap - cap / 4;
        let of_class = if known { self.known } else { self.len() - self.known };
        let from = if of_class >= most {
            known
        } else if self.len() >= cap {
            false
        } else {
            return Room::Free;
        };
        let oldest = self.by_class.range((from, 0, 0)..=(from, u64::MAX, u32::MAX)).next();
        oldest.map_or(Room::None, |(.., index)| Room::Instead(*index))
    }

    pub(crate) fn insert(&mut self, index: u32, place: Place, it: T) {
        self.remove(index);
        self.arrivals += 1;
        let order = self.arrivals;
        self.by_ephemeral.insert(place.ephemeral, index);
        self.by_source.insert((place.source, place.known, order, index));
        self.by_class.insert((place.known, order, index));
        self.known += usize::from(place.known);
        self.by_index.insert(index, Entry { place, order, it });
    }

    /// Takes one out, with its order of arrival.
    pub(crate) fn remove(&mut self, index: u32) -> Option<(u64, T)> {
        let Entry { place, order, it } = self.by_index.remove(&index)?;
        if self.by_ephemeral.get(&place.ephemeral) == Some(&index) {
            self.by_ephemeral.remove(&place.ephemeral);
        }
        self.by_source.remove(&(place.source, place.known, order, index));
        self.by_class.remove(&(place.known, order, index));
        self.known -= usize::from(place.known);
        Some((order, it))
    }

    #[cfg(test)]
    pub(super) fn places(&self) -> Vec<(u32, Place)> {
        assert_eq!([self.by_ephemeral.len(), self.by_source.len(), self.by_class.len()], [self.len(); 3]);
        self.by_index.iter().map(|(index, entry)| (*index, entry.place)).collect()
    }
}
