//! What a peer with valid keys can make one session hold: at most twice the session's window and a
//! constant, whatever it sends and leaves unsaid.
#![allow(unsafe_code, reason = "an allocator that counts has to be an allocator")]

use core::cell::Cell;
use core::net::SocketAddr;
use core::time::Duration;
use std::alloc::{GlobalAlloc, Layout, System};

use burdock_core::wire::frame::{AckRanges, Frame, Scope};
use burdock_core::wire::varint::put_varint;
use burdock_core::{AcceptPolicy, Action, Config, Endpoint, Event, Identity, SessionId, State, Time, Transport};
use burdock_sim::hostile::{Epoch, Hostile};
use bytes::Bytes;

thread_local! {
    /// Bytes that this thread allocated and did not give back.
    static HELD: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

fn count(bytes: isize) {
    // A thread that is being torn down has no counter any more.
    let _ = HELD.try_with(|held| held.set(held.get() + bytes));
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps to this method's contract, which is the same there.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size as isize - layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.realloc(ptr, layout, new_size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Beside the window: the entries of 65,536 messages that were not taken, of 4,096 gaps, and of
/// 4,096 packets on each of eight paths.
const CONSTANT: isize = 8 * 1024 * 1024;
const TOP: u64 = (1 << 62) - 1;
const PIECE: usize = 16_000;

/// An endpoint, its hostile peer, and what the endpoint came to hold since it began to attack.
struct Attack {
    victim: Endpoint,
    hostile: Hostile,
    epoch: Epoch,
    session: SessionId,
    now: Time,
    baseline: isize,
    peak: isize,
}

fn from() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 4000))
}

impl Attack {
    fn new(config: &Config) -> Self {
        let identity = Identity::from_bytes([1; 32]);
        let mut victim = Endpoint::new(config.clone(), identity, [2; 32]).expect("a valid configuration");
        victim.set_accept(AcceptPolicy::anyone());
        let mut hostile = Hostile::new(5);
        let mut now = Time::from_micros(1_000_000);
        let (epoch, session) = dial(&mut victim, &mut hostile, &mut now, 0);
        let session = session.expect("a session");
        Self { victim, hostile, epoch, session, now, baseline: HELD.get(), peak: 0 }
    }

    fn say(&mut self, frames: &[Frame<'_>]) {
        let mut packet = self.epoch.seal(frames);
        self.victim.handle(self.now, Event::Datagram { from: from(), data: &mut packet });
        drop(packet);
        self.look();
    }

    fn look(&mut self) {
        // The driver's buffer is none of the endpoint's memory.
        let mut buf = Vec::new();
        while self.victim.poll_action(self.now, &mut buf).is_some() {}
        drop(buf);
        self.peak = self.peak.max(HELD.get() - self.baseline);
    }

    /// Says STREAM frames, as many to a packet as fit.
    fn say_pieces<'a>(&mut self, pieces: impl IntoIterator<Item = (u8, u64, &'a [u8])>) {
        let mut plaintext = Vec::new();
        for (channel, offset, data) in pieces {
            let frame = Frame::Stream { channel, offset, data };
            if plaintext.len() + frame.encoded_len() > PIECE {
                self.say_bytes(&plaintext);
                plaintext.clear();
            }
            frame.encode(&mut plaintext);
        }
        self.say_bytes(&plaintext);
        let own = plaintext.capacity() as isize;
        assert!(own <= 64 * 1024);
    }

    fn say_bytes(&mut self, plaintext: &[u8]) {
        let mut packet = self.epoch.seal_bytes(plaintext);
        self.victim.handle(self.now, Event::Datagram { from: from(), data: &mut packet });
        drop(packet);
        self.look();
    }

    fn pass(&mut self, span: Duration) {
        self.now = self.now + span;
        self.victim.handle(self.now, Event::Tick);
        self.look();
    }

    /// Without a path it is still a session.
    fn is_alive(&self) -> bool {
        self.victim.status(self.now, self.session).is_some_and(|status| status.state != State::Closed)
    }
}

/// A handshake that is confirmed; the session that began with it, if one did.
fn dial(victim: &mut Endpoint, hostile: &mut Hostile, now: &mut Time, your_half: u64) -> (Epoch, Option<SessionId>) {
    // Below any limit on the rate of handshakes.
    *now = *now + Duration::from_millis(200);
    let mut hello = hostile.hello();
    hello.your_half = your_half;
    let asked = hostile.ask_with(&victim.public_key(), Transport::Udp, &hello);
    victim.handle(*now, Event::Datagram { from: from(), data: &mut asked.packet.clone() });
    let (mut resp, mut buf) = (Vec::new(), Vec::new());
    while let Some(action) = victim.poll_action(*now, &mut buf) {
        if matches!(action, Action::Transmit { .. }) && buf.first() == Some(&0x09) {
            resp.clone_from(&buf);
        }
    }
    let (mut epoch, _) = asked.finish(&resp).expect("an answer");
    victim.handle(*now, Event::Datagram { from: from(), data: &mut epoch.seal(&[Frame::Confirm]) });
    let mut session = None;
    while let Some(action) = victim.poll_action(*now, &mut buf) {
        if let Action::Update { session: id, .. } = action {
            session = Some(id);
        }
    }
    (epoch, session)
}

fn messages(len: usize, total: usize) -> Vec<u8> {
    let mut one = Vec::new();
    put_varint(&mut one, len as u64);
    one.resize(one.len() + len, 7);
    one.repeat(total / one.len())
}

/// A run of bytes on one channel, from `start`, in pieces.
fn run(channel: u8, start: u64, bytes: &[u8]) -> impl DoubleEndedIterator<Item = (u8, u64, &[u8])> {
    let pieces: Vec<_> = bytes.chunks(PIECE - 100).enumerate().collect();
    pieces.into_iter().map(move |(n, piece)| (channel, start + (n * (PIECE - 100)) as u64, piece))
}

/// How many single bytes one channel gets: enough to show that they do not add up.
fn single(window: usize) -> u64 {
    (window as u64 / 4).min(128 * 1024)
}

type Act = fn(&mut Attack, usize);

/// Each gets the session's window, in bytes. None of what they do is forbidden, so that none ends the
/// session.
const ATTACKS: [(&str, Act); 12] = [
    ("gaps", |attack, _| {
        for channel in 0..4 {
            attack.say_pieces((0..1_024).map(|n| (channel, 2 * n + 1, &b"x"[..])));
        }
    }),
    ("single bytes from the end", |attack, window| {
        for channel in 0..4 {
            attack.say_pieces((1..single(window)).rev().map(|n| (channel, n, &b"x"[..])));
        }
    }),
    ("single bytes towards the end", |attack, window| {
        for channel in 0..4 {
            attack.say_pieces((1..single(window)).map(|n| (channel, n, &b"x"[..])));
        }
    }),
    ("pieces just over a power of two", |attack, window| {
        for channel in 0..4 {
            let len = window / 8 + 1;
            attack.say_pieces(run(channel, 1, &vec![0; len]));
            let rest = vec![0; window / 4 - len - 3];
            attack.say_pieces(run(channel, len as u64 + 2, &rest).rev());
        }
    }),
    ("half of long messages", |attack, window| {
        let mut half = messages(256 * 1024, 256 * 1024 + 4);
        half.truncate(128 * 1024 + 5);
        for channel in 0..(window / half.len()) as u8 {
            attack.say_pieces(run(channel, 0, &half));
        }
    }),
    ("announced lengths", |attack, _| {
        let head = &messages(256 * 1024, 256 * 1024 + 4)[..5];
        attack.say_pieces((0..=255).map(|channel| (channel, 0, head)));
    }),
    ("empty messages, not taken", |attack, _| attack.say_pieces(run(0, 0, &[0; 65_536]))),
    ("short messages, not taken", |attack, window| {
        for channel in 0..4 {
            attack.say_pieces(run(channel, 0, &messages(63, (window / 4).min(64 * 16_384))));
        }
    }),
    ("long messages, not taken", |attack, window| {
        for channel in 0..4 {
            attack.say_pieces(run(channel, 0, &messages(100_000, window / 4)));
        }
    }),
    ("challenges, pings and acknowledgements", |attack, _| {
        let theirs = attack.epoch.theirs;
        for n in 0..5_000_u64 {
            let ranges: AckRanges = [(0, 0)].into_iter().collect();
            attack.epoch.next += 1 + n % 3;
            let ack = Frame::Ack { epoch: theirs, delay_us: TOP, ranges };
            let closed = Frame::PathClose { epoch: n as u32, code: 0 };
            let channel = Scope::Channel(n as u8);
            let credit = Frame::Credit { scope: channel, offset: TOP };
            attack.say(&[Frame::Challenge([7; 8]), ack, Frame::UsePath { switch_no: n, epoch: 9 }, closed, credit]);
        }
    }),
    ("nothing acknowledged", |attack, _| {
        attack.say(&[Frame::Credit { scope: Scope::Session, offset: TOP }]);
        while attack.victim.send(attack.now, attack.session, 0, Bytes::from_static(&[7; 100])).is_ok() {
            attack.look();
        }
        for _ in 0..20 {
            attack.say(&[Frame::Ping]);
            attack.pass(Duration::from_millis(100));
        }
    }),
    ("paths", |attack, _| {
        let half = attack.epoch.their_half;
        for _ in 0..100 {
            let Attack { victim, hostile, now, .. } = attack;
            drop(dial(victim, hostile, now, half));
            attack.look();
        }
        attack.pass(Duration::from_secs(11));
    }),
];

// Mutation: `queued > 4 * send_buffer` in `Sender::send`, a `Partial` with room for the announced
// length, or `gaps` without a bound makes this fail.
#[test]
fn d6_a_session_holds_twice_its_window_and_a_constant() {
    let mut excess = 0;
    for (name, act) in ATTACKS {
        for window in [4 * 1024 * 1024, 16 * 1024 * 1024] {
            let mut config = Config::streamer();
            config.heartbeat = false;
            config.limits.session_credit = window;
            config.limits.channel_credit = window / 4;
            let mut attack = Attack::new(&config);
            act(&mut attack, window as usize);
            assert!(attack.is_alive(), "{name} ended the session");
            let over = attack.peak - 2 * window as isize - CONSTANT;
            println!("{name}: {} KiB for a window of {} KiB", attack.peak / 1024, window / 1024);
            excess = excess.max(over);
        }
    }
    burdock_ledger::reached("D6", "bytes over twice the window and a constant", excess as i32);
}

/// A peer that says again and again that it has restarted, or that closes and opens, while the
/// application takes nothing: what came before is kept up to one more window.
// Mutation: without the bound in `Receiver::abandon`, or in `Endpoint::leave`, this fails.
#[test]
fn d6_restarts_and_reopened_sessions_do_not_add_up() {
    let window = 4 * 1024 * 1024;
    for close in [false, true] {
        let config = Config::streamer();
        let mut attack = Attack::new(&config);
        for round in 0..12 {
            for channel in 0..4 {
                attack.say_pieces(run(channel, 0, &messages(50_000, window / 4)));
            }
            if close {
                attack.say(&[Frame::Close { code: 0, finals: Default::default(), reason: "" }]);
                attack.pass(Duration::from_secs(20));
            }
            attack.hostile.half = 1_000 + round;
            let Attack { victim, hostile, now, .. } = &mut attack;
            attack.epoch = dial(victim, hostile, now, 0).0;
            attack.look();
        }
        println!("{close}: {} KiB", attack.peak / 1024);
        assert!(attack.peak <= 3 * window as isize + CONSTANT, "{close}: {}", attack.peak);
    }
}
