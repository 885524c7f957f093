//! What stands for the primitives in fuzz builds, which `cargo fuzz` marks with `cfg(fuzzing)`: no other build has it.
//!
//! It keeps nothing secret and costs next to nothing, so that fuzzing spends its time in the state machine. What the
//! state machine rests on still holds: both sides of a DH get the same secret, and a packet opens only under the key,
//! number and associated data under which it was sealed, when no bit of it was changed.

use zeroize::Zeroizing;

use super::{BadTag, DH_LEN, HASH_LEN, MAC_LEN, TAG_LEN, ZeroDh};
use crate::PublicKey;

/// FNV-1a over 64 bits. Where one part ends and the next begins makes no difference.
struct Checksum(u64);

impl Checksum {
    fn of(parts: &[&[u8]]) -> Self {
        let mut sum = 0xcbf2_9ce4_8422_2325_u64;
        for byte in parts.iter().copied().flatten() {
            sum = (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Self(sum)
    }

    /// The sum drawn out to any length, by SplitMix64.
    fn fill<const N: usize>(mut self) -> [u8; N] {
        let mut out = [0; N];
        for chunk in out.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = self.0;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(word ^ (word >> 31)).to_be_bytes());
        }
        out
    }
}

pub(crate) fn wiped<const N: usize, R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// A checksum of the secret.
#[must_use]
pub fn public_key(secret: &[u8; DH_LEN]) -> PublicKey {
    PublicKey::from(Checksum::of(&[b"public", secret]).fill())
}

/// A checksum that both sides agree on.
///
/// # Errors
///
/// [`ZeroDh`] if the public key is zero.
pub fn dh(secret: &[u8; DH_LEN], public: &PublicKey) -> Result<Zeroizing<[u8; DH_LEN]>, ZeroDh> {
    if *public.as_bytes() == [0; DH_LEN] {
        return Err(ZeroDh);
    }
    let mut both = *public_key(secret).as_bytes();
    both.iter_mut().zip(public.as_bytes()).for_each(|(ours, theirs)| *ours ^= theirs);
    Ok(Zeroizing::new(Checksum::of(&[b"shared", &both]).fill()))
}

pub(super) fn seal(key: &[u8; 32], nonce: &[u8; 12], ad: &[u8], buf: &mut [u8]) -> [u8; TAG_LEN] {
    tag(key, nonce, ad, buf)
}

pub(super) fn open(
    key: &[u8; 32],
    nonce: &[u8; 12],
    ad: &[u8],
    buf: &mut [u8],
    expected: &[u8; TAG_LEN],
) -> Result<(), BadTag> {
    check(tag(key, nonce, ad, buf) == *expected, buf)
}

/// Changes nothing, and returns a checksum.
#[must_use]
pub fn xseal(key: &[u8; 32], nonce: &[u8; 24], ad: &[u8], buf: &mut [u8]) -> [u8; TAG_LEN] {
    tag(key, nonce, ad, buf)
}

/// Checks the checksum of [`xseal`].
///
/// # Errors
///
/// [`BadTag`]; `buf` is then all zeros.
pub fn xopen(
    key: &[u8; 32],
    nonce: &[u8; 24],
    ad: &[u8],
    buf: &mut [u8],
    expected: &[u8; TAG_LEN],
) -> Result<(), BadTag> {
    check(tag(key, nonce, ad, buf) == *expected, buf)
}

fn tag(key: &[u8; 32], nonce: &[u8], ad: &[u8], buf: &[u8]) -> [u8; TAG_LEN] {
    Checksum::of(&[key, nonce, &ad.len().to_be_bytes(), ad, buf]).fill()
}

fn check(fits: bool, buf: &mut [u8]) -> Result<(), BadTag> {
    if fits {
        return Ok(());
    }
    buf.fill(0);
    Err(BadTag)
}

/// A checksum of the parts, one after the other.
#[must_use]
pub fn hash(parts: &[&[u8]]) -> [u8; HASH_LEN] {
    Checksum::of(parts).fill()
}

/// A checksum of the key and the parts.
#[must_use]
pub fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; MAC_LEN] {
    keyed(key, parts)
}

/// A checksum of the key and the parts.
#[must_use]
pub fn hmac(key: &[u8; HASH_LEN], parts: &[&[u8]]) -> Zeroizing<[u8; HASH_LEN]> {
    Zeroizing::new(keyed(key, parts))
}

fn keyed<const N: usize>(key: &[u8], parts: &[&[u8]]) -> [u8; N] {
    Checksum::of(&[key, &Checksum::of(parts).fill::<8>()]).fill()
}
