//! Luck as a hash: what happens to a packet depends on the scenario, the place, the packet's
//! number and the purpose of the draw, and on no draw before it. Taking one fault away leaves the
//! luck of everything else as it was.

use core::hash::Hasher;

use siphasher::sip::SipHasher13;

/// What a draw is for. The discriminants are part of the luck: never renumber them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Purpose {
    Scenario = 1,
    Identity = 2,
    EndpointSeed = 3,
    Loss = 4,
    BurstTurn = 5,
    BurstLoss = 6,
    Duplicate = 7,
    Reorder = 8,
    ReorderBy = 9,
    Corrupt = 10,
    CorruptWhere = 11,
    Jitter = 12,
    Segment = 13,
    Piece = 14,
    ShortWrite = 15,
    EarlyTick = 16,
    Filling = 17,
    LateWake = 30,
    LostWake = 31,
    DoubledWake = 32,
    DoubledWhen = 33,
    TimersFirst = 34,
    Attack = 35,
    Destination = 36,
    I2p = 37,
}

/// The luck of one scenario.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Luck(u64);

impl Luck {
    pub(crate) const fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 even bits.
    pub(crate) fn draw(self, purpose: Purpose, place: u64, number: u64) -> u64 {
        let mut hash = SipHasher13::new_with_keys(self.0, 0x6275_7264_6f63_6b00);
        hash.write_u64(purpose as u64);
        hash.write_u64(place);
        hash.write_u64(number);
        hash.finish()
    }

    /// An even draw from `0..bound`; 0 when `bound` is 0.
    pub(crate) fn below(self, purpose: Purpose, place: u64, number: u64, bound: u64) -> u64 {
        let wide = u128::from(self.draw(purpose, place, number)) * u128::from(bound);
        u64::try_from(wide >> 64).expect("the product of two u64, shifted by 64 bits")
    }

    /// True with this chance.
    pub(crate) fn strikes(self, purpose: Purpose, place: u64, number: u64, per_mille: u32) -> bool {
        per_mille > 0 && self.below(purpose, place, number, 1000) < u64::from(per_mille)
    }

    /// 32 bytes.
    pub(crate) fn bytes(self, purpose: Purpose, place: u64) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (number, chunk) in (0..).zip(bytes.chunks_exact_mut(8)) {
            chunk.copy_from_slice(&self.draw(purpose, place, number).to_be_bytes());
        }
        bytes
    }
}

/// A row of draws for one family of the generator, so that what one family draws never shifts what
/// another gets.
#[derive(Debug)]
pub(crate) struct Draws {
    luck: Luck,
    place: u64,
    number: u64,
}

impl Draws {
    pub(crate) const fn new(luck: Luck, place: u64) -> Self {
        Self { luck, place, number: 0 }
    }

    /// An even draw from `0..bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.number += 1;
        self.luck.below(Purpose::Scenario, self.place, self.number, bound)
    }

    /// An even draw from `low..=high`.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True once in `n`.
    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of a few.
    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let index = self.below(from.len() as u64);
        from[usize::try_from(index).expect("below the length of a slice")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn luck_is_even_and_depends_on_every_part() {
        let luck = Luck::of(1);
        let hits = (0..10_000).filter(|n| luck.strikes(Purpose::Loss, 0, *n, 300)).count();
        assert!((2_800..3_200).contains(&hits), "{hits}");
        let draws = [
            luck.draw(Purpose::Loss, 0, 0),
            luck.draw(Purpose::Jitter, 0, 0),
            luck.draw(Purpose::Loss, 1, 0),
            luck.draw(Purpose::Loss, 0, 1),
            Luck::of(2).draw(Purpose::Loss, 0, 0),
        ];
        for (i, a) in draws.iter().enumerate() {
            assert!(draws[i + 1..].iter().all(|b| a != b));
        }
        assert!(!luck.strikes(Purpose::Loss, 0, 0, 0));
        assert!((0..1000).all(|n| luck.strikes(Purpose::Loss, 0, n, 1000)));
    }
}
