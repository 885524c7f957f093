//! What the whole endpoint promises of those who knock.

use core::net::{Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::collections::BTreeMap;

use super::bench::{Bench, Done};
use super::forger::{Asked, Forger};
use super::steady;
use crate::update::UpdateKind;
use crate::wire::frame::Frame;
use crate::wire::packet::{self, Packet};
use crate::{AcceptPolicy, Config, Link, Transport};

pub(super) fn addr(n: u32) -> SocketAddr {
    let [_, b, c, d] = n.to_be_bytes();
    SocketAddr::from(([10, b, c, d], 1000))
}

pub(super) fn config() -> Config {
    steady(Config::streamer())
}

/// Everything that is asked without a cookie, but for the first, is asked for one.
pub(super) fn under_load() -> Config {
    let mut config = config();
    (config.limits.unproven_rate, config.limits.unproven_burst) = (1, 1);
    config
}

/// Another INIT, as whoever knows our key can make it: its mac1 fits, and the rest does not.
fn another(init: &[u8], to: &Bench, n: u32) -> Vec<u8> {
    let mut bytes = init.to_vec();
    bytes[8..12].copy_from_slice(&n.to_be_bytes());
    let end = bytes.len() - 32;
    let mac1 = crate::crypto::mac1(&to.key, &bytes[..end]);
    bytes[end..end + 16].copy_from_slice(&mac1);
    bytes
}

pub(super) fn is_cookie(packet: &[u8]) -> bool {
    packet.len() == packet::COOKIE_LEN && packet[0] == 0x0a
}

/// Lets two endpoints talk until they have nothing more to say; whatever goes elsewhere is lost. Returns what each
/// told its application, and how many INITs the first sent.
fn talk(one: (&mut Bench, SocketAddr), other: (&mut Bench, SocketAddr), first: Done) -> ([Vec<UpdateKind>; 2], usize) {
    let nodes = [one, other];
    let mut updates = [Vec::new(), Vec::new()];
    let mut inits = 0;
    let mut done = first;
    let mut turn = 0;
    let mut idle = 0;
    while idle < 2 {
        updates[turn].extend(done.updates.into_iter().map(|(_, kind)| kind));
        let (from, to) = (nodes[turn].1, nodes[1 - turn].1);
        let mut next = Done::default();
        idle += 1;
        for (target, packet) in done.datagrams {
            inits += usize::from(turn == 0 && packet[0] == 0x08);
            if target == to {
                idle = 0;
                let more = nodes[1 - turn].0.datagram(from, &packet);
                next.datagrams.extend(more.datagrams);
                next.updates.extend(more.updates);
            }
        }
        turn = 1 - turn;
        done = next;
    }
    (updates, inits)
}

fn connected(updates: &[UpdateKind]) -> bool {
    updates.iter().any(|kind| matches!(kind, UpdateKind::Connected { .. }))
}

// Mutation: `on_init` sending the answer twice for a repeated INIT makes this fail.
#[test]
fn d1_a_silent_initiator_gets_no_more_than_it_sent() {
    for config in [config(), under_load()] {
        let mut bench = Bench::guarded(1, &config);
        let mut accounts: BTreeMap<SocketAddr, (usize, usize)> = BTreeMap::new();
        let mut forgers: Vec<_> = (2..6).map(Forger::new).collect();
        let mut asked: Vec<Asked> = Vec::new();
        for second in 0..120 {
            if second % 7 == 0 {
                asked = forgers.iter_mut().map(|forger| forger.ask(&bench.key, Transport::Udp, 0)).collect();
            }
            let mut done = bench.pass(Duration::from_secs(1));
            for (forger, asked) in forgers.iter().zip(&asked) {
                accounts.entry(forger.addr).or_default().0 += asked.packet.len();
                done.datagrams.extend(bench.datagram(forger.addr, &asked.packet).datagrams);
            }
            for (to, packet) in done.datagrams {
                accounts.entry(to).or_default().1 += packet.len();
            }
        }
        let done = bench.pass(Duration::from_secs(60));
        assert!(done.is_nothing());
        assert_eq!(accounts.len(), 4);
        let ratio = accounts.values().map(|(received, sent)| *sent as f64 / *received as f64).fold(0.0, f64::max);
        assert!(ratio > 0.0 && ratio <= 1.0);
        burdock_ledger::reached("D1", "bytes answered per byte received", ratio);
    }
}

// Mutation: `on_init` without `mac1.verify`, or `admit` without `without_cookie.take`, makes this fail.
#[test]
fn d2_a_flood_costs_little_and_a_genuine_peer_gets_in() {
    let config = config();
    let mut bench = Bench::guarded(1, &config);
    let mut forger = Forger::new(2);
    let recorded = forger.ask(&bench.key, Transport::Udp, 0).packet;
    // Whose mac1 does not fit costs no DH and leaves nothing.
    let before = bench.snapshot();
    for n in 0..20_000_u32 {
        let mut bytes = recorded.clone();
        bytes[8..12].copy_from_slice(&n.to_be_bytes());
        assert!(bench.datagram(addr(n), &bytes).is_nothing());
    }
    assert_eq!(bench.snapshot(), before);
    burdock_ledger::reached("D2", "DH for a wrong mac1", bench.endpoint.handshakes_read() as f64);
    assert_eq!(bench.endpoint.turned_away().bad_mac1, 20_000);

    // Whose mac1 does is told to prove the address, but for 200 a second.
    let mut genuine = Bench::guarded(3, &config);
    let (home, peer) = (addr(1), addr(0x00ff_0000));
    let mut cookies = 0;
    let mut over = 0;
    let mut tries = 0;
    let mut got_in = false;
    for n in 0..20_000_u32 {
        let done = bench.datagram(addr(n % 4096), &another(&recorded, &bench, n));
        assert!(done.updates.is_empty());
        cookies += done.datagrams.iter().filter(|(_, packet)| is_cookie(packet)).count();
        over += bench.snapshot().half_open.saturating_sub(config.limits.half_open);
        bench.now = bench.now + Duration::from_micros(100);
        genuine.now = bench.now;
        if n == 10_000 {
            let (_, first) = genuine.connect(&Link { tcp_port: None, ..Link::direct(bench.key, home) });
            let (updates, inits) = talk((&mut genuine, peer), (&mut bench, home), first);
            got_in = connected(&updates[0]) && connected(&updates[1]);
            tries = inits;
        }
    }
    assert!(got_in);
    let read = bench.endpoint.handshakes_read();
    assert!(read <= 100 + 2 * 200 + 1, "{read} were read in 2 s");
    assert_eq!(cookies as u64 + read, 20_000 + 1, "each got an answer, and the genuine peer a session");
    assert_eq!(tries, 2, "the genuine peer was asked for a cookie too");
    burdock_ledger::reached("D2", "tries of the genuine peer", tries as f64);
    burdock_ledger::reached("D2", "half-open handshakes over the cap", over as f64);
    assert!(bench.endpoint.door.sources().iter().all(|sources| *sources <= config.limits.sources));
}

// Mutation: `on_cookie` drawing a fresh ephemeral key, or not keeping the cookie, makes this fail.
#[test]
fn d2_a_cookie_goes_into_the_same_init_and_into_later_ones() {
    let mut bench = Bench::guarded(1, &under_load());
    let mut genuine = Bench::guarded(3, &config());
    let mut forger = Forger::new(2);
    let (home, peer) = (addr(1), addr(2));
    forger.dial(&mut bench, 0);
    let link = Link { tcp_port: None, ..Link::direct(bench.key, home) };
    let (id, first) = genuine.connect(&link);
    let init = first.datagram().to_vec();
    let cookie = bench.datagram(peer, &init);
    assert!(is_cookie(cookie.datagram()) && cookie.datagrams[0].0 == peer);
    // From wherever it comes: the INIT goes where it went.
    let again = genuine.datagram(addr(9), cookie.datagram());
    assert_eq!(again.datagrams[0].0, home);
    let again = again.datagram().to_vec();
    assert_eq!(again[..1184], init[..1184]);
    assert_ne!(again[1184..], init[1184..]);
    // To another address, or another port of it, the cookie is worth nothing.
    for elsewhere in [addr(3), SocketAddr::new(peer.ip(), 1001)] {
        assert!(is_cookie(bench.datagram(elsewhere, &again).datagram()));
    }
    // A second COOKIE for the same INIT does not make it go out again; by the clock it does, with what came last.
    let second = bench.datagram(peer, &init);
    assert!(is_cookie(second.datagram()));
    assert!(genuine.datagram(home, second.datagram()).is_nothing());
    let resent = genuine.pass(Duration::from_secs(1));
    bench.now = genuine.now;
    assert_eq!(resent.datagram(), again);
    let (updates, _) = talk((&mut genuine, peer), (&mut bench, home), resent);
    assert!(connected(&updates[0]) && connected(&updates[1]));

    // The next handshake shows the cookie at once.
    genuine.endpoint.cancel(genuine.now, id);
    let _ = genuine.drain();
    bench.pass(Duration::from_secs(20));
    genuine.now = bench.now;
    forger.dial(&mut bench, 0);
    let (id, first) = genuine.connect(&link);
    assert_ne!(first.datagram()[1184..], [0; 16]);
    let (updates, inits) = talk((&mut genuine, peer), (&mut bench, home), first);
    assert!(connected(&updates[0]) && inits == 1);
    // After 120 s it has forgotten it.
    genuine.endpoint.cancel(genuine.now, id);
    let _ = genuine.drain();
    genuine.pass(Duration::from_secs(120));
    let (_, first) = genuine.connect(&link);
    assert_eq!(first.datagram()[1184..], [0; 16]);
}

// Mutation: `ReplyKey::open` returning the text without checking the tag makes this fail.
#[test]
fn r3_a_forged_cookie_changes_nothing() {
    let mut bench = Bench::guarded(1, &under_load());
    let mut genuine = Bench::guarded(3, &config());
    let (home, peer) = (addr(1), addr(2));
    Forger::new(2).dial(&mut bench, 0);
    let (_, first) = genuine.connect(&Link { tcp_port: None, ..Link::direct(bench.key, home) });
    let init = first.datagram().to_vec();
    let cookie = bench.datagram(peer, &init).datagram().to_vec();
    let before = genuine.snapshot();
    for place in 0..cookie.len() {
        let mut forged = cookie.clone();
        forged[place] ^= 1;
        assert!(genuine.datagram(home, &forged).is_nothing(), "{place}");
    }
    assert_eq!(genuine.snapshot(), before);
    // The next INIT is the same, and then the genuine one counts.
    let resent = genuine.pass(Duration::from_secs(1));
    assert_eq!(resent.datagram(), init);
    assert_eq!(genuine.datagram(home, &cookie).datagrams.len(), 1);
}

// Mutation: `admit` answering streams without asking the door makes this fail.
#[test]
fn d3_a_proven_source_is_limited_too() {
    let mut config = config();
    config.limits.unproven_streams_per_source = 100;
    for full in [false, true] {
        config.limits.sources = if full { 1 } else { 4096 };
        let mut bench = Bench::guarded(1, &config);
        let mut forger = Forger::new(2);
        let mut answered = BTreeMap::new();
        // All of a /64 are one source.
        let from = |n: u32| {
            let ip = Ipv6Addr::new(0x2001, 0xdb8, 0, (n % 3) as u16, 0, 0, 0, n as u16);
            SocketAddr::from((ip, 1000))
        };
        for n in 0..90 {
            let asked = forger.ask(&bench.key, Transport::Tcp, 0);
            let stream = bench.endpoint.stream_accepted(bench.now, from(n)).unwrap();
            let done = bench.stream_packet(stream, &asked.packet);
            assert_eq!(done.written.is_empty(), done.closed.contains(&stream));
            *answered.entry(n % 3).or_insert(0) += usize::from(!done.written.is_empty());
        }
        let answered: Vec<_> = answered.into_values().collect();
        let total: usize = answered.iter().sum();
        let over: usize = answered.iter().map(|n| n.saturating_sub(5)).sum();
        burdock_ledger::reached("D3", "answers over the limit", over as f64);
        assert_eq!(total, if full { 10 } else { 15 }, "{answered:?}");
        assert_eq!(bench.endpoint.turned_away().rate_limited, 90 - total as u64);
        // A second later there are 20 more, 5 of them at once.
        bench.pass(Duration::from_secs(1));
        let stream = bench.endpoint.stream_accepted(bench.now, from(0)).unwrap();
        let asked = forger.ask(&bench.key, Transport::Tcp, 0);
        assert!(!bench.stream_packet(stream, &asked.packet).written.is_empty());
    }
}

// Mutation: `known: false` for every place, or `room` with `cap` for `most`, makes this fail.
#[test]
fn d2_strangers_do_not_push_known_peers_out() {
    let mut config = config();
    config.limits.half_open = 8;
    config.limits.unproven_streams = 100;
    let mut bench = Bench::guarded(1, &config);
    let mut friend = Forger::new(2);
    bench.endpoint.set_accept(AcceptPolicy::anyone().allow(friend.key));
    let mut epoch = friend.dial(&mut bench, 0);
    let mut stranger = Forger::new(3);
    for n in 0..50 {
        let asked = stranger.ask(&bench.key, Transport::Tcp, 0);
        let stream = bench.endpoint.stream_accepted(bench.now, addr(100 + n)).unwrap();
        assert!(!bench.stream_packet(stream, &asked.packet).written.is_empty());
        assert!(bench.snapshot().half_open <= 7, "a quarter is free for known peers");
    }
    assert_eq!(bench.endpoint.turned_away().half_open_evicted, 50 - 6);
    let done = bench.datagram(friend.addr, &epoch.seal(&[Frame::Confirm]));
    assert!(done.connected().is_some());
    // One source has its share alone.
    config.limits.half_open_per_source = 3;
    config.limits.half_open = 256;
    let mut bench = Bench::guarded(1, &config);
    let mut other = stranger.dial(&mut bench, 0);
    for n in 0..5 {
        let asked = friend.ask(&bench.key, Transport::Tcp, 0);
        let stream = bench.endpoint.stream_accepted(bench.now, addr(7)).unwrap();
        assert!(!bench.stream_packet(stream, &asked.packet).written.is_empty());
        assert_eq!(bench.snapshot().half_open, 1 + 3.min(n + 1));
    }
    assert!(bench.datagram(stranger.addr, &other.seal(&[Frame::Confirm])).connected().is_some());
}

/// A peer that chooses the paths, so that nothing is asked of it.
pub(super) fn chooser(bench: &Bench) -> Forger {
    (2..).map(Forger::new).find(|forger| forger.key < bench.key).expect("half of all keys are lower")
}

// Mutation: `is_outdated` always false, `answer` without the tombstone's numbers, or `drop_half_open` without the
// index, makes this fail.
#[test]
fn h9_replayed_first_packets_disturb_nothing_and_leave_nothing() {
    let mut config = config();
    config.heartbeat = false;
    config.limits.unproven_burst = 1_000_000;
    let mut bench = Bench::guarded(1, &config);
    let mut owner = chooser(&bench);
    // A session with two paths, whose INITs somebody recorded, and one INIT that led to nothing.
    let asked = owner.ask(&bench.key, Transport::Udp, 0);
    let done = bench.datagram(owner.addr, &asked.packet);
    let (mut epoch, _) = asked.finish(done.datagram()).unwrap();
    let id = bench.datagram(owner.addr, &epoch.seal(&[Frame::Confirm])).connected().unwrap();
    let asked_tcp = owner.ask(&bench.key, Transport::Tcp, epoch.their_half);
    let stream = bench.endpoint.stream_accepted(bench.now, owner.addr).unwrap();
    let done = bench.stream_packet(stream, &asked_tcp.packet);
    let (mut second, _) = asked_tcp.finish(&done.written[&stream][2..]).unwrap();
    bench.stream_packet(stream, &second.seal(&[Frame::Confirm]));
    let idle = owner.ask(&bench.key, Transport::Udp, epoch.their_half);
    bench.pass(Duration::from_secs(30));

    let mut disturbed = 0;
    let mut kept = 0;
    let mut played = 0;
    let mut play = |bench: &mut Bench, times: usize, from: u32| {
        let mut bytes = 0;
        for n in 0..times {
            let from = addr(from + n as u32);
            for init in [&asked.packet, &idle.packet] {
                played += 1;
                let done = bench.datagram(from, init);
                assert!(done.updates.is_empty());
                bytes += done.datagrams.iter().map(|(_, packet)| packet.len()).sum::<usize>();
            }
            let stream = bench.endpoint.stream_accepted(bench.now, from).unwrap();
            let done = bench.stream_packet(stream, &asked_tcp.packet);
            assert!(done.updates.is_empty());
        }
        bytes
    };
    let half = bench.endpoint.sessions[&id].half;
    let status = bench.endpoint.status(bench.now, id);
    // All before the session has cause to say something by itself: at 180 s its spare path goes.
    for _ in 0..10 {
        // The one that led to nothing is answered once each time.
        assert_eq!(play(&mut bench, 100, 1000), 1200);
        let done = bench.pass(config.limits.handshake_deadline);
        disturbed += usize::from(!done.updates.is_empty() || bench.endpoint.status(bench.now, id) != status);
        disturbed += usize::from(bench.endpoint.sessions[&id].half != half || bench.endpoint.sessions.len() != 1);
        kept += bench.snapshot().half_open + bench.snapshot().streams;
    }
    // It lives, on both paths.
    let hello = Frame::Stream { channel: 0, offset: 0, data: b"\x05hello" };
    bench.datagram(owner.addr, &epoch.seal(&[hello]));
    assert_eq!(&bench.endpoint.recv(id).expect("a message").data[..], b"hello");
    assert!(bench.stream_packet(stream, &second.seal(&[Frame::Ping])).closed.is_empty());

    // The session ends. Its INITs are not answered again, and a new one is told of the end, once.
    bench.pass(Duration::from_secs(1));
    bench.endpoint.cancel(bench.now, id);
    let _ = bench.drain();
    assert_eq!(play(&mut bench, 100, 5000), 1200, "the one that led to nothing is told of the end");
    kept += bench.pass(config.limits.handshake_deadline).updates.len() + bench.snapshot().half_open;
    assert_eq!(play(&mut bench, 100, 5000), 0, "once");
    kept += bench.pass(config.limits.handshake_deadline).updates.len() + bench.snapshot().half_open;

    // We forget it, or are started anew: each recording is answered like a fresh INIT, and that is all.
    bench.pass(config.limits.tombstone_life);
    let mut again = Bench::guarded(1, &config);
    for bench in [&mut bench, &mut again] {
        for _ in 0..3 {
            assert!(play(bench, 100, 9000) <= 100 * 2 * 1200);
            let done = bench.pass(config.limits.handshake_deadline);
            disturbed += done.updates.len();
            kept += bench.snapshot().half_open + bench.snapshot().streams + bench.endpoint.sessions.len();
        }
        assert_eq!(bench.endpoint.poll_timeout(), None);
    }
    assert!(played >= 2_000);
    // Ten times a hundred while the session lived, and more after it.
    burdock_ledger::reached("H9", "times each recording was played", 1_000);
    burdock_ledger::reached("H9", "live sessions disturbed", disturbed as f64);
    burdock_ledger::reached("H9", "state kept after the handshake deadline", kept as f64);
}

// Mutation: `confirm` without `full` makes this fail.
#[test]
fn d6_the_number_of_sessions_holds_at_confirmation_too() {
    let mut config = config();
    config.limits.sessions = 2;
    let mut bench = Bench::guarded(1, &config);
    let mut opened = 0;
    let mut dialled: Vec<_> = (2..6)
        .map(|n| {
            let mut forger = Forger::new(n);
            let epoch = forger.dial(&mut bench, 0);
            (forger.addr, epoch)
        })
        .collect();
    for (from, epoch) in &mut dialled {
        opened += usize::from(bench.datagram(*from, &epoch.seal(&[Frame::Confirm])).connected().is_some());
    }
    assert_eq!((opened, bench.endpoint.sessions.len(), bench.snapshot().half_open), (2, 2, 0));
}

// Mutation: `on_datagram` answering anything that does not parse makes this fail.
#[test]
fn r6_a_thousand_kinds_of_garbage_get_no_answer() {
    let mut bench = Bench::guarded(1, &under_load());
    let mut forger = Forger::new(2);
    let init = forger.ask(&bench.key, Transport::Udp, 0).packet;
    let mut answered = 0;
    let mut kinds = 0;
    let mut play = |bench: &mut Bench, bytes: &[u8]| {
        kinds += 1;
        let done = bench.datagram(forger.addr, bytes);
        answered += done.datagrams.iter().map(|(_, packet)| packet.len()).sum::<usize>();
        answered += done.updates.len();
    };
    // Every byte of an INIT changed, mac2 alone excepted; every length; every first byte.
    for place in 0..init.len() - 16 {
        let mut bytes = init.clone();
        bytes[place] ^= 1 << (place % 8);
        play(&mut bench, &bytes);
    }
    for len in 0..init.len() {
        play(&mut bench, &init[..len]);
    }
    for first in (0..=255_u8).filter(|first| *first != 0x08) {
        let mut bytes = init.clone();
        bytes[0] = first;
        play(&mut bench, &bytes);
    }
    burdock_ledger::reached("R6", "kinds of garbage", kinds);
    burdock_ledger::reached("R6", "bytes answered to garbage", answered as f64);
    let Ok(Packet::Init(_)) = packet::parse(&init) else { panic!("the genuine one is one") };
    let turned_away = bench.endpoint.turned_away();
    assert!(turned_away.malformed > 1_000 && turned_away.bad_mac1 > 1_000, "{turned_away:?}");
    assert_eq!(bench.endpoint.handshakes_read(), 0);
    assert!(!bench.datagram(forger.addr, &init).datagrams.is_empty());
}
