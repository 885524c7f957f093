//! What the queue holds.

use burdock_core::SessionId;

use crate::net::NetItem;

#[derive(Debug)]
pub(crate) enum Item {
    Net(NetItem),
    /// The endpoint of a host asked to be woken now.
    Wake {
        host: usize,
        incarnation: u32,
        /// For when; it may come later.
        ordered: u64,
    },
    /// The endpoint of a host is woken without having asked.
    SecondWake {
        host: usize,
        incarnation: u32,
    },
    /// An application does something.
    Op(usize),
    /// An operation that sends one message after another sends the next.
    Traffic {
        op: usize,
        left: u32,
    },
    /// A slow application fetches its next handful.
    Read {
        host: usize,
        incarnation: u32,
        session: SessionId,
    },
    /// A name was looked up.
    Resolved {
        host: usize,
        incarnation: u32,
        resolve: burdock_core::ResolveId,
        name: String,
        port: u16,
    },
    FaultBegins(usize),
    FaultEnds(usize),
    /// An attacker of this fault sends something.
    Attack(usize),
    Heal,
    /// Is the liveness phase over?
    Check,
    Stop,
}

impl From<NetItem> for Item {
    fn from(item: NetItem) -> Self {
        Self::Net(item)
    }
}
