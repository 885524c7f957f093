//! Frames: what a DATA packet carries.

use arrayvec::ArrayVec;

/// The most ranges that one ACK carries.
pub const MAX_ACK_RANGES: usize = 32;

/// The most channels that one CLOSE names.
pub const MAX_FINALS: usize = 64;

/// Acknowledged packet numbers: inclusive `(low, high)` pairs, highest first, never touching.
pub type AckRanges = ArrayVec<(u64, u64), MAX_ACK_RANGES>;

/// What a credit is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// All channels together.
    Session,
    /// One channel.
    Channel(u8),
}

/// One frame. An *epoch* in a frame is the receiver index that the frame's receiver drew for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Nothing; fills a packet.
    Pad,
    /// Asks for an acknowledgement.
    Ping,
    /// The initiator's first word under new keys.
    Confirm,
    /// Packets received in an epoch.
    Ack {
        /// Which epoch.
        epoch: u32,
        /// How long the highest of them waited for this acknowledgement, in microseconds.
        delay_us: u64,
        /// Which packets.
        ranges: AckRanges,
    },
    /// How far a channel has come at the receiver.
    ChannelAck {
        /// Which channel.
        channel: u8,
        /// Everything below this offset has arrived.
        received: u64,
        /// Everything below this offset was taken by the application.
        taken: u64,
    },
    /// How far the sender may go.
    Credit {
        /// On what.
        scope: Scope,
        /// The offset (for the session: the sum of offsets) that must not be exceeded.
        offset: u64,
    },
    /// Bytes of a reliable channel.
    Stream {
        /// Which channel.
        channel: u8,
        /// Where they belong.
        offset: u64,
        /// The bytes.
        data: &'a [u8],
    },
    /// A piece of an unreliable message.
    Datagram {
        /// Which channel.
        channel: u8,
        /// Which message on it.
        message: u64,
        /// The message's length.
        total: u64,
        /// Where the piece belongs.
        offset: u64,
        /// How long the message is of use, from when this was sent.
        ttl_ms: u64,
        /// The bytes.
        data: &'a [u8],
    },
    /// Asks for these bytes back, to prove an address.
    Challenge([u8; 8]),
    /// The bytes of a challenge.
    Response([u8; 8]),
    /// Which path to send on from now on.
    UsePath {
        /// The higher, the newer.
        switch_no: u64,
        /// The epoch whose path it is.
        epoch: u32,
    },
    /// A path is not used any more.
    PathClose {
        /// The epoch whose path it is.
        epoch: u32,
        /// Why.
        code: u16,
    },
    /// The session ends.
    Close {
        /// Why.
        code: u16,
        /// The final offsets of the channels whose end was not acknowledged.
        finals: ArrayVec<(u8, u64), MAX_FINALS>,
        /// What the closing side says to a person.
        reason: &'a str,
    },
    /// The CLOSE arrived.
    CloseAck,
}
