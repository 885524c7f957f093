//! Which sessions have a datagram path to an address.

use core::net::SocketAddr;
use std::collections::BTreeMap;

use crate::io::SessionId;
use crate::session::Via;

/// With the number of paths.
#[derive(Default)]
pub(crate) struct Whereabouts(BTreeMap<(SocketAddr, SessionId), usize>);

impl Whereabouts {
    pub(crate) fn came(&mut self, session: SessionId, via: Via) {
        if let Via::Udp(addr) = via {
            *self.0.entry((addr, session)).or_default() += 1;
        }
    }

    pub(crate) fn went(&mut self, session: SessionId, via: Via) {
        if let Via::Udp(addr) = via
            && let Some(paths) = self.0.get_mut(&(addr, session))
        {
            *paths -= 1;
            if *paths == 0 {
                self.0.remove(&(addr, session));
            }
        }
    }

    /// Of several sessions, the oldest.
    pub(crate) fn session_at(&self, addr: SocketAddr) -> Option<SessionId> {
        self.0.range((addr, SessionId(0))..=(addr, SessionId(u64::MAX))).next().map(|((_, session), _)| *session)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}
