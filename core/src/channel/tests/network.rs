//! Two sides and a bad network between them.

use std::collections::BTreeMap;

use super::*;

#[derive(Clone, Debug)]
pub(super) enum Step {
    Send {
        side: usize,
        channel: u8,
        len: usize,
    },
    Priority {
        side: usize,
        channel: u8,
        priority: u8,
    },
    Write {
        side: usize,
        max_len: usize,
    },
    /// The packet arrives; its acknowledgement is under way.
    Deliver {
        nth: usize,
    },
    /// The packet arrives a second time.
    Duplicate {
        nth: usize,
    },
    Drop {
        nth: usize,
    },
    /// Its sender gives the packet up although it will still arrive.
    GiveUp {
        nth: usize,
    },
    Ack {
        nth: usize,
    },
    LoseAck {
        nth: usize,
    },
    Recv {
        side: usize,
        count: usize,
    },
    Taken {
        side: usize,
    },
    /// All paths are lost, with everything on them, and a new one comes up.
    Resume,
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let (side, channel, nth) = (0usize..2, 0u8..6, any::<usize>());
    prop_oneof![
        6 => (side.clone(), channel.clone(), prop_oneof![Just(0usize), 1usize..20, 90usize..=100])
            .prop_map(|(side, channel, len)| Step::Send { side, channel, len }),
        1 => (side.clone(), channel, any::<u8>())
            .prop_map(|(side, channel, priority)| Step::Priority { side, channel, priority }),
        8 => (side.clone(), 12usize..120).prop_map(|(side, max_len)| Step::Write { side, max_len }),
        6 => nth.prop_map(|nth| Step::Deliver { nth }),
        2 => nth.prop_map(|nth| Step::Duplicate { nth }),
        2 => nth.prop_map(|nth| Step::Drop { nth }),
        2 => nth.prop_map(|nth| Step::GiveUp { nth }),
        4 => nth.prop_map(|nth| Step::Ack { nth }),
        1 => nth.prop_map(|nth| Step::LoseAck { nth }),
        4 => (side.clone(), 1usize..8).prop_map(|(side, count)| Step::Recv { side, count }),
        3 => side.prop_map(|side| Step::Taken { side }),
        1 => Just(Step::Resume),
    ]
}

struct Side {
    channels: Channels,
    limits: Limits,
    /// What was sent, and how many of it the other side received and took, by channel.
    sent: BTreeMap<u8, Vec<(MessageId, Bytes)>>,
    received: BTreeMap<u8, usize>,
    taken: BTreeMap<u8, usize>,
    outcomes: BTreeMap<MessageId, Outcome>,
}

struct Packet {
    from: usize,
    bytes: Vec<u8>,
    /// `None` once its sender gave it up.
    sent: Option<SentFrames>,
}

pub(super) struct World {
    sides: [Side; 2],
    flight: Vec<Packet>,
    acks: Vec<(usize, SentFrames)>,
}

impl World {
    pub(super) fn new(limits: &Limits) -> Self {
        let side = || Side {
            channels: joined(limits),
            limits: limits.clone(),
            sent: BTreeMap::new(),
            received: BTreeMap::new(),
            taken: BTreeMap::new(),
            outcomes: BTreeMap::new(),
        };
        Self { sides: [side(), side()], flight: Vec::new(), acks: Vec::new() }
    }

    pub(super) fn send(&mut self, side: usize, channel: u8, len: usize) {
        let side = &mut self.sides[side];
        let data = content(channel, side.sent.get(&channel).map_or(0, Vec::len), len);
        match side.channels.send(channel, data.clone()) {
            Ok(id) => side.sent.entry(channel).or_default().push((id, data)),
            Err(error) => assert_eq!(error, SendError::Full),
        }
    }

    fn write(&mut self, from: usize, max_len: usize) {
        if let Some((bytes, sent)) = packet(&mut self.sides[from].channels, max_len) {
            self.flight.push(Packet { from, bytes, sent: Some(sent) });
        }
    }

    fn deliver(&mut self, packet: Packet) {
        deliver(&mut self.sides[1 - packet.from].channels, &packet.bytes).unwrap();
        if let Some(sent) = packet.sent {
            self.acks.push((packet.from, sent));
        }
    }

    fn recv(&mut self, to: usize) -> bool {
        let Some(message) = self.sides[to].channels.recv() else { return false };
        let from = &mut self.sides[1 - to];
        let k = from.received.entry(message.channel).or_default();
        assert_eq!(message.data, from.sent[&message.channel][*k].1, "out of order on {}", message.channel);
        *k += 1;
        true
    }

    fn taken(&mut self, to: usize) {
        self.sides[to].channels.taken();
        let from = &mut self.sides[1 - to];
        from.taken = from.received.clone();
    }

    pub(super) fn step(&mut self, step: &Step) {
        let pick = |nth: usize, len: usize| (len > 0).then(|| nth % len);
        let in_flight = |nth| pick(nth, self.flight.len());
        match *step {
            Step::Send { side, channel, len } => self.send(side, channel, len),
            Step::Priority { side, channel, priority } => self.sides[side].channels.set_priority(channel, priority),
            Step::Write { side, max_len } => self.write(side, max_len),
            Step::Deliver { nth } => {
                if let Some(nth) = in_flight(nth) {
                    let packet = self.flight.remove(nth);
                    self.deliver(packet);
                }
            }
            Step::Duplicate { nth } => {
                if let Some(nth) = in_flight(nth) {
                    let Packet { from, ref bytes, .. } = self.flight[nth];
                    let copy = Packet { from, bytes: bytes.clone(), sent: None };
                    self.deliver(copy);
                }
            }
            Step::Drop { nth } => {
                if let Some(nth) = in_flight(nth) {
                    let packet = self.flight.remove(nth);
                    lose(&mut self.sides[packet.from].channels, packet.sent.unwrap_or_default());
                }
            }
            Step::GiveUp { nth } => {
                if let Some(nth) = in_flight(nth) {
                    let packet = &mut self.flight[nth];
                    lose(&mut self.sides[packet.from].channels, packet.sent.clone().unwrap_or_default());
                }
            }
            Step::Ack { nth } => {
                if let Some(nth) = pick(nth, self.acks.len()) {
                    let (from, sent) = self.acks.remove(nth);
                    ack(&mut self.sides[from].channels, sent);
                }
            }
            Step::LoseAck { nth } => {
                if let Some(nth) = pick(nth, self.acks.len()) {
                    let (from, sent) = self.acks.remove(nth);
                    lose(&mut self.sides[from].channels, sent);
                }
            }
            Step::Recv { side, count } => (0..count).for_each(|_| {
                self.recv(side);
            }),
            Step::Taken { side } => self.taken(side),
            Step::Resume => {
                for packet in core::mem::take(&mut self.flight) {
                    lose(&mut self.sides[packet.from].channels, packet.sent.unwrap_or_default());
                }
                for (from, sent) in core::mem::take(&mut self.acks) {
                    lose(&mut self.sides[from].channels, sent);
                }
                self.sides.iter_mut().for_each(|side| side.channels.resumed());
            }
        }
        self.check();
    }

    pub(super) fn check(&mut self) {
        for side in &mut self.sides {
            while let Some((id, outcome)) = side.channels.poll_outcome() {
                assert_eq!(outcome, Outcome::Delivered);
                assert_eq!(side.outcomes.insert(id, outcome), None, "a second outcome of {id}");
                let (channel, k) = side
                    .sent
                    .iter()
                    .find_map(|(channel, sent)| sent.iter().position(|(sent, _)| *sent == id).map(|k| (channel, k)))
                    .unwrap();
                assert!(side.taken.get(channel).copied().unwrap_or(0) > k, "{id} was not taken yet");
            }
            assert!(side.channels.queued_bytes() <= side.limits.send_buffer as u64);
            assert!(side.channels.pending_messages() <= side.limits.pending_messages as u64);
            // Messages under way are small here and have exactly their size.
            let partial = side.limits.max_message as usize * 6;
            assert!(side.channels.held() <= 2 * side.limits.session_credit as usize + partial);
        }
    }

    /// Everything works from now on: all must arrive.
    pub(super) fn heal(&mut self) {
        for _ in 0..100_000 {
            for packet in core::mem::take(&mut self.flight) {
                self.deliver(packet);
            }
            for (from, sent) in core::mem::take(&mut self.acks) {
                ack(&mut self.sides[from].channels, sent);
            }
            for side in 0..2 {
                while self.recv(side) {}
                self.taken(side);
                self.write(side, 60);
            }
            self.check();
            if self.flight.is_empty() && self.acks.is_empty() {
                break;
            }
        }
        for side in &mut self.sides {
            for (channel, sent) in &side.sent {
                assert_eq!(side.received.get(channel), Some(&sent.len()), "channel {channel} is stuck");
            }
            assert!(side.channels.flushed() && !side.channels.wants_to_write() && !side.channels.readable());
            assert_eq!(side.channels.counts().delivered as usize, side.sent.values().map(Vec::len).sum::<usize>());
            assert_eq!(side.channels.queued_bytes(), 0);
            assert!(side.channels.finals().is_empty());
        }
    }
}
