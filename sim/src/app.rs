//! The applications: they dial, send, take, close and change their minds, as the scenario says.

use burdock_core::update::UpdateKind;
use burdock_core::{
    Code, Config, ConnectError, Event, Link, RouterState, SendError, SessionId, Time, Transport, Update,
};

use crate::host::AppSession;
use crate::item::Item;
use crate::net::link::micros;
use crate::oracle::hidden::Hidden;
use crate::oracle::ledger::SessionKey;
use crate::oracle::payload::{self, Label};
use crate::oracle::{Verdict, broken, contract, require, restarts};
use crate::report::Told;
use crate::scenario::{Reader, What};
use crate::table;
use crate::world::{Apps, Stage, World};

impl World {
    /// Does what the scenario says.
    pub(crate) fn operate(&mut self, index: usize) -> Verdict {
        let op = self.scenario.ops[index].clone();
        let host = op.host;
        self.notice_lateness(host);
        match op.what {
            What::Connect { to, by_name } => {
                self.hosts[host].wanted.insert(to, by_name);
                self.connect(host, to, by_name)?;
            }
            What::Send { count, .. } => return self.traffic(index, count),
            What::Close { to } => {
                self.hosts[host].wanted.remove(&to);
                self.close(host, to)?;
            }
            What::Cancel { to } => self.cancel(host, to)?,
            What::RetryNow { to } => {
                if let Some(process) = &mut self.hosts[host].process
                    && let Some(session) = process.with(to)
                {
                    process.endpoint.retry_now(process.time(self.now), session);
                    self.note(host, format_args!("retries now"));
                    self.drain(host)?;
                }
            }
            What::NetworkChanged => {
                if let Some(process) = &self.hosts[host].process {
                    for session in process.sessions.values() {
                        self.updates.network_changed(session.key);
                    }
                    self.note(host, format_args!("changes its network"));
                    self.event(host, "network_changed", 0, Event::NetworkChanged)?;
                }
            }
        }
        self.settle(host)
    }

    /// Sends the next of a row of messages, or all that are left.
    pub(crate) fn traffic(&mut self, index: usize, left: u32) -> Verdict {
        let op = self.scenario.ops[index].clone();
        let What::Send { to, channel, size, every, .. } = op.what else { return Ok(()) };
        self.notice_lateness(op.host);
        if !matches!(self.stage, Stage::Faults) {
            // There is to be an end to it.
            return Ok(());
        }
        let now = if every.is_zero() { left } else { left.min(1) };
        let outbox = self.hosts[op.host].outbox.entry(to).or_default();
        outbox.extend((0..now).map(|_| (channel, size)));
        if left > now {
            self.queue.push(self.now + micros(every), Item::Traffic { op: index, left: left - now });
        }
        self.flush(op.host, to)?;
        self.settle(op.host)
    }

    pub(crate) fn connect(&mut self, host: usize, to: usize, by_name: bool) -> Verdict {
        self.notice_lateness(host);
        let key = self.hosts[to].key.expect("every host has a key");
        let link = self.scenario.link_to(host, to, key, by_name, self.net.i2p.keys(to).destination());
        let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
        if process.current.contains_key(&to) {
            return Ok(());
        }
        let result = process.endpoint.connect(process.time(self.now), &link);
        match result {
            Ok(session) => {
                process.dials += 1;
                self.hidden.dialled(host, to, link.host.is_none());
                self.open(host, to, session, ladder(&link, &self.scenario.hosts[host].config));
                let name = self.scenario.hosts[to].name.clone();
                self.note(host, format_args!("dials {name}"));
            }
            Err(ConnectError::Exists) => {
                let due = self.hosts[host].process.as_ref().and_then(|process| process.due());
                return broken("one session", format!("host {host} has a hidden session with host {to} ({due:?})"));
            }
            Err(error) => return broken("scenario", format!("host {host} cannot dial host {to}: {error}")),
        }
        self.drain(host)?;
        self.flush(host, to)?;
        self.settle(host)
    }

    /// A session that the application did not have before.
    fn open(&mut self, host: usize, peer: usize, session: SessionId, ladder: Vec<Transport>) {
        let number = self.hosts[host].sessions;
        self.hosts[host].sessions += 1;
        let key = (host, number);
        self.ledger.open(key, Some(peer));
        let dialled = !ladder.is_empty();
        self.updates.open(key, &self.scenario.hosts[host].config, ladder);
        let process = self.hosts[host].process.as_mut().expect("its endpoint has just opened a session");
        let known = AppSession { key, peer, closed: false, blocked: false, handed: Vec::new(), read_queued: false };
        self.restarts.opened(key, peer, process.incarnation, dialled);
        process.sessions.insert(session, known);
        process.current.insert(peer, session);
    }

    pub(crate) fn close(&mut self, host: usize, to: usize) -> Verdict {
        self.hosts[host].outbox.remove(&to);
        let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
        let Some(session) = process.with(to) else { return Ok(()) };
        process.endpoint.close(process.time(self.now), session, "done");
        self.trace.step(self.now, host, "app_close", session.get(), &[]);
        let name = self.scenario.hosts[to].name.clone();
        self.note(host, format_args!("closes its session with {name}"));
        self.drain(host)?;
        self.settle(host)
    }

    pub(crate) fn cancel(&mut self, host: usize, to: usize) -> Verdict {
        let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
        let Some(session) = process.current.remove(&to) else { return Ok(()) };
        self.hidden.over(host, to);
        let Some(known) = process.sessions.remove(&session) else { return Ok(()) };
        let dialling = !self.updates.was_connected(known.key);
        self.table.event(if dialling { "cancelled_dial" } else { "cancelled_session" });
        self.trace.step(self.now, host, "cancel", session.get(), &[]);
        self.updates.cancelled(known.key);
        self.ledger.abandon(known.key);
        self.restarts.ended(process.clock.seen(self.now), known.key);
        process.endpoint.cancel(process.time(self.now), session);
        let name = self.scenario.hosts[to].name.clone();
        self.note(host, format_args!("cancels its session with {name}"));
        self.drain(host)?;
        let process = self.hosts[host].process.as_ref().expect("it ran a moment ago");
        require(process.endpoint.status(process.clock.seen(self.now), session).is_none(), "leftovers", || {
            format!("host {host} cancelled a session that still has a status")
        })?;
        if dialling && process.dials == 1 && !process.heard && process.sessions.is_empty() {
            if let Some(router) = process.endpoint.router() {
                // Its session stays, with those who wait for callers.
                let most = if matches!(router, RouterState::Up { .. }) { 3 } else { 1 };
                return require(process.streams.len() <= most, "leftovers", || {
                    format!("host {host} cancelled its only dial and kept {} streams", process.streams.len())
                });
            }
            contract::nothing_left(host, process.due(), process.streams.len())?;
        }
        Ok(())
    }

    /// Sends what waits, until the session is full.
    fn flush(&mut self, host: usize, to: usize) -> Verdict {
        loop {
            let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
            let Some(session) = process.with(to) else { return Ok(()) };
            let Some(outbox) = self.hosts[host].outbox.get(&to) else { return Ok(()) };
            let Some((channel, len)) = outbox.front().copied() else { return Ok(()) };
            let process = self.hosts[host].process.as_mut().expect("looked up above");
            let known = process.sessions.get_mut(&session).expect("what is current is known");
            if known.blocked {
                return Ok(());
            }
            let time = process.clock.read(self.now);
            let (key, number) = (known.key, self.ledger.next_number(known.key));
            let sender = u16::try_from(host).expect("at most 5,000 hosts");
            let label = Label { host: sender, channel, session: key.1, number, len };
            let data = payload::write(label, self.luck);
            match process.endpoint.send(time, session, channel, data.clone()) {
                Ok(id) => {
                    self.trace.step(self.now, host, "send", id.get(), &[channel]);
                    self.ledger.sent(key, id.get(), channel, &data)?;
                    self.hosts[host].outbox.get_mut(&to).map(std::collections::VecDeque::pop_front);
                }
                Err(SendError::Full) => {
                    known.blocked = true;
                    self.table.event("send_full");
                }
                Err(SendError::Closed) => known.blocked = true,
                Err(error) => return broken("scenario", format!("host {host} cannot send: {error}")),
            }
            self.drain(host)?;
        }
    }

    /// The application looks at its updates.
    pub(crate) fn mind(&mut self, host: usize) -> Verdict {
        if self.apps == Apps::Outside {
            return Ok(());
        }
        let mut changed = Vec::new();
        while let Some((session, update)) =
            self.hosts[host].process.as_mut().and_then(|process| process.inbox.pop_front())
        {
            let small = matches!(update.kind, UpdateKind::Outcome { .. } | UpdateKind::Message);
            let key = self.on_update(host, session, update)?;
            if !small && changed.last() != Some(&(session, key)) {
                changed.push((session, key));
            }
        }
        let Some(process) = &self.hosts[host].process else { return Ok(()) };
        for (session, key) in changed {
            // A snapshot includes every update, and nothing else.
            if let Some(status) = process.endpoint.status(process.clock.seen(self.now), session) {
                self.table.state(status.state);
                let seq = self.updates.seq(key);
                require(status.seq == seq, "updates", || {
                    format!("session {}.{} has told {seq} updates, its status includes {}", key.0, key.1, status.seq)
                })?;
            }
        }
        Ok(())
    }

    fn on_update(&mut self, host: usize, session: SessionId, update: Update) -> Verdict<SessionKey> {
        let process = self.hosts[host].process.as_mut().expect("it has an inbox");
        if !process.sessions.contains_key(&session) {
            let UpdateKind::Connected { peer, inbound: true, .. } = &update.kind else {
                return broken("updates", format!("host {host} is told of a session it never had: {update:?}"));
            };
            let Some(peer) = self.keys.get(peer).copied() else {
                return broken("updates", format!("host {host} is connected to somebody unknown"));
            };
            if process.current.contains_key(&peer) {
                return broken("one session", format!("host {host} has a second session with host {peer}"));
            }
            self.open(host, peer, session, Vec::new());
        }
        let process = self.hosts[host].process.as_mut().expect("it has an inbox");
        let known = process.sessions.get_mut(&session).expect("opened above");
        let (key, peer) = (known.key, known.peer);
        self.table.update(&update);
        match &update.kind {
            UpdateKind::Message => self.trace.step(self.now, host, "message", session.get(), &[]),
            UpdateKind::Outcome { message, outcome } => {
                self.trace.step(self.now, host, "outcome", message.get(), &[*outcome as u8]);
            }
            _ => self.write_down(host, key, &update)?,
        }
        if self.trace.full() && matches!(update.kind, UpdateKind::Message | UpdateKind::Outcome { .. }) {
            self.note(host, format_args!("#{} {:?}", key.1, update.kind));
        }
        let process = self.hosts[host].process.as_ref().expect("it has an inbox");
        // By its own clock: the core has no other.
        self.updates.told(process.clock.seen(self.now), key, &update)?;
        match update.kind {
            UpdateKind::Connected { peer: named, transport, inbound, handshake_hash } => {
                self.restarts.connected(key, handshake_hash);
                require(self.keys.get(&named) == Some(&peer), "updates", || {
                    format!("host {host} dialled host {peer} and is connected to another")
                })?;
                if !inbound && transport > self.updates.best(key).unwrap_or(transport) {
                    self.table.event(if transport == Transport::Tcp {
                        "fallback_udp_to_tcp"
                    } else {
                        "fallback_to_i2p"
                    });
                }
                self.unblock(host, session, peer)?;
            }
            UpdateKind::Resumed { .. } => {
                self.resumed += 1;
                self.unblock(host, session, peer)?;
            }
            UpdateKind::Writable => self.unblock(host, session, peer)?,
            UpdateKind::PeerRestarted => {
                let other = &self.hosts[peer];
                self.ledger.peer_restarted(key);
                let theirs = restarts::Peer {
                    incarnation: other.process.as_ref().map(|process| process.incarnation),
                    clock: other.process.as_ref().map_or(Time::ZERO, |process| process.clock.seen(self.now)),
                    limits: &self.scenario.hosts[peer].config.limits,
                };
                self.restarts.told(key, theirs)?;
                self.unblock(host, session, peer)?;
            }
            UpdateKind::Message => self.read_soon(host, session)?,
            UpdateKind::Outcome { message, outcome } => self.ledger.outcome(key, message.get(), outcome)?,
            UpdateKind::Closed { code, by_peer, delivered, undelivered, unknown, .. } => {
                let known = self.hosts[host].process.as_mut().and_then(|process| process.sessions.get_mut(&session));
                known.expect("it was opened").closed = true;
                let process = self.hosts[host].process.as_mut().expect("it has an inbox");
                if process.with(peer) == Some(session) {
                    process.current.remove(&peer);
                    self.hidden.over(host, peer);
                }
                self.restarts.ended(process.clock.seen(self.now), key);
                self.ledger.closed(key, [delivered, undelivered, unknown], code == Code::Done && !by_peer)?;
            }
            _ => {}
        }
        Ok(key)
    }

    fn write_down(&mut self, host: usize, key: SessionKey, update: &Update) -> Verdict {
        let text = serde_json::to_string(&update).expect("updates are plain data");
        Hidden::tells(host, self.net.i2p.keys(host), &text)?;
        self.trace.step(self.now, host, "update", key.1.into(), text.as_bytes());
        if !matches!(update.kind, UpdateKind::Writable | UpdateKind::Quality(_)) {
            self.note(host, format_args!("#{} {}", key.1, brief(&update.kind)));
            let at = Time::from_micros(self.now);
            self.told.push(Told { at, host, session: key.1, kind: update.kind.clone() });
        }
        Ok(())
    }

    fn unblock(&mut self, host: usize, session: SessionId, peer: usize) -> Verdict {
        let process = self.hosts[host].process.as_mut().expect("it was told something");
        if let Some(known) = process.sessions.get_mut(&session) {
            known.blocked = false;
        }
        self.flush(host, peer)
    }

    fn slow(&self, host: usize) -> Option<(u32, u64)> {
        match &self.scenario.hosts[host].reader {
            Reader::Slow { batch, every } if self.stage == Stage::Faults => Some((*batch, micros(*every))),
            _ => None,
        }
    }

    fn read_soon(&mut self, host: usize, session: SessionId) -> Verdict {
        let slow = self.slow(host);
        let process = self.hosts[host].process.as_mut().expect("it was told something");
        let known = process.sessions.get_mut(&session).expect("it was opened");
        match slow {
            None => self.read(host, session),
            Some((_, every)) => {
                if !known.read_queued {
                    known.read_queued = true;
                    let incarnation = process.incarnation;
                    self.queue.push(self.now + every, Item::Read { host, incarnation, session });
                }
                Ok(())
            }
        }
    }

    /// Takes what was handed out before, and fetches more.
    pub(crate) fn read(&mut self, host: usize, session: SessionId) -> Verdict {
        let slow = self.slow(host);
        self.take(host, session)?;
        let process = self.hosts[host].process.as_mut().expect("it reads");
        let Some(known) = process.sessions.get_mut(&session).filter(|known| !known.closed) else {
            return Ok(());
        };
        let batch = slow.map_or(u32::MAX, |(batch, _)| batch);
        for _ in 0..batch {
            let Some(message) = process.endpoint.recv(session) else { break };
            self.trace.step(self.now, host, "recv", u64::from(message.channel), &message.data);
            let (peer, channel) = (known.peer, message.channel);
            let handed = self.ledger.received(host, peer, channel, &message.data, self.luck)?;
            if self.trace.full() {
                let ((from, number), id) = handed;
                let text = format_args!("takes message {id} of session {from}.{number}, {} bytes", message.data.len());
                self.trace.line(self.now, &self.scenario.hosts[host].name, text);
            }
            known.handed.push(handed);
        }
        known.read_queued = slow.is_some() && !known.handed.is_empty();
        if let Some((_, every)) = slow
            && known.read_queued
        {
            let incarnation = process.incarnation;
            self.queue.push(self.now + every, Item::Read { host, incarnation, session });
            return Ok(());
        }
        self.take(host, session)
    }

    fn take(&mut self, host: usize, session: SessionId) -> Verdict {
        self.notice_lateness(host);
        let process = self.hosts[host].process.as_mut().expect("it reads");
        let Some(known) = process.sessions.get_mut(&session) else { return Ok(()) };
        if known.handed.is_empty() || known.closed {
            return Ok(());
        }
        for handed in known.handed.drain(..) {
            self.ledger.taken(handed, self.luck)?;
        }
        self.trace.step(self.now, host, "taken", session.get(), &[]);
        process.endpoint.taken(process.time(self.now), session);
        self.drain(host).map(drop)
    }
}

/// What of a link an endpoint dials, in order.
fn ladder(link: &Link, config: &Config) -> Vec<Transport> {
    let has = |transport: &Transport| match transport {
        Transport::Udp => link.host.is_some() && link.udp_port.is_some(),
        Transport::Tcp => link.host.is_some() && link.tcp_port.is_some(),
        Transport::I2p => link.i2p.is_some() && config.i2p.is_some(),
    };
    Transport::ALL.into_iter().filter(has).collect()
}

/// An update in one short line.
fn brief(kind: &UpdateKind) -> String {
    let code = |code: Option<Code>| code.map_or("", Code::name);
    match kind {
        UpdateKind::Progress(progress) => {
            let wait = progress.retry_in_ms.map(|wait| format!(" in {wait} ms")).unwrap_or_default();
            let on = progress.transport.map(|transport| format!(" {transport}")).unwrap_or_default();
            let (attempt, most) = (progress.attempt, progress.max_attempts);
            format!("attempt {attempt}/{most} {:?}{on}{wait} {}", progress.status, code(progress.code))
        }
        UpdateKind::Connected { transport, inbound, .. } => {
            format!("connected by {transport}{}", if *inbound { ", inbound" } else { "" })
        }
        UpdateKind::PathChanged { from, to, code } => {
            format!("path changed from {} to {to}: {code}", from.name())
        }
        UpdateKind::Lost { code } => format!("lost: {code}"),
        UpdateKind::Resumed { transport, after_ms } => format!("resumed by {transport} after {after_ms} ms"),
        UpdateKind::Closed { code, by_peer, delivered, undelivered, unknown, .. } => {
            let who = if *by_peer { " by the peer" } else { "" };
            format!("closed{who}: {code}; {delivered} delivered, {undelivered} undelivered, {unknown} unknown")
        }
        kind => table::kind(kind).to_owned(),
    }
}
