//! The tokio driver's own promises, on loopback. What it shares with other hosts is in the
//! conformance suite.

#![allow(clippy::unwrap_used, reason = "tests")]

use core::time::Duration;
use std::net::SocketAddr;

use burdock_tokio::update::{Outcome, UpdateKind};
use burdock_tokio::{
    AcceptPolicy, BindError, Code, Config, ConnectError, Endpoint, Identity, Link, SendError, Session, State,
    Transport, Updates,
};

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

async fn endpoint(seed: u8, config: Config) -> Endpoint {
    let endpoint = Endpoint::bind(LOOPBACK, config, Identity::from_bytes([seed; 32])).await.unwrap();
    endpoint.set_accept(AcceptPolicy::anyone());
    endpoint
}

/// Two endpoints with a session between them, over the transports that the link names.
async fn pair(over: Transport, config: Config) -> (Endpoint, Endpoint, (Session, Updates), (Session, Updates)) {
    let (near, far) = (endpoint(1, config.clone()).await, endpoint(2, config).await);
    let mut link = Link::direct(far.public_key(), far.local_addr().expect("it listens"));
    if over == Transport::Tcp {
        link.udp_port = None;
    }
    let dialled = near.connect(&link).unwrap();
    let accepted = far.accept().await.unwrap();
    dialled.0.connected().await.unwrap();
    assert_eq!(dialled.0.status().transport, Some(over));
    (near, far, dialled, accepted)
}

async fn echo(over: Transport) {
    let (near, far, (session, _updates), (other, _)) = pair(over, Config::streamer()).await;
    assert_eq!((session.peer(), other.peer()), (far.public_key(), near.public_key()));
    let echoing = tokio::spawn(async move {
        while let Ok(message) = other.recv().await {
            other.send(message.channel, message.data).await.unwrap();
        }
    });
    let sending = async {
        for n in 0..1_000_u32 {
            session.send(3, n.to_be_bytes().to_vec()).await.unwrap();
        }
    };
    let receiving = async {
        for n in 0..1_000_u32 {
            let message = session.recv().await.unwrap();
            assert_eq!((message.channel, &message.data[..]), (3, &n.to_be_bytes()[..]));
        }
    };
    tokio::join!(sending, receiving);
    session.acknowledge();
    let closed = session.close("done").await;
    assert_eq!((closed.code, closed.by_peer, closed.delivered), (Code::Done, false, 1_000));
    echoing.await.unwrap();
    near.shutdown().await;
    far.shutdown().await;
}

#[tokio::test]
async fn a_thousand_messages_come_back_over_udp() {
    echo(Transport::Udp).await;
}

#[tokio::test]
async fn a_thousand_messages_come_back_over_tcp() {
    echo(Transport::Tcp).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_messages_come_back_with_several_threads() {
    echo(Transport::Udp).await;
}

#[tokio::test]
async fn dropping_a_dial_frees_the_peer_at_once() {
    let near = endpoint(1, Config::streamer()).await;
    let nobody = endpoint(2, Config::streamer()).await;
    nobody.set_accept(AcceptPolicy::nobody());
    let link = Link::direct(nobody.public_key(), nobody.local_addr().expect("it listens"));
    let (session, mut updates) = near.connect(&link).unwrap();
    assert_eq!(session.status().state, State::Connecting);
    assert_eq!(near.connect(&link).err(), Some(ConnectError::Exists));
    drop(session);
    while let Some(update) = updates.next().await {
        assert!(matches!(update.kind, UpdateKind::Progress(_)), "{update:?}");
    }
    assert!(near.connect(&link).is_ok(), "the place is free");
}

#[tokio::test]
async fn delivered_means_that_the_application_asked_for_more() {
    let (_near, _far, (session, mut updates), (other, _)) = pair(Transport::Udp, Config::streamer()).await;
    let first = session.send(0, "first").await.unwrap();
    assert_eq!(&other.recv().await.unwrap().data[..], b"first");
    // A second message goes all the way and back while the first is being processed.
    let second = session.send(0, "second").await.unwrap();
    other.send(1, "back").await.unwrap();
    session.recv().await.unwrap();
    while let Some(update) = updates.try_next() {
        assert!(!matches!(update.kind, UpdateKind::Outcome { .. }), "too early: {update:?}");
    }
    assert_eq!(&other.recv().await.unwrap().data[..], b"second");
    assert_eq!(next_outcome(&mut updates).await, (first, Outcome::Delivered));
    other.acknowledge();
    assert_eq!(next_outcome(&mut updates).await, (second, Outcome::Delivered));
}

async fn next_outcome(updates: &mut Updates) -> (burdock_tokio::MessageId, Outcome) {
    loop {
        if let UpdateKind::Outcome { message, outcome } = updates.next().await.unwrap().kind {
            return (message, outcome);
        }
    }
}

#[tokio::test]
async fn close_delivers_the_last_message() {
    let (_near, _far, (session, mut updates), (other, _)) = pair(Transport::Tcp, Config::streamer()).await;
    session.send(0, "last words").await.unwrap();
    let closing = tokio::spawn(async move { session.close("bye").await });
    assert_eq!(&other.recv().await.unwrap().data[..], b"last words");
    let closed = other.recv().await.unwrap_err();
    assert_eq!((closed.by_peer, closed.reason.as_str()), (true, "bye"));
    assert_eq!(other.recv().await.unwrap_err(), closed, "the end stays the end");
    assert_eq!(other.try_send(0, "late"), Err(SendError::Closed));
    assert_eq!(other.status().state, State::Closed);
    assert_eq!(closing.await.unwrap().delivered, 1);
    let mut last = None;
    while let Some(update) = updates.next().await {
        last = Some(update.kind);
    }
    assert!(matches!(last, Some(UpdateKind::Closed { .. })), "{last:?}");
}

#[tokio::test]
async fn recv_and_send_lose_nothing_when_cancelled() {
    let config =
        Config { limits: burdock_tokio::Limits { pending_messages: 4, ..Default::default() }, ..Config::streamer() };
    let (_near, _far, (session, _updates), (other, _)) = pair(Transport::Udp, config).await;
    let sending = async {
        for n in 0..500_u32 {
            // Cancelled at every point where it waits; what is then not queued is sent again.
            loop {
                tokio::select! {
                    biased;
                    sent = session.send(0, n.to_be_bytes().to_vec()) => {
                        sent.unwrap();
                        break;
                    }
                    () = tokio::task::yield_now() => {}
                }
            }
        }
    };
    let receiving = async {
        for n in 0..500_u32 {
            let message = loop {
                tokio::select! {
                    biased;
                    message = other.recv() => break message.unwrap(),
                    () = tokio::task::yield_now() => {}
                }
            };
            assert_eq!(&message.data[..], n.to_be_bytes());
        }
        other.acknowledge();
    };
    tokio::join!(sending, receiving);
}

#[tokio::test]
async fn accept_loses_nothing_when_cancelled() {
    let (near, far) = (endpoint(1, Config::streamer()).await, endpoint(2, Config::streamer()).await);
    let (session, _updates) =
        near.connect(&Link::direct(far.public_key(), far.local_addr().expect("it listens"))).unwrap();
    let accepted = loop {
        tokio::select! {
            biased;
            accepted = far.accept() => break accepted,
            () = tokio::task::yield_now() => {}
        }
    };
    session.connected().await.unwrap();
    assert_eq!(accepted.unwrap().0.peer(), near.public_key());
}

#[tokio::test]
async fn shutdown_ends_everything_and_frees_the_port() {
    let (near, far, (session, _updates), (other, _)) = pair(Transport::Udp, Config::streamer()).await;
    let addr = far.local_addr().expect("it listens");
    let ((), closed) = tokio::join!(far.shutdown(), session.recv());
    assert!(closed.unwrap_err().by_peer);
    assert!(far.accept().await.is_none());
    assert!(other.recv().await.is_err());
    let late = far.connect(&Link::direct(near.public_key(), near.local_addr().expect("it listens"))).unwrap().0;
    assert_eq!(late.connected().await.unwrap_err().code, Code::Cancelled);
    far.shutdown().await;
    assert!(Endpoint::bind(addr, Config::streamer(), Identity::from_bytes([3; 32])).await.is_ok());
}

#[tokio::test]
async fn a_port_in_use_is_one_clear_sentence() {
    let first = endpoint(1, Config::streamer()).await;
    let second =
        Endpoint::bind(first.local_addr().expect("it listens"), Config::streamer(), Identity::from_bytes([2; 32]))
            .await;
    let Err(error @ BindError::Socket { .. }) = second else { panic!("the port is taken") };
    let text = error.to_string();
    assert!(text.starts_with(&format!("cannot listen on UDP {}: ", first.local_addr().expect("it listens"))), "{text}");
}

#[tokio::test]
async fn a_bad_configuration_is_one_clear_sentence() {
    let config = Config { attempts: 0, ..Config::streamer() };
    let Err(error) = Endpoint::bind(LOOPBACK, config, Identity::from_bytes([1; 32])).await else { panic!("taken") };
    assert_eq!(error.to_string(), "the configuration cannot be used: attempts must be at least 1");
}

/// Two endpoints of one process share no randomness.
// Mutation: a constant seed in `Endpoint::bind_with` makes this fail.
#[tokio::test]
async fn i4_each_endpoint_draws_its_own_seed() {
    let (near, far) = (endpoint(1, Config::streamer()).await, endpoint(1, Config::streamer()).await);
    // The first datagram of a dial carries an ephemeral key: with the same identities there is yet
    // nothing in common but padding.
    let mut first = Vec::new();
    for endpoint in [&near, &far] {
        let sink = tokio::net::UdpSocket::bind(LOOPBACK).await.unwrap();
        let peer = Identity::from_bytes([9; 32]).public_key();
        let mut link = Link::direct(peer, sink.local_addr().unwrap());
        link.tcp_port = None;
        let _dial = endpoint.connect(&link).unwrap();
        let mut buf = vec![0; 2048];
        let len = tokio::time::timeout(Duration::from_secs(10), sink.recv(&mut buf)).await.unwrap().unwrap();
        buf.truncate(len);
        first.push(buf);
    }
    let windows =
        |at: usize| first[at].windows(16).filter(|w| w.iter().filter(|b| **b != 0).count() > 11).collect::<Vec<_>>();
    let common = windows(0).iter().filter(|window| windows(1).contains(window)).count();
    burdock_ledger::reached("I4", "secrets in common of two endpoints", common as u32);
}
