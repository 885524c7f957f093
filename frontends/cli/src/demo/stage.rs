//! What all scenarios share: the narrator, the two peers, and what they were told.

use std::fmt::Display;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use burdock_core::update::{ProgressStatus, UpdateKind};
use burdock_core::{AcceptPolicy, Config, Identity, Link, Transport};
use burdock_tokio::{Closed, Endpoint, Session, Updates};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::relay::{Gate, Relay};
use super::traffic::{Application, count_of};
use super::verdict::Verdict;
use crate::failure::Failure;
use crate::id;
use crate::output::{Palette, seconds};

/// Prints what happens as it happens, with the time since the scenario began.
#[derive(Clone)]
pub(super) struct Narrator {
    palette: Palette,
    began: Arc<Mutex<Instant>>,
}

impl Narrator {
    pub(super) fn new(palette: Palette) -> Self {
        Self { palette, began: Arc::new(Mutex::new(Instant::now())) }
    }

    pub(super) const fn palette(&self) -> Palette {
        self.palette
    }

    /// That standard output is closed does not stop the demo: its exit status still counts.
    pub(super) fn print(&self, text: &str) {
        let _ = writeln!(io::stdout().lock(), "{text}");
    }

    pub(super) fn begin(&self, title: &str, story: &str) {
        self.print(&format!("\n{}", self.palette.strong(title)));
        self.print(&format!("  {story}"));
        *self.began.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub(super) fn end(&self, verdict: &Verdict) {
        for line in verdict.lines(self.palette) {
            self.print(&format!("  {line}"));
        }
    }

    /// The time since the scenario began.
    pub(super) fn now(&self) -> Duration {
        self.began.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    pub(super) fn say(&self, who: &str, text: impl Display) {
        let time = format!("{:8.3} s", self.now().as_secs_f64());
        self.print(&format!("{}  {who:<5}  {text}", self.palette.faint(time)));
    }
}

/// An endpoint on loopback with an identity that nobody has seen before.
pub(super) async fn endpoint(config: Config) -> Result<Endpoint, Failure> {
    let identity = Identity::from_bytes(*id::random()?);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Endpoint::bind(address, config, identity).await.map_err(|error| Failure::local(error.to_string()))
}

/// Alice, who dials; Bob, who lets her in; and what lies between them.
pub(super) struct Cast {
    pub(super) alice: Endpoint,
    pub(super) bob: Endpoint,
    pub(super) relay: Relay,
}

impl Cast {
    pub(super) async fn assemble(config: Config, gate: Gate) -> Result<Self, Failure> {
        let alice = endpoint(config.clone()).await?;
        let bob = endpoint(config).await?;
        bob.set_accept(AcceptPolicy::nobody().allow(alice.public_key()));
        let relay = relay(bob.local_addr().expect("it listens"), gate).await?;
        Ok(Self { alice, bob, relay })
    }

    /// Bob's link, by way of the relay.
    pub(super) fn link(&self) -> Link {
        Link::direct(self.bob.public_key(), self.relay.address())
    }

    /// Alice dials.
    pub(super) fn dial(&self, link: &Link, narrator: &Narrator) -> Result<(Session, Log), String> {
        let (session, updates) = self.alice.connect(link).map_err(|error| format!("alice could not dial: {error}"))?;
        Ok((session, Log::follow(updates, narrator.clone(), "alice")))
    }

    /// Bob's application: it talks over the session that it is given, over the newest if there are
    /// several, and stays until Alice closes.
    pub(super) async fn answer(&self, application: &mut Application, narrator: &Narrator) -> Result<Closed, String> {
        let mut newest = self.bob.accept().await;
        loop {
            let (session, updates) = newest.ok_or("bob's endpoint was shut down")?;
            let log = Log::follow(updates, narrator.clone(), "bob");
            newest = tokio::select! {
                talked = application.talk(&session) => match talked {
                    Ok(()) => match session.recv().await {
                        Ok(_) => return Err("bob got a message after the last".to_owned()),
                        Err(closed) => {
                            log.finish().await;
                            return Ok(closed);
                        }
                    },
                    Err(_) => self.bob.accept().await,
                },
                accepted = self.bob.accept() => accepted,
            };
        }
    }

    pub(super) async fn leave(self) {
        tokio::join!(self.alice.shutdown(), self.bob.shutdown());
    }
}

pub(super) async fn relay(target: SocketAddr, gate: Gate) -> Result<Relay, Failure> {
    Relay::start(target, gate).await.map_err(|error| Failure::local(format!("the relay does not start: {error}")))
}

/// What `scene` found out, or that it took too long to.
pub(super) async fn within<T>(limit: Duration, scene: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    tokio::time::timeout(limit, scene)
        .await
        .unwrap_or_else(|_| Err(format!("it came to no end within {}", seconds(limit))))
}

/// Every update of a session with the time it came, but for the outcomes of single messages.
pub(super) struct Log {
    entries: watch::Receiver<Vec<(Instant, UpdateKind)>>,
    task: JoinHandle<()>,
}

impl Drop for Log {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Log {
    /// Tells what happens to `who` and writes it down.
    pub(super) fn follow(mut updates: Updates, narrator: Narrator, who: &'static str) -> Self {
        let (sender, entries) = watch::channel(Vec::new());
        let task = tokio::spawn(async move {
            let mut last = String::new();
            while let Some(update) = updates.next().await {
                if matches!(update.kind, UpdateKind::Outcome { .. }) {
                    continue;
                }
                if let Some(text) = describe(&update.kind)
                    && text != last
                {
                    narrator.say(who, &text);
                    last = text;
                }
                sender.send_modify(|entries| entries.push((Instant::now(), update.kind)));
            }
        });
        Self { entries, task }
    }

    /// Waits until the last update of a session that has ended was told.
    pub(super) async fn finish(mut self) {
        // A panic in there was reported when it happened.
        let _ = (&mut self.task).await;
    }

    /// The first entry that `pick` takes, now or when it comes. `None`: the session ended without.
    pub(super) async fn first<T>(&self, pick: impl Fn(&UpdateKind) -> Option<T>) -> Option<(Instant, T)> {
        let mut entries = self.entries.clone();
        let found = entries.wait_for(|entries| entries.iter().any(|(_, kind)| pick(kind).is_some())).await;
        drop(found);
        self.all(pick).into_iter().next()
    }

    /// Every entry so far that `pick` takes.
    pub(super) fn all<T>(&self, pick: impl Fn(&UpdateKind) -> Option<T>) -> Vec<(Instant, T)> {
        self.entries.borrow().iter().filter_map(|(time, kind)| Some((*time, pick(kind)?))).collect()
    }
}

/// Judges how a session ended for the side that closed it.
pub(super) fn judge_end(who: &str, closed: &Closed, total: u64, verdict: &mut Verdict) {
    let all = closed.delivered == total && closed.undelivered + closed.unknown == 0;
    verdict.check(
        all,
        format!(
            "{who} was told that {} were delivered, {} were not and {} may have been",
            count_of(closed.delivered),
            count_of(closed.undelivered),
            count_of(closed.unknown)
        ),
    );
}

/// The transport of a new session.
pub(super) const fn connected(kind: &UpdateKind) -> Option<Transport> {
    match kind {
        UpdateKind::Connected { transport, .. } => Some(*transport),
        _ => None,
    }
}

fn describe(kind: &UpdateKind) -> Option<String> {
    Some(match kind {
        UpdateKind::Progress(progress) => match progress.status {
            ProgressStatus::Connecting => format!("{} over {}", progress.message, progress.transport?),
            ProgressStatus::Retrying => {
                let wait = Duration::from_millis(progress.retry_in_ms.unwrap_or_default());
                format!("{}; next attempt in {}", progress.message, seconds(wait))
            }
            ProgressStatus::Connected | ProgressStatus::Failed => return None,
        },
        UpdateKind::Connected { transport, inbound: false, .. } => format!("connected over {transport}"),
        UpdateKind::Connected { transport, .. } => format!("let the peer in over {transport}"),
        UpdateKind::PathChanged { from, to, .. } => format!("moved from {from} to {to}"),
        UpdateKind::Lost { code } => format!("lost the connection: {}", code.text()),
        UpdateKind::Resumed { transport, after_ms } => {
            format!("resumed over {transport} after {}", seconds(Duration::from_millis(*after_ms)))
        }
        UpdateKind::PeerRestarted => "the peer has forgotten the session".to_owned(),
        UpdateKind::Closed { message, .. } => message.clone(),
        _ => return None,
    })
}

/// Milliseconds, to a tenth below ten.
pub(super) fn millis(duration: Duration) -> String {
    let micros = duration.as_micros();
    if micros < 10_000 {
        let tenths = (micros + 50) / 100;
        format!("{}.{} ms", tenths / 10, tenths % 10)
    } else {
        format!("{} ms", (micros + 500) / 1000)
    }
}
