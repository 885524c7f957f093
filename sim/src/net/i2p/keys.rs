//! The destinations of the hosts, made of the scenario's luck.

use burdock_core::{Destination, PrivateDestination};

use crate::luck::{Luck, Purpose};

/// A certificate for an Ed25519 key (type 7) and an X25519 one (type 4).
const CERTIFICATE: [u8; 7] = [5, 0, 4, 0, 7, 0, 4];
/// The private halves behind it, as i2pd writes them.
const PRIVATE: usize = 256 + 32;

/// The texts of the two forms of one destination.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    pub(crate) public: String,
    pub(crate) private: String,
}

impl Keys {
    pub(crate) fn of(luck: Luck, number: u64) -> Self {
        let mut bytes: Vec<u8> =
            (0..12).flat_map(|part| luck.bytes(Purpose::Destination, number << 8 | part)).collect();
        bytes.extend_from_slice(&CERTIFICATE);
        let public = base64(&bytes);
        bytes.extend((12..).flat_map(|part| luck.bytes(Purpose::Destination, number << 8 | part)).take(PRIVATE));
        Self { public, private: base64(&bytes) }
    }

    pub(crate) fn destination(&self) -> Destination {
        self.public.parse().expect("it is made as routers make them")
    }

    pub(crate) fn private_destination(&self) -> PrivateDestination {
        PrivateDestination::from_text(&self.private).expect("it is made as routers make them")
    }

    /// Whether a text has some of the private half in it.
    pub(crate) fn are_shown_in(&self, text: &str) -> bool {
        let behind = &self.private[self.public.len()..];
        behind.as_bytes().chunks(48).any(|piece| text.as_bytes().windows(piece.len()).any(|window| window == piece))
    }
}

/// I2P's, which has `-` and `~` for `+` and `/`.
fn base64(bytes: &[u8]) -> String {
    const SYMBOLS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-~";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut three = [0; 3];
        three[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for place in 0..4 {
            let symbol = SYMBOLS[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= chunk.len() { char::from(symbol) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_as_long_as_those_of_routers_and_as_valid() {
        let keys = Keys::of(Luck::of(1), 0);
        assert_eq!((keys.public.len(), keys.private.len()), (524, 908));
        assert!(keys.destination().is_whole());
        assert!(keys.private_destination().public() == keys.destination());
        assert_ne!(keys.public, Keys::of(Luck::of(1), 1).public);
        assert_ne!(keys.public, Keys::of(Luck::of(2), 0).public);
    }

    #[test]
    fn t8_a_private_half_is_found_in_a_text() {
        // Mutation: `behind` of the public text makes this fail.
        let keys = Keys::of(Luck::of(1), 0);
        assert!(keys.are_shown_in(&format!("it is {}!", &keys.private)));
        assert!(keys.are_shown_in(&format!("it is {}!", &keys.private[600..720])));
        assert!(!keys.are_shown_in(&format!("it is {}!", &keys.public)));
    }
}
