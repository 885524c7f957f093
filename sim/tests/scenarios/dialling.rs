//! How a session comes up, and by which transport.

use core::time::Duration;

use burdock_core::update::UpdateKind;
use burdock_core::{Identity, Link, Time, Transport};
use burdock_sim::{Family, Lab, Report, Scenario};

use crate::{all_delivered, ok, restricted};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// When a host was first connected, and by what.
fn connected(report: &Report, host: usize) -> (Time, Transport) {
    let found = report.told_to(host).find_map(|told| match &told.kind {
        UpdateKind::Connected { transport, .. } => Some((told.at, *transport)),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("host {host} was never connected\n{report}"))
}

#[test]
fn on_an_open_network_it_takes_one_round_trip_by_udp() {
    for latency in [1, 20, 100] {
        let mut scenario = Scenario::calm(latency);
        scenario.link.latency = ms(latency);
        let report = ok(&scenario);
        // The dialler knows its peer with the answer; the peer confirms with the packet after that.
        assert_eq!(connected(&report, 0), (Time::ZERO + ms(2 * latency), Transport::Udp), "{report}");
        assert_eq!(connected(&report, 1), (Time::ZERO + ms(3 * latency), Transport::Udp), "{report}");
    }
}

#[test]
fn t3_a_silent_block_of_udp_only_makes_it_slower() {
    // Mutation: starting TCP only on an error from UDP makes this fail.
    for latency in [1, 20, 100] {
        let mut scenario = Scenario::udp_black_hole(latency);
        scenario.link.latency = ms(latency);
        let report = ok(&scenario);
        // The head start of UDP, then one round trip for the connection and one for the handshake.
        let expected = Time::ZERO + ms(300 + 4 * latency);
        let (at, transport) = connected(&report, 0);
        assert_eq!((at, transport), (expected, Transport::Tcp), "{report}");
        let took = at.saturating_since(Time::ZERO).as_millis() as u32;
        burdock_ledger::reached("T3", "ms until TCP when UDP is a black hole", took);
    }
}

#[test]
fn t3_seeds_with_udp_blocked_connect_all_the_same() {
    // Mutation: dialling only the last transport that worked makes this fail.
    restricted(0..60, &[Family::UdpBlocked]);
}

#[test]
fn a_session_on_tcp_moves_up_when_udp_comes_back() {
    for until in [2_000, 5_000, 9_000] {
        let scenario = Scenario::calm(until)
            .blocked(Family::UdpBlocked, Some(burdock_sim::scenario::Protocol::Udp), Duration::ZERO, Some(ms(until)))
            .sending(0, 1, 500, 1_000, ms(until - 100))
            .sending(1, 0, 500, 1_000, ms(until));
        let mut scenario = scenario;
        scenario.ending = burdock_sim::scenario::Ending::Converge { healed: ms(300_000), closers: vec![0] };
        let report = ok(&scenario);
        all_delivered(&report);
        let moved = report
            .told_to(0)
            .any(|told| matches!(told.kind, UpdateKind::PathChanged { from: Transport::Tcp, to: Transport::Udp, .. }));
        assert!(moved, "{report}");
    }
}

#[test]
fn a_session_on_udp_moves_down_when_udp_dies() {
    for from in [1_000, 3_000] {
        let mut scenario = Scenario::calm(from)
            .blocked(Family::UdpBlocked, Some(burdock_sim::scenario::Protocol::Udp), ms(from), None)
            .sending(0, 1, 500, 1_000, ms(from - 10))
            .sending(1, 0, 500, 1_000, ms(from - 15));
        scenario.ending = burdock_sim::scenario::Ending::Converge { healed: ms(60_000), closers: vec![1] };
        let report = ok(&scenario);
        all_delivered(&report);
    }
}

#[test]
fn h10_both_sides_dialling_at_once_make_one_session() {
    // Mutation: refusing an inbound handshake while dialling makes this fail.
    let latency = 20;
    for delay in (0..=120).step_by(2) {
        let report = ok(&Scenario::both_dial(delay, ms(delay)));
        for host in 0..2 {
            let times = report.told_to(host).filter(|told| matches!(told.kind, UpdateKind::Connected { .. })).count();
            assert_eq!(times, 1, "{report}");
            // Three round trips and one retry of an initiation (at most 1 s).
            let (at, _) = connected(&report, host);
            assert!(at <= Time::ZERO + ms(6 * latency + 1_000), "{report}");
        }
    }
    burdock_ledger::reached("H10", "seeds with more or less than one session", 0);
}

#[test]
fn h10_also_when_the_network_is_bad() {
    // Mutation: letting each side keep the session that it dialled makes this fail.
    restricted(0..60, &[Family::BothDial, Family::Loss, Family::Jitter, Family::Reorder]);
}

#[test]
fn a_dial_that_is_cancelled_leaves_nothing() {
    use burdock_sim::scenario::{Ending, Op, What};
    for (blocked, at) in [(false, 0), (false, 10), (false, 39), (true, 10), (true, 299), (true, 301), (true, 4_000)] {
        let mut scenario = if blocked { Scenario::udp_black_hole(at) } else { Scenario::calm(at) };
        scenario.ops.push(Op { at: ms(at), host: 0, what: What::Cancel { to: 1 } });
        scenario.ending = Ending::Stop { at: Duration::from_secs(700) };
        let report = ok(&scenario);
        assert!(report.told_to(0).all(|told| told.at <= Time::ZERO + ms(at)), "{report}");
    }
}

/// What the dialler is told within a minute, by a network that lets UDP through or not.
fn told_within_a_minute(udp: bool, link: impl FnOnce(Link) -> Link) -> [Vec<UpdateKind>; 2] {
    let scenario = if udp { Scenario::calm(1) } else { Scenario::udp_black_hole(1) };
    let mut lab = Lab::new(scenario).expect("a sound scenario");
    let link = link(lab.link(1));
    let connected = lab.with(0, |endpoint, now| endpoint.connect(now, &link));
    assert!(connected.is_some_and(|connected| connected.is_ok()));
    while lab.step(Time::ZERO + ms(60_000)).expect("no oracle fails") {}
    [0, 1].map(|host| core::iter::from_fn(|| lab.update(host)).map(|(_, update)| update.kind).collect())
}

#[test]
fn t3_by_tcp_the_same_key_is_required() {
    // Mutation: an initiation to whatever key the listener has, in place of the link's, makes this fail.
    let is_connected = |kind: &UpdateKind| matches!(kind, UpdateKind::Connected { .. });
    let told = told_within_a_minute(false, |link| link);
    assert!(told.iter().all(|told| told.iter().any(is_connected)));
    let another = Identity::from_bytes([99; 32]).public_key();
    let told = told_within_a_minute(false, |link| Link { key: another, ..link });
    assert!(!told.iter().flatten().any(is_connected), "{told:?}");
}

#[test]
fn t3_a_transport_that_the_link_leaves_out_is_never_used() {
    // Mutation: dialling UDP whatever the link says makes this fail.
    for (only, link) in [
        (Transport::Tcp, (|link| Link { udp_port: None, ..link }) as fn(Link) -> Link),
        (Transport::Udp, |link| Link { tcp_port: None, ..link }),
    ] {
        for kind in told_within_a_minute(true, link).iter().flatten() {
            let used = match kind {
                UpdateKind::Connected { transport, .. } | UpdateKind::Resumed { transport, .. } => *transport,
                UpdateKind::PathChanged { to, .. } => *to,
                _ => only,
            };
            assert_eq!(used, only, "{kind:?}");
        }
    }
    // By UDP alone there is no way through where it is blocked.
    let told = told_within_a_minute(false, |link| Link { tcp_port: None, ..link });
    assert!(!told.iter().flatten().any(|kind| matches!(kind, UpdateKind::Connected { .. })), "{told:?}");
}
