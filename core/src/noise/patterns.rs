//! Drives the shipped symmetric state through every pattern that has published vectors: the
//! fundamental and deferred ones (Noise §7, §18.1) with any psk modifiers (§9).

use serde_json::Value;

use super::symmetric::Symmetric;
use crate::crypto::{DH_LEN, TAG_LEN, dh, public_key};
use crate::vectors::{array, bytes, list, load};
use crate::{Identity, PublicKey};

/// Name; whose static key is known before, initiator and responder; messages.
const PATTERNS: &[(&str, &str, &[&str])] = &[
    ("N", "r", &["e es"]),
    ("K", "ir", &["e es ss"]),
    ("X", "r", &["e es s ss"]),
    ("NN", "", &["e", "e ee"]),
    ("NK", "r", &["e es", "e ee"]),
    ("NX", "", &["e", "e ee s es"]),
    ("XN", "", &["e", "e ee", "s se"]),
    ("XK", "r", &["e es", "e ee", "s se"]),
    ("XX", "", &["e", "e ee s es", "s se"]),
    ("KN", "i", &["e", "e ee se"]),
    ("KK", "ir", &["e es ss", "e ee se"]),
    ("KX", "i", &["e", "e ee se s es"]),
    ("IN", "", &["e s", "e ee se"]),
    ("IK", "r", &["e es s ss", "e ee se"]),
    ("IX", "", &["e s", "e ee se s es"]),
    ("NK1", "r", &["e", "e ee es"]),
    ("NX1", "", &["e", "e ee s", "es"]),
    ("X1N", "", &["e", "e ee", "s", "se"]),
    ("X1K", "r", &["e es", "e ee", "s", "se"]),
    ("XK1", "r", &["e", "e ee es", "s se"]),
    ("X1K1", "r", &["e", "e ee es", "s", "se"]),
    ("X1X", "", &["e", "e ee s es", "s", "se"]),
    ("XX1", "", &["e", "e ee s", "es s se"]),
    ("X1X1", "", &["e", "e ee s", "es s", "se"]),
    ("K1N", "i", &["e", "e ee", "se"]),
    ("K1K", "ir", &["e es", "e ee", "se"]),
    ("KK1", "ir", &["e", "e ee se es"]),
    ("K1K1", "ir", &["e", "e ee es", "se"]),
    ("K1X", "i", &["e", "e ee s es", "se"]),
    ("KX1", "i", &["e", "e ee se s", "es"]),
    ("K1X1", "i", &["e", "e ee s", "se es"]),
    ("I1N", "", &["e s", "e ee", "se"]),
    ("I1K", "r", &["e es s", "e ee", "se"]),
    ("IK1", "r", &["e s", "e ee se es"]),
    ("I1K1", "r", &["e s", "e ee es", "se"]),
    ("I1X", "", &["e s", "e ee s es", "se"]),
    ("IX1", "", &["e s", "e ee se s", "es"]),
    ("I1X1", "", &["e s", "e ee s", "se es"]),
];

struct Pattern {
    known: &'static str,
    messages: Vec<Vec<String>>,
    has_psk: bool,
}

impl Pattern {
    fn parse(name: &str) -> Self {
        let (base, modifiers) = match name.find("psk") {
            Some(at) => (&name[..at], name[at..].split('+').collect()),
            None => (name, Vec::new()),
        };
        let (_, known, messages) = PATTERNS.iter().find(|(name, ..)| *name == base).unwrap();
        let mut messages: Vec<Vec<String>> =
            messages.iter().map(|tokens| tokens.split(' ').map(String::from).collect()).collect();
        for modifier in &modifiers {
            match modifier.strip_prefix("psk").unwrap().parse().unwrap() {
                0 => messages[0].insert(0, "psk".into()),
                place => messages[place - 1usize].push("psk".into()),
            }
        }
        Self { known, messages, has_psk: !modifiers.is_empty() }
    }
}

struct Party {
    initiator: bool,
    symmetric: Symmetric,
    has_psk: bool,
    psks: Vec<Vec<u8>>,
    s: Option<[u8; 32]>,
    e: Option<[u8; 32]>,
    rs: Option<PublicKey>,
    re: Option<PublicKey>,
}

impl Party {
    fn new(pattern: &Pattern, vector: &Value, initiator: bool) -> Self {
        let side = if initiator { "init" } else { "resp" };
        let field = |name: &str| &vector[format!("{side}_{name}")];
        let key = |name: &str| field(name).is_string().then(|| array(field(name)));
        let mut party = Self {
            initiator,
            symmetric: Symmetric::new(vector["protocol_name"].as_str().unwrap(), &bytes(field("prologue"))),
            has_psk: pattern.has_psk,
            psks: list(field("psks")).iter().map(bytes).collect(),
            s: key("static"),
            e: key("ephemeral"),
            rs: key("remote_static").map(PublicKey::from),
            re: None,
        };
        for owner in pattern.known.chars() {
            let known = if (owner == 'i') == initiator { public_key(&party.s.unwrap()) } else { party.rs.unwrap() };
            party.symmetric.mix_hash(known.as_bytes());
        }
        party
    }

    fn mix_dh(&mut self, initiators: char, responders: char) {
        let (mine, theirs) = if self.initiator { (initiators, responders) } else { (responders, initiators) };
        let secret = if mine == 'e' { self.e } else { self.s };
        let public = if theirs == 'e' { self.re } else { self.rs };
        self.symmetric.mix_key(dh(&secret.unwrap(), &public.unwrap()).unwrap().as_slice());
    }

    fn mix(&mut self, token: &str) {
        if token == "psk" {
            let psk = self.psks.remove(0);
            self.symmetric.mix_key_and_hash(&psk);
        } else {
            let mut owners = token.chars();
            self.mix_dh(owners.next().unwrap(), owners.next().unwrap());
        }
    }

    fn mix_ephemeral(&mut self, e: &[u8]) {
        self.symmetric.mix_hash(e);
        if self.has_psk {
            self.symmetric.mix_key(e);
        }
    }

    fn write(&mut self, tokens: &[String], payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for token in tokens {
            match token.as_str() {
                "e" => {
                    let e = public_key(&self.e.unwrap());
                    out.extend_from_slice(e.as_bytes());
                    self.mix_ephemeral(e.as_bytes());
                }
                "s" => {
                    let s = public_key(&self.s.unwrap());
                    self.symmetric.encrypt_and_hash(s.as_bytes(), &mut out);
                }
                _ => self.mix(token),
            }
        }
        self.symmetric.encrypt_and_hash(payload, &mut out);
        out
    }

    fn read(&mut self, tokens: &[String], mut message: &[u8]) -> Vec<u8> {
        for token in tokens {
            match token.as_str() {
                "e" => {
                    let e = message.split_off(..DH_LEN).unwrap();
                    self.re = Some(PublicKey::from(<[u8; DH_LEN]>::try_from(e).unwrap()));
                    self.mix_ephemeral(e);
                }
                "s" => {
                    let len = DH_LEN + if self.symmetric.has_key() { TAG_LEN } else { 0 };
                    let mut s = Vec::new();
                    self.symmetric.decrypt_and_hash(message.split_off(..len).unwrap(), &mut s).unwrap();
                    self.rs = Some(PublicKey::from(<[u8; DH_LEN]>::try_from(s).unwrap()));
                }
                _ => self.mix(token),
            }
        }
        let mut payload = Vec::new();
        self.symmetric.decrypt_and_hash(message, &mut payload).unwrap();
        payload
    }
}

fn run(vector: &Value, pattern: &str) {
    let one_way =
        matches!(pattern.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches("psk"), "N" | "K" | "X");
    let pattern = Pattern::parse(pattern);
    let (mut initiator, mut responder) = (Party::new(&pattern, vector, true), Party::new(&pattern, vector, false));
    let messages = list(&vector["messages"]);
    let (handshake, transport) = messages.split_at(pattern.messages.len());

    for (index, (message, tokens)) in handshake.iter().zip(&pattern.messages).enumerate() {
        let (from, to) =
            if index % 2 == 0 { (&mut initiator, &mut responder) } else { (&mut responder, &mut initiator) };
        let (payload, ciphertext) = (bytes(&message["payload"]), bytes(&message["ciphertext"]));
        assert_eq!(from.write(tokens, &payload), ciphertext, "message {index}");
        assert_eq!(to.read(tokens, &ciphertext), payload, "message {index}");
    }

    let (from_initiator, from_responder, hash) = initiator.symmetric.split();
    let (to_responder, to_initiator, same_hash) = responder.symmetric.split();
    assert_eq!(hash, same_hash);
    if vector["handshake_hash"].is_string() {
        assert_eq!(hash, array(&vector["handshake_hash"]));
    }
    let mut numbers = [0, 0];
    for (index, message) in transport.iter().enumerate() {
        let by_initiator = one_way || (handshake.len() + index) % 2 == 0;
        let (seals, opens) =
            if by_initiator { (&from_initiator, &to_responder) } else { (&from_responder, &to_initiator) };
        let number = &mut numbers[usize::from(by_initiator)];
        let (payload, ciphertext) = (bytes(&message["payload"]), bytes(&message["ciphertext"]));
        let mut buf = payload.clone();
        let tag = seals.seal(*number, &[], &mut buf);
        assert_eq!([&buf[..], &tag[..]].concat(), ciphertext, "transport message {index}");
        opens.open(*number, &[], &mut buf, &tag).unwrap();
        assert_eq!(buf, payload);
        *number += 1;
    }
}

// Mutation: `self.mix_hash(&out[start..])` left out of `encrypt_and_hash` makes this fail.
#[test]
fn h1_all_published_vectors() {
    let mut count = 0_u32;
    for name in ["noise_cacophony", "noise_snow", "noise_noise_c"] {
        for vector in list(&load(name)["vectors"]) {
            let protocol = vector["protocol_name"].as_str().unwrap();
            let Some(pattern) = protocol.strip_suffix("_25519_ChaChaPoly_BLAKE2s") else { continue };
            if vector["fallback"] == true {
                continue;
            }
            run(vector, pattern.strip_prefix("Noise_").unwrap());
            count += 1;
        }
    }
    assert_eq!(count, 125);
    burdock_ledger::reached("H1", "handshake vectors", count);
    burdock_ledger::reached("H1", "vectors that differ", 0);
}

/// The published IKpsk2 vector through the types that ship.
// Mutation: `mix_key_and_hash` of the psk left out of `Responder::reply` makes this fail.
#[test]
fn h1_published_ikpsk2_vector_through_the_shipped_types() {
    let file = load("noise_cacophony");
    let vector = list(&file["vectors"]).iter().find(|vector| vector["protocol_name"] == super::PROTOCOL).unwrap();
    let messages: Vec<_> = list(&vector["messages"])
        .iter()
        .map(|message| (bytes(&message["payload"]), bytes(&message["ciphertext"])))
        .collect();
    let (local, remote) =
        (Identity::from_bytes(array(&vector["init_static"])), Identity::from_bytes(array(&vector["resp_static"])));
    assert_eq!(remote.public_key(), PublicKey::from(array(&vector["init_remote_static"])));
    let (prologue, psk) = (bytes(&vector["init_prologue"]), array(&vector["init_psks"][0]));
    let ephemeral = |name: &str| zeroize::Zeroizing::new(array(&vector[name]));

    let mut sent = Vec::new();
    let initiator = super::Initiator::start(
        &local,
        &remote.public_key(),
        &psk,
        &prologue,
        ephemeral("init_ephemeral"),
        &messages[0].0,
        &mut sent,
    )
    .unwrap();
    assert_eq!(sent, messages[0].1);
    let responder = super::Responder::read(&remote, &prologue, &sent).unwrap();
    assert_eq!((responder.remote(), responder.payload()), (&local.public_key(), &messages[0].0[..]));
    let mut answer = Vec::new();
    let theirs = responder.reply(&psk, ephemeral("resp_ephemeral"), &messages[1].0, &mut answer).unwrap();
    assert_eq!(answer, messages[1].1);
    let mut payload = Vec::new();
    let ours = initiator.read(&answer, &mut payload).unwrap();
    assert_eq!(payload, messages[1].0);
    assert_eq!((ours.hash, theirs.hash), (array(&vector["handshake_hash"]), array(&vector["handshake_hash"])));

    for (index, (payload, ciphertext)) in messages[2..].iter().enumerate() {
        let (from, to) = if index % 2 == 0 { (&ours, &theirs) } else { (&theirs, &ours) };
        let number = index as u64 / 2;
        let mut buf = payload.clone();
        let tag = from.send.seal(number, &[], &mut buf);
        assert_eq!([&buf[..], &tag[..]].concat(), *ciphertext);
        to.recv.open(number, &[], &mut buf, &tag).unwrap();
        assert_eq!(buf, *payload);
    }
    burdock_ledger::reached("H1", "vectors that differ", 0);
}
