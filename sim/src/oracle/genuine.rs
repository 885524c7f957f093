//! R3, R4: a packet that arrives whole and once is never refused, whatever was damaged, forged or
//! repeated before it.

use burdock_core::seal::Refused;

use crate::oracle::{Verdict, require};

/// What an endpoint had refused `before` such a packet, and `after` it. When `ages_differ` its
/// keys may be too old for it.
pub(crate) fn accepted(host: usize, ages_differ: bool, mut before: Refused, after: Refused) -> Verdict {
    if ages_differ {
        before.retired = after.retired;
    }
    require(before == after, "genuine", || {
        format!("host {host} refused a packet that came whole and once; refused so far: {before:?}, now {after:?}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r4_a_genuine_packet_that_is_refused_is_seen() {
        // Mutation: `before == after` into `before.bad_tag == after.bad_tag` makes this fail.
        let none = Refused::default();
        accepted(0, false, none, none).unwrap();
        let mut after = none;
        after.replayed += 1;
        assert!(accepted(0, true, none, after).is_err());
        let mut retired = none;
        retired.retired += 1;
        assert!(accepted(0, false, none, retired).is_err());
        accepted(0, true, none, retired).unwrap();
    }
}
