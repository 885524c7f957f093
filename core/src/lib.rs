//! Encrypted peer sessions that stick: the state machine, without any I/O.

#![forbid(unsafe_code)]

mod accept;
mod backoff;
mod code;
mod config;
mod io;
mod key;
mod message;
pub mod sent;
mod time;
pub mod update;
pub mod wire;

pub use accept::AcceptPolicy;
pub use backoff::Schedule;
pub use code::Code;
pub use config::{Class, Config, ConfigError, Ladder, Limits, Transport};
pub use io::{Action, Event, MessageId, NetError, ResolveId, SessionId, StreamId};
pub use key::{KeyError, PublicKey};
pub use message::{Message, SendError};
pub use time::Time;
pub use update::{Outcome, Progress, Quality, State, Status, Update};
