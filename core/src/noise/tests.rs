use proptest::prelude::*;
use zeroize::Zeroizing;

use super::symmetric::Symmetric;
use super::*;
use crate::crypto::{AeadKey, HASH_LEN, TAG_LEN, ZeroDh, dh, public_key};
use crate::vectors::{array, has_flag, load, wycheproof};
use crate::{Identity, PublicKey};

const PROLOGUE: &[u8] = b"burdock\x08\x01\0\0\0\0\0\x07";
const PSK: [u8; 32] = [3; 32];
const EI: [u8; 32] = [11; 32];
const ER: [u8; 32] = [12; 32];

fn initiator() -> Identity {
    Identity::from_bytes([1; 32])
}

fn responder() -> Identity {
    Identity::from_bytes([2; 32])
}

/// What one side of a handshake knows or assumes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct View {
    prologue: Vec<u8>,
    initiator: [u8; 32],
    responder: [u8; 32],
    psk: [u8; 32],
}

fn view() -> View {
    View { prologue: PROLOGUE.to_vec(), initiator: [1; 32], responder: [2; 32], psk: PSK }
}

/// Runs a handshake between an initiator that holds `ours` and a responder that holds `theirs`.
/// The responder knows no initiator beforehand: it takes the one that shows itself.
fn handshake(ours: &View, theirs: &View) -> Result<(Keys, Keys), NoiseError> {
    let (local, remote) = (Identity::from_bytes(ours.initiator), Identity::from_bytes(theirs.responder));
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let (ei, er) = (Zeroizing::new(EI), Zeroizing::new(ER));
    let dialled = public_key(&ours.responder);
    let start = Initiator::start(&local, &dialled, &ours.psk, &ours.prologue, ei, b"one", &mut first)?;
    let read = Responder::read(&remote, &theirs.prologue, &first)?;
    assert_eq!((read.remote(), read.payload()), (&local.public_key(), &b"one"[..]));
    let they = read.reply(&theirs.psk, er, b"two", &mut second)?;
    let mut payload = b"kept".to_vec();
    let result = start.read(&second, &mut payload);
    assert_eq!(payload, if result.is_ok() { &b"kepttwo"[..] } else { b"kept" });
    Ok((result?, they))
}

fn message_1(ephemeral: [u8; 32]) -> (Initiator, Vec<u8>) {
    let (mut out, ephemeral) = (Vec::new(), Zeroizing::new(ephemeral));
    let remote = responder().public_key();
    let start = Initiator::start(&initiator(), &remote, &PSK, PROLOGUE, ephemeral, b"one", &mut out).unwrap();
    (start, out)
}

fn message_2(first: &[u8]) -> (Keys, Vec<u8>) {
    let mut out = Vec::new();
    let read = Responder::read(&responder(), PROLOGUE, first).unwrap();
    (read.reply(&PSK, Zeroizing::new(ER), b"two", &mut out).unwrap(), out)
}

fn seals(key: &AeadKey) -> (Vec<u8>, [u8; TAG_LEN]) {
    let mut buf = b"transport".to_vec();
    let tag = key.seal(0, &[], &mut buf);
    (buf, tag)
}

#[test]
fn both_sides_get_the_same_keys_one_for_each_direction() {
    let (ours, theirs) = handshake(&view(), &view()).unwrap();
    assert_eq!(ours.hash, theirs.hash);
    assert_eq!(seals(&ours.send), seals(&theirs.recv));
    assert_eq!(seals(&ours.recv), seals(&theirs.send));
    assert_ne!(seals(&ours.send), seals(&ours.recv));
}

#[test]
fn overhead_is_as_documented() {
    let (_, first) = message_1(EI);
    assert_eq!(first.len(), INITIATION_OVERHEAD + 3);
    assert_eq!(message_2(&first).1.len(), RESPONSE_OVERHEAD + 3);
}

// Mutation: an empty prologue in `Responder::read` makes this fail.
#[test]
fn h2_each_byte_of_the_prologue_matters() {
    handshake(&view(), &view()).unwrap();
    for at in 0..PROLOGUE.len() {
        for bit in 0..8 {
            let mut other = view();
            other.prologue[at] ^= 1 << bit;
            assert_eq!(handshake(&view(), &other).err(), Some(NoiseError::BadTag), "byte {at} bit {bit}");
            assert_eq!(handshake(&other, &view()).err(), Some(NoiseError::BadTag), "byte {at} bit {bit}");
        }
    }
    for cut in 0..PROLOGUE.len() {
        let other = View { prologue: PROLOGUE[..cut].to_vec(), ..view() };
        assert_eq!(handshake(&view(), &other).err(), Some(NoiseError::BadTag), "length {cut}");
    }
    burdock_ledger::reached("H2", "handshakes that survive a changed field", 0);
}

// Mutation: `return Err(bad)` left out of `decrypt_and_hash` makes this fail.
#[test]
fn h2_roles_cannot_be_swapped() {
    let (start, first) = message_1(EI);
    // Sent back to the initiator, in either role.
    assert_eq!(Responder::read(&initiator(), PROLOGUE, &first).err(), Some(NoiseError::BadTag));
    assert_eq!(start.read(&first, &mut Vec::new()).err(), Some(NoiseError::BadTag));
    let (_, second) = message_2(&first);
    assert!(Responder::read(&responder(), PROLOGUE, &second).is_err());
}

// Mutation: `return Err(bad)` left out of `decrypt_and_hash` makes this fail.
#[test]
fn r5_every_bit_of_both_messages_is_authenticated() {
    let (start, first) = message_1(EI);
    for bit in 0..first.len() * 8 {
        let mut flipped = first.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(Responder::read(&responder(), PROLOGUE, &flipped).is_err(), "message 1, bit {bit}");
    }
    let (_, second) = message_2(&first);
    for bit in 0..second.len() * 8 {
        let mut flipped = second.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(start.read(&flipped, &mut Vec::new()).is_err(), "message 2, bit {bit}");
    }
    start.read(&second, &mut Vec::new()).unwrap();
    burdock_ledger::reached("R5", "flipped bits accepted", 0);
}

#[test]
fn messages_of_impossible_lengths_are_refused() {
    let (start, first) = message_1(EI);
    for len in (0..INITIATION_OVERHEAD).chain([MAX_MESSAGE_LEN + 1]) {
        let result = Responder::read(&responder(), PROLOGUE, &vec![7; len]);
        assert_eq!(result.err(), Some(NoiseError::Length), "{len}");
    }
    for len in (0..RESPONSE_OVERHEAD).chain([MAX_MESSAGE_LEN + 1]) {
        assert_eq!(start.read(&vec![7; len], &mut Vec::new()).err(), Some(NoiseError::Length), "{len}");
    }
    let (mut out, remote) = (b"kept".to_vec(), responder().public_key());
    let mut dial = |len: usize| {
        let ephemeral = Zeroizing::new(EI);
        let result = Initiator::start(&initiator(), &remote, &PSK, PROLOGUE, ephemeral, &vec![0; len], &mut out);
        (result.err(), out.len() - 4)
    };
    assert_eq!(dial(MAX_MESSAGE_LEN - INITIATION_OVERHEAD + 1), (Some(NoiseError::Length), 0));
    assert_eq!(dial(MAX_MESSAGE_LEN - INITIATION_OVERHEAD), (None, MAX_MESSAGE_LEN));
    let read = Responder::read(&responder(), PROLOGUE, &first).unwrap();
    let long = vec![0; MAX_MESSAGE_LEN - RESPONSE_OVERHEAD + 1];
    let result = read.reply(&PSK, Zeroizing::new(ER), &long, &mut out);
    assert_eq!((result.err(), out.len()), (Some(NoiseError::Length), 4 + MAX_MESSAGE_LEN));
    let read = Responder::read(&responder(), PROLOGUE, &first).unwrap();
    let (longest, mut second, mut payload) = (&long[1..], Vec::new(), Vec::new());
    read.reply(&PSK, Zeroizing::new(ER), longest, &mut second).unwrap();
    assert_eq!(second.len(), MAX_MESSAGE_LEN);
    start.read(&second, &mut payload).unwrap();
    assert_eq!(payload, longest);
}

// Mutation: `out.truncate(start)` left out of `decrypt_and_hash` makes this fail.
#[test]
fn r3_forged_answers_do_not_end_the_handshake() {
    let (start, first) = message_1(EI);
    let (theirs, second) = message_2(&first);
    for round in 0..200u8 {
        let mut forged = second.clone();
        forged[usize::from(round) % second.len()] ^= round | 1;
        let mut payload = b"kept".to_vec();
        assert!(start.read(&forged, &mut payload).is_err());
        assert_eq!(payload, b"kept");
    }
    let ours = start.read(&second, &mut Vec::new()).unwrap();
    assert_eq!((ours.hash, seals(&ours.send)), (theirs.hash, seals(&theirs.recv)));
}

/// A peer that need not compute a DH honestly: message 1 with any `e` and `s` and with any
/// results for `es` and `ss`, and the state after it.
fn forge_message_1(e: &PublicKey, es: &[u8; 32], s: &PublicKey, ss: &[u8; 32]) -> (Symmetric, Vec<u8>) {
    forge_message_1_as(PROTOCOL, e, es, s, ss)
}

fn forge_message_1_as(
    protocol: &str,
    e: &PublicKey,
    es: &[u8; 32],
    s: &PublicKey,
    ss: &[u8; 32],
) -> (Symmetric, Vec<u8>) {
    let (mut symmetric, mut out) = (Symmetric::new(protocol, PROLOGUE), e.as_bytes().to_vec());
    symmetric.mix_hash(responder().public_key().as_bytes());
    symmetric.mix_hash(e.as_bytes());
    symmetric.mix_key(e.as_bytes());
    symmetric.mix_key(es);
    symmetric.encrypt_and_hash(s.as_bytes(), &mut out);
    symmetric.mix_key(ss);
    symmetric.encrypt_and_hash(b"one", &mut out);
    (symmetric, out)
}

/// A suite or pattern that one side takes for granted is in the transcript by its name.
// Mutation: `Symmetric::new` with a constant in place of the hash of the name makes this fail.
#[test]
fn h2_another_suite_or_pattern_is_refused() {
    let (e, s) = (public_key(&EI), initiator().public_key());
    let es = dh(&EI, &responder().public_key()).unwrap();
    let ss = dh(&[1; 32], &responder().public_key()).unwrap();
    let read = |protocol: &str| {
        let (_, first) = forge_message_1_as(protocol, &e, &es, &s, &ss);
        Responder::read(&responder(), PROLOGUE, &first).err()
    };
    assert_eq!(read(PROTOCOL), None);
    for (from, to) in [("IK", "XX"), ("psk2", ""), ("psk2", "psk1"), ("ChaChaPoly", "AESGCM"), ("BLAKE2s", "SHA256")] {
        let other = PROTOCOL.replace(from, to);
        assert_ne!(other, PROTOCOL);
        assert_eq!(read(&other), Some(NoiseError::BadTag), "{other}");
    }
    burdock_ledger::reached("H2", "handshakes that survive a changed field", 0);
}

/// Message 2 after `symmetric`, likewise.
fn forge_message_2(mut symmetric: Symmetric, e: &PublicKey, ee: &[u8; 32], se: &[u8; 32]) -> Vec<u8> {
    let mut out = e.as_bytes().to_vec();
    symmetric.mix_hash(e.as_bytes());
    symmetric.mix_key(e.as_bytes());
    symmetric.mix_key(ee);
    symmetric.mix_key(se);
    symmetric.mix_key_and_hash(&PSK);
    symmetric.encrypt_and_hash(b"two", &mut out);
    out
}

// Mutation: `if false` for the condition in `crypto::dh` makes this fail in all four positions.
#[test]
fn h3_zero_dh_is_refused_for_e_and_s_in_both_roles() {
    let file = load("wycheproof_x25519");
    let low_order: Vec<PublicKey> = wycheproof(&file)
        .into_iter()
        .filter(|case| has_flag(case, "ZeroSharedSecret"))
        .map(|case| PublicKey::from(array(&case["public"])))
        .collect();
    assert_eq!(low_order.len(), 31);

    let zero = [0; 32];
    let (local, remote) = (initiator(), responder());
    let (s, e) = (local.public_key(), public_key(&EI));
    let es = dh(&EI, &remote.public_key()).unwrap();
    let ss = dh(&[1; 32], &remote.public_key()).unwrap();
    let refused = Some(NoiseError::ZeroDh(ZeroDh));

    // The forger is good: with honest values the messages are those of an honest peer.
    let (start, first) = message_1(EI);
    let (symmetric, forged) = forge_message_1(&e, &es, &s, &ss);
    assert_eq!(forged, first);
    let (ee, se) = (dh(&ER, &e).unwrap(), dh(&ER, &s).unwrap());
    assert_eq!(forge_message_2(symmetric.fork(), &public_key(&ER), &ee, &se), message_2(&first).1);

    let tried = low_order.len() as u32;
    for low in low_order {
        let (_, bad_e) = forge_message_1(&low, &zero, &s, &ss);
        assert_eq!(Responder::read(&remote, PROLOGUE, &bad_e).err(), refused, "e of the initiator: {low:?}");
        let (_, bad_s) = forge_message_1(&e, &es, &low, &zero);
        assert_eq!(Responder::read(&remote, PROLOGUE, &bad_s).err(), refused, "s of the initiator: {low:?}");

        let bad_e = forge_message_2(symmetric.fork(), &low, &zero, &zero);
        assert_eq!(start.read(&bad_e, &mut Vec::new()).err(), refused, "e of the responder: {low:?}");
        let mut out = b"kept".to_vec();
        let dial = Initiator::start(&local, &low, &PSK, PROLOGUE, Zeroizing::new(EI), b"one", &mut out);
        assert_eq!((dial.err(), &out[..]), (refused, &b"kept"[..]), "s of the responder: {low:?}");
    }
    burdock_ledger::reached("H3", "zero-secret keys tried in each position", tried);
    burdock_ledger::reached("H3", "zero-secret keys accepted", 0);
}

/// Ends with the same view agree on a hash that no other view has; ends with differing views have none.
// Mutation: a constant for the psk in both roles makes this fail.
#[test]
fn h6_differing_views_never_agree() {
    let values = [[1; 32], [2; 32], [5; 32]];
    let mut views = Vec::new();
    for prologue in [PROLOGUE, b"another"] {
        for initiator in values {
            for responder in values {
                for psk in [PSK, [4; 32]] {
                    views.push(View { prologue: prologue.to_vec(), initiator, responder, psk });
                }
            }
        }
    }
    let mut hashes = Vec::new();
    for ours in &views {
        for theirs in &views {
            // The responder believes the initiator that shows itself.
            let theirs = View { initiator: ours.initiator, ..theirs.clone() };
            match handshake(ours, &theirs) {
                Ok((our_keys, their_keys)) => {
                    assert_eq!(*ours, theirs);
                    assert_eq!(our_keys.hash, their_keys.hash);
                    hashes.push((our_keys.hash, theirs));
                }
                Err(error) => {
                    assert_ne!(*ours, theirs);
                    assert_eq!(error, NoiseError::BadTag);
                }
            }
        }
    }
    hashes.sort_by_key(|(hash, _)| *hash);
    for pair in hashes.windows(2) {
        assert_eq!(pair[0].0 == pair[1].0, pair[0].1 == pair[1].1);
    }
    burdock_ledger::reached("H6", "sessions with differing views", 0);
}

/// Message 1 relayed to a third party, and answers of one handshake in another.
// Mutation: `return Err(bad)` left out of `decrypt_and_hash` makes this fail.
#[test]
fn h6_three_party_mix_ups_fail() {
    let (start, first) = message_1(EI);
    let third = Identity::from_bytes([5; 32]);
    assert_eq!(Responder::read(&third, PROLOGUE, &first).err(), Some(NoiseError::BadTag));
    let (other_start, other_first) = message_1([13; 32]);
    let ((_, second), (_, other_second)) = (message_2(&first), message_2(&other_first));
    assert_eq!(start.read(&other_second, &mut Vec::new()).err(), Some(NoiseError::BadTag));
    assert_eq!(other_start.read(&second, &mut Vec::new()).err(), Some(NoiseError::BadTag));
}

/// The transport keys that follow from a chain of DH results, and the keys on the way to them.
fn derivable(first: &[u8], second: &[u8], chain: &[&[u8; 32]]) -> Vec<AeadKey> {
    let (e1, e2): ([u8; 32], [u8; 32]) = (first[..32].try_into().unwrap(), second[..32].try_into().unwrap());
    let (symmetric, _) = forge_message_1(&PublicKey::from(e1), chain[0], &initiator().public_key(), chain[1]);
    let mut keys = Vec::new();
    let mut symmetric = symmetric.fork();
    let mut keep = |symmetric: &Symmetric| {
        let (one, two, _) = symmetric.fork().split();
        keys.extend([one, two]);
    };
    keep(&symmetric);
    symmetric.mix_hash(&e2);
    symmetric.mix_key(&e2);
    for shared in &chain[2..] {
        symmetric.mix_key(*shared);
        keep(&symmetric);
    }
    symmetric.mix_key_and_hash(&PSK);
    keep(&symmetric);
    keys
}

// Mutation: without the token `ee` in both roles this fails.
#[test]
fn h7_static_keys_psk_and_transcript_open_nothing() {
    let (start, first) = message_1(EI);
    let (_, second) = message_2(&first);
    let keys = start.read(&second, &mut Vec::new()).unwrap();
    let recorded = [seals(&keys.send), seals(&keys.recv)];
    let opens = |key: &AeadKey| recorded.iter().any(|(sealed, tag)| key.open(0, &[], &mut sealed.clone(), tag).is_ok());

    // All DH results within reach of both static secrets.
    let (e1, e2) = (PublicKey::from(<[u8; 32]>::try_from(&first[..32]).unwrap()), public_key(&ER));
    assert_eq!(e2.as_bytes()[..], second[..32]);
    let (si, sr): ([u8; 32], [u8; 32]) = ([1; 32], [2; 32]);
    let es = dh(&sr, &e1).unwrap();
    let ss = dh(&sr, &initiator().public_key()).unwrap();
    let se = dh(&si, &e2).unwrap();
    let mut known: Vec<[u8; 32]> = vec![[0; 32], *es, *ss, *se, *dh(&si, &e1).unwrap(), *dh(&sr, &e2).unwrap()];
    known.extend([si, sr, PSK, *e1.as_bytes(), *e2.as_bytes()]);

    let (mut tried, mut opened) = (0, 0);
    let mut all_fail = |keys: Vec<AeadKey>| {
        tried += keys.len();
        opened += keys.iter().filter(|key| opens(key)).count() as u32;
    };
    all_fail(known.iter().map(AeadKey::new).collect());
    all_fail(vec![AeadKey::new(&keys.hash)]);
    all_fail(derivable(&first, &second, &[&es, &ss]));
    all_fail(derivable(&first, &second, &[&es, &ss, &se]));
    for guess in &known {
        for other in &known {
            all_fail(derivable(&first, &second, &[&es, &ss, guess, other]));
        }
    }
    assert!(tried > 900, "{tried}");
    burdock_ledger::reached("H7", "keys tried", tried as u32);
    burdock_ledger::reached("H7", "packets opened", opened);

    // With one ephemeral secret the same derivation succeeds.
    let ee = dh(&ER, &e1).unwrap();
    assert!(derivable(&first, &second, &[&es, &ss, &ee, &se]).iter().any(opens));
}

fn snow<'a>(local: &'a [u8; 32], ephemeral: &'a [u8; 32], psk: &'a [u8; 32], prologue: &'a [u8]) -> snow::Builder<'a> {
    snow::Builder::new(PROTOCOL.parse().unwrap())
        .local_private_key(local)
        .unwrap()
        .fixed_ephemeral_key_for_testing_only(ephemeral)
        .psk(2, psk)
        .unwrap()
        .prologue(prologue)
        .unwrap()
}

/// Each of our keys seals as snow's does.
fn check_transport(ours: &Keys, theirs: snow::HandshakeState, payload: &[u8]) {
    assert_eq!(ours.hash[..], *theirs.get_handshake_hash());
    let theirs = theirs.into_stateless_transport_mode().unwrap();
    for number in [0, 1, 77, 1 << 40] {
        let mut buf = payload.to_vec();
        let tag = ours.send.seal(number, &[], &mut buf);
        buf.extend_from_slice(&tag);
        let mut opened = vec![0; buf.len()];
        let len = theirs.read_message(number, &buf, &mut opened).unwrap();
        assert_eq!(&opened[..len], payload);

        let len = theirs.write_message(number, payload, &mut buf).unwrap();
        let (sealed, tag) = buf[..len].split_last_chunk_mut::<TAG_LEN>().unwrap();
        ours.recv.open(number, &[], sealed, tag).unwrap();
        assert_eq!(sealed, payload);
    }
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..1200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    // Mutation: `mix_key` left out of `mix_ephemeral` makes this fail.
    #[test]
    fn h1_agrees_with_snow_in_both_roles(
        si: [u8; 32], sr: [u8; 32], ei: [u8; 32], er: [u8; 32], psk: [u8; 32],
        prologue in prop::collection::vec(any::<u8>(), 0..40), one in payload(), two in payload(),
    ) {
        let (local, remote) = (Identity::from_bytes(si), Identity::from_bytes(sr));
        let (mut first, mut second, mut buf) = (Vec::new(), Vec::new(), vec![0; MAX_MESSAGE_LEN]);

        let start = Initiator::start(
            &local, &remote.public_key(), &psk, &prologue, Zeroizing::new(ei), &one, &mut first,
        ).unwrap();
        let key = remote.public_key();
        let mut their_start =
            snow(&si, &ei, &psk, &prologue).remote_public_key(key.as_bytes()).unwrap().build_initiator().unwrap();
        let len = their_start.write_message(&one, &mut buf).unwrap();
        prop_assert_eq!(&first, &buf[..len]);

        let read = Responder::read(&remote, &prologue, &first).unwrap();
        prop_assert_eq!((read.remote(), read.payload()), (&local.public_key(), &one[..]));
        let mut their_read = snow(&sr, &er, &psk, &prologue).build_responder().unwrap();
        let len = their_read.read_message(&first, &mut buf).unwrap();
        prop_assert_eq!(&one, &buf[..len]);

        let keys = read.reply(&psk, Zeroizing::new(er), &two, &mut second).unwrap();
        let len = their_read.write_message(&two, &mut buf).unwrap();
        prop_assert_eq!(&second, &buf[..len]);

        let mut opened = Vec::new();
        let our_keys = start.read(&second, &mut opened).unwrap();
        prop_assert_eq!(&opened, &two);
        let len = their_start.read_message(&second, &mut buf).unwrap();
        prop_assert_eq!(&two, &buf[..len]);

        check_transport(&our_keys, their_read, &one);
        check_transport(&keys, their_start, &two);
    }

    #[test]
    fn garbage_never_panics(first in prop::collection::vec(any::<u8>(), 0..400), after in payload()) {
        prop_assert!(Responder::read(&responder(), PROLOGUE, &first).is_err());
        prop_assert!(message_1(EI).0.read(&after, &mut Vec::new()).is_err());
    }
}

// Mutation: `mix_key_and_hash` of the psk left out in both roles makes this fail.
#[test]
fn h6_psk_of_zeros_is_one_like_any_other() {
    let zero = View { psk: [0; HASH_LEN], ..view() };
    handshake(&zero, &zero).unwrap();
    assert_eq!(handshake(&zero, &view()).err(), Some(NoiseError::BadTag));
}
