//! The figures are typed from RFC 9002, not taken from the code's constants.

mod ack;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;

use proptest::prelude::*;

use super::{AckResult, Carrier, Controller, Expired, Fate, FixedWindow, OptimisticAck, Recovery, Rtt, Stats};
use crate::sent::{SentFrame, SentFrames};
use crate::time::Time;
use crate::wire::frame::AckRanges;

const MS: Duration = Duration::from_millis(1);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn at(millis: u64) -> Time {
    Time::ZERO + ms(millis)
}

fn recovery(carrier: Carrier) -> Recovery {
    Recovery::new(carrier, Box::new(FixedWindow::new(carrier)))
}

/// One frame that names its packet.
fn frames(number: u64) -> SentFrames {
    [SentFrame::Stream { channel: 0, offset: number, len: 1 }].into_iter().collect()
}

fn named(frame: SentFrame) -> u64 {
    match frame {
        SentFrame::Stream { offset, .. } => offset,
        other => panic!("no such frame was sent: {other:?}"),
    }
}

fn send(recovery: &mut Recovery, now: Time, number: u64) {
    recovery.on_sent(now, number, 1200, true, frames(number));
}

fn ranges(ranges: &[(u64, u64)]) -> AckRanges {
    ranges.iter().copied().collect()
}

/// Acknowledges, and gives back what was acknowledged and what was lost.
fn ack(recovery: &mut Recovery, now: Time, acked: &[(u64, u64)]) -> (Vec<u64>, Vec<u64>) {
    let (mut good, mut bad) = (vec![], vec![]);
    let mut fate = |frame, fate| match fate {
        Fate::Acked => good.push(named(frame)),
        Fate::Lost => bad.push(named(frame)),
    };
    recovery.on_ack(now, &ranges(acked), Duration::ZERO, &mut fate).unwrap();
    (good, bad)
}

fn tick(recovery: &mut Recovery, now: Time) -> (Expired, Vec<u64>) {
    let mut lost = vec![];
    let expired = recovery.on_timeout(now, &mut |frame, fate| {
        assert_eq!(fate, Fate::Lost);
        lost.push(named(frame));
    });
    (expired, lost)
}

mod rtt {
    use super::*;

    // Mutation: `INITIAL` of 1,000,000 µs makes this fail.
    #[test]
    fn t12_first_guess_is_333_ms() {
        let rtt = Rtt::new();
        assert!(!rtt.has_sample());
        assert_eq!(rtt.smoothed(), ms(333));
        assert_eq!(rtt.var(), Duration::from_micros(166_500));
        assert_eq!(rtt.pto(Duration::ZERO), ms(999));
        assert_eq!(rtt.pto(ms(25)), ms(1024));
    }

    #[test]
    fn the_first_sample_replaces_the_guess() {
        let mut rtt = Rtt::new();
        rtt.update(ms(80), ms(20));
        assert!(rtt.has_sample());
        assert_eq!((rtt.latest(), rtt.smoothed(), rtt.var(), rtt.min()), (ms(80), ms(80), ms(40), ms(80)));
    }

    /// RFC 9002 §5.3: 7/8 of the average and 3/4 of the deviation stay.
    #[test]
    fn later_samples_move_the_average() {
        let mut rtt = Rtt::new();
        rtt.update(ms(80), Duration::ZERO);
        rtt.update(ms(160), Duration::ZERO);
        assert_eq!((rtt.latest(), rtt.smoothed(), rtt.var(), rtt.min()), (ms(160), ms(90), ms(50), ms(80)));
    }

    // Mutation: without `.min(MAX_ACK_DELAY)` in `update` this fails.
    #[test]
    fn the_peers_delay_counts_at_most_25_ms() {
        let mut rtt = Rtt::new();
        rtt.update(ms(80), Duration::ZERO);
        rtt.update(ms(185), Duration::MAX);
        assert_eq!(rtt.smoothed(), ms(90), "185 - 25 = 160, and 80 + (160 - 80) / 8 = 90");
    }

    #[test]
    fn the_peers_delay_never_undercuts_the_shortest_round_trip() {
        let mut rtt = Rtt::new();
        rtt.update(ms(80), Duration::ZERO);
        rtt.update(ms(96), ms(20));
        assert_eq!(rtt.smoothed(), ms(82), "96 - 20 lies below 80, so all 96 count");
    }

    #[test]
    fn steady_samples_leave_the_granularity() {
        let mut rtt = Rtt::new();
        (0..200).for_each(|_| rtt.update(ms(10), Duration::ZERO));
        assert_eq!(rtt.pto(Duration::ZERO), ms(10) + MS);
    }

    #[test]
    fn an_absurd_sample_overflows_nothing() {
        let mut rtt = Rtt::new();
        (0..100).for_each(|_| rtt.update(Duration::MAX, Duration::MAX));
        assert_eq!(rtt.smoothed(), Duration::from_secs(60));
    }
}

mod loss {
    use super::*;

    // Mutation: `PACKET_THRESHOLD` of 2 (or 4) makes this fail.
    #[test]
    fn t12_packet_threshold_is_3() {
        let mut r = recovery(Carrier::Datagrams);
        (0..5).for_each(|n| send(&mut r, at(0), n));
        assert_eq!(ack(&mut r, at(20), &[(3, 3)]), (vec![3], vec![0]));
        assert_eq!(ack(&mut r, at(21), &[(3, 4)]), (vec![4], vec![1]));
        assert_eq!(r.bytes_in_flight(), 1200);
        assert_eq!(r.stats(), Stats { sent: 5, lost: 2, spurious: 0, acked_bytes: 2400 });
    }

    // Mutation: `* 9 / 8` as `* 5 / 4` in `Rtt::loss_delay` makes this fail.
    #[test]
    fn t12_time_threshold_is_nine_eighths() {
        let mut r = recovery(Carrier::Datagrams);
        send(&mut r, at(0), 0);
        send(&mut r, at(0), 1);
        assert_eq!(ack(&mut r, at(80), &[(1, 1)]), (vec![1], vec![]));
        assert_eq!(r.timeout(), Some(at(90)), "80 ms * 9 / 8 after it was sent");
        let early = Time::from_micros(89_999);
        assert_eq!(tick(&mut r, early), (Expired::Nothing, vec![]));
        assert_eq!(tick(&mut r, at(90)), (Expired::LossDetected, vec![0]));
        assert_eq!((r.timeout(), r.bytes_in_flight(), r.unanswered_since()), (None, 0, None));
    }

    #[test]
    fn the_time_threshold_is_at_least_a_millisecond() {
        let mut r = recovery(Carrier::Datagrams);
        r.seed_rtt(Duration::from_micros(100));
        send(&mut r, at(0), 0);
        send(&mut r, at(0), 1);
        ack(&mut r, Time::from_micros(100), &[(1, 1)]);
        assert_eq!(r.timeout(), Some(at(1)));
    }

    // Mutation: without the shift in `probe_time` this fails.
    #[test]
    fn t12_pto_doubles_until_an_answer() {
        let mut r = recovery(Carrier::Datagrams);
        r.seed_rtt(ms(75));
        assert_eq!(r.pto_period(), ms(250), "75 + 4 * 37.5 + 25");
        send(&mut r, at(0), 0);
        let mut number = 1;
        let mut now = at(0);
        for wait in [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000] {
            let due = now + ms(wait);
            assert_eq!(r.timeout(), Some(due));
            assert_eq!(
                tick(&mut r, due),
                (Expired::Probe { packets: 2 }, vec![]),
                "nothing is lost by a probe timeout"
            );
            now = due;
            for _ in 0..2 {
                send(&mut r, now, number);
                number += 1;
            }
        }
        assert_eq!(r.pto_count(), 8);
        assert_eq!(r.unanswered_since(), Some(at(0)));
        ack(&mut r, now + MS, &[(number - 2, number - 2)]);
        assert_eq!(r.pto_count(), 0);
    }

    /// A round trip over the cap is waited for in full.
    #[test]
    fn the_cap_never_cuts_a_slow_path_short() {
        let mut r = recovery(Carrier::Datagrams);
        r.seed_rtt(ms(8000));
        send(&mut r, at(0), 0);
        assert_eq!(r.timeout(), Some(at(24_025)));
        tick(&mut r, at(24_025));
        assert_eq!(r.timeout(), Some(at(48_050)));
    }

    #[test]
    fn a_probe_that_the_carrier_does_not_take_is_asked_for_again() {
        let mut r = recovery(Carrier::Datagrams);
        send(&mut r, at(0), 0);
        assert_eq!(r.timeout(), Some(at(1024)));
        assert_eq!(tick(&mut r, at(5000)).0, Expired::Probe { packets: 2 });
        assert_eq!(r.timeout(), Some(at(5000 + 2048)));
    }

    #[test]
    fn a_probe_repeats_the_oldest_frames() {
        let mut r = recovery(Carrier::Datagrams);
        (0..5).for_each(|n| send(&mut r, at(0), n));
        ack(&mut r, at(10), &[(1, 1)]);
        let mut again = vec![];
        r.unacked_frames(2, &mut |frame| again.push(named(frame)));
        assert_eq!(again, [0, 2]);
    }

    // Mutation: `largest > self.next` in `on_ack` makes this fail.
    #[test]
    fn d8_acknowledging_a_packet_never_sent_is_an_error() {
        let mut r = recovery(Carrier::Datagrams);
        let none = r.on_ack(at(0), &ranges(&[(0, 0)]), Duration::ZERO, &mut |_, _| panic!("nothing was sent"));
        assert_eq!(none, Err(OptimisticAck { number: 0, next: 0 }));
        (0..4).for_each(|n| send(&mut r, at(0), n));
        let before = (r.bytes_in_flight(), r.stats(), r.timeout());
        for bad in [&[(4, 4)][..], &[(0, 4)], &[(u64::MAX, u64::MAX), (0, 3)]] {
            let result = r.on_ack(at(1), &ranges(bad), Duration::ZERO, &mut |_, _| panic!("nothing may change"));
            let error = result.unwrap_err();
            assert_eq!((error.number, error.next), (bad[0].1, 4));
            assert_eq!((r.bytes_in_flight(), r.stats(), r.timeout()), before);
        }
        insta::assert_snapshot!(
            OptimisticAck { number: 9, next: 4 },
            @"the peer acknowledged packet 9, but only packets below 4 were sent: close the session"
        );
    }

    #[test]
    fn an_ack_that_comes_after_the_loss_is_spurious_and_settles_nothing() {
        let mut r = recovery(Carrier::Datagrams);
        (0..4).for_each(|n| send(&mut r, at(0), n));
        assert_eq!(ack(&mut r, at(10), &[(3, 3)]), (vec![3], vec![0]));
        assert_eq!(ack(&mut r, at(11), &[(3, 3), (0, 0)]), (vec![], vec![]));
        assert_eq!(ack(&mut r, at(11), &[(3, 3), (0, 0)]), (vec![], vec![]));
        assert_eq!(r.stats(), Stats { sent: 4, lost: 1, spurious: 1, acked_bytes: 1200 });
    }

    #[test]
    fn nonsense_ranges_do_no_harm() {
        let mut r = recovery(Carrier::Datagrams);
        (0..4).for_each(|n| send(&mut r, at(0), n));
        assert_eq!(ack(&mut r, at(1), &[(3, 1), (2, 0)]), (vec![], vec![]));
        assert_eq!(ack(&mut r, at(1), &[]), (vec![], vec![]));
    }

    #[test]
    fn a_round_trip_is_measured_on_the_highest_number_only() {
        let mut r = recovery(Carrier::Datagrams);
        r.on_sent(at(0), 0, 50, false, SentFrames::new());
        send(&mut r, at(4), 1);
        send(&mut r, at(5), 2);
        let mut on_ack = |now, acked| r.on_ack(now, &ranges(acked), Duration::ZERO, &mut |_, _| {}).unwrap();
        assert_eq!(on_ack(at(9), &[(0, 0)]), AckResult::default(), "nothing in it elicited an acknowledgement");
        let first = AckResult { newly_acked: true, newly_acked_bytes: 1200, rtt_sample: Some(ms(15)) };
        assert_eq!(on_ack(at(20), &[(2, 2)]), first);
        let second = AckResult { rtt_sample: None, ..first };
        assert_eq!(on_ack(at(20), &[(1, 2)]), second, "the highest was known already");
    }

    #[test]
    fn what_elicits_no_ack_is_not_in_flight_and_not_hoarded() {
        let mut r = recovery(Carrier::Datagrams);
        for n in 0..10_000 {
            r.on_sent(at(n), n, 1200, false, frames(n));
        }
        assert_eq!((r.bytes_in_flight(), r.timeout(), r.unanswered_since()), (0, None, None));
        assert!(r.may_send());
        assert_eq!(ack(&mut r, at(10_000), &[(0, 9999)]), (vec![9999], vec![]), "the last of a run is remembered");
        assert_eq!(r.stats(), Stats::default());
    }

    #[test]
    fn the_window_holds_64_datagrams() {
        let mut r = recovery(Carrier::Datagrams);
        let mut number = 0;
        while r.may_send() {
            send(&mut r, at(0), number);
            number += 1;
        }
        assert_eq!((number, r.bytes_in_flight()), (64, 76_800));
        ack(&mut r, at(1), &[(0, 0)]);
        assert!(r.may_send());
    }

    /// A peer that acknowledges everything but the first packet of a stream stops us, and grows nothing.
    // Mutation: without `MAX_REMEMBERED` in `may_send` this never ends.
    #[test]
    fn d6_what_is_remembered_is_bounded() {
        let mut r = recovery(Carrier::Stream);
        let mut number = 0;
        while r.may_send() {
            r.on_sent(at(0), number, 40, true, frames(number));
            if number > 0 {
                ack(&mut r, at(0), &[(number, number)]);
            }
            number += 1;
        }
        assert_eq!(number, 4096);
    }

    #[test]
    fn a_stream_loses_nothing_until_it_is_abandoned() {
        let mut r = recovery(Carrier::Stream);
        (0..9).for_each(|n| send(&mut r, at(0), n));
        assert_eq!(ack(&mut r, at(5), &[(8, 8)]), (vec![8], vec![]));
        assert_eq!(r.timeout(), None);
        assert_eq!(tick(&mut r, at(100_000)), (Expired::Nothing, vec![]));
        let mut lost = vec![];
        r.abandon(&mut |frame| lost.push(named(frame)));
        assert_eq!(lost, (0..8).collect::<Vec<_>>());
        assert_eq!((r.bytes_in_flight(), r.unanswered_since()), (0, None));
        assert_eq!(ack(&mut r, at(6), &[(0, 8)]), (vec![], vec![]));
    }

    #[test]
    fn silence_is_counted_from_the_last_answer_that_left_others_waiting() {
        let mut r = recovery(Carrier::Datagrams);
        assert_eq!(r.unanswered_since(), None);
        send(&mut r, at(10), 0);
        send(&mut r, at(20), 1);
        assert_eq!(r.unanswered_since(), Some(at(10)));
        ack(&mut r, at(30), &[(0, 0)]);
        assert_eq!(r.unanswered_since(), Some(at(30)));
        ack(&mut r, at(35), &[(0, 0)]);
        assert_eq!(r.unanswered_since(), Some(at(30)), "the same answer again is no answer");
        ack(&mut r, at(40), &[(0, 1)]);
        assert_eq!(r.unanswered_since(), None);
        send(&mut r, at(50), 2);
        assert_eq!(r.unanswered_since(), Some(at(50)));
    }

    #[derive(Debug)]
    struct Witness(mpsc::Sender<String>);

    impl Witness {
        fn note(&self, what: String) {
            self.0.send(what).unwrap();
        }
    }

    impl Controller for Witness {
        fn window(&self) -> usize {
            usize::MAX
        }
        fn on_sent(&mut self, _now: Time, _bytes: usize) {}
        fn on_ack(&mut self, now: Time, bytes: usize, sent_at: Time, _rtt: &Rtt) {
            self.note(format!("{now} acked {bytes} of {sent_at}"));
        }
        fn on_congestion_event(&mut self, now: Time, bytes: usize, sent_at: Time) {
            self.note(format!("{now} lost {bytes} up to {sent_at}"));
        }
        fn on_persistent_congestion(&mut self, now: Time) {
            self.note(format!("{now} persistent"));
        }
    }

    /// RFC 9002 §7.6: three probe timeouts, measured between sendings. The answer that tells of the
    /// losses takes 75 ms again, so a timeout is 75 + 4 * 28.125 + 25 = 212.5 ms by then.
    // Mutation: `PERSISTENT_PTOS` of 2 makes this fail.
    #[test]
    fn the_controller_hears_of_losses_and_of_persistent_congestion() {
        for (last_lost, persistent) in [(637, false), (638, true)] {
            let (witness, notes) = mpsc::channel();
            let mut r = Recovery::new(Carrier::Datagrams, Box::new(Witness(witness)));
            r.seed_rtt(ms(75));
            send(&mut r, at(0), 0);
            send(&mut r, at(last_lost), 1);
            (2..5).for_each(|n| send(&mut r, at(2000), n));
            assert_eq!(ack(&mut r, at(2075), &[(4, 4)]), (vec![4], vec![0, 1]));
            let mut expected = vec![
                "2.075000s acked 1200 of 2.000000s".to_owned(),
                format!("2.075000s lost 2400 up to {}", at(last_lost)),
            ];
            expected.extend(persistent.then(|| "2.075000s persistent".to_owned()));
            assert_eq!(notes.try_iter().collect::<Vec<_>>(), expected);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Send { eliciting: bool, size: usize },
    Ack { picks: Vec<bool>, delay_us: u32 },
    Timeout,
    Pass { us: u32 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (any::<bool>(), 20usize..1200).prop_map(|(eliciting, size)| Step::Send { eliciting, size }),
        3 => (prop::collection::vec(any::<bool>(), 40), any::<u32>())
            .prop_map(|(picks, delay_us)| Step::Ack { picks, delay_us }),
        2 => Just(Step::Timeout),
        3 => (0u32..400_000).prop_map(|us| Step::Pass { us }),
    ]
}

/// The ranges of a set, highest first, at most 32.
fn ranges_of(set: &BTreeSet<u64>) -> AckRanges {
    let mut ranges: Vec<(u64, u64)> = vec![];
    for &number in set.iter().rev() {
        match ranges.last_mut() {
            Some((low, _)) if *low == number + 1 => *low = number,
            _ => ranges.push((number, number)),
        }
    }
    ranges.into_iter().take(32).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    // Mutation: without `packet.fortune = Fortune::Lost` in `settle_below` this fails.
    #[test]
    fn t12_every_frame_meets_exactly_one_fate(
        stream in any::<bool>(),
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let carrier = if stream { Carrier::Stream } else { Carrier::Datagrams };
        let mut r = recovery(carrier);
        let mut now = Time::ZERO;
        let mut next = 0;
        let mut waiting: BTreeMap<u64, usize> = BTreeMap::new();
        let mut quiet: BTreeSet<u64> = BTreeSet::new();

        for step in steps {
            let mut settled = vec![];
            match step {
                Step::Send { eliciting, size } => {
                    r.on_sent(now, next, size, eliciting, frames(next));
                    if eliciting { waiting.insert(next, size); } else { quiet.insert(next); }
                    next += 1;
                }
                Step::Ack { picks, delay_us } => {
                    let acked: BTreeSet<u64> =
                        (0..next).rev().zip(picks).filter(|(_, pick)| *pick).map(|(number, _)| number).collect();
                    let acked = ranges_of(&acked);
                    let expected: usize = waiting.iter()
                        .filter(|(n, _)| acked.iter().any(|(low, high)| (low..=high).contains(n)))
                        .map(|(_, size)| size).sum();
                    let result = r.on_ack(now, &acked, Duration::from_micros(delay_us.into()), &mut |frame, fate| {
                        settled.push((named(frame), fate));
                    }).unwrap();
                    prop_assert_eq!(result.newly_acked_bytes, expected as u64);
                    prop_assert_eq!(result.newly_acked, expected > 0);
                    for (number, fate) in &settled {
                        let named = acked.iter().any(|(low, high)| (low..=high).contains(&number));
                        prop_assert_eq!(*fate == Fate::Acked, named);
                    }
                }
                Step::Timeout => if let Some(due) = r.timeout() {
                    now = now.max(due);
                    let expired = r.on_timeout(now, &mut |frame, fate| settled.push((named(frame), fate)));
                    prop_assert_ne!(expired, Expired::Nothing);
                    prop_assert_eq!(expired == Expired::LossDetected, !settled.is_empty());
                    prop_assert!(r.timeout().is_none_or(|next| next > now), "the next timer lies ahead");
                },
                Step::Pass { us } => now = now + Duration::from_micros(us.into()),
            }
            for (number, _) in settled {
                prop_assert!(waiting.remove(&number).is_some() || quiet.remove(&number), "a second fate for {}", number);
            }
            prop_assert_eq!(r.bytes_in_flight(), waiting.values().sum::<usize>());
            prop_assert_eq!(r.unanswered_since().is_some(), !waiting.is_empty());
            prop_assert_eq!(r.timeout().is_some(), !stream && !waiting.is_empty());
        }

        let mut again = BTreeSet::new();
        r.unacked_frames(usize::MAX, &mut |frame| { again.insert(named(frame)); });
        prop_assert!(again.iter().eq(waiting.keys()));
        let mut lost = vec![];
        r.abandon(&mut |frame| lost.push(named(frame)));
        prop_assert!(lost.iter().eq(waiting.keys()), "what was in flight is lost, in order");
        prop_assert_eq!((r.bytes_in_flight(), r.timeout(), r.unanswered_since()), (0, None, None));
    }
}
