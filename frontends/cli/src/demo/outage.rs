//! (c) The link is dead for 5 s in the middle of a transfer: the session resumes.

use std::time::Duration;

use burdock_core::update::UpdateKind;
use burdock_core::{Config, Transport};

use super::relay::Gate;
use super::stage::{Cast, Narrator, judge_end, within};
use super::traffic::{Application, count_of, exactly};
use super::verdict::Verdict;
use crate::failure::Failure;
use crate::output::seconds;

const LIMIT: Duration = Duration::from_secs(14);
const OUTAGE: Duration = Duration::from_secs(5);
/// Shortened from the 30 s of the preset, which an outage of 5 s would not reach.
const SILENCE: Duration = Duration::from_secs(2);
const MESSAGES: u64 = 1_000;
const PACE: Duration = Duration::from_millis(2);
const ALICE: u64 = 0xa3;
const BOB: u64 = 0xb3;

pub(super) async fn play(no_resume: bool, narrator: &Narrator, verdict: &mut Verdict) -> Result<(), Failure> {
    let config = Config { silence: SILENCE, ..Config::streamer() };
    narrator
        .print(&format!("  Settings: the streamer preset, with silence noticed after at most {}.", seconds(SILENCE)));
    let cast = Cast::assemble(config, Gate::OPEN).await?;
    let link = cast.link();
    let mut alice = Application::new(ALICE, exactly(MESSAGES), PACE);
    let mut bob = Application::new(BOB, exactly(MESSAGES), PACE);
    let (alice_has, mut bob_has) = (alice.ledger.counter(), bob.ledger.counter());

    let director = async {
        // The counters live as long as the applications.
        let _ = bob_has.wait_for(|count| *count >= MESSAGES / 2).await;
        cast.relay.set(Gate::SHUT);
        let had = (*alice_has.borrow(), MESSAGES / 2);
        narrator.say("relay", format!("nothing passes any more; alice has {} messages, bob {}", had.0, had.1));
        tokio::time::sleep(OUTAGE).await;
        narrator.say("relay", "everything passes again");
        cast.relay.set(Gate::OPEN);
        Ok(had)
    };
    let alice_side = async {
        let (mut session, mut log) = cast.dial(&link, narrator)?;
        if no_resume {
            tokio::select! {
                _ = alice.talk(&session) => return Err("nothing was lost, there is nothing to sabotage".to_owned()),
                _ = log.first(lost) => {}
            }
            narrator.say("alice", "drops the session and dials a new one");
            drop(session);
            (session, log) = cast.dial(&link, narrator)?;
        }
        alice.talk(&session).await.map_err(|closed| format!("the session ended: {}", closed.message))?;
        let resumed = log.all(resumed).into_iter().map(|(_, how)| how).next();
        let closed = session.close("done").await;
        log.finish().await;
        Ok((resumed, closed))
    };
    let scene = within(LIMIT, async { tokio::try_join!(director, alice_side, cast.answer(&mut bob, narrator)) });
    let outcome = scene.await;
    bob.ledger.judge("bob", ALICE, MESSAGES, verdict);
    alice.ledger.judge("alice", BOB, MESSAGES, verdict);
    match outcome {
        Ok((had, (resumed, closed), _)) => {
            let middle = had.0.min(had.1) > 0 && had.0.max(had.1) < MESSAGES;
            verdict.check(middle, "the outage came in the middle of both transfers");
            verdict.check(resumed.is_some(), "the session was lost and resumed");
            judge_end("alice", &closed, MESSAGES, verdict);
            if let Some((transport, after)) = resumed {
                verdict.summary = format!(
                    "resumed over {transport}, {} after it was lost, {} messages each way",
                    seconds(after),
                    count_of(MESSAGES)
                );
            }
        }
        Err(finding) => verdict.check(false, finding),
    }
    cast.leave().await;
    Ok(())
}

const fn lost(kind: &UpdateKind) -> Option<()> {
    match kind {
        UpdateKind::Lost { .. } => Some(()),
        _ => None,
    }
}

const fn resumed(kind: &UpdateKind) -> Option<(Transport, Duration)> {
    match kind {
        UpdateKind::Resumed { transport, after_ms } => Some((*transport, Duration::from_millis(*after_ms))),
        _ => None,
    }
}
