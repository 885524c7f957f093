//! Promises that hold in every seed: two hundred in each run of the tests, ten thousand in a long one.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use burdock_core::update::UpdateKind;
use burdock_core::{Code, Time};
use burdock_ledger::reached;
use burdock_sim::scenario::{FaultKind, OnStream, Trouble, Way};
use burdock_sim::{Family, Options, Report, Scenario, check, run};

const FEW: u64 = 200;
const MANY: u64 = 10_000;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The seeds that are bad, on all processors.
pub(crate) fn bad(seeds: u64, is_bad: impl Fn(u64) -> bool + Sync) -> Vec<u64> {
    let next = AtomicU64::new(0);
    let work = || {
        let seeds = core::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed)).take_while(|seed| *seed < seeds);
        seeds.filter(|seed| is_bad(*seed)).collect::<Vec<_>>()
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        handles.into_iter().flat_map(|handle| handle.join().expect("it ends")).collect()
    })
}

fn figures(id: &str, figure: &str, seeds: u64, bad: &[u64]) {
    assert!(bad.is_empty(), "{} of {seeds} seeds are bad, such as {:?}", bad.len(), bad.iter().min());
    reached(id, figure, bad.len() as f64);
    reached(id, if seeds < MANY { "seeds watched" } else { "seeds in the long run" }, seeds as f64);
}

/// An oracle failed, or a message has not arrived once and in order.
fn is_unsound(report: &Report) -> bool {
    let whole = |stream: &burdock_sim::Stream| {
        stream.outcomes == [stream.sent, 0, 0] && (stream.taken, stream.taken_hash) == (stream.sent, stream.sent_hash)
    };
    report.failure.is_some() || !report.streams.iter().all(whole)
}

fn talking(scenario: Scenario) -> Scenario {
    (0..6).fold(scenario, |scenario, n| {
        scenario.sending(0, 1, 10, 500, ms(100 + 90 * n)).sending(1, 0, 10, 500, ms(130 + 90 * n))
    })
}

fn duplicated(seeds: u64) {
    let bad = bad(seeds, |seed| {
        let scenario = talking(Scenario::calm(seed))
            .troubled(Family::Duplicate, &Trouble::Duplicate { per_mille: 300 }, Duration::ZERO, None)
            .troubled(Family::Reorder, &Trouble::Reorder { per_mille: 300, by: ms(60) }, Duration::ZERO, None);
        is_unsound(&run(&scenario, &Options::default()))
    });
    figures("R4", "duplicates accepted", seeds, &bad);
}

fn lossy(seeds: u64) {
    let bad = bad(seeds, |seed| {
        let loss = Trouble::Loss { per_mille: (seed % 301) as u32 };
        let scenario = talking(Scenario::calm(seed)).troubled(Family::Loss, &loss, Duration::ZERO, Some(ms(60_000)));
        is_unsound(&run(&scenario, &Options::default()))
    });
    figures("T12", "messages lost, doubled or swapped", seeds, &bad);
}

fn both_dialling(seeds: u64) {
    let bad = bad(seeds, |seed| {
        // Any moment within three round trips of 40 ms.
        let delay = Duration::from_micros(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 120_000);
        let report = run(&Scenario::both_dial(seed, delay), &Options::default());
        let deadline = Time::ZERO + ms(6 * 20 + 1_000);
        let once = |host: usize| {
            let connected = |kind: &UpdateKind| matches!(kind, UpdateKind::Connected { .. });
            let mut times = report.told_to(host).filter(|told| connected(&told.kind)).map(|told| told.at);
            times.next().is_some_and(|at| at <= deadline) && times.next().is_none()
        };
        report.failure.is_some() || !once(0) || !once(1)
    });
    figures("H10", "seeds with more or less than one session", seeds, &bad);
}

fn injected(seeds: u64) {
    let bad = bad(seeds, |seed| {
        let tricks = OnStream { flip: 30, insert: 30, reset: 30 };
        let ways = [Way { from: 0, to: 1 }, Way { from: 1, to: 0 }];
        let scenario =
            talking(Scenario::udp_black_hole(seed)).sending(0, 1, 10, 500, ms(3_000)).sending(1, 0, 10, 500, ms(3_000));
        // Before the responder has its first packet there is no session to come back to.
        let scenario = ways.into_iter().fold(scenario, |scenario, way| {
            let kind = FaultKind::OnStream { way, tricks: tricks.clone() };
            let from = ms(1_000 + seed % 500);
            let scenario = scenario.faulty(Family::Reset, FaultKind::Reset { way }, from + ms(seed % 97), None);
            scenario.faulty(Family::OnStream, kind, from, Some(ms(8_000)))
        });
        let report = run(&scenario, &Options::default());
        let badly = |kind: &UpdateKind| matches!(kind, UpdateKind::Closed { code, .. } if *code != Code::Done);
        is_unsound(&report) || report.reconnects == 0 || report.told.iter().any(|told| badly(&told.kind))
    });
    figures("T10", "sessions lost to injections", seeds, &bad);
}

#[test]
fn r4_duplicates_are_taken_once_in_every_seed() {
    // Mutation: accepting a number again that the window has seen makes this fail.
    duplicated(FEW);
}

#[test]
fn t12_loss_loses_nothing_in_any_seed() {
    // Mutation: a packet threshold of 3,000 and no probe timeout make this fail.
    lossy(FEW);
}

#[test]
fn h10_both_sides_dialling_make_one_session_in_every_seed() {
    // Mutation: refusing an inbound handshake while dialling makes this fail.
    both_dialling(FEW);
}

#[test]
fn t10_injections_end_no_session_in_any_seed() {
    // Mutation: closing the session when a packet on a stream fails (`receive.rs`) makes this fail.
    injected(FEW);
}

#[test]
#[ignore = "10,000 seeds take a minute: for releases"]
fn r4_duplicates_are_taken_once_in_ten_thousand_seeds() {
    // Mutation: accepting a number again that the window has seen makes this fail.
    duplicated(MANY);
}

#[test]
#[ignore = "10,000 seeds take a minute: for releases"]
fn t12_loss_loses_nothing_in_ten_thousand_seeds() {
    // Mutation: a packet threshold of 3,000 and no probe timeout make this fail.
    lossy(MANY);
}

#[test]
#[ignore = "10,000 seeds take a minute: for releases"]
fn h10_both_sides_dialling_make_one_session_in_ten_thousand_seeds() {
    // Mutation: refusing an inbound handshake while dialling makes this fail.
    both_dialling(MANY);
}

#[test]
#[ignore = "10,000 seeds take a minute: for releases"]
fn t10_injections_end_no_session_in_ten_thousand_seeds() {
    // Mutation: closing the session when a packet on a stream fails (`receive.rs`) makes this fail.
    injected(MANY);
}

#[test]
#[ignore = "10,000 seeds take some minutes: for releases"]
fn r1_c4_c6_ten_thousand_seeds_break_nothing() {
    // Mutation: `nonce-reuse`, `half-a-frame` or `doubled-on-path-change` of `tests/planted` makes this fail.
    let bad = bad(MANY, |seed| check(seed).failure.is_some());
    figures("R1", "repeats", MANY, &bad);
    figures("C4", "messages lost, doubled or swapped in silence", MANY, &bad);
    figures("C6", "leftovers that changed something", MANY, &bad);
}
