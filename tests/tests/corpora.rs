//! The committed corpora, and the inputs that once broke something, through the fuzz targets.

use std::path::{Path, PathBuf};

use burdock_tests::fuzz::TARGETS;

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
