//! `burdock chat` as a process: its page, and that it talks to the command line.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use common::{Talker, call, closed_off, run};

fn get_page(url: &str) {
    let place = url.trim_start_matches("http://").split('/').next().unwrap();
    let mut page = String::new();
    let mut stream = TcpStream::connect(place).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\r\n").unwrap();
    stream.read_to_string(&mut page).unwrap();
    assert!(page.starts_with("HTTP/1.1 200 ") && page.contains("<title>Burdock chat</title>"), "{page}");
}

#[test]
fn the_page_and_the_command_line_talk() {
    let mut chat = Talker::start(&["chat", "--ephemeral", "--bind", "127.0.0.1:0"]);
    let serving = chat.event("serving");
    let (url, link) = (serving["url"].as_str().unwrap(), serving["link"].as_str().unwrap());
    assert_eq!(chat.next_line(), url);
    assert!(link.contains("invite="), "{link}");

    get_page(url);

    let mut events = call(url, "/api/events", "{}");
    assert_eq!(events.next().unwrap(), "HTTP/1.1 200 OK");
    assert!(events.any(|line| line == "event: snapshot"));
    let mut dialler = Talker::start(&["connect", "--ephemeral", link]);
    dialler.say("from a terminal");
    assert!(events.any(|line| line.contains("from a terminal")));
    let answer: Vec<_> = call(url, "/api/send", r#"{"conversation":1,"text":"from a page"}"#).collect();
    assert_eq!(answer[0], "HTTP/1.1 200 OK", "{answer:?}");
    assert_eq!(dialler.next_line(), "from a page");
    assert!(events.any(|line| line.contains(r#""state":"delivered""#)));
    dialler.end_input();
    assert!(dialler.wait().success());
    assert!(events.any(|line| line.contains("The peer closed the session: “end of input”")));
}

#[cfg(unix)]
#[test]
fn more_silent_connections_than_a_process_may_have_do_not_stop_the_page() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 128 && exec \"$@\"", "sh", env!("CARGO_BIN_EXE_burdock")]);
    closed_off(command.args(["chat", "--ephemeral", "--bind", "127.0.0.1:0"]));
    let mut chat = Talker::spawn(command);
    let serving = chat.event("serving");
    let url = serving["url"].as_str().unwrap();
    let place = url.trim_start_matches("http://").split('/').next().unwrap();
    let mut events = call(url, "/api/events", "{}");
    assert!(events.any(|line| line == "event: snapshot"));
    let silent: Vec<_> = (0..200).map(|_| TcpStream::connect(place).unwrap()).collect();
    get_page(url);
    // A page that looks on has not had to make room.
    let answer: Vec<_> = call(url, "/api/connect", r#"{"link":"nonsense"}"#).collect();
    assert_eq!(answer[0], "HTTP/1.1 400 Bad Request");
    let mut dialler = Talker::start(&["connect", "--ephemeral", serving["link"].as_str().unwrap()]);
    dialler.say("still there?");
    assert!(events.any(|line| line.contains("still there?")));
    drop(silent);
}

#[test]
fn what_cannot_be_served_or_dialled_is_said_in_a_sentence() {
    let output = run(&["chat", "--ephemeral", "--bind", "127.0.0.1:0", "burdock://nonsense"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("the link's key is wrong"), "{text}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = run(&["chat", "--ephemeral", "--bind", "127.0.0.1:0", "--port", &port]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(&format!("the page cannot be served on port {port}")), "{text}");
}

#[test]
fn an_anonymous_chat_is_served_before_there_is_a_router() {
    // Nobody listens on the discard port.
    let mut chat = Talker::start(&["chat", "--ephemeral", "--anonymous", "--i2p=127.0.0.1:9"]);
    let serving = chat.event("serving");
    assert!(serving["url"].as_str().unwrap().starts_with("http://127.0.0.1:"), "{serving}");
    assert!(serving["address"].is_null(), "{serving}");
}
