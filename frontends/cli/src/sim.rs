//! `burdock sim`: the simulator. It has neither threads nor a clock; they are here.

use std::io::{self, Write};
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use burdock_sim::{Detail, Options, Report, Scenario, Table};

use crate::args::{RunArgs, SimArgs, SimCommand, SweepArgs};
use crate::failure::{FAILED, Failure};
use crate::id;

/// Failing seeds that a sweep shows in full; of the others it gives the command.
const SHOWN: usize = 3;

pub(crate) fn run(args: &SimArgs) -> Result<u8, Failure> {
    match &args.command {
        SimCommand::Sweep(args) => sweep(args),
        SimCommand::Run(args) => replay(args),
    }
}

fn replay(args: &RunArgs) -> Result<u8, Failure> {
    let scenario = match (&args.scenario, args.seed) {
        (Some(path), _) => read(path)?,
        (None, Some(seed)) => Scenario::generate(seed),
        (None, None) => return Err(Failure::usage("name a seed with --seed, or a file with --scenario")),
    };
    if let Some(path) = &args.save {
        std::fs::write(path, scenario.to_text())
            .map_err(|error| Failure::local(format!("cannot write the scenario {}: {error}", path.display())))?;
    }
    let trace = if args.full { Detail::Full } else { Detail::Short };
    let report = burdock_sim::run(&scenario, &Options { trace });
    if report.failure.is_none() || args.full {
        for line in &report.log {
            print(line)?;
        }
    }
    print(report.to_string().trim_end())?;
    Ok(if report.failure.is_none() { 0 } else { FAILED })
}

fn read(path: &Path) -> Result<Scenario, Failure> {
    let wrong = |what: String| Failure::local(format!("cannot use the scenario {}: {what}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    Scenario::from_text(&text).map_err(|error| wrong(error.to_string()))
}

/// What the seeds of a sweep amount to.
#[derive(Default)]
struct Tally {
    seeds: u64,
    faults: Vec<u64>,
    messages: Vec<u64>,
    reconnects: Vec<u64>,
    table: Table,
    /// Seeds that failed, each with its report.
    failed: Vec<(u64, String)>,
}

impl Tally {
    /// Runs one seed. A panic in it fails this seed alone.
    fn run(&mut self, seed: u64) {
        self.seeds += 1;
        match catch_unwind(AssertUnwindSafe(|| burdock_sim::check(seed))) {
            Ok(report) => self.add(&report),
            Err(_) => self.failed.push((seed, format!("seed {seed}: panicked\nagain: burdock sim run --seed {seed}"))),
        }
    }

    fn add(&mut self, report: &Report) {
        self.faults.push(report.faults);
        self.messages.push(report.messages);
        self.reconnects.push(report.reconnects);
        self.table.merge(&report.table);
        if report.failure.is_some() {
            self.failed.push((report.seed, report.to_string()));
        }
    }

    fn merge(mut self, other: Self) -> Self {
        self.seeds += other.seeds;
        self.faults.extend(other.faults);
        self.messages.extend(other.messages);
        self.reconnects.extend(other.reconnects);
        self.table.merge(&other.table);
        self.failed.extend(other.failed);
        self
    }
}

fn sweep(args: &SweepArgs) -> Result<u8, Failure> {
    let first = args.from.map_or_else(fresh_seed, Ok)?;
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    print(&format!("{} seeds from {first} on {cores} cores", args.seeds))?;
    let began = Instant::now();
    let mut tally = on_all_cores(first, args.seeds, args.stop, cores);
    let took = began.elapsed();

    tally.failed.sort();
    print(&format!("\n{}", tally.table.to_string().trim_end()))?;
    let thin = tally.table.thin(args.least);
    for row in &thin {
        print(&format!("below {}: {} {} ({})", args.least, row.group, row.name, row.count))?;
    }
    let rate = tally.seeds.saturating_mul(1_000_000) / u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
    print(&format!(
        "\n{} seeds in {:.1} s, {rate} a second; median of a seed: {} faults, {} messages, {} reconnects",
        tally.seeds,
        took.as_secs_f64(),
        median(&mut tally.faults),
        median(&mut tally.messages),
        median(&mut tally.reconnects),
    ))?;
    for (_, report) in tally.failed.iter().take(SHOWN) {
        print(&format!("\n{}", report.trim_end()))?;
    }
    for (seed, _) in tally.failed.iter().skip(SHOWN) {
        print(&format!("also failed: burdock sim run --seed {seed}"))?;
    }
    if tally.failed.is_empty() {
        print("No oracle failed.")?;
    } else {
        let first = tally.failed.iter().map(|(seed, _)| seed.wrapping_sub(first)).min().unwrap_or_default();
        print(&format!("\n{} of {} seeds failed, the first after {first}.", tally.failed.len(), tally.seeds))?;
    }
    Ok(if tally.failed.is_empty() && thin.is_empty() { 0 } else { FAILED })
}

/// Every core takes the next seed when it is done with one.
fn on_all_cores(first: u64, seeds: u64, stop: bool, cores: usize) -> Tally {
    let (next, stopped) = (AtomicU64::new(0), AtomicBool::new(false));
    let work = || {
        let mut tally = Tally::default();
        while !stopped.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= seeds {
                break;
            }
            tally.run(first.wrapping_add(index));
            if stop && !tally.failed.is_empty() {
                stopped.store(true, Ordering::Relaxed);
            }
        }
        tally
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let tallies = workers.into_iter().map(|worker| worker.join().expect("a run's panic is caught in its worker"));
        tallies.fold(Tally::default(), Tally::merge)
    })
}

/// A seed that is short enough to be read out.
fn fresh_seed() -> Result<u64, Failure> {
    let bytes = id::random()?;
    Ok(bytes.iter().take(5).fold(0, |seed, byte| seed << 8 | u64::from(*byte)))
}

/// The middle one, the lower of the two in the middle.
fn median(values: &mut [u64]) -> u64 {
    values.sort_unstable();
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

fn print(text: &str) -> Result<(), Failure> {
    writeln!(io::stdout().lock(), "{text}").map_err(|error| Failure::local(format!("standard output: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_lower_middle() {
        assert_eq!(median(&mut []), 0);
        assert_eq!(median(&mut [9, 1, 5]), 5);
        assert_eq!(median(&mut [4, 1, 3, 2]), 2);
    }
}
