//! Seeds as they come.

use burdock_sim::{Family, Options, Scenario, check, run};

/// Enough for every run of the tests; `burdock sim sweep` has no limit.
const SEEDS: u64 = 200;

#[test]
fn two_hundred_seeds_break_nothing() {
    let mut failed = Vec::new();
    for seed in 0..SEEDS {
        let report = check(seed);
        if report.failure.is_some() {
            failed.push(report.to_string());
        }
    }
    let shown: Vec<_> = failed.iter().take(3).cloned().collect();
    assert!(failed.is_empty(), "{} of {SEEDS} seeds failed; the first:\n{}", failed.len(), shown.join("\n"));
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
        assert!(row.is_some_and(|row| row.count >= 10), "{} was on too rarely", family.name());
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
