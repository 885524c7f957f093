//! One end of a connection: what its kernel holds.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};

use super::Segment;

const FIRST_RTO: u64 = 1_000_000;
const LEAST_RTO: u64 = 200_000;
const MOST_RTO: u64 = 120_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    SynSent,
    SynReceived,
    Open,
}

#[derive(Debug)]
pub(super) struct End {
    pub(super) phase: Phase,
    /// Whether a process holds it; else the kernel finishes what was written, and no more.
    pub(super) held: bool,
    pub(super) closing: bool,
    pub(super) fin_sent: bool,

    pub(super) unsent: BytesMut,
    pub(super) flight: VecDeque<InFlight>,
    pub(super) flight_bytes: usize,
    pub(super) next: u64,
    pub(super) window: usize,
    pub(super) round: u32,
    pub(super) repeated_acks: u32,
    /// The process was told that the buffer is full.
    pub(super) blocked: bool,

    pub(super) smoothed_rtt: u64,
    pub(super) retries: u32,
    pub(super) deadline: Option<u64>,
    pub(super) timer_queued: bool,

    pub(super) received: u64,
    /// Bytes that came while the process was stopped, or did not read this.
    pub(super) unread: usize,
    /// Its process does not read it.
    pub(super) paused: bool,
    pub(super) ahead: BTreeMap<u64, (Bytes, bool)>,
}

#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) offset: u64,
    pub(super) bytes: Bytes,
    pub(super) fin: bool,
    pub(super) sent_at: u64,
    /// The recovery in which it was sent again, 0 if it never was.
    pub(super) round: u32,
}

impl InFlight {
    pub(super) fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64 + u64::from(self.fin)
    }

    pub(super) fn segment(&self) -> Segment {
        Segment::Data { offset: self.offset, bytes: self.bytes.clone(), fin: self.fin }
    }
}

impl End {
    pub(super) fn new(phase: Phase) -> Self {
        Self {
            phase,
            held: true,
            closing: false,
            fin_sent: false,
            unsent: BytesMut::new(),
            flight: VecDeque::new(),
            flight_bytes: 0,
            next: 0,
            window: 14_480,
            round: 0,
            repeated_acks: 0,
            blocked: false,
            smoothed_rtt: 0,
            retries: 0,
            deadline: None,
            timer_queued: false,
            received: 0,
            unread: 0,
            paused: false,
            ahead: BTreeMap::new(),
        }
    }

    pub(super) fn rto(&self) -> u64 {
        let first = if self.smoothed_rtt == 0 { FIRST_RTO } else { (2 * self.smoothed_rtt).max(LEAST_RTO) };
        first.saturating_mul(1 << self.retries.min(20)).min(MOST_RTO)
    }

    pub(super) fn buffered(&self) -> usize {
        self.unsent.len() + self.flight_bytes
    }

    pub(super) fn finished(&self) -> bool {
        self.closing && self.fin_sent && self.flight.is_empty()
    }
}
