//! What the application is told is well formed: numbered without a gap, in an order that makes
//! sense, and with one end.

use core::time::Duration;
use std::collections::BTreeMap;

use burdock_core::update::{ProgressStatus, UpdateKind};
use burdock_core::{Config, Progress, Update};

use crate::oracle::ledger::SessionKey;
use crate::oracle::{Verdict, require};

const ORACLE: &str = "updates";

/// How a session looks to somebody who hears its updates alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Dialling,
    Up,
    Lost,
    /// The last progress said that there will be no further attempt.
    Failed,
    Closed,
    /// Its application let go of it.
    Cancelled,
}

#[derive(Debug, Default)]
pub(crate) struct Updates {
    sessions: BTreeMap<SessionKey, Watch>,
}

#[derive(Debug)]
struct Watch {
    seq: u64,
    phase: Phase,
    /// Whether it was ever up.
    met: bool,
    attempt: u32,
    attempts: u32,
    longest_wait: Duration,
}

impl Updates {
    pub(crate) fn open(&mut self, key: SessionKey, config: &Config) {
        let waits = (0..config.attempts).map(|n| config.backoff.wait(n));
        self.sessions.insert(
            key,
            Watch {
                seq: 0,
                phase: Phase::Dialling,
                met: false,
                attempt: 0,
                attempts: config.attempts,
                longest_wait: waits.max().unwrap_or_default(),
            },
        );
    }

    pub(crate) fn phase(&self, key: SessionKey) -> Option<Phase> {
        self.sessions.get(&key).map(|watch| watch.phase)
    }

    /// Whether it was ever up.
    pub(crate) fn was_connected(&self, key: SessionKey) -> bool {
        self.sessions.get(&key).is_some_and(|watch| watch.met)
    }

    pub(crate) fn seq(&self, key: SessionKey) -> u64 {
        self.sessions.get(&key).map_or(0, |watch| watch.seq)
    }

    /// The application skipped the wait, so counting may start anew.
    pub(crate) fn nudged(&mut self, key: SessionKey) {
        if let Some(watch) = self.sessions.get_mut(&key) {
            watch.attempt = 0;
        }
    }

    pub(crate) fn cancelled(&mut self, key: SessionKey) {
        if let Some(watch) = self.sessions.get_mut(&key) {
            watch.phase = Phase::Cancelled;
        }
    }

    pub(crate) fn told(&mut self, key: SessionKey, update: &Update) -> Verdict {
        let Some(watch) = self.sessions.get_mut(&key) else {
            return require(false, ORACLE, || format!("session {}.{} is not known to anybody", key.0, key.1));
        };
        let context = |what: &str| format!("session {}.{}, {:?}: {what}", key.0, key.1, update);
        require(update.seq == watch.seq + 1, ORACLE, || context(&format!("number {} was due", watch.seq + 1)))?;
        watch.seq = update.seq;
        let phase = watch.phase;
        require(!matches!(phase, Phase::Closed | Phase::Cancelled), ORACLE, || context("it had ended"))?;
        let outcome_or_end = matches!(update.kind, UpdateKind::Outcome { .. } | UpdateKind::Closed { .. });
        require(phase != Phase::Failed || outcome_or_end, ORACLE, || context("its dialling had failed for good"))?;
        let demand = |holds: bool, what: &str| require(holds, ORACLE, || context(&format!("{what}; it is {phase:?}")));
        match &update.kind {
            UpdateKind::Progress(progress) => watch.progress(progress, context)?,
            UpdateKind::Connected { .. } => {
                demand(phase == Phase::Dialling, "it was connected before")?;
                watch.met = true;
                watch.up();
            }
            UpdateKind::Lost { .. } => {
                demand(phase == Phase::Up, "only what is up can be lost")?;
                watch.phase = Phase::Lost;
                watch.attempt = 0;
            }
            UpdateKind::Resumed { .. } => {
                demand(phase == Phase::Lost, "only what was lost can be resumed")?;
                watch.up();
            }
            UpdateKind::PeerRestarted => {
                demand(watch.met, "the peer was never there")?;
                // It is connected afresh.
                watch.phase = Phase::Dialling;
                watch.attempt = 0;
            }
            UpdateKind::PathChanged { .. } | UpdateKind::Quality(_) | UpdateKind::Message => {
                demand(watch.met, "it never was connected")?;
            }
            UpdateKind::Closed { .. } => watch.phase = Phase::Closed,
            _ => {}
        }
        Ok(())
    }
}

impl Watch {
    fn up(&mut self) {
        self.phase = Phase::Up;
        self.attempt = 0;
    }

    fn progress(&mut self, progress: &Progress, context: impl Fn(&str) -> String) -> Verdict {
        require((1..=self.attempts).contains(&progress.attempt), ORACLE, || context("the attempt is out of range"))?;
        require(progress.max_attempts == self.attempts, ORACLE, || context("the number of attempts is another"))?;
        require(progress.attempt >= self.attempt, ORACLE, || {
            context(&format!("attempt {} had been reached", self.attempt))
        })?;
        require(!progress.message.is_empty(), ORACLE, || context("it has no text"))?;
        self.attempt = progress.attempt;
        match progress.status {
            ProgressStatus::Retrying => {
                let wait = progress.retry_in_ms.map(Duration::from_millis);
                require(wait.is_some_and(|wait| wait <= self.longest_wait), ORACLE, || {
                    context(&format!("the longest wait is {:?}", self.longest_wait))
                })
            }
            ProgressStatus::Failed => {
                self.phase = Phase::Failed;
                require(progress.code.is_some(), ORACLE, || context("it does not say why"))
            }
            ProgressStatus::Connecting | ProgressStatus::Connected => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use burdock_core::Code;

    use super::*;

    const KEY: SessionKey = (0, 0);

    fn check(kinds: Vec<UpdateKind>) -> Verdict {
        let mut updates = Updates::default();
        updates.open(KEY, &Config::streamer());
        for (seq, kind) in (1..).zip(kinds) {
            updates.told(KEY, &Update { seq, kind })?;
        }
        Ok(())
    }

    fn connected() -> UpdateKind {
        UpdateKind::Connected {
            peer: [1; 32].into(),
            transport: burdock_core::Transport::Udp,
            inbound: false,
            handshake_hash: [0; 32],
        }
    }

    fn progress(attempt: u32, status: ProgressStatus, retry_in_ms: Option<u64>) -> UpdateKind {
        UpdateKind::Progress(Progress {
            attempt,
            max_attempts: 10,
            status,
            transport: None,
            stage: None,
            retry_in_ms,
            code: Some(Code::Timeout),
            message: "text".into(),
            hint: String::new(),
        })
    }

    fn closed() -> UpdateKind {
        UpdateKind::Closed {
            code: Code::Done,
            by_peer: false,
            reason: String::new(),
            delivered: 0,
            undelivered: 0,
            unknown: 0,
            message: String::new(),
            hint: String::new(),
        }
    }

    fn resumed() -> UpdateKind {
        UpdateKind::Resumed { transport: burdock_core::Transport::Tcp, after_ms: 1 }
    }

    #[test]
    fn a_life_in_order_passes() {
        let lost = || UpdateKind::Lost { code: Code::Silent };
        check(vec![progress(1, ProgressStatus::Connecting, None), connected(), lost(), resumed(), lost(), closed()])
            .unwrap();
        check(vec![progress(10, ProgressStatus::Failed, None), closed()]).unwrap();
        check(vec![connected(), lost(), UpdateKind::PeerRestarted, connected(), closed()]).unwrap();
    }

    #[test]
    fn a_life_out_of_order_is_seen() {
        let connecting = |attempt| progress(attempt, ProgressStatus::Connecting, None);
        for (wrong, kinds) in [
            ("twice connected", vec![connected(), connected()]),
            ("resumed unlost", vec![connected(), resumed()]),
            ("lost unconnected", vec![UpdateKind::Lost { code: Code::Silent }]),
            ("after its end", vec![connected(), closed(), UpdateKind::Message]),
            ("twice ended", vec![closed(), closed()]),
            ("attempts fall", vec![connecting(2), connecting(1)]),
            ("attempt 11 of 10", vec![connecting(11)]),
            ("attempt 0", vec![connecting(0)]),
            ("waits too long", vec![progress(1, ProgressStatus::Retrying, Some(30_001))]),
            ("goes on after failing", vec![progress(1, ProgressStatus::Failed, None), connecting(2)]),
        ] {
            assert!(check(kinds).is_err(), "{wrong}");
        }
        let mut updates = Updates::default();
        updates.open(KEY, &Config::streamer());
        assert!(updates.told(KEY, &Update { seq: 2, kind: UpdateKind::Message }).is_err());
    }
}
