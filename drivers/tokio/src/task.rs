//! The one I/O task: events into the core, actions out of it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use burdock_core::{Action, Event, StreamId, Time};
use tokio::net::TcpStream;
use tracing::debug;

use crate::report::Report;
use crate::shared::{Phase, Shared};
use crate::sockets::{Sockets, canonical, net_error};
use crate::streams::{Ready, Streams};

/// Datagrams, or pieces of a stream, that are taken in one go before others have their turn.
const READS: usize = 64;
/// The largest UDP payload, and more than a stream usually has.
const INPUT: usize = 65_536;

pub(crate) struct Task {
    shared: Arc<Shared>,
    sockets: Sockets,
    streams: Streams,
    report: Report,
    /// What the core wants sent.
    output: Vec<u8>,
    /// What came in.
    input: Vec<u8>,
    /// Last, so that the sockets are closed when it speaks.
    _ended: Ended,
}

/// Whatever ends the task, the end of the runtime and a panic included: nobody waits in vain.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.stopped();
    }
}

impl Task {
    pub(crate) fn new(shared: Arc<Shared>, sockets: Sockets) -> Self {
        let _ended = Ended(Arc::clone(&shared));
        let (streams, report) = (Streams::default(), Report::default());
        Self { shared, sockets, streams, report, output: Vec::new(), input: vec![0; INPUT], _ended }
    }

    pub(crate) async fn run(mut self) {
        let mut sleep = std::pin::pin!(tokio::time::sleep(core::time::Duration::ZERO));
        let mut accept_failed = false;
        loop {
            let due = self.turn();
            self.report.tell(&self.shared);
            if self.shared.lock().phase >= Phase::Stopping {
                self.drain();
                return;
            }
            let wake_at = due.and_then(|due| self.shared.clock().instant(due));
            if let Some(at) = wake_at {
                sleep.as_mut().reset(at);
            }
            // A failed accept means that something is used up, most likely file descriptors. It is
            // tried again after something else has happened, not at once and for ever.
            let accepting = !core::mem::take(&mut accept_failed);
            tokio::select! {
                () = self.shared.work.notified() => {}
                () = &mut sleep, if wake_at.is_some() => {}
                ready = self.sockets.readable() => match ready {
                    Ok(()) => self.receive(),
                    Err(_) => return, // The runtime is going away.
                },
                () = self.sockets.writable() => self.flush(),
                Some(ready) = self.streams.ready() => self.ready(ready),
                accepted = self.sockets.accept(), if accepting => match accepted {
                    Ok((socket, from)) => self.accepted(socket, canonical(from)),
                    Err(error) => {
                        debug!(%error, "cannot accept");
                        accept_failed = true;
                    }
                },
            }
        }
    }

    /// Carries out what the core wants, ticks it if it is due, and says when it is due next.
    fn turn(&mut self) -> Option<Time> {
        self.drain();
        let now = self.shared.clock().now();
        let due = self.due()?;
        if due > now {
            return Some(due);
        }
        self.handle(Event::Tick);
        self.due()
    }

    fn due(&self) -> Option<Time> {
        self.shared.lock().core.poll_timeout().map(|(due, _)| due)
    }

    fn handle(&mut self, event: Event<'_>) {
        self.shared.handle(event);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(action) = self.shared.poll_action(&mut self.output) {
            match action {
                Action::Transmit { to, segment_size } => self.transmit(to, segment_size),
                Action::OpenStream { stream, to } => {
                    debug!(stream = stream.get(), %to, "opening");
                    self.streams.open(stream, self.sockets.local(), to);
                }
                Action::WriteStream { stream } => match self.streams.write(stream, &self.output) {
                    Ok(len) => self.shared.handle(Event::StreamWritten { stream, len }),
                    Err(error) => self.stream_ended(stream, Some(&error)),
                },
                Action::CloseStream { stream } => self.streams.close(stream),
                Action::Resolve { resolve, host, port } => self.streams.resolve(resolve, host, port),
                Action::Router { state } => self.shared.router_changed(&state),
                Action::Update { session, update } => self.shared.apply(session, update),
            }
        }
    }

    fn transmit(&mut self, to: SocketAddr, segment_size: Option<usize>) {
        let Some(sockets) = self.sockets.open_mut() else { return };
        let size = segment_size.unwrap_or(self.output.len()).max(1);
        for datagram in self.output.chunks(size) {
            if let Err(error) = sockets.send(to, datagram) {
                debug!(%to, %error, "cannot send");
                return self.shared.handle(Event::TransmitFailed { to, error: net_error(&error) });
            }
        }
    }

    fn flush(&mut self) {
        if let Some(sockets) = self.sockets.open_mut() {
            sockets.flush();
        }
    }

    fn receive(&mut self) {
        let mut input = core::mem::take(&mut self.input);
        for _ in 0..READS {
            let Some(sockets) = self.sockets.open() else { break };
            match sockets.udp.try_recv_from(&mut input) {
                Ok((len, from)) => self.handle(Event::Datagram { from: canonical(from), data: &mut input[..len] }),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Some systems report here that an earlier datagram was refused, without saying
                // which one.
                Err(_) => {}
            }
        }
        self.input = input;
    }

    fn accepted(&mut self, socket: TcpStream, from: SocketAddr) {
        debug!(%from, "stream came in");
        let stream = self.shared.call(|state, now| state.core.stream_accepted(now, from));
        if let Some(stream) = stream {
            self.streams.adopt(stream, socket);
        }
    }

    fn ready(&mut self, ready: Ready) {
        match ready {
            Ready::Opened(stream, _) | Ready::Writable(stream) if !self.streams.contains(stream) => {}
            Ready::Opened(stream, Ok(socket)) => {
                self.streams.adopt(stream, socket);
                self.handle(Event::StreamOpened { stream });
            }
            Ready::Opened(stream, Err(error)) => self.stream_ended(stream, Some(&error)),
            Ready::Writable(stream) => self.handle(Event::StreamWritable { stream }),
            Ready::Readable(stream) => self.read(stream),
            Ready::Resolved(resolve, addresses) => self.handle(Event::Resolved { resolve, addresses: &addresses }),
        }
    }

    fn read(&mut self, stream: StreamId) {
        let mut input = core::mem::take(&mut self.input);
        for _ in 0..READS {
            match self.streams.read(stream, &mut input) {
                Ok(0) => {
                    self.stream_ended(stream, None);
                    break;
                }
                Ok(len) => self.handle(Event::StreamData { stream, data: &mut input[..len] }),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.stream_ended(stream, Some(&error));
                    break;
                }
            }
        }
        self.input = input;
        self.streams.await_readable(stream);
    }

    fn stream_ended(&mut self, stream: StreamId, error: Option<&io::Error>) {
        self.streams.forget(stream);
        self.shared.handle(Event::StreamClosed { stream, error: error.map(net_error) });
    }
}
