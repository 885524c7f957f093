use super::*;
use crate::recovery::AckTracker;

fn tracker() -> AckTracker {
    AckTracker::new(Carrier::Datagrams)
}

#[test]
fn the_first_packet_is_acknowledged_at_once_and_then_every_second() {
    let mut t = tracker();
    assert_eq!((t.due(), t.wants_ack(), t.ack(at(0))), (None, false, None));
    t.on_received(at(10), 0, true);
    assert_eq!(t.due(), Some(at(10)));
    assert_eq!(t.ack(at(10)), Some((ranges(&[(0, 0)]), Duration::ZERO)));
    assert_eq!((t.due(), t.wants_ack()), (None, false));
    t.on_received(at(20), 1, true);
    assert!(t.wants_ack());
    assert_eq!(t.due(), Some(at(45)), "25 ms later at the latest");
    t.on_received(at(30), 2, true);
    assert_eq!(t.due(), Some(at(30)));
    assert_eq!(t.ack(at(37)), Some((ranges(&[(0, 2)]), ms(7))), "the highest waited 7 ms");
}

#[test]
fn a_stream_acknowledges_every_fourth() {
    let mut t = AckTracker::new(Carrier::Stream);
    t.on_received(at(0), 0, true);
    t.ack(at(0));
    (1..4).for_each(|n| t.on_received(at(0), n, true));
    assert_eq!(t.due(), Some(at(25)));
    t.on_received(at(1), 4, true);
    assert_eq!(t.due(), Some(at(1)));
}

/// RFC 9000 §13.2.1.
#[test]
fn disorder_is_reported_at_once() {
    let mut t = tracker();
    (0..2).for_each(|n| t.on_received(at(0), n, true));
    t.ack(at(0));
    t.on_received(at(1), 3, true);
    assert_eq!(t.due(), Some(at(1)), "a gap");
    assert_eq!(t.ack(at(1)), Some((ranges(&[(3, 3), (0, 1)]), Duration::ZERO)));
    t.on_received(at(5), 2, true);
    assert_eq!(t.due(), Some(at(5)), "the gap is filled");
    assert_eq!(t.ack(at(6)), Some((ranges(&[(0, 3)]), ms(5))), "the highest came at 1 ms");
}

// Mutation: `self.ranges.is_empty()` alone as the guard of `ack` makes this fail.
#[test]
fn acknowledgements_are_not_acknowledged() {
    let mut t = tracker();
    (0..100).for_each(|n| t.on_received(at(n), 2 * n, false));
    assert_eq!((t.due(), t.wants_ack(), t.ack(at(100))), (None, false, None));
    t.on_received(at(100), 199, true);
    assert_eq!(t.ack(at(100)).unwrap().0[0], (198, 199), "but they are told beside others");
}

#[test]
fn a_duplicate_changes_nothing() {
    let mut t = tracker();
    t.on_received(at(0), 7, true);
    t.ack(at(0));
    t.on_received(at(1), 7, true);
    assert_eq!((t.due(), t.wants_ack()), (None, false));
}

#[test]
fn what_the_peer_knows_is_not_repeated_but_what_came_since_is() {
    let mut t = tracker();
    [0, 1, 4, 9].into_iter().for_each(|n| t.on_received(at(0), n, true));
    t.ack(at(0));
    t.on_received(at(2), 6, true);
    t.on_ack_acked(9);
    assert_eq!(t.ack(at(3)).unwrap().0, ranges(&[(9, 9), (6, 6)]));
    t.on_received(at(4), 10, true);
    t.ack(at(4));
    t.on_ack_acked(u64::MAX);
    t.on_received(at(5), 2, true);
    assert_eq!(t.ack(at(5)), Some((ranges(&[(10, 10), (2, 2)]), MS)), "the highest is always named");
}

#[test]
fn the_ends_of_the_numbers_overflow_nothing() {
    let mut t = tracker();
    for n in [u64::MAX, 0, u64::MAX - 1, 1] {
        t.on_received(Time::MAX, n, true);
    }
    t.on_ack_acked(u64::MAX);
    assert_eq!(t.due(), Some(Time::MAX));
    assert_eq!(t.ack(Time::MAX).unwrap().0, ranges(&[(u64::MAX - 1, u64::MAX), (0, 1)]));
}

#[derive(Clone, Debug)]
enum Step {
    Receive { number: u64, eliciting: bool },
    Ack,
    AckAcked { largest: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0u64..200, any::<bool>()).prop_map(|(number, eliciting)| Step::Receive { number, eliciting }),
        2 => Just(Step::Ack),
        1 => (0u64..200).prop_map(|largest| Step::AckAcked { largest }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Against a plain set of numbers.
    #[test]
    fn ranges_are_those_of_a_set(steps in prop::collection::vec(step(), 1..300)) {
        let mut t = tracker();
        let mut set: BTreeSet<u64> = BTreeSet::new();
        let mut unreported: BTreeSet<u64> = BTreeSet::new();
        let mut highest: Option<(u64, Time)> = None;
        let mut owed = 0;

        for (now, step) in (0..).map(at).zip(steps) {
            match step {
                Step::Receive { number, eliciting } => {
                    t.on_received(now, number, eliciting);
                    if !set.insert(number) {
                        continue;
                    }
                    unreported.insert(number);
                    if highest.is_none_or(|(highest, _)| number > highest) {
                        highest = Some((number, now));
                    }
                    if eliciting {
                        owed += 1;
                        prop_assert!(t.due().is_some_and(|due| due <= now + ms(25)));
                        prop_assert!(owed < 2 || t.due().is_some_and(|due| due <= now));
                    }
                    let lowest_kept = ranges_of(&set).last().map_or(0, |range| range.0);
                    set = set.split_off(&lowest_kept);
                }
                Step::Ack => {
                    let expected = (owed > 0).then(|| {
                        let (_, at) = highest.unwrap();
                        (ranges_of(&set), now.saturating_since(at))
                    });
                    prop_assert_eq!(t.ack(now), expected);
                    if owed > 0 {
                        owed = 0;
                        unreported.clear();
                    }
                }
                Step::AckAcked { largest } => {
                    t.on_ack_acked(largest);
                    let keep = unreported.first().copied().unwrap_or(u64::MAX);
                    let highest = highest.map_or(0, |(highest, _)| highest);
                    set.retain(|&number| number > largest || number >= keep || number == highest);
                }
            }
            prop_assert_eq!(t.wants_ack(), owed > 0);
            prop_assert_eq!(t.due().is_some(), owed > 0);
        }
    }
}
