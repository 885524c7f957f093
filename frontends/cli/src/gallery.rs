//! `burdock gallery`: every status that a session can have.

use std::io::{self, Write};

use burdock_core::WayOut;
use burdock_core::gallery::{Card, cards};

use crate::args::GalleryArgs;
use crate::failure::Failure;

pub(crate) fn run(args: &GalleryArgs) -> Result<u8, Failure> {
    let text = if args.json { json(&cards()) } else { cards().iter().map(sentences).collect() };
    match io::stdout().write_all(text.as_bytes()) {
        // `burdock gallery | head` has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::local(format!("standard output: {error}")))
        }
        _ => Ok(0),
    }
}

/// One card a line, so that a change of one is a change of one line.
fn json(cards: &[Card]) -> String {
    let lines: Vec<_> =
        cards.iter().map(|card| serde_json::to_string(card).expect("cards have string keys alone")).collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}

fn sentences(card: &Card) -> String {
    let ways: Vec<_> = card.reading.ways_out.iter().map(|way| name(*way)).collect();
    let Card { id, reading, .. } = card;
    format!("{id}\n    {}\n    {}\n    [{}]\n", reading.text, reading.hint, ways.join(", "))
}

fn name(way: WayOut) -> String {
    serde_json::to_value(way).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}
