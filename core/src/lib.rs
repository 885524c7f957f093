//! Encrypted peer sessions that stick: the state machine, without any I/O.
//!
//! [`Endpoint`] is told what the world does ([`Event`]) and what the application wants
//! ([`connect`](Endpoint::connect), [`send`](Endpoint::send), ..), and says what is to be done
//! ([`Action`]). It reads no clock, opens no socket, starts no thread and draws no randomness of
//! its own: time and a seed are arguments, so a run can be repeated to the byte.
//!
//! # The contract
//!
//! 1. After every call that takes `now`, drain [`poll_action`](Endpoint::poll_action) until it
//!    returns `None`.
//! 2. Then sleep until [`poll_timeout`](Endpoint::poll_timeout) or the next event, and call
//!    [`handle`](Endpoint::handle), with [`Event::Tick`] when it was the timeout.
//! 3. While actions wait to be drained, `poll_timeout` is not later than the last `now`.
//! 4. A tick before the timeout changes nothing; a late one is no error.
//! 5. Once a tick is drained, no timer at or before its `now` is left.
//! 6. Time that goes backwards counts as standing still.
//! 7. What a peer sends never makes a call fail or panic: it leads to actions, or to nothing.
//! 8. The work that one event leads to is bounded by its length and by [`Limits`].
//! 9. After [`Closed`](update::UpdateKind::Closed) a session says nothing more, but for answers to
//!    a repeated CLOSE, and its streams being closed; messages that came before can still be taken.
//! 10. [`cancel`](Endpoint::cancel) frees everything at once; an open session says CLOSE once.
//! 11. Handles are never used twice: events for one that is gone change nothing.
//!
//! # A driver
//!
//! ```
//! use burdock_core::{Action, Config, Endpoint, Event, Identity, Link, Time};
//!
//! let mut endpoint = Endpoint::new(Config::streamer(), Identity::from_bytes([1; 32]), [2; 32])?;
//! let friend = Identity::from_bytes([3; 32]).public_key();
//! let mut now = Time::ZERO;
//! let session = endpoint.connect(now, &Link::direct(friend, "192.0.2.1:4000".parse()?))?;
//!
//! let mut buf = Vec::new();
//! for _ in 0..3 {
//!     while let Some(action) = endpoint.poll_action(now, &mut buf) {
//!         match action {
//!             Action::Transmit { to, .. } => println!("send {} bytes to {to}", buf.len()),
//!             Action::OpenStream { to, .. } => println!("open a stream to {to}"),
//!             Action::Update { update, .. } => println!("tell the application {update:?}"),
//!             other => println!("{other:?}"),
//!         }
//!     }
//!     // A real driver sleeps until then, or until a socket has something.
//!     let Some((at, _reason)) = endpoint.poll_timeout() else { break };
//!     now = at;
//!     endpoint.handle(now, Event::Tick);
//! }
//! assert!(endpoint.status(now, session).is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod accept;
mod backoff;
pub mod carrier;
mod channel;
mod code;
mod config;
pub mod crypto;
mod door;
mod endpoint;
pub mod gallery;
mod identity;
mod io;
mod key;
mod link;
mod message;
pub mod noise;
mod ranges;
mod reading;
mod recovery;
mod replay;
mod rng;
mod safety_number;
pub mod sam;
pub mod seal;
mod sent;
mod session;
mod time;
pub mod update;
#[cfg(test)]
mod vectors;
pub mod wire;

pub use accept::AcceptPolicy;
pub use backoff::Schedule;
pub use code::Code;
pub use config::{Class, Config, ConfigError, I2p, Ladder, Limits, Transport};
pub use door::TurnedAway;
pub use endpoint::{ConnectError, Endpoint, Reason};
pub use identity::Identity;
pub use io::{Action, Event, MessageId, NetError, ResolveId, RouterState, SessionId, StreamId};
pub use key::{KeyError, PublicKey};
pub use link::{Host, Invite, InviteError, Link, LinkError, MAX_LINK};
pub use message::{Message, SendError};
pub use reading::{Reading, WayOut};
pub use sam::{Destination, DestinationError, PrivateDestination, SessionOptions};
pub use time::Time;
pub use update::{Outcome, Progress, Quality, State, Status, Update};
