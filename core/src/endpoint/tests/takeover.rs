//! What the whole endpoint promises when one identity comes from several places.

use core::net::SocketAddr;
use core::time::Duration;

use super::bench::{Bench, Done};
use super::forger::{Epoch, Forger};
use super::pair::Pair;
use super::steady;
use crate::update::UpdateKind;
use crate::wire::frame::Frame;
use crate::wire::payload::Verdict;
use crate::{AcceptPolicy, Code, Config, Endpoint, Identity, Transport};

fn count(done: &Done, wanted: fn(&UpdateKind) -> bool) -> usize {
    done.updates.iter().filter(|(_, kind)| wanted(kind)).count()
}

const RESTARTED: fn(&UpdateKind) -> bool = |kind| matches!(kind, UpdateKind::PeerRestarted);
const IN_USE: fn(&UpdateKind) -> bool = |kind| matches!(kind, UpdateKind::IdentityInUse { .. });

/// The same key in its `n`th place.
fn place(n: u8) -> Forger {
    let mut forger = Forger::new(2);
    forger.half = 100 + u64::from(n);
    forger.addr = SocketAddr::from(([10, 0, n, 10], 1000));
    // Ephemeral keys and indices of its own.
    forger.skip(n * 8);
    forger
}

/// What the endpoint says to an earlier place.
fn said(epoch: &mut Epoch, addr: SocketAddr, done: &Done) -> Vec<String> {
    let to_it = done.datagrams.iter().filter(|(to, _)| *to == addr);
    to_it.filter_map(|(_, packet)| epoch.read(packet)).collect()
}

// Mutation: `establish` calling `peer_restarted` from `answer`, or `Session::replaced` always being `None`, makes this fail.
#[test]
fn c6_a_takeover_waits_for_proof_and_the_half_that_was_replaced_never_returns() {
    let mut bench = Bench::new(1, &steady(Config::streamer()));
    let (mut first, mut second) = (place(1), place(2));
    let (mut old, done) = first.open(&mut bench, 0);
    let id = done.connected().expect("a session");
    said(&mut old, first.addr, &done);
    bench.pass(Duration::from_millis(100));
    let before = bench.endpoint.status(bench.now, id);

    // An INIT alone, which may be a replay, takes nothing over.
    let late = first.ask(&bench.key, Transport::Udp, old.their_half);
    let mut new = second.dial(&mut bench, 0);
    assert_eq!(bench.endpoint.status(bench.now, id), before);
    // The INIT of the first was answered before the second is proved.
    let done = bench.datagram(first.addr, &late.packet);
    let (mut late, _) = late.finish(done.datagram()).expect("a RESP");
    let done = bench.datagram(second.addr, &new.seal(&[Frame::Confirm]));
    assert_eq!(count(&done, RESTARTED), 1);
    assert_eq!(said(&mut old, first.addr, &done), ["CLOSE replaced"]);
    let after = bench.endpoint.status(bench.now, id).map(|status| status.seq);

    // A confirmation under the old name, an INIT under it, and packets of its path.
    let packet = late.seal(&[Frame::Confirm]);
    let done = bench.datagram(first.addr, &packet);
    assert_eq!(count(&done, RESTARTED), 0, "a late confirmation of an older dial");
    let done = bench.datagram(first.addr, &old.seal(&[Frame::Ping]));
    assert!(done.is_nothing());
    for your_half in [0, old.their_half] {
        let asked = first.ask(&bench.key, Transport::Udp, your_half);
        let done = bench.datagram(first.addr, &asked.packet);
        let (mut refused, hello) = asked.finish(done.datagram()).expect("a RESP");
        assert_eq!(hello.verdict, Verdict::Closed(Code::Replaced.number()));
        assert!(bench.datagram(first.addr, &refused.seal(&[Frame::Confirm])).is_nothing());
    }
    bench.datagram(second.addr, &new.seal(&[Frame::Stream { channel: 0, offset: 0, data: b"\x03new" }]));
    assert_eq!(&bench.endpoint.recv(id).expect("a message").data[..], b"new");
    assert!(bench.endpoint.status(bench.now, id).map(|status| status.seq) <= after.map(|seq| seq + 1));
}

// Mutation: `establish` without comparing `established.begun` makes this fail.
#[test]
fn c6_a_late_answer_of_a_dead_half_takes_nothing_over() {
    let mut bench = Bench::new(1, &steady(Config::streamer()));
    let (mut dead, mut alive) = (place(1), place(2));
    // We dial; the answer takes long, and the peer restarts and dials us meanwhile.
    let (id, done) = bench.connect(&dead.link());
    let init = done.datagram().to_vec();
    let (resp, _) = dead.answer(&init);
    bench.pass(Duration::from_millis(200));
    let (mut epoch, done) = alive.open(&mut bench, 0);
    assert_eq!(done.connected(), Some(id));
    bench.pass(Duration::from_millis(200));
    let done = bench.datagram(dead.addr, &resp);
    assert_eq!(done.updates, []);
    bench.datagram(alive.addr, &epoch.seal(&[Frame::Stream { channel: 0, offset: 0, data: b"\x03one" }]));
    assert_eq!(&bench.endpoint.recv(id).expect("a message").data[..], b"one");

    // The other way round: the confirmation takes long, and we dial the restarted peer.
    let mut bench = Bench::new(1, &steady(Config::streamer()));
    let (mut dead, mut alive) = (place(1), place(2));
    let mut late = dead.dial(&mut bench, 0);
    bench.pass(Duration::from_millis(200));
    let (_, done) = bench.connect(&alive.link());
    let init = done.datagram().to_vec();
    let (resp, _) = alive.answer(&init);
    assert!(bench.datagram(alive.addr, &resp).connected().is_some());
    let done = bench.datagram(dead.addr, &late.seal(&[Frame::Confirm]));
    assert_eq!(done.updates, []);
}

// Mutation: `finish` that redials makes this fail.
#[test]
fn a_side_that_was_replaced_hears_it_and_does_not_redial() {
    let mut bench = Bench::new(1, &steady(Config::streamer()));
    let mut peer = Forger::new(2);
    let (id, done) = bench.connect(&peer.link());
    let init = done.datagram().to_vec();
    let (resp, mut epoch) = peer.answer(&init);
    bench.datagram(peer.addr, &resp);
    let close = Frame::Close { code: Code::Replaced.number(), finals: arrayvec::ArrayVec::new(), reason: "" };
    let done = bench.datagram(peer.addr, &epoch.seal(&[close]));
    let closed = |kind: &UpdateKind| matches!(kind, UpdateKind::Closed { code: Code::Replaced, by_peer: true, .. });
    assert!(done.updates.iter().any(|(session, kind)| *session == id && closed(kind)), "{done:?}");
    assert!(bench.pass(Duration::from_secs(3600)).is_nothing());
    assert_eq!(bench.endpoint.poll_timeout(), None);

    // It missed the CLOSE: the next thing that it asks tells it, by the verdict.
    let mut bench = Bench::new(1, &steady(Config::streamer()));
    let mut peer = Forger::new(2);
    let (_, done) = bench.connect(&peer.link());
    let init = done.datagram().to_vec();
    let verdict = Verdict::Closed(Code::Replaced.number());
    let answer = peer.answer_as(&init, |header| crate::wire::packet::prologue(&header), |it| it.verdict = verdict);
    let done = bench.datagram(peer.addr, &answer.expect("a RESP").0);
    assert_eq!(count(&done, |kind| matches!(kind, UpdateKind::Closed { code: Code::Replaced, .. })), 1);
    assert!(bench.pass(Duration::from_secs(3600)).datagrams.is_empty());
}

// Mutation: `Takeovers::note` always returning false makes this fail.
#[test]
fn an_identity_in_use_twice_is_told_once_a_minute() {
    let mut bench = Bench::new(1, &steady(Config::streamer()));
    let mut told = Vec::new();
    // Every 6 s another place takes over.
    for n in 0..30_u8 {
        let (_, done) = place(n).open(&mut bench, 0);
        assert_eq!(count(&done, RESTARTED), usize::from(n > 0));
        if count(&done, IN_USE) > 0 {
            told.push(n);
        }
        bench.pass(Duration::from_secs(6));
    }
    assert_eq!(told, [4, 14, 24]);
    // Three within a minute are no cause for alarm.
    let mut bench = Bench::new(1, &steady(Config::streamer()));
    for n in 0..30_u8 {
        let (_, done) = place(n).open(&mut bench, 0);
        assert_eq!(count(&done, IN_USE), 0);
        bench.pass(Duration::from_secs(21));
    }
}

fn restart(pair: &mut Pair, n: usize, seed: u8) {
    let identity = Identity::from_bytes([u8::try_from(n).expect("0 or 1") + 1; 32]);
    let mut restarted = Endpoint::new(steady(Config::streamer()), identity, [seed; 32]).unwrap();
    restarted.set_accept(AcceptPolicy::anyone());
    pair.nodes[n].endpoint = restarted;
    pair.nodes[n].updates.clear();
}

// Mutation: as of the first test.
#[test]
fn h10_both_dial_while_one_side_restarts_and_share_one_session() {
    for millis in (0..=60).step_by(2) {
        let mut pair = Pair::new(&steady(Config::streamer()));
        pair.connect(0);
        pair.run(Duration::from_millis(100));
        // One side forgets everything and dials; the other dials as soon as it can.
        restart(&mut pair, 0, 55);
        let a = pair.connect(0);
        pair.run(Duration::from_millis(millis));
        let known = pair.nodes[1].endpoint.by_key[&pair.nodes[0].key];
        pair.nodes[1].endpoint.handle(pair.now, crate::Event::NetworkChanged);
        pair.drain(1);
        pair.run(Duration::from_secs(5));
        pair.send(0, a, "hello");
        pair.send(1, known, "hello");
        pair.run(Duration::from_secs(20));
        assert_eq!((pair.take(0, a).len(), pair.take(1, known).len()), (1, 1), "after {millis} ms");
        for node in &pair.nodes {
            assert_eq!(node.endpoint.sessions.len(), 1);
            let closed = |kind: &&UpdateKind| matches!(kind, UpdateKind::Closed { .. });
            assert!(!node.kinds().iter().any(closed), "after {millis} ms: {:#?}", node.kinds());
        }
    }
}

// Mutation: `drop_half_open` without the index makes this fail.
#[test]
fn h9_first_messages_replayed_across_restarts_disturb_nothing() {
    let config = steady(Config::streamer());
    let (mut disturbed, mut kept) = (0_u32, 0);
    let mut pair = Pair::new(&config);
    let mut recorded: Vec<Vec<u8>> = Vec::new();
    let record = |pair: &Pair, recorded: &mut Vec<Vec<u8>>| {
        recorded.extend(pair.nodes[0].datagrams.iter().filter(|packet| packet[0] == 0x08).cloned());
    };
    pair.connect(0);
    pair.run(Duration::from_secs(1));
    record(&pair, &mut recorded);
    // The dialler restarts, then the listener, then nobody.
    for round in 0..3_u8 {
        if round < 2 {
            restart(&mut pair, usize::from(round), 60 + round);
        }
        if round == 0 {
            pair.connect(0);
        }
        let a = *pair.nodes[0].endpoint.by_key.get(&pair.nodes[1].key).expect("a session");
        pair.run(Duration::from_secs(1));
        pair.send(0, a, "before");
        pair.run(Duration::from_secs(60));
        record(&pair, &mut recorded);
        let b = *pair.nodes[1].endpoint.by_key.get(&pair.nodes[0].key).expect("a session");
        pair.take(1, b);
        let view = |pair: &Pair| {
            let status = pair.nodes[1].endpoint.status(pair.now, b).expect("a session");
            (status.seq, status.state, status.transport, pair.nodes[1].endpoint.sessions.len())
        };
        let before = view(&pair);
        let thief = SocketAddr::from(([192, 0, 2, 66], 6666));
        for _ in 0..1000 {
            for packet in &recorded {
                let wire = super::pair::Wire::Datagram(thief, packet.clone());
                pair.deliver(1, wire);
                pair.drain(1);
            }
        }
        disturbed += u32::from(view(&pair) != before);
        // Past the deadline of handshakes, before a heartbeat says anything.
        pair.run(config.limits.handshake_deadline);
        kept += pair.nodes[1].endpoint.snapshot(pair.now).half_open;
        pair.send(0, a, "after");
        pair.run(Duration::from_secs(1));
        disturbed += u32::from(pair.take(1, b).len() != 1);
    }
    assert!(recorded.len() >= 3);
    burdock_ledger::reached("H9", "times each recording was played", 1_000);
    burdock_ledger::reached("H9", "live sessions disturbed", disturbed);
    burdock_ledger::reached("H9", "state kept after the handshake deadline", u32::try_from(kept).expect("few"));
}
