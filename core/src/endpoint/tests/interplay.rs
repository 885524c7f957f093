//! Where renewals, the door, addresses and takeovers meet.

use core::net::SocketAddr;
use core::time::Duration;

use bytes::Bytes;

use super::bench::{Bench, Done};
use super::door::{chooser, is_cookie, under_load};
use super::door_streams::open_stream;
use super::forger::{Epoch, Forger};
use super::pair::Pair;
use super::{quiet, secs};
use crate::door::mac2;
use crate::session::Via;
use crate::update::UpdateKind;
use crate::wire::frame::Frame;
use crate::wire::packet::{self, Packet};
use crate::{Action, Config, Event, SessionId, StreamId, Transport};

const INIT: u8 = 0x08;

/// A RESP to this INIT from somebody who only saw it.
fn forged_resp(init: &[u8], n: u8) -> Vec<u8> {
    let mut resp = vec![n; 1200];
    resp[..4].copy_from_slice(&[9, 1, 0, 0]);
    resp[4..8].copy_from_slice(&init[4..8]);
    resp
}

fn inits(done: &Done) -> Vec<(SocketAddr, Vec<u8>)> {
    done.datagrams.iter().filter(|(_, packet)| packet[0] == INIT).cloned().collect()
}

// Mutation: `check_attempt` after the eighth bad answer, or reading a ninth, makes this fail.
#[test]
fn t10_forged_answers_end_no_dial_and_use_no_attempts_up() {
    let config = quiet();
    let mut bench = Bench::new(1, &config);
    let mut forger = Forger::new(2);
    let (id, done) = bench.connect(&forger.link());
    let first = done.datagram().to_vec();
    let before = bench.endpoint.status(bench.now, id);
    for n in 0..100 {
        assert!(bench.datagram(forger.addr, &forged_resp(&first, n)).is_nothing());
    }
    assert_eq!(bench.endpoint.status(bench.now, id), before);
    // It goes on until its deadline, and only then is another begun.
    let done = bench.pass(config.attempt_deadline - Duration::from_millis(1));
    assert!(inits(&done).iter().all(|(_, init)| *init == first) && done.updates.is_empty(), "{done:?}");
    let (answer, _) = forger.answer(&first);
    assert!(bench.datagram(forger.addr, &answer).is_nothing(), "nothing more is read for it");
    let done = bench.pass(secs(1));
    let second = inits(&done)[0].1.clone();
    for n in 0..7 {
        assert!(bench.datagram(forger.addr, &forged_resp(&second, n)).is_nothing());
    }
    let (answer, _) = forger.answer(&second);
    assert_eq!(bench.datagram(forger.addr, &answer).connected(), Some(id));
}

/// Fills the share of a source: somebody there has other ports, and other keys.
fn crowd(bench: &mut Bench, stranger: &mut Forger, ip: SocketAddr) -> usize {
    let mut closed = 0;
    for port in 0..12 {
        let asked = stranger.ask(&bench.key, Transport::Tcp, 0);
        let stream = bench.endpoint.stream_accepted(bench.now, SocketAddr::new(ip.ip(), 2000 + port)).unwrap();
        closed += usize::from(bench.stream_packet(stream, &asked.packet).closed.contains(&stream));
    }
    closed
}

// Mutation: `admit` without `admit_known` makes this fail.
#[test]
fn d3_a_renewal_is_not_refused_for_what_others_at_its_source_do() {
    // In a stream.
    let mut bench = Bench::guarded(1, &quiet());
    let (mut forger, mut stranger) = (chooser(&bench), Forger::new(200));
    let from = forger.addr;
    let mut peer = open_stream(&mut bench, &mut forger, from);
    bench.pass(secs(10));
    for _ in 0..10 {
        assert!(crowd(&mut bench, &mut stranger, from) >= 6, "its source has no share left");
        forger.renews = peer.epoch.theirs;
        let asked = forger.ask(&bench.key, Transport::Tcp, peer.epoch.their_half);
        let done = bench.stream_packet(peer.stream, &asked.packet);
        assert!(done.closed.is_empty());
        peer.epoch = asked.finish(&done.written[&peer.stream][2..]).expect("a RESP").0;
        assert!(bench.stream_packet(peer.stream, &peer.epoch.seal(&[Frame::Confirm])).closed.is_empty());
        bench.pass(secs(2));
    }
    // That is no way around the limits.
    let mut answered = 0;
    crowd(&mut bench, &mut stranger, from);
    let read = bench.endpoint.handshakes_read();
    for _ in 0..20 {
        let asked = forger.ask(&bench.key, Transport::Tcp, peer.epoch.their_half);
        let done = bench.stream_packet(peer.stream, &asked.packet);
        answered += usize::from(!done.written.is_empty());
    }
    assert!(answered <= 4 && bench.endpoint.handshakes_read() - read <= 4, "{answered}");

    // By datagrams, which anybody can forge: so a cookie comes before.
    let mut bench = Bench::guarded(1, &under_load());
    let mut forger = chooser(&bench);
    let (mut epoch, _) = forger.open(&mut bench, 0);
    for _ in 0..5 {
        bench.pass(secs(2));
        crowd(&mut bench, &mut stranger, forger.addr);
        let spent = stranger.ask(&bench.key, Transport::Udp, 0);
        bench.datagram(stranger.addr, &spent.packet);
        forger.renews = epoch.theirs;
        let mut asked = forger.ask(&bench.key, Transport::Udp, epoch.their_half);
        let at = |port| SocketAddr::new(forger.addr.ip(), port);
        for (port, welcome) in [(4000, false), (forger.addr.port(), true)] {
            let done = bench.datagram(at(port), &asked.packet);
            assert!(is_cookie(done.datagram()));
            let Ok(Packet::Cookie(reply)) = packet::parse(done.datagram()) else { panic!("a COOKIE") };
            let mac1 = asked.packet[asked.packet.len() - 32..][..16].try_into().unwrap();
            let cookie = crate::door::ReplyKey::new(&bench.key).open(&reply, mac1).unwrap();
            packet::set_mac2(&mut asked.packet, |before| mac2(&cookie, before));
            let done = bench.datagram(at(port), &asked.packet);
            assert_eq!(done.is_nothing(), !welcome, "{port}");
            if welcome {
                epoch = asked.finish(done.datagram()).expect("a RESP").0;
                bench.datagram(forger.addr, &epoch.seal(&[Frame::Confirm]));
            }
        }
    }
}

// Mutation: `drop_path` without `whereabouts.went` makes this fail.
#[test]
fn d6_what_is_known_of_addresses_goes_with_the_paths() {
    let (mut pair, ids) = open(&quiet(), true);
    pair.run(secs(125));
    for n in [0, 1] {
        assert_eq!(pair.nodes[n].endpoint.shared.whereabouts.len(), 1);
        pair.send(n, ids[n], "renews");
        pair.run(secs(10));
        pair.take(1 - n, ids[1 - n]);
        let endpoint = &pair.nodes[n].endpoint;
        assert_eq!(endpoint.shared.whereabouts.session_at(pair.nodes[1 - n].addr), Some(ids[n]));
    }
    pair.nodes[0].endpoint.close(pair.now, ids[0], "");
    pair.drain(0);
    pair.run(secs(10));
    assert_eq!([0, 1].map(|n| pair.nodes[n].endpoint.shared.whereabouts.len()), [0, 0]);
}

fn open(config: &Config, udp: bool) -> (Pair, [SessionId; 2]) {
    let mut pair = Pair::new(config);
    let mut link = pair.link(1);
    *(if udp { &mut link.tcp_port } else { &mut link.udp_port }) = None;
    let a = pair.nodes[0].endpoint.connect(pair.now, &link).unwrap();
    pair.drain(0);
    pair.run(Duration::from_millis(500));
    let b = pair.nodes[1].last_session();
    (pair, [a, b])
}

// Mutation: `initiate` without the cookie of its address, or `on_cookie` for dials alone, makes this fail.
#[test]
fn r8_keys_are_renewed_under_load() {
    let mut config = under_load();
    config.heartbeat = false;
    for speaker in [0, 1] {
        let (mut pair, ids) = open(&config, true);
        let mut stranger = Forger::new(200);
        for _ in 0..3 {
            pair.run(secs(155));
            let other = 1 - speaker;
            let key = pair.nodes[other].key;
            let spent = stranger.ask(&key, Transport::Udp, 0);
            pair.deliver(other, super::pair::Wire::Datagram(stranger.addr, spent.packet));
            pair.drain(other);
            let before = pair.nodes[other].endpoint.turned_away().no_cookie;
            let path = pair.nodes[0].endpoint.sessions[&ids[0]].current_index();
            pair.send(speaker, ids[speaker], "under load");
            pair.run(Duration::from_millis(200));
            assert_eq!(pair.nodes[other].endpoint.turned_away().no_cookie, before + 1);
            assert_ne!(pair.nodes[0].endpoint.sessions[&ids[0]].current_index(), path);
            assert_eq!(pair.take(other, ids[other]).len(), 1);
        }
    }
}

// Mutation: `answer` without looking at the backlog makes this fail.
#[test]
fn d6_answers_that_a_peer_does_not_read_are_bounded() {
    let mut bench = Bench::guarded(1, &quiet());
    let mut forger = chooser(&bench);
    let from = forger.addr;
    let peer = open_stream(&mut bench, &mut forger, from);
    bench.pass(secs(60));
    let (mut closed, mut most, mut buf) = (false, 0, Vec::new());
    for _ in 0..2_000 {
        let packet = forger.ask(&bench.key, Transport::Tcp, peer.epoch.their_half).packet;
        let mut data = u16::try_from(packet.len()).unwrap().to_be_bytes().to_vec();
        data.extend_from_slice(&packet);
        bench.endpoint.handle(bench.now, Event::StreamData { stream: peer.stream, data: &mut data });
        while let Some(action) = bench.endpoint.poll_action(bench.now, &mut buf) {
            closed |= matches!(action, Action::CloseStream { .. });
        }
        bench.now = bench.now + secs(1);
        bench.endpoint.handle(bench.now, Event::Tick);
        most = most.max(bench.endpoint.shared.streams.backlog(peer.stream));
    }
    assert!(closed, "{most} bytes wait");
    assert!(most < 129 * 1024, "{most} bytes wait");
}

// Mutation: `establish` without `misplaced` makes this fail.
#[test]
fn r10_nobody_restarts_on_a_stream_from_before() {
    let mut bench = Bench::new(1, &quiet());
    let mut forger = chooser(&bench);
    let from = forger.addr;
    // Somebody says so when it asks ..
    let mut peer = open_stream(&mut bench, &mut forger, from);
    forger.half += 1;
    let asked = forger.ask(&bench.key, Transport::Tcp, 0);
    let done = bench.stream_packet(peer.stream, &asked.packet);
    let mut other = asked.finish(&done.written[&peer.stream][2..]).expect("a RESP").0;
    let done = bench.stream_packet(peer.stream, &other.seal(&[Frame::Confirm]));
    assert!(done.is_nothing(), "{done:?}");
    assert!(bench.stream_packet(peer.stream, &peer.epoch.seal(&[Frame::Pad])).closed.is_empty());
    assert_eq!(bench.endpoint.sessions[&peer.session].path_counts(), (1, 0));
    // .. or when it is asked.
    bench.pass(secs(151));
    bench.endpoint.send(bench.now, peer.session, 0, Bytes::from_static(b"hello")).unwrap();
    let done = bench.drain();
    let (resp, _) = forger.answer(&init_in(&done.written[&peer.stream]).expect("an INIT"));
    let done = bench.stream_packet(peer.stream, &resp);
    assert_eq!(done.closed, [peer.stream]);
    assert!(done.updates.iter().all(|(_, kind)| matches!(kind, UpdateKind::Lost { .. })), "{done:?}");
    assert_eq!(bench.endpoint.sessions[&peer.session].path_counts(), (0, 0));
}

// Mutation: `renewals_follow` that does nothing makes this fail.
#[test]
fn t9_a_renewal_follows_its_path_to_another_address() {
    let mut bench = Bench::new(1, &quiet());
    let mut forger = chooser(&bench);
    let (mut epoch, done) = forger.open(&mut bench, 0);
    let id = done.connected().unwrap();
    bench.pass(secs(151));
    bench.endpoint.send(bench.now, id, 0, Bytes::from_static(b"hello")).unwrap();
    let done = bench.drain();
    let init = inits(&done)[0].1.clone();
    assert_eq!(inits(&done)[0].0, forger.addr);
    for (_, packet) in &done.datagrams {
        epoch.read(packet);
    }
    // Another NAT.
    let elsewhere = SocketAddr::from(([192, 0, 2, 7], 7));
    let done = bench.datagram(elsewhere, &epoch.seal(&[Frame::Ping]));
    let challenge = done.datagrams.iter().filter(|(to, _)| *to == elsewhere).find_map(|(_, packet)| {
        epoch.frames(packet).into_iter().find_map(|told| match told {
            super::address::Told::Challenge(bytes) => Some(bytes),
            super::address::Told::Other => None,
        })
    });
    bench.datagram(elsewhere, &epoch.seal(&[Frame::Response(challenge.expect("a challenge"))]));
    assert_eq!(bench.endpoint.sessions[&id].via(), Some(Via::Udp(elsewhere)));
    assert_eq!(bench.endpoint.shared.whereabouts.session_at(elsewhere), Some(id));
    assert_eq!(bench.endpoint.shared.whereabouts.len(), 1);
    // The INIT is resent there, and what follows goes there, wherever the answer comes from.
    let again = inits(&bench.pass(secs(1)));
    assert_eq!(again, [(elsewhere, init.clone())]);
    let (resp, _) = forger.answer(&init);
    let done = bench.datagram(forger.addr, &resp);
    assert!(!done.datagrams.is_empty() && done.datagrams.iter().all(|(to, _)| *to == elsewhere), "{done:?}");
}

/// The INIT among packets on a stream.
fn init_in(mut written: &[u8]) -> Option<Vec<u8>> {
    while let Some((len, rest)) = written.split_first_chunk() {
        let (packet, next) = rest.split_at(usize::from(u16::from_be_bytes(*len)));
        if packet[0] == INIT {
            return Some(packet.to_vec());
        }
        written = next;
    }
    None
}

/// A peer on a stream whose answers take `rtt`.
fn slow(bench: &mut Bench, forger: &mut Forger, rtt: Duration) -> (StreamId, Epoch, SessionId) {
    let from = forger.addr;
    let mut peer = open_stream(bench, forger, from);
    for round in 0..4 {
        bench.endpoint.send(bench.now, peer.session, 0, Bytes::from_static(b"hello")).unwrap();
        bench.drain();
        bench.pass(rtt);
        let last = bench.endpoint.sessions[&peer.session].sending(peer.epoch.theirs).unwrap().0 - 1;
        let ack = Frame::Ack { epoch: peer.epoch.theirs, delay_us: 0, ranges: [(0, last)].into_iter().collect() };
        let done = bench.stream_packet(peer.stream, &peer.epoch.seal(&[ack]));
        assert!(done.closed.is_empty(), "{round}");
    }
    (peer.stream, peer.epoch, peer.session)
}

// Mutation: `renewal_patience` that returns `usual` makes this fail.
#[test]
fn r8_keys_of_a_slow_stream_are_renewed() {
    let mut config = quiet();
    config.attempt_deadline = secs(2);
    // Both ways: who is asked keeps its answer for as long.
    let mut bench = Bench::new(1, &config);
    let mut forger = chooser(&bench);
    let (stream, epoch, id) = slow(&mut bench, &mut forger, secs(5));
    forger.renews = epoch.theirs;
    let asked = forger.ask(&bench.key, Transport::Tcp, epoch.their_half);
    let done = bench.stream_packet(stream, &asked.packet);
    let mut next = asked.finish(&done.written[&stream][2..]).expect("a RESP").0;
    bench.pass(secs(12));
    bench.stream_packet(stream, &next.seal(&[Frame::Confirm]));
    assert_eq!(bench.endpoint.sessions[&id].current_index(), Some(next.theirs));

    // Who asks.
    let mut bench = Bench::new(1, &config);
    let mut forger = chooser(&bench);
    let (id, mut done) = bench.connect(&crate::Link { udp_port: None, ..crate::Link::direct(forger.key, forger.addr) });
    let stream = done.opened.pop().unwrap();
    let done = bench.handle(Event::StreamOpened { stream });
    let (resp, mut epoch) = forger.answer(&done.written[&stream][2..]);
    assert_eq!(bench.stream_packet(stream, &resp).connected(), Some(id));
    let mut init = None;
    while init.is_none() {
        bench.endpoint.send(bench.now, id, 0, Bytes::from_static(b"hello")).unwrap();
        init = bench.drain().written.get(&stream).and_then(|written| init_in(written));
        assert!(bench.now < crate::Time::ZERO + secs(150));
        bench.pass(secs(5));
        let last = bench.endpoint.sessions[&id].sending(epoch.theirs).unwrap().0 - 1;
        let ack = Frame::Ack { epoch: epoch.theirs, delay_us: 0, ranges: [(0, last)].into_iter().collect() };
        bench.stream_packet(stream, &epoch.seal(&[ack]));
    }
    let (resp, next) = forger.answer(&init.expect("an INIT"));
    bench.pass(secs(2));
    assert!(bench.stream_packet(stream, &resp).closed.is_empty());
    assert_eq!(bench.endpoint.sessions[&id].current_peer_index(), Some(next.mine));
}

// Mutation: `renewal_patience` of five seconds for a side that dials nobody makes this fail.
#[test]
fn who_dials_nobody_goes_on_renewing_until_silence() {
    let (mut pair, ids) = open(&quiet(), true);
    pair.run(secs(300));
    let start = pair.now;
    // Whatever is said in the first six seconds is lost.
    pair.filter = Some(Box::new(move |now, _, _| now > start + secs(6)));
    pair.send(1, ids[1], "after a long silence");
    pair.run(secs(20));
    assert_eq!(pair.take(0, ids[0]).len(), 1);
    let lost = |kind: &&UpdateKind| matches!(kind, UpdateKind::Lost { .. });
    assert_eq!(pair.nodes[1].kinds().into_iter().filter(lost).count(), 0);
}

// Mutation: `answer` without comparing `replaced`, or without setting its number, makes this fail.
#[test]
fn h9_a_replaced_half_is_told_once_for_each_handshake() {
    let mut bench = Bench::new(1, &quiet());
    let (mut first, mut second) = (Forger::new(2), Forger::new(2));
    second.half = 77;
    second.skip(100);
    let early = first.ask(&bench.key, Transport::Udp, 0);
    let done = bench.datagram(first.addr, &early.packet);
    let mut epoch = early.finish(done.datagram()).unwrap().0;
    bench.datagram(first.addr, &epoch.seal(&[Frame::Confirm]));
    let unused = first.ask(&bench.key, Transport::Udp, 0);
    second.open(&mut bench, 0);
    let mut answers = 0;
    for _ in 0..50 {
        for init in [&early.packet, &unused.packet] {
            answers += bench.datagram(first.addr, init).datagrams.len();
        }
        bench.pass(secs(11));
    }
    assert_eq!(answers, 1, "the one that led to no path, once");
    let later = first.ask(&bench.key, Transport::Udp, 0);
    let done = bench.datagram(first.addr, &later.packet);
    assert!(later.finish(done.datagram()).is_some());
}

// Mutation: `next_timeout` with the acknowledgement's time though nothing can be sealed makes this fail.
#[test]
fn rule_5_nothing_spins_while_a_path_cannot_seal() {
    for (udp, heartbeat, closing) in
        [(true, false, false), (true, true, false), (false, true, false), (true, true, true), (false, false, true)]
    {
        let mut config = quiet();
        config.heartbeat = heartbeat;
        config.attempts = 1;
        let mut bench = Bench::new(1, &config);
        let mut forger = chooser(&bench);
        let from = forger.addr;
        let (stream, mut epoch, id) = if udp {
            let (epoch, done) = forger.open(&mut bench, 0);
            (None, epoch, done.connected().unwrap())
        } else {
            let peer = open_stream(&mut bench, &mut forger, from);
            (Some(peer.stream), peer.epoch, peer.session)
        };
        let say = |bench: &mut Bench, packet: &[u8]| match stream {
            Some(stream) => bench.stream_packet(stream, packet),
            None => bench.datagram(from, packet),
        };
        let mut data = 0_u64;
        let mut steps = 0_u32;
        let end = bench.now + secs(700);
        let mut next_word = bench.now;
        let mut ended = false;
        while bench.now < end {
            let at = bench.endpoint.poll_timeout().map_or(end, |(at, _)| at).min(next_word).min(end);
            assert!(at >= bench.now || steps == 0, "a time in the past");
            steps += u32::from(at == bench.now);
            bench.now = bench.now.max(at);
            if bench.now >= next_word {
                // The peer's clock is slow: its keys are good for longer. It acknowledges nothing past 170 s.
                let age = data * 3;
                if age < 170
                    && let Some((next, _, _)) =
                        bench.endpoint.sessions.get(&id).and_then(|session| session.sending(epoch.theirs))
                {
                    let ranges = [(0, next.saturating_sub(1))].into_iter().collect();
                    if next > 0 {
                        let ack = epoch.seal(&[Frame::Ack { epoch: epoch.theirs, delay_us: 0, ranges }]);
                        say(&mut bench, &ack);
                    }
                }
                let frames = [
                    Frame::Ping,
                    Frame::Challenge([1; 8]),
                    Frame::Stream { channel: 0, offset: data * 2, data: b"\x01x" },
                ];
                let packet = epoch.seal(&frames);
                say(&mut bench, &packet);
                data += 1;
                next_word = next_word + secs(3);
                if age >= 177 && closing && !ended {
                    ended = true;
                    bench.endpoint.close(bench.now, id, "");
                    bench.drain();
                } else if !closing && age.is_multiple_of(9) {
                    let _ = bench.endpoint.send(bench.now, id, 0, Bytes::from_static(b"y"));
                    bench.drain();
                }
                continue;
            }
            let before = bench.endpoint.poll_timeout();
            bench.handle(Event::Tick);
            let after = bench.endpoint.poll_timeout();
            assert!(after.is_none_or(|(at, _)| at > bench.now), "{before:?} {after:?} at {}", bench.now);
            steps += 1;
        }
        assert!(steps < 1_500, "{steps} steps (udp {udp}, heartbeat {heartbeat}, closing {closing})");
    }
}
