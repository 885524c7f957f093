//! What happens on streams: they are accepted and opened, bring packets, take too long, and end.

use core::net::SocketAddr;

use super::streams::StreamOwner;
use super::{Endpoint, Reason, Timer};
use crate::carrier::Reassembler;
use crate::config::Class;
use crate::door::{self, Source};
use crate::endpoint::{IndexOwner, Shared};
use crate::io::{Action, NetError, StreamId};
use crate::session::{Session, Via};
use crate::time::Time;
use crate::wire::packet::{self, MAX_STREAM_PACKET, Packet};

impl Endpoint {
    /// The driver accepted a stream from `from`. `None`: refused, close it.
    pub fn stream_accepted(&mut self, now: Time, from: SocketAddr) -> Option<StreamId> {
        let now = self.clamp(now);
        if self.shared.config.class == Class::Anonymous {
            return None;
        }
        // Who it is, the handshake will tell. Until then a source may have its share of the places.
        let source = Source::of(from.ip());
        self.make_room_for_stream(source);
        let deadline = now + self.shared.config.limits.handshake_deadline;
        let stream = self.shared.accept_stream(now, source);
        self.agenda.set(Timer::Stream(stream), Some(deadline), Reason::HalfOpen);
        Some(stream)
    }

    /// Closes what is in the way of one more stream from this source.
    pub(super) fn make_room_for_stream(&mut self, source: Source) {
        let limits = &self.shared.config.limits;
        let (most, of_source) = (limits.unproven_streams, limits.unproven_streams_per_source);
        while let Some(stream) = self.shared.streams.unproven_in_the_way(source, most, of_source) {
            door::count(&mut self.door.turned_away.streams_evicted);
            self.drop_unproven(stream);
        }
    }

    pub(super) fn on_stream_opened(&mut self, now: Time, stream: StreamId) {
        self.shared.streams.opened(stream);
        match self.shared.streams.owner(stream) {
            Some(StreamOwner::Dialled(id)) => {
                self.with_session(now, id, |session, shared| session.on_stream_opened(now, shared, stream));
            }
            Some(StreamOwner::Sam) => self.on_sam_opened(now, stream),
            Some(StreamOwner::Closing) => self.shared.close_stream(stream),
            _ => {}
        }
    }

    pub(super) fn on_stream_data(&mut self, now: Time, stream: StreamId, data: &mut [u8]) {
        if self.shared.streams.owner(stream) == Some(StreamOwner::Sam) {
            return self.on_sam_data(now, stream, data);
        }
        // Out of the table while its packets are handled, as they may close it.
        let Some(mut reassembler) = self.shared.streams.take_input(stream) else { return };
        let Some(completed) = self.take_packets(now, stream, &mut reassembler, data) else {
            return self.drop_stream(now, stream);
        };
        let partial = reassembler.is_partial();
        self.shared.streams.put_input(stream, reassembler);
        if self.is_proven(stream) && self.shared.streams.stands(now, stream, partial, completed) {
            let deadline = now + self.shared.config.limits.frame_deadline;
            self.agenda.set(Timer::Stream(stream), Some(deadline), Reason::Partial);
        }
    }

    fn is_proven(&self, stream: StreamId) -> bool {
        matches!(self.shared.streams.owner(stream), Some(StreamOwner::Path(..)))
    }

    /// Returns whether a packet was complete; `None` when the stream may not go on.
    fn take_packets(
        &mut self,
        now: Time,
        stream: StreamId,
        reassembler: &mut Reassembler,
        data: &mut [u8],
    ) -> Option<bool> {
        let mut proven = self.is_proven(stream);
        let mut completed = false;
        let mut input = reassembler.feed(data);
        while let Some(packet) = input.next_packet().ok()? {
            completed = true;
            if !self.on_stream_packet(now, stream, packet) {
                return None;
            }
            if !proven && self.is_proven(stream) {
                proven = true;
                input.allow(MAX_STREAM_PACKET);
            }
        }
        Some(completed)
    }

    /// Returns whether the stream may go on.
    fn on_stream_packet(&mut self, now: Time, stream: StreamId, data: &mut [u8]) -> bool {
        let streams = &self.shared.streams;
        let (Some(owner), Some(transport)) = (streams.owner(stream), streams.transport(stream)) else { return false };
        match (owner, packet::parse(data)) {
            (StreamOwner::Unproven, Ok(Packet::Init(init))) => {
                self.agenda.set(Timer::Stream(stream), None, Reason::HalfOpen);
                self.on_init(now, Via::Stream(stream), transport, &init)
            }
            (StreamOwner::Dialled(_), Ok(Packet::Resp(resp))) => self.on_resp(now, &resp, Some(stream)),
            (StreamOwner::HalfOpen(index), Ok(Packet::Data { receiver })) if index == receiver => {
                self.on_first_packet(now, index, None, data);
                true
            }
            (StreamOwner::Path(id), Ok(Packet::Data { receiver })) => {
                match self.shared.indices.get(&receiver) {
                    Some(IndexOwner::Path(owner)) if *owner == id => {
                        let here = |session: &mut Session, shared: &mut Shared| {
                            let here = session.is_stream_path(receiver, stream);
                            if here {
                                session.on_packet(now, shared, receiver, None, data);
                            }
                            here
                        };
                        return self.with_session(now, id, here).unwrap_or(false);
                    }
                    Some(IndexOwner::HalfOpen) if self.half_open.get(receiver).is_some_and(|it| it.is_on(stream)) => {
                        self.on_first_packet(now, receiver, None, data);
                    }
                    Some(_) => return false,
                    // Of an epoch that was renewed: its last packets may come after we let go of it.
                    None => {}
                }
                true
            }
            (StreamOwner::Path(_), Ok(Packet::Init(init))) => self.on_init(now, Via::Stream(stream), transport, &init),
            (StreamOwner::Path(_), Ok(Packet::Resp(resp))) => {
                // A renewal that we have given up may be answered late.
                !self.shared.indices.contains_key(&resp.receiver) || self.on_resp(now, &resp, Some(stream))
            }
            (StreamOwner::Closing, _) => true,
            (owner, _) => {
                if owner == StreamOwner::Unproven {
                    door::count(&mut self.door.turned_away.malformed);
                }
                false
            }
        }
    }

    pub(super) fn on_stream_closed(&mut self, now: Time, stream: StreamId, error: Option<NetError>) {
        self.agenda.set(Timer::Stream(stream), None, Reason::HalfOpen);
        let heard = self.shared.streams.heard(stream);
        let owner = self.shared.streams.remove(stream);
        self.orphan(now, stream, owner, error, heard);
    }

    /// We close a stream for what came on it.
    pub(super) fn drop_stream(&mut self, now: Time, stream: StreamId) {
        self.agenda.set(Timer::Stream(stream), None, Reason::HalfOpen);
        let heard = self.shared.streams.heard(stream);
        if let Some(owner) = self.shared.streams.remove(stream) {
            self.shared.act(Action::CloseStream { stream });
            self.orphan(now, stream, Some(owner), None, heard);
        }
    }

    /// Tells the owner of a stream that it is gone.
    fn orphan(
        &mut self,
        now: Time,
        stream: StreamId,
        owner: Option<StreamOwner>,
        error: Option<NetError>,
        heard: bool,
    ) {
        match owner {
            Some(StreamOwner::HalfOpen(index)) => self.drop_half_open(index),
            Some(StreamOwner::Dialled(id)) => {
                self.with_session(now, id, |session, shared| {
                    session.on_dialled_stream_closed(now, shared, stream, error, heard);
                });
            }
            Some(StreamOwner::Path(id)) => {
                self.drop_half_opens_on(stream);
                self.with_session(now, id, |session, shared| session.on_stream_lost(now, shared, stream));
            }
            Some(StreamOwner::Sam) => self.on_sam_ended(now, stream),
            Some(StreamOwner::Unproven | StreamOwner::Closing) | None => {}
        }
    }

    /// A stream took too long: for its handshake, or for the rest of a packet.
    pub(super) fn on_stream_timer(&mut self, now: Time, stream: StreamId) {
        if self.is_proven(stream) {
            let patience = self.shared.config.limits.frame_deadline;
            match self.shared.streams.overdue(stream, patience) {
                Some(at) if at > now => self.agenda.set(Timer::Stream(stream), Some(at), Reason::Partial),
                Some(_) => {
                    door::count(&mut self.door.turned_away.streams_too_slow);
                    self.drop_stream(now, stream);
                }
                None => {}
            }
        } else if matches!(self.shared.streams.owner(stream), Some(StreamOwner::Unproven)) {
            door::count(&mut self.door.turned_away.streams_too_slow);
            self.drop_unproven(stream);
        }
    }

    /// An accepted stream took too long, or must make room.
    pub(super) fn drop_unproven(&mut self, stream: StreamId) {
        self.agenda.set(Timer::Stream(stream), None, Reason::HalfOpen);
        match self.shared.streams.owner(stream) {
            Some(StreamOwner::HalfOpen(index)) => self.drop_half_open(index),
            Some(StreamOwner::Unproven) => self.shared.close_stream(stream),
            _ => {}
        }
    }

    /// The driver took bytes of a stream: its owner may have more.
    pub(super) fn wake_owner(&mut self, now: Time, stream: StreamId) {
        if let Some(StreamOwner::Path(id)) = self.shared.streams.owner(stream) {
            self.settle(now, id);
        }
    }
}
