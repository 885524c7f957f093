//! The bodies of the fuzz targets. `fuzz/` runs them under libFuzzer, `tests/corpora.rs` over the
//! committed corpora. Each panics when a property does not hold.

use burdock_core::carrier::{CarrierError, Reassembler};
use burdock_core::sam::{Happened, SamId, SessionOptions, Socket, Step};
use burdock_core::wire::frame::{Frame, Frames};
use burdock_core::wire::packet::{self, MAX_STREAM_PACKET, Packet, UDP_HANDSHAKE_LEN};
use burdock_core::wire::payload::{HelloInit, HelloResp};
use burdock_core::{Link, PrivateDestination};

#[path = "fuzz/endpoint.rs"]
mod world;

pub use world::Reached;

/// One fuzz target.
pub type Target = fn(&[u8]);

/// Every target, under the name of its corpus.
pub const TARGETS: [(&str, Target); 6] = [
    ("reassembler", reassembler),
    ("packet", packet),
    ("frames", frames),
    ("link", link),
    ("sam", sam),
    ("endpoint", endpoint),
];

/// A stream, cut as its first bytes say, gives the same packets and the same error as in one piece;
/// memory stays within twice what was received and 4 KiB; an error is final.
///
/// The first byte is the number of cuts, each of the next that many is the length of a piece (the
/// last is used over and over), and the rest is the stream.
pub fn reassembler(data: &[u8]) {
    let Some((&count, rest)) = data.split_first() else { return };
    let (cuts, stream) = rest.split_at(usize::from(count).min(rest.len()));
    let whole = reassemble(stream, &[]);
    assert_eq!(reassemble(stream, cuts), whole);
    let (packets, _) = whole;
    assert!(packets.iter().all(|packet| (17..=MAX_STREAM_PACKET).contains(&packet.len())));
    assert!(packets.first().is_none_or(|packet| packet.len() <= UDP_HANDSHAKE_LEN));
}

fn reassemble(stream: &[u8], cuts: &[u8]) -> (Vec<Vec<u8>>, Option<CarrierError>) {
    let mut stream = stream.to_vec();
    let (mut rest, mut received, mut packets) = (&mut stream[..], 0, Vec::new());
    let mut reassembler = Reassembler::new(UDP_HANDSHAKE_LEN, MAX_STREAM_PACKET);
    let last = cuts.last().map_or(usize::MAX, |&cut| usize::from(cut).max(1));
    let mut pieces = cuts.iter().map(|&cut| usize::from(cut)).chain(core::iter::repeat(last));
    while !rest.is_empty() {
        let (now, later) = rest.split_at_mut(pieces.next().unwrap_or(last).min(rest.len()));
        rest = later;
        received += now.len();
        let mut input = reassembler.feed(now);
        loop {
            match input.next_packet() {
                Ok(Some(packet)) => {
                    packets.push(packet.to_vec());
                    // Opening in place overwrites it.
                    packet.fill(0xff);
                }
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(input.next_packet(), Err(error));
                    drop(input);
                    assert_eq!(reassembler.feed(&mut []).next_packet(), Err(error));
                    assert_eq!(reassembler.allocated(), 0);
                    return (packets, Some(error));
                }
            }
        }
        drop(input);
        assert!(reassembler.allocated() <= 2 * received + 4096);
    }
    (packets, None)
}

/// Bytes that are a packet are the ones that its parts make again. The same bytes are also tried as
/// the two handshake payloads: what decodes, encodes to what decodes to the same.
pub fn packet(data: &[u8]) {
    let mut again = Vec::new();
    match packet::parse(data) {
        Ok(Packet::Init(init)) => {
            let start = packet::begin_init(init.header, &mut again);
            again.extend_from_slice(init.noise);
            packet::finish_init(&mut again, start, |before| {
                assert_eq!(before, init.before_mac1);
                init.mac1
            });
            packet::set_mac2(&mut again, |before| {
                assert_eq!(before, init.before_mac2);
                init.mac2
            });
            assert_eq!(init.noise.first_chunk(), Some(init.ephemeral()));
            assert_eq!(again, data);
        }
        Ok(Packet::Resp(resp)) => {
            packet::begin_resp(resp.receiver, &mut again);
            again.extend_from_slice(resp.noise);
            assert_eq!(again, data);
        }
        Ok(Packet::Cookie(cookie)) => {
            packet::put_cookie(&cookie, &mut again);
            assert_eq!(again, data);
        }
        Ok(Packet::Data { receiver }) => {
            assert!(data.len() >= 32);
            assert_eq!(packet::data_header(receiver, 0)[..8], data[..8]);
        }
        Err(error) => drop(error.to_string()),
    }
    if let Ok(hello) = HelloInit::decode(data) {
        again.clear();
        hello.encode(data.len(), &mut again);
        assert_eq!(HelloInit::decode(&again).as_ref(), Ok(&hello));
    }
    if let Ok(hello) = HelloResp::decode(data) {
        again.clear();
        hello.encode(data.len(), &mut again);
        assert_eq!(HelloResp::decode(&again).as_ref(), Ok(&hello));
    }
}

/// Frames that decode have a length that they announce, are no longer than what they were read
/// from, and decode to the same again; nothing follows an error.
pub fn frames(data: &[u8]) {
    let mut frames: Vec<Frame<'_>> = Vec::new();
    let mut again = Vec::new();
    let mut items = Frames::new(data);
    for item in items.by_ref() {
        let Ok(frame) = item else { break };
        let before = again.len();
        frame.encode(&mut again);
        assert_eq!(again.len() - before, frame.encoded_len());
        frames.push(frame);
    }
    assert!(items.next().is_none());
    assert!(again.len() <= data.len());
    assert_eq!(Frames::new(&again).collect::<Result<Vec<_>, _>>(), Ok(frames));
}

/// A text that is a link has one text form, which is the same link again; an error is one line
/// without control characters.
pub fn link(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    match text.parse::<Link>() {
        Ok(link) => {
            let again = link.to_string();
            assert_eq!(again.parse::<Link>().as_ref(), Ok(&link));
            assert!(again.len() <= burdock_core::MAX_LINK && again.is_ascii());
            assert!(link.host.is_some() || link.i2p.is_some());
        }
        Err(error) => assert!(!error.to_string().contains(char::is_control)),
    }
}

/// A socket to a SAM bridge that says anything comes to the same however that is cut; each command is one line, what
/// is consumed is wiped, and what follows the hand-over is all there.
///
/// The first byte says what the socket is for and whether the bridge closes it, the second is the number of cuts, each
/// of the next that many is the length of a piece (the last is used over and over), and the rest is what it says.
pub fn sam(data: &[u8]) {
    let [kind, count, rest @ ..] = data else { return };
    let (cuts, said) = rest.split_at(usize::from(*count).min(rest.len()));
    assert_eq!(converse(*kind, said, cuts), converse(*kind, said, &[]));
}

fn converse(kind: u8, said: &[u8], cuts: &[u8]) -> (Vec<String>, Vec<u8>) {
    let id = SamId::from([kind; 10]);
    let mut socket = match kind % 4 {
        0 => Socket::control(id, None, SessionOptions::default()),
        1 => {
            let identity = PrivateDestination::from_text(&"A".repeat(900)).expect("387 zeros, and more of them");
            Socket::control(id, Some(identity.into()), SessionOptions::default())
        }
        2 => Socket::connect(id, "A".repeat(516).parse().expect("387 zeros")),
        _ => Socket::accept(id),
    };
    let (mut happenings, mut stream) = (Vec::new(), Vec::new());
    let mut said = said.to_vec();
    let mut rest = &mut said[..];
    let last = cuts.last().map_or(usize::MAX, |&cut| usize::from(cut).max(1));
    let mut pieces = cuts.iter().map(|&cut| usize::from(cut)).chain(core::iter::repeat(last));
    socket.opened();
    note_command(&mut socket, &mut happenings);
    let mut failed = false;
    while !rest.is_empty() && !failed {
        let (mut now, later) = rest.split_at_mut(pieces.next().unwrap_or(last).min(rest.len()));
        rest = later;
        loop {
            let (consumed, happened) = socket.read(now);
            assert!(now[..consumed].iter().all(|&byte| byte == 0));
            now = &mut now[consumed..];
            note_command(&mut socket, &mut happenings);
            failed |= happened.is_some_and(|happened| note_happened(&happened, &mut happenings));
            if consumed == 0 {
                break;
            }
        }
        assert!(now.is_empty() || socket.step() == Step::Over);
        stream.extend_from_slice(now);
    }
    if kind & 0x80 != 0 && socket.step() != Step::Over {
        assert!(note_happened(&socket.ended(), &mut happenings));
    }
    (happenings, stream)
}

fn note_command(socket: &mut Socket, happenings: &mut Vec<String>) {
    if let Some(command) = socket.command() {
        assert_eq!(command.iter().position(|&byte| byte == b'\n'), Some(command.len() - 1));
        assert!(socket.command().is_none());
        happenings.push(String::from_utf8(command.to_vec()).expect("commands are text"));
    }
}

/// Whether the socket failed.
fn note_happened(happened: &Happened, happenings: &mut Vec<String>) -> bool {
    let shown = format!("{happened:?}");
    happenings.push(match happened {
        Happened::SessionStands { address, private } => {
            assert!(private.public() == *address && !shown.contains(private.expose()));
            format!("{shown} {}", private.expose())
        }
        Happened::Accepted { from } => format!("{shown} {from}"),
        Happened::Failed(error) => {
            assert!(!error.to_string().contains(char::is_control));
            format!("{shown} {error}")
        }
        _ => shown,
    });
    matches!(happened, Happened::Failed(_))
}

/// An endpoint under events, calls and authentic packets of hostile peers keeps to its contract.
/// How bytes read as events is in `fuzz/endpoint.rs`.
pub fn endpoint(data: &[u8]) {
    let _ = world::run(data, None);
}

/// As [`endpoint`], and adds to `reached` what the run came to.
#[must_use]
pub fn endpoint_reaches(data: &[u8], reached: Reached) -> Reached {
    world::run(data, Some(reached)).unwrap_or_default()
}
