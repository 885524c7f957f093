//! A process is killed and started again: the outcomes that the other side reports agree with what
//! the application of the killed one wrote and flushed.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{Talker, identity};

/// Half of them are more than a peer grants credit for, so that some are still unsent when the
/// process is killed.
const LINES: usize = 20_000;
/// Lines that have arrived by then.
const BEFORE: usize = 200;

fn lines() -> Vec<String> {
    (0..LINES).map(|n| format!("line {n:05} {}", "x".repeat(n % 397))).collect()
}

/// Delivered is a subset of what was written, undelivered has nothing in common with it, and every
/// message ended in one way.
fn assert_agreement(outcomes: &BTreeMap<String, String>, written: &BTreeSet<String>) {
    for kind in ["delivered", "undelivered", "unknown"] {
        assert!(outcomes.values().any(|outcome| outcome == kind), "no message is {kind}");
    }
    for (line, outcome) in outcomes {
        match outcome.as_str() {
            "delivered" => assert!(written.contains(line), "delivered but never written: {line}"),
            "undelivered" => assert!(!written.contains(line), "undelivered but written: {line}"),
            other => assert_eq!(other, "unknown"),
        }
    }
}

#[test]
fn outcomes_agree_when_the_listener_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = identity(folder.path(), "listener");
    let (dialler_path, key) = identity(folder.path(), "dialler");
    let mut first = Talker::listen(&path, "127.0.0.1:0", &["--allow", &key]);
    let listening = first.event("listening");
    let (link, address) = (listening["link"].as_str().unwrap(), listening["address"].as_str().unwrap());

    let mut dialler = Talker::start(&["connect", link, "--identity", dialler_path.to_str().unwrap()]);
    let lines = lines();
    for line in &lines[..LINES / 2] {
        dialler.say(line);
    }
    for _ in 0..BEFORE {
        first.next_line();
    }
    first.kill();
    let mut second = Talker::listen(&path, address, &["--allow", &key]);
    second.event("listening");
    dialler.event("peer_restarted");
    for line in &lines[LINES / 2..] {
        dialler.say(line);
    }
    dialler.end_input();
    dialler.wait();
    second.event("closed");
    second.kill();

    let written: BTreeSet<String> = first.lines.iter().chain(&second.lines).cloned().collect();
    assert_eq!(written.len(), first.lines.len() + second.lines.len(), "nothing is written twice");
    let outcomes = dialler.outcomes(&lines);
    assert_eq!(outcomes.len(), LINES, "every line has its outcome");
    assert_agreement(&outcomes, &written);
    assert_eq!(outcomes[lines.last().unwrap()], "delivered", "the session came back");
}

#[test]
fn outcomes_agree_when_the_dialler_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = identity(folder.path(), "listener");
    let (dialler_path, key) = identity(folder.path(), "dialler");
    let mut listener = Talker::listen(&path, "127.0.0.1:0", &["--allow", &key]);
    let link = listener.event("listening")["link"].as_str().unwrap().to_owned();
    let connect = || Talker::start(&["connect", &link, "--identity", dialler_path.to_str().unwrap()]);

    let mut first = connect();
    listener.event("connected");
    let lines = lines();
    for line in &lines[..LINES / 2] {
        listener.say(line);
    }
    for _ in 0..BEFORE {
        first.next_line();
    }
    first.kill();
    let mut second = connect();
    listener.event("peer_restarted");
    for line in &lines[LINES / 2..] {
        listener.say(line);
    }
    // The last line shows that the session is back.
    while second.next_line() != lines[LINES - 1] {}
    second.end_input();
    assert_eq!(second.wait().code(), Some(0), "{:#?}", second.events);
    listener.event("closed");
    listener.kill();

    let written: BTreeSet<String> = first.lines.iter().chain(&second.lines).cloned().collect();
    assert_eq!(written.len(), first.lines.len() + second.lines.len(), "nothing is written twice");
    assert_agreement(&listener.outcomes(&lines), &written);
}
