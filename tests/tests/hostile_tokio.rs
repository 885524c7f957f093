//! The real driver on loopback, and those who knock without meaning it.
#![allow(clippy::unwrap_used, reason = "a test")]

use core::time::Duration;
use std::net::SocketAddr;

use burdock_core::crypto::mac1;
use burdock_core::{AcceptPolicy, Config, Identity, Link};
use burdock_tokio::Endpoint;
use tokio::net::{TcpSocket, UdpSocket};
use tokio::time::{Instant, timeout};

const LOOPBACK: &str = "127.0.0.1:0";
/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);

async fn endpoint(seed: u8, config: Config) -> Endpoint {
    let endpoint = Endpoint::bind(LOOPBACK.parse().unwrap(), config, Identity::from_bytes([seed; 32])).await.unwrap();
    endpoint.set_accept(AcceptPolicy::anyone());
    endpoint
}

#[cfg(target_os = "linux")]
fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// A connection from one of many addresses of this host that sends a byte now and then, and is cut.
async fn dribble(from: SocketAddr, to: SocketAddr) -> Duration {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(from).unwrap();
    let stream = socket.connect(to).await.unwrap();
    let begun = Instant::now();
    // The length of an INIT, and its beginning; then only the other side's end is awaited.
    let _ = stream.try_write(&[0, 187, 8, 1, 0]);
    loop {
        stream.readable().await.unwrap();
        match stream.try_read(&mut [0; 16]) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => return begun.elapsed(),
            Ok(_) => {}
        }
    }
}

// Mutation: `stream_accepted` without the deadline makes this fail.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn d5_a_thousand_dribbling_connections_hold_nobody_up() {
    let mut config = Config::streamer();
    config.limits.handshake_deadline = Duration::from_secs(2);
    let far = endpoint(1, config.clone()).await;
    let near = endpoint(2, config).await;
    let to = far.local_addr().expect("it listens");
    let before = open_files();
    let mut connections = tokio::task::JoinSet::new();
    for n in 0..1_000_u16 {
        let [high, low] = n.to_be_bytes();
        connections.spawn(dribble(SocketAddr::from(([127, 1, high, low], 0)), to));
        // Both ends are in this process: half of 1,024 files is what it can be sure of.
        if n % 200 == 199 {
            let link = Link { udp_port: None, ..Link::direct(far.public_key(), to) };
            let begun = Instant::now();
            let (session, _updates) = near.connect(&link).unwrap();
            timeout(PATIENCE, session.connected()).await.unwrap().unwrap();
            burdock_ledger::reached("D5", "ms until a genuine peer is served", begun.elapsed().as_millis() as f64);
            let (accepted, _) = timeout(PATIENCE, far.accept()).await.unwrap().unwrap();
            drop((session, accepted));
        }
        while open_files() > 900 {
            connections.join_next().await.expect("they are ours").unwrap();
        }
    }
    let mut longest = Duration::ZERO;
    let all = async {
        while let Some(lived) = connections.join_next().await {
            longest = longest.max(lived.unwrap());
        }
    };
    timeout(PATIENCE, all).await.expect("all are closed");
    assert!(longest < Duration::from_secs(7), "{longest:?}");
    near.shutdown().await;
    far.shutdown().await;
    assert!(open_files() <= before, "{} open files, {before} before", open_files());
}

// Mutation: `admit` always answering `Cookie` makes this fail.
#[tokio::test]
async fn d2_a_flood_of_first_messages_does_not_keep_a_genuine_peer_out() {
    let config = Config::streamer();
    let far = endpoint(1, config.clone()).await;
    let near = endpoint(2, config).await;
    let to = far.local_addr().expect("it listens");
    let key = far.public_key();
    let flood = UdpSocket::bind(LOOPBACK).await.unwrap();

    // An INIT that somebody recorded, made to fit to whatever it says.
    let trap = UdpSocket::bind(LOOPBACK).await.unwrap();
    let recorder = endpoint(3, Config::streamer()).await;
    let link = Link { tcp_port: None, ..Link::direct(key, trap.local_addr().unwrap()) };
    let (dial, _updates) = recorder.connect(&link).unwrap();
    let mut recorded = [0; 1500];
    let len = timeout(PATIENCE, trap.recv(&mut recorded)).await.unwrap().unwrap();
    assert_eq!(len, 1200);
    drop(dial);

    let mut packet = recorded[..len].to_vec();
    let mut connected = None;
    for n in 0..20_000_u32 {
        packet[8..12].copy_from_slice(&n.to_be_bytes());
        let fits = mac1(&key, &packet[..1168]);
        packet[1168..1184].copy_from_slice(&fits);
        flood.send_to(&packet, to).await.unwrap();
        tokio::task::consume_budget().await;
        if n == 5_000 {
            let link = Link { tcp_port: None, ..Link::direct(key, to) };
            let (session, _updates) = near.connect(&link).unwrap();
            connected = Some(tokio::spawn(async move { session.connected().await.map(|()| session) }));
        }
    }
    // Within its first attempt: there is no other transport to fall back to.
    timeout(PATIENCE, connected.expect("dialled")).await.unwrap().unwrap().unwrap();
    let mut answered = 0;
    let mut buf = [0; 1500];
    while let Ok(len) = flood.try_recv(&mut buf) {
        assert!(len == 64 || len == 1200);
        answered += len;
    }
    assert!(answered <= 20_000 * 1200);
}
