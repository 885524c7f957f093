//! The conformance suite's host on the simulated network: time is virtual, and a run can be
//! repeated.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use burdock_core::update::UpdateKind;
use burdock_core::{Class, Config, Link, MessageId, SendError, SessionId, Update};
use burdock_sim::lab::FaultId;
use burdock_sim::scenario::{
    self, Accept, FaultKind, Protocol, Reader, Router, RouterTrouble, Trouble, Tunnels, Verdict, Way,
};
use burdock_sim::{Lab, Scenario};
use bytes::Bytes;

use crate::conformance::{Host, Network, Notes, Peer, View};

const SEED: u64 = 1;
/// The way between I2P routers when it is good.
const TUNNELS: Tunnels = Tunnels { latency: Duration::from_millis(300), jitter: Duration::from_millis(50) };

/// Peers in a [`Lab`].
pub struct SimHost {
    lab: Lab,
    class: Class,
    apps: Vec<App>,
    view: View,
    /// What is wrong with the network.
    faults: Vec<FaultId>,
    /// The routers that do not run.
    down: Vec<FaultId>,
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

    fn begin(&mut self, kind: FaultKind) -> FaultId {
        self.lab.begin(kind).expect("the peers exist")
    }

    fn end(&mut self, fault: FaultId) {
        self.lab.end(fault).unwrap_or_else(|failure| panic!("{failure}"));
    }

    /// The same at every router.
    fn at_routers(&mut self, trouble: &RouterTrouble) -> Vec<FaultId> {
        let peers = 0..self.apps.len();
        peers.map(|host| self.begin(FaultKind::Router { host, trouble: trouble.clone() })).collect()
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
            router: config.i2p.as_ref().map(|_| Router::default()),
        };
        let scenario = Scenario { hosts: (0..peers).map(host).collect(), tunnels: TUNNELS, ..Scenario::calm(SEED) };
        let lab = Lab::new(scenario).expect("the suite's configuration is sound");
        let view = View { peers: vec![Notes::default(); peers], streams: 0 };
        let apps = (0..peers).map(|_| App::default()).collect();
        Self { lab, class: config.class, apps, view, faults: Vec::new(), down: Vec::new() }
    }

    fn dial(&mut self, from: Peer, to: Peer) {
        let hidden = self.lab.hidden_link(to);
        let link = match self.class {
            Class::Open => Link { i2p: hidden.i2p, ..self.lab.link(to) },
            Class::Anonymous => hidden,
        };
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
        let crash = self.begin(FaultKind::Crash { host: peer, power: false });
        self.apps[peer] = App { crash: Some(crash), ..App::default() };
        self.attend();
    }

    fn revive(&mut self, peer: Peer) {
        self.view.peers[peer] = Notes::default();
        let crash = self.apps[peer].crash.take().expect("the peer was killed");
        self.end(crash);
        self.attend();
    }

    fn network(&mut self, network: Network) {
        for fault in core::mem::take(&mut self.faults) {
            self.end(fault);
        }
        let block = |protocol| Trouble::Block { protocol, port: None, verdict: Verdict::Drop };
        let troubles = match network {
            Network::Fair => vec![],
            Network::NoUdp => vec![block(Some(Protocol::Udp))],
            Network::OnlyI2p | Network::Dead => vec![block(None)],
            Network::Narrow => vec![block(Some(Protocol::Udp)), Trouble::Trickle { send_buffer: 2_000, piece: 7 }],
        };
        for way in self.ways() {
            for trouble in troubles.clone() {
                let fault = self.begin(FaultKind::Path { way, trouble });
                self.faults.push(fault);
            }
        }
        if network == Network::Dead {
            let stalled = self.at_routers(&RouterTrouble::Stalled);
            self.faults.extend(stalled);
        }
        self.attend();
    }

    fn reset_streams(&mut self) {
        // Over as soon as they begin.
        for way in self.ways() {
            let _over = self.begin(FaultKind::Reset { way });
        }
        let _over = self.at_routers(&RouterTrouble::Resets);
        self.attend();
    }

    fn routers(&mut self, run: bool) {
        for fault in core::mem::take(&mut self.down) {
            self.end(fault);
        }
        if !run {
            self.down = self.at_routers(&RouterTrouble::Down);
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
