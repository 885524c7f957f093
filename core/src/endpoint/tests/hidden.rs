//! What is over I2P and what is in the clear know nothing of each other.

use super::bench::{Bench, Done};
use super::forger::{Asked, Epoch, Forger};
use super::router::{asks, config, hidden, say, standing};
use super::secs;
use crate::noise::Responder;
use crate::sam::tests::destination;
use crate::wire::frame::Frame;
use crate::wire::packet::{self, Packet};
use crate::wire::payload::{HelloResp, Verdict};
use crate::{Class, Event, StreamId, Transport};

/// An endpoint and the sockets of it that wait for callers.
struct Host {
    bench: Bench,
    waiting: Vec<StreamId>,
}

impl Host {
    fn new() -> Self {
        let (bench, _, waiting) = standing(&config());
        Self { bench, waiting }
    }

    /// An INIT comes in by this transport. Returns what is done and the answer, if there is one.
    fn called(&mut self, forger: &Forger, transport: Transport, asked: &Asked) -> (Done, Option<Vec<u8>>) {
        let bench = &mut self.bench;
        let (mut done, stream) = match transport {
            Transport::Udp => {
                let done = bench.datagram(forger.addr, &asked.packet);
                let answer = done.datagrams.first().map(|(_, packet)| packet.clone());
                return (done, answer);
            }
            Transport::Tcp => {
                let stream = bench.endpoint.stream_accepted(bench.now, forger.addr).expect("it listens");
                (bench.stream_packet(stream, &asked.packet), stream)
            }
            Transport::I2p => {
                let stream = self.waiting.remove(0);
                assert!(asks(bench, stream).starts_with("STREAM ACCEPT "));
                say(bench, stream, "STREAM STATUS RESULT=OK\n");
                let taken = say(bench, stream, &format!("{}\n", destination(5, 0)));
                self.waiting.extend(taken.opened);
                (bench.stream_packet(stream, &asked.packet), stream)
            }
        };
        let answer = done.written.remove(&stream).map(|bytes| bytes[2..].to_vec());
        // Nobody keeps a stream that was not answered.
        let _ = bench.handle(Event::StreamClosed { stream, error: None });
        (done, answer)
    }

    /// Dials, confirms, and returns the name of the session that came of it.
    fn opened_by(&mut self, forger: &mut Forger, transport: Transport) -> u64 {
        let asked = forger.ask(&self.bench.key, transport, 0);
        if transport == Transport::Udp {
            let done = self.bench.datagram(forger.addr, &asked.packet);
            let (mut epoch, hello) = asked.finish(done.datagram()).unwrap();
            self.bench.datagram(forger.addr, &epoch.seal(&[Frame::Confirm]));
            return hello.my_half;
        }
        let stream = self.waiting.remove(0);
        asks(&mut self.bench, stream);
        say(&mut self.bench, stream, "STREAM STATUS RESULT=OK\n");
        let taken = say(&mut self.bench, stream, &format!("{}\n", destination(5, 0)));
        self.waiting.extend(taken.opened);
        let done = self.bench.stream_packet(stream, &asked.packet);
        let (mut epoch, hello) = asked.finish(&done.written[&stream][2..]).unwrap();
        let done = self.bench.stream_packet(stream, &epoch.seal(&[Frame::Confirm]));
        assert!(done.connected().is_some());
        hello.my_half
    }
}

/// Who knows everything that names a session, its key included, does not resume it as the other class.
// Mutation: `admits` without `peer_class` makes this fail.
#[test]
fn t5_a_session_of_one_class_is_not_resumed_in_the_other() {
    use Class::{Anonymous, Open};
    use Transport::{I2p, Tcp, Udp};
    let (mut tries, mut resumed) = (0, 0);
    for (class, by, others) in [
        (Anonymous, I2p, &[(Open, Udp), (Open, Tcp), (Open, I2p), (Anonymous, Udp)][..]),
        (Open, Udp, &[(Anonymous, I2p), (Anonymous, Udp), (Anonymous, Tcp)]),
        (Open, I2p, &[(Anonymous, I2p)]),
    ] {
        let mut host = Host::new();
        let mut forger = Forger::new(2);
        forger.class = class;
        let half = host.opened_by(&mut forger, by);
        let [session] = host.bench.endpoint.sessions.keys().copied().collect::<Vec<_>>()[..] else { panic!("one") };
        for (other, transport) in others {
            let before = host.bench.endpoint.status(host.bench.now, session);
            for _ in 0..100 {
                forger.class = *other;
                let asked = forger.ask(&host.bench.key, *transport, half);
                let (done, answer) = host.called(&forger, *transport, &asked);
                let news = done.updates.len();
                resumed += u32::from(answer.is_some() || news > 0);
                tries += 1;
            }
            assert_eq!(host.bench.endpoint.status(host.bench.now, session), before);
            assert_eq!(host.bench.endpoint.sessions.len(), 1);
        }
        forger.class = class;
        let asked = forger.ask(&host.bench.key, by, half);
        let answer = host.called(&forger, by, &asked).1.expect("in its own class it is answered");
        let (_, HelloResp { verdict, .. }) = asked.finish(&answer).unwrap();
        assert_eq!(verdict, Verdict::Resumed);
    }
    burdock_ledger::reached("T5", "tries to resume in another class", tries);
    burdock_ledger::reached("T5", "sessions resumed in another class", resumed);
}

/// What the endpoint says on one stream, opened.
struct Overheard {
    stream: StreamId,
    epoch: Option<Epoch>,
    said: Vec<u8>,
}

impl Overheard {
    fn hear(&mut self, done: &Done) {
        let mut bytes = done.written.get(&self.stream).map(Vec::as_slice).unwrap_or_default();
        while let Some((len, rest)) = bytes.split_first_chunk() {
            let (packet, rest) = rest.split_at(usize::from(u16::from_be_bytes(*len)));
            self.said.extend_from_slice(packet);
            let mut packet = packet.to_vec();
            let opener = &mut self.epoch.as_mut().expect("data after the handshake").opener;
            self.said.extend_from_slice(opener.open(&mut packet).expect("its own packet").plaintext);
            bytes = rest;
        }
    }

    /// Dials are answered; returns what is done after that.
    fn answer(&mut self, bench: &mut Bench, forger: &mut Forger) -> Done {
        self.said.extend(asks(bench, self.stream).into_bytes());
        let done = say(bench, self.stream, "STREAM STATUS RESULT=OK\n");
        let init = &done.written[&self.stream][2..];
        let Ok(Packet::Init(read)) = packet::parse(init) else { panic!("an INIT") };
        let responder = Responder::read(&forger.identity, &packet::prologue(&read.header_bytes), read.noise).unwrap();
        self.said.extend_from_slice(init);
        self.said.extend_from_slice(responder.payload());
        let (resp, epoch) = forger.answer(init);
        self.epoch = Some(epoch);
        let done = bench.stream_packet(self.stream, &resp);
        self.hear(&done);
        done
    }
}

/// One endpoint has a session in the clear and one over I2P. All that is said over I2P is opened and searched for what
/// belongs to the other session, and for where it goes.
// Mutation: a `half` that is drawn once for the endpoint makes this fail.
#[test]
fn t5_what_crosses_over_i2p_tells_nothing_of_the_clear() {
    let mut host = Host::new();
    let bench = &mut host.bench;
    let mut clear = Forger::new(2);
    clear.half = 0x1122_3344_5566_7788;
    let (epoch, done) = clear.open(bench, 0);
    let in_clear = done.connected().unwrap();

    let mut peer = Forger::new(3);
    let (session, done) = bench.connect(&hidden(peer.key));
    let mut overheard = Overheard { stream: done.opened[0], epoch: None, said: Vec::new() };
    let done = overheard.answer(bench, &mut peer);
    assert!(done.connected().is_some());
    for round in 0..20_u8 {
        for id in [session, in_clear] {
            // What the application says is its own affair.
            bench.endpoint.send(bench.now, id, round % 4, vec![0; 300].into()).unwrap();
        }
        let done = bench.drain();
        overheard.hear(&done);
        let done = bench.pass(secs(3));
        overheard.hear(&done);
        if round == 10 {
            // The network changes and the stream is cut: the session resumes by name.
            bench.endpoint.handle(bench.now, Event::NetworkChanged);
            let done = bench.drain();
            overheard.hear(&done);
            bench.handle(Event::StreamClosed { stream: overheard.stream, error: None });
            overheard.stream = loop {
                let done = bench.pass(secs(1));
                if let Some(stream) = done.opened.last() {
                    break *stream;
                }
            };
            overheard.answer(bench, &mut peer);
        }
    }
    let ip = match clear.addr.ip() {
        core::net::IpAddr::V4(ip) => ip.octets(),
        core::net::IpAddr::V6(_) => unreachable!("it has an IPv4 address"),
    };
    let needles: [(&str, Vec<u8>); 7] = [
        ("address", ip.to_vec()),
        ("address as text", clear.addr.ip().to_string().into_bytes()),
        ("key of the other peer", clear.key.as_bytes().to_vec()),
        ("their half of the name", clear.half.to_be_bytes().to_vec()),
        ("our half of the name", epoch.their_half.to_be_bytes().to_vec()),
        ("our index", epoch.theirs.to_be_bytes().to_vec()),
        ("key of the other peer as text", clear.key.to_string().into_bytes()),
    ];
    let mut traces = 0_u32;
    for (what, needle) in &needles {
        let seen = overheard.said.windows(needle.len()).any(|window| window == needle);
        assert!(!seen, "{what}");
        traces += u32::from(seen);
    }
    burdock_ledger::reached("T5", "traces of a session in the clear", traces);
    burdock_ledger::reached("T5", "bytes searched for them", u32::try_from(overheard.said.len()).unwrap());
}
