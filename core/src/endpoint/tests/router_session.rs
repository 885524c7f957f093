//! When the SAM session is made afresh, and how long it is waited for.

use core::time::Duration;

use super::bench::Bench;
use super::forger::Forger;
use super::router::{asks, config, hidden, is_out_of_reach, peer, say, standing, stands};
use super::secs;
use crate::io::RouterState;
use crate::sam::PrivateDestination;
use crate::sam::tests::destination;
use crate::wire::frame::Frame;
use crate::{Code, Config, Event, I2p, NetError, Transport};

#[test]
fn a_session_that_the_router_forgot_is_made_afresh_under_the_same_destination() {
    // Mutation: `router.identity` not kept in `on_sam` makes this fail.
    let (mut bench, control, accepts) = standing(&config());
    let (_, done) = bench.connect(&hidden(peer()));
    asks(&mut bench, done.opened[0]);
    let done = say(&mut bench, done.opened[0], "STREAM STATUS RESULT=INVALID_ID\n");
    assert!(done.closed.contains(&control) && accepts.iter().all(|accept| done.closed.contains(accept)), "{done:?}");
    assert!(matches!(done.router[..], [RouterState::Down { code: Code::SamDown, .. }]));
    assert_eq!(bench.endpoint.router(), Some(&done.router[0]));
    // A moment for the router to let go of the destination, which may not be used twice.
    assert!(bench.pass(secs(7)).opened.is_empty());
    let again = bench.pass(secs(10)).opened;
    let (done, create) = stands(&mut bench, again[0]);
    assert!(create.contains(&destination(4, 288)), "the same destination");
    assert!(matches!(&done.router[..], [RouterState::Up { address }] if address.as_str() == destination(4, 0)));
}

#[test]
fn a_destination_that_the_router_made_can_be_kept() {
    let mut first = Bench::new(1, &config());
    first.pass(Duration::ZERO);
    assert!(first.endpoint.private_destination().is_none());
    let (first, ..) = standing(&config());
    let made = first.endpoint.private_destination().expect("the router made one").expose();
    assert_eq!(made, destination(4, 288));

    let mut next = Bench::new(1, &config());
    next.endpoint.set_destination(PrivateDestination::from_text(made).unwrap());
    let control = next.pass(Duration::ZERO).opened[0];
    assert!(stands(&mut next, control).1.contains(made));
    assert_eq!(next.endpoint.private_destination().unwrap().expose(), made);
}

#[test]
fn c1_e16_a_router_that_does_not_answer_is_asked_less_and_less() {
    // Mutation: `RETRY_FIRST` in place of `RETRY_CAP` makes this fail.
    let mut bench = Bench::new(1, &config());
    let begin = bench.now;
    let (mut asked, mut opened) = (Vec::new(), bench.pass(Duration::ZERO).opened);
    while bench.now < begin + secs(600) {
        for stream in core::mem::take(&mut opened) {
            asked.push(bench.now.saturating_since(begin));
            let done = bench.handle(Event::StreamClosed { stream, error: Some(NetError::Refused) });
            opened.extend(done.opened);
        }
        opened.extend(bench.pass(Duration::from_millis(100)).opened);
    }
    assert!((8..=40).contains(&asked.len()), "{asked:?}");
    let waits: Vec<_> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(waits.iter().all(|wait| *wait >= secs(1) && *wait <= secs(61)), "{waits:?}");
    let spread: std::collections::BTreeSet<_> = waits[6..].iter().collect();
    assert!(spread.len() > 1, "the waits are jittered: {waits:?}");
}

#[test]
fn a_session_that_reaches_nobody_is_made_afresh_in_time() {
    // Mutation: `UNREACHABLE` of 1 or 3, or a `GIVEN_TIME` of 601 s, makes this fail.
    let config = Config { i2p: Some(I2p { accept: false, ..I2p::default() }), ..config() };
    for (age, made_afresh) in [(0, [false; 3]), (599, [false; 3]), (600, [false, true, false])] {
        let (mut bench, control, _) = standing(&config);
        bench.pass(secs(age));
        for (n, made_afresh) in (0..).zip(made_afresh) {
            assert_eq!(is_out_of_reach(&mut bench, n).contains(&control), made_afresh, "{n} after {age} s");
            if made_afresh {
                break;
            }
        }
    }
    // Who is dialled twice is one.
    let (mut bench, control, _) = standing(&config);
    bench.pass(secs(600));
    assert!((0..3).all(|_| !is_out_of_reach(&mut bench, 0).contains(&control)));
}

#[test]
fn c1_a_session_that_ends_young_is_asked_for_later_and_later() {
    // Mutation: `>` for `<=` in `session_gone`, or a `PROVED_SOUND` of 9 or 11 s, makes this fail.
    let config = Config { i2p: Some(I2p { accept: false, ..I2p::default() }), ..config() };
    let (mut bench, mut control, _) = standing(&config);
    for (age, wait) in [(0, 8..=16), (0, 16..=32), (0, 30..=60), (9, 30..=60), (10, 8..=16)] {
        bench.pass(secs(age));
        let done = bench.handle(Event::StreamClosed { stream: control, error: None });
        let [RouterState::Down { retry_in_ms, .. }] = done.router[..] else { panic!("{done:?}") };
        assert!(wait.contains(&(retry_in_ms / 1000)), "{retry_in_ms} ms after {age} s");
        control = bench.pass(Duration::from_millis(retry_in_ms + 1)).opened[0];
        stands(&mut bench, control);
    }
}

#[test]
fn c1_a_router_that_lets_us_accept_and_hangs_up_is_asked_less_and_less() {
    // Mutation: `accept_retries = 0` for `Happened::Accepting` makes this fail.
    let (mut bench, _, mut accepts) = standing(&config());
    let (begin, mut asked) = (bench.now, 0);
    while bench.now < begin + secs(600) {
        for stream in core::mem::take(&mut accepts) {
            asked += 1;
            asks(&mut bench, stream);
            let mut done = say(&mut bench, stream, "STREAM STATUS RESULT=OK\n");
            accepts.append(&mut done.opened);
            accepts.extend(bench.handle(Event::StreamClosed { stream, error: None }).opened);
        }
        accepts.extend(bench.pass(Duration::from_millis(100)).opened);
    }
    assert!((8..=40).contains(&asked), "{asked} in ten minutes");
}

#[test]
fn a_session_that_reached_somebody_is_not_made_afresh_for_two_who_are_away() {
    // Mutation: leaving out `unreachable.clear()` in `peer_answered` makes this fail.
    let (mut bench, control, accepts) = standing(&config());
    asks(&mut bench, accepts[0]);
    asks(&mut bench, accepts[1]);
    say(&mut bench, accepts[0], "STREAM STATUS RESULT=OK\n");
    say(&mut bench, accepts[1], "STREAM STATUS RESULT=OK\n");
    is_out_of_reach(&mut bench, 1);
    let mut forger = Forger::new(2);
    let asked = forger.ask(&bench.key, Transport::I2p, 0);
    say(&mut bench, accepts[0], &format!("{}\n", destination(6, 0)));
    let answer = bench.stream_packet(accepts[0], &asked.packet);
    let mut epoch = asked.finish(&answer.written[&accepts[0]][2..]).expect("a RESP").0;
    let met = bench.stream_packet(accepts[0], &epoch.seal(&[Frame::Confirm])).connected().expect("a session");
    bench.endpoint.cancel(bench.now, met);
    bench.drain();
    bench.pass(secs(600));
    assert!(!is_out_of_reach(&mut bench, 2).contains(&control));
    assert!(is_out_of_reach(&mut bench, 3).contains(&control), "two in a row, and nobody between");
}

#[test]
fn a_session_in_which_a_peer_stays_silent_is_made_afresh() {
    // Mutation: leaving out `renew_silent_session` in `settle`, or `peer_answered` in `establish`, makes this fail.
    let config = Config { i2p: Some(I2p { accept: false, ..I2p::default() }), ..config() };
    let (mut bench, control, _) = standing(&config);
    let mut forger = Forger::new(2);
    let (_, done) = bench.connect(&hidden(forger.key));
    let dial = done.opened[0];
    asks(&mut bench, dial);
    say(&mut bench, dial, "STREAM STATUS RESULT=OK\n");
    // The first attempt ends in silence: that may be the peer's.
    let done = bench.pass(secs(65));
    assert!(!done.closed.contains(&control), "{done:?}");
    let dial = *done.opened.last().unwrap();
    asks(&mut bench, dial);
    say(&mut bench, dial, "STREAM STATUS RESULT=OK\n");
    // The second as well: that may be the router's.
    let done = bench.pass(secs(61));
    assert!(done.closed.contains(&control), "{done:?}");
    let control = bench.pass(secs(17)).opened[0];
    let (done, create) = stands(&mut bench, control);
    assert!(create.contains(&destination(4, 288)), "the same destination");

    // Whoever answers shows that all is well with the session, though it was silent before.
    let silent_since = |bench: &Bench| bench.endpoint.shared.router.as_ref().unwrap().silent_since;
    let dial = *done.opened.last().unwrap();
    asks(&mut bench, dial);
    say(&mut bench, dial, "STREAM STATUS RESULT=OK\n");
    let dial = loop {
        let done = bench.pass(secs(1));
        assert!(!done.closed.contains(&control), "{done:?}");
        if let Some(dial) = done.opened.last() {
            break *dial;
        }
    };
    assert!(silent_since(&bench).is_some());
    asks(&mut bench, dial);
    let done = say(&mut bench, dial, "STREAM STATUS RESULT=OK\n");
    let (resp, _) = forger.answer(&done.written[&dial][2..]);
    assert!(bench.stream_packet(dial, &resp).connected().is_some());
    assert_eq!(silent_since(&bench), None);
}

#[test]
fn c1_a_router_that_lets_one_wait_is_asked_less_and_less_for_a_second_until_a_caller_came() {
    // Mutation: `accept_retries` that does not grow in `on_sam_failed`, or stays in the `Accepted` arm, makes this fail.
    let (mut bench, _, accepts) = standing(&config());
    asks(&mut bench, accepts[0]);
    say(&mut bench, accepts[0], "STREAM STATUS RESULT=OK\n");
    let (begin, mut refused, mut opened) = (bench.now, 0, vec![accepts[1]]);
    while bench.now < begin + secs(600) {
        for stream in core::mem::take(&mut opened) {
            refused += 1;
            asks(&mut bench, stream);
            opened.extend(say(&mut bench, stream, "STREAM STATUS RESULT=ALREADY_ACCEPTING\n").opened);
        }
        opened.extend(bench.pass(Duration::from_millis(100)).opened);
    }
    assert!((8..=40).contains(&refused), "{refused} in ten minutes");
    // Nobody waits any more, so there is no time to lose.
    let done = say(&mut bench, accepts[0], &format!("{}\n", destination(6, 0)));
    assert!(!done.opened.is_empty(), "{done:?}");
}

#[test]
fn haste_leaves_the_router_time_to_let_go_of_the_destination() {
    // Mutation: `hurry_router` that sets `until` to now makes this fail.
    let (mut bench, control, _) = standing(&config());
    let (id, done) = bench.connect(&hidden(peer()));
    asks(&mut bench, done.opened[0]);
    let done = say(&mut bench, done.opened[0], "STREAM STATUS RESULT=INVALID_ID\n");
    assert!(done.closed.contains(&control), "{done:?}");
    let mut opened = Vec::new();
    for _ in 0..79 {
        bench.endpoint.retry_now(bench.now, id);
        opened.extend(bench.handle(Event::NetworkChanged).opened);
        opened.extend(bench.pass(Duration::from_millis(100)).opened);
    }
    assert!(opened.is_empty(), "two sessions of one destination make routers fail");
    assert_eq!(bench.pass(Duration::from_millis(100)).opened.len(), 1, "no later than that");
}

#[test]
fn t4_a_bridge_that_has_moved_is_asked_at_once_and_none_elsewhere() {
    // Mutation: `set_bridge` without `validate`, or without `hurry_router`, makes this fail.
    let mut bench = Bench::new(1, &config());
    let [control] = bench.pass(Duration::ZERO).opened[..] else { panic!("one socket") };
    bench.handle(Event::StreamClosed { stream: control, error: Some(NetError::Refused) });
    assert!(bench.endpoint.set_bridge(bench.now, "192.0.2.1:7656".parse().unwrap()).is_err());
    assert!(bench.pass(Duration::ZERO).opened_to.is_empty());
    let moved = "127.0.0.1:17656".parse().unwrap();
    bench.endpoint.set_bridge(bench.now, moved).unwrap();
    let done = bench.pass(Duration::ZERO);
    assert_eq!(done.opened_to, [moved]);
    let (done, _) = stands(&mut bench, done.opened[0]);
    assert!(done.opened_to.iter().all(|to| *to == moved), "{done:?}");
    // One that stands ends, and its router has time to let go of the destination.
    bench.endpoint.set_bridge(bench.now, I2p::USUAL_BRIDGE).unwrap();
    let done = bench.pass(Duration::ZERO);
    assert!(matches!(done.router[..], [RouterState::Down { .. }]) && done.opened_to.is_empty(), "{done:?}");
    assert_eq!(bench.pass(secs(30)).opened_to[0], I2p::USUAL_BRIDGE);
}
