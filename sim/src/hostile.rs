//! A peer that holds valid keys and keeps to nothing: it can say anything at any time.
//!
//! It is made by hand from the core's public parts. It dials and answers, completes handshakes or
//! leaves them, and seals whatever it is given under any number it likes. It does no I/O: it makes
//! packets and opens packets, and whoever drives it brings them to the endpoint under test. The
//! same seed and calls lead to the same bytes.
//!
//! ```
//! use burdock_core::wire::frame::Frame;
//! use burdock_core::{AcceptPolicy, Action, Config, Endpoint, Event, Identity, Time, Transport};
//! use burdock_sim::hostile::Hostile;
//!
//! let (now, from) = (Time::from_micros(1), "192.0.2.1:4000".parse()?);
//! let mut victim = Endpoint::new(Config::streamer(), Identity::from_bytes([1; 32]), [2; 32])?;
//! victim.set_accept(AcceptPolicy::anyone());
//!
//! let mut hostile = Hostile::new(7);
//! let mut asked = hostile.ask(&victim.public_key(), Transport::Udp);
//! let mut buf = Vec::new();
//! victim.handle(now, Event::Datagram { from, data: &mut asked.packet.clone() });
//! assert!(matches!(victim.poll_action(now, &mut buf), Some(Action::Transmit { .. })));
//!
//! let (mut epoch, _) = asked.finish(&buf).expect("a genuine answer");
//! let mut packet = epoch.seal(&[Frame::Confirm, Frame::Challenge([7; 8])]);
//! victim.handle(now, Event::Datagram { from, data: &mut packet });
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use core::net::SocketAddr;
use std::rc::Rc;

use burdock_core::crypto;
use burdock_core::noise::{Initiator, Keys, Responder};
use burdock_core::wire::frame::Frame;
use burdock_core::wire::packet::{self, Cookie, DATA_HEADER_LEN, InitHeader, Packet, TAG_LEN, VERSION};
use burdock_core::wire::payload::{
    HelloInit, HelloResp, INIT_PAYLOAD_LEN, MAX_VERSIONS, PeerLimits, RESP_PAYLOAD_LEN, Verdict,
};
use burdock_core::{Class, Identity, Invite, Limits, Link, PublicKey, Transport};

/// The peer: its static key, and what it draws from its seed.
///
/// A clone draws the same again.
#[derive(Clone)]
pub struct Hostile {
    identity: Rc<Identity>,
    seed: u64,
    drawn: u64,
    /// Its half of the session's name, as it says it. Another one makes it a peer that restarted.
    pub half: u64,
    /// The number of its last dial.
    pub dial_no: u32,
    /// The last receiver index that it gave out.
    pub index: u32,
    /// The invite that it dials with, and that it made for those who dial it.
    pub invite: Option<Invite>,
}

/// An INIT that waits for its answer.
pub struct Asked {
    /// The packet. On a stream it goes out [`framed`].
    pub packet: Vec<u8>,
    /// The index by which the answer names it.
    pub index: u32,
    to: PublicKey,
    noise: Initiator,
}

/// The keys of one finished handshake, with no rule about their use.
///
/// Clones share the keys and count for themselves.
#[derive(Clone)]
pub struct Epoch {
    keys: Rc<Keys>,
    /// The number of the next packet that [`seal`](Self::seal) makes.
    pub next: u64,
    /// The index that the endpoint under test puts into its packets.
    pub mine: u32,
    /// The index that the endpoint under test drew: the name of the path in our frames.
    pub theirs: u32,
    /// Its half of the session's name.
    pub their_half: u64,
}

impl Hostile {
    /// A peer whose key, and all that it draws, comes from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let secret = crypto::hash(&[b"hostile identity", &seed.to_be_bytes()]);
        let half = (seed << 8) | 1;
        Self {
            identity: Rc::new(Identity::from_bytes(secret)),
            seed,
            drawn: 0,
            half,
            dial_no: 0,
            index: 0,
            invite: None,
        }
    }

    /// The key by which the endpoint under test knows it.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.identity.public_key()
    }

    /// How to dial it at `addr`, over UDP and TCP.
    #[must_use]
    pub fn link(&self, addr: SocketAddr) -> Link {
        Link::direct(self.public_key(), addr)
    }

    /// 32 bytes that it draws once.
    fn draw(&mut self) -> [u8; 32] {
        self.drawn += 1;
        crypto::hash(&[b"hostile luck", &self.seed.to_be_bytes(), &self.drawn.to_be_bytes()])
    }

    fn next_index(&mut self) -> u32 {
        self.index = self.index.wrapping_add(1);
        self.index
    }

    /// What a correct peer would say first, with the next dial number.
    pub fn hello(&mut self) -> HelloInit {
        self.dial_no = self.dial_no.wrapping_add(1);
        HelloInit {
            my_half: self.half,
            your_half: 0,
            dial_no: self.dial_no,
            renews: 0,
            invite: self.invite.as_ref().map_or([0; 8], |invite| invite.id),
            limits: generous(),
            keep_s: None,
        }
    }

    /// An INIT such as a correct peer sends for a new session.
    pub fn ask(&mut self, to: &PublicKey, transport: Transport) -> Asked {
        let hello = self.hello();
        self.ask_with(to, transport, &hello)
    }

    /// An INIT that says `hello`.
    pub fn ask_with(&mut self, to: &PublicKey, transport: Transport, hello: &HelloInit) -> Asked {
        let mut payload = Vec::new();
        hello.encode(if transport.is_stream() { 0 } else { INIT_PAYLOAD_LEN }, &mut payload);
        self.ask_bytes(to, transport, &payload)
    }

    /// An INIT that carries `payload`, whatever that is. Valid keys, and a valid mac1.
    ///
    /// # Panics
    /// `to` is a key with which no secret can be agreed, or the payload is longer than 65,000 bytes.
    pub fn ask_bytes(&mut self, to: &PublicKey, transport: Transport, payload: &[u8]) -> Asked {
        let header = InitHeader { class: Class::Open, transport, sender: self.next_index() };
        let mut packet = Vec::new();
        packet::begin_init(header, &mut packet);
        let (prologue, ephemeral) = (packet::prologue(&header.to_bytes()), self.draw().into());
        let psk = self.invite.as_ref().map_or([0; 32], |invite| **invite.secret);
        let noise = Initiator::start(&self.identity, to, &psk, &prologue, ephemeral, payload, &mut packet)
            .expect("a good key and a short payload");
        packet::finish_init(&mut packet, 0, |before| crypto::mac1(to, before));
        Asked { packet, index: header.sender, to: *to, noise }
    }

    /// Answers an INIT of the endpoint under test as a correct peer would, but for what `edit`
    /// changes. `None` when the packet is no INIT for this peer.
    pub fn answer(&mut self, init: &[u8], edit: impl FnOnce(&mut HelloResp)) -> Option<(Vec<u8>, Epoch)> {
        self.answer_bytes(init, |mut answer, padded| {
            edit(&mut answer);
            let mut payload = Vec::new();
            answer.encode(padded, &mut payload);
            payload
        })
    }

    /// Answers an INIT with the payload that `make` makes from what a correct peer would say, and
    /// from the length to which that would be padded.
    pub fn answer_bytes(
        &mut self,
        init: &[u8],
        make: impl FnOnce(HelloResp, usize) -> Vec<u8>,
    ) -> Option<(Vec<u8>, Epoch)> {
        let Ok(Packet::Init(init)) = packet::parse(init) else { return None };
        let padded = if init.header.transport.is_stream() { 0 } else { RESP_PAYLOAD_LEN };
        let responder = Responder::read(&self.identity, &packet::prologue(&init.header_bytes), init.noise).ok()?;
        let hello = HelloInit::decode(responder.payload()).ok()?;
        let index = self.next_index();
        let answer = HelloResp {
            index,
            receiver: init.header.sender,
            my_half: self.half,
            your_half: hello.my_half,
            dial_no: hello.dial_no,
            verdict: if hello.your_half == 0 { Verdict::New } else { Verdict::Resumed },
            version: VERSION,
            limits: generous(),
        };
        let payload = make(answer, padded);
        let mut packet = Vec::new();
        packet::begin_resp(init.header.sender, &mut packet);
        let invite = self.invite.as_ref().filter(|invite| invite.id == hello.invite);
        let psk = invite.map_or([0; 32], |invite| **invite.secret);
        let keys = responder.reply(&psk, self.draw().into(), &payload, &mut packet).ok()?;
        Some((packet, Epoch::new(keys, index, init.header.sender, hello.my_half)))
    }

    /// Asks the sender of an INIT to prove its address with `cookie` first. `None` when the packet is no INIT.
    pub fn demand(&mut self, init: &[u8], cookie: [u8; 16]) -> Option<Vec<u8>> {
        let Ok(Packet::Init(init)) = packet::parse(init) else { return None };
        let nonce = *self.draw().first_chunk::<8>()?;
        let nonce: [u8; 24] = [nonce; 3].concat().try_into().ok()?;
        let mut sealed = [0; 32];
        let (text, tag) = sealed.split_at_mut(16);
        text.copy_from_slice(&cookie);
        tag.copy_from_slice(&crypto::xseal(&cookie_key(&self.public_key()), &nonce, &init.mac1, text));
        let mut packet = Vec::new();
        packet::put_cookie(&Cookie { receiver: init.header.sender, nonce: &nonce, sealed: &sealed }, &mut packet);
        Some(packet)
    }
}

/// The key under which a responder seals its COOKIEs: anybody can know it who knows the responder.
fn cookie_key(responder: &PublicKey) -> [u8; 32] {
    crypto::hash(&[b"burdock cookie", responder.as_bytes()])
}

impl Asked {
    /// Reads the answer. `None` when it is none to this INIT.
    #[must_use]
    pub fn finish(&self, resp: &[u8]) -> Option<(Epoch, HelloResp)> {
        let Ok(Packet::Resp(resp)) = packet::parse(resp) else { return None };
        let mut payload = Vec::new();
        let keys = self.noise.read(resp.noise, &mut payload).ok()?;
        let hello = HelloResp::decode(&payload).ok()?;
        Some((Epoch::new(keys, self.index, hello.index, hello.my_half), hello))
    }

    /// Reads a COOKIE. `None` when it does not answer this INIT.
    #[must_use]
    pub fn cookie(&self, reply: &[u8]) -> Option<[u8; 16]> {
        let (Ok(Packet::Cookie(reply)), Ok(Packet::Init(init))) = (packet::parse(reply), packet::parse(&self.packet))
        else {
            return None;
        };
        let (&text, tag) = reply.sealed.split_first_chunk::<16>()?;
        let mut cookie = text;
        let key = cookie_key(&self.to);
        crypto::xopen(&key, reply.nonce, &init.mac1, &mut cookie, tag.try_into().ok()?).ok()?;
        Some(cookie)
    }

    /// Puts the mac2 of a cookie into the INIT.
    pub fn prove(&mut self, cookie: &[u8; 16]) {
        packet::set_mac2(&mut self.packet, |before| crypto::mac(cookie, &[before]));
    }
}

impl Epoch {
    fn new(keys: Keys, mine: u32, theirs: u32, their_half: u64) -> Self {
        Self { keys: Rc::new(keys), next: 0, mine, theirs, their_half }
    }

    /// The next packet, with these frames.
    pub fn seal(&mut self, frames: &[Frame<'_>]) -> Vec<u8> {
        let mut plaintext = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut plaintext));
        self.seal_bytes(&plaintext)
    }

    /// The next packet, with these bytes where frames should be.
    pub fn seal_bytes(&mut self, plaintext: &[u8]) -> Vec<u8> {
        let number = self.next;
        self.next += 1;
        self.seal_as(number, plaintext)
    }

    /// A packet of any number: one far ahead, or one that was used before.
    #[must_use]
    pub fn seal_as(&self, number: u64, plaintext: &[u8]) -> Vec<u8> {
        let header = packet::data_header(self.theirs, number);
        let mut packet = Vec::with_capacity(DATA_HEADER_LEN + plaintext.len() + TAG_LEN);
        packet.extend_from_slice(&header);
        packet.extend_from_slice(plaintext);
        let tag = self.keys.send.seal(number, &header, &mut packet[DATA_HEADER_LEN..]);
        packet.extend_from_slice(&tag);
        packet
    }

    /// The number and the plaintext of a packet of the endpoint under test. `None` when it is not
    /// of this epoch; repeats are opened as often as they come.
    #[must_use]
    pub fn open(&self, packet: &[u8]) -> Option<(u64, Vec<u8>)> {
        let (header, rest) = packet.split_first_chunk::<DATA_HEADER_LEN>()?;
        let (sealed, tag) = rest.split_last_chunk::<TAG_LEN>()?;
        let number = u64::from_be_bytes(*header.last_chunk()?);
        if *header != packet::data_header(self.mine, number) {
            return None;
        }
        let mut plaintext = sealed.to_vec();
        self.keys.recv.open(number, header, &mut plaintext, tag).ok()?;
        Some((number, plaintext))
    }
}

/// Limits that never stop the endpoint under test.
#[must_use]
pub fn generous() -> PeerLimits {
    let limits = Limits::default();
    PeerLimits {
        features: 0,
        max_message: limits.max_message,
        session_credit: limits.session_credit,
        channel_credit: limits.channel_credit,
        max_packet: packet::MAX_STREAM_PACKET as u16,
        versions: [VERSION; MAX_VERSIONS][..1].iter().copied().collect(),
    }
}

/// A packet as it goes onto a stream: behind its length.
///
/// # Panics
/// The packet is longer than 65,535 bytes.
#[must_use]
pub fn framed(packet: &[u8]) -> Vec<u8> {
    let len = u16::try_from(packet.len()).expect("a packet is far shorter than 64 KiB");
    [&len.to_be_bytes(), packet].concat()
}

#[cfg(test)]
mod tests {
    use burdock_core::update::UpdateKind;
    use burdock_core::wire::frame::Frames;
    use burdock_core::{AcceptPolicy, Action, Config, Endpoint, Event, Time};

    use super::*;

    const NOW: Time = Time::from_micros(1_000_000);

    fn victim() -> Endpoint {
        let mut victim = Endpoint::new(Config::streamer(), Identity::from_bytes([1; 32]), [2; 32]).unwrap();
        victim.set_accept(AcceptPolicy::anyone());
        victim
    }

    fn addr() -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], 4000))
    }

    fn drain(victim: &mut Endpoint) -> (Vec<Vec<u8>>, Vec<UpdateKind>) {
        let (mut packets, mut updates, mut buf) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(action) = victim.poll_action(NOW, &mut buf) {
            match action {
                Action::Transmit { .. } => packets.push(buf.clone()),
                Action::Update { update, .. } => updates.push(update.kind),
                _ => {}
            }
        }
        (packets, updates)
    }

    fn tell(victim: &mut Endpoint, packet: &[u8]) -> (Vec<Vec<u8>>, Vec<UpdateKind>) {
        victim.handle(NOW, Event::Datagram { from: addr(), data: &mut packet.to_vec() });
        drain(victim)
    }

    #[test]
    fn it_dials_and_is_believed() {
        let mut victim = victim();
        let mut hostile = Hostile::new(7);
        let asked = hostile.ask(&victim.public_key(), Transport::Udp);
        let (packets, _) = tell(&mut victim, &asked.packet);
        let (mut epoch, hello) = asked.finish(&packets[0]).expect("an answer");
        assert_eq!((hello.receiver, hello.verdict), (asked.index, Verdict::New));
        let (packets, updates) = tell(&mut victim, &epoch.seal(&[Frame::Confirm, Frame::Challenge([5; 8])]));
        assert!(matches!(updates[..], [UpdateKind::Connected { inbound: true, .. }]), "{updates:?}");
        let (number, plaintext) = epoch.open(&packets[0]).expect("a packet of this epoch");
        assert_eq!(number, 0);
        assert!(Frames::new(&plaintext).any(|frame| frame == Ok(Frame::Response([5; 8]))));
        // The number is used: the same again changes nothing, one far ahead is taken.
        assert_eq!(tell(&mut victim, &epoch.seal_as(0, &[1])).0.len(), 0);
        assert_eq!(tell(&mut victim, &epoch.seal_as(1 << 40, &[1])).0.len(), 1);
        epoch.next = (1 << 40) + 1;
        let (_, updates) = tell(&mut victim, &epoch.seal_bytes(b"\xff"));
        assert!(matches!(updates[..], [UpdateKind::Closed { .. }]), "{updates:?}");
    }

    #[test]
    fn it_answers_and_is_believed() {
        let mut victim = victim();
        let mut hostile = Hostile::new(8);
        let link = Link { tcp_port: None, ..hostile.link(addr()) };
        victim.connect(NOW, &link).unwrap();
        let (packets, _) = drain(&mut victim);
        let (resp, epoch) = hostile.answer(&packets[0], |_| {}).expect("an INIT");
        let (packets, updates) = tell(&mut victim, &resp);
        assert!(updates.iter().any(|kind| matches!(kind, UpdateKind::Connected { .. })), "{updates:?}");
        assert!(epoch.open(&packets[0]).is_some());
    }

    #[test]
    fn it_proves_its_address_and_asks_for_proof() {
        let mut config = Config::streamer();
        (config.limits.unproven_rate, config.limits.unproven_burst) = (1, 1);
        let mut victim = Endpoint::new(config, Identity::from_bytes([1; 32]), [2; 32]).unwrap();
        let invite = Invite { id: [7; 8], secret: Box::new([9; 32].into()) };
        victim.set_accept(AcceptPolicy::nobody().invite(invite.id, **invite.secret));
        let mut hostile = Hostile::new(11);
        let to = victim.public_key();
        tell(&mut victim, &Hostile::new(12).ask(&to, Transport::Udp).packet);
        hostile.invite = Some(invite);
        let mut asked = hostile.ask(&to, Transport::Udp);
        let (packets, _) = tell(&mut victim, &asked.packet);
        assert!(asked.finish(&packets[0]).is_none());
        asked.prove(&asked.cookie(&packets[0]).expect("a cookie"));
        let (packets, _) = tell(&mut victim, &asked.packet);
        assert!(asked.finish(&packets[0]).is_some());

        let mut other = Hostile::new(13);
        victim.connect(NOW, &Link { tcp_port: None, ..other.link(addr()) }).unwrap();
        let (packets, _) = drain(&mut victim);
        let cookie = other.demand(&packets[0], [5; 16]).expect("an INIT");
        let (packets, _) = tell(&mut victim, &cookie);
        assert_eq!(packets[0].last_chunk(), Some(&crypto::mac(&[5; 16], &[&packets[0][..1184]])));
    }

    #[test]
    fn the_same_seed_says_the_same() {
        let to = Hostile::new(1).public_key();
        let [a, b] = [(); 2].map(|()| Hostile::new(9).ask(&to, Transport::Tcp).packet);
        assert_eq!(a, b);
        assert_ne!(a, Hostile::new(10).ask(&to, Transport::Tcp).packet);
    }
}
