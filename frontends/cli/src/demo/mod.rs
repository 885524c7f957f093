//! `burdock demo`: two peers on loopback sockets, and a relay between them that can be made to
//! fail. The peers use the driver's public API; the relay knows sockets and bytes.

mod fallback;
mod offline;
mod open;
mod outage;
mod relay;
mod stage;
mod traffic;
mod verdict;

use std::io::{self, IsTerminal};
use tokio::time::Instant;

use crate::args::{DemoArgs, Part, Sabotage};
use crate::failure::{FAILED, Failure};
use crate::output::{Palette, seconds};
use stage::Narrator;
use verdict::Verdict;

impl Part {
    const ALL: [Self; 4] = [Self::A, Self::B, Self::C, Self::D];

    const fn title(self) -> &'static str {
        match self {
            Self::A => "(a) open network",
            Self::B => "(b) UDP dropped and back",
            Self::C => "(c) link dead for 5 s",
            Self::D => "(d) peer offline",
        }
    }

    const fn story(self) -> &'static str {
        match self {
            Self::A => "Nothing is in the way.",
            Self::B => "A firewall drops UDP without a word, lets it through, and drops it again.",
            Self::C => "Nothing passes for 5 s in the middle of 1,000 messages each way.",
            Self::D => "Nobody answers, neither over UDP nor over TCP.",
        }
    }
}

impl Sabotage {
    const fn note(self) -> &'static str {
        match self {
            Self::NoFallback => "the link names no TCP port, so (b) must fail",
            Self::NoResume => "the applications start anew instead of resuming, so (c) must fail",
            Self::DoubleMessage => "one message is sent twice, so (a) must fail",
            Self::NeverGiveUp => "there is no end to the attempts, so (d) must fail",
        }
    }
}

pub(crate) async fn run(args: DemoArgs) -> Result<u8, Failure> {
    let narrator = Narrator::new(Palette::for_terminal(io::stdout().is_terminal()));
    let palette = narrator.palette();
    narrator.print(&palette.strong("Two peers on loopback, a relay between them."));
    if let Some(sabotage) = args.sabotage {
        narrator.print(&palette.bad(format!("Sabotage: {}.", sabotage.note())));
    }
    let began = Instant::now();
    let mut verdicts = Vec::new();
    for part in Part::ALL.into_iter().filter(|part| args.only.is_empty() || args.only.contains(part)) {
        verdicts.push(play(part, args.sabotage, &narrator).await?);
    }
    narrator.print("");
    narrator.print(&verdict::table(&verdicts, palette));
    let held = verdicts.iter().filter(|verdict| verdict.holds()).count();
    narrator.print(&format!("{held} of {} scenarios passed in {}.", verdicts.len(), seconds(began.elapsed())));
    Ok(if held == verdicts.len() { 0 } else { FAILED })
}

async fn play(part: Part, sabotage: Option<Sabotage>, narrator: &Narrator) -> Result<Verdict, Failure> {
    narrator.begin(part.title(), part.story());
    let began = Instant::now();
    let mut verdict = Verdict::new(part.title());
    match part {
        Part::A => open::play(sabotage == Some(Sabotage::DoubleMessage), narrator, &mut verdict).await,
        Part::B => fallback::play(sabotage == Some(Sabotage::NoFallback), narrator, &mut verdict).await,
        Part::C => outage::play(sabotage == Some(Sabotage::NoResume), narrator, &mut verdict).await,
        Part::D => offline::play(sabotage == Some(Sabotage::NeverGiveUp), narrator, &mut verdict).await,
    }?;
    verdict.took = began.elapsed();
    narrator.end(&verdict);
    Ok(verdict)
}
