//! What happens to a session whose peer, or whose network, is gone for a while or for good.

use core::time::Duration;

use burdock_core::update::{ProgressStatus, UpdateKind};
use burdock_core::{Code, Time};
use burdock_sim::{Family, Gone, Report, Scenario, Told};

use crate::{all_delivered, ok, restricted};

const ALICE: usize = 0;
const BOB: usize = 1;
/// The streamer preset: 100 ms, doubling, at most 30 s.
const WAITS_MS: [u64; 10] = [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000];

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn progress(report: &Report, host: usize, wanted: ProgressStatus) -> Vec<(Time, u32, Option<u64>)> {
    let pick = |told: &Told| match &told.kind {
        UpdateKind::Progress(progress) if progress.status == wanted => {
            Some((told.at, progress.attempt, progress.retry_in_ms))
        }
        _ => None,
    };
    report.told_to(host).filter_map(pick).collect()
}

fn first(report: &Report, host: usize, wanted: impl Fn(&UpdateKind) -> bool) -> Time {
    let found = report.told_to(host).find(|told| wanted(&told.kind));
    found.unwrap_or_else(|| panic!("it was never told so\n{report}\n{:#?}", report.told)).at
}

fn gives_up_after_the_ten_waits(gone: Gone) {
    let report = ok(&Scenario::peer_gone(1, gone));
    let lost = first(&report, ALICE, |kind| matches!(kind, UpdateKind::Lost { .. }));
    let waits: Vec<_> = progress(&report, ALICE, ProgressStatus::Retrying);
    assert_eq!(waits.iter().filter_map(|wait| wait.2).collect::<Vec<_>>(), WAITS_MS, "{report}");
    assert_eq!(WAITS_MS.iter().sum::<u64>(), 81_100);

    // Each wait lasts exactly as long as it was announced: the next thing told is the attempt.
    let starts: Vec<_> =
        progress(&report, ALICE, ProgressStatus::Connecting).into_iter().filter(|start| start.0 > lost).collect();
    for (attempt, (wait, millis)) in (1..).zip(waits.iter().zip(WAITS_MS)) {
        let start = starts.iter().find(|start| start.0 >= wait.0).expect("an attempt follows each wait");
        assert_eq!(start.0.saturating_since(wait.0), ms(millis), "before attempt {attempt}");
        assert_eq!(start.1, attempt);
    }

    let (end, code) = report
        .told_to(ALICE)
        .find_map(|told| match &told.kind {
            UpdateKind::Closed { code, .. } => Some((told.at, *code)),
            _ => None,
        })
        .expect("it is given up");
    assert_eq!(code, Code::GaveUp);
    let failed = progress(&report, ALICE, ProgressStatus::Failed);
    assert_eq!(failed.iter().map(|failed| (failed.0, failed.1)).collect::<Vec<_>>(), [(end, 10)]);
    match gone {
        // Every attempt lasts to its deadline of 5 s.
        Gone::Silent => assert_eq!(end.saturating_since(lost), ms(81_100 + 10 * 5_000)),
        // Every attempt ends as soon as TCP has refused, too: one round trip after its start.
        Gone::Refusing => assert!(end.saturating_since(lost) < ms(81_100 + 10 * 1_000), "{report}"),
    }
}

#[test]
fn c1_a_peer_that_stays_silent_is_given_up_after_exactly_ten_waits() {
    // Mutation: resetting the backoff when a stream opens makes this fail.
    gives_up_after_the_ten_waits(Gone::Silent);
}

#[test]
fn c1_a_peer_that_refuses_is_given_up_after_exactly_ten_waits() {
    // Mutation: counting an attempt for each transport that is refused makes this fail.
    gives_up_after_the_ten_waits(Gone::Refusing);
}

#[test]
fn c4_five_seconds_of_nothing_lose_nothing() {
    // Mutation: not declaring what was in flight lost when a session resumes makes this fail.
    for phase in [40, 45, 60, 65, 80, 100, 150, 400, 2_000] {
        let report = ok(&Scenario::outage(phase, ms(phase), ms(5_000), 1_000));
        all_delivered(&report);
        assert_eq!(report.messages, 2_000, "{report}");
    }
    burdock_ledger::reached("C4", "messages lost, doubled or swapped in silence", 0);
}

#[test]
fn c4_a_long_outage_is_noticed_and_resumed() {
    // Mutation: taking silence for health (never giving a path up) makes this fail.
    for seed in 0..5 {
        let report = ok(&Scenario::outage(seed, ms(500 + 13 * seed), ms(60_000), 1_000));
        all_delivered(&report);
        assert!(report.reconnects >= 1, "{report}");
    }
}

#[test]
fn c4_nothing_is_lost_over_any_cuts_and_changes_of_transport() {
    // Mutation: sending a message again from its start on a new path makes this fail.
    use Family::{HalfOpen, OneWay, Outage, Reset, TcpBlocked, Trickle, UdpBlocked};
    let families = [Outage, OneWay, UdpBlocked, TcpBlocked, Reset, HalfOpen, Trickle];
    for report in restricted(0..60, &families) {
        let gave_up = |told: &Told| matches!(told.kind, UpdateKind::Closed { code: Code::GaveUp, .. });
        if !report.told.iter().any(gave_up) {
            all_delivered(&report);
        }
    }
    burdock_ledger::reached("C4", "messages lost, doubled or swapped in silence", 0);
}

#[test]
fn c5_only_new_authentic_packets_prove_life() {
    // Mutation: counting a packet that does not open as a sign of life makes this fail.
    // One direction is dead: what Bob still hears must not keep Alice's side alive for ever.
    use burdock_sim::scenario::{Fault, FaultKind, Trouble, Verdict, Way};
    let mut scenario = Scenario::peer_gone(3, Gone::Silent);
    scenario.faults.clear();
    let block = Trouble::Block { protocol: None, port: None, verdict: Verdict::Drop };
    scenario.faults.push(Fault {
        from: ms(2_000),
        until: None,
        family: Family::OneWay,
        kind: FaultKind::Path { way: Way { from: BOB, to: ALICE }, trouble: block },
    });
    let report = ok(&scenario);
    let lost = first(&report, ALICE, |kind| matches!(kind, UpdateKind::Lost { .. }));
    assert!(lost.saturating_since(Time::ZERO) <= ms(2_000 + 10_000 + 30_000), "{report}");
}

#[test]
fn c6_what_is_left_of_a_dead_session_does_not_touch_its_successor() {
    // Mutation: finding a session's path by its address instead of its index makes this fail.
    use Family::{Cancel, Crash, Duplicate, Nudge, Reorder, Reset};
    let reports = restricted(0..60, &[Cancel, Crash, Duplicate, Nudge, Reorder, Reset]);
    assert!(reports.iter().map(|report| report.faults).sum::<u64>() > 100);
}

#[test]
fn t10_a_reset_drops_the_carrier_and_nothing_else() {
    // Mutation: closing the session when its stream is reset makes this fail.
    use burdock_sim::scenario::{Fault, FaultKind, Way};
    for seed in 0..30 {
        let mut scenario = Scenario::udp_black_hole(seed).sending(ALICE, BOB, 300, 400, ms(200)).sending(
            BOB,
            ALICE,
            300,
            400,
            ms(210),
        );
        for n in 0..4 {
            let way = if (seed + n) % 2 == 0 { Way { from: 0, to: 1 } } else { Way { from: 1, to: 0 } };
            let from = ms(460 + 31 * seed + 700 * n);
            scenario.faults.push(Fault { from, until: None, family: Family::Reset, kind: FaultKind::Reset { way } });
        }
        let report = ok(&scenario);
        all_delivered(&report);
        assert!(report.reconnects >= 1, "{report}");
    }
    burdock_ledger::reached("T10", "sessions lost to injections", 0);
}

#[test]
fn a_peer_that_restarts_is_noticed_and_outcomes_stay_true() {
    for (seed, host) in [(1, BOB), (2, BOB), (3, ALICE), (4, ALICE)] {
        for (power, from, down) in [(false, 1_000, 100), (true, 1_013, 700), (false, 430, 12_000), (true, 2_000, 9)] {
            let scenario = Scenario::restart(seed, host, power, ms(from), ms(down))
                .sending(ALICE, BOB, 500, 300, ms(from - 20))
                .sending(BOB, ALICE, 500, 300, ms(from - 10));
            let report = ok(&scenario);
            let other = 1 - host;
            first(&report, other, |kind| matches!(kind, UpdateKind::PeerRestarted | UpdateKind::Closed { .. }));
        }
    }
}

/// From the moment the network takes smaller packets alone until all that was given to `send` at that
/// moment has arrived, in probe timeouts in a row, each twice as long as the one before.
#[allow(clippy::unwrap_used, reason = "tests")]
fn probe_timeouts_through(mtu: u32, latency: u64, seed: u64) -> u32 {
    use burdock_sim::Lab;
    use burdock_sim::scenario::{FaultKind, Trouble, Way};
    let mut scenario = Scenario::calm(seed);
    scenario.link.latency = ms(latency);
    let mut lab = Lab::new(scenario).unwrap();
    let link = lab.link(BOB);
    let session = lab.with(ALICE, |endpoint, now| endpoint.connect(now, &link)).unwrap().unwrap();
    let mut taken = 0;
    let mut run = |lab: &mut Lab, until: Time, wanted: u32| {
        while taken < wanted && lab.step(until).unwrap() {
            while lab.update(ALICE).is_some() {}
            while let Some((session, _)) = lab.update(BOB) {
                lab.with(BOB, |endpoint, now| {
                    while endpoint.recv(session).is_some() {
                        taken += 1;
                    }
                    endpoint.taken(now, session);
                });
            }
        }
        taken >= wanted
    };
    // Full packets pass, and the round trip is known.
    for n in 1..=20 {
        lab.with(ALICE, |endpoint, now| endpoint.send(now, session, 0, vec![7; 5_000].into())).unwrap().unwrap();
        let until = lab.now() + ms(60_000);
        assert!(run(&mut lab, until, n));
    }
    for way in [Way { from: ALICE, to: BOB }, Way { from: BOB, to: ALICE }] {
        let _for_ever = lab.begin(FaultKind::Path { way, trouble: Trouble::Mtu { bytes: mtu } }).unwrap();
    }
    let from = lab.now();
    for _ in 0..20 {
        lab.with(ALICE, |endpoint, now| endpoint.send(now, session, 0, vec![7; 5_000].into())).unwrap().unwrap();
    }
    assert!(run(&mut lab, from + ms(120_000), 40), "mtu {mtu}: never");
    // One probe timeout of a steady path is a round trip, 1 ms for its variation and the peer's 25 ms (RFC 9002 §6.2.1).
    let period = u128::from(2 * latency + 1 + 25);
    let took = lab.now().saturating_since(from).as_millis();
    (0..).find(|timeouts| period * ((1 << timeouts) - 1) >= took).unwrap()
}

#[test]
fn t11_a_smaller_mtu_is_survived_within_six_probe_timeouts() {
    // Mutation: `suspect_after` of an hour makes this fail.
    // At 1,280 bytes all that we send by UDP passes. At 1,200 no full packet does, and no handshake, whose
    // padding makes it 1,228 bytes: then the session goes on by TCP.
    let mut most = 0;
    for mtu in [1_280, 1_200] {
        for latency in [10, 20, 50, 100] {
            let timeouts = probe_timeouts_through(mtu, latency, u64::from(mtu) + latency);
            assert!(mtu == 1_200 || timeouts <= 4, "{timeouts}");
            most = most.max(timeouts);
        }
    }
    burdock_ledger::reached("T11", "probe timeouts until a session gets through a smaller MTU", most);
}
