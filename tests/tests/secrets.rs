//! What is left of secrets in the memory of a process that had them.
//!
//! The test starts itself anew as a child in which two endpoints live through a session, and reads
//! the child's memory from outside: while the session is open, when its keys must be found, and
//! after the end of both endpoints, when nothing may be found.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "tests")]

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio};

use burdock_core::crypto::{dh, hash, hkdf2, hkdf3, hmac, public_key};
use burdock_core::noise::PROTOCOL;
use burdock_core::update::UpdateKind;
use burdock_core::wire::packet::{self, Packet};
use burdock_core::{
    AcceptPolicy, Action, Config, Endpoint, Event, Identity, Invite, Link, NetError, PublicKey, SessionId, StreamId,
    Time, Transport,
};
use bytes::Bytes;
use zeroize::Zeroizing;

const CHILD: &str = "BURDOCK_MEMORY_CHILD";
/// The child gets its secrets masked, so that no buffer of its input holds them.
const MASK: u8 = 0x5a;
const INVITE: [u8; 8] = [7; 8];
const LATENCY: Duration = Duration::from_millis(10);

/// The secrets of a run: two identities, two seeds, and what the invite holds.
type Secrets = [Box<Zeroizing<[u8; 32]>>; 5];

enum Wire {
    Datagram(Vec<u8>),
    Connect(StreamId),
    Bytes(StreamId, Vec<u8>),
    Closed(StreamId),
}

struct Side {
    endpoint: Endpoint,
    addr: SocketAddr,
    session: Option<SessionId>,
    resumed: u32,
    closed: bool,
    taken: u32,
    /// Our end of a stream, and the other side's.
    ends: BTreeMap<StreamId, StreamId>,
}

/// Two endpoints and a perfect network between them.
struct Life {
    now: Time,
    sides: [Side; 2],
    flying: VecDeque<(Time, usize, Wire)>,
    udp: bool,
    tcp: bool,
    /// Every packet that crossed the wire, when it is wanted.
    record: Option<Vec<Vec<u8>>>,
}

impl Life {
    fn new(secrets: &Secrets, record: bool) -> Self {
        let [one, other, one_seed, other_seed, invite] = secrets;
        let side = |n: u8, secret: &[u8; 32], seed: &[u8; 32]| Side {
            endpoint: Endpoint::new(Config::streamer(), Identity::from_bytes(*secret), *seed).unwrap(),
            addr: SocketAddr::from(([192, 0, 2, n], 1000)),
            session: None,
            resumed: 0,
            closed: false,
            taken: 0,
            ends: BTreeMap::new(),
        };
        let mut life = Self {
            now: Time::from_micros(1_000_000),
            sides: [side(1, one, one_seed), side(2, other, other_seed)],
            flying: VecDeque::new(),
            udp: true,
            tcp: true,
            record: record.then(Vec::new),
        };
        life.sides[1].endpoint.set_accept(AcceptPolicy::nobody().invite(INVITE, ***invite));
        let link = Link::direct(life.sides[1].endpoint.public_key(), life.sides[1].addr)
            .with_invite(Invite::new(INVITE, ***invite));
        life.sides[0].session = Some(life.sides[0].endpoint.connect(life.now, &link).unwrap());
        life.drain(0);
        life
    }

    /// Connects by UDP, changes to TCP and back, is cut off and resumes.
    fn live(&mut self) {
        self.exchange();
        self.udp = false;
        self.exchange();
        assert_eq!(self.transport(), Some(Transport::Tcp));
        self.udp = true;
        self.run(Duration::from_secs(15));
        self.exchange();
        assert_eq!(self.transport(), Some(Transport::Udp));
        (self.udp, self.tcp) = (false, false);
        self.send();
        self.run(Duration::from_secs(20));
        (self.udp, self.tcp) = (true, true);
        self.exchange();
        assert!(self.sides.iter().all(|side| side.resumed == 1), "resumed once");
        // Handshakes that were never answered are forgotten by then.
        self.run(Duration::from_secs(60));
    }

    fn close(&mut self) {
        let session = self.sides[0].session.unwrap();
        self.sides[0].endpoint.close(self.now, session, "bye");
        self.drain(0);
        self.run(Duration::from_secs(10));
        assert!(self.sides.iter().all(|side| side.closed));
    }

    fn transport(&self) -> Option<Transport> {
        self.sides[0].endpoint.status(self.now, self.sides[0].session?)?.transport
    }

    fn send(&mut self) {
        for n in [0, 1] {
            if let Some(session) = self.sides[n].session {
                self.sides[n].endpoint.send(self.now, session, 0, Bytes::from_static(&[7; 3000])).unwrap();
                self.drain(n);
            }
        }
    }

    fn exchange(&mut self) {
        self.run(Duration::from_secs(1));
        self.send();
        let before = [0, 1].map(|n: usize| self.sides[n].taken);
        self.run(Duration::from_secs(45));
        assert!([0, 1].iter().all(|n| self.sides[*n].taken > before[*n]), "messages arrive");
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let wire = self.flying.front().map(|(at, ..)| *at);
            let timers = [0, 1].map(|n: usize| self.sides[n].endpoint.poll_timeout().map(|(at, _)| at));
            let Some(next) = wire.into_iter().chain(timers.into_iter().flatten()).min().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            if wire.is_some_and(|at| at <= self.now) {
                let (_, to, wire) = self.flying.pop_front().unwrap();
                self.deliver(to, wire);
                self.drain(to);
            } else {
                for n in [0, 1] {
                    self.sides[n].endpoint.handle(self.now, Event::Tick);
                    self.drain(n);
                }
            }
        }
        self.now = end;
    }

    fn deliver(&mut self, to: usize, wire: Wire) {
        let from = self.sides[1 - to].addr;
        let [near, far] = self.sides.get_disjoint_mut([to, 1 - to]).unwrap();
        match wire {
            Wire::Datagram(mut data) => near.endpoint.handle(self.now, Event::Datagram { from, data: &mut data }),
            Wire::Connect(theirs) => {
                let ours = near.endpoint.stream_accepted(self.now, from).unwrap();
                near.ends.insert(ours, theirs);
                far.ends.insert(theirs, ours);
                far.endpoint.handle(self.now, Event::StreamOpened { stream: theirs });
                self.drain(1 - to);
            }
            Wire::Bytes(stream, mut data) => {
                near.endpoint.handle(self.now, Event::StreamData { stream, data: &mut data });
            }
            Wire::Closed(stream) => {
                near.ends.remove(&stream);
                near.endpoint.handle(self.now, Event::StreamClosed { stream, error: Some(NetError::Reset) });
            }
        }
    }

    fn post(&mut self, to: usize, wire: Wire) {
        self.flying.push_back((self.now + LATENCY, to, wire));
    }

    fn drain(&mut self, n: usize) {
        let mut buf = Vec::new();
        while let Some(action) = self.sides[n].endpoint.poll_action(self.now, &mut buf) {
            match action {
                Action::Transmit { .. } if self.udp => {
                    self.note(&buf);
                    self.post(1 - n, Wire::Datagram(buf.clone()));
                }
                Action::Transmit { .. } => {}
                Action::OpenStream { stream, .. } if self.tcp => self.post(1 - n, Wire::Connect(stream)),
                Action::OpenStream { stream, .. } => self.post(n, Wire::Closed(stream)),
                Action::WriteStream { stream } => {
                    // A handshake packet is written alone.
                    self.note(&buf[2..]);
                    if let Some(end) = self.sides[n].ends.get(&stream).copied().filter(|_| self.tcp) {
                        self.post(1 - n, Wire::Bytes(end, buf.clone()));
                    }
                    self.sides[n].endpoint.handle(self.now, Event::StreamWritten { stream, len: buf.len() });
                }
                Action::CloseStream { stream } => {
                    if let Some(end) = self.sides[n].ends.remove(&stream) {
                        self.post(1 - n, Wire::Closed(end));
                    }
                }
                Action::Update { session, update } => match update.kind {
                    UpdateKind::Connected { .. } => self.sides[n].session = Some(session),
                    UpdateKind::Resumed { .. } => self.sides[n].resumed += 1,
                    UpdateKind::Closed { .. } => self.sides[n].closed = true,
                    UpdateKind::Message => {
                        while self.sides[n].endpoint.recv(session).is_some() {
                            self.sides[n].taken += 1;
                        }
                        self.sides[n].endpoint.taken(self.now, session);
                    }
                    _ => {}
                },
                Action::Resolve { .. } | Action::Router { .. } => panic!("no names and no router here"),
            }
        }
    }

    fn note(&mut self, packet: &[u8]) {
        if let Some(record) = &mut self.record {
            record.push(packet.to_vec());
        }
    }
}

/// Says how far it is, and waits until the memory has been read.
fn pause(stage: &str) {
    eprintln!("{stage}");
    std::io::stdin().read_exact(&mut [0]).unwrap();
}

fn child() {
    let mut masked = [0; 160];
    std::io::stdin().read_exact(&mut masked).unwrap();
    let secrets: Secrets = core::array::from_fn(|n| {
        let mut secret = Box::new(Zeroizing::new([0; 32]));
        secret.iter_mut().zip(&masked[n * 32..]).for_each(|(byte, masked)| *byte = masked ^ MASK);
        secret
    });
    let mut life = Life::new(&secrets, false);
    drop(secrets);
    life.run(Duration::from_millis(100));
    pause("connected");
    life.live();
    pause("open");
    life.close();
    drop(life);
    pause("over");
}

/// Secrets to be looked for, by name.
#[derive(Default)]
struct Needles {
    known: BTreeMap<String, [u8; 32]>,
    /// Handshakes whose answer was seen.
    handshakes: usize,
}

impl Needles {
    fn add(&mut self, name: impl Into<String>, secret: &[u8; 32]) {
        self.known.insert(name.into(), *secret);
    }

    /// What follows from the secrets and the packets of the same life.
    fn derive(secrets: &Secrets, record: &[Vec<u8>]) -> Self {
        let mut needles = Self::default();
        let names = ["identity 0", "identity 1", "seed 0", "seed 1", "invite"];
        for (name, secret) in names.iter().zip(secrets) {
            needles.add(*name, secret);
        }
        let mut ephemerals = HashMap::new();
        for (n, seed) in secrets[2..4].iter().enumerate() {
            let mut state = hash(&[b"burdock seed", b"keys", &***seed]);
            for draw in 0..64 {
                needles.add(format!("generator {n} before draw {draw}"), &state);
                let [next, drawn] = hkdf2(&state, b"burdock key");
                needles.add(format!("draw {draw} of {n}"), &drawn);
                ephemerals.insert(*public_key(&drawn).as_bytes(), *drawn);
                state = *next;
            }
        }
        let mut inits = BTreeMap::new();
        for packet in record {
            match packet::parse(packet) {
                Ok(Packet::Init(init)) => drop(inits.insert(init.header.sender, *init.ephemeral())),
                Ok(Packet::Resp(resp)) => {
                    let answer: [u8; 32] = *resp.noise.first_chunk().unwrap();
                    let asked = inits[&resp.receiver];
                    needles.handshake(secrets, &ephemerals, asked, answer);
                }
                _ => {}
            }
        }
        needles
    }

    /// All secrets of one handshake (Noise §7.5, IKpsk2), without the library's own handshake.
    fn handshake(&mut self, all: &Secrets, ephemerals: &HashMap<[u8; 32], [u8; 32]>, e1: [u8; 32], e2: [u8; 32]) {
        let secret1 = ephemerals[&e1];
        assert!(ephemerals.contains_key(&e2), "every ephemeral key is drawn from the seeds");
        let (s1, s2) = (&all[0], public_key(&all[1]));
        let key = PublicKey::from;
        let shared =
            [dh(&secret1, &s2), dh(s1, &s2), dh(&secret1, &key(e2)), dh(s1, &key(e2))].map(|shared| *shared.unwrap());
        let psk = **all[4];
        let n = self.handshakes;
        self.handshakes += 1;
        let mut chaining = hash(&[PROTOCOL.as_bytes()]);
        chaining = *hkdf2(&chaining, &e1)[0];
        let mix = |this: &mut Self, chaining: &mut [u8; 32], name: &str, input: &[u8; 32]| {
            this.add(format!("handshake {n}: temporary key after {name}"), &hmac(chaining, &[input]));
            let [next, key] = hkdf2(chaining, input);
            this.add(format!("handshake {n}: chaining key after {name}"), &next);
            this.add(format!("handshake {n}: key after {name}"), &key);
            *chaining = *next;
        };
        for (name, shared) in ["es", "ss", "ee", "se"].iter().zip(&shared) {
            self.add(format!("handshake {n}: {name}"), shared);
        }
        mix(self, &mut chaining, "es", &shared[0]);
        mix(self, &mut chaining, "ss", &shared[1]);
        mix(self, &mut chaining, "e", &e2);
        mix(self, &mut chaining, "ee", &shared[2]);
        mix(self, &mut chaining, "se", &shared[3]);
        self.add(format!("handshake {n}: temporary key after psk"), &hmac(&chaining, &[&psk]));
        let [last, _, key] = hkdf3(&chaining, &psk);
        self.add(format!("handshake {n}: chaining key after psk"), &last);
        self.add(format!("handshake {n}: key after psk"), &key);
        let [first, second] = hkdf2(&last, &[]);
        self.add(format!("handshake {n}: transport key out"), &first);
        self.add(format!("handshake {n}: transport key in"), &second);
    }

    /// Where a piece of a secret lies in what a process may write: its heap, stacks and data.
    fn search(&self, process: u32) -> BTreeMap<String, String> {
        // Each 8 bytes of a secret, at any address: half a secret, or what a register spilled, counts.
        let mut pieces = HashMap::new();
        let mut seen = vec![false; 1 << 16];
        for (name, secret) in &self.known {
            for (place, piece) in secret.chunks_exact(8).enumerate() {
                let piece = u64::from_le_bytes(piece.try_into().unwrap());
                seen[(piece & 0xffff) as usize] = true;
                pieces.insert(piece, (name, place));
            }
        }
        let memory = File::open(format!("/proc/{process}/mem")).unwrap();
        let mut found = BTreeMap::new();
        let mut searched = 0;
        for line in fs::read_to_string(format!("/proc/{process}/maps")).unwrap().lines() {
            let fields: Vec<_> = line.split_whitespace().collect();
            if !fields[1].starts_with("rw") {
                continue;
            }
            let (from, to) = fields[0].split_once('-').unwrap();
            let [from, to] = [from, to].map(|address| u64::from_str_radix(address, 16).unwrap());
            let mut bytes = vec![0; (to - from) as usize];
            memory.read_exact_at(&mut bytes, from).unwrap();
            searched += bytes.len();
            for (at, window) in bytes.windows(8).enumerate() {
                let word = u64::from_le_bytes(window.try_into().unwrap());
                if seen[(word & 0xffff) as usize]
                    && let Some((name, place)) = pieces.get(&word)
                {
                    let area = fields.get(5).unwrap_or(&"memory");
                    let at = from + at as u64;
                    found.insert((*name).clone(), format!("bytes from {} on at {at:x} in {area}", place * 8));
                }
            }
        }
        assert!(searched > 100_000, "{searched} bytes are no process");
        found
    }
}

/// The child, stopped at a stage.
struct Stopped {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStderr>>,
}

impl Stopped {
    fn wait_for(&mut self, stage: &str) {
        let mut said = Vec::new();
        for line in self.lines.by_ref() {
            let line = line.unwrap();
            if line == stage {
                return;
            }
            said.push(line);
        }
        panic!("the child never came to {stage:?}: {said:#?}");
    }

    fn go_on(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(&[0]).unwrap();
    }
}

// Mutation: `crypto::stack::wiped` without the call of `wipe` makes this fail, and so does a `Secret` without `Zeroizing`.
#[test]
fn i2_no_secret_is_left_in_memory_after_close() {
    if std::env::var_os(CHILD).is_some() {
        return child();
    }
    let secrets: Secrets = core::array::from_fn(|_| {
        let mut secret = [0; 32];
        File::open("/dev/urandom").unwrap().read_exact(&mut secret).unwrap();
        Box::new(Zeroizing::new(secret))
    });
    // The same life in this process tells what crossed the wire in the other.
    let mut life = Life::new(&secrets, true);
    life.live();
    life.close();
    let needles = Needles::derive(&secrets, &life.record.unwrap());
    assert!(needles.handshakes >= 4, "UDP, TCP, UDP again and a resume: {}", needles.handshakes);

    let name = "i2_no_secret_is_left_in_memory_after_close";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let masked: Vec<u8> = secrets.iter().flat_map(|secret| secret.iter().map(|byte| byte ^ MASK)).collect();
    child.stdin.as_mut().unwrap().write_all(&masked).unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut stopped = Stopped { child, lines };

    // What is in use must be found, or the search would find nothing anywhere; nothing else may be.
    for (stage, handshake) in [("connected", 0), ("open", needles.handshakes - 1)] {
        stopped.wait_for(stage);
        let mut found = needles.search(stopped.child.id());
        let keys = ["out", "in"].map(|way| format!("handshake {handshake}: transport key {way}"));
        for name in ["identity 0", "identity 1", "invite"].map(String::from).into_iter().chain(keys) {
            assert!(found.remove(&name).is_some(), "{stage}: {name} is in use and not found: {found:#?}");
        }
        // Each endpoint's generator has one state, which leads to no key drawn before.
        for n in [0, 1] {
            let state = found.keys().find(|name| name.starts_with(&format!("generator {n}"))).cloned();
            assert!(state.is_some_and(|state| found.remove(&state).is_some()), "{stage}: generator {n}: {found:#?}");
        }
        assert!(found.is_empty(), "{stage}: used up and still in memory: {found:#?}");
        stopped.go_on();
    }
    stopped.wait_for("over");
    let left = needles.search(stopped.child.id());
    stopped.go_on();
    assert!(stopped.child.wait().unwrap().success());
    assert!(left.is_empty(), "left in memory: {left:#?}");
    burdock_ledger::reached("I2", "secrets found in memory after close", u32::try_from(left.len()).unwrap());
}
