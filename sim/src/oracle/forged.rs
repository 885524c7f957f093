//! R3, R6, H4: what nobody sent changes nothing. A forged datagram leads to no action of the core, and
//! tells no application anything, with two exceptions: a first message with a valid mac1 may be
//! answered, and after eight answers that failed under its index a handshake is given up, which is
//! progress of a dial, and the end of the last one.

use burdock_core::PublicKey;
use burdock_core::crypto::mac1;

use crate::oracle::{Verdict, require};

const INIT: u8 = 0x08;
const RESP: u8 = 0x09;
/// The end of a first message: mac1 and mac2.
const MACS: usize = 32;
const MAC: usize = 16;

/// What a core did, and the updates that wait for its application: those of a dial
/// that is given up, and others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Watch {
    pub(crate) acted: u64,
    pub(crate) progress: usize,
    pub(crate) told: usize,
}

/// The first byte of a datagram for the host with this key; `None` for a first message whose mac1 is wrong.
pub(crate) fn kind(key: Option<&PublicKey>, datagram: &[u8]) -> Option<u8> {
    let first = *datagram.first()?;
    let macs = datagram.len().checked_sub(MACS).map(|before| datagram.split_at(before));
    let valid = macs.is_some_and(|(before, macs)| key.is_some_and(|key| macs[..MAC] == mac1(key, before)));
    (first != INIT || valid).then_some(first)
}

/// Before a forged datagram, of this [`kind`], and after it.
pub(crate) fn changed_nothing(host: usize, first: Option<u8>, before: Watch, after: Watch) -> Verdict {
    let progress = first == Some(RESP) || before.progress == after.progress;
    require(before.told == after.told && progress, "forged", || {
        format!("the application of host {host} was told something because of a forged datagram")
    })?;
    require(matches!(first, Some(INIT | RESP)) || before.acted == after.acted, "forged", || {
        format!("host {host} did {} things because of a forged datagram", after.acted - before.acted)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d2_a_first_message_with_a_wrong_mac1_may_not_be_answered() {
        // Mutation: `first != INIT || valid` into `true` makes this fail.
        let key = PublicKey::from([5; 32]);
        let mut init = vec![INIT; 100];
        assert_eq!(kind(Some(&key), &init), None);
        let mac = mac1(&key, &init[..68]);
        init[68..84].copy_from_slice(&mac);
        assert_eq!(kind(Some(&key), &init), Some(INIT));
        assert_eq!(kind(Some(&PublicKey::from([6; 32])), &init), None);
        init[9] ^= 1;
        assert_eq!(kind(Some(&key), &init), None);
        assert_eq!(kind(Some(&key), &init[..20]), None);
        assert_eq!(kind(Some(&key), &[RESP]), Some(RESP));
    }

    #[test]
    fn r6_an_answer_to_a_forgery_is_seen() {
        // Mutation: `Some(INIT | RESP)` into `Some(_)` makes this fail.
        let before = Watch { acted: 7, progress: 0, told: 0 };
        let answered = Watch { acted: 8, ..before };
        let given_up = Watch { progress: 1, ..answered };
        let connected = Watch { told: 1, ..answered };
        let judge = |first, after| changed_nothing(0, first, before, after);
        for first in [None, Some(INIT), Some(RESP), Some(0x0B)] {
            judge(first, before).unwrap();
            assert!(judge(first, connected).is_err());
            assert_eq!(judge(first, answered).is_ok(), matches!(first, Some(INIT | RESP)));
            assert_eq!(judge(first, given_up).is_ok(), first == Some(RESP));
        }
    }
}
