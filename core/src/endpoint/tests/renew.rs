//! Renewing keys: when, on what carrier, and that nothing is lost or used for too long.

use core::time::Duration;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use burdock_ledger::reached;

use super::bench::Bench;
use super::forger::{Epoch, Forger};
use super::pair::Pair;
use super::{quiet, secs};
use crate::seal::{FORGERY_LIMIT, NUMBER_LIMIT, WORN_NUMBER};
use crate::session::EpochKeys;
use crate::update::UpdateKind;
use crate::wire::frame::Frame;
use crate::{Code, Event, SessionId, StreamId, Time, Transport};

const INIT: u8 = 0x08;
const DATA: u8 = 0x0b;
/// When the epochs of [`open`] begin: after one round trip for the initiator, a half more for the
/// other side.
const SINCE: [Time; 2] = [Time::from_micros(1_020_000), Time::from_micros(1_030_000)];
const TICK: Duration = Duration::from_micros(1);

/// What was sealed: node, epoch and number; and how often one came again.
type Numbers = (BTreeSet<(usize, u32, u64)>, u32);

/// A session that node 0 dialled.
fn open() -> (Pair, [SessionId; 2]) {
    open_over(true)
}

fn open_over(udp: bool) -> (Pair, [SessionId; 2]) {
    let mut pair = Pair::new(&quiet());
    let mut link = pair.link(1);
    if udp {
        link.tcp_port = None;
    } else {
        link.udp_port = None;
    }
    let a = pair.nodes[0].endpoint.connect(pair.now, &link).unwrap();
    pair.drain(0);
    pair.run(Duration::from_millis(500));
    let b = pair.nodes[1].last_session();
    (pair, [a, b])
}

fn until(pair: &mut Pair, at: Time) {
    pair.run(at.saturating_since(pair.now));
}

/// How many INITs a node sent, resent ones counted once.
fn inits(pair: &Pair, n: usize) -> usize {
    let inits = pair.nodes[n].datagrams.iter().filter(|packet| packet[0] == INIT);
    inits.collect::<BTreeSet<_>>().len()
}

fn keys(pair: &mut Pair, n: usize, id: SessionId) -> &mut EpochKeys {
    pair.nodes[n].endpoint.sessions.get_mut(&id).unwrap().current_keys().unwrap()
}

fn current(pair: &Pair, n: usize, id: SessionId) -> Option<u32> {
    pair.nodes[n].endpoint.sessions[&id].current_index()
}

fn counts(pair: &Pair, n: usize, id: SessionId) -> (usize, usize) {
    pair.nodes[n].endpoint.sessions[&id].path_counts()
}

/// Updates that tell of more than messages and measurements, after the first.
fn upsets(pair: &Pair, n: usize) -> Vec<String> {
    let told = |kind: &&UpdateKind| {
        matches!(
            kind,
            UpdateKind::Connected { .. }
                | UpdateKind::PathChanged { .. }
                | UpdateKind::Lost { .. }
                | UpdateKind::Resumed { .. }
                | UpdateKind::PeerRestarted
                | UpdateKind::Closed { .. }
        )
    };
    pair.nodes[n].kinds().into_iter().filter(told).skip(1).map(|kind| format!("{kind:?}")).collect()
}

/// Both sides have one path, the same, and nobody heard of it.
fn settled(pair: &mut Pair, ids: [SessionId; 2]) {
    for n in [0, 1] {
        assert_eq!(counts(pair, n, ids[n]), (1, 0));
        assert_eq!(upsets(pair, n), Vec::<String>::new());
    }
    for n in [0, 1] {
        pair.take(1 - n, ids[1 - n]);
        pair.send(n, ids[n], "still there?");
        pair.run(Duration::from_millis(100));
        assert_eq!(pair.take(1 - n, ids[1 - n]).len(), 1);
    }
}

fn deaf_to_inits(pair: &mut Pair) {
    pair.filter = Some(Box::new(|_, _, packet| packet[0] != INIT));
}

// Mutation: a default `key_life` of 121 s, or `>` for `>=` in `is_renewal_due`, makes this fail.
#[test]
fn r8_the_initiator_renews_at_120_seconds() {
    let (mut pair, ids) = open();
    let before = current(&pair, 0, ids[0]);
    until(&mut pair, SINCE[0] + (secs(120) - TICK));
    pair.send(0, ids[0], "old keys");
    assert_eq!(inits(&pair, 0), 1);
    pair.run(TICK);
    pair.send(0, ids[0], "new keys");
    reached("R8", "microseconds off 120, 150, 180 and 540 s", u32::from(inits(&pair, 0) != 2));
    pair.run(secs(10));
    assert_ne!(current(&pair, 0, ids[0]), before);
    assert_eq!(pair.take(1, ids[1]).len(), 2);
    assert_eq!(inits(&pair, 1), 0);
    settled(&mut pair, ids);
}

// Mutation: `RENEW_RESPONDER` of 6 makes this fail.
#[test]
fn r8_the_responder_renews_at_150_seconds() {
    for (at, expected) in [(SINCE[1] + (secs(150) - TICK), 0), (SINCE[1] + secs(150), 1)] {
        let (mut pair, ids) = open();
        until(&mut pair, at);
        // Of the other side nothing is heard: even its acknowledgement would begin a renewal.
        pair.send(1, ids[1], "hello");
        assert_eq!(inits(&pair, 1), expected);
        pair.run(secs(40));
        settled(&mut pair, ids);
    }
}

// Mutation: `SEAL_LIMIT` of 7 makes this fail.
#[test]
fn r8_nothing_is_sealed_after_180_seconds() {
    let (mut pair, ids) = open();
    let last = Rc::new(RefCell::new([Time::ZERO; 2]));
    let seen = last.clone();
    pair.filter = Some(Box::new(move |now, n, packet| {
        if packet[0] == DATA {
            seen.borrow_mut()[n] = now;
        }
        packet[0] != INIT
    }));
    let mut sent = [0; 2];
    until(&mut pair, Time::from_micros(101_000_000));
    while pair.now < SINCE[1] + secs(187) {
        for n in [0, 1] {
            pair.send(n, ids[n], &sent[n].to_string());
            sent[n] += 1;
        }
        pair.run(Duration::from_millis(100));
    }
    for n in [0, 1] {
        let last = last.borrow()[n];
        assert!(last < SINCE[n] + secs(180) && last > SINCE[n] + secs(179), "{n} {last}");
    }
    assert!(upsets(&pair, 0)[0].contains("Lost { code: Silent }"), "{:?}", upsets(&pair, 0));
    // A path whose keys cannot be renewed is given up, and the session comes back by another.
    pair.filter = None;
    pair.run(secs(30));
    assert!(upsets(&pair, 0).iter().any(|told| told.contains("Resumed")));
    for n in [0, 1] {
        let got: Vec<_> = pair.take(1 - n, ids[1 - n]).into_iter().map(|message| message.data).collect();
        assert_eq!(got, (0..sent[n]).map(|n| n.to_string()).collect::<Vec<_>>());
    }
}

// Mutation: `OPEN_LIMIT` of 19, or `next_timeout` without `ages_at`, makes this fail.
#[test]
fn r8_idle_keys_are_erased_at_540_seconds_and_renewed_when_it_speaks_again() {
    for speaker in [0, 1] {
        let (mut pair, ids) = open();
        pair.run(secs(10));
        let before = [0, 1].map(|n| pair.nodes[n].datagrams.len());
        until(&mut pair, SINCE[0] + (secs(540) - TICK));
        assert!(!keys(&mut pair, 0, ids[0]).is_erased());
        pair.run(TICK);
        assert!(keys(&mut pair, 0, ids[0]).is_erased());
        assert!(!keys(&mut pair, 1, ids[1]).is_erased());
        until(&mut pair, SINCE[1] + secs(540));
        assert!(keys(&mut pair, 1, ids[1]).is_erased());
        until(&mut pair, SINCE[1] + secs(610));
        assert_eq!([0, 1].map(|n| pair.nodes[n].datagrams.len()), before);
        pair.send(speaker, ids[speaker], "after ten minutes");
        pair.run(Duration::from_millis(100));
        assert_eq!(pair.take(1 - speaker, ids[1 - speaker]).len(), 1);
        pair.run(secs(10));
        settled(&mut pair, ids);
    }
}

// Mutation: `replace` that removes the old path at once, without `frame_lost`, makes this fail.
#[test]
fn r8_nothing_is_lost_over_1000_renewals_at_10_percent_loss() {
    let (mut pair, ids) = open();
    let seen: Rc<RefCell<Numbers>> = Rc::default();
    let log = seen.clone();
    let mut luck = 0x9e37_79b9_7f4a_7c15_u64;
    pair.filter = Some(Box::new(move |_, n, packet| {
        if packet[0] == DATA {
            let index = u32::from_be_bytes(packet[4..8].try_into().unwrap());
            let number = u64::from_be_bytes(packet[8..16].try_into().unwrap());
            let (seen, repeats) = &mut *log.borrow_mut();
            *repeats += u32::from(!seen.insert((n, index, number)));
        }
        luck ^= luck << 13;
        luck ^= luck >> 7;
        luck ^= luck << 17;
        !luck.is_multiple_of(10)
    }));
    let (mut renewals, mut cycles) = (0, 0);
    let (mut sent, mut got, mut wrong) = ([0_u32; 2], [0_u32; 2], 0);
    while renewals < 1000 {
        cycles += 1;
        assert!(cycles < 1100, "{renewals} renewals");
        let before = current(&pair, 0, ids[0]);
        let upset = upsets(&pair, 0).len();
        for step in 0..36 {
            for n in [0, 1] {
                pair.send(n, ids[n], &sent[n].to_string());
                sent[n] += 1;
            }
            // Dense when a renewal is about to come.
            pair.run(if step < 6 { secs(19) } else { Duration::from_millis(250) });
            for n in [0, 1] {
                for message in pair.take(n, ids[n]) {
                    wrong += u32::from(message.data != got[n].to_string());
                    got[n] += 1;
                }
            }
        }
        if current(&pair, 0, ids[0]) != before && upsets(&pair, 0).len() == upset {
            renewals += 1;
        }
        for node in &mut pair.nodes {
            node.datagrams.clear();
            node.heard.clear();
            node.updates.retain(|(_, update)| !matches!(update.kind, UpdateKind::Outcome { .. } | UpdateKind::Message));
        }
        let mut log = seen.borrow_mut();
        if log.0.len() > 100_000 {
            log.0.clear();
        }
    }
    pair.filter = None;
    pair.run(secs(30));
    for n in [0, 1] {
        for message in pair.take(n, ids[n]) {
            wrong += u32::from(message.data != got[n].to_string());
            got[n] += 1;
        }
    }
    assert_eq!(wrong, 0);
    assert_eq!(seen.borrow().1, 0, "a number was used twice");
    assert_eq!(upsets(&pair, 0), Vec::<String>::new());
    reached("R8", "renewals", renewals);
    reached("R8", "messages lost over 1,000 renewals at 10 % loss", (sent[0] - got[1]) + (sent[1] - got[0]));
}

// Mutation: `replace` without `announce_choice` makes this fail.
#[test]
fn r8_crossing_renewals_converge() {
    for lossy in [false, true] {
        let (mut pair, ids) = open();
        until(&mut pair, SINCE[1] + secs(155));
        if lossy {
            // Both answers, and the first packets after them.
            let mut left = 4;
            pair.filter = Some(Box::new(move |_, _, packet| {
                let drop = packet[0] != INIT && left > 0;
                left -= u32::from(drop);
                !drop
            }));
        }
        for n in [0, 1] {
            pair.send(n, ids[n], "at once");
        }
        assert_eq!([0, 1].map(|n| inits(&pair, n)), [2, 1]);
        pair.run(secs(5));
        let theirs = pair.nodes[1].endpoint.sessions[&ids[1]].current_peer_index();
        assert_eq!(current(&pair, 0, ids[0]), theirs, "both send on the same path");
        pair.run(secs(85));
        for n in [0, 1] {
            assert_eq!(pair.take(n, ids[n]).len(), 1);
        }
        settled(&mut pair, ids);
    }
}

// Mutation: `drop_carrier` that closes the stream always, or `on_stream_packet` that takes one index
// alone, makes this fail.
#[test]
fn r8_keys_are_renewed_within_a_stream() {
    for (speaker, at) in [(0, 121), (1, 151), (0, 600), (1, 600)] {
        let (mut pair, ids) = open_over(false);
        let stream = pair.streams(0);
        let before = current(&pair, 0, ids[0]);
        until(&mut pair, SINCE[1] + secs(at));
        for n in 0..20 {
            pair.send(speaker, ids[speaker], &n.to_string());
            pair.run(Duration::from_millis(5));
        }
        pair.run(secs(10));
        assert_eq!(pair.take(1 - speaker, ids[1 - speaker]).len(), 20);
        assert_ne!(current(&pair, 0, ids[0]), before);
        assert_eq!(pair.streams(0), stream);
        settled(&mut pair, ids);
        // Both at once, in the same stream.
        pair.run(secs(155));
        for n in [0, 1] {
            pair.send(n, ids[n], "at once");
        }
        pair.run(secs(60));
        assert_eq!(pair.streams(0), stream);
        settled(&mut pair, ids);
        pair.nodes[speaker].endpoint.close(pair.now, ids[speaker], "");
        pair.drain(speaker);
        pair.run(secs(1));
        assert!(matches!(pair.nodes[1 - speaker].kinds().last(), Some(UpdateKind::Closed { code: Code::Done, .. })));
    }
}

/// The types of the packets that a node wrote to a stream.
fn packets(pair: &Pair, n: usize, stream: StreamId) -> Vec<u8> {
    let mut rest = pair.nodes[n].written[&stream].as_slice();
    let mut types = Vec::new();
    while let Some((len, behind)) = rest.split_first_chunk() {
        let (packet, behind) = behind.split_at(usize::from(u16::from_be_bytes(*len)));
        types.push(packet[0]);
        rest = behind;
    }
    types
}

/// After a sleep the renewed path is silent, and the one it replaced is still there: it does not come back to be
/// renewed in its turn, beside a renewal that the stream has not answered.
// Mutation: `close_path` without `close_aged` makes this fail.
#[test]
fn r8_no_replaced_path_comes_back_after_a_sleep() {
    let (mut pair, ids) = open_over(false);
    let stream = pair.streams(0)[0];
    let mut before = None;
    // Timers are looked at in the order of indices: the renewed path is to come first.
    while before <= current(&pair, 0, ids[0]) {
        before = current(&pair, 0, ids[0]);
        pair.run(secs(121));
        pair.send(0, ids[0], "to be renewed");
        pair.run(Duration::from_millis(100));
        assert_eq!(counts(&pair, 0, ids[0]), (2, 0));
    }
    pair.take(1, ids[1]);
    pair.send(0, ids[0], "on its way");
    let before = packets(&pair, 0, stream).len();

    pair.now = pair.now + secs(2000);
    pair.nodes[0].endpoint.send(pair.now, ids[0], 0, bytes::Bytes::from_static(b"woken")).unwrap();
    pair.act(0);
    pair.nodes[0].endpoint.handle(pair.now, Event::Tick);
    pair.drain(0);
    assert_eq!(packets(&pair, 0, stream)[before..], [INIT]);
    pair.run(secs(10));
    assert_eq!(pair.take(1, ids[1]).len(), 2);
}

/// Word that another path took over comes after a sleep, in which that one grew too old.
// Mutation: `lost` with the peer's code in `close_path` makes this fail.
#[test]
fn no_path_is_lost_to_one_that_is_too_old_itself() {
    let mut bench = Bench::new(1, &quiet());
    let mut forger = super::door::chooser(&bench);
    let (first, done) = forger.open(&mut bench, 0);
    let id = done.connected().unwrap();
    let (mut second, _) = forger.open(&mut bench, first.their_half);
    assert_eq!(bench.endpoint.sessions[&id].current_index(), Some(first.theirs));
    bench.now = bench.now + secs(200);
    let close = Frame::PathClose { epoch: first.theirs, code: Code::Superseded.number() };
    let done = bench.datagram(forger.addr, &second.seal(&[close]));
    assert_eq!(done.updates, [(id, UpdateKind::Lost { code: Code::Silent })]);
}

/// CLOSE comes while two epochs are on one stream: the answer goes out all the same.
#[test]
fn a_session_ends_in_peace_while_keys_are_renewed_within_its_stream() {
    for ms in [0, 15, 25, 35, 60, 500, 1500] {
        let (mut pair, ids) = open_over(false);
        until(&mut pair, SINCE[1] + secs(121));
        pair.send(0, ids[0], "last words");
        pair.run(Duration::from_millis(ms));
        pair.take(1, ids[1]);
        pair.nodes[0].endpoint.close(pair.now, ids[0], "");
        pair.drain(0);
        for _ in 0..10 {
            pair.run(Duration::from_millis(50));
            pair.take(1, ids[1]);
        }
        for n in [0, 1] {
            let last = pair.nodes[n].kinds().into_iter().last();
            assert!(matches!(last, Some(UpdateKind::Closed { code: Code::Done, .. })), "{ms} {last:?}");
            assert_eq!(upsets(&pair, n).len(), 1, "{ms} {:?}", upsets(&pair, n));
        }
        pair.run(secs(700));
        for n in [0, 1] {
            assert_eq!(pair.nodes[n].endpoint.poll_timeout(), None::<(Time, _)>);
            assert!(pair.streams(n).is_empty());
        }
    }
}

// Mutation: `drop_carrier` that closes the stream always makes this fail.
#[test]
fn c4_nothing_is_lost_when_the_path_changes_during_a_renewal() {
    for cut_ms in [0, 5, 15, 25, 35, 45] {
        let mut pair = Pair::new(&quiet());
        let a = pair.connect(0);
        pair.run(secs(1));
        let b = pair.nodes[1].last_session();
        until(&mut pair, SINCE[0] + secs(119));
        let mut sent = 0;
        let mut got = [0, 0];
        for step in 0..3000_u64 {
            if step == 200 {
                pair.run(Duration::from_millis(cut_ms));
                pair.udp = false;
            }
            pair.udp |= step == 2000;
            pair.send(0, a, &sent.to_string());
            pair.send(1, b, &sent.to_string());
            sent += 1;
            pair.run(Duration::from_millis(if step < 400 { 5 } else { 50 }));
            for (n, id) in [(0, a), (1, b)] {
                for message in pair.take(n, id) {
                    assert_eq!(message.data, got[n].to_string());
                    got[n] += 1;
                }
            }
        }
        pair.run(secs(10));
        for (n, id) in [(0, a), (1, b)] {
            got[n] += pair.take(n, id).len();
            let moved = pair.nodes[n].kinds().into_iter().filter(|kind| matches!(kind, UpdateKind::PathChanged { .. }));
            assert!(moved.count() >= 2, "to TCP and back: {:?}", upsets(&pair, n));
        }
        assert_eq!(got, [sent, sent]);
    }
}

// Mutation: without `is_worn` in `is_renewal_due`, or `can_seal` in `transmit_on`, this fails.
#[test]
fn r2_keys_are_renewed_at_2_to_the_60_packets_and_refused_at_the_end() {
    let (mut pair, ids) = open();
    keys(&mut pair, 0, ids[0]).set_number(WORN_NUMBER - 1);
    pair.send(0, ids[0], "the last good one");
    assert_eq!(inits(&pair, 0), 1);
    pair.send(0, ids[0], "renews");
    reached("R2", "renewals at 2^60 that did not come", u32::from(inits(&pair, 0) != 2));
    pair.run(secs(10));
    assert_eq!(pair.take(1, ids[1]).len(), 2);
    settled(&mut pair, ids);

    deaf_to_inits(&mut pair);
    keys(&mut pair, 0, ids[0]).set_number(NUMBER_LIMIT);
    let before = pair.nodes[0].datagrams.len();
    pair.send(0, ids[0], "waits");
    pair.run(secs(1));
    let sealed = pair.nodes[0].datagrams[before..].iter().filter(|packet| packet[0] != INIT).count();
    reached("R2", "packets sealed beyond the last number", sealed as u32);
    pair.filter = None;
    pair.run(secs(10));
    assert_eq!(pair.take(1, ids[1]).len(), 1);
    settled(&mut pair, ids);
}

// Mutation: `FORGERY_LIMIT` for `FORGERY_LIMIT / 2` in `Opener::is_worn` makes this fail.
#[test]
fn r7_forgeries_wear_keys_out() {
    let (mut pair, ids) = open();
    let index = current(&pair, 0, ids[0]).unwrap();
    let from = pair.nodes[1].addr;
    let forge = |pair: &mut Pair| {
        let mut forged = [&crate::wire::packet::data_header(index, 9)[..], &[7; 100]].concat();
        let now = pair.now;
        pair.nodes[0].endpoint.handle(now, Event::Datagram { from, data: &mut forged });
        pair.drain(0);
    };
    keys(&mut pair, 0, ids[0]).set_forgeries(FORGERY_LIMIT / 2 - 2);
    forge(&mut pair);
    pair.send(0, ids[0], "not yet");
    assert_eq!(inits(&pair, 0), 1);
    forge(&mut pair);
    assert_eq!(inits(&pair, 0), 1, "there is nothing to send");
    deaf_to_inits(&mut pair);
    pair.send(0, ids[0], "renews");
    reached("R7", "renewals after half as many that did not come", u32::from(inits(&pair, 0) != 2));
    keys(&mut pair, 0, ids[0]).set_forgeries(FORGERY_LIMIT - 1);
    forge(&mut pair);
    assert!(keys(&mut pair, 0, ids[0]).is_erased());
    pair.filter = None;
    pair.run(secs(10));
    assert_eq!(pair.take(1, ids[1]).len(), 2);
    settled(&mut pair, ids);
}

// Mutation: without the second `drop_replaced` in `establish` this fails.
#[test]
fn d6_a_peer_that_renews_without_end_is_bounded() {
    let mut bench = Bench::new(1, &quiet());
    let mut forger = Forger::new(2);
    let (mut epoch, done) = forger.open(&mut bench, 0);
    let id = done.connected().unwrap();
    let mut most = 0;
    for round in 0..100 {
        forger.renews = epoch.theirs;
        let opened: Epoch = forger.open(&mut bench, epoch.their_half).0;
        epoch = opened;
        if round % 10 == 0 {
            bench.pass(Duration::from_millis(20));
        }
        most = most.max(bench.endpoint.sessions[&id].path_counts().0);
        assert_eq!(bench.endpoint.sessions[&id].current_index(), Some(epoch.theirs));
    }
    assert_eq!(most, quiet().limits.paths);
    assert!(bench.snapshot().indices.len() <= quiet().limits.paths);
}

/// An accepted stream that carries a path of `forger`.
fn on_stream(bench: &mut Bench, forger: &mut Forger) -> (StreamId, Epoch) {
    let stream = bench.endpoint.stream_accepted(bench.now, forger.addr).unwrap();
    let asked = forger.ask(&bench.key, Transport::Tcp, 0);
    let done = bench.stream_packet(stream, &asked.packet);
    let mut epoch = asked.finish(&done.written[&stream][2..]).expect("a RESP").0;
    let confirm = epoch.seal(&[Frame::Confirm]);
    bench.stream_packet(stream, &confirm);
    (stream, epoch)
}

// Mutation: `answer` without the comparison of keys on a proven stream makes this fail.
#[test]
fn r10_a_proven_stream_takes_handshakes_of_its_peer_alone() {
    for own in [true, false] {
        let mut config = quiet();
        config.limits.handshake_deadline = secs(1);
        let mut bench = Bench::new(1, &config);
        let (mut forger, mut other) = (Forger::new(2), Forger::new(3));
        let (stream, mut epoch) = on_stream(&mut bench, &mut forger);
        let asked = if own { &mut forger } else { &mut other };
        asked.renews = epoch.theirs;
        let half = if own { epoch.their_half } else { 0 };
        let asked = asked.ask(&bench.key, Transport::Tcp, half);
        let done = bench.stream_packet(stream, &asked.packet);
        assert_eq!(done.closed.is_empty(), own);
        if own {
            let mut next = asked.finish(&done.written[&stream][2..]).expect("a RESP").0;
            // The old epoch goes on meanwhile, and beside the new one.
            let old = bench.stream_packet(stream, &epoch.seal(&[Frame::Ping]));
            assert!(old.closed.is_empty());
            assert!(bench.stream_packet(stream, &next.seal(&[Frame::Confirm])).closed.is_empty());
            assert!(bench.stream_packet(stream, &epoch.seal(&[Frame::Ping])).closed.is_empty());
            // What is half-open ends without the stream.
            let asked = forger.ask(&bench.key, Transport::Tcp, half);
            bench.stream_packet(stream, &asked.packet);
            assert!(bench.pass(secs(2)).closed.is_empty());
            // A bad packet ends the stream with everything on it.
            let mut bad = next.seal(&[Frame::Ping]);
            *bad.last_mut().unwrap() ^= 1;
            let done = bench.stream_packet(stream, &bad);
            assert_eq!(done.closed, [stream]);
            assert_eq!(bench.snapshot().indices.len(), 0);
        }
    }
}

// Mutation: `is_renewable` that is always true makes this fail.
#[test]
fn a_renewal_of_nothing_is_an_ordinary_path() {
    let mut bench = Bench::new(1, &quiet());
    let mut forger = Forger::new(2);
    let (first, done) = forger.open(&mut bench, 0);
    let id = done.connected().unwrap();
    for renews in [7, first.theirs ^ 1] {
        forger.renews = renews;
        let before = bench.endpoint.sessions[&id].path_counts().0;
        forger.open(&mut bench, first.their_half);
        assert_eq!(bench.endpoint.sessions[&id].path_counts().0, before + 1);
    }
}
