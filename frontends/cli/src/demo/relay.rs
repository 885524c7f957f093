//! A relay for UDP and TCP on one port. It knows bytes and sockets alone, and can be made to fail:
//! a shut gate drops datagrams in silence, and holds stream bytes as a dead link does, whose ends go
//! on sending them again until it is back.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Larger than any datagram or segment that passes.
const BUFFER: usize = 16 * 1024;
/// How often a port that is free for both UDP and TCP is looked for.
const TRIES: usize = 32;

/// What the relay lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gate {
    pub(super) udp: bool,
    pub(super) tcp: bool,
}

impl Gate {
    pub(super) const OPEN: Self = Self { udp: true, tcp: true };
    pub(super) const NO_UDP: Self = Self { udp: false, tcp: true };
    pub(super) const SHUT: Self = Self { udp: false, tcp: false };
}

/// Stops when dropped.
pub(super) struct Relay {
    address: SocketAddr,
    gate: Arc<watch::Sender<Gate>>,
    tasks: [JoinHandle<()>; 2],
}

impl Relay {
    /// Passes everything between whoever comes and `target`, as the gate allows.
    pub(super) async fn start(target: SocketAddr, gate: Gate) -> io::Result<Self> {
        let (udp, tcp) = one_port().await?;
        let address = udp.local_addr()?;
        let gate = Arc::new(watch::Sender::new(gate));
        let tasks = [
            tokio::spawn(relay_udp(Arc::new(udp), target, gate.subscribe())),
            tokio::spawn(relay_tcp(tcp, target, gate.subscribe())),
        ];
        Ok(Self { address, gate, tasks })
    }

    /// Where peers send to in place of the target.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn set(&self, gate: Gate) {
        self.gate.send_replace(gate);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn one_port() -> io::Result<(UdpSocket, TcpListener)> {
    let mut last = None;
    for _ in 0..TRIES {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        match UdpSocket::bind(tcp.local_addr()?).await {
            Ok(udp) => return Ok((udp, tcp)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}

/// Every source address gets a socket of its own towards the target, as behind a NAT.
async fn relay_udp(front: Arc<UdpSocket>, target: SocketAddr, gate: watch::Receiver<Gate>) {
    let mut backs: BTreeMap<SocketAddr, Arc<UdpSocket>> = BTreeMap::new();
    let mut answers = JoinSet::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        // An error here is about a datagram sent before, which is lost.
        let Ok((len, from)) = front.recv_from(&mut buffer).await else { continue };
        if !gate.borrow().udp {
            continue;
        }
        let back = match backs.get(&from) {
            Some(back) => Arc::clone(back),
            None => {
                let Ok(back) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await else { continue };
                if back.connect(target).await.is_err() {
                    continue;
                }
                let back = Arc::new(back);
                answers.spawn(answer_udp(Arc::clone(&front), Arc::clone(&back), from, gate.clone()));
                backs.insert(from, Arc::clone(&back));
                back
            }
        };
        // What the system does not take is lost, as on any network.
        let _ = back.send(&buffer[..len]).await;
    }
}

async fn answer_udp(front: Arc<UdpSocket>, back: Arc<UdpSocket>, to: SocketAddr, gate: watch::Receiver<Gate>) {
    let mut buffer = vec![0; BUFFER];
    loop {
        let Ok(len) = back.recv(&mut buffer).await else { continue };
        if gate.borrow().udp {
            let _ = front.send_to(&buffer[..len], to).await;
        }
    }
}

async fn relay_tcp(listener: TcpListener, target: SocketAddr, gate: watch::Receiver<Gate>) {
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            Ok((front, _)) = listener.accept() => {
                streams.spawn(relay_stream(front, target, gate.clone()));
            }
            Some(_) = streams.join_next() => {}
        }
    }
}

async fn relay_stream(front: TcpStream, target: SocketAddr, mut gate: watch::Receiver<Gate>) {
    if gate.wait_for(|gate| gate.tcp).await.is_err() {
        return;
    }
    let Ok(back) = TcpStream::connect(target).await else { return };
    // Small packets are not to wait for each other in the relay.
    let _ = (front.set_nodelay(true), back.set_nodelay(true));
    let ((front_in, front_out), (back_in, back_out)) = (front.into_split(), back.into_split());
    tokio::join!(pump(front_in, back_out, gate.clone()), pump(back_in, front_out, gate));
}

/// Carries one direction to its end.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut gate: watch::Receiver<Gate>) {
    let mut buffer = vec![0; BUFFER];
    loop {
        let Ok(len) = from.read(&mut buffer).await else { return };
        if gate.wait_for(|gate| gate.tcp).await.is_err() {
            return;
        }
        if len == 0 {
            let _ = to.shutdown().await;
            return;
        }
        if to.write_all(&buffer[..len]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo() -> SocketAddr {
        let (udp, tcp) = one_port().await.unwrap();
        let address = udp.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 64];
            while let Ok((len, from)) = udp.recv_from(&mut buffer).await {
                udp.send_to(&buffer[..len], from).await.unwrap();
            }
        });
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await.unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn datagrams_pass_and_are_dropped() {
        let relay = Relay::start(echo().await, Gate::OPEN).await.unwrap();
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        socket.connect(relay.address()).await.unwrap();
        let mut buffer = [0; 64];
        socket.send(b"one").await.unwrap();
        assert_eq!(socket.recv(&mut buffer).await.unwrap(), 3);
        assert_eq!(&buffer[..3], b"one");
    }

    #[tokio::test]
    async fn a_stream_is_held_while_the_gate_is_shut_and_then_goes_on() {
        let relay = Relay::start(echo().await, Gate::SHUT).await.unwrap();
        let mut stream = TcpStream::connect(relay.address()).await.unwrap();
        stream.write_all(b"held").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut back = Vec::new();
        relay.set(Gate::NO_UDP);
        stream.read_to_end(&mut back).await.unwrap();
        assert_eq!(back, b"held");
    }
}
