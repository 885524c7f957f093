//! What the whole endpoint promises of handshakes.

use core::net::SocketAddr;
use core::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::bench::Bench;
use super::forger::Forger;
use super::pair::{LATENCY, Pair};
use super::steady;
use crate::update::UpdateKind;
use crate::wire::frame::Frame;
use crate::wire::packet;
use crate::{Config, Link, PublicKey, Transport};

/// Every header byte of an INIT, and every prologue byte: one bit differs on one side.
fn changes() -> impl Iterator<Item = (usize, u8)> {
    (0..15).flat_map(|place| (0..8).map(move |bit| (place, 1 << bit)))
}

fn changed(mut prologue: [u8; 15], (place, bit): (usize, u8)) -> [u8; 15] {
    prologue[place] ^= bit;
    prologue
}

// Mutation: `Symmetric::new` without `mix_hash(prologue)` makes this fail.
#[test]
fn h2_a_dialler_with_another_prologue_hears_nothing() {
    let mut bench = Bench::new(1, &Config::streamer());
    let before = bench.snapshot();
    let mut changed_bits = 0;
    for change in changes() {
        changed_bits += 1;
        let mut forger = Forger::new(2);
        let asked = forger.ask_as(&bench.key, Transport::Udp, 0, |header| changed(packet::prologue(&header), change));
        assert!(bench.datagram(forger.addr, &asked.packet).is_nothing(), "{change:?}");
    }
    assert_eq!(bench.snapshot(), before);
    burdock_ledger::reached("H2", "bits changed on one side", changed_bits);
    burdock_ledger::reached("H2", "handshakes that survive a changed field", 0);
}

// Mutation: `packet::prologue` leaving out the header makes this fail.
#[test]
fn h2_a_header_changed_on_the_way_is_met_with_silence() {
    let mut bench = Bench::new(1, &Config::streamer());
    let before = bench.snapshot();
    for (place, bit) in changes().filter(|(place, _)| *place < 8) {
        let mut forger = Forger::new(2);
        let mut packet = forger.ask(&bench.key, Transport::Udp, 0).packet;
        packet[place] ^= bit;
        // Who knows the responder's key can make mac1 fit again.
        let end = packet.len() - 32;
        let mac1 = crate::crypto::mac1(&bench.key, &packet[..end]);
        packet[end..end + 16].copy_from_slice(&mac1);
        assert!(bench.datagram(forger.addr, &packet).is_nothing(), "{place} {bit}");
    }
    assert_eq!(bench.snapshot(), before);
    burdock_ledger::reached("H2", "handshakes that survive a changed field", 0);
}

// Mutation: `Symmetric::new` without `mix_hash(prologue)` makes this fail.
#[test]
fn h2_an_answer_under_another_prologue_is_none() {
    let mut changed_bits = 0;
    for change in changes() {
        changed_bits += 1;
        let mut bench = Bench::new(1, &Config::streamer());
        let mut forger = Forger::new(2);
        let (_, done) = bench.connect(&forger.link());
        let init = done.datagram().to_vec();
        assert!(forger.answer_as(&init, |header| changed(packet::prologue(&header), change), |_| {}).is_none());
    }
    burdock_ledger::reached("H2", "bits changed on one side", changed_bits);
    // One side's answer cannot pass for that of another handshake either.
    let mut bench = Bench::new(1, &Config::streamer());
    let mut forger = Forger::new(2);
    let (id, done) = bench.connect(&forger.link());
    let init = done.datagram().to_vec();
    type Edit = fn(&mut crate::wire::payload::HelloResp);
    let edits: [Edit; 4] = [|it| it.receiver ^= 1, |it| it.your_half ^= 1, |it| it.dial_no ^= 1, |it| it.my_half = 0];
    for edit in edits {
        let (resp, _) = forger.answer_as(&init, |header| packet::prologue(&header), edit).unwrap();
        assert!(bench.datagram(forger.addr, &resp).is_nothing());
    }
    assert_eq!(bench.endpoint.status(bench.now, id).unwrap().transport, None);
    let (resp, _) = forger.answer(&init);
    assert!(bench.datagram(forger.addr, &resp).connected().is_some());
    burdock_ledger::reached("H2", "handshakes that survive a changed field", 0);
}

// Mutation: `on_first_packet` calling `confirm` for a packet that does not open makes this fail.
#[test]
fn h4_a_replayed_or_forged_init_leads_to_no_session_and_leaves_nothing() {
    let config = Config::streamer();
    let mut bench = Bench::new(1, &config);
    let empty = bench.snapshot();
    let mut forger = Forger::new(2);
    // A recording of an INIT whose sender is long gone.
    let recorded = forger.ask(&bench.key, Transport::Udp, 0);
    for n in 0..1000_u16 {
        let from = SocketAddr::from(([10, 1, (n >> 8) as u8, n as u8], 1000));
        let done = bench.datagram(from, &recorded.packet);
        assert!(done.updates.is_empty());
        assert!(done.datagrams.iter().all(|(to, _)| *to == SocketAddr::from(([10, 1, 0, 0], 1000))));
    }
    assert_eq!(bench.snapshot().half_open, 1);
    // Data under keys that only the recorded sender could know.
    for number in 0..100_u64 {
        let index = *bench.endpoint.shared.indices.keys().next().unwrap();
        let mut packet = packet::data_header(index, number).to_vec();
        packet.extend_from_slice(&[7; 100]);
        assert!(bench.datagram(forger.addr, &packet).is_nothing());
    }
    let done = bench.pass(config.limits.handshake_deadline);
    assert!(done.is_nothing());
    assert_eq!(bench.snapshot(), empty);

    // The same on a stream.
    let recorded = forger.ask(&bench.key, Transport::Tcp, 0);
    let stream = bench.endpoint.stream_accepted(bench.now, forger.addr).unwrap();
    let done = bench.stream_packet(stream, &recorded.packet);
    assert!(done.updates.is_empty() && done.written.contains_key(&stream));
    let done = bench.pass(config.limits.handshake_deadline);
    assert!(done.updates.is_empty());
    assert_eq!(done.closed, [stream]);
    assert_eq!(bench.snapshot(), empty);
    burdock_ledger::reached("H4", "events and bytes from replayed or forged first messages", 0);
}

// Mutation: `on_first_packet` calling `confirm` for a packet that does not open makes this fail.
#[test]
fn h4_only_the_first_valid_packet_opens_the_session() {
    let mut bench = Bench::new(1, &Config::streamer());
    let mut forger = Forger::new(2);
    let mut epoch = forger.dial(&mut bench, 0);
    let hello = Frame::Stream { channel: 0, offset: 0, data: b"\x05hello" };
    let genuine = epoch.seal(&[Frame::Confirm, hello]);
    let before = bench.snapshot();
    for place in 0..genuine.len() {
        let mut damaged = genuine.clone();
        damaged[place] ^= 1;
        assert!(bench.datagram(forger.addr, &damaged).is_nothing(), "{place}");
    }
    assert_eq!(bench.snapshot(), before);
    let done = bench.datagram(forger.addr, &genuine);
    let session = done.connected().expect("a session");
    let hash = |kind: &UpdateKind| matches!(kind, UpdateKind::Connected { handshake_hash, .. } if *handshake_hash == epoch.hash);
    assert!(done.updates.iter().any(|(_, kind)| hash(kind)));
    assert_eq!(&bench.endpoint.recv(session).expect("a message").data[..], b"hello");
}

/// Three endpoints, and a network that brings every datagram to whomever it likes.
fn mix_up(seed: u64) -> Vec<(PublicKey, PublicKey, bool, [u8; 32])> {
    let mut random = ChaCha20Rng::seed_from_u64(seed);
    let mut benches = [1, 2, 3].map(|n| Bench::new(n, &steady(Config::streamer())));
    let keys = [0, 1, 2].map(|n| benches[n].key);
    let addr = |n: usize| SocketAddr::from(([10, 0, 0, n as u8 + 1], 1000));
    let mut views = Vec::new();
    let mut flying: Vec<(usize, SocketAddr, Vec<u8>)> = Vec::new();
    // Everyone dials somebody, at the address of anybody; no two dial each other.
    let turn = random.next_u32() % 2;
    for (n, bench) in benches.iter_mut().enumerate() {
        let peer = (n + if turn == 0 { 1 } else { 2 }) % 3;
        let link = Link { tcp_port: None, ..Link::direct(keys[peer], addr(random.next_u32() as usize % 3)) };
        let (_, done) = bench.connect(&link);
        flying.extend(done.datagrams.into_iter().map(|(_, data)| (n, addr(n), data)));
    }
    for _ in 0..400 {
        let mut next = Vec::new();
        for (n, bench) in benches.iter_mut().enumerate() {
            for (from, source, data) in &flying {
                // Never back to its sender in half the runs, and often to both others.
                if (*from == n && turn == 0) || random.next_u32() % 4 == 0 {
                    continue;
                }
                let done = bench.datagram(*source, data);
                next.push((n, done));
            }
            let done = bench.pass(Duration::from_millis(5));
            next.push((n, done));
        }
        flying.clear();
        for (n, done) in next {
            for (_, kind) in done.updates {
                if let UpdateKind::Connected { peer, inbound, handshake_hash, .. } = kind {
                    views.push((keys[n], peer, inbound, handshake_hash));
                }
            }
            flying.extend(done.datagrams.into_iter().map(|(_, data)| (n, addr(n), data)));
        }
        flying.truncate(64);
    }
    views
}

/// How many sessions came of these mix-ups, and how many of them their ends see differently.
fn mixed_up(seeds: core::ops::Range<u64>) -> (u32, u32) {
    let (mut sessions, mut differing) = (0, 0);
    for seed in seeds {
        let views = mix_up(seed);
        for view in &views {
            let (me, peer, inbound, hash) = *view;
            let others: Vec<_> = views.iter().filter(|other| other.3 == hash && *other != view).collect();
            let agree = others.iter().all(|other| **other == (peer, me, !inbound, hash));
            // Who accepted has proof that the other dialled. Its first handshake may be the other's second, when what
            // confirmed that one was lost.
            let alone = inbound && !views.iter().any(|other| (other.0, other.1, other.2) == (peer, me, false));
            sessions += u32::from(!others.is_empty());
            differing += u32::from(others.len() > 1 || !agree || alone);
        }
    }
    (sessions, differing)
}

// Mutation: `on_resp` with a constant in place of `keys.hash` makes this fail.
#[test]
fn h6_equal_hashes_mean_equal_views() {
    let (sessions, differing) = mixed_up(0..200);
    assert!(sessions > 300, "{sessions}");
    burdock_ledger::reached("H6", "mix-ups", 200);
    burdock_ledger::reached("H6", "sessions with differing views", differing);
}

// Mutation: as above.
#[test]
#[ignore = "10,000 mix-ups take some minutes: for releases"]
fn h6_equal_hashes_mean_equal_views_in_ten_thousand_mix_ups() {
    let (_, differing) = mixed_up(0..10_000);
    burdock_ledger::reached("H6", "mix-ups in the long run", 10_000);
    burdock_ledger::reached("H6", "sessions with differing views", differing);
}

fn connections(pair: &Pair, n: usize) -> usize {
    pair.nodes[n].kinds().iter().filter(|kind| matches!(kind, UpdateKind::Connected { .. })).count()
}

/// Both dial, the second `after` the first.
fn both_dial(after: Duration, udp: bool) {
    let mut pair = Pair::new(&steady(Config::streamer()));
    pair.udp = udp;
    let a = pair.connect(0);
    pair.run(after);
    // Who already has a session cannot, and need not, dial.
    let known = pair.nodes[1].endpoint.by_key.get(&pair.nodes[0].key).copied();
    let b = known.unwrap_or_else(|| pair.connect(1));
    // 3 round trips and one retry; the ladder reaches TCP after its head start.
    let retry = Duration::from_secs(1) + if udp { Duration::ZERO } else { Duration::from_millis(300) };
    pair.run(LATENCY * 6 + retry);
    for n in [0, 1] {
        assert_eq!(connections(&pair, n), 1, "after {after:?}: {:#?}", pair.nodes[n].kinds());
        assert_eq!(pair.nodes[n].endpoint.sessions.len(), 1, "after {after:?}");
    }
    let [one, other] = [(0, a), (1, b)].map(|(n, id)| &pair.nodes[n].endpoint.sessions[&id]);
    assert_eq!((Some(one.half), one.peer_half), (other.peer_half, Some(other.half)), "after {after:?}");
    pair.send(0, a, "hello");
    pair.send(1, b, "hello");
    pair.run(Duration::from_secs(20));
    assert_eq!((pair.take(0, a).len(), pair.take(1, b).len()), (1, 1), "after {after:?}");
    for n in [0, 1] {
        let lost = |kind: &&UpdateKind| matches!(kind, UpdateKind::Lost { .. } | UpdateKind::Closed { .. });
        assert!(!pair.nodes[n].kinds().iter().any(lost), "after {after:?}: {:#?}", pair.nodes[n].kinds());
    }
}

// Mutation: `connect` drawing a fresh half though a half-open handshake has told one makes this
// fail.
#[test]
fn h10_both_dial_over_udp_at_any_delay_and_share_one_session() {
    for micros in (0..=60_000).step_by(1_000) {
        both_dial(Duration::from_micros(micros), true);
    }
    burdock_ledger::reached("H10", "seeds with more or less than one session", 0);
}

// Mutation: as above.
#[test]
fn h10_both_dial_over_tcp_at_any_delay_and_share_one_session() {
    for millis in (0..=420).step_by(5) {
        both_dial(Duration::from_millis(millis), false);
    }
    burdock_ledger::reached("H10", "seeds with more or less than one session", 0);
}
