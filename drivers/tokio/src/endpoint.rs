//! The endpoint as an application holds it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use burdock_core::update::State as Stage;
use burdock_core::{
    AcceptPolicy, Class, Config, ConfigError, ConnectError, Event, Identity, Link, PrivateDestination, PublicKey,
    RouterState, SessionId, Transport,
};
use thiserror::Error;
use tracing::Instrument;
use zeroize::Zeroizing;

use crate::session::Session;
use crate::shared::{Phase, Shared, Signals};
use crate::sockets::{Open, Sockets};
use crate::task::Task;
use crate::updates::Updates;

/// Why an endpoint could not be made. Nothing is left behind.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BindError {
    /// The address or the port is not to be had.
    #[error("cannot listen on {transport} {addr}: {source}; choose another address or port")]
    Socket {
        /// Over which transport.
        transport: Transport,
        /// The address that was asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The system gave no randomness. There is no substitute for it.
    #[error("the system gave no random numbers: {0}; keys cannot be made without them")]
    Random(#[source] getrandom::Error),
    /// A setting is out of its range.
    #[error("the configuration cannot be used: {0}")]
    Config(#[from] ConfigError),
    /// The configuration is for an endpoint that must not have an address of its own.
    #[error("an anonymous endpoint never listens on an address; make it with `Endpoint::anonymous`")]
    Anonymous,
}

/// The endpoint ends when the last holder lets go.
pub(crate) struct Holder {
    pub(crate) shared: Arc<Shared>,
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

/// UDP and TCP on one port, I2P beside them or instead, one identity, and any number of sessions.
///
/// Clones are the same endpoint. Sessions keep it alive; when it and they are dropped it ends.
#[derive(Clone)]
pub struct Endpoint {
    holder: Arc<Holder>,
    local: Option<SocketAddr>,
    key: PublicKey,
}

impl Endpoint {
    /// Listens on `addr`, on UDP and TCP; with port 0 on a port that is free for both. `[::]` takes
    /// IPv4 as well. Inbound sessions are refused until [`set_accept`](Self::set_accept).
    ///
    /// Cancel safe. Call it within a tokio runtime with I/O and time enabled.
    ///
    /// # Errors
    /// When the address cannot be had, the configuration is out of range or not for this driver,
    /// or the system has no randomness.
    pub async fn bind(addr: SocketAddr, config: Config, identity: Identity) -> Result<Self, BindError> {
        Self::start(Some(addr), config, identity, None, getrandom::fill)
    }

    /// [`bind`](Self::bind) for an endpoint with [`Config::i2p`] that keeps its I2P destination: `destination` is what
    /// [`private_destination`](Self::private_destination) gave before. With `None` the router makes a new one.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub async fn bind_with_destination(
        addr: SocketAddr,
        config: Config,
        identity: Identity,
        destination: Option<PrivateDestination>,
    ) -> Result<Self, BindError> {
        Self::start(Some(addr), config, identity, destination, getrandom::fill)
    }

    /// An endpoint of the class [`Anonymous`](Class::Anonymous): it has no socket but those to the SAM bridge that
    /// [`Config::i2p`] names, and looks nothing up. The class is set for it.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub async fn anonymous(
        config: Config,
        identity: Identity,
        destination: Option<PrivateDestination>,
    ) -> Result<Self, BindError> {
        let config = Config { class: Class::Anonymous, ..config };
        Self::start(None, config, identity, destination, getrandom::fill)
    }

    fn start(
        addr: Option<SocketAddr>,
        config: Config,
        identity: Identity,
        destination: Option<PrivateDestination>,
        fill: impl FnOnce(&mut [u8]) -> Result<(), getrandom::Error>,
    ) -> Result<Self, BindError> {
        if config.class == Class::Anonymous && addr.is_some() {
            return Err(BindError::Anonymous);
        }
        let mut seed = Zeroizing::new([0; 32]);
        fill(&mut *seed).map_err(BindError::Random)?;
        let max_outcomes = config.limits.pending_messages;
        let mut core = burdock_core::Endpoint::new(config, identity, *seed)?;
        if let Some(destination) = destination {
            core.set_destination(destination);
        }
        let key = core.public_key();
        let sockets = match addr {
            Some(addr) => Sockets::Open(Box::new(Open::bind(addr)?)),
            None => Sockets::None,
        };
        let local = sockets.local();
        let shared = Arc::new(Shared::new(core, max_outcomes));
        let span = tracing::info_span!("endpoint", ?key);
        tokio::spawn(Task::new(Arc::clone(&shared), sockets).run().instrument(span));
        Ok(Self { holder: Arc::new(Holder { shared }), local, key })
    }

    /// The address that it listens on, with the port that was found; `None` for an anonymous one.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local
    }

    /// The key that names this endpoint.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.key
    }

    /// How the I2P router does; `None` without one in the configuration.
    #[must_use]
    pub fn router(&self) -> Option<RouterState> {
        self.shared().lock().core.router().cloned()
    }

    /// Waits until the router is in another state than `seen`, and returns that; `None` when there is no router or the
    /// endpoint has ended.
    ///
    /// Cancel safe.
    pub async fn router_changed(&self, seen: Option<&RouterState>) -> Option<RouterState> {
        let shared = self.shared();
        shared
            .until(&shared.changed, || {
                let state = shared.lock();
                let router = state.core.router().cloned();
                let news = router.is_none() || state.phase > Phase::Running || router.as_ref() != seen;
                news.then(|| router.filter(|_| state.phase == Phase::Running))
            })
            .await
    }

    /// What makes our I2P destination ours, as text to be kept as secret as the identity; `None` before there is one.
    #[must_use]
    pub fn private_destination(&self) -> Option<Zeroizing<String>> {
        let state = self.shared().lock();
        state.core.private_destination().map(|private| Zeroizing::new(private.expose().to_owned()))
    }

    /// The router's SAM bridge is at another address from now on.
    ///
    /// # Errors
    /// As [`burdock_core::Endpoint::set_bridge`].
    pub fn set_bridge(&self, bridge: SocketAddr) -> Result<(), ConfigError> {
        self.shared().call(|state, now| state.core.set_bridge(now, bridge))
    }

    /// Who may open sessions from now on.
    pub fn set_accept(&self, policy: AcceptPolicy) {
        self.shared().call(|state, _| {
            if state.phase == Phase::Running {
                state.core.set_accept(policy);
            }
        });
    }

    /// Starts to dial and returns at once; [`Session::connected`] and the updates say how it goes.
    /// Once the endpoint was shut down the session is cancelled from the start.
    ///
    /// # Errors
    /// When there is nothing to dial, or a session with this peer exists already.
    pub fn connect(&self, link: &Link) -> Result<(Session, Updates), ConnectError> {
        let (id, signals) = self.shared().call(|state, now| {
            let id = state.core.connect(now, link)?;
            let signals = state.add(id, link.key, Stage::Connecting);
            if state.phase > Phase::Running {
                state.cancel(now, id);
            }
            Ok((id, signals))
        })?;
        Ok(self.hand_out(id, link.key, signals))
    }

    /// The next session that a peer opened, `None` after a shutdown. Those that nobody accepts
    /// wait, at most as many as [`Limits::sessions`](crate::Limits::sessions).
    ///
    /// Cancel safe: a session is taken only when it is returned.
    pub async fn accept(&self) -> Option<(Session, Updates)> {
        let shared = self.shared();
        let (id, peer, signals) = shared
            .until(&shared.changed, || {
                let mut state = shared.lock();
                if state.phase > Phase::Running {
                    return Some(None);
                }
                let id = state.inbound.pop_front()?;
                let slot = state.sessions.get(&id)?;
                Some(Some((id, slot.status.peer, Arc::clone(&slot.signals))))
            })
            .await?;
        Some(self.hand_out(id, peer, signals))
    }

    /// The host's network changed: waits between attempts are skipped and paths checked.
    pub fn network_changed(&self) {
        self.shared().call(|state, now| state.core.handle(now, Event::NetworkChanged));
    }

    /// Closes every session, waits for their ends, which the close deadline bounds, and ends the
    /// task. The port is free when it returns.
    ///
    /// Cancel safe in that it may be called again; the closing goes on meanwhile.
    pub async fn shutdown(&self) {
        let shared = self.shared();
        shared.call(|state, now| {
            if state.phase > Phase::Running {
                return;
            }
            state.phase = Phase::Closing;
            state.core.set_accept(AcceptPolicy::nobody());
            for (id, slot) in &state.sessions {
                if slot.closed.is_none() {
                    state.core.close(now, *id, "");
                }
            }
        });
        shared.changed.notify_waiters();
        let all_closed = || shared.lock().sessions.values().all(|slot| slot.closed.is_some()).then_some(());
        shared.until(&shared.changed, all_closed).await;
        shared.stop();
        shared.until(&shared.changed, || (shared.lock().phase == Phase::Stopped).then_some(())).await;
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.holder.shared
    }

    fn hand_out(&self, id: SessionId, peer: PublicKey, signals: Arc<Signals>) -> (Session, Updates) {
        let updates = Updates { id, signals: Arc::clone(&signals), shared: Arc::clone(self.shared()) };
        (Session { id, peer, signals, holder: Arc::clone(&self.holder) }, updates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A random number generator that fails: no endpoint, and no socket either.
    // Mutation: dropping the `?` after `fill` makes this fail.
    #[tokio::test]
    async fn i4_no_randomness_is_an_error_not_a_fallback() {
        let addr = "127.0.0.1:0".parse().ok();
        let broken = |_: &mut [u8]| Err(getrandom::Error::UNEXPECTED);
        let made = Endpoint::start(addr, Config::streamer(), Identity::from_bytes([1; 32]), None, broken);
        let Err(error) = made else { panic!("an endpoint without a seed") };
        assert!(error.to_string().starts_with("the system gave no random numbers: "), "{error}");
    }

    #[tokio::test]
    async fn an_anonymous_endpoint_gets_no_socket() {
        let config = Config { class: Class::Anonymous, ..Config::streamer() };
        let made = Endpoint::bind("127.0.0.1:0".parse().unwrap(), config, Identity::from_bytes([1; 32])).await;
        assert!(matches!(made, Err(BindError::Anonymous)));
    }
}
