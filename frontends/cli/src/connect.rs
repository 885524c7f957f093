//! `burdock connect`: dial a peer and talk.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use burdock_core::{Host, Link};
use tokio::sync::Mutex;

use crate::args::ConnectArgs;
use crate::converse::converse;
use crate::failure::{Failure, INTERRUPTED};
use crate::output::{Console, exit_status};
use crate::stop::asked_to_stop;
use crate::{i2p, id, lines};

pub(crate) async fn run(args: ConnectArgs, console: Console) -> Result<u8, Failure> {
    let link: Link = args.link.parse().map_err(|error| Failure::usage(format!("the link is malformed: {error}")))?;
    let identity = id::choose(&args.talk.own, console)?;
    let max_message = args.talk.preset.config().limits.max_message as usize;
    let bind = args.bind.unwrap_or_else(|| any_address(&link));
    let opened = i2p::open(&args.talk.own, args.talk.preset.config(), bind, Some(&link), identity, console).await?;
    let (session, updates) = opened.endpoint.connect(&link).map_err(|error| Failure::usage(error.to_string()))?;

    let output = Arc::new(Mutex::new(tokio::io::stdout()));
    let input = lines::from_stdin(max_message);
    let end = tokio::select! {
        end = converse(session, updates, None, input, output, console, asked_to_stop()) => end,
        told = i2p::watch(&opened.endpoint, &args.talk.own, console, None, |_| Ok(())) => told.map(|()| None),
    };
    opened.shutdown().await;
    end.map(|end| end.map_or(INTERRUPTED, |end| exit_status(&end.closed, end.skipped)))
}

/// Any local address of the family that the link needs.
fn any_address(link: &Link) -> SocketAddr {
    let ip = match link.host {
        Some(Host::Address(IpAddr::V6(_))) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    SocketAddr::new(ip, 0)
}
