//! The stream of updates of one session.

use std::collections::VecDeque;
use std::sync::Arc;

use burdock_core::update::{Outcome, Update, UpdateKind};
use burdock_core::{MessageId, SessionId};

use crate::shared::{Shared, Signals};

/// Updates other than outcomes that wait for a listener.
const NEWS: usize = 1024;

/// What happens to a session, in order; got beside the [`Session`](crate::Session).
///
/// The queue is bounded: it holds 1,024 updates, and beside them the outcomes of as many messages
/// as may be pending at once ([`Limits::pending_messages`](crate::Limits::pending_messages)), so
/// that no end of a session overflows it. When a listener lags further the oldest go. That shows:
/// [`Update::seq`] rises by one, so a gap in it is the number of updates missed, and
/// [`Session::status`](crate::Session::status) has the state to go on from.
///
/// Drop it if you do not want it; nothing is queued then.
pub struct Updates {
    pub(crate) id: SessionId,
    pub(crate) signals: Arc<Signals>,
    pub(crate) shared: Arc<Shared>,
}

impl Updates {
    /// The next update, `None` after the last one: that is `Closed`, unless the session was
    /// dropped before.
    ///
    /// Cancel safe: an update is taken only when it is returned.
    pub async fn next(&mut self) -> Option<Update> {
        let (shared, id) = (&self.shared, self.id);
        shared
            .until(&self.signals.updates, || {
                let mut state = shared.lock();
                let Some(slot) = state.sessions.get_mut(&id) else { return Some(None) };
                match slot.updates.as_mut().and_then(Queue::pop) {
                    None if slot.closed.is_none() => None,
                    done => Some(done),
                }
            })
            .await
    }

    /// The next update if there is one now.
    pub fn try_next(&mut self) -> Option<Update> {
        self.shared.lock().sessions.get_mut(&self.id)?.updates.as_mut()?.pop()
    }
}

impl Drop for Updates {
    fn drop(&mut self) {
        self.shared.lock().release(self.id, |slot| slot.updates = None);
    }
}

/// The updates that wait for a listener. Outcomes, of which there can be many, are kept small.
pub(crate) struct Queue {
    news: VecDeque<Update>,
    outcomes: VecDeque<(u64, MessageId, Outcome)>,
    max_outcomes: usize,
}

impl Queue {
    pub(crate) fn new(max_outcomes: usize) -> Self {
        Self { news: VecDeque::new(), outcomes: VecDeque::new(), max_outcomes }
    }

    pub(crate) fn push(&mut self, update: Update) {
        match update.kind {
            UpdateKind::Outcome { message, outcome } => {
                push(&mut self.outcomes, (update.seq, message, outcome), self.max_outcomes);
            }
            _ => push(&mut self.news, update, NEWS),
        }
    }

    fn pop(&mut self) -> Option<Update> {
        let first = self.outcomes.front().map_or(u64::MAX, |(seq, ..)| *seq);
        if self.news.front().is_some_and(|update| update.seq < first) {
            return self.news.pop_front();
        }
        let (seq, message, outcome) = self.outcomes.pop_front()?;
        Some(Update { seq, kind: UpdateKind::Outcome { message, outcome } })
    }
}

fn push<T>(queue: &mut VecDeque<T>, item: T, max: usize) {
    if queue.len() >= max {
        queue.pop_front();
    }
    queue.push_back(item);
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error, U64Deserializer};

    use super::*;

    fn update(seq: u64) -> Update {
        let from: U64Deserializer<Error> = seq.into_deserializer();
        let message = MessageId::deserialize(from).unwrap();
        let outcome = UpdateKind::Outcome { message, outcome: Outcome::Delivered };
        Update { seq, kind: if seq.is_multiple_of(3) { UpdateKind::Message } else { outcome } }
    }

    #[test]
    fn two_queues_come_out_as_one() {
        let mut queue = Queue::new(100);
        (1..=90).for_each(|seq| queue.push(update(seq)));
        let out: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(out, (1..=90).map(update).collect::<Vec<_>>());
    }

    #[test]
    fn who_lags_loses_the_oldest_and_sees_the_gap() {
        let mut queue = Queue::new(4);
        (1..=12).for_each(|seq| queue.push(update(seq)));
        let out: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|update| update.seq).collect();
        assert_eq!(out, [3, 6, 7, 8, 9, 10, 11, 12]);
    }

    #[test]
    fn news_are_bounded_and_the_last_ones_stay() {
        let mut queue = Queue::new(4);
        for seq in 1..=2 * NEWS as u64 {
            queue.push(Update { seq, kind: UpdateKind::Writable });
        }
        let out: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|update| update.seq).collect();
        assert_eq!((out.len(), out.first(), out.last()), (NEWS, Some(&(NEWS as u64 + 1)), Some(&(2 * NEWS as u64))));
    }
}
