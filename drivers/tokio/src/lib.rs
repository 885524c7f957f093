//! Burdock on tokio: sockets around the state machine of [`burdock_core`].
//!
//! An [`Endpoint`] holds UDP and TCP on one port and runs one I/O task. It translates and nothing
//! else: which transport, when to try again and what a reason means is decided in the core.
//!
//! ```no_run
//! use burdock_tokio::{AcceptPolicy, Config, Endpoint, Identity, Link};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! // One side listens and sends everything back.
//! let home = Endpoint::bind("0.0.0.0:28736".parse()?, Config::streamer(), Identity::from_bytes([1; 32])).await?;
//! home.set_accept(AcceptPolicy::anyone());
//! let key = home.public_key();
//! tokio::spawn(async move {
//!     while let Some((session, _)) = home.accept().await {
//!         while let Ok(message) = session.recv().await {
//!             if session.send(message.channel, message.data).await.is_err() {
//!                 break;
//!             }
//!         }
//!     }
//! });
//!
//! // The other one dials it and talks.
//! let away = Endpoint::bind("0.0.0.0:0".parse()?, Config::streamer(), Identity::from_bytes([2; 32])).await?;
//! let (session, _updates) = away.connect(&Link::direct(key, "192.0.2.7:28736".parse()?))?;
//! session.connected().await?;
//! session.send(0, "hello").await?;
//! let echo = session.recv().await?;
//! assert_eq!(&echo.data[..], b"hello");
//! session.acknowledge();
//! session.close("bye").await;
//! away.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! # What to know
//! * Every async function is cancel safe and says what that means for it.
//! * [`Session::recv`] says that the messages before have been processed: that is what the sender
//!   hears as delivered.
//! * Dropping a [`Session`] cancels it. When the last [`Endpoint`] and [`Session`] are gone the
//!   task ends, and with it every socket and every wait. Nothing is detached.
//! * Time is `CLOCK_BOOTTIME` on Linux, which counts suspend. Timers of the runtime do not: after
//!   a suspend the core may be woken late, and then sees the time that really passed.
//! * Log events go to `tracing`, within the span `endpoint`: sessions at level info, dialling and
//!   addresses at level debug. Keys are shortened, secrets and content never appear.

mod clock;
mod endpoint;
mod report;
mod session;
mod shared;
mod sockets;
mod streams;
mod task;
mod updates;

pub use burdock_core::{
    AcceptPolicy, Class, Code, Config, ConfigError, ConnectError, Destination, Host, I2p, Identity, Invite, KeyError,
    Ladder, Limits, Link, LinkError, Message, MessageId, Outcome, PrivateDestination, Progress, PublicKey, Quality,
    Reading, RouterState, Schedule, SendError, SessionId, SessionOptions, State, Status, Transport, Update, WayOut,
};
pub use burdock_core::{gallery, update};
pub use bytes::Bytes;
pub use endpoint::{BindError, Endpoint};
pub use session::{Closed, Session};
pub use updates::Updates;
