//! D1: an address that has not proved itself is sent no more bytes than came from it, and no more
//! than three times as many when data came from it and it is challenged.
//!
//! An address is proved to a process once a handshake answer or a data packet has come from it:
//! either could only be made by whoever received what was sent there. What an attacker made up proves
//! nothing, and what it sends on proves the address that it is from. Initiations are not counted; the
//! backoff bounds them.

use core::net::SocketAddr;
use std::collections::BTreeMap;

use crate::oracle::{Verdict, require};

#[derive(Debug, Default)]
pub(crate) struct Amplification {
    /// By host, its incarnation, and the other address.
    addresses: BTreeMap<(usize, u32, SocketAddr), Account>,
    /// Bytes sent to an unproved address for a thousand received, at worst.
    pub(crate) worst: u64,
}

#[derive(Debug, Default)]
struct Account {
    proved: bool,
    received: u64,
    sent: u64,
    /// Of these, in handshakes.
    answered: u64,
}

impl Amplification {
    pub(crate) fn received(
        &mut self,
        host: usize,
        incarnation: u32,
        from: SocketAddr,
        truth: Option<SocketAddr>,
        packet: &[u8],
    ) {
        let account = self.addresses.entry((host, incarnation, from)).or_default();
        account.received += packet.len() as u64;
        if let (Some(truth), Some(0x09 | 0x0B)) = (truth, packet.first()) {
            self.addresses.entry((host, incarnation, truth)).or_default().proved = true;
        }
    }

    /// Who was answered there, or answers what was sent there, has got it, wherever it is seen now.
    pub(crate) fn answered(&mut self, host: usize, incarnation: u32, at: SocketAddr, answers: bool) {
        let account = self.addresses.entry((host, incarnation, at)).or_default();
        account.proved |= answers || account.sent > 0;
    }

    pub(crate) fn sent(&mut self, host: usize, incarnation: u32, to: SocketAddr, packet: &[u8]) -> Verdict {
        if packet.first() == Some(&0x08) {
            return Ok(());
        }
        let account = self.addresses.entry((host, incarnation, to)).or_default();
        let len = packet.len() as u64;
        account.sent += len;
        let within = if packet.first() == Some(&0x0B) {
            account.sent <= 3 * account.received
        } else {
            account.answered += len;
            account.answered <= account.received
        };
        if !account.proved {
            self.worst = self.worst.max(account.sent.saturating_mul(1_000) / account.received.max(1));
        }
        require(account.proved || within, "amplification", || {
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
        // Mutation: `account.answered <= account.received` into `account.sent <= 3 * account.received` makes this fail.
        let mut oracle = Amplification::default();
        let at = address(1);
        oracle.sent(0, 0, at, &[0x08; 1200]).unwrap();
        oracle.received(0, 0, at, Some(at), &[0x08; 1200]);
        oracle.sent(0, 0, at, &[0x09; 1200]).unwrap();
        assert_eq!(oracle.worst, 1_000);
        assert!(oracle.sent(0, 0, at, &[0x09; 40]).is_err());
        oracle.sent(0, 0, at, &[0x0B; 1200]).unwrap();
        assert!(oracle.sent(0, 0, at, &[0x0B; 1200]).is_err());
        // What is made up proves nothing, and what comes from elsewhere proves where it is from.
        oracle.received(0, 0, at, None, &[0x0B; 40]);
        assert!(oracle.sent(0, 0, at, &[0x0B; 1200]).is_err());
        oracle.received(0, 0, address(2), Some(at), &[0x0B; 40]);
        oracle.sent(0, 0, at, &[0x0B; 9_000]).unwrap();
        assert!(oracle.sent(0, 0, address(2), &[0x0B; 121]).is_err());
        assert!(oracle.sent(0, 1, at, &[0x0B; 40]).is_err());
    }
}
