//! What the whole endpoint promises of packets.

use core::net::SocketAddr;
use core::time::Duration;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::bench::Bench;
use super::forger::Forger;
use super::pair::Pair;
use super::steady;
use crate::wire::frame::Frame;
use crate::wire::packet;
use crate::{Config, Endpoint, Event, Time, Transport};

/// The packets of a stream.
fn packets(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    while let Some((len, rest)) = bytes.split_first_chunk() {
        let (packet, rest) = rest.split_at(usize::from(u16::from_be_bytes(*len)).min(rest.len()));
        packets.push(packet.to_vec());
        bytes = rest;
    }
    packets
}

// Mutation: `Sealer::seal` that leaves out `self.next += 1` now and then makes this fail.
#[test]
fn r1_h7_no_number_is_used_twice_under_a_key_and_no_ephemeral_in_two_messages() {
    let mut pair = Pair::new(&steady(Config::streamer()));
    let a = pair.connect(0);
    let other = pair.connect(1);
    pair.run(Duration::from_secs(1));
    for round in 0..12_u64 {
        for n in 0..30 {
            pair.send(0, a, &format!("{round} {n} a"));
            pair.send(1, other, &format!("{round} {n} b"));
        }
        // UDP, TCP, nothing, both, in turns.
        (pair.udp, pair.tcp) = (round % 3 == 0, round % 4 != 2);
        if round % 4 == 3 {
            pair.reset_streams();
        }
        pair.run(Duration::from_millis(900 * (round + 1)));
    }
    (pair.udp, pair.tcp) = (true, true);
    pair.run(Duration::from_secs(40));
    assert_eq!((pair.take(1, other).len(), pair.take(0, a).len()), (360, 360));

    let (mut numbers, mut ephemerals) = (BTreeSet::new(), BTreeMap::new());
    let (mut data, mut repeats, mut reused, mut epochs) = (0, 0, 0, BTreeSet::new());
    for node in &pair.nodes {
        let on_streams = node.written.values().flat_map(|bytes| packets(bytes));
        for packet in node.datagrams.iter().cloned().chain(on_streams) {
            match packet[0] {
                // The receiver index names the key: it belongs to one epoch and one direction.
                0x0b => {
                    data += 1;
                    epochs.insert(packet[4..8].to_vec());
                    repeats += u32::from(!numbers.insert(packet[4..16].to_vec()));
                }
                _ => {
                    let before = ephemerals.entry(packet[8..40].to_vec()).or_insert_with(|| packet.clone());
                    reused += u32::from(*before != packet);
                }
            }
        }
    }
    assert!(data > 200 && epochs.len() > 8 && ephemerals.len() > 8, "{data} {} {}", epochs.len(), ephemerals.len());
    burdock_ledger::reached("R1", "repeats", repeats);
    burdock_ledger::reached("H7", "ephemeral keys in two messages", reused);
}

fn nothing_follows(endpoint: &mut Endpoint, now: Time, from: SocketAddr, packet: &[u8], what: &str) {
    let before = endpoint.snapshot(now);
    let mut data = packet.to_vec();
    endpoint.handle(now, Event::Datagram { from, data: &mut data });
    let mut buf = Vec::new();
    let action = endpoint.poll_action(now, &mut buf);
    assert!(action.is_none(), "{what}: {action:?}");
    assert_eq!(endpoint.snapshot(now), before, "{what}");
}

// Mutation: `Opener::open` marking the number before the tag is checked, or `on_packet` counting
// a refused packet in `path.acks`, makes this fail.
#[test]
fn r3_what_fails_authentication_changes_nothing() {
    let mut pair = Pair::new(&steady(Config::streamer()));
    let a = pair.connect(0);
    pair.run(Duration::from_secs(1));
    let b = pair.nodes[1].last_session();
    let tries = Rc::new(Cell::new(0_u32));
    let counter = Rc::clone(&tries);
    let mut random = ChaCha20Rng::seed_from_u64(3);
    let mut old: Vec<Vec<u8>> = Vec::new();
    // Before every genuine packet come damaged and forged ones, and those of before.
    pair.guard = Some(Box::new(move |endpoint, now, from, genuine| {
        if endpoint.poll_timeout().is_some_and(|(at, _)| at <= now) {
            return;
        }
        for _ in 0..900 {
            let mut forged = genuine.to_vec();
            let place = random.next_u32() as usize % forged.len();
            forged[place] ^= 1 << (random.next_u32() % 8);
            nothing_follows(endpoint, now, from, &forged, "damaged");
        }
        let mut far = genuine.to_vec();
        far[8..16].copy_from_slice(&(1_u64 << 40).to_be_bytes());
        nothing_follows(endpoint, now, from, &far, "a forged far number");
        let cut = random.next_u32() as usize % genuine.len();
        nothing_follows(endpoint, now, from, &genuine[..cut], "cut off");
        for packet in old.iter().rev().take(50) {
            // Each node's own; the others' are for keys it does not have.
            nothing_follows(endpoint, now, from, packet, "replayed");
        }
        old.push(genuine.to_vec());
        counter.set(counter.get() + 902);
    }));
    for n in 0..60 {
        pair.send(0, a, &format!("{n}"));
        pair.send(1, b, &format!("{n}"));
        pair.run(Duration::from_millis(30));
    }
    pair.run(Duration::from_secs(1));
    // The genuine ones all opened, at once: nothing was sent twice.
    assert_eq!((pair.take(1, b).len(), pair.take(0, a).len()), (60, 60));
    let lost: u16 = pair.nodes.iter().flat_map(|node| node.kinds()).map(loss).sum();
    assert_eq!(lost, 0);
    burdock_ledger::reached("R3", "damaged packets", tries.get());
    burdock_ledger::reached("R3", "damaged packets that changed something", 0);
    burdock_ledger::reached("R3", "genuine packets behind them that did not open", 0);
}

fn loss(kind: &crate::update::UpdateKind) -> u16 {
    match kind {
        crate::update::UpdateKind::Quality(quality) => quality.loss_per_mille,
        _ => 0,
    }
}

/// A thousand kinds of garbage: genuine packets of each type cut, grown, and changed in one bit,
/// and bytes that were never a packet.
fn garbage(genuine: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut random = ChaCha20Rng::seed_from_u64(6);
    let mut kinds = vec![Vec::new()];
    for len in (1..300).chain([1199, 1200, 1201, 1500, 9000, 65_507]) {
        let mut bytes = vec![0; len];
        random.fill_bytes(&mut bytes);
        kinds.push(bytes);
    }
    for first in 0..=255 {
        kinds.push([&[first], &[0; 1199][..]].concat());
    }
    for packet in genuine {
        for part in 0..32 {
            kinds.push(packet[..packet.len() * part / 32].to_vec());
        }
        kinds.push([&packet[..], &[0]].concat());
        // All of the header; of the rest a sample. mac2 counts only when it is asked for.
        let end = if packet[0] == 0x08 { packet.len() - 16 } else { packet.len() };
        for place in (0..40.min(end)).chain((40..end).step_by(17)).chain(end - 16..end) {
            let mut damaged = packet.clone();
            damaged[place] ^= 1 << (place % 8);
            kinds.push(damaged);
        }
    }
    kinds
}

// Mutation: `on_init` without the check of mac1, or answering an unknown index with a CLOSE,
// makes this fail.
#[test]
fn r6_garbage_is_met_with_silence_in_every_state() {
    let config = Config::streamer();
    let mut forger = Forger::new(2);
    let mut other = Forger::new(3);
    let mut bench = Bench::new(1, &config);
    let init = forger.ask(&bench.key, Transport::Udp, 0).packet;
    let mut elsewhere = Bench::new(4, &config);
    let (_, done) = elsewhere.connect(&other.link());
    let resp = other.answer(done.datagram()).0;
    let mut cookie = Vec::new();
    let (nonce, sealed) = ([7; 24], [7; 32]);
    packet::put_cookie(&packet::Cookie { receiver: 7, nonce: &nonce, sealed: &sealed }, &mut cookie);

    // To an endpoint that only listens.
    let data = [&packet::data_header(7, 0)[..], &[7; 100]].concat();
    let kinds = garbage(&[init, resp.clone(), cookie.clone(), data.clone()]);
    burdock_ledger::reached("R6", "kinds of garbage", kinds.len() as u32);
    let before = bench.snapshot();
    for bytes in &kinds {
        assert!(bench.datagram(forger.addr, bytes).is_nothing(), "{:x?}", &bytes[..bytes.len().min(40)]);
    }
    assert_eq!(bench.snapshot(), before);

    // To one with a session, one half open and one being dialled.
    let (mut live, _) = forger.open(&mut bench, 0);
    let mut half_open = other.dial(&mut bench, 0);
    let dialled = Forger::new(5);
    bench.connect(&dialled.link());
    bench.pass(Duration::from_millis(100));
    let again = Forger::new(6).ask(&bench.key, Transport::Udp, 0).packet;
    let before = bench.snapshot();
    let genuine = [again, resp, cookie, live.seal(&[Frame::Ping]), half_open.seal(&[Frame::Confirm]), data];
    for bytes in garbage(&genuine) {
        assert!(bench.datagram(forger.addr, &bytes).is_nothing(), "{:x?}", &bytes[..bytes.len().min(40)]);
    }
    assert_eq!(bench.snapshot(), before);
    assert!(bench.datagram(other.addr, &genuine[4]).connected().is_some());
    burdock_ledger::reached("R6", "bytes answered to garbage", 0);
}

/// The copies of a packet that differ from it in one bit.
fn flipped(packet: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>)> {
    (0..packet.len() * 8).map(|bit| {
        let mut flipped = packet.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        (bit, flipped)
    })
}

// Mutation: `packet::prologue` without the header, or `&[]` for `header` as the associated data in `Opener::open` and
// `Sealer::seal`, makes this fail.
#[test]
fn r5_every_bit_of_every_header_is_authenticated() {
    let config = steady(Config::streamer());
    let mut accepted = 0;
    let mut bench = Bench::new(1, &config);
    let mut forger = Forger::new(2);
    // DATA.
    let (mut epoch, _) = forger.open(&mut bench, 0);
    let data = epoch.seal(&[Frame::Stream { channel: 0, offset: 0, data: b"\x05hello" }]);
    let before = bench.snapshot();
    for (_, packet) in flipped(&data) {
        accepted += u32::from(!bench.datagram(forger.addr, &packet).is_nothing() || bench.snapshot() != before);
    }
    assert_ne!(bench.datagram(forger.addr, &data), super::bench::Done::default());
    // INIT: whoever knows the responder's key makes mac1 fit again, and its own bits fail by themselves.
    let asked = Forger::new(3).ask(&bench.key, Transport::Udp, 0);
    let (mac1, mac2) = (asked.packet.len() - 32, asked.packet.len() - 16);
    let before = bench.snapshot();
    for (bit, mut packet) in flipped(&asked.packet).filter(|(bit, _)| *bit < 64 || (mac1 * 8..mac2 * 8).contains(bit)) {
        if bit < 64 {
            let fits = crate::crypto::mac1(&bench.key, &packet[..mac1]);
            packet[mac1..mac2].copy_from_slice(&fits);
        }
        accepted += u32::from(!bench.datagram(forger.addr, &packet).is_nothing());
    }
    assert_eq!(bench.snapshot(), before);
    assert!(!bench.datagram(forger.addr, &asked.packet).datagrams.is_empty());
    // RESP, to a dialler of its own each time: it hears out a few bad ones only.
    let mut other = Forger::new(4);
    for bit in 0..64 {
        let mut dialler = Bench::new(6, &config);
        let (_, done) = dialler.connect(&other.link());
        let (resp, _) = other.answer(done.datagram());
        let mut packet = resp.clone();
        packet[bit / 8] ^= 1 << (bit % 8);
        accepted += u32::from(!dialler.datagram(other.addr, &packet).is_nothing());
        assert!(dialler.datagram(other.addr, &resp).connected().is_some());
    }
    // COOKIE, and the mac2 that is made of it.
    let mut loaded = config.clone();
    (loaded.limits.unproven_rate, loaded.limits.unproven_burst) = (1, 1);
    let mut guarded = Bench::guarded(5, &loaded);
    forger.dial(&mut guarded, 0);
    // Of forged ones only the first few are looked at, too.
    let mut made = None;
    for bit in 0..packet::COOKIE_LEN * 8 {
        let mut dialler = Bench::guarded(6, &config);
        let link = crate::Link { tcp_port: None, ..crate::Link::direct(guarded.key, other.addr) };
        let (_, done) = dialler.connect(&link);
        let mut cookie = guarded.datagram(forger.addr, done.datagram()).datagram().to_vec();
        let genuine = cookie.clone();
        cookie[bit / 8] ^= 1 << (bit % 8);
        accepted += u32::from(!dialler.datagram(other.addr, &cookie).is_nothing());
        made = Some(dialler.datagram(other.addr, &genuine).datagram().to_vec());
    }
    let init = made.expect("an INIT with mac2");
    for (_, packet) in flipped(&init).filter(|(bit, _)| *bit >= mac2 * 8) {
        let answer = guarded.datagram(forger.addr, &packet);
        accepted += u32::from(answer.datagrams.iter().any(|(_, packet)| packet[0] == 0x09));
    }
    assert_eq!(guarded.datagram(forger.addr, &init).datagram()[0], 0x09);
    burdock_ledger::reached("R5", "types of packets with every bit of the header flipped", 4);
    burdock_ledger::reached("R5", "flipped bits accepted", accepted);
}
