//! The sender's side of one path: what is in flight, what arrived, what is lost, when to probe.

use core::time::Duration;
use std::collections::VecDeque;

use arrayvec::ArrayVec;

use super::{AckResult, Carrier, Controller, Expired, Fate, MAX_ACK_DELAY, OptimisticAck, Rtt, Stats};
use crate::sent::{SentFrame, SentFrames};
use crate::time::Time;
use crate::wire::frame::AckRanges;

/// A packet is lost when one sent this many later was acknowledged: RFC 9002 §6.1.1.
const PACKET_THRESHOLD: u64 = 3;

/// What a probe timeout sends: RFC 9002 §6.2.4 allows two, so that losing one more costs nothing.
const PROBES: u8 = 2;

/// A probe timeout doubles up to here, unless one round trip is longer still. So a path that is
/// given 30 s of silence is asked many times before it is given up.
const MAX_PTO: Duration = Duration::from_secs(10);

/// No congestion is more persistent than this many probe timeouts: RFC 9002 §7.6.1.
const PERSISTENT_PTOS: u32 = 3;

/// Packets that are remembered before the path may send no more: bounds the memory that a peer can
/// claim by answering small packets late, or only some of them.
const MAX_REMEMBERED: usize = 4096;

/// Lost packets that are watched for a late acknowledgement.
const MAX_WATCHED: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fortune {
    Outstanding,
    Acked,
    Lost,
}

#[derive(Debug)]
struct Packet {
    number: u64,
    sent_at: Time,
    size: usize,
    ack_eliciting: bool,
    fortune: Fortune,
    frames: SentFrames,
}

impl Packet {
    /// Whether it counts as in flight: nothing else is waited for.
    fn in_flight(&self) -> bool {
        self.ack_eliciting && self.fortune == Fortune::Outstanding
    }
}

/// The sender's side of one path.
#[derive(Debug)]
pub(crate) struct Recovery {
    carrier: Carrier,
    controller: Box<dyn Controller>,
    rtt: Rtt,
    /// When the first round trip was measured.
    sampled_at: Option<Time>,
    /// By number. The front is always outstanding.
    packets: VecDeque<Packet>,
    /// The number of the next packet.
    next: u64,
    largest_acked: Option<u64>,
    bytes_in_flight: usize,
    packets_in_flight: usize,
    /// When the first packet will be lost by time, if none is acknowledged until then.
    loss_time: Option<Time>,
    /// When the last ack-eliciting packet was sent, or when a timer last expired, if that is later.
    pto_from: Time,
    pto_count: u32,
    unanswered_since: Option<Time>,
    watched: ArrayVec<u64, MAX_WATCHED>,
    stats: Stats,
}

impl Recovery {
    pub(crate) fn new(carrier: Carrier, controller: Box<dyn Controller>) -> Self {
        Self {
            carrier,
            controller,
            rtt: Rtt::new(),
            sampled_at: None,
            packets: VecDeque::new(),
            next: 0,
            largest_acked: None,
            bytes_in_flight: 0,
            packets_in_flight: 0,
            loss_time: None,
            pto_from: Time::ZERO,
            pto_count: 0,
            unanswered_since: None,
            watched: ArrayVec::new(),
            stats: Stats::default(),
        }
    }

    /// The peer is elsewhere now: that it was asked in vain at its old address says nothing of the new
    /// one.
    pub(crate) fn moved(&mut self) {
        self.pto_count = 0;
    }

    /// Takes in a round trip that the handshake measured.
    pub(crate) fn seed_rtt(&mut self, sample: Duration) {
        self.rtt.update(sample, Duration::ZERO);
        // Before every packet of this path.
        self.sampled_at.get_or_insert(Time::ZERO);
    }

    /// Goes on with the estimate of the path that this one takes the place of.
    pub(crate) fn inherit_rtt(&mut self, rtt: Rtt) {
        if rtt.has_sample() {
            self.rtt = rtt;
            self.sampled_at.get_or_insert(Time::ZERO);
        }
    }

    /// Whether another full packet fits into the window. Probes and packets that elicit no
    /// acknowledgement need not ask.
    pub(crate) fn may_send(&self) -> bool {
        self.bytes_in_flight.saturating_add(self.carrier.full_packet()) <= self.controller.window()
            && self.packets.len() < MAX_REMEMBERED
    }

    /// A packet was sent. Numbers only rise.
    ///
    /// Packets that elicit no acknowledgement are not in flight and cannot be lost; of a run of
    /// them only the last is remembered, and the frames of the others meet no fate.
    pub(crate) fn on_sent(&mut self, now: Time, number: u64, size: usize, ack_eliciting: bool, frames: SentFrames) {
        debug_assert!(number >= self.next, "packet numbers rise");
        self.next = number.saturating_add(1);
        if ack_eliciting {
            self.stats.sent += 1;
            self.bytes_in_flight += size;
            self.packets_in_flight += 1;
            self.pto_from = now;
            self.unanswered_since.get_or_insert(now);
            self.controller.on_sent(now, size);
        } else if self.packets.back().is_some_and(|last| !last.ack_eliciting) {
            self.packets.pop_back();
        }
        let fortune = Fortune::Outstanding;
        self.packets.push_back(Packet { number, sent_at: now, size, ack_eliciting, fortune, frames });
    }

    /// The peer acknowledged packets of this path, the highest of them `delay` after it arrived.
    ///
    /// Each remembered frame that is settled by it is given to `fate`, once and for all: a packet
    /// that was declared lost is not reported again when it turns out to have arrived.
    ///
    /// # Errors
    /// When it acknowledges a packet that was never sent. Then nothing has changed.
    pub(crate) fn on_ack(
        &mut self,
        now: Time,
        ranges: &AckRanges,
        delay: Duration,
        fate: &mut dyn FnMut(SentFrame, Fate),
    ) -> Result<AckResult, OptimisticAck> {
        let Some(largest) = ranges.iter().map(|&(_, high)| high).max() else {
            return Ok(AckResult::default());
        };
        if largest >= self.next {
            return Err(OptimisticAck { number: largest, next: self.next });
        }
        self.largest_acked = self.largest_acked.max(Some(largest));
        self.count_spurious(ranges);

        let mut result = AckResult::default();
        let mut largest_sent_at = None;
        // Lowest first, so that the frames come in the order in which they were sent.
        for &(low, high) in ranges.iter().rev() {
            let start = self.packets.partition_point(|packet| packet.number < low);
            let covered = self.packets.range_mut(start..).take_while(|packet| packet.number <= high);
            for packet in covered.filter(|packet| packet.fortune == Fortune::Outstanding) {
                packet.fortune = Fortune::Acked;
                self.pto_count = 0;
                if packet.number == largest {
                    largest_sent_at = Some(packet.sent_at);
                }
                if packet.ack_eliciting {
                    self.bytes_in_flight -= packet.size;
                    self.packets_in_flight -= 1;
                    self.controller.on_ack(now, packet.size, packet.sent_at, &self.rtt);
                    result.newly_acked = true;
                    result.newly_acked_bytes += packet.size as u64;
                }
                packet.frames.drain(..).for_each(|frame| fate(frame, Fate::Acked));
            }
        }
        self.stats.acked_bytes += result.newly_acked_bytes;

        if let Some(sent_at) = largest_sent_at.filter(|_| result.newly_acked) {
            let sample = now.saturating_since(sent_at);
            self.rtt.update(sample, delay);
            self.sampled_at.get_or_insert(now);
            result.rtt_sample = Some(sample);
        }
        if result.newly_acked {
            self.unanswered_since = Some(now);
        }
        self.detect_lost(now, fate);
        Ok(result)
    }

    /// When to call [`on_timeout`](Self::on_timeout), if something must happen.
    pub(crate) fn timeout(&self) -> Option<Time> {
        self.loss_time.or_else(|| self.probe_time())
    }

    /// Does what is due: a loss by time, else a probe.
    pub(crate) fn on_timeout(&mut self, now: Time, fate: &mut dyn FnMut(SentFrame, Fate)) -> Expired {
        if self.timeout().is_none_or(|at| at > now) {
            return Expired::Nothing;
        }
        // What is sent now is the probe; should the carrier take nothing, we ask again in time.
        self.pto_from = now;
        if self.loss_time.is_some() {
            self.detect_lost(now, fate);
            Expired::LossDetected
        } else {
            self.pto_count = self.pto_count.saturating_add(1);
            Expired::Probe { packets: PROBES }
        }
    }

    /// The frames of the oldest packets in flight, for a probe to repeat: they are not lost yet.
    pub(crate) fn unacked_frames(&self, limit_packets: usize, f: &mut dyn FnMut(SentFrame)) {
        let oldest = self.packets.iter().filter(|packet| packet.in_flight()).take(limit_packets);
        oldest.flat_map(|packet| &packet.frames).for_each(|&frame| f(frame));
    }

    /// The path is gone, and everything in flight is lost with it.
    pub(crate) fn abandon(&mut self, lost: &mut dyn FnMut(SentFrame)) {
        for packet in self.packets.drain(..).filter(Packet::in_flight) {
            packet.frames.into_iter().for_each(&mut *lost);
        }
        self.bytes_in_flight = 0;
        self.packets_in_flight = 0;
        self.loss_time = None;
        self.unanswered_since = None;
    }

    pub(crate) fn rtt(&self) -> &Rtt {
        &self.rtt
    }

    /// Bytes of ack-eliciting packets that are neither acknowledged nor lost.
    #[cfg(test)]
    pub(crate) fn bytes_in_flight(&self) -> usize {
        self.bytes_in_flight
    }

    /// How many packets are remembered.
    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.packets.len()
    }

    /// How many probe timeouts expired since the last answer.
    #[cfg(test)]
    pub(crate) fn pto_count(&self) -> u32 {
        self.pto_count
    }

    /// Since when an answer has been awaited in vain: since the first packet that waits was sent,
    /// or since the last answer, while others are missing. `None` when nothing waits.
    pub(crate) fn unanswered_since(&self) -> Option<Time> {
        self.unanswered_since
    }

    /// The probe timeout, before it doubles.
    pub(crate) fn pto_period(&self) -> Duration {
        self.rtt.pto(MAX_ACK_DELAY)
    }

    pub(crate) fn stats(&self) -> Stats {
        self.stats
    }

    fn probe_time(&self) -> Option<Time> {
        if self.carrier == Carrier::Stream || self.packets_in_flight == 0 {
            return None;
        }
        let period = self.pto_period();
        let doubled = period.saturating_mul(1u32.checked_shl(self.pto_count).unwrap_or(u32::MAX));
        Some(self.pto_from + doubled.min(MAX_PTO.max(period)))
    }

    /// RFC 9002 §6.1: declares packets lost, and sets the time when the next one will be.
    fn detect_lost(&mut self, now: Time, fate: &mut dyn FnMut(SentFrame, Fate)) {
        self.loss_time = None;
        if let (Carrier::Datagrams, Some(largest)) = (self.carrier, self.largest_acked) {
            self.settle_below(largest, now, fate);
        }
        while self.packets.front().is_some_and(|packet| packet.fortune != Fortune::Outstanding) {
            self.packets.pop_front();
        }
        if self.packets_in_flight == 0 {
            self.unanswered_since = None;
        }
    }

    fn settle_below(&mut self, largest: u64, now: Time, fate: &mut dyn FnMut(SentFrame, Fate)) {
        let loss_delay = self.rtt.loss_delay();
        let persistent_after = self.pto_period().saturating_mul(PERSISTENT_PTOS);
        let mut lost_bytes = 0;
        let mut newest_lost = Time::ZERO;
        let mut persistent = false;
        // The first packet of a run in which nothing arrived.
        let mut run_from = None;
        for packet in self.packets.iter_mut().take_while(|packet| packet.number <= largest) {
            if packet.fortune == Fortune::Acked {
                run_from = None;
            }
            if packet.fortune != Fortune::Outstanding {
                continue;
            }
            let lost_at = packet.sent_at + loss_delay;
            if largest - packet.number < PACKET_THRESHOLD && lost_at > now {
                if packet.ack_eliciting {
                    self.loss_time = Some(self.loss_time.map_or(lost_at, |at| at.min(lost_at)));
                }
                continue;
            }
            packet.fortune = Fortune::Lost;
            packet.frames.drain(..).for_each(|frame| fate(frame, Fate::Lost));
            if !packet.ack_eliciting {
                continue;
            }
            self.bytes_in_flight -= packet.size;
            self.packets_in_flight -= 1;
            self.stats.lost += 1;
            if self.watched.is_full() {
                self.watched.remove(0);
            }
            self.watched.push(packet.number);
            lost_bytes += packet.size;
            newest_lost = newest_lost.max(packet.sent_at);
            if self.sampled_at.is_some_and(|sampled| sampled <= packet.sent_at) {
                let from = *run_from.get_or_insert(packet.sent_at);
                persistent |= packet.sent_at.saturating_since(from) > persistent_after;
            }
        }
        if lost_bytes > 0 {
            self.controller.on_congestion_event(now, lost_bytes, newest_lost);
        }
        if persistent {
            self.controller.on_persistent_congestion(now);
        }
    }

    fn count_spurious(&mut self, ranges: &AckRanges) {
        let watched = self.watched.len();
        self.watched.retain(|number| !ranges.iter().any(|&(low, high)| low <= *number && *number <= high));
        self.stats.spurious += (watched - self.watched.len()) as u64;
    }
}
