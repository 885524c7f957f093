//! I2P from the command line: what is told, and what is touched.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

mod common;

use core::net::SocketAddr;
use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::thread;

use burdock_core::Link;
use burdock_tests::router_lab::Lab;
use burdock_tests::sam_bridge::{Bridge, Mood};
use common::{Talker, burdock, call};

/// The links that `listen` announces, until one has an I2P destination.
fn announced(listener: &mut Talker) -> Link {
    loop {
        let link: Link = listener.event("listening")["link"].as_str().unwrap().parse().unwrap();
        if link.i2p.is_some() {
            return link;
        }
    }
}

fn exchange(listener: &mut Talker, dialler: &mut Talker) {
    assert_eq!(dialler.event("connected")["transport"], "i2p");
    dialler.say("there");
    assert_eq!(listener.next_line(), "there");
    listener.say("and back");
    assert_eq!(dialler.next_line(), "and back");
}

#[test]
fn t5_an_anonymous_listener_names_its_destination_and_nothing_else() {
    // Mutation: `announce` that takes `reachable` where there is no address makes this fail.
    let bridge = format!("--i2p={}", Bridge::new(Mood::Works).addr);
    let mut listener = Talker::start(&["listen", "--ephemeral", "--anonymous", &bridge, "--anyone"]);
    let link = announced(&mut listener);
    assert!(link.host.is_none() && link.udp_port.is_none() && link.tcp_port.is_none(), "{link}");
    assert!(listener.events.iter().all(|event| event["address"].is_null()), "{:#?}", listener.events);
    let mut dialler = Talker::start(&["connect", "--ephemeral", "--anonymous", &bridge, &link.to_string()]);
    exchange(&mut listener, &mut dialler);
    dialler.end_input();
    assert_eq!(dialler.wait().code(), Some(0), "{:#?}", dialler.events);
}

/// What a traced process said to the network that is not for this address; the first figure is what was for it.
fn operations(trace: &str, bridge: SocketAddr, listens: bool) -> (usize, Vec<String>) {
    let (mut with_bridge, mut others) = (0, Vec::new());
    for line in trace.lines() {
        // "PID call(arguments" with -f; the rest of a call that was interrupted has no arguments that matter.
        let Some((call, arguments)) = line.split_once('(') else { continue };
        let call = call.split_whitespace().last().unwrap_or_default();
        let port = format!("sin_port=htons({})", bridge.port());
        let is_bridge = arguments.contains(&port) && arguments.contains("inet_addr(\"127.0.0.1\")");
        match call {
            "connect" | "sendto" | "sendmsg" | "sendmmsg" if arguments.contains("sa_family=") => {
                if is_bridge {
                    with_bridge += 1
                } else {
                    others.push(line.to_owned())
                }
            }
            // Sockets that are waiting or could send without an address of their own.
            "bind" | "listen" if !listens => others.push(line.to_owned()),
            "socket" if !listens && !arguments.starts_with("AF_INET, SOCK_STREAM") => others.push(line.to_owned()),
            _ => {}
        }
    }
    (with_bridge, others)
}

/// A process whose calls to the network are written down.
struct Traced {
    talker: Talker,
    file: tempfile::TempPath,
}

impl Traced {
    fn start(args: &[&str]) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-s", "0", "-e", "trace=network,process", "-o"]).arg(&file);
        command.arg(env!("CARGO_BIN_EXE_burdock")).args(args).env("BURDOCK_I2PD", "");
        let there = Command::new("strace").arg("-V").output();
        assert!(there.is_ok(), "strace is missing; as root: apt-get install -y strace");
        Self { talker: Talker::spawn(command), file }
    }

    /// Asks the process to end, and returns what it did.
    fn end(mut self) -> String {
        let id = self.talker.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        let traced = children.split_whitespace().next().expect("strace has started it");
        assert!(Command::new("kill").arg(traced).status().unwrap().success());
        self.talker.wait();
        fs::read_to_string(&self.file).unwrap()
    }
}

/// A peer that is known by its destination alone.
fn hidden_link() -> String {
    let key = burdock_core::Identity::from_bytes([9; 32]).public_key();
    format!("burdock://{key}?i2p={}.b32.i2p", "a".repeat(52))
}

#[test]
#[ignore = "needs strace: apt-get install -y strace"]
fn t4_the_driver_touches_the_sam_bridge_and_nothing_else() {
    // Mutation: a rung of `Rung::Udp` to the loopback address beside `Rung::I2p` in `rungs`, or a socket bound in
    // `Endpoint::anonymous`, makes this fail.
    let runs: Vec<_> = [Mood::Refuses, Mood::Hangs, Mood::Lies, Mood::Dies, Mood::Works]
        .into_iter()
        .flat_map(|mood| [(mood, true), (mood, false)])
        .map(|(mood, anonymous)| {
            thread::spawn(move || {
                let bridge = Bridge::new(mood);
                let to = format!("--i2p={}", bridge.addr);
                let link = hidden_link();
                let mut args = vec!["connect", "--ephemeral", &to, &link];
                if anonymous {
                    args.push("--anonymous");
                }
                let mut traced = Traced::start(&args);
                // Two attempts come to nothing.
                for _ in 0..2 {
                    while traced.talker.event("progress")["status"] != "retrying" {}
                }
                (mood, operations(&traced.end(), bridge.addr, !anonymous))
            })
        })
        .collect();
    let mut traced = 0_u32;
    let mut beside = Vec::new();
    for run in runs {
        let (mood, (with_bridge, others)) = run.join().unwrap();
        assert!(with_bridge > 0, "{mood:?}: the trace is empty");
        beside.extend(others);
        traced += 1;
    }

    // One that listens, is called, and talks.
    let bridge = Bridge::new(Mood::Works);
    let to = format!("--i2p={}", bridge.addr);
    let mut listener = Traced::start(&["listen", "--ephemeral", "--anonymous", &to, "--anyone"]);
    let link = announced(&mut listener.talker).to_string();
    let mut dialler = Traced::start(&["connect", "--ephemeral", &to, &link]);
    exchange(&mut listener.talker, &mut dialler.talker);
    for (process, listens) in [(dialler, true), (listener, false)] {
        let (with_bridge, others) = operations(&process.end(), bridge.addr, listens);
        assert!(with_bridge >= 2, "the trace is incomplete");
        beside.extend(others);
        traced += 1;
    }

    // What the trace shows of one who does go elsewhere.
    let key = burdock_core::Identity::from_bytes([9; 32]).public_key();
    let mut open = Traced::start(&["connect", "--ephemeral", &format!("burdock://{key}@127.0.0.1:9")]);
    while open.talker.event("progress")["status"] != "retrying" {}
    let (_, others) = operations(&open.end(), bridge.addr, true);
    assert!(others.iter().any(|line| line.contains("connect(")) && others.iter().any(|line| line.contains("send")));

    assert!(beside.is_empty(), "{beside:#?}");
    burdock_ledger::reached("T4", "processes traced", traced);
    burdock_ledger::reached("T4", "socket operations beside the SAM address", u32::try_from(beside.len()).unwrap());
}

/// What this process is to be when a test starts it as an I2P router: the router's options.
const PART: &str = "BURDOCK_TEST_ROUTER";

/// No test by itself, but the router that a test below starts: no real one is.
#[test]
fn played_by_another_process() {
    let Ok(options) = std::env::var(PART) else { return };
    let settings = options.split(' ').find_map(|option| option.strip_prefix("--conf=")).unwrap();
    let settings = fs::read_to_string(settings).unwrap();
    let sam = settings.split_once("[sam]").unwrap().1;
    let port = sam.split_once("port = ").unwrap().1.lines().next().unwrap().parse().unwrap();
    let _bridge = Bridge::at(port, Mood::Works);
    loop {
        thread::park();
    }
}

/// A chat that was not told of I2P, with this as the program that would be its router.
fn chat(data: &Path, router: &Path) -> (Talker, String) {
    let mut command = burdock(&["chat", "--ephemeral", "--bind", "127.0.0.1:0"]);
    command.env("XDG_DATA_HOME", data).env("BURDOCK_I2PD", router);
    let mut chat = Talker::spawn(command);
    let url = chat.event("serving")["url"].as_str().unwrap().to_owned();
    (chat, url)
}

// Mutation: leaving out `set_bridge` in `router_on_demand`, or `seen` of `None` in `chat`, makes this fail.
#[cfg(unix)]
#[test]
fn a_chat_gets_a_router_when_a_link_needs_one_or_says_how_to() {
    use std::os::unix::fs::PermissionsExt;
    if TcpStream::connect(burdock_core::I2p::USUAL_BRIDGE).is_ok() {
        // Somebody's own router would be used, and is not ours to be asked.
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let paste = |url: &str, link: &str| {
        let answer: Vec<_> = call(url, "/api/connect", &format!(r#"{{"link":"{link}"}}"#)).collect();
        assert_eq!(answer[0], "HTTP/1.1 200 OK", "{answer:?}");
    };
    let (_without, url) = chat(data.path(), Path::new(""));
    let mut events = call(&url, "/api/events", "{}");
    paste(&url, &hidden_link());
    let words = "This link needs I2P: no I2P router answers on 127.0.0.1:7656; install one with `apt install i2pd`";
    assert!(events.any(|line| line.contains(words)));

    let program = data.path().join("router");
    let this = std::env::current_exe().unwrap();
    let script = format!("#!/bin/sh\n{PART}=\"$*\" exec {} --exact played_by_another_process\n", this.display());
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let (mut chat, url) = chat(data.path(), &program);
    let mut events = call(&url, "/api/events", "{}");
    assert!(events.any(|line| line == "event: snapshot"));
    let folder = data.path().join("burdock/i2pd");
    assert!(!folder.exists(), "nobody needs a router");
    paste(&url, &hidden_link());
    assert!(events.any(|line| line.contains("Building I2P tunnels")));
    let port = fs::read_to_string(folder.join("sam-port")).unwrap();
    let bridge = format!("127.0.0.1:{}", port.trim());
    let mut router = TcpStream::connect(&bridge).unwrap();
    let mut listener = Talker::start(&["listen", "--ephemeral", "--anonymous", &format!("--i2p={bridge}"), "--anyone"]);
    paste(&url, &announced(&mut listener).to_string());
    assert_eq!(listener.event("connected")["transport"], "i2p");
    listener.say("reached");
    let words = burdock_core::Code::SamDown.text();
    let line = events.find(|line| line.contains("reached") || line.contains(words)).unwrap();
    assert!(line.contains("reached"), "that was before there was a router: {line}");
    chat.kill();
    // By a reset it has ended as well.
    let _ = router.read_to_end(&mut Vec::new());
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-r").args([from, to]).status().unwrap();
    assert!(status.success());
}

/// The processes of this program file that run in the lab.
fn running(lab: &Lab, folder: &Path) -> Vec<String> {
    let pids = Command::new("ip").args(["netns", "pids", lab.namespace()]).output().unwrap();
    let pids = String::from_utf8(pids.stdout).unwrap();
    let has_folder = |pid: &&str| {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.contains(folder.to_str().unwrap())
    };
    pids.lines().filter(has_folder).map(str::to_owned).collect()
}

#[test]
#[ignore = "needs i2pd and root: apt-get install -y i2pd"]
fn a_router_of_our_own_is_started_and_ends_with_us() {
    let lab = Lab::start(2);
    // The usual address is this one's, which now is gone.
    lab.kill(1);
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join("burdock/i2pd");
    fs::create_dir_all(&folder).unwrap();
    let spare = lab.spare_router();
    copy(&spare.folder.join("netDb"), &folder.join("netDb"));
    let start = |args: &[&str]| {
        let mut command = lab.command(env!("CARGO_BIN_EXE_burdock"));
        command.args(args).env("XDG_DATA_HOME", data.path());
        command.env("BURDOCK_I2PD", "i2pd").env("BURDOCK_I2PD_ARGS", spare.arguments.join(" "));
        Talker::spawn(command)
    };
    // None that answers, and none that starts.
    for (program, says) in [
        ("", "burdock: no I2P router answers on 127.0.0.1:7656; install one with `apt install i2pd`"),
        ("/nowhere/i2pd", "burdock: cannot start the I2P router /nowhere/i2pd: "),
    ] {
        let mut command = lab.command(env!("CARGO_BIN_EXE_burdock"));
        command.args(["listen", "--ephemeral", "--anonymous", "--anyone"]);
        let output = command.env("XDG_DATA_HOME", data.path()).env("BURDOCK_I2PD", program).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), text.lines().count()), (Some(3), 1), "{text}");
        assert!(text.starts_with(says), "{text}");
    }
    // 0 hops: with one floodfill less the lab is small, and which routers tunnels go through is not the matter here.
    let mut listener = start(&["listen", "--ephemeral", "--anonymous", "--hops", "0", "--anyone"]);
    let link = announced(&mut listener).to_string();
    assert_eq!(running(&lab, &folder).len(), 2, "i2pd and its watcher");
    let bridge = format!("--i2p={}", lab.loopback_bridge(2));
    let mut command = lab.command(env!("CARGO_BIN_EXE_burdock"));
    command.args(["connect", "--ephemeral", "--anonymous", &bridge, "--hops", "0", "--preset", "chat", &link]);
    let mut dialler = Talker::spawn(command);
    exchange(&mut listener, &mut dialler);
    listener.kill();
    // Waits for them to go.
    let begin = std::time::Instant::now();
    while !running(&lab, &folder).is_empty() {
        assert!(begin.elapsed().as_secs() < 30, "the router outlives its program");
        thread::yield_now();
    }
}
