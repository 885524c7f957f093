mod limits;
mod network;
mod work;

use proptest::prelude::*;

use super::assemble::Assembly;
use super::*;
use crate::wire::frame::{Frame, Frames};
use crate::wire::varint::Varint;
use network::{World, step};

const SEND_BUFFER: usize = 4000;
const PENDING: usize = 64;

/// Room for one message of `max_message` bytes at a time on each channel, `session` in all.
fn limits(max_message: u32, channel: u32, session: u32) -> Limits {
    Limits {
        max_message,
        channel_credit: channel,
        session_credit: session,
        send_buffer: SEND_BUFFER,
        pending_messages: PENDING,
        ..Limits::default()
    }
}

fn joined(limits: &Limits) -> Channels {
    let mut channels = Channels::new(limits);
    channels.set_peer_limits(limits.max_message, limits.session_credit, limits.channel_credit);
    channels
}

fn pair(limits: &Limits) -> (Channels, Channels) {
    (joined(limits), joined(limits))
}

/// The k-th message of a channel.
fn content(channel: u8, k: usize, len: usize) -> Bytes {
    (0..len).map(|i| (i as u8).wrapping_mul(7) ^ channel ^ (k as u8).wrapping_mul(31)).collect()
}

/// A message as it stands on its channel.
fn framed(data: &[u8]) -> Vec<u8> {
    [Varint::new(data.len() as u64).as_bytes(), data].concat()
}

fn packet(from: &mut Channels, max_len: usize) -> Option<(Vec<u8>, SentFrames)> {
    let (mut buf, mut sent) = (Vec::new(), SentFrames::new());
    from.write(&mut buf, max_len, &mut sent);
    assert!(buf.len() <= max_len);
    (!sent.is_empty()).then_some((buf, sent))
}

fn deliver(to: &mut Channels, bytes: &[u8]) -> Result<(), ChannelError> {
    for frame in Frames::new(bytes) {
        match frame.unwrap() {
            Frame::ChannelAck { channel, received, taken } => to.on_channel_ack(channel, received, taken)?,
            Frame::Credit { scope, offset } => to.on_credit(scope, offset),
            Frame::Stream { channel, offset, data } => to.on_stream(channel, offset, data)?,
            other => panic!("{other:?} was never written"),
        }
    }
    Ok(())
}

fn ack(to: &mut Channels, sent: SentFrames) {
    sent.into_iter().for_each(|frame| to.on_acked(frame));
}

fn lose(to: &mut Channels, sent: SentFrames) {
    sent.into_iter().for_each(|frame| to.on_lost(frame));
}

/// Carries everything both sides have to say, without loss.
fn exchange(a: &mut Channels, b: &mut Channels) {
    while a.wants_to_write() || b.wants_to_write() {
        while let Some((bytes, sent)) = packet(a, 1200) {
            deliver(b, &bytes).unwrap();
            ack(a, sent);
        }
        while let Some((bytes, sent)) = packet(b, 1200) {
            deliver(a, &bytes).unwrap();
            ack(b, sent);
        }
    }
}

fn take_all(channels: &mut Channels) -> Vec<Message> {
    let messages = core::iter::from_fn(|| channels.recv()).collect();
    channels.taken();
    messages
}

fn outcomes(channels: &mut Channels) -> Vec<(u64, Outcome)> {
    core::iter::from_fn(|| channels.poll_outcome()).map(|(id, outcome)| (id.0, outcome)).collect()
}

fn streams(sent: &SentFrames) -> Vec<(u8, u64, u32)> {
    let stream = |frame: &SentFrame| match *frame {
        SentFrame::Stream { channel, offset, len } => Some((channel, offset, len)),
        _ => None,
    };
    sent.iter().filter_map(stream).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    // Mutation: in `Outgoing::declare_lost`, `self.lost.insert(range.clone())` removed (nothing is
    // resent) makes this fail.
    #[test]
    fn c4_once_and_in_order_over_a_bad_network(
        channel_credit in 108u32..400,
        session_extra in 0u32..400,
        steps in prop::collection::vec(step(), 0..300),
    ) {
        let mut world = World::new(&limits(100, channel_credit, channel_credit + session_extra));
        for step in &steps {
            world.step(step);
        }
        world.heal();
    }

    // Mutation: in `Assembly::keep`, drop `piece.truncate(own)` makes this fail.
    #[test]
    fn c4_pieces_in_any_order_make_the_same_messages(
        lens in prop::collection::vec(prop_oneof![Just(0usize), 1usize..9, 60usize..300, 5000usize..9000], 1..8),
        pieces in prop::collection::vec((any::<prop::sample::Index>(), 1usize..2000), 0..60),
    ) {
        let messages: Vec<Bytes> = lens.iter().enumerate().map(|(k, len)| content(0, k, *len)).collect();
        let stream: Vec<u8> = messages.iter().flat_map(|message| framed(message)).collect();
        let (mut assembly, mut arrived) = (Assembly::default(), vec![false; stream.len()]);
        let mut got = Vec::new();
        let all = pieces.iter().map(|(at, len)| (at.index(stream.len()), *len)).chain([(0, stream.len())]);
        for (start, len) in all {
            let end = (start + len).min(stream.len());
            assembly.push(start as u64, &stream[start..end], 10_000, |_, message| { got.push(message); true }).unwrap();
            arrived[start..end].fill(true);
            let received = arrived.iter().take_while(|there| **there).count();
            prop_assert_eq!(assembly.received(), received as u64);
            let runs = arrived[received..].windows(2).filter(|pair| !pair[0] && pair[1]).count();
            prop_assert_eq!(assembly.gaps(), runs);
            let there = arrived.iter().filter(|there| **there).count();
            prop_assert!(assembly.held() <= 2 * there + 4096, "{} held for {there}", assembly.held());
        }
        prop_assert_eq!(got, messages);
    }
}

// Mutation: in `Credit::is_low`, drop `|| self.offset - self.taken < largest` makes this fail.
#[test]
fn c4_large_messages_on_many_channels_need_only_credit_for_one() {
    for session in [1008, 1500, 4000] {
        let limits = Limits { send_buffer: 1 << 20, pending_messages: 4096, ..limits(1000, 1008, session) };
        let mut world = World::new(&limits);
        for k in 0..3 {
            for channel in 0..=u8::MAX {
                world.send(0, channel, if k == 1 { 3 } else { 1000 });
            }
        }
        world.heal();
    }
}

// Mutation: in `Credit::is_low`, `freed > 0 || ..` makes this fail.
#[test]
fn credit_is_granted_by_quarters_of_a_window_and_not_for_each_message() {
    let (mut a, mut b) = pair(&limits(100, 4000, 8000));
    let mut granted = Vec::new();
    for k in 0..400 {
        a.send(1, content(1, k, 10)).unwrap();
        let (bytes, _) = packet(&mut a, 1200).unwrap();
        deliver(&mut b, &bytes).unwrap();
        assert_eq!(take_all(&mut b).len(), 1);
        let (bytes, sent) = packet(&mut b, 1200).unwrap();
        deliver(&mut a, &bytes).unwrap();
        outcomes(&mut a);
        granted.extend(sent.iter().filter_map(|frame| match frame {
            SentFrame::Credit { scope } => Some((k, *scope)),
            _ => None,
        }));
    }
    // 91 messages are the first to fill a quarter of the channel's credit, 182 that of the session's.
    let (channel, session) = (Scope::Channel(1), Scope::Session);
    assert_eq!(
        granted,
        [(90, channel), (181, channel), (181, session), (272, channel), (363, channel), (363, session)]
    );
}

#[test]
fn a_large_message_is_not_starved_by_small_ones() {
    let (mut a, mut b) = pair(&limits(1000, 1200, 1200));
    for k in 0..10 {
        a.send(1, content(1, k, 100)).unwrap();
    }
    let (bytes, _) = packet(&mut a, 250).unwrap();
    deliver(&mut b, &bytes).unwrap();
    // Does not fit what is left of the session's credit; the small ones would.
    let large = a.send(2, content(2, 0, 1000)).unwrap();
    a.send(3, content(3, 0, 1)).unwrap();
    // Channel 1 still has its turn. Then what it started is completed, and nothing else is started.
    for (max_len, expected) in [(250, (1, 245, 244)), (1200, (1, 489, 21))] {
        let (bytes, sent) = packet(&mut a, max_len).unwrap();
        assert_eq!(streams(&sent), [expected]);
        deliver(&mut b, &bytes).unwrap();
    }
    assert!(!a.wants_to_write());
    assert_eq!(take_all(&mut b).len(), 5);
    exchange(&mut a, &mut b);
    assert_eq!(take_all(&mut b)[0].channel, 2);
    exchange(&mut a, &mut b);
    assert!(outcomes(&mut a).contains(&(large.0, Outcome::Delivered)));
}

#[test]
fn what_waits_at_low_priority_holds_no_credit() {
    let limits = limits(1000, 1008, 1008);
    let (mut a, mut b) = pair(&limits);
    a.set_priority(1, 0);
    a.send(1, content(1, 0, 1000)).unwrap();
    a.send(2, content(2, 0, 10)).unwrap();
    let (bytes, _) = packet(&mut a, 1200).unwrap();
    deliver(&mut b, &bytes).unwrap();
    assert_eq!(take_all(&mut b), [Message { channel: 2, data: content(2, 0, 10) }]);
}

#[test]
fn higher_priorities_come_first_and_equals_take_turns() {
    let (mut a, _) = pair(&Limits::default());
    for channel in [1, 2, 3] {
        a.send(channel, content(channel, 0, 3000)).unwrap();
    }
    a.set_priority(3, 200);
    let mut order = Vec::new();
    while let Some((_, sent)) = packet(&mut a, 1000) {
        order.extend(streams(&sent).iter().map(|(channel, ..)| *channel));
    }
    // The fourth packet ends channel 3 and begins channel 1.
    assert_eq!(order, [3, 3, 3, 3, 1, 2, 1, 2, 1, 2, 1, 2]);
}

#[test]
fn small_messages_share_a_frame() {
    let (mut a, mut b) = pair(&Limits::default());
    for k in 0..50 {
        a.send(7, content(7, k, 10)).unwrap();
    }
    let (bytes, sent) = packet(&mut a, 1200).unwrap();
    assert_eq!(streams(&sent), [(7, 0, 550)]);
    assert!(!a.wants_to_write());
    deliver(&mut b, &bytes).unwrap();
    assert_eq!(take_all(&mut b).len(), 50);
}

#[test]
fn lost_bytes_go_first_and_only_while_they_are_missing() {
    let (mut a, mut b) = pair(&Limits::default());
    a.send(1, content(1, 0, 5000)).unwrap();
    let (first, sent_first) = packet(&mut a, 1000).unwrap();
    let (second, sent_second) = packet(&mut a, 1000).unwrap();
    lose(&mut a, sent_first.clone());
    assert_eq!(streams(&packet(&mut a, 1000).unwrap().1), streams(&sent_first));
    // Declared lost again and again, but then it turns out that both arrived.
    lose(&mut a, sent_first.clone());
    lose(&mut a, sent_second.clone());
    deliver(&mut b, &first).unwrap();
    deliver(&mut b, &second).unwrap();
    b.resumed();
    let (bytes, _) = packet(&mut b, 1000).unwrap();
    deliver(&mut a, &bytes).unwrap();
    let (_, offset, len) = streams(&sent_second)[0];
    assert_eq!(streams(&packet(&mut a, 1000).unwrap().1)[0].1, offset + u64::from(len));
    // A loss that is noticed late changes nothing either.
    lose(&mut a, sent_first);
    assert_eq!(a.sender.finals().collect::<Vec<_>>(), [(1, 5002)]);
    assert!(streams(&packet(&mut a, 1000).unwrap().1)[0].1 > offset);
}

#[test]
fn a_message_is_delivered_when_it_was_taken() {
    let (mut a, mut b) = pair(&Limits::default());
    a.send(1, Bytes::from_static(b"one")).unwrap();
    a.send(1, Bytes::new()).unwrap();
    exchange(&mut a, &mut b);
    assert_eq!((a.queued_bytes(), a.pending_messages()), (0, 2));
    assert!(!a.flushed());
    assert_eq!(b.recv().unwrap().data, "one");
    exchange(&mut a, &mut b);
    assert_eq!(outcomes(&mut a), []);
    b.taken();
    exchange(&mut a, &mut b);
    assert_eq!(outcomes(&mut a), [(0, Outcome::Delivered)]);
    assert_eq!(take_all(&mut b), [Message { channel: 1, data: Bytes::new() }]);
    exchange(&mut a, &mut b);
    assert_eq!(outcomes(&mut a), [(1, Outcome::Delivered)]);
    assert!(a.flushed());
}

// Mutation: in `Receiver::unread`, `size_of::<Inbound>() - message.data.len()` makes this fail.
#[test]
fn d6_what_nobody_fetches_is_counted_with_what_each_message_costs() {
    let (mut a, mut b) = pair(&Limits::default());
    assert_eq!((b.unread(), b.readable()), (0, false));
    let mut costs = Vec::new();
    for len in [0, 1000, 3000] {
        let before = b.unread();
        a.send(1, content(1, 0, len)).unwrap();
        exchange(&mut a, &mut b);
        costs.push(b.unread() - before);
    }
    assert!(costs[0] > 0, "empty messages are not free");
    assert_eq!(costs, [costs[0], costs[0] + 1000, costs[0] + 3000]);
    b.recv().unwrap();
    assert_eq!(b.unread(), costs[1] + costs[2]);
    assert_eq!(take_all(&mut b).len(), 2);
    assert_eq!((b.unread(), b.readable()), (0, false));
}

// Mutation: in `Sender::abandon`, `end <= outgoing.written` -> `end <= outgoing.started` makes this fail.
#[test]
fn c4_what_is_abandoned_is_reported() {
    let (mut a, mut b) = pair(&Limits::default());
    a.send(1, content(1, 0, 100)).unwrap();
    exchange(&mut a, &mut b);
    assert_eq!(take_all(&mut b).len(), 1);
    exchange(&mut a, &mut b);
    for len in [100, 300, 10] {
        a.send(1, content(1, 0, len)).unwrap();
    }
    packet(&mut a, 300).unwrap();
    a.send(0, Bytes::new()).unwrap();
    a.abandon();
    use Outcome::{Delivered, Undelivered, Unknown};
    let expected = [(0, Delivered), (1, Unknown), (2, Undelivered), (3, Undelivered), (4, Undelivered)];
    assert_eq!(outcomes(&mut a), expected);
    assert_eq!(a.counts(), Counts { delivered: 1, undelivered: 3, unknown: 1 });
    assert!(a.flushed() && !a.wants_to_write());
    assert_eq!(a.queued_bytes(), 0);
    // What was half written does not stand in the way of what is said to the peer's successor.
    a.set_peer_limits(1000, 4000, 4000);
    assert!(!a.wants_to_write());
    a.send(9, content(9, 0, 10)).unwrap();
    assert_eq!(streams(&packet(&mut a, 1200).unwrap().1), [(9, 0, 11)]);
}

#[test]
fn after_a_restart_of_the_peer_offsets_start_again() {
    let limits = Limits::default();
    let (mut a, mut b) = pair(&limits);
    b.send(1, content(1, 0, 100)).unwrap();
    b.send(2, content(2, 0, 100)).unwrap();
    exchange(&mut a, &mut b);
    assert_eq!(a.recv().unwrap().channel, 1);
    a.abandon();
    a.send(9, content(9, 0, 10)).unwrap();
    assert!(!a.wants_to_write(), "not before the new handshake");
    a.set_peer_limits(limits.max_message, limits.session_credit, limits.channel_credit);
    let mut b = joined(&limits);
    b.send(2, content(2, 7, 50)).unwrap();
    exchange(&mut a, &mut b);
    // The message of the dead peer is still there, and taking it says nothing to the new one.
    assert_eq!(a.recv().unwrap().data, content(2, 0, 100));
    a.taken();
    exchange(&mut a, &mut b);
    assert_eq!(outcomes(&mut b), []);
    assert_eq!(take_all(&mut a), [Message { channel: 2, data: content(2, 7, 50) }]);
    assert_eq!(take_all(&mut b).len(), 1);
    exchange(&mut a, &mut b);
    assert_eq!(outcomes(&mut b), [(0, Outcome::Delivered)]);
    assert_eq!(outcomes(&mut a), [(0, Outcome::Delivered)]);
}

#[test]
fn final_offsets_show_what_is_missing() {
    let (mut a, mut b) = pair(&Limits::default());
    a.send(1, content(1, 0, 10)).unwrap();
    exchange(&mut a, &mut b);
    assert!(a.finals().is_empty(), "arrived is enough, taken or not");
    a.send(1, content(1, 0, 10)).unwrap();
    let (bytes, _) = packet(&mut a, 1200).unwrap();
    a.send(2, content(2, 0, 10)).unwrap();
    assert_eq!(a.finals().as_slice(), [(2, 11), (1, 22)], "what was never sent comes first");
    assert!(b.truncated_by(&[(1, 22)]));
    deliver(&mut b, &bytes).unwrap();
    assert!(!b.truncated_by(&[(1, 22)]));
    assert!(b.truncated_by(&a.finals()));
}

#[test]
fn what_is_due_is_said_again_when_it_was_lost_and_after_a_resume() {
    let (mut a, mut b) = pair(&limits(100, 108, 108));
    a.send(1, content(1, 0, 100)).unwrap();
    exchange(&mut a, &mut b);
    take_all(&mut b);
    let said = [
        SentFrame::ChannelAck { channel: 1 },
        SentFrame::Credit { scope: Scope::Channel(1) },
        SentFrame::Credit { scope: Scope::Session },
    ];
    let (_, sent) = packet(&mut b, 1200).unwrap();
    assert_eq!(sent.as_slice(), said);
    assert!(!b.wants_to_write());
    lose(&mut b, sent.clone());
    lose(&mut b, sent);
    let (_, sent) = packet(&mut b, 1200).unwrap();
    assert_eq!(sent.as_slice(), said, "once, however often it was lost");
    b.resumed();
    let (bytes, sent) = packet(&mut b, 1200).unwrap();
    assert_eq!(sent.len(), 3);
    deliver(&mut a, &bytes).unwrap();
    assert_eq!(outcomes(&mut a), [(0, Outcome::Delivered)]);
}
