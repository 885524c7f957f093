//! What goes wrong with a SAM bridge, and whose fault that is.

use core::fmt;

use thiserror::Error;

use super::socket::Step;
use crate::Code;

/// The reason that a bridge gave, its `RESULT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// `CANT_REACH_PEER`: no way to the peer was found.
    #[error("the peer cannot be reached; ask whether they are online")]
    CantReachPeer,
    /// `TIMEOUT`: the peer did not answer.
    #[error("the peer did not answer in time; try again")]
    Timeout,
    /// `PEER_NOT_FOUND` or `LEASESET_NOT_FOUND`: nobody published that destination.
    #[error("nobody is known at that destination; ask whether the peer is online")]
    PeerNotFound,
    /// `INVALID_ID`: the bridge knows no such session.
    #[error("the session is gone; open a new one")]
    InvalidId,
    /// `INVALID_KEY`: not a destination, or one that cannot be looked up.
    #[error("the destination is not valid; copy it again")]
    InvalidKey,
    /// `DUPLICATED_ID`, or `DUPLICATE_ID`: another session has that name.
    #[error("the name of the session is in use; choose another")]
    DuplicatedId,
    /// `DUPLICATED_DEST`, or `DUPLICATE_DEST`: another session has that destination.
    #[error("the private destination is in use; end the other program that has it")]
    DuplicatedDest,
    /// `KEY_NOT_FOUND`: the name stands for nothing.
    #[error("the destination's name was not found; ask whether the peer is online")]
    KeyNotFound,
    /// `NOVERSION`, or a version that was not asked for.
    #[error("the router speaks none of SAM 3.1 to 3.3; update it")]
    NoVersion,
    /// `I2P_ERROR`: the router has a trouble of its own.
    #[error("the router has a trouble of its own; open a new session")]
    I2pError,
    /// `ALREADY_ACCEPTING`: one socket waits for a caller already.
    #[error("another socket waits for callers; wait until it has one")]
    AlreadyAccepting,
    /// Any other word.
    #[error("the router gave no known reason; look into its log")]
    Other,
}

impl Refusal {
    pub(super) fn from_result(result: &str) -> Self {
        match result {
            // The Java router's word for a peer that refused is not in the specification.
            "CANT_REACH_PEER" | "CONNECTION_REFUSED" => Self::CantReachPeer,
            "TIMEOUT" => Self::Timeout,
            "PEER_NOT_FOUND" | "LEASESET_NOT_FOUND" => Self::PeerNotFound,
            "INVALID_ID" => Self::InvalidId,
            "INVALID_KEY" => Self::InvalidKey,
            "DUPLICATED_ID" | "DUPLICATE_ID" => Self::DuplicatedId,
            "DUPLICATED_DEST" | "DUPLICATE_DEST" => Self::DuplicatedDest,
            "KEY_NOT_FOUND" => Self::KeyNotFound,
            "NOVERSION" => Self::NoVersion,
            "I2P_ERROR" => Self::I2pError,
            "ALREADY_ACCEPTING" => Self::AlreadyAccepting,
            _ => Self::Other,
        }
    }
}

/// Why a socket to the bridge came to nothing. No message repeats a destination or a key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SamError {
    /// The bridge said no.
    #[error("{step} was refused: {refusal}{}", Said(.message.as_deref()))]
    Refused {
        /// What was tried.
        step: Step,
        /// Why not.
        refusal: Refusal,
        /// What the bridge said beside it: at most 120 characters, no control characters, no long words.
        message: Option<String>,
    },
    /// The bridge closed the socket without an answer.
    #[error("the I2P router closed {step}; see whether it runs, with SAM enabled")]
    Ended {
        /// What was going on.
        step: Step,
    },
    /// What came is no answer.
    #[error("{step} got an answer that is not SAM; check the address of the SAM bridge")]
    Garbled {
        /// What was going on.
        step: Step,
    },
    /// A line of more than [`MAX_LINE`](super::MAX_LINE) bytes.
    #[error("{step} got an answer too long for SAM; check the address of the SAM bridge")]
    LineTooLong {
        /// What was going on.
        step: Step,
    },
    /// No answer within [`Socket::patience`](super::Socket::patience).
    #[error("{step} got no answer in time; the router may still be starting, try again")]
    TimedOut {
        /// What was going on.
        step: Step,
    },
}

struct Said<'a>(Option<&'a str>);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |message| write!(f, " (it said: {message})"))
    }
}

impl SamError {
    /// What was going on.
    #[must_use]
    pub const fn step(&self) -> Step {
        match self {
            Self::Refused { step, .. }
            | Self::Ended { step }
            | Self::Garbled { step }
            | Self::LineTooLong { step }
            | Self::TimedOut { step } => *step,
        }
    }

    /// Whether it is about the peer: nothing but trying again later helps, and nothing is wrong with the session.
    #[must_use]
    pub const fn is_peers_fault(&self) -> bool {
        match self {
            Self::Refused { step: Step::Connect, refusal, .. } => matches!(
                refusal,
                Refusal::CantReachPeer
                    | Refusal::Timeout
                    | Refusal::PeerNotFound
                    | Refusal::InvalidKey
                    | Refusal::KeyNotFound
            ),
            Self::TimedOut { step } => matches!(step, Step::Connect),
            _ => false,
        }
    }

    /// Whether the session is not there, or no longer: a new one is due. So it is after any error of the session's
    /// own socket, which is the owner's to know.
    #[must_use]
    pub const fn ends_session(&self) -> bool {
        match (self.step(), self) {
            (Step::Create | Step::Naming | Step::Standing, _) => true,
            (_, Self::Refused { refusal, .. }) => matches!(
                refusal,
                Refusal::InvalidId | Refusal::I2pError | Refusal::DuplicatedId | Refusal::DuplicatedDest
            ),
            _ => false,
        }
    }

    /// What the application is told.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Refused { refusal: Refusal::Timeout, .. } | Self::TimedOut { .. } if self.is_peers_fault() => {
                Code::TunnelTimeout
            }
            Self::Ended { step: Step::Connect } => Code::Unreachable,
            _ if self.is_peers_fault() => Code::Unreachable,
            _ => Code::SamDown,
        }
    }
}
