//! Sessions over I2P: routers that take their time, refuse, lie and die.

use core::time::Duration;

use burdock_core::update::{ProgressStatus, Stage, UpdateKind};
use burdock_core::{Code, Config, Progress, RouterState, Time, Transport};
use burdock_ledger::reached;
use burdock_sim::scenario::{Ending, FaultKind, Lie, Refused, RouterTrouble};
use burdock_sim::{Family, Lab, Report, Scenario};

use crate::seeds::bad;
use crate::{all_delivered, ok};

const ALICE: usize = 0;
const BOB: usize = 1;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Something is wrong with the router of `host`.
fn troubled(
    scenario: Scenario,
    host: usize,
    trouble: RouterTrouble,
    from: Duration,
    until: Option<Duration>,
) -> Scenario {
    scenario.faulty(Family::NoTunnels, FaultKind::Router { host, trouble }, from, until)
}

/// Alice dials Bob for as long as it takes to give him up, whatever comes of it.
fn hopeless(seed: u64, host: usize, trouble: RouterTrouble) -> Report {
    let mut scenario = troubled(Scenario::anonymous(seed), host, trouble, Duration::ZERO, None);
    scenario.ending = Ending::Stop { at: secs(600) };
    ok(&scenario)
}

fn progress(report: &Report) -> impl Iterator<Item = (Time, &Progress)> {
    report.told_to(ALICE).filter_map(|told| match &told.kind {
        UpdateKind::Progress(progress) => Some((told.at, progress)),
        _ => None,
    })
}

/// When each attempt of Alice began.
fn begun(report: &Report) -> Vec<Time> {
    let mut begun: Vec<Time> = Vec::new();
    for (at, progress) in progress(report).filter(|(_, progress)| progress.status == ProgressStatus::Connecting) {
        if progress.attempt as usize > begun.len() {
            begun.push(at);
        }
    }
    begun
}

/// When Alice was connected, and by which attempt.
fn connected(report: &Report) -> (Time, u32) {
    let found = progress(report).find(|(_, progress)| progress.status == ProgressStatus::Connected);
    let (at, progress) = found.unwrap_or_else(|| panic!("she was never connected\n{report}"));
    assert_eq!(progress.transport, Some(Transport::I2p));
    (at, progress.attempt)
}

/// The texts, hints and reasons of all failed attempts, the last one included.
fn failures(report: &Report) -> Vec<(Code, &str, &str)> {
    let failed = |progress: &Progress| matches!(progress.status, ProgressStatus::Retrying | ProgressStatus::Failed);
    let failed = progress(report).filter(|(_, progress)| failed(progress)).map(|(_, progress)| progress);
    failed.map(|it| (it.code.expect("it says why"), it.message.as_str(), it.hint.as_str())).collect()
}

#[test]
fn an_attempt_begins_when_the_tunnels_stand() {
    // Mutation: `attempt.deadline` left as it was in `on_router` makes this fail.
    for build in [12, 100] {
        let mut scenario = Scenario::anonymous(build);
        scenario.hosts[ALICE].router.as_mut().unwrap().build = secs(build);
        scenario.ending = Ending::Converge { healed: secs(150), closers: vec![ALICE] };
        let report = ok(&scenario);
        let stage = |stage| progress(&report).find(|(_, it)| it.stage == Some(stage)).expect("it is told").0;
        assert_eq!(stage(Stage::Tunnels), Time::ZERO);
        let stands = stage(Stage::Opening).saturating_since(Time::ZERO);
        assert!((secs(build)..secs(build) + Duration::from_millis(10)).contains(&stands), "{report}");
        let (at, attempt) = connected(&report);
        assert_eq!((attempt, begun(&report)), (1, vec![Time::ZERO]), "{report}");
        // At most two seconds to find the lease set, two for the handshake.
        assert!(at.saturating_since(stage(Stage::Opening)) <= secs(4) + Duration::from_millis(20), "{report}");
        all_delivered(&report);
    }
}

#[test]
fn a_lease_set_that_is_not_there_yet_costs_the_attempts_that_the_schedule_says() {
    // Mutation: waits of 1 s in place of the schedule's in `back_off` make this fail.
    for seed in 0..20 {
        let published = secs(12);
        let mut scenario =
            troubled(Scenario::anonymous(seed), BOB, RouterTrouble::Unpublished, Duration::ZERO, Some(published));
        for host in &mut scenario.hosts {
            host.config.backoff = host.config.backoff.clone().with_jitter(if seed % 2 == 0 { 0 } else { 500 });
        }
        let report = ok(&scenario);
        let begun = begun(&report);
        // Each attempt begins when the wait before it is over.
        let failed = progress(&report).filter(|(_, it)| it.status == ProgressStatus::Retrying);
        for ((at, progress), begins) in failed.zip(&begun[1..]) {
            let wait = begins.saturating_since(at);
            assert_eq!(Some(wait.as_millis() as u64), progress.retry_in_ms, "{report}");
            let longest = secs(5 * u64::from(progress.attempt - 1));
            let due = if seed % 2 == 0 { longest..=longest } else { longest / 2..=longest };
            assert!(due.contains(&wait), "{wait:?}\n{report}");
            let text = "Peer is unreachable — they may be offline";
            assert_eq!((progress.code, progress.message.as_str()), (Some(Code::Unreachable), text));
        }
        // The first attempt that asks after the lease set is there finds it.
        let expected = begun.iter().position(|at| *at >= Time::ZERO + published).expect("one of them") + 1;
        assert_eq!((connected(&report).1 as usize, begun.len()), (expected, expected), "{report}");
    }
}

#[test]
fn each_failure_has_its_text() {
    // Mutation: `TunnelTimeout` for `Unreachable` in `SamError::code` makes this fail.
    let unreachable = "Peer is unreachable — they may be offline";
    let tunnels = "Connection timed out — I2P tunnels may be building";
    let handshake = "Connected but handshake failed — retrying";
    let router = "The I2P router does not answer";
    let gave_up = "Could not reach peer after 4 attempts — their node may be offline or still bootstrapping";
    let lies = |lie| RouterTrouble::Lies { lie, per_mille: 1_000 };
    let refuses = |with| RouterTrouble::Refuses { with };
    for (host, trouble, code, text) in [
        (ALICE, refuses(Refused::CantReachPeer), Code::Unreachable, unreachable),
        (ALICE, refuses(Refused::Timeout), Code::TunnelTimeout, tunnels),
        (ALICE, refuses(Refused::I2pError), Code::SamDown, router),
        (BOB, RouterTrouble::Unpublished, Code::Unreachable, unreachable),
        (BOB, RouterTrouble::Down, Code::Unreachable, unreachable),
        (BOB, RouterTrouble::Silent, Code::TunnelTimeout, tunnels),
        (ALICE, RouterTrouble::Down, Code::SamDown, router),
        (ALICE, RouterTrouble::Stalled, Code::SamDown, router),
        (ALICE, lies(Lie::OkInMessage), Code::SamDown, router),
        (ALICE, lies(Lie::LongLine), Code::SamDown, router),
    ] {
        let report = hopeless(1, host, trouble.clone());
        let failures = failures(&report);
        let last = (Code::GaveUp, gave_up, Code::GaveUp.hint());
        assert_eq!(failures, [(code, text, code.hint()), (code, text, code.hint()), (code, text, code.hint()), last]);
        let closed = |kind: &UpdateKind| matches!(kind, UpdateKind::Closed { code: Code::GaveUp, .. });
        assert!(report.told_to(ALICE).any(|told| closed(&told.kind)), "{trouble:?}\n{report}");
    }
    // The bridge stands, and what comes through the stream is no handshake.
    let mut scenario = Scenario::anonymous(1);
    scenario = troubled(scenario, ALICE, lies(Lie::OkThenGarbage), secs(5), None);
    scenario.ops[0].at = secs(6);
    scenario.ending = Ending::Stop { at: secs(600) };
    let report = ok(&scenario);
    let failures = failures(&report);
    assert_eq!(failures[0], (Code::HandshakeTimeout, handshake, Code::HandshakeTimeout.hint()), "{report}");
    assert_eq!(failures.last().expect("the last").1, gave_up);
}

#[test]
fn a_bridge_that_does_not_run_is_told_with_what_helps() {
    // Mutation: an attempt that waits for ever (`wake_dials` not called in `session_gone`) makes this fail.
    let report = hopeless(3, ALICE, RouterTrouble::Down);
    let (code, text, hint) = failures(&report)[0];
    assert_eq!((code, text), (Code::SamDown, "The I2P router does not answer"));
    assert_eq!(hint, "Start an I2P router with SAM enabled, or install i2pd (on Debian: apt install i2pd).");
}

/// How long after her dial Alice is connected, when `callers` call Bob before and say nothing.
fn connects_after(callers: u32) -> Duration {
    let mut scenario = Scenario::anonymous(5);
    scenario = troubled(scenario, BOB, RouterTrouble::MuteCallers { streams: callers }, secs(3), None);
    scenario.ops[0].at = secs(5);
    let report = ok(&scenario);
    let (at, attempt) = connected(&report);
    assert_eq!(attempt, 1, "{report}");
    at.saturating_since(Time::ZERO)
}

#[test]
fn d5_e10_a_caller_stuck_in_its_handshake_delays_no_other() {
    // Mutation: one waiting socket that is not replaced until the handshake on it is over (no `tend_router` in the
    // `Accepted` arm) makes this fail.
    for callers in [1, 2, 3, 50] {
        assert_eq!(connects_after(callers), connects_after(0), "behind {callers} callers");
    }
}

/// What the router of a host is said to be.
fn state(lab: &mut Lab, host: usize) -> RouterState {
    lab.with(host, |endpoint, _| endpoint.router().cloned()).flatten().expect("it has a router")
}

fn run_until(lab: &mut Lab, at: Duration) {
    while lab.step(Time::ZERO + at).expect("no oracle fails") {}
}

#[test]
fn a_dial_that_is_cancelled_leaves_the_sam_session_alone() {
    // Mutation: `end_sam_session` in `Endpoint::cancel` makes this fail.
    for cancelled in [Duration::from_millis(1), secs(4), Duration::from_millis(4_500), secs(7), secs(12)] {
        let mut scenario = Scenario::anonymous(2);
        scenario.hosts[ALICE].router.as_mut().unwrap().build = secs(4);
        scenario = troubled(scenario, BOB, RouterTrouble::Silent, Duration::ZERO, None);
        let mut lab = Lab::new(scenario).expect("a sound scenario");
        let link = lab.hidden_link(BOB);
        let session = lab.with(ALICE, |endpoint, now| endpoint.connect(now, &link)).unwrap().unwrap();
        run_until(&mut lab, cancelled);
        lab.with(ALICE, |endpoint, now| endpoint.cancel(now, session));
        let before = state(&mut lab, ALICE);
        run_until(&mut lab, secs(30));
        // The control socket, and two that wait for callers; it was asked for once.
        assert!(matches!(state(&mut lab, ALICE), RouterState::Up { .. }), "it was {before:?}");
        assert_eq!(lab.streams(ALICE), 3);
        assert_eq!(lab.bridge_knocks(ALICE).len() - 3, usize::from(cancelled > secs(4)), "at {cancelled:?}");
    }
}

/// Alice and Bob talk from the beginning to the end of what is wrong.
fn talking(seed: u64, until: u64) -> Scenario {
    let mut scenario = Scenario::anonymous(seed);
    for n in 0..until {
        let at = secs(n) + Duration::from_millis(500);
        scenario = scenario.sending(ALICE, BOB, 3, 400, at).sending(BOB, ALICE, 3, 400, at);
    }
    scenario.ending = Ending::Converge { healed: secs(until), closers: vec![ALICE] };
    scenario
}

/// Streams that the routers opened.
fn streams(report: &Report) -> u64 {
    let rows = report.table.rows();
    rows.iter().find(|row| (row.group, row.name) == ("router", "stream")).expect("a row").count
}

#[test]
fn a_session_survives_the_restart_of_either_bridge() {
    // Mutation: sessions closed with the SAM session (`finish` in `session_gone`) make this fail.
    for host in [ALICE, BOB] {
        for seed in 0..4 {
            let until = secs(21 + 5 * seed);
            let scenario = troubled(talking(seed, 60), host, RouterTrouble::Down, secs(20), Some(until));
            let report = ok(&scenario);
            all_delivered(&report);
            assert!(streams(&report) >= 2, "{report}");
        }
    }
}

#[test]
fn sessions_that_a_router_forgets_are_asked_for_anew() {
    // Mutation: `InvalidId` left out of `ends_session` makes this fail.
    for host in [ALICE, BOB] {
        let report = ok(&troubled(talking(7, 60), host, RouterTrouble::Forgets, secs(20), None));
        all_delivered(&report);
        assert!(streams(&report) >= 2, "{report}");
    }
}

#[test]
fn streams_that_die_in_silence_are_noticed_and_replaced() {
    // Mutation: `silence_at` that is `None` on I2P makes this fail.
    for host in [ALICE, BOB] {
        let report = ok(&troubled(talking(9, 60), host, RouterTrouble::Rebuilt, secs(20), None));
        all_delivered(&report);
        // Another is found before the session counts as lost.
        assert_eq!((streams(&report), report.reconnects), (2, 0), "{report}");
    }
}

#[test]
fn streams_that_a_router_ends_are_replaced() {
    // Mutation: `lost` calling `fail` makes this fail.
    for host in [ALICE, BOB] {
        let report = ok(&troubled(talking(9, 60), host, RouterTrouble::Resets, secs(20), None));
        all_delivered(&report);
        assert_eq!(streams(&report), 2, "{report}");
    }
}

#[test]
fn what_only_stood_still_goes_on_without_a_loss() {
    for trouble in [RouterTrouble::Silent, RouterTrouble::Stalled] {
        let report = ok(&troubled(talking(11, 60), BOB, trouble, secs(20), Some(secs(40))));
        all_delivered(&report);
        assert_eq!((streams(&report), report.reconnects), (1, 0), "{report}");
    }
}

#[test]
fn c1_e16_a_bridge_that_is_not_there_is_asked_less_and_less_often_and_never_in_step() {
    // Mutation: a jitter of 0, or a wait that does not grow, in `router::wait` makes this fail.
    let schedule = burdock_core::Schedule::exponential(secs(2), secs(60));
    let mut waits: Vec<Vec<Duration>> = Vec::new();
    for seed in 0..50 {
        let report = hopeless(seed, ALICE, RouterTrouble::Down);
        let knocks: Vec<Time> = report
            .knocks
            .iter()
            .filter(|knock| (knock.from, knock.to) == (ALICE, ALICE))
            .map(|knock| knock.at)
            .collect();
        reached("C1", "attempts of one client in 10 minutes", knocks.len() as u32);
        let gaps = knocks.windows(2).map(|pair| pair[1].saturating_since(pair[0]));
        for (n, gap) in gaps.enumerate() {
            waits.resize(waits.len().max(n + 1), Vec::new());
            waits[n].push(gap);
            // Being refused takes 100 us.
            let most = schedule.wait(n as u32) + Duration::from_micros(100);
            assert!((most / 2..=most).contains(&gap), "wait {n} is {gap:?}, at most {most:?}");
        }
    }
    for (n, waits) in waits.iter().enumerate().take(10) {
        let (least, most) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
        assert!(*most - *least > schedule.wait(n as u32) / 3, "wait {n} is {least:?} to {most:?}");
    }
}

/// Seeds in which somebody did something beside its bridge that may not, or another oracle failed.
fn beside(seeds: u64) {
    let beside = core::sync::atomic::AtomicU64::new(0);
    let bad = bad(seeds, |seed| {
        let report = burdock_sim::run(&Scenario::routers(seed), &burdock_sim::Options::default());
        beside.fetch_add(report.beside, core::sync::atomic::Ordering::Relaxed);
        report.failure.is_some()
    });
    reached("T4", "operations beside the SAM address", beside.into_inner() as f64);
    assert!(bad.is_empty(), "{} of {seeds} seeds are bad, such as {:?}", bad.len(), bad.iter().min());
}

#[test]
fn t4_t7_t8_routers_that_fail_in_every_way_lead_nobody_astray() {
    // Mutation: an I2P rung that falls back to TCP makes this fail.
    beside(200);
    reached("T4", "seeds watched", 200);
}

#[test]
#[ignore = "10,000 seeds take some minutes: for releases"]
fn t4_t7_t8_routers_that_fail_in_every_way_lead_nobody_astray_in_ten_thousand_seeds() {
    // Mutation: an I2P rung that falls back to TCP makes this fail.
    beside(10_000);
    reached("T4", "seeds in the long run", 10_000);
}

#[test]
fn t3_i2p_is_the_last_rung_and_only_makes_it_slower() {
    // Mutation: `Rung::I2p` left out of `rungs` makes this fail.
    let mut scenario = Scenario::anonymous(1).blocked(Family::Outage, None, Duration::ZERO, None);
    for host in &mut scenario.hosts {
        host.config = Config { class: burdock_core::Class::Open, ..host.config.clone() };
    }
    let report = ok(&scenario);
    assert_eq!(connected(&report).1, 1, "{report}");
    // UDP, TCP and I2P begin 300 ms apart.
    let at = |transport| progress(&report).find(|(_, it)| it.transport == Some(transport)).expect("it is tried").0;
    let apart = Duration::from_millis(300);
    assert_eq!(at(Transport::Udp), Time::ZERO);
    assert_eq!(at(Transport::Tcp), Time::ZERO + apart);
    assert_eq!(at(Transport::I2p), Time::ZERO + 2 * apart);
}
