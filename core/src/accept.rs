//! Who may open a session with us.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use zeroize::Zeroize;

use crate::crypto::Secret;
use crate::key::PublicKey;

/// The decision about inbound handshakes, made on the peer's key and invite before anything is
/// answered. Whoever is refused hears nothing.
///
/// A new policy lets nobody in. Peers that we dial, or have a session with, may always answer and
/// dial back.
///
/// ```
/// use burdock_core::{AcceptPolicy, PublicKey};
///
/// let friend = PublicKey::from([1; 32]);
/// let policy = AcceptPolicy::nobody().allow(friend).invite([7; 8], [9; 32]);
/// # let _ = policy;
/// ```
#[derive(Clone, Default)]
pub struct AcceptPolicy {
    anyone: bool,
    known: BTreeSet<PublicKey>,
    invites: BTreeMap<[u8; 8], Arc<Secret>>,
}

impl AcceptPolicy {
    /// Nobody gets in.
    #[must_use]
    pub fn nobody() -> Self {
        Self::default()
    }

    /// Everybody gets in.
    #[must_use]
    pub fn anyone() -> Self {
        Self { anyone: true, ..Self::default() }
    }

    /// This key gets in as well.
    #[must_use]
    pub fn allow(mut self, key: PublicKey) -> Self {
        self.known.insert(key);
        self
    }

    /// Whoever holds this invite gets in as well. The id is shown on the wire to the holder of our
    /// static key alone; the secret is mixed into the handshake and never sent.
    #[must_use]
    pub fn invite(mut self, id: [u8; 8], mut secret: [u8; 32]) -> Self {
        self.invites.insert(id, Arc::new(Secret::copy_of(&secret)));
        secret.zeroize();
        self
    }

    /// The pre-shared key to answer `key` with, `None` to stay silent. An invite id of zero means
    /// that the peer named none.
    pub(crate) fn decide(&self, key: &PublicKey, invite: [u8; 8], known_session: bool) -> Option<Arc<Secret>> {
        if invite != [0; 8] {
            return self.invites.get(&invite).cloned();
        }
        (self.anyone || known_session || self.known.contains(key)).then(|| Arc::new(Secret::copy_of(&[0; 32])))
    }
}

impl core::fmt::Debug for AcceptPolicy {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("AcceptPolicy")
            .field("anyone", &self.anyone)
            .field("known", &self.known.len())
            .field("invites", &self.invites.len())
            .finish()
    }
}
