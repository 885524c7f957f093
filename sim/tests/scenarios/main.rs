//! Whole sessions in the simulated network. A test that proves a promise of the protocol begins
//! with the promise's id.

mod attack;
mod clocks;
mod delivery;
mod determinism;
mod dialling;
mod herd;
mod i2p;
mod reconnect;
mod seeds;
mod sweep;

use burdock_sim::{Family, Options, Report, Scenario, run};

/// Runs a scenario in which nothing may be broken.
#[track_caller]
fn ok(scenario: &Scenario) -> Report {
    run(scenario, &Options::default()).expect_ok()
}

/// Runs `seeds` scenarios with these families of faults alone, and hands out the reports.
#[track_caller]
fn restricted(seeds: core::ops::Range<u64>, families: &[Family]) -> Vec<Report> {
    seeds.map(|seed| ok(&Scenario::restricted(seed, families))).collect()
}

/// Every message of every stream was delivered, taken once and in order, and is what was sent.
#[track_caller]
fn all_delivered(report: &Report) {
    for stream in &report.streams {
        assert_eq!(stream.outcomes, [stream.sent, 0, 0], "{stream:?}\n{report}");
        assert_eq!((stream.taken, stream.taken_hash), (stream.sent, stream.sent_hash), "{stream:?}\n{report}");
    }
}
