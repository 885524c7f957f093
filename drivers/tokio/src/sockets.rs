//! UDP and TCP on one port, or neither.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};

use burdock_core::{NetError, Transport};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

use crate::endpoint::BindError;

/// How often a port that is free for UDP is tried for TCP when any port will do.
const PORT_TRIES: u32 = 64;
/// Asked of the system for UDP, each way, in bytes; it grants what its own limits allow.
const UDP_BUFFER: usize = 4 << 20;
/// Datagrams kept while the socket takes none; more are dropped, as a network would.
const BACKLOG: usize = 256;
/// Bytes that the system may hold unsent for a TCP stream, so that what is urgent is not queued
/// behind what is not.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 64 << 10;

/// What an endpoint listens on. An anonymous one has neither of these.
pub(crate) enum Sockets {
    Open(Box<Open>),
    None,
}

/// The sockets of an open endpoint.
pub(crate) struct Open {
    pub(crate) udp: UdpSocket,
    pub(crate) tcp: TcpListener,
    pub(crate) local: SocketAddr,
    backlog: VecDeque<(SocketAddr, Vec<u8>)>,
}

impl Sockets {
    pub(crate) fn local(&self) -> Option<SocketAddr> {
        self.open().map(|open| open.local)
    }

    pub(crate) fn open(&self) -> Option<&Open> {
        if let Self::Open(open) = self { Some(open) } else { None }
    }

    pub(crate) fn open_mut(&mut self) -> Option<&mut Open> {
        if let Self::Open(open) = self { Some(open) } else { None }
    }

    /// Until datagrams can be read. Cancel safe.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        match self.open() {
            Some(open) => open.udp.readable().await,
            None => pending().await,
        }
    }

    /// Until datagrams that were kept can be sent. Cancel safe.
    pub(crate) async fn writable(&self) {
        match self.open().filter(|open| !open.backlog.is_empty()) {
            Some(open) => drop(open.udp.writable().await),
            None => pending().await,
        }
    }

    /// The next stream that somebody opened. Cancel safe.
    pub(crate) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        match self.open() {
            Some(open) => open.tcp.accept().await,
            None => pending().await,
        }
    }
}

impl Open {
    pub(crate) fn bind(addr: SocketAddr) -> Result<Self, BindError> {
        let mut tries = if addr.port() == 0 { PORT_TRIES } else { 1 };
        loop {
            tries -= 1;
            let named = |transport| move |source| BindError::Socket { transport, addr, source };
            let udp = bind_udp(addr).map_err(named(Transport::Udp))?;
            let local = udp.local_addr().map_err(named(Transport::Udp))?;
            match bind_tcp(local) {
                Ok(tcp) => return Ok(Self { udp, tcp, local, backlog: VecDeque::new() }),
                Err(error) if tries > 0 && error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(named(Transport::Tcp)(error)),
            }
        }
    }

    /// Sends a datagram now, or keeps it until the socket is writable.
    pub(crate) fn send(&mut self, to: SocketAddr, datagram: &[u8]) -> io::Result<()> {
        let to = self.reachable(to)?;
        if self.backlog.is_empty() {
            match self.udp.try_send_to(datagram, to) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result.map(drop),
            }
        }
        if self.backlog.len() < BACKLOG {
            self.backlog.push_back((to, datagram.to_vec()));
        }
        Ok(())
    }

    /// Sends what was kept, as far as the socket takes it. An error drops the one datagram.
    pub(crate) fn flush(&mut self) {
        while let Some((to, datagram)) = self.backlog.front() {
            match self.udp.try_send_to(datagram, *to) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                _ => self.backlog.pop_front(),
            };
        }
    }

    /// The address as our socket wants it: an IPv6 socket names IPv4 addresses by mapping them.
    fn reachable(&self, to: SocketAddr) -> io::Result<SocketAddr> {
        match (self.local, to) {
            (SocketAddr::V6(_), SocketAddr::V4(to)) => Ok((to.ip().to_ipv6_mapped(), to.port()).into()),
            (SocketAddr::V4(_), SocketAddr::V6(_)) => Err(io::ErrorKind::NetworkUnreachable.into()),
            _ => Ok(to),
        }
    }
}

/// The address as the core knows it: IPv4 whenever it is one.
pub(crate) fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_some() => (v6.ip().to_canonical(), v6.port()).into(),
        _ => addr,
    }
}

/// Opens a TCP stream from the address that the endpoint is bound to, if it is bound to one. A program on this machine
/// is reached from any.
pub(crate) async fn connect(local: Option<SocketAddr>, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    let local = local.filter(|local| !local.ip().is_unspecified() && local.is_ipv4() == to.is_ipv4());
    if let Some(local) = local.filter(|local| !to.ip().is_loopback() || local.ip().is_loopback()) {
        socket.bind((local.ip(), 0).into())?;
    }
    socket.connect(to).await
}

/// Small packets go out at once, and little waits in the system's buffer. A stream works without
/// these options, only worse.
pub(crate) fn tune(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_nodelay(true);
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_notsent_lowat(UNSENT);
}

/// What the core wants to know of a system error.
pub(crate) fn net_error(error: &io::Error) -> NetError {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused => NetError::Refused,
        Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::NetworkDown => NetError::Unreachable,
        Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe => NetError::Reset,
        Kind::TimedOut => NetError::TimedOut,
        _ => NetError::Other,
    }
}

fn bind_udp(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket(addr, Type::DGRAM, Protocol::UDP)?;
    let _ = socket.set_recv_buffer_size(UDP_BUFFER);
    let _ = socket.set_send_buffer_size(UDP_BUFFER);
    socket.bind(&addr.into())?;
    UdpSocket::from_std(socket.into())
}

fn bind_tcp(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(addr, Type::STREAM, Protocol::TCP)?;
    // So that a restart need not wait for old connections to be forgotten. On Windows the option
    // means something else: it would let two programs share the port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(1024)?;
    TcpListener::from_std(socket.into())
}

fn socket(addr: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), kind, Some(protocol))?;
    if addr.ip() == Ipv6Addr::UNSPECIFIED {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn any_port_is_one_port_for_both() {
        let sockets = Open::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_ne!(sockets.local.port(), 0);
        assert_eq!(sockets.tcp.local_addr().unwrap(), sockets.udp.local_addr().unwrap());
    }

    #[tokio::test]
    async fn a_port_in_use_is_named_with_its_transport() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = taken.local_addr().unwrap();
        let Err(error) = Open::bind(addr) else { panic!("the port is taken") };
        let text = error.to_string();
        assert!(text.starts_with(&format!("cannot listen on TCP {addr}: ")), "{text}");
        assert!(text.ends_with("; choose another address or port"), "{text}");
    }

    #[tokio::test]
    async fn one_socket_speaks_both_families() {
        let Ok(mut both) = Open::bind("[::]:0".parse().unwrap()) else { return };
        let four = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        both.send(four.local_addr().unwrap(), b"hello").unwrap();
        both.udp.writable().await.unwrap();
        both.flush();
        let mut buf = [0; 16];
        let (len, from) = four.recv_from(&mut buf).await.unwrap();
        assert_eq!((&buf[..len], from.port()), (&b"hello"[..], both.local.port()));
        four.send_to(b"hi", from).await.unwrap();
        let (_, from) = both.udp.recv_from(&mut buf).await.unwrap();
        assert_eq!(canonical(from), four.local_addr().unwrap());
    }

    #[tokio::test]
    async fn the_other_family_is_unreachable_not_a_panic() {
        let mut four = Open::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = four.send("[::1]:9".parse().unwrap(), b"x").unwrap_err();
        assert_eq!(net_error(&error), NetError::Unreachable);
    }

    #[tokio::test]
    async fn nobody_there_is_refused() {
        let local = "127.0.0.1:0".parse().ok();
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert_eq!(net_error(&connect(local, gone).await.unwrap_err()), NetError::Refused);
    }

    #[tokio::test]
    async fn a_blocked_socket_keeps_some_and_drops_the_rest() {
        let mut sockets = Open::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let sink = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let to = sink.local_addr().unwrap();
        sockets.backlog.push_back((to, b"kept".to_vec()));
        for _ in 0..2 * BACKLOG {
            sockets.send(to, b"later").unwrap();
        }
        assert_eq!(sockets.backlog.len(), BACKLOG);
        sockets.udp.writable().await.unwrap();
        sockets.flush();
        assert!(sockets.backlog.is_empty());
        let mut buf = [0; 16];
        assert_eq!(sink.recv(&mut buf).await.unwrap(), 4, "the oldest goes first");
    }
}
