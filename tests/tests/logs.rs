//! What the tokio driver writes to its log, at the most talkative level.

#![allow(clippy::unwrap_used, reason = "tests")]

use core::fmt::{self, Write};
use core::time::Duration;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use burdock_tokio::{AcceptPolicy, Config, Endpoint, Identity, Invite, Link, LinkError, Transport};
use tokio::net::UdpSocket;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
const ID: [u8; 8] = *b"invitee!";

/// Keeps everything that is logged, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

struct Line<'a>(&'a mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut Line(&mut self.0.lock().unwrap()));
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut Line(&mut self.0.lock().unwrap()));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = self.0.lock().unwrap();
        text.push('\n');
        event.record(&mut Line(&mut text));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The ways in which 32 bytes could get into a text, in pieces short enough to find a part.
fn spellings(secret: &[u8; 32]) -> Vec<String> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{secret:?}");
    let (list, raw) = (list[1..list.len() - 1].to_owned(), String::from_utf8_lossy(&secret[..]).into_owned());
    // An invite's text form spells its secret in base32.
    let base32 = Invite::new(ID, *secret).to_string().split_once('.').unwrap().1.to_owned();
    let mut all: Vec<String> = Vec::new();
    for text in [hex.to_uppercase(), hex, base32.to_uppercase(), base32] {
        all.extend((0..text.len() - 10).map(|at| text[at..at + 10].to_owned()));
    }
    all.extend(list.split(", ").collect::<Vec<_>>().windows(4).map(|window| window.join(", ")));
    all.push(raw);
    all
}

fn count(text: &str, needles: &[String]) -> u32 {
    u32::try_from(needles.iter().filter(|needle| text.contains(needle.as_str())).count()).unwrap()
}

async fn talk(over: Transport, secrets: &[[u8; 32]; 3]) {
    let [one, other, invite] = *secrets;
    let near = Endpoint::bind(LOOPBACK, Config::streamer(), Identity::from_bytes(one)).await.unwrap();
    let far = Endpoint::bind(LOOPBACK, Config::streamer(), Identity::from_bytes(other)).await.unwrap();
    far.set_accept(AcceptPolicy::nobody().invite(ID, invite));
    let mut link = Link::direct(far.public_key(), far.local_addr().expect("it listens"));
    match over {
        Transport::Udp => link.tcp_port = None,
        _ => link.udp_port = None,
    }
    // With a wrong invite nobody answers.
    let wrong = link.clone().with_invite(Invite::new(ID, [invite[0]; 32]));
    let (session, _updates) = near.connect(&wrong).unwrap();
    tokio::time::timeout(Duration::from_millis(300), session.connected()).await.unwrap_err();
    drop(session);
    // Garbage and a stranger.
    let socket = UdpSocket::bind(LOOPBACK).await.unwrap();
    for first in 0..32 {
        socket.send_to(&[first; 1200], far.local_addr().expect("it listens")).await.unwrap();
    }
    let (session, _updates) = loop {
        match near.connect(&link.clone().with_invite(Invite::new(ID, invite))) {
            Ok(pair) => break pair,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let (answering, _other_updates) = far.accept().await.unwrap();
    session.connected().await.unwrap();
    for _ in 0..20 {
        session.send(0, "plaintext-there").await.unwrap();
        assert_eq!(&answering.recv().await.unwrap().data[..], b"plaintext-there");
        answering.send(0, "plaintext-back").await.unwrap();
        session.recv().await.unwrap();
    }
    session.acknowledge();
    answering.acknowledge();
    session.close("plaintext-reason").await;
    near.shutdown().await;
    far.shutdown().await;
}

// Mutation: `Queued::Datagram` logged with its packet, or the messages' bytes in an event, makes this fail; so does
// `#[derive(Debug)]` on `Invite` with a link in an event.
#[tokio::test]
async fn i6_the_log_holds_no_secret_and_no_plaintext() {
    let log = Log::default();
    tracing::subscriber::set_global_default(log.clone()).unwrap();
    // Bytes that are not alike, so that any part of them can be told.
    let secrets = [1u8, 2, 3].map(|n| core::array::from_fn(|at| (at as u8).wrapping_mul(37 + 2 * n) ^ (n * 51)));
    for over in [Transport::Udp, Transport::Tcp] {
        talk(over, &secrets).await;
    }
    let text = log.0.lock().unwrap().clone();
    assert!(text.lines().count() > 20, "it is silent: {text}");
    let mut needles: Vec<String> = secrets.iter().flat_map(spellings).collect();
    needles.push("plaintext-".into());
    // The search finds what it looks for.
    let given_away = format!("{} {:02x?}", Invite::new(ID, secrets[2]), secrets[2]);
    assert!(count(&given_away, &needles) > 10);
    let found = count(&text, &needles);
    assert_eq!(found, 0, "{:?}", needles.iter().filter(|needle| text.contains(needle.as_str())).collect::<Vec<_>>());
    burdock_ledger::reached("I6", "secrets in the logs", found);
}

// Mutation: `tell` without a look at `INTERVAL` makes this fail.
#[tokio::test]
async fn r6_garbage_fills_no_log() {
    let log = Log::default();
    // Of this thread alone, on which the endpoint's task runs too.
    let _guard = tracing::subscriber::set_default(log.clone());
    let far = Endpoint::bind(LOOPBACK, Config::streamer(), Identity::from_bytes([9; 32])).await.unwrap();
    let socket = UdpSocket::bind(LOOPBACK).await.unwrap();
    log.0.lock().unwrap().clear();
    let begun = std::time::Instant::now();
    for n in 0..5_000_u16 {
        let [high, low] = n.to_be_bytes();
        let mut garbage = [low; 1200];
        (garbage[0], garbage[1]) = (low % 16, high);
        socket.send_to(&garbage, far.local_addr().expect("it listens")).await.unwrap();
        tokio::task::yield_now().await;
    }
    let seconds = begun.elapsed().as_secs() + 1;
    let lines = log.0.lock().unwrap().lines().filter(|line| !line.is_empty()).count();
    assert!(lines > 0, "what was refused is told");
    burdock_ledger::reached("R6", "lines of log in the fullest second", lines as f64 / seconds as f64);
    far.shutdown().await;
}

// Mutation: `LinkError::Parameter` naming the parameter makes this fail.
#[test]
fn i6_the_error_of_a_damaged_link_repeats_no_secret() {
    let secret = core::array::from_fn(|at| (at as u8).wrapping_mul(41));
    let link = Link::direct(Identity::from_bytes([1; 32]).public_key(), "192.0.2.1:4000".parse().unwrap())
        .with_invite(Invite::new(ID, secret))
        .to_string();
    let needles = spellings(&secret);
    let mut errors = 0;
    for at in 0..link.len() {
        let (before, after) = (&link[..at], &link[at..]);
        let mut damaged = vec![before.to_owned(), format!("{before}{}", &after[1..])];
        damaged.extend(["&", "=", "?", ".", "!", "\n", "%", "@"].map(|put| format!("{before}{put}{}", &after[1..])));
        damaged.extend(["&", "=", "?", "."].map(|put| format!("{before}{put}{after}")));
        for text in damaged {
            let Err::<Link, LinkError>(error) = text.parse() else { continue };
            errors += 1;
            assert_eq!(count(&format!("{error} {error:?}"), &needles), 0, "{text}: {error:?}");
        }
    }
    assert!(errors > 1000, "{errors}");
}
