//! What an observer sees: no ephemeral key in two different handshakes, no packet number twice
//! under one key, and streams that are whole packets one after another.
//!
//! A key shows itself by its keystream: what is sealed begins with the type of a frame, a number below
//! 32, so that the upper three bits of the first sealed byte are those of the keystream. Those of the
//! packets 0 to 15 are 48 bits by which a key is known again under another index.

use core::hash::Hasher;
use std::collections::BTreeMap;

use siphasher::sip::SipHasher13;

use crate::net::EndRef;
use crate::oracle::{Verdict, require};

const ORACLE: &str = "wire";
const INIT: u8 = 0x08;
const RESP: u8 = 0x09;
const DATA: u8 = 0x0B;
/// The last field of an initiation, which alone may differ when one is sent again.
const MAC2: usize = 16;
/// What comes before what is sealed, and behind it.
const HEADER: usize = 16;
const TAG: usize = 16;
/// Packets that show a key.
const SHOWN: u64 = 16;

#[derive(Debug, Default)]
pub(crate) struct Wire {
    ephemerals: BTreeMap<[u8; 32], (u64, bool)>,
    /// The last number by sender and receiver index.
    numbers: BTreeMap<(usize, u32), u64>,
    /// By the same, the keystream that the packets so far have shown; without a gap, and until there is enough.
    shown: BTreeMap<(usize, u32), (u64, u64)>,
    /// Whose keystream it is.
    keystreams: BTreeMap<u64, (usize, u32)>,
    streams: BTreeMap<EndRef, Framing>,
    pub(crate) packets: u64,
}

/// How far the bytes written on a stream have come.
#[derive(Debug, Default)]
struct Framing {
    buffer: Vec<u8>,
    /// A handshake was begun here, and nothing came of it yet that could be renewed.
    asked: bool,
}

impl Wire {
    pub(crate) fn datagram(&mut self, host: usize, packet: &[u8]) -> Verdict {
        self.packet(host, packet, false)
    }

    /// The kernel took these bytes.
    pub(crate) fn written(&mut self, host: usize, end: EndRef, bytes: &[u8]) -> Verdict {
        let mut framing = self.streams.remove(&end).unwrap_or_default();
        framing.buffer.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(header) = framing.buffer[at..].first_chunk::<2>() {
            let len = usize::from(u16::from_be_bytes(*header));
            require((17..=16_384).contains(&len), ORACLE, || {
                format!("host {host} wrote a frame of {len} bytes on a stream: it is out of step")
            })?;
            let Some(packet) = framing.buffer.get(at + 2..at + 2 + len) else { break };
            let asks = packet[0] == INIT;
            require(!(asks && framing.asked), ORACLE, || {
                format!("host {host} begins two handshakes on one stream, which had no session on it")
            })?;
            framing.asked = asks || framing.asked && packet[0] != DATA;
            self.packet(host, packet, true)?;
            at += 2 + len;
        }
        framing.buffer.drain(..at);
        self.streams.insert(end, framing);
        Ok(())
    }

    /// Everything but where in a packet each stream is.
    pub(crate) fn forget(&mut self) {
        self.ephemerals.clear();
        self.numbers.clear();
        self.shown.clear();
        self.keystreams.clear();
    }

    /// Whether what was written ends within a packet.
    pub(crate) fn closed(&mut self, end: EndRef) -> bool {
        self.streams.remove(&end).is_some_and(|framing| !framing.buffer.is_empty())
    }

    fn packet(&mut self, host: usize, packet: &[u8], stream: bool) -> Verdict {
        self.packets += 1;
        match packet.first() {
            Some(&(INIT | RESP)) => self.handshake(host, packet, stream),
            Some(&DATA) => self.data(host, packet),
            _ => Ok(()),
        }
    }

    fn handshake(&mut self, host: usize, packet: &[u8], stream: bool) -> Verdict {
        let init = packet[0] == INIT;
        require(stream || packet.len() == 1200, ORACLE, || {
            format!("host {host} sent a handshake packet of {} bytes by UDP; it must have 1,200", packet.len())
        })?;
        let Some(ephemeral) = packet.get(8..40).and_then(|bytes| bytes.first_chunk::<32>()) else {
            return require(false, ORACLE, || format!("host {host} sent half a handshake packet"));
        };
        let mut hash = SipHasher13::new();
        hash.write(if init { &packet[..packet.len().saturating_sub(MAC2)] } else { packet });
        let seen = (hash.finish(), stream);
        let before = *self.ephemerals.entry(*ephemeral).or_insert(seen);
        require(before == seen, ORACLE, || format!("host {host} used one ephemeral key in two different handshakes"))
    }

    fn data(&mut self, host: usize, packet: &[u8]) -> Verdict {
        let (Some(index), Some(number)) = (
            packet.get(4..8).and_then(|bytes| bytes.first_chunk::<4>()),
            packet.get(8..16).and_then(|bytes| bytes.first_chunk::<8>()),
        ) else {
            return require(false, ORACLE, || format!("host {host} sent half a packet"));
        };
        let (index, number) = (u32::from_be_bytes(*index), u64::from_be_bytes(*number));
        let before = self.numbers.insert((host, index), number);
        require(before.is_none_or(|before| before < number), ORACLE, || {
            format!(
                "host {host} sent packet {number} to receiver index {index:08x} after packet {}: a nonce is used twice",
                before.unwrap_or_default()
            )
        })?;
        match packet.get(HEADER) {
            Some(sealed) if packet.len() > HEADER + TAG => self.key_shows(host, index, number, *sealed),
            _ => Ok(()),
        }
    }

    /// The first byte that is sealed in a packet.
    fn key_shows(&mut self, host: usize, index: u32, number: u64, sealed: u8) -> Verdict {
        let (next, bits) = self.shown.entry((host, index)).or_default();
        if *next != number || number >= SHOWN {
            return Ok(());
        }
        *next += 1;
        *bits = *bits << 3 | u64::from(sealed >> 5);
        if *next < SHOWN {
            return Ok(());
        }
        let before = *self.keystreams.entry(*bits).or_insert((host, index));
        require(before == (host, index), ORACLE, || {
            let (other, at) = before;
            format!(
                "host {host} seals for index {index:08x} with the key that host {other} used for {at:08x}: its \
                 numbers come again"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tcp::Side;

    fn data(index: u8, number: u8) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[0] = DATA;
        packet[7] = index;
        packet[15] = number;
        packet
    }

    #[test]
    fn r1_a_number_used_twice_is_seen() {
        // Mutation: `before < number` into `before <= number` makes this fail.
        let mut wire = Wire::default();
        wire.datagram(0, &data(1, 0)).unwrap();
        wire.datagram(0, &data(1, 1)).unwrap();
        wire.datagram(0, &data(2, 0)).unwrap();
        wire.datagram(1, &data(1, 0)).unwrap();
        assert!(wire.datagram(0, &data(1, 1)).unwrap_err().message.contains("nonce"));
    }

    #[test]
    fn r1_a_key_used_under_two_indices_is_seen() {
        // Mutation: `sealed >> 5` into `sealed` makes this fail.
        let mut wire = Wire::default();
        let keystream = |key: u8, number: u8| (key ^ number).wrapping_mul(151).rotate_left(3) ^ number;
        let sealed = |key: u8, index: u8, number: u8, frame: u8| {
            let mut packet = data(index, number);
            packet[16] = keystream(key, number) ^ frame;
            packet
        };
        for number in 0..30 {
            wire.datagram(0, &sealed(7, 1, number, number % 18)).unwrap();
            wire.datagram(1, &sealed(9, 1, number, 3)).unwrap();
        }
        let mut again = (0..16).map(|number| wire.datagram(0, &sealed(7, 2, number, (number * 5) % 18)));
        assert!(again.by_ref().take(15).all(|verdict| verdict.is_ok()));
        assert!(again.next().unwrap().unwrap_err().message.contains("come again"));
    }

    #[test]
    fn h7_an_ephemeral_key_in_two_handshakes_is_seen() {
        // Mutation: leaving `stream` out of `seen` makes this fail.
        let mut wire = Wire::default();
        let mut init = vec![7; 1200];
        init[0] = INIT;
        wire.datagram(0, &init).unwrap();
        wire.datagram(0, &init).unwrap();
        init[1190] ^= 1;
        wire.datagram(0, &init).unwrap();
        let end = EndRef { conn: 0, side: Side::Client };
        let framed = [&1200u16.to_be_bytes()[..], &init].concat();
        assert!(wire.written(0, end, &framed).is_err());
        init[500] ^= 1;
        assert!(wire.datagram(0, &init).is_err());
    }

    #[test]
    fn h7_a_stream_used_for_two_handshakes_is_seen() {
        // Mutation: `framing.asked = asks` makes this fail.
        let (mut wire, end) = (Wire::default(), EndRef { conn: 0, side: Side::Client });
        let init = |ephemeral: u8| {
            let mut init = vec![ephemeral; 200];
            init[0] = INIT;
            [&200u16.to_be_bytes()[..], &init].concat()
        };
        let framed = |packet: &[u8]| [&(packet.len() as u16).to_be_bytes()[..], packet].concat();
        let mut resp = vec![9; 100];
        resp[0] = RESP;
        wire.written(0, end, &init(1)).unwrap();
        wire.written(0, end, &framed(&data(1, 0))).unwrap();
        wire.written(0, end, &init(2)).unwrap();
        wire.written(0, end, &framed(&resp)).unwrap();
        assert!(wire.written(0, end, &init(3)).unwrap_err().message.contains("two handshakes"));
    }

    #[test]
    fn t1_a_stream_out_of_step_is_seen() {
        // Mutation: `at += 2 + len` into `at += len` makes this fail.
        let mut wire = Wire::default();
        let end = EndRef { conn: 0, side: Side::Client };
        let framed: Vec<u8> = (0..3).flat_map(|number| [&40u16.to_be_bytes()[..], &data(1, number)].concat()).collect();
        for bytes in framed.chunks(5) {
            wire.written(0, end, bytes).unwrap();
        }
        assert_eq!(wire.packets, 3);
        assert!(wire.written(0, end, &data(1, 9)[1..]).is_err());
        assert!(!wire.closed(end));
    }
}
