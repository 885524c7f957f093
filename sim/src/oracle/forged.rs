//! R3, R6, H4: what nobody sent changes nothing. A forged datagram leads to no action of the core, and
//! tells no application anything, with one exception: a first message with a valid mac1 may be
//! answered.

use burdock_core::PublicKey;
use burdock_core::crypto::mac1;

use crate::oracle::{Verdict, require};

const INIT: u8 = 0x08;
/// The end of a first message: mac1 and mac2.
const MACS: usize = 32;
const MAC: usize = 16;

/// What a core did, and the updates that wait for its application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Watch {
    pub(crate) acted: u64,
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
    require(before.told == after.told, "forged", || {
        format!("the application of host {host} was told something because of a forged datagram")
    })?;
    require(first == Some(INIT) || before.acted == after.acted, "forged", || {
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
        assert_eq!(kind(Some(&key), &[0x09]), Some(0x09));
    }

    #[test]
    fn r6_an_answer_to_a_forgery_is_seen() {
        // Mutation: `first == Some(INIT)` into `first.is_some()` makes this fail.
        let before = Watch { acted: 7, told: 0 };
        let answered = Watch { acted: 8, ..before };
        let connected = Watch { told: 1, ..answered };
        let judge = |first, after| changed_nothing(0, first, before, after);
        for first in [None, Some(INIT), Some(0x09), Some(0x0B)] {
            judge(first, before).unwrap();
            assert!(judge(first, connected).is_err());
            assert_eq!(judge(first, answered).is_ok(), first == Some(INIT));
        }
    }
}
