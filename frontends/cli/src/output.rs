//! Progress and state on standard error: sentences for a person, or one JSON object a line.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use burdock_core::update::{Grade, ProgressStatus, UpdateKind};
use burdock_core::{Code, MessageId, RouterState, SessionId, Update};
use burdock_tokio::{Closed, Updates};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::failure::Failure;

/// How often a countdown on a terminal is redrawn.
const REDRAW: Duration = Duration::from_secs(1);

/// Colours, where somebody sees them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Palette {
    on: bool,
}

impl Palette {
    /// Colours for a terminal whose owner did not ask for none (no-color.org).
    pub(crate) fn for_terminal(terminal: bool) -> Self {
        Self { on: terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) }
    }

    fn paint(self, code: &str, text: impl Display) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }

    pub(crate) fn good(self, text: impl Display) -> String {
        self.paint("32", text)
    }

    pub(crate) fn bad(self, text: impl Display) -> String {
        self.paint("31", text)
    }

    pub(crate) fn strong(self, text: impl Display) -> String {
        self.paint("1", text)
    }

    pub(crate) fn faint(self, text: impl Display) -> String {
        self.paint("2", text)
    }
}

/// Standard error. That it cannot be written to is no reason to stop, so errors are passed over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Console {
    json: bool,
    terminal: bool,
    palette: Palette,
}

/// What is told about the program itself, beside the updates of its sessions.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Note<'a> {
    /// `listen` is ready.
    Listening {
        link: &'a str,
        key: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        address: Option<String>,
    },
    /// The I2P router is better or worse off.
    Router { router: &'a RouterState },
    /// `chat` serves its page.
    Serving {
        url: &'a str,
        link: &'a str,
        key: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        address: Option<String>,
    },
    /// A line of standard input became a message.
    Sent { session: SessionId, line: u64, message: MessageId },
    /// A line of standard input was not sent.
    Skipped { line: u64, text: &'a str },
    /// The program ends for this reason.
    Error { text: &'a str, exit_status: u8 },
}

#[derive(Serialize)]
struct OfSession<'a> {
    session: SessionId,
    #[serde(flatten)]
    update: &'a Update,
}

impl Console {
    pub(crate) fn new(json: bool) -> Self {
        let terminal = io::stderr().is_terminal();
        Self { json, terminal, palette: Palette::for_terminal(terminal) }
    }

    /// A sentence for a person.
    pub(crate) fn say(self, text: &str) {
        if !self.json {
            self.write(&format!("{text}\n"));
        }
    }

    /// An object for a machine.
    pub(crate) fn note(self, note: &Note<'_>) {
        self.object(note);
    }

    pub(crate) fn failure(self, failure: &Failure) {
        self.note(&Note::Error { text: &failure.message, exit_status: failure.status });
        self.say(&format!("{} {}", self.palette.bad("burdock:"), failure.message));
    }

    pub(crate) fn skipped(self, line: u64, text: &str) {
        self.note(&Note::Skipped { line, text });
        self.say(text);
    }

    fn object(self, value: &impl Serialize) {
        if self.json
            && let Ok(text) = serde_json::to_string(value)
        {
            self.write(&format!("{text}\n"));
        }
    }

    fn write(self, text: &str) {
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

/// Tells what happens to one session.
pub(crate) struct Teller {
    console: Console,
    session: SessionId,
    /// Stands before each line when there may be several sessions.
    name: Option<String>,
    last: String,
    hint: String,
    grade: Option<Grade>,
    countdown: Option<Countdown>,
}

struct Countdown {
    text: String,
    ends: Instant,
}

impl Teller {
    pub(crate) const fn new(console: Console, session: SessionId, name: Option<String>) -> Self {
        Self { console, session, name, last: String::new(), hint: String::new(), grade: None, countdown: None }
    }

    /// Tells each update, and counts the messages that met their end, until there are no more.
    pub(crate) async fn follow(mut self, mut updates: Updates, settled: watch::Sender<u64>) {
        loop {
            let redraw = async {
                match self.countdown {
                    Some(_) => tokio::time::sleep(REDRAW).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                update = updates.next() => {
                    let Some(update) = update else { return };
                    self.tell(&update);
                    if matches!(update.kind, UpdateKind::Outcome { .. }) {
                        settled.send_modify(|count| *count += 1);
                    }
                }
                () = redraw => self.draw_countdown(),
            }
        }
    }

    fn tell(&mut self, update: &Update) {
        self.console.object(&OfSession { session: self.session, update });
        if self.console.json {
            return;
        }
        match &update.kind {
            UpdateKind::Progress(progress) => {
                let code = progress.code.map_or("", |code| code.name());
                match progress.status {
                    ProgressStatus::Connecting => match (progress.transport, progress.stage) {
                        (Some(transport), _) => self.line(format!("{} over {transport}", progress.message)),
                        (None, Some(_)) => self.line(progress.message.clone()),
                        // The transport follows at once.
                        (None, None) => {}
                    },
                    ProgressStatus::Retrying => {
                        let wait = Duration::from_millis(progress.retry_in_ms.unwrap_or_default());
                        tracing::debug!(code, ?wait, "attempt failed");
                        self.wait(progress.message.clone(), wait);
                        self.hint(&progress.hint);
                    }
                    // Connected, Resumed or Closed says it.
                    ProgressStatus::Connected | ProgressStatus::Failed => {}
                }
            }
            UpdateKind::Connected { transport, inbound: true, .. } => {
                self.good(format!("Peer connected over {transport}"))
            }
            UpdateKind::Connected { transport, peer, .. } => {
                self.good(format!("Connected to {} over {transport}", short(peer)));
            }
            UpdateKind::PathChanged { from, to, code } => {
                self.line(format!("Moved from {from} to {to}: {}", lower(code.text())));
            }
            UpdateKind::Quality(quality) if self.grade != Some(quality.grade) => {
                let known = self.grade.replace(quality.grade).is_some();
                if known || quality.grade < Grade::Good {
                    self.line(format!(
                        "The connection is {}: {} ms round trip, {}.{} % loss",
                        grade(quality.grade),
                        quality.rtt_us.div_ceil(1000),
                        quality.loss_per_mille / 10,
                        quality.loss_per_mille % 10,
                    ));
                }
            }
            UpdateKind::Lost { code } => self.bad(format!("Connection lost: {}", lower(code.text()))),
            UpdateKind::Resumed { transport, after_ms } => {
                let after = Duration::from_millis(*after_ms);
                self.good(format!("Back over {transport} after {}, nothing was lost", seconds(after)));
            }
            UpdateKind::PeerRestarted => {
                self.line("The peer restarted; what it had not taken by then may be lost".to_owned());
            }
            UpdateKind::IdentityInUse { message, hint } => {
                self.bad(message.clone());
                self.hint(hint);
            }
            UpdateKind::InviteBound { .. } => {
                self.line("The invite is theirs now; nobody else can use it".to_owned());
            }
            UpdateKind::Closed { code, by_peer, reason, delivered, undelivered, unknown, message, hint } => {
                let said = if *by_peer && !reason.is_empty() {
                    format!(" by the peer: {}", reason.escape_default())
                } else if *by_peer && matches!(code, Code::Done | Code::Cancelled | Code::CloseTimeout) {
                    " by the peer".to_owned()
                } else {
                    String::new()
                };
                let text = format!("{message}{said}");
                if code.exit_status() == 0 {
                    self.line(text)
                } else {
                    self.bad(text)
                }
                if *undelivered + *unknown > 0 {
                    self.bad(format!(
                        "Of {} messages {delivered} were delivered, {undelivered} were not, {unknown} may have been",
                        delivered + undelivered + unknown
                    ));
                }
                if code.exit_status() != 0 {
                    self.hint(hint);
                }
            }
            _ => {}
        }
    }

    fn good(&mut self, text: String) {
        self.coloured(Palette::good, text);
    }

    fn bad(&mut self, text: String) {
        self.coloured(Palette::bad, text);
    }

    fn line(&mut self, text: String) {
        self.coloured(|_, text| text, text);
    }

    /// Each line once, however often the same is said in a row.
    fn coloured(&mut self, colour: impl Fn(Palette, String) -> String, text: String) {
        if text == self.last {
            return;
        }
        self.clear_countdown();
        self.console.say(&self.named(&colour(self.console.palette, text.clone())));
        self.last = text;
    }

    fn hint(&mut self, hint: &str) {
        if hint.is_empty() || hint == self.hint {
            return;
        }
        self.clear_line();
        self.console.say(&self.named(&self.console.palette.faint(hint)));
        hint.clone_into(&mut self.hint);
        self.draw_countdown();
    }

    fn named(&self, text: &str) -> String {
        self.name.as_ref().map_or_else(|| text.to_owned(), |name| format!("{name}  {text}"))
    }

    /// A terminal sees the seconds go by, a file one line.
    fn wait(&mut self, text: String, wait: Duration) {
        if self.console.terminal {
            self.line(text);
            self.countdown = Some(Countdown { text: "Next attempt".to_owned(), ends: Instant::now() + wait });
            self.draw_countdown();
        } else {
            self.line(format!("{text}; next attempt in {}", seconds(wait)));
        }
    }

    fn draw_countdown(&self) {
        let Some(countdown) = &self.countdown else { return };
        let left = countdown.ends.saturating_duration_since(Instant::now());
        let text = format!("{} in {} s ...", countdown.text, left.as_millis().div_ceil(1000));
        self.clear_line();
        self.console.write(&self.named(&self.console.palette.faint(text)));
    }

    fn clear_countdown(&mut self) {
        if self.countdown.is_some() {
            self.clear_line();
            self.countdown = None;
        }
    }

    /// Carriage return, then erase to the end of the line (ECMA-48 EL).
    fn clear_line(&self) {
        if self.countdown.is_some() {
            self.console.write("\r\x1b[K");
        }
    }
}

/// The exit status of a session that ended so, with this many lines of the input left out.
pub(crate) fn exit_status(closed: &Closed, skipped: u64) -> u8 {
    match closed.code.exit_status() {
        0 if closed.undelivered + closed.unknown + skipped > 0 => crate::failure::FAILED,
        status => status,
    }
}

/// A key as far as a person compares it.
pub(crate) fn short(key: &burdock_core::PublicKey) -> String {
    key.to_string().chars().take(8).collect()
}

pub(crate) fn seconds(duration: Duration) -> String {
    let tenths = (duration.as_millis() + 50) / 100;
    format!("{}.{} s", tenths / 10, tenths % 10)
}

fn lower(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

const fn grade(grade: Grade) -> &'static str {
    match grade {
        Grade::Unusable => "unusable",
        Grade::Bad => "bad",
        Grade::Fair => "fair",
        Grade::Good => "good",
        Grade::Excellent => "excellent",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rounded_to_tenths() {
        assert_eq!(seconds(Duration::from_millis(81_149)), "81.1 s");
        assert_eq!(seconds(Duration::from_millis(950)), "1.0 s");
    }

    #[test]
    fn no_colour_where_nobody_sees_it() {
        assert_eq!(Palette::for_terminal(false).bad("text"), "text");
    }
}
