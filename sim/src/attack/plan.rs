//! What attackers and NATs are to do, as a scenario says it.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::span;

/// Somebody on the way who sees every datagram that is sent there, and keeps the last 48 and the
/// first 16 handshake packets of the run. Chances are per datagram, in thousandths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OnPath {
    /// To send one of those that were kept once more, from where it came to where it went.
    pub replay: u32,
    /// How much later at most; half of them come within 50 ms.
    #[serde(with = "span")]
    pub replay_within: Duration,
    /// To hold it back.
    pub delay: u32,
    /// For how long at most.
    #[serde(with = "span")]
    pub delay_by: Duration,
    /// To let a changed copy arrive, instead of it or besides: bits flipped, cut off, lengthened,
    /// fields of the header replaced or taken from another one, with a valid mac1 or without.
    pub mutate: u32,
    /// To send a copy back to where it came from, or to a third host.
    pub reflect: u32,
    /// To send a copy on from another port or address: before it, after it, or instead of it.
    pub elsewhere: u32,
    /// Bytes that it sends at most.
    pub budget: u64,
}

/// Somebody on the way of TCP segments, who mends their checksums. Chances are per segment, in
/// thousandths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OnStream {
    /// To change bytes.
    pub flip: u32,
    /// To add bytes of its own behind.
    pub insert: u32,
    /// To reset the connection, at one end or at both.
    pub reset: u32,
}

/// Somebody who sees nothing, knows every public key and no other, and sends to one host from
/// whatever address it likes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OffPath {
    /// The index of the host.
    pub target: usize,
    /// Datagrams a second.
    pub per_second: u32,
    /// What it sends, each as often as it is listed.
    pub forgeries: Vec<Forgery>,
    /// How many addresses it makes up; at most 65,536.
    pub sources: u32,
    /// How often it takes the address of a host instead, in thousandths.
    pub as_hosts: u32,
    /// How many first messages with a valid mac1 it sends at most, and how many with a cookie or for one: these cost
    /// the host work.
    pub costly: u32,
    /// How many identities it has.
    pub identities: u32,
}

/// What an [`OffPath`] attacker sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forgery {
    /// Up to 1,400 bytes of nothing, at times with the first byte of a packet.
    Garbage,
    /// A data packet with an index that is made up or, by chance, in use.
    Data,
    /// A first message with a wrong mac1.
    WrongMac,
    /// A first message with a valid mac1 and nothing behind it.
    Forged,
    /// A first message of an identity of its own, whole and valid.
    Stranger,
    /// An answer to a handshake that is made up or, by chance, under way.
    Answer,
    /// A cookie for one.
    Cookie,
    /// A first message of an identity of its own, whole and valid, with the cookie that it got at another address,
    /// which is truly its own; without one it asks for one from there.
    CookieElsewhere,
}

/// A NAT before a host gives it another address and forgets the one before (RFC 4787): what is
/// sent there vanishes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rebinding {
    /// Another IP address, not another port alone.
    pub address: bool,
    /// It forgets TCP connections, too.
    pub connections: bool,
}
