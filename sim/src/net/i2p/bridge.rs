//! The SAM bridge of one router: what it makes of a client's lines, and what it answers.

use super::tunnel::StreamSide;
use super::{Answer, BridgeItem, I2pItem, Keys, Lie, Make, Phase, Refused, RouterTrouble, Session, Socket};
use crate::item::Item;
use crate::net::{Delivery, EndRef, Net};
use crate::queue::Queue;

/// How long a wish for a stream is looked into at most when nothing comes of it.
const FUTILE: u64 = 15_000_000;

/// The value of one option of a command, which has no spaces.
fn option<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('=')).map(|value| value.trim_matches('"'))
}

impl Net {
    /// The network tells a router something.
    pub(crate) fn bridge_told(&mut self, now: u64, delivery: Delivery, queue: &mut Queue<Item>) {
        let Some(host) = self.router_of(delivery.host()) else { return };
        let router = &mut self.i2p.routers[host];
        if router.is_stalled() {
            return router.inbox.push_back(delivery);
        }
        match delivery {
            Delivery::Accepted { end, .. } => {
                let socket = Socket { phase: Phase::Hello, out: Default::default(), of_stream: 0, closing: false };
                router.sockets.insert(end, socket);
            }
            Delivery::Data { end, data, .. } => {
                match self.phase(host, end) {
                    Some(Phase::Stream { stream, side }) => self.stream_says(now, stream, side, &data, queue),
                    Some(phase) => self.line_comes(now, host, end, phase, &data, queue),
                    None => {}
                }
                self.recycle(data);
            }
            Delivery::Writable { end, .. } => self.flush_socket(now, host, end, queue),
            Delivery::Closed { end, .. } => {
                if let Some(socket) = self.i2p.routers[host].sockets.remove(&end) {
                    self.i2p.lines.remove(&end.conn);
                    self.socket_gone(now, host, end, socket.phase, queue);
                }
            }
            Delivery::Datagram { .. } | Delivery::TransmitFailed { .. } | Delivery::Opened { .. } => {}
        }
    }

    fn phase(&self, host: usize, end: EndRef) -> Option<Phase> {
        self.i2p.routers[host].sockets.get(&end).map(|socket| socket.phase.clone())
    }

    pub(super) fn set_phase(&mut self, host: usize, end: EndRef, phase: Phase) {
        if let Some(socket) = self.i2p.routers[host].sockets.get_mut(&end) {
            if matches!(phase, Phase::Stream { .. }) {
                self.i2p.lines.remove(&end.conn);
            }
            socket.phase = phase;
        }
    }

    /// The client let go of a socket.
    fn socket_gone(&mut self, now: u64, host: usize, end: EndRef, phase: Phase, queue: &mut Queue<Item>) {
        match phase {
            Phase::Control { id } => self.end_session(now, host, &id, queue),
            Phase::Accepting { id } => {
                if let Some(session) = self.i2p.routers[host].sessions.get_mut(&id) {
                    session.accepting.retain(|waiting| *waiting != end);
                }
            }
            Phase::Stream { stream, side } => self.stream_closed(now, stream, side, queue),
            Phase::Hello | Phase::Command | Phase::Looking | Phase::Over => {}
        }
    }

    /// The session is gone: its streams and waiting sockets end here, and nobody else is told.
    pub(super) fn end_session(&mut self, now: u64, host: usize, id: &str, queue: &mut Queue<Item>) {
        let router = &mut self.i2p.routers[host];
        let Some(session) = router.sessions.remove(id) else { return };
        if session.stands {
            router.leased_until = now + super::LEASE;
        }
        for end in session.accepting {
            self.hang_up(now, host, end, queue);
        }
        let of_stream = |(end, socket): (&EndRef, &Socket)| match socket.phase {
            Phase::Stream { stream, side } => Some((*end, stream, side)),
            _ => None,
        };
        let streams: Vec<_> = self.i2p.routers[host].sockets.iter().filter_map(of_stream).collect();
        for (end, stream, side) in streams {
            self.stream_forgotten(stream, side);
            self.hang_up(now, host, end, queue);
        }
    }

    /// The router forgets its sessions, and does not close their control sockets.
    pub(super) fn forget_sessions(&mut self, now: u64, host: usize, queue: &mut Queue<Item>) {
        let ids: Vec<String> = self.i2p.routers[host].sessions.keys().cloned().collect();
        for id in ids {
            self.i2p.did("forgotten_session");
            self.end_session(now, host, &id, queue);
        }
    }

    /// Closes a socket when all is written.
    pub(super) fn hang_up(&mut self, now: u64, host: usize, end: EndRef, queue: &mut Queue<Item>) {
        if let Some(socket) = self.i2p.routers[host].sockets.get_mut(&end) {
            socket.closing = true;
            self.ignore(now, host, end, queue);
            self.flush_socket(now, host, end, queue);
        }
    }

    /// Reads nothing more from a socket; a session ends with its own.
    fn ignore(&mut self, now: u64, host: usize, end: EndRef, queue: &mut Queue<Item>) {
        let before = self.phase(host, end);
        self.set_phase(host, end, Phase::Over);
        if let Some(Phase::Control { id }) = before
            && self.i2p.routers[host].sessions.get(&id).is_some_and(|session| session.control == end)
        {
            self.end_session(now, host, &id, queue);
        }
    }

    pub(super) fn write_socket(&mut self, now: u64, host: usize, end: EndRef, bytes: &[u8], queue: &mut Queue<Item>) {
        if let Some(socket) = self.i2p.routers[host].sockets.get_mut(&end) {
            socket.out.extend_from_slice(bytes);
            self.flush_socket(now, host, end, queue);
        }
    }

    pub(super) fn flush_socket(&mut self, now: u64, host: usize, end: EndRef, queue: &mut Queue<Item>) {
        let Some(socket) = self.i2p.routers[host].sockets.get_mut(&end) else { return };
        let out = core::mem::take(&mut socket.out);
        let taken = if out.is_empty() { 0 } else { self.write(now, end, &out, queue) };
        let Some(socket) = self.i2p.routers[host].sockets.get_mut(&end) else { return };
        socket.out = out;
        drop(socket.out.split_to(taken));
        // Lines go before the bytes of the stream.
        let left = socket.out.len().min(socket.of_stream);
        let delivered = socket.of_stream - left;
        socket.of_stream = left;
        let (phase, over) = (socket.phase.clone(), socket.closing && socket.out.is_empty());
        if let Phase::Stream { stream, side } = phase
            && delivered > 0
        {
            self.stream_delivered(now, stream, side, delivered, queue);
        }
        if over {
            self.i2p.routers[host].sockets.remove(&end);
            self.close(now, end, queue);
        }
    }

    /// Answers, or lies.
    fn answer(&mut self, now: u64, host: usize, end: EndRef, line: &str, queue: &mut Queue<Item>) -> bool {
        let lies = self.i2p.routers[host].troubles.values().filter_map(|trouble| match trouble {
            RouterTrouble::Lies { lie, per_mille } => Some((*lie, *per_mille)),
            _ => None,
        });
        for (lie, per_mille) in lies.collect::<Vec<_>>() {
            let apt = match lie {
                Lie::OkThenSilence | Lie::OkThenGarbage => self.phase(host, end) == Some(Phase::Looking),
                Lie::DuplicatedId => line.starts_with("SESSION"),
                Lie::InvalidId => line.starts_with("STREAM"),
                _ => true,
            };
            if apt && self.i2p.strikes(host, per_mille) {
                self.i2p.did(match lie {
                    Lie::Garbage => "lie_garbage",
                    Lie::LongLine => "lie_long_line",
                    Lie::OkInMessage => "lie_ok_in_message",
                    Lie::DuplicatedId => "lie_duplicated_id",
                    Lie::InvalidId => "lie_invalid_id",
                    Lie::OkThenSilence => "lie_ok_then_silence",
                    Lie::OkThenGarbage => "lie_ok_then_garbage",
                    Lie::End => "lie_end",
                    Lie::Verbose => "verbose",
                });
                return self.lie(now, host, end, lie, line, queue);
            }
        }
        self.write_socket(now, host, end, line.as_bytes(), queue);
        true
    }

    /// True if it is the answer after all.
    fn lie(&mut self, now: u64, host: usize, end: EndRef, lie: Lie, line: &str, queue: &mut Queue<Item>) -> bool {
        let words = line.split(' ').take(2).collect::<Vec<_>>().join(" ");
        let said = match lie {
            Lie::Garbage => {
                let len = self.i2p.below(host, 300);
                let mut bytes: Vec<u8> = (0..len).map(|_| self.i2p.below(host, 256) as u8).collect();
                bytes.push(b'\n');
                bytes
            }
            Lie::LongLine => format!("{words} RESULT=OK MESSAGE={}", "x".repeat(9_000)).into_bytes(),
            Lie::OkInMessage => format!("{words} RESULT=I2P_ERROR MESSAGE=\"say RESULT=OK\"\n").into_bytes(),
            Lie::DuplicatedId => {
                let word = if self.make(host) == Make::I2pd { "DUPLICATED_ID\n" } else { "DUPLICATE_ID" };
                format!("{words} RESULT={word}").into_bytes()
            }
            Lie::InvalidId => format!("{words} RESULT=INVALID_ID\n").into_bytes(),
            Lie::OkThenSilence => "STREAM STATUS RESULT=OK\n".into(),
            Lie::OkThenGarbage => {
                let len = self.i2p.below(host, 200) as u8;
                [&b"STREAM STATUS RESULT=OK\n\0"[..], &[len], &vec![7; usize::from(len)]].concat()
            }
            Lie::End => Vec::new(),
            Lie::Verbose => {
                let (fields, end_of_line) = line.split_once('\n').map_or((line, ""), |(line, _)| (line, "\n"));
                let mut fields: Vec<&str> = fields.split(' ').skip(2).collect();
                fields.reverse();
                format!("{words} NEW=\"a \\\"word\\\" or two\" {}{end_of_line}", fields.join(" ")).into_bytes()
            }
        };
        self.write_socket(now, host, end, &said, queue);
        match lie {
            Lie::Verbose => return true,
            Lie::OkThenSilence | Lie::OkThenGarbage | Lie::Garbage | Lie::LongLine => {
                if matches!(lie, Lie::OkThenSilence | Lie::OkThenGarbage) && words == "STREAM STATUS" {
                    self.i2p.lines.remove(&end.conn);
                }
                self.ignore(now, host, end, queue);
            }
            _ => self.hang_up(now, host, end, queue),
        }
        false
    }

    fn make(&self, host: usize) -> Make {
        self.i2p.routers[host].plan.as_ref().map_or(Make::I2pd, |plan| plan.make)
    }

    /// Says no, and closes the socket.
    fn refuse(&mut self, now: u64, host: usize, end: EndRef, line: &str, queue: &mut Queue<Item>) {
        let end_of_line = if self.make(host) == Make::I2pd { "\n" } else { "" };
        if self.answer(now, host, end, &format!("{line}{end_of_line}"), queue) {
            self.hang_up(now, host, end, queue);
        }
    }

    fn line_comes(&mut self, now: u64, host: usize, end: EndRef, phase: Phase, data: &[u8], queue: &mut Queue<Item>) {
        let whole = data.iter().filter(|byte| **byte == b'\n').count() == 1 && data.ends_with(b"\n");
        if phase == Phase::Over {
            return;
        }
        let Some(line) = core::str::from_utf8(data).ok().filter(|_| whole).map(str::trim_end) else {
            return self.i2p.misused(host, "wrote something else than one whole command in one packet");
        };
        match phase {
            Phase::Hello if line.starts_with("HELLO VERSION") => {
                if self.answer(now, host, end, "HELLO REPLY RESULT=OK VERSION=3.1\n", queue) {
                    self.set_phase(host, end, Phase::Command);
                }
            }
            Phase::Command if line.starts_with("SESSION CREATE STYLE=STREAM ") => {
                self.create(now, host, end, line, queue)
            }
            Phase::Command if line.starts_with("STREAM CONNECT ") => self.look(now, host, end, line, queue),
            Phase::Command if line.starts_with("STREAM ACCEPT ") => self.accept(now, host, end, line, queue),
            Phase::Control { .. } if line == "NAMING LOOKUP NAME=ME" => {
                let reply = format!("NAMING REPLY RESULT=OK NAME=ME VALUE={}\n", self.i2p.routers[host].keys.public);
                self.answer(now, host, end, &reply, queue);
            }
            Phase::Control { .. } if line.starts_with("PONG") => {}
            phase => {
                let words = line.split(' ').take(2).collect::<Vec<_>>().join(" ");
                self.i2p.misused(host, format!("said {words} on a socket that is at {phase:?}"));
            }
        }
    }

    fn create(&mut self, now: u64, host: usize, end: EndRef, line: &str, queue: &mut Queue<Item>) {
        let router = &self.i2p.routers[host];
        let destination = option(line, "DESTINATION").unwrap_or_default();
        let transient = destination == "TRANSIENT" && option(line, "SIGNATURE_TYPE") == Some("7");
        let Some(id) = option(line, "ID").filter(|id| !id.is_empty()).map(str::to_owned) else {
            return self.i2p.misused(host, "asked for a session without an ID");
        };
        if !transient && destination != router.keys.private {
            return self.i2p.misused(host, "asked for a session with a key that is not its own");
        }
        if !router.sessions.is_empty() {
            return self.i2p.misused(host, "asked for a second session with one key, which routers do not survive");
        }
        if let Some(Refused::I2pError) = router.refuses() {
            self.i2p.did("refused_session");
            let line = format!("SESSION STATUS RESULT={}", Refused::I2pError.result());
            return self.refuse(now, host, end, &line, queue);
        }
        let build = router.build() + self.i2p.below(host, 1_000);
        self.i2p.routers[host].leased_until = 0;
        let session =
            Session { control: end, stands: false, accepting: Default::default(), callers: Default::default() };
        self.i2p.routers[host].sessions.insert(id.clone(), session);
        self.set_phase(host, end, Phase::Control { id });
        queue.push(now + build, I2pItem::Bridge { host, item: BridgeItem::Built { end } }.into());
    }

    fn look(&mut self, now: u64, host: usize, end: EndRef, line: &str, queue: &mut Queue<Item>) {
        if !self.knows(host, line) {
            self.i2p.did("invalid_id");
            return self.refuse(now, host, end, "STREAM STATUS RESULT=INVALID_ID", queue);
        }
        let destination = option(line, "DESTINATION").unwrap_or_default();
        let to = self.i2p.routers.iter().position(|router| router.plan.is_some() && router.keys.public == destination);
        if to == Some(host) {
            return self.i2p.misused(host, "wants a stream to itself, which routers do not bear");
        }
        let found = |to: &usize| {
            let peer = &self.i2p.routers[*to];
            let stands = peer.sessions.values().any(|session| session.stands) || now < peer.leased_until;
            stands && !peer.has(|trouble| matches!(trouble, RouterTrouble::Unpublished))
        };
        let (answer, most) = match (self.i2p.routers[host].refuses(), to.filter(found)) {
            (Some(with), _) => (Answer::Refused(with), 3_000_000),
            (None, Some(to)) => (Answer::Open { to }, 2 * crate::net::link::micros(self.i2p.tunnels.latency)),
            (None, None) => (Answer::Refused(Refused::CantReachPeer), FUTILE),
        };
        self.set_phase(host, end, Phase::Looking);
        let at = now + 1 + self.i2p.below(host, most);
        queue.push(at, I2pItem::Bridge { host, item: BridgeItem::Looked { end, answer } }.into());
    }

    fn accept(&mut self, now: u64, host: usize, end: EndRef, line: &str, queue: &mut Queue<Item>) {
        if !self.knows(host, line) {
            self.i2p.did("invalid_id");
            return self.refuse(now, host, end, "STREAM STATUS RESULT=INVALID_ID", queue);
        }
        let id = option(line, "ID").unwrap_or_default().to_owned();
        if self.answer(now, host, end, "STREAM STATUS RESULT=OK\n", queue) {
            self.set_phase(host, end, Phase::Accepting { id: id.clone() });
            if let Some(session) = self.i2p.routers[host].sessions.get_mut(&id) {
                session.accepting.push_back(end);
                self.pair(now, host, &id, queue);
            }
        }
    }

    /// Whether the session that a command names stands.
    fn knows(&self, host: usize, line: &str) -> bool {
        let session = option(line, "ID").and_then(|id| self.i2p.routers[host].sessions.get(id));
        session.is_some_and(|session| session.stands)
    }

    /// Gives callers to the sockets that wait for them.
    pub(super) fn pair(&mut self, now: u64, host: usize, id: &str, queue: &mut Queue<Item>) {
        loop {
            let Some(session) = self.i2p.routers[host].sessions.get_mut(id) else { return };
            if session.accepting.is_empty() {
                return;
            }
            let Some(stream) = session.callers.pop_front() else { return };
            let Some(caller) = self.i2p.streams.get(&stream).map(|stream| stream.caller.clone()) else { continue };
            let Some(end) = session.accepting.pop_front() else { return };
            self.i2p.did("accepted");
            self.write_socket(now, host, end, format!("{}\n", caller).as_bytes(), queue);
            let side = StreamSide::Callee;
            self.set_phase(host, end, Phase::Stream { stream, side });
            self.stream_taken(now, stream, end, queue);
        }
    }

    pub(super) fn bridge_due(&mut self, now: u64, host: usize, item: BridgeItem, queue: &mut Queue<Item>) {
        if self.i2p.routers[host].is_stalled() {
            return self.i2p.routers[host].overdue.push(item);
        }
        match item {
            BridgeItem::Built { end } => {
                let Some(Phase::Control { id }) = self.phase(host, end) else { return };
                let router = &mut self.i2p.routers[host];
                let line = format!("SESSION STATUS RESULT=OK DESTINATION={}\n", router.keys.private);
                let Some(session) = router.sessions.get_mut(&id).filter(|session| session.control == end) else {
                    return;
                };
                session.stands = true;
                self.i2p.did("session");
                if !self.answer(now, host, end, &line, queue) {
                    self.end_session(now, host, &id, queue);
                }
            }
            BridgeItem::Looked { end, answer } => {
                if self.phase(host, end) != Some(Phase::Looking) {
                    return;
                }
                match answer {
                    Answer::Open { to } => {
                        if self.answer(now, host, end, "STREAM STATUS RESULT=OK\n", queue) {
                            self.begin_stream(now, host, end, to, queue);
                        }
                    }
                    Answer::Refused(with) => {
                        self.i2p.did(match with {
                            Refused::CantReachPeer => "cant_reach_peer",
                            Refused::Timeout => "timeout",
                            Refused::I2pError => "i2p_error",
                        });
                        self.refuse(now, host, end, &format!("STREAM STATUS RESULT={}", with.result()), queue);
                    }
                }
            }
            BridgeItem::NobodyAccepts { stream } => self.nobody_accepts(now, host, stream, queue),
        }
    }

    /// Somebody who is none of the hosts calls, and says nothing.
    pub(super) fn mute_callers(&mut self, now: u64, host: usize, streams: u32, queue: &mut Queue<Item>) {
        for number in 0..streams {
            let caller = Keys::of(self.i2p.luck, 1 << 32 | u64::from(number)).public;
            self.call(now, caller, None, host, queue);
        }
    }
}
