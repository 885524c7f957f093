//! H10, C4: a peer is said to have restarted only if it did. The session that a handshake connected is over at its
//! other end, and that end has lost its memory of it, or has dialled since: who remembers the end says so, and nothing
//! that cannot be proved takes the place of what lives.
//!
//! Both ends are told the hash of the handshake that connected them; by it the oracle knows which sessions belong
//! together. A session that was connected by different handshakes, as two were under way, is left out.

use std::collections::BTreeMap;

use burdock_core::{Limits, Time};

use crate::oracle::ledger::SessionKey;
use crate::oracle::{Verdict, require};

const ORACLE: &str = "restarts";

#[derive(Debug, Default)]
pub(crate) struct Restarts {
    sessions: BTreeMap<SessionKey, Session>,
    /// By handshake and host.
    connected: BTreeMap<([u8; 32], usize), SessionKey>,
}

#[derive(Debug)]
struct Session {
    peer: usize,
    incarnation: u32,
    dialled: bool,
    /// By which handshake it was connected last.
    handshake: Option<[u8; 32]>,
    /// By the clock of its process.
    ended: Option<Time>,
}

/// The process at the other end, now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer<'a> {
    /// `None` if it does not run.
    pub(crate) incarnation: Option<u32>,
    pub(crate) clock: Time,
    pub(crate) limits: &'a Limits,
}

impl Restarts {
    pub(crate) fn opened(&mut self, key: SessionKey, peer: usize, incarnation: u32, dialled: bool) {
        self.sessions.insert(key, Session { peer, incarnation, dialled, handshake: None, ended: None });
    }

    pub(crate) fn connected(&mut self, key: SessionKey, handshake: [u8; 32]) {
        if let Some(session) = self.sessions.get_mut(&key) {
            session.handshake = Some(handshake);
            self.connected.insert((handshake, key.0), key);
        }
    }

    /// It is closed, or its application let go of it, or crashed.
    pub(crate) fn ended(&mut self, clock: Time, key: SessionKey) {
        if let Some(session) = self.sessions.get_mut(&key) {
            session.ended.get_or_insert(clock);
        }
    }

    /// The application is told that its peer restarted.
    pub(crate) fn told(&self, key: SessionKey, peer: Peer<'_>) -> Verdict {
        let theirs = self.sessions.get(&key).and_then(|session| {
            let theirs = self.connected.get(&(session.handshake?, session.peer))?;
            Some((*theirs, self.sessions.get(theirs)?))
        });
        let Some((theirs, session)) = theirs else { return Ok(()) };
        let (host, other) = (key.0, theirs.0);
        let Some(ended) = session.ended else {
            return require(false, ORACLE, || {
                format!("host {host} was told that host {other} restarted, which has kept session {other}.{}", theirs.1)
            });
        };
        let mut later = self.sessions.range((other, theirs.1 + 1)..=(other, u16::MAX)).map(|(_, session)| session);
        let forgotten = peer.incarnation != Some(session.incarnation)
            || peer.clock.saturating_since(ended) >= peer.limits.tombstone_life;
        require(forgotten || later.any(|session| session.peer == host && session.dialled), ORACLE, || {
            format!(
                "host {host} was told that host {other} restarted, which remembers how session {other}.{} ended",
                theirs.1
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Restarts {
        let mut oracle = Restarts::default();
        oracle.opened((0, 0), 1, 0, true);
        oracle.opened((1, 0), 0, 0, false);
        oracle.connected((0, 0), [7; 32]);
        oracle.connected((1, 0), [7; 32]);
        oracle
    }

    #[test]
    fn h10_a_restart_that_did_not_happen_is_seen() {
        // Mutation: `session.ended else` into `session.ended.or(Some(Time::ZERO)) else` makes this fail.
        let limits = Limits::default();
        let at = Time::from_micros(9_000);
        let peer = Peer { incarnation: Some(0), clock: at, limits: &limits };
        let mut oracle = two();
        assert!(oracle.told((1, 0), peer).unwrap_err().message.contains("kept session 0.0"));
        assert!(oracle.told((0, 0), peer).unwrap_err().message.contains("kept session 1.0"));
        oracle.ended(at, (0, 0));
        assert!(oracle.told((1, 0), peer).unwrap_err().message.contains("remembers"));
        oracle.told((1, 0), Peer { clock: at + limits.tombstone_life, ..peer }).unwrap();
        oracle.told((1, 0), Peer { incarnation: Some(1), ..peer }).unwrap();
        oracle.told((1, 0), Peer { incarnation: None, ..peer }).unwrap();
        oracle.opened((0, 1), 1, 0, false);
        assert!(oracle.told((1, 0), peer).is_err());
        oracle.opened((0, 2), 1, 0, true);
        oracle.told((1, 0), peer).unwrap();
    }

    #[test]
    fn sessions_that_other_handshakes_connected_are_left_out() {
        let limits = Limits::default();
        let mut oracle = two();
        oracle.connected((1, 0), [8; 32]);
        oracle.told((1, 0), Peer { incarnation: Some(0), clock: Time::ZERO, limits: &limits }).unwrap();
    }
}
