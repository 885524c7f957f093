//! Bytes that nobody sent.

use burdock_core::crypto::mac1;
use burdock_core::{Action, Config, Endpoint, Identity, Link, PublicKey, Time};

use crate::luck::{Draws, Luck, Purpose};
use crate::scenario::address;

pub(super) const INIT: u8 = 0x08;
pub(super) const RESP: u8 = 0x09;
pub(super) const COOKIE: u8 = 0x0A;
pub(super) const DATA: u8 = 0x0B;
/// Both macs at the end of a first message.
pub(super) const MACS: usize = 32;
pub(super) const MAC: usize = 16;

/// `len` bytes of luck.
pub(super) fn noise(len: usize, draws: &mut Draws) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&draws.below(u64::MAX).to_be_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A whole and valid first message to a host, of an identity that nobody knows.
pub(super) fn stranger(luck: Luck, number: u64, target: usize, key: PublicKey) -> Vec<u8> {
    let identity = Identity::from_bytes(luck.bytes(Purpose::Attack, (1 << 62) | number));
    let seed = luck.bytes(Purpose::Attack, (1 << 63) | number);
    let mut dialler = Endpoint::new(Config::streamer(), identity, seed).expect("a preset is valid");
    dialler.connect(Time::ZERO, &Link::direct(key, address(target))).expect("the link names another host");
    let mut bytes = Vec::new();
    while let Some(action) = dialler.poll_action(Time::ZERO, &mut bytes) {
        if matches!(action, Action::Transmit { .. }) {
            return bytes;
        }
    }
    // No dial begins without a datagram; were it so, the attacker would have none to send.
    vec![INIT]
}

/// Changes a first message so that no other has its ephemeral key. With `key` its mac1 is valid.
pub(super) fn spoil_init(init: &mut [u8], key: Option<&PublicKey>, draws: &mut Draws) {
    for (place, byte) in init.iter_mut().skip(8).zip(noise(16, draws)) {
        *place = byte;
    }
    if let Some(key) = key {
        mend_mac1(init, key);
    }
}

/// Whoever knows the responder's key can make mac1.
fn mend_mac1(init: &mut [u8], key: &PublicKey) {
    let Some(before) = init.len().checked_sub(MACS) else { return };
    let mac = mac1(key, &init[..before]);
    init[before..before + MAC].copy_from_slice(&mac);
}

/// A copy that differs from `data` and from `other`, whose fields it may take.
pub(super) fn mutate(data: &[u8], other: Option<&[u8]>, key: Option<&PublicKey>, draws: &mut Draws) -> Vec<u8> {
    let mut copy = data.to_vec();
    let at = |draws: &mut Draws, len: usize| usize::try_from(draws.below(len as u64)).expect("below a length");
    let other = other.unwrap_or_default();
    match draws.below(8) {
        0 => {
            for _ in 0..draws.between(1, 8) {
                let place = at(draws, copy.len().max(1));
                if let Some(byte) = copy.get_mut(place) {
                    *byte ^= 1 << draws.below(8);
                }
            }
        }
        1 => copy.truncate(at(draws, data.len().max(1))),
        2 => {
            let more = at(draws, 64) + 1;
            copy.extend(noise(more, draws));
        }
        // The type, the version, the class or the transport.
        3 => {
            let place = at(draws, 4);
            if let Some(byte) = copy.get_mut(place) {
                *byte = draws.pick(&[0, 1, 2, INIT, RESP, COOKIE, DATA, 0xFF]);
            }
        }
        // The index of another one.
        4 => swap(&mut copy, other, 4..8),
        // The number of another one, or one that is far ahead.
        5 if draws.one_in(2) => swap(&mut copy, other, 8..16),
        5 => {
            let ahead = draws.pick(&[1, 100, 8_192, 1 << 40, u64::MAX]);
            if let Some(field) = copy.get_mut(8..16).and_then(|field| field.first_chunk_mut::<8>()) {
                *field = u64::from_be_bytes(*field).wrapping_add(ahead).to_be_bytes();
            }
        }
        // The header of this one before the body of the other.
        6 => {
            copy.truncate(16);
            copy.extend_from_slice(other.get(16..).unwrap_or_default());
        }
        _ => swap(&mut copy, other, 16..48),
    }
    if copy == data || copy == other || copy.is_empty() {
        copy.push(0);
        copy[0] ^= 0x80;
    }
    if copy[0] == INIT
        && draws.one_in(2)
        && let Some(key) = key
    {
        mend_mac1(&mut copy, key);
    }
    copy
}

fn swap(copy: &mut [u8], other: &[u8], field: core::ops::Range<usize>) {
    if let (Some(mine), Some(theirs)) = (copy.get_mut(field.clone()), other.get(field)) {
        mine.copy_from_slice(theirs);
    }
}
