//! What spans crates.
//!
//! * [`mod@conformance`]: what every host of the core must do, as a suite that hosts implement.
//! * [`tokio_host`]: the suite's host on real loopback sockets, through the tokio driver.
//! * [`sim_host`]: the suite's host in the simulator, in virtual time.
//! * [`relay`]: a network that can be made to fail, between real sockets.
//! * [`router_lab`]: real I2P routers in a network of their own.
//! * [`sam_bridge`]: a SAM bridge without a router behind it.
//! * [`direct`]: two endpoints joined in memory, for benches and for counting allocations.
//! * [`fuzz`]: the bodies of the fuzz targets, which the committed corpora run through as well.

pub mod conformance;
pub mod direct;
pub mod fuzz;
pub mod relay;
pub mod router_lab;
pub mod sam_bridge;
pub mod sim_host;
pub mod tokio_host;
