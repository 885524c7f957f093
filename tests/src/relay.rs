//! A network that can be made to fail: forwards UDP and TCP on one port, and knows bytes and
//! sockets alone.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// How traffic of one kind passes, by direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// To the target.
    pub up: bool,
    /// Back to whoever reached out.
    pub down: bool,
}

impl Flow {
    /// Everything passes.
    pub const OPEN: Self = Self { up: true, down: true };
    /// Nothing passes, and nobody is told.
    pub const SILENT: Self = Self { up: false, down: false };
}

/// What the network does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weather {
    /// Datagrams: what does not pass is lost.
    pub udp: Flow,
    /// Streams: what does not pass waits, as it does with a sender that retransmits. A new
    /// connection hangs.
    pub tcp: Flow,
    /// The most bytes of a stream that are passed on at once, through buffers as small as the
    /// system makes them.
    pub piece: usize,
}

impl Weather {
    /// Everything passes.
    pub const FAIR: Self = Self { udp: Flow::OPEN, tcp: Flow::OPEN, piece: 1 << 16 };
    /// Nothing passes.
    pub const DEAD: Self = Self { udp: Flow::SILENT, tcp: Flow::SILENT, ..Self::FAIR };
}

struct Net {
    weather: watch::Receiver<Weather>,
    target: watch::Receiver<SocketAddr>,
    /// Raised to reset every stream.
    resets: watch::Receiver<u64>,
    streams: watch::Sender<usize>,
    dropped: AtomicU64,
}

/// A relay in front of one target. Ends, with all its connections, when it is dropped.
pub struct Relay {
    addr: SocketAddr,
    weather: watch::Sender<Weather>,
    target: watch::Sender<SocketAddr>,
    resets: watch::Sender<u64>,
    net: Arc<Net>,
    task: AbortHandle,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    /// Listens on `addr`, on UDP and TCP, and forwards to `target`.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub async fn bind(addr: SocketAddr, target: SocketAddr) -> io::Result<Self> {
        let (udp, tcp) = bind(addr).await?;
        let addr = udp.local_addr()?;
        let (weather, weather_seen) = watch::channel(Weather::FAIR);
        let (target, target_seen) = watch::channel(target);
        let (resets, resets_seen) = watch::channel(0);
        let net = Arc::new(Net {
            weather: weather_seen,
            target: target_seen,
            resets: resets_seen,
            streams: watch::channel(0).0,
            dropped: AtomicU64::new(0),
        });
        let task = tokio::spawn(run(Arc::clone(&net), Arc::new(udp), tcp)).abort_handle();
        Ok(Self { addr, weather, target, resets, net, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Changes the weather, for connections that exist as well.
    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Forwards to another address from now on; connections that exist stay where they are.
    pub fn retarget(&self, target: SocketAddr) {
        self.target.send_replace(target);
    }

    /// Resets every stream, on both sides.
    pub fn reset_streams(&self) {
        self.resets.send_modify(|count| *count += 1);
    }

    /// How many streams pass through it, as it changes.
    #[must_use]
    pub fn streams(&self) -> watch::Receiver<usize> {
        self.net.streams.subscribe()
    }

    /// Datagrams that did not pass.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.net.dropped.load(Ordering::Relaxed)
    }
}

/// UDP and TCP on one port; on port 0, one that is free for both.
async fn bind(addr: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut tries = 16;
    loop {
        let udp = UdpSocket::bind(addr).await?;
        match TcpListener::bind(udp.local_addr()?).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if tries == 0 || addr.port() != 0 => return Err(error),
            Err(_) => tries -= 1,
        }
    }
}

async fn run(net: Arc<Net>, udp: Arc<UdpSocket>, tcp: TcpListener) {
    let mut tasks = JoinSet::new();
    let mut clients: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut buf = vec![0; 65_536];
    loop {
        tokio::select! {
            received = udp.recv_from(&mut buf) => {
                let Ok((len, from)) = received else { continue };
                if !net.weather.borrow().udp.up {
                    net.dropped.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                let onward = match clients.get(&from) {
                    Some(onward) => Arc::clone(onward),
                    None => {
                        let Ok(onward) = UdpSocket::bind((udp.local_addr().map_or(from.ip(), |a| a.ip()), 0)).await
                            else { continue };
                        let onward = Arc::new(onward);
                        clients.insert(from, Arc::clone(&onward));
                        tasks.spawn(back(Arc::clone(&net), Arc::clone(&udp), Arc::clone(&onward), from));
                        onward
                    }
                };
                let target = *net.target.borrow();
                let _ = onward.send_to(&buf[..len], target).await;
            }
            accepted = tcp.accept() => {
                if let Ok((near, _)) = accepted {
                    tasks.spawn(stream(Arc::clone(&net), near));
                }
            }
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// Datagrams from the target to one client.
async fn back(net: Arc<Net>, udp: Arc<UdpSocket>, onward: Arc<UdpSocket>, client: SocketAddr) {
    let mut buf = vec![0; 65_536];
    loop {
        let Ok(len) = onward.recv(&mut buf).await else { continue };
        if net.weather.borrow().udp.down {
            let _ = udp.send_to(&buf[..len], client).await;
        } else {
            net.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Counts a stream for as long as it lives.
struct Counted(Arc<Net>);

impl Counted {
    fn new(net: &Arc<Net>) -> Self {
        net.streams.send_modify(|count| *count += 1);
        Self(Arc::clone(net))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.streams.send_modify(|count| *count -= 1);
    }
}

async fn stream(net: Arc<Net>, near: TcpStream) {
    let _counted = Counted::new(&net);
    let mut resets = net.resets.clone();
    resets.mark_unchanged();
    let mut held = Vec::new();
    let far = tokio::select! {
        far = reach(&net, &near) => far,
        // A client that gives up while it waits is let go of.
        () = hold(&near, &mut held) => return,
        _ = resets.changed() => return reset(&near),
    };
    let Ok(far) = far else { return reset(&near) };
    let both = async {
        let (up, down) = (|flow: Flow| flow.up, |flow: Flow| flow.down);
        write(&far, &held).await?;
        tokio::try_join!(pump(&net, &near, &far, up), pump(&net, &far, &near, down))
    };
    let broken = tokio::select! {
        done = both => done.is_err(),
        _ = resets.changed() => true,
    };
    if broken {
        reset(&near);
        reset(&far);
    }
}

async fn reach(net: &Net, near: &TcpStream) -> io::Result<TcpStream> {
    passing(net, |flow| flow.up && flow.down).await;
    let piece = net.weather.borrow().piece;
    let target = *net.target.borrow();
    let socket = if target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if piece < Weather::FAIR.piece {
        let near = socket2::SockRef::from(near);
        near.set_recv_buffer_size(1)?;
        near.set_send_buffer_size(1)?;
        socket.set_recv_buffer_size(1)?;
        socket.set_send_buffer_size(1)?;
    }
    socket.connect(target).await
}

/// Takes what the client says while it is not connected yet. Returns when it is gone.
async fn hold(near: &TcpStream, held: &mut Vec<u8>) {
    let mut buf = vec![0; Weather::FAIR.piece];
    while held.len() < Weather::FAIR.piece && near.readable().await.is_ok() {
        match near.try_read(&mut buf) {
            Ok(0) => return,
            Ok(len) => held.extend_from_slice(&buf[..len]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
    core::future::pending::<()>().await;
}

/// Waits until streams pass in the direction that `way` picks.
async fn passing(net: &Net, way: impl Fn(Flow) -> bool) {
    let mut weather = net.weather.clone();
    if weather.wait_for(|weather| way(weather.tcp)).await.is_err() {
        core::future::pending::<()>().await;
    }
}

async fn pump(net: &Net, from: &TcpStream, to: &TcpStream, way: impl Fn(Flow) -> bool) -> io::Result<()> {
    let mut buf = vec![0; Weather::FAIR.piece];
    loop {
        passing(net, &way).await;
        from.readable().await?;
        // The link may have died while there was nothing to read.
        passing(net, &way).await;
        let piece = net.weather.borrow().piece.clamp(1, buf.len());
        let len = match from.try_read(&mut buf[..piece]) {
            Ok(0) => return shut_down(to),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            result => result?,
        };
        write(to, &buf[..len]).await?;
    }
}

async fn write(to: &TcpStream, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        to.writable().await?;
        match to.try_write(data) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => data = &data[result?..],
        }
    }
    Ok(())
}

fn shut_down(stream: &TcpStream) -> io::Result<()> {
    socket2::SockRef::from(stream).shutdown(std::net::Shutdown::Write)
}

/// Makes the coming close a reset.
fn reset(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(core::time::Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn arrange() -> (Relay, UdpSocket, TcpListener) {
        let (udp, tcp) = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let relay = Relay::bind("127.0.0.1:0".parse().unwrap(), udp.local_addr().unwrap()).await.unwrap();
        (relay, udp, tcp)
    }

    async fn read(stream: &TcpStream, len: usize) -> io::Result<Vec<u8>> {
        let mut got = Vec::new();
        let mut buf = [0; 1024];
        while got.len() < len {
            stream.readable().await?;
            match stream.try_read(&mut buf) {
                Ok(0) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => got.extend_from_slice(&buf[..result?]),
            }
        }
        Ok(got)
    }

    #[tokio::test]
    async fn datagrams_pass_both_ways_or_are_dropped() {
        let (relay, target, _tcp) = arrange().await;
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut buf = [0; 16];
        relay.set(Weather { udp: Flow::SILENT, ..Weather::FAIR });
        client.send_to(b"lost", relay.addr()).await.unwrap();
        while relay.dropped() == 0 {
            tokio::task::yield_now().await;
        }
        relay.set(Weather::FAIR);
        client.send_to(b"ping", relay.addr()).await.unwrap();
        let (len, from) = target.recv_from(&mut buf).await.unwrap();
        assert_eq!(&buf[..len], b"ping");
        target.send_to(b"pong", from).await.unwrap();
        let (len, from) = client.recv_from(&mut buf).await.unwrap();
        assert_eq!((&buf[..len], from), (&b"pong"[..], relay.addr()));
    }

    #[tokio::test]
    async fn a_stream_hangs_while_the_link_is_dead_and_goes_on_afterwards() {
        let (relay, _udp, target) = arrange().await;
        relay.set(Weather { tcp: Flow::SILENT, ..Weather::FAIR });
        let near = TcpStream::connect(relay.addr()).await.unwrap();
        write(&near, b"early").await.unwrap();
        let mut streams = relay.streams();
        streams.wait_for(|count| *count == 1).await.unwrap();
        relay.set(Weather { piece: 3, ..Weather::FAIR });
        let far = target.accept().await.unwrap().0;
        assert_eq!(read(&far, 5).await.unwrap(), b"early");
        relay.set(Weather { tcp: Flow { up: true, down: false }, ..Weather::FAIR });
        write(&near, b"up").await.unwrap();
        assert_eq!(read(&far, 2).await.unwrap(), b"up");
        relay.set(Weather::FAIR);
        write(&far, b"down").await.unwrap();
        assert_eq!(read(&near, 4).await.unwrap(), b"down");
        drop((near, far));
        streams.wait_for(|count| *count == 0).await.unwrap();
    }

    #[tokio::test]
    async fn a_reset_is_a_reset_on_both_sides() {
        let (relay, _udp, target) = arrange().await;
        let near = TcpStream::connect(relay.addr()).await.unwrap();
        let far = target.accept().await.unwrap().0;
        // The relay holds both ends for sure once a byte went through.
        write(&near, b"!").await.unwrap();
        assert_eq!(read(&far, 1).await.unwrap(), b"!");
        relay.reset_streams();
        for stream in [near, far] {
            assert_eq!(read(&stream, 1).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        }
    }

    #[tokio::test]
    async fn a_client_that_gives_up_while_it_waits_is_let_go_of() {
        let (relay, _udp, _target) = arrange().await;
        relay.set(Weather::DEAD);
        let near = TcpStream::connect(relay.addr()).await.unwrap();
        write(&near, b"hello").await.unwrap();
        let mut streams = relay.streams();
        streams.wait_for(|count| *count == 1).await.unwrap();
        drop(near);
        streams.wait_for(|count| *count == 0).await.unwrap();
    }
}
