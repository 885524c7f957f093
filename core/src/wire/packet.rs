//! Packets: what goes into one UDP datagram, or behind one length on a stream.
//!
//! The first byte tells them apart, and stays clear of STUN, DTLS, RTP and QUIC (RFC 7983).

use thiserror::Error;

use crate::config::{Class, Transport};

/// Both handshake packets have exactly this length on UDP, so that a finished handshake proves
/// that full-size packets pass. On streams an INIT is never longer.
pub const UDP_HANDSHAKE_LEN: usize = 1200;

/// The longest packet on a stream.
pub const MAX_STREAM_PACKET: usize = 16_384;

/// The version of this layout.
pub const VERSION: u8 = 1;

/// What precedes the ciphertext of a DATA packet, and is its associated data.
pub const DATA_HEADER_LEN: usize = 16;

/// What every encryption adds.
pub const TAG_LEN: usize = 16;

/// What a DATA packet has beyond its frames.
pub const DATA_OVERHEAD: usize = DATA_HEADER_LEN + TAG_LEN;

/// What an INIT has beyond its payload: header, ephemeral key, encrypted static key, tag, macs.
pub const INIT_OVERHEAD: usize = HANDSHAKE_HEADER_LEN + 32 + 48 + TAG_LEN + 2 * MAC_LEN;

/// What a RESP has beyond its payload: header, ephemeral key, tag.
pub const RESP_OVERHEAD: usize = HANDSHAKE_HEADER_LEN + 32 + TAG_LEN;

/// The length of every COOKIE.
pub const COOKIE_LEN: usize = 64;

const HANDSHAKE_HEADER_LEN: usize = 8;
const MAC_LEN: usize = 16;

const INIT: u8 = 0x08;
const RESP: u8 = 0x09;
const COOKIE: u8 = 0x0a;
const DATA: u8 = 0x0b;

/// A packet as anybody can see it, nothing proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// Asks for a path.
    Init(Init<'a>),
    /// Grants one.
    Resp(Resp<'a>),
    /// Asks for proof of the address first.
    Cookie(Cookie<'a>),
    /// Frames, encrypted.
    Data {
        /// The index that the receiver drew.
        receiver: u32,
    },
}

/// The first eight bytes of an INIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InitHeader {
    /// What kind of endpoint asks.
    pub class: Class,
    /// Over which transport.
    pub transport: Transport,
    /// The index that the sender drew for what comes back.
    pub sender: u32,
}

/// An INIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Init<'a> {
    /// The header.
    pub header: InitHeader,
    /// The header's bytes, for [`prologue`].
    pub header_bytes: [u8; 8],
    /// Noise message 1: from the ephemeral key to the end of the encrypted payload.
    pub noise: &'a [u8],
    /// Shows that the sender knows our key.
    pub mac1: [u8; 16],
    /// Shows that the sender got our cookie; zero without one.
    pub mac2: [u8; 16],
    /// What `mac1` is computed over.
    pub before_mac1: &'a [u8],
    /// What `mac2` is computed over.
    pub before_mac2: &'a [u8],
    ephemeral: &'a [u8; 32],
}

impl<'a> Init<'a> {
    /// The ephemeral key, by which a resend of the same bytes is recognised.
    #[must_use]
    pub const fn ephemeral(&self) -> &'a [u8; 32] {
        self.ephemeral
    }
}

/// A RESP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resp<'a> {
    /// The index that the INIT gave.
    pub receiver: u32,
    /// Noise message 2.
    pub noise: &'a [u8],
}

/// A COOKIE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie<'a> {
    /// The index that the INIT gave.
    pub receiver: u32,
    /// The nonce of the encryption.
    pub nonce: &'a [u8; 24],
    /// The cookie, encrypted.
    pub sealed: &'a [u8; 32],
}

/// Why bytes are no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PacketError {
    /// A length that no packet of this type has.
    #[error("a packet of {0} bytes, which none of its type has")]
    Length(usize),
    /// An unknown first byte.
    #[error("a packet of the unknown type {0:#x}")]
    Type(u8),
    /// Another version.
    #[error("a packet of version {0}, we speak version {VERSION}")]
    Version(u8),
    /// A byte that must be zero is not.
    #[error("a packet with a reserved byte that is not zero")]
    Reserved,
    /// An unknown class of endpoint.
    #[error("a packet from an endpoint of the unknown class {0}")]
    Class(u8),
    /// An unknown transport.
    #[error("a packet that names the unknown transport {0}")]
    Transport(u8),
}

/// Reads what can be read without keys.
///
/// An INIT that says UDP has exactly 1,200 bytes; whether it says the truth about its transport,
/// and whether a RESP on UDP has its 1,200 bytes, is for the caller to check, who knows how it came.
///
/// # Errors
/// The bytes are no packet of this version.
pub fn parse(packet: &[u8]) -> Result<Packet<'_>, PacketError> {
    let length = PacketError::Length(packet.len());
    let (head, body) = packet.split_first_chunk::<HANDSHAKE_HEADER_LEN>().ok_or(length)?;
    let [kind, b1, b2, b3, index @ ..] = *head;
    let index = u32::from_be_bytes(index);
    match kind {
        INIT => {
            check_version(b1)?;
            let header = InitHeader { class: class(b2)?, transport: transport(b3)?, sender: index };
            parse_init(packet, header, *head, body)
        }
        RESP => {
            check_version(b1)?;
            check_zero(&[b2, b3])?;
            if !(RESP_OVERHEAD..=UDP_HANDSHAKE_LEN).contains(&packet.len()) {
                return Err(length);
            }
            Ok(Packet::Resp(Resp { receiver: index, noise: body }))
        }
        COOKIE => {
            check_version(b1)?;
            check_zero(&[b2, b3])?;
            let (nonce, sealed) = body.split_first_chunk().ok_or(length)?;
            let sealed = sealed.try_into().map_err(|_| length)?;
            Ok(Packet::Cookie(Cookie { receiver: index, nonce, sealed }))
        }
        DATA => {
            check_zero(&[b1, b2, b3])?;
            if !(DATA_OVERHEAD..=MAX_STREAM_PACKET).contains(&packet.len()) {
                return Err(length);
            }
            Ok(Packet::Data { receiver: index })
        }
        other => Err(PacketError::Type(other)),
    }
}

fn parse_init<'a>(
    packet: &'a [u8],
    header: InitHeader,
    header_bytes: [u8; 8],
    body: &'a [u8],
) -> Result<Packet<'a>, PacketError> {
    let length = PacketError::Length(packet.len());
    let allowed = match header.transport {
        Transport::Udp => packet.len() == UDP_HANDSHAKE_LEN,
        Transport::Tcp | Transport::I2p => (INIT_OVERHEAD..=UDP_HANDSHAKE_LEN).contains(&packet.len()),
    };
    if !allowed {
        return Err(length);
    }
    let (before_mac2, &mac2) = packet.split_last_chunk().ok_or(length)?;
    let (before_mac1, &mac1) = before_mac2.split_last_chunk().ok_or(length)?;
    if header.transport.is_stream() {
        check_zero(&mac2)?;
    }
    let noise = body.get(..body.len().saturating_sub(2 * MAC_LEN)).ok_or(length)?;
    let ephemeral = noise.first_chunk().ok_or(length)?;
    Ok(Packet::Init(Init { header, header_bytes, noise, mac1, mac2, before_mac1, before_mac2, ephemeral }))
}

fn check_version(version: u8) -> Result<(), PacketError> {
    if version == VERSION { Ok(()) } else { Err(PacketError::Version(version)) }
}

fn check_zero(bytes: &[u8]) -> Result<(), PacketError> {
    if bytes.iter().all(|&byte| byte == 0) { Ok(()) } else { Err(PacketError::Reserved) }
}

fn class(byte: u8) -> Result<Class, PacketError> {
    match byte {
        0 => Ok(Class::Open),
        1 => Ok(Class::Anonymous),
        other => Err(PacketError::Class(other)),
    }
}

fn transport(byte: u8) -> Result<Transport, PacketError> {
    match byte {
        0 => Ok(Transport::Udp),
        1 => Ok(Transport::Tcp),
        2 => Ok(Transport::I2p),
        other => Err(PacketError::Transport(other)),
    }
}

impl InitHeader {
    /// The header as it goes over the wire.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 8] {
        let class = match self.class {
            Class::Open => 0,
            Class::Anonymous => 1,
        };
        let transport = match self.transport {
            Transport::Udp => 0,
            Transport::Tcp => 1,
            Transport::I2p => 2,
        };
        let [a, b, c, d] = self.sender.to_be_bytes();
        [INIT, VERSION, class, transport, a, b, c, d]
    }
}

/// The Noise prologue of a handshake: both sides must have seen the same header.
#[must_use]
pub fn prologue(header: &[u8; 8]) -> [u8; 15] {
    let mut prologue = *b"burdock\0\0\0\0\0\0\0\0";
    prologue[7..].copy_from_slice(header);
    prologue
}

/// Appends the header of an INIT. Noise message 1 is appended next, then [`finish_init`] is called
/// with the place that this returns.
pub fn begin_init(header: InitHeader, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&header.to_bytes());
    start
}

/// Appends `mac1`, which is given everything from `start` on, and a zero mac2.
pub fn finish_init(out: &mut Vec<u8>, start: usize, mac1: impl FnOnce(&[u8]) -> [u8; 16]) {
    let mac1 = mac1(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&mac1);
    out.extend_from_slice(&[0; MAC_LEN]);
}

/// Writes `mac2`, which is given everything before it, into a finished INIT.
pub fn set_mac2(init: &mut [u8], mac2: impl FnOnce(&[u8]) -> [u8; 16]) {
    if let Some((before, place)) = init.split_last_chunk_mut() {
        *place = mac2(before);
    }
}

/// Appends the header of a RESP, behind which Noise message 2 belongs. Returns where it starts.
pub fn begin_resp(receiver: u32, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[RESP, VERSION, 0, 0]);
    out.extend_from_slice(&receiver.to_be_bytes());
    start
}

/// Appends a COOKIE.
pub fn put_cookie(cookie: &Cookie<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(&[COOKIE, VERSION, 0, 0]);
    out.extend_from_slice(&cookie.receiver.to_be_bytes());
    out.extend_from_slice(cookie.nonce);
    out.extend_from_slice(cookie.sealed);
}

/// The header of a DATA packet, which is also its associated data.
#[must_use]
pub fn data_header(receiver: u32, number: u64) -> [u8; DATA_HEADER_LEN] {
    let mut header = [0; DATA_HEADER_LEN];
    header[0] = DATA;
    header[4..8].copy_from_slice(&receiver.to_be_bytes());
    header[8..].copy_from_slice(&number.to_be_bytes());
    header
}
