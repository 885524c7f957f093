//! What must hold at every step, whatever the faults are. Each oracle watches one thing from
//! outside: what crosses the wire, and what the applications do and are told.

pub(crate) mod amplification;
pub(crate) mod contract;
pub(crate) mod door;
pub(crate) mod elsewhere;
pub(crate) mod forged;
pub(crate) mod genuine;
pub(crate) mod hidden;
pub(crate) mod ledger;
pub(crate) mod payload;
pub(crate) mod restarts;
pub(crate) mod updates;
pub(crate) mod wire;

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    /// The oracle that saw it.
    pub(crate) oracle: &'static str,
    /// What it saw.
    pub(crate) message: String,
}

/// Whether everything still holds.
pub(crate) type Verdict<T = ()> = Result<T, Broken>;

/// It does not.
pub(crate) fn broken<T>(oracle: &'static str, message: impl Into<String>) -> Verdict<T> {
    Err(Broken { oracle, message: message.into() })
}

/// `holds`, or else the oracle's message.
pub(crate) fn require(holds: bool, oracle: &'static str, message: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { broken(oracle, message()) }
}
