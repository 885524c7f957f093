//! Taking packets apart. Nothing happens before the tag is checked, and nothing a peer says can
//! do more than end its own session.

use core::net::SocketAddr;

use super::address::Heard;
use super::{Life, Liveness, Session, Via};
use crate::code::Code;
use crate::config::MAX_PATHS;
use crate::endpoint::Shared;
use crate::recovery::Fate;
use crate::seal::OpenError;
use crate::sent::SentFrame;
use crate::time::Time;
use crate::update::UpdateKind;
use crate::wire::frame::{AckRanges, Frame, Frames};

/// ACK frames of one packet that are acted on: one for each path that there can be. Each may cost
/// a walk over all that is in flight.
const MAX_ACKS: usize = MAX_PATHS;

impl Session {
    /// A DATA packet for one of our paths. A bad one is dropped in silence, or, on a stream, ends
    /// the stream: nothing after it could be opened.
    ///
    /// `from` is where a datagram came from; a stream has one address for its whole life.
    pub(crate) fn on_packet(
        &mut self,
        now: Time,
        shared: &mut Shared,
        index: u32,
        from: Option<SocketAddr>,
        packet: &mut [u8],
    ) {
        let len = packet.len();
        let Some(path) = self.paths.get_mut(&index) else { return };
        let via = path.via;
        let opened = match path.keys.opener(now).map_or(Err(OpenError::Retired), |opener| opener.open(packet)) {
            Ok(opened) => opened,
            Err(error) => {
                shared.refused.count(error);
                match via {
                    Via::Stream(stream) => self.on_stream_lost(now, shared, stream),
                    Via::Udp(_) => self.on_forgery(index),
                }
                return;
            }
        };
        let heard = from.map(|from| Heard { from, len, newest: opened.newest });
        self.on_plaintext(now, shared, index, opened.number, heard, opened.plaintext);
    }

    /// The contents of an authentic packet.
    pub(crate) fn on_plaintext(
        &mut self,
        now: Time,
        shared: &mut Shared,
        index: u32,
        number: u64,
        heard: Option<Heard>,
        plaintext: &[u8],
    ) {
        if let Some(heard) = heard.filter(|_| !self.is_over())
            && let Some(path) = self.paths.get_mut(&index)
        {
            path.heard(now, heard, &mut shared.random);
        }
        let from = heard.map(|heard| heard.from);
        let readable = self.channels.readable();
        let mut ack_eliciting = false;
        let mut acks = 0;
        for frame in Frames::new(plaintext) {
            let result = match frame {
                Ok(frame) => {
                    ack_eliciting |= frame.is_ack_eliciting();
                    acks += usize::from(matches!(frame, Frame::Ack { .. }));
                    if acks > MAX_ACKS && matches!(frame, Frame::Ack { .. }) {
                        continue;
                    }
                    self.on_frame(now, shared, index, from, frame)
                }
                Err(_) => Err(Code::Protocol),
            };
            match result {
                Err(code) if !self.is_over() => return self.fail(now, shared, code),
                Err(_) => return,
                Ok(()) if matches!(self.life, Life::Gone) => return,
                Ok(()) => {}
            }
        }
        if self.is_over() {
            return;
        }
        if let Some(path) = self.paths.get_mut(&index) {
            path.acks.on_received(now, number, ack_eliciting);
        }
        if !readable && self.channels.readable() {
            self.emit(shared, UpdateKind::Message);
        }
        self.emit_outcomes(shared);
        self.flush(now);
    }

    fn on_frame(
        &mut self,
        now: Time,
        shared: &mut Shared,
        index: u32,
        from: Option<SocketAddr>,
        frame: Frame<'_>,
    ) -> Result<(), Code> {
        if self.is_over() {
            // Only a repeated CLOSE is still answered.
            if matches!(frame, Frame::Close { .. }) {
                self.close_ack_due = Some(index);
            }
            return Ok(());
        }
        match frame {
            Frame::Pad | Frame::Ping => {}
            Frame::Confirm => {
                // Only the side that began a handshake confirms it.
                if self.paths.get(&index).is_some_and(|path| path.initiator) {
                    return Err(Code::Protocol);
                }
            }
            Frame::Ack { epoch, delay_us, ranges } => self.on_ack(now, shared, epoch, delay_us, &ranges)?,
            Frame::ChannelAck { channel, received, taken } => {
                self.channels.on_channel_ack(channel, received, taken).map_err(|error| error.code())?;
            }
            Frame::Credit { scope, offset } => self.channels.on_credit(scope, offset),
            Frame::Stream { channel, offset, data } => {
                self.upgrade.traffic = true;
                self.channels.on_stream(channel, offset, data).map_err(|error| error.code())?;
            }
            // No feature that allows it was agreed on.
            Frame::Datagram { .. } => return Err(Code::Protocol),
            Frame::Challenge(bytes) => {
                if let Some(path) = self.paths.get_mut(&index) {
                    path.response_due = Some(bytes);
                }
            }
            // An answer to nothing says nothing.
            Frame::Response(bytes) => {
                if let (Some(path), Some(from)) = (self.paths.get_mut(&index), from) {
                    let before = path.via;
                    path.answered(now, from, bytes);
                    let after = path.via;
                    if after != before {
                        shared.whereabouts.went(self.id, before);
                        shared.whereabouts.came(self.id, after);
                        self.renewals_follow(index, after);
                    }
                }
            }
            Frame::UsePath { switch_no, epoch } => self.on_use_path(now, shared, switch_no, epoch),
            Frame::PathClose { epoch, code } => {
                self.close_path(now, shared, epoch, Code::from_number(code), false);
            }
            Frame::Close { code, finals, reason } => {
                self.on_close(now, shared, index, Code::from_number(code), &finals, reason);
            }
            Frame::CloseAck => self.on_close_ack(now, shared),
        }
        Ok(())
    }

    fn on_ack(
        &mut self,
        now: Time,
        shared: &mut Shared,
        epoch: u32,
        delay_us: u64,
        ranges: &AckRanges,
    ) -> Result<(), Code> {
        // A path that was closed meanwhile has had its losses declared.
        let Some(path) = self.paths.get_mut(&epoch) else { return Ok(()) };
        let mut fates = core::mem::take(&mut shared.fates);
        let delay = core::time::Duration::from_micros(delay_us);
        let result = path.recovery.on_ack(now, ranges, delay, &mut |frame, fate| fates.push((frame, fate)));
        let alive = result.as_ref().is_ok_and(|result| result.newly_acked);
        let revived = alive && path.liveness == Liveness::Suspect;
        if alive {
            path.liveness = Liveness::Alive;
            self.proof = now;
        }
        self.apply_fates(&mut fates, epoch);
        shared.fates = fates;
        if result.is_err() {
            return Err(Code::Protocol);
        }
        if revived {
            self.choose(now, shared);
        }
        if self.current == Some(epoch)
            && let Some(path) = self.paths.get_mut(&epoch)
        {
            let queued = self.channels.queued_bytes();
            if let Some(quality) = path.meter.sample(now, path.transport, &path.recovery, queued) {
                self.quality = Some(quality);
                self.emit(shared, UpdateKind::Quality(quality));
            }
        }
        Ok(())
    }

    /// What became of frames that were sent on a path.
    pub(super) fn apply_fates(&mut self, fates: &mut Vec<(SentFrame, Fate)>, index: u32) {
        for (frame, fate) in fates.drain(..) {
            if let Some(path) = self.paths.get_mut(&index) {
                match (frame, fate) {
                    (SentFrame::Confirm, Fate::Lost) => path.confirm_due = true,
                    (SentFrame::Ack { largest }, Fate::Acked) => path.acks.on_ack_acked(largest),
                    _ => {}
                }
            }
            match fate {
                Fate::Acked => self.frame_acked(frame),
                Fate::Lost => self.frame_lost(frame),
            }
        }
    }
}
