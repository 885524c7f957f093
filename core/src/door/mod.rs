//! What stands before a handshake: who is let through to the costly part, who has to prove an address first, and who
//! hears nothing.
//!
//! Small machines without I/O, each tested alone: [`rate`] limits each source, [`cookie`] proves addresses,
//! [`half_open`] bounds what is kept of handshakes that nobody has confirmed. [`Door`] puts the first two together. All
//! work is O(log n) in tables of bounded size, and none of it needs a timer.

mod cookie;
mod half_open;
mod rate;
#[cfg(test)]
mod tests;

use core::net::SocketAddr;

use cookie::CookieSecret;
pub(crate) use cookie::{CookieJar, CookieTurn, Reply, ReplyKey, mac2};
pub(crate) use half_open::{HalfOpens, Place, Room};
pub(crate) use rate::Source;
use rate::{Bucket, Rate, RateLimiter};

use crate::config::Limits;
use crate::key::PublicKey;
use crate::rng::Randomness;
use crate::time::Time;

/// What was turned away at the door so far. A rise alone harms nothing: that is what the door is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TurnedAway {
    /// Datagrams, and first packets of streams, that are no packets of this protocol.
    pub malformed: u64,
    /// First packets whose sender does not know our key. They cost one hash, and no DH.
    pub bad_mac1: u64,
    /// First packets that were told to prove their address, by a cookie, as we were under load or their source was too
    /// busy.
    pub no_cookie: u64,
    /// First packets from a source, with a proven address, that began too many handshakes.
    pub rate_limited: u64,
    /// First packets that were read in vain: damaged, out of date, from a peer that the policy does not let in, or
    /// without a place for them.
    pub not_accepted: u64,
    /// Unconfirmed handshakes that made room for others.
    pub half_open_evicted: u64,
    /// Unproven streams that made room for others.
    pub streams_evicted: u64,
    /// Streams that were closed in the middle of a packet, or for want of a handshake, when their time was up.
    pub streams_too_slow: u64,
}

/// What asks for a handshake.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) source: Source,
    /// Its address is its own: it answers there, by a stream or a cookie.
    pub(crate) proven: bool,
    /// Unconfirmed handshakes that there are, and those of its source.
    pub(crate) half_open: usize,
    pub(crate) half_open_of_source: usize,
}

/// What becomes of a first packet with a valid mac1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is read.
    Answer,
    /// Its sender is to prove the address first.
    Cookie,
    /// It is dropped in silence.
    Silence,
}

/// How many handshakes a live session's peer may begin whatever others at its source do: so nobody keeps its keys from
/// being renewed. Beyond that the peer has its part in what its source may do.
#[derive(Default)]
pub(crate) struct Allowance(Bucket);

/// A second, and at once. One renewal each few seconds is what a correct peer begins at most.
const ALLOWANCE: (u32, u32) = (1, 4);

impl Allowance {
    fn take(&mut self, now: Time) -> bool {
        self.0.take(now, Rate::new(ALLOWANCE.0, ALLOWANCE.1))
    }
}

/// The door of one endpoint.
pub(crate) struct Door {
    /// Whoever proved an address is limited by it; nobody else touches this bucket.
    proven: RateLimiter,
    /// Whoever did not may be a forger, with the address of somebody else: that has buckets of its own.
    unproven: RateLimiter,
    /// Handshakes without a cookie, over all sources.
    without_cookie: Bucket,
    secret: CookieSecret,
    reply: ReplyKey,
    pub(crate) turned_away: TurnedAway,
    /// First packets that were read: each cost the DH of a responder.
    pub(crate) read: u64,
}

impl Door {
    pub(crate) fn new(key: &PublicKey) -> Self {
        Self {
            proven: RateLimiter::default(),
            unproven: RateLimiter::default(),
            without_cookie: Bucket::default(),
            secret: CookieSecret::default(),
            reply: ReplyKey::new(key),
            turned_away: TurnedAway::default(),
            read: 0,
        }
    }

    /// Lets the peer of a live session in, on a carrier that is known to be its own, if it has not begun too many
    /// handshakes.
    pub(crate) fn admit_known(&mut self, now: Time, allowance: &mut Allowance) -> bool {
        let admitted = allowance.take(now);
        self.read = self.read.saturating_add(u64::from(admitted));
        admitted
    }

    /// Decides about a first packet with a valid mac1 that is no repetition.
    ///
    /// Unproven callers never make anybody leave the table of unconfirmed handshakes, which would let a forger do so.
    pub(crate) fn admit(&mut self, now: Time, limits: &Limits, caller: Caller) -> Admission {
        let each = Rate::new(limits.source_rate, limits.source_burst);
        let admission = if caller.proven {
            if self.proven.allow(now, caller.source, each, limits.sources) {
                Admission::Answer
            } else {
                Admission::Silence
            }
        } else {
            let all = Rate::new(limits.unproven_rate, limits.unproven_burst);
            let under_load = caller.half_open > limits.half_open / 2 || !self.without_cookie.has(now, all);
            let answer = !under_load
                && caller.half_open_of_source < limits.half_open_per_source
                && self.unproven.allow(now, caller.source, each, limits.sources)
                && self.without_cookie.take(now, all);
            if answer { Admission::Answer } else { Admission::Cookie }
        };
        count(match admission {
            Admission::Answer => &mut self.read,
            Admission::Cookie => &mut self.turned_away.no_cookie,
            Admission::Silence => &mut self.turned_away.rate_limited,
        });
        admission
    }

    /// Whether mac2 shows that the sender received a cookie of ours at this very address.
    pub(crate) fn proves(&self, now: Time, from: SocketAddr, before_mac2: &[u8], mac2: &[u8; 16]) -> bool {
        *mac2 != [0; 16] && self.secret.proves(now, from, before_mac2, mac2)
    }

    /// The COOKIE for an INIT with this mac1 that came from this address.
    pub(crate) fn cookie(
        &mut self,
        now: Time,
        random: &mut Randomness,
        to: SocketAddr,
        receiver: u32,
        mac1: &[u8; 16],
    ) -> Vec<u8> {
        let cookie = self.secret.cookie(now, to, || random.secret());
        self.reply.seal(receiver, random.nonce(), cookie, mac1)
    }

    /// Sources that have a bucket of their own now.
    #[cfg(test)]
    pub(crate) fn sources(&self) -> [usize; 2] {
        [self.proven.len(), self.unproven.len()]
    }
}

/// Counts one more.
pub(crate) fn count(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}
