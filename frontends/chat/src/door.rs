//! Who may come in, and the link that says so.

use burdock_tokio::{AcceptPolicy, Invite, Link};
use zeroize::Zeroizing;

use crate::qr::Qr;
use crate::view::Me;

/// Who may open sessions with us, and what our link is.
///
/// With invites, each link is for one person: whoever is the first to use it. Then there is a fresh
/// one for the next.
pub struct Door {
    policy: AcceptPolicy,
    link: Link,
    words: String,
    /// How I2P does.
    router: String,
    invites: bool,
}

impl Door {
    /// `link` as the policy wants it to be shown; `words` say who can connect with it.
    #[must_use]
    pub fn new(policy: AcceptPolicy, link: Link, words: impl Into<String>) -> Self {
        Self { policy, link, words: words.into(), router: String::new(), invites: false }
    }

    /// Puts an invite into the link, and a fresh one whenever it has been used.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn with_invites(mut self) -> Result<Self, getrandom::Error> {
        self.invites = true;
        self.renew()?;
        Ok(self)
    }

    /// The link as it is shown now.
    #[must_use]
    pub fn link(&self) -> &Link {
        &self.link
    }

    pub(crate) fn policy(&self) -> AcceptPolicy {
        self.policy.clone()
    }

    /// The addresses are others now; an invite stays as it is.
    pub(crate) fn set_link(&mut self, link: Link) {
        let invite = self.link.invite.take();
        self.link = Link { invite, ..link };
    }

    pub(crate) fn set_router(&mut self, words: String) {
        self.router = words;
    }

    /// This invite has its owner. Returns whether there is a new one.
    pub(crate) fn used(&mut self, invite: &[u8; 8]) -> bool {
        let ours = self.link.invite.as_ref().is_some_and(|ours| ours.id == *invite);
        ours && self.invites && self.renew().is_ok()
    }

    fn renew(&mut self) -> Result<(), getrandom::Error> {
        let (mut id, mut secret) = ([0; 8], Zeroizing::new([0; 32]));
        getrandom::fill(&mut id)?;
        getrandom::fill(&mut *secret)?;
        // An id of zero stands for no invite.
        id[0] |= 1;
        let invite = Invite::new(id, *secret);
        self.policy = std::mem::take(&mut self.policy).invite(id, **invite.secret);
        self.link.invite = Some(invite);
        Ok(())
    }

    pub(crate) fn me(&self) -> Me {
        let Link { key, host, i2p, .. } = &self.link;
        let router = self.router.clone();
        if host.is_none() && i2p.is_none() {
            return Me { key: *key, link: String::new(), qr: None, door: String::new(), router };
        }
        let link = self.link.to_string();
        Me { key: *key, qr: Qr::new(&link), link, door: self.words.clone(), router }
    }
}
