//! How fast the simulator is: whole seeds a second on one core, and what a calm network costs.
#![allow(missing_docs, reason = "criterion's macros write undocumented functions")]

use burdock_sim::{Options, Scenario, run};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;

const SEEDS: u64 = 20;

fn seeds(c: &mut Criterion) {
    let mut group = c.benchmark_group("simulator");
    group.sample_size(10).measurement_time(Duration::from_secs(10)).throughput(Throughput::Elements(SEEDS));
    let scenarios: Vec<_> = (0..SEEDS).map(Scenario::generate).collect();
    group.bench_function("seeds", |b| {
        b.iter(|| {
            for scenario in &scenarios {
                black_box(run(scenario, &Options::default()));
            }
        });
    });
    group.bench_function("scenarios generated", |b| {
        b.iter(|| (0..SEEDS).map(Scenario::generate).map(black_box).count())
    });
    group.finish();
}

criterion_group!(benches, seeds);
criterion_main!(benches);
