use core::time::Duration;
use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::endpoint::tests::pair::Pair;
use crate::reading::WayOut;
use crate::{Config, Schedule};

fn ids() -> BTreeSet<String> {
    cards().into_iter().map(|card| card.id).collect()
}

#[test]
fn no_status_lacks_text_hint_and_a_way_out() {
    for Card { id, reading, status, .. } in cards() {
        let sentence = |text: &str| {
            let fine = !text.trim().is_empty() && !text.contains('{') && text.starts_with(char::is_uppercase);
            assert!(fine, "{id}: {text:?}");
        };
        sentence(&reading.text);
        sentence(&reading.hint);
        let ways = &reading.ways_out;
        assert!(ways.iter().any(|way| *way != WayOut::Wait), "{id} has no way out");
        // Whoever is told to wait is told by what it ends, and nobody waits at an end.
        assert_eq!(ways.contains(&WayOut::RetryNow), status.retry_in_ms.is_some(), "{id}");
        let ended = status.state == State::Closed;
        assert_eq!(ways.contains(&WayOut::Dismiss), ended, "{id}");
        assert_eq!(ways.contains(&WayOut::Wait), !ended && status.state != State::Connected, "{id}");
    }
}

#[test]
fn every_card_has_a_name_of_its_own_and_survives_json() {
    let cards = cards();
    assert_eq!(ids().len(), cards.len());
    for card in cards {
        let text = serde_json::to_string(&card).unwrap();
        assert_eq!(serde_json::from_str::<Card>(&text).unwrap(), card);
        assert_eq!(id(&card.status), card.id);
    }
}

#[test]
fn the_names_tell_everything_apart() {
    let ids = ids();
    for id in [
        "connecting.connecting",
        "connecting.connecting.resolving",
        "connecting.connecting.udp.handshake",
        "connecting.connecting.tcp.opening",
        "connecting.connecting.i2p.handshake",
        "connecting.retrying.timeout",
        "reconnecting.retrying.silent",
        "connected.udp",
        "connected.tcp.fair",
        "waiting.carrier_lost",
        "closing.delivering",
        "closed.gave_up",
    ] {
        assert!(ids.contains(id), "{id} is missing from {ids:#?}");
    }
    for code in Code::ALL {
        assert!(ids.contains(&format!("closed.{code}")));
    }
}

/// One thing that happens, to both nodes or to one.
#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Network { udp: bool, tcp: bool },
    ResetStreams,
    Send(usize),
    Take(usize),
    Take2,
    Way(usize),
    NetworkChanged(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..2_000u64).prop_map(Step::Pass),
        2 => (1..40_000u64).prop_map(Step::Pass),
        3 => any::<(bool, bool)>().prop_map(|(udp, tcp)| Step::Network { udp, tcp }),
        1 => Just(Step::ResetStreams),
        3 => (0..2usize).prop_map(Step::Send),
        2 => (0..2usize).prop_map(Step::Take),
        1 => Just(Step::Take2),
        1 => (0..2usize).prop_map(Step::Way),
        1 => (0..2usize).prop_map(Step::NetworkChanged),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens to two peers, what they are at has its card, and each of its ways out is one.
    // Mutation: leaving `Stage::Opening` out of `stages` makes this fail.
    #[test]
    fn every_status_that_is_reached_has_its_card(steps in prop::collection::vec(step(), 1..60)) {
        let ids = ids();
        let config = Config { attempts: 3, backoff: Schedule::list(&[1, 2].map(Duration::from_secs)), ..Config::streamer() };
        let mut pair = Pair::new(&config);
        let mut sessions = [Some(pair.connect(0)), None];
        for step in steps {
            match step {
                Step::Pass(millis) => pair.run(Duration::from_millis(millis)),
                Step::Network { udp, tcp } => (pair.udp, pair.tcp) = (udp, tcp),
                Step::ResetStreams => pair.reset_streams(),
                Step::Send(n) => {
                    if let Some(session) = sessions[n] {
                        let _ = pair.nodes[n].endpoint.send(pair.now, session, 0, "hello".into());
                        pair.drain(n);
                    }
                }
                Step::Take(n) => drop(sessions[n].map(|session| pair.take(n, session))),
                Step::Take2 => drop([0, 1].map(|n| sessions[n].map(|session| pair.take(n, session)))),
                Step::Way(n) => take_ways_out(&mut pair, n, sessions[n]),
                Step::NetworkChanged(n) => {
                    pair.nodes[n].endpoint.handle(pair.now, crate::Event::NetworkChanged);
                    pair.drain(n);
                }
            }
            sessions[1] = sessions[1].or_else(|| pair.nodes[1].updates.first().map(|(session, _)| *session));
            for n in [0, 1] {
                let status = sessions[n].and_then(|session| pair.nodes[n].endpoint.status(pair.now, session));
                if let Some(status) = status {
                    prop_assert!(ids.contains(&id(&status)), "{} of {status:#?}", id(&status));
                }
            }
        }
    }
}

/// Takes the last way out that the status of the session offers, and sees that it leads away.
fn take_ways_out(pair: &mut Pair, n: usize, session: Option<crate::SessionId>) {
    let now = pair.now;
    let Some(session) = session else { return };
    let node = &mut pair.nodes[n].endpoint;
    let Some(before) = node.status(now, session) else { return };
    for way in before.reading().ways_out {
        match way {
            WayOut::RetryNow => {
                node.retry_now(now, session);
                let status = node.status(now, session);
                assert!(status.is_none_or(|status| status.retry_in_ms != before.retry_in_ms), "the wait goes on");
            }
            WayOut::Cancel if before.state == State::Closing => {
                node.cancel(now, session);
                assert_eq!(node.status(now, session).map(|status| status.state), None);
            }
            WayOut::Cancel | WayOut::Close => {
                node.close(now, session, "");
                let state = node.status(now, session).map(|status| status.state);
                assert!(matches!(state, None | Some(State::Closing | State::Closed)), "{state:?}");
            }
            // The application does these by itself.
            WayOut::Wait | WayOut::TryAgain | WayOut::Dismiss => {}
        }
    }
    pair.drain(n);
}
