//! Whether comparing secrets takes as long for a near miss as for a far one.

use core::hint::black_box;
use std::time::Instant;

use burdock_core::crypto::{AeadKey, Mac1Key, TAG_LEN, hash};
use burdock_core::{Invite, PublicKey};

/// Compares so many of each class, in random order.
const COMPARES: usize = 1 << 20;
const TRIES: usize = 5;
/// Below this no leak is seen, as a million compares show them.
const SOUND: f64 = 4.5;

/// Welch's t of the times of two classes of input, without the slowest tenth: a machine that does
/// other things disturbs both alike.
fn t(mut time: impl FnMut(usize) -> u64) -> f64 {
    let mut times = [Vec::with_capacity(COMPARES), Vec::with_capacity(COMPARES)];
    for round in 0..COMPARES as u64 / 256 {
        let luck = hash(&[&round.to_be_bytes()]);
        for place in 0..256 {
            let class = usize::from(luck[place / 8] >> (place % 8) & 1);
            times[class].push(time(class));
        }
    }
    let mut all: Vec<u64> = times.concat();
    all.sort_unstable();
    let limit = all[all.len() * 9 / 10];
    let [one, other] = times.map(|times| {
        let kept: Vec<f64> = times.into_iter().filter(|time| *time <= limit).map(|time| time as f64).collect();
        let count = kept.len() as f64;
        let mean = kept.iter().sum::<f64>() / count;
        let variance = kept.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (mean, variance / count)
    });
    (one.0 - other.0) / (one.1 + other.1).sqrt()
}

/// The smallest of some measurements. Something else on the machine can make one of them stand out; a leak does so in all.
fn least_t(mut time: impl FnMut(usize) -> u64) -> f64 {
    let mut least = f64::INFINITY;
    for _ in 0..TRIES {
        least = least.min(t(&mut time).abs());
        if least < SOUND {
            break;
        }
    }
    least
}

fn nanos(f: impl FnOnce()) -> u64 {
    let start = Instant::now();
    f();
    start.elapsed().as_nanos() as u64
}

/// Measured, and so nothing for a machine that is busy: `cargo test --release -p burdock-tests --test timing -- --ignored`.
// Mutation: `==` in place of `ct_eq` in `Mac1Key::verify` makes this fail.
#[test]
#[ignore = "measures time"]
fn i1_a_near_miss_takes_as_long_as_a_far_one() {
    let key = Mac1Key::new(&PublicKey::from([7; 32]));
    let genuine = key.mac(b"short");
    let wrong = |genuine: [u8; TAG_LEN]| {
        [0, TAG_LEN - 1].map(|place| {
            let mut mac = genuine;
            mac[place] ^= 1;
            mac
        })
    };
    let macs = wrong(genuine);
    let mac = least_t(|class| nanos(|| assert!(!key.verify(black_box(b"short"), black_box(&macs[class])))));

    let aead = AeadKey::new(&[9; 32]);
    let tags = wrong(aead.seal(0, &[], &mut [0; 16]));
    let tag = least_t(|class| {
        let mut buf = [0; 16];
        nanos(|| assert!(aead.open(0, &[], black_box(&mut buf), black_box(&tags[class])).is_err()))
    });

    let invite = Invite::new([1; 8], [5; 32]);
    let others = [0, 31].map(|place| {
        let mut secret = [5; 32];
        secret[place] ^= 1;
        Invite::new([1; 8], secret)
    });
    let secret = least_t(|class| nanos(|| assert!(black_box(&invite) != black_box(&others[class]))));
    eprintln!("t of mac1 {mac:.2}, of a tag {tag:.2}, of an invite {secret:.2}");
    burdock_ledger::reached("I1", "t of a million compares", mac.max(tag).max(secret));
}
