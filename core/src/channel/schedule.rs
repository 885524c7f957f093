//! Which channel writes next.

use core::cmp::Reverse;
use std::collections::VecDeque;

/// Where a channel stands in line: the higher its priority, then the longer ago its last turn,
/// the sooner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) priority: Reverse<u8>,
    pub(super) turn: u64,
    pub(super) channel: u8,
}

/// Channels in line. There are at most 256, so that shifting a few is cheaper than a tree, and
/// nothing is allocated once it has been as long as it gets.
#[derive(Debug, Default)]
pub(super) struct Line {
    places: VecDeque<Place>,
}

impl Line {
    pub(super) fn front(&self) -> Option<Place> {
        self.places.front().copied()
    }

    pub(super) fn insert(&mut self, place: Place) {
        let at = self.places.partition_point(|other| *other < place);
        self.places.insert(at, place);
    }

    pub(super) fn remove(&mut self, place: Place) {
        if let Ok(at) = self.places.binary_search(&place) {
            self.places.remove(at);
        }
    }

    pub(super) fn clear(&mut self) {
        self.places.clear();
    }
}
