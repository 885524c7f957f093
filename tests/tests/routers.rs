//! I2P through real routers, in a network of their own that leads nowhere: `tests/i2p-lab`.
//!
//! Each test has two routers to itself, so that none is in the way of another.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests, which show their figures")]

use core::time::Duration;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use burdock_tests::router_lab::Lab;
use burdock_tokio::update::{ProgressStatus, UpdateKind};
use burdock_tokio::{
    AcceptPolicy, Bytes, Code, Config, Destination, Endpoint, I2p, Identity, Link, PrivateDestination, RouterState,
    Schedule, Session, SessionOptions, Transport, Updates,
};

/// Nothing that is waited for takes so long, unless it never comes. i2pd 2.45 looks every 20 s whether a session's
/// tunnels stand.
const PATIENCE: Duration = Duration::from_secs(240);

/// The lab that all tests of this process share while any of them runs.
fn lab() -> Arc<Lab> {
    static SHARED: Mutex<Weak<Lab>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let lab = Arc::new(Lab::start(10));
        *shared = Arc::downgrade(&lab);
        lab
    })
}

async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what} did not come within {PATIENCE:?}"))
}

/// As the chat has it, except that it neither waits nor lets go for so long.
fn config(lab: &Lab, router: usize) -> Config {
    Config {
        attempts: 60,
        attempt_deadline: Duration::from_secs(10),
        backoff: Schedule::list(&[Duration::from_secs(2)]),
        i2p: Some(I2p {
            bridge: lab.bridge(router),
            remote_bridge: true,
            // One router towards us, none from us. With more, routers without any latency between them may finish the
            // tunnels in an order in which this version of i2pd forgets to publish where we are (see the lab's README).
            tunnels: SessionOptions { inbound_length: 1, outbound_length: 0, ..SessionOptions::default() },
            silence: Duration::from_secs(6),
            ..I2p::default()
        }),
        ..Config::chat()
    }
}

async fn endpoint(seed: u8, config: Config, destination: Option<PrivateDestination>) -> Endpoint {
    let endpoint = Endpoint::anonymous(config, Identity::from_bytes([seed; 32]), destination).await.unwrap();
    endpoint.set_accept(AcceptPolicy::anyone());
    endpoint
}

/// Waits for the router's session and returns the address that it gives us.
async fn up(endpoint: &Endpoint) -> Destination {
    let mut state = endpoint.router();
    loop {
        if let Some(RouterState::Up { address }) = state {
            return address;
        }
        state = within("a SAM session", endpoint.router_changed(state.as_ref())).await;
    }
}

fn link(to: &Endpoint, destination: Destination) -> Link {
    let key = to.public_key();
    Link { key, host: None, udp_port: None, tcp_port: None, i2p: Some(destination), invite: None }
}

async fn update(updates: &mut Updates, what: &str, mut is_it: impl FnMut(&UpdateKind) -> bool) -> UpdateKind {
    within(what, async {
        loop {
            let update = updates.next().await.unwrap_or_else(|| panic!("it ended before {what}"));
            if is_it(&update.kind) {
                return update.kind;
            }
        }
    })
    .await
}

async fn send_all(session: &Session, from: u32, to: u32) {
    for n in from..to {
        session.send(0, n.to_be_bytes().to_vec()).await.unwrap();
    }
}

/// Takes messages, which must be the numbers of the range, each once and in order.
async fn take_all(session: &Session, from: u32, to: u32) {
    for n in from..to {
        let message = within("a message", session.recv()).await.unwrap();
        assert_eq!(message.data[..], n.to_be_bytes());
    }
    session.acknowledge();
}

/// Two endpoints on two routers and a session between them.
struct Pair {
    ends: [Endpoint; 2],
    sessions: [Session; 2],
    updates: [Updates; 2],
}

impl Pair {
    async fn new(seed: u8, configs: [Config; 2]) -> Self {
        let [near, far] = configs;
        let near = endpoint(seed, near, None).await;
        let far = endpoint(seed + 1, far, None).await;
        let (_, address) = tokio::join!(up(&near), up(&far));
        let (session, updates) = near.connect(&link(&far, address)).unwrap();
        within("the first session", session.connected()).await.unwrap();
        let (other, others) = within("the peer", far.accept()).await.unwrap();
        assert_eq!(session.status().transport, Some(Transport::I2p));
        assert_eq!(other.status().transport, Some(Transport::I2p));
        Self { ends: [near, far], sessions: [session, other], updates: [updates, others] }
    }

    async fn exchange(&self, from: u32, to: u32) {
        let [near, far] = &self.sessions;
        tokio::join!(
            send_all(near, from, to),
            send_all(far, from, to),
            take_all(near, from, to),
            take_all(far, from, to)
        );
    }

    async fn end(self) {
        let [session, other] = self.sessions;
        let closing = tokio::spawn(async move { other.recv().await.map(drop) });
        assert_eq!(session.close("done").await.code, Code::Done);
        assert_eq!(within("the close", closing).await.unwrap().unwrap_err().code, Code::Done);
        for end in self.ends {
            end.shutdown().await;
        }
    }
}

/// Bytes that no compressor and no shifted copy would get right.
fn noise(mut seed: u64, len: usize) -> Bytes {
    let next = move || {
        // Knuth's multiplier (MMIX).
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 56) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

async fn mebibyte(from: &Session, to: &Session, seed: u64) -> f64 {
    const PART: usize = 256 * 1024;
    let parts: Vec<Bytes> = (0..4).map(|n| noise(seed + n, PART)).collect();
    let start = Instant::now();
    let sending = async {
        for part in &parts {
            from.send(1, part.clone()).await.unwrap();
        }
    };
    let receiving = async {
        for part in &parts {
            let message = within("a quarter of a mebibyte", to.recv()).await.unwrap();
            assert!(message.data == *part, "{} bytes came, and not those that were sent", message.data.len());
        }
        to.acknowledge();
    };
    tokio::join!(sending, receiving);
    1.0 / start.elapsed().as_secs_f64()
}

#[tokio::test]
#[ignore = "needs i2pd and root: apt-get install -y i2pd"]
async fn messages_and_a_mebibyte_go_both_ways() {
    let lab = lab();
    let start = Instant::now();
    let pair = Pair::new(1, [config(&lab, 1), config(&lab, 2)]).await;
    println!("from two endpoints to a session between them: {:.1} s", start.elapsed().as_secs_f64());
    pair.exchange(0, 500).await;
    let [near, far] = &pair.sessions;
    println!("1 MiB to the listener: {:.1} MiB/s", mebibyte(near, far, 1).await);
    println!("1 MiB to the dialler: {:.1} MiB/s", mebibyte(far, near, 2).await);
    pair.end().await;
}

/// A router dies with messages on their way and starts again: the session is the same, and so is where we are reached.
async fn a_router_is_killed(seed: u8, routers: [usize; 2], killed: usize) {
    let lab = lab();
    let mut pair = Pair::new(seed, routers.map(|router| config(&lab, router))).await;
    pair.exchange(0, 100).await;
    let kept = pair.ends[killed].private_destination().unwrap();
    let before = up(&pair.ends[killed]).await;

    let start = Instant::now();
    lab.kill(routers[killed]);
    let [near, far] = &pair.sessions;
    tokio::join!(send_all(near, 100, 200), send_all(far, 100, 200));
    let stood = RouterState::Up { address: before.clone() };
    let router = pair.ends[killed].router_changed(Some(&stood));
    assert!(matches!(within("word of the router", router).await, Some(RouterState::Down { code: Code::SamDown, .. })));
    lab.start_again(routers[killed]);
    for updates in &mut pair.updates {
        update(updates, "a resumption", |kind| matches!(kind, UpdateKind::Resumed { .. })).await;
    }
    println!("from the end of a router to the session resumed: {:.1} s", start.elapsed().as_secs_f64());
    tokio::join!(take_all(near, 100, 200), take_all(far, 100, 200));
    pair.exchange(200, 300).await;

    assert_eq!(up(&pair.ends[killed]).await, before);
    assert!(*pair.ends[killed].private_destination().unwrap() == *kept, "another destination");
    pair.end().await;
}

#[tokio::test]
#[ignore = "needs i2pd and root: apt-get install -y i2pd"]
async fn our_router_is_killed_and_the_session_resumes_at_the_same_address() {
    a_router_is_killed(3, [3, 4], 0).await;
}

#[tokio::test]
#[ignore = "needs i2pd and root: apt-get install -y i2pd"]
async fn the_peers_router_is_killed_and_the_session_resumes_at_the_same_address() {
    a_router_is_killed(5, [5, 6], 1).await;
}

#[tokio::test]
#[ignore = "needs i2pd and root: apt-get install -y i2pd"]
async fn a_router_that_pauses_for_20_s_loses_nothing() {
    let lab = lab();
    // The silence that is borne by default outlasts it. Streams may be slow for a while after it, and so may a close.
    let patient = [7, 8].map(|router| {
        let config = config(&lab, router);
        let i2p = config.i2p.map(|i2p| I2p { silence: I2p::default().silence, ..i2p });
        Config { i2p, close_deadline: Duration::from_secs(60), ..config }
    });
    let mut pair = Pair::new(7, patient).await;
    pair.exchange(0, 100).await;
    lab.pause(8);
    let [near, far] = &pair.sessions;
    tokio::join!(send_all(near, 100, 200), send_all(far, 100, 200));
    // The length of the pause is what is tested; nothing is waited for.
    tokio::time::sleep(Duration::from_secs(20)).await;
    lab.resume(8);
    let start = Instant::now();
    tokio::join!(take_all(near, 100, 200), take_all(far, 100, 200));
    println!("from the end of a router's pause to all messages: {:.1} s", start.elapsed().as_secs_f64());
    pair.exchange(200, 300).await;
    for updates in &mut pair.updates {
        let all = std::iter::from_fn(|| updates.try_next());
        let lost: Vec<_> = all.filter(|update| matches!(update.kind, UpdateKind::Lost { .. })).collect();
        assert!(lost.is_empty(), "{lost:?}");
    }
    pair.end().await;
}

/// A destination that nobody runs yet.
fn new_destination(lab: &Lab, router: usize) -> PrivateDestination {
    let mut bridge = TcpStream::connect(lab.bridge(router)).unwrap();
    let mut answers = BufReader::new(bridge.try_clone().unwrap()).lines();
    let mut ask = |command: &str| {
        bridge.write_all(format!("{command}\n").as_bytes()).unwrap();
        answers.next().unwrap().unwrap()
    };
    ask("HELLO VERSION MIN=3.1 MAX=3.1");
    let answer = ask("DEST GENERATE SIGNATURE_TYPE=7");
    PrivateDestination::from_text(answer.rsplit_once("PRIV=").unwrap().1).unwrap()
}

/// The words for a peer that cannot be reached, and the hint that goes with them.
fn is_unreachable(kind: &UpdateKind) -> bool {
    match kind {
        UpdateKind::Progress(progress) if progress.status == ProgressStatus::Retrying => {
            assert_eq!(progress.code, Some(Code::Unreachable));
            assert_eq!(progress.message, "Peer is unreachable — they may be offline");
            assert!(progress.hint.contains("online"), "{}", progress.hint);
            true
        }
        _ => false,
    }
}

#[tokio::test]
#[ignore = "needs i2pd and root: apt-get install -y i2pd"]
async fn a_peer_that_is_offline_is_said_to_be_and_one_that_comes_late_is_reached() {
    let lab = lab();
    // A router may look for 15 s before it says that there is nobody.
    let patient = Config { attempts: 2, attempt_deadline: Duration::from_secs(30), ..config(&lab, 9) };
    let near = endpoint(10, patient, None).await;
    up(&near).await;

    // Nobody ever comes to this one.
    let stranger = Identity::from_bytes([11; 32]).public_key();
    let nowhere = Some(new_destination(&lab, 9).public());
    let to = Link { key: stranger, host: None, udp_port: None, tcp_port: None, i2p: nowhere, invite: None };
    let (offline, mut updates) = near.connect(&to).unwrap();
    let start = Instant::now();
    update(&mut updates, "the end of an attempt", is_unreachable).await;
    println!("until a peer is known to be offline: {:.1} s", start.elapsed().as_secs_f64());
    let closed = within("the end of all attempts", offline.connected()).await.unwrap_err();
    assert_eq!(closed.code, Code::GaveUp);
    assert!(closed.message.starts_with("Could not reach peer after 2 attempts"), "{}", closed.message);
    near.shutdown().await;

    // This one's tunnels are not yet built: nobody knows the way to it.
    let near = endpoint(12, config(&lab, 9), None).await;
    let theirs = new_destination(&lab, 10);
    let address = theirs.public();
    up(&near).await;
    let key = Identity::from_bytes([13; 32]).public_key();
    let to = Link { key, host: None, udp_port: None, tcp_port: None, i2p: Some(address.clone()), invite: None };
    let (session, mut updates) = near.connect(&to).unwrap();
    update(&mut updates, "the end of an attempt", is_unreachable).await;
    let far = endpoint(13, config(&lab, 10), Some(theirs)).await;
    let start = Instant::now();
    assert!(up(&far).await.is_same(&address));
    let stood = start.elapsed();
    within("a session with who came late", session.connected()).await.unwrap();
    println!("after a late peer's tunnels stood: {:.1} s", (start.elapsed() - stood).as_secs_f64());
    let (other, _) = within("the dialler", far.accept()).await.unwrap();
    send_all(&session, 0, 10).await;
    take_all(&other, 0, 10).await;
    near.shutdown().await;
    far.shutdown().await;
}
