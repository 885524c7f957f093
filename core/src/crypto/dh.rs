use thiserror::Error;
use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

use super::{HANDSHAKE_STACK, wiped};
use crate::PublicKey;

/// Length of an X25519 key and of a shared secret, in bytes.
pub const DH_LEN: usize = 32;

/// The shared secret is zero: the peer's key is a point of low order, and anyone could know the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the key is a point of low order, which makes no secret; drop the message or the link that holds it")]
pub struct ZeroDh;

/// The public key of a secret.
#[must_use]
pub fn public_key(secret: &[u8; DH_LEN]) -> PublicKey {
    wiped::<HANDSHAKE_STACK, _>(|| {
        let secret = StaticSecret::from(*secret);
        PublicKey::from(x25519_dalek::PublicKey::from(&secret).to_bytes())
    })
}

/// X25519 (RFC 7748 §6.1), which clamps the secret and ignores the top bit of the public key.
///
/// # Errors
///
/// [`ZeroDh`] if the result is all zeros, found in constant time.
pub fn dh(secret: &[u8; DH_LEN], public: &PublicKey) -> Result<Zeroizing<[u8; DH_LEN]>, ZeroDh> {
    let public = x25519_dalek::PublicKey::from(*public.as_bytes());
    let shared = StaticSecret::from(*secret).diffie_hellman(&public);
    if !shared.was_contributory() {
        return Err(ZeroDh);
    }
    Ok(Zeroizing::new(*shared.as_bytes()))
}
