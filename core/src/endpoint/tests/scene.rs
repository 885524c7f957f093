//! One endpoint, a peer with valid keys that misbehaves, and one that must not notice.

use bytes::Bytes;

use super::bench::{Bench, Done};
use super::forger::{Epoch, Forger};
use super::steady;
use crate::config::Limits;
use crate::update::{State, UpdateKind};
use crate::wire::frame::Frame;
use crate::wire::varint::put_varint;
use crate::{Config, SessionId};

pub(super) fn config(edit: impl FnOnce(&mut Limits)) -> Config {
    let mut config = steady(Config::streamer());
    edit(&mut config.limits);
    config.validate().unwrap();
    config
}

/// Limits that a few packets reach.
pub(super) fn tight() -> Config {
    config(|limits| {
        limits.max_message = 500;
        limits.channel_credit = 1_000;
        limits.session_credit = 2_500;
        limits.gaps = 5;
        limits.send_buffer = 2_000;
        limits.pending_messages = 20;
    })
}

/// One endpoint, a peer that misbehaves, and one that does not.
pub(super) struct Scene {
    pub(super) bench: Bench,
    pub(super) hostile: Forger,
    pub(super) epoch: Epoch,
    pub(super) session: SessionId,
    pub(super) bystander: Forger,
    pub(super) other: Epoch,
    pub(super) other_session: SessionId,
    /// How far the bystander's channel has come, and the endpoint's to it.
    pub(super) offset: u64,
    pub(super) answered: u64,
    /// The number of the endpoint's next packet to the hostile peer.
    pub(super) next: u64,
}

/// The highest number of the packets to `to`; it stands in clear in their headers.
pub(super) fn newest(done: &Done, to: core::net::SocketAddr) -> Option<u64> {
    let packets = done.datagrams.iter().filter(|(at, packet)| *at == to && packet[0] == 0x0b);
    packets.map(|(_, packet)| u64::from_be_bytes(packet[8..16].try_into().unwrap())).max()
}

impl Scene {
    pub(super) fn new(config: &Config) -> Self {
        let mut bench = Bench::new(1, config);
        let (mut hostile, mut bystander) = (Forger::new(2), Forger::new(3));
        let (epoch, done) = hostile.open(&mut bench, 0);
        let session = done.connected().unwrap();
        let (other, done) = bystander.open(&mut bench, 0);
        let other_session = done.connected().unwrap();
        Self { bench, hostile, epoch, session, bystander, other, other_session, offset: 0, answered: 0, next: 1 }
    }

    pub(super) fn note(&mut self, done: Done) -> Done {
        if let Some(number) = newest(&done, self.hostile.addr) {
            self.next = number + 1;
        }
        done
    }

    pub(super) fn drain(&mut self) -> Done {
        let done = self.bench.drain();
        self.note(done)
    }

    pub(super) fn say(&mut self, frames: &[Frame<'_>]) -> Done {
        let packet = self.epoch.seal(frames);
        let done = self.bench.datagram(self.hostile.addr, &packet);
        self.note(done)
    }

    pub(super) fn say_bytes(&mut self, plaintext: &[u8]) -> Done {
        let packet = self.epoch.seal_bytes(plaintext);
        let done = self.bench.datagram(self.hostile.addr, &packet);
        self.note(done)
    }

    pub(super) fn is_up(&self) -> bool {
        let status = self.bench.endpoint.status(self.bench.now, self.session);
        status.is_some_and(|status| status.state == State::Connected)
    }

    pub(super) fn status(&self) -> crate::Status {
        self.bench.endpoint.status(self.bench.now, self.session).expect("a session")
    }

    /// What every peer but the hostile one can count on: a message there, and one back.
    pub(super) fn bystander_is_served(&mut self) {
        let message = Frame::Stream { channel: 9, offset: self.offset, data: b"\x05hello" };
        self.offset += 6;
        let packet = self.other.seal(&[message]);
        let done = self.bench.datagram(self.bystander.addr, &packet);
        assert!(done.updates.iter().any(|(_, kind)| *kind == UpdateKind::Message), "{done:?}");
        let taken = self.bench.endpoint.recv(self.other_session).map(|message| message.data);
        assert_eq!(taken, Some(Bytes::from_static(b"hello")));
        self.bench.endpoint.taken(self.bench.now, self.other_session);
        self.bench.endpoint.send(self.bench.now, self.other_session, 9, Bytes::from_static(b"back")).unwrap();
        let done = self.bench.drain();
        let said: Vec<_> = done.datagrams.iter().filter_map(|(_, packet)| self.other.read(packet)).collect();
        assert!(said.iter().any(|names| names.contains("STREAM")), "{said:?}");
        self.answered += 5;
        let newest = newest(&done, self.bystander.addr).unwrap();
        let taken = Frame::ChannelAck { channel: 9, received: self.answered, taken: self.answered };
        let packet = self.other.seal(&[ack(self.other.theirs, 0, newest), taken]);
        self.bench.datagram(self.bystander.addr, &packet);
    }
}

pub(super) fn message(len: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_varint(&mut bytes, len);
    bytes.resize(bytes.len() + usize::try_from(len).unwrap(), 7);
    bytes
}

pub(super) fn stream(channel: u8, offset: u64, data: &[u8]) -> Frame<'_> {
    Frame::Stream { channel, offset, data }
}

pub(super) fn ack(epoch: u32, low: u64, high: u64) -> Frame<'static> {
    Frame::Ack { epoch, delay_us: 0, ranges: [(low, high)].into_iter().collect() }
}
