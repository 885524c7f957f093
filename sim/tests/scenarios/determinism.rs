//! I5: the same seed, the same trace.

use burdock_sim::check;

#[test]
fn i5_a_seed_gives_the_same_trace_twice() {
    // Mutation: hashing the address of a session (`&raw const`) into the trace makes this fail.
    for seed in 0..20 {
        let (first, second) = (check(seed), check(seed));
        assert_eq!(first.hash, second.hash, "seed {seed} ran two ways");
        assert_eq!(first.told, second.told, "seed {seed} told two stories");
        assert!(first.packets > 0, "seed {seed} sent nothing");
    }
}

#[test]
fn i5_a_scenario_runs_as_its_seed_did() {
    // Mutation: leaving `clock` out of the scenario's text makes this fail.
    use burdock_sim::{Options, Scenario, run};
    for seed in 100..105 {
        let scenario = Scenario::from_text(&Scenario::generate(seed).to_text()).unwrap();
        assert_eq!(run(&scenario, &Options::default()).hash, check(seed).hash);
    }
}

/// The hashes of five seeds, the same on every machine and in every build. A deliberate change of
/// behaviour, of the core or of the simulator, changes them; `burdock sim run --seed N` prints the
/// new one at its end.
const HASHES: [(u64, u64); 5] = [
    (1, 0xb49e_7771_9980_6a52),
    (2, 0x3992_8f26_b348_9b9c),
    (3, 0x7733_5d83_3794_b57d),
    (4, 0x98c9_6e87_af08_cf4f),
    (5, 0x36c8_4bb6_a2ee_8b10),
];

#[test]
fn i5_five_seeds_have_the_hashes_that_are_written_down() {
    // Mutation: drawing a jitter of one microsecond more (`backoff.rs`, `jittered`) makes this fail.
    assert_eq!(HASHES.map(|(seed, _)| (seed, check(seed).hash)), HASHES);
}
