//! What was turned away, in the log: at most a line a second, however much it is.

use core::time::Duration;

use burdock_core::TurnedAway;
use burdock_core::seal::Refused;
use tokio::time::Instant;
use tracing::debug;

use crate::shared::Shared;

const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct Report {
    told: (Refused, TurnedAway),
    at: Option<Instant>,
}

impl Report {
    /// Logs the counters, if they changed and the last time is long enough ago.
    pub(crate) fn tell(&mut self, shared: &Shared) {
        let now = Instant::now();
        if self.at.is_some_and(|at| now < at + INTERVAL) {
            return;
        }
        let state = shared.lock();
        let counters = (state.core.refused(), state.core.turned_away());
        drop(state);
        if counters != self.told {
            (self.told, self.at) = (counters, Some(now));
            let (refused, turned_away) = counters;
            debug!(?refused, ?turned_away, "so much was refused so far");
        }
    }
}
