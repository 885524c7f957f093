//! The conformance suite's host on real loopback sockets: one runtime per peer, so that a peer can
//! be killed as a process is, and a relay in front of each. The I2P routers are relays, too, which lead to one bridge.

use core::time::Duration;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Instant;

use burdock_tokio::{
    AcceptPolicy, BindError, Bytes, Class, Config, Destination, Endpoint, Identity, Link, MessageId,
    PrivateDestination, PublicKey, RouterState, SendError, Session, Updates,
};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc as channel;

use crate::conformance::{Host, Network, Notes, Peer, View};
use crate::relay::{Flow, Relay, Weather};
use crate::sam_bridge::{Bridge, Mood};

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Where nobody listens: no system hands this port out.
const NOBODY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// Peers on loopback.
pub struct TokioHost {
    config: Config,
    bridge: Bridge,
    network: Runtime,
    weather: Weather,
    peers: Vec<Process>,
    board: Arc<Board>,
}

struct Process {
    key: PublicKey,
    /// Where it can be reached, in all its lives.
    addr: SocketAddr,
    router: Option<Router>,
    life: Option<Life>,
}

/// A peer's I2P router, as far as it is the peer's own: the way to the bridge.
struct Router {
    relay: Relay,
    /// The destination that it made for the first life of the peer, and what makes it the peer's.
    kept: Option<(Destination, String)>,
}

/// A running process and the network in front of it.
struct Life {
    endpoint: Endpoint,
    /// None in front of an anonymous one.
    relay: Option<Relay>,
    runtime: Runtime,
    /// Orders to the application that has the newest session.
    orders: Arc<Mutex<Option<channel::Sender<Order>>>>,
}

enum Order {
    Send(u8, Bytes, mpsc::Sender<Result<MessageId, SendError>>),
    Close(String),
    Cancel,
}

/// Where everybody writes down what they see, and the suite reads it.
#[derive(Default)]
struct Board {
    view: Mutex<View>,
    /// Through each relay.
    streams: Mutex<Vec<usize>>,
    changed: Condvar,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Board {
    fn note(&self, peer: Peer, note: impl FnOnce(&mut Notes)) {
        note(&mut lock(&self.view).peers[peer]);
        self.changed.notify_all();
    }

    fn streams(&self, relay: usize, count: usize) {
        let mut streams = lock(&self.streams);
        streams[relay] = count;
        lock(&self.view).streams = streams.iter().sum();
        self.changed.notify_all();
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a thread can be started")
}

impl TokioHost {
    fn boot(&mut self, peer: Peer) {
        let process = &self.peers[peer];
        let runtime = runtime();
        let endpoint = runtime.block_on(self.bind(peer)).expect("loopback has a free port");
        endpoint.set_accept(AcceptPolicy::anyone());
        let relay = endpoint.local_addr().map(|target| self.relay(peer, process.addr, target));
        let orders = Arc::new(Mutex::new(None));
        let app = App { peer, board: Arc::clone(&self.board), orders: Arc::clone(&orders) };
        let accepting = endpoint.clone();
        runtime.spawn(async move {
            while let Some((session, updates)) = accepting.accept().await {
                app.run(session, updates);
            }
        });
        let process = &mut self.peers[peer];
        if let Some(relay) = &relay {
            relay.set(self.weather);
            process.addr = relay.addr();
        }
        if let Some(router @ Router { kept: None, .. }) = &mut process.router {
            router.kept = Some(runtime.block_on(destination(&endpoint)));
        }
        process.life = Some(Life { endpoint, relay, runtime, orders });
    }

    async fn bind(&self, peer: Peer) -> Result<Endpoint, BindError> {
        let mut config = self.config.clone();
        let router = self.peers[peer].router.as_ref();
        if let (Some(i2p), Some(router)) = (&mut config.i2p, router) {
            i2p.bridge = router.relay.addr();
        }
        let kept = router.and_then(|router| router.kept.as_ref());
        let kept = kept.map(|(_, text)| PrivateDestination::from_text(text).expect("an endpoint said it"));
        match config.class {
            Class::Open => Endpoint::bind_with_destination(LOOPBACK, config, identity(peer), kept).await,
            Class::Anonymous => Endpoint::anonymous(config, identity(peer), kept).await,
        }
    }

    /// A relay whose streams are counted, in the `place`-th one's place.
    fn relay(&self, place: usize, addr: SocketAddr, target: SocketAddr) -> Relay {
        let relay = self.network.block_on(Relay::bind(addr, target)).expect("the port is free");
        let mut streams = relay.streams();
        let board = Arc::clone(&self.board);
        self.network.spawn(async move {
            while streams.changed().await.is_ok() {
                let count = *streams.borrow_and_update();
                board.streams(place, count);
            }
            board.streams(place, 0);
        });
        relay
    }

    fn life(&self, peer: Peer) -> &Life {
        self.peers[peer].life.as_ref().expect("the peer lives")
    }

    /// In front of the peers that live.
    fn relays(&self) -> impl Iterator<Item = &Relay> {
        self.peers.iter().filter_map(|process| process.life.as_ref()?.relay.as_ref())
    }

    fn each_router(&self) -> impl Iterator<Item = &Router> {
        self.peers.iter().filter_map(|process| process.router.as_ref())
    }

    fn order(&self, peer: Peer, order: Order) {
        let orders = lock(&self.life(peer).orders).clone().expect("the peer has a session");
        // Refused when the session has ended meanwhile.
        let _ = orders.blocking_send(order);
    }
}

/// Waits for the destination that the router makes for an endpoint.
async fn destination(endpoint: &Endpoint) -> (Destination, String) {
    let mut state = endpoint.router();
    loop {
        if let (Some(RouterState::Up { address }), Some(private)) = (state.clone(), endpoint.private_destination()) {
            return (address, (*private).clone());
        }
        state = Some(endpoint.router_changed(state.as_ref()).await.expect("it runs"));
    }
}

fn identity(peer: Peer) -> Identity {
    Identity::from_bytes([u8::try_from(peer + 1).expect("few peers"); 32])
}

#[derive(Clone)]
struct App {
    peer: Peer,
    board: Arc<Board>,
    orders: Arc<Mutex<Option<channel::Sender<Order>>>>,
}

impl App {
    /// Starts the application of a session, within the runtime of its endpoint.
    fn run(&self, session: Session, updates: Updates) {
        let (orders, inbox) = channel::channel(1);
        *lock(&self.orders) = Some(orders);
        let (peer, board) = (self.peer, Arc::clone(&self.board));
        tokio::spawn(listen(peer, Arc::clone(&board), updates));
        tokio::spawn(attend(peer, board, session, inbox));
    }
}

async fn listen(peer: Peer, board: Arc<Board>, mut updates: Updates) {
    let mut seq = 0;
    while let Some(update) = updates.next().await {
        assert_eq!(update.seq, seq + 1, "an update is missing");
        seq = update.seq;
        board.note(peer, |notes| notes.updates.push(update.kind));
    }
}

async fn attend(peer: Peer, board: Arc<Board>, session: Session, mut inbox: channel::Receiver<Order>) {
    let closing = loop {
        tokio::select! {
            order = inbox.recv() => match order {
                Some(Order::Send(channel, data, answer)) => drop(answer.send(session.try_send(channel, data))),
                Some(Order::Close(reason)) => break Some(reason),
                Some(Order::Cancel) => return,
                None => break None,
            },
            message = session.recv() => match message {
                Ok(message) => board.note(peer, |notes| notes.messages.push(message)),
                Err(_) => return,
            },
        }
    };
    match closing {
        Some(reason) => drop(session.close(&reason).await),
        // A newer session has taken the orders: this one only listens.
        None => {
            while let Ok(message) = session.recv().await {
                board.note(peer, |notes| notes.messages.push(message));
            }
        }
    }
}

impl Host for TokioHost {
    fn start(peers: usize, config: &Config) -> Self {
        let mut host = Self {
            config: config.clone(),
            bridge: Bridge::new(Mood::Works),
            network: runtime(),
            weather: Weather::FAIR,
            peers: Vec::new(),
            board: Arc::default(),
        };
        lock(&host.board.view).peers.resize(peers, Notes::default());
        lock(&host.board.streams).resize(2 * peers, 0);
        for peer in 0..peers {
            let router = config.i2p.as_ref().map(|_| {
                let relay = host.relay(peers + peer, LOOPBACK, host.bridge.addr);
                Router { relay, kept: None }
            });
            host.peers.push(Process { key: identity(peer).public_key(), addr: LOOPBACK, router, life: None });
            host.boot(peer);
        }
        host
    }

    fn dial(&mut self, from: Peer, to: Peer) {
        let Process { key, addr, router, .. } = &self.peers[to];
        let mut link = Link::direct(*key, *addr);
        if self.config.class == Class::Anonymous {
            (link.host, link.udp_port, link.tcp_port) = (None, None, None);
        }
        link.i2p = router.as_ref().and_then(|router| Some(router.kept.as_ref()?.0.clone()));
        let life = self.life(from);
        let (session, updates) = life.endpoint.connect(&link).expect("the link can be dialled");
        let app = App { peer: from, board: Arc::clone(&self.board), orders: Arc::clone(&life.orders) };
        let _in_runtime = life.runtime.enter();
        app.run(session, updates);
    }

    fn send(&mut self, from: Peer, channel: u8, data: Bytes) -> Result<MessageId, SendError> {
        let (answer, answered) = mpsc::channel();
        self.order(from, Order::Send(channel, data, answer));
        answered.recv().unwrap_or(Err(SendError::Closed))
    }

    fn close(&mut self, peer: Peer, reason: &str) {
        self.order(peer, Order::Close(reason.to_owned()));
    }

    fn cancel(&mut self, peer: Peer) {
        self.order(peer, Order::Cancel);
    }

    fn kill(&mut self, peer: Peer) {
        let Some(Life { endpoint, relay, runtime, orders: _ }) = self.peers[peer].life.take() else { return };
        // Tasks end where they stand, so that nothing is said in parting; the endpoint's handle
        // goes when nobody is left who could send for it.
        runtime.shutdown_timeout(Duration::from_secs(5));
        drop(endpoint);
        let Some(relay) = relay else { return };
        // The relay's sockets are closed when its task has ended.
        let mut streams = relay.streams();
        drop(relay);
        self.network.block_on(async { while streams.changed().await.is_ok() {} });
    }

    fn revive(&mut self, peer: Peer) {
        self.board.note(peer, |notes| *notes = Notes::default());
        self.boot(peer);
    }

    fn network(&mut self, network: Network) {
        self.weather = match network {
            Network::Fair => Weather::FAIR,
            Network::NoUdp => Weather { udp: Flow::SILENT, ..Weather::FAIR },
            Network::OnlyI2p | Network::Dead => Weather::DEAD,
            Network::Narrow => Weather { udp: Flow::SILENT, piece: 7, ..Weather::FAIR },
        };
        let i2p = if network == Network::Dead { Weather::DEAD } else { Weather::FAIR };
        for relay in self.relays() {
            relay.set(self.weather);
        }
        for router in self.each_router() {
            router.relay.set(i2p);
        }
    }

    fn reset_streams(&mut self) {
        self.relays().for_each(Relay::reset_streams);
        self.bridge.reset_streams();
    }

    fn routers(&mut self, run: bool) {
        for Router { relay, .. } in self.each_router() {
            relay.retarget(if run { self.bridge.addr } else { NOBODY });
            if !run {
                relay.reset_streams();
            }
        }
    }

    fn run(&mut self, limit: Duration, done: &mut dyn FnMut(&View) -> bool) -> bool {
        let start = Instant::now();
        let mut view = lock(&self.board.view);
        loop {
            if done(&view) {
                return true;
            }
            let Some(left) = limit.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) else { return false };
            view = self.board.changed.wait_timeout(view, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
