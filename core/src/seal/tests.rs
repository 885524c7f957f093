use std::collections::BTreeSet;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;

const OVERHEAD: usize = HEADER_LEN + TAG_LEN;

fn pair(order: Order) -> (Sealer, Opener) {
    (Sealer::new(AeadKey::new(&[7; 32])), Opener::new(AeadKey::new(&[7; 32]), order))
}

fn packet(sealer: &mut Sealer, receiver: u32, plaintext: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; HEADER_LEN];
    packet.extend_from_slice(plaintext);
    sealer.seal(receiver, &mut packet, 0).unwrap();
    packet
}

/// Everything in an opener that a packet may change.
fn state(opener: &Opener) -> Result<Window, u64> {
    match &opener.seen {
        Seen::Window(window) => Ok((**window).clone()),
        Seen::Strict { next } => Err(*next),
    }
}

fn open(opener: &mut Opener, packet: &[u8]) -> Result<(u64, bool, Vec<u8>), OpenError> {
    let mut packet = packet.to_vec();
    opener.open(&mut packet).map(|opened| (opened.number, opened.newest, opened.plaintext.to_vec()))
}

#[test]
fn the_layout_is_as_documented() {
    let (mut sealer, mut opener) = pair(Order::Window);
    sealer.next = 0x0102;
    let mut packet = b"before".to_vec();
    packet.extend_from_slice(&[0xff; HEADER_LEN]);
    packet.extend_from_slice(b"frames");
    assert_eq!(sealer.seal(0xaabb_ccdd, &mut packet, 6), Ok(0x0102));
    assert_eq!(sealer.next_number(), 0x0103);
    assert_eq!(packet.len(), 6 + OVERHEAD + 6);
    assert_eq!(packet[..22], *b"before\x0b\0\0\0\xaa\xbb\xcc\xdd\0\0\0\0\0\0\x01\x02");
    let mut sealed = b"frames".to_vec();
    let tag = AeadKey::new(&[7; 32]).seal(0x0102, &packet[6..22], &mut sealed);
    assert_eq!(packet[22..], [sealed, tag.to_vec()].concat());
    assert_eq!(open(&mut opener, &packet[6..]), Ok((0x0102, true, b"frames".to_vec())));
}

#[test]
fn newest_is_told_from_late() {
    let (mut sealer, mut opener) = pair(Order::Window);
    let packets: Vec<_> = (0..3).map(|_| packet(&mut sealer, 1, b"x")).collect();
    assert_eq!(open(&mut opener, &packets[0]), Ok((0, true, b"x".to_vec())));
    assert_eq!(open(&mut opener, &packets[2]), Ok((2, true, b"x".to_vec())));
    assert_eq!(open(&mut opener, &packets[1]), Ok((1, false, b"x".to_vec())));
}

// Mutation: `>` for `>=` in `Sealer::seal` makes this fail.
#[test]
fn r2_numbers_stop_below_the_limit() {
    assert_eq!(NUMBER_LIMIT, (1 << 62) - 8192);
    let (mut sealer, mut opener) = pair(Order::Window);
    sealer.next = NUMBER_LIMIT - 1;
    let last = packet(&mut sealer, 1, b"last");
    let mut refused = b"kept".to_vec();
    refused.extend_from_slice(&[0; HEADER_LEN]);
    refused.extend_from_slice(b"plaintext");
    for _ in 0..3 {
        assert_eq!(sealer.seal(1, &mut refused, 4), Err(Exhausted));
        assert_eq!(refused, b"kept");
    }
    assert_eq!(sealer.next_number(), NUMBER_LIMIT);
    assert_eq!(open(&mut opener, &last), Ok((NUMBER_LIMIT - 1, true, b"last".to_vec())));

    let mut over = vec![0; HEADER_LEN];
    over[0] = DATA_TYPE;
    over[8..].copy_from_slice(&NUMBER_LIMIT.to_be_bytes());
    let tag = AeadKey::new(&[7; 32]).seal(NUMBER_LIMIT, &over, &mut []);
    over.extend_from_slice(&tag);
    assert_eq!(open(&mut opener, &over), Err(OpenError::Malformed));
}

// Mutation: `self.seen.mark(number)` before `self.key.open` makes this fail.
#[test]
fn r3_100_000_damaged_packets_change_nothing() {
    let mut random = ChaCha20Rng::seed_from_u64(3);
    let (mut tried, mut changed, mut refused) = (0, 0, 0);
    for order in [Order::Window, Order::Strict] {
        let (mut sealer, mut opener) = pair(order);
        for _ in 0..100 {
            open(&mut opener, &packet(&mut sealer, 5, b"before")).unwrap();
        }
        let genuine = packet(&mut sealer, 5, b"the next genuine packet");
        let before = state(&opener);
        for round in 0..51_000 {
            let mut damaged = genuine.clone();
            match round % 5 {
                0 => damaged.truncate(random.next_u32() as usize % genuine.len()),
                1 => damaged.push(random.next_u32() as u8),
                2 => random.fill_bytes(&mut damaged),
                // A number of its own, near or far, on forged content.
                3 => damaged[8..16].copy_from_slice(&(random.next_u64() >> (random.next_u32() % 64)).to_be_bytes()),
                _ => damaged[16..].iter_mut().for_each(|byte| *byte = random.next_u32() as u8),
            }
            if damaged != genuine {
                tried += 1;
                changed += u32::from(open(&mut opener, &damaged).is_ok() || state(&opener) != before);
            }
        }
        refused += u32::from(open(&mut opener, &genuine) != Ok((100, true, b"the next genuine packet".to_vec())));
    }
    burdock_ledger::reached("R3", "genuine packets behind them that did not open", refused);
    burdock_ledger::reached("R3", "damaged packets", tried);
    burdock_ledger::reached("R3", "damaged packets that changed something", changed);
}

// Mutation: `self.seen.mark(number)` before `self.key.open` makes this fail.
#[test]
fn r4_forged_far_counter_does_not_move_the_window() {
    let (mut sealer, mut opener) = pair(Order::Window);
    let genuine = packet(&mut sealer, 1, b"genuine");
    for number in [1, 8192, 1 << 20, 1 << 60, NUMBER_LIMIT - 1, u64::MAX] {
        let mut forged = genuine.clone();
        forged[8..16].copy_from_slice(&number.to_be_bytes());
        assert!(open(&mut opener, &forged).is_err());
    }
    assert_eq!(open(&mut opener, &genuine), Ok((0, true, b"genuine".to_vec())));
}

// Mutation: without `self.seen.check` in `open` this fails.
#[test]
fn r4_each_packet_opens_once_however_often_and_late_it_comes() {
    let mut random = ChaCha20Rng::seed_from_u64(4);
    let mut below = |bound: usize| random.next_u32() as usize % bound;
    let mut doubled = 0;
    for _ in 0..100 {
        let (mut sealer, mut opener) = pair(Order::Window);
        let sent: Vec<_> = (0..300).map(|_| packet(&mut sealer, 1, b"x")).collect();
        let mut arriving: Vec<usize> = (0..300).collect();
        for _ in 0..100 {
            arriving.push(below(300));
        }
        for at in 0..arriving.len() {
            let other = below(arriving.len());
            arriving.swap(at, other);
        }
        let mut opened = BTreeSet::new();
        for index in arriving {
            match open(&mut opener, &sent[index]) {
                Ok((number, ..)) => doubled += u32::from(!opened.insert(number)),
                Err(error) => {
                    assert_eq!(error, OpenError::Replayed);
                    assert!(opened.contains(&(index as u64)));
                }
            }
        }
        assert_eq!(opened.len(), 300);
    }
    burdock_ledger::reached("R4", "duplicates accepted", doubled);
}

// Mutation: `WINDOW + 1` in `is_fresh` makes this fail.
#[test]
fn r4_older_than_the_window_is_refused() {
    let (mut sealer, mut opener) = pair(Order::Window);
    let old = [packet(&mut sealer, 1, b"0"), packet(&mut sealer, 1, b"1")];
    sealer.next = 8192;
    open(&mut opener, &packet(&mut sealer, 1, b"8192")).unwrap();
    assert_eq!(open(&mut opener, &old[0]), Err(OpenError::Replayed));
    assert_eq!(open(&mut opener, &old[1]), Ok((1, false, b"1".to_vec())));
}

// Mutation: `&[]` for `header` as the associated data makes this fail.
#[test]
fn r5_every_bit_of_a_packet_is_authenticated() {
    let mut accepted = 0;
    for order in [Order::Window, Order::Strict] {
        let (mut sealer, mut opener) = pair(order);
        let genuine = packet(&mut sealer, 0x1234_5678, b"some frames");
        let before = state(&opener);
        for bit in 0..genuine.len() * 8 {
            let mut flipped = genuine.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            accepted += u32::from(open(&mut opener, &flipped).is_ok());
            assert_eq!(state(&opener), before, "bit {bit}");
        }
        for len in 0..genuine.len() {
            assert!(open(&mut opener, &genuine[..len]).is_err(), "length {len}");
        }
        open(&mut opener, &genuine).unwrap();
    }
    burdock_ledger::reached("R5", "flipped bits accepted", accepted);
}

#[test]
fn a_stream_takes_only_the_next_packet() {
    let (mut sealer, mut opener) = pair(Order::Strict);
    let packets: Vec<_> = (0..3).map(|_| packet(&mut sealer, 1, b"x")).collect();
    assert_eq!(open(&mut opener, &packets[1]), Err(OpenError::OutOfOrder));
    assert_eq!(open(&mut opener, &packets[0]), Ok((0, true, b"x".to_vec())));
    assert_eq!(open(&mut opener, &packets[0]), Err(OpenError::OutOfOrder));
    assert_eq!(open(&mut opener, &packets[2]), Err(OpenError::OutOfOrder));
    assert_eq!(open(&mut opener, &packets[1]), Ok((1, true, b"x".to_vec())));
}

// Mutation: without `buf.zeroize()` in `aead::open` this fails.
#[test]
fn i3_a_failed_open_wipes_the_packet() {
    let (mut sealer, mut opener) = pair(Order::Window);
    let mut damaged = packet(&mut sealer, 1, b"plaintext that must not show");
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(opener.open(&mut damaged).err(), Some(OpenError::BadTag));
    burdock_ledger::reached(
        "I3",
        "plaintext bytes left by a failed open",
        damaged[HEADER_LEN..].iter().filter(|byte| **byte != 0).count() as u32,
    );
}

// Mutation: `packet.split_at_mut(HEADER_LEN)` in `Opener::open` makes this fail.
#[test]
fn r3_garbage_never_panics() {
    let (_, mut opener) = pair(Order::Window);
    for len in 0..64 {
        for fill in [0, DATA_TYPE, 0xff] {
            assert!(opener.open(&mut vec![fill; len]).is_err());
        }
    }
}

// Mutation: `WORN_NUMBER` of `1 << 61` makes this fail.
#[test]
fn r2_a_key_is_worn_after_2_to_the_60_packets() {
    let (mut sealer, _) = pair(Order::Window);
    sealer.set_number((1 << 60) - 1);
    assert!(!sealer.is_worn());
    packet(&mut sealer, 1, b"x");
    assert!(sealer.is_worn() && !sealer.is_exhausted());
}

// Mutation: counting forgeries without `self.key = None` makes this fail.
#[test]
fn r7_a_key_is_retired_after_too_many_forgeries() {
    assert_eq!(FORGERY_LIMIT, 1 << 36);
    let (mut sealer, mut opener) = pair(Order::Window);
    let genuine = packet(&mut sealer, 1, b"genuine");
    let next = packet(&mut sealer, 1, b"next");
    let mut forged = packet(&mut sealer, 1, b"forged");
    *forged.last_mut().unwrap() ^= 1;
    opener.set_forgeries(FORGERY_LIMIT / 2 - 1);
    assert!(!opener.is_worn());
    assert_eq!(open(&mut opener, &forged), Err(OpenError::BadTag));
    assert!(opener.is_worn());
    opener.set_forgeries(FORGERY_LIMIT - 2);
    assert_eq!(open(&mut opener, &forged), Err(OpenError::BadTag));
    assert_eq!(open(&mut opener, &genuine), Ok((0, true, b"genuine".to_vec())));
    // What is no forgery does not count.
    assert_eq!(open(&mut opener, &genuine), Err(OpenError::Replayed));
    assert!(!opener.is_retired());
    assert_eq!(open(&mut opener, &forged), Err(OpenError::BadTag));
    assert!(opener.is_retired());
    let opened = open(&mut opener, &next);
    burdock_ledger::reached("R7", "packets opened by a key that was retired", u32::from(opened.is_ok()));
    assert_eq!(opened, Err(OpenError::Retired));
}

#[test]
fn each_refusal_is_counted_under_its_own_name() {
    use OpenError::{BadTag, Malformed, OutOfOrder, Replayed, Retired};
    let mut refused = Refused::default();
    for (times, error) in [Malformed, Replayed, OutOfOrder, BadTag, Retired].into_iter().enumerate() {
        (0..=times).for_each(|_| refused.count(error));
    }
    assert_eq!(refused, Refused { malformed: 1, replayed: 2, out_of_order: 3, bad_tag: 4, retired: 5 });
}
