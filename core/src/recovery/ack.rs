//! The receiver's side of one path: what arrived, and when to say so (RFC 9000 §13.2).

use core::time::Duration;

use super::{Carrier, MAX_ACK_DELAY};
use crate::time::Time;
use crate::wire::frame::AckRanges;

/// The packets that arrived, and the acknowledgement that is owed for them.
///
/// At most [`MAX_ACK_RANGES`](crate::wire::frame::MAX_ACK_RANGES) ranges are remembered. When
/// more are needed the lowest is forgotten; what was in it the peer takes for lost and sends
/// again.
#[derive(Debug)]
pub(crate) struct AckTracker {
    /// How many ack-eliciting packets may wait for one acknowledgement.
    every: u32,
    ranges: AckRanges,
    /// The highest number so far, and when it arrived.
    largest: Option<(u64, Time)>,
    /// Ack-eliciting packets that arrived since the last acknowledgement.
    waiting: u32,
    /// The lowest number that arrived since the last acknowledgement.
    lowest_unreported: Option<u64>,
    due: Option<Time>,
}

impl AckTracker {
    /// Every second packet is acknowledged, as RFC 9000 §13.2.2 has it; on a stream, where an
    /// acknowledgement only makes room in the window, every fourth.
    pub(crate) fn new(carrier: Carrier) -> Self {
        let every = match carrier {
            Carrier::Datagrams => 2,
            Carrier::Stream => 4,
        };
        Self { every, ranges: AckRanges::new(), largest: None, waiting: 0, lowest_unreported: None, due: None }
    }

    /// An authentic packet arrived. A number that is already remembered changes nothing.
    pub(crate) fn on_received(&mut self, now: Time, number: u64, ack_eliciting: bool) {
        if !insert(&mut self.ranges, number) {
            return;
        }
        // The first is reported at once: the sender has nothing yet to measure by.
        let in_order = self.largest.is_some_and(|(largest, _)| largest.checked_add(1) == Some(number));
        if self.largest.is_none_or(|(largest, _)| number > largest) {
            self.largest = Some((number, now));
        }
        self.lowest_unreported = Some(self.lowest_unreported.map_or(number, |lowest| lowest.min(number)));
        if !ack_eliciting {
            return;
        }
        self.waiting = self.waiting.saturating_add(1);
        let at_once = !in_order || self.waiting >= self.every;
        let by = if at_once { now } else { now + MAX_ACK_DELAY };
        self.due = Some(self.due.map_or(by, |due| due.min(by)));
    }

    /// When an acknowledgement must go out at the latest, if one is owed.
    pub(crate) fn due(&self) -> Option<Time> {
        self.due
    }

    /// Whether an acknowledgement is owed, so that the next packet should carry it.
    pub(crate) fn wants_ack(&self) -> bool {
        self.waiting > 0
    }

    /// The acknowledgement to send, and how long the highest number in it has waited.
    ///
    /// `None` when nothing that elicits an acknowledgement arrived since the last one: two peers
    /// never go on acknowledging each other's acknowledgements.
    pub(crate) fn ack(&mut self, now: Time) -> Option<(AckRanges, Duration)> {
        if !self.wants_ack() || self.ranges.is_empty() {
            return None;
        }
        self.waiting = 0;
        self.lowest_unreported = None;
        self.due = None;
        let delay = self.largest.map_or(Duration::ZERO, |(_, at)| now.saturating_since(at));
        Some((self.ranges.clone(), delay))
    }

    /// The peer has an acknowledgement of ours that reached up to `largest`, so those numbers
    /// need not be reported again (RFC 9000 §13.2.4), save what arrived since, and the highest,
    /// which every acknowledgement names (§13.2.3).
    pub(crate) fn on_ack_acked(&mut self, largest: u64) {
        let Some((highest, _)) = self.largest else { return };
        let keep_from = self.lowest_unreported.unwrap_or(highest).min(largest.saturating_add(1)).min(highest);
        self.ranges.retain(|range| {
            range.0 = range.0.max(keep_from);
            range.0 <= range.1
        });
    }
}

/// Adds a number to ranges that are highest first and never touch; `false` when it is there.
fn insert(ranges: &mut AckRanges, number: u64) -> bool {
    let below = ranges.partition_point(|&(low, _)| low > number);
    if ranges.get(below).is_some_and(|&(_, high)| high >= number) {
        return false;
    }
    let touches_above = below > 0 && ranges[below - 1].0 == number + 1;
    let touches_below = ranges.get(below).is_some_and(|&(_, high)| high + 1 == number);
    match (touches_above, touches_below) {
        (true, true) => {
            ranges[below - 1].0 = ranges[below].0;
            ranges.remove(below);
        }
        (true, false) => ranges[below - 1].0 = number,
        (false, true) => ranges[below].1 = number,
        (false, false) => {
            if ranges.is_full() {
                if below == ranges.len() {
                    return true;
                }
                ranges.pop();
            }
            ranges.insert(below, (number, number));
        }
    }
    true
}
