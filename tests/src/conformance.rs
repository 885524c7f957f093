//! What every host of the core must do: one suite for drivers on real sockets and for simulators.
//!
//! A host holds a number of peers, each an endpoint with an application that accepts everybody,
//! takes every message as it comes, and writes down what it sees. The network between them is the
//! host's own. The suite dials, sends, breaks the network, and judges by the notes alone; time is
//! the host's, real or virtual.
//!
//! A scenario is run once with each [`Carrier`] that it is about. [`conformance!`](crate::conformance!) makes a test of
//! each of these runs for one host.

use core::time::Duration;

use burdock_core::update::{Outcome, UpdateKind};
use burdock_core::{Class, Config, I2p, Ladder, Message, MessageId, Schedule, SendError, Transport};
use bytes::Bytes;

/// A peer, by its place in the host.
pub type Peer = usize;

/// What the network between all peers does. What is not said of I2P is of no concern to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Everything passes.
    Fair,
    /// Datagrams are dropped, nobody is told.
    NoUdp,
    /// Datagrams are dropped, streams stand still, and nobody is told; I2P goes on.
    OnlyI2p,
    /// Nothing passes, over I2P neither, and nobody is told. Streams that exist stay, and go on when
    /// the network is fair again.
    Dead,
    /// Datagrams are dropped; streams take and give a few bytes at a time through small buffers.
    Narrow,
}

/// What one peer's application saw since it was started.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    /// Of all its sessions, in order.
    pub updates: Vec<UpdateKind>,
    /// In the order they were taken.
    pub messages: Vec<Message>,
}

/// What there is to see of a host.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// What the applications saw.
    pub peers: Vec<Notes>,
    /// Streams in the network, opening or open; those between peers and their I2P routers count as well.
    pub streams: usize,
}

/// Peers and the network between them.
pub trait Host {
    /// Starts that many peers with this configuration, in a fair network; if I2P is in it, each with a
    /// router, wherever the configuration says that it is.
    fn start(peers: usize, config: &Config) -> Self;
    /// Has one peer dial another by all that it can be reached by.
    fn dial(&mut self, from: Peer, to: Peer);
    /// Sends on the newest session of a peer.
    ///
    /// # Errors
    /// As the core says.
    fn send(&mut self, from: Peer, channel: u8, data: Bytes) -> Result<MessageId, SendError>;
    /// Closes the newest session of a peer.
    fn close(&mut self, peer: Peer, reason: &str);
    /// Has the application of a peer let go of its newest session.
    fn cancel(&mut self, peer: Peer);
    /// The process of a peer is gone, without a word; its port is closed.
    fn kill(&mut self, peer: Peer);
    /// Starts it again, with the same identity, address and I2P destination, and nothing in its notes.
    fn revive(&mut self, peer: Peer);
    /// Changes the network.
    fn network(&mut self, network: Network);
    /// Resets every stream between peers; over I2P the routers end it, and are well.
    fn reset_streams(&mut self);
    /// Ends the I2P routers of all peers with all their sockets, or starts them again, without memory.
    fn routers(&mut self, run: bool);
    /// Lets time pass until `done`, at most `limit`. Says whether it is done.
    fn run(&mut self, limit: Duration, done: &mut dyn FnMut(&View) -> bool) -> bool;
}

/// What carries packets between the peers of a scenario.
#[derive(Clone, Copy, Debug)]
pub struct Carrier {
    class: Class,
    /// Whether the peers have I2P routers.
    routers: bool,
    /// The network in which nothing better works.
    network: Network,
    transport: Transport,
}

impl Carrier {
    /// In an open network the session is over UDP.
    pub const UDP: Self =
        Self { class: Class::Open, routers: false, network: Network::Fair, transport: Transport::Udp };
    /// Silence on UDP, not an error, leads to TCP.
    pub const TCP: Self = Self { network: Network::NoUdp, transport: Transport::Tcp, ..Self::UDP };
    /// Peers that have I2P and nothing else.
    pub const I2P: Self = Self { class: Class::Anonymous, routers: true, transport: Transport::I2p, ..Self::UDP };
    /// Peers that have everything, and silence on UDP and TCP: that leads to I2P.
    pub const FALLBACK: Self = Self { class: Class::Open, network: Network::OnlyI2p, ..Self::I2P };

    /// The settings for it: those of a stream, with less patience.
    fn config(self) -> Config {
        let i2p = || I2p { silence: Duration::from_secs(4), ..I2p::default() };
        Config {
            class: self.class,
            ladder: Ladder::Race { fallback_delay: Duration::from_millis(200) },
            attempts: 60,
            backoff: Schedule::exponential(Duration::from_millis(50), Duration::from_millis(500)),
            attempt_deadline: Duration::from_secs(if self.routers { 3 } else { 2 }),
            silence: Duration::from_secs(2),
            close_deadline: Duration::from_secs(10),
            i2p: self.routers.then(i2p),
            ..Config::streamer()
        }
    }

    fn start<H: Host>(self, peers: usize) -> H {
        let mut host = H::start(peers, &self.config());
        host.network(self.network);
        host
    }

    /// Streams of peers that have no session: one for the SAM session of each, two that wait for callers.
    fn idle_streams(self, peers: usize) -> usize {
        if self.routers { 3 * peers } else { 0 }
    }
}

/// More than any step may take.
const LIMIT: Duration = Duration::from_secs(30);

impl Notes {
    /// How many updates satisfy `pick`.
    pub fn count(&self, pick: impl Fn(&UpdateKind) -> bool) -> usize {
        self.updates.iter().filter(|kind| pick(kind)).count()
    }

    /// How many sessions came up.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.count(|kind| matches!(kind, UpdateKind::Connected { .. }))
    }

    /// The transport in use, `None` while there is no path.
    #[must_use]
    pub fn transport(&self) -> Option<Transport> {
        self.updates.iter().fold(None, |now, kind| match kind {
            UpdateKind::Connected { transport, .. } | UpdateKind::Resumed { transport, .. } => Some(*transport),
            UpdateKind::PathChanged { to, .. } => Some(*to),
            UpdateKind::Lost { .. } | UpdateKind::Closed { .. } => None,
            _ => now,
        })
    }

    /// Whether a session has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.count(|kind| matches!(kind, UpdateKind::Closed { .. })) > 0
    }

    /// How many messages met this end.
    #[must_use]
    pub fn outcomes(&self, end: Outcome) -> usize {
        self.count(|kind| matches!(kind, UpdateKind::Outcome { outcome, .. } if *outcome == end))
    }

    fn writable(&self) -> usize {
        self.count(|kind| matches!(kind, UpdateKind::Writable))
    }
}

/// The `n`-th message of a batch: its number, then bytes that follow from it.
fn payload(n: u32, len: usize) -> Bytes {
    n.to_be_bytes().into_iter().chain((4..len).map(|at| (n as usize * 31 + at * 7) as u8)).collect()
}

/// Sends a batch, with patience where the session is full.
fn send(host: &mut impl Host, from: Peer, numbers: core::ops::Range<u32>, len: usize) {
    for n in numbers {
        loop {
            let mut seen = 0;
            host.run(Duration::ZERO, &mut |view| {
                seen = view.peers[from].writable();
                true
            });
            match host.send(from, 0, payload(n, len)) {
                Ok(_) => break,
                Err(SendError::Full) => {
                    let more = host.run(LIMIT, &mut |view| view.peers[from].writable() > seen);
                    assert!(more, "the session of peer {from} stays full before message {n}");
                }
                Err(error) => panic!("message {n} of peer {from}: {error}"),
            }
        }
    }
}

/// Runs until `done`, or fails with what was hoped for and the latest of what was seen.
fn reach(host: &mut impl Host, hope: &str, mut done: impl FnMut(&View) -> bool) {
    let mut last = View::default();
    let reached = host.run(LIMIT, &mut |view| {
        let reached = done(view);
        if !reached {
            last.streams = view.streams;
        }
        reached
    });
    if !reached {
        host.run(Duration::ZERO, &mut |view| {
            last = view.clone();
            true
        });
        for (peer, notes) in last.peers.iter().enumerate() {
            let tail = notes.updates.len().saturating_sub(12);
            eprintln!("peer {peer}: {} messages; latest updates {:#?}", notes.messages.len(), &notes.updates[tail..]);
        }
        panic!("not reached: {hope}; {} streams", last.streams);
    }
}

/// Dials and waits until both sides are up.
fn connect(host: &mut impl Host, from: Peer, to: Peer, over: Carrier) {
    host.dial(from, to);
    reach(host, "both sides are up", |view| view.peers[from].sessions() == 1 && view.peers[to].sessions() == 1);
    reach(host, "by the expected transport", |view| view.peers[from].transport() == Some(over.transport));
}

/// Waits for a batch and checks it: everything, once, in order, unharmed.
fn expect(host: &mut impl Host, at: Peer, count: u32, len: usize) {
    reach(host, "every message arrives", |view| view.peers[at].messages.len() >= count as usize);
    let mut messages = Vec::new();
    host.run(Duration::ZERO, &mut |view| {
        messages.clone_from(&view.peers[at].messages);
        true
    });
    assert_eq!(messages.len(), count as usize, "messages at peer {at}");
    for (n, message) in (0..).zip(&messages) {
        assert!(message.data == payload(n, len), "message {n} at peer {at} is another one");
    }
}

/// Both peers talk: `count` messages each way.
fn exchange(host: &mut impl Host, count: u32, len: usize) {
    send(host, 0, 0..count, len);
    send(host, 1, 0..count, len);
    expect(host, 0, count, len);
    expect(host, 1, count, len);
    for peer in [0, 1] {
        reach(host, "every outcome is `delivered`", |view| {
            view.peers[peer].outcomes(Outcome::Delivered) == count as usize
        });
    }
}

/// Two peers with a session.
fn pair<H: Host>(over: Carrier) -> H {
    let mut host = over.start::<H>(2);
    connect(&mut host, 0, 1, over);
    host
}

/// The break of what carried the session was one.
fn broke(host: &mut impl Host) {
    reach(host, "the session loses its path", |view| {
        view.peers.iter().any(|notes| notes.count(|kind| matches!(kind, UpdateKind::Lost { .. })) > 0)
    });
}

/// Both took part in one session all along, and everything that was sent arrived.
fn one_session_and_no_loss(host: &mut impl Host) {
    host.run(Duration::ZERO, &mut |view| {
        for notes in &view.peers {
            assert_eq!(notes.sessions(), 1, "it is the one session");
            assert!(!notes.is_closed());
            assert_eq!(notes.outcomes(Outcome::Undelivered) + notes.outcomes(Outcome::Unknown), 0);
        }
        true
    });
}

/// The best that works is found, and carries messages.
pub fn messages_pass_both_ways<H: Host>(over: Carrier) {
    exchange(&mut pair::<H>(over), 100, 100);
}

/// A MiB each way.
pub fn a_mebibyte_each_way<H: Host>(over: Carrier) {
    exchange(&mut pair::<H>(over), 16, 1 << 16);
}

/// Pieces, partial writes and full buffers change nothing but the pace.
pub fn partial_writes_leave_the_stream_in_step<H: Host>(over: Carrier) {
    let mut host = over.start::<H>(2);
    host.network(Network::Narrow);
    connect(&mut host, 0, 1, over);
    exchange(&mut host, 20, 5_000);
}

/// A link that is dead for five seconds amid a thousand messages each way loses nothing.
pub fn a_cut_of_five_seconds_loses_nothing<H: Host>(over: Carrier) {
    cut::<H>(over, |host| host.network(Network::Dead), |host| host.network(over.network));
}

/// The same with I2P routers that end, and start again without memory.
pub fn routers_that_come_back_find_the_session<H: Host>(over: Carrier) {
    cut::<H>(over, |host| host.routers(false), |host| host.routers(true));
}

fn cut<H: Host>(over: Carrier, begin: impl FnOnce(&mut H), end: impl FnOnce(&mut H)) {
    const COUNT: u32 = 1_000;
    let mut host = pair::<H>(over);
    for peer in [0, 1] {
        send(&mut host, peer, 0..COUNT / 2, 300);
    }
    reach(&mut host, "some messages arrive", |view| view.peers.iter().all(|notes| !notes.messages.is_empty()));
    begin(&mut host);
    for peer in [0, 1] {
        send(&mut host, peer, COUNT / 2..COUNT, 300);
    }
    host.run(Duration::from_secs(5), &mut |_| false);
    end(&mut host);
    broke(&mut host);
    for peer in [0, 1] {
        expect(&mut host, peer, COUNT, 300);
        reach(&mut host, "every outcome is `delivered`", |view| {
            view.peers[peer].outcomes(Outcome::Delivered) == COUNT as usize
        });
    }
    one_session_and_no_loss(&mut host);
}

/// A stream that is reset under a session is replaced.
pub fn a_reset_stream_loses_nothing<H: Host>(over: Carrier) {
    let mut host = pair::<H>(over);
    send(&mut host, 0, 0..500, 1_000);
    reach(&mut host, "some messages arrive", |view| !view.peers[1].messages.is_empty());
    host.reset_streams();
    broke(&mut host);
    send(&mut host, 0, 500..1_000, 1_000);
    expect(&mut host, 1, 1_000, 1_000);
    reach(&mut host, "every outcome is `delivered`", |view| view.peers[0].outcomes(Outcome::Delivered) == 1_000);
    one_session_and_no_loss(&mut host);
}

/// Once on a worse transport is not always on it.
pub fn moves_up_when_udp_works_again<H: Host>(over: Carrier) {
    let mut host = pair::<H>(over);
    host.network(Network::Fair);
    let mut sent = 0;
    // It tries to move while there is something to send.
    while !host.run(Duration::from_millis(100), &mut |view| view.peers[0].transport() == Some(Transport::Udp)) {
        assert!(sent < 300, "still not on UDP after 30 s");
        send(&mut host, 0, sent..sent + 1, 100);
        sent += 1;
    }
    expect(&mut host, 1, sent, 100);
    one_session_and_no_loss(&mut host);
}

/// Where nobody listens the attempts are made, then the session ends.
pub fn nobody_there_ends_after_the_attempts<H: Host>(over: Carrier) {
    let hasty = Config { attempts: 3, attempt_deadline: Duration::from_secs(1), ..over.config() };
    let mut host = H::start(2, &hasty);
    host.network(over.network);
    host.kill(1);
    host.dial(0, 1);
    reach(&mut host, "the session ends", |view| view.peers[0].is_closed());
    host.run(Duration::ZERO, &mut |view| {
        let last = |kind: &UpdateKind| match kind {
            UpdateKind::Progress(progress) => Some(progress.attempt),
            _ => None,
        };
        assert_eq!(view.peers[0].updates.iter().filter_map(last).max(), Some(3), "attempts");
        assert_eq!(view.peers[0].sessions(), 0);
        true
    });
    reach(&mut host, "no stream to a peer is left", |view| view.streams == over.idle_streams(1));
}

/// Closing delivers what was queued, and both sides hear of the end.
pub fn close_delivers_what_is_queued<H: Host>(over: Carrier) {
    let mut host = pair::<H>(over);
    send(&mut host, 0, 0..200, 1_000);
    host.close(0, "that was all");
    reach(&mut host, "both sides end", |view| view.peers.iter().all(Notes::is_closed));
    expect(&mut host, 1, 200, 1_000);
    host.run(Duration::ZERO, &mut |view| {
        let [near, far] = [&view.peers[0].updates, &view.peers[1].updates].map(|updates| updates.last());
        assert!(matches!(near, Some(UpdateKind::Closed { by_peer: false, delivered: 200, .. })), "{near:?}");
        assert!(
            matches!(far, Some(UpdateKind::Closed { by_peer: true, reason, .. }) if reason == "that was all"),
            "{far:?}"
        );
        true
    });
    reach(&mut host, "no stream to a peer is left", |view| view.streams == over.idle_streams(2));
}

/// Letting go of a dial frees what it held, and the peer can be dialled again at once.
pub fn a_cancelled_dial_leaves_nothing<H: Host>(over: Carrier) {
    let mut host = over.start::<H>(2);
    let idle = over.idle_streams(2);
    reach(&mut host, "the peers are ready", |view| view.streams == idle);
    host.network(Network::Dead);
    host.dial(0, 1);
    reach(&mut host, "a stream is being opened", |view| view.streams > idle);
    host.cancel(0);
    reach(&mut host, "no stream is left", |view| view.streams == idle);
    host.network(over.network);
    connect(&mut host, 0, 1, over);
    exchange(&mut host, 10, 100);
}

/// A peer that comes back without memory is told from one that was away, and can be talked to.
pub fn a_restarted_peer_is_noticed<H: Host>(over: Carrier) {
    let mut host = pair::<H>(over);
    exchange(&mut host, 10, 100);
    host.kill(1);
    host.revive(1);
    reach(&mut host, "the restart is noticed", |view| {
        view.peers[0].count(|kind| matches!(kind, UpdateKind::PeerRestarted)) == 1
    });
    reach(&mut host, "the peer has a session again", |view| view.peers[1].sessions() == 1);
    send(&mut host, 0, 0..10, 100);
    expect(&mut host, 1, 10, 100);
}

/// Both sides dial at once: one session each.
pub fn both_dial_and_share_one_session<H: Host>(over: Carrier) {
    let mut host = over.start::<H>(2);
    host.network(Network::Dead);
    host.dial(0, 1);
    host.dial(1, 0);
    host.network(over.network);
    reach(&mut host, "both are up", |view| view.peers.iter().all(|notes| notes.sessions() == 1));
    exchange(&mut host, 100, 100);
    one_session_and_no_loss(&mut host);
}

/// One endpoint, many peers: none is in another's way.
pub fn many_peers_talk_to_one<H: Host>(over: Carrier) {
    let mut host = over.start::<H>(6);
    for peer in 1..6 {
        host.dial(peer, 0);
    }
    reach(&mut host, "all are up", |view| view.peers[0].sessions() == 5);
    for peer in 1..6 {
        reach(&mut host, "each is up", |view| view.peers[peer].sessions() == 1);
        send(&mut host, peer, 0..20, 500);
    }
    reach(&mut host, "every message arrives", |view| view.peers[0].messages.len() == 100);
}

/// For a host, a test of each scenario with each carrier that it is about.
#[macro_export]
macro_rules! conformance {
    ($host:ty) => {
        $crate::conformance! { @carrier $host, udp, UDP:
            a_cut_of_five_seconds_loses_nothing
        }
        $crate::conformance! { @carrier $host, tcp, TCP:
            partial_writes_leave_the_stream_in_step
            a_cut_of_five_seconds_loses_nothing
            a_reset_stream_loses_nothing
            moves_up_when_udp_works_again
        }
        $crate::conformance! { @carrier $host, i2p, I2P:
            a_cut_of_five_seconds_loses_nothing
            routers_that_come_back_find_the_session
            a_reset_stream_loses_nothing
        }
        $crate::conformance! { @carrier $host, fallback, FALLBACK:
            routers_that_come_back_find_the_session
            a_reset_stream_loses_nothing
            moves_up_when_udp_works_again
        }
    };
    (@carrier $host:ty, $name:ident, $carrier:ident: $($scenario:ident)+) => {
        mod $name {
            $crate::conformance! { @tests $host, $carrier:
                messages_pass_both_ways
                a_mebibyte_each_way
                nobody_there_ends_after_the_attempts
                close_delivers_what_is_queued
                a_cancelled_dial_leaves_nothing
                a_restarted_peer_is_noticed
                both_dial_and_share_one_session
                many_peers_talk_to_one
                $($scenario)+
            }
        }
    };
    (@tests $host:ty, $carrier:ident: $($scenario:ident)+) => {
        $(
            #[test]
            fn $scenario() {
                $crate::conformance::$scenario::<$host>($crate::conformance::Carrier::$carrier);
            }
        )+
    };
}
