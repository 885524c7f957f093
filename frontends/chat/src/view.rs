//! What a page shows: a snapshot of everything, and the parts of it that change.

use std::collections::VecDeque;

use burdock_tokio::{Outcome, Progress, PublicKey, Reading, Status};

use serde::Serialize;

use crate::qr::Qr;

/// Everything, as of update `seq`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct View {
    pub(crate) seq: u64,
    pub(crate) me: Me,
    pub(crate) conversations: Vec<Conversation>,
}

/// Our own side.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Me {
    pub(crate) key: PublicKey,
    /// Empty while there is no address to be reached at.
    pub(crate) link: String,
    /// `None` for a link that is too long for one.
    pub(crate) qr: Option<Qr>,
    /// How I2P does, as a sentence; empty without it.
    pub(crate) router: String,
    /// Who can connect with the link.
    pub(crate) door: String,
}

/// One conversation with what was said in it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Conversation {
    #[serde(flatten)]
    pub(crate) head: Head,
    pub(crate) entries: VecDeque<Entry>,
}

/// One conversation.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Head {
    pub(crate) id: u64,
    pub(crate) peer: PublicKey,
    pub(crate) safety_number: String,
    pub(crate) status: Status,
    pub(crate) reading: Reading,
    /// Once the session has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) end: Option<End>,
}

/// What else is known of the end of a session.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct End {
    pub(crate) by_peer: bool,
    /// The peer's words.
    pub(crate) reason: String,
}

/// A line of the log of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Entry {
    /// Rises within a run of the program.
    pub(crate) id: u64,
    pub(crate) from: Who,
    pub(crate) text: String,
    /// Of our messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<Delivery>,
    /// Milliseconds since 1970.
    pub(crate) at_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Who {
    Me,
    Peer,
    /// Neither: something happened.
    Note,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Delivery {
    Sending,
    Delivered,
    Undelivered,
    Unknown,
}

impl From<Outcome> for Delivery {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Delivered => Self::Delivered,
            Outcome::Undelivered => Self::Undelivered,
            Outcome::Unknown => Self::Unknown,
        }
    }
}

/// A change of the view. Each is one event of the stream, named by its variant.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum News<'a> {
    Me(&'a Me),
    /// A conversation is new or has changed.
    Conversation(&'a Head),
    /// A line is new or has changed. Those before the oldest that is kept are off the screen: nobody tells what becomes
    /// of them.
    Entry {
        conversation: u64,
        oldest: u64,
        entry: &'a Entry,
    },
    /// A conversation is off the screen.
    Removed {
        conversation: u64,
    },
    /// How dialling goes: the core's own [`Progress`], and whose it is.
    ConnectionProgress {
        conversation: u64,
        #[serde(flatten)]
        progress: &'a Progress,
    },
}

impl News<'_> {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Me(_) => "me",
            Self::Conversation(_) => "conversation",
            Self::Entry { .. } => "entry",
            Self::Removed { .. } => "removed",
            Self::ConnectionProgress { .. } => "connection_progress",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A front end passes it on unchanged: the fields of the core, with their names, and one beside them.
    #[test]
    fn progress_has_the_shape_of_the_core() {
        let shape = json!({"attempt": 2, "max_attempts": 4, "status": "retrying", "retry_in_ms": 5000,
            "code": "timeout", "message": "Connection timed out", "hint": "Wait."});
        let progress: Progress = serde_json::from_value(shape.clone()).unwrap();
        let news = News::ConnectionProgress { conversation: 3, progress: &progress };
        assert_eq!(news.name(), "connection_progress");
        let mut told = serde_json::to_value(&news).unwrap();
        assert_eq!(told.as_object_mut().unwrap().remove("conversation"), Some(Value::from(3)));
        assert_eq!(told, shape);
    }
}
