//! What a run did: a running hash over everything, and a log for people.

use core::fmt;
use core::hash::Hasher;
use std::collections::VecDeque;

use burdock_core::Time;
use siphasher::sip::SipHasher13;

/// Lines that a short log keeps.
pub(crate) const TAIL: usize = 40;

/// How much of a run is written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// The last changes of state.
    #[default]
    Short,
    /// Every change of state, every packet, and every wake-up.
    Full,
}

/// What a run did so far. The hash covers the time, the host and the bytes of everything that
/// went into an endpoint or came out of it.
pub(crate) struct Trace {
    hash: SipHasher13,
    detail: Detail,
    lines: VecDeque<String>,
}

impl Trace {
    pub(crate) fn new(detail: Detail) -> Self {
        Self { hash: SipHasher13::new_with_keys(0x7472_6163_6531, 0), detail, lines: VecDeque::new() }
    }

    /// Something went into the endpoint of `host`, or came out.
    pub(crate) fn step(&mut self, now: u64, host: usize, what: &str, number: u64, bytes: &[u8]) {
        self.hash.write_u64(now);
        self.hash.write_u64(host as u64);
        self.hash.write(what.as_bytes());
        self.hash.write_u64(number);
        self.hash.write_u64(bytes.len() as u64);
        self.hash.write(bytes);
    }

    /// A line of the short log.
    pub(crate) fn line(&mut self, now: u64, name: &str, text: fmt::Arguments<'_>) {
        if self.detail == Detail::Short && self.lines.len() == TAIL {
            self.lines.pop_front();
        }
        self.lines.push_back(format!("{} {name:<8} {text}", Time::from_micros(now)));
    }

    /// Whether packets are written down too.
    pub(crate) fn full(&self) -> bool {
        self.detail == Detail::Full
    }

    pub(crate) fn finish(self) -> (u64, Vec<String>) {
        (self.hash.finish(), self.lines.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_tells_steps_apart_and_the_log_keeps_its_tail() {
        let hash = |steps: &[(u64, &[u8])]| {
            let mut trace = Trace::new(Detail::Short);
            for (now, bytes) in steps {
                trace.step(*now, 0, "datagram", 0, bytes);
            }
            trace.finish().0
        };
        assert_eq!(hash(&[(1, b"ab"), (2, b"c")]), hash(&[(1, b"ab"), (2, b"c")]));
        assert_ne!(hash(&[(1, b"ab"), (2, b"c")]), hash(&[(1, b"a"), (2, b"bc")]));
        assert_ne!(hash(&[(1, b"ab")]), hash(&[(2, b"ab")]));
        let mut trace = Trace::new(Detail::Short);
        for n in 0..100 {
            trace.line(n, "alice", format_args!("{n}"));
        }
        let (_, lines) = trace.finish();
        assert_eq!(lines.len(), TAIL);
        assert_eq!(lines[0], "0.000060s alice    60");
    }
}
