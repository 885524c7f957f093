//! `CipherState` and `SymmetricState` (Noise §5.1, §5.2).

use crate::crypto::{AeadKey, BadTag, HANDSHAKE_STACK, HASH_LEN, Secret, TAG_LEN, hash, hkdf2, hkdf3, wiped};

/// The transcript so far: what was said (`hash`) and which secrets were mixed in (`chaining`, `cipher`).
pub(super) struct Symmetric {
    chaining: Secret,
    hash: [u8; HASH_LEN],
    cipher: Option<Cipher>,
}

struct Cipher {
    key: AeadKey,
    number: u64,
}

impl Cipher {
    fn new(key: &[u8; 32]) -> Self {
        Self { key: AeadKey::new(key), number: 0 }
    }
}

impl Symmetric {
    pub(super) fn new(protocol: &str, prologue: &[u8]) -> Self {
        let mut start = [0; HASH_LEN];
        match start.get_mut(..protocol.len()) {
            Some(prefix) => prefix.copy_from_slice(protocol.as_bytes()),
            None => start = hash(&[protocol.as_bytes()]),
        }
        let mut state = Self { chaining: Secret::copy_of(&start), hash: start, cipher: None };
        state.mix_hash(prologue);
        state
    }

    /// A second state after the same transcript. It has no cipher key, as no key may count its nonces
    /// twice: it can seal or open only after the next key is mixed in.
    pub(super) fn fork(&self) -> Self {
        Self { chaining: Secret::copy_of(self.chaining.expose()), hash: self.hash, cipher: None }
    }

    #[cfg(test)]
    pub(super) fn has_key(&self) -> bool {
        self.cipher.is_some()
    }

    pub(super) fn mix_hash(&mut self, data: &[u8]) {
        self.hash = hash(&[&self.hash, data]);
    }

    pub(super) fn mix_key(&mut self, input: &[u8]) {
        wiped::<HANDSHAKE_STACK, _>(|| {
            let [chaining, key] = hkdf2(self.chaining.expose(), input);
            self.chaining.replace(&chaining);
            self.cipher = Some(Cipher::new(&key));
        });
    }

    pub(super) fn mix_key_and_hash(&mut self, input: &[u8]) {
        wiped::<HANDSHAKE_STACK, _>(|| {
            let [chaining, data, key] = hkdf3(self.chaining.expose(), input);
            self.chaining.replace(&chaining);
            self.mix_hash(data.as_slice());
            self.cipher = Some(Cipher::new(&key));
        });
    }

    /// Appends the sealed `plaintext` to `out`; in clear while no key was mixed in yet.
    pub(super) fn encrypt_and_hash(&mut self, plaintext: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(plaintext);
        if let Some(cipher) = &mut self.cipher {
            let tag = cipher.key.seal(cipher.number, &self.hash, &mut out[start..]);
            cipher.number += 1;
            out.extend_from_slice(&tag);
        }
        self.mix_hash(&out[start..]);
    }

    /// Appends the opened `message` to `out`, which a failure leaves as it was.
    pub(super) fn decrypt_and_hash(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<(), BadTag> {
        let start = out.len();
        if let Some(cipher) = &mut self.cipher {
            let (ciphertext, tag) = message.split_last_chunk::<TAG_LEN>().ok_or(BadTag)?;
            out.extend_from_slice(ciphertext);
            if let Err(bad) = cipher.key.open(cipher.number, &self.hash, &mut out[start..], tag) {
                out.truncate(start);
                return Err(bad);
            }
            cipher.number += 1;
        } else {
            out.extend_from_slice(message);
        }
        self.mix_hash(message);
        Ok(())
    }

    /// The keys of the transport phase, the initiator's first, and the hash of the whole handshake.
    pub(super) fn split(self) -> (AeadKey, AeadKey, [u8; HASH_LEN]) {
        let (first, second) = wiped::<HANDSHAKE_STACK, _>(|| {
            let [first, second] = hkdf2(self.chaining.expose(), &[]);
            (AeadKey::new(&first), AeadKey::new(&second))
        });
        (first, second, self.hash)
    }
}
