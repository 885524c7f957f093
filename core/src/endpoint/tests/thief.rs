//! Somebody who has stolen our static secret, and somebody who reads all that we send.

use core::time::Duration;

use super::bench::Bench;
use super::forger::Forger;
use super::pair::Pair;
use super::steady;
use crate::config::{Class, Limits};
use crate::crypto::{AeadKey, dh, hash, hkdf2, hkdf3, public_key};
use crate::endpoint::our_limits;
use crate::noise::PROTOCOL;
use crate::seal::{self, Sealer};
use crate::update::UpdateKind;
use crate::wire::frame::Frame;
use crate::wire::packet::{self, InitHeader, Packet};
use crate::wire::payload::{HelloInit, INIT_PAYLOAD_LEN};
use crate::{AcceptPolicy, Config, Endpoint, Identity, Invite, Link, PublicKey, Transport};

/// A Noise transcript (§5.2) that takes any DH result for granted.
#[derive(Clone)]
struct Transcript {
    chaining: [u8; 32],
    hash: [u8; 32],
    key: [u8; 32],
}

impl Transcript {
    fn new(prologue: &[u8]) -> Self {
        let start = hash(&[PROTOCOL.as_bytes()]);
        Self { chaining: start, hash: hash(&[&start, prologue]), key: [0; 32] }
    }

    fn mix_hash(&mut self, data: &[u8]) {
        self.hash = hash(&[&self.hash, data]);
    }

    fn mix_key(&mut self, input: &[u8; 32]) {
        let [chaining, key] = hkdf2(&self.chaining, input);
        (self.chaining, self.key) = (*chaining, *key);
    }

    fn seal(&mut self, plaintext: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(plaintext);
        let tag = AeadKey::new(&self.key).seal(0, &self.hash, &mut out[start..]);
        out.extend_from_slice(&tag);
        self.hash = hash(&[&self.hash, &out[start..]]);
    }
}

/// An INIT in the name of `s`, made with the responder's secret, and the transcript after it.
fn forge(e: &[u8; 32], s: &PublicKey, stolen: &[u8; 32], index: u32) -> (Vec<u8>, Transcript) {
    let victim = public_key(stolen);
    let limits = our_limits(&Limits::default());
    let hello = HelloInit {
        my_half: u64::from(index),
        your_half: 0,
        dial_no: 1,
        renews: 0,
        invite: [0; 8],
        limits,
        keep_s: None,
    };
    let mut payload = Vec::new();
    hello.encode(INIT_PAYLOAD_LEN, &mut payload);
    let header = InitHeader { class: Class::Open, transport: Transport::Udp, sender: index };
    let mut out = Vec::new();
    packet::begin_init(header, &mut out);
    let mut transcript = Transcript::new(&packet::prologue(&header.to_bytes()));
    transcript.mix_hash(victim.as_bytes());
    let public = public_key(e);
    out.extend_from_slice(public.as_bytes());
    transcript.mix_hash(public.as_bytes());
    transcript.mix_key(public.as_bytes());
    transcript.mix_key(&dh(e, &victim).unwrap());
    transcript.seal(s.as_bytes(), &mut out);
    // `ss` is within reach of either static secret: that is why message 1 proves nothing.
    transcript.mix_key(&dh(stolen, s).unwrap());
    transcript.seal(&payload, &mut out);
    packet::finish_init(&mut out, 0, |before| crate::crypto::mac1(&victim, before));
    (out, transcript)
}

/// The key under which the initiator's first packet would go out, if `se` were this.
fn first_key(transcript: &Transcript, e: &[u8; 32], answer: &[u8; 32], se: &[u8; 32]) -> AeadKey {
    let mut transcript = transcript.clone();
    let remote = PublicKey::from(*answer);
    transcript.mix_hash(answer);
    transcript.mix_key(answer);
    transcript.mix_key(&dh(e, &remote).unwrap());
    transcript.mix_key(se);
    let [chaining, ..] = hkdf3(&transcript.chaining, &[0; 32]);
    AeadKey::new(&hkdf2(&chaining, &[])[0])
}

// Mutation: `Responder::reply` without the token `se` (and `Initiator::read` likewise) makes this fail.
#[test]
fn h5_who_holds_our_secret_cannot_pose_to_us_as_somebody_else() {
    let stolen = [1; 32];
    let mut bench = Bench::new(1, &Config::streamer());
    // One of those whose name is taken has a session.
    let mut friend = Forger::new(2);
    let (_, done) = friend.open(&mut bench, 0);
    let id = done.connected().unwrap();
    bench.pass(Duration::from_secs(2));
    let seen = |bench: &Bench| bench.endpoint.status(bench.now, id).map(|it| (it.state, it.transport));
    let before = seen(&bench);

    let mut established = 0;
    let mut indices = 0x10_0000;
    let mut attack = |bench: &mut Bench, name: &PublicKey, e: [u8; 32], se: &dyn Fn(&PublicKey) -> Vec<[u8; 32]>| {
        indices += 1;
        let (init, transcript) = forge(&e, name, &stolen, indices);
        let known = bench.endpoint.shared.indices.clone();
        let done = bench.datagram(friend.addr, &init);
        let Ok(Packet::Resp(resp)) = packet::parse(done.datagram()) else { panic!("message 1 is answered") };
        let answer: [u8; 32] = *resp.noise.first_chunk().unwrap();
        // Even told the index that the answer hides, it has no key.
        let index = *bench.endpoint.shared.indices.keys().find(|index| !known.contains_key(index)).unwrap();
        let mut connected = 0;
        for guess in se(&PublicKey::from(answer)) {
            let mut packet = vec![0; seal::HEADER_LEN];
            Frame::Confirm.encode(&mut packet);
            Frame::Stream { channel: 0, offset: 0, data: b"\x03ill" }.encode(&mut packet);
            Sealer::new(first_key(&transcript, &e, &answer, &guess)).seal(index, &mut packet, 0).unwrap();
            let done = bench.datagram(friend.addr, &packet);
            connected += usize::from(done.connected().is_some());
            assert!(connected > 0 || done.is_nothing());
        }
        connected
    };
    for n in 2..=40 {
        let name = public_key(&[n; 32]);
        let e = [n + 100; 32];
        established += attack(&mut bench, &name, e, &|answer: &PublicKey| {
            // All that the stolen secret, the ephemeral one and the transcript lead to.
            let of = |secret: &[u8; 32], public: &PublicKey| *dh(secret, public).unwrap();
            let (own, victim) = (public_key(&e), public_key(&stolen));
            vec![
                [0; 32],
                of(&stolen, answer),
                of(&e, answer),
                of(&stolen, &name),
                of(&e, &name),
                of(&e, &victim),
                of(&stolen, &own),
                *answer.as_bytes(),
                *name.as_bytes(),
            ]
        });
    }
    assert_eq!(seen(&bench), before);
    bench.pass(Duration::from_secs(11));
    assert_eq!(bench.snapshot().half_open, 0);
    // The attack is complete: with the secret of the name it takes, it does get in.
    let genuine = [77; 32];
    let got = attack(&mut bench, &public_key(&genuine), [7; 32], &|answer| vec![*dh(&genuine, answer).unwrap()]);
    assert_eq!(got, 1);
    burdock_ledger::reached(
        "H5",
        "sessions established by a forger with our own key",
        u32::try_from(established).unwrap(),
    );
}

/// How often any 8 bytes in a row of a needle are in these bytes.
fn sightings(bytes: &[u8], needles: &[Vec<u8>]) -> u32 {
    let pieces: std::collections::BTreeSet<[u8; 8]> =
        needles.iter().flat_map(|needle| needle.chunks_exact(8)).map(|piece| piece.try_into().unwrap()).collect();
    let seen = bytes.windows(8).filter(|window| pieces.contains(*window)).count();
    u32::try_from(seen).unwrap()
}

/// One session between two endpoints of their own, over UDP or TCP, cut once and resumed. Counts the
/// sightings of names in all that was sent; the second count is that of what is in clear.
fn seen_in_session(seed: u32) -> (u32, u32) {
    let mut pair = Pair::new(&steady(Config::streamer()));
    let draw = |what: &[u8]| hash(&[what, &seed.to_be_bytes()]);
    for (n, what) in [b"one", b"two"].into_iter().enumerate() {
        let identity = Identity::from_bytes(draw(what));
        pair.nodes[n].key = identity.public_key();
        let seed = hash(&[b"seed", &draw(what)]);
        pair.nodes[n].endpoint = Endpoint::new(steady(Config::streamer()), identity, seed).unwrap();
    }
    let invite: [u8; 8] = draw(b"invite")[..8].try_into().unwrap();
    let secret = draw(b"secret");
    pair.nodes[1].endpoint.set_accept(AcceptPolicy::nobody().invite(invite, secret));
    pair.udp = seed.is_multiple_of(2);
    let link = pair.link(1).with_invite(Invite::new(invite, secret));
    let link = if pair.udp { Link { tcp_port: None, ..link } } else { Link { udp_port: None, ..link } };
    let a = pair.nodes[0].endpoint.connect(pair.now, &link).unwrap();
    pair.drain(0);
    pair.run(Duration::from_millis(200));
    pair.send(0, a, "hello");
    pair.run(Duration::from_millis(200));
    let halves = |pair: &Pair| pair.nodes.each_ref().map(|node| node.endpoint.sessions.values().next().unwrap().half);
    let names = halves(&pair);
    // Cut and resumed: that handshake names both halves.
    let (udp, tcp) = (pair.udp, pair.tcp);
    (pair.udp, pair.tcp) = (false, false);
    pair.reset_streams();
    pair.send(0, a, "are you there?");
    pair.run(Duration::from_secs(4));
    (pair.udp, pair.tcp) = (udp, tcp);
    pair.run(Duration::from_secs(4));
    assert!(pair.nodes[0].kinds().iter().any(|kind| matches!(kind, UpdateKind::Resumed { .. })), "seed {seed}");
    assert_eq!(halves(&pair), names);

    let mut needles = vec![invite.to_vec(), secret.to_vec()];
    for node in &pair.nodes {
        needles.extend([node.key.as_bytes().to_vec(), node.key.to_string().into_bytes()]);
    }
    needles.extend(names.iter().flat_map(|half| [half.to_be_bytes().to_vec(), half.to_le_bytes().to_vec()]));
    let sent: Vec<&[u8]> = pair
        .nodes
        .iter()
        .flat_map(|node| node.datagrams.iter().map(Vec::as_slice).chain(node.written.values().map(Vec::as_slice)))
        .collect();
    // The first initiation's ephemeral key does travel in clear.
    let first = pair.nodes[0].datagrams.first().or(pair.nodes[0].written.values().next()).unwrap();
    let start = if udp { 8 } else { 10 };
    let clear = [first[start..start + 32].to_vec()];
    let count = |needles: &[Vec<u8>]| sent.iter().map(|bytes| sightings(bytes, needles)).sum();
    (count(&needles), count(&clear))
}

// Mutation: `encrypt_and_hash` returning before it seals makes this fail.
#[test]
fn h8_no_key_and_no_name_is_on_the_wire() {
    let mut total = 0;
    for seed in 0..1000 {
        let (seen, clear) = seen_in_session(seed);
        assert!(clear >= 4, "seed {seed}: the search sees nothing");
        total += seen;
    }
    burdock_ledger::reached("H8", "sightings in the bytes of 1,000 sessions", total);
}
