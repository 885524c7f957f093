//! Messages through bad weather.

use core::time::Duration;

use burdock_sim::scenario::{Reader, Trouble};
use burdock_sim::{Family, Scenario};

use crate::{all_delivered, ok, restricted};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn t12_up_to_thirty_percent_loss_lose_and_double_nothing() {
    // Mutation: a packet threshold of 3,000 and no probe timeout make this fail.
    for per_mille in (0..=300).step_by(30) {
        let scenario = Scenario::calm(u64::from(per_mille))
            .troubled(Family::Loss, &Trouble::Loss { per_mille }, Duration::ZERO, Some(ms(60_000)))
            .sending(0, 1, 500, 700, ms(100))
            .sending(1, 0, 500, 700, ms(2_000));
        all_delivered(&ok(&scenario));
    }
    burdock_ledger::reached("T12", "messages lost, doubled or swapped", 0);
}

#[test]
fn r4_doubled_and_reordered_datagrams_are_taken_once() {
    // Mutation: accepting a number again that the window has seen makes this fail.
    for seed in 0..20 {
        let scenario = Scenario::calm(seed)
            .troubled(Family::Duplicate, &Trouble::Duplicate { per_mille: 300 }, Duration::ZERO, None)
            .troubled(Family::Reorder, &Trouble::Reorder { per_mille: 300, by: ms(60) }, Duration::ZERO, None)
            .sending(0, 1, 400, 500, ms(100))
            .sending(1, 0, 400, 500, ms(120));
        all_delivered(&ok(&scenario));
    }
    burdock_ledger::reached("R4", "duplicates accepted", 0);
}

#[test]
fn r1_no_number_is_used_twice_over_reconnects_and_restarts() {
    // Mutation: keeping the keys of a path when the session resumes makes this fail.
    use Family::{Crash, HalfOpen, Outage, Reset, TcpBlocked, UdpBlocked};
    let reports = restricted(200..260, &[Crash, HalfOpen, Outage, Reset, TcpBlocked, UdpBlocked]);
    assert!(reports.iter().map(|report| report.reconnects).sum::<u64>() >= 20);
}

#[test]
fn r3_flipped_bits_change_nothing() {
    // Mutation: stepping the replay window before the tag is checked makes this fail.
    for seed in 0..10 {
        let scenario = Scenario::calm(seed)
            .troubled(Family::Corrupt, &Trouble::Corrupt { per_mille: 200 }, Duration::ZERO, Some(ms(30_000)))
            .sending(0, 1, 300, 900, ms(100))
            .sending(1, 0, 300, 900, ms(120));
        all_delivered(&ok(&scenario));
    }
}

#[test]
fn t1_bytes_in_small_pieces_are_the_same_bytes() {
    // Mutation: dropping the rest of a frame after a short write makes this fail.
    for piece in [1, 7, 100] {
        let trickle = Trouble::Trickle { send_buffer: 300, piece };
        let scenario = Scenario::udp_black_hole(u64::from(piece))
            .troubled(Family::Trickle, &trickle, Duration::ZERO, Some(ms(60_000)))
            .sending(0, 1, 20, 900, ms(1_000))
            .sending(1, 0, 20, 900, ms(1_000));
        all_delivered(&ok(&scenario));
    }
    burdock_ledger::reached("T1", "streams that differ", 0);
}

#[test]
fn a_slow_reader_slows_the_sender_and_loses_nothing() {
    let mut scenario = Scenario::calm(1).sending(0, 1, 400, 16_000, ms(100));
    scenario.hosts[1].reader = Reader::Slow { batch: 3, every: ms(50) };
    let report = ok(&scenario);
    all_delivered(&report);
}
