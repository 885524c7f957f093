//! D1: an address that has not proved itself is sent no more bytes than came from it.
//!
//! An address is proved to a process once a handshake answer or a data packet has come from it:
//! either could only be made by whoever received what was sent there. Initiations are not counted;
//! the backoff bounds them.

use core::net::SocketAddr;
use std::collections::BTreeMap;

use crate::oracle::{Verdict, require};

#[derive(Debug, Default)]
pub(crate) struct Amplification {
    /// By host, its incarnation, and the other address.
    addresses: BTreeMap<(usize, u32, SocketAddr), Account>,
}

#[derive(Debug, Default)]
struct Account {
    proved: bool,
    received: u64,
    sent: u64,
}

impl Amplification {
    pub(crate) fn received(&mut self, host: usize, incarnation: u32, from: SocketAddr, packet: &[u8]) {
        let account = self.addresses.entry((host, incarnation, from)).or_default();
        account.received += packet.len() as u64;
        account.proved |= matches!(packet.first(), Some(0x09 | 0x0B));
    }

    pub(crate) fn sent(&mut self, host: usize, incarnation: u32, to: SocketAddr, packet: &[u8]) -> Verdict {
        if packet.first() == Some(&0x08) {
            return Ok(());
        }
        let account = self.addresses.entry((host, incarnation, to)).or_default();
        account.sent += packet.len() as u64;
        require(account.proved || account.sent <= account.received, "amplification", || {
            format!(
                "host {host} sent {} bytes to {to}, which sent {} and proved nothing",
                account.sent, account.received
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::address;

    #[test]
    fn d1_an_answer_longer_than_the_question_is_seen() {
        // Mutation: `account.sent <= account.received` into `<= 3 * account.received` makes this fail.
        let mut oracle = Amplification::default();
        let at = address(1);
        oracle.sent(0, 0, at, &[0x08; 1200]).unwrap();
        oracle.received(0, 0, at, &[0x08; 1200]);
        oracle.sent(0, 0, at, &[0x09; 1200]).unwrap();
        assert!(oracle.sent(0, 0, at, &[0x0B; 40]).is_err());
        oracle.received(0, 0, at, &[0x0B; 40]);
        oracle.sent(0, 0, at, &[0x0B; 1200]).unwrap();
        assert!(oracle.sent(0, 1, at, &[0x0B; 40]).is_err());
    }
}
