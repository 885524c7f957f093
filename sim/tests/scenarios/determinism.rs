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
