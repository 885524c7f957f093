//! `burdock chat`: conversations on a local web page.

use std::io::Write as _;

use burdock_chat::{Chat, Door};
use burdock_core::AcceptPolicy;
use burdock_tokio::Endpoint;

use crate::args::{ChatArgs, Preset, TalkArgs};
use crate::failure::{Failure, INTERRUPTED};
use crate::id;
use crate::listen::link_to;
use crate::output::{Console, Note};
use crate::stop::asked_to_stop;

pub(crate) async fn run(args: ChatArgs, console: Console) -> Result<u8, Failure> {
    let talk = TalkArgs { identity: args.identity, ephemeral: args.ephemeral, preset: Preset::Chat, json: args.json };
    let identity = id::choose(&talk, console)?;
    let endpoint = Endpoint::bind(args.bind, burdock_chat::config(), identity)
        .await
        .map_err(|error| Failure::local(error.to_string()))?;
    let (key, address) = (endpoint.public_key().to_string(), endpoint.local_addr().to_string());
    let link = link_to(&endpoint, args.host.as_deref())?;
    let door = door(&args.allow, args.anyone, link)?;
    let link = door.link().to_string();
    let chat = Chat::start(endpoint, door, args.port)
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
    asked_to_stop().await;
    chat.shutdown().await;
    Ok(INTERRUPTED)
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
