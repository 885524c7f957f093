use core::net::{Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::cookie::{CookieSecret, ReplyKey};
use super::rate::{Rate, RateLimiter};
use super::*;
use crate::crypto::mac1;
use crate::wire::packet::{self, COOKIE_LEN, Packet};
use crate::{Class, Transport};

const START: Time = Time::from_micros(1_000_000);

fn v4(n: u32) -> Source {
    Source::of(core::net::IpAddr::from(n.to_be_bytes()))
}

fn at(addr: &str) -> SocketAddr {
    addr.parse().unwrap()
}

// Mutation: `to_canonical` left out makes this fail.
#[test]
fn d3_a_source_is_an_ipv4_address_or_a_64() {
    let of = |addr: &str| Source::of(addr.parse().unwrap());
    assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
    assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff:ffff:ffff:ffff"));
    assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
}

/// What a source was allowed over any stretch of time is within burst + rate x stretch.
fn within(allowed: &[Time], rate: u32, burst: u32) -> bool {
    allowed.iter().enumerate().all(|(n, from)| {
        allowed[n..].iter().zip(1_u64..).all(|(to, count)| {
            let span = to.saturating_since(*from).as_micros() as u64;
            count <= u64::from(burst) + span * u64::from(rate) / 1_000_000
        })
    })
}

// Mutation: `Rate::new` with `burst` in place of `burst - 1`, or `allow` returning true when the table is full, makes
// this fail.
#[test]
fn d3_twenty_a_second_and_five_at_once_also_when_the_table_is_full() {
    let rate = Rate::new(20, 5);
    let mut limiter = RateLimiter::default();
    let mut over = 0;
    let mut now = START;
    // 100 sources that never stop fill a table of 100; then come a victim with a place, and one without.
    let mut allowed: BTreeMap<u32, Vec<Time>> = BTreeMap::new();
    for _ in 0..2_000 {
        for source in (0..100).chain([7, 100, 101]) {
            if limiter.allow(now, v4(source), rate, 100) {
                allowed.entry(source).or_default().push(now);
            }
        }
        assert!(limiter.len() <= 100);
        now = now + Duration::from_millis(1);
    }
    for times in allowed.values() {
        over += usize::from(!within(times, 20, 5));
    }
    // The newcomers share one bucket.
    let mut shared: Vec<_> = allowed.range(100..).flat_map(|(_, times)| times.iter().copied()).collect();
    shared.sort();
    over += usize::from(!within(&shared, 20, 5));
    assert!(allowed.range(..100).all(|(_, times)| times.len() >= 5) && shared.len() >= 5);
    burdock_ledger::reached("D3", "answers over the limit", over as f64);

    // Whoever is quiet for long enough makes room.
    now = now + Duration::from_secs(1);
    for source in 1000..1100 {
        assert!(limiter.allow(now, v4(source), rate, 100));
    }
    assert!(limiter.len() <= 100);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    // Mutation: `unwrap_or(self.overflow)` into `unwrap_or_default()` makes this fail.
    #[test]
    fn d3_no_source_gets_more_than_its_rate_in_any_table(
        calls in prop::collection::vec((0_u64..20_000, 0_u32..12), 1..600),
        table in 0_usize..8, rate in 1_u32..100, burst in 1_u32..8,
    ) {
        let mut limiter = RateLimiter::default();
        let mut allowed: BTreeMap<u32, Vec<Time>> = BTreeMap::new();
        let mut asked: BTreeMap<u32, Vec<Time>> = BTreeMap::new();
        let mut now = START;
        for (wait, source) in calls {
            now = now + Duration::from_micros(wait);
            asked.entry(source).or_default().push(now);
            if limiter.allow(now, v4(source), Rate::new(rate, burst), table) {
                allowed.entry(source).or_default().push(now);
            }
            prop_assert!(limiter.len() <= table);
        }
        for times in allowed.values() {
            // An interval is a whole number of microseconds.
            prop_assert!(within(times, 1_000_000 / (1_000_000 / rate), burst));
        }
        if table >= 12 {
            prop_assert!(asked.keys().all(|source| allowed.contains_key(source)));
        }
    }

    // Mutation: `true` for `false` in `room` makes this fail.
    #[test]
    fn d2_the_table_is_bounded_fair_and_strangers_never_evict_known_peers(
        steps in prop::collection::vec((0_u32..6, any::<bool>(), prop::option::weighted(0.2, 0_usize..40)), 1..300),
        cap in 1_usize..24, per_source in 1_usize..8,
    ) {
        let mut table = HalfOpens::default();
        // The same, as a list in order of arrival.
        let mut model: VecDeque<(u32, Place)> = VecDeque::new();
        for (index, (source, known, leave)) in (0_u32..).zip(steps) {
            if let Some(leave) = leave.filter(|leave| *leave < model.len()) {
                let (index, _) = model.remove(leave).unwrap();
                prop_assert_eq!(table.remove(index).map(|(_, it)| it), Some(index));
            }
            let source = v4(source);
            let count = |model: &VecDeque<(u32, Place)>, known: bool| model.iter().filter(|(_, it)| it.known == known).count();
            let before = count(&model, true);
            let mut ephemeral = [0; 32];
            ephemeral[..4].copy_from_slice(&index.to_be_bytes());
            let place = Place { source, known, ephemeral };
            loop {
                match table.room(cap, per_source, source, known) {
                    Room::Free => {
                        table.insert(index, place, index);
                        model.push_back((index, place));
                        break;
                    }
                    Room::Instead(other) => {
                        let position = model.iter().position(|(index, _)| *index == other).unwrap();
                        let (_, gone) = model.remove(position).unwrap();
                        prop_assert!(known || !gone.known, "a stranger evicted a known peer");
                        let mut older = model.iter().take(position).filter(|(_, it)| it.known == gone.known);
                        prop_assert!(!older.any(|(_, it)| it.source == gone.source), "the oldest goes first");
                        table.remove(other);
                    }
                    Room::None => {
                        prop_assert!(!known && before > 0);
                        break;
                    }
                }
            }
            prop_assert!(known || count(&model, true) == before);
            prop_assert!(model.len() <= cap);
            prop_assert!(table.of_source(source) <= per_source);
            let mut sorted: Vec<_> = model.iter().copied().collect();
            sorted.sort_by_key(|(index, _)| *index);
            prop_assert_eq!(table.places(), sorted);
            for (index, place) in &model {
                prop_assert_eq!(table.repeated(&place.ephemeral), Some(index));
            }
        }
    }
}

// Mutation: `let most = cap` in `room` makes this fail.
#[test]
fn d2_strangers_leave_a_quarter_to_known_peers_and_the_other_way_round() {
    for known in [false, true] {
        let mut table = HalfOpens::default();
        let mut put = |index: u32, known: bool| {
            let mut ephemeral = [u8::from(known); 32];
            ephemeral[..4].copy_from_slice(&index.to_be_bytes());
            while let Room::Instead(other) = table.room(256, 16, v4(index), known) {
                table.remove(other);
            }
            table.insert(index, Place { source: v4(index), known, ephemeral }, known);
            let count = |known: bool| table.iter().filter(|(_, _, it)| **it == known).count();
            (count(known), count(!known))
        };
        for index in 0..1000 {
            put(index, known);
        }
        assert_eq!(put(1000, known), (192, 0));
        for index in 2000..2064 {
            put(index, !known);
        }
        assert_eq!(put(3000, known), (192, 64), "nobody of the other class went");
    }
}

/// An INIT as far as cookies look at it.
fn init(fill: u8) -> Vec<u8> {
    let header = packet::InitHeader { class: Class::Open, transport: Transport::Udp, sender: 7 };
    let mut bytes = Vec::new();
    let start = packet::begin_init(header, &mut bytes);
    bytes.resize(packet::UDP_HANDSHAKE_LEN - 32, fill);
    packet::finish_init(&mut bytes, start, |before| mac1(&responder(), before));
    bytes
}

fn responder() -> PublicKey {
    PublicKey::from([9; 32])
}

fn parsed(bytes: &[u8]) -> packet::Init<'_> {
    let Ok(Packet::Init(init)) = packet::parse(bytes) else { panic!("an INIT") };
    init
}

fn reply(bytes: &[u8]) -> packet::Cookie<'_> {
    let Ok(Packet::Cookie(cookie)) = packet::parse(bytes) else { panic!("a COOKIE") };
    cookie
}

fn with_cookie(mut bytes: Vec<u8>, cookie: [u8; 16]) -> Vec<u8> {
    packet::set_mac2(&mut bytes, |before| mac2(&cookie, before));
    bytes
}

// Mutation: `cookie` without the port, or `SECRET_LIFE` of an hour, makes this fail.
#[test]
fn d2_a_cookie_is_for_one_address_and_port_and_expires() {
    let mut secret = CookieSecret::default();
    let home = at("192.0.2.1:1000");
    let mut draws = 0;
    let mut draw = || {
        draws += 1;
        Zeroizing::new([draws; 32])
    };
    let proves = |secret: &CookieSecret, now, from, cookie| {
        let bytes = with_cookie(init(1), cookie);
        let init = parsed(&bytes);
        secret.proves(now, from, init.before_mac2, &init.mac2)
    };
    assert!(!proves(&secret, START, home, [0; 16]), "no secret was drawn yet");
    let cookie = secret.cookie(START, home, &mut draw);
    assert!(proves(&secret, START, home, cookie));
    for other in ["192.0.2.1:1001", "192.0.2.2:1000", "[2001:db8::1]:1000"] {
        assert!(!proves(&secret, START, at(other), cookie), "{other}");
    }
    // Good for 120 s at least, whenever in the life of its secret it was made, and for 240 s at most.
    let secs = |s| START + Duration::from_secs(s);
    let late = secret.cookie(secs(119), home, &mut draw);
    assert_eq!(late, cookie);
    assert!(proves(&secret, secs(239), home, cookie));
    assert!(!proves(&secret, secs(240), home, cookie));
    let next = secret.cookie(secs(121), home, &mut draw);
    assert_ne!(next, cookie);
    assert!(proves(&secret, secs(239), home, cookie) && proves(&secret, secs(239), home, next));
    let third = secret.cookie(secs(1000), home, &mut draw);
    assert!(!proves(&secret, secs(1000), home, next) && proves(&secret, secs(1000), home, third));
    assert_eq!(draws, 3);
    // mac2 is for one INIT.
    let bytes = with_cookie(init(1), third);
    let other = init(2);
    assert!(!secret.proves(secs(1000), home, parsed(&other).before_mac2, &parsed(&bytes).mac2));
}

// Mutation: `resent` never set, or `tries` not counted, makes this fail.
#[test]
fn d1_cookies_move_an_init_once_each_time_that_it_is_sent() {
    let key = ReplyKey::new(&responder());
    let bytes = init(1);
    let genuine = key.seal(7, [1; 24], [5; 16], &parsed(&bytes).mac1);
    assert_eq!(genuine.len(), COOKIE_LEN);
    assert!(genuine.len() < bytes.len());
    let mut turn = CookieTurn::default();
    let on_cookie = |turn: &mut CookieTurn, bytes: &[u8]| turn.on_cookie(&responder(), &init(1), &reply(bytes));
    assert_eq!(on_cookie(&mut turn, &genuine), Reply::Resend([5; 16]));
    let second = key.seal(7, [2; 24], [6; 16], &parsed(&bytes).mac1);
    assert_eq!(on_cookie(&mut turn, &second), Reply::Keep([6; 16]));
    turn.sent();
    assert_eq!(on_cookie(&mut turn, &second), Reply::Resend([6; 16]));

    // Another INIT's, another responder's, every damaged one: nothing, eight times, and then not even looked at.
    let mut turn = CookieTurn::default();
    let strange = key.seal(7, [1; 24], [5; 16], &parsed(&init(2)).mac1);
    let wrong = ReplyKey::new(&PublicKey::from([8; 32])).seal(7, [1; 24], [5; 16], &parsed(&bytes).mac1);
    for forged in [&strange, &wrong] {
        assert_eq!(on_cookie(&mut turn, forged), Reply::Ignore);
    }
    for place in 8..COOKIE_LEN {
        let mut damaged = genuine.clone();
        damaged[place] ^= 1;
        assert_eq!(on_cookie(&mut turn, &damaged), Reply::Ignore, "{place}");
    }
    assert!(!turn.used());
    assert_eq!(on_cookie(&mut turn, &genuine), Reply::Ignore);
    turn.sent();
    assert_eq!(on_cookie(&mut turn, &genuine), Reply::Resend([5; 16]));
}

// Mutation: the test of `MAX_COOKIES` left out, or `get` without the time, makes this fail.
#[test]
fn d2_an_initiator_keeps_cookies_for_120_s_and_a_bounded_number() {
    let mut jar = CookieJar::default();
    let addr = |n: u16| SocketAddr::from((Ipv6Addr::LOCALHOST, n));
    for n in 0..5000 {
        jar.put(START + Duration::from_millis(u64::from(n)), addr(n), responder(), [1; 16]);
    }
    assert_eq!(jar.len(), 1024);
    let put = START + Duration::from_millis(4999);
    assert_eq!(jar.get(put, addr(0), &responder()), None);
    assert_eq!(jar.get(put, addr(4999), &responder()), Some([1; 16]));
    assert_eq!(jar.get(put, addr(4999), &PublicKey::from([1; 32])), None);
    assert_eq!(jar.get(put + Duration::from_secs(119), addr(4999), &responder()), Some([1; 16]));
    assert_eq!(jar.get(put + Duration::from_secs(120), addr(4999), &responder()), None);
    jar.put(put + Duration::from_secs(200), addr(1), responder(), [2; 16]);
    assert_eq!(jar.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    // Mutation: `under_load` without the table makes this fail.
    #[test]
    fn d2_under_load_nobody_is_read_without_a_cookie(
        callers in prop::collection::vec((0_u64..10_000, 0_u32..50, any::<bool>(), 0_usize..256, 0_usize..20), 1..500),
    ) {
        let limits = Limits::default();
        let mut door = Door::new(&responder());
        let mut now = START;
        let mut unproven = Vec::new();
        let mut by_source: BTreeMap<(u32, bool), Vec<Time>> = BTreeMap::new();
        for (wait, source, proven, half_open, half_open_of_source) in callers {
            now = now + Duration::from_micros(wait);
            let caller = Caller { source: v4(source), proven, half_open, half_open_of_source };
            let admission = door.admit(now, &limits, caller);
            prop_assert_eq!(admission == Admission::Cookie, !proven && admission != Admission::Answer);
            if admission == Admission::Answer {
                by_source.entry((source, proven)).or_default().push(now);
                if !proven {
                    prop_assert!(half_open <= limits.half_open / 2 && half_open_of_source < limits.half_open_per_source);
                    unproven.push(now);
                }
            }
        }
        prop_assert!(within(&unproven, limits.unproven_rate, limits.unproven_burst));
        prop_assert!(by_source.values().all(|times| within(times, limits.source_rate, limits.source_burst)));
    }

    // Mutation: `unproven` in place of `proven` in `admit` makes this fail.
    #[test]
    fn d2_who_has_a_proven_address_is_not_limited_by_forgers_of_it(
        forged in prop::collection::vec(0_u64..1_000, 100..1_000),
    ) {
        let limits = Limits::default();
        let mut door = Door::new(&responder());
        let mut now = START;
        let caller = Caller { source: v4(7), proven: false, half_open: 0, half_open_of_source: 0 };
        for (n, wait) in forged.into_iter().enumerate() {
            now = now + Duration::from_micros(wait);
            door.admit(now, &limits, Caller { half_open: n % 256, ..caller });
        }
        for _ in 0..limits.source_burst {
            prop_assert_eq!(door.admit(now, &limits, Caller { proven: true, half_open: 256, ..caller }), Admission::Answer);
        }
    }
}
