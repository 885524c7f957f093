//! What the whole endpoint promises of those who come on streams.

use core::net::{Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::collections::BTreeMap;

use super::bench::{Bench, Done};
use super::door::{addr, chooser, config};
use super::forger::{Epoch, Forger};
use crate::update::UpdateKind;
use crate::wire::frame::Frame;
use crate::{Code, SessionId, StreamId, Transport};

/// A peer on a stream, by hand.
pub(super) struct OnStream {
    pub(super) stream: StreamId,
    pub(super) epoch: Epoch,
    pub(super) session: SessionId,
}

pub(super) fn open_stream(bench: &mut Bench, forger: &mut Forger, from: SocketAddr) -> OnStream {
    let asked = forger.ask(&bench.key, Transport::Tcp, 0);
    let stream = bench.endpoint.stream_accepted(bench.now, from).unwrap();
    let done = bench.stream_packet(stream, &asked.packet);
    let mut epoch = asked.finish(&done.written[&stream][2..]).expect("a RESP").0;
    let done = bench.stream_packet(stream, &epoch.seal(&[Frame::Confirm]));
    OnStream { stream, epoch, session: done.connected().expect("a session") }
}

// Mutation: `unproven_in_the_way` without the second case, or `handshake_deadline` from the last byte, makes this
// fail.
#[test]
fn d5_dribbling_streams_hold_nobody_up() {
    let config = config();
    let mut bench = Bench::guarded(1, &config);
    let start = bench.now;
    let mut forger = Forger::new(2);
    // How far each has come.
    let mut alive: BTreeMap<StreamId, usize> = BTreeMap::new();
    let mut opened = 0;
    let mut served = None;
    let mut all_closed = None;
    let mut genuine = None;
    // A thousand within a second, each with a byte of an INIT every 100 ms for ever.
    let mut dribble = forger.ask(&bench.key, Transport::Tcp, 0).packet;
    dribble.splice(0..0, (dribble.len() as u16).to_be_bytes());
    for ms in 0..20_000_usize {
        let mut done = bench.pass(Duration::from_millis(1));
        if opened < 1_000 {
            opened += 1;
            let stream = bench.endpoint.stream_accepted(bench.now, addr(opened)).expect("never refused");
            alive.insert(stream, 0);
            assert!(bench.snapshot().streams <= config.limits.unproven_streams);
        }
        // The genuine peer is 25 ms away.
        if ms == 500 {
            let asked = forger.ask(&bench.key, Transport::Tcp, 0);
            let stream = bench.endpoint.stream_accepted(bench.now, forger.addr).unwrap();
            genuine = Some((stream, asked, bench.now));
        }
        if ms == 550
            && let Some((stream, asked, came)) = &genuine
        {
            let answer = bench.stream_packet(*stream, &asked.packet);
            let mut epoch = asked.finish(&answer.written[stream][2..]).unwrap().0;
            done.closed.extend(answer.closed);
            bench.pass(Duration::from_millis(50));
            let opened = bench.stream_packet(*stream, &epoch.seal(&[Frame::Confirm]));
            assert!(opened.connected().is_some());
            served = Some(bench.now.saturating_since(*came));
        }
        for (stream, sent) in &mut alive {
            if (ms + stream.get() as usize).is_multiple_of(100) {
                let data = &mut [dribble[*sent]];
                *sent += 1;
                done.closed.extend(bench.handle(crate::Event::StreamData { stream: *stream, data }).closed);
            }
        }
        done.closed.extend(bench.drain().closed);
        for stream in done.closed {
            alive.remove(&stream);
        }
        if opened == 1_000 && alive.is_empty() && all_closed.is_none() {
            all_closed = Some(bench.now.saturating_since(start));
        }
    }
    burdock_ledger::reached("D5", "dribbling connections", opened as f64);
    burdock_ledger::reached("D5", "ms until a genuine peer is served", served.expect("served").as_millis() as f64);
    burdock_ledger::reached("D5", "s until all are closed", all_closed.expect("all closed").as_secs_f64());
    let turned_away = bench.endpoint.turned_away();
    assert!(turned_away.streams_evicted > 0);
}

// Mutation: `unproven_in_the_way` without the first case makes this fail.
#[test]
fn d5_a_source_that_opens_many_streams_closes_its_own() {
    let config = config();
    let mut bench = Bench::guarded(1, &config);
    let one = bench.endpoint.stream_accepted(bench.now, addr(1)).unwrap();
    let mut its = Vec::new();
    for n in 0..100_u16 {
        let from = SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, n, 0, 0, 1), 1000));
        its.push(bench.endpoint.stream_accepted(bench.now, from).unwrap());
        let closed = bench.drain().closed;
        assert_eq!(closed, its.len().checked_sub(17).map(|n| its[n]).into_iter().collect::<Vec<_>>());
    }
    assert_eq!(bench.snapshot().streams, 17);
    let closed = bench.pass(config.limits.handshake_deadline).closed;
    assert!(closed.len() == 17 && closed.contains(&one));
    assert_eq!(bench.snapshot().streams, 0);
    assert_eq!(bench.endpoint.poll_timeout(), None);
}

// Mutation: `stands` without `completed`, or never starting the timer, makes this fail.
#[test]
fn d5_a_proven_stream_may_not_stand_in_a_packet_for_ever() {
    let mut config = config();
    config.heartbeat = false;
    let mut bench = Bench::guarded(1, &config);
    let mut forger = chooser(&bench);
    let from = forger.addr;
    let mut peer = open_stream(&mut bench, &mut forger, from);
    let feed = |bench: &mut Bench, bytes: &[u8]| {
        bench.handle(crate::Event::StreamData { stream: peer.stream, data: &mut bytes.to_vec() })
    };
    let framed = |epoch: &mut Epoch| {
        let packet = epoch.seal(&[Frame::Pad]);
        [&(packet.len() as u16).to_be_bytes()[..], &packet].concat()
    };
    // Between packets it may, for ever.
    let done = bench.pass(Duration::from_secs(120));
    assert!(done.closed.is_empty());
    // A packet at a time, cut in the middle, each within its time: it lives.
    let mut rest = framed(&mut peer.epoch);
    for _ in 0..5 {
        let next = framed(&mut peer.epoch);
        let half = rest.len() / 2;
        assert!(feed(&mut bench, &rest[..half]).closed.is_empty());
        assert!(bench.pass(Duration::from_secs(29)).closed.is_empty());
        // The rest, and the beginning of the next.
        assert!(feed(&mut bench, &[&rest[half..], &next[..1]].concat()).closed.is_empty());
        rest = next[1..].to_vec();
        assert!(bench.pass(Duration::from_secs(20)).closed.is_empty());
        assert!(feed(&mut bench, &rest).closed.is_empty());
        rest = framed(&mut peer.epoch);
    }
    // 30 s from the packet's first byte, however often another comes.
    let mut lived = 0;
    let mut done = Done::default();
    for byte in &rest[..rest.len() - 1] {
        done = feed(&mut bench, &[*byte]);
        let passed = bench.pass(Duration::from_secs(1));
        done.closed.extend(passed.closed);
        done.updates.extend(passed.updates);
        if !done.closed.is_empty() {
            break;
        }
        lived += 1;
    }
    assert_eq!((lived, &done.closed[..]), (29, &[peer.stream][..]));
    let lost = |(id, kind): &(SessionId, UpdateKind)| {
        *id == peer.session && *kind == UpdateKind::Lost { code: Code::CarrierLost }
    };
    assert!(done.updates.iter().any(lost), "{done:?}");
    assert_eq!(bench.endpoint.turned_away().streams_too_slow, 1);
}

// Mutation: `insert_accepted` with `MAX_STREAM_PACKET` for later packets makes this fail.
#[test]
fn d4_an_unproven_stream_holds_little() {
    let mut bench = Bench::guarded(1, &config());
    let mut forger = Forger::new(2);
    for len in [1_201_u16, 16_384] {
        let asked = forger.ask(&bench.key, Transport::Tcp, 0);
        let stream = bench.endpoint.stream_accepted(bench.now, forger.addr).unwrap();
        assert!(!bench.stream_packet(stream, &asked.packet).written.is_empty());
        let done = bench.handle(crate::Event::StreamData { stream, data: &mut len.to_be_bytes() });
        assert_eq!(done.closed, [stream], "a first packet of {len} bytes");
    }
    // The confirmed one takes long packets, behind the first one in the same piece too.
    let asked = forger.ask(&bench.key, Transport::Tcp, 0);
    let stream = bench.endpoint.stream_accepted(bench.now, forger.addr).unwrap();
    let done = bench.stream_packet(stream, &asked.packet);
    let mut epoch = asked.finish(&done.written[&stream][2..]).unwrap().0;
    let mut bytes = Vec::new();
    for packet in [epoch.seal(&[Frame::Confirm]), epoch.seal_bytes(&[0; 16_000]), epoch.seal_bytes(&[0; 16_000])] {
        bytes.extend_from_slice(&(packet.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&packet);
    }
    let done = bench.handle(crate::Event::StreamData { stream, data: &mut bytes });
    assert!(done.connected().is_some() && done.closed.is_empty());
}
