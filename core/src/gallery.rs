//! Every status that a session can have, as a frontend's designer wants to see them: without a network.
//!
//! [`cards`] enumerates them from the enums of [`update`](crate::update) and the list of
//! [`Code`]s; the texts are those that [`Status::reading`] gives a running program.
//!
//! ```
//! let cards = burdock_core::gallery::cards();
//! assert!(cards.iter().any(|card| card.id == "closed.gave_up"));
//! ```

use core::fmt;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::code::Code;
use crate::config::Transport;
use crate::key::PublicKey;
use crate::reading::Reading;
use crate::update::{Grade, Progress, ProgressStatus, Quality, Stage, State, Status};

#[cfg(test)]
mod tests;

/// One kind of status, with an example.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// The kind's name: [`id`] of every status of this kind.
    pub id: String,
    /// Whether it comes about without a peer that names an unusual reason.
    pub usual: bool,
    /// How it reads.
    pub reading: Reading,
    /// A status of this kind.
    pub status: Status,
}

/// The attempt that the examples are at, of how many.
const ATTEMPT: u32 = 2;
const ATTEMPTS: u32 = 4;

/// Which kind of status this is: those that differ in text, hint, ways out or transport have
/// different names.
#[must_use]
pub fn id(status: &Status) -> String {
    let mut parts = vec![name(&status.state)];
    let progress = status.progress.as_ref();
    match status.state {
        State::Connecting | State::Reconnecting => {
            parts.extend(progress.map(|progress| name(&progress.status)));
            parts.extend(progress.and_then(|progress| progress.transport).map(|transport| name(&transport)));
            parts.extend(progress.and_then(|progress| progress.stage).map(|stage| name(&stage)));
            parts.extend(progress.and_then(|progress| progress.code).map(|code| name(&code)));
        }
        State::Connected => {
            parts.extend(status.transport.map(|transport| name(&transport)));
            parts.extend(status.quality.map(|quality| name(&quality.grade)));
        }
        State::Waiting | State::Closed => parts.extend(status.code.map(|code| name(&code))),
        State::Closing => parts.extend((status.pending_messages > 0).then(|| "delivering".to_owned())),
    }
    parts.join(".")
}

/// The name in JSON.
fn name(value: &impl Serialize) -> String {
    struct Name<'a, T>(&'a T);

    impl<T: Serialize> fmt::Display for Name<'_, T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.serialize(f)
        }
    }

    Name(value).to_string()
}

/// Every kind of status that a session can have.
#[must_use]
pub fn cards() -> Vec<Card> {
    every(State::Connecting, next_state).flat_map(of_state).collect()
}

fn of_state(state: State) -> Vec<Card> {
    match state {
        State::Connecting => {
            let failures = codes().filter(|(_, when)| when.fails_attempt).map(|(code, _)| (code, true));
            dialling(state, failures)
        }
        // A peer may close a path for any reason that there is.
        State::Reconnecting => {
            dialling(state, codes().map(|(code, when)| (code, when.fails_attempt || when.loses_path)))
        }
        State::Waiting => {
            codes().map(|(code, when)| card(when.loses_path, Status { code: Some(code), ..example(state) })).collect()
        }
        State::Connected => Transport::ALL
            .into_iter()
            .flat_map(|transport| grades().map(move |grade| connected(transport, grade)))
            .collect(),
        State::Closing => {
            [0, 3].map(|pending_messages| card(true, Status { pending_messages, ..example(state) })).into()
        }
        // A peer may close the session for any reason that there is.
        State::Closed => codes()
            .map(|(code, when)| {
                let failed = Progress { code: Some(code), ..progress(ProgressStatus::Failed) };
                let failed = (code == Code::GaveUp).then_some(Progress { attempt: ATTEMPTS, ..failed });
                card(when.ends_session, Status { code: Some(code), progress: failed, ..example(state) })
            })
            .collect(),
    }
}

/// The attempts of a first dial or of a redial, and the waits between them.
fn dialling(state: State, failures: impl Iterator<Item = (Code, bool)>) -> Vec<Card> {
    let lost = (state == State::Reconnecting).then_some(Code::Silent);
    let running = every(ProgressStatus::Connecting, next_progress).flat_map(|status| match status {
        ProgressStatus::Connecting => stages(),
        // One for each failure, below.
        ProgressStatus::Retrying => Vec::new(),
        // The session is up, or closed.
        ProgressStatus::Connected | ProgressStatus::Failed => Vec::new(),
    });
    let running = running.map(|(transport, stage)| {
        let mut progress = progress(ProgressStatus::Connecting);
        progress.message = format!("Connecting to peer... (attempt {ATTEMPT}/{ATTEMPTS})");
        (progress.transport, progress.stage) = (transport, stage);
        card(true, Status { code: lost, progress: Some(progress), ..example(state) })
    });
    let waiting = failures.map(|(code, usual)| {
        let mut progress = progress(ProgressStatus::Retrying);
        let retry_in_ms = Some(10_000);
        progress.retry_in_ms = retry_in_ms;
        progress.code = Some(code);
        progress.message = code.message(ATTEMPT - 1);
        progress.hint = code.hint().to_owned();
        card(usual, Status { code: lost, progress: Some(progress), retry_in_ms, ..example(state) })
    });
    running.chain(waiting).collect()
}

/// How far an attempt can be: with no transport yet, or one of them.
fn stages() -> Vec<(Option<Transport>, Option<Stage>)> {
    let of_stage = |stage| match stage {
        Stage::Resolving => vec![(None, Some(stage))],
        Stage::Tunnels => vec![(Some(Transport::I2p), Some(stage))],
        Stage::Opening => streams().map(|transport| (Some(transport), Some(stage))).collect(),
        Stage::Handshake => Transport::ALL.map(|transport| (Some(transport), Some(stage))).into(),
    };
    core::iter::once((None, None)).chain(every(Stage::Resolving, next_stage).flat_map(of_stage)).collect()
}

fn streams() -> impl Iterator<Item = Transport> {
    Transport::ALL.into_iter().filter(|transport| transport.is_stream())
}

fn connected(transport: Transport, grade: Option<Grade>) -> Card {
    let quality = grade.map(|grade| measured(transport, grade));
    card(true, Status { transport: Some(transport), quality, ..example(State::Connected) })
}

/// A measurement that comes to this grade.
fn measured(transport: Transport, grade: Grade) -> Quality {
    let (rtt_ms, loss_per_mille) = match grade {
        Grade::Excellent => (12, 0),
        Grade::Good => (80, 4),
        Grade::Fair => (300, 20),
        Grade::Bad => (1_400, 120),
        Grade::Unusable => (9_000, 600),
    };
    let rtt = Duration::from_millis(rtt_ms);
    Quality {
        transport,
        rtt_us: rtt_ms * 1_000,
        jitter_us: rtt_ms * 100,
        loss_per_mille,
        goodput: 4_000,
        queued_bytes: 0,
        grade: Grade::of(rtt, loss_per_mille),
    }
}

fn progress(status: ProgressStatus) -> Progress {
    Progress {
        attempt: ATTEMPT,
        max_attempts: ATTEMPTS,
        status,
        transport: None,
        stage: None,
        retry_in_ms: None,
        code: None,
        message: String::new(),
        hint: String::new(),
    }
}

fn example(state: State) -> Status {
    Status {
        seq: 7,
        peer: PublicKey::from([7; 32]),
        state,
        transport: None,
        progress: None,
        retry_in_ms: None,
        code: None,
        quality: None,
        queued_bytes: 0,
        pending_messages: 0,
    }
}

fn card(usual: bool, status: Status) -> Card {
    Card { id: id(&status), usual, reading: status.reading(), status }
}

/// When the core itself has this reason. A new one must be placed here.
struct When {
    fails_attempt: bool,
    loses_path: bool,
    ends_session: bool,
}

fn codes() -> impl Iterator<Item = (Code, When)> {
    Code::ALL.iter().map(|code| (*code, when(*code)))
}

const fn when(code: Code) -> When {
    let (fails_attempt, loses_path, ends_session) = match code {
        Code::Unreachable | Code::Timeout | Code::HandshakeTimeout | Code::SamDown | Code::Name => (true, false, false),
        Code::TunnelTimeout => (true, false, false),
        Code::WrongPeer => (true, false, false),
        Code::Silent | Code::CarrierLost => (false, true, false),
        Code::Protocol | Code::Limit => (false, false, true),
        Code::Done | Code::Cancelled | Code::CloseTimeout => (false, false, true),
        Code::Expired | Code::Replaced | Code::GaveUp => (false, false, true),
        Code::NotInvited | Code::Version | Code::Superseded => (false, false, false),
    };
    When { fails_attempt, loses_path, ends_session }
}

// A new variant of one of these does not compile until it has its place in the chain.

fn every<T: Copy>(first: T, next: fn(T) -> Option<T>) -> impl Iterator<Item = T> {
    core::iter::successors(Some(first), move |value| next(*value))
}

const fn next_state(state: State) -> Option<State> {
    match state {
        State::Connecting => Some(State::Connected),
        State::Connected => Some(State::Reconnecting),
        State::Reconnecting => Some(State::Waiting),
        State::Waiting => Some(State::Closing),
        State::Closing => Some(State::Closed),
        State::Closed => None,
    }
}

const fn next_progress(status: ProgressStatus) -> Option<ProgressStatus> {
    match status {
        ProgressStatus::Connecting => Some(ProgressStatus::Retrying),
        ProgressStatus::Retrying => Some(ProgressStatus::Connected),
        ProgressStatus::Connected => Some(ProgressStatus::Failed),
        ProgressStatus::Failed => None,
    }
}

const fn next_stage(stage: Stage) -> Option<Stage> {
    match stage {
        Stage::Resolving => Some(Stage::Tunnels),
        Stage::Tunnels => Some(Stage::Opening),
        Stage::Opening => Some(Stage::Handshake),
        Stage::Handshake => None,
    }
}

fn grades() -> impl Iterator<Item = Option<Grade>> {
    let next = |grade| match grade {
        Grade::Excellent => Some(Grade::Good),
        Grade::Good => Some(Grade::Fair),
        Grade::Fair => Some(Grade::Bad),
        Grade::Bad => Some(Grade::Unusable),
        Grade::Unusable => None,
    };
    core::iter::once(None).chain(every(Grade::Excellent, next).map(Some))
}
