//! I2P through the SAM bridge of a router, versions 3.1 to 3.3 (<https://geti2p.net/en/docs/api/samv3>).
//!
//! A [`Socket`] is one TCP connection to the bridge, from its opening to where it is handed over: it says what is to
//! be written and reads what came, and does no I/O itself. A session needs one that stands for as long as the
//! session lives ([`Socket::control`]), and one more for each stream ([`Socket::connect`], [`Socket::accept`]).
//!
//! What goes into a command is a [`Destination`], a [`PrivateDestination`], a [`SamId`] or a number: their text
//! cannot end a command or add to it. Replies are read word for word and never searched.
//!
//! ```
//! use burdock_core::sam::{Happened, SamId, Socket};
//!
//! let mut socket = Socket::connect("demo".parse::<SamId>()?, format!("{}.b32.i2p", "a".repeat(52)).parse()?);
//! socket.opened();
//! assert!(socket.command().is_some_and(|hello| hello.starts_with(b"HELLO VERSION")));
//! assert!(matches!(socket.read(&mut b"HELLO REPLY RESULT=OK VERSION=3.1\n".to_vec()), (34, None)));
//! assert!(socket.command().is_some_and(|connect| connect.starts_with(b"STREAM CONNECT ID=demo ")));
//!
//! // What follows the line is the peer's.
//! let (consumed, happened) = socket.read(&mut b"STREAM STATUS RESULT=OK\nfrom the peer".to_vec());
//! assert_eq!(consumed, 24);
//! assert!(matches!(happened, Some(Happened::StreamOpen)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod destination;
mod error;
mod line;
mod reply;
mod socket;
#[cfg(test)]
pub(crate) mod tests;

pub use destination::{Destination, DestinationError, PrivateDestination};
pub use error::{Refusal, SamError};
pub use line::{MAX_LINE, SamId, SamIdError};
pub use socket::{Happened, SessionOptions, Socket, Step};
