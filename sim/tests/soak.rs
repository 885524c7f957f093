//! Days of one session: what it holds at the end of the second day is what it holds at the end of
//! the last.
#![allow(unsafe_code, reason = "an allocator that counts has to be an allocator")]

use core::cell::Cell;
use core::time::Duration;
use std::alloc::{GlobalAlloc, Layout, System};

use burdock_core::update::{Outcome, UpdateKind};
use burdock_core::{SessionId, Transport};
use burdock_sim::{Lab, Scenario};

thread_local! {
    /// Bytes that this thread has allocated and not freed.
    static HELD: Cell<i64> = const { Cell::new(0) };
}

struct Counting;

fn count(bytes: usize, sign: i64) {
    // A thread that is being torn down has no counter any more.
    let _ = HELD.try_with(|held| held.set(held.get() + sign * i64::try_from(bytes).unwrap_or(i64::MAX)));
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller keeps to this method's contract, which is the same there.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(layout.size(), -1);
        count(new_size, 1);
        // SAFETY: as above.
        unsafe { System.realloc(ptr, layout, new_size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const DAY: Duration = Duration::from_secs(24 * 3_600);
const MINUTE: Duration = Duration::from_secs(60);
/// What buffers that grow by doubling may add when a day happens to fill them more.
const SLACK: i64 = 32 * 1024;

/// What happened in all the days.
#[derive(Debug, Default)]
struct Tally {
    sent: u64,
    taken: u64,
    delivered: u64,
    moves: u64,
    resumed: u64,
    /// Bytes held at the end of each day.
    held: Vec<i64>,
}

/// One side: whoever writes a message a minute.
struct App {
    host: usize,
    session: Option<SessionId>,
}

impl App {
    fn look(&mut self, lab: &mut Lab, tally: &mut Tally) {
        while let Some((session, update)) = lab.update(self.host) {
            match update.kind {
                UpdateKind::Connected { .. } => self.session = Some(session),
                UpdateKind::Message => {
                    let taken = lab.with(self.host, |endpoint, now| {
                        let taken = core::iter::from_fn(|| endpoint.recv(session)).count();
                        endpoint.taken(now, session);
                        taken
                    });
                    tally.taken += taken.unwrap_or_default() as u64;
                }
                UpdateKind::Outcome { outcome, .. } => {
                    assert_eq!(outcome, Outcome::Delivered);
                    tally.delivered += 1;
                }
                UpdateKind::PathChanged { from, to, .. } => {
                    assert_ne!((from, to), (Transport::I2p, Transport::I2p));
                    tally.moves += u64::from(from != to);
                }
                UpdateKind::Resumed { .. } => tally.resumed += 1,
                UpdateKind::Closed { code, .. } => panic!("{} on day {}", code.name(), tally.held.len() + 1),
                _ => {}
            }
        }
    }

    fn send(&self, lab: &mut Lab, tally: &mut Tally) {
        let Some(session) = self.session else { return };
        let size = 100 + usize::from(tally.sent.is_multiple_of(7)) * 2_000;
        let sent = lab.with(self.host, |endpoint, now| endpoint.send(now, session, 0, vec![7; size].into()));
        assert!(sent.is_some_and(|sent| sent.is_ok()));
        tally.sent += 1;
    }
}

fn soak(days: u32) -> Tally {
    let mut lab = Lab::new(Scenario::days(1, days)).expect("a sound scenario");
    let mut tally = Tally { held: Vec::with_capacity(days as usize), ..Tally::default() };
    let mut apps = [0, 1].map(|host| App { host, session: None });
    let link = lab.link(1);
    apps[0].session = lab.with(0, |endpoint, now| endpoint.connect(now, &link)).and_then(Result::ok);
    for day in 1..=days {
        let midnight = burdock_core::Time::ZERO + day * DAY;
        while lab.now() < midnight {
            let next = lab.now() + MINUTE;
            while lab.step(next).expect("no oracle fails") {
                apps.iter_mut().for_each(|app| app.look(&mut lab, &mut tally));
            }
            // Nothing is under way when a day is measured.
            if lab.now() + 5 * MINUTE < midnight {
                apps.iter().for_each(|app| app.send(&mut lab, &mut tally));
            }
            apps.iter_mut().for_each(|app| app.look(&mut lab, &mut tally));
        }
        lab.forget();
        tally.held.push(HELD.get());
    }
    tally
}

#[track_caller]
fn holds(tally: &Tally, days: u64) {
    assert_eq!((tally.taken, tally.delivered), (tally.sent, tally.sent));
    assert!(tally.sent >= days * 2_800, "{tally:?}");
    assert!(tally.moves >= days * 4 && tally.resumed >= days * 2, "{tally:?}");
    let (second, last) = (tally.held[1], tally.held[tally.held.len() - 1]);
    assert!(last <= second + SLACK, "{second} bytes after the second day, {last} after the last: {tally:?}");
}

#[test]
fn d6_what_a_session_holds_does_not_grow_over_days() {
    // Mutation: keeping every path that was ever closed (`self.paths.remove` left out) makes this fail.
    holds(&soak(3), 3);
}

#[test]
#[ignore = "a quarter of a minute"]
fn d6_what_a_session_holds_does_not_grow_over_a_month() {
    // Mutation: as above.
    let tally = soak(30);
    holds(&tally, 30);
    let grown = u32::try_from((tally.held[29] - tally.held[1]).max(0) / 1_024).unwrap();
    burdock_ledger::reached("D6", "KiB grown from the second to the thirtieth day", grown);
}
