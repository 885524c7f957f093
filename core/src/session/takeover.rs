//! The same key from elsewhere: one half of the session's name takes the place of another.
//!
//! It happens when a peer restarts, and when one identity is used in two places at once. Those then
//! go on pushing each other out, which a person should hear of.

use core::time::Duration;

use arrayvec::ArrayVec;

use crate::time::Time;

/// More than so many takeovers ..
pub(super) const TOLERATED: usize = 3;
/// .. within this time mean that the identity is in use more than once; so often it is said.
pub(super) const WITHIN: Duration = Duration::from_secs(60);

/// The last takeovers of a session.
#[derive(Default)]
pub(super) struct Takeovers {
    /// The oldest first.
    recent: ArrayVec<Replaced, { TOLERATED + 1 }>,
    told: Option<Time>,
}

/// A half of which another took the place.
struct Replaced {
    at: Time,
    half: u64,
    /// The highest number of its handshakes that were answered, by transport.
    dials: [u32; 3],
}

impl Takeovers {
    /// `half` was replaced, of whose handshakes those up to `dials` led to paths. Returns whether that was once too
    /// often, and is still to be said.
    pub(super) fn note(&mut self, now: Time, half: u64, dials: [u32; 3]) -> bool {
        if self.recent.is_full() {
            self.recent.remove(0);
        }
        self.recent.push(Replaced { at: now, half, dials });
        let often = self.recent.is_full() && now.saturating_since(self.recent[0].at) <= WITHIN;
        let tell = often && self.told.is_none_or(|told| now.saturating_since(told) >= WITHIN);
        if tell {
            self.told = Some(now);
        }
        tell
    }

    /// Whether a later half took the place of this one: nothing under its name counts any more.
    pub(super) fn replaced(&self, half: u64) -> bool {
        self.recent.iter().any(|replaced| replaced.half == half)
    }

    /// The numbers of the handshakes of a half that was replaced.
    pub(super) fn dials(&mut self, half: u64) -> Option<&mut [u32; 3]> {
        self.recent.iter_mut().find(|replaced| replaced.half == half).map(|replaced| &mut replaced.dials)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(seconds: &[u64]) -> Vec<u64> {
        let mut takeovers = Takeovers::default();
        let at = |second: &u64| Time::ZERO + Duration::from_secs(*second);
        seconds.iter().copied().filter(|second| takeovers.note(at(second), *second, [0; 3])).collect()
    }

    // Mutation: `TOLERATED: usize = 4` makes this fail.
    #[test]
    fn the_fourth_within_a_minute_is_told_once_a_minute() {
        assert!(told(&[0, 10, 20]).is_empty());
        assert_eq!(told(&[0, 10, 20, 30]), [30]);
        assert_eq!(told(&[0, 10, 20, 60]), [60]);
        assert!(told(&[0, 10, 20, 61]).is_empty());
        assert_eq!(told(&[0, 20, 40, 61, 80]), [80]);
        assert_eq!(told(&(0..200).collect::<Vec<_>>()), [3, 63, 123, 183]);
    }

    #[test]
    fn the_last_halves_that_were_replaced_are_known() {
        let mut takeovers = Takeovers::default();
        for half in 1..=6 {
            takeovers.note(Time::ZERO, half, [0; 3]);
        }
        assert_eq!((1..=7).filter(|half| takeovers.replaced(*half)).collect::<Vec<_>>(), [3, 4, 5, 6]);
    }
}
