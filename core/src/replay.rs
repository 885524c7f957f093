//! The window that lets each packet number through once (RFC 6479).

/// How many numbers the window spans, the newest included.
pub(crate) const WINDOW: u64 = 8192;

/// One word more than the window fills, so that clearing the words ahead never clears a number still in it.
const WORDS: usize = WINDOW as usize / 64 + 1;

/// Which of the last [`WINDOW`] numbers were seen. Asking and marking are apart, so that only an
/// authenticated packet moves it.
#[cfg_attr(test, derive(Clone, Debug, PartialEq, Eq))]
pub(crate) struct Window {
    /// The newest number marked, plus one.
    next: u64,
    seen: [u64; WORDS],
}

impl Window {
    pub(crate) fn new() -> Self {
        Self { next: 0, seen: [0; WORDS] }
    }

    /// Is it neither marked nor too old to tell?
    pub(crate) fn is_fresh(&self, number: u64) -> bool {
        if self.is_newest(number) {
            return true;
        }
        let (word, bit) = position(number);
        self.next - number <= WINDOW && self.seen[word] & bit == 0
    }

    /// Is it beyond every number marked so far?
    pub(crate) fn is_newest(&self, number: u64) -> bool {
        number >= self.next
    }

    /// Marks a number that [is fresh](Self::is_fresh) and below `u64::MAX`.
    pub(crate) fn mark(&mut self, number: u64) {
        if self.is_newest(number) {
            // A word is cleared when the first of its numbers comes within reach.
            let reached = self.next.div_ceil(64);
            for ahead in (reached..=number / 64).take(WORDS) {
                self.seen[(ahead % WORDS as u64) as usize] = 0;
            }
            self.next = number + 1;
        }
        let (word, bit) = position(number);
        self.seen[word] |= bit;
    }
}

fn position(number: u64) -> (usize, u64) {
    ((number / 64 % WORDS as u64) as usize, 1 << (number % 64))
}

#[cfg(test)]
mod tests;
