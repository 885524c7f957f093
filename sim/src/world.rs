//! The world: one clock, one queue, the network, and for each process a driver that does what the
//! core asks and nothing else.

use burdock_core::seal::Refused;
use burdock_core::{AcceptPolicy, Action, Endpoint, Event, Identity, PublicKey, Time};
use std::collections::BTreeMap;

use crate::clock::Clock;
use crate::host::{Host, Process};
use crate::item::Item;
use crate::luck::{Luck, Purpose};
use crate::net::link::micros;
use crate::net::{Delivery, Machine, Net, NetItem};
use crate::oracle::amplification::Amplification;
use crate::oracle::door::Door;
use crate::oracle::elsewhere::Elsewhere;
use crate::oracle::hidden::{About, Hidden};
use crate::oracle::ledger::Ledger;
use crate::oracle::restarts::Restarts;
use crate::oracle::updates::Updates;
use crate::oracle::wire::Wire;
use crate::oracle::{Verdict, broken, contract, forged, genuine};
use crate::queue::Queue;
use crate::report::Told;
use crate::scenario::{Accept, FaultKind, Scenario, Way, address};
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
    /// A clock has jumped, or stood still while others went on: an epoch is older for one side than for the other.
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
            ages_differ: false,
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

    // ---- the driver

    fn arrive(&mut self, item: NetItem) -> Verdict {
        let mut out = core::mem::take(&mut self.deliveries);
        self.net.handle(self.now, item, &mut self.queue, &mut out);
        for delivery in out.drain(..) {
            self.deliver(delivery)?;
        }
        self.deliveries = out;
        self.routers_bear_it()
    }

    /// What no router bears, no client may do.
    fn routers_bear_it(&mut self) -> Verdict {
        match self.net.i2p.misuse.take() {
            Some((host, what)) => broken("sam", format!("host {host} {what}")),
            None => Ok(()),
        }
    }

    pub(crate) fn deliver(&mut self, delivery: Delivery) -> Verdict {
        if self.net.router_of(delivery.host()).is_some() {
            self.net.bridge_told(self.now, delivery, &mut self.queue);
            return self.routers_bear_it();
        }
        let Some(delivery) = self.unless_stopped(delivery) else { return Ok(()) };
        match delivery {
            Delivery::Datagram { to: host, from, mut data, whole, truth } => {
                let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
                process.heard = true;
                self.amplification.received(host, process.incarnation, from, truth, &data);
                if let (Some(truth), Some(0x09 | 0x0B)) = (truth, data.first()) {
                    for other in self.net.attack.nat.others(truth) {
                        let answer = data[0] == 0x09;
                        self.amplification.answered(host, process.incarnation, other, answer);
                    }
                }
                if self.net.attack.nat.ever(from).is_none() {
                    self.elsewhere.received(host, from, &data);
                }
                self.hidden.received(host, truth.and_then(|truth| self.net.attack.nat.ever(truth)), &data);
                self.trace.step(self.now, host, "datagram", u64::from(from.port()), &data);
                if self.trace.full() {
                    let name = &self.scenario.hosts[host].name;
                    self.trace.line(self.now, name, format_args!("<- {} bytes by UDP from {from}", data.len()));
                }
                self.early_tick(host)?;
                let before = self.refused(host);
                let watch = truth.is_none().then(|| self.watch(host)).flatten();
                let kind = forged::kind(self.hosts[host].key.as_ref(), &data);
                self.raw_event(host, Event::Datagram { from, data: &mut data })?;
                if whole {
                    genuine::accepted(host, self.ages_differ, before, self.refused(host))?;
                }
                if let (Some(before), Some(after)) = (watch, self.watch(host)) {
                    forged::changed_nothing(host, kind, before, after)?;
                }
                self.net.recycle(data);
                self.settle(host)
            }
            Delivery::TransmitFailed { host, to, error } => {
                self.table.event("transmit_failed");
                self.event(host, "transmit_failed", error as u64, Event::TransmitFailed { to, error })
            }
            Delivery::Accepted { host, end, from } => {
                let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
                process.heard = true;
                self.table.event("accepted_stream");
                self.trace.step(self.now, host, "accepted", u64::from(from.port()), &[]);
                let time = process.time(self.now);
                match process.endpoint.stream_accepted(time, from) {
                    Some(stream) => {
                        self.hidden.accepts(host, &self.scenario.hosts[host].config)?;
                        process.streams.insert(stream, end);
                        process.ends.insert(end, stream);
                    }
                    None => self.net.abort(self.now, end, &mut self.queue),
                }
                self.drain(host)?;
                self.settle(host)
            }
            Delivery::Opened { host, end } => {
                let Some(stream) = self.stream(host, end) else { return Ok(()) };
                self.event(host, "opened", stream.get(), Event::StreamOpened { stream })
            }
            Delivery::Data { host, end, mut data } => {
                let Some(stream) = self.stream(host, end) else { return Ok(()) };
                self.trace.step(self.now, host, "data", stream.get(), &data);
                if !self.net.i2p.speaks_sam(end)
                    && let Some(process) = &mut self.hosts[host].process
                {
                    process.heard = true;
                }
                self.raw_event(host, Event::StreamData { stream, data: &mut data })?;
                self.net.recycle(data);
                self.settle(host)
            }
            Delivery::Writable { host, end } => {
                let Some(stream) = self.stream(host, end) else { return Ok(()) };
                self.event(host, "writable", stream.get(), Event::StreamWritable { stream })
            }
            Delivery::Closed { host, end, error } => {
                let Some(stream) = self.stream(host, end) else { return Ok(()) };
                let process = self.hosts[host].process.as_mut().expect("it holds a stream");
                process.streams.remove(&stream);
                process.ends.remove(&end);
                self.net.i2p.hung_up(end);
                self.table.stream_end(error);
                if self.wire.closed(end) {
                    self.table.event("stream_cut_mid_frame");
                }
                let number = error.map_or(0, |error| 1 + error as u64);
                self.note(host, format_args!("stream {stream} ended: {error:?}"));
                self.event(host, "closed", stream.get() << 8 | number, Event::StreamClosed { stream, error })
            }
        }
    }

    /// What a core did and told so far; `None` when it has a timer to attend to.
    fn watch(&self, host: usize) -> Option<forged::Watch> {
        let process = self.hosts[host].process.as_ref()?;
        let idle = process.due().is_none_or(|due| due > process.time(self.now));
        idle.then_some(forged::Watch { acted: self.acted, told: process.inbox.len() })
    }

    fn refused(&self, host: usize) -> Refused {
        self.hosts[host].process.as_ref().map(|process| process.endpoint.refused()).unwrap_or_default()
    }

    fn stream(&self, host: usize, end: crate::net::EndRef) -> Option<burdock_core::StreamId> {
        self.hosts[host].process.as_ref()?.ends.get(&end).copied()
    }

    /// An event, what the core does about it, and what the application does about that.
    pub(crate) fn event(&mut self, host: usize, name: &str, number: u64, event: Event<'_>) -> Verdict {
        self.trace.step(self.now, host, name, number, &[]);
        self.raw_event(host, event)?;
        self.settle(host)
    }

    fn raw_event(&mut self, host: usize, event: Event<'_>) -> Verdict {
        let now = self.now;
        let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
        let time = process.time(now);
        self.answering = !matches!(event, Event::Tick);
        if process.is_late(now) {
            self.updates.late(host);
        }
        process.endpoint.handle(time, event);
        self.drain(host).map(drop)
    }

    /// Ticks before it is time, now and then: that must change nothing.
    fn early_tick(&mut self, host: usize) -> Verdict {
        let state = &mut self.hosts[host];
        let process = state.process.as_mut().expect("it was there when the event arrived");
        process.events += 1;
        let place = (host as u64) << 32 | u64::from(process.incarnation);
        if !self.luck.strikes(Purpose::EarlyTick, place, process.events, 20) {
            return Ok(());
        }
        let time = process.time(self.now);
        let before = process.due();
        if before.is_some_and(|due| due <= process.clock.seen(self.now)) {
            return Ok(());
        }
        self.table.event("early_tick");
        process.endpoint.handle(time, Event::Tick);
        let after = process.due();
        let action = process.endpoint.poll_action(time, &mut state.buffer);
        contract::after_early_tick(host, before, after, action.as_ref())
    }

    /// Does everything that the core wants done. True if that gave it a further event.
    pub(crate) fn drain(&mut self, host: usize) -> Verdict<bool> {
        let mut buffer = core::mem::take(&mut self.hosts[host].buffer);
        let mut work = 0;
        let mut fed = false;
        while let Some(process) = &mut self.hosts[host].process {
            let time = process.time(self.now);
            let due = process.due();
            let Some(action) = process.endpoint.poll_action(time, &mut buffer) else { break };
            contract::announced(host, process.clock.seen(self.now), due, &action)?;
            self.acted += 1;
            work += u32::from(!matches!(action, Action::Update { .. }));
            contract::bounded(host, work)?;
            fed |= self.perform(host, action, &buffer)?;
        }
        self.hosts[host].buffer = buffer;
        Ok(fed)
    }

    /// Does one thing. True if the core was given an event in return.
    fn perform(&mut self, host: usize, action: Action, bytes: &[u8]) -> Verdict<bool> {
        let now = self.now;
        let process = self.hosts[host].process.as_mut().expect("it asked for this");
        let time = process.time(now);
        if let Stage::Quiet { grace, .. } = self.stage
            && now > grace
            && !self.answering
            && !matches!(action, Action::Update { .. } | Action::CloseStream { .. } | Action::Router { .. })
            && !is_to_router(&self.net, process, &action)
        {
            let what = contract::name(&action);
            return broken("silence", format!("host {host} wants {what} after all its sessions have ended"));
        }
        if self.trace.full() && !matches!(action, Action::Update { .. }) {
            let name = &self.scenario.hosts[host].name;
            self.trace.line(now, name, format_args!("-> {action:?} ({} bytes)", bytes.len()));
        }
        let peer = match &action {
            Action::Transmit { to, .. } | Action::OpenStream { to, .. } => self.net.attack.nat.ever(*to),
            _ => None,
        };
        let named = match &action {
            Action::Resolve { host: name, .. } => self.scenario.hosts.iter().position(|host| host.name == *name),
            _ => None,
        };
        let about = About { host, config: &self.scenario.hosts[host].config, peer };
        self.hidden.acts(about, &action, bytes, named)?;
        match action {
            Action::Transmit { to, segment_size } => {
                for packet in bytes.chunks(segment_size.unwrap_or(bytes.len()).max(1)) {
                    self.trace.step(now, host, "transmit", u64::from(to.port()), packet);
                    self.wire.datagram(host, packet)?;
                    self.amplification.sent(host, process.incarnation, to, packet)?;
                    if self.net.attack.nat.ever(to).is_none() {
                        self.elsewhere.sent(host, to, packet)?;
                    }
                    let reached = self.net.attack.hears(host, to, packet) || self.net.attack.nat.behind(to).is_some();
                    let (clock, limits) = (process.clock.seen(now), &self.scenario.hosts[host].config.limits);
                    self.door.sent((host, process.incarnation), clock, limits, to, reached, packet)?;
                    self.net.send(now, host, to, packet, &mut self.queue);
                }
            }
            Action::OpenStream { stream, to } => {
                self.trace.step(now, host, "open", stream.get(), &[]);
                let end = self.net.connect(now, host, to, &mut self.queue);
                process.ends.insert(end, stream);
                if process.streams.insert(stream, end).is_some() {
                    contract::stale(host, &action)?;
                }
            }
            Action::WriteStream { stream } => {
                let Some(end) = process.streams.get(&stream).copied() else {
                    contract::stale(host, &action)?;
                    return Ok(false);
                };
                let len = self.net.write(now, end, bytes, &mut self.queue);
                self.trace.step(now, host, "write", stream.get(), &bytes[..len]);
                if !self.net.i2p.speaks_sam(end) {
                    self.wire.written(host, end, &bytes[..len])?;
                }
                if len < bytes.len() {
                    self.table.event("partial_write");
                }
                process.endpoint.handle(time, Event::StreamWritten { stream, len });
                return Ok(true);
            }
            Action::CloseStream { stream } => {
                self.trace.step(now, host, "close", stream.get(), &[]);
                let Some(end) = process.streams.remove(&stream) else {
                    contract::stale(host, &action)?;
                    return Ok(false);
                };
                process.ends.remove(&end);
                self.net.i2p.hung_up(end);
                if self.wire.closed(end) {
                    self.table.event("stream_cut_mid_frame");
                }
                self.net.close(now, end, &mut self.queue);
            }
            Action::Resolve { resolve, host: name, port } => {
                self.trace.step(now, host, "resolve", resolve.get(), name.as_bytes());
                let at = now + 2 * micros(self.scenario.link.latency);
                let incarnation = process.incarnation;
                self.queue.push(at, Item::Resolved { host, incarnation, resolve, name, port });
            }
            Action::Router { state } => {
                let text = serde_json::to_string(&state).expect("plain data");
                Hidden::tells(host, self.net.i2p.keys(host), &format!("{text} {state:?}"))?;
                self.table.router(&state);
                self.trace.step(now, host, "router", 0, text.as_bytes());
                self.note(host, format_args!("I2P router: {state:?}"));
            }
            Action::Update { session, update } => process.inbox.push_back((session, update)),
        }
        Ok(false)
    }

    fn wake(&mut self, host: usize, incarnation: u32, ordered: u64) -> Verdict {
        let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
        if process.incarnation != incarnation || process.wake != Some(ordered) || process.stopped.is_some() {
            return Ok(());
        }
        process.wake = None;
        self.settle(host)
    }

    /// Lets the application look at its updates, ticks if it is time, and queues the next wake-up.
    pub(crate) fn settle(&mut self, host: usize) -> Verdict {
        let mut ticks = 0;
        loop {
            self.mind(host)?;
            let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
            let Some(due) = process.due() else { return Ok(()) };
            let seen = process.clock.seen(self.now);
            if due > seen {
                let at = process.clock.shows(due);
                if process.wake.is_none_or(|wake| at < wake || wake < self.now) && due < Time::MAX {
                    process.wake = Some(at);
                    let incarnation = process.incarnation;
                    self.order_wake(host, incarnation, at);
                }
                return Ok(());
            }
            if due < seen {
                self.updates.late(host);
            }
            ticks += 1;
            contract::standstill(host, seen, ticks)?;
            self.trace.step(self.now, host, "tick", 0, &[]);
            process.endpoint.handle(process.clock.read(self.now), Event::Tick);
            if !self.drain(host)? {
                let due = self.hosts[host].process.as_ref().and_then(|process| process.endpoint.poll_timeout());
                contract::after_tick(host, seen, due)?;
            }
        }
    }
}

/// Whether it concerns the router of the host itself, which is there whether or not there are sessions.
fn is_to_router(net: &Net, process: &Process, action: &Action) -> bool {
    match action {
        Action::OpenStream { to, .. } => to.ip().is_loopback(),
        Action::WriteStream { stream } => process.streams.get(stream).is_some_and(|end| net.i2p.speaks_sam(*end)),
        _ => false,
    }
}
