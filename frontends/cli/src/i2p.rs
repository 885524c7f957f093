//! I2P on the command line: the router, the destination, and the endpoint that uses them.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use burdock_core::{Code, Config, I2p, Identity, Link, PrivateDestination, RouterState, SessionOptions};
use burdock_router::{Program, Router};
use burdock_tokio::Endpoint;
use zeroize::Zeroizing;

use crate::args::{I2pArgs, OwnArgs};
use crate::failure::Failure;
use crate::id;
use crate::output::{Console, Note};

/// Longer than any private destination.
const MAX_FILE: u64 = 4096;

/// An endpoint, and the router that it goes through if that is to be held on to.
pub(crate) struct Opened {
    pub(crate) endpoint: Endpoint,
    pub(crate) router: Option<Router>,
}

impl Opened {
    /// Closes every session, then ends the router if it is ours.
    pub(crate) async fn shutdown(self) {
        self.endpoint.shutdown().await;
        if let Some(router) = self.router {
            router.shutdown().await;
        }
    }
}

/// An endpoint on `bind`, or without any address if it is to be anonymous. Without a wish the I2P settings of `config`
/// hold.
pub(crate) async fn open(
    own: &OwnArgs,
    config: Config,
    bind: SocketAddr,
    link: Option<&Link>,
    identity: Identity,
    console: Console,
) -> Result<Opened, Failure> {
    let kept = if own.i2p.keep_destination { load(&path(own)?)? } else { None };
    let router = router(&own.i2p, link, console).await?;
    let bridge = own.i2p.i2p.flatten().or(router.as_ref().map(Router::bridge));
    let hops = own.i2p.hops.unwrap_or(SessionOptions::default().inbound_length);
    let i2p = bridge.map(|bridge| I2p { bridge, accept: link.is_none(), ..I2p::default() });
    let tunnels = SessionOptions { inbound_length: hops, outbound_length: hops, ..SessionOptions::default() };
    let i2p = i2p.or(config.i2p).map(|i2p| I2p { tunnels, ..i2p });
    let config = Config { i2p, ..config };
    let made = if own.i2p.anonymous {
        Endpoint::anonymous(config, identity, kept).await
    } else {
        Endpoint::bind_with_destination(bind, config, identity, kept).await
    };
    let endpoint = made.map_err(|error| Failure::local(error.to_string()))?;
    Ok(Opened { endpoint, router })
}

/// The router to go through when its address is not given. One is started where I2P was asked for or is the only way; a
/// link that names another way as well is no reason to join a network.
async fn router(args: &I2pArgs, link: Option<&Link>, console: Console) -> Result<Option<Router>, Failure> {
    if args.i2p.flatten().is_some() {
        return Ok(None);
    }
    let named = link.is_some_and(|link| link.i2p.is_some());
    let only = named && link.is_some_and(|link| link.host.is_none());
    if args.i2p.is_none() && !args.anonymous && !only {
        return Ok(if named { burdock_router::running(I2p::USUAL_BRIDGE).await } else { None });
    }
    find_router(console).await.map(Some)
}

/// The router that runs on this machine, else one of our own.
pub(crate) async fn find_router(console: Console) -> Result<Router, Failure> {
    let program = Program::installed(id::data_folder()?.join("i2pd"));
    let found = burdock_router::ensure(I2p::USUAL_BRIDGE, &program).await;
    let router = found.map_err(|error| {
        let status = Code::SamDown.exit_status();
        Failure { message: error.to_string(), status }
    })?;
    if let Some(folder) = router.folder() {
        console.say(&format!("Running an I2P router of our own; its files are in {}", folder.display()));
    }
    Ok(router)
}

/// Tells how the router does, for as long as the endpoint lives, and hands each change since `seen` to `changed`. That it
/// stands already is one as well.
pub(crate) async fn watch(
    endpoint: &Endpoint,
    own: &OwnArgs,
    console: Console,
    mut seen: Option<RouterState>,
    mut changed: impl FnMut(&RouterState) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if endpoint.router().is_some() {
        console.say("Building I2P tunnels; after the start of a router this takes some minutes.");
    }
    while let Some(state) = endpoint.router_changed(seen.as_ref()).await {
        console.note(&Note::Router { router: &state });
        match &state {
            RouterState::Up { .. } => {
                if own.i2p.keep_destination
                    && let Some(private) = endpoint.private_destination()
                {
                    save(&path(own)?, &private)?;
                }
            }
            RouterState::Down { code, .. } => {
                console.say(&format!("{}. {}", code.text(), code.hint()));
            }
            _ => {}
        }
        changed(&state)?;
        seen = Some(state);
    }
    // Without I2P there is nothing to tell, and no end of it.
    std::future::pending().await
}

/// The destination lies beside the identity.
fn path(own: &OwnArgs) -> Result<PathBuf, Failure> {
    let mut path = id::path(own)?.into_os_string();
    path.push(".i2p");
    Ok(path.into())
}

fn load(path: &Path) -> Result<Option<PrivateDestination>, Failure> {
    let Some(text) = id::read_secret(path, MAX_FILE)? else { return Ok(None) };
    let text = std::str::from_utf8(&text).map(str::trim).unwrap_or_default();
    match PrivateDestination::from_text(text) {
        Ok(destination) => Ok(Some(destination)),
        Err(error) => Err(Failure::local(format!(
            "{} holds no I2P destination: {error}; remove it to get a new one, and give peers the new link",
            path.display()
        ))),
    }
}

fn save(path: &Path, destination: &Zeroizing<String>) -> Result<(), Failure> {
    if path.exists() {
        return Ok(());
    }
    let failed = |error: std::io::Error| {
        Failure::local(format!("cannot keep the I2P destination in {}: {error}", path.display()))
    };
    let mut file = id::private_file(path).map_err(failed)?;
    let written = file.write_all(destination.as_bytes()).and_then(|()| file.write_all(b"\n"));
    written.and_then(|()| file.sync_all()).map_err(|error| {
        let _ = fs::remove_file(path);
        failed(error)
    })
}
