//! The rules of one attempt, by hand: what ends it, what does not, and what it leaves behind.

use core::time::Duration;

use super::bench::{Bench, Done};
use super::forger::Forger;
use super::steady;
use crate::config::Ladder;
use crate::{Code, Config, Event, Link, NetError, Schedule, update::UpdateKind};

const DEADLINE: Duration = Duration::from_secs(60);

/// Two attempts of a minute each, five seconds apart.
fn config() -> Config {
    Config { attempts: 2, attempt_deadline: DEADLINE, ..steady(Config::chat()) }
}

/// Why attempts failed.
fn failures(done: &Done) -> Vec<Code> {
    let code = |kind: &UpdateKind| match kind {
        UpdateKind::Progress(progress) if progress.retry_in_ms.is_some() => progress.code,
        _ => None,
    };
    done.updates.iter().filter_map(|(_, kind)| code(kind)).collect()
}

/// An answer that only looks like one: of the right length, for the right index.
fn forged_answer(forger: &mut Forger, init: &[u8]) -> Vec<u8> {
    let (mut answer, _) = forger.answer(init);
    *answer.last_mut().unwrap() ^= 1;
    answer
}

// Mutation: `pending.is_live() || pending.via == Via::Udp(to)` in `Session::on_transmit_failed` makes this fail.
#[test]
fn a_send_error_ends_the_handshake_with_that_address_alone() {
    for (error, code) in [
        (NetError::Unreachable, Code::Unreachable),
        (NetError::Refused, Code::Unreachable),
        (NetError::Other, Code::Timeout),
    ] {
        let mut bench = Bench::new(1, &config());
        let forger = Forger::new(2);
        bench.connect(&forger.link());
        let before = bench.snapshot();
        assert!(bench.handle(Event::TransmitFailed { to: Forger::new(3).addr, error }).is_nothing());
        assert_eq!(bench.snapshot(), before);
        let done = bench.handle(Event::TransmitFailed { to: forger.addr, error });
        assert_eq!(failures(&done), [code]);
        assert!(bench.snapshot().indices.is_empty());
    }
}

#[test]
fn a_send_error_of_another_address_is_not_why_an_attempt_failed() {
    let mut bench = Bench::new(1, &config());
    bench.connect(&Forger::new(2).link());
    bench.handle(Event::TransmitFailed { to: Forger::new(3).addr, error: NetError::Refused });
    assert_eq!(failures(&bench.pass(DEADLINE)), [Code::Timeout]);
}

// Mutation: `self.code = code` without a condition in `Attempt::note` makes this fail.
#[test]
fn the_most_telling_reason_is_kept() {
    let refused = NetError::Refused;
    // What the network said, then what a peer did.
    let mut bench = Bench::new(1, &config());
    let mut forger = Forger::new(2);
    let (_, done) = bench.connect(&Link::direct(forger.key, forger.addr));
    let init = done.datagram().to_vec();
    let stream = bench.pass(Duration::from_millis(300)).opened[0];
    let answer = forged_answer(&mut forger, &init);
    bench.datagram(forger.addr, &answer);
    bench.handle(Event::StreamClosed { stream, error: Some(refused) });
    assert_eq!(failures(&bench.pass(DEADLINE)), [Code::HandshakeTimeout]);
    // What the network said, then silence.
    let mut bench = Bench::new(1, &config());
    bench.connect(&Link::direct(forger.key, forger.addr));
    let stream = bench.pass(Duration::from_millis(300)).opened[0];
    bench.handle(Event::StreamClosed { stream, error: Some(refused) });
    assert_eq!(failures(&bench.pass(DEADLINE)), [Code::Unreachable]);
}

// Mutation: `MAX_BAD_ANSWERS` of 7, or of 9, makes this fail.
#[test]
fn r3_seven_forged_answers_do_not_end_a_handshake_and_eight_do() {
    for bad in [7, 8] {
        let mut bench = Bench::new(1, &config());
        let mut forger = Forger::new(2);
        let (_, done) = bench.connect(&forger.link());
        let init = done.datagram().to_vec();
        let forged = forged_answer(&mut forger, &init);
        let mut failed = Vec::new();
        for _ in 0..bad {
            failed.extend(failures(&bench.datagram(forger.addr, &forged)));
        }
        let (answer, _) = forger.answer(&init);
        let opened = bench.datagram(forger.addr, &answer).connected().is_some();
        let expected = if bad == 7 { (true, vec![]) } else { (false, vec![Code::HandshakeTimeout]) };
        assert_eq!((opened, failed), expected, "{bad} forged answers");
    }
}

// Mutation: `LATE_HANDSHAKES` of 4, `LATE_LIFE` of 61 s, or a `Pending::is_live` that is always true makes this fail.
#[test]
fn d6_handshakes_of_past_attempts_are_few_and_forgotten_after_a_minute() {
    let forger = Forger::new(2);
    let brief = Config { attempts: 9, attempt_deadline: Duration::from_secs(1), ..config() };
    let mut bench = Bench::new(1, &Config { backoff: Schedule::list(&[DEADLINE / 100]).with_jitter(0), ..brief });
    bench.connect(&forger.link());
    let held = |bench: &mut Bench| {
        bench.pass(Duration::from_millis(100));
        bench.snapshot().indices.len()
    };
    // That of the attempt that runs comes on top of three late ones.
    assert_eq!((0..100).map(|_| held(&mut bench)).max(), Some(4));

    // Attempts fail after 5 s and 40 s, and their handshakes are forgotten at 65 s and 100 s.
    let apart = Schedule::list(&[Duration::from_secs(30), DEADLINE * 10]).with_jitter(0);
    let brief = Config { attempts: 3, attempt_deadline: Duration::from_secs(5), ..config() };
    let mut bench = Bench::new(1, &Config { backoff: apart, ..brief });
    bench.connect(&forger.link());
    let (just, started) = (Duration::from_micros(1), bench.now);
    for (at, before, after) in [(35, 1, 2), (65, 2, 1), (100, 1, 0)] {
        let at = Duration::from_secs(at);
        bench.pass(at - just - bench.now.saturating_since(started));
        assert_eq!(bench.snapshot().indices.len(), before, "just before {at:?}");
        bench.pass(just);
        assert_eq!(bench.snapshot().indices.len(), after, "at {at:?}");
    }
}

// Mutation: `u32::try_from(attempt.rungs.len())` in `Session::start_rung` makes this fail.
#[test]
fn c1_in_strict_order_each_transport_has_its_share_of_the_deadline() {
    let mut bench = Bench::new(1, &Config { ladder: Ladder::Strict, ..config() });
    let forger = Forger::new(2);
    let (_, done) = bench.connect(&Link::direct(forger.key, forger.addr));
    assert_eq!((done.datagrams.len(), done.opened.len()), (1, 0));
    let done = bench.pass(DEADLINE / 2 - Duration::from_micros(1));
    assert!(done.opened.is_empty());
    let done = bench.pass(Duration::from_micros(1));
    assert_eq!((done.datagrams.len(), done.opened.len()), (0, 1));
    // Nothing is sent again on the transport that was left.
    let done = bench.pass(DEADLINE / 2);
    assert!(done.datagrams.is_empty());
    assert_eq!(failures(&done), [Code::Timeout]);
}
