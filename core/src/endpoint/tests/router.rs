//! The endpoint and its I2P router, which is played by hand.

use core::time::Duration;

use super::bench::{Bench, Done};
use super::forger::Forger;
use super::{secs, steady};
use crate::io::RouterState;
use crate::sam::PrivateDestination;
use crate::sam::tests::destination;
use crate::update::{Progress, ProgressStatus, UpdateKind};
use crate::wire::frame::Frame;
use crate::{
    Action, Class, Code, Config, ConnectError, Event, Host, I2p, Identity, Link, PublicKey, StreamId, Transport,
};

const HELLO: &str = "HELLO REPLY RESULT=OK VERSION=3.1\n";

pub(super) fn config() -> Config {
    Config { i2p: Some(I2p::default()), ..steady(Config::chat()) }
}

pub(super) fn peer() -> PublicKey {
    Identity::from_bytes([9; 32]).public_key()
}

/// A link by which a peer is known by its destination alone.
pub(super) fn hidden(key: PublicKey) -> Link {
    Link { key, host: None, udp_port: None, tcp_port: None, i2p: destination(5, 0).parse().ok(), invite: None }
}

/// Somebody at a destination where nobody is.
fn away(n: u8) -> Link {
    // Any letter at the beginning of a destination may be another.
    let i2p = format!("{n}{}", &destination(5, 0)[1..]).parse().ok();
    Link { i2p, ..hidden(Identity::from_bytes([20 + n; 32]).public_key()) }
}

/// The router cannot reach them. Returns what is closed then.
pub(super) fn is_out_of_reach(bench: &mut Bench, n: u8) -> Vec<StreamId> {
    let (id, done) = bench.connect(&away(n));
    asks(bench, done.opened[0]);
    let closed = say(bench, done.opened[0], "STREAM STATUS RESULT=CANT_REACH_PEER\n").closed;
    bench.endpoint.cancel(bench.now, id);
    bench.drain();
    closed
}

pub(super) fn say(bench: &mut Bench, stream: StreamId, line: &str) -> Done {
    let mut data = line.as_bytes().to_vec();
    bench.handle(Event::StreamData { stream, data: &mut data })
}

fn text(done: &Done, stream: StreamId) -> String {
    String::from_utf8(done.written.get(&stream).cloned().unwrap_or_default()).unwrap()
}

/// Has the router say yes to a control socket. Returns what is done then, and the command that asked for the session.
pub(super) fn stands(bench: &mut Bench, control: StreamId) -> (Done, String) {
    let hello = bench.handle(Event::StreamOpened { stream: control });
    assert!(text(&hello, control).starts_with("HELLO VERSION "), "{hello:?}");
    let done = say(bench, control, HELLO);
    let create = text(&done, control);
    assert!(create.starts_with("SESSION CREATE "), "{create}");
    say(bench, control, &format!("SESSION STATUS RESULT=OK DESTINATION={}\n", destination(4, 288)));
    (say(bench, control, &format!("NAMING REPLY RESULT=OK NAME=ME VALUE={}\n", destination(4, 0))), create)
}

/// An endpoint whose router stands; its control socket, and the sockets that wait for callers.
pub(super) fn standing(config: &Config) -> (Bench, StreamId, Vec<StreamId>) {
    let mut bench = Bench::new(1, config);
    let opened = bench.pass(Duration::ZERO).opened;
    let [control] = opened[..] else { panic!("{opened:?}") };
    let (done, _) = stands(&mut bench, control);
    assert!(matches!(done.router[..], [RouterState::Up { .. }]), "{done:?}");
    (bench, control, done.opened)
}

/// Opens a socket to the router up to its command.
pub(super) fn asks(bench: &mut Bench, stream: StreamId) -> String {
    bench.handle(Event::StreamOpened { stream });
    let done = say(bench, stream, HELLO);
    text(&done, stream)
}

fn last_progress(done: &Done) -> Option<&Progress> {
    done.updates.iter().rev().find_map(|(_, kind)| match kind {
        UpdateKind::Progress(progress) => Some(progress),
        _ => None,
    })
}

#[test]
fn t4_an_anonymous_endpoint_has_its_router_and_nothing_else() {
    // Mutation: leaving out the look at `Class::Anonymous` in `connect`, `on_datagram` or `stream_accepted` makes this fail.
    let config = Config { class: Class::Anonymous, ..config() };
    let (mut bench, ..) = standing(&config);
    let mut forger = Forger::new(2);
    assert_eq!(bench.endpoint.connect(bench.now, &Link::direct(peer(), forger.addr)), Err(ConnectError::Direct));
    let asked = forger.ask(&bench.key, Transport::Udp, 0);
    assert!(bench.datagram(forger.addr, &asked.packet).is_nothing());
    assert_eq!(bench.endpoint.stream_accepted(bench.now, forger.addr), None);
    let without = Config { i2p: None, ..config };
    assert!(crate::Endpoint::new(without, Identity::from_bytes([1; 32]), [0; 32]).is_err());
}

#[test]
fn t4_a_peer_behind_a_destination_is_dialled_through_the_router_alone() {
    // Mutation: `admits` without `hidden` makes this fail.
    let (mut bench, ..) = standing(&config());
    let mut forger = Forger::new(2);
    let (_, done) = bench.connect(&hidden(forger.key));
    assert_eq!((done.datagrams.len(), &done.opened_to[..]), (0, &[I2p::USUAL_BRIDGE][..]));
    // Nor is it answered anywhere else.
    let asked = forger.ask(&bench.key, Transport::Udp, 0);
    assert!(bench.datagram(forger.addr, &asked.packet).datagrams.is_empty());
    let all = bench.pass(secs(3600));
    assert_eq!(all.datagrams.len(), 0);
    assert!(all.opened_to.iter().all(|to| *to == I2p::USUAL_BRIDGE));
}

#[test]
fn t4_a_bridge_elsewhere_is_asked_for_by_name() {
    // Mutation: `i2p.remote_bridge || true` in `validate` makes this fail.
    let mut i2p = I2p { bridge: "192.0.2.1:7656".parse().unwrap(), ..I2p::default() };
    let made = |i2p: &I2p| Config { i2p: Some(i2p.clone()), ..config() }.validate();
    assert!(made(&i2p).unwrap_err().to_string().contains("i2p.bridge"));
    i2p.remote_bridge = true;
    made(&i2p).unwrap();
}

#[test]
fn an_attempts_time_begins_when_the_router_stands() {
    // Mutation: `ends_at` that is always the deadline makes this fail.
    let mut bench = Bench::new(1, &config());
    let control = bench.pass(Duration::ZERO).opened[0];
    bench.connect(&hidden(peer()));
    bench.handle(Event::StreamOpened { stream: control });
    say(&mut bench, control, HELLO);
    let done = bench.pass(secs(150));
    assert!(last_progress(&done).is_none(), "{done:?}");
    say(&mut bench, control, &format!("SESSION STATUS RESULT=OK DESTINATION={}\n", destination(4, 288)));
    let up = say(&mut bench, control, &format!("NAMING REPLY RESULT=OK NAME=ME VALUE={}\n", destination(4, 0)));
    let [.., dial] = up.opened[..] else { panic!("{up:?}") };
    let command = asks(&mut bench, dial);
    assert!(command.starts_with("STREAM CONNECT ") && command.contains(&destination(5, 0)), "{command}");
    say(&mut bench, dial, "STREAM STATUS RESULT=OK\n");
    assert!(last_progress(&bench.pass(secs(59))).is_none());
    let progress = bench.pass(secs(2));
    let progress = last_progress(&progress).unwrap();
    assert_eq!((progress.status, progress.code), (ProgressStatus::Retrying, Some(Code::TunnelTimeout)));
    assert_eq!((progress.attempt, progress.retry_in_ms), (2, Some(5_000)));
}

/// What a person reads after the router, or the peer, did this to a dial.
fn reads(bench: &mut Bench, does: impl FnOnce(&mut Bench, StreamId) -> Done) -> (Code, String) {
    let (id, done) = bench.connect(&hidden(peer()));
    let dial = done.opened[0];
    asks(bench, dial);
    let mut done = does(bench, dial);
    done.updates.extend(bench.pass(secs(61)).updates);
    let failed = done.updates.iter().find_map(|(_, kind)| match kind {
        UpdateKind::Progress(progress) => progress.code.map(|code| (code, progress.message.clone())),
        _ => None,
    });
    bench.endpoint.cancel(bench.now, id);
    bench.drain();
    failed.expect("the attempt failed")
}

#[test]
fn each_way_to_fail_over_i2p_has_its_text() {
    // Mutation: `Code::TunnelTimeout` into `Code::Timeout` in `SamError::code` makes this fail.
    let (mut bench, ..) = standing(&config());
    let status = |result: &'static str| {
        move |bench: &mut Bench, dial| say(bench, dial, &format!("STREAM STATUS RESULT={result}\n"))
    };
    let unreachable = (Code::Unreachable, "Peer is unreachable — they may be offline".to_owned());
    let building = (Code::TunnelTimeout, "Connection timed out — I2P tunnels may be building".to_owned());
    assert_eq!(reads(&mut bench, status("CANT_REACH_PEER")), unreachable);
    assert_eq!(reads(&mut bench, status("CONNECTION_REFUSED")), unreachable);
    assert_eq!(reads(&mut bench, status("TIMEOUT")), building);
    assert_eq!(reads(&mut bench, status("OK")), building);
    let ends = reads(&mut bench, |bench, dial| {
        say(bench, dial, "STREAM STATUS RESULT=OK\n");
        bench.handle(Event::StreamClosed { stream: dial, error: None })
    });
    assert_eq!(ends, unreachable);
    // Some routers close the socket in the place of a refusal's end.
    let cut = reads(&mut bench, |bench, dial| {
        say(bench, dial, "STREAM STATUS RESULT=CANT_REACH_PEER");
        bench.handle(Event::StreamClosed { stream: dial, error: None })
    });
    assert_eq!(cut, unreachable);
    let cut = reads(&mut bench, |bench, dial| {
        say(bench, dial, "STREAM STATUS RESULT=TIMEOUT");
        bench.handle(Event::StreamClosed { stream: dial, error: None })
    });
    assert_eq!(cut, building);
    let stops = reads(&mut bench, |bench, dial| say(bench, dial, "STREAM STATUS RESULT=OK\n\0\x60half"));
    assert_eq!(stops, (Code::HandshakeTimeout, "Connected but handshake failed — retrying".to_owned()));
}

#[test]
fn letting_go_of_a_dial_leaves_the_session() {
    // Mutation: `close_stream` without `forget_sam` makes this fail.
    let (mut bench, control, _) = standing(&config());
    bench.pass(secs(600));
    // More than count as nobody, if it were for their destinations that nothing came of them.
    for n in 0..3 {
        let (id, done) = bench.connect(&away(n));
        asks(&mut bench, done.opened[0]);
        bench.endpoint.cancel(bench.now, id);
        assert_eq!(bench.drain().closed, done.opened);
    }
    let later = bench.pass(secs(3600));
    assert!(!later.closed.contains(&control) && later.router.is_empty(), "{later:?}");
}

#[test]
fn t7_a_router_that_says_nothing_is_given_up_step_by_step() {
    // Mutation: a `patience` of 11 s for `Step::Hello` makes this fail.
    let mut bench = Bench::new(1, &config());
    let control = bench.pass(Duration::ZERO).opened[0];
    bench.handle(Event::StreamOpened { stream: control });
    assert!(bench.pass(secs(9)).closed.is_empty());
    assert_eq!(bench.pass(secs(1)).closed, [control], "HELLO");
    let again = bench.pass(secs(9)).opened[0];
    bench.handle(Event::StreamOpened { stream: again });
    say(&mut bench, again, HELLO);
    assert!(bench.pass(secs(179)).closed.is_empty());
    assert_eq!(bench.pass(secs(1)).closed, [again], "SESSION CREATE");
}

/// What lies in the memory of a buffer, beyond its length too.
#[allow(clippy::disallowed_types, reason = "the core itself reads no files")]
#[cfg(target_os = "linux")]
fn lies_in(buf: &Vec<u8>) -> String {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; buf.capacity()];
    std::fs::File::open("/proc/self/mem").unwrap().read_exact_at(&mut bytes, buf.as_ptr() as u64).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(target_os = "linux")]
#[test]
fn t8_a_private_destination_leaves_no_trace_in_the_drivers_buffer() {
    // Mutation: `spilled` that is never set makes this fail.
    let mut bench = Bench::new(1, &config());
    bench.endpoint.set_destination(PrivateDestination::from_text(&destination(4, 288)).unwrap());
    let control = bench.pass(Duration::ZERO).opened[0];
    bench.handle(Event::StreamOpened { stream: control });
    let mut data = HELLO.as_bytes().to_vec();
    bench.endpoint.handle(bench.now, Event::StreamData { stream: control, data: &mut data });
    let mut buf = Vec::with_capacity(16_384);
    assert_eq!(bench.endpoint.poll_action(bench.now, &mut buf), Some(Action::WriteStream { stream: control }));
    let secret = &destination(4, 288)[600..];
    assert!(lies_in(&buf).contains(secret));
    let len = buf.len();
    bench.endpoint.handle(bench.now, Event::StreamWritten { stream: control, len });
    assert_eq!(bench.endpoint.poll_action(bench.now, &mut buf), None);
    assert!(!lies_in(&buf).contains(&secret[..64]));
    let state = format!("{:?}", bench.endpoint.router());
    assert!(!state.contains(secret), "{state}");
}

#[test]
fn callers_are_taken_in_and_others_find_a_place() {
    // Mutation: `ACCEPTS` of 1, or an accept that is not opened again in `on_sam`, makes this fail.
    let (mut bench, _, accepts) = standing(&config());
    assert_eq!(accepts.len(), 2);
    for stream in &accepts {
        assert!(asks(&mut bench, *stream).starts_with("STREAM ACCEPT "));
        assert_eq!(say(&mut bench, *stream, "STREAM STATUS RESULT=OK\n"), Done::default());
    }
    let mut forger = Forger::new(2);
    let asked = forger.ask(&bench.key, Transport::I2p, 0);
    let mut data = format!("{} FROM_PORT=0 TO_PORT=0\n", destination(5, 0)).into_bytes();
    data.extend_from_slice(&u16::try_from(asked.packet.len()).unwrap().to_be_bytes());
    data.extend_from_slice(&asked.packet);
    let done = bench.handle(Event::StreamData { stream: accepts[0], data: &mut data });
    assert_eq!(done.opened.len(), 1, "another waits in its place");
    let mut epoch = asked.finish(&done.written[&accepts[0]][2..]).expect("a RESP").0;
    let done = bench.stream_packet(accepts[0], &epoch.seal(&[Frame::Confirm]));
    let over =
        |kind: &UpdateKind| matches!(kind, UpdateKind::Connected { transport: Transport::I2p, inbound: true, .. });
    assert!(done.updates.iter().any(|(_, kind)| over(kind)), "{done:?}");
}

#[test]
fn d5_e10_a_caller_that_says_nothing_is_let_go_of() {
    // Mutation: leaving out the timer in `on_sam` makes this fail.
    let (mut bench, _, accepts) = standing(&config());
    asks(&mut bench, accepts[0]);
    say(&mut bench, accepts[0], "STREAM STATUS RESULT=OK\n");
    let mut data = format!("{}\n", destination(5, 0)).into_bytes();
    bench.handle(Event::StreamData { stream: accepts[0], data: &mut data });
    assert!(!bench.pass(secs(59)).closed.contains(&accepts[0]));
    assert!(bench.pass(secs(1)).closed.contains(&accepts[0]));
}

#[test]
fn t7_lines_that_come_at_once_are_all_read() {
    // Mutation: `||` for `&&` in `on_sam_data` makes this fail.
    let (mut bench, control, _) = standing(&config());
    let answers = say(&mut bench, control, "PING a\nPING b\nPING c");
    assert_eq!(text(&answers, control), "PONG a\nPONG b\n");
    assert_eq!(text(&say(&mut bench, control, "\n"), control), "PONG c\n");
}

#[test]
fn t7_a_router_that_answers_by_the_byte_is_given_up_as_one_that_is_silent() {
    // Mutation: a deadline that is set anew with each byte in `write_sam` makes this fail.
    let mut bench = Bench::new(1, &config());
    let control = bench.pass(Duration::ZERO).opened[0];
    bench.connect(&hidden(peer()));
    bench.handle(Event::StreamOpened { stream: control });
    let began = bench.now;
    let answer = HELLO.as_bytes().chunks(1).cycle();
    let mut closed = Vec::new();
    for byte in answer.filter(|byte| byte != b"\n").take(100) {
        closed.extend(bench.handle(Event::StreamData { stream: control, data: &mut byte.to_vec() }).closed);
        closed.extend(bench.pass(secs(1)).closed);
        if closed.contains(&control) {
            break;
        }
    }
    assert_eq!(bench.now.saturating_since(began), secs(10));
}

#[test]
fn d6_a_router_that_asks_for_signs_of_life_and_reads_none_gets_no_memory() {
    // Mutation: leaving out the bound in `write_sam` makes this fail.
    let (mut bench, control, _) = standing(&config());
    let ping = format!("PING {}\n", "x".repeat(8000));
    let (mut buf, mut offered) = (Vec::new(), 0);
    for _ in 0..1000 {
        let mut data = ping.clone().into_bytes();
        bench.endpoint.handle(bench.now, Event::StreamData { stream: control, data: &mut data });
        while let Some(action) = bench.endpoint.poll_action(bench.now, &mut buf) {
            assert_eq!(action, Action::WriteStream { stream: control });
            offered = buf.len();
        }
    }
    let mut kept = offered;
    bench.endpoint.handle(bench.now, Event::StreamWritten { stream: control, len: offered });
    while let Some(action) = bench.endpoint.poll_action(bench.now, &mut buf) {
        assert_eq!(action, Action::WriteStream { stream: control });
        kept += buf.len();
        bench.endpoint.handle(bench.now, Event::StreamWritten { stream: control, len: buf.len() });
    }
    assert!(kept <= 4 * crate::sam::MAX_LINE, "{kept} bytes were kept");
    // It is answered again once it reads.
    assert!(text(&say(&mut bench, control, "PING a\n"), control).starts_with("PONG a"));
}

#[test]
fn the_own_destination_is_never_dialled() {
    // Mutation: leaving out the comparison in `dial_i2p` makes this fail.
    let config = Config { i2p: Some(I2p { accept: false, ..I2p::default() }), ..config() };
    let (mut bench, ..) = standing(&config);
    let link = Link { i2p: destination(4, 0).parse().ok(), ..hidden(peer()) };
    let (_, mut done) = bench.connect(&link);
    done.opened.extend(bench.pass(secs(600)).opened);
    assert!(done.opened.is_empty(), "{done:?}");
    // Nor when the router stands only later.
    let mut bench = Bench::new(1, &config);
    let control = bench.pass(Duration::ZERO).opened[0];
    bench.connect(&link);
    let (done, _) = stands(&mut bench, control);
    assert!(done.opened.is_empty(), "{done:?}");
    let progress = last_progress(&done).map(|progress| (progress.status, progress.code));
    assert_eq!(progress, Some((ProgressStatus::Retrying, Some(Code::Unreachable))));
}

#[test]
fn t4_a_host_without_a_port_is_neither_looked_up_nor_answered() {
    // Mutation: leaving out `link.host = None` in `connect` makes this fail.
    let (mut bench, ..) = standing(&Config { class: Class::Anonymous, ..config() });
    let named = Link { host: Some(Host::Name("example.org".to_owned())), ..hidden(peer()) };
    assert_eq!(bench.endpoint.connect(bench.now, &named), Err(ConnectError::Direct));
    let (mut bench, ..) = standing(&config());
    let mut forger = Forger::new(2);
    let (_, done) = bench.connect(&Link { host: named.host, ..hidden(forger.key) });
    assert_eq!(&done.opened_to[..], &[I2p::USUAL_BRIDGE][..]);
    let asked = forger.ask(&bench.key, Transport::Udp, 0);
    assert!(bench.datagram(forger.addr, &asked.packet).datagrams.is_empty());
}

#[test]
fn an_attempt_that_has_more_than_i2p_does_not_wait_for_the_router() {
    // Mutation: `ends_at` that is `None` whenever something is awaited makes this fail.
    let config = config();
    let mut bench = Bench::new(1, &config);
    let control = bench.pass(Duration::ZERO).opened[0];
    bench.handle(Event::StreamOpened { stream: control });
    say(&mut bench, control, HELLO);
    let direct = Link::direct(peer(), "192.0.2.1:4000".parse().unwrap());
    bench.connect(&Link { i2p: hidden(peer()).i2p, ..direct });
    assert!(last_progress(&bench.pass(secs(59))).is_none_or(|it| it.status == ProgressStatus::Connecting));
    let after = bench.pass(secs(2));
    let progress = last_progress(&after).map(|progress| (progress.status, progress.attempt));
    assert_eq!(progress, Some((ProgressStatus::Retrying, 2)));
}

#[test]
fn t4_c3_the_end_of_a_hidden_peers_session_is_told_over_i2p_alone() {
    // Mutation: leaving out `admits` for tombstones in `answer` makes this fail.
    let (mut bench, _, accepts) = standing(&config());
    let mut forger = Forger::new(2);
    let (id, _) = bench.connect(&hidden(forger.key));
    asks(&mut bench, accepts[0]);
    say(&mut bench, accepts[0], &format!("STREAM STATUS RESULT=OK\n{}\n", destination(5, 0)));
    let asked = forger.ask(&bench.key, Transport::I2p, 0);
    let answer = bench.stream_packet(accepts[0], &asked.packet);
    let mut epoch = asked.finish(&answer.written[&accepts[0]][2..]).expect("a RESP").0;
    assert_eq!(bench.stream_packet(accepts[0], &epoch.seal(&[Frame::Confirm])).connected(), Some(id));
    bench.endpoint.cancel(bench.now, id);
    bench.endpoint.set_accept(crate::AcceptPolicy::nobody());
    bench.drain();
    // Else our address would tell whoever asks at it that it is that of our destination.
    let asked = forger.ask(&bench.key, Transport::Udp, 0);
    assert!(bench.datagram(forger.addr, &asked.packet).datagrams.is_empty());
    asks(&mut bench, accepts[1]);
    say(&mut bench, accepts[1], &format!("STREAM STATUS RESULT=OK\n{}\n", destination(5, 0)));
    let asked = forger.ask(&bench.key, Transport::I2p, 0);
    assert!(bench.stream_packet(accepts[1], &asked.packet).written.contains_key(&accepts[1]));
}
