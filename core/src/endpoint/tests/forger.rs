//! A peer that speaks the protocol by hand, with valid keys: it can say anything at any time.

use core::net::SocketAddr;

use zeroize::Zeroizing;

use super::address::Told;
use super::bench::{Bench, Done};
use crate::config::{Class, Limits};
use crate::endpoint::our_limits;
use crate::noise::{Initiator, Keys, Responder};
use crate::seal::{self, Opener, Order, Sealer};
use crate::wire::frame::{Frame, Frames};
use crate::wire::packet::{self, InitHeader, Packet};
use crate::wire::payload::{HelloInit, HelloResp, INIT_PAYLOAD_LEN, PeerLimits, RESP_PAYLOAD_LEN, Verdict};
use crate::{Identity, Link, PublicKey, Transport};

pub(crate) struct Forger {
    pub(crate) identity: Identity,
    pub(crate) key: PublicKey,
    pub(crate) addr: SocketAddr,
    pub(crate) half: u64,
    pub(crate) dial_no: u32,
    /// The class that it dials as.
    pub(crate) class: Class,
    /// What it dials and answers with.
    pub(crate) invite: ([u8; 8], [u8; 32]),
    pub(crate) limits: PeerLimits,
    /// The endpoint's index of the path that the next INIT renews; 0 for none.
    pub(crate) renews: u32,
    index: u32,
    secret: u8,
}

/// An INIT that waits for its answer.
pub(crate) struct Asked {
    pub(crate) packet: Vec<u8>,
    pub(crate) index: u32,
    noise: Initiator,
}

/// The keys of one finished handshake.
pub(crate) struct Epoch {
    pub(crate) sealer: Sealer,
    pub(crate) opener: Opener,
    /// Our index, and the endpoint's.
    pub(crate) mine: u32,
    pub(crate) theirs: u32,
    pub(crate) their_half: u64,
    pub(crate) hash: [u8; 32],
}

impl Forger {
    pub(crate) fn new(n: u8) -> Self {
        let identity = Identity::from_bytes([n; 32]);
        let key = identity.public_key();
        let addr = SocketAddr::from(([10, 0, 0, n], 1000));
        let index = u32::from(n) << 16;
        let (invite, limits) = (([0; 8], [0; 32]), our_limits(&Limits::default()));
        Self {
            identity,
            key,
            addr,
            half: u64::from(n),
            dial_no: 0,
            class: Class::Open,
            invite,
            limits,
            renews: 0,
            index,
            secret: 0,
        }
    }

    pub(crate) fn link(&self) -> Link {
        Link { tcp_port: None, ..Link::direct(self.key, self.addr) }
    }

    /// Passes over ephemeral keys and indices.
    pub(crate) fn skip(&mut self, n: u8) {
        self.secret += n;
        self.index += u32::from(n);
    }

    fn ephemeral(&mut self) -> Zeroizing<[u8; 32]> {
        self.secret = self.secret.wrapping_add(1);
        let mut secret = [self.secret; 32];
        secret[1..5].copy_from_slice(&self.index.to_be_bytes());
        Zeroizing::new(secret)
    }

    /// An INIT such as a correct peer sends.
    pub(crate) fn ask(&mut self, to: &PublicKey, transport: Transport, your_half: u64) -> Asked {
        self.ask_as(to, transport, your_half, |header| packet::prologue(&header))
    }

    /// An INIT whose sender believes in another prologue than its header shows.
    pub(crate) fn ask_as(
        &mut self,
        to: &PublicKey,
        transport: Transport,
        your_half: u64,
        prologue: impl FnOnce([u8; 8]) -> [u8; 15],
    ) -> Asked {
        self.index += 1;
        self.dial_no += 1;
        let hello = HelloInit {
            my_half: self.half,
            your_half,
            dial_no: self.dial_no,
            renews: self.renews,
            invite: self.invite.0,
            limits: self.limits.clone(),
            keep_s: None,
        };
        let header = InitHeader { class: self.class, transport, sender: self.index };
        let mut payload = Vec::new();
        hello.encode(if transport.is_stream() { 0 } else { INIT_PAYLOAD_LEN }, &mut payload);
        let mut packet = Vec::new();
        packet::begin_init(header, &mut packet);
        let ephemeral = self.ephemeral();
        let prologue = prologue(header.to_bytes());
        let noise = Initiator::start(&self.identity, to, &self.invite.1, &prologue, ephemeral, &payload, &mut packet);
        packet::finish_init(&mut packet, 0, |before| crate::crypto::mac1(to, before));
        Asked { packet, index: self.index, noise: noise.unwrap() }
    }

    /// Answers an INIT of the endpoint.
    pub(crate) fn answer(&mut self, init: &[u8]) -> (Vec<u8>, Epoch) {
        self.answer_as(init, |header| packet::prologue(&header), |_| {}).expect("a genuine INIT")
    }

    pub(crate) fn answer_as(
        &mut self,
        init: &[u8],
        prologue: impl FnOnce([u8; 8]) -> [u8; 15],
        edit: impl FnOnce(&mut HelloResp),
    ) -> Option<(Vec<u8>, Epoch)> {
        let Ok(Packet::Init(init)) = packet::parse(init) else { return None };
        let order = if init.header.transport.is_stream() { Order::Strict } else { Order::Window };
        let responder = Responder::read(&self.identity, &prologue(init.header_bytes), init.noise).ok()?;
        let hello = HelloInit::decode(responder.payload()).ok()?;
        self.index += 1;
        let mut answer = HelloResp {
            index: self.index,
            receiver: init.header.sender,
            my_half: self.half,
            your_half: hello.my_half,
            dial_no: hello.dial_no,
            verdict: Verdict::New,
            version: packet::VERSION,
            limits: self.limits.clone(),
        };
        edit(&mut answer);
        let mut payload = Vec::new();
        answer.encode(if order == Order::Strict { 0 } else { RESP_PAYLOAD_LEN }, &mut payload);
        let mut packet = Vec::new();
        packet::begin_resp(init.header.sender, &mut packet);
        let (psk, ephemeral) = (self.invite.1, self.ephemeral());
        let keys = responder.reply(&psk, ephemeral, &payload, &mut packet).unwrap();
        Some((packet, Epoch::new(keys, order, self.index, init.header.sender, hello.my_half)))
    }

    /// Dials the endpoint over UDP; not confirmed yet.
    pub(crate) fn dial(&mut self, bench: &mut Bench, your_half: u64) -> Epoch {
        let asked = self.ask(&bench.key, Transport::Udp, your_half);
        let done = bench.datagram(self.addr, &asked.packet);
        asked.finish(done.datagram()).expect("a RESP").0
    }

    /// Dials the endpoint over UDP, and confirms.
    pub(crate) fn open(&mut self, bench: &mut Bench, your_half: u64) -> (Epoch, Done) {
        let mut epoch = self.dial(bench, your_half);
        let done = bench.datagram(self.addr, &epoch.seal(&[Frame::Confirm]));
        (epoch, done)
    }
}

impl Asked {
    /// Reads the answer.
    pub(crate) fn finish(&self, resp: &[u8]) -> Option<(Epoch, HelloResp)> {
        let Ok(Packet::Resp(resp)) = packet::parse(resp) else { return None };
        let order = if self.packet.len() == packet::UDP_HANDSHAKE_LEN { Order::Window } else { Order::Strict };
        let mut payload = Vec::new();
        let keys = self.noise.read(resp.noise, &mut payload).ok()?;
        let hello = HelloResp::decode(&payload).ok()?;
        Some((Epoch::new(keys, order, self.index, hello.index, hello.my_half), hello))
    }
}

impl Epoch {
    /// Leaves out packet numbers.
    pub(crate) fn skip(&mut self, count: usize) {
        (0..count).for_each(|_| drop(self.seal(&[])));
    }

    fn new(keys: Keys, order: Order, mine: u32, theirs: u32, their_half: u64) -> Self {
        let (sealer, opener) = (Sealer::new(keys.send), Opener::new(keys.recv, order));
        Self { sealer, opener, mine, theirs, their_half, hash: keys.hash }
    }

    pub(crate) fn seal(&mut self, frames: &[Frame<'_>]) -> Vec<u8> {
        let mut plaintext = Vec::new();
        for frame in frames {
            frame.encode(&mut plaintext);
        }
        self.seal_bytes(&plaintext)
    }

    pub(crate) fn seal_bytes(&mut self, plaintext: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; seal::HEADER_LEN];
        packet.extend_from_slice(plaintext);
        self.sealer.seal(self.theirs, &mut packet, 0).unwrap();
        packet
    }

    /// The frames in a packet of the endpoint.
    pub(crate) fn frames(&mut self, packet: &[u8]) -> Vec<Told> {
        let mut packet = packet.to_vec();
        let opened = self.opener.open(&mut packet).expect("a packet of this epoch");
        let told = |frame| match frame {
            Ok(Frame::Challenge(bytes)) => Told::Challenge(bytes),
            _ => Told::Other,
        };
        Frames::new(opened.plaintext).map(told).collect()
    }

    /// The names of the frames in a packet of the endpoint; `None` when it is not of this epoch.
    pub(crate) fn read(&mut self, packet: &[u8]) -> Option<String> {
        let mut packet = packet.to_vec();
        let opened = self.opener.open(&mut packet).ok()?;
        let names = Frames::new(opened.plaintext).map(|frame| match frame.unwrap() {
            Frame::Close { code, .. } => format!("CLOSE {}", crate::Code::from_number(code)),
            Frame::PathClose { code, .. } => format!("PATH_CLOSE {}", crate::Code::from_number(code)),
            frame => name(&frame).to_owned(),
        });
        Some(names.collect::<Vec<_>>().join(" "))
    }
}

fn name(frame: &Frame<'_>) -> &'static str {
    match frame {
        Frame::Pad => "PAD",
        Frame::Ping => "PING",
        Frame::Confirm => "CONFIRM",
        Frame::Ack { .. } => "ACK",
        Frame::ChannelAck { .. } => "CHANNEL_ACK",
        Frame::Credit { .. } => "CREDIT",
        Frame::Stream { .. } => "STREAM",
        Frame::Datagram { .. } => "DGRAM",
        Frame::Challenge(_) => "CHALLENGE",
        Frame::Response(_) => "RESPONSE",
        Frame::UsePath { .. } => "USE_PATH",
        Frame::PathClose { .. } => "PATH_CLOSE",
        Frame::Close { .. } => "CLOSE",
        Frame::CloseAck => "CLOSE_ACK",
    }
}
