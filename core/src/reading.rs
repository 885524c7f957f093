//! How a [`Status`] reads to a person: one sentence, what can be done, and which buttons to show.

use serde::{Deserialize, Serialize};

use crate::code::Code;
use crate::config::Transport;
use crate::update::{Grade, Progress, ProgressStatus, Stage, State, Status};

/// What a frontend shows for a [`Status`]. No status lacks any of the three.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// One sentence: what is happening.
    pub text: String,
    /// What a person can do about it, or what to expect.
    pub hint: String,
    /// What a person may choose, the likeliest first.
    pub ways_out: Vec<WayOut>,
}

/// A way on from a status. [`Wait`](Self::Wait) needs no button.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WayOut {
    /// Do nothing: it goes on by itself, and every wait has an end.
    Wait,
    /// Skip the wait for the next attempt: [`Endpoint::retry_now`](crate::Endpoint::retry_now).
    RetryNow,
    /// Stop trying, or stop closing: [`Endpoint::close`](crate::Endpoint::close), then
    /// [`cancel`](crate::Endpoint::cancel).
    Cancel,
    /// End the session after what is queued was delivered: [`Endpoint::close`](crate::Endpoint::close).
    Close,
    /// Dial the same link again: [`Endpoint::connect`](crate::Endpoint::connect). Only whoever has a
    /// link of the peer can.
    TryAgain,
    /// Take it off the screen.
    Dismiss,
}

impl Status {
    /// How it reads to a person. The countdown to the next attempt stands in
    /// [`retry_in_ms`](Status::retry_in_ms), the quality of the path in [`quality`](Status::quality).
    #[must_use]
    pub fn reading(&self) -> Reading {
        let progress = self.progress.as_ref();
        let retrying = progress.filter(|progress| progress.status == ProgressStatus::Retrying);
        match self.state {
            State::Connecting => match retrying {
                Some(progress) => read(&progress.message, &progress.hint, &waiting_to_dial()),
                None => {
                    let text = progress.map_or("Connecting to peer...", |progress| &progress.message);
                    read(text, &doing(progress), &[WayOut::Wait, WayOut::Cancel])
                }
            },
            State::Reconnecting => {
                let text = progress.map_or_else(
                    || "Reconnecting...".to_owned(),
                    |progress| format!("Reconnecting... (attempt {}/{})", progress.attempt, progress.max_attempts),
                );
                match retrying {
                    Some(progress) => {
                        let hint = format!("{}. {}", progress.message, progress.hint);
                        read(&text, &hint, &waiting_to_dial())
                    }
                    None => read(&text, &doing(progress), &[WayOut::Wait, WayOut::Cancel]),
                }
            }
            State::Waiting => {
                let why = self.code.map_or_else(String::new, |code| format!("{}. ", code.message(0)));
                let hint = format!("{why}Their side dials again by itself; what you send waits until then.");
                read("Connection lost — waiting for the peer to come back", &hint, &[WayOut::Wait, WayOut::Close])
            }
            State::Connected => {
                let text = self
                    .transport
                    .map_or_else(|| "Connected".to_owned(), |transport| format!("Connected over {transport}"));
                read(&text, quality(self.quality.map(|quality| quality.grade)), &[WayOut::Close])
            }
            State::Closing => {
                let hint = match self.pending_messages {
                    0 => "The peer is being told.".to_owned(),
                    1 => "Still to be delivered: one message.".to_owned(),
                    many => format!("Still to be delivered: {many} messages."),
                };
                read("Closing...", &hint, &[WayOut::Wait, WayOut::Cancel])
            }
            State::Closed => {
                let code = self.code.unwrap_or(Code::Done);
                let attempts = progress.map_or(0, |progress| progress.attempt);
                let ways_out: &[_] =
                    if may_dial_again(code) { &[WayOut::TryAgain, WayOut::Dismiss] } else { &[WayOut::Dismiss] };
                read(&code.message(attempts), code.hint(), ways_out)
            }
        }
    }
}

fn read(text: &str, hint: &str, ways_out: &[WayOut]) -> Reading {
    Reading { text: text.to_owned(), hint: hint.to_owned(), ways_out: ways_out.to_vec() }
}

const fn waiting_to_dial() -> [WayOut; 3] {
    [WayOut::Wait, WayOut::RetryNow, WayOut::Cancel]
}

/// What an attempt is doing.
fn doing(progress: Option<&Progress>) -> String {
    let transport = progress.and_then(|progress| progress.transport);
    match (progress.and_then(|progress| progress.stage), transport) {
        (None, _) => "The ways that the link names are tried.".to_owned(),
        (Some(Stage::Resolving), _) => "The host name in the link is being looked up.".to_owned(),
        (Some(Stage::Tunnels), _) => {
            "Waiting for the I2P router to build its tunnels; after a start that takes some minutes.".to_owned()
        }
        (Some(Stage::Opening), Some(Transport::I2p)) => "An I2P stream is being opened.".to_owned(),
        (Some(Stage::Opening), Some(transport)) => format!("A {transport} connection is being opened."),
        (Some(Stage::Opening), None) => "A connection is being opened.".to_owned(),
        (Some(Stage::Handshake), Some(transport)) => format!("Waiting for the peer's answer over {transport}."),
        (Some(Stage::Handshake), None) => "Waiting for the peer's answer.".to_owned(),
    }
}

const fn quality(grade: Option<Grade>) -> &'static str {
    match grade {
        None => "The path has not been measured yet.",
        Some(Grade::Excellent) => "Everything gets through at once.",
        Some(Grade::Good) => "Everything gets through quickly.",
        Some(Grade::Fair) => "Messages may take a moment.",
        Some(Grade::Bad) => "The path is slow or loses much: messages come late, but they come.",
        Some(Grade::Unusable) => "Almost nothing gets through: messages wait until it does.",
    }
}

/// Whether the same link, dialled again, may lead to a session.
const fn may_dial_again(code: Code) -> bool {
    match code {
        Code::Done
        | Code::Unreachable
        | Code::Timeout
        | Code::TunnelTimeout
        | Code::HandshakeTimeout
        | Code::SamDown
        | Code::Name
        | Code::Expired
        | Code::GaveUp
        | Code::Silent
        | Code::CarrierLost
        | Code::Superseded
        | Code::CloseTimeout
        | Code::Cancelled => true,
        // The other place would be pushed out, and push back.
        Code::Replaced => false,
        Code::Protocol | Code::Limit | Code::WrongPeer | Code::NotInvited | Code::Version => false,
    }
}
