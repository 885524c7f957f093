//! What a run amounts to.

use core::fmt;

use burdock_core::Time;
use burdock_core::update::UpdateKind;

use crate::oracle::ledger::Stream;
use crate::scenario::Protocol;
use crate::table::Table;
use crate::trace::TAIL;

/// What a run amounts to. Shown as text, it says what was broken and how to see it again.
#[derive(Clone, Debug)]
pub struct Report {
    /// The scenario's seed.
    pub seed: u64,
    /// A hash over the time, the host and the bytes of everything that went into an endpoint or
    /// came out of it.
    pub hash: u64,
    /// What was broken, if anything was.
    pub failure: Option<Failure>,
    /// When the run ended.
    pub ended: Time,
    /// Packets that were lost, delayed, doubled or damaged, connections broken, and crashes.
    pub faults: u64,
    /// Packets that endpoints sent.
    pub packets: u64,
    /// Messages that applications took.
    pub messages: u64,
    /// Sessions that came back after a loss.
    pub reconnects: u64,
    /// Bytes sent to an address for each thousand that came from it, at worst, while it had proved
    /// nothing. Spoofed addresses are among them; first messages of a dial are not.
    pub amplification: u64,
    /// Operations beside the SAM bridge by endpoints that may have none, or towards peers that are known by an I2P
    /// destination alone.
    pub beside: u64,
    /// What was reached.
    pub table: Table,
    /// The log: its end, or all of it if that was asked for.
    pub log: Vec<String>,
    /// What the applications were told, outcomes and arrivals of messages aside.
    pub told: Vec<Told>,
    /// Initiations and SYNs that reached a machine, whether or not anybody was there to hear.
    pub knocks: Vec<Knock>,
    /// What became of the messages.
    pub streams: Vec<Stream>,
    /// Each session of each host at the end.
    pub status: Vec<String>,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The oracle that saw it.
    pub oracle: &'static str,
    /// When.
    pub time: Time,
    /// What it saw.
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {}", self.oracle, self.time, self.message)
    }
}

impl core::error::Error for Failure {}

/// Something that an application was told.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// When.
    pub at: Time,
    /// The index of its host.
    pub host: usize,
    /// The host's count of its sessions.
    pub session: u16,
    /// What.
    pub kind: UpdateKind,
}

/// A packet that asks for a handshake, or for a connection. One from a host to itself asks its SAM bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Knock {
    /// When it arrived.
    pub at: Time,
    /// The index of the host that sent it.
    pub from: usize,
    /// The index of the host that it reached.
    pub to: usize,
    /// What it came by.
    pub protocol: Protocol,
}

impl Report {
    /// What the application of one host was told.
    pub fn told_to(&self, host: usize) -> impl Iterator<Item = &Told> + '_ {
        self.told.iter().filter(move |told| told.host == host)
    }

    /// Panics with the whole report if anything was broken: for tests.
    ///
    /// # Panics
    /// If an oracle failed.
    #[track_caller]
    pub fn expect_ok(self) -> Self {
        assert!(self.failure.is_none(), "{self}");
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(failure) = &self.failure else {
            return writeln!(
                f,
                "seed {}: ok after {}; {} packets, {} faults, {} messages, {} reconnects; trace {:016x}",
                self.seed, self.ended, self.packets, self.faults, self.messages, self.reconnects, self.hash
            );
        };
        writeln!(f, "seed {}: {} failed at {}", self.seed, failure.oracle, failure.time)?;
        writeln!(f, "  {}", failure.message)?;
        writeln!(f, "again: burdock sim run --seed {}", self.seed)?;
        writeln!(f, "the last of the log:")?;
        for line in self.log.iter().skip(self.log.len().saturating_sub(TAIL)) {
            writeln!(f, "  {line}")?;
        }
        writeln!(f, "the sessions:")?;
        for line in &self.status {
            writeln!(f, "  {line}")?;
        }
        Ok(())
    }
}
