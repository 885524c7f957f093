//! Proof of an address, as WireGuard has it (whitepaper §5.3): who is sent a cookie and uses it receives at that
//! address. The responder keeps nothing for it.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use zeroize::Zeroizing;

use crate::crypto::{Secret, hash, mac, same, xopen, xseal};
use crate::key::PublicKey;
use crate::time::Time;
use crate::wire::packet::{self, COOKIE_LEN};

/// How long cookies are made from one secret.
const ROTATION: Duration = Duration::from_secs(120);
/// How long a secret counts: a cookie is good for 120 s at least.
const SECRET_LIFE: Duration = Duration::from_secs(240);
/// How long an initiator uses a cookie.
const COOKIE_LIFE: Duration = Duration::from_secs(120);
/// Cookies that an initiator keeps.
const MAX_COOKIES: usize = 1024;
/// COOKIEs that are looked at for each INIT sent: forged ones must not cost without end.
const MAX_TRIES: u8 = 8;

/// What a peer got to prove its address with.
pub(crate) type Cookie = [u8; 16];

/// The mac2 by which an INIT shows the cookie.
pub(crate) fn mac2(cookie: &Cookie, before_mac2: &[u8]) -> [u8; 16] {
    mac(cookie, &[before_mac2])
}

/// What cookies are made from: a secret, and the one before it. They change when they are used, so no timer is needed.
#[derive(Default)]
pub(super) struct CookieSecret {
    current: Option<(Time, Secret)>,
    previous: Option<(Time, Secret)>,
}

impl CookieSecret {
    /// The cookie of an address and port.
    pub(super) fn cookie(&mut self, now: Time, to: SocketAddr, draw: impl FnOnce() -> Zeroizing<[u8; 32]>) -> Cookie {
        let fresh = self.current.take_if(|(born, _)| *born + ROTATION <= now);
        if let Some(before) = fresh {
            self.previous = Some(before);
        }
        let (_, secret) = self.current.get_or_insert_with(|| (now, Secret::copy_of(&draw())));
        cookie(secret, to)
    }

    /// Whether mac2 was made with the cookie of this address and port.
    pub(super) fn proves(&self, now: Time, from: SocketAddr, before_mac2: &[u8], wanted: &[u8; 16]) -> bool {
        let live = |slot: &&(Time, Secret)| now.saturating_since(slot.0) < SECRET_LIFE;
        [&self.current, &self.previous]
            .into_iter()
            .flatten()
            .filter(live)
            .any(|(_, secret)| same(&mac2(&cookie(secret, from), before_mac2), wanted))
    }
}

fn cookie(secret: &Secret, address: SocketAddr) -> Cookie {
    let octets = match address.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    mac(secret.expose(), &[&octets, &address.port().to_be_bytes()])
}

/// Under which COOKIEs of one responder are sealed. It follows from a public key, so it is no secret: it keeps out those
/// who did not see the INIT or do not know the responder.
pub(crate) struct ReplyKey([u8; 32]);

impl ReplyKey {
    pub(crate) fn new(responder: &PublicKey) -> Self {
        Self(hash(&[b"burdock cookie", responder.as_bytes()]))
    }

    /// The COOKIE that answers the INIT with this mac1.
    pub(super) fn seal(&self, receiver: u32, nonce: [u8; 24], cookie: Cookie, mac1: &[u8; 16]) -> Vec<u8> {
        let mut sealed = [0; 32];
        let (text, tag) = sealed.split_at_mut(16);
        text.copy_from_slice(&cookie);
        tag.copy_from_slice(&xseal(&self.0, &nonce, mac1, text));
        let mut out = Vec::with_capacity(COOKIE_LEN);
        packet::put_cookie(&packet::Cookie { receiver, nonce: &nonce, sealed: &sealed }, &mut out);
        out
    }

    /// The cookie in a COOKIE, if it answers the INIT with this mac1.
    pub(crate) fn open(&self, reply: &packet::Cookie<'_>, mac1: &[u8; 16]) -> Option<Cookie> {
        let (&text, tag) = reply.sealed.split_first_chunk::<16>()?;
        let mut cookie = text;
        xopen(&self.0, reply.nonce, mac1, &mut cookie, tag.try_into().ok()?).ok()?;
        Some(cookie)
    }
}

/// What an initiator does about a COOKIE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Nothing: it is not for this INIT, or there were too many.
    Ignore,
    /// The INIT goes out again at once, with mac2.
    Resend(Cookie),
    /// Mac2 goes into the INIT, which goes out when its time comes.
    Keep(Cookie),
}

/// How many COOKIEs one INIT was answered with. Each time that it goes out by the clock one of them may make it go out
/// at once: so COOKIEs cannot keep two peers busy.
#[derive(Default)]
pub(crate) struct CookieTurn {
    tries: u8,
    resent: bool,
    used: bool,
}

impl CookieTurn {
    /// The INIT goes out by the clock.
    pub(crate) fn sent(&mut self) {
        (self.tries, self.resent) = (0, false);
    }

    /// Whether a COOKIE ever counted: then nobody knows which INIT was answered.
    pub(crate) fn used(&self) -> bool {
        self.used
    }

    /// A COOKIE came for the INIT `init`, which was sent to `responder`.
    pub(crate) fn on_cookie(&mut self, responder: &PublicKey, init: &[u8], reply: &packet::Cookie<'_>) -> Reply {
        if self.tries >= MAX_TRIES {
            return Reply::Ignore;
        }
        self.tries += 1;
        let Ok(packet::Packet::Init(init)) = packet::parse(init) else { return Reply::Ignore };
        let Some(cookie) = ReplyKey::new(responder).open(reply, &init.mac1) else { return Reply::Ignore };
        self.used = true;
        if core::mem::replace(&mut self.resent, true) { Reply::Keep(cookie) } else { Reply::Resend(cookie) }
    }
}

/// The cookies that we got, by the address and the key for which they are good.
#[derive(Default)]
pub(crate) struct CookieJar {
    cookies: BTreeMap<(SocketAddr, PublicKey), (Time, Cookie)>,
    by_time: BTreeSet<(Time, SocketAddr, PublicKey)>,
}

impl CookieJar {
    pub(crate) fn put(&mut self, now: Time, to: SocketAddr, responder: PublicKey, cookie: Cookie) {
        if let Some((before, _)) = self.cookies.insert((to, responder), (now, cookie)) {
            self.by_time.remove(&(before, to, responder));
        }
        self.by_time.insert((now, to, responder));
        while let Some(&(at, to, responder)) = self.by_time.first()
            && (at + COOKIE_LIFE <= now || self.cookies.len() > MAX_COOKIES)
        {
            self.by_time.pop_first();
            self.cookies.remove(&(to, responder));
        }
    }

    pub(crate) fn get(&self, now: Time, to: SocketAddr, responder: &PublicKey) -> Option<Cookie> {
        let (at, cookie) = self.cookies.get(&(to, *responder))?;
        (*at + COOKIE_LIFE > now).then_some(*cookie)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.cookies.len()
    }
}
