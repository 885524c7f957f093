//! `burdock listen` and a peer written from `docs/protocol.md` alone, in another language.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::{Talker, identity};

const MESSAGES: usize = 200;

fn peer(args: &[&str]) -> Child {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut command = Command::new("python3");
    command.arg("tests/peer/peer.py").args(args).current_dir(root);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap_or_else(|error| panic!("python3 does not start ({error}); run `apt-get install python3`"))
}

/// What it printed. It must have ended well.
fn lines_of(peer: Child) -> Vec<String> {
    let output = peer.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Messages go both ways, all of them and in order, and the peer closes the session in peace.
fn talks_over(transport: &str, more: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = identity(folder.path(), "listener");
    let mut listener = Talker::listen(&path, "127.0.0.1:0", &["--invite"]);
    let link = listener.event("listening")["link"].as_str().unwrap().to_owned();
    let count = MESSAGES.to_string();
    let mut args = vec![&*link, "--transport", transport, "--count", &count, "--expect", &count, "--timeout", "50"];
    args.extend(more);
    let peer = peer(&args);
    assert_eq!(listener.event("connected")["transport"], transport);
    for number in 0..MESSAGES {
        listener.say(&format!("rust {number}"));
    }
    for number in 0..MESSAGES {
        assert_eq!(listener.next_line(), format!("python {number}"));
    }
    let expected: Vec<_> = (0..MESSAGES).map(|number| format!("rust {number}")).collect();
    assert_eq!(lines_of(peer), expected);
    let closed = listener.event("closed");
    assert_eq!((closed["code"].as_str(), closed["by_peer"].as_bool()), (Some("done"), Some(true)));
    assert_eq!(closed["delivered"], MESSAGES, "{:#?}", listener.events);
    listener.kill();
    assert_eq!(listener.lines.len(), MESSAGES, "nothing came twice");
    let figure = format!("messages exchanged with an independent peer by {}", transport.to_uppercase());
    burdock_ledger::reached("H1", &figure, 2 * MESSAGES as u32);
}

/// Nobody answers for another's key, and nobody lets in a stranger without an invite.
fn is_refused_over(transport: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (path, key) = identity(folder.path(), "listener");
    let (_, other) = identity(folder.path(), "other");
    let mut listener = Talker::listen(&path, "127.0.0.1:0", &["--invite"]);
    let link = listener.event("listening")["link"].as_str().unwrap().to_owned();
    let wrong_key = link.replace(&key, &other);
    assert_ne!(wrong_key, link);
    let (bare, _) = link.split_once("?invite=").unwrap();
    for link in [&*wrong_key, bare] {
        let output = peer(&[link, "--transport", transport, "--timeout", "2"]).wait_with_output().unwrap();
        assert_eq!((output.status.code(), &*output.stdout), (Some(1), &b""[..]), "{output:?}");
    }
    listener.kill();
    assert!(listener.lines.is_empty());
    assert!(listener.events.iter().all(|event| event["type"] != "connected"), "{:#?}", listener.events);
}

// Mutation: `mix_hash` of the prologue left out of `Symmetric::new` makes this fail.
#[test]
#[ignore = "needs python3"]
fn h1_an_independent_peer_talks_over_udp() {
    talks_over("udp", &[]);
}

// Mutation: a packet threshold of 3,000 and no probe timeout makes this fail.
#[test]
#[ignore = "needs python3"]
fn h1_an_independent_peer_talks_over_udp_that_loses_packets() {
    talks_over("udp", &["--loss", "20"]);
}

// Mutation: `mix_hash` of the prologue left out of `Symmetric::new` makes this fail.
#[test]
#[ignore = "needs python3"]
fn h1_an_independent_peer_talks_over_tcp() {
    talks_over("tcp", &[]);
}

// Mutation: `AcceptPolicy::decide` letting in whoever comes without an invite makes this fail.
#[test]
#[ignore = "needs python3"]
fn h1_an_independent_peer_is_refused_over_udp() {
    is_refused_over("udp");
}

// Mutation: `AcceptPolicy::decide` letting in whoever comes without an invite makes this fail.
#[test]
#[ignore = "needs python3"]
fn h1_an_independent_peer_is_refused_over_tcp() {
    is_refused_over("tcp");
}

// Mutation: any byte of `docs/vectors.json` changed makes this fail.
#[test]
#[ignore = "needs python3"]
fn h1_an_independent_peer_passes_the_vectors() {
    let lines = lines_of(peer(&["--self-test", "docs/vectors.json"]));
    assert!(lines.concat().ends_with(" checks passed"), "{lines:?}");
}
