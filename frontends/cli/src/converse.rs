//! One session: lines in become messages, messages become lines out.

use std::sync::Arc;

use burdock_core::SendError;
use burdock_tokio::{Closed, Session, Updates};
use tokio::io::{AsyncWriteExt, Stdout};
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use crate::failure::Failure;
use crate::lines::{Line, TooLong};
use crate::output::{Console, Note, Teller};

/// All of the command line's text goes over this channel.
const CHANNEL: u8 = 0;

/// Standard output, written to by one session at a time.
pub(crate) type Output = Arc<Mutex<Stdout>>;

/// How a conversation ended.
pub(crate) struct End {
    pub(crate) closed: Closed,
    /// Lines that were too long to be sent.
    pub(crate) skipped: u64,
}

/// Runs until the session is closed, by the peer, by fate, or by the end of the lines. `None` when
/// `stop` came first.
pub(crate) async fn converse(
    session: Session,
    updates: Updates,
    name: Option<String>,
    mut lines: mpsc::Receiver<Line>,
    output: Output,
    console: Console,
    stop: impl Future<Output = ()>,
) -> Result<Option<End>, Failure> {
    let (settled_tx, settled) = watch::channel(0);
    let teller = Teller::new(console, session.id(), name);
    let follower = tokio::spawn(teller.follow(updates, settled_tx));
    let mut skipped = 0;
    let (all_sent, end_of_lines) = oneshot::channel();
    let sending = async {
        send_lines(&session, &mut lines, settled, &mut skipped, console).await;
        let _ = all_sent.send(());
        // What is being written then is still to be finished.
        std::future::pending().await
    };
    let closed_by_other = tokio::select! {
        closed = write_messages(&session, &output, end_of_lines) => closed?,
        never = sending => never,
        () = stop => {
            let open = session.status().pending_messages;
            if open > 0 {
                console.say(&format!("Interrupted; {open} messages were not confirmed as delivered"));
            }
            return Ok(None);
        }
    };
    let closed = match closed_by_other {
        Some(closed) => closed,
        None => session.close("end of input").await,
    };
    // The last update has been told when the updates end. A panic in there is reported by itself.
    let _ = follower.await;
    Ok(Some(End { closed, skipped }))
}

/// Writes each message and flushes it before saying that it was taken: only then is it delivered.
/// Stops between two messages, when the session has ended or when it is told to.
async fn write_messages(
    session: &Session,
    output: &Output,
    mut stop: oneshot::Receiver<()>,
) -> Result<Option<Closed>, Failure> {
    loop {
        let message = tokio::select! {
            message = session.recv() => match message {
                Ok(message) => message,
                Err(closed) => return Ok(Some(closed)),
            },
            Ok(()) = &mut stop => return Ok(None),
        };
        let mut output = output.lock().await;
        let written = async {
            output.write_all(&message.data).await?;
            output.write_all(b"\n").await?;
            output.flush().await
        };
        written.await.map_err(|error| Failure::local(format!("cannot write to standard output: {error}")))?;
        session.acknowledge();
    }
}

/// Sends line after line, and returns when the lines have ended and every message has met its end.
async fn send_lines(
    session: &Session,
    lines: &mut mpsc::Receiver<Line>,
    mut settled: watch::Receiver<u64>,
    skipped: &mut u64,
    console: Console,
) {
    let mut sent = 0;
    while let Some(line) = lines.recv().await {
        let number = line.number;
        let refused = match line.data {
            Err(TooLong { len }) => Some(format!("it has {len} bytes, which is more than a message may have")),
            Ok(data) => match session.send(CHANNEL, data).await {
                Ok(message) => {
                    sent += 1;
                    console.note(&Note::Sent { session: session.id(), line: number, message });
                    None
                }
                Err(error @ SendError::TooLarge { .. }) => Some(error.to_string()),
                // What closed it is learned by receiving.
                Err(_) => std::future::pending().await,
            },
        };
        if let Some(why) = refused {
            *skipped += 1;
            console.skipped(number, &format!("Line {number} was not sent: {why}"));
        }
    }
    // A session that has ended is learned of by receiving.
    if session.connected().await.is_err() || settled.wait_for(|count| *count >= sent).await.is_err() {
        std::future::pending().await
    }
}
