//! What a sweep reached, so that a test that tests nothing is noticed. The rows come from the
//! enums themselves.

use core::fmt;
use std::collections::BTreeMap;

use burdock_core::update::{Outcome, ProgressStatus, Stage, State, UpdateKind};
use burdock_core::{Code, NetError, RouterState, Transport, Update};

use crate::scenario::Family;

/// Rows that a sweep may leave below the threshold, and why.
const REASONS: &[(&str, &str, &str)] = &[
    ("code", "protocol", "no host breaks the protocol on purpose yet"),
    ("code", "limit", "no host pushes on a limit on purpose yet"),
    ("code", "wrong_peer", "every link names the right key"),
    ("code", "not_invited", "whoever is refused hears nothing, and no link has an invite"),
    ("code", "handshake_timeout", "a damaged answer is followed by a good one before the attempt is over"),
    ("code", "version", "there is one version"),
    ("code", "name", "every name can be looked up"),
    ("code", "expired", "every host comes back"),
    ("code", "replaced", "every identity is used in one place"),
    ("code", "close_timeout", "everything is healed before it is closed"),
    ("code", "cancelled", "an application that cancels is told nothing more"),
    ("router", "said_connecting", "it is so from the beginning, and is not told again before it is up or down"),
    ("event", "stream_timed_out", "a kernel gives up after minutes, an attempt after seconds"),
];

/// Counts by group and row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table(BTreeMap<(&'static str, &'static str), u64>);

/// One row of a [`Table`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// What is counted: an enum.
    pub group: &'static str,
    /// Which of it: a variant.
    pub name: &'static str,
    /// How often it was reached.
    pub count: u64,
    /// Why it may be missing.
    pub reason: Option<&'static str>,
}

/// Things that no enum has.
const EVENTS: &[&str] = &[
    "crash",
    "accepted_stream",
    "early_tick",
    "fallback_udp_to_tcp",
    "fallback_to_i2p",
    "moved_to_i2p",
    "moved_from_i2p",
    "resumed_on_i2p",
    "moved_tcp_to_udp",
    "moved_udp_to_tcp",
    "partial_write",
    "peer_restart_noticed",
    "resumed_on_tcp",
    "resumed_on_udp",
    "send_full",
    "stream_cut_mid_frame",
    "stream_end",
    "stream_refused",
    "stream_reset",
    "stream_timed_out",
    "transmit_failed",
    "cancelled_dial",
    "cancelled_session",
    "redialled_after_restart",
    "redialled_when_healed",
    "stopped",
    "stopped_with_its_clock",
    "socket_overflowed",
    "clock_back",
    "clock_forward",
    "late_wake",
    "lost_wake",
    "doubled_wake",
];

/// What attackers and NATs did.
const DEEDS: &[&str] = &[
    "captured",
    "replayed",
    "replayed_after_restart",
    "delayed",
    "mutated",
    "reflected",
    "crossed",
    "elsewhere_first",
    "elsewhere_later",
    "stream_flipped",
    "stream_inserted",
    "stream_reset",
    "garbage",
    "forged_data",
    "forged_answer",
    "forged_cookie",
    "guessed_index",
    "wrong_mac1",
    "forged_init",
    "stranger_init",
    "asked_for_cookie",
    "cookie_elsewhere",
    "spoofed_host",
    "rebound_port",
    "rebound_address",
    "rebound_connections",
];

/// What routers did.
const ROUTERS: &[&str] = &[
    "session",
    "stream",
    "accepted",
    "nobody_accepted",
    "cant_reach_peer",
    "timeout",
    "i2p_error",
    "invalid_id",
    "refused_session",
    "forgotten_session",
    "stream_died",
    "down",
    "stalled",
    "silent",
    "unpublished",
    "slow_tunnels",
    "troubled",
    "lie_garbage",
    "lie_long_line",
    "lie_ok_in_message",
    "lie_duplicated_id",
    "lie_invalid_id",
    "lie_ok_then_silence",
    "lie_ok_then_garbage",
    "lie_end",
    "verbose",
    "said_connecting",
    "said_up",
    "said_down",
];

const KINDS: &[&str] = &[
    "progress",
    "connected",
    "message",
    "outcome",
    "path_changed",
    "quality",
    "lost",
    "resumed",
    "peer_restarted",
    "writable",
    "closed",
];

impl Table {
    /// Counts one row.
    pub(crate) fn count(&mut self, group: &'static str, name: &'static str) {
        *self.0.entry((group, name)).or_default() += 1;
    }

    /// Counts an event of [`EVENTS`].
    pub(crate) fn event(&mut self, name: &'static str) {
        debug_assert!(EVENTS.contains(&name), "{name} has no row");
        self.count("event", name);
    }

    /// Counts a deed of [`DEEDS`].
    pub(crate) fn attack(&mut self, name: &'static str) {
        debug_assert!(DEEDS.contains(&name), "{name} has no row");
        self.count("attack", name);
    }

    /// Counts a deed of [`ROUTERS`].
    pub(crate) fn i2p(&mut self, name: &'static str) {
        debug_assert!(ROUTERS.contains(&name), "{name} has no row");
        self.count("router", name);
    }

    /// Counts what was told of a router.
    pub(crate) fn router(&mut self, state: &RouterState) {
        self.i2p(match state {
            RouterState::Connecting => "said_connecting",
            RouterState::Up { .. } => "said_up",
            _ => "said_down",
        });
    }

    /// Counts whatever an update reaches.
    pub(crate) fn update(&mut self, update: &Update) {
        self.count("update", kind(&update.kind));
        match &update.kind {
            UpdateKind::Progress(progress) => {
                self.count("progress", status(progress.status));
                if let Some(reached) = progress.stage {
                    self.count("stage", stage(reached));
                }
                if let Some(code) = progress.code {
                    self.count("code", code.name());
                }
            }
            UpdateKind::Connected { transport, .. } => self.count("won", transport.name()),
            UpdateKind::Outcome { outcome, .. } => self.count("outcome", outcome_name(*outcome)),
            UpdateKind::PathChanged { from, to, code } => {
                self.count("code", code.name());
                match (from, to) {
                    (Transport::Udp, Transport::Tcp) => self.event("moved_udp_to_tcp"),
                    (Transport::Tcp, Transport::Udp) => self.event("moved_tcp_to_udp"),
                    (_, Transport::I2p) => self.event("moved_to_i2p"),
                    (Transport::I2p, _) => self.event("moved_from_i2p"),
                    _ => {}
                }
            }
            UpdateKind::Lost { code } | UpdateKind::Closed { code, .. } => self.count("code", code.name()),
            UpdateKind::Resumed { transport: Transport::Udp, .. } => self.event("resumed_on_udp"),
            UpdateKind::Resumed { transport: Transport::Tcp, .. } => self.event("resumed_on_tcp"),
            UpdateKind::Resumed { transport: Transport::I2p, .. } => self.event("resumed_on_i2p"),
            UpdateKind::PeerRestarted => self.event("peer_restart_noticed"),
            _ => {}
        }
    }

    /// Counts a state that a snapshot showed.
    pub(crate) fn state(&mut self, state: State) {
        self.count("state", state_name(state));
    }

    /// Counts how a stream ended.
    pub(crate) fn stream_end(&mut self, error: Option<NetError>) {
        self.event(match error {
            None => "stream_end",
            Some(NetError::Refused) => "stream_refused",
            Some(NetError::TimedOut) => "stream_timed_out",
            Some(_) => "stream_reset",
        });
    }

    /// Adds the counts of another run.
    pub fn merge(&mut self, other: &Self) {
        for (row, count) in &other.0 {
            *self.0.entry(*row).or_default() += count;
        }
    }

    /// Every row that there could be, with its count.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let statuses =
            [ProgressStatus::Connecting, ProgressStatus::Retrying, ProgressStatus::Connected, ProgressStatus::Failed];
        let states =
            [State::Connecting, State::Connected, State::Reconnecting, State::Waiting, State::Closing, State::Closed];
        let outcomes = [Outcome::Delivered, Outcome::Undelivered, Outcome::Unknown];
        let groups: [(&'static str, Vec<&'static str>); 11] = [
            ("family", Family::ALL.iter().map(|family| family.name()).collect()),
            ("won", Transport::ALL.iter().map(|transport| transport.name()).collect()),
            ("event", EVENTS.to_vec()),
            ("attack", DEEDS.to_vec()),
            ("router", ROUTERS.to_vec()),
            ("update", KINDS.to_vec()),
            ("state", states.map(state_name).to_vec()),
            ("progress", statuses.map(status).to_vec()),
            ("stage", [Stage::Resolving, Stage::Tunnels, Stage::Opening, Stage::Handshake].map(stage).to_vec()),
            ("outcome", outcomes.map(outcome_name).to_vec()),
            ("code", Code::ALL.iter().map(|code| code.name()).collect()),
        ];
        let rows = groups.into_iter().flat_map(|(group, names)| names.into_iter().map(move |name| (group, name)));
        rows.map(|(group, name)| Row {
            group,
            name,
            count: self.0.get(&(group, name)).copied().unwrap_or_default(),
            reason: REASONS.iter().find(|(g, n, _)| (*g, *n) == (group, name)).map(|(_, _, reason)| *reason),
        })
        .collect()
    }

    /// Rows below `least` for which no reason is written down: a sweep that has any tests less than
    /// it seems to.
    #[must_use]
    pub fn thin(&self, least: u64) -> Vec<Row> {
        self.rows().into_iter().filter(|row| row.count < least && row.reason.is_none()).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in self.rows() {
            write!(f, "{:<10} {:<24} {:>10}", row.group, row.name, row.count)?;
            match row.reason {
                Some(reason) => writeln!(f, "  {reason}")?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }
}

/// The name of an update's kind.
pub(crate) const fn kind(kind: &UpdateKind) -> &'static str {
    match kind {
        UpdateKind::Progress(_) => "progress",
        UpdateKind::Connected { .. } => "connected",
        UpdateKind::Message => "message",
        UpdateKind::Outcome { .. } => "outcome",
        UpdateKind::PathChanged { .. } => "path_changed",
        UpdateKind::Quality(_) => "quality",
        UpdateKind::Lost { .. } => "lost",
        UpdateKind::Resumed { .. } => "resumed",
        UpdateKind::PeerRestarted => "peer_restarted",
        UpdateKind::Writable => "writable",
        UpdateKind::Closed { .. } => "closed",
        _ => "other",
    }
}

const fn status(status: ProgressStatus) -> &'static str {
    match status {
        ProgressStatus::Connecting => "connecting",
        ProgressStatus::Retrying => "retrying",
        ProgressStatus::Connected => "connected",
        ProgressStatus::Failed => "failed",
    }
}

const fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Tunnels => "tunnels",
        Stage::Resolving => "resolving",
        Stage::Opening => "opening",
        Stage::Handshake => "handshake",
    }
}

const fn state_name(state: State) -> &'static str {
    match state {
        State::Connecting => "connecting",
        State::Connected => "connected",
        State::Reconnecting => "reconnecting",
        State::Waiting => "waiting",
        State::Closing => "closing",
        State::Closed => "closed",
    }
}

const fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Delivered => "delivered",
        Outcome::Undelivered => "undelivered",
        Outcome::Unknown => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_names_a_row_and_counts_add_up() {
        let mut table = Table::default();
        table.event("crash");
        let mut sum = table.clone();
        sum.merge(&table);
        let rows = sum.rows();
        assert_eq!(rows.iter().find(|row| (row.group, row.name) == ("event", "crash")).unwrap().count, 2);
        for (group, name, _) in REASONS {
            assert!(rows.iter().any(|row| row.group == *group && row.name == *name), "{group} {name}");
        }
        assert!(sum.thin(2).iter().all(|row| (row.group, row.name) != ("event", "crash")));
        assert!(sum.thin(3).iter().any(|row| (row.group, row.name) == ("event", "crash")));
    }
}
