//! Messages from one endpoint to another, both on one thread: sealed, carried, acknowledged,
//! opened, taken, and known to be delivered.
#![allow(missing_docs, reason = "criterion's macros write undocumented functions")]

use burdock_tests::direct::{Carrier, Pair};
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn messages(c: &mut Criterion) {
    for carrier in [Carrier::Datagrams, Carrier::Stream] {
        for (size, count) in [(16, 4_096), (256, 4_096), (4_096, 256), (65_536, 16), (200 * 1_024, 8)] {
            let message = Bytes::from(vec![7; size]);
            let mut pair = Pair::connect(carrier);
            let mut transfer = || pair.transfer(0, std::iter::repeat_n(message.clone(), count));
            let mut group = c.benchmark_group(format!("{carrier:?}"));
            group.sample_size(20);
            group.throughput(Throughput::Bytes((size * count) as u64));
            group.bench_function(BenchmarkId::new("bytes", size), |b| b.iter(&mut transfer));
            group.finish();
        }
    }
}

criterion_group!(benches, messages);
criterion_main!(benches);
