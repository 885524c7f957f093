//! `burdock chat`: conversations on a local web page.

use std::io::Write as _;

use burdock_chat::{Chat, Door};
use burdock_core::{AcceptPolicy, Config, I2p, RouterState};
use burdock_router::Router;

use crate::args::{ChatArgs, DoorArgs};
use crate::failure::{Failure, INTERRUPTED};
use crate::listen::link_to;
use crate::output::{Console, Note};
use crate::stop::asked_to_stop;
use crate::{i2p, id};

const BUILDING: &str = "Building I2P tunnels; after the start of a router this takes some minutes.";

pub(crate) async fn run(args: ChatArgs, console: Console) -> Result<u8, Failure> {
    let ChatArgs { own, door: DoorArgs { bind, host, allow, anyone }, .. } = args;
    let identity = id::choose(&own, console)?;
    // A link over I2P may be pasted any time; to be reachable there has to be asked for.
    let asked = own.i2p.i2p.is_some() || own.i2p.anonymous;
    let config = Config { i2p: Some(I2p { accept: false, ..I2p::default() }), ..burdock_chat::config() };
    let mut opened = i2p::open(&own, config, bind, None, identity, console).await?;
    let endpoint = opened.endpoint.clone();
    let key = endpoint.public_key().to_string();
    let address = endpoint.local_addr().map(|address| address.to_string());
    let link = link_to(&endpoint, host.as_deref(), None)?;
    let door = door(&allow, anyone, link)?;
    let link = door.link().to_string();
    let chat = Chat::start(endpoint.clone(), door, args.port)
        .await
        .map_err(|error| Failure::local(format!("the page cannot be served on port {}: {error}", args.port)))?;
    if let Some(link) = &args.link {
        chat.connect(link).map_err(|error| Failure::usage(error.to_string()))?;
    }

    console.note(&Note::Serving { url: chat.url(), link: &link, key, address });
    console.say("Open this address in a browser on this machine; keep it to yourself. ^C ends the chat.");
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{}", chat.url())
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::local(format!("standard output: {error}")))?;
    let changed = |state: &RouterState| {
        match state {
            RouterState::Up { .. } if !asked => chat.set_router(""),
            RouterState::Up { address } => {
                chat.set_link(link_to(&endpoint, host.as_deref(), Some(address.clone()))?);
                let both = endpoint.local_addr().is_some();
                chat.set_router(if both { "Reachable over I2P too: the link ties your address to it." } else { "" });
            }
            RouterState::Down { code, .. } => chat.set_router(format!("{}. {}", code.text(), code.hint())),
            _ => {}
        }
        Ok(())
    };
    let i2p = async {
        let mut seen = None;
        if !asked {
            opened.router = Some(router_on_demand(&chat, console).await);
            // Of before there was one.
            seen = endpoint.router().filter(|state| matches!(state, RouterState::Down { .. }));
        }
        chat.set_router(BUILDING);
        i2p::watch(&endpoint, &own, console, seen, changed).await
    };
    let ended = tokio::select! {
        () = asked_to_stop() => Ok(()),
        told = i2p => told,
    };
    chat.shutdown().await;
    opened.shutdown().await;
    ended.map(|()| INTERRUPTED)
}

/// Finds or starts a router once a link is dialled that needs one; before that a chat joins no network of its own accord.
async fn router_on_demand(chat: &Chat, console: Console) -> Router {
    loop {
        chat.router_needed().await;
        chat.set_router("This link needs I2P: looking for a router, or starting one.");
        match i2p::find_router(console).await {
            Ok(router) => {
                chat.endpoint().set_bridge(router.bridge()).expect("it is on this machine");
                // What waits to be dialled again, or for the router that was not there, goes on at once.
                chat.endpoint().network_changed();
                return router;
            }
            Err(failure) => {
                let words = format!("This link needs I2P: {}.", failure.message);
                console.say(&words);
                chat.set_router(words);
            }
        }
    }
}

fn door(allow: &[burdock_core::PublicKey], anyone: bool, link: burdock_core::Link) -> Result<Door, Failure> {
    if anyone {
        return Ok(Door::new(AcceptPolicy::anyone(), link, "Anyone who has it can connect."));
    }
    let policy = allow.iter().fold(AcceptPolicy::nobody(), |policy, key| policy.allow(*key));
    let words = "It is for one person: whoever is the first to use it can connect. Send it in private. Once it is \
                 used there is a fresh one here.";
    Door::new(policy, link, words)
        .with_invites()
        .map_err(|error| Failure::local(format!("the system gives no randomness: {error}")))
}
