//! Addresses in I2P: the public one, which may be shared, and the private one, which is the key to it.

use core::fmt;
use core::str::FromStr;
use std::sync::Arc;

use data_encoding::Specification;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::crypto::{HANDSHAKE_STACK, wiped};
use crate::key::base32;

/// The longest text of a public destination, in bytes. The usual one, with an Ed25519 key, has 524.
const MAX_PUBLIC: usize = 4096;
/// The longest text of a private destination, in bytes: with it a command stays below 8,000, which routers take.
const MAX_PRIVATE: usize = 7168;
/// Where the certificate of a destination begins: type, u16 length, content.
const CERTIFICATE: usize = 384;

/// A public I2P destination: whom a stream is opened to.
///
/// Its text form is either the whole destination in I2P's base64 (which has `-` and `~` for `+` and `/`), or 52
/// base32 characters and `.b32.i2p`, which a router looks up. `Debug` does not show it.
///
/// ```
/// use burdock_core::Destination;
///
/// let name = "UDHDRTRCETJM5SXZSKJYR5ZTPESZYDBH4DPL3PL4UTGQQW2V4JNA.b32.i2p";
/// assert_eq!(name.parse::<Destination>()?.to_string(), name.to_lowercase());
/// assert!("example.i2p".parse::<Destination>().is_err());
/// # Ok::<(), burdock_core::sam::DestinationError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination(Arc<str>);

/// Why a text is not an I2P destination. No message repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DestinationError {
    /// Neither base64 nor a `.b32.i2p` name.
    #[error("an I2P destination is text in I2P's base64, or 52 characters and .b32.i2p; copy it again")]
    Form,
    /// The end is missing.
    #[error("the I2P destination is cut short; copy the whole of it")]
    Short,
    /// More than a public destination.
    #[error("the text is more than a public I2P destination, and may hold a private key; never share that")]
    Excess,
    /// Longer than any destination in use.
    #[error("the text is too long for an I2P destination; copy the destination alone")]
    TooLong,
    /// A public destination in the place of a private one.
    #[error("the I2P destination has no private key with it; give the private one")]
    NotPrivate,
}

impl Destination {
    /// The text form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the whole destination, and not a name to be looked up.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.0.contains('.')
    }

    /// Whether both are known to lead to the same place. Whether a name stands for a whole destination cannot be
    /// told without looking it up, and counts as no.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self == other
    }
}

impl FromStr for Destination {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, DestinationError> {
        if text.len() > MAX_PUBLIC {
            return Err(DestinationError::TooLong);
        }
        let lower = text.to_ascii_lowercase();
        if let Some(hash) = lower.strip_suffix(".b32.i2p") {
            let hash = base32().decode(hash.as_bytes()).map_err(|_| DestinationError::Form)?;
            return if hash.len() == 32 { Ok(Self(lower.into())) } else { Err(DestinationError::Form) };
        }
        let bytes = decode(text)?;
        if bytes.len() > public_len(&bytes)? {
            return Err(DestinationError::Excess);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Destination(..)")
    }
}

impl Serialize for Destination {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Destination {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A destination with its private keys, as a router gives it: who holds it can be reached under its public half.
///
/// It lies in memory once, is wiped when dropped, and cannot be cloned, compared or shown.
pub struct PrivateDestination {
    text: Zeroizing<String>,
    public: Destination,
}

impl PrivateDestination {
    /// Reads the I2P base64 of a public destination and the private keys behind it; space around it does no harm.
    /// The caller wipes its copy.
    ///
    /// # Errors
    /// The text is something else.
    pub fn from_text(text: &str) -> Result<Self, DestinationError> {
        wiped::<HANDSHAKE_STACK, _>(|| {
            let text = text.trim_ascii();
            if text.len() > MAX_PRIVATE {
                return Err(DestinationError::TooLong);
            }
            let bytes = decode(text)?;
            let (public, private) = bytes.split_at(public_len(&bytes)?);
            if private.is_empty() {
                return Err(DestinationError::NotPrivate);
            }
            let public = i2p_base64().encode(public);
            if public.len() > MAX_PUBLIC {
                return Err(DestinationError::TooLong);
            }
            Ok(Self { text: Zeroizing::new(text.to_owned()), public: Destination(public.into()) })
        })
    }

    /// The text, to be stored where only its owner can read it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The half that may be shared.
    #[must_use]
    pub fn public(&self) -> Destination {
        self.public.clone()
    }
}

/// How many of the bytes are the public destination.
fn public_len(bytes: &[u8]) -> Result<usize, DestinationError> {
    let length = bytes.get(CERTIFICATE + 1..).and_then(|rest| rest.first_chunk()).ok_or(DestinationError::Short)?;
    let end = CERTIFICATE + 3 + usize::from(u16::from_be_bytes(*length));
    if bytes.len() < end { Err(DestinationError::Short) } else { Ok(end) }
}

/// Decodes into memory that is wiped, as also what is half decoded may be secret.
fn decode(text: &str) -> Result<Zeroizing<Vec<u8>>, DestinationError> {
    let encoding = i2p_base64();
    let len = encoding.decode_len(text.len()).map_err(|_| DestinationError::Form)?;
    let mut bytes = Zeroizing::new(vec![0; len]);
    let len = encoding.decode_mut(text.as_bytes(), &mut bytes).map_err(|_| DestinationError::Form)?;
    bytes.truncate(len);
    if bytes.is_empty() { Err(DestinationError::Form) } else { Ok(bytes) }
}

pub(super) fn i2p_base64() -> data_encoding::Encoding {
    let mut spec = Specification::new();
    spec.symbols.push_str("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-~");
    spec.padding = Some('=');
    spec.encoding().expect("the alphabet has 64 distinct symbols")
}
