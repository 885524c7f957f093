//! Every field of [`Limits`] that a peer with valid keys can push on, reached from the wire, and
//! every rule of the frames broken: each costs that peer its own session, and nobody else anything.

use core::time::Duration;

use burdock_ledger::reached;
use bytes::Bytes;

use super::bench::Bench;
use super::forger::Forger;
use super::scene::{Scene, ack, config, message, stream, tight};
use super::steady;
use crate::endpoint::{IndexOwner, Reason};
use crate::update::{State, UpdateKind};
use crate::wire::frame::{AckRanges, Frame, Scope};
use crate::wire::payload::Verdict;
use crate::wire::varint::put_varint;
use crate::{Action, Code, Config, Event, Host, Link, SendError};

const TOP: u64 = (1 << 62) - 1;

/// What breaks a rule, as plaintexts of consecutive packets; the last one ends the session.
fn crimes(theirs: u32) -> Vec<(&'static str, Code, Vec<Vec<u8>>)> {
    let one = |frame: Frame<'_>| {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        bytes
    };
    let varints = |values: &[u64]| {
        let mut bytes = Vec::new();
        values.iter().for_each(|value| put_varint(&mut bytes, *value));
        bytes
    };
    let ack_head = |values: &[u64]| [&[0x02][..], &theirs.to_be_bytes(), &varints(values)].concat();
    let gaps = |channel: u8, count: u64| -> Vec<Vec<u8>> {
        (0..count).map(|k| one(stream(channel, 2 * k + 1, b"x"))).collect()
    };
    let many_gaps = (0..5).flat_map(|channel| gaps(channel, if channel < 4 { 5 } else { 1 })).collect();
    let full = [0_u8; 1_000];
    let credit = vec![one(stream(0, 0, &full)), one(stream(1, 0, &full)), one(stream(2, 0, &full[..501]))];
    vec![
        ("one byte over a channel's credit", Code::Limit, vec![one(stream(0, 1_000, b"x"))]),
        ("nothing, beyond a channel's credit", Code::Limit, vec![one(stream(0, TOP, b""))]),
        ("one byte over the session's credit", Code::Limit, credit),
        ("an offset near 2^62", Code::Limit, vec![one(stream(0, TOP - 1, b"x"))]),
        ("an end beyond 2^62", Code::Protocol, vec![[&[0x08, 0][..], &varints(&[TOP, 1]), b"x"].concat()]),
        ("a message one byte too long", Code::Limit, vec![one(stream(0, 0, &message(501)[..2]))]),
        ("a message of 2^62 bytes", Code::Limit, vec![one(stream(0, 0, &varints(&[TOP])))]),
        ("one gap too many", Code::Limit, gaps(0, 6)),
        ("one gap too many on all channels", Code::Limit, many_gaps),
        (
            "a channel never sent, received",
            Code::Protocol,
            vec![one(Frame::ChannelAck { channel: 200, received: 1, taken: 0 })],
        ),
        (
            "bytes never sent, received",
            Code::Protocol,
            vec![one(Frame::ChannelAck { channel: 0, received: 7, taken: 0 })],
        ),
        (
            "more taken than received",
            Code::Protocol,
            vec![one(Frame::ChannelAck { channel: 0, received: 5, taken: 6 })],
        ),
        (
            "offsets of 2^62 received",
            Code::Protocol,
            vec![one(Frame::ChannelAck { channel: 0, received: TOP, taken: TOP })],
        ),
        ("a packet never sent", Code::Protocol, vec![one(ack(theirs, 1_000, 1_000))]),
        ("packets up to 2^62", Code::Protocol, vec![one(ack(theirs, 0, TOP))]),
        ("a range below zero", Code::Protocol, vec![ack_head(&[0, 0, 0, 1])]),
        ("a second range below zero", Code::Protocol, vec![ack_head(&[0, 1, 1, 0, 0, 0])]),
        ("33 ranges", Code::Protocol, vec![ack_head(&[0, 100, 32, 0])]),
        ("2^62 ranges", Code::Protocol, vec![ack_head(&[0, 100, TOP, 0])]),
        (
            "an unreliable message",
            Code::Protocol,
            vec![one(Frame::Datagram { channel: 0, message: 0, total: TOP, offset: 0, ttl_ms: 0, data: b"" })],
        ),
        ("an unknown frame", Code::Protocol, vec![vec![0x3f]]),
        ("a long type", Code::Protocol, vec![vec![0x40, 0x01]]),
        ("half a frame", Code::Protocol, vec![vec![0x01, 0x0c, 1, 2, 3]]),
        (
            "a code beyond 16 bits",
            Code::Protocol,
            vec![[&[0x0f][..], &theirs.to_be_bytes(), &varints(&[65_536])].concat()],
        ),
        ("65 final offsets", Code::Protocol, vec![[&[0x10][..], &varints(&[0, 65])].concat()]),
        ("a reason of 257 bytes", Code::Protocol, vec![[&[0x10][..], &varints(&[0, 0, 257]), &[b'a'; 257]].concat()]),
        ("a reason that is no text", Code::Protocol, vec![[&[0x10][..], &varints(&[0, 0, 1]), b"\xff"].concat()]),
    ]
}

// Mutation: `Frame::Datagram { .. } => {}` in `Session::on_frame` makes this fail, and so does
// leaving out the check of `end > credit` in `Receiver::on_stream`.
#[test]
fn d6_a_broken_rule_ends_that_session_and_touches_no_other() {
    for at in 0.. {
        let mut scene = Scene::new(&tight());
        // There is something to acknowledge, 6 bytes of it.
        scene.bench.endpoint.send(scene.bench.now, scene.session, 0, Bytes::from_static(b"hello")).unwrap();
        scene.bench.drain();
        let Some((name, code, packets)) = crimes(scene.epoch.theirs).into_iter().nth(at) else { break };
        let before = scene.bench.endpoint.status(scene.bench.now, scene.other_session);
        let (last, others) = packets.split_last().unwrap();
        for plaintext in others {
            scene.say_bytes(plaintext);
            assert!(scene.is_up(), "{name}: too early");
        }
        let done = scene.say_bytes(last);
        let said: Vec<_> = done.datagrams.iter().filter_map(|(_, packet)| scene.epoch.read(packet)).collect();
        assert_eq!(said, [format!("CLOSE {code}")], "{name}");
        assert!(done.updates.iter().all(|(id, _)| *id == scene.session), "{name}");
        let Some((_, UpdateKind::Closed { code: told, by_peer: false, unknown: 1, .. })) = done.updates.last() else {
            panic!("{name}: {:?}", done.updates)
        };
        assert_eq!(*told, code, "{name}");
        assert_eq!(scene.bench.endpoint.status(scene.bench.now, scene.session), None, "{name}");
        assert_eq!(scene.bench.endpoint.status(scene.bench.now, scene.other_session), before, "{name}");
        assert!(scene.say(&[Frame::Ping]).is_nothing(), "{name}: its keys are gone");
        scene.bystander_is_served();
    }
}

// Mutation: `received > written` -> `received >= written` in `Sender::on_channel_ack`, or a session
// failed for an unknown epoch in `Session::on_ack`, makes this fail.
#[test]
fn d7_strange_but_harmless_frames_change_nothing() {
    let mut scene = Scene::new(&tight());
    scene.bench.endpoint.send(scene.bench.now, scene.session, 0, Bytes::from_static(b"hello")).unwrap();
    scene.bench.drain();
    let theirs = scene.epoch.theirs;
    let packets: Vec<Vec<Frame<'_>>> = vec![
        vec![],
        vec![Frame::Pad],
        vec![stream(0, 0, b""), stream(0, 500, b""), stream(0, 1_000, b"")],
        vec![Frame::ChannelAck { channel: 0, received: 3, taken: 0 }],
        vec![Frame::ChannelAck { channel: 0, received: 0, taken: 0 }],
        vec![Frame::ChannelAck { channel: 0, received: 2, taken: 1 }],
        vec![Frame::ChannelAck { channel: 200, received: 0, taken: 0 }],
        vec![Frame::Credit { scope: Scope::Session, offset: TOP }, Frame::Credit { scope: Scope::Session, offset: 0 }],
        vec![Frame::Credit { scope: Scope::Channel(0), offset: TOP }],
        vec![Frame::Credit { scope: Scope::Channel(0), offset: 1 }],
        vec![ack(theirs.wrapping_add(1), 0, TOP), ack(scene.other.theirs, 0, TOP)],
        vec![Frame::Response([0; 8]), Frame::CloseAck],
        vec![Frame::UsePath { switch_no: TOP, epoch: 1 }, Frame::UsePath { switch_no: 0, epoch: theirs }],
        vec![Frame::PathClose { epoch: 1, code: 65_535 }, Frame::PathClose { epoch: scene.other.theirs, code: 0 }],
    ];
    for frames in packets {
        let done = scene.say(&frames);
        assert!(done.updates.is_empty() && scene.is_up(), "{frames:?}: {done:?}");
        scene.bystander_is_served();
    }
    // Credits that shrink take nothing back.
    scene.bench.endpoint.send(scene.bench.now, scene.session, 0, Bytes::from_static(b"more")).unwrap();
    assert!(scene.epoch.read(scene.bench.drain().datagram()).unwrap().contains("STREAM"));
    // And the message that was sent is delivered when it is taken.
    let done = scene.say(&[Frame::ChannelAck { channel: 0, received: 6, taken: 6 }]);
    assert!(matches!(done.updates[..], [(_, UpdateKind::Outcome { .. })]), "{done:?}");
}

// Mutation: `len > max` -> `len >= max` in `Assembly::feed`, or `end > credit` -> `end >= credit` in
// `Receiver::on_stream`, makes this fail.
#[test]
fn d6_what_the_limits_allow_is_taken_to_the_byte() {
    let mut scene = Scene::new(&tight());
    // max_message, then channel_credit.
    let longest = message(500);
    scene.say(&[stream(0, 0, &longest)]);
    assert_eq!(scene.bench.endpoint.recv(scene.session).map(|message| message.data.len()), Some(500));
    scene.say(&[stream(0, 502, &[0; 498])]);
    assert!(scene.is_up());
    // session_credit: 1,000 + 1,000 + 500.
    scene.say(&[stream(1, 0, &[0; 1_000])]);
    scene.say(&[stream(2, 0, &[0; 500])]);
    // Repeats cost no credit, nor do gaps that are filled.
    scene.say(&[stream(1, 0, &[0; 1_000])]);
    assert!(scene.is_up());
    // gaps: five at a time.
    let mut scene = Scene::new(&tight());
    for round in 0..10_u64 {
        let start = round * 20;
        (0..5).for_each(|k| drop(scene.say(&[stream(3, start + 2 * k + 1, b"\0")])));
        (0..5).for_each(|k| drop(scene.say(&[stream(3, start + 2 * k, b"\0")])));
        scene.say(&[stream(3, start + 10, &[0; 10])]);
        assert!(scene.is_up(), "round {round}");
    }
    assert_eq!(core::iter::from_fn(|| scene.bench.endpoint.recv(scene.session)).count(), 200);
}

/// Pieces that overlap and differ: something arrives, of the length that was sent, once.
// Mutation: in `Assembly::keep`, drop `piece.truncate(own)` makes this fail.
#[test]
fn d7_pieces_that_contradict_each_other_make_one_message() {
    let mut scene = Scene::new(&tight());
    let (a, b) = ([b'a'; 100], [b'b'; 100]);
    for (offset, data) in [(50, &a[..]), (20, &b[..60]), (30, &a[..1]), (140, &b[..60]), (100, &a[..80]), (10, &b[..])]
    {
        scene.say(&[stream(0, offset, data)]);
    }
    scene.say(&[stream(0, 0, &message(198)[..20])]);
    let got = scene.bench.endpoint.recv(scene.session).unwrap().data;
    assert_eq!(got.len(), 198);
    assert!(got.iter().all(|byte| b"ab\x07".contains(byte)));
    assert_eq!(scene.bench.endpoint.recv(scene.session), None);
    scene.bystander_is_served();
}

// Mutation: `largest >= self.next` -> `largest > self.next` in `Recovery::on_ack` makes this fail.
#[test]
fn d8_an_optimistic_acknowledgement_ends_the_session_and_buys_no_rate() {
    let mut survivors = 0;
    for ahead in [0, 1, 5, 63, 64, 1_000_000, TOP] {
        let mut scene = Scene::new(&steady(Config::streamer()));
        // Credit is no obstacle: only acknowledgements hold it back.
        scene.say(&[Frame::Credit { scope: Scope::Session, offset: TOP }]);
        scene.say(&[Frame::Credit { scope: Scope::Channel(0), offset: TOP }]);
        let send = |scene: &mut Scene| {
            scene.bench.endpoint.send(scene.bench.now, scene.session, 0, Bytes::from(vec![0; 200_000])).unwrap();
            scene.drain().datagrams
        };
        let window = send(&mut scene).len();
        assert!(window <= 64, "{window} packets before any was acknowledged");
        assert!(send(&mut scene).is_empty());
        let done = scene.say(&[ack(scene.epoch.theirs, 0, (scene.next + ahead).min(TOP))]);
        let said: Vec<_> = done.datagrams.iter().filter_map(|(_, packet)| scene.epoch.read(packet)).collect();
        survivors += u32::from(said != ["CLOSE protocol"] || scene.is_up());
        assert!(scene.bench.pass(Duration::from_secs(5)).datagrams.iter().all(|(to, _)| *to != scene.hostile.addr));
        scene.bystander_is_served();
    }
    reached("D8", "sessions that survive an optimistic acknowledgement", survivors);
}

// Mutation: `> self.send_buffer` -> `> 2 * self.send_buffer`, or `>= self.max_pending` -> `> self.max_pending`,
// in `Sender::send` makes this fail.
#[test]
fn d6_a_peer_that_never_acknowledges_fills_the_queue_and_no_more() {
    let mut scene = Scene::new(&tight());
    scene.say(&[Frame::Credit { scope: Scope::Session, offset: TOP }]);
    scene.say(&[Frame::Credit { scope: Scope::Channel(0), offset: TOP }]);
    let send = |scene: &mut Scene, len: usize| {
        let result = scene.bench.endpoint.send(scene.bench.now, scene.session, 0, Bytes::from(vec![0; len]));
        scene.drain();
        result
    };
    // send_buffer
    assert!((0..4).all(|_| send(&mut scene, 500).is_ok()));
    assert_eq!(send(&mut scene, 1), Err(SendError::Full));
    assert_eq!(scene.status().queued_bytes, 2_000);
    // It asks again and again, at growing intervals, and then the path is given up.
    let done = scene.bench.pass(Duration::from_secs(60));
    let asked = done.datagrams.iter().filter(|(to, _)| *to == scene.hostile.addr).count();
    assert!(asked < 40, "{asked} packets to a peer that says nothing");
    assert_eq!(scene.status().state, State::Waiting);
    assert_eq!(send(&mut scene, 1), Err(SendError::Full));
    // pending_messages: bytes that arrive are let go of, messages that are not taken stay pending.
    let mut scene = Scene::new(&tight());
    for n in 0..20 {
        send(&mut scene, 0).unwrap();
        let arrived = ack(scene.epoch.theirs, 0, scene.next - 1);
        scene.say(&[arrived, Frame::ChannelAck { channel: 0, received: n + 1, taken: 0 }]);
    }
    assert_eq!(send(&mut scene, 0), Err(SendError::Full));
    assert_eq!((scene.status().queued_bytes, scene.status().pending_messages), (0, 20));
    scene.bystander_is_served();
}

// Mutation: drop the condition on `sessions.len()` in `Endpoint::answer` makes this fail.
#[test]
fn d6_sessions_are_bounded() {
    let mut bench = Bench::new(1, &config(|limits| limits.sessions = 5));
    let answered = (2..52)
        .filter(|n| {
            let mut forger = Forger::new(*n);
            let asked = forger.ask(&bench.key, crate::Transport::Udp, 0);
            let done = bench.datagram(forger.addr, &asked.packet);
            let Some((_, resp)) = done.datagrams.first() else { return false };
            let (mut epoch, _) = asked.finish(resp).unwrap();
            bench.datagram(forger.addr, &epoch.seal(&[Frame::Confirm])).connected().is_some()
        })
        .count();
    assert_eq!((answered, bench.endpoint.sessions.len()), (5, 5));
}

// Mutation: `&& self.paths.len() >= shared.config.limits.paths` left out of `Session::establish`
// makes this fail.
#[test]
fn d6_thousands_of_handshakes_make_no_more_paths_than_allowed() {
    // With the lower key, and with the higher: one of them retires spare paths, the other does not.
    for n in [1, 2, 5, 9] {
        let mut bench = Bench::new(n, &config(|limits| limits.paths = 3));
        let mut forger = Forger::new(20);
        let (first, _) = forger.open(&mut bench, 0);
        let baseline = bench.snapshot().indices.len();
        assert_eq!(baseline, 1);
        for round in 0..200 {
            forger.open(&mut bench, first.their_half);
            let snapshot = bench.snapshot();
            assert!(snapshot.indices.values().all(|owner| matches!(owner, IndexOwner::Path(_))), "{snapshot:?}");
            assert!(snapshot.indices.len() <= 3, "round {round}: {} paths", snapshot.indices.len());
            assert_eq!((snapshot.sessions.len(), snapshot.half_open), (1, 0));
        }
    }
}

// Mutation: drop the loop in `Endpoint::bury` makes this fail, and so does leaving out
// `Timer::Tombstone(key) => self.tombstones.remove(&key)`.
#[test]
fn d6_closed_sessions_are_remembered_within_bounds_and_for_a_while() {
    let life = Duration::from_secs(100);
    let mut bench = Bench::new(1, &config(|limits| (limits.tombstones, limits.tombstone_life) = (3, life)));
    let mut forgers: Vec<_> = (2..12).map(Forger::new).collect();
    for forger in &mut forgers {
        let (mut epoch, _) = forger.open(&mut bench, 0);
        // CLOSE with as many finals as fit, whose CLOSE_ACK is never looked at.
        let finals = (0..64).map(|channel| (channel, TOP)).collect();
        let done = bench.datagram(forger.addr, &epoch.seal(&[Frame::Close { code: 0, finals, reason: "" }]));
        let closed = |kind: &UpdateKind| matches!(kind, UpdateKind::Closed { code: Code::CloseTimeout, .. });
        assert!(done.updates.iter().any(|(_, kind)| closed(kind)), "{done:?}");
        assert!(bench.endpoint.tombstones.len() <= 3);
    }
    // What each hears when it comes back: the last three that the session is closed.
    let mut verdicts = |bench: &mut Bench| {
        let mut closed = 0;
        for forger in &mut forgers {
            let asked = forger.ask(&bench.key, crate::Transport::Udp, 0);
            let done = bench.datagram(forger.addr, &asked.packet);
            let (_, hello) = asked.finish(done.datagram()).unwrap();
            closed += u32::from(matches!(hello.verdict, Verdict::Closed(_)));
        }
        bench.pass(Duration::from_secs(20));
        closed
    };
    assert_eq!(verdicts(&mut bench), 3);
    assert_eq!(bench.endpoint.poll_timeout().map(|(_, reason)| reason), Some(Reason::Expiry));
    bench.pass(life);
    assert_eq!(bench.endpoint.poll_timeout(), None);
    assert_eq!((bench.endpoint.tombstones.len(), bench.endpoint.sessions.len()), (0, 0));
    assert_eq!(verdicts(&mut bench), 0);
}

// Mutation: drop `.take(limit)` in `Session::on_resolved` makes this fail.
#[test]
fn d6_a_name_with_endless_addresses_is_tried_at_a_few() {
    let mut bench = Bench::new(1, &config(|limits| limits.addresses = 3));
    let forger = Forger::new(2);
    let link = Link { host: Some(Host::Name("example.net".to_owned())), ..forger.link() };
    bench.endpoint.connect(bench.now, &link).unwrap();
    let mut asked = None;
    while let Some(action) = bench.endpoint.poll_action(bench.now, &mut Vec::new()) {
        if let Action::Resolve { resolve, .. } = action {
            asked = Some(resolve);
        }
    }
    let addresses: Vec<_> =
        (0..5_000_u16).map(|n| ([10, 1, n.to_be_bytes()[0], n.to_be_bytes()[1]], 5).into()).collect();
    let resolve = asked.expect("a question");
    let done = bench.handle(Event::Resolved { resolve, addresses: &addresses });
    assert_eq!(done.datagrams.len(), 3);
    // The same answer again, or one to another question, is none.
    let done = bench.handle(Event::Resolved { resolve, addresses: &addresses });
    assert!(done.datagrams.is_empty());
}

// Mutation: `let mut ack_eliciting = true` in `Session::on_plaintext` makes this fail.
#[test]
fn d6_storms_are_answered_once_or_not_at_all() {
    let mut scene = Scene::new(&steady(Config::streamer()));
    scene.bench.pass(Duration::from_secs(1));
    // Challenges: 100 in one packet, one answer.
    let challenges: Vec<_> = (0..100).map(|n| Frame::Challenge([n; 8])).collect();
    let done = scene.say(&challenges);
    assert_eq!(scene.epoch.read(done.datagram()).unwrap().matches("RESPONSE").count(), 1);
    // Acknowledgements alone, with all the ranges there can be: no word back.
    scene.bench.pass(Duration::from_secs(1));
    let ranges: AckRanges = [(0, 0)].into_iter().collect();
    let theirs = scene.epoch.theirs;
    for _ in 0..5_000 {
        let done = scene.say(&[Frame::Ack { epoch: theirs, delay_us: TOP, ranges: ranges.clone() }]);
        assert!(done.datagrams.is_empty(), "{done:?}");
    }
    assert!(scene.is_up());
    // Numbers with a gap each: what is acknowledged stays within 32 ranges.
    let packet_len = (0..500).map(|_| {
        scene.epoch.skip(1);
        let done = scene.say(&[Frame::Ping]);
        done.datagrams.iter().map(|(_, packet)| packet.len()).max().unwrap_or(0)
    });
    assert!(packet_len.max().unwrap() <= 32 + 16 + 32 * 2 * 4);
    // At most one packet back for each.
    let answers: usize = (0..1_000).map(|_| scene.say(&[Frame::Ping]).datagrams.len()).sum();
    assert!(answers <= 1_000, "{answers}");
    scene.bystander_is_served();
}

// Mutation: `acks > 2 * MAX_ACKS` in `Session::on_plaintext` makes this fail.
#[test]
fn d7_a_packet_of_acknowledgements_costs_no_more_than_one_for_each_path() {
    let mut scene = Scene::new(&steady(Config::streamer()));
    scene.bench.endpoint.send(scene.bench.now, scene.session, 0, Bytes::from_static(b"hello")).unwrap();
    scene.drain();
    let theirs = scene.epoch.theirs;
    let mut frames = vec![ack(theirs, 0, 0); 16];
    frames.push(ack(theirs, 0, scene.next - 1));
    scene.say(&frames);
    assert_eq!(scene.status().queued_bytes, 5);
    scene.say(&frames[16..]);
    assert_eq!(scene.status().queued_bytes, 0);
}

/// PATH_CLOSE of every path is a loss like another: the session waits, and goes when its time is over.
// Mutation: a `MAX_KEEP` of two hours makes this fail.
#[test]
fn d6_closing_every_path_is_no_end_and_keeps_nothing_for_ever() {
    let mut scene = Scene::new(&steady(Config::streamer()));
    let half = scene.epoch.their_half;
    let epochs = [scene.epoch.theirs, scene.hostile.open(&mut scene.bench, half).0.theirs];
    scene.say(&epochs.map(|epoch| Frame::PathClose { epoch, code: 0 }));
    assert_eq!(scene.status().state, State::Waiting);
    scene.bystander_is_served();
    // Whatever the peer said of how long it redials, an hour is the longest.
    scene.bench.pass(Duration::from_secs(3_600));
    assert_eq!(scene.bench.endpoint.status(scene.bench.now, scene.session), None);
}

/// A CLOSE of ours that is never answered, to a peer that keeps the path alive.
// Mutation: `&& false` in place of `&& *deadline <= now` in `Session::on_timeout` makes this fail.
#[test]
fn d6_a_close_that_is_never_answered_ends_at_its_deadline() {
    let mut scene = Scene::new(&steady(Config::streamer()));
    scene.bench.endpoint.close(scene.bench.now, scene.session, "");
    scene.bench.drain();
    let mut closed = 0;
    for _ in 0..100 {
        let mut done = scene.say(&[Frame::Ping]);
        done.updates.extend(scene.bench.pass(Duration::from_millis(100)).updates);
        closed += done.updates.iter().filter(|(_, kind)| matches!(kind, UpdateKind::Closed { .. })).count();
    }
    assert_eq!(closed, 1);
    assert_eq!(scene.bench.endpoint.status(scene.bench.now, scene.session), None);
}

/// How many of 500 messages of 10,000 bytes, more than any credit, get through on one channel while
/// the application takes each at once.
fn throughput(scene: &mut Scene, bystander: bool) -> usize {
    let bytes = message(10_000);
    let (mut taken, session) = (0, if bystander { scene.other_session } else { scene.session });
    for n in 0..500 {
        let frame = [stream(100, n * bytes.len() as u64, &bytes)];
        if bystander {
            let packet = scene.other.seal(&frame);
            scene.bench.datagram(scene.bystander.addr, &packet);
        } else {
            scene.say(&frame);
        }
        taken += usize::from(scene.bench.endpoint.recv(session).is_some());
        scene.bench.endpoint.taken(scene.bench.now, session);
        scene.drain();
    }
    taken
}

// Mutation: `if false` in place of `if is_low` in `Receiver::taken` makes this fail.
#[test]
fn d6_an_application_that_takes_nothing_stalls_that_session_alone() {
    let mut scene = Scene::new(&steady(Config::streamer()));
    // Four messages fill a channel's credit, to the byte; four channels that of the session.
    let bytes = message(256 * 1024 - 4).repeat(4);
    for channel in 0..4 {
        for (n, piece) in bytes.chunks(16_000).enumerate() {
            scene.say(&[stream(channel, 16_000 * n as u64, piece)]);
        }
    }
    assert!(scene.is_up());
    assert_eq!(throughput(&mut scene, true), 500);
    scene.bystander_is_served();
}

/// Two channels of which the peer leaves out the first byte hold their own credit and no more:
/// others go on as if they were not there. When what is held comes near the session's credit
/// nothing is left for others. That is the peer's own choice, as in RFC 9000 §4.1, and a correct
/// sender never makes it: it starts a message only with credit for all of it.
// Mutation: `if false` in place of `if is_low` in `Receiver::taken` makes this fail.
#[test]
fn d6_stalled_channels_hold_no_more_than_their_own_credit() {
    for stalled in [0, 2] {
        let mut scene = Scene::new(&steady(Config::streamer()));
        for channel in 0..stalled {
            for offset in (1..1_048_576_u64).step_by(16_000) {
                let len = 16_000.min(1_048_576 - offset) as usize;
                scene.say(&[stream(channel, offset, &vec![0; len])]);
            }
        }
        assert_eq!(throughput(&mut scene, false), 500, "{stalled}");
        assert!(scene.is_up(), "{stalled}");
    }
}

/// What a peer sent and the application has not taken outlives its sessions only up to one
/// session's credit, however often it comes and goes.
// Mutation: without the bound in `Endpoint::leave` this fails.
#[test]
fn d6_messages_of_closed_sessions_do_not_pile_up() {
    let mut bench = Bench::new(1, &tight());
    let mut forger = Forger::new(2);
    let mut sessions = Vec::new();
    for round in 0..20 {
        forger.half = 100 + round;
        let (mut epoch, done) = forger.open(&mut bench, 0);
        sessions.extend(done.connected());
        for channel in 0..2 {
            let bytes = message(498);
            bench.datagram(forger.addr, &epoch.seal(&[stream(channel, 0, &bytes), stream(channel, 500, &bytes)]));
        }
        let close = Frame::Close { code: 0, finals: Default::default(), reason: "" };
        bench.datagram(forger.addr, &epoch.seal(&[close]));
        bench.pass(Duration::from_secs(10));
    }
    assert_eq!(sessions.len(), 20);
    let left: Vec<usize> = sessions
        .iter()
        .map(|id| core::iter::from_fn(|| bench.endpoint.recv(*id)).map(|message| message.data.len()).sum())
        .collect();
    assert!(left.iter().sum::<usize>() <= 2_500, "{left:?}");
    // The newest is there whole.
    assert_eq!(left.last(), Some(&(4 * 498)));
}

// Mutation: leave out what `Session::cancel` does to a session that is over, and this fails.
#[test]
fn cancelling_a_session_that_its_peer_has_closed_forgets_its_messages() {
    let mut scene = Scene::new(&steady(Config::streamer()));
    let close = Frame::Close { code: 0, finals: Default::default(), reason: "" };
    scene.say(&[stream(0, 0, &message(10)), close]);
    scene.bench.endpoint.cancel(scene.bench.now, scene.session);
    assert_eq!(scene.bench.endpoint.recv(scene.session), None);
    scene.bench.pass(Duration::from_secs(10));
    assert_eq!(scene.bench.endpoint.recv(scene.session), None);
    assert!(scene.bench.endpoint.left.is_empty());
}
