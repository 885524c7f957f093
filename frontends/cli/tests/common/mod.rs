//! Processes of `burdock`, and waiting for what they say.

#![allow(dead_code, reason = "every test file uses its part")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// Nothing that is waited for takes this long, unless it never comes.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn burdock(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_burdock"));
    closed_off(command.args(args));
    command
}

/// Nothing of whoever runs the tests, and no I2P router: a real one would join the public network.
pub(crate) fn closed_off(command: &mut Command) {
    command.env_remove("BURDOCK_IDENTITY").env_remove("BURDOCK_LOG").env("NO_COLOR", "1").env("BURDOCK_I2PD", "");
}

/// Runs to the end with nothing on standard input.
pub(crate) fn run(args: &[&str]) -> Output {
    burdock(args).stdin(Stdio::null()).output().unwrap()
}

/// A fresh identity in the folder, and its public key.
pub(crate) fn identity(folder: &Path, name: &str) -> (PathBuf, String) {
    let path = folder.join(name);
    let output = run(&["id", "--file", path.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    (path, String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

/// A process that talks, killed when the test ends before it does.
pub(crate) struct Talker {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
    pub(crate) events: Vec<Value>,
    pub(crate) lines: Vec<String>,
}

impl Talker {
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_in(None, args)
    }

    /// In a network namespace, if one is named. Always with `--json`, so that events can be waited
    /// for.
    pub(crate) fn start_in(namespace: Option<&str>, args: &[&str]) -> Self {
        let mut command = burdock(args);
        if let Some(namespace) = namespace {
            command = Command::new("ip");
            command.args(["netns", "exec", namespace, env!("CARGO_BIN_EXE_burdock")]).args(args);
            closed_off(&mut command);
        }
        Self::spawn(command)
    }

    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child =
            command.arg("--json").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take();
        let stdout = lines_of(child.stdout.take().unwrap());
        let stderr = lines_of(child.stderr.take().unwrap());
        Self { child, stdin, stdout, stderr, events: Vec::new(), lines: Vec::new() }
    }

    pub(crate) fn listen(identity: &Path, bind: &str, more: &[&str]) -> Self {
        let identity = identity.to_str().unwrap();
        let mut args = vec!["listen", "--bind", bind, "--identity", identity];
        args.extend(more);
        Self::start(&args)
    }

    pub(crate) fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("standard input is open");
        // A process that was killed reads no more.
        let _ = writeln!(stdin, "{line}").and_then(|()| stdin.flush());
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Lets go of the events so far, and of those that came meanwhile.
    pub(crate) fn forget_events(&mut self) {
        self.events.clear();
        while self.stderr.try_recv().is_ok() {}
    }

    pub(crate) fn end_input(&mut self) {
        self.stdin = None;
    }

    /// The next line on standard output.
    pub(crate) fn next_line(&mut self) -> String {
        let line = self.stdout.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            let since: Vec<_> = self.stderr.try_iter().collect();
            panic!("no further line after {:?}: {:#?} {since:#?}", self.lines.last(), self.events)
        });
        self.lines.push(line.clone());
        line
    }

    /// The next event of this type.
    pub(crate) fn event(&mut self, kind: &str) -> Value {
        loop {
            let Ok(line) = self.stderr.recv_timeout(PATIENCE) else {
                panic!("no event {kind}: {:#?}", self.events);
            };
            let event: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"));
            self.events.push(event.clone());
            if event["type"] == kind {
                return event;
            }
        }
    }

    /// SIGKILL: the process does nothing more, not even flush.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.drain();
    }

    /// Waits for the process to end by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.drain();
        self.child.wait().unwrap()
    }

    /// Takes in what there is to both outputs' ends.
    fn drain(&mut self) {
        loop {
            match self.stderr.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.events.push(serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}")))
                }
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
                Err(_) => panic!("the process does not end: {:#?}", self.events),
            }
        }
        self.lines.extend(self.stdout.iter());
    }

    /// The outcome of each line that was sent, by its text; `lines` are numbered from 1.
    pub(crate) fn outcomes(&self, lines: &[String]) -> BTreeMap<String, String> {
        let mut sent = BTreeMap::new();
        let mut outcomes = BTreeMap::new();
        for event in &self.events {
            let message = (event["session"].as_u64(), event["message"].as_u64());
            if event["type"] == "sent" {
                let line = usize::try_from(event["line"].as_u64().unwrap()).unwrap();
                sent.insert(message, lines[line - 1].clone());
            }
        }
        for event in self.events.iter().filter(|event| event["type"] == "outcome") {
            let message = (event["session"].as_u64(), event["message"].as_u64());
            let before = outcomes.insert(sent[&message].clone(), event["outcome"].as_str().unwrap().to_owned());
            assert_eq!(before, None, "two outcomes for one message");
        }
        outcomes
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Posts to the page's server as the page does, and returns what comes back, line by line, until nothing comes.
pub(crate) fn call(url: &str, path: &str, body: &str) -> impl Iterator<Item = String> + use<> {
    let (place, secret) = url.trim_start_matches("http://").split_once("/#").unwrap();
    let mut stream = TcpStream::connect(place).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: {place}\r\nOrigin: http://{place}\r\nAuthorization: Bearer {secret}\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    BufReader::new(stream).lines().map_while(Result::ok)
}

fn lines_of(source: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(source).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}
