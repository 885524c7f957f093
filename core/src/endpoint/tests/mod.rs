mod address;
mod adversity;
mod bench;
mod contract;
mod dial;
mod door;
mod door_streams;
mod forger;
mod handshake;
mod hidden;
mod interplay;
mod invite;
mod limits;
pub(crate) mod pair;
mod records;
mod renew;
mod resume;
mod review;
mod router;
mod router_session;
mod scene;
mod table;
mod takeover;
mod thief;

use core::time::Duration;

use pair::Pair;

use crate::update::UpdateKind;
use crate::{Code, Config, Schedule, Transport};

fn steady(mut config: Config) -> Config {
    config.backoff = config.backoff.with_jitter(0);
    config
}

/// Nothing is sent but what is asked for.
fn quiet() -> Config {
    let mut config = steady(Config::streamer());
    config.heartbeat = false;
    config
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn connected(pair: &Pair, n: usize) -> Option<Transport> {
    pair.nodes[n].kinds().into_iter().find_map(|kind| match kind {
        UpdateKind::Connected { transport, .. } => Some(*transport),
        _ => None,
    })
}

#[test]
fn connects_over_udp_and_exchanges_messages() {
    let mut pair = Pair::new(&steady(Config::streamer()));
    let a = pair.connect(0);
    pair.run(Duration::from_millis(100));
    assert_eq!(connected(&pair, 0), Some(Transport::Udp));
    assert_eq!(connected(&pair, 1), Some(Transport::Udp));
    let b = pair.nodes[1].last_session();
    for n in 0..100 {
        pair.send(0, a, &format!("to b {n}"));
        pair.send(1, b, &format!("to a {n}"));
    }
    pair.run(Duration::from_secs(1));
    let got: Vec<_> = pair.take(1, b).into_iter().map(|message| message.data).collect();
    assert_eq!(got, (0..100).map(|n| format!("to b {n}")).collect::<Vec<_>>());
    assert_eq!(pair.take(0, a).len(), 100);
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.nodes[0].kinds().iter().filter(|kind| matches!(kind, UpdateKind::Outcome { .. })).count(), 100);
    pair.nodes[0].endpoint.close(pair.now, a, "bye");
    pair.drain(0);
    pair.run(Duration::from_secs(1));
    for n in [0, 1] {
        let last = pair.nodes[n].kinds().into_iter().last().expect("updates");
        assert!(matches!(last, UpdateKind::Closed { code: Code::Done, delivered: 100, .. }), "{last:?}");
    }
    pair.run(Duration::from_secs(3600));
    assert_eq!(pair.nodes[0].endpoint.poll_timeout(), None);
    assert_eq!(pair.nodes[1].endpoint.poll_timeout(), None);
}

#[test]
fn falls_back_to_tcp_and_moves_up_when_udp_returns() {
    let mut pair = Pair::new(&steady(Config::streamer()));
    pair.udp = false;
    let a = pair.connect(0);
    pair.run(Duration::from_millis(300 + 20 + 20));
    assert_eq!(connected(&pair, 0), Some(Transport::Tcp));
    pair.run(Duration::from_millis(100));
    let b = pair.nodes[1].last_session();
    for n in 0..100 {
        pair.send(0, a, &format!("{n}"));
    }
    pair.udp = true;
    pair.run(Duration::from_secs(5));
    assert_eq!(pair.take(1, b).len(), 100);
    let moved = |kind: &&UpdateKind| matches!(kind, UpdateKind::PathChanged { to: Transport::Udp, .. });
    assert!(pair.nodes[0].kinds().iter().any(moved), "{:#?}", pair.nodes[0].kinds());
    assert!(pair.nodes[1].kinds().iter().any(moved), "{:#?}", pair.nodes[1].kinds());
}

#[test]
fn a_lost_peer_is_redialled_on_schedule_and_given_up() {
    let mut pair = Pair::new(&steady(Config::streamer()));
    let a = pair.connect(0);
    pair.run(Duration::from_secs(12));
    (pair.udp, pair.tcp) = (false, false);
    pair.send(0, a, "lost");
    pair.run(Duration::from_secs(300));
    let waits: u64 = pair.nodes[0]
        .kinds()
        .into_iter()
        .filter_map(|kind| match kind {
            UpdateKind::Progress(progress) => progress.retry_in_ms,
            _ => None,
        })
        .sum();
    assert_eq!(waits, 81_100);
    let last = pair.nodes[0].kinds().into_iter().last().expect("updates");
    assert!(matches!(last, UpdateKind::Closed { code: Code::GaveUp, unknown: 1, .. }), "{last:?}");
}

#[test]
fn resumes_after_an_outage_with_nothing_lost() {
    let mut pair = Pair::new(&steady(Config::streamer()));
    let a = pair.connect(0);
    pair.run(Duration::from_millis(100));
    let b = pair.nodes[1].last_session();
    for n in 0..1000 {
        pair.send(0, a, &format!("a{n}"));
        pair.send(1, b, &format!("b{n}"));
    }
    (pair.udp, pair.tcp) = (false, false);
    pair.run(Duration::from_secs(5));
    (pair.udp, pair.tcp) = (true, true);
    pair.run(Duration::from_secs(20));
    let got: Vec<_> = pair.take(1, b).into_iter().map(|message| message.data).collect();
    assert_eq!(got, (0..1000).map(|n| format!("a{n}")).collect::<Vec<_>>());
    let got: Vec<_> = pair.take(0, a).into_iter().map(|message| message.data).collect();
    assert_eq!(got, (0..1000).map(|n| format!("b{n}")).collect::<Vec<_>>());
    assert!(pair.nodes[0].kinds().iter().any(|kind| matches!(kind, UpdateKind::Resumed { .. })));
}

#[test]
fn both_dial_at_once_and_share_one_session() {
    let mut pair = Pair::new(&steady(Config::streamer()));
    let a = pair.connect(0);
    let b = pair.connect(1);
    pair.run(Duration::from_secs(1));
    pair.send(0, a, "hello");
    pair.send(1, b, "hello");
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.take(1, b).len(), 1);
    assert_eq!(pair.take(0, a).len(), 1);
    for n in [0, 1] {
        let count = pair.nodes[n].kinds().iter().filter(|kind| matches!(kind, UpdateKind::Connected { .. })).count();
        assert_eq!(count, 1);
    }
}

#[test]
fn nobody_home_is_reported_after_the_last_attempt() {
    let mut config = steady(Config::streamer());
    config.attempts = 3;
    config.backoff = Schedule::list(&[1, 2].map(Duration::from_secs)).with_jitter(0);
    let mut pair = Pair::new(&config);
    (pair.udp, pair.tcp) = (false, false);
    pair.connect(0);
    pair.run(Duration::from_secs(60));
    insta::assert_json_snapshot!(pair.nodes[0].updates.iter().map(|(_, update)| update).collect::<Vec<_>>());
}
