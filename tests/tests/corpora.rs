//! The committed corpora, and the inputs that once broke something, through the fuzz targets.

use std::path::{Path, PathBuf};

use burdock_tests::fuzz::{Reached, TARGETS, endpoint_reaches};

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{} is missing: {error}", dir.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a readable directory").path()).collect();
    files.sort();
    files
}

#[test]
fn d7_the_corpora_hold() {
    // Mutation: `Ok(&self.rest[..len])` in `Reader::bytes` makes this fail.
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    for (name, target) in TARGETS {
        let corpus = files(&fuzz.join("corpus").join(name));
        assert!(corpus.len() >= 10, "fuzz/corpus/{name} has {} inputs", corpus.len());
        let regressions = fuzz.join("regressions").join(name);
        let regressions = if regressions.exists() { files(&regressions) } else { Vec::new() };
        for file in corpus.iter().chain(&regressions) {
            println!("{}", file.display());
            target(&std::fs::read(file).expect("a readable file"));
        }
    }
}

/// What scripts of events must come to. Timers, updates, ends and refusals are told apart by their names; whether each
/// was seen is what counts, not how often.
const MUST_REACH: &[&str] = &[
    "update Progress",
    "update Connected",
    "update Message",
    "update Outcome",
    "update PathChanged",
    "update Quality",
    "update Lost",
    "update Resumed",
    "update PeerRestarted",
    "update IdentityInUse",
    "update InviteBound",
    "update Writable",
    "update Closed",
    "outcome Delivered",
    "outcome Undelivered",
    "outcome Unknown",
    "progress Connecting",
    "progress Retrying",
    "progress Connected",
    "progress Failed",
    "timer Backoff",
    "timer Attempt",
    "timer Fallback",
    "timer Resend",
    "timer Loss",
    "timer Ack",
    "timer Silence",
    "timer Heartbeat",
    "timer Upgrade",
    "timer Retire",
    "timer Renew",
    "timer Age",
    "timer Close",
    "timer Expiry",
    "timer HalfOpen",
    "timer Partial",
    "refused: malformed",
    "refused: replayed",
    "refused: out_of_order",
    "refused: bad_tag",
    "refused: retired",
    "turned away: malformed",
    "turned away: bad_mac1",
    "turned away: no_cookie",
    "turned away: rate_limited",
    "turned away: not_accepted",
    "turned away: half_open_evicted",
    "turned away: streams_evicted",
    "turned away: streams_too_slow",
    "peer: keys renewed",
    "peer: renewal or resumption answered",
    "peer: challenge brought back",
    "peer: cookie used",
    "peer: cookie demanded",
];

#[test]
fn d7_the_corpus_of_the_state_machine_reaches_all_of_it() {
    // Mutation: `% 24` in `World::step` makes this fail.
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/endpoint");
    let mut reached = Reached::default();
    for file in files(&corpus) {
        reached = endpoint_reaches(&std::fs::read(file).expect("a readable file"), reached);
    }
    for (what, times) in &reached.0 {
        println!("{times:>8}  {what}");
    }
    let missed: Vec<_> =
        MUST_REACH.iter().filter(|what| reached.0.get(**what).is_none_or(|&times| times == 0)).collect();
    assert!(missed.is_empty(), "the corpus never comes to {missed:?}");
}
