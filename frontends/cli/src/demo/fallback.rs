//! (b) UDP is dropped in silence: a session over TCP, that moves up when UDP is back and down when
//! it goes again.

use std::time::Duration;

use burdock_core::update::UpdateKind;
use burdock_core::{Config, Transport};
use tokio::sync::watch;
use tokio::time::Instant;

use super::relay::Gate;
use super::stage::{Cast, Log, Narrator, connected, judge_end, millis, within};
use super::traffic::{Application, count_of};
use super::verdict::Verdict;
use crate::failure::Failure;
use crate::output::seconds;

const LIMIT: Duration = Duration::from_secs(14);
/// How long a session over TCP may take to stand: the fallback delay is 300 ms.
const TCP_WITHIN: Duration = Duration::from_secs(3);
/// Messages that arrive on each path before the network changes, and after the last change.
const PART: u64 = 250;
const PACE: Duration = Duration::from_millis(2);
const ALICE: u64 = 0xa2;
const BOB: u64 = 0xb2;

pub(super) async fn play(no_tcp: bool, narrator: &Narrator, verdict: &mut Verdict) -> Result<(), Failure> {
    let cast = Cast::assemble(Config::streamer(), Gate::NO_UDP).await?;
    let mut link = cast.link();
    if no_tcp {
        link.tcp_port = None;
    }
    let (end, total) = watch::channel(None);
    let mut alice = Application::new(ALICE, total.clone(), PACE);
    let mut bob = Application::new(BOB, total, PACE);
    let (alice_sent, bob_sent, mut arrived) = (alice.sent(), bob.sent(), bob.ledger.counter());

    let alice_side = async {
        let dialled = Instant::now();
        let (session, log) = cast.dial(&link, narrator)?;
        let over = tokio::time::timeout(TCP_WITHIN, log.first(connected)).await.ok().flatten();
        let (stood, transport) = over.ok_or_else(|| format!("no session over TCP within {}", seconds(TCP_WITHIN)))?;
        narrator.say("alice", format!("the session stands after {}", millis(stood - dialled)));

        let director = async {
            let count = arrived_after(&mut arrived, PART).await;
            narrator.say("relay", format!("UDP passes again, {} messages have arrived over TCP", count_of(count)));
            cast.relay.set(Gate::OPEN);
            let up = moved(&log, Transport::Udp).await?;
            let count = arrived_after(&mut arrived, PART).await;
            narrator.say("relay", format!("drops UDP again, {} messages have arrived in all", count_of(count)));
            cast.relay.set(Gate::NO_UDP);
            let down = moved(&log, Transport::Tcp).await?;
            let sent = (*alice_sent.borrow()).max(*bob_sent.borrow());
            end.send_replace(Some(sent + PART));
            Ok((up, down))
        };
        let talking =
            async { alice.talk(&session).await.map_err(|closed| format!("the session ended: {}", closed.message)) };
        let ((up, down), ()) = tokio::try_join!(director, talking)?;
        let closed = session.close("done").await;
        log.finish().await;
        Ok((transport, stood - dialled, up, down, closed))
    };
    let scene = within(LIMIT, async { tokio::try_join!(alice_side, cast.answer(&mut bob, narrator)) });
    let outcome = scene.await;
    let total = end.borrow().unwrap_or(3 * PART);
    match outcome {
        Ok(((first, took, up, down, closed), _)) => {
            verdict.check(first == Transport::Tcp, format!("the session came up over {first}"));
            judge_end("alice", &closed, total, verdict);
            verdict.summary = format!(
                "{first} in {}, up to UDP in {}, down to TCP in {}, {} messages each way",
                millis(took),
                seconds(up),
                seconds(down),
                count_of(total)
            );
        }
        Err(finding) => verdict.check(false, finding),
    }
    bob.ledger.judge("bob", ALICE, total, verdict);
    alice.ledger.judge("alice", BOB, total, verdict);
    cast.leave().await;
    Ok(())
}

/// Waits until so many more have arrived, and says how many there are. The counter lives as long as
/// the application.
async fn arrived_after(arrived: &mut watch::Receiver<u64>, more: u64) -> u64 {
    let goal = *arrived.borrow() + more;
    arrived.wait_for(|count| *count >= goal).await.map_or(goal, |count| *count)
}

/// Waits until the session moves to this transport, and says how long that took.
async fn moved(log: &Log, wanted: Transport) -> Result<Duration, String> {
    let began = Instant::now();
    let pick = |kind: &UpdateKind| match kind {
        UpdateKind::PathChanged { to, .. } if *to == wanted => Some(()),
        _ => None,
    };
    let (time, ()) = log.first(pick).await.ok_or_else(|| format!("the session ended before it moved to {wanted}"))?;
    Ok(time - began)
}
