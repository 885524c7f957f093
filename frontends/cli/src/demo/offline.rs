//! (d) Nobody answers: the attempts, their waits, and the end of them.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use burdock_core::update::{Progress, ProgressStatus, UpdateKind};
use burdock_core::{Code, Config, Identity, Link, Schedule};
use tokio::time::Instant;

use super::relay::Gate;
use super::stage::{Log, Narrator, endpoint, millis, relay, within};
use super::verdict::Verdict;
use crate::failure::Failure;
use crate::id;
use crate::output::seconds;

const WAITS: [Duration; 3] = [Duration::from_millis(500), Duration::from_millis(1000), Duration::from_millis(1500)];
const ATTEMPTS: u32 = 4;
const DEADLINE: Duration = Duration::from_secs(1);
/// Four attempts of 1 s and the three waits take 7 s.
const LIMIT: Duration = Duration::from_secs(10);
/// A busy machine is late, but nothing makes it early.
const LATE: Duration = Duration::from_millis(400);
const EARLY: Duration = Duration::from_millis(20);

pub(super) async fn play(never_give_up: bool, narrator: &Narrator, verdict: &mut Verdict) -> Result<(), Failure> {
    let config = Config {
        attempts: if never_give_up { 1_000_000 } else { ATTEMPTS },
        backoff: Schedule::list(&WAITS).with_jitter(0),
        attempt_deadline: DEADLINE,
        ..Config::chat()
    };
    narrator
        .print("  Settings: the chat preset, shortened: 4 attempts of 1 s instead of 60 s, with waits of 0.5, 1 and");
    narrator.print("  1.5 s instead of 5, 10 and 15 s, and no jitter.");
    let alice = endpoint(config).await?;
    let bobs_key = Identity::from_bytes(*id::random()?).public_key();
    // The gate stays shut, so nobody has to be behind it.
    let relay = relay(SocketAddr::from((Ipv4Addr::LOCALHOST, 9)), Gate::SHUT).await?;

    let scene = async {
        let dialled = Instant::now();
        let (_session, updates) = alice
            .connect(&Link::direct(bobs_key, relay.address()))
            .map_err(|error| format!("alice could not dial: {error}"))?;
        let log = Log::follow(updates, narrator.clone(), "alice");
        let (ended, (code, message)) = log.first(closed).await.ok_or("the updates ended without a last one")?;
        Ok((Attempts::read(&log, dialled), ended - dialled, code, message))
    };
    match within(LIMIT, scene).await {
        Ok((attempts, ended, code, message)) => {
            attempts.print(ended, narrator);
            attempts.judge(ended, verdict);
            verdict.check(code == Code::GaveUp, format!("the last code is {code}"));
            let wanted = Code::GaveUp.message(ATTEMPTS);
            verdict.check(message == wanted, format!("the final message is \"{message}\""));
            verdict.summary = format!(
                "{} attempts, waits off by at most {}, given up after {}",
                attempts.starts.len(),
                millis(attempts.worst_wait()),
                seconds(ended)
            );
        }
        Err(_) => verdict.check(false, format!("there was no final message within {}", clock(LIMIT))),
    }
    alice.shutdown().await;
    Ok(())
}

/// When each attempt began and failed, since the dial.
struct Attempts {
    starts: Vec<Duration>,
    failures: Vec<Duration>,
}

impl Attempts {
    fn read(log: &Log, dialled: Instant) -> Self {
        let times = |wanted: ProgressStatus| {
            let mut times: Vec<(u32, Duration)> =
                log.all(|kind| progress(kind, wanted)).into_iter().map(|(time, n)| (n, time - dialled)).collect();
            // Each attempt tells of its transports; its first word counts.
            times.dedup_by_key(|(n, _)| *n);
            times.into_iter().map(|(_, time)| time).collect()
        };
        Self { starts: times(ProgressStatus::Connecting), failures: times(ProgressStatus::Retrying) }
    }

    /// The wait before attempt `n` (from 0) as it was measured.
    fn waited(&self, n: usize) -> Option<Duration> {
        Some(self.starts.get(n)?.saturating_sub(*self.failures.get(n.checked_sub(1)?)?))
    }

    /// The largest difference between a wait and its plan.
    fn worst_wait(&self) -> Duration {
        let difference = |n| Some(planned_wait(n)?.abs_diff(self.waited(n)?));
        (1..self.starts.len()).filter_map(difference).max().unwrap_or_default()
    }

    fn print(&self, ended: Duration, narrator: &Narrator) {
        narrator.print("\n             wait before it           begins at");
        narrator.print("  attempt    planned  measured        planned  measured");
        for (n, start) in self.starts.iter().enumerate() {
            let (planned, measured) = match (planned_wait(n), self.waited(n)) {
                (Some(planned), Some(measured)) => (clock(planned), clock(measured)),
                _ => ("-".to_owned(), "-".to_owned()),
            };
            narrator.print(&format!(
                "  {:>7}    {planned:>7}  {measured:>8}        {:>7}  {:>8}",
                n + 1,
                clock(planned_start(n)),
                clock(*start),
            ));
        }
        let planned = clock(planned_start(WAITS.len()) + DEADLINE);
        narrator.print(&format!("  given up {:27}{planned:>7}  {:>8}\n", "", clock(ended)));
    }

    fn judge(&self, ended: Duration, verdict: &mut Verdict) {
        let count = self.starts.len();
        verdict.check(count == ATTEMPTS as usize, format!("there were {count} of {ATTEMPTS} attempts"));
        for n in 1..count {
            let (planned, measured) = (planned_wait(n).unwrap_or_default(), self.waited(n).unwrap_or_default());
            let finding =
                format!("attempt {} was waited for for {} instead of {}", n + 1, clock(measured), clock(planned));
            verdict.check(near(planned, measured, LATE), finding);
        }
        let planned = planned_start(WAITS.len()) + DEADLINE;
        let finding = format!("the end came after {} instead of {}", clock(ended), clock(planned));
        verdict.check(near(planned, ended, 2 * LATE), finding);
    }
}

fn planned_wait(n: usize) -> Option<Duration> {
    WAITS.get(n.checked_sub(1)?).copied()
}

fn planned_start(n: usize) -> Duration {
    (1..=n).map(|n| DEADLINE + planned_wait(n).unwrap_or_default()).sum()
}

fn near(planned: Duration, measured: Duration, late: Duration) -> bool {
    measured + EARLY >= planned && measured <= planned + late
}

fn clock(duration: Duration) -> String {
    format!("{:.3} s", duration.as_secs_f64())
}

fn progress(kind: &UpdateKind, wanted: ProgressStatus) -> Option<u32> {
    match kind {
        UpdateKind::Progress(Progress { attempt, status, .. }) if *status == wanted => Some(*attempt),
        _ => None,
    }
}

fn closed(kind: &UpdateKind) -> Option<(Code, String)> {
    match kind {
        UpdateKind::Closed { code, message, .. } => Some((*code, message.clone())),
        _ => None,
    }
}
