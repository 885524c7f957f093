use blake2::digest::array::{Array, ArraySize};
use blake2::digest::consts::{U16, U32};
use blake2::digest::typenum::{IsLessOrEqual, True};
use blake2::digest::{Digest, FixedOutput, KeyInit, Update};
use blake2::{Blake2s256, Blake2sMac};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::PublicKey;

/// Length of a BLAKE2s-256 hash, in bytes.
pub const HASH_LEN: usize = 32;
/// Length of a keyed BLAKE2s-128, in bytes.
pub const MAC_LEN: usize = 16;

const BLOCK_LEN: usize = 64;

/// BLAKE2s-256 (RFC 7693) over the parts, one after the other.
#[must_use]
pub fn hash(parts: &[&[u8]]) -> [u8; HASH_LEN] {
    let mut state = Blake2s256::new();
    for part in parts {
        Digest::update(&mut state, part);
    }
    state.finalize().into()
}

/// Keyed BLAKE2s-128 (RFC 7693 §2.9) over the parts, one after the other. The key has at most 32 bytes.
///
/// # Panics
///
/// The key is longer.
#[must_use]
pub fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; MAC_LEN] {
    keyed::<U16>(key, parts).into()
}

pub(super) fn keyed<N>(key: &[u8], parts: &[&[u8]]) -> Array<u8, N>
where
    N: ArraySize + IsLessOrEqual<U32, Output = True>,
{
    let mut state = Blake2sMac::<N>::new_from_slice(key).expect("keys have at most 32 bytes");
    for part in parts {
        state.update(part);
    }
    state.finalize_fixed()
}

/// HMAC-BLAKE2s (RFC 2104 over BLAKE2s-256) over the parts, one after the other.
#[must_use]
pub fn hmac(key: &[u8; HASH_LEN], parts: &[&[u8]]) -> Zeroizing<[u8; HASH_LEN]> {
    let pad = |byte: u8| {
        let mut block = Zeroizing::new([byte; BLOCK_LEN]);
        block.iter_mut().zip(key).for_each(|(pad, key)| *pad ^= key);
        block
    };
    let mut inner = Blake2s256::new();
    Digest::update(&mut inner, pad(0x36).as_slice());
    for part in parts {
        Digest::update(&mut inner, part);
    }
    let inner = Zeroizing::new(<[u8; HASH_LEN]>::from(inner.finalize()));
    Zeroizing::new(hash(&[pad(0x5c).as_slice(), inner.as_slice()]))
}

/// HKDF with two outputs (Noise §4.3).
#[must_use]
pub fn hkdf2(chaining: &[u8; HASH_LEN], input: &[u8]) -> [Zeroizing<[u8; HASH_LEN]>; 2] {
    let [first, second, _] = hkdf3(chaining, input);
    [first, second]
}

/// HKDF with three outputs (Noise §4.3).
#[must_use]
pub fn hkdf3(chaining: &[u8; HASH_LEN], input: &[u8]) -> [Zeroizing<[u8; HASH_LEN]>; 3] {
    let key = super::hmac(chaining, &[input]);
    let first = super::hmac(&key, &[&[1]]);
    let second = super::hmac(&key, &[first.as_slice(), &[2]]);
    let third = super::hmac(&key, &[second.as_slice(), &[3]]);
    [first, second, third]
}

/// The mac1 that proves to `responder` that its static key is known: the first check of an INIT, before any DH.
#[must_use]
pub fn mac1(responder: &PublicKey, before: &[u8]) -> [u8; MAC_LEN] {
    Mac1Key::new(responder).mac(before)
}

/// The key of the mac1 of messages to one responder. It follows from a public key, so it is no secret.
pub struct Mac1Key([u8; 32]);

impl Mac1Key {
    /// BLAKE2s-256 of a label and the responder's static key.
    #[must_use]
    pub fn new(responder: &PublicKey) -> Self {
        Self(super::hash(&[b"burdock mac1", responder.as_bytes()]))
    }

    /// The mac1 over all bytes of the message that come before it.
    #[must_use]
    pub fn mac(&self, before: &[u8]) -> [u8; MAC_LEN] {
        super::mac(&self.0, &[before])
    }

    /// Compares in constant time.
    #[must_use]
    pub fn verify(&self, before: &[u8], mac1: &[u8; MAC_LEN]) -> bool {
        same(&self.mac(before), mac1)
    }
}

/// Compares two macs in constant time.
#[must_use]
pub fn same(one: &[u8; MAC_LEN], other: &[u8; MAC_LEN]) -> bool {
    one.ct_eq(other).into()
}
