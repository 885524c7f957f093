//! The page of every status, for whoever designs a front end.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

mod common;

use common::run;

#[test]
fn the_gallery_in_docs_is_that_of_the_core() {
    let output = run(&["gallery", "--json"]);
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/gallery.json");
    let same = String::from_utf8(output.stdout).unwrap() == std::fs::read_to_string(docs).unwrap();
    assert!(same, "docs/gallery.json is out of date: `burdock gallery --json > docs/gallery.json`");
}
