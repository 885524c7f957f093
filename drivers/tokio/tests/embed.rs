//! The example of docs/embedding.md is that which is compiled, and it does what it says.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

#[allow(dead_code, missing_docs, unreachable_pub, reason = "an example is a program of its own")]
#[path = "../examples/embed.rs"]
mod embed;

use std::time::Duration;

use burdock_tokio::{AcceptPolicy, Config, Endpoint, Identity, Link, Schedule, State};

const EXAMPLE: &str = include_str!("../examples/embed.rs");

#[test]
fn the_page_has_the_example_as_it_is() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/embedding.md")).unwrap();
    let (_, rest) = page.split_once("```rust\n").unwrap();
    let (shown, _) = rest.split_once("```\n").unwrap();
    assert!(shown == EXAMPLE, "copy drivers/tokio/examples/embed.rs into docs/embedding.md");
}

#[tokio::test]
async fn the_screen_hears_a_snapshot_first_and_the_end_last() {
    let home = Endpoint::bind("127.0.0.1:0".parse().unwrap(), Config::chat(), Identity::from_bytes([1; 32]));
    let home = home.await.unwrap();
    home.set_accept(AcceptPolicy::anyone());
    let link = Link::direct(home.public_key(), home.local_addr().expect("it listens"));
    let echo = async {
        let (session, _) = home.accept().await.unwrap();
        while let Ok(message) = session.recv().await {
            if session.send(message.channel, message.data).await.is_err() {
                break;
            }
        }
    };
    let mut screen = Vec::new();
    let (done, ()) = tokio::join!(embed::run(&link, |name, value| screen.push((name.to_owned(), value))), echo);
    done.unwrap();

    assert_eq!(screen[0].0, "snapshot");
    assert_eq!(screen[0].1["reading"]["text"], "Connecting to peer... (attempt 1/4)");
    let (name, end) = screen.last().unwrap();
    assert_eq!((name.as_str(), end["type"].as_str(), end["delivered"].as_u64()), ("update", Some("closed"), Some(1)));
    let progress: Vec<_> = screen.iter().filter(|(name, _)| name == "connection_progress").collect();
    assert_eq!(progress.last().unwrap().1["status"], "connected");
    assert!(screen.iter().any(|(name, value)| name == "message" && value["text"] == "hello"), "{screen:#?}");
    assert!(!screen.iter().any(|(name, _)| name == "lagged"), "{screen:#?}");
    let numbers: Vec<_> = screen.iter().filter_map(|(_, value)| value["seq"].as_u64()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
}

/// When the core has forgotten the session, its end can still be shown.
// Mutation: not keeping the progress in `Shared::apply` makes this fail.
#[tokio::test]
async fn the_last_status_says_how_it_ended() {
    let hasty = Config {
        attempts: 2,
        attempt_deadline: Duration::from_millis(50),
        backoff: Schedule::list(&[Duration::from_millis(10)]),
        ..Config::chat()
    };
    let nobody = Link::direct(Identity::from_bytes([9; 32]).public_key(), "127.0.0.1:9".parse().unwrap());
    let endpoint = Endpoint::bind("127.0.0.1:0".parse().unwrap(), hasty, Identity::from_bytes([1; 32])).await.unwrap();
    let (session, mut updates) = endpoint.connect(&nobody).unwrap();
    let mut last = 0;
    while let Some(update) = updates.next().await {
        last = update.seq;
    }
    let status = session.status();
    assert_eq!((status.state, status.seq), (State::Closed, last));
    let text = "Could not reach peer after 2 attempts — their node may be offline or still bootstrapping";
    assert_eq!(status.reading().text, text);
}
