//! Attackers, on the way and far from it, and NATs that forget.

use core::time::Duration;

use burdock_core::Code;
use burdock_core::update::UpdateKind;
use burdock_ledger::reached;
use burdock_sim::scenario::{FaultKind, Forgery, OffPath, OnPath, OnStream, Rebinding, Way};
use burdock_sim::{Family, Lab, Options, Report, Scenario, run};

use crate::{all_delivered, ok};

const WAYS: [Way; 2] = [Way { from: 0, to: 1 }, Way { from: 1, to: 0 }];

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn count(report: &Report, deed: &str) -> u64 {
    report.table.rows().iter().find(|row| (row.group, row.name) == ("attack", deed)).expect("it has a row").count
}

/// Both ways are watched from the beginning, until everything is healed.
fn on_path(scenario: Scenario, tricks: &OnPath) -> Scenario {
    WAYS.into_iter().fold(scenario, |scenario, way| {
        let kind = FaultKind::OnPath { way, tricks: tricks.clone() };
        scenario.faulty(Family::OnPath, kind, Duration::ZERO, Some(ms(10_000)))
    })
}

/// Messages each way, over ten seconds.
fn talking(mut scenario: Scenario) -> Scenario {
    for n in 0..40 {
        scenario = scenario.sending(0, 1, 5, 600, ms(100 + 240 * n)).sending(1, 0, 5, 600, ms(200 + 240 * n));
    }
    scenario
}

/// Sessions that ended otherwise than by being closed.
fn ended_badly(report: &Report) -> usize {
    let bad = |kind: &UpdateKind| matches!(kind, UpdateKind::Closed { code, .. } if *code != Code::Done);
    report.told.iter().filter(|told| bad(&told.kind)).count()
}

#[test]
fn t9_captured_packets_resent_from_elsewhere_move_nothing() {
    // Mutation: setting `via` to the source of each packet that opens (`receive.rs`) makes this fail.
    let mut moves = 0;
    for seed in 0..10 {
        let tricks = OnPath { elsewhere: 400, budget: u64::MAX, ..OnPath::default() };
        let report = run(&talking(on_path(Scenario::calm(seed), &tricks)), &Options::default());
        moves += u32::from(report.failure.is_some());
        let report = report.expect_ok();
        all_delivered(&report);
        assert!(count(&report, "elsewhere_first") > 20 && count(&report, "elsewhere_later") > 20);
    }
    reached("T9", "moves after captured packets resent from elsewhere", f64::from(moves));
}

#[test]
fn h9_replays_at_any_time_and_after_restarts_disturb_nothing() {
    // Mutation: answering a first message as confirmed (`inbound.rs`, `answer`) makes this fail.
    for (seed, restarted) in (0..12).zip([0, 1].into_iter().cycle()) {
        let tricks = OnPath { replay: 500, replay_within: ms(30_000), budget: u64::MAX, ..OnPath::default() };
        let scenario = talking(on_path(Scenario::calm(seed), &tricks));
        all_delivered(&ok(&scenario));
        let crash = FaultKind::Crash { host: restarted, power: true };
        let report = ok(&scenario.faulty(Family::Crash, crash, ms(4_000), Some(ms(4_500))));
        assert!(count(&report, "replayed") + count(&report, "replayed_after_restart") > 100);
        assert_eq!(ended_badly(&report), 0, "{report}");
    }
}

#[test]
fn r3_mutants_and_reflections_change_nothing() {
    // Mutation: stepping the replay window before the tag is checked makes this fail.
    for seed in 0..10 {
        let tricks = OnPath {
            mutate: 300,
            reflect: 300,
            delay: 100,
            delay_by: ms(3_000),
            budget: u64::MAX,
            ..OnPath::default()
        };
        let report = ok(&talking(on_path(Scenario::calm(seed), &tricks)));
        all_delivered(&report);
        assert!(count(&report, "mutated") > 50 && count(&report, "reflected") > 50);
    }
}

#[test]
fn t10_injections_into_tcp_cost_the_carrier_alone() {
    // Mutation: closing the session when a packet on a stream fails (`receive.rs`) makes this fail.
    // A first connection that is cut before the responder has its first packet leaves no session to resume: they come later.
    let (mut lost, mut deeds, mut resumed) = (0, 0, 0);
    for seed in 0..12 {
        let tricks = OnStream { flip: 30, insert: 30, reset: 30 };
        let scenario = WAYS.into_iter().fold(talking(Scenario::udp_black_hole(seed)), |scenario, way| {
            let kind = FaultKind::OnStream { way, tricks: tricks.clone() };
            scenario.faulty(Family::OnStream, kind, ms(1_000), Some(ms(10_000)))
        });
        let report = ok(&scenario);
        all_delivered(&report);
        lost += ended_badly(&report);
        deeds +=
            ["stream_flipped", "stream_inserted", "stream_reset"].map(|deed| count(&report, deed)).iter().sum::<u64>();
        resumed += report.reconnects;
    }
    assert!(deeds > 50 && resumed > 20, "{deeds} {resumed}");
    reached("T10", "sessions lost to injections", lost as f64);
}

#[test]
fn d1_forged_first_messages_are_not_amplified() {
    // Mutation: sending the answer to a first message twice (`inbound.rs`, `answer`) makes this fail.
    let mut worst = 0;
    for seed in 0..10 {
        let plan = OffPath {
            target: 1,
            per_second: 100,
            forgeries: vec![Forgery::Stranger, Forgery::Forged, Forgery::WrongMac, Forgery::Data, Forgery::Garbage],
            sources: 16,
            as_hosts: 300,
            costly: 200,
            identities: 32,
        };
        let kind = FaultKind::OffPath(plan);
        let report = ok(&talking(Scenario::calm(seed)).faulty(Family::OffPath, kind, Duration::ZERO, Some(ms(10_000))));
        all_delivered(&report);
        worst = worst.max(report.amplification);
    }
    assert!(worst > 0, "somebody was answered");
    reached("D1", "bytes answered per byte received", worst as f64 / 1_000.0);
}

#[test]
fn a_rebound_host_is_found_again() {
    for (seed, host) in [(1, 0), (2, 1)] {
        for rebinding in [
            Rebinding { address: false, connections: false },
            Rebinding { address: true, connections: false },
            Rebinding { address: true, connections: true },
        ] {
            for until in [None, Some(ms(7_000))] {
                let kind = FaultKind::Rebind { host, rebinding };
                let report = ok(&talking(Scenario::calm(seed)).faulty(Family::Rebinding, kind, ms(3_000), until));
                all_delivered(&report);
                assert_eq!(ended_badly(&report), 0, "{report}");
            }
        }
    }
}

/// Both talk, and the NAT before Alice forgets her. From the moment when her first packet from the new address
/// reaches Bob until he sends there, in round trips.
fn round_trips_until_followed(seed: u64, latency: u64, address: bool) -> f64 {
    let mut scenario = Scenario::calm(seed);
    scenario.link.latency = ms(latency);
    let mut lab = Lab::new(scenario).expect("a sound scenario");
    let link = lab.link(1);
    let hers = lab.with(0, |endpoint, now| endpoint.connect(now, &link)).expect("she runs").expect("a session");
    let until = lab.now() + ms(2_000);
    while lab.step(until).expect("no oracle fails") {}
    let his = core::iter::from_fn(|| lab.update(1)).next().expect("he was told").0;
    let rebinding = Rebinding { address, connections: false };
    let _for_ever = lab.begin(FaultKind::Rebind { host: 0, rebinding }).expect("she has a NAT");
    let begun = lab.now();
    lab.with(0, |endpoint, now| endpoint.send(now, hers, 0, vec![7; 100].into()));
    // One message a millisecond, each on a channel of its own, so that none waits for one before it.
    for channel in 0..250 {
        lab.with(1, |endpoint, now| endpoint.send(now, his, channel, vec![7; 100].into()));
        let next = lab.now() + ms(1);
        while lab.step(next).expect("no oracle fails") {
            let heard = lab.with(0, |endpoint, _| endpoint.recv(hers)).flatten();
            if heard.is_some() {
                // What is sent to the old address is lost: the first to arrive was sent to the new one.
                let took = lab.now().saturating_since(begun).saturating_sub(2 * ms(latency));
                return took.as_micros() as f64 / (2 * ms(latency)).as_micros() as f64;
            }
        }
    }
    f64::INFINITY
}

#[test]
fn t9_a_rebound_nat_is_followed_within_two_round_trips() {
    // Mutation: `transmit_on` without `fill_challenge` makes this fail.
    let mut worst = 0.0_f64;
    for latency in [10, 20, 50] {
        for address in [false, true] {
            worst = worst.max(round_trips_until_followed(latency, latency, address));
        }
    }
    reached("T9", "round trips until a rebound NAT is followed", worst);
}

/// Alice's tries until she is connected while the flood lasts; `None` when she is not.
fn tries(report: &Report, lasting: Duration) -> Option<u32> {
    let end = burdock_core::Time::ZERO + lasting;
    let hers = || report.told.iter().filter(|told| told.host == 0 && told.at <= end);
    let connected = hers().find(|told| matches!(told.kind, UpdateKind::Connected { .. }))?.at;
    let attempts = hers().filter(|told| told.at <= connected).filter_map(|told| match &told.kind {
        UpdateKind::Progress(progress) => Some(progress.attempt),
        _ => None,
    });
    attempts.max()
}

fn flood(messages: u32, lasting: Duration) {
    let report = ok(&Scenario::flooded(1, messages, lasting));
    let sent = ["wrong_mac1", "forged_init", "stranger_init"].map(|deed| count(&report, deed)).iter().sum::<u64>();
    assert!(sent >= u64::from(messages), "{sent}");
    reached("D1", "bytes answered per byte received", report.amplification as f64 / 1_000.0);
    let tries = tries(&report, lasting);
    reached("D2", "tries of the genuine peer", tries.map_or(f64::INFINITY, f64::from));
    if messages >= 1_000_000 {
        reached("D2", "first messages", sent as f64);
    }
}

#[test]
fn d2_a_flood_of_first_messages() {
    // Mutation: `admit` without the limit on the half-open and without `without_cookie` makes this fail.
    flood(20_000, ms(4_000));
}

#[test]
#[ignore = "a million first messages take a minute; run it in a release build"]
fn d2_a_million_first_messages_from_65536_addresses() {
    // Mutation: `admit` without the limit on the half-open and without `without_cookie` makes this fail.
    flood(1_000_000, ms(20_000));
}
