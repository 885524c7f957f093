//! A seeded network simulator for Burdock.
//!
//! `Seed -> Scenario -> Run -> Trace`, four separate things. A seed only generates a
//! [`Scenario`]: readable data that can be saved, edited and replayed. [`run`] depends on the
//! scenario alone, checks its oracles at every step, and returns a [`Report`] with the hash of
//! everything that went into the endpoints and came out of them: the same scenario gives the same
//! hash on every machine.
//!
//! ```no_run
//! let report = burdock_sim::check(7);
//! assert!(report.failure.is_none(), "{report}");
//! ```
//!
//! To simulate an application of your own on the same network, in the same time, see [`lab`].
//!
//! A peer that holds valid keys and misbehaves, to be set on one endpoint by hand, is in
//! [`hostile`].
//!
//! The driver inside takes the core at its word: it wakes exactly when it was asked to, does what
//! it was asked to do, and nothing else. Where it stands is `world`; what the network does to
//! packets is in `net`; what must hold is in `oracle`.

mod app;
mod attack;
mod clock;
mod generate;
mod host;
pub mod hostile;
mod item;
pub mod lab;
mod luck;
mod net;
mod oracle;
mod presets;
mod queue;
mod report;
mod run;
pub mod scenario;
mod span;
mod table;
mod trace;
mod world;

pub use lab::Lab;
pub use oracle::ledger::Stream;
pub use oracle::payload::HEADER;
pub use presets::{Cut, Gone};
pub use report::{Failure, Knock, Report, Told};
pub use run::{Options, check, run};
pub use scenario::{Family, Scenario, ScenarioError};
pub use table::{Row, Table};
pub use trace::Detail;
