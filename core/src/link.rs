//! Links: what one person sends another to be dialled by.
//!
//! ```text
//! burdock://KEY@HOST:PORT?tcp=PORT&i2p=DESTINATION&invite=ID.SECRET
//! ```
//! The port behind the host is that of UDP, and of TCP unless `tcp` names another. `udp=off` and
//! `tcp=off` switch one of the two off. A link with an I2P destination needs no host.

use core::fmt;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use core::str::FromStr;

use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use crate::key::{KeyError, PublicKey, base32};
use crate::sam::{Destination, DestinationError};

#[cfg(test)]
mod tests;

/// The longest link, in bytes.
pub const MAX_LINK: usize = 2048;

const SCHEME: &str = "burdock://";

/// A peer's key and how to reach it.
///
/// Its text form is the link itself, invite included: it is made to be shared with one person.
///
/// ```
/// use burdock_core::{Link, PublicKey};
///
/// let link = Link::direct(PublicKey::from([7; 32]), "192.0.2.1:4000".parse()?);
/// let text = link.to_string();
/// assert!(text.starts_with("burdock://") && text.ends_with("@192.0.2.1:4000"));
/// assert_eq!(text.parse::<Link>()?, link);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Who is to answer.
    pub key: PublicKey,
    /// Where, if not over I2P alone.
    pub host: Option<Host>,
    /// The host's UDP port, unless UDP is off.
    pub udp_port: Option<u16>,
    /// The host's TCP port, unless TCP is off.
    pub tcp_port: Option<u16>,
    /// The public I2P destination.
    pub i2p: Option<Destination>,
    /// What lets a stranger in.
    pub invite: Option<Invite>,
}

/// A host in a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An address.
    Address(IpAddr),
    /// A name to be looked up, in lower case.
    Name(String),
}

/// An invite: who holds it may open a session with the peer that made it.
///
/// Its text form, `ID.SECRET` in base32, gives it away; `Debug` does not.
#[derive(Clone)]
pub struct Invite {
    /// Which invite; shown to the holder of the peer's static key alone. Zero would mean none.
    pub id: [u8; 8],
    /// Mixed into the handshake, never sent. Wiped when dropped.
    pub secret: Box<Zeroizing<[u8; 32]>>,
}

/// Why a text is not a link. No message repeats a key, a secret or an address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LinkError {
    /// Longer than [`MAX_LINK`].
    #[error("a link has at most {MAX_LINK} bytes, this one has {0}; copy the link alone")]
    TooLong(usize),
    /// Something else than a link.
    #[error("a link starts with {SCHEME}; copy the whole link")]
    Scheme,
    /// The key.
    #[error("the link's key is wrong: {0}")]
    Key(#[from] KeyError),
    /// Neither a host nor a destination.
    #[error("the link has no address; ask the peer for one with @host:port or ?i2p=destination")]
    NoAddress,
    /// The host is none.
    #[error("the link's host must be a name, an IPv4 address or an IPv6 address in [brackets]; correct it")]
    Host,
    /// An address that cannot be dialled.
    #[error("the link's address stands for no single machine; ask the peer for the address of theirs")]
    NotOneMachine,
    /// A hidden service in the place of a host.
    #[error("names under .i2p and .onion cannot be looked up as hosts; give an I2P destination as ?i2p=destination")]
    HiddenName,
    /// A port is missing or no port.
    #[error("the link needs a port after the host, a number from 1 to 65535; ask the peer for it")]
    Port,
    /// The value of `tcp`.
    #[error("tcp= in the link must be a port from 1 to 65535, or off; correct it")]
    Tcp,
    /// The value of `udp`.
    #[error("udp= in the link can only be off, as its port is the one after the host; correct it")]
    Udp,
    /// Both are off.
    #[error("the link switches off both UDP and TCP; leave one of them on")]
    BothOff,
    /// `tcp` or `udp` without a host.
    #[error("the link says {0}= but has no host; add @host:port or leave it out")]
    NoHost(&'static str),
    /// The value of `i2p`.
    #[error("i2p= in the link is wrong: {0}")]
    I2p(#[from] DestinationError),
    /// The value of `invite`.
    #[error("{0}")]
    Invite(#[from] InviteError),
    /// A parameter without a value.
    #[error("what follows ? in a link is name=value, joined by &; copy the whole link")]
    Parameter,
    /// A parameter that there is not.
    #[error("the link has a parameter \"{0}\" that is not known here; update, or leave it out")]
    Unknown(String),
    /// A parameter given more than once.
    #[error("the link says {0}= more than once; leave one")]
    Twice(&'static str),
}

/// Why a text is not an invite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[error("an invite is 13 characters, a dot and 52 characters of a to z and 2 to 7; copy the whole invite")]
pub struct InviteError;

impl Link {
    /// Dials `addr` over UDP, and over TCP on the same port.
    #[must_use]
    pub const fn direct(key: PublicKey, addr: SocketAddr) -> Self {
        let (host, port) = (Some(Host::Address(addr.ip())), Some(addr.port()));
        Self { key, host, udp_port: port, tcp_port: port, i2p: None, invite: None }
    }

    /// The same link, for somebody whom the peer does not know yet.
    #[must_use]
    pub fn with_invite(mut self, invite: Invite) -> Self {
        self.invite = Some(invite);
        self
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.key)?;
        if let Some(host) = &self.host {
            match host {
                Host::Address(IpAddr::V4(ip)) => write!(f, "@{ip}")?,
                Host::Address(IpAddr::V6(ip)) => write!(f, "@[{ip}]")?,
                Host::Name(name) => write!(f, "@{name}")?,
            }
            write!(f, ":{}", self.udp_port.or(self.tcp_port).unwrap_or_default())?;
        }
        let mut mark = '?';
        let mut parameter = |name: &str, value: &dyn fmt::Display| {
            write!(f, "{mark}{name}={value}")?;
            mark = '&';
            Ok(())
        };
        if self.host.is_some() {
            match (self.udp_port, self.tcp_port) {
                (Some(udp), Some(tcp)) if udp != tcp => parameter("tcp", &tcp)?,
                (Some(_), None) => parameter("tcp", &"off")?,
                (None, _) => parameter("udp", &"off")?,
                _ => {}
            }
        }
        if let Some(i2p) = &self.i2p {
            parameter("i2p", i2p)?;
        }
        if let Some(invite) = &self.invite {
            parameter("invite", invite)?;
        }
        Ok(())
    }
}

/// The parameters, as they stand in the link.
#[derive(Default)]
struct Parameters<'a> {
    udp: Option<&'a str>,
    tcp: Option<&'a str>,
    i2p: Option<&'a str>,
    invite: Option<&'a str>,
}

impl FromStr for Link {
    type Err = LinkError;

    /// Reads a link; space around it does no harm.
    fn from_str(text: &str) -> Result<Self, LinkError> {
        let text = text.trim_ascii();
        if text.len() > MAX_LINK {
            return Err(LinkError::TooLong(text.len()));
        }
        let (scheme, rest) = text.split_at_checked(SCHEME.len()).ok_or(LinkError::Scheme)?;
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return Err(LinkError::Scheme);
        }
        let (peer, query) = rest.split_once('?').map_or((rest, None), |(peer, query)| (peer, Some(query)));
        let (key, place) = peer.split_once('@').map_or((peer, None), |(key, place)| (key, Some(place)));
        let key = key.parse()?;
        let parameters = query.map(Parameters::read).transpose()?.unwrap_or_default();
        let (host, udp_port, tcp_port) = match place {
            Some(place) => {
                let (host, port) = read_place(place)?;
                let (udp, tcp) = parameters.ports(port)?;
                (Some(host), udp, tcp)
            }
            None => {
                parameters.without_host()?;
                (None, None, None)
            }
        };
        let i2p = parameters.i2p.map(str::parse).transpose()?;
        let invite = parameters.invite.map(str::parse).transpose()?;
        Ok(Self { key, host, udp_port, tcp_port, i2p, invite })
    }
}

impl<'a> Parameters<'a> {
    fn read(query: &'a str) -> Result<Self, LinkError> {
        let mut parameters = Self::default();
        for part in query.split('&') {
            let (name, value) = part.split_once('=').ok_or(LinkError::Parameter)?;
            let (name, place) = match name {
                "udp" => ("udp", &mut parameters.udp),
                "tcp" => ("tcp", &mut parameters.tcp),
                "i2p" => ("i2p", &mut parameters.i2p),
                "invite" => ("invite", &mut parameters.invite),
                other => return Err(LinkError::Unknown(other.chars().take(16).flat_map(char::escape_debug).collect())),
            };
            if place.replace(value).is_some() {
                return Err(LinkError::Twice(name));
            }
        }
        Ok(parameters)
    }

    fn ports(&self, port: u16) -> Result<(Option<u16>, Option<u16>), LinkError> {
        let udp = match self.udp {
            None => Some(port),
            Some("off") => None,
            Some(_) => return Err(LinkError::Udp),
        };
        let tcp = match self.tcp {
            None => Some(port),
            Some("off") => None,
            Some(other) => Some(read_port(other).ok_or(LinkError::Tcp)?),
        };
        if udp.or(tcp).is_none() { Err(LinkError::BothOff) } else { Ok((udp, tcp)) }
    }

    fn without_host(&self) -> Result<(), LinkError> {
        if self.udp.is_some() {
            Err(LinkError::NoHost("udp"))
        } else if self.tcp.is_some() {
            Err(LinkError::NoHost("tcp"))
        } else if self.i2p.is_none() {
            Err(LinkError::NoAddress)
        } else {
            Ok(())
        }
    }
}

fn read_place(place: &str) -> Result<(Host, u16), LinkError> {
    let (host, port) = match place.strip_prefix('[') {
        Some(bracketed) => {
            let (ip, rest) = bracketed.split_once(']').ok_or(LinkError::Host)?;
            let ip: Ipv6Addr = ip.parse().map_err(|_| LinkError::Host)?;
            (Host::Address(ip.into()), rest.strip_prefix(':').ok_or(LinkError::Port)?)
        }
        None => {
            let (host, port) = place.split_once(':').ok_or(LinkError::Port)?;
            if port.contains(':') {
                return Err(LinkError::Host);
            }
            (read_host(host)?, port)
        }
    };
    if matches!(&host, Host::Address(ip) if ip.is_unspecified() || ip.is_multicast()) {
        return Err(LinkError::NotOneMachine);
    }
    Ok((host, read_port(port).ok_or(LinkError::Port)?))
}

fn read_port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&port| digits && port != 0)
}

fn read_host(text: &str) -> Result<Host, LinkError> {
    if let Ok(ip) = text.parse() {
        return Ok(Host::Address(IpAddr::V4(ip)));
    }
    let name = text.to_ascii_lowercase();
    let well_formed = |label: &str| {
        let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        inner && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    // Resolvers read `127.1` and `0x7f.0.0.1` as addresses.
    let number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if name.len() > 253 || number || !name.split('.').all(well_formed) {
        return Err(LinkError::Host);
    }
    // A look-up would tell the resolver whom this peer talks to (RFC 7686 §2).
    if matches!(last, "i2p" | "onion") {
        return Err(LinkError::HiddenName);
    }
    Ok(Host::Name(name))
}

impl Invite {
    /// The invite with this id and secret, both random; the id is not zero, which means none.
    #[must_use]
    pub fn new(id: [u8; 8], mut secret: [u8; 32]) -> Self {
        // On the heap, as links are moved about and leave copies of themselves behind.
        let mut kept = Box::new(Zeroizing::new([0; 32]));
        kept.copy_from_slice(&secret);
        secret.zeroize();
        Self { id, secret: kept }
    }
}

impl PartialEq for Invite {
    fn eq(&self, other: &Self) -> bool {
        (self.id.ct_eq(&other.id) & self.secret.ct_eq(&**other.secret)).into()
    }
}

impl Eq for Invite {}

impl fmt::Debug for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Invite(..)")
    }
}

impl fmt::Display for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = Zeroizing::new(base32().encode(self.secret.as_slice()));
        write!(f, "{}.{}", base32().encode(&self.id), *secret)
    }
}

impl FromStr for Invite {
    type Err = InviteError;

    fn from_str(text: &str) -> Result<Self, InviteError> {
        let (id, secret) = text.split_once('.').ok_or(InviteError)?;
        let decode = |text: &str| base32().decode(text.as_bytes()).map(Zeroizing::new).map_err(|_| InviteError);
        let id: [u8; 8] = decode(id)?.as_slice().try_into().map_err(|_| InviteError)?;
        let mut invite = Self::new(id, [0; 32]);
        let secret = decode(secret)?;
        if id == [0; 8] || secret.len() != invite.secret.len() {
            return Err(InviteError);
        }
        invite.secret.copy_from_slice(&secret);
        Ok(invite)
    }
}
