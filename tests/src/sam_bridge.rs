//! A SAM bridge on loopback without any router behind it, which works or fails as told. Its sessions reach each other.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use burdock_core::{Destination, PrivateDestination};

/// How the bridge does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// As a router's.
    Works,
    /// Nobody listens.
    Refuses,
    /// It takes connections and says nothing.
    Hangs,
    /// It says what is no SAM.
    Lies,
    /// It says hello and hangs up.
    Dies,
}

/// The bridge. Its threads end with the process.
pub struct Bridge {
    /// Where it listens, or would.
    pub addr: SocketAddr,
    network: Arc<Mutex<Network>>,
}

#[derive(Default)]
struct Network {
    /// The private destination of each session, by its id.
    sessions: HashMap<String, PrivateDestination>,
    /// Streams that wait for a caller, with the session that they belong to.
    waiting: Vec<(String, TcpStream)>,
    /// Both ends of streams between sessions, by number.
    joined: HashMap<u32, [TcpStream; 2]>,
    /// How many streams there were.
    streams: u32,
    /// How many destinations were made.
    made: u32,
}

impl Bridge {
    /// Listens on a port of its own.
    ///
    /// # Panics
    /// When loopback has no port.
    #[must_use]
    pub fn new(mood: Mood) -> Self {
        Self::at(0, mood)
    }

    /// Listens on this port.
    ///
    /// # Panics
    /// When the port is taken.
    #[must_use]
    pub fn at(port: u16, mood: Mood) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port is free");
        let addr = listener.local_addr().expect("it is bound");
        let network = Arc::new(Mutex::new(Network::default()));
        if mood != Mood::Refuses {
            let shared = Arc::clone(&network);
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let network = Arc::clone(&shared);
                    // An error is a client that hung up.
                    thread::spawn(move || serve(mood, &network, stream).unwrap_or_default());
                }
            });
        }
        Self { addr, network }
    }

    /// A destination to be used here, the same for the same number. Nobody is there until somebody uses it.
    ///
    /// # Panics
    /// Never: the text is well formed.
    #[must_use]
    pub fn destination(n: u32) -> PrivateDestination {
        PrivateDestination::from_text(&private_text(1_000_000 + n)).expect("a private destination")
    }

    /// Ends every stream between two sessions; the sessions stand, and their streams that wait go on waiting.
    pub fn reset_streams(&self) {
        for end in lock(&self.network).joined.values().flatten() {
            // With this the close of the last who holds it is a reset.
            let _ = socket2::SockRef::from(end).set_linger(Some(Duration::ZERO));
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    /// Waits until a caller would find a stream at this destination.
    pub fn until_somebody_waits_at(&self, destination: &Destination) {
        let waits = || {
            let network = lock(&self.network);
            network.waiting.iter().any(|(id, _)| {
                network.sessions.get(id).is_some_and(|private| private.public().as_str() == destination.as_str())
            })
        };
        while !waits() {
            thread::yield_now();
        }
    }
}

fn serve(mood: Mood, network: &Mutex<Network>, mut stream: TcpStream) -> io::Result<()> {
    match mood {
        Mood::Lies => return stream.write_all(b"HTTP/1.1 200 RESULT=OK\r\n\r\n"),
        Mood::Works | Mood::Dies => {}
        Mood::Hangs | Mood::Refuses => return io::copy(&mut stream, &mut io::sink()).map(drop),
    }
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    let mut control = None;
    while lines.read_line(&mut line)? > 0 {
        let value = |name: &str| {
            let value = line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            value.unwrap_or_default().to_owned()
        };
        let words: Vec<&str> = line.split_whitespace().take(2).collect();
        let answer = match words[..] {
            ["HELLO", _] => "HELLO REPLY RESULT=OK VERSION=3.1\n".to_owned(),
            ["SESSION", _] => {
                let id = control.insert(Control { network, id: value("ID") }).id.as_str();
                create(network, id, &value("DESTINATION"))
            }
            ["NAMING", _] => naming(network, control.as_ref().map_or("", |control| &control.id)),
            ["STREAM", "ACCEPT"] => return wait(network, value("ID"), stream),
            ["STREAM", "CONNECT"] => {
                return match callee(network, &value("ID"), &value("DESTINATION")) {
                    Some((peer, from)) => join(network, stream, lines, peer, &from),
                    None => stream.write_all(b"STREAM STATUS RESULT=CANT_REACH_PEER\n"),
                };
            }
            _ => return Ok(()),
        };
        stream.write_all(answer.as_bytes())?;
        if mood == Mood::Dies {
            return Ok(());
        }
        line.clear();
    }
    Ok(())
}

/// The socket that a session stands with, and in whatever way it ends, the session does.
struct Control<'a> {
    network: &'a Mutex<Network>,
    id: String,
}

impl Drop for Control<'_> {
    fn drop(&mut self) {
        let mut network = lock(self.network);
        network.sessions.remove(&self.id);
        network.waiting.retain(|(of, _)| *of != self.id);
    }
}

/// Keeps a stream for whoever calls its session.
fn wait(network: &Mutex<Network>, id: String, mut stream: TcpStream) -> io::Result<()> {
    let mut network = lock(network);
    if !network.sessions.contains_key(&id) {
        return stream.write_all(b"STREAM STATUS RESULT=INVALID_ID\n");
    }
    stream.write_all(b"STREAM STATUS RESULT=OK\n")?;
    network.waiting.push((id, stream));
    Ok(())
}

fn lock(network: &Mutex<Network>) -> std::sync::MutexGuard<'_, Network> {
    network.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A destination's 384 bytes of keys, its certificate for Ed25519, and private keys that nobody uses.
fn private_text(n: u32) -> String {
    let keys: String = format!("{n:08}").chars().cycle().take(512).collect();
    format!("{keys}BQAEAAcA{}", "A".repeat(388))
}

fn create(network: &Mutex<Network>, id: &str, destination: &str) -> String {
    let mut network = lock(network);
    network.made += 1;
    let text = if destination == "TRANSIENT" { private_text(network.made) } else { destination.to_owned() };
    let Ok(private) = PrivateDestination::from_text(&text) else {
        return "SESSION STATUS RESULT=INVALID_KEY\n".to_owned();
    };
    network.sessions.insert(id.to_owned(), private);
    format!("SESSION STATUS RESULT=OK DESTINATION={text}\n")
}

fn naming(network: &Mutex<Network>, id: &str) -> String {
    match lock(network).sessions.get(id) {
        Some(private) => format!("NAMING REPLY RESULT=OK NAME=ME VALUE={}\n", private.public()),
        None => "NAMING REPLY RESULT=INVALID_KEY NAME=ME\n".to_owned(),
    }
}

/// A stream that waits at that destination, and who calls.
fn callee(network: &Mutex<Network>, caller: &str, destination: &str) -> Option<(TcpStream, String)> {
    let mut network = lock(network);
    let from = network.sessions.get(caller)?.public().to_string();
    let (id, _) = network.sessions.iter().find(|(_, private)| private.public().as_str() == destination)?;
    let at = network.waiting.iter().position(|(of, _)| of == id)?;
    Some((network.waiting.remove(at).1, from))
}

fn join(
    network: &Mutex<Network>,
    mut caller: TcpStream,
    mut calls: BufReader<TcpStream>,
    mut callee: TcpStream,
    from: &str,
) -> io::Result<()> {
    callee.write_all(format!("{from}\n").as_bytes())?;
    caller.write_all(b"STREAM STATUS RESULT=OK\n")?;
    let ends = [caller.try_clone()?, callee.try_clone()?];
    let number = {
        let mut network = lock(network);
        network.streams += 1;
        let number = network.streams;
        network.joined.insert(number, ends);
        number
    };
    let (mut back, mut forth) = (callee.try_clone()?, callee);
    thread::spawn(move || copy(&mut back, &mut caller));
    copy(&mut calls, &mut forth);
    lock(network).joined.remove(&number);
    Ok(())
}

/// To the end of either: I2P knows no half of a stream.
fn copy(from: &mut impl Read, to: &mut TcpStream) {
    let _ = io::copy(from, to);
    let _ = to.shutdown(Shutdown::Both);
}
