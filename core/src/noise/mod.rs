//! `Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s`, exactly as the Noise Protocol Framework (revision 34) has it.
//!
//! ```text
//! IKpsk2:
//!   <- s
//!   ...
//!   -> e, es, s, ss
//!   <- e, ee, se, psk
//! ```
//!
//! One pattern in two roles, [`Initiator`] and [`Responder`], and no other way through it: the types
//! allow each step once. What a general Noise library leaves to its user is done here: a shared
//! secret of zero is refused (RFC 7748 §6.1), and every secret is wiped.

mod handshake;
#[cfg(test)]
mod patterns;
mod symmetric;
#[cfg(test)]
mod tests;

pub use handshake::{Initiator, Keys, NoiseError, Responder};

/// The name that opens the transcript of every handshake.
pub const PROTOCOL: &str = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
/// No Noise message is longer, in bytes (Noise §3).
pub const MAX_MESSAGE_LEN: usize = 65_535;
/// What message 1 adds to its payload, in bytes: an ephemeral key, a sealed static key, a tag.
pub const INITIATION_OVERHEAD: usize = 32 + 48 + 16;
/// What message 2 adds to its payload, in bytes: an ephemeral key and a tag.
pub const RESPONSE_OVERHEAD: usize = 32 + 16;
