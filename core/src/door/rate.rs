//! Token buckets, one for each source, in a table of bounded size.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use crate::crypto;
use crate::sam::Destination;
use crate::time::Time;

/// Whom a limit is for: an IPv4 address, the /64 of an IPv6 address, of which one host has all, or an I2P
/// destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    V4([u8; 4]),
    V6([u8; 8]),
    /// A hash of an I2P destination. These cost their owner nothing but time.
    I2p([u8; 8]),
}

impl Source {
    pub(crate) fn of_destination(destination: &Destination) -> Self {
        let hash = crypto::hash(&[destination.to_string().as_bytes()]);
        Self::I2p(*hash.first_chunk().expect("a hash has 32 bytes"))
    }

    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.octets()),
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, h, ..] = v6.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// So many a second, and so many at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    interval: Duration,
    /// What a full bucket has beyond the first token, as time.
    slack: Duration,
}

impl Rate {
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self { interval, slack: interval.saturating_mul(burst.saturating_sub(1)) }
    }
}

/// A token bucket, as the time at which it is full again (the generic cell rate algorithm, ITU-T I.371).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bucket {
    full_at: Time,
}

impl Bucket {
    pub(super) fn has(self, now: Time, rate: Rate) -> bool {
        self.full_at <= now + rate.slack
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&mut self, now: Time, rate: Rate) -> bool {
        let has = self.has(now, rate);
        if has {
            self.full_at = self.full_at.max(now) + rate.interval;
        }
        has
    }
}

/// The buckets of all sources.
///
/// A full bucket says nothing, so it is not kept. While no bucket is full and there is no place for another, all
/// sources without one share one bucket: who fills the table limits the newcomers, and lifts no limit.
#[derive(Default)]
pub(super) struct RateLimiter {
    buckets: BTreeMap<Source, Bucket>,
    /// The same, the first to be full in front.
    by_time: BTreeSet<(Bucket, Source)>,
    overflow: Bucket,
}

impl RateLimiter {
    /// Whether this source may have one more, with at most `sources` in the table.
    pub(super) fn allow(&mut self, now: Time, source: Source, rate: Rate, sources: usize) -> bool {
        self.forget_full(now);
        let known = self.buckets.get(&source).copied();
        if known.is_none() && self.buckets.len() >= sources {
            return self.overflow.take(now, rate);
        }
        // What it took of the shared bucket counts, else a place in the table would be worth another burst.
        let mut bucket = known.unwrap_or(self.overflow);
        if !bucket.take(now, rate) {
            return false;
        }
        if let Some(before) = known {
            self.by_time.remove(&(before, source));
        }
        self.by_time.insert((bucket, source));
        self.buckets.insert(source, bucket);
        true
    }

    /// Two each time are more than come in: so the table shrinks, at a bounded cost.
    fn forget_full(&mut self, now: Time) {
        for _ in 0..2 {
            let Some(&(bucket, source)) = self.by_time.first().filter(|(bucket, _)| bucket.full_at <= now) else {
                return;
            };
            self.by_time.remove(&(bucket, source));
            self.buckets.remove(&source);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.buckets.len(), self.by_time.len());
        self.buckets.len()
    }
}
