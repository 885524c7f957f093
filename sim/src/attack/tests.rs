//! What attackers do is what the scenario says, and depends on nothing else.

use core::time::Duration;

use super::*;
use crate::attack::on_path::Meddled;
use crate::luck::Luck;
use crate::scenario::{Family, address};
use crate::world::World;

const WAY: Way = Way { from: 0, to: 1 };

fn attack(kind: FaultKind, queue: &mut Queue<Item>) -> Attack {
    let mut attack = Attack::new(3, Luck::of(5));
    attack.learn((0..3).map(|host| World::identity(Luck::of(5), host).public_key()).collect());
    let fault = Fault { from: Duration::ZERO, until: None, family: Family::OnPath, kind };
    attack.begin(0, 0, &fault, queue);
    attack
}

fn pass(attack: &mut Attack, now: u64, data: &[u8], queue: &mut Queue<Item>) -> Meddled {
    let passing = Passing { way: WAY, source: address(0), data, arrives: Some(now + 10) };
    attack.passes(now, passing, queue)
}

/// When, to whom, from where, whose content, which bytes.
type Sent = (u64, usize, SocketAddr, Option<SocketAddr>, Vec<u8>);

fn sent(queue: &mut Queue<Item>) -> Vec<Sent> {
    core::iter::from_fn(|| queue.pop())
        .filter_map(|(at, item)| match item {
            Item::Net(NetItem::Datagram { to, from, data, truth, .. }) => Some((at, to, from, truth, data)),
            _ => None,
        })
        .collect()
}

#[test]
fn a_mutant_is_never_a_packet_that_was_sent() {
    let mut queue = Queue::new();
    let tricks = OnPath { mutate: 1_000, budget: u64::MAX, ..OnPath::default() };
    let mut attack = attack(FaultKind::OnPath { way: WAY, tricks }, &mut queue);
    let packets: Vec<Vec<u8>> =
        (0..200u8).map(|n| [&[[8, 9, 10, 11][usize::from(n) % 4]], &[n; 60][..]].concat()).collect();
    for (now, packet) in (0..).zip(&packets) {
        pass(&mut attack, now * 100, packet, &mut queue);
    }
    let sent = sent(&mut queue);
    assert_eq!(sent.len(), packets.len());
    assert!(sent.iter().all(|(.., truth, data)| truth.is_none() && !packets.contains(data)));
}

#[test]
fn a_copy_comes_after_its_original_unless_the_oracles_know() {
    let mut queue = Queue::new();
    let tricks = OnPath {
        replay: 400,
        replay_within: Duration::from_secs(9),
        delay: 200,
        delay_by: Duration::from_secs(3),
        elsewhere: 400,
        budget: u64::MAX,
        ..OnPath::default()
    };
    let mut attack = attack(FaultKind::OnPath { way: WAY, tricks }, &mut queue);
    let mut originals = BTreeMap::new();
    for now in 0..500u64 {
        let data = now.to_be_bytes();
        let meddled = pass(&mut attack, now * 1_000, &data, &mut queue);
        originals.insert(data.to_vec(), (now * 1_000 + 10 + meddled.late, meddled));
    }
    let sent = sent(&mut queue);
    assert!(sent.len() > 200);
    for (at, _, _, truth, data) in sent {
        let (arrives, meddled) = originals[&data];
        assert!(at > arrives || !meddled.first, "{at} {arrives}");
        assert_eq!(truth, Some(address(0)));
    }
}

#[test]
fn a_budget_bounds_what_is_sent_and_the_memory_is_small() {
    let mut queue = Queue::new();
    let tricks = OnPath { replay: 1_000, reflect: 1_000, mutate: 1_000, budget: 10_000, ..OnPath::default() };
    let mut attack = attack(FaultKind::OnPath { way: WAY, tricks }, &mut queue);
    for now in 0..1_000 {
        pass(&mut attack, now, &[if now % 2 == 0 { 8 } else { 11 }; 500], &mut queue);
    }
    assert!(attack.spent <= 10_000 + 100, "{}", attack.spent);
    assert_eq!((attack.recent.len(), attack.handshakes.len()), (RECENT, HANDSHAKES));
}

#[test]
fn a_stranger_sends_at_its_rate_and_first_messages_are_bounded() {
    let mut queue = Queue::new();
    let plan = OffPath {
        target: 1,
        per_second: 2_500,
        forgeries: vec![Forgery::Stranger, Forgery::Forged, Forgery::Data, Forgery::Garbage],
        sources: 65_536,
        as_hosts: 0,
        costly: 7,
        identities: 3,
    };
    let mut attack = attack(FaultKind::OffPath(plan), &mut queue);
    let mut sent = Vec::new();
    while let Some((now, item)) = queue.pop() {
        match item {
            Item::Attack(fault) if now < 1_000_000 => attack.volley(now, fault, 20_000, &mut queue),
            Item::Net(NetItem::Datagram { from, data, .. }) => sent.push((from, data)),
            _ => {}
        }
    }
    assert_eq!(sent.len(), 2_500);
    let key = attack.keys[1];
    let valid = sent.iter().filter(|(_, data)| {
        data.len() == 1_200 && data[0] == 8 && data[1_168..1_184] == burdock_core::crypto::mac1(&key, &data[..1_168])
    });
    assert_eq!(valid.count(), 7);
    assert!(sent.iter().all(|(from, _)| attack.nat.ever(*from).is_none()));
}
