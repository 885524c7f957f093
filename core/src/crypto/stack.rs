//! Secrets that a call leaves on the stack.

use core::hint::black_box;

/// Stack that a handshake message needs at most, in bytes: more than X25519 does.
pub(crate) const HANDSHAKE_STACK: usize = 32 * 1024;

/// Calls `f`, then wipes the `N` bytes of the stack where `f` and what it called had their frames.
///
/// Whoever owns a secret wipes it where it lies. That does not reach the copies that the compiler
/// makes when a value is moved or a register is spilled, and a later function may copy such a
/// remainder to the heap along with bytes of its own that it never set.
pub(crate) fn wiped<const N: usize, R>(f: impl FnOnce() -> R) -> R {
    let result = apart(f);
    wipe::<N>();
    result
}

/// Gives `f` a frame of its own, which begins where that of [`wipe`] will.
#[inline(never)]
fn apart<R>(f: impl FnOnce() -> R) -> R {
    f()
}

#[inline(never)]
fn wipe<const N: usize>() {
    let mut room = [0u8; N];
    black_box(&mut room);
}
