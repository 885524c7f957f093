//! What runs of the state machine came to: so it shows when a corpus misses something.

use core::fmt::Debug;
use std::collections::BTreeMap;

use burdock_core::Endpoint;
use burdock_core::update::UpdateKind;

/// How often each update, timer and refusal was seen.
#[derive(Debug, Default)]
pub struct Reached(pub BTreeMap<String, u64>);

impl Reached {
    pub(super) fn add(&mut self, what: String, count: u64) {
        *self.0.entry(what).or_default() += count;
    }

    /// One more of a kind that is named by its variant.
    pub(super) fn note(&mut self, group: &str, kind: &impl Debug) {
        let text = format!("{kind:?}");
        let name = text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        self.add(format!("{group} {name}"), 1);
    }

    pub(super) fn note_update(&mut self, kind: &UpdateKind) {
        self.note("update", kind);
        match kind {
            UpdateKind::Lost { code } => self.note("lost:", code),
            UpdateKind::PathChanged { code, .. } => self.note("path changed:", code),
            UpdateKind::Closed { code, .. } => self.note("closed:", code),
            UpdateKind::Outcome { outcome, .. } => self.note("outcome", outcome),
            UpdateKind::Progress(progress) => self.note("progress", &progress.status),
            _ => {}
        }
    }

    /// What the endpoint itself counted.
    pub(super) fn note_counters(&mut self, endpoint: &Endpoint) {
        let refused = endpoint.refused();
        let turned = endpoint.turned_away();
        for (name, count) in [
            ("refused: malformed", refused.malformed),
            ("refused: replayed", refused.replayed),
            ("refused: out_of_order", refused.out_of_order),
            ("refused: bad_tag", refused.bad_tag),
            ("refused: retired", refused.retired),
            ("turned away: malformed", turned.malformed),
            ("turned away: bad_mac1", turned.bad_mac1),
            ("turned away: no_cookie", turned.no_cookie),
            ("turned away: rate_limited", turned.rate_limited),
            ("turned away: not_accepted", turned.not_accepted),
            ("turned away: half_open_evicted", turned.half_open_evicted),
            ("turned away: streams_evicted", turned.streams_evicted),
            ("turned away: streams_too_slow", turned.streams_too_slow),
        ] {
            self.add(name.to_owned(), count);
        }
    }
}
