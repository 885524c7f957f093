use blake2::digest::consts::U32;
use data_encoding::HEXLOWER;
use proptest::prelude::*;

use super::{AeadKey, BadTag, Mac1Key, ZeroDh, aead, dh, hash, hkdf2, hkdf3, mac, mac1, public_key, xopen, xseal};
use crate::PublicKey;
use crate::vectors::{array, bytes, has_flag, list, load, wycheproof};

// Mutation: `dh` with the public key for both arguments makes this fail.
#[test]
fn h1_x25519_rfc7748() {
    let file = load("rfc7748_x25519");
    for case in list(&file["scalar_mult"]) {
        let shared = dh(&array(&case["scalar"]), &PublicKey::from(array(&case["u"]))).unwrap();
        assert_eq!(*shared, array(&case["out"]));
    }
    let pair = &file["diffie_hellman"];
    assert_eq!(public_key(&array(&pair["alice_private"])), PublicKey::from(array(&pair["alice_public"])));
    assert_eq!(public_key(&array(&pair["bob_private"])), PublicKey::from(array(&pair["bob_public"])));
    let shared = dh(&array(&pair["alice_private"]), &PublicKey::from(array(&pair["bob_public"]))).unwrap();
    assert_eq!(*shared, array(&pair["shared"]));

    let iterated = &file["iterated"];
    let mut k: [u8; 32] = array(&iterated["start_scalar_and_u"]);
    let mut u = k;
    for round in 1..=1000 {
        (k, u) = (*dh(&k, &PublicKey::from(u)).unwrap(), k);
        if round == 1 {
            assert_eq!(k, array(&iterated["after_1"]));
        }
    }
    assert_eq!(k, array(&iterated["after_1000"]));
    burdock_ledger::reached("H1", "vectors that differ", 0);
}

// Mutation: `if false` for the condition in `dh` makes this fail.
#[test]
fn h1_x25519_wycheproof() {
    let file = load("wycheproof_x25519");
    let cases = wycheproof(&file);
    assert_eq!(cases.len(), 518);
    let mut refused = 0;
    for case in cases {
        let result = dh(&array(&case["private"]), &PublicKey::from(array(&case["public"])));
        let expected: [u8; 32] = array(&case["shared"]);
        if expected == [0; 32] {
            refused += 1;
            assert!(matches!(result, Err(ZeroDh)), "{case}");
        } else {
            assert_eq!(*result.unwrap(), expected, "{case}");
        }
        assert_eq!(has_flag(case, "ZeroSharedSecret"), expected == [0; 32], "{case}");
    }
    assert_eq!(refused, 31);
    burdock_ledger::reached("H1", "vectors that differ", 0);
}

// Mutation: `&[]` for `ad` in `aead::seal` makes this fail.
#[test]
fn h1_chacha20_poly1305_rfc8439() {
    for case in list(&load("rfc8439_chacha20_poly1305")["aead"]) {
        let (key, nonce, ad) = (array(&case["key"]), array(&case["nonce"]), bytes(&case["aad"]));
        let mut buf = bytes(&case["plaintext"]);
        let tag = aead::seal(&key, &nonce, &ad, &mut buf);
        assert_eq!((buf.clone(), tag), (bytes(&case["ciphertext"]), array(&case["tag"])));
        aead::open(&key, &nonce, &ad, &mut buf, &tag).unwrap();
        assert_eq!(buf, bytes(&case["plaintext"]));
    }
    burdock_ledger::reached("H1", "vectors that differ", 0);
}

// Mutation: `to_be_bytes` in `nonce` makes this fail.
#[test]
fn h1_chacha20_poly1305_wycheproof() {
    let file = load("wycheproof_chacha20_poly1305");
    let (mut run, mut with_our_nonce) = (0, 0);
    for case in wycheproof(&file) {
        let Ok(nonce) = <[u8; 12]>::try_from(bytes(&case["iv"])) else { continue };
        run += 1;
        let (key, ad, tag) = (array(&case["key"]), bytes(&case["aad"]), array(&case["tag"]));
        let (plain, sealed) = (bytes(&case["msg"]), bytes(&case["ct"]));
        let mut buf = sealed.clone();
        let opened = aead::open(&key, &nonce, &ad, &mut buf, &tag);
        if case["result"] != "valid" {
            assert_eq!(opened, Err(BadTag), "{case}");
            assert!(buf.iter().all(|byte| *byte == 0), "{case}");
            continue;
        }
        assert_eq!((opened, &buf), (Ok(()), &plain), "{case}");
        assert_eq!(aead::seal(&key, &nonce, &ad, &mut buf), tag, "{case}");
        assert_eq!(buf, sealed, "{case}");

        if let Some(number) = nonce.strip_prefix(&[0; 4]) {
            with_our_nonce += 1;
            let number = u64::from_le_bytes(number.try_into().unwrap());
            let key = AeadKey::new(&key);
            key.open(number, &ad, &mut buf, &tag).unwrap();
            assert_eq!(buf, plain, "{case}");
            assert_eq!((key.seal(number, &ad, &mut buf), buf), (tag, sealed), "{case}");
        }
    }
    assert_eq!(run, 316);
    assert_eq!(with_our_nonce, 10);
    burdock_ledger::reached("H1", "vectors that differ", 0);
}

// Mutation: `state.update(parts[0])` in `keyed` makes this fail.
#[test]
fn h1_blake2s_known_answers() {
    let file = load("blake2s_kat");
    let cases = list(&file["vectors"]);
    assert_eq!(cases.len(), 512);
    for case in cases {
        let (input, expected): (_, [u8; 32]) = (bytes(&case["in"]), array(&case["out"]));
        let (start, end) = input.split_at(input.len() / 3);
        match <[u8; 32]>::try_from(bytes(&case["key"])) {
            Ok(key) => assert_eq!(hash::keyed::<U32>(&key, &[start, end]), expected),
            Err(_) => assert_eq!(hash(&[start, end]), expected),
        }
    }
    burdock_ledger::reached("H1", "vectors that differ", 0);
}

// Mutation: `&[3]` as `&[2]` in `hkdf3` makes this fail.
#[test]
fn h1_hkdf_blake2s() {
    let file = load("wireguard_hkdf_blake2s");
    for case in list(&file["vectors"]) {
        // HMAC pads a short key with zeros (RFC 2104 §2).
        let mut key = [0; 32];
        let short = bytes(&case["key"]);
        key[..short.len()].copy_from_slice(&short);
        let expected: [[u8; 32]; 3] = [array(&case["t1"]), array(&case["t2"]), array(&case["t3"])];
        assert_eq!(hkdf3(&key, &bytes(&case["input"])).map(|out| *out), expected);
        assert_eq!(hkdf2(&key, &bytes(&case["input"])).map(|out| *out), expected[..2]);
    }
    burdock_ledger::reached("H1", "vectors that differ", 0);
}

/// Expected: Python's `hashlib.blake2s(data, key=key, digest_size=16)`.
// Mutation: another label in `Mac1Key::new` makes this fail.
#[test]
fn h1_keyed_blake2s_128_and_mac1() {
    let key: [u8; 32] = core::array::from_fn(|i| i as u8);
    assert_eq!(HEXLOWER.encode(&mac(&key, &[b"the message", b" before"])), "d8ce3622750cae4de537d1b1bc90cec3");
    let responder = PublicKey::from([7; 32]);
    assert_eq!(HEXLOWER.encode(&mac1(&responder, b"the message before")), "8f79c0b90d7a775c74e4fbb14dc49a29");
}

#[test]
fn mac1_of_another_message_key_or_bit_is_refused() {
    let key = Mac1Key::new(&PublicKey::from([7; 32]));
    let good = key.mac(b"before");
    assert!(key.verify(b"before", &good));
    assert!(!key.verify(b"befors", &good));
    assert!(!Mac1Key::new(&PublicKey::from([8; 32])).verify(b"before", &good));
    for bit in 0..128 {
        let mut bad = good;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(!key.verify(b"before", &bad));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    // Mutation: without `buf.zeroize()` in `aead::open` this fails, as the ciphertext stays.
    #[test]
    fn i3_damaged_open_leaves_no_plaintext(
        key: [u8; 32], number: u64, ad: [u8; 16], plain in prop::collection::vec(1u8.., 1..300), bit in 0usize..128,
    ) {
        let key = AeadKey::new(&key);
        let mut buf = plain;
        let mut tag = key.seal(number, &ad, &mut buf);
        tag[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(key.open(number, &ad, &mut buf, &tag), Err(BadTag));
        prop_assert!(buf.iter().all(|byte| *byte == 0));
    }
}

/// Fails to compile if the type has one of the traits: then two implementations of `Ambiguous` fit.
macro_rules! assert_not_impl {
    ($type:ty: $($name:ident = $bound:path),+) => {{
        trait Ambiguous<Which> {
            fn found() {}
        }
        impl<T: ?Sized> Ambiguous<()> for T {}
        $({
            struct $name;
            impl<T: ?Sized + $bound> Ambiguous<$name> for T {}
        })+
        <$type as Ambiguous<_>>::found();
    }};
}

macro_rules! assert_secret {
    ($($type:ty),+) => {$(
        assert_not_impl!($type:
            C = Clone, D = core::fmt::Debug, S = core::fmt::Display, E = PartialEq, O = PartialOrd,
            H = core::hash::Hash, J = serde::Serialize, R = AsRef<[u8]>);
    )+};
}

// Mutation: `#[derive(Clone)]` on any of them does not compile.
#[test]
fn r1_i1_secrets_cannot_be_copied_compared_or_shown() {
    assert_secret!(super::Secret, AeadKey, crate::noise::Keys, crate::noise::Initiator, crate::noise::Responder);
    assert_secret!(crate::seal::Sealer, crate::seal::Opener, crate::rng::Randomness);
    // Its Debug shows the public key.
    assert_not_impl!(crate::Identity: C = Clone, S = core::fmt::Display, E = PartialEq, J = serde::Serialize);
}

// Mutation: `ChaCha20Poly1305` under the first 12 bytes of the nonce makes this fail.
#[test]
fn h1_xchacha20_poly1305_of_the_draft() {
    // draft-irtf-cfrg-xchacha-03, appendix A.3.1.
    let key: [u8; 32] = core::array::from_fn(|n| 0x80 + n as u8);
    let nonce: [u8; 24] = core::array::from_fn(|n| 0x40 + n as u8);
    let ad = HEXLOWER.decode(b"50515253c0c1c2c3c4c5c6c7").unwrap();
    let plaintext = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
                      sunscreen would be it.";
    let mut buf = plaintext.to_vec();
    let tag = xseal(&key, &nonce, &ad, &mut buf);
    assert_eq!(
        HEXLOWER.encode(&buf),
        "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216\
         cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff921f9664c97637da9768812f615c68b13\
         b52e"
    );
    assert_eq!(HEXLOWER.encode(&tag), "c0875924c1c7987947deafd8780acf49");
    let mut damaged = buf.clone();
    damaged[0] ^= 1;
    assert_eq!(xopen(&key, &nonce, &ad, &mut damaged, &tag), Err(BadTag));
    assert_eq!(damaged, vec![0; damaged.len()]);
    xopen(&key, &nonce, &ad, &mut buf, &tag).unwrap();
    assert_eq!(buf, plaintext);
}
