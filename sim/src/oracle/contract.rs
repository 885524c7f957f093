//! The core's contract with its driver, checked by a driver that takes it at its word: it wakes
//! exactly when it was asked to, and never looks in between.

use burdock_core::{Action, Reason, Time};

use crate::oracle::{Verdict, require};

const ORACLE: &str = "contract";
/// Ticks at one instant before it counts as a standstill.
const TICKS: u32 = 64;
/// Packets and stream operations that one event may set off.
const WORK: u32 = 8_192;

/// What is queued must be announced: whoever sleeps until `due` must not be late.
pub(crate) fn announced(host: usize, now: Time, due: Option<Time>, action: &Action) -> Verdict {
    require(due.is_some_and(|due| due <= now), ORACLE, || {
        format!("host {host} had work queued ({}), but asked to be woken at {due:?}", name(action))
    })
}

/// No timer at or before `now` survives a tick.
pub(crate) fn after_tick(host: usize, now: Time, due: Option<(Time, Reason)>) -> Verdict {
    require(due.is_none_or(|(due, _)| due > now), ORACLE, || {
        format!("host {host} was ticked at {now} and still has a timer for {due:?}")
    })
}

/// An early tick changes nothing.
pub(crate) fn after_early_tick(
    host: usize,
    before: Option<Time>,
    after: Option<Time>,
    action: Option<&Action>,
) -> Verdict {
    require(action.is_none() && before == after, ORACLE, || {
        let action = action.map_or("nothing", name);
        format!("host {host} was ticked early, did {action}, and moved its timer from {before:?} to {after:?}")
    })
}

/// `ticks` at one instant.
pub(crate) fn standstill(host: usize, now: Time, ticks: u32) -> Verdict {
    require(ticks <= TICKS, ORACLE, || format!("host {host} was ticked {ticks} times at {now} without progress"))
}

/// `work` actions after one event.
pub(crate) fn bounded(host: usize, work: u32) -> Verdict {
    require(work <= WORK, ORACLE, || format!("host {host} did more than {WORK} things after one event"))
}

/// A handle that the driver does not hold, or no longer.
pub(crate) fn stale(host: usize, action: &Action) -> Verdict {
    require(false, ORACLE, || format!("host {host} wants {}, but that stream is gone", name(action)))
}

/// A dial was cancelled before anything came of it.
pub(crate) fn nothing_left(host: usize, due: Option<Time>, streams: usize) -> Verdict {
    require(due.is_none() && streams == 0, "leftovers", || {
        format!("host {host} cancelled its only dial and kept {streams} streams and a timer for {due:?}")
    })
}

/// The name of an action.
pub(crate) const fn name(action: &Action) -> &'static str {
    match action {
        Action::Transmit { .. } => "transmit",
        Action::OpenStream { .. } => "open_stream",
        Action::WriteStream { .. } => "write_stream",
        Action::CloseStream { .. } => "close_stream",
        Action::Resolve { .. } => "resolve",
        Action::Router { .. } => "router",
        Action::Update { .. } => "update",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_micros(5);

    #[test]
    fn work_that_is_not_announced_is_seen() {
        let action = Action::Transmit { to: crate::scenario::address(0), segment_size: None };
        assert!(announced(0, NOW, Some(NOW), &action).is_ok());
        assert!(announced(0, NOW, Some(Time::from_micros(6)), &action).is_err());
        assert!(announced(0, NOW, None, &action).is_err());
        assert!(after_early_tick(0, None, None, Some(&action)).is_err());
    }

    #[test]
    fn a_timer_that_survives_its_tick_is_seen() {
        assert!(after_tick(0, NOW, None).is_ok());
        assert!(after_tick(0, NOW, Some((Time::from_micros(6), Reason::Ack))).is_ok());
        assert!(after_tick(0, NOW, Some((NOW, Reason::Ack))).is_err());
        assert!(standstill(0, NOW, TICKS + 1).is_err());
        assert!(nothing_left(0, None, 1).is_err());
    }
}
