//! What Burdock promises, the figure that each promise demands, and the figure that its test
//! reached.
//!
//! `promises.toml` has the promises. A test reports a figure with [`reached`], which fails the test
//! when the figure falls short. The program of this package collects what a test run reported into
//! `docs/promises.md`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde::Deserialize;

/// All promises, by id.
pub type Promises = BTreeMap<String, Promise>;

/// One promise.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promise {
    /// What is promised.
    pub says: String,
    /// What each figure must be: `= 0`, `<= 3` or `>= 1000`.
    #[serde(default)]
    pub figures: BTreeMap<String, String>,
    /// What of it cannot be shown on one machine, or is not kept, and why.
    #[serde(default)]
    pub falls_short: Option<String>,
}

/// The promises, as `promises.toml` has them.
///
/// # Panics
/// The file is no valid TOML of that shape.
#[must_use]
pub fn promises() -> Promises {
    toml::from_str(include_str!("../promises.toml")).expect("promises.toml is in order")
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

/// Where a test run leaves its figures.
#[must_use]
pub fn folder() -> PathBuf {
    let workspace = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from).join("promises")
}

/// Reports the figure that the running test reached for a promise.
///
/// # Panics
/// The figure falls short, or `promises.toml` does not know it.
pub fn reached(id: &str, figure: &str, value: impl Into<f64>) {
    let value = value.into();
    let promises = promises();
    let promise = promises.get(id).unwrap_or_else(|| panic!("promises.toml has no promise {id}"));
    let demand = promise.figures.get(figure).unwrap_or_else(|| panic!("{id} has no figure named {figure:?}"));
    let meets = meets(demand, value).unwrap_or_else(|| panic!("{id}: {demand:?} is no demand"));
    assert!(meets, "{id}: {figure}: {value}, demanded is {demand}");
    let test = std::thread::current().name().unwrap_or("main").to_owned();
    let slug: String = figure.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    fs::create_dir_all(folder()).expect("the target folder can be written");
    fs::write(folder().join(format!("{id}.{slug}")), format!("{figure}\t{value}\t{test}\n"))
        .expect("the target folder can be written");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_demand_can_be_read() {
        for (id, promise) in promises() {
            for (figure, demand) in promise.figures {
                assert!(meets(&demand, 0.0).is_some(), "{id}: {figure}: {demand}");
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
}
