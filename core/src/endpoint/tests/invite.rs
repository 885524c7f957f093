//! Who is let in, and by what; and what both sides must agree on.

use core::net::SocketAddr;
use core::time::Duration;

use super::bench::{Bench, Done};
use super::forger::{Epoch, Forger};
use super::steady;
use crate::update::UpdateKind;
use crate::wire::frame::Frame;
use crate::wire::packet;
use crate::wire::payload::Verdict;
use crate::{AcceptPolicy, Config, State, Transport, Update};

const INVITE: ([u8; 8], [u8; 32]) = ([7; 8], [9; 32]);

fn policy() -> AcceptPolicy {
    AcceptPolicy::nobody().invite(INVITE.0, INVITE.1)
}

fn bench(policy: AcceptPolicy) -> Bench {
    let mut bench = Bench::new(1, &steady(Config::streamer()));
    bench.endpoint.set_accept(policy);
    bench
}

fn invited(n: u8) -> Forger {
    let mut forger = Forger::new(n);
    forger.invite = INVITE;
    forger
}

fn bound(done: &Done) -> usize {
    let wanted = |kind: &UpdateKind| matches!(kind, UpdateKind::InviteBound { invite } if *invite == INVITE.0);
    done.updates.iter().filter(|(_, kind)| wanted(kind)).count()
}

/// Asks, and expects an answer.
fn ask(bench: &mut Bench, forger: &mut Forger, your_half: u64) -> (Epoch, Verdict) {
    let asked = forger.ask(&bench.key, Transport::Udp, your_half);
    let done = bench.datagram(forger.addr, &asked.packet);
    let (epoch, hello) = asked.finish(done.datagram()).expect("a RESP");
    (epoch, hello.verdict)
}

fn is_met_with_silence(bench: &mut Bench, forger: &mut Forger) {
    let asked = forger.ask(&bench.key, Transport::Udp, 0);
    assert!(bench.datagram(forger.addr, &asked.packet).is_nothing());
    let asked = forger.ask(&bench.key, Transport::Tcp, 0);
    let stream = bench.endpoint.stream_accepted(bench.now, forger.addr).expect("room");
    let done = bench.stream_packet(stream, &asked.packet);
    assert_eq!(done, Done { closed: vec![stream], ..Done::default() }, "closed without a byte");
}

// Mutation: `AcceptPolicy::decide` without comparing the owner makes this fail.
#[test]
fn c3_an_invite_is_bound_to_the_key_that_used_it() {
    let mut bench = bench(policy());
    let (mut first, mut second) = (invited(2), invited(3));
    let (_, done) = first.open(&mut bench, 0);
    let id = done.connected().expect("a session");
    assert_eq!(bound(&done), 1);
    let order: Vec<_> = done.updates.iter().filter(|(session, _)| *session == id).map(|(_, kind)| kind).collect();
    assert!(matches!(order[..], [UpdateKind::Connected { .. }, UpdateKind::InviteBound { .. }]), "{order:?}");
    is_met_with_silence(&mut bench, &mut second);
    // The same policy again, or one that names the invite among others.
    bench.endpoint.set_accept(policy());
    is_met_with_silence(&mut bench, &mut second);
    bench.endpoint.set_accept(policy().allow(second.key));
    is_met_with_silence(&mut bench, &mut second);
    // The first one comes again, also when its session is over, and it is no news.
    bench.endpoint.cancel(bench.now, id);
    bench.drain();
    bench.pass(Duration::from_secs(601));
    first.half = 77;
    let (_, done) = first.open(&mut bench, 0);
    assert!(done.connected().is_some());
    assert_eq!(bound(&done), 0);
    // Withdrawn and given out anew: it is another invite.
    bench.endpoint.set_accept(AcceptPolicy::nobody());
    bench.endpoint.set_accept(policy());
    let (_, done) = second.open(&mut bench, 0);
    assert_eq!(bound(&done), 1);
}

// Mutation: calling `bind` in `answer` makes this fail.
#[test]
fn c3_an_invite_is_bound_by_proof_and_not_by_a_first_message() {
    let mut bench = bench(policy());
    let (mut first, mut second) = (invited(2), invited(3));
    // Both are answered, the first one more often, as its INIT is replayed.
    let asked = first.ask(&bench.key, Transport::Udp, 0);
    for _ in 0..100 {
        let done = bench.datagram(first.addr, &asked.packet);
        assert_eq!(done.updates, []);
    }
    let mut unproved = first.dial(&mut bench, 0);
    let (_, done) = second.open(&mut bench, 0);
    assert!(done.connected().is_some());
    assert_eq!(bound(&done), 1);
    // The answer that the first one has is of no use any more.
    assert!(bench.datagram(first.addr, &unproved.seal(&[Frame::Confirm])).is_nothing());
    is_met_with_silence(&mut bench, &mut first);
    // An invite that is withdrawn before the proof lets nobody in.
    let mut it = self::bench(policy());
    let mut late = first.dial(&mut it, 0);
    it.endpoint.set_accept(AcceptPolicy::nobody());
    assert!(it.datagram(first.addr, &late.seal(&[Frame::Confirm])).is_nothing());
    assert_eq!(it.snapshot().sessions, []);
}

// Mutation: `AcceptPolicy::decide` falling back to `anyone` for an unknown invite makes this fail.
#[test]
fn c3_wrong_and_unknown_invites_are_met_with_silence() {
    for policy in [policy(), AcceptPolicy::anyone(), AcceptPolicy::nobody().allow(Forger::new(2).key)] {
        let mut bench = bench(policy);
        let before = bench.snapshot();
        let mut forger = invited(2);
        forger.invite.0 = [8; 8];
        is_met_with_silence(&mut bench, &mut forger);
        assert_eq!(bench.snapshot(), before);
    }
    // No invite where one is needed.
    is_met_with_silence(&mut bench(policy()), &mut Forger::new(2));
    // With a wrong secret the answer cannot be read, nor a session be opened.
    let mut it = bench(policy());
    let mut forger = invited(2);
    forger.invite.1 = [10; 32];
    let asked = forger.ask(&it.key, Transport::Udp, 0);
    let done = it.datagram(forger.addr, &asked.packet);
    assert!(asked.finish(done.datagram()).is_none());
    assert!(it.pass(Duration::from_secs(20)).updates.is_empty());
    // It has bound nothing.
    let (_, done) = invited(3).open(&mut it, 0);
    assert_eq!(bound(&done), 1);
}

// Mutation: `AcceptPolicy::inherit` overwriting an owner, or `invite_for` forgetting it, makes this fail.
#[test]
fn c3_a_binding_is_handed_over_a_restart() {
    let (mut owner, mut other) = (invited(2), invited(3));
    let mut it = bench(AcceptPolicy::nobody().invite_for(INVITE.0, INVITE.1, owner.key));
    is_met_with_silence(&mut it, &mut other);
    let (_, done) = owner.open(&mut it, 0);
    assert!(done.connected().is_some());
    assert_eq!(bound(&done), 0);
    // What the application says goes before what the endpoint remembers.
    it.endpoint.set_accept(AcceptPolicy::nobody().invite_for(INVITE.0, INVITE.1, other.key));
    assert!(other.open(&mut it, 0).1.connected().is_some());
}

// Mutation: `answer` without `session.psk` makes this fail.
#[test]
fn c3_a_session_by_an_invite_resumes_when_the_invite_is_withdrawn() {
    let mut it = bench(policy());
    let (mut owner, mut other) = (invited(2), invited(3));
    let (mut epoch, done) = owner.open(&mut it, 0);
    let id = done.connected().expect("a session");
    it.endpoint.set_accept(AcceptPolicy::nobody());
    let theirs = epoch.theirs;
    it.datagram(owner.addr, &epoch.seal(&[Frame::PathClose { epoch: theirs, code: 15 }]));
    assert_eq!(it.endpoint.status(it.now, id).expect("a session").state, State::Waiting);
    is_met_with_silence(&mut it, &mut other);
    let (mut next, verdict) = ask(&mut it, &mut owner, epoch.their_half);
    assert_eq!(verdict, Verdict::Resumed);
    let done = it.datagram(owner.addr, &next.seal(&[Frame::Confirm]));
    assert!(done.updates.iter().any(|(_, kind)| matches!(kind, UpdateKind::Resumed { .. })), "{done:?}");
    // Another secret under the same id is none.
    owner.invite.1 = [1; 32];
    let asked = owner.ask(&it.key, Transport::Udp, epoch.their_half);
    let done = it.datagram(owner.addr, &asked.packet);
    assert!(asked.finish(done.datagram()).is_none());
    // With the session its invite is gone.
    owner.invite = INVITE;
    it.endpoint.cancel(it.now, id);
    it.drain();
    it.pass(Duration::from_secs(20));
    is_met_with_silence(&mut it, &mut owner);
}

// Mutation: the ids of invites in the `Debug` of `AcceptPolicy` make this fail.
#[test]
fn i6_a_policy_shows_no_secret() {
    let shown = format!("{:?}", policy());
    assert_eq!(shown, "AcceptPolicy { anyone: false, known: 0, invites: 1 }");
    let update = Update { seq: 2, kind: UpdateKind::InviteBound { invite: [7; 8] } };
    let json = serde_json::to_string(&update).expect("it serialises");
    assert_eq!(json, r#"{"seq":2,"type":"invite_bound","invite":"a4dqobyha4dqo"}"#);
    assert_eq!(serde_json::from_str::<Update>(&json).expect("it is read"), update);
}

// Mutation: `answer` without a look at `versions` makes this fail.
#[test]
fn h2_an_init_without_our_version_is_met_with_silence() {
    let mut it = bench(AcceptPolicy::anyone());
    let before = it.snapshot();
    for versions in [&[][..], &[0], &[2], &[2, 3, 4, 5, 6, 7, 8, 9]] {
        let mut forger = Forger::new(2);
        forger.limits.versions = versions.iter().copied().collect();
        is_met_with_silence(&mut it, &mut forger);
    }
    assert_eq!(it.snapshot(), before);
    for versions in [&[1][..], &[3, 2, 1], &[1, 2, 3, 4, 5, 6, 7, 8]] {
        let mut it = bench(AcceptPolicy::anyone());
        let mut forger = Forger::new(2);
        forger.limits.versions = versions.iter().copied().collect();
        // Features that we do not know are no hindrance.
        forger.limits.features = u32::MAX;
        assert!(forger.open(&mut it, 0).1.connected().is_some());
    }
}

// Mutation: `on_resp` without a look at `hello.version` makes this fail.
#[test]
fn h2_a_resp_under_a_version_that_was_not_offered_is_none() {
    let mut it = Bench::new(1, &steady(Config::streamer()));
    let mut forger = Forger::new(2);
    let (_, done) = it.connect(&forger.link());
    let init = done.datagram().to_vec();
    let answer = |forger: &mut Forger, edit: fn(&mut crate::wire::payload::HelloResp)| {
        forger.answer_as(&init, |header| packet::prologue(&header), edit).expect("a RESP").0
    };
    let edits: [fn(&mut crate::wire::payload::HelloResp); 4] = [
        |it| it.version = 0,
        |it| it.version = 2,
        |it| it.limits.versions.clear(),
        |it| it.limits.versions = [2, 3].into_iter().collect(),
    ];
    for edit in edits {
        let resp = answer(&mut forger, edit);
        assert!(it.datagram(forger.addr, &resp).is_nothing());
    }
    let resp = answer(&mut forger, |it| it.limits.features = u32::MAX);
    assert!(it.datagram(forger.addr, &resp).connected().is_some());
}

// Mutation: `Path::new` taking `limits.max_packet` as it is makes this fail.
#[test]
fn a_resp_cannot_make_packets_larger_or_smaller() {
    for max_packet in [1200, u16::MAX] {
        let mut it = Bench::new(1, &steady(Config::streamer()));
        let mut forger = Forger::new(2);
        let (id, done) = it.connect(&forger.link());
        let init = done.datagram().to_vec();
        let edit = |it: &mut crate::wire::payload::HelloResp| {
            it.limits.max_packet = max_packet;
            (it.limits.session_credit, it.limits.channel_credit) = (u32::MAX, u32::MAX);
            it.limits.max_message = u32::MAX;
        };
        let resp = forger.answer_as(&init, |header| packet::prologue(&header), edit).expect("a RESP").0;
        it.datagram(forger.addr, &resp);
        it.endpoint.send(it.now, id, 0, bytes::Bytes::from(vec![7; 200_000])).expect("room");
        let done = it.drain();
        let sizes: Vec<usize> = done.datagrams.iter().map(|(_, packet)| packet.len()).collect();
        assert_eq!(sizes.iter().max(), Some(&packet::UDP_HANDSHAKE_LEN));
        assert!(sizes.iter().sum::<usize>() <= 64 * packet::UDP_HANDSHAKE_LEN);
    }
    let mut it = Bench::new(1, &steady(Config::streamer()));
    let mut forger = Forger::new(2);
    let (_, done) = it.connect(&forger.link());
    let init = done.datagram().to_vec();
    let small = |it: &mut crate::wire::payload::HelloResp| it.limits.max_packet = 1199;
    let resp = forger.answer_as(&init, |header| packet::prologue(&header), small).expect("a RESP").0;
    assert!(it.datagram(SocketAddr::from(([10, 0, 0, 2], 1000)), &resp).is_nothing());
}
