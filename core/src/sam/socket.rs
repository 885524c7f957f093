//! One TCP connection to the SAM bridge, from its opening to where it is handed over.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::destination::{Destination, PrivateDestination};
use super::error::SamError;
use super::line::{Command, Filled, LineBuffer, SamId};
use super::reply::{Reply, caller};
use crate::crypto::{HANDSHAKE_STACK, wiped};

/// How the tunnels of a session are built. Routers' own defaults differ, so that all of it is always said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionOptions {
    /// Routers that each tunnel to us goes through: 0 to 7, more count as 7. None of them hides nothing.
    pub inbound_length: u8,
    /// Routers that each tunnel from us goes through: 0 to 7, more count as 7.
    pub outbound_length: u8,
    /// Tunnels to us at a time: 1 to 16, others count as the nearest. More of them survive more failures.
    pub inbound_quantity: u8,
    /// Tunnels from us at a time: 1 to 16, others count as the nearest.
    pub outbound_quantity: u8,
}

impl Default for SessionOptions {
    /// Three routers each and two tunnels each way, as I2CP has it.
    fn default() -> Self {
        Self { inbound_length: 3, outbound_length: 3, inbound_quantity: 2, outbound_quantity: 2 }
    }
}

/// How far a [`Socket`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// TCP connects.
    Opening,
    /// `HELLO` agrees on a version.
    Hello,
    /// `SESSION CREATE` builds tunnels.
    Create,
    /// `NAMING LOOKUP` asks for the own public destination.
    Naming,
    /// The session stands for as long as the socket does.
    Standing,
    /// `STREAM CONNECT` looks for the peer.
    Connect,
    /// `STREAM ACCEPT` is asked for.
    Accept,
    /// A caller is waited for.
    Waiting,
    /// The socket failed, or was handed over.
    Over,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Opening => "connecting to the SAM bridge",
            Self::Hello => "the greeting of the SAM bridge",
            Self::Create => "the start of the I2P session",
            Self::Naming => "the question for the own I2P address",
            Self::Standing => "the I2P session",
            Self::Connect => "the I2P stream to the peer",
            Self::Accept => "the wish to accept I2P streams",
            Self::Waiting => "the wait for an I2P stream",
            Self::Over => "a connection that is over",
        })
    }
}

/// What bytes from the bridge, or its end, came to.
pub enum Happened {
    /// The session stands until the socket ends.
    SessionStands {
        /// Where peers reach it.
        address: Destination,
        /// What makes it stand again, at the same address.
        private: PrivateDestination,
    },
    /// The peer is being tried: whether it is there, only bytes of it will tell. All that follows is the stream.
    StreamOpen,
    /// A caller is waited for.
    Accepting,
    /// Somebody calls. All that follows is the stream.
    Accepted {
        /// The caller's destination, as the router says.
        from: Destination,
    },
    /// The socket is to be closed.
    Failed(SamError),
}

impl fmt::Debug for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SessionStands { .. } => f.write_str("SessionStands(..)"),
            Self::StreamOpen => f.write_str("StreamOpen"),
            Self::Accepting => f.write_str("Accepting"),
            Self::Accepted { .. } => f.write_str("Accepted(..)"),
            Self::Failed(error) => f.debug_tuple("Failed").field(error).finish(),
        }
    }
}

/// What a socket is for.
enum Purpose {
    Control { id: SamId, identity: Option<Arc<PrivateDestination>>, options: SessionOptions },
    Connect { id: SamId, to: Destination },
    Accept { id: SamId },
}

/// One TCP connection to the SAM bridge.
///
/// Tell it that it is open, write each [`command`](Self::command) with a single call (a bridge may lose one that
/// comes in two pieces), and give it what comes. Nothing else may be written before it is handed over.
pub struct Socket {
    purpose: Purpose,
    step: Step,
    /// The next command.
    due: Option<Zeroizing<Vec<u8>>>,
    line: LineBuffer,
    /// What `SESSION CREATE` answered, until the public half is known.
    private: Option<PrivateDestination>,
}

impl Socket {
    /// The socket of a session of that name, which lives as long as it: with `identity` at that address, with
    /// `None` at a new one. No two sessions at one router may have the same name or identity, and the old
    /// one has to be gone before the next begins.
    #[must_use]
    pub fn control(id: SamId, identity: Option<Arc<PrivateDestination>>, options: SessionOptions) -> Self {
        Self::new(Purpose::Control { id, identity, options })
    }

    /// The socket of a stream from the session `id` to a peer. Never to the session's own address: routers do not
    /// bear that.
    #[must_use]
    pub fn connect(id: SamId, to: Destination) -> Self {
        Self::new(Purpose::Connect { id, to })
    }

    /// A socket that waits for one caller of the session `id`.
    #[must_use]
    pub fn accept(id: SamId) -> Self {
        Self::new(Purpose::Accept { id })
    }

    fn new(purpose: Purpose) -> Self {
        Self { purpose, step: Step::Opening, due: None, line: LineBuffer::default(), private: None }
    }

    /// TCP is connected.
    pub fn opened(&mut self) {
        if self.step == Step::Opening {
            self.ask(Step::Hello, Command::new("HELLO VERSION").with("MIN", "3.1").with("MAX", "3.3"));
        }
    }

    /// What to write now, whole and in one call; each command is given out once.
    pub fn command(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        self.due.take()
    }

    /// How far the socket is.
    #[must_use]
    pub const fn step(&self) -> Step {
        self.step
    }

    /// How long the step may take, from its start; `None`: for ever. SAM v3 "Timeouts" has the least.
    #[must_use]
    pub const fn patience(&self) -> Option<Duration> {
        match self.step {
            Step::Opening | Step::Hello => Some(Duration::from_secs(10)),
            Step::Create => Some(Duration::from_secs(180)),
            Step::Naming | Step::Accept => Some(Duration::from_secs(30)),
            Step::Connect => Some(Duration::from_secs(75)),
            Step::Standing | Step::Waiting | Step::Over => None,
        }
    }

    /// Reads bytes. Returns how many it consumed, and what they came to. Call it again with the rest, and write the
    /// command that may be due, until it consumes nothing; after the hand-over the rest is the stream's.
    ///
    /// What is consumed is wiped, as it may hold the private key.
    pub fn read(&mut self, bytes: &mut [u8]) -> (usize, Option<Happened>) {
        if self.step == Step::Over || bytes.is_empty() {
            return (0, None);
        }
        let (consumed, filled) = self.line.fill(bytes);
        let step = self.step;
        let heard = match filled {
            Filled::Not => Ok(None),
            Filled::Line(line) => wiped::<HANDSHAKE_STACK, _>(|| self.hear(&line)),
            Filled::TooLong => Err(SamError::LineTooLong { step }),
        };
        match heard {
            Ok(happened) => (consumed, happened),
            Err(error) => {
                bytes.zeroize();
                (bytes.len(), Some(self.fail(error)))
            }
        }
    }

    /// The bridge closed or reset the connection before the hand-over.
    pub fn ended(&mut self) -> Happened {
        // Some bridges close the socket in the place of a refusal's end.
        let rest = self.line.take();
        let error = match wiped::<HANDSHAKE_STACK, _>(|| Reply::read(&rest)) {
            Some(Reply::Refused { refusal, message }) => SamError::Refused { step: self.step, refusal, message },
            _ => SamError::Ended { step: self.step },
        };
        self.fail(error)
    }

    /// The step took longer than its [`patience`](Self::patience).
    pub fn timed_out(&mut self) -> Happened {
        self.fail(SamError::TimedOut { step: self.step })
    }

    fn fail(&mut self, error: SamError) -> Happened {
        self.finish();
        Happened::Failed(error)
    }

    /// Nothing is written or read any more, and no secret kept.
    fn finish(&mut self) {
        self.step = Step::Over;
        self.due = None;
        self.private = None;
        self.line = LineBuffer::default();
    }

    fn ask(&mut self, step: Step, command: Command) {
        self.step = step;
        self.due = Some(command.end());
    }

    fn hear(&mut self, line: &[u8]) -> Result<Option<Happened>, SamError> {
        let step = self.step;
        let garbled = SamError::Garbled { step };
        if step == Step::Standing
            && let Some(pong) = Command::pong(line)
        {
            self.due = Some(pong);
            return Ok(None);
        }
        // An answer to a command that was not written yet is none.
        if self.due.is_some() || step == Step::Opening {
            return Err(garbled);
        }
        if step == Step::Waiting
            && let Some(from) = caller(line)
        {
            self.finish();
            return Ok(Some(Happened::Accepted { from }));
        }
        match (step, Reply::read(line)) {
            (_, Some(Reply::Refused { refusal, message })) => Err(SamError::Refused { step, refusal, message }),
            (Step::Hello, Some(Reply::Hello)) => {
                self.greeted();
                Ok(None)
            }
            (Step::Create, Some(Reply::Session(private))) => {
                self.private = Some(private);
                self.ask(Step::Naming, Command::new("NAMING LOOKUP").with("NAME", "ME"));
                Ok(None)
            }
            (Step::Naming, Some(Reply::Me(address))) => {
                // Any other address is not this session's.
                let private = self.private.take().filter(|private| private.public() == address).ok_or(garbled)?;
                if self.identity().is_some_and(|identity| identity.public() != address) {
                    return Err(SamError::Garbled { step });
                }
                self.step = Step::Standing;
                Ok(Some(Happened::SessionStands { address, private }))
            }
            (Step::Connect, Some(Reply::Stream)) => {
                self.finish();
                Ok(Some(Happened::StreamOpen))
            }
            (Step::Accept, Some(Reply::Stream)) => {
                self.step = Step::Waiting;
                Ok(Some(Happened::Accepting))
            }
            _ => Err(garbled),
        }
    }

    fn identity(&self) -> Option<&PrivateDestination> {
        match &self.purpose {
            Purpose::Control { identity, .. } => identity.as_deref(),
            Purpose::Connect { .. } | Purpose::Accept { .. } => None,
        }
    }

    fn greeted(&mut self) {
        let (step, command) = match &self.purpose {
            Purpose::Control { id, identity, options } => (Step::Create, create(id, identity.as_deref(), *options)),
            Purpose::Connect { id, to } => {
                let command = Command::new("STREAM CONNECT").with("ID", id).with("DESTINATION", to);
                (Step::Connect, command.with("SILENT", "false"))
            }
            Purpose::Accept { id } => {
                (Step::Accept, Command::new("STREAM ACCEPT").with("ID", id).with("SILENT", "false"))
            }
        };
        self.ask(step, command);
    }
}

fn create(id: &SamId, identity: Option<&PrivateDestination>, options: SessionOptions) -> Command {
    let command = Command::new("SESSION CREATE").with("STYLE", "STREAM").with("ID", id);
    let command = match identity {
        Some(identity) => command.with("DESTINATION", identity),
        // 7 is Ed25519; without it routers make DSA keys.
        None => command.with("DESTINATION", "TRANSIENT").with("SIGNATURE_TYPE", "7"),
    };
    command
        // ECIES-X25519 first, ElGamal for those who know nothing newer. "6,4" crashes i2pd 2.45.
        .with("i2cp.leaseSetEncType", "4,0")
        .with("inbound.length", options.inbound_length.min(7))
        .with("outbound.length", options.outbound_length.min(7))
        .with("inbound.quantity", options.inbound_quantity.clamp(1, 16))
        .with("outbound.quantity", options.outbound_quantity.clamp(1, 16))
}
