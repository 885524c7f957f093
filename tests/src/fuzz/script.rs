//! Bytes as a list of choices.

use burdock_core::Limits;

/// The largest number that a frame can hold.
pub(super) const VARINT_MAX: u64 = (1 << 62) - 1;

/// The bytes, read from the front; zeros when they are used up.
pub(super) struct Script<'a>(pub(super) &'a [u8]);

impl<'a> Script<'a> {
    pub(super) fn u8(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::from(self.u8()) % bound.max(1)
    }

    pub(super) fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        head
    }

    /// A number, near one of those where something changes.
    pub(super) fn number(&mut self, limits: &Limits) -> u64 {
        let kind = self.u8();
        let near = |base: u64, delta: u8| base.saturating_add(u64::from(delta)).saturating_sub(128).min(VARINT_MAX);
        match kind % 8 {
            0 | 1 => self.u8().into(),
            2 => self.u16().into(),
            3 => near(limits.channel_credit.into(), self.u8()),
            4 => near(limits.session_credit.into(), self.u8()),
            5 => near(limits.max_message.into(), self.u8()),
            6 => near(VARINT_MAX, self.u8()),
            _ => (u64::from(self.u16()) << (self.u8() % 47)) & VARINT_MAX,
        }
    }
}
