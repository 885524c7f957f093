//! A million first messages from 65,536 addresses, and what they cost the one who gets them.
#![allow(unsafe_code, reason = "an allocator that counts has to be an allocator")]

use core::net::SocketAddr;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::alloc::{GlobalAlloc, Layout, System};

use burdock_core::crypto::mac1;
use burdock_core::update::UpdateKind;
use burdock_core::{AcceptPolicy, Action, Config, Endpoint, Event, Identity, Link, Time};

/// Bytes that are allocated now, and the most that ever were since the test began to look.
static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        // SAFETY: the caller keeps to this method's contract, which is the same there.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const FIRST_MESSAGES: u32 = 1_000_000;

struct Host {
    endpoint: Endpoint,
    addr: SocketAddr,
    connected: bool,
    /// INITs sent so far.
    tries: u32,
}

impl Host {
    fn new(n: u8, addr: SocketAddr) -> Self {
        let identity = Identity::from_bytes([n; 32]);
        let mut endpoint = Endpoint::new(Config::streamer(), identity, [n + 100; 32]).expect("valid");
        endpoint.set_accept(AcceptPolicy::anyone());
        Self { endpoint, addr, connected: false, tries: 0 }
    }

    /// What it sends, and to whom.
    fn drain(&mut self, now: Time, buf: &mut Vec<u8>, mut sent: impl FnMut(SocketAddr, &[u8])) {
        while let Some(action) = self.endpoint.poll_action(now, buf) {
            match action {
                Action::Transmit { to, .. } => {
                    self.tries += u32::from(buf[0] == 0x08);
                    sent(to, buf);
                }
                Action::Update { update, .. } => {
                    self.connected |= matches!(update.kind, UpdateKind::Connected { .. });
                }
                _ => {}
            }
        }
    }
}

// Mutation: `admit` without `without_cookie.take` makes this fail.
#[test]
fn d2_a_million_first_messages_from_65536_addresses() {
    let home = SocketAddr::from(([192, 0, 2, 1], 1000));
    let mut host = Host::new(1, home);
    let key = host.endpoint.public_key();
    let mut genuine = Host::new(2, SocketAddr::from(([192, 0, 2, 2], 1000)));
    let mut now = Time::from_micros(1_000_000);
    let (mut buf, mut flight) = (Vec::new(), Vec::new());

    // An INIT that somebody recorded. Whoever knows the key can make mac1 fit to whatever it says.
    let mut recorder = Host::new(3, home);
    let link = Link { tcp_port: None, ..Link::direct(key, home) };
    recorder.endpoint.connect(now, &link).unwrap();
    let mut recorded = Vec::new();
    recorder.drain(now, &mut buf, |_, packet| recorded = packet.to_vec());
    assert_eq!(recorded.len(), 1200);
    drop(recorder);

    let mut packet = recorded.clone();
    let (mut received, mut answered) = (0_u64, 0_u64);
    let before = LIVE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    for n in 0..FIRST_MESSAGES {
        // 100,000 a second.
        now = now + Duration::from_micros(10);
        let [_, _, c, d] = n.to_be_bytes();
        let from = SocketAddr::from(([10, 0, c, d], 1000));
        packet.copy_from_slice(&recorded);
        packet[8..12].copy_from_slice(&n.to_be_bytes());
        // Every second one has a mac1 that fits.
        if n % 2 == 0 {
            let fits = mac1(&key, &packet[..1168]);
            packet[1168..1184].copy_from_slice(&fits);
        }
        received += packet.len() as u64;
        host.endpoint.handle(now, Event::Datagram { from, data: &mut packet });
        host.drain(now, &mut buf, |to, packet| {
            assert_eq!(to, from);
            answered += packet.len() as u64;
        });
        // In the middle of it a genuine peer comes, 5 ms away.
        if n == FIRST_MESSAGES / 2 {
            genuine.endpoint.connect(now, &link).unwrap();
            for _ in 0..8 {
                let (one, other) = (genuine.addr, host.addr);
                genuine.drain(now, &mut buf, |_, packet| flight.push(packet.to_vec()));
                for mut data in flight.drain(..) {
                    host.endpoint.handle(now, Event::Datagram { from: one, data: &mut data });
                }
                host.drain(now, &mut buf, |_, packet| flight.push(packet.to_vec()));
                for mut data in flight.drain(..) {
                    genuine.endpoint.handle(now, Event::Datagram { from: other, data: &mut data });
                }
            }
        }
    }
    let growth = PEAK.load(Ordering::Relaxed) - before;
    let read = host.endpoint.handshakes_read();
    let turned_away = host.endpoint.turned_away();
    burdock_ledger::reached("D2", "first messages", f64::from(FIRST_MESSAGES));
    burdock_ledger::reached("D2", "growth in MiB", growth as f64 / 1_048_576.0);
    assert_eq!(turned_away.bad_mac1, u64::from(FIRST_MESSAGES) / 2);
    // 100 at once, 200 a second for 10 s, and the genuine one.
    assert!(read <= 100 + 2000 + 1, "{read} were read");
    // Half of them, and the genuine one, which asked twice.
    let fits = u64::from(FIRST_MESSAGES) / 2 + 2;
    burdock_ledger::reached("D2", "DH for a wrong mac1", (turned_away.no_cookie + read) as f64 - fits as f64);
    assert!(answered * 10 < received, "{answered} of {received}");
    assert!(genuine.connected && host.connected);
    burdock_ledger::reached("D2", "tries of the genuine peer", genuine.tries);
}
