//! Chats on loopback sockets, and what stands between them.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::ops::Deref;
use std::time::Duration;

use burdock_chat::{Chat, Door, config};
use burdock_tests::relay::Relay;
use burdock_tests::sam_bridge::Bridge;
use burdock_tokio::{AcceptPolicy, Config, Endpoint, Host, I2p, Identity, Link, Schedule};
use tokio::runtime::Runtime;

const LOOPBACK: &str = "127.0.0.1:0";

pub(crate) struct Stage {
    runtime: Runtime,
}

/// A chat, and where its peers reach it.
pub(crate) struct Player {
    chat: Chat,
    peers: SocketAddr,
}

impl Deref for Player {
    type Target = Chat;

    fn deref(&self) -> &Chat {
        &self.chat
    }
}

/// As `burdock chat`, but that a break and a missing peer are noticed sooner, and that waits do not vary.
fn patient() -> Config {
    let attempt_deadline = Duration::from_secs(2);
    let silence = Duration::from_secs(1);
    let backoff = Schedule::list(&[20, 25, 30].map(Duration::from_secs)).with_jitter(0);
    Config { attempt_deadline, silence, backoff, ..config() }
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self { runtime: Runtime::new().unwrap() }
    }

    /// Who lets in whoever uses its link first.
    pub(crate) fn chat(&self, n: u8) -> Player {
        self.start(n, LOOPBACK.parse().unwrap(), patient(), false)
    }

    /// Who gives up at once.
    pub(crate) fn hasty_chat(&self, n: u8) -> Player {
        let backoff = Schedule::list(&[Duration::from_millis(50)]).with_jitter(0);
        self.start(n, LOOPBACK.parse().unwrap(), Config { backoff, ..patient() }, false)
    }

    /// Who lets in anyone, at this place.
    pub(crate) fn chat_at(&self, n: u8, place: SocketAddr) -> Player {
        self.start(n, place, patient(), true)
    }

    /// Who lets in anyone, over I2P alone.
    pub(crate) fn hidden_chat(&self, n: u8, bridge: &Bridge) -> Player {
        self.runtime.block_on(async {
            let i2p = Some(I2p { bridge: bridge.addr, ..I2p::default() });
            let (config, identity) = (Config { i2p, ..patient() }, Identity::from_bytes([n; 32]));
            let destination = Some(Bridge::destination(n.into()));
            let endpoint = Endpoint::anonymous(config, identity, destination).await.unwrap();
            let door = Door::new(AcceptPolicy::anyone(), Self::hidden_link(n), "Anyone who has it can connect.");
            Player { chat: Chat::start(endpoint, door, 0).await.unwrap(), peers: bridge.addr }
        })
    }

    /// The link of such a one, whether it is there or not.
    pub(crate) fn hidden_link(n: u8) -> Link {
        let key = Identity::from_bytes([n; 32]).public_key();
        let i2p = Some(Bridge::destination(n.into()).public());
        Link { key, host: None, udp_port: None, tcp_port: None, i2p, invite: None }
    }

    fn start(&self, n: u8, place: SocketAddr, config: Config, anyone: bool) -> Player {
        self.runtime.block_on(async {
            let endpoint = Endpoint::bind(place, config, Identity::from_bytes([n; 32])).await.unwrap();
            let peers = endpoint.local_addr().expect("it listens");
            let link = Link::direct(endpoint.public_key(), peers);
            let door = match anyone {
                true => Door::new(AcceptPolicy::anyone(), link, "Anyone who has it can connect."),
                false => Door::new(AcceptPolicy::nobody(), link, "It is for one person: whoever is the first to use it can connect. Send it in private. Once it is used there is a fresh one here.").with_invites().unwrap(),
            };
            Player { chat: Chat::start(endpoint, door, 0).await.unwrap(), peers }
        })
    }

    /// The link of a peer that is not there, and where it would be.
    pub(crate) fn absent(&self, n: u8) -> (String, SocketAddr) {
        let place = loop {
            let udp = UdpSocket::bind(LOOPBACK).unwrap();
            let place = udp.local_addr().unwrap();
            if TcpListener::bind(place).is_ok() {
                break place;
            }
        };
        (Link::direct(Identity::from_bytes([n; 32]).public_key(), place).to_string(), place)
    }

    /// A network in front of a chat.
    pub(crate) fn relay(&self, player: &Player) -> Relay {
        self.runtime.block_on(Relay::bind(LOOPBACK.parse().unwrap(), player.peers)).unwrap()
    }

    /// The same link, by way of the relay.
    pub(crate) fn through(&self, relay: &Relay, link: &str) -> String {
        let mut link: Link = link.parse().unwrap();
        let (host, port) = (Host::Address(relay.addr().ip()), Some(relay.addr().port()));
        (link.host, link.udp_port, link.tcp_port) = (Some(host), port, port);
        link.to_string()
    }
}
