//! TCP streams, looked names up, and every other wait that is not for the endpoint's own sockets.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;

use burdock_core::{ResolveId, StreamId};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};

use crate::sockets;

/// How much is read away before a stream is closed, in bytes.
const UNREAD: usize = 1 << 20;

/// What was waited for.
pub(crate) enum Ready {
    Opened(StreamId, io::Result<TcpStream>),
    Readable(StreamId),
    Writable(StreamId),
    Resolved(ResolveId, Vec<SocketAddr>),
}

/// A wait that ends when it is dropped.
struct Wait(AbortHandle);

impl Drop for Wait {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Stream {
    /// `None` while it is being opened.
    socket: Option<Arc<TcpStream>>,
    /// For the opening, or for bytes to read.
    inbound: Option<Wait>,
    /// For room, after a short write.
    outbound: Option<Wait>,
}

/// The streams that the core knows. Bytes are read when the core has dealt with those before, so
/// what the peer sends beyond that stays in the system's buffer and holds the peer back.
#[derive(Default)]
pub(crate) struct Streams {
    open: HashMap<StreamId, Stream>,
    waits: JoinSet<Ready>,
}

impl Streams {
    /// The next wait that is over, `None` when there is none. Cancel safe.
    pub(crate) async fn ready(&mut self) -> Option<Ready> {
        loop {
            // An error is a wait that was given up.
            if let Ok(ready) = self.waits.join_next().await? {
                return Some(ready);
            }
        }
    }

    pub(crate) fn open(&mut self, id: StreamId, local: Option<SocketAddr>, to: SocketAddr) {
        let opening = self.waits.spawn(async move { Ready::Opened(id, sockets::connect(local, to).await) });
        self.open.insert(id, Stream { socket: None, inbound: Some(Wait(opening)), outbound: None });
    }

    pub(crate) fn resolve(&mut self, id: ResolveId, host: String, port: u16) {
        self.waits.spawn(async move {
            let found = tokio::net::lookup_host((host.as_str(), port)).await;
            Ready::Resolved(id, found.map(Iterator::collect).unwrap_or_default())
        });
    }

    pub(crate) fn contains(&self, id: StreamId) -> bool {
        self.open.contains_key(&id)
    }

    /// Takes over an open connection and waits for its first bytes.
    pub(crate) fn adopt(&mut self, id: StreamId, socket: TcpStream) {
        sockets::tune(&socket);
        self.open.insert(id, Stream { socket: Some(Arc::new(socket)), inbound: None, outbound: None });
        self.await_readable(id);
    }

    /// Reads what is there. `WouldBlock` when nothing is, or when the stream is no longer ours.
    pub(crate) fn read(&self, id: StreamId, buf: &mut [u8]) -> io::Result<usize> {
        self.socket(id).map_or_else(|| Err(io::ErrorKind::WouldBlock.into()), |socket| socket.try_read(buf))
    }

    /// Writes what the system takes, and waits for room when that is less than all.
    pub(crate) fn write(&mut self, id: StreamId, data: &[u8]) -> io::Result<usize> {
        let Some(socket) = self.socket(id).cloned() else { return Err(io::ErrorKind::NotConnected.into()) };
        let mut written = 0;
        while written < data.len() {
            match socket.try_write(&data[written..]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                result => written += result?,
            }
        }
        if written < data.len() {
            let wait = self.waits.spawn(async move {
                let _ = socket.writable().await;
                Ready::Writable(id)
            });
            if let Some(stream) = self.open.get_mut(&id) {
                stream.outbound = Some(Wait(wait));
            }
        }
        Ok(written)
    }

    pub(crate) fn await_readable(&mut self, id: StreamId) {
        let Some(socket) = self.socket(id).cloned() else { return };
        let wait = self.waits.spawn(async move {
            let _ = socket.readable().await;
            Ready::Readable(id)
        });
        if let Some(stream) = self.open.get_mut(&id) {
            stream.inbound = Some(Wait(wait));
        }
    }

    /// Lets go of a stream, opening or open. What was written still goes out.
    pub(crate) fn close(&mut self, id: StreamId) {
        let Some(socket) = self.open.remove(&id).and_then(|stream| stream.socket) else { return };
        let _ = SockRef::from(&*socket).shutdown(Shutdown::Write);
        // Closing a socket with unread bytes resets the connection, and the reset overtakes what
        // was written (RFC 2525 §2.17).
        let mut scratch = [0; 4096];
        let unread = (0..UNREAD / scratch.len()).take_while(|_| matches!(socket.try_read(&mut scratch), Ok(1..)));
        unread.for_each(drop);
    }

    /// Forgets a stream that has ended.
    pub(crate) fn forget(&mut self, id: StreamId) {
        self.open.remove(&id);
    }

    fn socket(&self, id: StreamId) -> Option<&Arc<TcpStream>> {
        self.open.get(&id)?.socket.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use burdock_core::StreamId;
    use serde::Deserialize;
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error, U64Deserializer};
    use tokio::net::TcpListener;

    use super::*;

    fn id(n: u64) -> StreamId {
        let from: U64Deserializer<Error> = n.into_deserializer();
        StreamId::deserialize(from).unwrap()
    }

    async fn pair(streams: &mut Streams) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        streams.open(id(1), "127.0.0.1:0".parse().ok(), to);
        let Some(Ready::Opened(_, Ok(socket))) = streams.ready().await else { panic!("not opened") };
        streams.adopt(id(1), socket);
        listener.accept().await.unwrap().0
    }

    #[tokio::test]
    async fn short_writes_are_counted_and_go_on_when_there_is_room() {
        let mut streams = Streams::default();
        let far = pair(&mut streams).await;
        let data = vec![7; 1 << 20];
        let (mut sent, mut got, mut short, mut buf) = (0, 0, 0, vec![0; 1 << 16]);
        while sent < 8 << 20 {
            let written = streams.write(id(1), &data).unwrap();
            sent += written;
            if written < data.len() {
                short += 1;
                while got < sent {
                    far.readable().await.unwrap();
                    got += far.try_read(&mut buf).unwrap_or_default();
                }
                assert!(matches!(streams.ready().await, Some(Ready::Writable(_))));
            }
        }
        assert!(short > 0, "a system buffer that takes everything proves nothing");
    }

    #[tokio::test]
    async fn closing_delivers_what_was_written_although_bytes_lie_unread() {
        let mut streams = Streams::default();
        let far = pair(&mut streams).await;
        far.writable().await.unwrap();
        far.try_write(b"never read").unwrap();
        assert!(matches!(streams.ready().await, Some(Ready::Readable(_))));
        assert_eq!(streams.write(id(1), b"last words").unwrap(), 10);
        streams.close(id(1));
        let mut buf = [0; 64];
        let mut len = 0;
        loop {
            far.readable().await.unwrap();
            match far.try_read(&mut buf[len..]) {
                Ok(0) => break,
                Ok(n) => len += n,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}"),
            }
        }
        assert_eq!(&buf[..len], b"last words");
        assert!(streams.ready().await.is_none(), "no wait is left behind");
    }

    #[tokio::test]
    async fn closing_an_opening_stream_leaves_nothing() {
        let mut streams = Streams::default();
        // TEST-NET-1 (RFC 5737): nobody answers, if there is a route at all.
        streams.open(id(1), None, "192.0.2.1:9".parse().unwrap());
        streams.close(id(1));
        assert!(!streams.contains(id(1)));
        assert!(streams.ready().await.is_none());
    }

    #[tokio::test]
    async fn an_address_resolves_to_itself() {
        let mut streams = Streams::default();
        let from: U64Deserializer<Error> = 9u64.into_deserializer();
        streams.resolve(ResolveId::deserialize(from).unwrap(), "127.0.0.1".into(), 80);
        let Some(Ready::Resolved(_, found)) = streams.ready().await else { panic!("no answer") };
        assert_eq!(found, ["127.0.0.1:80".parse().unwrap()]);
    }
}
