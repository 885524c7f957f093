//! What Burdock promises, the figure that each promise demands, and the figure that its test
//! reached.
//!
//! `promises.toml` has the promises, `flaws.toml` the flaws that they keep out. A test reports a
//! figure with [`reached`], which fails the test when the figure falls short. The program of this
//! package collects what a test run reported into `docs/promises.md`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde::Deserialize;

/// All promises, by id.
pub type Promises = BTreeMap<String, Promise>;

/// All flaws, by id.
pub type Flaws = BTreeMap<String, Flaw>;

/// One promise.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promise {
    /// What is promised.
    pub says: String,
    /// What each figure must be: `= 0`, `<= 3` or `>= 1000`.
    #[serde(default)]
    pub figures: BTreeMap<String, String>,
    /// The figures that only tests marked `#[ignore]` reach.
    #[serde(default)]
    pub large: Vec<String>,
    /// The figures that differ between runs or machines.
    #[serde(default)]
    pub varies: Vec<String>,
    /// What of it cannot be shown on one machine, or is not kept, and why.
    #[serde(default)]
    pub falls_short: Option<String>,
    /// What it waits for: nothing is demanded of it before that is built.
    #[serde(default)]
    pub waits_for: Option<String>,
}

/// A flaw seen in comparable programs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flaw {
    /// What it is.
    pub says: String,
    /// The promises whose tests show that it is absent.
    pub promises: Vec<String>,
}

/// A figure that a test of the last run reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Reached {
    /// The promise.
    pub id: String,
    /// The name of the figure.
    pub figure: String,
    /// The figure.
    pub value: f64,
    /// The test, with its modules.
    pub test: String,
}

/// The promises, as `promises.toml` has them.
///
/// # Panics
/// The file is no valid TOML of that shape.
#[must_use]
pub fn promises() -> Promises {
    toml::from_str(include_str!("../promises.toml")).expect("promises.toml is in order")
}

/// The flaws, as `flaws.toml` has them.
///
/// # Panics
/// The file is no valid TOML of that shape.
#[must_use]
pub fn flaws() -> Flaws {
    toml::from_str(include_str!("../flaws.toml")).expect("flaws.toml is in order")
}

/// Whether `value` is as a demand such as `<= 3` says; `None` when that is no demand.
#[must_use]
pub fn meets(demand: &str, value: f64) -> Option<bool> {
    let (relation, bound) = demand.split_once(' ')?;
    let bound: f64 = bound.replace([',', '_'], "").parse().ok()?;
    match relation {
        "=" => Some((value - bound).abs() < f64::EPSILON),
        "<=" => Some(value <= bound),
        ">=" => Some(value >= bound),
        _ => None,
    }
}

/// The folder of the workspace.
#[must_use]
pub fn workspace() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Where a test run leaves its figures.
#[must_use]
pub fn folder() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    workspace().join(target).join("promises")
}

/// Reports the figure that the running test reached for a promise. Call it on the test's own
/// thread, whose name is the test's; when a test reports one figure twice, the last counts.
///
/// # Panics
/// The figure falls short, or `promises.toml` does not know it.
#[track_caller]
pub fn reached(id: &str, figure: &str, value: impl Into<f64>) {
    let value = value.into();
    let promises = promises();
    let promise = promises.get(id).unwrap_or_else(|| panic!("promises.toml has no promise {id}"));
    let demand = promise.figures.get(figure).unwrap_or_else(|| panic!("{id} has no figure named {figure:?}"));
    let meets = meets(demand, value).unwrap_or_else(|| panic!("{id}: {demand:?} is no demand"));
    assert!(meets, "{id}: {figure}: {value}, demanded is {demand}");
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("main");
    // A file for each test: tests run in many threads and processes.
    let slug: String =
        format!("{id}.{figure}.{test}").chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    fs::create_dir_all(folder()).expect("the target folder can be written");
    fs::write(folder().join(slug), format!("{id}\t{figure}\t{value}\t{test}\n"))
        .expect("the target folder can be written");
}

/// The figures that were reported since [`clear`], in a fixed order.
#[must_use]
pub fn figures() -> Vec<Reached> {
    let Ok(files) = fs::read_dir(folder()) else { return Vec::new() };
    let mut texts: Vec<_> = files.flatten().filter_map(|file| fs::read_to_string(file.path()).ok()).collect();
    texts.sort();
    texts.iter().filter_map(|text| parse(text.trim_end())).collect()
}

fn parse(line: &str) -> Option<Reached> {
    let mut fields = line.split('\t').map(str::to_owned);
    let (id, figure, value, test) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    Some(Reached { id, figure, value: value.parse().ok()?, test })
}

/// Forgets the figures of earlier runs.
///
/// # Errors
/// The folder cannot be removed.
pub fn clear() -> std::io::Result<()> {
    let folder = folder();
    if folder.exists() { fs::remove_dir_all(folder) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_demand_can_be_read() {
        for (id, promise) in promises() {
            for (figure, demand) in &promise.figures {
                assert!(meets(demand, 0.0).is_some(), "{id}: {figure}: {demand}");
            }
            for figure in promise.large.iter().chain(&promise.varies) {
                assert!(promise.figures.contains_key(figure), "{id} has no figure named {figure:?}");
            }
        }
    }

    #[test]
    fn every_flaw_is_kept_out_by_a_promise() {
        let promises = promises();
        for (id, flaw) in flaws() {
            assert!(!flaw.promises.is_empty(), "{id}");
            for promise in flaw.promises {
                assert!(promises.contains_key(&promise), "{id} names {promise}, which promises.toml does not have");
            }
        }
    }

    #[test]
    fn a_demand_is_met_or_not() {
        assert_eq!(meets("<= 3", 3.0), Some(true));
        assert_eq!(meets("<= 3", 3.1), Some(false));
        assert_eq!(meets(">= 10,000", 9_999.0), Some(false));
        assert_eq!(meets("= 0", 0.0), Some(true));
        assert_eq!(meets("about 3", 3.0), None);
    }

    #[test]
    #[should_panic(expected = "demanded is = 0")]
    fn a_figure_that_falls_short_fails_its_test() {
        reached("H1", "vectors that differ", 1);
    }

    #[test]
    fn a_reported_figure_is_read_back() {
        let reached =
            Reached { id: "R3".into(), figure: "changes".into(), value: 0.5, test: "records::tests::r3_x".into() };
        assert_eq!(parse("R3\tchanges\t0.5\trecords::tests::r3_x"), Some(reached));
        assert_eq!(parse("R3\tchanges\tmany\tx"), None);
        assert_eq!(parse(""), None);
    }
}
