//! What a process makes of time, and what goes wrong with it: clocks that jump, wake-ups that come
//! late, early, twice or not at all, and processes that are stopped for a while.
//!
//! Oracles judge a host by its own clock, as the core sees it: a clock that went back stands still
//! until it has caught up. What only comes too late because a tick did is no fault of the core.

use core::cell::Cell;
use std::collections::{BTreeMap, VecDeque};

use burdock_core::{Event, Time};

use crate::item::Item;
use crate::luck::Purpose;
use crate::net::Delivery;
use crate::net::link::micros;
use crate::oracle::{Verdict, contract};
use crate::scenario::WakeTrouble;
use crate::world::World;

/// The clock that a process reads.
#[derive(Debug)]
pub(crate) struct Clock {
    /// What it showed when the run began.
    start: u64,
    /// For how long it stood still while its process was stopped.
    stood: u64,
    /// Where it has jumped to, by fault.
    jumps: BTreeMap<usize, i64>,
    /// The latest time that the core was told.
    seen: Cell<u64>,
}

impl Clock {
    pub(crate) const fn new(start: u64) -> Self {
        Self { start, stood: 0, jumps: BTreeMap::new(), seen: Cell::new(0) }
    }

    /// What it shows, less the time of the run.
    fn ahead(&self) -> i128 {
        i128::from(self.start) - i128::from(self.stood) + self.jumps.values().copied().map(i128::from).sum::<i128>()
    }

    fn shown(&self, now: u64) -> u64 {
        u64::try_from((i128::from(now) + self.ahead()).max(0)).unwrap_or(u64::MAX)
    }

    /// What it shows at `now`, to tell the core.
    pub(crate) fn read(&self, now: u64) -> Time {
        let shown = self.shown(now);
        self.seen.set(self.seen.get().max(shown));
        Time::from_micros(shown)
    }

    /// What the core takes it for: a clock that went back stands still.
    pub(crate) fn seen(&self, now: u64) -> Time {
        Time::from_micros(self.shown(now).max(self.seen.get()))
    }

    /// For how long the core will think so.
    pub(crate) fn behind(&self, now: u64) -> u64 {
        self.seen.get().saturating_sub(self.shown(now))
    }

    /// The time of the run at which it will show `time`.
    pub(crate) fn shows(&self, time: Time) -> u64 {
        u64::try_from((i128::from(time.as_micros()) - self.ahead()).max(0)).unwrap_or(u64::MAX)
    }
}

/// What waits for a process that is stopped.
#[derive(Debug)]
pub(crate) struct Stopped {
    /// By which fault.
    fault: usize,
    since: u64,
    clock_stands: bool,
    waiting: VecDeque<Waiting>,
    /// Bytes that are left for datagrams.
    room: usize,
}

#[derive(Debug)]
enum Waiting {
    Arrived(Delivery),
    Due(Item),
}

impl Stopped {
    /// False if it was dropped.
    fn keep(&mut self, delivery: Delivery) -> bool {
        if let Delivery::Datagram { data, .. } = &delivery {
            let Some(left) = self.room.checked_sub(data.len()) else { return false };
            self.room = left;
        }
        self.waiting.push_back(Waiting::Arrived(delivery));
        true
    }
}

impl World {
    /// Whether the process of a host runs, and is not stopped.
    pub(crate) fn runs(&self, host: usize) -> bool {
        self.hosts[host].process.as_ref().is_some_and(|process| process.stopped.is_none())
    }

    fn stopped(&mut self, host: usize) -> Option<&mut Stopped> {
        self.hosts[host].process.as_mut()?.stopped.as_mut()
    }

    /// The kernel keeps what arrives for a stopped process; hands it back if it is to be told now.
    pub(crate) fn unless_stopped(&mut self, delivery: Delivery) -> Option<Delivery> {
        let Some(stopped) = self.stopped(delivery.host()) else { return Some(delivery) };
        if !stopped.keep(delivery) {
            self.overflowed += 1;
            self.table.event("socket_overflowed");
        }
        None
    }

    /// What a stopped process was to do, it does when it goes on.
    pub(crate) fn unless_postponed(&mut self, item: Item) -> Option<Item> {
        let host = match &item {
            Item::Op(op) | Item::Traffic { op, .. } => self.scenario.ops[*op].host,
            Item::Read { host, .. } | Item::Resolved { host, .. } => *host,
            _ => return Some(item),
        };
        let Some(stopped) = self.stopped(host) else { return Some(item) };
        stopped.waiting.push_back(Waiting::Due(item));
        None
    }

    pub(crate) fn stop(&mut self, fault: usize, host: usize, clock_stands: bool, buffer: u32) {
        let now = self.now;
        let Some(process) = self.hosts[host].process.as_mut().filter(|process| process.stopped.is_none()) else {
            return;
        };
        process.stopped =
            Some(Stopped { fault, since: now, clock_stands, waiting: VecDeque::new(), room: buffer as usize });
        self.net.set_stopped(host, true);
        self.table.event(if clock_stands { "stopped_with_its_clock" } else { "stopped" });
        self.note(host, format_args!("is stopped"));
    }

    /// Everything that came meanwhile is there at once.
    pub(crate) fn go_on(&mut self, fault: usize, host: usize) -> Verdict {
        let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
        let Some(stopped) = process.stopped.take_if(|stopped| stopped.fault == fault) else { return Ok(()) };
        if stopped.clock_stands {
            process.clock.stood += self.now - stopped.since;
        }
        process.wake = None;
        self.net.set_stopped(host, false);
        self.note(host, format_args!("goes on"));
        // A driver may look at its timers first, or at its sockets.
        if self.luck.strikes(Purpose::TimersFirst, host as u64, fault as u64, 500) {
            self.settle(host)?;
        }
        for waiting in stopped.waiting {
            match waiting {
                Waiting::Arrived(delivery) => self.deliver(delivery)?,
                Waiting::Due(item) => self.step(item)?,
            }
        }
        self.settle(host)
    }

    /// Its driver does not notice; it sees the new time when something happens next.
    pub(crate) fn clock_jumps(&mut self, fault: usize, host: usize, by: u64, back: bool) {
        let Some(process) = &mut self.hosts[host].process else { return };
        let by = i64::try_from(by).unwrap_or(i64::MAX);
        process.clock.jumps.insert(fault, if back { -by } else { by });
        self.table.event(if back { "clock_back" } else { "clock_forward" });
    }

    pub(crate) fn clock_is_right_again(&mut self, fault: usize, host: usize) -> Verdict {
        let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
        if process.clock.jumps.remove(&fault).is_some() {
            process.wake = None;
            return self.settle_unless_stopped(host);
        }
        Ok(())
    }

    pub(crate) fn wakes_are_right_again(&mut self, fault: usize, host: usize) -> Verdict {
        self.hosts[host].wakes.retain(|(trouble, _)| *trouble != fault);
        if let Some(process) = &mut self.hosts[host].process {
            process.wake = None;
        }
        self.settle_unless_stopped(host)
    }

    fn settle_unless_stopped(&mut self, host: usize) -> Verdict {
        if self.runs(host) { self.settle(host) } else { Ok(()) }
    }

    /// Queues a wake-up for `ordered`; it comes then, unless wake-ups are troubled.
    pub(crate) fn order_wake(&mut self, host: usize, incarnation: u32, ordered: u64) {
        let state = &mut self.hosts[host];
        let mut at = ordered;
        if !state.wakes.is_empty() {
            state.orders += 1;
            let (place, number) = (host as u64, state.orders);
            for (_, trouble) in &state.wakes {
                match trouble {
                    WakeTrouble::Late { up_to } => {
                        at += self.luck.below(Purpose::LateWake, place, number, micros(*up_to) + 1);
                        self.table.event("late_wake");
                    }
                    WakeTrouble::Lost { per_mille } => {
                        if self.luck.strikes(Purpose::LostWake, place, number, *per_mille) {
                            self.table.event("lost_wake");
                            return;
                        }
                    }
                    WakeTrouble::Doubled { per_mille } => {
                        if self.luck.strikes(Purpose::DoubledWake, place, number, *per_mille) {
                            let span = (ordered - self.now) + 1;
                            let early = self.now + self.luck.below(Purpose::DoubledWhen, place, number, span);
                            let twice = self.luck.strikes(Purpose::DoubledWhen, place + (1 << 32), number, 500);
                            let second = if twice { ordered } else { early };
                            self.queue.push(second, Item::SecondWake { host, incarnation });
                            self.table.event("doubled_wake");
                        }
                    }
                }
            }
        }
        self.queue.push(at, Item::Wake { host, incarnation, ordered });
    }

    /// A wake-up that nobody asked for changes nothing.
    pub(crate) fn second_wake(&mut self, host: usize, incarnation: u32) -> Verdict {
        let now = self.now;
        let state = &mut self.hosts[host];
        let Some(process) = &mut state.process else { return Ok(()) };
        if process.incarnation != incarnation || process.stopped.is_some() {
            return Ok(());
        }
        let before = process.due();
        if before.is_none_or(|due| due > process.clock.seen(now)) {
            let time = process.time(now);
            process.endpoint.handle(time, Event::Tick);
            let after = process.due();
            let action = process.endpoint.poll_action(time, &mut state.buffer);
            contract::after_early_tick(host, before, after, action.as_ref())?;
        }
        self.settle(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    #[test]
    fn a_clock_that_goes_back_stands_still_until_it_has_caught_up() {
        let mut clock = Clock::new(7_000_000_000);
        assert_eq!(clock.read(5).as_micros(), 7_000_000_005);
        clock.read(10);
        clock.jumps.insert(0, -HOUR);
        assert_eq!(clock.read(11).as_micros(), 3_400_000_011);
        assert_eq!(clock.seen(11).as_micros(), 7_000_000_010);
        assert_eq!(clock.behind(11), 3_600_000_000 - 1);
        assert_eq!(clock.shows(Time::from_micros(7_000_000_020)), 3_600_000_020);
        clock.jumps.clear();
        assert_eq!(clock.seen(20).as_micros(), 7_000_000_020);
        assert_eq!(clock.behind(20), 0);
    }

    #[test]
    fn a_clock_never_shows_less_than_nothing() {
        let mut clock = Clock::new(0);
        clock.read(5);
        clock.jumps.insert(3, -HOUR);
        assert_eq!(clock.read(6), Time::ZERO);
        assert_eq!(clock.seen(6).as_micros(), 5);
        assert_eq!(clock.shows(Time::from_micros(8)), 3_600_000_008);
    }
}
