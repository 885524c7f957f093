//! A chat over Burdock sessions, as a web page that only this machine can open.
//!
//! [`Chat::start`] serves a page on the loopback interface and prints nothing: [`Chat::url`] is the
//! address to open, and holds the secret without which nothing is told or done. The page shows every
//! conversation with its progress, quality and messages; a page that is opened late shows the same
//! as one that was there all along.
//!
//! A conversation is text on reliable channel 0, as `burdock listen` and `burdock connect` speak it.
//!
//! ```no_run
//! use burdock_chat::{Chat, Door};
//! use burdock_tokio::{AcceptPolicy, Endpoint, Identity, Link};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let identity = Identity::from_bytes([1; 32]);
//! let endpoint = Endpoint::bind("0.0.0.0:28736".parse()?, burdock_chat::config(), identity).await?;
//! let link = Link::direct(endpoint.public_key(), "192.0.2.7:28736".parse()?);
//! let door = Door::new(AcceptPolicy::nobody(), link, "Whoever is the first to use it.").with_invites()?;
//! let chat = Chat::start(endpoint, door, 0).await?;
//! println!("{}", chat.url());
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod connections;
mod door;
mod guard;
mod hub;
mod qr;
mod room;
mod server;
mod view;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use burdock_tokio::{Config, Endpoint, Link};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

pub use door::Door;
pub use hub::Refused;

use guard::Guard;
use hub::{Hub, MAX_TEXT};

/// [`Config::chat`], with messages no longer than a page shows: 16 KiB.
#[must_use]
pub fn config() -> Config {
    let mut config = Config::chat();
    config.limits.max_message = MAX_TEXT as u32;
    config
}

/// A running chat. Dropping it ends it at once; [`shutdown`](Self::shutdown) closes the sessions first.
pub struct Chat {
    hub: Arc<Hub>,
    addr: SocketAddr,
    url: String,
    /// The tasks that let peers in and serve the page.
    tasks: [AbortHandle; 2],
}

impl Chat {
    /// Serves the page on a port of 127.0.0.1, 0 for any that is free, and lets peers in as `door` says.
    ///
    /// # Errors
    /// When the port is not to be had, or the system gives no randomness.
    pub async fn start(endpoint: Endpoint, door: Door, port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let addr = listener.local_addr()?;
        let gate = Guard::new(addr.port()).map_err(io::Error::other)?;
        let url = gate.url();
        let hub = Hub::new(endpoint, door);
        let router = server::router(Arc::clone(&hub), gate);
        let welcome = tokio::spawn(Arc::clone(&hub).welcome());
        let serving = tokio::spawn(connections::serve(listener, router, connections::HEAD_DEADLINE));
        Ok(Self { hub, addr, url, tasks: [welcome.abort_handle(), serving.abort_handle()] })
    }

    /// The address to open in a browser. Who has it can read and write everything: it is a secret.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where the page is served.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Dials a link, as the page does.
    ///
    /// # Errors
    /// When the link is malformed or cannot be dialled.
    pub fn connect(&self, link: &str) -> Result<(), Refused> {
        self.hub.connect(link).map(drop)
    }

    /// Our addresses are others now. The invite of the link before stays in it.
    pub fn set_link(&self, link: Link) {
        self.hub.set_link(link);
    }

    /// How I2P does, in a sentence for the page; empty when there is nothing to say.
    pub fn set_router(&self, words: impl Into<String>) {
        self.hub.set_router(words.into());
    }

    /// Waits until a peer is dialled, or dialled again, that only I2P reaches. Once for all that were since it was last
    /// waited for.
    ///
    /// Cancel safe.
    pub async fn router_needed(&self) {
        self.hub.router_needed().await;
    }

    /// The endpoint behind the page.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        self.hub.endpoint()
    }

    /// Closes every session, which the close deadline bounds. The page is served until it is dropped.
    pub async fn shutdown(&self) {
        self.hub.endpoint().shutdown().await;
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        self.hub.stop();
    }
}
