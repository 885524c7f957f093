//! The long-lived secret of an endpoint.

use core::fmt;
use std::sync::Arc;

use zeroize::{Zeroize, Zeroizing};

use crate::PublicKey;
use crate::crypto::{Secret, public_key};

/// An endpoint's static X25519 secret. Who holds it is the peer that its [`PublicKey`] names.
///
/// It lies in memory once and is wiped when the last handshake that needs it is gone. It cannot be
/// cloned, and shows only its public half.
///
/// ```
/// use burdock_core::Identity;
///
/// let identity = Identity::from_bytes([7; 32]);
/// let again = Identity::from_bytes(*identity.to_bytes());
/// assert_eq!(identity.public_key(), again.public_key());
/// ```
pub struct Identity {
    secret: Arc<Secret>,
    public: PublicKey,
}

impl Identity {
    /// `secret`: 32 bytes from the operating system's generator, or those that [`to_bytes`](Self::to_bytes)
    /// gave. The caller wipes its copy.
    #[must_use]
    pub fn from_bytes(mut secret: [u8; 32]) -> Self {
        let this = Self { public: public_key(&secret), secret: Arc::new(Secret::copy_of(&secret)) };
        secret.zeroize();
        this
    }

    /// A copy of the secret, to be stored where only its owner can read it.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(*self.secret.expose())
    }

    /// The key that names this endpoint to its peers.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.public
    }

    pub(crate) fn secret(&self) -> &Arc<Secret> {
        &self.secret
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.public).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_the_public_key_only() {
        let identity = Identity::from_bytes([7; 32]);
        assert_eq!(format!("{identity:?}"), format!("Identity({:?})", identity.public_key()));
    }

    #[test]
    fn bytes_come_back() {
        assert_eq!(*Identity::from_bytes([9; 32]).to_bytes(), [9; 32]);
    }
}
