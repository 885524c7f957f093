//! `burdock listen` and `burdock connect` in two processes.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

mod common;

use common::{Talker, burdock, identity, run};
use tempfile::TempDir;

fn listener(folder: &TempDir, more: &[&str]) -> (Talker, String) {
    let (path, _) = identity(folder.path(), "listener");
    let mut listener = Talker::listen(&path, "127.0.0.1:0", more);
    let link = listener.event("listening")["link"].as_str().unwrap().to_owned();
    (listener, link)
}

/// Lines go both ways over the transport, and the end of the input ends it well.
fn talk_over(transport: &str, parameter: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (mut listener, link) = listener(&folder, &["--anyone"]);
    let mut dialler = Talker::start(&["connect", "--ephemeral", &format!("{link}{parameter}")]);

    dialler.say("hello");
    dialler.say("");
    dialler.say("out there");
    assert_eq!(["hello", "", "out there"].map(str::to_owned), [(); 3].map(|()| listener.next_line()));
    assert_eq!(dialler.event("connected")["transport"], transport);
    assert_eq!(listener.event("connected")["inbound"], true);
    listener.say("and back");
    assert_eq!(dialler.next_line(), "and back");

    dialler.end_input();
    assert_eq!(dialler.wait().code(), Some(0), "{:#?}", dialler.events);
    let lines = ["hello", "", "out there"].map(str::to_owned);
    let outcomes = dialler.outcomes(&lines);
    assert!(lines.iter().all(|line| outcomes[line] == "delivered"), "{outcomes:?}");
    let closed = listener.event("closed");
    assert_eq!((closed["code"].as_str(), closed["by_peer"].as_bool()), (Some("done"), Some(true)));
    assert_eq!(closed["delivered"], 1, "{:#?}", listener.events);
}

#[test]
fn two_processes_talk_over_udp() {
    talk_over("udp", "");
}

#[test]
fn without_udp_they_talk_over_tcp() {
    talk_over("tcp", "?udp=off");
}

#[test]
fn an_invite_lets_a_stranger_in_and_its_absence_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let (mut listener, link) = listener(&folder, &["--invite"]);
    let mut invited = Talker::start(&["connect", "--ephemeral", &link]);
    invited.say("may I?");
    assert_eq!(listener.next_line(), "may I?");
    invited.end_input();
    assert_eq!(invited.wait().code(), Some(0));

    let (bare, _) = link.split_once("invite=").unwrap();
    let mut stranger = Talker::start(&["connect", "--ephemeral", bare.trim_end_matches(['?', '&'])]);
    stranger.say("let me in");
    while stranger.event("progress")["status"] != "retrying" {}
    stranger.kill();
    listener.kill();
    assert_eq!(listener.lines, ["may I?"]);
}

#[test]
fn a_line_that_is_too_long_costs_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (mut listener, link) = listener(&folder, &["--anyone"]);
    let mut dialler = Talker::start(&["connect", "--ephemeral", &link]);
    dialler.say("before");
    dialler.say(&"x".repeat(300_000));
    dialler.say("after");
    dialler.end_input();
    assert_eq!([listener.next_line(), listener.next_line()], ["before", "after"]);
    assert_eq!(dialler.wait().code(), Some(1), "not everything was delivered");
    let skipped = dialler.events.iter().find(|event| event["type"] == "skipped").unwrap();
    assert_eq!(skipped["line"], 2);
}

#[test]
fn the_numbers_of_json_events_rise_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let (mut listener, link) = listener(&folder, &["--anyone"]);
    let mut dialler = Talker::start(&["connect", "--ephemeral", &link]);
    dialler.say("one");
    assert_eq!(listener.next_line(), "one");
    dialler.end_input();
    assert!(dialler.wait().success());
    let numbers: Vec<u64> = dialler.events.iter().filter_map(|event| event["seq"].as_u64()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    assert_eq!(dialler.events.last().unwrap()["type"], "closed");
}

#[test]
fn a_person_reads_sentences() {
    let folder = tempfile::tempdir().unwrap();
    let (listener, link) = listener(&folder, &["--anyone"]);
    let output = burdock(&["connect", "--ephemeral", &link]).stdin(std::process::Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}");
    let first = text.lines().next().unwrap();
    assert!(first.starts_with("Connecting to peer... (attempt 1/10)"), "{text}");
    assert!(text.contains("Connected to ") && text.contains(" over UDP"), "{text}");
    drop(listener);
}

#[test]
fn help_lists_every_exit_status() {
    let text = String::from_utf8(run(&["connect", "--help"]).stdout).unwrap();
    let table = text.split("Exit status:").nth(1).unwrap();
    insta::assert_snapshot!(table);
}

#[test]
fn the_demo_passes_on_an_open_network() {
    let output = run(&["demo", "--only", "a"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 of 1 scenarios passed"), "{text}");
}
