//! An I2P router for a frontend: the one that runs on this machine, else one of its own.
//!
//! [`ensure`] asks whether a router answers where routers usually do. If none does and `i2pd` is installed, it starts
//! one with a data folder of its own and keeps it running; it ends with the program that started it, however that ends.
//! When several programs of one user want a router of their own, the first runs it, the others use it, and when the first
//! ends another goes on with it under the same address.
//!
//! # How it ends with us
//! The router is started by a line of shell that leaves a watcher behind. The watcher reads from a pipe of which this
//! program has the other end, and ends the router when the pipe closes: when we say so, and when we are killed. A system
//! that can send a signal when the parent dies can only be asked for it in code that is not safe, and means the thread
//! that started the child, not the program.

#![forbid(unsafe_code)]

#[cfg(unix)]
mod own;

use core::net::SocketAddr;
use core::time::Duration;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a bridge may take to answer the first line. On this machine it takes milliseconds.
const ANSWER: Duration = Duration::from_secs(2);

/// The router to start when none runs.
#[derive(Clone, Debug)]
pub struct Program {
    /// The program, `i2pd` or one that takes its options; `None`: none is started.
    pub path: Option<PathBuf>,
    /// Options beside ours, which they override.
    pub arguments: Vec<OsString>,
    /// Where it keeps its data, for nobody else to read. Made when it is missing.
    pub folder: PathBuf,
}

impl Program {
    /// The `i2pd` that is installed, with this data folder. The environment can change it: `BURDOCK_I2PD` names another
    /// program, or, when it is empty, none; `BURDOCK_I2PD_ARGS` has further options, divided by spaces.
    #[must_use]
    pub fn installed(folder: PathBuf) -> Self {
        let path = match std::env::var_os("BURDOCK_I2PD") {
            Some(name) if name.is_empty() => None,
            Some(name) => find(Path::new(&name)),
            None => find(Path::new("i2pd")),
        };
        let arguments = std::env::var("BURDOCK_I2PD_ARGS").unwrap_or_default();
        Self { path, arguments: arguments.split_whitespace().map(OsString::from).collect(), folder }
    }
}

/// Looks where commands are, and where those for administrators are, as that is what some systems take a router for.
fn find(name: &Path) -> Option<PathBuf> {
    if name.components().count() > 1 {
        return Some(name.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(more).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Why there is no router.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RouterError {
    /// None runs, and none is installed.
    #[error(
        "no I2P router answers on {usual}; install one with `apt install i2pd` (or the package from i2pd.website), \
         or name another with --i2p=ADDR:PORT"
    )]
    Missing {
        /// Where one was expected.
        usual: SocketAddr,
    },
    /// Its data folder cannot be used.
    #[error("an I2P router of our own cannot keep its data in {}: {source}; make the folder writable", .folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system does not start it.
    #[error("cannot start the I2P router {}: {source}; install i2pd, or start a router yourself", .program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It ended before it answered.
    #[error("the I2P router {} ended as soon as it was started; {} says why", .program.display(), .log.display())]
    Ended {
        /// The program.
        program: PathBuf,
        /// Its log.
        log: PathBuf,
    },
    /// It runs and does not answer.
    #[error("the I2P router {} was started and does not answer; {} may say why", .program.display(), .log.display())]
    Silent {
        /// The program.
        program: PathBuf,
        /// Its log.
        log: PathBuf,
    },
}

/// A router that answers. Hold on to it: when it is dropped, a router of our own ends.
#[derive(Debug)]
pub struct Router {
    bridge: SocketAddr,
    #[cfg(unix)]
    own: Option<own::Own>,
}

impl Router {
    /// Where its SAM bridge is, for as long as this is held.
    #[must_use]
    pub const fn bridge(&self) -> SocketAddr {
        self.bridge
    }

    /// The folder of a router of our own, with its log; `None` when somebody else runs it.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        #[cfg(unix)]
        return self.own.as_ref().map(own::Own::folder);
        #[cfg(not(unix))]
        None
    }

    /// Ends a router of our own and waits until it is gone, for at most some seconds.
    pub async fn shutdown(self) {
        #[cfg(unix)]
        if let Some(own) = self.own {
            own.end().await;
        }
    }
}

/// Finds a router: the one that answers at `usual`, else one of our own, once it answers. Call it within a tokio runtime
/// with I/O and time enabled, which must outlive the router.
///
/// # Errors
/// When there is none and none can be started.
pub async fn ensure(usual: SocketAddr, program: &Program) -> Result<Router, RouterError> {
    if let Some(router) = running(usual).await {
        return Ok(router);
    }
    #[cfg(unix)]
    if let Some(path) = &program.path {
        let (bridge, own) = own::Own::start(path.clone(), program).await?;
        return Ok(Router { bridge, own: Some(own) });
    }
    let _ = program;
    Err(RouterError::Missing { usual })
}

/// The router that answers at `bridge`, if one does. None is started.
pub async fn running(bridge: SocketAddr) -> Option<Router> {
    let router = Router {
        bridge,
        #[cfg(unix)]
        own: None,
    };
    timeout(ANSWER, answers(bridge)).await.is_ok_and(|answer| answer.unwrap_or(false)).then_some(router)
}

/// Whether what listens there speaks SAM.
async fn answers(bridge: SocketAddr) -> io::Result<bool> {
    const ANSWER: &[u8] = b"HELLO REPLY ";
    let mut stream = TcpStream::connect(bridge).await?;
    stream.write_all(b"HELLO VERSION MIN=3.1 MAX=3.3\n").await?;
    let mut answer = [0; ANSWER.len()];
    stream.read_exact(&mut answer).await?;
    Ok(answer == ANSWER)
}
