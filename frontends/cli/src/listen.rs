//! `burdock listen`: wait for peers and talk.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use burdock_core::{AcceptPolicy, Destination, Host, Invite, Link, RouterState};
use burdock_tokio::{Endpoint, Session, Updates};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;

use crate::args::ListenArgs;
use crate::converse::{Output, converse};
use crate::failure::{Failure, INTERRUPTED};
use crate::lines::Line;
use crate::output::{Console, Note, short};
use crate::stop::asked_to_stop;
use crate::{i2p, id, lines};

/// Lines that wait for a session to send them.
const QUEUE: usize = 16;

/// Where lines go: one queue for each session.
type Rooms = watch::Sender<Vec<mpsc::Sender<Line>>>;

pub(crate) async fn run(args: ListenArgs, console: Console) -> Result<u8, Failure> {
    let invite = if args.invite { Some(new_invite()?) } else { None };
    let policy = policy(&args, invite.as_ref())?;
    let identity = id::choose(&args.talk.own, console)?;
    let max_message = args.talk.preset.config().limits.max_message as usize;
    let opened = i2p::open(&args.talk.own, args.talk.preset.config(), args.door.bind, None, identity, console).await?;
    let endpoint = opened.endpoint.clone();
    endpoint.set_accept(policy);
    if endpoint.local_addr().is_some() {
        announce(&args, &endpoint, None, invite.as_ref(), console)?;
    }

    let rooms: Arc<Rooms> = Arc::new(watch::Sender::new(Vec::new()));
    let result = tokio::select! {
        () = hand_out(lines::from_stdin(max_message), &rooms) => unreachable!("handing out lines does not end"),
        result = welcome(&endpoint, &rooms, console) => result,
        told = i2p::watch(&endpoint, &args.talk.own, console, None, |state| match state {
            RouterState::Up { address } => announce(&args, &endpoint, Some(address.clone()), invite.as_ref(), console),
            _ => Ok(()),
        }) => told.map(|()| 0),
        () = asked_to_stop() => Ok(INTERRUPTED),
    };
    opened.shutdown().await;
    result
}

/// Who gets in. Nobody at all would be a mistake.
fn policy(args: &ListenArgs, invite: Option<&Invite>) -> Result<AcceptPolicy, Failure> {
    if args.door.allow.is_empty() && !args.door.anyone && invite.is_none() {
        return Err(Failure::usage(
            "nobody could connect: name the keys to let in with --allow KEY, or use --invite or --anyone",
        ));
    }
    let base = if args.door.anyone { AcceptPolicy::anyone() } else { AcceptPolicy::nobody() };
    let policy = args.door.allow.iter().fold(base, |policy, key| policy.allow(*key));
    Ok(match invite {
        Some(invite) => policy.invite(invite.id, **invite.secret),
        None => policy,
    })
}

fn new_invite() -> Result<Invite, Failure> {
    let (name, secret) = (id::random()?, id::random()?);
    let mut id = [0; 8];
    id.copy_from_slice(&name[..8]);
    // An id of zero stands for no invite.
    id[0] |= 1;
    Ok(Invite::new(id, *secret))
}

/// Says by which link we can be reached: directly, by an I2P destination, or both.
fn announce(
    args: &ListenArgs,
    endpoint: &Endpoint,
    destination: Option<Destination>,
    invite: Option<&Invite>,
    console: Console,
) -> Result<(), Failure> {
    let address = endpoint.local_addr();
    let over_i2p = destination.is_some();
    let mut link = link_to(endpoint, args.door.host.as_deref(), destination)?;
    link.invite = invite.cloned();
    let invited = invite.is_some();
    let link = link.to_string();
    let (key, shown) = (endpoint.public_key().to_string(), address.map(|address| address.to_string()));
    console.note(&Note::Listening { link: &link, key, address: shown.clone() });
    console.say(&match (shown, over_i2p) {
        (Some(address), false) => format!("Listening on {address}, over UDP and TCP. Your link:"),
        (Some(_), true) => {
            "Listening over I2P too. Your link, which tells that this address and this destination are one:".to_owned()
        }
        (None, _) => "Listening over I2P. Your link:".to_owned(),
    });
    console.say(&format!("  {link}"));
    console.say(match (args.door.anyone, invited, args.door.allow.len()) {
        (true, ..) => "Anyone who has it can connect.",
        (false, true, 0) => {
            "Whoever is the first to use it can connect: it holds an invite. Send it to one person, in private."
        }
        (false, true, _) => {
            "Whoever is the first to use it can connect: it holds an invite. Send it to one person, in private. The \
             keys that you allowed need no invite: send them the link up to the question mark."
        }
        (false, false, 1) => "Only the key that you allowed can connect.",
        (false, false, _) => "Only the keys that you allowed can connect.",
    });
    Ok(())
}

/// The link by which peers reach the endpoint: directly, at `host` if it is given, by an I2P destination, or both.
pub(crate) fn link_to(
    endpoint: &Endpoint,
    host: Option<&str>,
    destination: Option<Destination>,
) -> Result<Link, Failure> {
    let key = endpoint.public_key();
    let address = endpoint.local_addr();
    let mut link = match address {
        Some(address) => Link::direct(key, SocketAddr::new(reachable(address.ip()), address.port())),
        None => Link { key, host: None, udp_port: None, tcp_port: None, i2p: None, invite: None },
    };
    if let Some(host) = host.filter(|_| address.is_some()) {
        link.host = Some(host.parse().map_or_else(|_| Host::Name(host.to_owned()), Host::Address));
    }
    link.i2p = destination;
    // An anonymous endpoint has no address to be reached at before the router stands.
    if link.host.is_some() {
        link.to_string()
            .parse::<Link>()
            .map_err(|error| Failure::usage(format!("--host does not make a link: {error}")))?;
    }
    Ok(link)
}

/// The address to put into a link: this machine's own, where the socket listens on all of them.
fn reachable(bound: IpAddr) -> IpAddr {
    if !bound.is_unspecified() {
        return bound;
    }
    // Connecting a UDP socket sends nothing; it makes the system choose the address that faces the
    // world. The destinations are reserved for documentation (RFC 5737, RFC 3849).
    let (any, out) = match bound {
        IpAddr::V4(_) => ("0.0.0.0:0", "192.0.2.1:9"),
        IpAddr::V6(_) => ("[::]:0", "[2001:db8::1]:9"),
    };
    let chosen = UdpSocket::bind(any).and_then(|socket| {
        socket.connect(out)?;
        socket.local_addr()
    });
    match chosen {
        Ok(address) if !address.ip().is_unspecified() => address.ip(),
        _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
    }
}

/// Takes in one peer after the other.
async fn welcome(endpoint: &Endpoint, rooms: &Arc<Rooms>, console: Console) -> Result<u8, Failure> {
    let output: Output = Arc::new(Mutex::new(tokio::io::stdout()));
    let mut talks = JoinSet::new();
    loop {
        tokio::select! {
            accepted = endpoint.accept() => {
                let Some((session, updates)) = accepted else { return Ok(0) };
                talks.spawn(talk(session, updates, Arc::clone(rooms), Arc::clone(&output), console));
            }
            Some(ended) = talks.join_next() => ended.unwrap_or(Ok(()))?,
        }
    }
}

async fn talk(
    session: Session,
    updates: Updates,
    rooms: Arc<Rooms>,
    output: Output,
    console: Console,
) -> Result<(), Failure> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    rooms.send_modify(|rooms| rooms.push(sender.clone()));
    let name = short(&session.peer());
    let end = converse(session, updates, Some(name), receiver, output, console, std::future::pending()).await;
    rooms.send_modify(|rooms| rooms.retain(|room| !room.same_channel(&sender)));
    end.map(|_| ())
}

/// Gives every line to every session there is, and waits while there is none. The slowest sets the
/// pace.
async fn hand_out(mut lines: mpsc::Receiver<Line>, rooms: &Rooms) {
    let mut watcher = rooms.subscribe();
    while let Some(line) = lines.recv().await {
        // Fails only when the sender is gone, and `rooms` is that.
        let Ok(all) = watcher.wait_for(|rooms| !rooms.is_empty()).await.map(|rooms| rooms.clone()) else { break };
        for room in all {
            // A session that has just ended takes no more lines.
            let _ = room.send(line.clone()).await;
        }
    }
    std::future::pending().await
}
