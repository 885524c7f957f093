//! (a) Nothing is in the way: a session over UDP.

use std::time::Duration;

use burdock_core::{Config, Transport};
use tokio::time::Instant;

use super::relay::Gate;
use super::stage::{Cast, Narrator, connected, judge_end, millis, within};
use super::traffic::{Application, exactly};
use super::verdict::Verdict;
use crate::failure::Failure;

const LIMIT: Duration = Duration::from_secs(5);
const MESSAGES: u64 = 10;
const PACE: Duration = Duration::from_millis(1);
const ALICE: u64 = 0xa1;
const BOB: u64 = 0xb1;

pub(super) async fn play(double: bool, narrator: &Narrator, verdict: &mut Verdict) -> Result<(), Failure> {
    let cast = Cast::assemble(Config::streamer(), Gate::OPEN).await?;
    let mut alice = Application::new(ALICE, exactly(MESSAGES), PACE);
    alice.doubled = double.then_some(MESSAGES / 2);
    let mut bob = Application::new(BOB, exactly(MESSAGES), PACE);

    let alice_side = async {
        let dialled = Instant::now();
        let (session, log) = cast.dial(&cast.link(), narrator)?;
        session.connected().await.map_err(|closed| format!("no session: {}", closed.message))?;
        let took = dialled.elapsed();
        let transport = log.first(connected).await.map(|(_, transport)| transport);
        narrator.say("alice", format!("the session stands after {}", millis(took)));
        alice.talk(&session).await.map_err(|closed| format!("the session ended: {}", closed.message))?;
        let closed = session.close("done").await;
        log.finish().await;
        Ok((transport, took, closed))
    };
    let scene = within(LIMIT, async { tokio::try_join!(alice_side, cast.answer(&mut bob, narrator)) });
    let outcome = scene.await;
    bob.ledger.judge("bob", ALICE, MESSAGES, verdict);
    alice.ledger.judge("alice", BOB, MESSAGES, verdict);
    match outcome {
        Ok(((transport, took, closed), _)) => {
            let over = transport.map_or("nothing", Transport::name);
            verdict.check(transport == Some(Transport::Udp), format!("the session came up over {over}"));
            judge_end("alice", &closed, MESSAGES, verdict);
            verdict.summary = format!("a session over {over} in {}, {MESSAGES} messages each way", millis(took));
        }
        Err(finding) => verdict.check(false, finding),
    }
    cast.leave().await;
    Ok(())
}
