//! From a scenario to a report: what happens when, and how a run ends.

use core::time::Duration;

use burdock_core::Time;
use burdock_core::update::State;

use crate::item::Item;
use crate::net::link::micros;
use crate::oracle::updates::Phase;
use crate::oracle::{Verdict, broken};
use crate::report::{Failure, Report};
use crate::scenario::{Ending, FaultKind, Scenario};
use crate::trace::Detail;
use crate::world::{Apps, Stage, World};

/// How often convergence is looked at.
const CHECK: u64 = 50_000;
/// For handshakes, for what is still to be transferred, and for a timer that has backed off.
const SLACK: Duration = Duration::from_secs(40);
/// For a router that was asked for a session just before: the longest wait before the next question, for a session and
/// then for callers, and what a router may take to say that nobody is there.
const ROUTER: Duration = Duration::from_secs(60 + 60 + 15);
/// For what is still to be sent through tunnels: 1,500 messages, or 600 kB, with the least that a peer may allow at a
/// time, and as much again for what has to be sent twice.
const ROUND_TRIPS: u32 = 80;
/// After the end of all sessions, for packets under way and their answers.
const GRACE: u64 = 5_000_000;
/// How long the silence after that must last.
const QUIET: u64 = 60_000_000;
/// How often an application dials again what has ended although it is wanted; where there are routers it may use up all
/// attempts while the peer's builds its tunnels.
const REDIALS: u32 = 8;
const REDIALS_OVER_I2P: u32 = 60;

/// How a run is written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// How much of it.
    pub trace: Detail,
}

/// Runs a scenario to its end, or until something is broken.
#[must_use]
pub fn run(scenario: &Scenario, options: &Options) -> Report {
    let mut world = World::new(scenario.clone(), Apps::Scripted, options.trace);
    for family in scenario.families() {
        world.table.count("family", family.name());
    }
    let verdict = world.go();
    world.report(verdict)
}

/// Generates the scenario of a seed and runs it.
#[must_use]
pub fn check(seed: u64) -> Report {
    run(&Scenario::generate(seed), &Options::default())
}

impl World {
    /// Queues everything that the scenario says.
    pub(crate) fn start(&mut self) -> Verdict {
        self.schedule_faults();
        for (index, op) in self.scenario.ops.iter().enumerate() {
            self.queue.push(micros(op.at), Item::Op(index));
        }
        match &self.scenario.ending {
            Ending::Converge { healed, .. } => self.queue.push(micros(*healed), Item::Heal),
            Ending::Stop { at } => self.queue.push(micros(*at), Item::Stop),
        }
        self.boot_all()
    }

    pub(crate) fn boot_all(&mut self) -> Verdict {
        (0..self.hosts.len()).try_for_each(|host| self.boot(host))
    }

    pub(crate) fn schedule_faults(&mut self) {
        for (index, fault) in self.scenario.faults.iter().enumerate() {
            self.queue.push(micros(fault.from), Item::FaultBegins(index));
            if let Some(until) = fault.until {
                self.queue.push(micros(until), Item::FaultEnds(index));
            }
        }
    }

    /// Safety is over; from now on everything must come up.
    pub(crate) fn heal(&mut self) -> Verdict {
        self.trace.line(self.now, "network", format_args!("heals"));
        self.stage = Stage::Healed { deadline: self.now + self.bound() + self.behind(), redials: 0 };
        for host in 0..self.hosts.len() {
            let stays_down = |kind: &FaultKind| matches!(kind, FaultKind::Crash { host: down, .. } if *down == host);
            let gone = self.scenario.faults.iter().any(|fault| fault.until.is_none() && stays_down(&fault.kind));
            if self.hosts[host].process.is_none() && !gone {
                self.boot(host)?;
            }
        }
        self.queue.push(self.now + CHECK, Item::Check);
        Ok(())
    }

    /// How long it may take to notice a loss, wait, dial (an attempt may have begun just before),
    /// and deliver what is left.
    fn bound(&self) -> u64 {
        let of = |config: &burdock_core::Config| {
            let wait = (0..config.attempts).map(|n| config.backoff.wait(n)).max().unwrap_or_default();
            let silence = config.i2p.as_ref().map_or(config.silence, |i2p| i2p.silence.max(config.silence));
            silence + wait + 2 * config.attempt_deadline + SLACK
        };
        let longest = self.scenario.hosts.iter().map(|host| of(&host.config)).max().unwrap_or_default();
        let routers = self.scenario.hosts.iter().filter_map(|host| host.router.as_ref());
        let router =
            routers.map(|router| ROUTER + router.build + ROUND_TRIPS * self.scenario.tunnels.round_trip()).max();
        micros(longest + router.unwrap_or_default())
    }

    /// How long the slowest clock stands still, having gone back.
    fn behind(&self) -> u64 {
        let processes = self.hosts.iter().filter_map(|host| host.process.as_ref());
        processes.map(|process| process.clock.behind(self.now)).max().unwrap_or_default()
    }

    pub(crate) fn check(&mut self) -> Verdict {
        match self.stage {
            Stage::Healed { deadline, redials } => {
                let routers = self.scenario.hosts.iter().any(|host| host.router.is_some());
                let most = if routers { REDIALS_OVER_I2P } else { REDIALS };
                let Some(open) = self.unfinished() else { return self.end_all() };
                if self.now > deadline {
                    return broken("liveness", format!("healed long ago, but {open}"));
                }
                for host in 0..self.hosts.len() {
                    for (to, by_name) in self.hosts[host].wanted.clone() {
                        let idle = |process: &crate::host::Process| !process.current.contains_key(&to);
                        let stuck = self.waits(host, to) && (self.waits(to, host) || self.waits_in_vain(host, to));
                        if (stuck || self.hosts[host].process.as_ref().is_some_and(idle)) && redials < most {
                            if stuck {
                                // Who dialled it has cancelled, and each side waits for the other.
                                self.cancel(host, to)?;
                            }
                            self.table.event("redialled_when_healed");
                            let deadline = self.now + self.bound();
                            self.stage = Stage::Healed { deadline, redials: redials + 1 };
                            self.connect(host, to, by_name)?;
                        }
                    }
                }
            }
            Stage::Closing { deadline } => {
                if let Some((host, peer)) = self.open_session() {
                    if self.now > deadline {
                        if !self.waits_in_vain(host, peer) {
                            let [name, peer] = [host, peer].map(|host| &self.scenario.hosts[host].name);
                            return broken(
                                "liveness",
                                format!("closed long ago, but {name} has a session with {peer}"),
                            );
                        }
                        // It would wait for the peer until it expires.
                        self.cancel(host, peer)?;
                    }
                } else {
                    self.stage = Stage::Quiet { grace: self.now + GRACE, until: self.now + GRACE + QUIET };
                }
            }
            Stage::Quiet { until, .. } if self.now >= until => {
                self.ledger.finish()?;
                self.stage = Stage::Done;
                return Ok(());
            }
            Stage::Quiet { until, .. } => {
                self.queue.push(until, Item::Check);
                return Ok(());
            }
            Stage::Faults | Stage::Done => {}
        }
        self.queue.push(self.now + CHECK, Item::Check);
        Ok(())
    }

    /// Every session that is wanted is up on both sides, and every message has its outcome; or
    /// what is missing.
    fn unfinished(&self) -> Option<String> {
        let name = |host: usize| &self.scenario.hosts[host].name;
        for (host, state) in self.hosts.iter().enumerate() {
            for to in state.wanted.keys().copied() {
                for (one, other) in [(host, to), (to, host)] {
                    let Some(process) = &self.hosts[one].process else { continue };
                    let up = process
                        .with(other)
                        .filter(|session| self.updates.phase(process.sessions[session].key) == Some(Phase::Up));
                    if up.is_none() {
                        return Some(format!("{} is not connected to {}", name(one), name(other)));
                    }
                    let waiting = self.hosts[one].outbox.get(&other).map_or(0, |outbox| outbox.len());
                    if waiting > 0 {
                        return Some(format!("{} has {waiting} messages for {} unsent", name(one), name(other)));
                    }
                }
            }
            let Some(process) = &state.process else { continue };
            for session in process.sessions.values().filter(|session| !session.closed) {
                let pending = self.ledger.pending(session.key);
                if pending > 0 {
                    let peer = name(session.peer);
                    return Some(format!("{pending} messages from {} to {peer} have no outcome", name(host)));
                }
                if process.with(session.peer).map(|current| process.sessions[&current].key) != Some(session.key) {
                    return Some(format!("{} has two sessions with {}", name(host), name(session.peer)));
                }
            }
        }
        None
    }

    /// A session that was to end and has not: who has it, and with whom.
    fn open_session(&self) -> Option<(usize, usize)> {
        self.hosts.iter().enumerate().find_map(|(host, state)| {
            let mut sessions = state.process.as_ref()?.sessions.values();
            Some((host, sessions.find(|session| !session.closed)?.peer))
        })
    }

    /// Whether `host` waits to be redialled by `peer`.
    fn waits(&self, host: usize, peer: usize) -> bool {
        self.hosts[host].process.as_ref().is_some_and(|process| {
            let status = process.with(peer).and_then(|id| process.endpoint.status(process.time(self.now), id));
            status.is_some_and(|status| status.state == State::Waiting)
        })
    }

    /// Whether `host` waits to be redialled by a peer whose session ended before it could be told.
    fn waits_in_vain(&self, host: usize, peer: usize) -> bool {
        let sessions = self.hosts[peer].process.iter().flat_map(|process| process.sessions.values());
        self.waits(host, peer) && sessions.filter(|session| session.peer == host).all(|session| session.closed)
    }

    /// Everything arrived: the applications close.
    fn end_all(&mut self) -> Verdict {
        let longest = self.scenario.hosts.iter().map(|host| host.config.close_deadline).max().unwrap_or_default();
        // A path may have died unnoticed just before: then its other end learns of the end when it has redialled.
        self.stage = Stage::Closing { deadline: self.now + micros(longest) + self.bound() };
        self.hosts.iter_mut().for_each(|host| host.wanted.clear());
        if let Ending::Converge { closers, .. } = &self.scenario.ending {
            let hosts = self.hosts.len();
            for host in closers.clone().into_iter().filter(|host| *host < hosts) {
                for peer in 0..hosts {
                    self.close(host, peer)?;
                }
            }
        }
        self.queue.push(self.now + CHECK, Item::Check);
        Ok(())
    }

    fn report(mut self, verdict: Verdict) -> Report {
        let failure = verdict.err().map(|broken| Failure {
            oracle: broken.oracle,
            time: Time::from_micros(self.now),
            message: broken.message,
        });
        if let Some(failure) = &failure {
            self.trace.line(self.now, "oracle", format_args!("{}: {}", failure.oracle, failure.message));
        }
        let mut status = Vec::new();
        for (host, state) in self.hosts.iter().enumerate() {
            let name = &self.scenario.hosts[host].name;
            let Some(process) = &state.process else {
                status.push(format!("{name}: not running"));
                continue;
            };
            let streams = (process.streams.len(), self.net.held_by(host));
            status.push(format!("{name}: next timer {:?}, streams {streams:?}", process.endpoint.poll_timeout()));
            for (id, session) in &process.sessions {
                let snapshot = process.endpoint.status(process.clock.seen(self.now), *id);
                status.push(format!("{name} #{} with host {}: {snapshot:?}", session.key.1, session.peer));
            }
        }
        self.table.merge(&self.net.attack.deeds);
        self.table.merge(&self.net.i2p.deeds);
        let (hash, log) = self.trace.finish();
        Report {
            seed: self.scenario.seed,
            hash,
            failure,
            ended: Time::from_micros(self.now),
            faults: self.net.struck() + self.crashes + self.overflowed,
            packets: self.wire.packets,
            messages: self.ledger.taken_count(),
            reconnects: self.resumed,
            amplification: self.amplification.worst,
            beside: self.hidden.beside,
            table: self.table,
            log,
            told: self.told,
            knocks: self.net.knocks,
            streams: self.ledger.streams(),
            status,
        }
    }
}
