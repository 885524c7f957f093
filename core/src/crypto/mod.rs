//! The primitives, behind one seam: X25519 (RFC 7748), ChaCha20-Poly1305 (RFC 8439) and its form with a long nonce,
//! BLAKE2s (RFC 7693), HMAC (RFC 2104) and HKDF as Noise has it.
//!
//! Nothing outside this module names a cryptographic library, so that a faster one with the same
//! bytes can take its place. Every secret lies on the heap, is wiped where it lies when it is
//! dropped, and cannot be copied, compared or shown.

mod aead;
mod dh;
mod hash;
mod stack;
#[cfg(test)]
mod tests;

pub use aead::{AeadKey, BadTag, TAG_LEN, xopen, xseal};
pub use dh::{DH_LEN, ZeroDh, dh, public_key};
pub use hash::{HASH_LEN, MAC_LEN, Mac1Key, hash, hkdf2, hkdf3, hmac, mac, mac1, same};
pub(crate) use stack::{HANDSHAKE_STACK, wiped};

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
