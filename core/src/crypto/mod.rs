//! The primitives, behind one seam: X25519 (RFC 7748), ChaCha20-Poly1305 (RFC 8439) and its form with a long nonce,
//! BLAKE2s (RFC 7693), HMAC (RFC 2104) and HKDF as Noise has it.
//!
//! Nothing outside this module names a cryptographic library, so that a faster one with the same
//! bytes can take its place. Every secret lies on the heap, is wiped where it lies when it is
//! dropped, and cannot be copied, compared or shown.

// In aead and hash, `super::` is where a fuzz build has its own.
#[allow(unused_qualifications)]
#[cfg_attr(fuzzing, allow(dead_code, unreachable_pub))]
mod aead;
#[cfg_attr(fuzzing, allow(dead_code, unreachable_pub))]
mod dh;
#[allow(unused_qualifications)]
#[cfg_attr(fuzzing, allow(dead_code, unreachable_pub))]
mod hash;
#[cfg_attr(fuzzing, allow(dead_code, unreachable_pub))]
mod stack;
#[cfg(fuzzing)]
mod stub;
#[cfg(test)]
mod tests;

pub use aead::{AeadKey, BadTag, TAG_LEN};
pub use dh::{DH_LEN, ZeroDh};
pub use hash::{HASH_LEN, MAC_LEN, Mac1Key, hkdf2, hkdf3, mac1, same};
pub(crate) use stack::HANDSHAKE_STACK;

// Calls inside this module come through here as well: a fuzz build replaces all of them or none.
#[cfg(not(fuzzing))]
use aead::{open, seal};
#[cfg(not(fuzzing))]
pub use aead::{xopen, xseal};
#[cfg(not(fuzzing))]
pub use dh::{dh, public_key};
#[cfg(not(fuzzing))]
pub use hash::{hash, hmac, mac};
#[cfg(not(fuzzing))]
pub(crate) use stack::wiped;

#[cfg(fuzzing)]
pub(crate) use stub::wiped;
#[cfg(fuzzing)]
pub use stub::{dh, hash, hmac, mac, public_key, xopen, xseal};
#[cfg(fuzzing)]
use stub::{open, seal};

use zeroize::Zeroizing;

/// 32 secret bytes. They stay in one place on the heap, so that moving the value leaves no copy behind.
pub(crate) struct Secret(Box<Zeroizing<[u8; 32]>>);

impl Secret {
    /// Takes a copy; the original is its owner's to wipe.
    pub(crate) fn copy_of(bytes: &[u8; 32]) -> Self {
        let mut secret = Box::new(Zeroizing::new([0; 32]));
        secret.copy_from_slice(bytes);
        Self(secret)
    }

    pub(crate) fn replace(&mut self, bytes: &[u8; 32]) {
        self.0.copy_from_slice(bytes);
    }

    pub(crate) fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}
