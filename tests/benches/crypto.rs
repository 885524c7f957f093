//! What sealing, opening and a handshake cost.
#![allow(missing_docs, reason = "criterion's macros write undocumented functions")]

use burdock_core::crypto::AeadKey;
use burdock_core::noise::{Initiator, Responder};
use burdock_core::seal::{HEADER_LEN, Opener, Order, Sealer};
use burdock_core::{Identity, PublicKey};
use burdock_tests::direct::{Carrier, Pair};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

/// The plaintext of a full packet on UDP: 1,200 bytes less header and tag.
const PAYLOAD: usize = 1_168;

fn sealing(c: &mut Criterion) {
    let mut group = c.benchmark_group("packet of 1168 bytes");
    group.throughput(Throughput::Bytes(PAYLOAD as u64));
    let mut sealer = Sealer::new(AeadKey::new(&[7; 32]));
    let mut packet = Vec::with_capacity(1_200);
    group.bench_function("seal", |b| {
        b.iter(|| {
            packet.resize(HEADER_LEN + PAYLOAD, 0);
            let number = sealer.seal(1, &mut packet, 0);
            packet.truncate(HEADER_LEN + PAYLOAD);
            number
        });
    });
    group.bench_function("seal and open", |b| {
        let mut sealer = Sealer::new(AeadKey::new(&[7; 32]));
        let mut opener = Opener::new(AeadKey::new(&[7; 32]), Order::Window);
        b.iter(|| {
            packet.resize(HEADER_LEN + PAYLOAD, 0);
            let number = sealer.seal(1, &mut packet, 0);
            let opened = opener.open(&mut packet).map(|opened| opened.number);
            assert_eq!(number.ok(), opened.ok());
            packet.clear();
        });
    });
    group.finish();
}

fn handshake(c: &mut Criterion) {
    let ours = Identity::from_bytes([1; 32]);
    let theirs = Identity::from_bytes([2; 32]);
    let key: PublicKey = theirs.public_key();
    let mut group = c.benchmark_group("handshake");
    group.bench_function("noise, both sides", |b| {
        b.iter(|| {
            let (mut first, mut second, mut payload) = (Vec::new(), Vec::new(), Vec::new());
            let psk = [0; 32];
            let initiator = Initiator::start(&ours, &key, &psk, b"", [3; 32].into(), &[0; 64], &mut first);
            let responder = Responder::read(&theirs, b"", &first).expect("a whole message");
            let keys = responder.reply(&psk, [4; 32].into(), &[0; 64], &mut second).expect("a whole message");
            let answer = initiator.expect("a good key").read(&second, &mut payload).expect("a whole message");
            assert_eq!(black_box(keys).hash, answer.hash);
        });
    });
    for carrier in [Carrier::Datagrams, Carrier::Stream] {
        group.bench_function(format!("two endpoints over {carrier:?}"), |b| {
            b.iter_batched(|| (), |()| Pair::connect(carrier), BatchSize::SmallInput);
        });
    }
    group.finish();
}

criterion_group!(benches, sealing, handshake);
criterion_main!(benches);
