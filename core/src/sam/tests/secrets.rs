//! The private destination that a router gives: where it may be, and where not.

use core::ops::Range;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::*;
use crate::crypto::{HANDSHAKE_STACK, wiped};
use crate::{Link, PublicKey};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-~";
const HEAD: &str = "SESSION STATUS RESULT=OK DESTINATION=";
const HELLO: &str = "HELLO REPLY RESULT=OK VERSION=3.1\n";
/// Where in the text there is nothing but private keys.
const SECRET: Range<usize> = 524..908;

/// Character `n` of the private keys of a test.
fn secret(test: u64, n: usize) -> u8 {
    let mixed = (n as u64 + test * 1000 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ALPHABET[(mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) as usize >> 58]
}

/// What a router says of its new session. Written where it stays: no copy is left elsewhere.
fn status(test: u64) -> Zeroizing<Vec<u8>> {
    wiped::<HANDSHAKE_STACK, _>(|| {
        let mut line = Zeroizing::new(Vec::with_capacity(1024));
        line.extend_from_slice(HEAD.as_bytes());
        line.extend_from_slice(&destination(4, 0).as_bytes()[..520]);
        line.extend_from_slice(b"AQAA");
        line.extend(SECRET.map(|n| secret(test, n)));
        line.push(b'\n');
        line
    })
}

fn naming() -> Vec<u8> {
    format!("NAMING REPLY RESULT=OK NAME=ME VALUE={}\n", destination(4, 0)).into_bytes()
}

fn created(identity: Option<Arc<PrivateDestination>>) -> Socket {
    let mut socket = Socket::control(id(), identity, SessionOptions::default());
    socket.opened();
    assert!(socket.command().is_some() && socket.read(&mut HELLO.to_owned().into_bytes()).1.is_none());
    assert!(socket.command().is_some());
    socket
}

#[test]
fn t8_e15_the_private_destination_is_not_shown() {
    // Mutation: leaving out the look at `MAX_WORD` in `cleaned` makes this fail.
    let mut texts = Vec::new();
    let mut socket = created(None);
    assert!(socket.read(&mut status(0)).1.is_none());
    texts.push(String::from_utf8(socket.command().unwrap().to_vec()).unwrap());
    let happened = socket.read(&mut naming()).1.unwrap();
    texts.push(format!("{happened:?} {:?}", Some(&happened)));
    let Happened::SessionStands { address, private } = happened else { panic!("the session stands") };
    assert_eq!(private.public(), address);
    let mut link = Link::direct(PublicKey::from([7; 32]), "192.0.2.1:1".parse().unwrap());
    link.i2p = Some(private.public());
    texts.extend([address.to_string(), format!("{address:?} {link:?}"), link.to_string()]);
    texts.push(serde_json::to_string(&address).unwrap());
    // It is no address, whoever takes it for one.
    let refused = private.expose().parse::<Destination>().unwrap_err();
    texts.push(format!("{refused} {refused:?}"));
    // A router that repeats what it was told, cuts it short, calls it something else, or dies over it.
    let line = status(0);
    let key = core::str::from_utf8(&line[HEAD.len()..line.len() - 1]).unwrap();
    for (reply, ends) in [
        (format!("SESSION STATUS RESULT=I2P_ERROR MESSAGE=\"bad key {key}\"\n"), false),
        (format!("SESSION STATUS RESULT=I2P_ERROR MESSAGE=\"bad key ..{}\"\n", &key[600..660]), false),
        (format!("SESSION STATUS RESULT={key}\n"), false),
        (format!("SESSION STATUS RESULT=OK DESTINATION={}\n", &key[..905]), false),
        (format!("SESSION STATUS RESULT=OK DESTINATION={key}"), true),
        (format!("SESSION STATUS RESULT=DUPLICATE_DEST MESSAGE={key}"), true),
        (format!("NAMING REPLY RESULT=OK NAME=ME VALUE={key}\n"), false),
        (format!("{key}\n"), false),
    ] {
        let mut socket = created(None);
        let (_, happened) = socket.read(&mut reply.into_bytes());
        let happened = if ends { socket.ended() } else { happened.unwrap() };
        let Happened::Failed(error) = &happened else { panic!("{happened:?}") };
        texts.push(format!("{happened:?} {error:?} {error}"));
    }
    let mut wrong = Socket::accept(id());
    wrong.opened();
    assert!(wrong.command().is_some());
    texts.push(format!("{:?}", wrong.read(&mut line.clone())));
    let shown = texts.iter().filter(|text| {
        let windows = text.as_bytes().windows(12);
        windows.into_iter().any(|window| key[SECRET].as_bytes().windows(12).any(|part| part == window))
    });
    burdock_ledger::reached("T8", "texts that show it", u32::try_from(shown.count()).unwrap());
}

/// The pieces of the private keys of `test`, masked: 8 characters of the text, and 8 bytes of what they stand for.
fn needles(test: u64) -> Vec<u64> {
    wiped::<HANDSHAKE_STACK, _>(|| {
        let value = |n: usize| ALPHABET.iter().position(|&c| c == secret(test, n)).unwrap();
        let byte = |n: usize| {
            let (group, place) = (SECRET.start + n / 3 * 4, n % 3);
            (value(group + place) << (2 + 2 * place) | value(group + place + 1) >> (4 - 2 * place)) as u8
        };
        let masked = |bytes: [u8; 8]| !u64::from_le_bytes(bytes);
        let text = SECRET.step_by(8).map(|n| masked(core::array::from_fn(|k| secret(test, n + k))));
        let raw = (0..SECRET.len() / 4 * 3).step_by(8).map(|n| masked(core::array::from_fn(|k| byte(n + k))));
        text.chain(raw).collect()
    })
}

/// How often each needle is in the memory that this process may write.
#[allow(clippy::disallowed_types, reason = "the core itself reads no files")]
#[cfg(target_os = "linux")]
fn search(needles: &[u64]) -> Vec<u32> {
    use std::os::unix::fs::FileExt;
    let memory = std::fs::File::open("/proc/self/mem").unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut found = vec![0; needles.len()];
    let mut first = vec![false; 1 << 16];
    needles.iter().for_each(|needle| first[(!needle & 0xffff) as usize] = true);
    let mut chunk = vec![0; 1 << 16];
    let own = chunk.as_ptr() as u64;
    let own = own..own + chunk.len() as u64;
    for line in maps.lines().filter(|line| line.split_whitespace().nth(1).is_some_and(|may| may.starts_with("rw"))) {
        let (from, to) = line.split_whitespace().next().unwrap().split_once('-').unwrap();
        let [mut at, to] = [from, to].map(|address| u64::from_str_radix(address, 16).unwrap());
        while at + 8 <= to {
            let len = (to - at).min(chunk.len() as u64) as usize;
            // Another test's thread may have given it back meanwhile.
            let Ok(len @ 8..) = memory.read_at(&mut chunk[..len], at) else { break };
            for (n, window) in chunk[..len].windows(8).enumerate() {
                let word = u64::from_le_bytes(window.try_into().unwrap());
                if first[(word & 0xffff) as usize] && !own.contains(&(at + n as u64)) {
                    found.iter_mut().zip(needles).filter(|(_, needle)| !**needle == word).for_each(|(n, _)| *n += 1);
                }
            }
            chunk.fill(0);
            at += len as u64 - 7;
        }
    }
    found
}

// Mutation: leaving out `taken.zeroize()` in `LineBuffer::fill`, `==` for `>` in `append`, or `decode` into a `Vec` makes this
// fail.
#[cfg(target_os = "linux")]
#[test]
fn t8_the_private_destination_is_wiped() {
    let needles = needles(1);
    let in_text = SECRET.len() / 8;
    let search = || wiped::<HANDSHAKE_STACK, _>(|| search(&needles));
    assert!(search().iter().all(|&times| times == 0), "masked");

    let mut socket = created(None);
    let mut said = status(1);
    // In pieces, so that the buffer grows over it, and not where it is, as others have what is behind.
    let mut others = Vec::new();
    let (first, rest) = said.split_at_mut(90);
    for piece in [first].into_iter().chain(rest.chunks_mut(32)) {
        let len = piece.len();
        assert!(matches!(socket.read(piece), (consumed, None) if consumed == len));
        others.push(vec![0_u8; 4096]);
    }
    assert!(said.iter().all(|&byte| byte == 0));
    let Some(Happened::SessionStands { private, .. }) = ({
        assert!(socket.command().is_some());
        socket.read(&mut naming()).1
    }) else {
        panic!("the session stands")
    };
    let found = search();
    assert!(found[..in_text].iter().all(|&times| times == 1), "it is in one place: {found:?}");
    assert!(found[in_text..].iter().all(|&times| times == 0), "only as text: {found:?}");

    // Kept, and used for the next session; a router that dies in the middle of its answer.
    let mut again = created(Some(Arc::new(private)));
    again.read(&mut status(1)[..800]);
    assert!(search()[..in_text - 20].iter().all(|&times| times == 2), "in the line, too");
    again.ended();
    drop(again);
    drop(socket);
    let left: u32 = search().iter().sum();
    burdock_ledger::reached("T8", "pieces of it left in memory", left);
}
