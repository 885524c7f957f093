//! What a peer, and what the application, may make a channel hold.

use super::*;

#[test]
fn the_peers_limits_hold_for_what_is_queued() {
    let mut a = Channels::new(&Limits::default());
    for len in [10, 5000, 20] {
        a.send(1, content(1, 0, len)).unwrap();
    }
    assert!(!a.wants_to_write());
    a.set_peer_limits(1000, 4000, 2000);
    assert_eq!(outcomes(&mut a), [(1, Outcome::Undelivered)]);
    assert_eq!(a.queued_bytes(), 30);
    assert_eq!(streams(&packet(&mut a, 1200).unwrap().1), [(1, 0, 32)]);
    assert_eq!(a.send(1, content(1, 0, 1001)), Err(SendError::TooLarge { len: 1001, max: 1000 }));
    // A later handshake can only raise them: what was queued by then stays.
    a.send(1, content(1, 0, 900)).unwrap();
    a.set_peer_limits(100, 200, 200);
    assert_eq!((outcomes(&mut a), a.queued_bytes()), (vec![], 930));
    // A credit that covers no message of that size would leave it queued for ever.
    let mut a = Channels::new(&Limits::default());
    a.set_peer_limits(1000, 4000, 500);
    assert_eq!(a.send(1, content(1, 0, 493)), Err(SendError::TooLarge { len: 493, max: 492 }));
}

// Mutation: in `Sender::send`, `> self.send_buffer` -> `> 2 * self.send_buffer` makes this fail.
#[test]
fn d6_the_send_queue_is_bounded_and_says_when_it_has_room() {
    let limits = limits(1000, 1008, 2016);
    let (mut a, mut b) = pair(&limits);
    for _ in 0..4 {
        a.send(1, content(1, 0, 1000)).unwrap();
    }
    assert_eq!(a.send(1, Bytes::from_static(b"x")), Err(SendError::Full));
    assert!(!a.poll_writable());
    exchange(&mut a, &mut b);
    take_all(&mut b);
    exchange(&mut a, &mut b);
    assert!(a.poll_writable());
    assert!(!a.poll_writable(), "once is enough");
    let mut a = joined(&limits);
    let queued = (0..).take_while(|_| a.send(1, Bytes::new()).is_ok()).count();
    assert_eq!(queued, PENDING);
}

// Mutation: in `Sender::poll_writable`, `self.send_buffer / 4` or `self.max_pending / 4` makes this fail.
#[test]
fn d6_the_send_queue_has_room_again_when_it_is_down_to_half() {
    let (mut a, mut b) = pair(&limits(1000, 1008, 1008));
    for _ in 0..4 {
        a.send(1, content(1, 0, 1000)).unwrap();
    }
    assert_eq!(a.send(1, Bytes::from_static(b"x")), Err(SendError::Full));
    for room in [false, true] {
        exchange(&mut a, &mut b);
        take_all(&mut b);
        outcomes(&mut a);
        assert_eq!(a.poll_writable(), room, "{} bytes are queued", a.queued_bytes());
    }
    assert_eq!(a.queued_bytes(), 2000);

    // Outcomes that wait to be fetched take room as well.
    let (mut a, mut b) = pair(&limits(1000, 1008, 1008));
    while a.send(1, Bytes::new()).is_ok() {}
    exchange(&mut a, &mut b);
    take_all(&mut b);
    exchange(&mut a, &mut b);
    for left in (PENDING / 2 + 1..PENDING).rev() {
        a.poll_outcome().unwrap();
        assert!(!a.poll_writable(), "{left} outcomes are left");
    }
    a.poll_outcome().unwrap();
    assert!(a.poll_writable());
}

// Mutation: in `Receiver::abandon`, drop `bytes > self.session.window ||` makes this fail.
#[test]
fn d6_messages_of_peers_that_restart_do_not_pile_up() {
    let limits = limits(100, 208, 208);
    let mut b = joined(&limits);
    for (lens, kept) in [(&[100, 100][..], 200), (&[8, 50], 208), (&[100], 208)] {
        let mut a = joined(&limits);
        for len in lens {
            a.send(1, content(1, 0, *len)).unwrap();
        }
        exchange(&mut a, &mut b);
        b.abandon();
        b.set_peer_limits(100, 208, 208);
        assert_eq!(b.held(), kept, "after {lens:?}");
    }
    assert_eq!(take_all(&mut b).iter().map(|message| message.data.len()).collect::<Vec<_>>(), [100, 100, 8]);
}

#[test]
fn what_just_fits_is_written() {
    let (mut a, mut b) = pair(&limits(100, 108, 108));
    a.send(1, content(1, 0, 100)).unwrap();
    exchange(&mut a, &mut b);
    take_all(&mut b);
    let len = packet(&mut b, 1200).unwrap().0.len();
    for (max_len, frames) in [(len - 1, 2), (len, 3)] {
        exchange(&mut b, &mut a);
        b.resumed();
        assert_eq!(packet(&mut b, max_len).unwrap().1.len(), frames);
    }
}

// Mutation: in `Sender::on_channel_ack`, drop `received > written ||` makes this fail.
#[test]
fn d8_acknowledging_what_was_never_sent_is_an_error() {
    let (mut a, _) = pair(&Limits::default());
    a.send(1, content(1, 0, 5000)).unwrap();
    packet(&mut a, 1000).unwrap();
    a.on_channel_ack(1, 900, 0).unwrap();
    for (channel, received, taken) in [(1, 1001, 0), (1, 900, 901), (2, 1, 0), (2, 1, 1), (1, u64::MAX, u64::MAX)] {
        let error = a.on_channel_ack(channel, received, taken).unwrap_err();
        assert_eq!(error.code(), Code::Protocol, "{error}");
    }
    assert_eq!(outcomes(&mut a), []);
}

// Mutation: in `Receiver::on_stream`, `end > credit` -> `end > credit + 1` makes this fail.
#[test]
fn d6_credit_is_enforced() {
    let limits = limits(100, 200, 500);
    let mut b = joined(&limits);
    b.on_stream(1, 199, b"x").unwrap();
    let refused = b.on_stream(1, 200, b"x");
    assert_eq!(refused, Err(ChannelError::Credit { channel: 1, end: 201, credit: 200 }));
    assert!(b.on_stream(1, u64::MAX, b"xx").is_err());
    b.on_stream(2, 199, b"x").unwrap();
    b.on_stream(3, 99, b"x").unwrap();
    let refused = b.on_stream(4, 0, b"x");
    assert_eq!(refused, Err(ChannelError::SessionCredit { sum: 501, credit: 500 }));
    assert_eq!(refused.unwrap_err().code(), Code::Limit);
    // What arrived before counts once.
    b.on_stream(1, 0, &[0; 200]).unwrap();
}

// Mutation: in `Assembly::feed`, give `Partial` `Vec::with_capacity(len)` makes this fail.
#[test]
fn d6_memory_follows_what_arrived_not_what_was_announced() {
    let mut b = joined(&Limits::default());
    for channel in 0..10 {
        let prefix = Varint::new(256 * 1024);
        b.on_stream(channel, 0, prefix.as_bytes()).unwrap();
        b.on_stream(channel, prefix.as_bytes().len() as u64, b"x").unwrap();
    }
    assert!(b.held() <= 10 * 4096);
    let refused = b.on_stream(11, 0, Varint::new(256 * 1024 + 1).as_bytes());
    assert_eq!(refused, Err(ChannelError::TooLong { len: 256 * 1024 + 1, max: 256 * 1024 }));
}

// Mutation: in `Assembly::keep`, never join (always insert a new piece) makes this fail.
#[test]
fn d6_single_bytes_in_the_worst_order_are_joined() {
    let data = framed(&content(1, 0, 100_000));
    let backwards = (1..data.len()).rev();
    let even_then_odd = (1..1000).step_by(2).chain((2..1000).step_by(2)).chain(1000..data.len());
    for order in [backwards.collect::<Vec<_>>(), even_then_odd.collect()] {
        let mut b = joined(&Limits::default());
        for (n, at) in order.into_iter().enumerate() {
            b.on_stream(1, at as u64, &data[at..=at]).unwrap();
            assert!(b.held() <= 2 * (n + 1) + 500 * 8);
        }
        b.on_stream(1, 0, &data[..1]).unwrap();
        assert_eq!(take_all(&mut b), [Message { channel: 1, data: content(1, 0, 100_000) }]);
    }
}

// Mutation: in `Receiver::on_stream`, `gaps > self.max_gaps` -> `gaps > 2 * self.max_gaps` makes this fail.
#[test]
fn d6_gaps_are_bounded() {
    let limits = Limits { gaps: 10, ..Limits::default() };
    let mut b = joined(&limits);
    for k in 0..10 {
        b.on_stream(1, 2 * k + 1, b"x").unwrap();
    }
    assert_eq!(b.on_stream(1, 21, b"x"), Err(ChannelError::Gaps { channel: 1, gaps: 11 }));
    // And over all channels.
    let mut b = joined(&limits);
    let accepted = (0..=u8::MAX).take_while(|channel| b.on_stream(*channel, 1, b"x").is_ok()).count();
    assert_eq!(accepted, 40);
}

// Mutation: in `Sender::fits`, drop `&& self.untaken < MAX_UNTAKEN` makes this fail.
#[test]
fn d6_empty_messages_are_bounded_too() {
    let limits = Limits { pending_messages: 200_000, ..Limits::default() };
    let (mut a, mut b) = pair(&limits);
    for _ in 0..MAX_UNTAKEN + 10 {
        a.send(1, Bytes::new()).unwrap();
    }
    exchange(&mut a, &mut b);
    let mut greedy = joined(&limits);
    greedy.on_stream(1, 0, &vec![0; MAX_UNTAKEN]).unwrap();
    assert_eq!(greedy.on_stream(1, MAX_UNTAKEN as u64, &[0]), Err(ChannelError::Messages));
    assert_eq!(take_all(&mut b).len(), MAX_UNTAKEN);
    exchange(&mut a, &mut b);
    assert_eq!(take_all(&mut b).len(), 10);
}
