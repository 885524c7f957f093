//! Steady state allocates nothing per packet: what is allocated are the messages that the
//! application takes, and nothing else.
#![allow(unsafe_code, reason = "an allocator that counts has to be an allocator")]

use core::cell::Cell;
use core::time::Duration;
use std::alloc::{GlobalAlloc, Layout, System};

use burdock_tests::direct::{Carrier, Pair};
use bytes::Bytes;

thread_local! {
    /// Allocations of this thread, growing ones included.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

fn count() {
    // A thread that is being torn down has no counter any more.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps to this method's contract, which is the same there.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(ptr, layout, new_size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(f: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    f();
    ALLOCATIONS.get() - before
}

const CARRIERS: [Carrier; 2] = [Carrier::Datagrams, Carrier::Stream];
const SMALL: &[u8] = &[7; 100];
const LARGE: &[u8] = &[7; 200 * 1024];

fn repeat(message: &'static [u8], times: usize) -> impl Iterator<Item = Bytes> {
    std::iter::repeat_n(Bytes::from_static(message), times)
}

/// A pair whose buffers have grown to what the tests need, in both directions.
fn warm(carrier: Carrier) -> Pair {
    let mut pair = Pair::connect(carrier);
    for from in [0, 1, 0, 1] {
        pair.transfer(from, repeat(LARGE, 40));
        pair.transfer(from, repeat(SMALL, 10_000));
        pair.transfer(from, repeat(&[], 10_000));
        pair.pass(Duration::from_secs(1));
    }
    pair
}

// Mutation: collect the paths' indices into a Vec in `poll_transmit` makes this fail.
#[test]
fn packets_without_messages_of_length_allocate_nothing() {
    for carrier in CARRIERS {
        let mut pair = warm(carrier);
        let writes = pair.writes(0) + pair.writes(1);
        // One message at a time, each with its packets, acknowledgements and timers.
        let counted = allocations(|| (0..1_000).for_each(|_| _ = pair.transfer(0, repeat(&[], 1))));
        assert!(pair.writes(0) + pair.writes(1) >= writes + 2_000);
        assert_eq!(counted, 0, "{carrier:?}");
    }
}

// Mutation: `data.to_vec()` around a received STREAM frame's bytes makes this fail.
#[test]
fn small_messages_allocate_once_each() {
    for carrier in CARRIERS {
        let mut pair = warm(carrier);
        let taken = pair.taken(1);
        let counted = allocations(|| _ = pair.transfer(0, repeat(SMALL, 5_000)));
        assert_eq!(counted, pair.taken(1) - taken, "{carrier:?}");
        assert_eq!(counted, 5_000, "{carrier:?}");
    }
}

/// The memory of a large message grows with what has arrived of it, from 4 KiB on by doubling: that
/// is all there is.
// Mutation: `data.to_vec()` around a received STREAM frame's bytes makes this fail.
#[test]
fn large_messages_allocate_what_holds_them() {
    for carrier in CARRIERS {
        let mut pair = warm(carrier);
        let one = allocations(|| _ = pair.transfer(0, repeat(LARGE, 1)));
        assert!((1..=7).contains(&one), "{one} allocations over {carrier:?}");
        let writes = pair.writes(0);
        let counted = allocations(|| _ = pair.transfer(0, repeat(LARGE, 20)));
        assert!(counted <= 20 * 7, "{counted} allocations over {carrier:?}");
        assert!(carrier == Carrier::Stream || pair.writes(0) - writes > 20 * 170);
    }
}

#[test]
fn repeated_and_forged_packets_allocate_nothing() {
    let mut pair = warm(Carrier::Datagrams);
    let packet = pair.datagram_with(0, Bytes::from_static(SMALL));
    pair.pass(Duration::from_secs(1));
    let mut forged = packet.clone();
    *forged.last_mut().expect("a tag") ^= 1;
    let mut room = packet.clone();
    let counted = allocations(|| {
        for _ in 0..100 {
            for data in [&packet, &forged] {
                room.copy_from_slice(data);
                pair.inject(1, &mut room);
            }
        }
    });
    assert_eq!(counted, 0);
}

// Mutation: collect the paths' indices into a Vec in `on_path_timers` makes this fail.
#[test]
fn an_idle_session_that_is_kept_alive_allocates_nothing() {
    for carrier in CARRIERS {
        let mut pair = warm(carrier);
        let writes = pair.writes(0) + pair.writes(1);
        // Until the keys are renewed, which is a handshake and allocates.
        let counted = allocations(|| pair.pass(Duration::from_secs(100)));
        assert!(pair.writes(0) + pair.writes(1) >= writes + 10);
        assert_eq!(counted, 0, "{carrier:?}");
        let renewals = 500 / 120 + 1;
        let counted = allocations(|| pair.pass(Duration::from_secs(500)));
        assert!((1..=renewals * 100).contains(&counted), "{counted} allocations over {carrier:?}");
    }
}
