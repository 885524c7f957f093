//! The pattern IKpsk2, token by token.

use std::sync::Arc;

use thiserror::Error;
use zeroize::Zeroizing;

use super::symmetric::Symmetric;
use super::{INITIATION_OVERHEAD, MAX_MESSAGE_LEN, PROTOCOL, RESPONSE_OVERHEAD};
use crate::crypto::{
    AeadKey, BadTag, DH_LEN, HANDSHAKE_STACK, HASH_LEN, Secret, TAG_LEN, ZeroDh, dh, public_key, wiped,
};
use crate::{Identity, PublicKey};

/// What a finished handshake yields.
pub struct Keys {
    /// Seals what this side sends. The peer's `recv` is the same key.
    pub send: AeadKey,
    /// Opens what this side receives.
    pub recv: AeadKey,
    /// The hash of the handshake: equal on both sides, and only if both saw the same prologue, keys
    /// and messages. Names the session in a protocol above (channel binding, Noise §11.2).
    pub hash: [u8; HASH_LEN],
}

/// Why a handshake message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NoiseError {
    /// Longer than Noise allows, or too short to hold its keys and tags.
    #[error("a handshake message has a length that none can have; drop it, or send a shorter payload")]
    Length,
    /// A key in it is a point of low order.
    #[error("a handshake message failed: {0}")]
    ZeroDh(#[from] ZeroDh),
    /// It is damaged or forged, or made for another key, pre-shared key or prologue.
    #[error("a handshake message failed authentication; drop it")]
    BadTag,
}

impl From<BadTag> for NoiseError {
    fn from(_: BadTag) -> Self {
        Self::BadTag
    }
}

/// The side that sends message 1, waiting for message 2.
pub struct Initiator {
    symmetric: Symmetric,
    local: Arc<Secret>,
    ephemeral: Secret,
    psk: Secret,
}

impl Initiator {
    /// Appends message 1 (`e`, sealed `s`, sealed `payload`) to `out`.
    ///
    /// The payload is secret from all but `remote`, and is so no longer once `remote`'s static key is
    /// stolen. `ephemeral` must be fresh randomness.
    ///
    /// # Errors
    ///
    /// [`NoiseError::ZeroDh`] if `remote` is a point of low order, [`NoiseError::Length`] if the payload is
    /// too long; `out` is then as it was.
    pub fn start(
        local: &Identity,
        remote: &PublicKey,
        psk: &[u8; 32],
        prologue: &[u8],
        ephemeral: Zeroizing<[u8; 32]>,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Self, NoiseError> {
        wiped::<HANDSHAKE_STACK, _>(|| Self::write(local, remote, psk, prologue, &ephemeral, payload, out))
    }

    fn write(
        local: &Identity,
        remote: &PublicKey,
        psk: &[u8; 32],
        prologue: &[u8],
        ephemeral: &[u8; 32],
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Self, NoiseError> {
        if payload.len() > MAX_MESSAGE_LEN - INITIATION_OVERHEAD {
            return Err(NoiseError::Length);
        }
        let es = shared(ephemeral, remote)?;
        let ss = shared(local.secret().expose(), remote)?;
        let e = public_key(ephemeral);

        let mut symmetric = Symmetric::new(PROTOCOL, prologue);
        symmetric.mix_hash(remote.as_bytes());
        mix_ephemeral(&mut symmetric, e.as_bytes());
        out.extend_from_slice(e.as_bytes());
        symmetric.mix_key(es.expose());
        symmetric.encrypt_and_hash(local.public_key().as_bytes(), out);
        symmetric.mix_key(ss.expose());
        symmetric.encrypt_and_hash(payload, out);

        Ok(Self {
            symmetric: symmetric.fork(),
            local: Arc::clone(local.secret()),
            ephemeral: Secret::copy_of(ephemeral),
            psk: Secret::copy_of(psk),
        })
    }

    /// Tries message 2, and appends its payload to `payload_out`. A failure changes nothing, so that a
    /// forged answer does not end the handshake.
    ///
    /// # Errors
    ///
    /// [`NoiseError`]: this is not the answer, or not whole.
    pub fn read(&self, message: &[u8], payload_out: &mut Vec<u8>) -> Result<Keys, NoiseError> {
        wiped::<HANDSHAKE_STACK, _>(|| self.try_read(message, payload_out))
    }

    fn try_read(&self, message: &[u8], payload_out: &mut Vec<u8>) -> Result<Keys, NoiseError> {
        check_len(message, RESPONSE_OVERHEAD)?;
        let (e, payload) = message.split_first_chunk::<DH_LEN>().ok_or(NoiseError::Length)?;
        let remote = PublicKey::from(*e);

        let mut symmetric = self.symmetric.fork();
        mix_ephemeral(&mut symmetric, e);
        symmetric.mix_key(shared(self.ephemeral.expose(), &remote)?.expose());
        symmetric.mix_key(shared(self.local.expose(), &remote)?.expose());
        symmetric.mix_key_and_hash(self.psk.expose());
        symmetric.decrypt_and_hash(payload, payload_out)?;

        let (send, recv, hash) = symmetric.split();
        Ok(Keys { send, recv, hash })
    }
}

/// The side that read message 1 and owes message 2.
pub struct Responder {
    symmetric: Symmetric,
    remote: PublicKey,
    remote_ephemeral: PublicKey,
    payload: Zeroizing<Vec<u8>>,
}

impl Responder {
    /// Reads message 1. That proves nothing yet: it may be a replay, and whoever has stolen this
    /// side's secret can write one in any name. The first message opened with [`Keys::recv`] is the proof.
    ///
    /// # Errors
    ///
    /// [`NoiseError`]: drop the message in silence.
    pub fn read(local: &Identity, prologue: &[u8], message: &[u8]) -> Result<Self, NoiseError> {
        wiped::<HANDSHAKE_STACK, _>(|| Self::try_read(local, prologue, message))
    }

    fn try_read(local: &Identity, prologue: &[u8], message: &[u8]) -> Result<Self, NoiseError> {
        check_len(message, INITIATION_OVERHEAD)?;
        let (e, rest) = message.split_first_chunk::<DH_LEN>().ok_or(NoiseError::Length)?;
        let (s, payload) = rest.split_first_chunk::<{ DH_LEN + TAG_LEN }>().ok_or(NoiseError::Length)?;
        let remote_ephemeral = PublicKey::from(*e);
        let local_secret = local.secret().expose();

        let mut symmetric = Symmetric::new(PROTOCOL, prologue);
        symmetric.mix_hash(local.public_key().as_bytes());
        mix_ephemeral(&mut symmetric, e);
        symmetric.mix_key(shared(local_secret, &remote_ephemeral)?.expose());
        let mut remote = Vec::with_capacity(DH_LEN);
        symmetric.decrypt_and_hash(s, &mut remote)?;
        let remote = PublicKey::from(<[u8; DH_LEN]>::try_from(remote).map_err(|_| NoiseError::Length)?);
        symmetric.mix_key(shared(local_secret, &remote)?.expose());
        let mut opened = Zeroizing::new(Vec::with_capacity(payload.len()));
        symmetric.decrypt_and_hash(payload, &mut opened)?;

        Ok(Self { symmetric, remote, remote_ephemeral, payload: opened })
    }

    /// The static key that the initiator claims.
    #[must_use]
    pub fn remote(&self) -> &PublicKey {
        &self.remote
    }

    /// The payload of message 1.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Appends message 2 (`e`, sealed `payload`) to `out`. `ephemeral` must be fresh randomness.
    ///
    /// # Errors
    ///
    /// [`NoiseError::Length`] if the payload is too long, [`NoiseError::ZeroDh`] if a key of the
    /// initiator is a point of low order; `out` is then as it was.
    pub fn reply(
        self,
        psk: &[u8; 32],
        ephemeral: Zeroizing<[u8; 32]>,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Keys, NoiseError> {
        wiped::<HANDSHAKE_STACK, _>(|| self.write(psk, &ephemeral, payload, out))
    }

    fn write(
        self,
        psk: &[u8; 32],
        ephemeral: &[u8; 32],
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Keys, NoiseError> {
        if payload.len() > MAX_MESSAGE_LEN - RESPONSE_OVERHEAD {
            return Err(NoiseError::Length);
        }
        let ee = shared(ephemeral, &self.remote_ephemeral)?;
        let se = shared(ephemeral, &self.remote)?;
        let e = public_key(ephemeral);

        let mut symmetric = self.symmetric;
        mix_ephemeral(&mut symmetric, e.as_bytes());
        out.extend_from_slice(e.as_bytes());
        symmetric.mix_key(ee.expose());
        symmetric.mix_key(se.expose());
        symmetric.mix_key_and_hash(psk);
        symmetric.encrypt_and_hash(payload, out);

        let (recv, send, hash) = symmetric.split();
        Ok(Keys { send, recv, hash })
    }
}

/// The token `e` of a pattern with a psk, which also mixes the key in (Noise §9.2).
fn mix_ephemeral(symmetric: &mut Symmetric, e: &[u8; DH_LEN]) {
    symmetric.mix_hash(e);
    symmetric.mix_key(e);
}

/// A shared secret, kept off the stack.
fn shared(secret: &[u8; DH_LEN], public: &PublicKey) -> Result<Secret, ZeroDh> {
    wiped::<HANDSHAKE_STACK, _>(|| dh(secret, public).map(|shared| Secret::copy_of(&shared)))
}

fn check_len(message: &[u8], least: usize) -> Result<(), NoiseError> {
    if (least..=MAX_MESSAGE_LEN).contains(&message.len()) { Ok(()) } else { Err(NoiseError::Length) }
}
