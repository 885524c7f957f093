//! Clocks that are wrong, wake-ups that go astray, and processes that are stopped.

use core::time::Duration;

use burdock_core::update::UpdateKind;
use burdock_core::{Code, Time};
use burdock_sim::scenario::{Fault, FaultKind, WakeTrouble};
use burdock_sim::{Detail, Family, Options, Report, Scenario, run};

use crate::{all_delivered, ok, restricted};

const HOUR: Duration = Duration::from_secs(3_600);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn c7_h9_what_the_clock_shows_when_a_run_begins_changes_nothing() {
    // Mutation: `now` in the payload of an initiation makes this fail.
    let mut changed = 0;
    for seed in 0..40 {
        let shown = |alice: Duration, bob: Duration| {
            let mut scenario = Scenario::generate(seed);
            scenario.hosts[0].clock = alice;
            scenario.hosts[1].clock = bob;
            run(&scenario, &Options { trace: Detail::Full })
        };
        let right = shown(2 * HOUR, 2 * HOUR);
        for moved in [shown(HOUR, 3 * HOUR), shown(3 * HOUR, HOUR)] {
            assert_eq!(moved.hash == right.hash, moved.log == right.log);
            changed += right.log.iter().zip(&moved.log).filter(|(one, other)| one != other).count();
            changed += right.log.len().abs_diff(moved.log.len());
        }
    }
    burdock_ledger::reached("C7", "actions changed by a wall clock moved by an hour", u32::try_from(changed).unwrap());
}

/// 300 messages each way, and one fault of Bob's.
fn with(seed: u64, family: Family, kind: FaultKind, from: Duration, until: Option<Duration>) -> Report {
    let mut scenario = Scenario::calm(seed).sending(0, 1, 300, 400, ms(1_000)).sending(1, 0, 300, 400, ms(1_000));
    scenario.faults.push(Fault { from, until, family, kind });
    let report = ok(&scenario);
    all_delivered(&report);
    report
}

#[test]
fn c7_a_clock_that_goes_back_an_hour_stands_still_until_it_is_right() {
    // Mutation: `self.now = now` for the clamp in `Endpoint` makes this fail.
    for seed in 0..5 {
        let kind = FaultKind::ClockJump { host: 1, by: HOUR, back: true };
        with(seed, Family::ClockJump, kind, ms(1_000 + 7 * seed), Some(ms(6_000)));
    }
}

#[test]
fn c7_a_clock_that_goes_forward_an_hour_is_a_late_tick() {
    // Mutation: closing a session whose silence is noticed late makes this fail.
    for seed in 0..5 {
        let kind = FaultKind::ClockJump { host: 1, by: HOUR, back: false };
        with(seed, Family::ClockJump, kind, ms(1_000 + 7 * seed), None);
    }
}

#[test]
fn c4_a_process_that_is_stopped_for_minutes_comes_back_to_its_session() {
    // Mutation: closing a session whose silence is noticed late makes this fail.
    for clock_stands in [false, true] {
        for (seed, lasting) in [(1, 50), (2, 3_000), (3, 70_000), (4, 200_000)] {
            let from = ms(1_000 + 10 * seed);
            let kind = FaultKind::Stop { host: 1, clock_stands, buffer: 20_000 };
            let mut scenario =
                Scenario::calm(seed).sending(0, 1, 300, 400, ms(1_000)).sending(1, 0, 300, 400, ms(1_000));
            // Alice goes on asking for as long.
            scenario.hosts[0].config.attempts = 100;
            scenario.faults.push(Fault { from, until: Some(from + ms(lasting)), family: Family::Stop, kind });
            scenario.ending = burdock_sim::scenario::Ending::Converge { healed: from + ms(lasting), closers: vec![0] };
            let report = ok(&scenario);
            all_delivered(&report);
            if lasting > 60_000 {
                let lost = |kind: &UpdateKind| matches!(kind, UpdateKind::Lost { code: Code::Silent });
                assert!(report.told_to(0).any(|told| lost(&told.kind)), "{report}");
            }
        }
    }
}

#[test]
fn c5_a_dead_path_is_noticed_though_every_wake_up_is_late() {
    // Mutation: giving a path up only at the exact time that was asked for makes this fail.
    let mut scenario = Scenario::peer_gone(1, burdock_sim::Gone::Silent);
    let kind = FaultKind::Wakes { host: 0, trouble: WakeTrouble::Late { up_to: ms(2_000) } };
    scenario.faults.push(Fault { from: Duration::ZERO, until: None, family: Family::LateWake, kind });
    let report = ok(&scenario);
    let lost = report.told_to(0).find(|told| matches!(told.kind, UpdateKind::Lost { .. })).expect("it notices");
    assert!(lost.at.saturating_since(Time::ZERO) <= ms(15_000 + 10_000 + 30_000 + 4 * 2_000), "{report}");
}

#[test]
fn c4_nothing_is_lost_by_clocks_and_wake_ups() {
    // Mutation: not declaring what was in flight lost when a session resumes makes this fail.
    use Family::{ClockJump, DoubledWake, LateWake, LostWake, Stop};
    for report in restricted(0..60, &[ClockJump, DoubledWake, LateWake, LostWake, Stop]) {
        let ended = |code: Code| matches!(code, Code::GaveUp | Code::Expired);
        let gave_up = report.told.iter().any(|told| match &told.kind {
            UpdateKind::Closed { code, .. } => ended(*code),
            _ => false,
        });
        if !gave_up {
            all_delivered(&report);
        }
    }
}
