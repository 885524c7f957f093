//! T9: captured packets that are sent on from elsewhere move nothing. To an address that no host
//! ever had goes an answer to a first message that came from there, and at most a challenge of three
//! bytes for each byte of data from there; no session, and no dial.

use core::net::SocketAddr;
use std::collections::BTreeMap;

use crate::oracle::{Verdict, require};

const INIT: u8 = 0x08;
const DATA: u8 = 0x0B;

#[derive(Debug, Default)]
pub(crate) struct Elsewhere {
    /// By host and the address that is no host's.
    addresses: BTreeMap<(usize, SocketAddr), Account>,
}

#[derive(Debug, Default)]
struct Account {
    /// Bytes of first messages and of data that came from there.
    asked: u64,
    data: u64,
    /// Bytes of answers and of data that went there.
    answered: u64,
    sent: u64,
}

impl Elsewhere {
    pub(crate) fn received(&mut self, host: usize, from: SocketAddr, packet: &[u8]) {
        let account = self.addresses.entry((host, from)).or_default();
        match packet.first() {
            Some(&INIT) => account.asked += packet.len() as u64,
            Some(&DATA) => account.data += packet.len() as u64,
            _ => {}
        }
    }

    pub(crate) fn sent(&mut self, host: usize, to: SocketAddr, packet: &[u8]) -> Verdict {
        let account = self.addresses.entry((host, to)).or_default();
        let moved = match packet.first() {
            Some(&INIT) => true,
            Some(&DATA) => {
                account.sent += packet.len() as u64;
                account.sent > 3 * account.data
            }
            _ => {
                account.answered += packet.len() as u64;
                account.answered > account.asked
            }
        };
        require(!moved, "elsewhere", || format!("host {host} talks to {to}, where no host ever was: {account:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t9_a_session_that_moves_to_an_attacker_is_seen() {
        // Mutation: `3 * account.data` into `u64::MAX` makes this fail.
        let mut oracle = Elsewhere::default();
        let at = SocketAddr::from(([198, 51, 100, 1], 6_000));
        assert!(oracle.sent(0, at, &[0x0B; 40]).is_err());
        let mut oracle = Elsewhere::default();
        oracle.received(0, at, &[0x08; 1_200]);
        oracle.sent(0, at, &[0x09; 1_200]).unwrap();
        assert!(oracle.sent(0, at, &[0x09; 1_200]).is_err());
        oracle.received(0, at, &[0x0B; 400]);
        oracle.sent(0, at, &[0x0B; 1_200]).unwrap();
        assert!(oracle.sent(0, at, &[0x0B; 40]).is_err());
        assert!(oracle.sent(0, at, &[0x08; 1_200]).is_err());
    }
}
