//! Packets of an open session: sealed with their number as the nonce, opened at most once.
//!
//! ```text
//!  0  u8 type 0x0B | [3] 0 | u32 receiver index | u64 number     (big-endian)
//! 16  ciphertext | [16] tag        associated data: bytes 0..16
//! ```

use thiserror::Error;

use crate::crypto::{self, AeadKey};
use crate::replay::Window;

/// The first byte of a data packet.
pub const DATA_TYPE: u8 = 0x0B;
/// What comes before the ciphertext, in bytes. All of it is authenticated.
pub const HEADER_LEN: usize = 16;
/// What comes after the ciphertext, in bytes.
pub const TAG_LEN: usize = crypto::TAG_LEN;
/// The first number that is never used: what is below fits a variable-length integer, as acknowledgements need.
pub const NUMBER_LIMIT: u64 = (1 << 62) - (1 << 13);
/// From this number on a key is worn: it is to be renewed, long before its numbers end.
pub const WORN_NUMBER: u64 = 1 << 60;
/// A key that has refused so many forgeries opens nothing any more (RFC 9001 §6.6).
pub const FORGERY_LIMIT: u64 = 1 << 36;

/// The key of one direction and the number of its next packet. There is no way to set the number
/// back, and none to get the key out.
pub struct Sealer {
    key: AeadKey,
    next: u64,
}

/// All numbers of this key are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("all packet numbers of this key are used; renew it with a handshake")]
pub struct Exhausted;

impl Sealer {
    /// The first packet gets the number 0.
    #[must_use]
    pub fn new(key: AeadKey) -> Self {
        Self { key, next: 0 }
    }

    /// The number that the next packet gets.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.next
    }

    /// Whether the key is to be renewed: it has sealed 2^60 packets.
    #[must_use]
    pub fn is_worn(&self) -> bool {
        self.next >= WORN_NUMBER
    }

    /// Whether all numbers are used.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.next >= NUMBER_LIMIT
    }

    #[cfg(test)]
    pub(crate) fn set_number(&mut self, next: u64) {
        assert!(next >= self.next, "a number that was used must not come again");
        self.next = next;
    }

    /// Seals `packet[start..]` in place and returns its number. The first [`HEADER_LEN`] bytes there are
    /// room for the header, the rest is the plaintext; the tag is appended.
    ///
    /// # Errors
    ///
    /// [`Exhausted`]; `packet` is then cut off at `start`, so that no plaintext can go out.
    ///
    /// # Panics
    ///
    /// If there is no room for the header after `start`.
    pub fn seal(&mut self, receiver: u32, packet: &mut Vec<u8>, start: usize) -> Result<u64, Exhausted> {
        let number = self.next;
        if self.is_exhausted() {
            packet.truncate(start);
            return Err(Exhausted);
        }
        let (header, plaintext) =
            packet[start..].split_first_chunk_mut::<HEADER_LEN>().expect("the caller left room for the header");
        *header = encode_header(receiver, number);
        // Counted before it is used: whatever happens to this packet, its number is gone.
        self.next += 1;
        let tag = self.key.seal(number, header, plaintext);
        packet.extend_from_slice(&tag);
        Ok(number)
    }
}

/// Which numbers an [`Opener`] accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Each number once, in any order within a window of 8,192: for datagrams.
    Window,
    /// 0, 1, 2 and so on: for streams, where a gap means that something was cut out.
    Strict,
}

/// The key of the other direction and what was received under it.
pub struct Opener {
    /// Gone when it has seen too many forgeries.
    key: Option<AeadKey>,
    seen: Seen,
    /// Packets that failed authentication.
    forgeries: u64,
}

enum Seen {
    Window(Box<Window>),
    Strict { next: u64 },
}

/// A packet that passed every check.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Opened<'a> {
    /// Its number.
    pub number: u64,
    /// No packet with a higher number came before it.
    pub newest: bool,
    /// The frames.
    pub plaintext: &'a [u8],
}

/// Why a packet was refused. Nothing has changed then, but the count of forgeries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Too short, of another type, or with a reserved byte or a number that is never sent.
    #[error("this is no data packet; drop it")]
    Malformed,
    /// Its number was accepted before, or is older than the window.
    #[error("a packet came twice or too late; drop it")]
    Replayed,
    /// On a stream, its number is not the next one.
    #[error("a packet on a stream is not the next one; close the stream")]
    OutOfOrder,
    /// It is damaged or forged. Its bytes are wiped.
    #[error("a packet failed authentication; drop it")]
    BadTag,
    /// The key has refused 2^36 forgeries and is wiped.
    #[error("this key has seen too many forgeries and is retired; renew it with a handshake")]
    Retired,
}

/// How many data packets of live paths were refused, by [`OpenError`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refused {
    /// [`OpenError::Malformed`].
    pub malformed: u64,
    /// [`OpenError::Replayed`].
    pub replayed: u64,
    /// [`OpenError::OutOfOrder`].
    pub out_of_order: u64,
    /// [`OpenError::BadTag`].
    pub bad_tag: u64,
    /// [`OpenError::Retired`].
    pub retired: u64,
}

impl Refused {
    pub(crate) fn count(&mut self, error: OpenError) {
        let counter = match error {
            OpenError::Malformed => &mut self.malformed,
            OpenError::Replayed => &mut self.replayed,
            OpenError::OutOfOrder => &mut self.out_of_order,
            OpenError::BadTag => &mut self.bad_tag,
            OpenError::Retired => &mut self.retired,
        };
        *counter = counter.saturating_add(1);
    }
}

impl Opener {
    /// Nothing received yet.
    #[must_use]
    pub fn new(key: AeadKey, order: Order) -> Self {
        let seen = match order {
            Order::Window => Seen::Window(Box::new(Window::new())),
            Order::Strict => Seen::Strict { next: 0 },
        };
        Self { key: Some(key), seen, forgeries: 0 }
    }

    /// Whether the key is to be renewed: it has seen half of the forgeries that it may.
    #[must_use]
    pub fn is_worn(&self) -> bool {
        self.forgeries >= FORGERY_LIMIT / 2
    }

    /// Whether the key has seen so many forgeries that it was wiped.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.key.is_none()
    }

    #[cfg(test)]
    pub(crate) fn set_forgeries(&mut self, forgeries: u64) {
        self.forgeries = forgeries;
    }

    /// Opens `packet` in place. Only a packet that passes the tag moves the window.
    ///
    /// The receiver index is authenticated but not compared: the caller found this opener by it.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; after [`OpenError::BadTag`] the bytes after the header are wiped.
    pub fn open<'a>(&mut self, packet: &'a mut [u8]) -> Result<Opened<'a>, OpenError> {
        let (header, rest) = packet.split_first_chunk_mut::<HEADER_LEN>().ok_or(OpenError::Malformed)?;
        let (buf, tag) = rest.split_last_chunk_mut::<TAG_LEN>().ok_or(OpenError::Malformed)?;
        let number = decode_number(header).ok_or(OpenError::Malformed)?;
        self.seen.check(number)?;
        let key = self.key.as_ref().ok_or(OpenError::Retired)?;
        if key.open(number, header, buf, tag).is_err() {
            tag.fill(0);
            self.forgeries = self.forgeries.saturating_add(1);
            if self.forgeries >= FORGERY_LIMIT {
                self.key = None;
            }
            return Err(OpenError::BadTag);
        }
        let newest = self.seen.mark(number);
        Ok(Opened { number, newest, plaintext: buf })
    }
}

impl Seen {
    fn check(&self, number: u64) -> Result<(), OpenError> {
        match self {
            Self::Window(window) if window.is_fresh(number) => Ok(()),
            Self::Window(_) => Err(OpenError::Replayed),
            Self::Strict { next } if number == *next => Ok(()),
            Self::Strict { .. } => Err(OpenError::OutOfOrder),
        }
    }

    fn mark(&mut self, number: u64) -> bool {
        match self {
            Self::Window(window) => {
                let newest = window.is_newest(number);
                window.mark(number);
                newest
            }
            Self::Strict { next } => {
                *next = number + 1;
                true
            }
        }
    }
}

fn encode_header(receiver: u32, number: u64) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[0] = DATA_TYPE;
    header[4..8].copy_from_slice(&receiver.to_be_bytes());
    header[8..].copy_from_slice(&number.to_be_bytes());
    header
}

fn decode_number(header: &[u8; HEADER_LEN]) -> Option<u64> {
    let (start, number) = header.split_last_chunk::<8>()?;
    let number = u64::from_be_bytes(*number);
    (start[..4] == [DATA_TYPE, 0, 0, 0] && number < NUMBER_LIMIT).then_some(number)
}

#[cfg(test)]
mod tests;
