//! The rules of the contract on the crate's page. The harness in `pair.rs` checks rules 3 and 5
//! all the time.

use core::time::Duration;
use std::collections::BTreeSet;

use arrayvec::ArrayVec;
use bytes::Bytes;

use super::bench::Bench;
use super::forger::Forger;
use super::steady;
use crate::update::UpdateKind;
use crate::wire::frame::Frame;
use crate::{Action, Config, Event, Link, NetError, Schedule, SendError, StreamId};

// Mutation: `poll_timeout` without looking at `ready`, `queue` or `streams.has_ready` makes this
// fail.
#[test]
fn rule_3_waiting_actions_are_due_now() {
    let mut bench = Bench::new(1, &Config::streamer());
    let mut forger = Forger::new(2);
    let mut seen = 0;
    let mut drain = |bench: &mut Bench| {
        let mut buf = Vec::new();
        loop {
            let (at, reason) = bench.endpoint.poll_timeout().expect("a timer or an action");
            let action = bench.endpoint.poll_action(bench.now, &mut buf);
            assert!(action.is_none() || at <= bench.now, "{reason:?} at {at}: {action:?}");
            let Some(action) = action else { break };
            seen += 1;
            if let Action::WriteStream { stream } = action {
                // Half of it now, half later.
                bench.endpoint.handle(bench.now, Event::StreamWritten { stream, len: buf.len().div_ceil(2) });
                bench.endpoint.handle(bench.now, Event::StreamWritable { stream });
                assert!(bench.endpoint.poll_timeout().is_some_and(|(at, _)| at <= bench.now));
            }
        }
    };
    let id = bench.endpoint.connect(bench.now, &Link::direct(forger.key, forger.addr)).unwrap();
    drain(&mut bench);
    bench.now = bench.now + Duration::from_millis(300);
    bench.endpoint.handle(bench.now, Event::Tick);
    let mut buf = Vec::new();
    let mut stream = None;
    while let Some(action) = bench.endpoint.poll_action(bench.now, &mut buf) {
        if let Action::OpenStream { stream: opened, .. } = action {
            stream = Some(opened);
        }
    }
    bench.endpoint.handle(bench.now, Event::StreamOpened { stream: stream.expect("a stream") });
    drain(&mut bench);
    // The peer dials, too.
    let asked = forger.ask(&bench.key, crate::Transport::Udp, 0);
    let done = bench.datagram(forger.addr, &asked.packet);
    let mut epoch = asked.finish(done.datagram()).unwrap().0;
    let mut confirm = epoch.seal(&[Frame::Confirm, Frame::Challenge([7; 8])]);
    bench.endpoint.handle(bench.now, Event::Datagram { from: forger.addr, data: &mut confirm });
    drain(&mut bench);
    bench.endpoint.send(bench.now, id, 0, Bytes::from_static(b"hello")).unwrap();
    drain(&mut bench);
    bench.endpoint.close(bench.now, id, "");
    drain(&mut bench);
    bench.endpoint.cancel(bench.now, id);
    drain(&mut bench);
    assert!(seen > 10, "{seen}");
}

// Mutation: `Agenda::pop_due` with `>=` in place of `>`, or `set_timer` left out of `settle`, makes
// this fail.
#[test]
fn rule_5_no_timer_is_left_behind_by_a_tick() {
    for step in [1, 7, 90, 301, 1_000, 4_999, 31_000, 700_000] {
        let mut bench = Bench::new(1, &steady(Config::streamer()));
        let mut forger = Forger::new(2);
        // One session, one dial and one half-open handshake, all left alone.
        let (_, done) = forger.open(&mut bench, 0);
        let id = done.connected().unwrap();
        bench.endpoint.send(bench.now, id, 0, Bytes::from_static(b"hello")).unwrap();
        bench.connect(&Link::direct(Forger::new(3).key, Forger::new(3).addr));
        Forger::new(4).dial(&mut bench, 0);
        bench.endpoint.stream_accepted(bench.now, forger.addr).unwrap();
        for _ in 0..200 {
            bench.now = bench.now + Duration::from_millis(step);
            bench.handle(Event::Tick);
            let next = bench.endpoint.poll_timeout();
            assert!(next.is_none_or(|(at, _)| at > bench.now), "step {step}: {next:?} at {}", bench.now);
        }
    }
}

// Mutation: `clamp` returning `now` as it came makes this fail.
#[test]
fn rule_6_time_that_goes_backwards_stands_still() {
    let mut forgers = [Forger::new(2), Forger::new(2)];
    let mut benches = [Bench::new(1, &Config::streamer()), Bench::new(1, &Config::streamer())];
    let mut epochs = Vec::new();
    for (bench, forger) in benches.iter_mut().zip(&mut forgers) {
        bench.pass(Duration::from_secs(10));
        bench.handle(Event::Tick);
        epochs.push(forger.open(bench, 0).0);
    }
    let addr = forgers[0].addr;
    let id = *benches[0].endpoint.sessions.keys().next().unwrap();
    for round in 0..50_u64 {
        let real = benches[0].now;
        let mut done = Vec::new();
        for (n, bench) in benches.iter_mut().enumerate() {
            // The second lives in the past, but for its ticks.
            bench.handle(Event::Tick);
            if n == 1 {
                bench.now = crate::Time::from_micros(real.as_micros() / (round % 3 + 2));
            }
            let stream = Frame::Stream { channel: 0, offset: round * 2, data: b"\x01x" };
            let packet = epochs[n].seal(&[Frame::Ping, stream]);
            let first = bench.datagram(addr, &packet);
            let sent = bench.endpoint.send(bench.now, id, 1, Bytes::from_static(b"y")).ok();
            bench.endpoint.recv(id);
            bench.endpoint.taken(bench.now, id);
            let second = bench.drain();
            let status = bench.endpoint.status(bench.now, id);
            bench.now = real;
            let third = bench.pass(Duration::from_millis(round * 7));
            done.push((first, sent, second, third, status, bench.endpoint.poll_timeout()));
        }
        assert_eq!(done[0], done[1], "round {round}");
    }
}

// Mutation: `on_plaintext` failing the session, or counting packets to be acknowledged, after the
// end makes this fail.
#[test]
fn rule_9_after_closed_only_a_repeated_close_is_answered() {
    let config = Config::streamer();
    let mut bench = Bench::new(1, &config);
    let mut forger = Forger::new(2);
    let (mut epoch, done) = forger.open(&mut bench, 0);
    let id = done.connected().unwrap();
    let hello = Frame::Stream { channel: 0, offset: 0, data: b"\x05hello" };
    bench.datagram(forger.addr, &epoch.seal(&[hello]));
    bench.pass(Duration::from_secs(1));
    let close = || Frame::Close { code: 0, finals: ArrayVec::new(), reason: "" };
    let done = bench.datagram(forger.addr, &epoch.seal(&[close()]));
    assert!(matches!(done.updates[..], [(_, UpdateKind::Closed { by_peer: true, .. })]));
    assert_eq!(epoch.read(done.datagram()).unwrap(), "CLOSE_ACK");

    let late = || [Frame::Ping, Frame::Stream { channel: 0, offset: 6, data: b"\x05later" }];
    for _ in 0..4 {
        assert!(bench.datagram(forger.addr, &epoch.seal(&late())).is_nothing());
        assert!(bench.datagram(forger.addr, &epoch.seal_bytes(&[0x3f])).is_nothing());
    }
    let done = bench.datagram(forger.addr, &epoch.seal(&[close()]));
    assert!(done.updates.is_empty());
    assert_eq!(epoch.read(done.datagram()).unwrap(), "CLOSE_ACK");
    assert_eq!(bench.endpoint.send(bench.now, id, 0, Bytes::new()), Err(SendError::Closed));
    bench.endpoint.close(bench.now, id, "again");
    bench.endpoint.retry_now(bench.now, id);
    assert!(bench.handle(Event::NetworkChanged).is_nothing());
    assert!(bench.pass(Duration::from_secs(3600)).is_nothing());
    assert_eq!(bench.endpoint.status(bench.now, id), None);
    assert_eq!(bench.endpoint.poll_timeout(), None);
    // What came before can still be taken.
    assert_eq!(&bench.endpoint.recv(id).expect("a message").data[..], b"hello");
    assert_eq!(bench.endpoint.recv(id), None);
}

// Mutation: `give_up` not freeing what the attempts left behind makes this fail.
#[test]
fn rule_9_after_giving_up_nothing_is_said() {
    let mut config = steady(Config::streamer());
    config.attempts = 3;
    config.backoff = Schedule::list(&[Duration::from_secs(1)]).with_jitter(0);
    let mut bench = Bench::new(1, &config);
    let mut forger = Forger::new(2);
    let (id, done) = bench.connect(&forger.link());
    let init = done.datagram().to_vec();
    let done = bench.pass(Duration::from_secs(60));
    assert!(matches!(done.updates.last(), Some((_, UpdateKind::Closed { .. }))));
    let (resp, _) = forger.answer(&init);
    assert!(bench.datagram(forger.addr, &resp).is_nothing());
    bench.endpoint.retry_now(bench.now, id);
    bench.endpoint.cancel(bench.now, id);
    assert!(bench.drain().is_nothing());
    assert!(bench.endpoint.shared.indices.is_empty());
    assert_eq!(bench.endpoint.poll_timeout(), None);
}

// Mutation: `cancel` without `end_all_paths`, or `free` without `drop_pending` or `end_attempt`,
// makes this fail.
#[test]
fn rule_10_cancel_frees_everything_at_once() {
    let config = steady(Config::streamer());
    // A dial: before the fallback, beside it, with its stream open, between attempts.
    for millis in [0, 100, 300, 4_000, 5_050, 60_000] {
        let mut bench = Bench::new(1, &config);
        let forger = Forger::new(2);
        let (id, _) = bench.connect(&Link::direct(forger.key, forger.addr));
        let done = bench.pass(Duration::from_millis(millis));
        let mut open: BTreeSet<StreamId> = done.opened.iter().copied().collect();
        for stream in &done.closed {
            open.remove(stream);
        }
        if millis == 4_000 {
            let stream = *open.first().expect("the fallback");
            bench.handle(Event::StreamOpened { stream });
        }
        bench.endpoint.cancel(bench.now, id);
        let done = bench.drain();
        assert_eq!(done.closed, open.into_iter().collect::<Vec<_>>());
        assert!(done.datagrams.is_empty() && done.updates.is_empty());
        assert_eq!(bench.endpoint.poll_timeout(), None, "after {millis} ms");
        assert!(bench.endpoint.shared.indices.is_empty() && bench.endpoint.sessions.is_empty());
        // The peer can be dialled again at once.
        bench.connect(&Link::direct(forger.key, forger.addr));
    }
    // A session says CLOSE, once.
    let mut bench = Bench::new(1, &config);
    let mut forger = Forger::new(2);
    let (mut epoch, done) = forger.open(&mut bench, 0);
    let id = done.connected().unwrap();
    for (_, packet) in done.datagrams {
        epoch.read(&packet);
    }
    bench.endpoint.send(bench.now, id, 0, Bytes::from_static(b"never sent")).unwrap();
    bench.endpoint.cancel(bench.now, id);
    let done = bench.drain();
    assert_eq!(epoch.read(done.datagram()).unwrap(), "CLOSE cancelled");
    assert!(done.updates.is_empty());
    assert_eq!(bench.endpoint.status(bench.now, id), None);
    assert!(bench.endpoint.shared.indices.is_empty() && bench.endpoint.sessions.is_empty());
    bench.endpoint.cancel(bench.now, id);
    assert!(bench.pass(config.limits.tombstone_life).is_nothing());
    assert_eq!(bench.endpoint.poll_timeout(), None);
}

/// Everything that can be said of a stream.
fn say_all(bench: &mut Bench, stream: StreamId) {
    let mut bytes = [0, 17, 0x0b, 0, 0, 0, 0, 0, 0, 7];
    let before = bench.snapshot();
    assert!(bench.handle(Event::StreamOpened { stream }).is_nothing());
    assert!(bench.handle(Event::StreamData { stream, data: &mut bytes }).is_nothing());
    assert!(bench.handle(Event::StreamWritten { stream, len: 1 << 20 }).is_nothing());
    assert!(bench.handle(Event::StreamWritable { stream }).is_nothing());
    assert!(bench.handle(Event::StreamClosed { stream, error: None }).is_nothing());
    assert!(bench.handle(Event::StreamClosed { stream, error: Some(NetError::Reset) }).is_nothing());
    assert_eq!(bench.snapshot(), before);
}

// Mutation: `Shared::next_handle` that counts down when a stream is closed, or `close_stream` that
// keeps the stream in the table, makes this fail.
#[test]
fn rule_11_handles_are_never_used_twice() {
    let mut config = steady(Config::streamer());
    config.attempts = 100;
    let mut bench = Bench::new(1, &config);
    let mut used = BTreeSet::new();
    let forger = Forger::new(2);
    let named: Link = format!("burdock://{}@peer.example:1000", forger.key).parse().unwrap();
    let (id, _) = bench.connect(&Link::direct(forger.key, forger.addr));
    let mut gone: Vec<StreamId> = Vec::new();
    for _ in 0..20 {
        let done = bench.pass(Duration::from_secs(7));
        for stream in done.opened {
            assert!(used.insert(stream.get()), "{stream} again");
        }
        gone.extend(done.closed);
        let accepted = bench.endpoint.stream_accepted(bench.now, forger.addr).unwrap();
        assert!(used.insert(accepted.get()), "{accepted} again");
        bench.handle(Event::StreamClosed { stream: accepted, error: None });
        gone.push(accepted);
        for stream in gone.iter().copied().chain([StreamId(0), StreamId(u64::MAX)]) {
            say_all(&mut bench, stream);
        }
    }
    assert!(gone.len() > 30, "{}", gone.len());
    bench.endpoint.cancel(bench.now, id);
    bench.drain();
    // Names: an answer to an old question, or to none, says nothing.
    let mut questions = Vec::new();
    for _ in 0..3 {
        let id = bench.endpoint.connect(bench.now, &named).unwrap();
        assert!(used.insert(id.get()), "{id} again");
        let mut buf = Vec::new();
        while let Some(action) = bench.endpoint.poll_action(bench.now, &mut buf) {
            if let Action::Resolve { resolve, .. } = action {
                assert!(used.insert(resolve.get()), "{resolve} again");
                for old in questions.iter().copied().chain([crate::ResolveId(0)]) {
                    let addresses = [forger.addr];
                    bench.endpoint.handle(bench.now, Event::Resolved { resolve: old, addresses: &addresses });
                }
                questions.push(resolve);
            } else {
                assert!(matches!(action, Action::Update { .. }), "{action:?}");
            }
        }
        bench.endpoint.cancel(bench.now, id);
        assert!(bench.drain().is_nothing());
    }
    assert_eq!(questions.len(), 3);
    for id in [id, crate::SessionId(0), crate::SessionId(u64::MAX)] {
        bench.endpoint.cancel(bench.now, id);
        bench.endpoint.close(bench.now, id, "");
        bench.endpoint.retry_now(bench.now, id);
        bench.endpoint.taken(bench.now, id);
        assert!(bench.endpoint.recv(id).is_none() && bench.endpoint.status(bench.now, id).is_none());
        assert!(bench.drain().is_nothing());
    }
}
