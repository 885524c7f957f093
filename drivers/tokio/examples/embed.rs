//! A frontend in one file: it dials, shows how that goes, says one thing and hears one back.

use std::error::Error;

use burdock_tokio::update::UpdateKind;
use burdock_tokio::{AcceptPolicy, Config, Endpoint, Identity, Link, Session, Update, Updates};
use serde_json::{Value, json};

/// What a screen shows of a session, whoever listens for the first time or again.
fn snapshot(session: &Session, show: &mut impl FnMut(&str, Value)) -> u64 {
    let status = session.status();
    show("snapshot", json!({ "status": &status, "reading": status.reading() }));
    status.seq
}

fn change(update: &Update, show: &mut impl FnMut(&str, Value)) {
    match &update.kind {
        UpdateKind::Progress(progress) => show("connection_progress", json!(progress)),
        _ => show("update", json!(update)),
    }
}

/// Tells a screen about a session for as long as it lasts: a snapshot, then every change by its number.
async fn follow(session: &Session, updates: &mut Updates, show: &mut impl FnMut(&str, Value)) {
    let mut seq = snapshot(session, show);
    while let Some(update) = updates.next().await {
        if update.seq > seq + 1 {
            show("lagged", json!({ "missed": update.seq - seq - 1 }));
            seq = snapshot(session, show);
        } else if update.seq > seq {
            seq = update.seq;
            change(&update, show);
        }
    }
}

/// `show` is the screen: `app.emit(name, value)` in Tauri, a server-sent event, a line of a terminal.
pub async fn run(link: &Link, mut show: impl FnMut(&str, Value)) -> Result<(), Box<dyn Error>> {
    let identity = Identity::from_bytes([2; 32]); // 32 bytes from the operating system, kept in a file
    let endpoint = Endpoint::bind("127.0.0.1:0".parse()?, Config::chat(), identity).await?;
    let (session, mut updates) = endpoint.connect(link)?;
    let talk = async {
        session.send(0, "hello").await?; // waits for the connection by itself
        let answer = session.recv().await?;
        session.acknowledge(); // it was shown: now it counts as delivered
        Ok::<_, Box<dyn Error>>(answer)
    };
    let answer = tokio::select! {
        answer = talk => answer?,
        () = follow(&session, &mut updates, &mut show) => return Err("the session has ended".into()),
    };
    show("message", json!({ "channel": answer.channel, "text": String::from_utf8_lossy(&answer.data) }));
    session.close("bye").await; // delivers what is queued
    while let Some(update) = updates.next().await {
        change(&update, &mut show);
    }
    endpoint.shutdown().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let home = Endpoint::bind("127.0.0.1:0".parse()?, Config::chat(), Identity::from_bytes([1; 32])).await?;
    home.set_accept(AcceptPolicy::anyone());
    let link = Link::direct(home.public_key(), home.local_addr().expect("it listens"));
    let echo = tokio::spawn(async move {
        let Some((session, _)) = home.accept().await else { return };
        while let Ok(message) = session.recv().await {
            if session.send(message.channel, message.data).await.is_err() {
                break;
            }
        }
    });
    run(&link, |name, value| eprintln!("{name} {value}")).await?;
    Ok(echo.await?)
}
