//! Corners where two lives of a session, a handshake or a path meet.

use core::time::Duration;

use super::pair::Pair;
use super::{connected, steady};
use crate::endpoint::IndexOwner;
use crate::io::StreamId;
use crate::noise::Initiator;
use crate::recovery::{AckTracker, Carrier};
use crate::seal::{HEADER_LEN, NUMBER_LIMIT, Sealer};
use crate::update::UpdateKind;
use crate::wire::frame::{Frame, Frames};
use crate::wire::packet::{self, InitHeader, Packet};
use crate::wire::payload::{HelloInit, HelloResp, INIT_PAYLOAD_LEN};
use crate::{
    AcceptPolicy, Class, Code, Config, Endpoint, Event, Identity, Ladder, PublicKey, Schedule, SessionId, Time,
    Transport,
};

const INIT: u8 = 0x08;
const RESP: u8 = 0x09;

fn paths(pair: &Pair, n: usize) -> Vec<(u32, SessionId)> {
    let path = |(index, owner): (&u32, &IndexOwner)| match owner {
        IndexOwner::Path(id) => Some((*index, *id)),
        _ => None,
    };
    pair.nodes[n].endpoint.shared.indices.iter().filter_map(path).collect()
}

fn count(pair: &Pair, n: usize, wanted: fn(&UpdateKind) -> bool) -> usize {
    pair.nodes[n].kinds().into_iter().filter(|kind| wanted(kind)).count()
}

fn is_connected(kind: &UpdateKind) -> bool {
    matches!(kind, UpdateKind::Connected { .. })
}

fn is_closed(kind: &UpdateKind) -> bool {
    matches!(kind, UpdateKind::Closed { .. })
}

/// Frames as if they had come in an authentic packet on the only path.
fn inject(pair: &mut Pair, n: usize, number: u64, frame: &Frame<'_>) {
    let (index, id) = paths(pair, n)[0];
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    let now = pair.now;
    let endpoint = &mut pair.nodes[n].endpoint;
    endpoint.with_session(now, id, |session, shared| session.on_plaintext(now, shared, index, number, None, &bytes));
    pair.drain(n);
}

#[test]
fn every_packet_number_that_opens_can_be_acknowledged() {
    let mut acks = AckTracker::new(Carrier::Datagrams);
    acks.on_received(Time::ZERO, NUMBER_LIMIT - 1, true);
    let (ranges, _) = acks.ack(Time::ZERO).expect("one is owed");
    let mut bytes = Vec::new();
    let ack = Frame::Ack { epoch: 1, delay_us: 0, ranges };
    ack.encode(&mut bytes);
    assert_eq!(Frames::new(&bytes).next(), Some(Ok(ack)));
}

#[test]
fn a_handshake_of_a_closed_session_does_not_open_another() {
    let mut pair = Pair::new(&steady(Config::streamer()));
    pair.udp = false;
    let a = pair.connect(0);
    pair.run(Duration::from_millis(500));
    let b = pair.nodes[1].last_session();
    pair.send(0, a, "traffic");
    pair.udp = true;
    while !pair.nodes[1].datagrams.iter().any(|packet| packet[0] == RESP) {
        pair.run(Duration::from_millis(1));
    }
    // The answer of the upgrade is under way, its confirmation is not.
    pair.nodes[1].endpoint.cancel(pair.now, b);
    pair.drain(1);
    pair.run(Duration::from_secs(1));
    assert_eq!(count(&pair, 1, is_connected), 1);
    assert_eq!(count(&pair, 0, is_closed), 1);
}

#[test]
fn a_new_session_does_not_take_the_name_of_the_closed_one() {
    let mut pair = Pair::new(&steady(Config::streamer()));
    let a = pair.connect(0);
    pair.run(Duration::from_millis(100));
    let b = pair.nodes[1].last_session();
    (pair.udp, pair.tcp) = (false, false);
    pair.send(0, a, "makes the silence heard");
    pair.nodes[1].endpoint.close(pair.now, b, "");
    pair.drain(1);
    pair.run(Duration::from_secs(8));
    assert_eq!(count(&pair, 1, is_closed), 1);
    pair.udp = true;
    while count(&pair, 0, is_closed) == 0 {
        pair.run(Duration::from_millis(1));
    }
    pair.connect(1);
    pair.run(Duration::from_secs(1));
    assert_eq!(count(&pair, 1, is_connected), 2, "{:#?}", pair.nodes[1].kinds());
}

#[test]
fn a_closed_session_lets_nobody_in_again() {
    let mut pair = Pair::new(&steady(Config::streamer()));
    pair.connect(0);
    pair.run(Duration::from_millis(100));
    let b = pair.nodes[1].last_session();
    pair.nodes[1].endpoint.set_accept(AcceptPolicy::nobody());
    pair.nodes[1].endpoint.close(pair.now, b, "go away");
    pair.drain(1);
    pair.run(Duration::from_secs(1));
    pair.connect(0);
    pair.run(Duration::from_secs(5));
    assert_eq!(count(&pair, 1, is_connected), 1);
}

#[test]
fn handshakes_outlive_the_longest_attempt() {
    let mut pair = Pair::new(&steady(Config::chat()));
    pair.udp = false;
    let mut link = pair.link(1);
    link.tcp_port = None;
    pair.nodes[0].endpoint.connect(pair.now, &link).unwrap();
    pair.drain(0);
    pair.run(Duration::from_millis(60_001));
    let pending = pair.nodes[0].endpoint.shared.indices.len();
    assert_eq!(pending, 1, "the answer may still come");
    pair.run(Duration::from_secs(600));
    assert_eq!(pair.nodes[0].endpoint.shared.indices.len(), 0);
}

#[test]
fn spare_paths_are_let_go_of() {
    let mut pair = Pair::new(&steady(Config::streamer()));
    pair.connect(0);
    pair.connect(1);
    pair.run(Duration::from_secs(1));
    assert!(!paths(&pair, 0).is_empty());
    pair.run(Duration::from_secs(100));
    for n in [0, 1] {
        assert_eq!(paths(&pair, n).len(), 1);
        assert_eq!(count(&pair, n, |kind| matches!(kind, UpdateKind::Lost { .. })), 0);
    }
}

#[test]
fn changes_of_the_network_do_not_pile_up_paths() {
    let mut pair = Pair::new(&steady(Config::streamer()));
    pair.connect(0);
    pair.run(Duration::from_millis(100));
    for _ in 0..20 {
        pair.nodes[0].endpoint.handle(pair.now, Event::NetworkChanged);
        pair.drain(0);
        pair.run(Duration::from_secs(20));
    }
    pair.run(Duration::from_secs(120));
    for n in [0, 1] {
        assert_eq!(paths(&pair, n).len(), 1);
        assert_eq!(count(&pair, n, |kind| matches!(kind, UpdateKind::Lost { .. })), 0);
    }
}

#[test]
fn a_restarted_peer_gets_in_when_the_old_one_had_every_path() {
    let mut config = steady(Config::streamer());
    config.limits.paths = 2;
    let mut pair = Pair::new(&config);
    pair.connect(0);
    pair.connect(1);
    pair.run(Duration::from_millis(100));
    assert_eq!(paths(&pair, 1).len(), 2);
    let mut restarted = Endpoint::new(config, Identity::from_bytes([1; 32]), [55; 32]).unwrap();
    restarted.set_accept(AcceptPolicy::anyone());
    pair.nodes[0].endpoint = restarted;
    pair.connect(0);
    pair.run(Duration::from_millis(200));
    assert_eq!(count(&pair, 1, |kind| matches!(kind, UpdateKind::PeerRestarted)), 1);
}

#[test]
fn a_stream_to_a_key_that_agrees_on_nothing_is_closed() {
    let mut pair = Pair::new(&steady(Config::streamer()));
    let mut link = pair.link(1);
    link.key = PublicKey::from([0; 32]);
    link.udp_port = None;
    let id = pair.nodes[0].endpoint.connect(pair.now, &link).unwrap();
    pair.drain(0);
    pair.run(Duration::from_millis(50));
    let stream = StreamId(id.get() + 1);
    assert_eq!(pair.nodes[0].endpoint.shared.streams.owner(stream), None);
    let progress = |kind: &&UpdateKind| matches!(kind, UpdateKind::Progress(it) if it.code == Some(Code::WrongPeer));
    assert!(pair.nodes[0].kinds().iter().any(progress), "{:#?}", pair.nodes[0].kinds());
}

#[test]
fn answers_to_challenges_are_not_kept() {
    let mut pair = Pair::new(&steady(Config::streamer()));
    pair.connect(0);
    pair.run(Duration::from_secs(1));
    pair.udp = false;
    for _ in 0..5000 {
        inject(&mut pair, 0, 0, &Frame::Challenge([7; 8]));
    }
    let (index, id) = paths(&pair, 0)[0];
    let (_, _, remembered) = pair.nodes[0].endpoint.sessions[&id].sending(index).expect("a path");
    assert!(remembered < 2000, "{remembered} unanswered packets are remembered");
}

#[test]
fn any_number_of_attempts_is_summed_up_at_once() {
    let schedule = Schedule::exponential(Duration::from_millis(100), Duration::from_secs(30));
    let first: Duration = (0..9).map(|n| schedule.wait(n)).sum();
    assert_eq!(schedule.total(u32::MAX), first + Duration::from_secs(30) * (u32::MAX - 9));
    let mut config = steady(Config::streamer());
    config.attempts = u32::MAX;
    config.attempt_deadline = Duration::MAX;
    let mut pair = Pair::new(&config);
    pair.connect(0);
    pair.run(Duration::from_secs(1));
    assert_eq!(connected(&pair, 0), Some(Transport::Udp));
}

#[test]
fn more_paths_than_one_turn_looks_at_are_refused() {
    let mut config = Config::streamer();
    config.limits.paths = 17;
    assert!(config.validate().is_err());
}

#[test]
fn without_a_head_start_every_transport_starts_at_once() {
    let mut config = steady(Config::streamer());
    config.ladder = Ladder::Race { fallback_delay: Duration::ZERO };
    let mut pair = Pair::new(&config);
    pair.udp = false;
    pair.connect(0);
    pair.run(Duration::from_millis(100));
    assert_eq!(connected(&pair, 0), Some(Transport::Tcp));
}

#[test]
fn a_search_does_not_wait_for_a_try_at_a_better_transport() {
    let mut pair = Pair::new(&steady(Config::chat()));
    pair.udp = false;
    let a = pair.connect(0);
    pair.run(Duration::from_millis(500));
    pair.send(0, a, "traffic");
    // A try at UDP runs for up to a minute.
    pair.run(Duration::from_secs(5));
    assert_eq!(pair.nodes[0].written.len(), 1, "what is no better than what there is is not tried");
    let inits = |pair: &Pair| pair.nodes[0].datagrams.iter().filter(|packet| packet[0] == INIT).count();
    let before = inits(&pair);
    pair.nodes[0].endpoint.handle(pair.now, Event::NetworkChanged);
    pair.drain(0);
    assert_eq!(inits(&pair), before + 1);
}

#[test]
fn a_dial_without_a_number_opens_nothing() {
    let mut pair = Pair::new(&steady(Config::streamer()));
    let identity = Identity::from_bytes([1; 32]);
    let peer = pair.nodes[1].key;
    let limits = crate::endpoint::our_limits(&Config::streamer().limits);
    let hello = HelloInit { my_half: 7, your_half: 0, dial_no: 0, renews: 0, invite: [0; 8], limits, keep_s: None };
    let mut payload = Vec::new();
    hello.encode(INIT_PAYLOAD_LEN, &mut payload);
    let header = InitHeader { class: Class::Open, transport: Transport::Udp, sender: 5 };
    let mut init = Vec::new();
    let start = packet::begin_init(header, &mut init);
    let prologue = packet::prologue(&header.to_bytes());
    let secret = pair.nodes[1].endpoint.shared.random.secret();
    let noise = Initiator::start(&identity, &peer, &[0; 32], &prologue, secret, &payload, &mut init).unwrap();
    packet::finish_init(&mut init, start, |before| crate::crypto::mac1(&peer, before));
    let from = pair.nodes[0].addr;
    pair.nodes[1].endpoint.handle(pair.now, Event::Datagram { from, data: &mut init });
    pair.drain(1);
    let Some(resp) = pair.nodes[1].datagrams.first().cloned() else { return };
    let Ok(Packet::Resp(resp)) = packet::parse(&resp) else { panic!("an answer") };
    let mut answer = Vec::new();
    let keys = noise.read(resp.noise, &mut answer).unwrap();
    let answer = HelloResp::decode(&answer).unwrap();
    let mut confirm = vec![0; HEADER_LEN];
    Frame::Confirm.encode(&mut confirm);
    Sealer::new(keys.send).seal(answer.index, &mut confirm, 0).unwrap();
    pair.nodes[1].endpoint.handle(pair.now, Event::Datagram { from, data: &mut confirm });
    pair.drain(1);
    assert_eq!(pair.nodes[1].kinds(), Vec::<&UpdateKind>::new());
}
