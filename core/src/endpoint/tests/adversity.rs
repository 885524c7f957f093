//! What a silent peer, a cut stream and a lying network lead to.

use core::time::Duration;
use std::collections::VecDeque;

use bytes::Bytes;

use super::bench::{Bench, Done};
use super::forger::Forger;
use super::pair::{LATENCY, Pair};
use super::steady;
use crate::update::UpdateKind;
use crate::wire::frame::Frame;
use crate::{Action, Code, Config, Event, Host, Link, NetError, ResolveId, SessionId, State, StreamId, Transport};

/// When INITs went to a peer that never answers, in ms, and whether all were the same.
fn initiations(mut config: Config, n: u8) -> (Vec<u64>, bool, Option<Code>) {
    // As long as WireGuard tries.
    config.attempt_deadline = Duration::from_secs(90);
    config.attempts = 1;
    let mut bench = Bench::new(n, &config);
    let started = bench.now;
    let (_, done) = bench.connect(&Forger::new(200).link());
    let first = done.datagram().to_vec();
    let (mut times, mut same, mut end) = (vec![0], true, None);
    for _ in 0..2_000 {
        let done = bench.pass(Duration::from_millis(100));
        for (_, packet) in &done.datagrams {
            times.push(bench.now.saturating_since(started).as_millis() as u64);
            same &= *packet == first;
        }
        for (_, kind) in done.updates {
            if let UpdateKind::Closed { code, .. } = kind {
                assert_eq!(bench.now.saturating_since(started), config.attempt_deadline);
                end = Some(code);
            }
        }
    }
    (times, same, end)
}

// Mutation: `RESEND_CAP` of 1 s makes this fail, and so does an `on_dial_timers` that calls `initiate`.
#[test]
fn c2_a_silent_peer_gets_the_same_bytes_seldomer_and_seldomer_until_the_deadline() {
    let (times, same, end) = initiations(steady(Config::streamer()), 1);
    assert!(same);
    assert_eq!(end, Some(Code::GaveUp));
    insta::assert_compact_json_snapshot!(times, @"[0, 1000, 3000, 7000, 15000, 31000, 47000, 63000, 79000]");
    // With luck at its worst.
    let (mut most, mut first) = (times.len(), Vec::new());
    for n in 1..100 {
        let (times, same, _) = initiations(Config::streamer(), n);
        assert!(same && (700..=1_100).contains(&times[1]), "{times:?}");
        first.push(times[1]);
        let waits: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(waits[..4].is_sorted(), "{waits:?}");
        assert!(times.iter().all(|at| *at < 90_000));
        most = most.max(times.len());
    }
    assert!(first.iter().any(|at| *at < 900) && first.iter().any(|at| *at > 900), "they come apart: {first:?}");
    burdock_ledger::reached("C2", "initiations in 90 s of silence", u32::try_from(most).unwrap());
}

// Mutation: `RESEND_FIRST` of 500 ms makes this fail.
#[test]
fn c2_short_attempts_send_more_than_one_long_one() {
    let (mut most, mut inits) = (0, 0);
    for n in 1..=100 {
        let mut bench = Bench::new(n, &Config::streamer());
        let (_, mut done) = bench.connect(&Forger::new(200).link());
        done.datagrams.extend(bench.pass(Duration::from_secs(90)).datagrams);
        most = most.max(done.datagrams.len());
        let different: std::collections::BTreeSet<_> = done.datagrams.into_iter().collect();
        inits = inits.max(different.len());
    }
    assert!(inits <= 10, "{inits}");
    burdock_ledger::reached("C2", "initiations in 90 s over attempts of 5 s", u32::try_from(most).unwrap());
}

/// Two endpoints on one stream, of which so many bytes get through each way before it is cut.
struct Cut {
    benches: [Bench; 2],
    streams: [StreamId; 2],
    flying: [VecDeque<u8>; 2],
    left: [usize; 2],
    passed: [usize; 2],
    updates: [Vec<UpdateKind>; 2],
    sessions: [Option<SessionId>; 2],
    cut: bool,
}

impl Cut {
    fn new(left: [usize; 2]) -> Self {
        let config = steady(Config::streamer());
        let mut benches = [Bench::new(1, &config), Bench::new(2, &config)];
        let addr = Forger::new(9).addr;
        let link = Link { udp_port: None, ..Link::direct(benches[1].key, addr) };
        let (id, done) = benches[0].connect(&link);
        let ours = done.opened[0];
        let theirs = benches[1].endpoint.stream_accepted(benches[1].now, addr).unwrap();
        let mut this = Self {
            benches,
            streams: [ours, theirs],
            flying: Default::default(),
            left,
            passed: [0; 2],
            updates: Default::default(),
            sessions: [Some(id), None],
            cut: false,
        };
        let done = this.benches[0].handle(Event::StreamOpened { stream: ours });
        this.note(0, done);
        this
    }

    fn note(&mut self, n: usize, done: Done) {
        self.flying[n].extend(done.written.get(&self.streams[n]).into_iter().flatten());
        self.sessions[n] = self.sessions[n].or(done.connected());
        self.updates[n].extend(done.updates.into_iter().map(|(_, kind)| kind));
        // Nobody answers to a new stream.
        for stream in done.opened {
            let done = self.benches[n].handle(Event::StreamClosed { stream, error: Some(NetError::Refused) });
            self.updates[n].extend(done.updates.into_iter().map(|(_, kind)| kind));
        }
    }

    fn run(&mut self, span: Duration) {
        let end = self.benches[0].now + span;
        while self.benches[0].now < end {
            for n in [0, 1] {
                let done = self.benches[n].pass(LATENCY);
                self.note(n, done);
            }
            for n in [0, 1] {
                let coming: Vec<u8> = self.flying[n].drain(..).collect();
                let len = coming.len().min(self.left[n]);
                if !self.cut && len > 0 {
                    let mut data = coming[..len].to_vec();
                    let stream = self.streams[1 - n];
                    let done = self.benches[1 - n].handle(Event::StreamData { stream, data: &mut data });
                    self.note(1 - n, done);
                    self.left[n] -= len;
                    self.passed[n] += len;
                }
                if !self.cut && self.left[n] == 0 {
                    self.cut = true;
                    for n in [0, 1] {
                        let closed = Event::StreamClosed { stream: self.streams[n], error: None };
                        let done = self.benches[n].handle(closed);
                        self.note(n, done);
                    }
                }
            }
        }
    }

    /// A session with messages each way, which side 0 closes.
    fn life(left: [usize; 2]) -> Self {
        let mut this = Self::new(left);
        this.run(LATENCY * 6);
        for n in [0, 1] {
            for text in ["one", "two"] {
                if let Some(id) = this.sessions[n] {
                    let now = this.benches[n].now;
                    // Refused when it has ended already.
                    let _ = this.benches[n].endpoint.send(now, id, 0, Bytes::from_static(text.as_bytes()));
                    let done = this.benches[n].drain();
                    this.note(n, done);
                }
            }
        }
        this.run(LATENCY * 6);
        for n in [0, 1] {
            if let Some(id) = this.sessions[n] {
                while this.benches[n].endpoint.recv(id).is_some() {}
                let now = this.benches[n].now;
                this.benches[n].endpoint.taken(now, id);
                let done = this.benches[n].drain();
                this.note(n, done);
            }
        }
        let (now, id) = (this.benches[0].now, this.sessions[0].unwrap());
        this.benches[0].endpoint.close(now, id, "bye");
        let done = this.benches[0].drain();
        this.note(0, done);
        this.run(Duration::from_secs(7));
        this
    }

    fn connected(&self, n: usize) -> bool {
        self.updates[n].iter().any(|kind| matches!(kind, UpdateKind::Connected { .. }))
    }

    /// The end that a side was told of, and the messages whose fate is not known to be good.
    fn end(&self, n: usize) -> Option<(Code, bool, u64)> {
        self.updates[n].iter().find_map(|kind| match kind {
            UpdateKind::Closed { code, by_peer, undelivered, unknown, .. } => {
                Some((*code, *by_peer, undelivered + unknown))
            }
            _ => None,
        })
    }
}

// Mutation: `on_stream_closed` finishing the session with `Code::Done` when there is no error makes this fail.
#[test]
fn r9_a_stream_cut_after_any_byte_is_never_a_clean_end() {
    let whole = Cut::life([usize::MAX; 2]);
    assert_eq!(whole.end(0), Some((Code::Done, false, 0)));
    assert_eq!(whole.end(1), Some((Code::Done, true, 0)));
    assert!(whole.passed[0] > 300 && whole.passed[1] > 200, "{:?}", whole.passed);
    let mut clean = 0;
    for n in [0, 1] {
        for bytes in 0..whole.passed[n] {
            let mut left = [usize::MAX; 2];
            left[n] = bytes;
            let cut = Cut::life(left);
            assert_eq!(cut.passed[n], bytes);
            // Who is told that the peer closed has its CLOSE; who closed and calls it done knows of every message.
            let cheated = |side: usize| match cut.end(side) {
                Some((Code::Done, true, _)) => n == 0 || side == 0,
                Some((Code::Done, false, open)) => open > 0 && cut.connected(side),
                _ => false,
            };
            let bad = u32::from(cheated(0)) + u32::from(cheated(1));
            assert_eq!(bad, 0, "cut {n} after {bytes}: {:?} {:?}", cut.end(0), cut.end(1));
            clean += bad;
        }
    }
    burdock_ledger::reached("R9", "cuts taken for a clean end", clean);
}

// Mutation: `on_transmit_failed` calling `close_path` for a path, or `lost` calling `fail`, makes this fail.
#[test]
fn t10_resets_ends_errors_and_garbage_end_no_session() {
    let errors = [NetError::Refused, NetError::Unreachable, NetError::Reset, NetError::TimedOut, NetError::Other];
    let mut lost = 0;
    for udp in [true, false] {
        let mut pair = Pair::new(&steady(Config::streamer()));
        pair.udp = udp;
        let a = pair.connect(0);
        pair.run(Duration::from_secs(1));
        let b = pair.nodes[1].last_session();
        for round in 0..40_usize {
            pair.send(0, a, &format!("{round}"));
            pair.send(1, b, &format!("{round}"));
            pair.run(Duration::from_millis(7 * round as u64));
            let n = round % 2;
            let now = pair.now;
            // ICMP errors cost the attacker nothing: many of each kind.
            for error in errors {
                let to = pair.nodes[1 - n].addr;
                pair.nodes[n].endpoint.handle(now, Event::TransmitFailed { to, error });
                pair.drain(n);
            }
            for stream in pair.streams(n) {
                let error = (round % 6).checked_sub(1).map(|kind| errors[kind]);
                if round % 3 == 0 {
                    pair.nodes[n].endpoint.handle(now, Event::StreamClosed { stream, error });
                } else if round % 3 == 1 {
                    let mut data = vec![round as u8; 300];
                    pair.nodes[n].endpoint.handle(now, Event::StreamData { stream, data: &mut data });
                }
                pair.drain(n);
            }
            for first in 0..16 {
                let mut data = vec![first; 100 + round];
                let from = pair.nodes[1 - n].addr;
                pair.nodes[n].endpoint.handle(now, Event::Datagram { from, data: &mut data });
                pair.drain(n);
            }
            pair.run(Duration::from_secs(25));
        }
        for (n, id) in [(0, a), (1, b)] {
            assert_eq!(pair.take(n, id).len(), 40, "udp {udp}");
            let closed = pair.nodes[n].kinds().iter().filter(|kind| matches!(kind, UpdateKind::Closed { .. })).count();
            let up = pair.nodes[n].endpoint.status(pair.now, id).is_some_and(|it| it.state == State::Connected);
            lost += u32::try_from(closed).unwrap() + u32::from(!up);
            // On UDP nothing of it is worth more than a look.
            let cuts = pair.nodes[n].kinds().iter().filter(|kind| matches!(kind, UpdateKind::Lost { .. })).count();
            assert!(!udp || cuts == 0, "{cuts}");
        }
    }
    burdock_ledger::reached("T10", "sessions lost to injections", lost);
}

// Mutation: `on_resolved` without the comparison with `attempt.resolving` makes this fail.
#[test]
fn c6_what_is_left_of_a_dead_session_touches_nothing() {
    let mut bench = Bench::new(1, &steady(Config::streamer()));
    let mut forger = Forger::new(2);
    let by_name = |forger: &Forger| Link { host: Some(Host::Name("peer.example".into())), ..forger.link() };
    let resolve = |bench: &mut Bench| -> ResolveId {
        let mut buf = Vec::new();
        let mut found = None;
        while let Some(action) = bench.endpoint.poll_action(bench.now, &mut buf) {
            if let Action::Resolve { resolve, .. } = action {
                found = Some(resolve);
            }
        }
        found.unwrap()
    };
    // A dial that is cancelled while its name is looked up.
    let first = bench.endpoint.connect(bench.now, &by_name(&forger)).unwrap();
    let old_name = resolve(&mut bench);
    bench.endpoint.cancel(bench.now, first);
    // A dial that is cancelled while a stream opens, one while its handshake is under way, and a whole session.
    let (second, done) = bench.connect(&Link { udp_port: None, ..Link::direct(forger.key, forger.addr) });
    let old_stream = done.opened[0];
    bench.endpoint.cancel(bench.now, second);
    let (third, done) = bench.connect(&forger.link());
    let init = done.datagram().to_vec();
    let (late_answer, _) = forger.answer(&init);
    bench.endpoint.cancel(bench.now, third);
    let (fourth, done) = bench.connect(&forger.link());
    let (resp, mut epoch) = forger.answer(done.datagram());
    assert!(bench.datagram(forger.addr, &resp).connected().is_some());
    let late =
        [epoch.seal(&[Frame::Confirm]), epoch.seal(&[Frame::Stream { channel: 0, offset: 0, data: b"\x03old" }])];
    let late_close = epoch.seal(&[Frame::Close { code: 0, finals: Default::default(), reason: "" }]);
    bench.endpoint.cancel(bench.now, fourth);
    bench.drain();
    // Its successor, which looks up the same name.
    let id = bench.endpoint.connect(bench.now, &by_name(&forger)).unwrap();
    let name = resolve(&mut bench);
    assert_ne!(name, old_name);
    let before = bench.snapshot();
    let elsewhere = [core::net::SocketAddr::from(([10, 9, 9, 9], 9))];
    assert!(bench.handle(Event::Resolved { resolve: old_name, addresses: &elsewhere }).is_nothing());
    let stream = old_stream;
    assert!(bench.handle(Event::StreamWritable { stream }).is_nothing());
    assert!(bench.stream_packet(stream, &late_answer).is_nothing());
    assert!(bench.handle(Event::StreamClosed { stream, error: Some(NetError::Reset) }).is_nothing());
    assert!(bench.handle(Event::StreamOpened { stream }).written.is_empty());
    for packet in late.iter().chain([&late_close, &late_answer, &resp]) {
        assert!(bench.datagram(forger.addr, packet).is_nothing());
    }
    assert_eq!(bench.snapshot(), before);
    // It goes on as if nothing had been.
    let done = bench.handle(Event::Resolved { resolve: name, addresses: &[forger.addr] });
    let (resp, _) = forger.answer(done.datagram());
    assert_eq!(bench.datagram(forger.addr, &resp).connected(), Some(id));
    assert_eq!(bench.endpoint.status(bench.now, id).unwrap().transport, Some(Transport::Udp));
    assert_eq!(bench.endpoint.recv(id), None);
}
