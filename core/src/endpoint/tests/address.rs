//! What the whole endpoint promises of a peer whose address changes.

use core::net::SocketAddr;
use core::time::Duration;

use bytes::Bytes;

use super::bench::{Bench, Done};
use super::forger::{Epoch, Forger};
use super::pair::{LATENCY, Pair, Wire};
use super::steady;
use crate::session::Via;
use crate::update::UpdateKind;
use crate::wire::frame::Frame;
use crate::wire::packet::UDP_HANDSHAKE_LEN;
use crate::{Config, Endpoint, Event, SessionId};

fn elsewhere(n: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, n], 9000 + u16::from(n)))
}

fn idle() -> Config {
    let mut config = steady(Config::streamer());
    config.heartbeat = false;
    config
}

/// A session with a forger that has said and heard all there is.
struct Scene {
    bench: Bench,
    forger: Forger,
    epoch: Epoch,
    id: SessionId,
}

fn scene() -> Scene {
    let mut bench = Bench::new(1, &idle());
    let mut forger = Forger::new(2);
    let (epoch, done) = forger.open(&mut bench, 0);
    let id = done.connected().expect("a session");
    let mut scene = Scene { bench, forger, epoch, id };
    scene.read(&done);
    scene.settle();
    scene
}

impl Scene {
    fn read(&mut self, done: &Done) -> Vec<(SocketAddr, Vec<Told>)> {
        done.datagrams.iter().map(|(to, packet)| (*to, self.epoch.frames(packet))).collect()
    }

    /// Acknowledges all that was said.
    fn settle(&mut self) {
        let done = self.bench.pass(Duration::from_millis(30));
        self.read(&done);
        let ack =
            Frame::Ack { epoch: self.epoch.theirs, delay_us: 0, ranges: [(0, self.last())].into_iter().collect() };
        let packet = self.epoch.seal(&[ack]);
        self.bench.datagram(self.forger.addr, &packet);
        let done = self.bench.pass(Duration::from_millis(30));
        self.read(&done);
    }

    /// The last number that the endpoint used.
    fn last(&self) -> u64 {
        self.sending().0 - 1
    }

    fn sending(&self) -> (u64, crate::recovery::Stats, usize) {
        self.bench.endpoint.sessions[&self.id].sending(self.epoch.theirs).expect("a path")
    }

    /// Where the endpoint believes its peer to be.
    fn believed(&self) -> SocketAddr {
        address_of(&self.bench.endpoint, self.id)
    }

    fn from(&mut self, from: SocketAddr, frames: &[Frame<'_>]) -> Vec<(SocketAddr, Vec<Told>)> {
        let packet = self.epoch.seal(frames);
        let done = self.bench.datagram(from, &packet);
        self.read(&done)
    }

    fn moved_to(&mut self, to: SocketAddr) {
        let challenge = challenge(&self.from(to, &[Frame::Ping])).expect("a challenge").1;
        self.from(to, &[Frame::Response(challenge)]);
        assert_eq!(self.believed(), to);
    }
}

fn address_of(endpoint: &Endpoint, id: SessionId) -> SocketAddr {
    match endpoint.sessions[&id].via() {
        Some(Via::Udp(addr)) => addr,
        other => panic!("{other:?}"),
    }
}

/// Where a challenge went, and what it was.
fn challenge(told: &[(SocketAddr, Vec<Told>)]) -> Option<(SocketAddr, [u8; 8])> {
    let mut challenges = told.iter().flat_map(|(to, frames)| {
        frames.iter().filter_map(|frame| match frame {
            Told::Challenge(bytes) => Some((*to, *bytes)),
            Told::Other => None,
        })
    });
    let first = challenges.next();
    assert_eq!(challenges.next(), None, "one at a time");
    first
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Told {
    Challenge([u8; 8]),
    Other,
}

// Mutation: `Address::heard` starting with `newest` or not, or `on_packet` calling `heard` before the packet is
// opened, makes this fail.
#[test]
fn t9_captured_packets_resent_from_elsewhere_move_nothing() {
    let mut scene = scene();
    let home = scene.forger.addr;
    let mut captured: Vec<Vec<u8>> = (0..40).map(|_| scene.epoch.seal(&[Frame::Ping])).collect();
    // Half of them arrive; the others were held back, so that they are new but not the newest.
    for packet in captured.iter().skip(1).step_by(2) {
        scene.bench.datagram(home, packet);
    }
    let (mut moves, mut tries) = (0, 0);
    for round in 0..50_u8 {
        captured.rotate_left(1);
        for packet in &captured {
            let done = scene.bench.datagram(elsewhere(round), packet);
            assert_eq!(challenge(&scene.read(&done)), None);
            moves += u32::from(scene.believed() != home);
            tries += 1;
        }
        scene.bench.pass(Duration::from_millis(10));
        moves += u32::from(scene.believed() != home);
    }
    assert_eq!(tries, 2000);
    // The newest one of all, kept from arriving at home: it is challenged, and no more than that.
    for n in 0..100 {
        let packet = scene.epoch.seal(&[Frame::Ping]);
        let done = scene.bench.datagram(elsewhere(n), &packet);
        let (to, _) = challenge(&scene.read(&done)).expect("a challenge");
        assert_eq!(to, elsewhere(n));
        for _ in 0..10 {
            assert!(scene.bench.datagram(elsewhere(n), &packet).is_nothing());
        }
        moves += u32::from(scene.believed() != home);
        let other: Vec<_> = scene.bench.pass(Duration::from_millis(40)).datagrams;
        assert!(other.iter().all(|(to, _)| *to == home), "everything else goes home");
    }
    burdock_ledger::reached("T9", "moves after captured packets resent from elsewhere", moves);
}

// Mutation: `Address::answered` without comparing the challenge makes this fail.
#[test]
fn t9_only_the_right_bytes_from_the_right_address_move_it() {
    let mut scene = scene();
    let home = scene.forger.addr;
    // An answer to nothing.
    scene.from(elsewhere(1), &[Frame::Response([0; 8])]);
    assert_eq!(scene.believed(), home);
    let (to, bytes) = challenge(&scene.from(elsewhere(2), &[Frame::Ping])).expect("a challenge");
    assert_eq!(to, elsewhere(2));
    let mut wrong = bytes;
    wrong[7] ^= 1;
    scene.from(elsewhere(2), &[Frame::Response(wrong)]);
    assert_eq!(scene.believed(), home);
    // From home: the peer is there after all, and the candidate is forgotten.
    scene.from(home, &[Frame::Response(bytes)]);
    assert_eq!(scene.believed(), home);
    scene.from(elsewhere(2), &[Frame::Response(bytes)]);
    assert_eq!(scene.believed(), home, "another challenge is open by now");
    // From yet another address.
    let (_, bytes) = challenge(&scene.from(elsewhere(3), &[Frame::Ping])).expect("a challenge");
    let third = scene.from(elsewhere(4), &[Frame::Response(bytes)]);
    assert_eq!(scene.believed(), home);
    // And right at last.
    let (to, bytes) = challenge(&third).expect("a challenge");
    assert_eq!(to, elsewhere(4));
    // It may have been overtaken on its way.
    let late = scene.epoch.seal(&[Frame::Response(bytes)]);
    scene.from(elsewhere(4), &[Frame::Ping]);
    scene.bench.datagram(elsewhere(4), &late);
    assert_eq!(scene.believed(), elsewhere(4));
    // What was sent before from home comes late, and moves nothing back.
    let old = scene.epoch.seal(&[Frame::Ping]);
    scene.from(elsewhere(4), &[Frame::Ping]);
    let done = scene.bench.datagram(home, &old);
    assert_eq!(challenge(&scene.read(&done)), None);
    assert_eq!(scene.believed(), elsewhere(4));
}

// Mutation: `Address::heard` that does nothing for a packet from `current` makes this fail.
#[test]
fn t9_a_forwarder_that_wins_the_race_is_left_for_the_genuine_peer() {
    let mut scene = scene();
    let (home, forwarder) = (scene.forger.addr, elsewhere(7));
    // Its copy comes first, so the genuine packet is a duplicate.
    let packet = scene.epoch.seal(&[Frame::Ping]);
    let done = scene.bench.datagram(forwarder, &packet);
    let (to, bytes) = challenge(&scene.read(&done)).expect("a challenge");
    assert_eq!(to, forwarder);
    assert!(scene.bench.datagram(home, &packet).is_nothing());
    // It does not pass the challenge on: the next packet comes from home, and that is that.
    scene.from(home, &[Frame::Ping]);
    assert_eq!(challenge(&scene.from(home, &[Frame::Ping])), None);
    scene.from(forwarder, &[Frame::Response(bytes)]);
    assert_eq!(scene.believed(), home);

    // It does pass it on, and the answer too, before the peer's own: then it is the way.
    scene.from(home, &[Frame::Ping]);
    scene.moved_to(forwarder);
    // The first genuine packet that it does not outrun is asked for proof, and brings the peer home.
    let (to, bytes) = challenge(&scene.from(home, &[Frame::Ping])).expect("a challenge");
    assert_eq!(to, home);
    scene.from(home, &[Frame::Response(bytes)]);
    assert_eq!(scene.believed(), home);
}

// Mutation: `Address::heard` leaving out `candidate.next <= now` makes this fail.
#[test]
fn t9_a_candidate_that_never_answers_gets_no_more_than_three_times_its_bytes() {
    let mut scene = scene();
    let (home, candidate) = (scene.forger.addr, elsewhere(9));
    scene.bench.endpoint.send(scene.bench.now, scene.id, 0, Bytes::from(vec![7; 50_000])).unwrap();
    let (mut received, mut sent, mut challenges) = (0, 0, 0);
    for _ in 0..1200 {
        // The least there is: a packet without frames.
        let packet = scene.epoch.seal(&[]);
        received += packet.len();
        let mut done = scene.bench.datagram(candidate, &packet);
        let later = scene.bench.pass(Duration::from_millis(100));
        done.datagrams.extend(later.datagrams);
        for (to, packet) in &done.datagrams {
            if *to == candidate {
                sent += packet.len();
                challenges += 1;
            } else {
                assert_eq!(*to, home);
            }
        }
        assert!(sent <= 3 * received, "{sent} for {received}");
    }
    assert!((1..=250).contains(&challenges), "{challenges} in 120 s");
    burdock_ledger::reached("T9", "bytes sent to an unproved address per byte received", sent as f64 / received as f64);
}

/// A session of two endpoints, the first of which is then found behind another address.
fn rebound(before: impl FnOnce(&mut Pair, SessionId, SessionId)) -> (Pair, SessionId, SessionId) {
    let mut pair = Pair::new(&idle());
    let a = pair.connect(0);
    pair.run(Duration::from_secs(1));
    let b = pair.nodes[1].last_session();
    before(&mut pair, a, b);
    pair.nodes[0].addr = elsewhere(1);
    (pair, a, b)
}

// Mutation: `transmit_on` without `fill_challenge` makes this fail, and so does a RESPONSE that waits for the
// window.
#[test]
fn t9_a_rebound_nat_is_followed_within_two_round_trips() {
    let mut worst = 0.0_f64;
    // Idle, with little under way, and with a full window of packets that are lost with the address.
    for messages in [0, 1, 300] {
        let (mut pair, a, b) = rebound(|pair, a, _| {
            for n in 0..messages {
                pair.send(0, a, &format!("{n} {}", "x".repeat(1000)));
            }
        });
        pair.send(0, a, "from the new address");
        let deadline = pair.now + Duration::from_secs(2);
        let mut arrived = None;
        while address_of(&pair.nodes[1].endpoint, b) != elsewhere(1) {
            pair.run(Duration::from_micros(100));
            assert!(pair.now < deadline, "{messages} messages: it was not followed");
            let came = |wire: &Wire| matches!(wire, Wire::Datagram(from, _) if *from == elsewhere(1));
            if arrived.is_none() && pair.nodes[1].heard.iter().any(came) {
                arrived = Some(pair.now);
            }
        }
        let took = pair.now.saturating_since(arrived.expect("a packet from there"));
        worst = worst.max(took.as_micros() as f64 / (2 * LATENCY).as_micros() as f64);
        pair.run(Duration::from_secs(10));
        pair.send(1, b, "found you");
        pair.run(Duration::from_secs(1));
        assert_eq!(pair.take(1, b).len(), messages + 1);
        assert_eq!(pair.take(0, a).len(), 1);
        for node in &pair.nodes {
            let lost = |kind: &&UpdateKind| matches!(kind, UpdateKind::Lost { .. } | UpdateKind::PathChanged { .. });
            assert!(!node.kinds().iter().any(lost), "{:#?}", node.kinds());
        }
    }
    burdock_ledger::reached("T9", "round trips until a rebound NAT is followed", worst);
}

// Mutation: `is_over` for a path without a sign of life in `on_path_timers`, so that silence is never noticed, makes
// this fail.
#[test]
fn t9_when_only_we_send_to_a_rebound_nat_silence_is_noticed_and_the_peer_returns() {
    let (mut pair, a, b) = rebound(|_, _, _| {});
    // The first side is idle and cannot know; the second has no address to dial.
    pair.send(1, b, "hello?");
    pair.run(Duration::from_secs(35));
    assert!(pair.nodes[1].kinds().iter().any(|kind| matches!(kind, UpdateKind::Lost { .. })));
    pair.send(0, a, "here");
    pair.run(Duration::from_secs(60));
    assert_eq!(pair.take(0, a).len(), 1);
    assert_eq!(pair.take(1, b).len(), 1);
}

// Mutation: `fill_challenge` passing `true` for an ack-eliciting packet makes this fail.
#[test]
fn t9_lost_challenges_are_neither_losses_nor_silence_of_the_old_address() {
    let mut scene = scene();
    let home = scene.forger.addr;
    for n in 0..20 {
        let (to, _) = challenge(&scene.from(elsewhere(n), &[Frame::Pad])).expect("a challenge");
        assert_eq!(to, elsewhere(n));
        let later = scene.bench.pass(Duration::from_millis(200));
        assert_eq!(later, Done::default(), "no probe, no silence, no update");
    }
    // All of them are lost; what goes home is acknowledged.
    scene.from(home, &[Frame::Ping]);
    scene.bench.endpoint.send(scene.bench.now, scene.id, 0, Bytes::from_static(b"home")).unwrap();
    let done = scene.bench.drain();
    scene.read(&done);
    let last = scene.last();
    let ack = Frame::Ack { epoch: scene.epoch.theirs, delay_us: 0, ranges: [(last, last)].into_iter().collect() };
    scene.from(home, &[ack]);
    assert_eq!(scene.sending().1.lost, 0);
    assert_eq!(scene.bench.pass(Duration::from_secs(60)).updates, []);
}

// Mutation: `heard` without `!self.is_over()` makes this fail.
#[test]
fn t9_a_challenge_ends_with_its_path_and_its_session() {
    // The path is closed by the packet that came from elsewhere.
    let mut it = scene();
    let theirs = it.epoch.theirs;
    let told = it.from(elsewhere(1), &[Frame::PathClose { epoch: theirs, code: 15 }]);
    assert_eq!(challenge(&told), None);
    // The session is.
    let mut it = scene();
    let close = || Frame::Close { code: 0, finals: arrayvec::ArrayVec::new(), reason: "" };
    let told = it.from(elsewhere(1), &[close()]);
    assert_eq!(challenge(&told), None);
    assert!(told.iter().all(|(to, _)| *to == it.forger.addr));
    assert_eq!(challenge(&it.from(elsewhere(1), &[close()])), None);
    // The path is replaced while its candidate is asked: the next path has its own address.
    let mut it = scene();
    let (_, bytes) = challenge(&it.from(elsewhere(1), &[Frame::Ping])).expect("a challenge");
    let their_half = it.epoch.their_half;
    let (next, _) = it.forger.open(&mut it.bench, their_half);
    let mut old = core::mem::replace(&mut it.epoch, next);
    it.from(it.forger.addr, &[Frame::PathClose { epoch: old.theirs, code: 16 }]);
    assert!(it.bench.datagram(elsewhere(1), &old.seal(&[Frame::Response(bytes)])).is_nothing());
    it.from(elsewhere(1), &[Frame::Response(bytes)]);
    assert_eq!(it.believed(), it.forger.addr);
}

// Mutation: `confirm` passing no `heard` makes this fail.
#[test]
fn t9_the_first_packet_of_a_handshake_may_come_from_elsewhere_too() {
    let mut bench = Bench::new(1, &idle());
    let mut forger = Forger::new(2);
    let mut epoch = forger.dial(&mut bench, 0);
    let done = bench.datagram(elsewhere(1), &epoch.seal(&[Frame::Confirm]));
    let id = done.connected().expect("a session");
    let mut scene = Scene { bench, forger, epoch, id };
    let told = scene.read(&done);
    assert_eq!(scene.believed(), scene.forger.addr);
    let (to, bytes) = challenge(&told).expect("a challenge");
    assert_eq!(to, elsewhere(1));
    assert!(told.iter().any(|(to, _)| *to == scene.forger.addr), "the rest goes where the INIT came from");
    scene.from(elsewhere(1), &[Frame::Response(bytes)]);
    assert_eq!(scene.believed(), elsewhere(1));
}

// Mutation: keeping a list of challenges to be answered in place of one slot makes this fail.
#[test]
fn t9_challenges_without_end_are_answered_one_for_one_and_kept_nowhere() {
    let mut scene = scene();
    let home = scene.forger.addr;
    // Never acknowledged, so the window is soon full.
    for n in 0..10_000_u64 {
        let many: Vec<_> = (0..10).map(|k| Frame::Challenge((n * 10 + k).to_be_bytes())).collect();
        let packet = scene.epoch.seal(&many);
        let done = scene.bench.datagram(home, &packet);
        let bytes: usize = done.datagrams.iter().map(|(_, packet)| packet.len()).sum();
        assert!(done.datagrams.len() <= 1 && bytes <= packet.len(), "{n}: {bytes}");
    }
    assert!(scene.sending().2 < 5000);
}

// Mutation: `on_resp` taking over the address that a RESP came from makes this fail.
#[test]
fn t9_answers_and_cookies_from_elsewhere_move_nothing() {
    let mut bench = Bench::new(1, &idle());
    let mut forger = Forger::new(2);
    let (id, done) = bench.connect(&forger.link());
    let init = done.datagram().to_vec();
    let receiver = u32::from_be_bytes(init[4..8].try_into().unwrap());
    let mut cookie = Vec::new();
    crate::wire::packet::put_cookie(
        &crate::wire::packet::Cookie { receiver, nonce: &[7; 24], sealed: &[7; 32] },
        &mut cookie,
    );
    assert!(bench.datagram(elsewhere(1), &cookie).is_nothing());
    let (resp, _) = forger.answer(&init);
    assert_eq!(resp.len(), UDP_HANDSHAKE_LEN);
    let done = bench.datagram(elsewhere(1), &resp);
    assert!(done.connected().is_some());
    assert!(done.datagrams.iter().all(|(to, _)| *to == forger.addr));
    assert_eq!(address_of(&bench.endpoint, id), forger.addr);
    assert!(bench.datagram(elsewhere(1), &cookie).is_nothing());
    let event = Event::Datagram { from: elsewhere(1), data: &mut cookie };
    bench.endpoint.handle(bench.now, event);
    assert_eq!(address_of(&bench.endpoint, id), forger.addr);
}

// Mutation: `on_data` handing a datagram to a path whose `via` is a stream makes this fail.
#[test]
fn t9_streams_never_move() {
    let mut pair = Pair::new(&idle());
    pair.udp = false;
    let a = pair.connect(0);
    pair.run(Duration::from_secs(1));
    let b = pair.nodes[1].last_session();
    // A data packet of the stream's path, as a datagram.
    let stream = pair.streams(0)[0];
    pair.send(0, a, "hello");
    let written = pair.nodes[0].written[&stream].clone();
    let packet = written[written.len() - 60..].to_vec();
    let before = pair.nodes[1].endpoint.snapshot(pair.now);
    pair.deliver(1, Wire::Datagram(elsewhere(1), packet));
    pair.drain(1);
    assert_eq!(pair.nodes[1].endpoint.snapshot(pair.now), before);
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.take(1, b).len(), 1);
}
