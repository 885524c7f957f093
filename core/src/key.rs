//! The public key that names a peer.

use core::fmt;
use core::str::FromStr;

use data_encoding::Specification;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A peer's static X25519 public key: the name by which it is dialled and recognised.
///
/// Its text form is 52 characters of lower-case RFC 4648 base32 without padding; reading is
/// indifferent to case.
///
/// ```
/// use burdock_core::PublicKey;
///
/// let key = PublicKey::from([7; 32]);
/// assert_eq!(key.to_string().len(), 52);
/// assert_eq!(key.to_string().to_uppercase().parse::<PublicKey>()?, key);
/// # Ok::<(), burdock_core::KeyError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

/// Why a text is not a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not 52 characters long.
    #[error("a key has 52 characters, this one has {0}; copy the whole key")]
    Length(usize),
    /// A character that base32 does not have, or stray bits in the last one.
    #[error("a key is made of the letters a to z and the digits 2 to 7; copy it again")]
    Alphabet,
}

impl PublicKey {
    /// The 32 bytes as they go into the handshake.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for PublicKey {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

pub(crate) fn base32() -> data_encoding::Encoding {
    let mut spec = Specification::new();
    spec.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    spec.translate.from.push_str("ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    spec.translate.to.push_str("abcdefghijklmnopqrstuvwxyz");
    spec.encoding().expect("the alphabet has 32 distinct symbols")
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32().encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.to_string();
        write!(f, "PublicKey({}..)", &text[..8])
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        if text.len() != 52 {
            return Err(KeyError::Length(text.chars().count()));
        }
        let bytes = base32().decode(text.as_bytes()).map_err(|_| KeyError::Alphabet)?;
        bytes.try_into().map(Self).map_err(|_| KeyError::Alphabet)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
