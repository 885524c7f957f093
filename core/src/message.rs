//! What the application sends and takes.

use bytes::Bytes;
use thiserror::Error;

/// A message as the application takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The channel it came on.
    pub channel: u8,
    /// Its bytes.
    pub data: Bytes,
}

/// Why a message was not accepted for sending. Nothing of it was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SendError {
    /// The session is full; [`Writable`](crate::update::UpdateKind::Writable) says when to go on.
    #[error("the session's send queue is full; wait until it is writable")]
    Full,
    /// Larger than either side allows.
    #[error("the message has {len} bytes, at most {max} are allowed; split it")]
    TooLarge {
        /// The message's length.
        len: usize,
        /// The largest length, here and at the peer.
        max: usize,
    },
    /// The session is closing or closed, or there is none of that name.
    #[error("the session is closed")]
    Closed,
}
