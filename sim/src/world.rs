//! The world: one clock, one queue, the network, and for each process a driver that does what the
//! core asks and nothing else.

mod driver;

use burdock_core::{AcceptPolicy, Endpoint, Event, Identity, PublicKey};
use std::collections::BTreeMap;

use crate::clock::Clock;
use crate::host::{Host, Process};
use crate::item::Item;
use crate::luck::{Luck, Purpose};
use crate::net::link::micros;
use crate::net::{Delivery, Machine, Net};
use crate::oracle::amplification::Amplification;
use crate::oracle::door::Door;
use crate::oracle::elsewhere::Elsewhere;
use crate::oracle::hidden::Hidden;
use crate::oracle::ledger::Ledger;
use crate::oracle::restarts::Restarts;
use crate::oracle::updates::Updates;
use crate::oracle::wire::Wire;
use crate::oracle::{Verdict, broken};
use crate::queue::Queue;
use crate::report::Told;
use crate::scenario::{Accept, Fault, FaultKind, Scenario, Trouble, Way, address};
use crate::table::Table;
use crate::trace::{Detail, Trace};

/// Events at one instant before the world counts as standing still.
const EVENTS_AT_ONCE: u64 = 1_000_000;

/// Who holds the applications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Apps {
    /// The scenario: they do what its operations say, and the oracles know what they may see.
    Scripted,
    /// Somebody outside, who fetches the updates.
    Outside,
}

pub(crate) struct World {
    /// The core was told of something that came in, and may answer it even after the end.
    answering: bool,
    pub(crate) scenario: Scenario,
    pub(crate) apps: Apps,
    pub(crate) luck: Luck,
    pub(crate) now: u64,
    /// Events at this instant.
    at_once: u64,
    pub(crate) queue: Queue<Item>,
    pub(crate) net: Net,
    pub(crate) hosts: Vec<Host>,
    pub(crate) keys: BTreeMap<PublicKey, usize>,
    /// Which faults are.
    pub(crate) active: Vec<bool>,
    deliveries: Vec<Delivery>,

    pub(crate) stage: Stage,
    pub(crate) trace: Trace,
    pub(crate) table: Table,
    pub(crate) ledger: Ledger,
    pub(crate) updates: Updates,
    pub(crate) wire: Wire,
    pub(crate) amplification: Amplification,
    pub(crate) told: Vec<Told>,
    pub(crate) elsewhere: Elsewhere,
    pub(crate) door: Door,
    pub(crate) restarts: Restarts,
    pub(crate) hidden: Hidden,
    /// Actions of all cores so far.
    acted: u64,
    /// An epoch is older for one side than for the other: a clock has jumped, or stood still while others went on, or
    /// there is a queue in which keys may grow too old.
    ages_differ: bool,
    pub(crate) crashes: u64,
    /// Datagrams that a stopped process lost.
    pub(crate) overflowed: u64,
    pub(crate) resumed: u64,
}

/// How far the run has come. Deadlines are times of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Safety: faults, and no promise about progress.
    Faults,
    /// Liveness: everything that is wanted must come up.
    Healed {
        deadline: u64,
        redials: u32,
    },
    /// Everything must end.
    Closing {
        deadline: u64,
    },
    /// Nothing more may be sent after the grace.
    Quiet {
        grace: u64,
        until: u64,
    },
    Done,
}

impl World {
    pub(crate) fn new(scenario: Scenario, apps: Apps, detail: Detail) -> Self {
        let luck = Luck::of(scenario.seed);
        let mut hosts: Vec<Host> = Vec::new();
        let mut keys = BTreeMap::new();
        for index in 0..scenario.hosts.len() {
            let key = Self::identity(luck, index).public_key();
            keys.insert(key, index);
            hosts.push(Host { key: Some(key), ..Host::default() });
        }
        let ages_differ = keys_age_in_queues(&scenario);
        Self {
            answering: false,
            apps,
            luck,
            now: 0,
            at_once: 0,
            queue: Queue::new(),
            net: {
                let mut net = Net::new(&scenario, luck);
                net.attack.learn(hosts.iter().filter_map(|host| host.key).collect());
                net
            },
            hosts,
            keys,
            active: vec![false; scenario.faults.len()],
            scenario,
            deliveries: Vec::new(),
            stage: Stage::Faults,
            trace: Trace::new(detail),
            table: Table::default(),
            ledger: Ledger::default(),
            updates: Updates::default(),
            wire: Wire::default(),
            amplification: Amplification::default(),
            told: Vec::new(),
            elsewhere: Elsewhere::default(),
            door: Door::default(),
            restarts: Restarts::default(),
            hidden: Hidden::default(),
            acted: 0,
            ages_differ,
            crashes: 0,
            overflowed: 0,
            resumed: 0,
        }
    }

    pub(crate) fn identity(luck: Luck, host: usize) -> Identity {
        Identity::from_bytes(luck.bytes(Purpose::Identity, host as u64))
    }

    /// Runs until it is done.
    pub(crate) fn go(&mut self) -> Verdict {
        self.start()?;
        while self.stage != Stage::Done && self.advance()? {}
        Ok(())
    }

    /// Lets the next thing happen; false if there is none.
    pub(crate) fn advance(&mut self) -> Verdict<bool> {
        let Some((at, item)) = self.queue.pop() else { return Ok(false) };
        self.at_once = if at == self.now { self.at_once + 1 } else { 0 };
        self.now = at;
        if self.at_once > EVENTS_AT_ONCE {
            return broken("contract", "the world stands still: a million events at one instant");
        }
        self.step(item)?;
        Ok(true)
    }

    pub(crate) fn step(&mut self, item: Item) -> Verdict {
        let Some(item) = self.unless_postponed(item) else { return Ok(()) };
        match item {
            Item::Net(item) => self.arrive(item),
            Item::Wake { host, incarnation, ordered } => self.wake(host, incarnation, ordered),
            Item::SecondWake { host, incarnation } => self.second_wake(host, incarnation),
            Item::Op(op) => self.operate(op),
            Item::Traffic { op, left } => self.traffic(op, left),
            Item::Read { host, incarnation, session } => {
                if self.hosts[host].process.as_ref().is_some_and(|process| process.incarnation == incarnation) {
                    self.read(host, session)?;
                    self.settle(host)?;
                }
                Ok(())
            }
            Item::Resolved { host, incarnation, resolve, name, port } => {
                if self.hosts[host].process.as_ref().is_none_or(|process| process.incarnation != incarnation) {
                    return Ok(());
                }
                let found = (0..self.hosts.len()).find(|index| self.scenario.hosts[*index].name == name);
                let mut found = found.map(address);
                if let Some(address) = &mut found {
                    address.set_port(port);
                }
                self.event(host, "resolved", resolve.get(), Event::Resolved { resolve, addresses: found.as_slice() })
            }
            Item::FaultBegins(fault) => self.fault_begins(fault),
            Item::FaultEnds(fault) => self.fault_ends(fault),
            Item::Attack(fault) => {
                let latency = micros(self.scenario.link.latency);
                self.net.attack.volley(self.now, fault, latency, &mut self.queue);
                Ok(())
            }
            Item::Heal => self.heal(),
            Item::Check => self.check(),
            Item::Stop => {
                self.stage = Stage::Done;
                Ok(())
            }
        }
    }

    pub(crate) fn note(&mut self, host: usize, text: core::fmt::Arguments<'_>) {
        self.trace.line(self.now, &self.scenario.hosts[host].name, text);
    }

    // ---- processes

    pub(crate) fn boot(&mut self, index: usize) -> Verdict {
        let spec = &self.scenario.hosts[index];
        let incarnation = self.hosts[index].incarnations;
        self.hosts[index].incarnations += 1;
        let seed = self.luck.bytes(Purpose::EndpointSeed, (index as u64) << 32 | u64::from(incarnation));
        let endpoint = Endpoint::new(spec.config.clone(), Self::identity(self.luck, index), seed);
        let mut endpoint = match endpoint {
            Ok(endpoint) => endpoint,
            Err(error) => return broken("scenario", format!("host {}: {error}", spec.name)),
        };
        if spec.router.as_ref().is_some_and(|router| router.keeps) {
            endpoint.set_destination(self.net.i2p.keys(index).private_destination());
        }
        endpoint.set_accept(match &spec.accept {
            Accept::Anyone => AcceptPolicy::anyone(),
            Accept::Hosts(hosts) => {
                let keys = hosts.iter().filter_map(|host| self.hosts.get(*host)?.key);
                keys.fold(AcceptPolicy::nobody(), AcceptPolicy::allow)
            }
        });
        self.hosts[index].process = Some(Process {
            endpoint,
            incarnation,
            clock: Clock::new(micros(spec.clock)),
            stopped: None,
            streams: BTreeMap::new(),
            ends: BTreeMap::new(),
            inbox: Default::default(),
            wake: None,
            sessions: BTreeMap::new(),
            current: BTreeMap::new(),
            heard: false,
            dials: 0,
            events: 0,
        });
        self.net.set_machine(self.now, index, Machine::Running, &mut self.queue);
        self.note(index, format_args!("starts"));
        self.trace.step(self.now, index, "boot", incarnation.into(), &[]);
        if incarnation > 0 {
            for (to, by_name) in self.hosts[index].wanted.clone() {
                self.table.event("redialled_after_restart");
                self.connect(index, to, by_name)?;
            }
        }
        self.settle(index)
    }

    fn crash(&mut self, index: usize, power: bool) {
        let Some(process) = self.hosts[index].process.take() else { return };
        self.net.set_stopped(index, false);
        self.crashes += 1;
        self.hidden.all_over(index);
        self.table.event("crash");
        self.trace.step(self.now, index, "crash", power.into(), &[]);
        self.note(index, format_args!("{}", if power { "loses power" } else { "is killed" }));
        for session in process.sessions.values().filter(|session| !session.closed) {
            self.ledger.abandon(session.key);
            self.updates.cancelled(session.key);
            self.restarts.ended(process.clock.seen(self.now), session.key);
        }
        let machine = if power { Machine::Off } else { Machine::Idle };
        self.net.set_machine(self.now, index, machine, &mut self.queue);
    }

    // ---- faults

    pub(crate) fn fault_begins(&mut self, index: usize) -> Verdict {
        let kind = self.scenario.faults[index].kind.clone();
        self.trace.line(self.now, "network", format_args!("{kind:?} begins"));
        match kind {
            FaultKind::Path { way, .. } => {
                self.active[index] = true;
                self.set_faults(way);
            }
            FaultKind::Reset { way } => {
                let mut out = Vec::new();
                self.net.reset(way.from, way.to, &mut out);
                for delivery in out {
                    self.deliver(delivery)?;
                }
            }
            FaultKind::HalfOpen { way } => self.net.vanish(way.from, way.to),
            FaultKind::Crash { host, power } => self.crash(host, power),
            FaultKind::Stop { host, clock_stands, buffer } => {
                self.ages_differ = true;
                self.stop(index, host, clock_stands, buffer);
            }
            FaultKind::ClockJump { host, by, back } => {
                self.ages_differ = true;
                self.clock_jumps(index, host, micros(by), back);
            }
            FaultKind::Wakes { host, trouble } => self.hosts[host].wakes.push((index, trouble)),
            FaultKind::Router { host, trouble } => {
                self.net.router_trouble(self.now, index, host, trouble, &mut self.queue);
            }
            kind => {
                self.net.attack.begin(self.now, index, &self.scenario.faults[index], &mut self.queue);
                self.forget_connections(&kind);
            }
        }
        Ok(())
    }

    pub(crate) fn fault_ends(&mut self, index: usize) -> Verdict {
        let kind = self.scenario.faults[index].kind.clone();
        self.trace.line(self.now, "network", format_args!("{kind:?} ends"));
        match kind {
            FaultKind::Path { way, .. } => {
                self.active[index] = false;
                self.set_faults(way);
            }
            FaultKind::Crash { host, .. } if self.hosts[host].process.is_none() => self.boot(host)?,
            FaultKind::Stop { host, .. } => self.go_on(index, host)?,
            FaultKind::ClockJump { host, .. } => self.clock_is_right_again(index, host)?,
            FaultKind::Wakes { host, .. } => self.wakes_are_right_again(index, host)?,
            FaultKind::Router { host, .. } => self.net.router_is_right_again(self.now, index, host, &mut self.queue),
            kind => {
                self.net.attack.end(index, &self.scenario.faults[index]);
                self.forget_connections(&kind);
            }
        }
        Ok(())
    }

    /// A NAT that forgets its mappings may forget connections too.
    fn forget_connections(&mut self, kind: &FaultKind) {
        if let FaultKind::Rebind { host, rebinding } = kind
            && rebinding.connections
        {
            self.net.attack.did("rebound_connections");
            self.net.vanish_all(*host);
        }
    }

    fn set_faults(&mut self, way: Way) {
        let active = self.scenario.faults.iter().zip(&self.active).filter(|(_, active)| **active);
        self.net.set_faults(way, active.map(|(fault, _)| fault));
    }
}

/// Whether a queue can hold back the answer that begins an epoch for one side, and then a packet of it, for longer than
/// keys are kept to open what comes late: three of their lives.
fn keys_age_in_queues(scenario: &Scenario) -> bool {
    let delay = |fault: &Fault| match fault.kind {
        FaultKind::Path { trouble: Trouble::Rate { bytes_per_second, buffer }, .. } => {
            buffer * 1_000_000 / bytes_per_second.max(1)
        }
        _ => 0,
    };
    let longest = scenario.faults.iter().map(delay).max().unwrap_or_default() + micros(scenario.link.latency);
    scenario.hosts.iter().any(|host| 2 * longest >= 3 * micros(host.config.key_life))
}
