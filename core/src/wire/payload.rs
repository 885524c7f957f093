//! What the two handshake messages carry, encrypted.
//!
//! After the fixed fields comes a list of (u16 type, u16 length, value). A reader passes over odd
//! types that it does not know, and refuses even ones: they change the meaning of the rest. Zeros
//! to the end bring a packet on UDP to its 1,200 bytes.

use arrayvec::ArrayVec;
use thiserror::Error;

use super::packet::{INIT_OVERHEAD, RESP_OVERHEAD, UDP_HANDSHAKE_LEN};
use super::varint::{Reader, Truncated};

/// The payload length that makes an INIT exactly 1,200 bytes long.
pub const INIT_PAYLOAD_LEN: usize = UDP_HANDSHAKE_LEN - INIT_OVERHEAD;

/// The payload length that makes a RESP exactly 1,200 bytes long.
pub const RESP_PAYLOAD_LEN: usize = UDP_HANDSHAKE_LEN - RESP_OVERHEAD;

/// The most versions that a peer names.
pub const MAX_VERSIONS: usize = 8;

const KEEP: u16 = 0x0001;

/// What a peer takes. Each side keeps to the other's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerLimits {
    /// Bits of what it can do beyond this version; none are given out yet.
    pub features: u32,
    /// The largest message, in bytes.
    pub max_message: u32,
    /// The first credit of all channels together, in bytes.
    pub session_credit: u32,
    /// The first credit of each channel, in bytes.
    pub channel_credit: u32,
    /// The largest packet, in bytes; at least [`UDP_HANDSHAKE_LEN`].
    pub max_packet: u16,
    /// The versions that it speaks.
    pub versions: ArrayVec<u8, MAX_VERSIONS>,
}

/// Payload 1: what the dialler says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelloInit {
    /// The dialler's half of the session's name; never 0.
    pub my_half: u64,
    /// The other half, 0 when the dialler has no session with this peer.
    pub your_half: u64,
    /// Rises with each dial of a session, so that a late confirmation of an older one is known.
    pub dial_no: u32,
    /// The index that the answering side drew for the path whose keys this handshake renews; 0 for a new path.
    pub renews: u32,
    /// The invite that was mixed into the handshake, zero for none.
    pub invite: [u8; 8],
    /// What the dialler takes.
    pub limits: PeerLimits,
    /// For how many seconds after a loss the dialler will go on dialling.
    pub keep_s: Option<u32>,
}

/// What became of the session that a dialler named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Both halves matched: it goes on.
    Resumed,
    /// The first session of these two.
    New,
    /// The halves do not match: one side has forgotten it, and another one begins.
    Restarted,
    /// It was closed, with this code.
    Closed(u16),
}

/// Payload 2: what the peer answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelloResp {
    /// The index that the answering side drew for what it receives.
    pub index: u32,
    /// The index that the INIT gave, once more, under encryption.
    pub receiver: u32,
    /// The answering side's half of the session's name; never 0.
    pub my_half: u64,
    /// The dialler's half.
    pub your_half: u64,
    /// The INIT's number, once more.
    pub dial_no: u32,
    /// What became of the session.
    pub verdict: Verdict,
    /// The version that both will speak.
    pub version: u8,
    /// What the answering side takes.
    pub limits: PeerLimits,
}

/// Why a handshake payload could not be read. The peer that sent it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// It ends in the middle of a field.
    #[error("a handshake payload ends in the middle of a field")]
    Truncated,
    /// A field outside its range.
    #[error("a handshake payload has a {0} out of range")]
    OutOfRange(&'static str),
    /// An extension that must be understood and is not.
    #[error("a handshake payload asks for the unknown extension {0}; update the older side")]
    Extension(u16),
    /// The padding is not zero.
    #[error("a handshake payload has something behind its end")]
    Padding,
}

impl From<Truncated> for PayloadError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

impl PeerLimits {
    fn encode(&self, out: &mut Vec<u8>) {
        for value in [self.features, self.max_message, self.session_credit, self.channel_credit] {
            out.extend_from_slice(&value.to_be_bytes());
        }
        out.extend_from_slice(&self.max_packet.to_be_bytes());
        out.push(self.versions.len() as u8);
        out.extend_from_slice(&self.versions);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, PayloadError> {
        let (features, max_message) = (reader.u32()?, reader.u32()?);
        let (session_credit, channel_credit, max_packet) = (reader.u32()?, reader.u32()?, reader.u16()?);
        if usize::from(max_packet) < UDP_HANDSHAKE_LEN {
            return Err(PayloadError::OutOfRange("largest packet"));
        }
        let count = reader.u8()?;
        let versions = reader.bytes(count.into())?;
        let versions = ArrayVec::try_from(versions).map_err(|_| PayloadError::OutOfRange("number of versions"))?;
        Ok(Self { features, max_message, session_credit, channel_credit, max_packet, versions })
    }
}

impl HelloInit {
    /// Appends the payload, with zeros up to `padded_len` bytes: [`INIT_PAYLOAD_LEN`] on UDP, 0 on
    /// streams.
    pub fn encode(&self, padded_len: usize, out: &mut Vec<u8>) {
        let end = out.len().saturating_add(padded_len);
        for half in [self.my_half, self.your_half] {
            out.extend_from_slice(&half.to_be_bytes());
        }
        for number in [self.dial_no, self.renews] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&self.invite);
        self.limits.encode(out);
        if let Some(keep_s) = self.keep_s {
            out.extend_from_slice(&KEEP.to_be_bytes());
            out.extend_from_slice(&4_u16.to_be_bytes());
            out.extend_from_slice(&keep_s.to_be_bytes());
        }
        out.resize(out.len().max(end), 0);
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// It breaks a rule of the format, or asks for what we do not know.
    pub fn decode(payload: &[u8]) -> Result<Self, PayloadError> {
        let reader = &mut Reader::new(payload);
        let hello = Self {
            my_half: read_half(reader)?,
            your_half: reader.u64()?,
            dial_no: reader.u32()?,
            renews: reader.u32()?,
            invite: reader.array()?,
            limits: PeerLimits::decode(reader)?,
            keep_s: None,
        };
        let mut keep_s = None;
        read_extensions(reader, |kind, value| {
            if kind != KEEP {
                return Ok(false);
            }
            let value = value.try_into().map_err(|_| PayloadError::OutOfRange("keep time"))?;
            match keep_s.replace(u32::from_be_bytes(value)) {
                None => Ok(true),
                Some(_) => Err(PayloadError::OutOfRange("keep time")),
            }
        })?;
        Ok(Self { keep_s, ..hello })
    }
}

impl HelloResp {
    /// Appends the payload, with zeros up to `padded_len` bytes: [`RESP_PAYLOAD_LEN`] on UDP, 0 on
    /// streams.
    pub fn encode(&self, padded_len: usize, out: &mut Vec<u8>) {
        let end = out.len().saturating_add(padded_len);
        for index in [self.index, self.receiver] {
            out.extend_from_slice(&index.to_be_bytes());
        }
        for half in [self.my_half, self.your_half] {
            out.extend_from_slice(&half.to_be_bytes());
        }
        out.extend_from_slice(&self.dial_no.to_be_bytes());
        match self.verdict {
            Verdict::Resumed => out.push(0),
            Verdict::New => out.push(1),
            Verdict::Restarted => out.push(2),
            Verdict::Closed(code) => {
                out.push(3);
                out.extend_from_slice(&code.to_be_bytes());
            }
        }
        out.push(self.version);
        self.limits.encode(out);
        out.resize(out.len().max(end), 0);
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// It breaks a rule of the format, or asks for what we do not know.
    pub fn decode(payload: &[u8]) -> Result<Self, PayloadError> {
        let reader = &mut Reader::new(payload);
        let hello = Self {
            index: reader.u32()?,
            receiver: reader.u32()?,
            my_half: read_half(reader)?,
            your_half: reader.u64()?,
            dial_no: reader.u32()?,
            verdict: match reader.u8()? {
                0 => Verdict::Resumed,
                1 => Verdict::New,
                2 => Verdict::Restarted,
                3 => Verdict::Closed(reader.u16()?),
                _ => return Err(PayloadError::OutOfRange("verdict")),
            },
            version: reader.u8()?,
            limits: PeerLimits::decode(reader)?,
        };
        read_extensions(reader, |_, _| Ok(false))?;
        Ok(hello)
    }
}

fn read_half(reader: &mut Reader<'_>) -> Result<u64, PayloadError> {
    match reader.u64()? {
        0 => Err(PayloadError::OutOfRange("session half")),
        half => Ok(half),
    }
}

/// Reads to the end. `known` says whether it took the value of that type.
fn read_extensions(
    reader: &mut Reader<'_>,
    mut known: impl FnMut(u16, &[u8]) -> Result<bool, PayloadError>,
) -> Result<(), PayloadError> {
    while reader.rest().iter().take(2).any(|&byte| byte != 0) {
        let (kind, len) = (reader.u16()?, reader.u16()?);
        let value = reader.bytes(len.into())?;
        if !known(kind, value)? && kind % 2 == 0 {
            return Err(PayloadError::Extension(kind));
        }
    }
    if reader.rest().iter().all(|&byte| byte == 0) { Ok(()) } else { Err(PayloadError::Padding) }
}
