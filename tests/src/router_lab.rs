//! A closed I2P network of real routers, for the tests that need them: `tests/i2p-lab/lab` as an object.

use core::net::SocketAddr;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Routers that know each other and nothing else, in a network namespace without a way out. Gone when dropped, and when
/// this process ends in any way. Routers count from 1.
pub struct Lab {
    process: Child,
    /// What is said to it and what it answers, one line each; `None` when it is over.
    talk: Mutex<Option<(ChildStdin, Lines<BufReader<ChildStdout>>)>>,
    /// The SAM bridges, as seen from the host and from within the namespace.
    bridges: Vec<(SocketAddr, SocketAddr)>,
    namespace: String,
}

/// A router that was not started.
pub struct Spare {
    /// A data folder, with the descriptions of the other routers in `netDb`.
    pub folder: PathBuf,
    /// The options by which it stays in this network.
    pub arguments: Vec<String>,
}

impl Lab {
    /// Starts so many routers that sessions may be opened on, and the floodfill routers that these need. Takes about a
    /// second; a router's first session takes it 20 s or more.
    ///
    /// # Panics
    /// Without root, i2pd or iproute2, naming what is missing.
    #[must_use]
    pub fn start(routers: usize) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("i2p-lab/lab");
        let mut process = Command::new(&script)
            .arg((routers + 3).to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{} needs python3: {error}", script.display()));
        let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            unreachable!("both are piped")
        };
        let mut answers = BufReader::new(output).lines();
        let mut bridges = Vec::new();
        let namespace = loop {
            let line = answers.next().and_then(Result::ok).unwrap_or_else(|| {
                panic!("the routers do not start; as root: apt-get install -y i2pd iproute2 (the reason is above)")
            });
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["sam", _, outside, inside] => {
                    let address = |text: &str| text.parse().expect("an address");
                    bridges.push((address(outside), address(inside)));
                }
                ["ready", namespace] => break namespace.to_owned(),
                _ => panic!("not understood: {line}"),
            }
        };
        Self { process, talk: Mutex::new(Some((input, answers))), bridges, namespace }
    }

    /// The router's SAM bridge, as this process reaches it.
    #[must_use]
    pub fn bridge(&self, router: usize) -> SocketAddr {
        self.bridges[router - 1].0
    }

    /// The router's SAM bridge on the loopback of the namespace.
    #[must_use]
    pub fn loopback_bridge(&self, router: usize) -> SocketAddr {
        self.bridges[router - 1].1
    }

    /// The network namespace that the routers run in.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// A command that will run within the namespace.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace]).arg(program);
        command
    }

    /// SIGKILL.
    pub fn kill(&self, router: usize) {
        self.order("kill", router);
    }

    /// Starts a router that was killed, with the keys that it had.
    pub fn start_again(&self, router: usize) {
        self.order("start", router);
    }

    /// SIGSTOP.
    pub fn pause(&self, router: usize) {
        self.order("pause", router);
    }

    /// SIGCONT.
    pub fn resume(&self, router: usize) {
        self.order("resume", router);
    }

    /// What it takes to start a further router that belongs to this network.
    #[must_use]
    pub fn spare_router(&self) -> Spare {
        let said = self.order("spare", self.bridges.len() + 1);
        let mut words = said.split(' ').map(str::to_owned);
        Spare { folder: words.next().unwrap_or_default().into(), arguments: words.collect() }
    }

    fn order(&self, verb: &str, router: usize) -> String {
        let mut talk = self.talk.lock().unwrap_or_else(PoisonError::into_inner);
        let (input, answers) = talk.as_mut().expect("it is not dropped");
        writeln!(input, "{verb} {router}").expect("the lab runs");
        let answer = answers.next().and_then(Result::ok).expect("the lab answers");
        let said = answer.strip_prefix("ok").unwrap_or_else(|| panic!("{verb} {router}: {answer}"));
        said.trim().to_owned()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // The end of its input is what ends it.
        *self.talk.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
        let _ = self.process.wait();
    }
}
