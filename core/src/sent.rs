//! What a packet carried, remembered until it is acknowledged or lost.

use arrayvec::ArrayVec;

use crate::wire::frame::Scope;

/// The most frames of one packet that need to be remembered.
pub(crate) const MAX_SENT_FRAMES: usize = 8;

/// A frame that must be sent again, in a new packet, when its packet is lost. What it says is
/// looked up again then, so that it is never out of date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SentFrame {
    /// CONFIRM.
    Confirm,
    /// CHANNEL_ACK of a channel.
    ChannelAck {
        /// Which channel.
        channel: u8,
    },
    /// CREDIT.
    Credit {
        /// On what.
        scope: Scope,
    },
    /// Bytes of a channel.
    Stream {
        /// Which channel.
        channel: u8,
        /// Where they belong.
        offset: u64,
        /// How many.
        len: u32,
    },
    /// USE_PATH.
    UsePath {
        /// Its number.
        switch_no: u64,
    },
    /// PATH_CLOSE of the path with this epoch (the receiver's index).
    PathClose {
        /// Which epoch.
        epoch: u32,
    },
    /// An ACK, so that what it covered need not be reported again.
    Ack {
        /// The highest number that it covered.
        largest: u64,
    },
    /// CLOSE.
    Close,
}

/// The frames of one packet.
pub(crate) type SentFrames = ArrayVec<SentFrame, MAX_SENT_FRAMES>;
