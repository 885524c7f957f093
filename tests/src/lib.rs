//! What spans crates.
//!
//! * [`conformance`]: what every host of the core must do, as a suite that hosts implement.
//! * [`tokio_host`]: the suite's host on real loopback sockets, through the tokio driver.
//! * [`sim_host`]: the suite's host on the simulated network, in virtual time.
//! * [`relay`]: a network that can be made to fail, between real sockets.
//! * [`fuzz`]: the bodies of the fuzz targets, which the committed corpora run through as well.

pub mod conformance;
pub mod fuzz;
pub mod relay;
pub mod sim_host;
pub mod tokio_host;
