//! The driver of each process: what came in becomes events, and what the core wants is done. The oracles look on.

use burdock_core::seal::Refused;
use burdock_core::{Action, Event, Time};

use super::{Stage, World};
use crate::host::Process;
use crate::item::Item;
use crate::luck::Purpose;
use crate::net::link::micros;
use crate::net::{Delivery, Net, NetItem};
use crate::oracle::hidden::{About, Hidden};
use crate::oracle::{Verdict, broken, contract, forged, genuine};

impl World {
    pub(crate) fn arrive(&mut self, item: NetItem) -> Verdict {
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
                self.notice_lateness(host);
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

    /// To be called before the core is: what it is asked to do then hides that it was to be ticked before.
    pub(crate) fn notice_lateness(&mut self, host: usize) {
        if self.hosts[host].process.as_ref().is_some_and(|process| process.is_late(self.now)) {
            self.updates.late(host);
        }
    }

    fn raw_event(&mut self, host: usize, event: Event<'_>) -> Verdict {
        let now = self.now;
        self.notice_lateness(host);
        let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
        let time = process.time(now);
        self.answering = !matches!(event, Event::Tick);
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

    pub(crate) fn wake(&mut self, host: usize, incarnation: u32, ordered: u64) -> Verdict {
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
            self.notice_lateness(host);
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
