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
    invites: BTreeMap<[u8; 8], Invited>,
}

#[derive(Clone)]
struct Invited {
    secret: Arc<Secret>,
    /// Whose it is, once somebody has used it.
    key: Option<PublicKey>,
}

/// The invite by which a peer came.
pub(crate) struct CameBy {
    pub(crate) id: [u8; 8],
    pub(crate) psk: Arc<Secret>,
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

    /// Whoever is the first to use this invite gets in as well, and may come again by it; from then on
    /// it is of no use to anybody else. The id is shown on the wire to the holder of our static key
    /// alone; the secret is mixed into the handshake and never sent.
    ///
    /// Whose it is, [`InviteBound`](crate::update::UpdateKind::InviteBound) tells. The endpoint remembers it for as
    /// long as its policies name the invite; to remember it longer, keep the key, and use
    /// [`invite_for`](Self::invite_for) after a restart.
    #[must_use]
    pub fn invite(self, id: [u8; 8], secret: [u8; 32]) -> Self {
        self.invited(id, secret, None)
    }

    fn invited(mut self, id: [u8; 8], mut secret: [u8; 32], key: Option<PublicKey>) -> Self {
        self.invites.insert(id, Invited { secret: Arc::new(Secret::copy_of(&secret)), key });
        secret.zeroize();
        self
    }

    /// Whether this key is in the list of those who get in.
    pub(crate) fn names(&self, key: &PublicKey) -> bool {
        self.known.contains(key)
    }

    /// This key gets in by this invite as well: somebody who has used it before.
    #[must_use]
    pub fn invite_for(self, id: [u8; 8], secret: [u8; 32], key: PublicKey) -> Self {
        self.invited(id, secret, Some(key))
    }

    /// Takes over whose the invites are that both policies name.
    pub(crate) fn inherit(&mut self, before: &Self) {
        for (id, invited) in self.invites.iter_mut().filter(|(_, invited)| invited.key.is_none()) {
            invited.key = before.invites.get(id).and_then(|before| before.key);
        }
    }

    /// A handshake with this invite is proved: from now on it is for `key` alone. Returns whether that is news.
    pub(crate) fn bind(&mut self, id: &[u8; 8], key: PublicKey) -> bool {
        let free = self.invites.get_mut(id).filter(|invited| invited.key.is_none());
        free.map(|invited| invited.key = Some(key)).is_some()
    }

    /// The pre-shared key to answer `key` with, `None` to stay silent. An invite id of zero means
    /// that the peer named none.
    pub(crate) fn decide(&self, key: &PublicKey, invite: [u8; 8], known_session: bool) -> Option<Arc<Secret>> {
        if invite != [0; 8] {
            let invited = self.invites.get(&invite)?;
            return invited.key.is_none_or(|owner| owner == *key).then(|| Arc::clone(&invited.secret));
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
