//! What one step of a script does to the endpoint: an event, a call, or words of a peer.

use burdock_core::wire::frame::{AckRanges, Frame, Scope};
use burdock_core::{AcceptPolicy, Event, NetError, Time};
use burdock_sim::hostile::framed;
use bytes::Bytes;
use core::time::Duration;

use super::script::{Script, VARINT_MAX};
use super::{PLACES, Via, World, addr, invite};

impl World {
    pub(super) fn step(&mut self, script: &mut Script<'_>) {
        match script.u8() % 32 {
            0..=4 => self.say_frames(script),
            5 => self.say_bytes(script),
            6 => {
                let (who, len) = (script.below(2), script.u8());
                let data = script.bytes(len.into());
                self.datagram(addr(who, self.places[who]), &mut data.to_vec());
            }
            7 => {
                let (who, at) = (script.below(2), script.below(self.sent.len()));
                if let Some(mut packet) = self.sent.get(at).cloned() {
                    let flip = script.u16();
                    if let Some(byte) = packet.get_mut(usize::from(flip >> 1)).filter(|_| flip & 1 != 0) {
                        *byte ^= 0x10;
                    }
                    self.datagram(addr(who, self.places[who]), &mut packet);
                }
            }
            8 => self.dial(script),
            9 => self.answer(script),
            10 => self.stream_event(script),
            11 => {
                let error = *script_pick(script, &ERRORS);
                let who = script.below(2);
                self.handle(Event::TransmitFailed { to: addr(who, self.places[who]), error });
            }
            12 => {
                let addresses: Vec<_> = (0..script.below(5)).map(|n| addr(n % 2, 0)).collect();
                for address in &addresses {
                    self.traffic.entry(*address).or_default().proven = true;
                }
                let at = script.below(self.resolves.len());
                if let Some(&resolve) = self.resolves.get(at) {
                    self.handle(Event::Resolved { resolve, addresses: &addresses });
                }
            }
            13 if script.u8().is_multiple_of(4) => self.handle(Event::NetworkChanged),
            14 => {
                // Any step up to days, and back.
                let (step, shift) = (u64::from(script.u8()), script.u8());
                let step = Duration::from_micros(step << (shift % 32));
                let back = Time::from_micros(self.now.as_micros().saturating_sub(step.as_micros() as u64));
                self.now = if shift >= 224 { back } else { self.now + step };
                self.handle(Event::Tick);
            }
            15 | 16 => {
                if let Some((at, _)) = self.endpoint.poll_timeout() {
                    self.now = self.now.max(at);
                    self.handle(Event::Tick);
                }
            }
            17 => {
                let (who, how) = (script.below(2), script.u8());
                self.connect(who, how);
            }
            18 => self.acknowledge(),
            24 => {
                let (who, place) = (script.below(2), script.below(PLACES));
                self.places[who] = place;
            }
            25 => self.respond(script),
            26 => self.renew(script),
            27 => self.demand(script),
            28 => self.restart(script),
            29 => {
                // To the ages of keys, or just before.
                let seconds = [1, 30, 60, 120, 150, 180, 240, 540][script.below(8)];
                let before = if script.u8() & 1 == 0 { 0 } else { 1 };
                self.now = self.now + Duration::from_micros(seconds * 1_000_000 - before);
                self.handle(Event::Tick);
            }
            30 => self.herd(script),
            31 => self.prove(script),
            _ => self.application(script),
        }
    }

    fn say_bytes(&mut self, script: &mut Script<'_>) {
        let (at, len, ahead) = (script.below(self.lines.len()), script.u8(), script.u8());
        let plaintext = script.bytes(len.into());
        let Some(line) = self.lines.get_mut(at) else { return };
        if ahead >= 192 {
            line.epoch.next += 1 << (ahead - 192).min(60);
            line.epoch.next = line.epoch.next.min(VARINT_MAX);
        }
        self.say(at, plaintext);
    }

    /// Up to eight frames with fields from the script.
    fn say_frames(&mut self, script: &mut Script<'_>) {
        let at = script.below(self.lines.len());
        if at >= self.lines.len() {
            return;
        }
        let mut plaintext = Vec::new();
        for _ in 0..=script.below(8) {
            self.put_frame(script, at, &mut plaintext);
        }
        self.say(at, &plaintext);
    }

    fn put_frame(&mut self, script: &mut Script<'_>, at: usize, out: &mut Vec<u8>) {
        let limits = self.limits.clone();
        let kind = script.u8();
        // Mostly a path of this peer; else one of another, or none.
        let epoch = match script.u8() {
            other @ 0..64 => self.lines[usize::from(other) % self.lines.len()].epoch.theirs,
            64 => script.u16().into(),
            _ => self.lines[at].epoch.theirs,
        };
        let line = &mut self.lines[at];
        match kind % 20 {
            0..=4 => {
                let (channel, kind, len) = (script.u8() % 4, script.u8(), script.u8());
                let slot = &mut line.offsets[usize::from(channel)];
                // What a correct peer would say next, something near it, or anything.
                let offset = match kind % 4 {
                    0 | 1 => *slot,
                    2 => slot.saturating_add(script.u8().into()).saturating_sub(128),
                    _ => script.number(&limits),
                };
                let mut data = Vec::new();
                if kind & 4 == 0 {
                    // A whole message.
                    burdock_core::wire::varint::put_varint(&mut data, len.into());
                    data.resize(data.len() + usize::from(len), kind);
                } else {
                    data.extend_from_slice(script.bytes(len.into()));
                }
                let offset = offset.min(VARINT_MAX - data.len() as u64);
                if kind % 4 < 2 {
                    *slot = offset + data.len() as u64;
                }
                Frame::Stream { channel, offset, data: &data }.encode(out);
            }
            5 | 6 => {
                let mut ranges = AckRanges::new();
                if kind & 32 == 0 {
                    ranges.push((script.number(&limits), script.number(&limits)));
                } else {
                    line.heard.iter().rev().step_by(1 + script.below(3)).take(32).for_each(|&n| ranges.push((n, n)));
                }
                Frame::Ack { epoch, delay_us: script.number(&limits), ranges }.encode(out);
            }
            7 | 8 => {
                let (channel, received) = (script.u8() % 5, script.number(&limits));
                let taken = if kind & 32 == 0 { received } else { script.number(&limits) };
                Frame::ChannelAck { channel, received, taken }.encode(out);
            }
            9 => Frame::Credit { scope: Scope::Session, offset: script.number(&limits) }.encode(out),
            10 => Frame::Credit { scope: Scope::Channel(script.u8()), offset: script.number(&limits) }.encode(out),
            11 => Frame::Challenge([kind; 8]).encode(out),
            12 => Frame::Response([kind; 8]).encode(out),
            13 => Frame::UsePath { switch_no: script.number(&limits), epoch }.encode(out),
            14 => Frame::PathClose { epoch, code: script.u8().into() }.encode(out),
            15 if kind >= 128 => {
                let finals = (0..script.below(4)).map(|n| (n as u8, script.number(&limits))).collect();
                Frame::Close { code: script.u8().into(), finals, reason: "enough" }.encode(out);
            }
            16 => Frame::CloseAck.encode(out),
            17 if kind >= 128 => {
                let [message, total, offset, ttl_ms] = [(); 4].map(|()| script.number(&limits));
                Frame::Datagram { channel: 0, message, total, offset, ttl_ms, data: &[] }.encode(out);
            }
            18 if kind >= 128 => out.extend_from_slice(script.bytes(3)),
            19 if kind >= 128 => Frame::Confirm.encode(out),
            15 | 17 => Frame::Ping.encode(out),
            _ => out.resize(out.len() + usize::from(kind), 0),
        }
    }

    /// Peers acknowledge what they heard, as correct ones do.
    fn acknowledge(&mut self) {
        for at in 0..self.lines.len() {
            let Some(line) = self.lines.get_mut(at) else { return };
            let mut ranges = AckRanges::new();
            for &number in line.heard.iter().rev() {
                if let Some((low, _)) = ranges.last_mut().filter(|(low, _)| *low == number + 1) {
                    *low = number;
                } else if ranges.try_push((number, number)).is_err() {
                    break;
                }
            }
            if !ranges.is_empty() {
                let ack = Frame::Ack { epoch: line.epoch.theirs, delay_us: 0, ranges };
                let mut plaintext = Vec::new();
                ack.encode(&mut plaintext);
                self.say(at, &plaintext);
            }
        }
    }

    fn stream_event(&mut self, script: &mut Script<'_>) {
        let kind = script.u8();
        if kind.is_multiple_of(8) {
            let who = script.below(2);
            self.accept_stream(who);
            return;
        }
        let Some(stream) = self.stream(script) else { return };
        match kind % 8 {
            1 | 2 => {
                let it = self.streams.get_mut(&stream).expect("it was just chosen");
                if !it.open {
                    it.open = true;
                    self.handle(Event::StreamOpened { stream });
                }
            }
            3 => {
                let len = script.u8();
                self.stream_bytes(stream, &mut script.bytes(len.into()).to_vec());
            }
            4 => {
                // A packet that is due on this stream, in two pieces.
                let Some(line) = self.lines.iter_mut().find(|line| line.via == Via::Stream(stream)) else { return };
                let mut bytes = framed(&line.epoch.seal(&[Frame::Ping]));
                let (head, tail) = bytes.split_at_mut(script.below(34));
                self.stream_bytes(stream, head);
                self.stream_bytes(stream, tail);
            }
            5 => {
                self.takes = (kind & 8 != 0).then(|| script.u8().into());
                self.written(stream);
                self.settle();
            }
            6 => self.handle(Event::StreamWritable { stream }),
            _ => {
                let error = (kind & 8 != 0).then(|| *script_pick(script, &ERRORS));
                self.streams.remove(&stream);
                self.lines.retain(|line| line.via != Via::Stream(stream));
                self.handle(Event::StreamClosed { stream, error });
            }
        }
    }

    fn application(&mut self, script: &mut Script<'_>) {
        let call = script.u8();
        let Some(id) = self.session(script) else { return };
        match call % 12 {
            0..=3 => {
                let data = Bytes::from(vec![call; usize::from(script.u8()) << (call % 4)]);
                let result = self.endpoint.send(self.now, id, call / 12 % 4, data);
                let told = self.told.get_mut(&id).expect("it was just chosen");
                if let Ok(message) = result {
                    assert_eq!(message.get(), told.sent);
                    assert!(!told.closed && !told.cancelled);
                    told.sent += 1;
                }
            }
            4 | 5 => {
                for _ in 0..=script.below(8) {
                    let Some(message) = self.endpoint.recv(id) else { break };
                    assert!(message.data.len() <= self.limits.max_message as usize);
                }
            }
            6 => self.endpoint.taken(self.now, id),
            7 => self.endpoint.set_priority(id, call / 12 % 4, script.u8()),
            8 => self.endpoint.retry_now(self.now, id),
            9 if call >= 128 => self.endpoint.close(self.now, id, "goodbye"),
            10 if call >= 128 => self.cancel(id),
            11 if call >= 128 => {
                let (id, secret) = (invite().id, **invite().secret);
                let [one, other] = [0, 1].map(|who| self.peers[who].public_key());
                self.endpoint.set_accept(match call / 12 % 4 {
                    0 => AcceptPolicy::nobody().allow(one),
                    1 => AcceptPolicy::anyone(),
                    2 => AcceptPolicy::nobody().invite(id, secret),
                    _ => AcceptPolicy::anyone().invite_for(id, secret, other),
                });
            }
            _ => {}
        }
        self.settle();
        self.look(id);
    }
}

const ERRORS: [NetError; 5] =
    [NetError::Refused, NetError::Unreachable, NetError::Reset, NetError::TimedOut, NetError::Other];

pub(super) fn script_pick<'a, T>(script: &mut Script<'_>, from: &'a [T]) -> &'a T {
    &from[script.below(from.len())]
}
