//! The conformance suite's host on real loopback sockets: one runtime per peer, so that a peer can
//! be killed as a process is, and a relay in front of each.

use core::time::Duration;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Instant;

use burdock_tokio::{
    AcceptPolicy, Bytes, Config, Endpoint, Identity, Link, MessageId, PublicKey, SendError, Session, Updates,
};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc as channel;

use crate::conformance::{Host, Network, Notes, Peer, View};
use crate::relay::{Flow, Relay, Weather};

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Peers on loopback.
pub struct TokioHost {
    config: Config,
    network: Runtime,
    weather: Weather,
    peers: Vec<Process>,
    board: Arc<Board>,
}

struct Process {
    key: PublicKey,
    /// Where it can be reached, in all its lives.
    addr: SocketAddr,
    life: Option<Life>,
}

/// A running process and the network in front of it.
struct Life {
    endpoint: Endpoint,
    relay: Relay,
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

    fn streams(&self, peer: Peer, count: usize) {
        let mut streams = lock(&self.streams);
        streams[peer] = count;
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
        let identity = identity(peer);
        let runtime = runtime();
        let endpoint = runtime
            .block_on(Endpoint::bind(LOOPBACK, self.config.clone(), identity))
            .expect("loopback has a free port");
        endpoint.set_accept(AcceptPolicy::anyone());
        let relay = self
            .network
            .block_on(Relay::bind(process.addr, endpoint.local_addr().expect("it listens")))
            .expect("the port is free");
        relay.set(self.weather);
        let mut streams = relay.streams();
        let board = Arc::clone(&self.board);
        self.network.spawn(async move {
            while streams.changed().await.is_ok() {
                let count = *streams.borrow_and_update();
                board.streams(peer, count);
            }
            board.streams(peer, 0);
        });
        let orders = Arc::new(Mutex::new(None));
        let app = App { peer, board: Arc::clone(&self.board), orders: Arc::clone(&orders) };
        let accepting = endpoint.clone();
        runtime.spawn(async move {
            while let Some((session, updates)) = accepting.accept().await {
                app.run(session, updates);
            }
        });
        let process = &mut self.peers[peer];
        process.addr = relay.addr();
        process.life = Some(Life { endpoint, relay, runtime, orders });
    }

    fn life(&self, peer: Peer) -> &Life {
        self.peers[peer].life.as_ref().expect("the peer lives")
    }

    fn order(&self, peer: Peer, order: Order) {
        let orders = lock(&self.life(peer).orders).clone().expect("the peer has a session");
        // Refused when the session has ended meanwhile.
        let _ = orders.blocking_send(order);
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
            network: runtime(),
            weather: Weather::FAIR,
            peers: Vec::new(),
            board: Arc::default(),
        };
        lock(&host.board.view).peers.resize(peers, Notes::default());
        lock(&host.board.streams).resize(peers, 0);
        for peer in 0..peers {
            host.peers.push(Process { key: identity(peer).public_key(), addr: LOOPBACK, life: None });
            host.boot(peer);
        }
        host
    }

    fn dial(&mut self, from: Peer, to: Peer) {
        let link = Link::direct(self.peers[to].key, self.peers[to].addr);
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
            Network::Dead => Weather::DEAD,
            Network::Narrow => Weather { udp: Flow::SILENT, piece: 7, ..Weather::FAIR },
        };
        for process in &self.peers {
            if let Some(life) = &process.life {
                life.relay.set(self.weather);
            }
        }
    }

    fn reset_streams(&mut self) {
        for process in &self.peers {
            if let Some(life) = &process.life {
                life.relay.reset_streams();
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
