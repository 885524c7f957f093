//! Every state of a session, every packet, every epoch; every frame: what follows is listed here,
//! and nothing follows from the rest.

use core::fmt::Write as _;
use core::time::Duration;

use arrayvec::ArrayVec;
use bytes::Bytes;

use super::bench::{Bench, Done};
use super::forger::{Epoch, Forger};
use super::steady;
use crate::update::UpdateKind;
use crate::wire::frame::{Frame, Scope};
use crate::wire::packet;
use crate::{Config, Schedule, SessionId, Transport};

/// An endpoint in some state towards the forger, and beside it a live session with somebody else.
struct Scene {
    bench: Bench,
    forger: Forger,
    id: Option<SessionId>,
    /// The INIT that the endpoint sent last.
    init: Option<Vec<u8>>,
    /// A RESP that was taken before.
    resp: Option<Vec<u8>>,
    asked: Option<Vec<u8>>,
    epoch: Option<Epoch>,
    /// Of a path that is closed.
    old: Option<Epoch>,
    other: Forger,
    others: Epoch,
}

const STATES: [&str; 11] = [
    "nothing",
    "half-open",
    "dialling",
    "backing off",
    "up, dialled",
    "up, accepted",
    "flushing",
    "announced",
    "reconnecting",
    "waiting",
    "draining",
];

fn config() -> Config {
    let mut config = steady(Config::streamer());
    config.heartbeat = false;
    config.attempt_deadline = Duration::from_millis(900);
    config.backoff = Schedule::list(&[Duration::from_secs(20)]).with_jitter(0);
    config
}

fn scene(state: &str) -> Scene {
    let mut bench = Bench::new(1, &config());
    let mut other = Forger::new(3);
    let (others, done) = other.open(&mut bench, 0);
    assert!(done.connected().is_some());
    bench.pass(Duration::from_millis(50));
    let forger = Forger::new(2);
    let (id, init, resp, asked, epoch, old) = (None, None, None, None, None, None);
    let mut scene = Scene { bench, forger, id, init, resp, asked, epoch, old, other, others };
    match state {
        "nothing" => {}
        "half-open" => {
            let asked = scene.forger.ask(&scene.bench.key, Transport::Udp, 0);
            let done = scene.bench.datagram(scene.forger.addr, &asked.packet);
            scene.epoch = Some(asked.finish(done.datagram()).unwrap().0);
            scene.asked = Some(asked.packet);
        }
        "dialling" => scene.dial(),
        "backing off" => {
            scene.dial();
            scene.bench.pass(Duration::from_secs(1));
        }
        "up, dialled" => scene.dialled(),
        "up, accepted" => scene.accepted(),
        "flushing" => {
            scene.accepted();
            scene.close(true);
        }
        "announced" => {
            scene.accepted();
            scene.close(false);
        }
        "reconnecting" => {
            scene.dialled();
            scene.cut();
        }
        "waiting" => {
            scene.accepted();
            scene.cut();
        }
        "draining" => {
            scene.accepted();
            scene.say(&[Frame::Close { code: 0, finals: ArrayVec::new(), reason: "" }]);
        }
        _ => unreachable!(),
    }
    scene
}

impl Scene {
    fn dial(&mut self) {
        let (id, done) = self.bench.connect(&self.forger.link());
        self.id = Some(id);
        self.init = Some(done.datagram().to_vec());
    }

    fn dialled(&mut self) {
        self.dial();
        let (resp, epoch) = self.forger.answer(self.init.as_ref().unwrap());
        let done = self.bench.datagram(self.forger.addr, &resp);
        assert!(done.connected().is_some());
        (self.resp, self.epoch) = (Some(resp), Some(epoch));
        for (_, packet) in done.datagrams {
            self.epoch.as_mut().unwrap().read(&packet).expect("ours");
        }
        let ack = Frame::Ack { epoch: self.epoch.as_ref().unwrap().theirs, delay_us: 0, ranges: one(0) };
        self.say(&[ack, Frame::Ping]);
        self.settle();
    }

    fn accepted(&mut self) {
        // A path that is closed again, and another that stays.
        let asked = self.forger.ask(&self.bench.key, Transport::Udp, 0);
        let done = self.bench.datagram(self.forger.addr, &asked.packet);
        let mut old = asked.finish(done.datagram()).unwrap().0;
        let done = self.bench.datagram(self.forger.addr, &old.seal(&[Frame::Confirm]));
        self.id = done.connected();
        for (_, packet) in done.datagrams {
            old.read(&packet);
        }
        let (epoch, _) = self.forger.open(&mut self.bench, old.their_half);
        (self.epoch, self.asked) = (Some(epoch), Some(asked.packet));
        self.say(&[Frame::PathClose { epoch: old.theirs, code: 16 }]);
        self.old = Some(old);
        self.settle();
    }

    /// Acknowledges what was said, until nothing more is.
    fn settle(&mut self) {
        for _ in 0..4 {
            let done = self.bench.pass(Duration::from_millis(30));
            let epoch = self.epoch.as_mut().unwrap();
            let mut last = None;
            for (_, packet) in &done.datagrams {
                if epoch.read(packet).is_some() {
                    last = Some(u64::from_be_bytes(packet[8..16].try_into().unwrap()));
                }
            }
            if let Some(last) = last {
                let ack = Frame::Ack { epoch: epoch.theirs, delay_us: 0, ranges: up_to(last) };
                self.say(&[ack]);
            }
        }
    }

    fn close(&mut self, with_data: bool) {
        let id = self.id.unwrap();
        if with_data {
            self.bench.endpoint.send(self.bench.now, id, 0, Bytes::from_static(b"last words")).unwrap();
        }
        self.bench.endpoint.close(self.bench.now, id, "bye");
        let done = self.bench.drain();
        for (_, packet) in done.datagrams {
            self.epoch.as_mut().unwrap().read(&packet);
        }
    }

    /// The forger says that the last path is closed.
    fn cut(&mut self) {
        let epoch = self.epoch.as_ref().unwrap().theirs;
        self.say(&[Frame::PathClose { epoch, code: 15 }]);
        self.old = self.epoch.take();
    }

    fn say(&mut self, frames: &[Frame<'_>]) -> Done {
        let packet = self.epoch.as_mut().unwrap().seal(frames);
        self.bench.datagram(self.forger.addr, &packet)
    }

    /// What `event` leads to that would not have happened without it, within the time of a late
    /// acknowledgement.
    fn outcome(mut self, event: impl FnOnce(&mut Self) -> Option<Vec<u8>>) -> Option<String> {
        let packet = event(&mut self)?;
        let mut done = self.bench.datagram(self.forger.addr, &packet);
        let later = self.bench.pass(Duration::from_millis(30));
        done.datagrams.extend(later.datagrams);
        done.updates.extend(later.updates);
        let mut told = Vec::new();
        for (_, packet) in &done.datagrams {
            let epochs = self.epoch.iter_mut().chain(&mut self.old).chain([&mut self.others]);
            told.push(match packet[0] {
                0x08 => "INIT".to_owned(),
                0x09 => "RESP".to_owned(),
                0x0a => "COOKIE".to_owned(),
                _ => format!("[{}]", epochs.into_iter().find_map(|it| it.read(packet)).unwrap_or("?".to_owned())),
            });
        }
        told.extend(done.updates.iter().map(|(_, kind)| short(kind)));
        let status = self.id.or(done.connected()).and_then(|id| self.bench.endpoint.status(self.bench.now, id));
        let state = status.map_or("none".to_owned(), |status| format!("{:?}", status.state));
        Some(format!("{} -> {state}", told.join(" ")))
    }
}

fn one(number: u64) -> crate::wire::frame::AckRanges {
    [(number, number)].into_iter().collect()
}

fn up_to(number: u64) -> crate::wire::frame::AckRanges {
    [(0, number)].into_iter().collect()
}

fn short(kind: &UpdateKind) -> String {
    match kind {
        UpdateKind::Progress(progress) => format!("Progress({:?})", progress.status),
        UpdateKind::Connected { .. } => "Connected".to_owned(),
        UpdateKind::Outcome { outcome, .. } => format!("Outcome({outcome:?})"),
        UpdateKind::PathChanged { .. } => "PathChanged".to_owned(),
        UpdateKind::Quality(_) => "Quality".to_owned(),
        UpdateKind::Lost { code } => format!("Lost({code})"),
        UpdateKind::Resumed { .. } => "Resumed".to_owned(),
        UpdateKind::Closed { code, by_peer, .. } => {
            format!("Closed({code}{})", if *by_peer { ", by peer" } else { "" })
        }
        other => format!("{other:?}"),
    }
}

type Make = fn(&mut Scene) -> Option<Vec<u8>>;

fn data_to(receiver: u32) -> Vec<u8> {
    [&packet::data_header(receiver, 100)[..], &[7; 100]].concat()
}

/// Where a packet with genuine contents is sent to.
fn redirected(mut packet: Vec<u8>, receiver: u32) -> Vec<u8> {
    packet[4..8].copy_from_slice(&receiver.to_be_bytes());
    packet
}

const PACKETS: &[(&str, Make)] = &[
    ("INIT", |it| Some(it.forger.ask(&it.bench.key, Transport::Udp, 0).packet)),
    ("INIT naming the session", |it| {
        let half = it.epoch.as_ref().or(it.old.as_ref())?.their_half;
        Some(it.forger.ask(&it.bench.key, Transport::Udp, half).packet)
    }),
    ("INIT naming another", |it| Some(it.forger.ask(&it.bench.key, Transport::Udp, 7).packet)),
    ("INIT seen before", |it| it.asked.clone()),
    ("INIT of a stream", |it| Some(it.forger.ask(&it.bench.key, Transport::Tcp, 0).packet)),
    ("INIT for somebody else", |it| Some(it.forger.ask(&it.other.key, Transport::Udp, 0).packet)),
    ("RESP", |it| {
        let (resp, epoch) = it.forger.answer(&it.init.clone()?);
        it.epoch.get_or_insert(epoch);
        Some(resp)
    }),
    ("RESP seen before", |it| it.resp.clone()),
    ("RESP to nothing", |it| {
        let mut resp = it.forger.answer(&it.init.clone()?).0;
        resp[7] ^= 1;
        Some(resp)
    }),
    ("RESP by somebody else", |it| {
        let init = it.init.clone()?;
        let forged = it.forger.ask(&it.other.key, Transport::Udp, 0).packet;
        let resp = it.other.answer(&forged).0;
        Some(redirected(resp, u32::from_be_bytes(init[4..8].try_into().unwrap())))
    }),
    ("COOKIE", |it| {
        let receiver = it.init.as_ref().map_or(7, |init| u32::from_be_bytes(init[4..8].try_into().unwrap()));
        let mut cookie = Vec::new();
        packet::put_cookie(&packet::Cookie { receiver, nonce: &[7; 24], sealed: &[7; 32] }, &mut cookie);
        Some(cookie)
    }),
    ("DATA of the epoch", |it| Some(it.epoch.as_mut()?.seal(&[Frame::Ping]))),
    ("DATA of an old epoch", |it| Some(it.old.as_mut()?.seal(&[Frame::Ping]))),
    ("DATA of an unknown epoch", |_| Some(data_to(7))),
    ("DATA to a handshake", |it| Some(data_to(u32::from_be_bytes(it.init.as_ref()?[4..8].try_into().unwrap())))),
    ("DATA, forged", |it| Some(data_to(it.epoch.as_ref()?.theirs))),
    ("DATA sent to another session", |it| {
        let theirs = it.others.theirs;
        Some(redirected(it.epoch.as_mut()?.seal(&[Frame::Ping]), theirs))
    }),
    ("DATA sent back", |it| {
        let mine = it.epoch.as_ref()?.mine;
        Some(redirected(it.epoch.as_mut()?.seal(&[Frame::Ping]), mine))
    }),
    ("DATA of another session", |it| {
        let theirs = it.epoch.as_ref()?.theirs;
        Some(redirected(it.others.seal(&[Frame::Ping]), theirs))
    }),
];

const FRAMES: &[(&str, Make)] = &[
    ("PAD", |it| Some(it.epoch.as_mut()?.seal(&[Frame::Pad]))),
    ("PING", |it| Some(it.epoch.as_mut()?.seal(&[Frame::Ping]))),
    ("CONFIRM", |it| Some(it.epoch.as_mut()?.seal(&[Frame::Confirm]))),
    ("nothing", |it| Some(it.epoch.as_mut()?.seal(&[]))),
    ("ACK", |it| with_epoch(it, |epoch, _, _| Frame::Ack { epoch, delay_us: 0, ranges: one(0) })),
    ("ACK of what was never sent", |it| {
        with_epoch(it, |epoch, _, _| Frame::Ack { epoch, delay_us: 0, ranges: one(1000) })
    }),
    ("ACK for an old epoch", |it| with_epoch(it, |_, old, _| Frame::Ack { epoch: old, delay_us: 0, ranges: one(999) })),
    ("ACK for another session", |it| {
        with_epoch(it, |_, _, other| Frame::Ack { epoch: other, delay_us: 0, ranges: one(999) })
    }),
    ("CHANNEL_ACK", |it| with_epoch(it, |_, _, _| Frame::ChannelAck { channel: 0, received: 0, taken: 0 })),
    ("CHANNEL_ACK of what was never sent", |it| {
        with_epoch(it, |_, _, _| Frame::ChannelAck { channel: 0, received: 1000, taken: 0 })
    }),
    ("CREDIT", |it| with_epoch(it, |_, _, _| Frame::Credit { scope: Scope::Session, offset: 1 << 40 })),
    ("STREAM", |it| with_epoch(it, |_, _, _| Frame::Stream { channel: 0, offset: 0, data: b"\x02hi" })),
    ("STREAM beyond the credit", |it| {
        with_epoch(it, |_, _, _| Frame::Stream { channel: 0, offset: 1 << 40, data: b"\x02hi" })
    }),
    ("DGRAM", |it| {
        with_epoch(it, |_, _, _| Frame::Datagram {
            channel: 0,
            message: 0,
            total: 2,
            offset: 0,
            ttl_ms: 100,
            data: b"hi",
        })
    }),
    ("CHALLENGE", |it| with_epoch(it, |_, _, _| Frame::Challenge([7; 8]))),
    ("RESPONSE", |it| with_epoch(it, |_, _, _| Frame::Response([7; 8]))),
    ("USE_PATH", |it| with_epoch(it, |epoch, _, _| Frame::UsePath { switch_no: 9, epoch })),
    ("USE_PATH of an old epoch", |it| with_epoch(it, |_, old, _| Frame::UsePath { switch_no: 9, epoch: old })),
    ("USE_PATH of another session", |it| with_epoch(it, |_, _, epoch| Frame::UsePath { switch_no: 9, epoch })),
    ("PATH_CLOSE", |it| with_epoch(it, |epoch, _, _| Frame::PathClose { epoch, code: 16 })),
    ("PATH_CLOSE of an old epoch", |it| with_epoch(it, |_, old, _| Frame::PathClose { epoch: old, code: 16 })),
    ("PATH_CLOSE of another session", |it| with_epoch(it, |_, _, epoch| Frame::PathClose { epoch, code: 16 })),
    ("CLOSE", |it| with_epoch(it, |_, _, _| Frame::Close { code: 0, finals: ArrayVec::new(), reason: "" })),
    ("CLOSE before all came", |it| {
        with_epoch(it, |_, _, _| Frame::Close { code: 0, finals: [(0, 9)].into_iter().collect(), reason: "" })
    }),
    ("CLOSE_ACK", |it| with_epoch(it, |_, _, _| Frame::CloseAck)),
    ("an unknown frame", |it| Some(it.epoch.as_mut()?.seal_bytes(&[0x3f]))),
    ("half a frame", |it| Some(it.epoch.as_mut()?.seal_bytes(&[0x0c, 1, 2]))),
];

fn with_epoch(it: &mut Scene, frame: impl FnOnce(u32, u32, u32) -> Frame<'static>) -> Option<Vec<u8>> {
    let (old, other) = (it.old.as_ref().map_or(7, |old| old.theirs), it.others.theirs);
    let epoch = it.epoch.as_mut()?;
    Some(epoch.seal(&[frame(epoch.theirs, old, other)]))
}

/// What each input leads to in each state, where it can be made and leads to anything.
fn table(inputs: &[(&str, Make)]) -> String {
    let mut table = String::new();
    for state in STATES {
        let nothing = scene(state).outcome(|_| Some(Vec::new())).unwrap();
        writeln!(table, "{state}: {nothing}").unwrap();
        let mut silent = Vec::new();
        for (name, make) in inputs {
            match scene(state).outcome(make) {
                Some(outcome) if outcome != nothing => writeln!(table, "    {name}: {outcome}").unwrap(),
                Some(_) => silent.push(*name),
                None => {}
            }
        }
        if !silent.is_empty() {
            writeln!(table, "    no change: {}", silent.join("; ")).unwrap();
        }
    }
    table
}

// Mutation: `on_datagram` passing DATA for a pending or half-open index to a session, or `on_resp`
// not removing the handshake that it answered, changes the table.
#[test]
fn r10_every_packet_in_every_state_and_epoch() {
    insta::assert_snapshot!(table(PACKETS));
    burdock_ledger::reached("R10", "entries of the table that differ", 0);
}

// Mutation: any arm of `on_frame` returning another result changes the table: CONFIRM accepted
// from the side that did not begin the handshake, DGRAM passed over, an ACK looked up beyond the
// own session.
#[test]
fn r10_every_frame_in_every_state() {
    insta::assert_snapshot!(table(FRAMES));
    burdock_ledger::reached("R10", "entries of the table that differ", 0);
}
