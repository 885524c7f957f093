//! Seeds as they come.

use burdock_sim::{Family, Options, Report, Scenario, check, run};

/// Enough for every run of the tests; `burdock sim sweep` has no limit.
const SEEDS: u64 = 200;

/// Which figure of which promise counts the seeds that an oracle failed.
const COUNTS: [(&str, &str, &str); 6] = [
    ("wire", "R1", "repeats"),
    ("wire", "T1", "streams that differ"),
    ("one session", "H10", "seeds with more or less than one session"),
    ("messages", "C4", "messages lost, doubled or swapped in silence"),
    ("messages", "T12", "messages lost, doubled or swapped"),
    ("leftovers", "C6", "leftovers that changed something"),
];

// Mutation: `nonce-reuse`, `half-a-frame` or `doubled-on-path-change` of `tests/planted` makes this fail.
#[test]
fn r1_t1_h10_c4_t12_c6_two_hundred_seeds_break_nothing() {
    let reports: Vec<_> = (0..SEEDS).map(check).filter(|report| report.failure.is_some()).collect();
    let shown: Vec<_> = reports.iter().take(3).map(ToString::to_string).collect();
    assert!(reports.is_empty(), "{} of {SEEDS} seeds failed; the first:\n{}", reports.len(), shown.join("\n"));
    for (oracle, id, figure) in COUNTS {
        let by = |report: &&Report| report.failure.as_ref().is_some_and(|failure| failure.oracle == oracle);
        burdock_ledger::reached(id, figure, reports.iter().filter(by).count() as u32);
    }
    burdock_ledger::reached("R1", "seeds watched", SEEDS as u32);
    burdock_ledger::reached("C4", "seeds watched", SEEDS as u32);
    burdock_ledger::reached("C6", "seeds watched", SEEDS as u32);
}

#[test]
fn a_sweep_reaches_the_families_of_faults() {
    let mut table = burdock_sim::Table::default();
    for seed in 1_000..1_060 {
        table.merge(&check(seed).expect_ok().table);
    }
    let rows = table.rows();
    for family in Family::ALL {
        let row = rows.iter().find(|row| (row.group, row.name) == ("family", family.name()));
        // Those of routers are on in a sixth of the seeds.
        let least = if *family > Family::I2p { 3 } else { 10 };
        assert!(row.is_some_and(|row| row.count >= least), "{} was on too rarely", family.name());
    }
}

/// Scenarios in which something was once wrong, each named after it.
#[test]
fn what_was_once_wrong_stays_right() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/regressions");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let scenario = Scenario::from_text(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let report = run(&scenario, &Options::default());
        assert!(report.failure.is_none(), "{}:\n{report}", file.display());
    }
}
