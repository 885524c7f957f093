//! Real firewalls: two network namespaces with a cable between them, and nftables in one.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

mod common;

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use common::{Talker, identity};
use tempfile::TempDir;

const DIALLER: &str = "10.91.7.1";
const LISTENER: &str = "10.91.7.2";

fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|_| {
        panic!("{program} is missing; as root: apt-get install iproute2 nftables");
    });
    assert!(
        output.status.success(),
        "{program} {args:?}: {} (root is needed)",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Two hosts and a cable; gone when dropped.
struct Lab {
    hosts: [String; 2],
    folder: TempDir,
}

impl Lab {
    fn new() -> Self {
        static LABS: AtomicU32 = AtomicU32::new(0);
        let lab = format!("burdock-{}-{}", std::process::id(), LABS.fetch_add(1, Ordering::Relaxed));
        let hosts = ["a", "b"].map(|end| format!("{lab}-{end}"));
        for host in &hosts {
            run("ip", &["netns", "add", host]);
        }
        let [a, b] = &hosts;
        run("ip", &["link", "add", "cable", "netns", a, "type", "veth", "peer", "name", "cable", "netns", b]);
        for (host, address) in [(a, DIALLER), (b, LISTENER)] {
            run("ip", &["-n", host, "address", "add", &format!("{address}/30"), "dev", "cable"]);
            run("ip", &["-n", host, "link", "set", "cable", "up"]);
            run("ip", &["-n", host, "link", "set", "lo", "up"]);
        }
        Self { hosts, folder: tempfile::tempdir().unwrap() }
    }

    /// Replaces the listener's firewall; each rule is one line of nftables.
    fn firewall(&self, rules: &[&str]) {
        let mut nft = Command::new("ip")
            .args(["netns", "exec", &self.hosts[1], "nft", "-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let rules = rules.join("\n");
        let table = format!(
            "flush ruleset\ntable inet burdock {{\nchain input {{\ntype filter hook input priority 0\n{rules}\n}}\n}}\n"
        );
        nft.stdin.take().unwrap().write_all(table.as_bytes()).unwrap();
        assert!(nft.wait().unwrap().success(), "nft refused (apt-get install nftables; root is needed):\n{table}");
    }

    fn listen(&self) -> (Talker, String) {
        let (path, _) = identity(self.folder.path(), "listener");
        let bind = format!("{LISTENER}:4100");
        let args = ["listen", "--bind", &bind, "--identity", path.to_str().unwrap(), "--anyone"];
        let mut listener = Talker::start_in(Some(&self.hosts[1]), &args);
        let link = listener.event("listening")["link"].as_str().unwrap().to_owned();
        (listener, link)
    }

    fn connect(&self, link: &str) -> Talker {
        Talker::start_in(Some(&self.hosts[0]), &["connect", "--ephemeral", link])
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for host in &self.hosts {
            // Nothing more can be done about one that will not go.
            let _ = Command::new("ip").args(["netns", "delete", host]).status();
        }
    }
}

fn talks_over(transport: &str, rules: &[&str]) {
    let lab = Lab::new();
    lab.firewall(rules);
    let (mut listener, link) = lab.listen();
    let mut dialler = lab.connect(&link);
    assert_eq!(dialler.event("connected")["transport"], transport);
    dialler.say("through");
    assert_eq!(listener.next_line(), "through");
    dialler.end_input();
    assert_eq!(dialler.wait().code(), Some(0), "{:#?}", dialler.events);
}

#[test]
#[ignore = "needs root and nftables"]
fn udp_dropped_in_silence_leads_to_tcp() {
    talks_over("tcp", &["meta l4proto udp drop"]);
}

#[test]
#[ignore = "needs root and nftables"]
fn udp_refused_leads_to_tcp() {
    talks_over("tcp", &["meta l4proto udp reject"]);
}

#[test]
#[ignore = "needs root and nftables"]
fn full_size_datagrams_dropped_lead_to_tcp() {
    talks_over("tcp", &["meta l4proto udp meta length > 1200 drop"]);
}

#[test]
#[ignore = "needs root and nftables"]
fn tcp_dropped_leaves_udp() {
    talks_over("udp", &["meta l4proto tcp drop"]);
}

#[test]
#[ignore = "needs root and nftables"]
fn a_firewall_that_comes_and_goes_moves_the_session_down_and_up() {
    let lab = Lab::new();
    lab.firewall(&[]);
    let (mut listener, link) = lab.listen();
    let mut dialler = lab.connect(&link);
    assert_eq!(dialler.event("connected")["transport"], "udp");
    dialler.say("one");
    assert_eq!(listener.next_line(), "one");

    lab.firewall(&["meta l4proto udp drop"]);
    dialler.say("two");
    assert_eq!(listener.next_line(), "two");
    assert_eq!(dialler.event("path_changed")["to"], "tcp");

    lab.firewall(&[]);
    dialler.say("three");
    assert_eq!(listener.next_line(), "three");
    // Only a session that carries traffic tries a better transport.
    let mut said = 0;
    while dialler.events.iter().filter(|event| event["type"] == "path_changed").count() < 2 {
        dialler.say(&format!("more {said}"));
        assert_eq!(listener.next_line(), format!("more {said}"));
        said += 1;
        dialler.event("outcome");
    }
    dialler.end_input();
    assert_eq!(dialler.wait().code(), Some(0));
    let last = dialler.events.iter().rfind(|event| event["type"] == "path_changed").unwrap();
    assert_eq!(last["to"], "udp");
}

#[test]
#[ignore = "needs root and nftables"]
fn an_outage_loses_nothing() {
    let lab = Lab::new();
    lab.firewall(&[]);
    let (mut listener, link) = lab.listen();
    let mut dialler = lab.connect(&link);
    dialler.event("connected");
    lab.firewall(&["drop"]);
    let lines: Vec<String> = (0..200).map(|n| format!("line {n}")).collect();
    for line in &lines {
        dialler.say(line);
    }
    dialler.event("lost");
    lab.firewall(&[]);
    for line in &lines {
        assert_eq!(listener.next_line(), *line);
    }
    dialler.end_input();
    assert_eq!(dialler.wait().code(), Some(0));
    assert!(dialler.events.iter().any(|event| event["type"] == "resumed"));
}
