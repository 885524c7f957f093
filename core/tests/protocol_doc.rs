//! `docs/protocol.md` and `docs/vectors.json` say what the code does.

#![allow(clippy::unwrap_used, reason = "clippy.toml allows it in tests, but not in what they share")]

use core::time::Duration;
use std::path::PathBuf;

use burdock_core::crypto::{AeadKey, dh, hash, hkdf2, hkdf3, mac, mac1, public_key};
use burdock_core::noise::{Initiator, PROTOCOL, Responder};
use burdock_core::seal::{self, Opener, Order, Sealer};
use burdock_core::wire::frame::{AckRanges, Frame, Frames, MAX_ACK_RANGES, MAX_FINALS, MAX_REASON, Scope};
use burdock_core::wire::packet::{self, InitHeader, Packet};
use burdock_core::wire::payload::{self, HelloInit, HelloResp, PeerLimits, Verdict};
use burdock_core::{Class, Code, Config, I2p, Identity, Invite, Limits, Link, MAX_LINK, Transport, carrier};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use zeroize::Zeroizing;

fn read(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The cells of the rows of all tables under one heading, without the tables' heads.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let page = read("../docs/protocol.md");
    let section = page.split("\n## ").find(|section| section.starts_with(heading));
    let section = section.unwrap_or_else(|| panic!("docs/protocol.md has no section \"{heading}\""));
    let mut rows: Vec<Vec<String>> = Vec::new();
    for line in section.lines().filter(|line| line.starts_with('|')) {
        if line.starts_with("| ---") {
            rows.pop();
        } else {
            rows.push(line.trim_matches('|').split(" | ").map(|cell| cell.trim().replace('`', "")).collect());
        }
    }
    rows
}

// Mutation: another number for `GaveUp` in `code.rs` makes this fail.
#[test]
fn the_codes_are_those_of_the_page() {
    let found: Vec<_> = rows("Codes").into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    let expected: Vec<_> = Code::ALL.iter().map(|code| (code.number().to_string(), code.name().to_owned())).collect();
    assert_eq!(found, expected);
}

fn every_frame() -> Vec<(&'static str, Frame<'static>)> {
    let ranges: AckRanges = [(7, 9), (5, 5), (0, 2)].into_iter().collect();
    vec![
        ("PAD", Frame::Pad),
        ("PING", Frame::Ping),
        ("ACK", Frame::Ack { epoch: 0xa1a2_a3a4, delay_us: 1500, ranges }),
        ("CONFIRM", Frame::Confirm),
        ("CHANNEL_ACK", Frame::ChannelAck { channel: 3, received: 300, taken: 70 }),
        ("CREDIT_SESSION", Frame::Credit { scope: Scope::Session, offset: 4_194_310 }),
        ("CREDIT_CHANNEL", Frame::Credit { scope: Scope::Channel(3), offset: 1_048_582 }),
        ("STREAM", Frame::Stream { channel: 3, offset: 64, data: b"\x05hello" }),
        ("DGRAM", Frame::Datagram { channel: 1, message: 2, total: 5, offset: 0, ttl_ms: 100, data: b"hello" }),
        ("CHALLENGE", Frame::Challenge(*b"12345678")),
        ("RESPONSE", Frame::Response(*b"12345678")),
        ("USE_PATH", Frame::UsePath { switch_no: 1, epoch: 0xa1a2_a3a4 }),
        ("PATH_CLOSE", Frame::PathClose { epoch: 0xa1a2_a3a4, code: Code::Silent.number() }),
        ("CLOSE", Frame::Close { code: 0, finals: [(3, 70)].into_iter().collect(), reason: "bye" }),
        ("CLOSE_ACK", Frame::CloseAck),
    ]
}

// Mutation: `STREAM: u8 = 0x09` in `wire/frame.rs` makes this fail.
#[test]
fn the_frame_types_are_those_of_the_page() {
    let found: Vec<_> =
        rows("Frames").into_iter().filter(|row| row[0].starts_with("0x")).map(|row| row[..3].to_vec()).collect();
    let expected: Vec<_> = every_frame()
        .into_iter()
        .map(|(name, frame)| {
            let mut bytes = Vec::new();
            frame.encode(&mut bytes);
            let asks = if frame.is_ack_eliciting() { "yes" } else { "no" };
            vec![format!("{:#04x}", bytes[0]), name.to_owned(), asks.to_owned()]
        })
        .collect();
    assert_eq!(found, expected);
}

fn amount(value: u64) -> String {
    let digits = value.to_string();
    let head = digits.len() % 3;
    let mut groups: Vec<&str> = Vec::new();
    if head > 0 {
        groups.push(&digits[..head]);
    }
    groups.extend((head..digits.len()).step_by(3).map(|at| &digits[at..at + 3]));
    groups.join(",")
}

fn time(value: Duration) -> String {
    let ms = u64::try_from(value.as_millis()).expect("a short time");
    if ms >= 1000 && ms.is_multiple_of(1000) {
        format!("{} s", amount(ms / 1000))
    } else {
        format!("{} ms", amount(ms))
    }
}

/// Constants inside the crate: file, declaration, name and value on the page.
const PRIVATE: &[(&str, &str, &str, &str)] = &[
    ("replay.rs", "WINDOW: u64 = 8192;", "replay window", "8,192"),
    ("channel/mod.rs", "MAX_UNTAKEN: usize = 65_536;", "untaken messages", "65,536"),
    ("channel/mod.rs", "MAX_PREFIX: u64 = 8;", "longest message prefix", "8"),
    ("channel/recv.rs", "SESSION_GAPS: usize = 4;", "gaps of a session, times those of a channel", "4"),
    ("recovery/mod.rs", "MAX_ACK_DELAY: Duration = Duration::from_millis(25);", "longest ACK delay", "25 ms"),
    ("recovery/mod.rs", "GRANULARITY: Duration = Duration::from_millis(1);", "timer granularity", "1 ms"),
    ("recovery/rtt.rs", "INITIAL: u64 = 333_000;", "initial round trip", "333 ms"),
    ("recovery/loss.rs", "PACKET_THRESHOLD: u64 = 3;", "packet threshold", "3"),
    ("recovery/loss.rs", "PROBES: u8 = 2;", "packets of a probe", "2"),
    ("recovery/loss.rs", "MAX_PTO: Duration = Duration::from_secs(10);", "longest PTO", "10 s"),
    ("session/address.rs", "AMPLIFICATION: u64 = 3;", "bytes to a candidate per byte from it", "3"),
    ("session/address.rs", "PATIENCE: u32 = 3;", "life of a candidate", "3"),
    ("session/takeover.rs", "TOLERATED: usize = 3;", "replaced halves remembered", "4"),
    ("session/handshakes.rs", "RESEND_FIRST: Duration = Duration::from_secs(1);", "first INIT resend", "1 s"),
    ("session/handshakes.rs", "RESEND_CAP: Duration = Duration::from_secs(16);", "longest INIT resend", "16 s"),
    ("session/dial.rs", "LATE_HANDSHAKES: usize = 3;", "late handshakes kept", "3"),
    ("session/dial.rs", "LATE_LIFE: Duration = Duration::from_secs(60);", "life of a late handshake", "60 s"),
    ("session/handshakes.rs", "MAX_BAD_ANSWERS: u8 = 8;", "bad RESPs read per handshake", "8"),
    ("door/cookie.rs", "ROTATION: Duration = Duration::from_secs(120);", "cookies from one secret", "120 s"),
    ("door/cookie.rs", "SECRET_LIFE: Duration = Duration::from_secs(240);", "life of such a secret", "240 s"),
    ("door/cookie.rs", "COOKIE_LIFE: Duration = Duration::from_secs(120);", "use of a cookie", "120 s"),
    ("door/cookie.rs", "MAX_TRIES: u8 = 8;", "COOKIEs looked at per INIT sent", "8"),
    // In quarters of the key life.
    ("session/renew.rs", "RENEW_RESPONDER: u32 = 5;", "renewal by the responder", "150 s"),
    ("session/renew.rs", "SEAL_LIMIT: u32 = 6;", "last sealing", "180 s"),
    ("session/renew.rs", "OPEN_LIMIT: u32 = 18;", "keys wiped", "540 s"),
    ("seal.rs", "WORN_NUMBER: u64 = 1 << 60;", "renewal by number", "2^60"),
    ("seal.rs", "FORGERY_LIMIT: u64 = 1 << 36;", "forgeries borne", "2^36"),
    ("session/mod.rs", "MAX_KEEP: Duration = Duration::from_secs(3600);", "longest keep time", "3,600 s"),
    (
        "session/switch.rs",
        "UPGRADE_FIRST: Duration = Duration::from_secs(1);",
        "first try at a better transport",
        "1 s",
    ),
    ("session/switch.rs", "UPGRADE_CAP: Duration = Duration::from_secs(60);", "longest wait for such a try", "60 s"),
];

// Mutation: `PACKET_THRESHOLD: u64 = 4` in `recovery/loss.rs` makes this fail.
#[test]
fn the_constants_are_those_of_the_page() {
    let Limits { max_message, session_credit, channel_credit, gaps, .. } = Limits::default();
    let limits = Limits::default();
    let config = Config::streamer();
    let mut expected = vec![
        ("version", amount(packet::VERSION.into())),
        ("handshake packet on UDP", amount(packet::UDP_HANDSHAKE_LEN as u64)),
        ("payload 1 on UDP", amount(payload::INIT_PAYLOAD_LEN as u64)),
        ("payload 2 on UDP", amount(payload::RESP_PAYLOAD_LEN as u64)),
        ("longest packet", amount(packet::MAX_STREAM_PACKET as u64)),
        ("shortest packet on a stream", amount(carrier::MIN_PACKET as u64)),
        ("DATA overhead", amount(packet::DATA_OVERHEAD as u64)),
        ("COOKIE", amount(packet::COOKIE_LEN as u64)),
        ("first unusable number", if seal::NUMBER_LIMIT == (1 << 62) - 8192 { "2^62 - 8,192" } else { "?" }.to_owned()),
        ("versions named", amount(payload::MAX_VERSIONS as u64)),
        ("ACK ranges", amount(MAX_ACK_RANGES as u64)),
        ("final offsets", amount(MAX_FINALS as u64)),
        ("reason", amount(MAX_REASON as u64)),
        ("link", amount(MAX_LINK as u64)),
        ("max_message", amount(max_message.into())),
        ("session credit", amount(session_credit.into())),
        ("channel credit", amount(channel_credit.into())),
        ("gaps of a channel", amount(gaps as u64)),
        ("paths of a session", amount(limits.paths as u64)),
        ("unconfirmed handshakes", amount(limits.half_open as u64)),
        ("unconfirmed handshakes of one source", amount(limits.half_open_per_source as u64)),
        ("INITs a second of one source", amount(limits.source_rate.into())),
        ("INITs without a cookie a second", amount(limits.unproven_rate.into())),
        ("unconfirmed streams", amount(limits.unproven_streams as u64)),
        ("unconfirmed streams of one source", amount(limits.unproven_streams_per_source as u64)),
        ("packet on a stream, from its first byte", time(limits.frame_deadline)),
        ("handshake deadline", time(limits.handshake_deadline)),
        ("handshake deadline over I2P", time(I2p::default().handshake_deadline)),
        ("tombstone", time(limits.tombstone_life)),
        ("silence", time(config.silence)),
        ("close deadline", time(config.close_deadline)),
        ("keep time", time(config.keep)),
        ("renewal by the initiator", time(config.key_life)),
    ];
    for (file, declaration, name, value) in PRIVATE {
        assert!(read(&format!("src/{file}")).contains(declaration), "{file} has another value than {declaration}");
        expected.push((name, (*value).to_owned()));
    }
    let mut expected: Vec<_> = expected.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let mut found: Vec<_> = rows("Constants").into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

/// The handshake as the page spells it, from the primitives alone.
struct Spec {
    chaining: [u8; 32],
    hash: [u8; 32],
    key: [u8; 32],
    steps: Vec<Value>,
}

impl Spec {
    fn new(prologue: &[u8], responder: &[u8; 32]) -> Self {
        let mut start = [0; 32];
        match start.get_mut(..PROTOCOL.len()) {
            Some(place) => place.copy_from_slice(PROTOCOL.as_bytes()),
            None => start = hash(&[PROTOCOL.as_bytes()]),
        }
        let mut this = Self { chaining: start, hash: start, key: [0; 32], steps: Vec::new() };
        this.note("start");
        this.mix_hash("MixHash(prologue)", prologue);
        this.mix_hash("MixHash(rs)", responder);
        this
    }

    fn note(&mut self, step: &str) {
        let [ck, h] = [&self.chaining, &self.hash].map(|bytes| HEXLOWER.encode(bytes));
        self.steps.push(json!({ "after": step, "ck": ck, "h": h, "k": HEXLOWER.encode(&self.key) }));
    }

    fn mix_hash(&mut self, step: &str, data: &[u8]) {
        self.hash = hash(&[&self.hash, data]);
        self.note(step);
    }

    fn mix_key(&mut self, step: &str, input: &[u8]) {
        let [chaining, key] = hkdf2(&self.chaining, input);
        (self.chaining, self.key) = (*chaining, *key);
        self.note(step);
    }

    fn mix_psk(&mut self, psk: &[u8; 32]) {
        let [chaining, data, key] = hkdf3(&self.chaining, psk);
        self.hash = hash(&[&self.hash, data.as_slice()]);
        (self.chaining, self.key) = (*chaining, *key);
        self.note("psk");
    }

    /// Each key of this pattern encrypts one thing, under the number 0.
    fn encrypt(&mut self, step: &str, plaintext: &[u8]) -> Vec<u8> {
        let mut out = plaintext.to_vec();
        let tag = AeadKey::new(&self.key).seal(0, &self.hash, &mut out);
        out.extend_from_slice(&tag);
        self.mix_hash(step, &out);
        out
    }
}

struct Case {
    transport: Transport,
    psk: [u8; 32],
    invite: [u8; 8],
    keep_s: Option<u32>,
}

const INITIATOR: [u8; 32] = [0x11; 32];
const RESPONDER: [u8; 32] = [0x22; 32];
const INITIATOR_EPHEMERAL: [u8; 32] = [0x33; 32];
const RESPONDER_EPHEMERAL: [u8; 32] = [0x44; 32];
const INITIATOR_INDEX: u32 = 0x0102_0304;
const RESPONDER_INDEX: u32 = 0x0506_0708;

fn limits() -> PeerLimits {
    let Limits { max_message, session_credit, channel_credit, .. } = Limits::default();
    let versions = [packet::VERSION].into_iter().collect();
    PeerLimits { features: 0, max_message, session_credit, channel_credit, max_packet: 16_384, versions }
}

fn sealed(sealer: &mut Sealer, receiver: u32, plaintext: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; seal::HEADER_LEN];
    packet.extend_from_slice(plaintext);
    sealer.seal(receiver, &mut packet, 0).expect("a first number");
    packet
}

/// Runs one handshake by the shipped code and by the page, and returns what both agree on.
fn run(case: &Case) -> Value {
    let [initiator, responder] = [INITIATOR, RESPONDER].map(Identity::from_bytes);
    let (our_key, their_key) = (initiator.public_key(), responder.public_key());
    let [e1, e2] = [INITIATOR_EPHEMERAL, RESPONDER_EPHEMERAL].map(Zeroizing::new);
    let (e1_public, e2_public) = (public_key(&e1), public_key(&e2));
    let padded = |len| if case.transport.is_stream() { 0 } else { len };

    let hello = HelloInit {
        my_half: 0x1011_1213_1415_1617,
        your_half: 0,
        dial_no: 1,
        renews: 0,
        invite: case.invite,
        limits: limits(),
        keep_s: case.keep_s,
    };
    let mut payload1 = Vec::new();
    hello.encode(padded(payload::INIT_PAYLOAD_LEN), &mut payload1);
    let header = InitHeader { class: Class::Open, transport: case.transport, sender: INITIATOR_INDEX };
    let prologue = packet::prologue(&header.to_bytes());
    let mut init = Vec::new();
    let start = packet::begin_init(header, &mut init);
    let waiting =
        Initiator::start(&initiator, &their_key, &case.psk, &prologue, e1.clone(), &payload1, &mut init).unwrap();
    packet::finish_init(&mut init, start, |before| mac1(&their_key, before));

    let Ok(Packet::Init(parsed)) = packet::parse(&init) else { panic!("an INIT") };
    let read = Responder::read(&responder, &packet::prologue(&parsed.header_bytes), parsed.noise).unwrap();
    assert_eq!(HelloInit::decode(read.payload()), Ok(hello.clone()));
    let answer = HelloResp {
        index: RESPONDER_INDEX,
        receiver: INITIATOR_INDEX,
        my_half: 0x2021_2223_2425_2627,
        your_half: hello.my_half,
        dial_no: 1,
        verdict: Verdict::New,
        version: packet::VERSION,
        limits: limits(),
    };
    let mut payload2 = Vec::new();
    answer.encode(padded(payload::RESP_PAYLOAD_LEN), &mut payload2);
    let mut resp = Vec::new();
    packet::begin_resp(INITIATOR_INDEX, &mut resp);
    let theirs = read.reply(&case.psk, e2.clone(), &payload2, &mut resp).unwrap();
    let mut opened = Vec::new();
    let ours = waiting.read(&resp[8..], &mut opened).unwrap();
    assert_eq!(HelloResp::decode(&opened), Ok(answer));
    assert_eq!(ours.hash, theirs.hash);
    let handshake_hash = ours.hash;

    let mut spec = Spec::new(&prologue, their_key.as_bytes());
    let mut by_page = header.to_bytes().to_vec();
    by_page.extend_from_slice(e1_public.as_bytes());
    spec.mix_hash("e: MixHash(e.public)", e1_public.as_bytes());
    spec.mix_key("e: MixKey(e.public)", e1_public.as_bytes());
    spec.mix_key("es", dh(&e1, &their_key).unwrap().as_slice());
    by_page.extend(spec.encrypt("s", our_key.as_bytes()));
    spec.mix_key("ss", dh(&INITIATOR, &their_key).unwrap().as_slice());
    by_page.extend(spec.encrypt("payload 1", &payload1));
    let mac1_key = hash(&[b"burdock mac1", their_key.as_bytes()]);
    by_page.extend(mac(&mac1_key, &[&by_page]));
    by_page.extend([0; 16]);
    assert_eq!(by_page, init);

    let mut by_page = vec![0x09, 0x01, 0, 0];
    by_page.extend(INITIATOR_INDEX.to_be_bytes());
    by_page.extend_from_slice(e2_public.as_bytes());
    spec.mix_hash("e: MixHash(e.public)", e2_public.as_bytes());
    spec.mix_key("e: MixKey(e.public)", e2_public.as_bytes());
    spec.mix_key("ee", dh(&e2, &e1_public).unwrap().as_slice());
    spec.mix_key("se", dh(&e2, &our_key).unwrap().as_slice());
    spec.mix_psk(&case.psk);
    by_page.extend(spec.encrypt("payload 2", &payload2));
    assert_eq!(by_page, resp);
    assert_eq!(spec.hash, handshake_hash);
    let [k1, k2] = hkdf2(&spec.chaining, &[]);

    let mut plain1 = Vec::new();
    Frame::Confirm.encode(&mut plain1);
    Frame::Stream { channel: 0, offset: 0, data: b"\x05hello" }.encode(&mut plain1);
    let mut plain2 = Vec::new();
    let ranges = [(0, 0)].into_iter().collect();
    Frame::Ack { epoch: INITIATOR_INDEX, delay_us: 1500, ranges }.encode(&mut plain2);
    Frame::ChannelAck { channel: 0, received: 6, taken: 6 }.encode(&mut plain2);
    let data1 = sealed(&mut Sealer::new(ours.send), RESPONDER_INDEX, &plain1);
    let data2 = sealed(&mut Sealer::new(theirs.send), INITIATOR_INDEX, &plain2);
    let by_page = sealed(&mut Sealer::new(AeadKey::new(&k1)), RESPONDER_INDEX, &plain1);
    assert_eq!(by_page, data1);
    let opened = Opener::new(ours.recv, Order::Strict).open(&mut data2.clone()).unwrap().plaintext.to_vec();
    assert_eq!(opened, plain2);
    let opened = Opener::new(AeadKey::new(&k2), Order::Window).open(&mut data2.clone()).unwrap().plaintext.to_vec();
    assert_eq!(opened, plain2);

    let hex = |bytes: &[u8]| HEXLOWER.encode(bytes);
    json!({
        "transport": case.transport.name(),
        "invite_id": hex(&case.invite),
        "psk": hex(&case.psk),
        "prologue": hex(&prologue),
        "payload1": hex(&payload1),
        "init": hex(&init),
        "payload2": hex(&payload2),
        "resp": hex(&resp),
        "steps": spec.steps,
        "key_initiator_to_responder": hex(k1.as_slice()),
        "key_responder_to_initiator": hex(k2.as_slice()),
        "handshake_hash": hex(&handshake_hash),
        "data_from_initiator": { "number": 0, "frames": hex(&plain1), "packet": hex(&data1) },
        "data_from_responder": { "number": 0, "frames": hex(&plain2), "packet": hex(&data2) },
    })
}

fn frames() -> Value {
    let frames = every_frame().into_iter().map(|(name, frame)| {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        assert_eq!(Frames::new(&bytes).collect::<Result<Vec<_>, _>>(), Ok(vec![frame.clone()]));
        json!({ "frame": name, "says": format!("{frame:?}"), "bytes": HEXLOWER.encode(&bytes) })
    });
    frames.collect()
}

fn varints() -> Value {
    let values = [0, 63, 64, 16_383, 16_384, (1 << 30) - 1, 1 << 30, (1 << 62) - 1];
    let varints = values.into_iter().map(|value: u64| {
        let mut bytes = Vec::new();
        burdock_core::wire::varint::put_varint(&mut bytes, value);
        json!({ "value": value, "bytes": HEXLOWER.encode(&bytes) })
    });
    varints.collect()
}

// Mutation: `*b"burdick..."` in `packet::prologue` makes this fail.
#[test]
fn the_vectors_are_those_of_the_page() {
    let [initiator, responder] = [INITIATOR, RESPONDER].map(|secret| Identity::from_bytes(secret).public_key());
    let (id, secret) = ([0x55; 8], [0x66; 32]);
    let hex = |bytes: &[u8]| HEXLOWER.encode(bytes);
    let address = "192.0.2.1:4000".parse().unwrap();
    let vectors = json!({
        "initiator": {
            "static_secret": hex(&INITIATOR),
            "static_public": hex(initiator.as_bytes()),
            "ephemeral_secret": hex(&INITIATOR_EPHEMERAL),
            "ephemeral_public": hex(public_key(&INITIATOR_EPHEMERAL).as_bytes()),
        },
        "responder": {
            "static_secret": hex(&RESPONDER),
            "static_public": hex(responder.as_bytes()),
            "ephemeral_secret": hex(&RESPONDER_EPHEMERAL),
            "ephemeral_public": hex(public_key(&RESPONDER_EPHEMERAL).as_bytes()),
            "mac1_key": hex(&hash(&[b"burdock mac1", responder.as_bytes()])),
            "link": Link::direct(responder, address).to_string(),
            "link_with_invite": Link::direct(responder, address).with_invite(Invite::new(id, secret)).to_string(),
        },
        "stream": run(&Case { transport: Transport::Tcp, psk: [0; 32], invite: [0; 8], keep_s: None }),
        "datagram": run(&Case { transport: Transport::Udp, psk: secret, invite: id, keep_s: Some(131) }),
        "frames": frames(),
        "varints": varints(),
    });
    let written: Option<Value> = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/vectors.json"))
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok());
    if written.as_ref() != Some(&vectors) {
        let path = concat!(env!("CARGO_TARGET_TMPDIR"), "/vectors.json");
        let text = serde_json::to_string_pretty(&vectors).unwrap();
        std::fs::write(path, text + "\n").unwrap();
        panic!("docs/vectors.json differs from what the code does; if the code is right, copy {path} over it");
    }
}

/// What the page shows of the vectors is there to the letter.
#[test]
fn the_example_on_the_page_is_from_the_vectors() {
    let page = read("../docs/protocol.md");
    let vectors: Value = serde_json::from_str(&read("../docs/vectors.json")).unwrap();
    let text = |pointer: &str| vectors.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
    for pointer in [
        "/initiator/static_public",
        "/responder/static_public",
        "/responder/mac1_key",
        "/responder/link",
        "/stream/prologue",
        "/stream/payload1",
        "/stream/payload2",
        "/stream/handshake_hash",
        "/stream/key_initiator_to_responder",
        "/stream/key_responder_to_initiator",
        "/stream/data_from_initiator/frames",
        "/stream/data_from_initiator/packet",
        "/stream/data_from_responder/frames",
        "/stream/data_from_responder/packet",
    ] {
        assert!(page.contains(&text(pointer)), "docs/protocol.md does not show {pointer}");
    }
}
