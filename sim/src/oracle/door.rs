//! D3: whoever has not proved an address, by a cookie that was sent there, shares one rate of answers
//! with all others who have not.

use core::net::SocketAddr;
use std::collections::{BTreeMap, BTreeSet};

use burdock_core::{Limits, Time};

use crate::oracle::{Verdict, require};

const ORACLE: &str = "door";
const RESP: u8 = 0x09;
const COOKIE: u8 = 0x0A;

#[derive(Debug, Default)]
pub(crate) struct Door {
    /// By host and its incarnation, with which its cookies end.
    doors: BTreeMap<(usize, u32), Account>,
}

#[derive(Debug, Default)]
struct Account {
    /// Where somebody received a cookie.
    proved: BTreeSet<SocketAddr>,
    /// Ephemeral keys of answers: a repeated question gets the same one.
    answers: BTreeSet<[u8; 32]>,
    /// When the bucket of all others is full again (the generic cell rate algorithm, ITU-T I.371), in microseconds.
    full_at: u64,
}

impl Door {
    /// A datagram goes to an address, where it has `reached` somebody who may show what is in it.
    pub(crate) fn sent(
        &mut self,
        door: (usize, u32),
        clock: Time,
        limits: &Limits,
        to: SocketAddr,
        reached: bool,
        packet: &[u8],
    ) -> Verdict {
        match packet.first() {
            Some(&COOKIE) if reached => drop(self.doors.entry(door).or_default().proved.insert(to)),
            Some(&RESP) => {
                let account = self.doors.entry(door).or_default();
                let Some(ephemeral) = packet.get(8..40).and_then(|bytes| bytes.first_chunk::<32>()) else {
                    return Ok(());
                };
                if !account.answers.insert(*ephemeral) || account.proved.contains(&to) {
                    return Ok(());
                }
                let (interval, now) = (1_000_000 / u64::from(limits.unproven_rate.max(1)), clock.as_micros());
                let slack = interval * u64::from(limits.unproven_burst.max(1) - 1);
                let within = account.full_at <= now.saturating_add(slack);
                account.full_at = account.full_at.max(now).saturating_add(interval);
                let host = door.0;
                return require(within, ORACLE, || {
                    let (rate, burst) = (limits.unproven_rate, limits.unproven_burst);
                    format!(
                        "host {host} answered {to}, where no cookie ever came; {rate} a second and {burst} at once may"
                    )
                });
            }
            _ => {}
        }
        Ok(())
    }

    /// The answers that were given: none of them is repeated any more.
    pub(crate) fn forget(&mut self) {
        self.doors.values_mut().for_each(|account| account.answers.clear());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::address;

    #[test]
    fn d3_an_answer_too_many_without_a_cookie_is_seen() {
        // Mutation: `if reached` into `if true` makes this fail.
        let limits = Limits { unproven_rate: 2, unproven_burst: 3, ..Limits::default() };
        let mut oracle = Door::default();
        let mut answer = |at: usize, millis: u64, number: u8| {
            let clock = Time::from_micros(millis * 1_000);
            let mut packet = [number; 1_200];
            packet[0] = if number == 0 { COOKIE } else { RESP };
            oracle.sent((0, 0), clock, &limits, address(at), at != 9, &packet)
        };
        for number in 1..=3 {
            answer(1, 10, number).unwrap();
        }
        answer(1, 11, 3).unwrap();
        answer(2, 11, 0).unwrap();
        answer(2, 11, 4).unwrap();
        answer(9, 11, 0).unwrap();
        answer(9, 510, 5).unwrap();
        assert!(answer(9, 511, 6).is_err());
    }
}
