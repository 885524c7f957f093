//! A router of our own: started, watched, started again, ended with us.

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::fs::{FlockOperation, flock};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::{Program, RouterError, running};

/// How long it may take to open its SAM bridge. Tunnels take longer, and are the endpoint's to wait for.
const START: Duration = Duration::from_secs(30);
/// How often it is asked whether it has.
const ASK: Duration = Duration::from_millis(50);
/// How long it may take to end, before it is killed.
const END: Duration = Duration::from_secs(5);
/// The waits before it is started again, which double.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_CAP: Duration = Duration::from_secs(60);
/// One that ran so long was sound: the waits begin anew.
const SOUND: Duration = Duration::from_secs(60);
/// How often we look whether the router that another program runs has become free.
const STAND_BY: Duration = Duration::from_secs(1);

/// Starts `$@` in the place of this shell, and leaves a watcher that ends it when our input does. A line of input
/// dismisses the watcher: then its process has ended, and the number may be somebody else's.
const LEASH: &str = r#"exec 3<&0 </dev/null; (read -r _ <&3 || kill "$$") & exec "$@" 3<&-"#;

/// Where packages put the certificates of those who introduce a new router to the network.
const CERTIFICATES: [&str; 3] =
    ["/usr/share/i2pd/certificates", "/usr/local/share/i2pd/certificates", "/opt/homebrew/share/i2pd/certificates"];

/// A router of our own, or one that we share with another program of ours.
#[derive(Debug)]
pub(crate) struct Own {
    folder: PathBuf,
    /// Dropped to end it.
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Own {
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) async fn end(self) {
        drop(self.stop);
        // A panic in there has been reported, and there is no more to be ended.
        let _ = self.task.await;
    }

    /// Starts it, or finds it started, and returns when it answers.
    pub(crate) async fn start(path: PathBuf, program: &Program) -> Result<(SocketAddr, Self), RouterError> {
        let Program { arguments, folder, .. } = program.clone();
        let home = Home { path, arguments, folder };
        let in_folder = |source| RouterError::Folder { folder: home.folder.clone(), source };
        home.make().map_err(in_folder)?;
        let deadline = Instant::now() + START;
        let (port, process) = loop {
            if let Some(lock) = home.lock().map_err(in_folder)? {
                let port = home.choose_port().map_err(in_folder)?;
                break (port, Some(home.start(port, lock, deadline).await?));
            }
            if let Some(port) = home.port()
                && running(bridge(port)).await.is_some()
            {
                break (port, None);
            }
            if Instant::now() >= deadline {
                return Err(home.silent());
            }
            sleep(ASK).await;
        };
        let folder = home.folder.clone();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(home.supervise(port, process, stopped));
        Ok((bridge(port), Self { folder, stop, task }))
    }
}

const fn bridge(port: u16) -> SocketAddr {
    SocketAddr::new(core::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// What it takes to start one.
struct Home {
    path: PathBuf,
    arguments: Vec<OsString>,
    folder: PathBuf,
}

/// It runs.
struct Process {
    child: Child,
    /// The watcher's other end.
    leash: ChildStdin,
    born: Instant,
}

impl Home {
    fn log(&self) -> PathBuf {
        self.folder.join("i2pd.log")
    }

    fn silent(&self) -> RouterError {
        RouterError::Silent { program: self.path.clone(), log: self.log() }
    }

    /// The folder holds the router's keys: it is nobody else's to read.
    fn make(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        fs::set_permissions(&self.folder, fs::Permissions::from_mode(0o700))
    }

    /// `None` while another program runs the router. The lock is on what the router writes to, which it has open for
    /// as long as it runs, so that a router that outlives its program for a moment is waited for.
    fn lock(&self) -> io::Result<Option<File>> {
        let mut options = OpenOptions::new();
        let output = options.append(true).create(true).mode(0o600).open(self.folder.join("output"))?;
        match flock(&output, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(output)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The port that the last one had.
    fn port(&self) -> Option<u16> {
        fs::read_to_string(self.folder.join("sam-port")).ok()?.trim().parse().ok()
    }

    /// The same port again if it is free, else another, written down for those who share the router.
    fn choose_port(&self) -> io::Result<u16> {
        let free = |port| TcpListener::bind(bridge(port)).and_then(|listener| listener.local_addr());
        let kept = self.port().and_then(|port| free(port).ok());
        let port = kept.map_or_else(|| free(0), Ok)?.port();
        fs::write(self.folder.join("sam-port"), format!("{port}\n"))?;
        Ok(port)
    }

    /// Settings of ours go into a file, so that options can override them.
    fn write_settings(&self, port: u16) -> io::Result<PathBuf> {
        let file = self.folder.join("i2pd.conf");
        let certificates = CERTIFICATES.iter().find(|folder| Path::new(folder).is_dir());
        let certificates = certificates.map(|folder| format!("certsdir = {folder}\n")).unwrap_or_default();
        // With the address book off, i2pd 2.45 ends at its first stream.
        let text = format!(
            "# Written at each start. BURDOCK_I2PD_ARGS has options that override it.\n\
             daemon = false\nlog = file\nlogfile = {}\nloglevel = warn\n{certificates}\
             [sam]\nenabled = true\naddress = 127.0.0.1\nport = {port}\n\
             [addressbook]\nenabled = true\ndefaulturl =\nsubscriptions =\n\
             [http]\nenabled = false\n[httpproxy]\nenabled = false\n[socksproxy]\nenabled = false\n\
             [i2cp]\nenabled = false\n[i2pcontrol]\nenabled = false\n[bob]\nenabled = false\n[upnp]\nenabled = false\n",
            self.log().display()
        );
        fs::write(&file, text)?;
        Ok(file)
    }

    fn spawn(&self, port: u16, output: File) -> io::Result<Process> {
        let settings = self.write_settings(port)?;
        // One log of an earlier life is kept; there may be none.
        let _ = fs::rename(self.log(), self.folder.join("i2pd.log.old"));
        output.set_len(0)?;
        let in_folder = |name: &str| self.folder.join(name).into_os_string();
        let option = |name: &str, value: OsString| {
            let mut option = OsString::from(format!("--{name}="));
            option.push(value);
            option
        };
        let mut child = Command::new("/bin/sh")
            .args(["-c", LEASH, "i2pd"])
            .arg(&self.path)
            .arg(option("datadir", self.folder.clone().into()))
            .arg(option("conf", settings.into()))
            .arg(option("tunconf", in_folder("tunnels.conf")))
            .arg(option("tunnelsdir", in_folder("tunnels.d")))
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            // ^C on a terminal is for us; to i2pd it would mean to linger for ten minutes.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let leash = child.stdin.take().expect("it is piped");
        Ok(Process { child, leash, born: Instant::now() })
    }

    /// Starts it and waits until it answers.
    async fn start(&self, port: u16, output: File, deadline: Instant) -> Result<Process, RouterError> {
        let start = |source| RouterError::Start { program: self.path.clone(), source };
        // The shell would only say it in its output.
        fs::metadata(&self.path).map_err(start)?;
        let mut process = self.spawn(port, output).map_err(start)?;
        info!(program = %self.path.display(), port, "started an I2P router");
        while running(bridge(port)).await.is_none() {
            if process.child.try_wait().is_ok_and(|status| status.is_some()) {
                process.dismiss_watcher().await;
                return Err(RouterError::Ended { program: self.path.clone(), log: self.folder.join("output") });
            }
            if Instant::now() >= deadline {
                process.end().await;
                return Err(self.silent());
            }
            sleep(ASK).await;
        }
        Ok(process)
    }

    /// Keeps one running until it is told to stop, or dropped with the runtime.
    async fn supervise(self, port: u16, mut process: Option<Process>, mut stop: oneshot::Receiver<()>) {
        let mut wait = STAND_BY;
        loop {
            if let Some(mut running) = process.take() {
                let status = tokio::select! {
                    status = running.child.wait() => status,
                    _ = &mut stop => return running.end().await,
                };
                warn!(?status, "the I2P router ended");
                wait = if running.born.elapsed() >= SOUND { RETRY_FIRST } else { (2 * wait).min(RETRY_CAP) };
                running.dismiss_watcher().await;
            }
            tokio::select! {
                () = sleep(wait) => {}
                _ = &mut stop => return,
            }
            match self.lock() {
                Ok(Some(lock)) => match self.spawn(port, lock) {
                    Ok(started) => process = Some(started),
                    Err(error) => {
                        warn!(%error, "the I2P router does not start");
                        wait = (2 * wait).min(RETRY_CAP);
                    }
                },
                Ok(None) => wait = STAND_BY,
                Err(error) => {
                    warn!(%error, "the I2P router's folder cannot be used");
                    wait = (2 * wait).min(RETRY_CAP);
                }
            }
        }
    }
}

impl Process {
    /// After its end: nobody is to be ended any more.
    async fn dismiss_watcher(mut self) {
        // A watcher that is gone needs no leave.
        let _ = self.leash.write_all(b"\n").await;
    }

    async fn end(self) {
        let Self { mut child, leash, .. } = self;
        drop(leash);
        if timeout(END, child.wait()).await.is_err() {
            let _ = child.kill().await;
        }
    }
}
