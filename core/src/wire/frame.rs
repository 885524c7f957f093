//! Frames: what a DATA packet carries.
//!
//! A frame is a varint type and its fields, one after the other: channels are one byte, epochs
//! four, challenges eight, everything else is a varint (RFC 9000 §16). A frame that breaks a rule
//! is fatal to the session, and so is one of unknown type.

use arrayvec::ArrayVec;
use thiserror::Error;

use super::varint::{Reader, Truncated, VARINT_MAX, Varint, varint_len};

/// The most ranges that one ACK carries.
pub const MAX_ACK_RANGES: usize = 32;

/// The most channels that one CLOSE names.
pub const MAX_FINALS: usize = 64;

/// The longest reason that one CLOSE carries, in bytes of UTF-8.
pub const MAX_REASON: usize = 256;

const PAD: u8 = 0x00;
const PING: u8 = 0x01;
const ACK: u8 = 0x02;
const CONFIRM: u8 = 0x03;
const CHANNEL_ACK: u8 = 0x04;
const CREDIT_SESSION: u8 = 0x05;
const CREDIT_CHANNEL: u8 = 0x06;
const STREAM: u8 = 0x08;
const DGRAM: u8 = 0x0a;
const CHALLENGE: u8 = 0x0c;
const RESPONSE: u8 = 0x0d;
const USE_PATH: u8 = 0x0e;
const PATH_CLOSE: u8 = 0x0f;
const CLOSE: u8 = 0x10;
const CLOSE_ACK: u8 = 0x11;

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
#[allow(clippy::large_enum_variant, reason = "a frame lives on the stack: reading one must not allocate")]
pub enum Frame<'a> {
    /// Nothing; fills a packet. A run of them reads as one.
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

/// Why a packet's frames could not be read. The peer that sent them is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The packet ends in the middle of a frame.
    #[error("a packet ends in the middle of a frame")]
    Truncated,
    /// A type that this version does not know.
    #[error("a packet holds a frame of the unknown type {0:#x}")]
    Unknown(u64),
    /// A type in more bytes than it needs (RFC 9000 §12.4).
    #[error("a packet holds a frame whose type is not in its shortest form")]
    LongType,
    /// A field outside its range.
    #[error("a packet holds a frame whose {0} is out of range")]
    OutOfRange(&'static str),
    /// The reason in a CLOSE is not text.
    #[error("a CLOSE frame gives a reason that is not UTF-8")]
    Text,
}

impl From<Truncated> for FrameError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

/// Takes the bytes of a frame, or only counts them.
trait Sink {
    fn put(&mut self, bytes: &[u8]);

    fn varint(&mut self, value: u64) {
        self.put(Varint::new(value).as_bytes());
    }

    fn counted(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.put(bytes);
    }
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

struct Count(usize);

impl Sink for Count {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

/// What a STREAM frame of `len` bytes at `offset` takes beyond those bytes.
#[must_use]
pub const fn stream_overhead(_channel: u8, offset: u64, len: usize) -> usize {
    1 + 1 + varint_len(offset) + varint_len(len as u64)
}

/// Appends a STREAM frame but for its `len` bytes, which the caller appends from where they are.
pub(crate) fn put_stream_header(out: &mut Vec<u8>, channel: u8, offset: u64, len: usize) {
    write_stream_header(out, channel, offset, len);
}

fn write_stream_header(out: &mut impl Sink, channel: u8, offset: u64, len: usize) {
    out.put(&[STREAM, channel]);
    out.varint(offset);
    out.varint(len as u64);
}

impl<'a> Frame<'a> {
    /// How many bytes [`encode`](Self::encode) appends.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let mut count = Count(0);
        self.write(&mut count);
        count.0
    }

    /// Appends the frame.
    ///
    /// An ACK without ranges says nothing and has no bytes. A reason beyond [`MAX_REASON`] is cut
    /// at the last character that fits.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.write(out);
    }

    /// Whether the frame's packet must be acknowledged (RFC 9000 §13.2). PAD, ACK, CLOSE and
    /// CLOSE_ACK ask for nothing.
    #[must_use]
    pub const fn is_ack_eliciting(&self) -> bool {
        !matches!(self, Self::Pad | Self::Ack { .. } | Self::Close { .. } | Self::CloseAck)
    }

    fn write(&self, out: &mut impl Sink) {
        match *self {
            Self::Pad => out.put(&[PAD]),
            Self::Ping => out.put(&[PING]),
            Self::Confirm => out.put(&[CONFIRM]),
            Self::Ack { epoch, delay_us, ref ranges } => write_ack(out, epoch, delay_us, ranges),
            Self::ChannelAck { channel, received, taken } => {
                out.put(&[CHANNEL_ACK, channel]);
                out.varint(received);
                out.varint(taken);
            }
            Self::Credit { scope: Scope::Session, offset } => {
                out.put(&[CREDIT_SESSION]);
                out.varint(offset);
            }
            Self::Credit { scope: Scope::Channel(channel), offset } => {
                out.put(&[CREDIT_CHANNEL, channel]);
                out.varint(offset);
            }
            Self::Stream { channel, offset, data } => {
                write_stream_header(out, channel, offset, data.len());
                out.put(data);
            }
            Self::Datagram { channel, message, total, offset, ttl_ms, data } => {
                out.put(&[DGRAM, channel]);
                for value in [message, total, offset, ttl_ms] {
                    out.varint(value);
                }
                out.counted(data);
            }
            Self::Challenge(bytes) => {
                out.put(&[CHALLENGE]);
                out.put(&bytes);
            }
            Self::Response(bytes) => {
                out.put(&[RESPONSE]);
                out.put(&bytes);
            }
            Self::UsePath { switch_no, epoch } => {
                out.put(&[USE_PATH]);
                out.varint(switch_no);
                out.put(&epoch.to_be_bytes());
            }
            Self::PathClose { epoch, code } => {
                out.put(&[PATH_CLOSE]);
                out.put(&epoch.to_be_bytes());
                out.varint(code.into());
            }
            Self::Close { code, ref finals, reason } => {
                out.put(&[CLOSE]);
                out.varint(code.into());
                out.varint(finals.len() as u64);
                for &(channel, offset) in finals {
                    out.put(&[channel]);
                    out.varint(offset);
                }
                out.counted(clip(reason).as_bytes());
            }
            Self::CloseAck => out.put(&[CLOSE_ACK]),
        }
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, FrameError> {
        Ok(match read_type(reader)? {
            PAD => {
                let run = reader.rest().iter().take_while(|&&byte| byte == PAD).count();
                reader.bytes(run)?;
                Self::Pad
            }
            PING => Self::Ping,
            CONFIRM => Self::Confirm,
            ACK => read_ack(reader)?,
            CHANNEL_ACK => {
                Self::ChannelAck { channel: reader.u8()?, received: reader.varint()?, taken: reader.varint()? }
            }
            CREDIT_SESSION => Self::Credit { scope: Scope::Session, offset: reader.varint()? },
            CREDIT_CHANNEL => Self::Credit { scope: Scope::Channel(reader.u8()?), offset: reader.varint()? },
            STREAM => {
                let (channel, offset, data) = (reader.u8()?, reader.varint()?, reader.counted()?);
                if data.len() as u64 > VARINT_MAX - offset {
                    return Err(FrameError::OutOfRange("STREAM offset"));
                }
                Self::Stream { channel, offset, data }
            }
            DGRAM => {
                let (channel, message, total) = (reader.u8()?, reader.varint()?, reader.varint()?);
                let (offset, ttl_ms, data) = (reader.varint()?, reader.varint()?, reader.counted()?);
                if total.checked_sub(offset).is_none_or(|room| data.len() as u64 > room) {
                    return Err(FrameError::OutOfRange("DGRAM offset"));
                }
                Self::Datagram { channel, message, total, offset, ttl_ms, data }
            }
            CHALLENGE => Self::Challenge(reader.array()?),
            RESPONSE => Self::Response(reader.array()?),
            USE_PATH => Self::UsePath { switch_no: reader.varint()?, epoch: reader.u32()? },
            PATH_CLOSE => Self::PathClose { epoch: reader.u32()?, code: read_code(reader)? },
            CLOSE => read_close(reader)?,
            CLOSE_ACK => Self::CloseAck,
            unknown => return Err(FrameError::Unknown(unknown.into())),
        })
    }
}

/// Every known type fits in one byte: a longer one is either unknown or padded.
fn read_type(reader: &mut Reader<'_>) -> Result<u8, FrameError> {
    let before = reader.len();
    let value = reader.varint()?;
    if before - reader.len() > varint_len(value) {
        return Err(FrameError::LongType);
    }
    u8::try_from(value).map_err(|_| FrameError::Unknown(value))
}

fn read_code(reader: &mut Reader<'_>) -> Result<u16, FrameError> {
    u16::try_from(reader.varint()?).map_err(|_| FrameError::OutOfRange("code"))
}

/// RFC 9000 §19.3.1: lengths and gaps are one and two less than what they stand for.
fn write_ack(out: &mut impl Sink, epoch: u32, delay_us: u64, ranges: &AckRanges) {
    let Some((&(mut low, largest), rest)) = ranges.split_first() else { return };
    out.put(&[ACK]);
    out.put(&epoch.to_be_bytes());
    for value in [delay_us, largest, rest.len() as u64, largest.saturating_sub(low)] {
        out.varint(value);
    }
    for &(next_low, high) in rest {
        out.varint(low.saturating_sub(high).saturating_sub(2));
        out.varint(high.saturating_sub(next_low));
        low = next_low;
    }
}

fn read_ack<'a>(reader: &mut Reader<'a>) -> Result<Frame<'a>, FrameError> {
    const BELOW_ZERO: FrameError = FrameError::OutOfRange("ACK range");
    let (epoch, delay_us, largest, more) = (reader.u32()?, reader.varint()?, reader.varint()?, reader.varint()?);
    if more >= MAX_ACK_RANGES as u64 {
        return Err(FrameError::OutOfRange("number of ACK ranges"));
    }
    let mut low = largest.checked_sub(reader.varint()?).ok_or(BELOW_ZERO)?;
    let mut ranges = AckRanges::new();
    ranges.push((low, largest));
    for _ in 0..more {
        let high = reader.varint()?.checked_add(2).and_then(|gap| low.checked_sub(gap)).ok_or(BELOW_ZERO)?;
        low = high.checked_sub(reader.varint()?).ok_or(BELOW_ZERO)?;
        ranges.push((low, high));
    }
    Ok(Frame::Ack { epoch, delay_us, ranges })
}

fn read_close<'a>(reader: &mut Reader<'a>) -> Result<Frame<'a>, FrameError> {
    let code = read_code(reader)?;
    let count = reader.varint()?;
    if count > MAX_FINALS as u64 {
        return Err(FrameError::OutOfRange("number of final offsets"));
    }
    let mut finals = ArrayVec::new();
    for _ in 0..count {
        finals.push((reader.u8()?, reader.varint()?));
    }
    let reason = reader.counted()?;
    if reason.len() > MAX_REASON {
        return Err(FrameError::OutOfRange("length of the reason"));
    }
    let reason = core::str::from_utf8(reason).map_err(|_| FrameError::Text)?;
    Ok(Frame::Close { code, finals, reason })
}

fn clip(reason: &str) -> &str {
    let end = (0..=reason.len().min(MAX_REASON)).rev().find(|&at| reason.is_char_boundary(at));
    &reason[..end.unwrap_or(0)]
}

/// The frames of a packet's plaintext, in order. Ends with the first error.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    reader: Reader<'a>,
}

impl<'a> Frames<'a> {
    /// Starts at the first frame.
    #[must_use]
    pub const fn new(payload: &'a [u8]) -> Self {
        Self { reader: Reader::new(payload) }
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let frame = Frame::read(&mut self.reader);
        if frame.is_err() {
            self.reader = Reader::new(&[]);
        }
        Some(frame)
    }
}
