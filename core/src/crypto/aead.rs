use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit, Tag, XChaCha20Poly1305};
use thiserror::Error;
use zeroize::Zeroize;

use super::{Secret, wiped};

/// Bytes that sealing adds: the Poly1305 tag.
pub const TAG_LEN: usize = 16;

/// Stack that the cipher needs at most, in bytes: its vector registers are spilled, and not wiped.
const STACK: usize = 4 * 1024;

/// A ChaCha20-Poly1305 key (RFC 8439), with the nonces of Noise: four zero bytes, then the number
/// of the message in little-endian (Noise §12.3).
///
/// A key must never seal twice under one number. It cannot be cloned, so whoever owns it and its
/// counter sees to that.
pub struct AeadKey(Secret);

/// The tag does not fit: the message is damaged or forged, or sealed under another key or number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the message failed authentication; drop it")]
pub struct BadTag;

impl AeadKey {
    /// Takes a copy of the key; the caller wipes the original.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(Secret::copy_of(key))
    }

    /// Encrypts `buf` in place and returns the tag over `ad` and the ciphertext.
    #[must_use]
    pub fn seal(&self, number: u64, ad: &[u8], buf: &mut [u8]) -> [u8; TAG_LEN] {
        super::seal(self.0.expose(), &nonce(number), ad, buf)
    }

    /// Checks the tag, then decrypts `buf` in place.
    ///
    /// # Errors
    ///
    /// [`BadTag`]; `buf` is then all zeros.
    pub fn open(&self, number: u64, ad: &[u8], buf: &mut [u8], tag: &[u8; TAG_LEN]) -> Result<(), BadTag> {
        super::open(self.0.expose(), &nonce(number), ad, buf, tag)
    }
}

fn nonce(number: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&number.to_le_bytes());
    nonce
}

pub(super) fn seal(key: &[u8; 32], nonce: &[u8; 12], ad: &[u8], buf: &mut [u8]) -> [u8; TAG_LEN] {
    // The keyed cipher is the key and nothing more: it costs 32 copied bytes, and wipes them when dropped.
    wiped::<STACK, _>(|| {
        ChaCha20Poly1305::new(key.into())
            .encrypt_inout_detached(nonce.into(), ad, InOutBuf::from(buf))
            .expect("a message is far shorter than 256 GiB")
            .into()
    })
}

pub(super) fn open(
    key: &[u8; 32],
    nonce: &[u8; 12],
    ad: &[u8],
    buf: &mut [u8],
    tag: &[u8; TAG_LEN],
) -> Result<(), BadTag> {
    let opened = wiped::<STACK, _>(|| {
        let tag = Tag::from(*tag);
        ChaCha20Poly1305::new(key.into()).decrypt_inout_detached(nonce.into(), ad, InOutBuf::from(&mut *buf), &tag)
    });
    // This backend leaves the ciphertext alone; one that decrypts while it checks would not.
    opened.map_err(|_| {
        buf.zeroize();
        BadTag
    })
}

/// XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha): a nonce so long that it may be drawn by chance. Returns the tag.
#[must_use]
pub fn xseal(key: &[u8; 32], nonce: &[u8; 24], ad: &[u8], buf: &mut [u8]) -> [u8; TAG_LEN] {
    XChaCha20Poly1305::new(key.into())
        .encrypt_inout_detached(nonce.into(), ad, InOutBuf::from(buf))
        .expect("a message is far shorter than 256 GiB")
        .into()
}

/// Checks the tag of [`xseal`], then decrypts `buf` in place.
///
/// # Errors
///
/// [`BadTag`]; `buf` is then all zeros.
pub fn xopen(key: &[u8; 32], nonce: &[u8; 24], ad: &[u8], buf: &mut [u8], tag: &[u8; TAG_LEN]) -> Result<(), BadTag> {
    let cipher = XChaCha20Poly1305::new(key.into());
    let opened = cipher.decrypt_inout_detached(nonce.into(), ad, InOutBuf::from(&mut *buf), &Tag::from(*tag));
    opened.map_err(|_| {
        buf.zeroize();
        BadTag
    })
}
