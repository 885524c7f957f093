//! What the application is told is well formed: numbered without a gap, in an order that makes
//! sense, and with one end; and dialling goes as it is configured:
//!
//! - An attempt fails only after the whole ladder was tried, each transport within the head start
//!   of the one before: silence is what a firewall looks like. Where I2P is the whole ladder, its time does not
//!   run while the router builds its tunnels.
//! - Attempts and waits follow the schedule from one loss to the next, until the session has been
//!   up for 10 s. A change of network starts the waits, not the attempts, afresh.
//! - No peer finds that another breaks the protocol or a limit.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use burdock_core::update::{ProgressStatus, Stage, UpdateKind};
use burdock_core::{Code, Config, Ladder, Progress, Time, Transport, Update};

use crate::oracle::ledger::SessionKey;
use crate::oracle::{Verdict, require};

const ORACLE: &str = "updates";
const FALLBACK: &str = "fallback";
const BACKOFF: &str = "backoff";
const PEERS: &str = "peers";
/// A session that was up for less has not proved healthy.
const PROOF: Duration = Duration::from_secs(10);
/// Of a clock that counts microseconds.
const ROUNDING: Duration = Duration::from_micros(1);

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
    config: Config,
    /// The transports that an attempt tries, in order; none for who does not dial.
    ladder: Vec<Transport>,
    /// When it came up last.
    up_since: Time,
    /// Attempts begun, and waits told, since it last had the time to prove healthy.
    begun: u32,
    waits: u32,
    /// Waits that nobody outside can tell whether they count: the health that starts them afresh
    /// is that which an answer proved, and a wait cut short by a late answer begins no attempt.
    doubtful: u32,
    /// It was up for long enough before the last loss to start afresh.
    may_start_afresh: bool,
    /// The attempt that runs.
    running: Option<Running>,
}

/// How far an attempt has come.
#[derive(Debug, Default)]
struct Running {
    /// When the first transport was tried.
    first_at: Option<Time>,
    tried: BTreeSet<Transport>,
    /// Tunnels are what it waits for, when I2P is the whole ladder.
    awaits_tunnels: bool,
    /// A tick was late meanwhile.
    disturbed: bool,
}

impl Updates {
    pub(crate) fn open(&mut self, key: SessionKey, config: &Config, ladder: Vec<Transport>) {
        self.sessions.insert(
            key,
            Watch {
                seq: 0,
                phase: Phase::Dialling,
                met: false,
                attempt: 0,
                config: config.clone(),
                ladder,
                up_since: Time::ZERO,
                begun: 0,
                waits: 0,
                doubtful: 0,
                may_start_afresh: false,
                running: None,
            },
        );
    }

    pub(crate) fn phase(&self, key: SessionKey) -> Option<Phase> {
        self.sessions.get(&key).map(|watch| watch.phase)
    }

    /// The best of the transports that it tries.
    pub(crate) fn best(&self, key: SessionKey) -> Option<Transport> {
        self.sessions.get(&key)?.ladder.first().copied()
    }

    /// Whether it was ever up.
    pub(crate) fn was_connected(&self, key: SessionKey) -> bool {
        self.sessions.get(&key).is_some_and(|watch| watch.met)
    }

    pub(crate) fn seq(&self, key: SessionKey) -> u64 {
        self.sessions.get(&key).map_or(0, |watch| watch.seq)
    }

    /// The waits start afresh.
    pub(crate) fn network_changed(&mut self, key: SessionKey) {
        if let Some(watch) = self.sessions.get_mut(&key) {
            (watch.waits, watch.doubtful) = (0, 0);
        }
    }

    /// The core of this host is ticked later than it asked for: what runs may be late, or come to its deadline early.
    pub(crate) fn late(&mut self, host: usize) {
        for watch in self.sessions.range_mut((host, 0)..=(host, u16::MAX)).map(|(_, watch)| watch) {
            if let Some(running) = &mut watch.running {
                running.disturbed = true;
            }
        }
    }

    pub(crate) fn cancelled(&mut self, key: SessionKey) {
        if let Some(watch) = self.sessions.get_mut(&key) {
            watch.phase = Phase::Cancelled;
        }
    }

    pub(crate) fn told(&mut self, now: Time, key: SessionKey, update: &Update) -> Verdict {
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
            UpdateKind::Progress(progress) => watch.progress(now, progress, context)?,
            UpdateKind::Connected { .. } => {
                demand(phase == Phase::Dialling, "it was connected before")?;
                watch.met = true;
                watch.up(now);
            }
            UpdateKind::Lost { .. } => {
                demand(phase == Phase::Up, "only what is up can be lost")?;
                watch.phase = Phase::Lost;
                watch.attempt = 0;
                watch.running = None;
                watch.may_start_afresh = now.saturating_since(watch.up_since) >= PROOF;
            }
            UpdateKind::Resumed { .. } => {
                demand(phase == Phase::Lost, "only what was lost can be resumed")?;
                watch.up(now);
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
            UpdateKind::Closed { code, .. } => {
                // All peers here are ours: what one of them finds wrong with another is wrong.
                let fault = matches!(code, Code::Protocol | Code::Limit);
                require(!fault, PEERS, || context(&format!("one side says of the other: {}", code.name())))?;
                watch.phase = Phase::Closed;
            }
            _ => {}
        }
        Ok(())
    }
}

impl Watch {
    fn up(&mut self, now: Time) {
        self.phase = Phase::Up;
        self.attempt = 0;
        self.up_since = now;
        self.running = None;
    }

    fn progress(&mut self, now: Time, progress: &Progress, context: impl Fn(&str) -> String) -> Verdict {
        let attempts = self.config.attempts;
        require((1..=attempts).contains(&progress.attempt), ORACLE, || context("the attempt is out of range"))?;
        require(progress.max_attempts == attempts, ORACLE, || context("the number of attempts is another"))?;
        require(progress.attempt >= self.attempt, ORACLE, || {
            context(&format!("attempt {} had been reached", self.attempt))
        })?;
        require(!progress.message.is_empty(), ORACLE, || context("it has no text"))?;
        self.attempt = progress.attempt;
        match progress.status {
            ProgressStatus::Connecting => self.trying(now, progress, context),
            ProgressStatus::Retrying => {
                let in_vain = self.running.as_ref().is_some_and(|running| running.awaits_tunnels)
                    && matches!(progress.code, Some(Code::TunnelTimeout | Code::Timeout));
                require(!in_vain, FALLBACK, || context("the attempt's time ran while its router built tunnels"))?;
                self.attempt_failed(&context)?;
                self.waiting(progress, context)
            }
            ProgressStatus::Failed => {
                self.attempt_failed(&context)?;
                self.phase = Phase::Failed;
                require(progress.code.is_some(), ORACLE, || context("it does not say why"))
            }
            ProgressStatus::Connected => Ok(()),
        }
    }

    /// How long after the first transport this one is tried at the latest, if an attempt lasts that long.
    fn head_start(&self, transport: Transport) -> Option<Duration> {
        let deadline = self.config.attempt_deadline;
        let place = self.ladder.iter().position(|it| *it == transport)?;
        let place = u32::try_from(place).expect("there are three transports");
        let head_start = match self.config.ladder {
            Ladder::Race { fallback_delay } => fallback_delay * place,
            // Each share is rounded down to microseconds.
            Ladder::Strict => deadline / u32::try_from(self.ladder.len()).expect("three") * place + place * ROUNDING,
        };
        (head_start < deadline).then_some(head_start)
    }

    fn trying(&mut self, now: Time, progress: &Progress, context: impl Fn(&str) -> String) -> Verdict {
        if progress.attempt > self.begun {
            self.begun = progress.attempt;
            self.running = None;
        }
        let Some(transport) = progress.transport else {
            self.running.get_or_insert_default();
            return Ok(());
        };
        let first = self.ladder.first() == Some(&transport);
        let begins = first || matches!(progress.stage, Some(Stage::Opening | Stage::Tunnels));
        require(self.ladder.contains(&transport), FALLBACK, || {
            context(&format!("{transport} is tried, and the link allows {:?}", self.ladder))
        })?;
        let head_start = self.head_start(transport);
        let i2p_alone = self.ladder == [Transport::I2p];
        let running = self.running.get_or_insert_default();
        running.awaits_tunnels = i2p_alone && progress.stage == Some(Stage::Tunnels);
        if !begins || !running.tried.insert(transport) {
            return Ok(());
        }
        let late = now.saturating_since(*running.first_at.get_or_insert(now));
        let in_time = running.disturbed || head_start.is_none_or(|head_start| late <= head_start);
        require(in_time, FALLBACK, || context(&format!("{late:?} after the first, allowed is {head_start:?}")))
    }

    fn attempt_failed(&mut self, context: impl Fn(&str) -> String) -> Verdict {
        let Some(running) = self.running.take() else { return Ok(()) };
        let due = |transport: &&Transport| self.head_start(**transport).is_some();
        let whole =
            running.disturbed || self.ladder.iter().filter(due).all(|transport| running.tried.contains(transport));
        require(whole, FALLBACK, || context("the attempt failed before every transport had been tried"))
    }

    fn waiting(&mut self, progress: &Progress, context: impl Fn(&str) -> String) -> Verdict {
        if progress.attempt == 1 && core::mem::take(&mut self.may_start_afresh) {
            (self.waits, self.doubtful) = if self.begun > 0 { (0, 0) } else { (0, self.waits + self.doubtful) };
            self.begun = 0;
        }
        require(progress.attempt == self.begun + 1, BACKOFF, || {
            context(&format!("{} attempts were made since the session last proved healthy", self.begun))
        })?;
        let millis = |wait: Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let backoff = &self.config.backoff;
        let due = millis(backoff.jittered(self.waits, 0))..=millis(backoff.wait(self.waits + self.doubtful));
        self.waits += 1;
        require(progress.retry_in_ms.is_some_and(|wait| due.contains(&wait)), BACKOFF, || {
            context(&format!("wait {} is one of {due:?} ms", self.waits))
        })
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    const KEY: SessionKey = (0, 0);

    fn check(kinds: Vec<UpdateKind>) -> Verdict {
        check_with(&Config::streamer(), kinds)
    }

    fn check_with(config: &Config, kinds: Vec<UpdateKind>) -> Verdict {
        let mut updates = Updates::default();
        updates.open(KEY, config, vec![Transport::Udp, Transport::Tcp]);
        // One second passes between two updates.
        for (seq, kind) in (1..).zip(kinds) {
            updates.told(Time::from_micros(seq * 1_000_000), KEY, &Update { seq, kind })?;
        }
        Ok(())
    }

    fn connected() -> UpdateKind {
        UpdateKind::Connected {
            peer: [1; 32].into(),
            transport: Transport::Udp,
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
        UpdateKind::Resumed { transport: Transport::Tcp, after_ms: 1 }
    }

    fn trying(attempt: u32, transport: Transport) -> UpdateKind {
        let UpdateKind::Progress(mut progress) = progress(attempt, ProgressStatus::Connecting, None) else {
            unreachable!("it is one")
        };
        progress.transport = Some(transport);
        progress.stage = Some(if transport.is_stream() { Stage::Opening } else { Stage::Handshake });
        UpdateKind::Progress(progress)
    }

    fn retrying(attempt: u32, wait: u64) -> UpdateKind {
        progress(attempt, ProgressStatus::Retrying, Some(wait))
    }

    #[test]
    fn t3_an_attempt_that_leaves_a_transport_out_or_late_is_seen() {
        // Mutation: `all` into `any` in `attempt_failed` makes this fail.
        let mut config = Config::streamer();
        config.ladder = Ladder::Race { fallback_delay: Duration::from_secs(1) };
        let check = |kinds| check_with(&config, kinds);
        check(vec![trying(1, Transport::Udp), trying(1, Transport::Tcp), retrying(2, 100)]).unwrap();
        let failed = check(vec![trying(1, Transport::Udp), retrying(2, 100)]).unwrap_err();
        assert_eq!(failed.oracle, FALLBACK);
        let quality = UpdateKind::Writable;
        let late = check(vec![trying(1, Transport::Udp), quality, trying(1, Transport::Tcp)]).unwrap_err();
        assert_eq!(late.oracle, FALLBACK);
    }

    #[test]
    fn an_attempt_that_runs_out_of_time_before_the_tunnels_stand_is_seen() {
        let told = |stage: Option<Stage>, code: Code| {
            let (mut tries, mut fails) = (trying(1, Transport::I2p), retrying(2, 100));
            if let (UpdateKind::Progress(tries), UpdateKind::Progress(fails)) = (&mut tries, &mut fails) {
                (tries.stage, fails.code) = (Some(Stage::Tunnels), Some(code));
            }
            let mut opening = trying(1, Transport::I2p);
            if let UpdateKind::Progress(opening) = &mut opening {
                opening.stage = stage;
            }
            let mut updates = Updates::default();
            updates.open(KEY, &Config::streamer(), vec![Transport::I2p]);
            let mut kinds = [tries].into_iter().chain(stage.map(|_| opening)).chain([fails]).zip(1..);
            kinds.try_for_each(|(kind, seq)| updates.told(Time::ZERO, KEY, &Update { seq, kind }))
        };
        assert_eq!(told(None, Code::TunnelTimeout).unwrap_err().oracle, FALLBACK);
        told(None, Code::SamDown).unwrap();
        told(Some(Stage::Opening), Code::TunnelTimeout).unwrap();
    }

    #[test]
    fn a_late_tick_excuses_the_attempt_that_runs_and_no_other() {
        let mut config = Config::streamer();
        config.ladder = Ladder::Race { fallback_delay: Duration::from_secs(1) };
        let mut updates = Updates::default();
        updates.open(KEY, &config, vec![Transport::Udp, Transport::Tcp]);
        let tell = |updates: &mut Updates, seq: u64, kind| {
            updates.told(Time::from_micros(seq * 1_000_000), KEY, &Update { seq, kind })
        };
        tell(&mut updates, 1, trying(1, Transport::Udp)).unwrap();
        updates.late(KEY.0 + 1);
        updates.late(KEY.0);
        tell(&mut updates, 2, retrying(2, 100)).unwrap();
        tell(&mut updates, 3, trying(2, Transport::Udp)).unwrap();
        assert_eq!(tell(&mut updates, 4, retrying(3, 200)).unwrap_err().oracle, FALLBACK);
    }

    #[test]
    fn c1_a_schedule_that_starts_afresh_without_proof_is_seen() {
        // Mutation: `PROOF` of zero makes this fail.
        let lost = || UpdateKind::Lost { code: Code::Silent };
        let begin = |attempt| [trying(attempt, Transport::Udp), trying(attempt, Transport::Tcp)];
        let mut config = Config::streamer();
        config.ladder = Ladder::Race { fallback_delay: Duration::from_secs(1) };
        let check = |parts: Vec<Vec<UpdateKind>>| check_with(&config, parts.concat());
        let opening = || [vec![trying(1, Transport::Udp), connected(), lost()]].concat();
        check(vec![opening(), vec![retrying(2, 100)]]).unwrap();
        assert_eq!(check(vec![opening(), vec![retrying(1, 100)]]).unwrap_err().oracle, BACKOFF);
        assert_eq!(check(vec![opening(), vec![retrying(2, 101)]]).unwrap_err().oracle, BACKOFF);
        assert_eq!(check(vec![opening(), vec![retrying(2, 49)]]).unwrap_err().oracle, BACKOFF);
        let again = || vec![retrying(2, 100), trying(2, Transport::Udp), resumed(), lost()];
        check(vec![opening(), again(), vec![retrying(3, 200)]]).unwrap();
        assert_eq!(check(vec![opening(), again(), vec![retrying(3, 99)]]).unwrap_err().oracle, BACKOFF);
        let healthy = || (0..10).map(|_| UpdateKind::Writable).collect::<Vec<_>>();
        // What ends the first wait is a late answer, and no attempt; whether the session then proved healthy, nobody
        // outside can tell.
        let answered = || [vec![connected(), lost(), retrying(1, 100), resumed()], healthy(), vec![lost()]].concat();
        for wait in [50, 100, 200] {
            check(vec![answered(), vec![retrying(1, wait)]]).unwrap();
        }
        assert_eq!(check(vec![answered(), vec![retrying(1, 201)]]).unwrap_err().oracle, BACKOFF);
        let long = || [vec![trying(1, Transport::Udp), connected()], healthy(), vec![lost()]].concat();
        check(vec![long(), vec![retrying(1, 100)], begin(1).to_vec(), vec![retrying(2, 200)]]).unwrap();
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
        updates.open(KEY, &Config::streamer(), vec![Transport::Udp, Transport::Tcp]);
        assert!(updates.told(Time::ZERO, KEY, &Update { seq: 2, kind: UpdateKind::Message }).is_err());
    }
}
