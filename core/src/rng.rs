//! All randomness of an endpoint, from one seed.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use zeroize::Zeroizing;

use crate::crypto::{HANDSHAKE_STACK, Secret, hash, hkdf2, wiped};

/// One generator for each purpose, so that what the wire shows tells nothing about the keys, and a
/// draw for one purpose does not change what another gets.
///
/// Identifiers, jitter and nonces are ChaCha20 streams. Keys come from a generator of their own that is
/// wiped and replaced with every draw, which `rand_chacha` does not do: who reads the memory of an
/// endpoint learns no key that was drawn before.
pub(crate) struct Randomness {
    keys: KeyChain,
    identifiers: ChaCha20Rng,
    jitter: ChaCha20Rng,
    nonces: ChaCha20Rng,
}

impl Randomness {
    /// `seed`: 32 bytes from the operating system, for this endpoint only. The caller wipes them.
    pub(crate) fn new(seed: &[u8; 32]) -> Self {
        wiped::<HANDSHAKE_STACK, _>(|| Self::split(seed))
    }

    fn split(seed: &[u8; 32]) -> Self {
        // Each purpose has a seed of its own, from which the others cannot be found.
        let split = |purpose: &[u8]| Zeroizing::new(hash(&[b"burdock seed", purpose, seed]));
        Self {
            keys: KeyChain(Secret::copy_of(&split(b"keys"))),
            identifiers: ChaCha20Rng::from_seed(*split(b"identifiers")),
            jitter: ChaCha20Rng::from_seed(*split(b"jitter")),
            nonces: ChaCha20Rng::from_seed(*split(b"nonces")),
        }
    }

    /// An ephemeral key or another secret.
    pub(crate) fn secret(&mut self) -> Zeroizing<[u8; 32]> {
        self.keys.draw()
    }

    /// A receiver index; never 0.
    pub(crate) fn index(&mut self) -> u32 {
        loop {
            let index = self.identifiers.next_u32();
            if index != 0 {
                return index;
            }
        }
    }

    /// A half of a session's name; never 0, which stands for none.
    pub(crate) fn half(&mut self) -> u64 {
        loop {
            let half = self.identifiers.next_u64();
            if half != 0 {
                return half;
            }
        }
    }

    /// A nonce for a cipher whose nonces are drawn by chance.
    pub(crate) fn nonce(&mut self) -> [u8; 24] {
        let mut nonce = [0; 24];
        self.nonces.fill_bytes(&mut nonce);
        nonce
    }

    /// What an address must bring back; nobody else can know it.
    pub(crate) fn challenge(&mut self) -> [u8; 8] {
        self.identifiers.next_u64().to_be_bytes()
    }

    /// A uniform number, for spreading timers.
    pub(crate) fn jitter(&mut self) -> u32 {
        self.jitter.next_u32()
    }
}

/// A chain of secrets: each draw gives one and steps to a state that does not lead back.
struct KeyChain(Secret);

impl KeyChain {
    fn draw(&mut self) -> Zeroizing<[u8; 32]> {
        wiped::<HANDSHAKE_STACK, _>(|| {
            let [next, drawn] = hkdf2(self.0.expose(), b"burdock key");
            self.0.replace(&next);
            drawn
        })
    }
}

#[cfg(test)]
mod tests;
