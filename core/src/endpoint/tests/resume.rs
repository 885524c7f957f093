//! What the whole endpoint promises of staying, leaving and coming back.

use core::time::Duration;

use bytes::Bytes;

use super::bench::Bench;
use super::forger::Forger;
use super::pair::{Pair, Wire};
use super::steady;
use crate::config::Limits;
use crate::update::UpdateKind;
use crate::wire::frame::Frame;
use crate::wire::payload::Verdict;
use crate::{Code, Config, Event, SessionId, State, Time, Transport};

fn stream(offset: u64, data: &'static [u8]) -> Frame<'static> {
    Frame::Stream { channel: 0, offset, data }
}

// Mutation: `confirm` looking the session up by the peer's half makes this fail, and so does
// `is_outdated` always being false.
#[test]
fn c3_the_halves_are_no_bearer_token() {
    let mut bench = Bench::new(1, &Config::streamer());
    let mut owner = Forger::new(2);
    let asked = owner.ask(&bench.key, Transport::Udp, 0);
    let done = bench.datagram(owner.addr, &asked.packet);
    let (mut epoch, _) = asked.finish(done.datagram()).unwrap();
    let done = bench.datagram(owner.addr, &epoch.seal(&[Frame::Confirm, stream(0, b"\x03one")]));
    let id = done.connected().unwrap();
    bench.pass(Duration::from_secs(2));
    let status = |bench: &Bench| bench.endpoint.status(bench.now, id);
    let before = status(&bench);

    // Another key that knows both halves gets a session of its own, from its beginning.
    let mut thief = Forger::new(3);
    thief.half = owner.half;
    let asked_by_thief = thief.ask(&bench.key, Transport::Udp, epoch.their_half);
    let done = bench.datagram(thief.addr, &asked_by_thief.packet);
    let (mut stolen, hello) = asked_by_thief.finish(done.datagram()).unwrap();
    assert_eq!(hello.verdict, Verdict::Restarted);
    assert_ne!(hello.my_half, epoch.their_half);
    let done = bench.datagram(thief.addr, &stolen.seal(&[Frame::Confirm, stream(4, b"\x03two")]));
    let other = done.connected().expect("a session of its own");
    assert_ne!(other, id);
    assert_eq!(bench.endpoint.recv(other), None);

    // The owner's own INIT a thousand times: the session has been there before.
    for _ in 0..1000 {
        assert!(bench.datagram(thief.addr, &asked.packet).is_nothing());
    }
    assert_eq!(status(&bench), before);
    // The position is where it was.
    let packet = epoch.seal(&[stream(4, b"\x03two")]);
    bench.datagram(owner.addr, &packet);
    bench.datagram(owner.addr, &packet);
    let got: Vec<_> = core::iter::from_fn(|| bench.endpoint.recv(id)).map(|message| message.data).collect();
    assert_eq!(got, ["one", "two"]);
    burdock_ledger::reached("C3", "messages delivered twice", 0);
    burdock_ledger::reached("C3", "sessions taken over", 0);
}

/// After a sleep a session ends in the tick in which what was kept of the one before is to be forgotten.
// Mutation: forgetting without a look at `until` makes this fail.
#[test]
fn h10_what_is_kept_of_a_session_does_not_go_with_that_of_the_one_before() {
    let mut config = Config::streamer();
    config.keep = Duration::from_secs(100);
    let mut bench = Bench::new(1, &config);
    let mut owner = Forger::new(2);
    let mut their_half = 0;
    for half in [2, 3] {
        owner.half = half;
        let (mut epoch, done) = owner.open(&mut bench, 0);
        assert!(done.connected().is_some());
        their_half = epoch.their_half;
        bench.datagram(owner.addr, &epoch.seal(&[Frame::PathClose { epoch: epoch.theirs, code: 15 }]));
        if half == 2 {
            bench.pass(config.keep + Duration::from_secs(450));
        }
    }
    bench.now = bench.now + Limits::default().tombstone_life;
    let done = bench.handle(Event::Tick);
    assert!(matches!(done.updates[..], [(_, UpdateKind::Closed { code: Code::Expired, .. })]), "{done:?}");
    let asked = owner.ask(&bench.key, Transport::Udp, their_half);
    let done = bench.datagram(owner.addr, &asked.packet);
    assert_eq!(asked.finish(done.datagram()).unwrap().1.verdict, Verdict::Closed(Code::Expired.number()));
}

// Mutation: `Tombstone::names` always false makes this fail.
#[test]
fn c3_an_ended_session_is_not_resumed() {
    let config = Config::streamer();
    let mut bench = Bench::new(1, &config);
    let mut owner = Forger::new(2);
    let (mut epoch, done) = owner.open(&mut bench, 0);
    let id = done.connected().unwrap();
    bench.datagram(owner.addr, &epoch.seal(&[Frame::PathClose { epoch: epoch.theirs, code: 15 }]));
    assert_eq!(bench.endpoint.status(bench.now, id).unwrap().state, State::Waiting);
    let done = bench.pass(config.keep);
    assert!(matches!(done.updates[..], [(_, UpdateKind::Closed { code: Code::Expired, .. })]), "{done:?}");

    let name_it = |bench: &mut Bench, owner: &mut Forger| {
        let asked = owner.ask(&bench.key, Transport::Udp, epoch.their_half);
        let done = bench.datagram(owner.addr, &asked.packet);
        asked.finish(done.datagram()).unwrap()
    };
    // While it is remembered, its peer hears that it ended, and can confirm nothing.
    let (mut refused, hello) = name_it(&mut bench, &mut owner);
    assert_eq!(hello.verdict, Verdict::Closed(Code::Expired.number()));
    assert!(bench.datagram(owner.addr, &refused.seal(&[Frame::Confirm])).is_nothing());
    // Later it is another session, that begins at 0.
    bench.pass(Limits::default().tombstone_life);
    let (mut fresh, hello) = name_it(&mut bench, &mut owner);
    assert_eq!(hello.verdict, Verdict::Restarted);
    assert_ne!(hello.my_half, epoch.their_half);
    let done = bench.datagram(owner.addr, &fresh.seal(&[Frame::Confirm, stream(4, b"\x03two")]));
    let next = done.connected().unwrap();
    assert_eq!(bench.endpoint.recv(next), None);
    burdock_ledger::reached("C3", "sessions taken over", u32::from(next == id));
}

/// When a session with a message that is never acknowledged is lost. Every 100 ms comes whatever
/// `noise` makes.
fn lost_after(config: &Config, noise: impl Fn(&[Vec<u8>], u64) -> Option<Vec<u8>>) -> Duration {
    let mut bench = Bench::new(1, config);
    let mut forger = Forger::new(2);
    let mut epoch = forger.dial(&mut bench, 0);
    let packets: Vec<_> = (0..5).map(|_| epoch.seal(&[Frame::Confirm])).collect();
    let mut id = None;
    for packet in &packets {
        id = id.or(bench.datagram(forger.addr, packet).connected());
    }
    let id = id.unwrap();
    let started = bench.now;
    bench.endpoint.send(bench.now, id, 0, Bytes::from_static(b"anyone?")).unwrap();
    bench.drain();
    for n in 0.. {
        if let Some(bytes) = noise(&packets, n) {
            assert!(bench.datagram(forger.addr, &bytes).is_nothing());
        }
        let done = bench.pass(Duration::from_millis(100));
        if done.updates.iter().any(|(_, kind)| matches!(kind, UpdateKind::Lost { code: Code::Silent })) {
            break;
        }
        assert!(bench.now < started + config.silence * 2, "still alive");
    }
    bench.now.saturating_since(started)
}

// Mutation: `on_packet` setting `path.liveness` before the packet is opened makes this fail.
#[test]
fn c5_garbage_and_replays_keep_no_path_alive() {
    let mut longest = Duration::ZERO;
    for config in [Config::streamer(), Config::chat()] {
        let quiet = lost_after(&config, |_, _| None);
        longest = longest.max(quiet);
        assert!(quiet <= config.silence, "{quiet:?}");
        let replays = lost_after(&config, |packets, n| Some(packets[n as usize % 5].clone()));
        let garbage = lost_after(&config, |packets, n| {
            let mut damaged = packets[0].clone();
            damaged[8..16].copy_from_slice(&(n + 100).to_be_bytes());
            Some(damaged)
        });
        assert_eq!((replays, garbage), (quiet, quiet));
    }
    burdock_ledger::reached("C5", "s until a dead path is noticed", longest.as_secs_f64());
}

// Mutation: `heartbeat_at` without looking at `config.heartbeat` makes this fail.
#[test]
fn c5_an_idle_session_without_heartbeat_sends_nothing() {
    for udp in [true, false] {
        let mut config = steady(Config::streamer());
        config.heartbeat = false;
        let mut pair = Pair::new(&config);
        pair.udp = udp;
        let a = pair.connect(0);
        pair.run(Duration::from_secs(1));
        pair.send(0, a, "hello");
        pair.run(Duration::from_secs(150));
        let sent =
            |pair: &Pair| pair.nodes.iter().map(|node| (node.datagrams.len(), written(node))).collect::<Vec<_>>();
        let before = sent(&pair);
        pair.run(Duration::from_secs(600));
        assert_eq!(sent(&pair), before, "udp {udp}");
        assert_eq!(pair.nodes[0].endpoint.status(pair.now, a).unwrap().state, State::Connected);
    }
    burdock_ledger::reached("C5", "packets in 10 idle minutes", 0);
}

fn written(node: &super::pair::Node) -> usize {
    node.written.values().map(Vec::len).sum()
}

// Mutation: `is_outdated` always being false makes this fail.
#[test]
fn c6_what_is_left_of_a_dead_path_touches_nothing() {
    for udp in [true, false] {
        let mut pair = Pair::new(&steady(Config::streamer()));
        pair.udp = udp;
        let a = pair.connect(0);
        pair.run(Duration::from_secs(1));
        let b = pair.nodes[1].last_session();
        pair.send(0, a, "first");
        pair.send(1, b, "first");
        pair.run(Duration::from_secs(12));
        // Everything dies, and comes back.
        let kept: Vec<usize> = pair.nodes.iter().map(|node| node.heard.len()).collect();
        pair.reset_streams();
        (pair.udp, pair.tcp) = (false, false);
        pair.send(0, a, "second");
        pair.run(Duration::from_secs(20));
        (pair.udp, pair.tcp) = (udp, true);
        pair.run(Duration::from_secs(50));
        assert!(pair.nodes[0].kinds().iter().any(|kind| matches!(kind, UpdateKind::Resumed { .. })));
        for n in [0, 1] {
            let old: Vec<Wire> = pair.nodes[n].heard[..kept[n]].to_vec();
            assert!(old.len() > 5);
            // A stream that is accepted anew is no leftover.
            for wire in old.into_iter().filter(|wire| !matches!(wire, Wire::Connect(..))) {
                let before = (pair.nodes[n].endpoint.snapshot(pair.now), pair.nodes[n].trace);
                pair.deliver(n, wire);
                pair.drain(n);
                assert_eq!((pair.nodes[n].endpoint.snapshot(pair.now), pair.nodes[n].trace), before, "udp {udp}");
            }
        }
        let texts = |pair: &mut Pair, n, id| -> Vec<_> { pair.take(n, id).into_iter().map(|it| it.data).collect() };
        assert_eq!(texts(&mut pair, 1, b), ["first", "second"]);
        assert_eq!(texts(&mut pair, 0, a), ["first"]);
    }
    burdock_ledger::reached("C6", "leftovers that changed something", 0);
}

/// Sends in both directions, cuts, and waits for the session to be back.
fn survives(cut: impl Fn(&mut Pair, usize)) {
    let mut pair = Pair::new(&steady(Config::streamer()));
    pair.udp = false;
    let a = pair.connect(0);
    pair.run(Duration::from_secs(1));
    let b = pair.nodes[1].last_session();
    let rounds = 16;
    for round in 0..rounds {
        for n in 0..20 {
            pair.send(0, a, &format!("{round} {n}"));
            pair.send(1, b, &format!("{round} {n}"));
        }
        // Anywhere in what is under way.
        pair.run(Duration::from_millis(5 * round as u64));
        cut(&mut pair, round);
        pair.run(Duration::from_secs(15));
    }
    let all: Vec<_> = (0..rounds).flat_map(|round| (0..20).map(move |n| format!("{round} {n}"))).collect();
    let texts = |pair: &mut Pair, n: usize, id: SessionId| -> Vec<_> {
        pair.take(n, id).into_iter().map(|message| message.data).collect()
    };
    assert_eq!(texts(&mut pair, 1, b), all);
    assert_eq!(texts(&mut pair, 0, a), all);
    for node in &pair.nodes {
        let count = |want: fn(&UpdateKind) -> bool| node.kinds().into_iter().filter(|kind| want(kind)).count();
        assert_eq!(count(|kind| matches!(kind, UpdateKind::Lost { .. })), rounds);
        assert_eq!(count(|kind| matches!(kind, UpdateKind::Resumed { .. })), rounds);
        assert_eq!(count(|kind| matches!(kind, UpdateKind::Closed { .. })), 0);
    }
}

// Mutation: `lost` calling `fail` makes this fail.
#[test]
fn t10_a_reset_stream_ends_no_session() {
    survives(|pair, _| pair.reset_streams());
    burdock_ledger::reached("T10", "sessions lost to injections", 0);
}

// Mutation: as above.
#[test]
fn t10_an_end_of_stream_ends_no_session() {
    survives(|pair, round| {
        for stream in pair.streams(round % 2) {
            pair.deliver(round % 2, Wire::Closed(stream, None));
            pair.drain(round % 2);
        }
        for stream in pair.streams(1 - round % 2) {
            pair.deliver(1 - round % 2, Wire::Closed(stream, None));
            pair.drain(1 - round % 2);
        }
    });
    burdock_ledger::reached("T10", "sessions lost to injections", 0);
}

// Mutation: `on_packet` calling `fail(Code::Protocol)` for a bad packet on a stream makes this
// fail.
#[test]
fn t10_garbage_in_a_stream_ends_no_session() {
    survives(|pair, round| {
        let garbage: [&[u8]; 4] = [&[0; 64], &[0xff; 3], &[0, 17, 0x0b], &[0, 40, 0x0b]];
        for stream in pair.streams(round % 2) {
            let mut bytes = garbage[round / 2 % 4].to_vec();
            bytes.resize(256, 0x55);
            pair.deliver(round % 2, Wire::Bytes(stream, bytes));
            pair.drain(round % 2);
        }
    });
    burdock_ledger::reached("T10", "sessions lost to injections", 0);
}

/// A life with everything in it.
fn scenario(early_ticks: bool) -> Pair {
    let mut pair = Pair::new(&Config::streamer());
    pair.early_ticks = early_ticks;
    let a = pair.connect(0);
    pair.run(Duration::from_secs(1));
    let b = pair.nodes[1].last_session();
    for (n, udp, tcp) in [(0, true, true), (1, false, true), (2, false, false), (3, true, true)] {
        (pair.udp, pair.tcp) = (udp, tcp);
        for _ in 0..10 {
            pair.send(0, a, &"a".repeat(n * 300));
            pair.send(1, b, &"b".repeat(n * 900));
        }
        pair.run(Duration::from_secs(15));
        pair.take(0, a);
        pair.take(1, b);
    }
    pair.run(Duration::from_secs(30));
    pair.nodes[1].endpoint.close(pair.now, b, "enough");
    pair.drain(1);
    pair.run(Duration::from_secs(700));
    assert_eq!(pair.nodes[0].endpoint.poll_timeout(), None::<(Time, _)>);
    pair
}

fn traces(pair: &Pair) -> String {
    let both: Vec<u8> = pair.nodes.iter().flat_map(|node| node.trace).collect();
    data_encoding::HEXLOWER.encode(&both[..8]) + &data_encoding::HEXLOWER.encode(&both[32..40])
}

// Mutation: a `HashMap` in place of a `BTreeMap`, or a clock read anywhere, makes this fail; the
// committed value changes with everything that changes what is sent or told, or when.
#[test]
fn i5_the_same_seed_and_events_lead_to_the_same_actions() {
    let trace = traces(&scenario(false));
    burdock_ledger::reached("I5", "traces that differ", u32::from(trace != traces(&scenario(false))));
    insta::assert_snapshot!(trace, @"24880b73f892b49b0d1a0529b4227949");
}

// Mutation: `next_timeout` naming a time that is not that of its timer, or `on_path_timers`
// closing a path before `retire_at`, makes this fail.
#[test]
fn rule_4_an_early_tick_changes_nothing() {
    assert_eq!(traces(&scenario(true)), traces(&scenario(false)));
}

// Mutation: `half_told` without what `told` remembers makes this fail.
#[test]
fn c4_a_dialler_whose_first_packets_never_came_loses_nothing() {
    let config = steady(Config::streamer());
    let mut pair = Pair::new(&config);
    pair.tcp = false;
    // Long enough for the responder to drop the handshake.
    let until = pair.now + config.limits.handshake_deadline + Duration::from_secs(5);
    let start = pair.now;
    pair.filter = Some(Box::new(move |now, n, packet| n != 0 || now >= until || (now == start && packet[0] == 0x08)));
    let id = pair.connect(0);
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.nodes[0].endpoint.status(pair.now, id).unwrap().state, State::Connected);
    pair.send(0, id, "sent into the void");
    pair.run(Duration::from_secs(60));
    let kinds = pair.nodes[0].kinds();
    assert!(!kinds.iter().any(|kind| matches!(kind, UpdateKind::PeerRestarted)), "{kinds:#?}");
    let other = pair.nodes[1].last_session();
    let got: Vec<_> = pair.take(1, other).into_iter().map(|message| message.data).collect();
    assert_eq!(got, ["sent into the void"]);
}
