//! Halves told to peers that have no session with us.
//!
//! A dialler is connected when it has our answer; should its first packet not arrive, only this
//! remembers under which name it has sent messages since. So its next handshake resumes instead of
//! meeting a stranger.

use core::time::Duration;
use std::collections::BTreeMap;

use crate::key::PublicKey;
use crate::time::Time;

/// Bounded; the oldest goes first.
#[derive(Default)]
pub(super) struct Told {
    /// The half, and until when it is remembered.
    halves: BTreeMap<PublicKey, (u64, Time)>,
}

impl Told {
    pub(super) fn half(&self, now: Time, key: &PublicKey) -> Option<u64> {
        self.halves.get(key).filter(|(_, until)| *until > now).map(|(half, _)| *half)
    }

    pub(super) fn remember(&mut self, now: Time, keep: Duration, most: usize, key: PublicKey, half: u64) {
        if self.halves.len() >= most && !self.halves.contains_key(&key) {
            let oldest = self.halves.iter().min_by_key(|(_, (_, until))| *until).map(|(key, _)| *key);
            oldest.map(|key| self.halves.remove(&key));
        }
        self.halves.insert(key, (half, now + keep));
    }

    pub(super) fn forget(&mut self, key: &PublicKey) {
        self.halves.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_makes_room_and_all_are_forgotten_in_time() {
        let key = |n: u8| PublicKey::from([n; 32]);
        let (keep, at) = (Duration::from_secs(10), Time::from_micros);
        let mut told = Told::default();
        told.remember(at(1), keep, 2, key(2), 22);
        told.remember(at(2), keep, 2, key(1), 11);
        told.remember(at(3), keep, 2, key(2), 22);
        told.remember(at(4), keep, 2, key(3), 33);
        assert_eq!([1, 2, 3].map(|n| told.half(at(4), &key(n))), [None, Some(22), Some(33)]);
        assert_eq!(told.half(at(10_000_003), &key(2)), None);
        assert_eq!(told.half(at(10_000_003), &key(3)), Some(33));
        told.forget(&key(3));
        assert_eq!(told.half(at(4), &key(3)), None);
    }
}
