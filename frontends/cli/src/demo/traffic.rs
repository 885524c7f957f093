//! What the two applications send, and what the receiving one writes down.

use std::time::Duration;

use blake2::{Blake2s256, Digest};
use burdock_tokio::{Closed, Session};
use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::verdict::Verdict;

/// Number, and whether it is the last.
const HEADER: usize = 9;
const CHANNEL: u8 = 0;

/// How many messages there will be: known from the start, or said on the way.
pub(super) type Total = watch::Receiver<Option<u64>>;

/// A number of messages that is known from the start.
pub(super) fn exactly(total: u64) -> Total {
    watch::channel(Some(total)).1
}

/// One side's application: it sends its numbered messages in order, and writes down what comes.
pub(super) struct Application {
    flow: u64,
    total: Total,
    pace: Duration,
    /// The message that is sent a second time.
    pub(super) doubled: Option<u64>,
    sent: watch::Sender<u64>,
    pub(super) ledger: Ledger,
}

impl Application {
    /// `flow` marks whose messages they are; `pace` is the time between two of them.
    pub(super) fn new(flow: u64, total: Total, pace: Duration) -> Self {
        Self { flow, total, pace, doubled: None, sent: watch::Sender::new(0), ledger: Ledger::default() }
    }

    /// Sends what is left to send and takes what comes, until both directions are through.
    ///
    /// # Errors
    /// The session ended before.
    pub(super) async fn talk(&mut self, session: &Session) -> Result<(), Closed> {
        let Self { flow, total, pace, doubled, sent, ledger } = self;
        let sending = async {
            let mut ticks = tokio::time::interval(*pace);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            loop {
                ticks.tick().await;
                let (number, total) = (*sent.borrow(), *total.borrow());
                if total.is_some_and(|total| number >= total) {
                    break;
                }
                let data = payload(*flow, number, total == Some(number + 1));
                let copies = if *doubled == Some(number) { 2 } else { 1 };
                for _ in 0..copies {
                    if session.send(CHANNEL, data.clone()).await.is_err() {
                        // Why it ended is learned by receiving.
                        std::future::pending::<()>().await;
                    }
                }
                sent.send_modify(|sent| *sent += 1);
            }
            Ok(())
        };
        let receiving = async {
            while !ledger.complete() {
                let message = session.recv().await?;
                ledger.write(&message.data);
            }
            session.acknowledge();
            Ok(())
        };
        tokio::try_join!(sending, receiving).map(|_| ())
    }

    /// Follows how many messages were sent.
    pub(super) fn sent(&self) -> watch::Receiver<u64> {
        self.sent.subscribe()
    }
}

/// The bytes of message `number` of a flow: its header, then 32 to 1,055 bytes that follow from both.
fn payload(flow: u64, number: u64, last: bool) -> Bytes {
    let mut state = flow.rotate_left(32) ^ number;
    let len = HEADER + 32 + usize::try_from(mix(&mut state) % 1024).unwrap_or_default();
    let mut data = Vec::with_capacity(len + 8);
    data.extend(number.to_be_bytes());
    data.push(u8::from(last));
    while data.len() < len {
        data.extend(mix(&mut state).to_be_bytes());
    }
    data.truncate(len);
    data.into()
}

/// SplitMix64 (Steele, Lea, Flood 2014).
const fn mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What a receiving application wrote down: how many, in which order, and a hash of every byte.
#[derive(Default)]
pub(super) struct Ledger {
    count: watch::Sender<u64>,
    out_of_order: Option<(u64, u64)>,
    complete: bool,
    hash: Blake2s256,
}

impl Ledger {
    fn write(&mut self, data: &[u8]) {
        let expected = self.count();
        let number = data.first_chunk().map_or(u64::MAX, |bytes| u64::from_be_bytes(*bytes));
        if number != expected && self.out_of_order.is_none() {
            self.out_of_order = Some((expected, number));
        }
        self.complete |= data.get(HEADER - 1) == Some(&1);
        Self::hash_in(&mut self.hash, data);
        self.count.send_modify(|count| *count += 1);
    }

    fn hash_in(hash: &mut Blake2s256, data: &[u8]) {
        hash.update((data.len() as u64).to_be_bytes());
        hash.update(data);
    }

    /// How many there are so far.
    pub(super) fn count(&self) -> u64 {
        *self.count.borrow()
    }

    /// Follows the count as it grows.
    pub(super) fn counter(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }

    /// Whether the last message has come, whatever came before it.
    const fn complete(&self) -> bool {
        self.complete
    }

    /// Compares what came with what the sender of `flow` was to send, made anew from the numbers.
    pub(super) fn judge(&self, who: &str, flow: u64, total: u64, verdict: &mut Verdict) {
        let mut expected = Blake2s256::new();
        for number in 0..total {
            Self::hash_in(&mut expected, &payload(flow, number, number + 1 == total));
        }
        let count = self.count();
        verdict.check(count == total, format!("{who} got {} of {}", count_of(count), count_of(total)));
        if let Some((expected, number)) = self.out_of_order {
            verdict.check(false, format!("{who} expected message {expected} and got {number}"));
        }
        let same = self.hash.clone().finalize() == expected.finalize();
        verdict
            .check(same, format!("{who}'s payload hash {} the sender's", if same { "equals" } else { "differs from" }));
    }
}

/// A count of messages, with thousands set apart.
pub(super) fn count_of(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(numbers: &[u64], total: u64) -> bool {
        let mut ledger = Ledger::default();
        for number in numbers {
            ledger.write(&payload(1, *number, number + 1 == total));
        }
        let mut verdict = Verdict::new("test");
        ledger.judge("bob", 1, total, &mut verdict);
        verdict.holds()
    }

    #[test]
    fn only_everything_once_and_in_order_will_do() {
        assert!(judged(&[0, 1, 2, 3], 4));
        assert!(!judged(&[0, 1, 3], 4), "one is missing");
        assert!(!judged(&[0, 1, 1, 2, 3], 4), "one came twice");
        assert!(!judged(&[0, 2, 1, 3], 4), "the order is wrong");
    }

    #[test]
    fn a_changed_byte_is_seen() {
        let mut ledger = Ledger::default();
        let mut data = payload(1, 0, true).to_vec();
        *data.last_mut().unwrap() ^= 1;
        ledger.write(&data);
        let mut verdict = Verdict::new("test");
        ledger.judge("bob", 1, 1, &mut verdict);
        assert!(!verdict.holds());
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([7, 999, 1_000, 1_234_567].map(count_of), ["7", "999", "1,000", "1,234,567"]);
    }
}
