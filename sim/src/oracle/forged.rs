//! R3, R6, H4: what nobody sent changes nothing. A forged datagram leads to no action of the core, and
//! tells no application anything, with one exception: a first message may be answered.

use crate::oracle::{Verdict, require};

const INIT: u8 = 0x08;

/// What a core did, and the updates that wait for its application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Watch {
    pub(crate) acted: u64,
    pub(crate) told: usize,
}

/// Before a forged datagram, which begins with `first`, and after it.
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
