//! What crosses the boundary between the core and a driver: events in, actions out.

use core::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::code::Code;
use crate::sam::Destination;
use crate::update::Update;

macro_rules! handle {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Drawn once and never again by this endpoint, so what is left of a dead one cannot
        /// touch its successor.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub(crate) u64);

        impl $name {
            /// The number behind the handle, for logs and tables.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

handle! {
    /// A session: the relation to one peer, across paths and reconnects.
    SessionId
}
handle! {
    /// A byte stream (a TCP connection) that the driver holds for the core.
    StreamId
}
handle! {
    /// A name that the driver was asked to resolve.
    ResolveId
}
handle! {
    /// A message that the application gave to `send`, numbered from 0 within its session.
    MessageId
}

/// What the world tells the endpoint.
///
/// Packets are opened in place, so the bytes handed in are overwritten.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A UDP datagram came in.
    Datagram {
        /// The source address of the datagram.
        from: SocketAddr,
        /// Its payload.
        data: &'a mut [u8],
    },
    /// The system refused or reported an error for datagrams to this address.
    TransmitFailed {
        /// Where they were going.
        to: SocketAddr,
        /// What the system said.
        error: NetError,
    },
    /// A stream asked for by [`Action::OpenStream`] is open.
    StreamOpened {
        /// Which one.
        stream: StreamId,
    },
    /// Bytes arrived on a stream.
    StreamData {
        /// Which one.
        stream: StreamId,
        /// The bytes, cut anywhere.
        data: &'a mut [u8],
    },
    /// The stream took `len` of the bytes of the last [`Action::WriteStream`]. When that is less
    /// than all of them the core waits for [`Event::StreamWritable`] before it goes on.
    StreamWritten {
        /// Which one.
        stream: StreamId,
        /// Bytes taken, 0 when the write would have blocked.
        len: usize,
    },
    /// A stream that took less than it was given can take more.
    StreamWritable {
        /// Which one.
        stream: StreamId,
    },
    /// A stream could not be opened, or ended. The driver has let go of it.
    StreamClosed {
        /// Which one.
        stream: StreamId,
        /// What the system said, `None` for an ordinary end of stream.
        error: Option<NetError>,
    },
    /// The answer to [`Action::Resolve`].
    Resolved {
        /// Which question.
        resolve: ResolveId,
        /// The addresses, in the order of preference; empty when the name has none or could not
        /// be looked up.
        addresses: &'a [SocketAddr],
    },
    /// The host's network changed: another Wi-Fi, a cable, the machine woke up.
    NetworkChanged,
    /// Time passed. Ticking too early changes nothing.
    Tick,
}

/// What the system said about a socket, as far as the core cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetError {
    /// Nobody listens there.
    Refused,
    /// No route, or the network said so.
    Unreachable,
    /// The other side reset the connection.
    Reset,
    /// The system gave up waiting.
    TimedOut,
    /// Anything else.
    Other,
}

/// How the I2P router does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[non_exhaustive]
pub enum RouterState {
    /// It was asked for tunnels; after a start that takes a minute or more.
    Connecting,
    /// Its tunnels stand.
    Up {
        /// Where peers reach us.
        address: Destination,
    },
    /// It does not answer, or let go of us.
    Down {
        /// Why, as text and hint for a person.
        code: Code,
        /// Milliseconds until it is asked again.
        retry_in_ms: u64,
    },
}

/// What the endpoint wants done. Bytes, where there are any, are in the buffer that was given to
/// [`poll_action`](crate::Endpoint::poll_action).
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Send the buffer as one UDP datagram, or, with `segment_size`, as several of that size (the
    /// last may be shorter). What cannot be sent now may be dropped.
    Transmit {
        /// Where to.
        to: SocketAddr,
        /// The size of each datagram but the last, when there are several.
        segment_size: Option<usize>,
    },
    /// Open a TCP connection, to a peer or to the SAM bridge, and answer with [`Event::StreamOpened`] or [`Event::StreamClosed`].
    OpenStream {
        /// The handle by which both sides name it from now on.
        stream: StreamId,
        /// Where to.
        to: SocketAddr,
    },
    /// Write the buffer, in one piece if the stream takes it, and answer with [`Event::StreamWritten`].
    WriteStream {
        /// On which stream.
        stream: StreamId,
    },
    /// Close the stream, opening or open, and forget it: nothing more is said about it. What was
    /// written before is still to be delivered if it can be.
    CloseStream {
        /// Which one.
        stream: StreamId,
    },
    /// Look up a host name and answer with [`Event::Resolved`].
    Resolve {
        /// The handle of the question.
        resolve: ResolveId,
        /// The name.
        host: String,
        /// The port to put into the addresses.
        port: u16,
    },
    /// Tell whoever shows how the I2P router does.
    Router {
        /// What changed.
        state: RouterState,
    },
    /// Tell the application.
    Update {
        /// About which session.
        session: SessionId,
        /// What happened.
        update: Update,
    },
}
