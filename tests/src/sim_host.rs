//! The conformance suite's host on the simulated network: time is virtual, and a run can be
//! repeated.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use burdock_core::update::UpdateKind;
use burdock_core::{Config, MessageId, SendError, SessionId, Update};
use burdock_sim::lab::FaultId;
use burdock_sim::scenario::{self, Accept, FaultKind, Protocol, Reader, Trouble, Verdict, Way};
use burdock_sim::{Lab, Scenario};
use bytes::Bytes;

use crate::conformance::{Host, Network, Notes, Peer, View};

const SEED: u64 = 1;

/// Peers in a [`Lab`].
pub struct SimHost {
    lab: Lab,
    apps: Vec<App>,
    view: View,
    /// What is wrong with the network.
    faults: Vec<FaultId>,
}

/// The application of a peer.
#[derive(Default)]
struct App {
    newest: Option<SessionId>,
    /// The latest update of each session.
    seqs: BTreeMap<SessionId, u64>,
    cancelled: BTreeSet<SessionId>,
    /// The fault that its process is down with.
    crash: Option<FaultId>,
}

impl SimHost {
    /// The applications look at their updates, take their messages and write it all down. Says
    /// whether there was anything to see.
    fn attend(&mut self) -> bool {
        let mut seen = false;
        for peer in 0..self.apps.len() {
            while let Some((session, update)) = self.lab.update(peer) {
                seen = true;
                self.note(peer, session, update);
            }
        }
        let streams = (0..self.apps.len()).map(|peer| self.lab.streams(peer)).sum();
        seen |= streams != self.view.streams;
        self.view.streams = streams;
        seen
    }

    fn note(&mut self, peer: Peer, session: SessionId, update: Update) {
        let app = &mut self.apps[peer];
        assert!(!app.cancelled.contains(&session), "a cancelled session says {update:?}");
        let seq = app.seqs.entry(session).or_default();
        assert_eq!(update.seq, *seq + 1, "an update is missing");
        *seq = update.seq;
        let notes = &mut self.view.peers[peer];
        match &update.kind {
            UpdateKind::Connected { inbound: true, .. } => app.newest = Some(session),
            UpdateKind::Message => {
                self.lab.with(peer, |endpoint, now| {
                    notes.messages.extend(core::iter::from_fn(|| endpoint.recv(session)));
                    endpoint.taken(now, session);
                });
            }
            _ => {}
        }
        notes.updates.push(update.kind);
    }

    /// The newest session of a peer.
    fn newest(&self, peer: Peer) -> SessionId {
        self.apps[peer].newest.expect("the peer has a session")
    }

    /// Every direction between two peers.
    fn ways(&self) -> impl Iterator<Item = Way> + use<> {
        let peers = self.apps.len();
        let all = (0..peers).flat_map(move |from| (0..peers).map(move |to| Way { from, to }));
        all.filter(|way| way.from != way.to)
    }
}

impl Host for SimHost {
    fn start(peers: usize, config: &Config) -> Self {
        let host = |peer: Peer| scenario::Host {
            name: format!("peer {peer}"),
            config: config.clone(),
            accept: Accept::Anyone,
            clock: Duration::from_secs(1_000 * peer as u64),
            reader: Reader::Prompt,
            router: None,
        };
        let scenario = Scenario { hosts: (0..peers).map(host).collect(), ..Scenario::calm(SEED) };
        let lab = Lab::new(scenario).expect("the suite's configuration is sound");
        let view = View { peers: vec![Notes::default(); peers], streams: 0 };
        Self { lab, apps: (0..peers).map(|_| App::default()).collect(), view, faults: Vec::new() }
    }

    fn dial(&mut self, from: Peer, to: Peer) {
        let link = self.lab.link(to);
        let dialled = self.lab.with(from, |endpoint, now| endpoint.connect(now, &link)).expect("the peer lives");
        self.apps[from].newest = Some(dialled.expect("the link can be dialled"));
        self.attend();
    }

    fn send(&mut self, from: Peer, channel: u8, data: Bytes) -> Result<MessageId, SendError> {
        let session = self.newest(from);
        let sent = self.lab.with(from, |endpoint, now| endpoint.send(now, session, channel, data));
        self.attend();
        sent.unwrap_or(Err(SendError::Closed))
    }

    fn close(&mut self, peer: Peer, reason: &str) {
        let session = self.newest(peer);
        self.lab.with(peer, |endpoint, now| endpoint.close(now, session, reason));
        self.attend();
    }

    fn cancel(&mut self, peer: Peer) {
        let session = self.newest(peer);
        self.lab.with(peer, |endpoint, now| endpoint.cancel(now, session));
        self.apps[peer].newest = None;
        self.apps[peer].cancelled.insert(session);
        self.attend();
    }

    fn kill(&mut self, peer: Peer) {
        let crash = self.lab.begin(FaultKind::Crash { host: peer, power: false });
        self.apps[peer] = App { crash: Some(crash.expect("the peer exists")), ..App::default() };
        self.attend();
    }

    fn revive(&mut self, peer: Peer) {
        self.view.peers[peer] = Notes::default();
        let crash = self.apps[peer].crash.take().expect("the peer was killed");
        self.lab.end(crash).unwrap_or_else(|failure| panic!("{failure}"));
        self.attend();
    }

    fn network(&mut self, network: Network) {
        for fault in core::mem::take(&mut self.faults) {
            self.lab.end(fault).unwrap_or_else(|failure| panic!("{failure}"));
        }
        let block = |protocol| Trouble::Block { protocol, port: None, verdict: Verdict::Drop };
        let troubles = match network {
            Network::Fair => vec![],
            Network::NoUdp => vec![block(Some(Protocol::Udp))],
            Network::Dead => vec![block(None)],
            Network::Narrow => vec![block(Some(Protocol::Udp)), Trouble::Trickle { send_buffer: 2_000, piece: 7 }],
        };
        for way in self.ways() {
            for trouble in troubles.clone() {
                let fault = self.lab.begin(FaultKind::Path { way, trouble }).expect("the peers exist");
                self.faults.push(fault);
            }
        }
        self.attend();
    }

    fn reset_streams(&mut self) {
        for way in self.ways() {
            // Over as soon as it begins.
            let _over = self.lab.begin(FaultKind::Reset { way }).expect("the peers exist");
        }
        self.attend();
    }

    fn run(&mut self, limit: Duration, done: &mut dyn FnMut(&View) -> bool) -> bool {
        let limit = self.lab.now() + limit;
        loop {
            if done(&self.view) {
                return true;
            }
            loop {
                if !self.lab.step(limit).unwrap_or_else(|failure| panic!("{failure}")) {
                    return false;
                }
                if self.attend() {
                    break;
                }
            }
        }
    }
}
