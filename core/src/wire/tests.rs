use arrayvec::ArrayVec;
use proptest::collection::vec;
use proptest::prelude::*;

use super::frame::*;
use super::packet::*;
use super::payload::*;
use super::varint::*;
use crate::config::{Class, Transport};

fn varint() -> impl Strategy<Value = u64> {
    (0u32..62, any::<u64>()).prop_map(|(bits, value)| value & ((1 << (bits + 1)) - 1) & VARINT_MAX)
}

fn ranges() -> impl Strategy<Value = AckRanges> {
    (varint(), vec((0u64..1 << 20, 0u64..1 << 20), 1..=MAX_ACK_RANGES)).prop_map(|(largest, steps)| {
        let mut ranges = AckRanges::new();
        let mut high = largest;
        for (length, gap) in steps {
            let low = high.saturating_sub(length);
            ranges.push((low, high));
            match low.checked_sub(gap + 2) {
                Some(next) => high = next,
                None => break,
            }
        }
        ranges
    })
}

/// Owns what a frame borrows.
#[derive(Clone, Debug)]
struct Sample {
    kind: u8,
    channel: u8,
    epoch: u32,
    code: u16,
    values: [u64; 4],
    bytes: Vec<u8>,
    text: String,
    ranges: AckRanges,
    finals: Vec<(u8, u64)>,
}

fn sample() -> impl Strategy<Value = Sample> {
    let values = [varint(), varint(), varint(), varint()];
    let finals = vec((any::<u8>(), varint()), 0..=MAX_FINALS);
    let small = (0u8..15, any::<u8>(), any::<u32>(), any::<u16>());
    (small, values, vec(any::<u8>(), 0..200), "\\PC{0,60}", ranges(), finals).prop_map(
        |((kind, channel, epoch, code), values, bytes, text, ranges, finals)| Sample {
            kind,
            channel,
            epoch,
            code,
            values,
            bytes,
            text,
            ranges,
            finals,
        },
    )
}

impl Sample {
    fn frame(&self) -> Frame<'_> {
        let [a, b, c, d] = self.values;
        let (channel, epoch, code, data) = (self.channel, self.epoch, self.code, self.bytes.as_slice());
        match self.kind {
            0 => Frame::Pad,
            1 => Frame::Ping,
            2 => Frame::Confirm,
            3 => Frame::Ack { epoch, delay_us: a, ranges: self.ranges.clone() },
            4 => Frame::ChannelAck { channel, received: a, taken: b },
            5 => Frame::Credit { scope: Scope::Session, offset: a },
            6 => Frame::Credit { scope: Scope::Channel(channel), offset: a },
            7 => Frame::Stream { channel, offset: a.min(VARINT_MAX - data.len() as u64), data },
            8 => {
                let total = b.max(data.len() as u64);
                let offset = c.min(total - data.len() as u64);
                Frame::Datagram { channel, message: a, total, offset, ttl_ms: d, data }
            }
            9 => Frame::Challenge(a.to_be_bytes()),
            10 => Frame::Response(b.to_be_bytes()),
            11 => Frame::UsePath { switch_no: a, epoch },
            12 => Frame::PathClose { epoch, code },
            13 => {
                let finals = self.finals.iter().copied().collect();
                Frame::Close { code, finals, reason: &self.text }
            }
            _ => Frame::CloseAck,
        }
    }
}

fn encoded(frame: &Frame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    frame.encode(&mut out);
    out
}

fn decoded(bytes: &[u8]) -> Result<Vec<Frame<'_>>, FrameError> {
    Frames::new(bytes).collect()
}

#[test]
fn varints_are_those_of_rfc_9000() {
    // RFC 9000 §A.1.
    let vectors: [(&[u8], u64); 5] = [
        (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c], 151_288_809_941_952_652),
        (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
        (&[0x7b, 0xbd], 15_293),
        (&[0x25], 37),
        (&[0x40, 0x25], 37),
    ];
    for (bytes, value) in vectors {
        let mut reader = Reader::new(bytes);
        assert_eq!(reader.varint(), Ok(value));
        assert!(reader.is_empty());
        let mut out = Vec::new();
        put_varint(&mut out, value);
        assert_eq!(out.len(), varint_len(value));
        assert!(out == bytes || bytes == [0x40, 0x25]);
    }
    for end in [0, 63, 64, 16_383, 16_384, (1 << 30) - 1, 1 << 30, VARINT_MAX] {
        let mut out = Vec::new();
        put_varint(&mut out, end);
        assert_eq!(Reader::new(&out).varint(), Ok(end));
        assert_eq!(Reader::new(&out[..out.len() - 1]).varint(), Err(Truncated));
    }
}

#[test]
fn a_failed_read_moves_nothing() {
    let mut reader = Reader::new(&[0x05, 1, 2, 3]);
    assert_eq!(reader.counted(), Err(Truncated));
    assert_eq!(reader.u64(), Err(Truncated));
    assert_eq!(reader.u32(), Ok(0x0501_0203));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn frames_come_back_as_they_went(samples in vec(sample(), 1..8)) {
        let mut bytes = Vec::new();
        let mut frames: Vec<_> = samples.iter().map(Sample::frame).collect();
        for frame in &frames {
            let before = bytes.len();
            frame.encode(&mut bytes);
            prop_assert_eq!(bytes.len() - before, frame.encoded_len());
        }
        frames.dedup_by(|a, b| *a == Frame::Pad && *b == Frame::Pad);
        prop_assert_eq!(decoded(&bytes), Ok(frames));
    }

    #[test]
    fn a_cut_frame_is_truncated(sample in sample()) {
        let bytes = encoded(&sample.frame());
        for end in 1..bytes.len() {
            prop_assert_eq!(decoded(&bytes[..end]), Err(FrameError::Truncated));
        }
    }

    #[test]
    fn d7_any_bytes_are_read_without_panic(bytes in vec(any::<u8>(), 0..300)) {
        // Mutation: `Ok(&self.rest[..len])` in `Reader::bytes` makes this fail.
        for frame in Frames::new(&bytes).flatten() {
            let again = encoded(&frame);
            prop_assert_eq!(decoded(&again), Ok(vec![frame]));
        }
        if let Ok(Packet::Init(init)) = parse(&bytes) {
            prop_assert_eq!(init.header.to_bytes(), init.header_bytes);
        }
        let _ = HelloInit::decode(&bytes);
        let _ = HelloResp::decode(&bytes);
    }

    #[test]
    fn payloads_come_back_as_they_went(numbers in any::<[u32; 8]>(), halves in any::<[u64; 2]>(),
        versions in vec(any::<u8>(), 0..=MAX_VERSIONS), keep_s in any::<Option<u32>>(), verdict in 0u16..5,
        max_packet in 1200u16.., padded in any::<bool>()) {
        let [features, max_message, session_credit, channel_credit, dial_no, renews, index, receiver] = numbers;
        let versions = versions.into_iter().collect();
        let limits = PeerLimits { features, max_message, session_credit, channel_credit, max_packet, versions };
        let (my_half, your_half) = (halves[0].max(1), halves[1]);
        let init = HelloInit { my_half, your_half, dial_no, renews, invite: halves[0].to_be_bytes(),
            limits: limits.clone(), keep_s };
        let verdict = [Verdict::Resumed, Verdict::New, Verdict::Restarted, Verdict::Closed(0), Verdict::Closed(259)]
            [usize::from(verdict)];
        let resp = HelloResp { index, receiver, my_half, your_half, dial_no, verdict, version: features as u8, limits };
        let mut bytes = Vec::new();
        init.encode(if padded { INIT_PAYLOAD_LEN } else { 0 }, &mut bytes);
        prop_assert!(!padded || bytes.len() == INIT_PAYLOAD_LEN);
        prop_assert_eq!(HelloInit::decode(&bytes), Ok(init));
        bytes.clear();
        resp.encode(if padded { RESP_PAYLOAD_LEN } else { 0 }, &mut bytes);
        prop_assert!(!padded || bytes.len() == RESP_PAYLOAD_LEN);
        prop_assert_eq!(HelloResp::decode(&bytes), Ok(resp));
    }
}

#[test]
fn the_bytes_of_frames() {
    let stream = Frame::Stream { channel: 3, offset: 100, data: b"hi" };
    assert_eq!(encoded(&stream), [0x08, 3, 0x40, 100, 2, b'h', b'i']);
    assert_eq!(stream.encoded_len() - 2, stream_overhead(3, 100, 2));
    let ranges = AckRanges::from_iter([(90, 99), (80, 80), (0, 5)]);
    let ack = Frame::Ack { epoch: 0x0102_0304, delay_us: 25, ranges };
    // RFC 9000 §19.3.1: gaps are two less, lengths one less, than the packets they stand for.
    assert_eq!(encoded(&ack), [0x02, 1, 2, 3, 4, 25, 0x40, 99, 2, 9, 8, 0, 0x40, 73, 5]);
    let close = Frame::Close { code: 0, finals: ArrayVec::from_iter([(1, 2)]), reason: "é" };
    assert_eq!(encoded(&close), [0x10, 0, 1, 1, 2, 2, 0xc3, 0xa9]);
    let datagram = Frame::Datagram { channel: 9, message: 1, total: 5, offset: 3, ttl_ms: 64, data: b"lo" };
    assert_eq!(encoded(&datagram), [0x0a, 9, 1, 5, 3, 0x40, 64, 2, b'l', b'o']);
    assert_eq!(encoded(&Frame::PathClose { epoch: 1, code: 256 }), [0x0f, 0, 0, 0, 1, 0x41, 0]);
    assert_eq!(encoded(&Frame::UsePath { switch_no: 2, epoch: 1 }), [0x0e, 2, 0, 0, 0, 1]);
    assert_eq!(encoded(&Frame::Ack { epoch: 1, delay_us: 1, ranges: AckRanges::new() }), [0u8; 0]);
}

#[test]
fn bad_frames_are_refused() {
    let out_of_range = FrameError::OutOfRange;
    let mut ranges = vec![0x02, 0, 0, 0, 0, 0, 0x44, 0, 31, 0];
    ranges.extend([0; 62]);
    assert!(decoded(&ranges).is_ok());
    ranges[8] = 32;
    let mut finals = vec![0x10, 0, 0x40, 64];
    finals.extend([0; 2 * 64]);
    finals.push(0);
    assert!(decoded(&finals).is_ok());
    finals[3] = 65;
    let mut reason = vec![0x10, 0, 0, 0x41, 1];
    reason.extend([b'a'; 257]);
    let cases: [(&[u8], FrameError); 19] = [
        (&[0x07], FrameError::Unknown(7)),
        (&[0x09], FrameError::Unknown(9)),
        (&[0x12], FrameError::Unknown(0x12)),
        (&[0x40, 0x40], FrameError::Unknown(0x40)),
        (&[0xc1, 0, 0, 0, 0, 0, 0, 1], FrameError::Unknown((1 << 56) + 1)),
        (&[0x40, 0x01], FrameError::LongType),
        (&[0x80, 0, 0, 0x01], FrameError::LongType),
        (&[0x40], FrameError::Truncated),
        (&[0x02, 0, 0, 0, 0, 0, 3, 0, 4], out_of_range("ACK range")),
        (&[0x02, 0, 0, 0, 0, 0, 3, 1, 0, 2, 0], out_of_range("ACK range")),
        (&[0x02, 0, 0, 0, 0, 0, 3, 1, 0, 0, 2], out_of_range("ACK range")),
        (&ranges, out_of_range("number of ACK ranges")),
        (&finals, out_of_range("number of final offsets")),
        (&reason, out_of_range("length of the reason")),
        (&[0x10, 0, 0, 1, 0xff], FrameError::Text),
        (&[0x10, 0x80, 1, 0, 0, 0, 0], out_of_range("code")),
        (&[0x08, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0], out_of_range("STREAM offset")),
        (&[0x0a, 0, 0, 4, 3, 0, 2, 1, 1], out_of_range("DGRAM offset")),
        (&[0x0a, 0, 0, 4, 5, 0, 0], out_of_range("DGRAM offset")),
    ];
    for (bytes, error) in cases {
        assert_eq!(decoded(bytes), Err(error), "{bytes:x?}");
    }
    let mut frames = Frames::new(&[0x01, 0x07, 0x01]);
    assert_eq!(frames.next(), Some(Ok(Frame::Ping)));
    assert_eq!(frames.next(), Some(Err(FrameError::Unknown(7))));
    assert_eq!(frames.next(), None);
}

#[test]
fn d7_a_run_of_pads_is_one_frame() {
    // Mutation: leaving out `reader.bytes(run)?` makes this fail.
    let mut bytes = vec![0; MAX_STREAM_PACKET];
    bytes.push(0x01);
    bytes.extend([0; 1000]);
    assert_eq!(decoded(&bytes), Ok(vec![Frame::Pad, Frame::Ping, Frame::Pad]));
}

#[test]
fn a_long_reason_is_cut_between_characters() {
    let reason = "é".repeat(200);
    let shifted = format!("a{reason}");
    for (reason, kept) in [(&reason, 256), (&shifted, 255)] {
        let bytes = encoded(&Frame::Close { code: 1, finals: ArrayVec::new(), reason });
        let [Frame::Close { reason: read, .. }] = decoded(&bytes).unwrap()[..] else { panic!() };
        assert_eq!(read, &reason[..kept]);
    }
}

#[test]
fn what_asks_for_an_acknowledgement() {
    let quiet = [Frame::Pad, Frame::CloseAck, Frame::Close { code: 0, finals: ArrayVec::new(), reason: "" }];
    assert!(quiet.iter().all(|frame| !frame.is_ack_eliciting()));
    assert!([Frame::Ping, Frame::Confirm, Frame::Challenge([0; 8])].iter().all(Frame::is_ack_eliciting));
}

fn init(transport: Transport, noise: usize) -> Vec<u8> {
    let header = InitHeader { class: Class::Open, transport, sender: 0xa1b2_c3d4 };
    let mut out = vec![0xee];
    let start = begin_init(header, &mut out);
    out.extend((0..noise).map(|at| at as u8));
    finish_init(&mut out, start, |before| {
        assert_eq!(before.len(), 8 + noise);
        [0x11; 16]
    });
    out.split_off(1)
}

#[test]
fn an_init_is_read_as_written() {
    let mut bytes = init(Transport::Udp, 32 + 48 + INIT_PAYLOAD_LEN + TAG_LEN);
    assert_eq!(bytes.len(), UDP_HANDSHAKE_LEN);
    set_mac2(&mut bytes, |before| {
        assert_eq!(before.len(), 1184);
        [0x22; 16]
    });
    let Ok(Packet::Init(init)) = parse(&bytes) else { panic!() };
    assert_eq!(init.header_bytes, [8, 1, 0, 0, 0xa1, 0xb2, 0xc3, 0xd4]);
    assert_eq!(init.header.to_bytes(), init.header_bytes);
    assert_eq!(&prologue(&init.header_bytes), b"burdock\x08\x01\0\0\xa1\xb2\xc3\xd4");
    assert_eq!((init.noise, init.ephemeral().as_slice()), (&bytes[8..1168], &bytes[8..40]));
    assert_eq!((init.mac1, init.mac2), ([0x11; 16], [0x22; 16]));
    assert_eq!((init.before_mac1, init.before_mac2), (&bytes[..1168], &bytes[..1184]));
}

#[test]
fn bad_packets_are_refused() {
    use PacketError as E;
    let good = init(Transport::Udp, 1160);
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let short_udp = init(Transport::Udp, 1159);
    let tcp = init(Transport::Tcp, 96);
    assert!(matches!(parse(&tcp), Ok(Packet::Init(_))));
    let mut tcp_mac2 = tcp.clone();
    set_mac2(&mut tcp_mac2, |_| [1; 16]);
    let mut resp = Vec::new();
    begin_resp(7, &mut resp);
    resp.extend([5; 48]);
    assert_eq!(parse(&resp), Ok(Packet::Resp(Resp { receiver: 7, noise: &[5; 48] })));
    let cookie = Cookie { receiver: 7, nonce: &[1; 24], sealed: &[2; 32] };
    let mut cookie_bytes = Vec::new();
    put_cookie(&cookie, &mut cookie_bytes);
    assert_eq!(cookie_bytes.len(), COOKIE_LEN);
    assert_eq!(parse(&cookie_bytes), Ok(Packet::Cookie(cookie)));
    let mut data = data_header(7, 1).to_vec();
    data.extend([0; 16]);
    assert_eq!(parse(&data), Ok(Packet::Data { receiver: 7 }));
    assert_eq!(data[..16], [0x0b, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1]);
    let long_data = [data.clone(), vec![0; MAX_STREAM_PACKET - 31]].concat();
    let cases = [
        (vec![], E::Length(0)),
        (with(0, 0x0c), E::Type(0x0c)),
        (with(1, 2), E::Version(2)),
        (with(2, 2), E::Class(2)),
        (with(3, 3), E::Transport(3)),
        (short_udp, E::Length(1199)),
        (tcp[..135].to_vec(), E::Length(135)),
        (init(Transport::Tcp, 1161), E::Length(1201)),
        (tcp_mac2, E::Reserved),
        (resp[..55].to_vec(), E::Length(55)),
        ([resp.clone(), vec![0; 1145]].concat(), E::Length(1201)),
        ([&[9, 1, 1, 0], &resp[4..]].concat(), E::Reserved),
        ([&[9, 0], &resp[2..]].concat(), E::Version(0)),
        (cookie_bytes[..63].to_vec(), E::Length(63)),
        ([&cookie_bytes[..], &[0]].concat(), E::Length(65)),
        ([&[10, 1, 0, 1], &cookie_bytes[4..]].concat(), E::Reserved),
        (data[..31].to_vec(), E::Length(31)),
        (long_data, E::Length(16_385)),
        ([&[11, 0, 0, 1], &data[4..]].concat(), E::Reserved),
    ];
    for (bytes, error) in cases {
        assert_eq!(parse(&bytes), Err(error), "{:x?}", &bytes[..bytes.len().min(16)]);
    }
}

#[test]
fn extensions_are_passed_over_or_refused_by_parity() {
    let limits = PeerLimits {
        features: 0,
        max_message: 1,
        session_credit: 1,
        channel_credit: 1,
        max_packet: 1200,
        versions: ArrayVec::from_iter([1]),
    };
    let hello =
        HelloInit { my_half: 1, your_half: 0, dial_no: 1, renews: 0, invite: [0; 8], limits, keep_s: Some(600) };
    let mut plain = Vec::new();
    hello.encode(0, &mut plain);
    let read = |tail: &[u8]| HelloInit::decode(&[&plain[..], tail].concat());
    let out_of_range = PayloadError::OutOfRange;
    assert_eq!(read(&[0; 40]), Ok(hello.clone()));
    assert_eq!(read(&[0]), Ok(hello.clone()));
    assert_eq!(read(&[0, 3, 0, 2, 9, 9]), Ok(hello.clone()));
    assert_eq!(read(&[0, 2, 0, 0]), Err(PayloadError::Extension(2)));
    assert_eq!(read(&[0, 1, 0, 4, 0, 0, 0, 1]), Err(out_of_range("keep time")));
    assert_eq!(read(&[0, 3, 0, 2, 9]), Err(PayloadError::Truncated));
    assert_eq!(read(&[3]), Err(PayloadError::Truncated));
    assert_eq!(read(&[0, 0, 0, 1]), Err(PayloadError::Padding));
    let changed = |at: usize, byte: u8| {
        let mut bytes = plain.clone();
        bytes[at] = byte;
        HelloInit::decode(&bytes)
    };
    assert_eq!(changed(7, 0), Err(out_of_range("session half")));
    assert_eq!(changed(49, 0xaf), Err(out_of_range("largest packet")));
    assert_eq!(HelloInit::decode(&[&plain[..50], &[9], &[1; 9]].concat()), Err(out_of_range("number of versions")));
    for end in 0..52 {
        assert_eq!(HelloInit::decode(&plain[..end]), Err(PayloadError::Truncated), "{end}");
    }
}
