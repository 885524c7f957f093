//! The bridge alone, with clients that are played by hand.

use super::*;
use crate::net::{Delivery, Side};

const ALICE: usize = 0;
const HELLO: &str = "HELLO VERSION MIN=3.1 MAX=3.3\n";
const YES: &str = "HELLO REPLY RESULT=OK VERSION=3.1\n";
const SECOND: u64 = 1_000_000;

struct Clients {
    now: u64,
    net: Net,
    queue: Queue<Item>,
    read: BTreeMap<EndRef, String>,
}

impl Clients {
    fn new() -> Self {
        let (net, queue) = (Net::new(&Scenario::anonymous(5), Luck::of(5)), Queue::new());
        let mut clients = Self { now: 0, net, queue, read: BTreeMap::new() };
        for host in 0..2 {
            clients.net.set_machine(0, host, Machine::Running, &mut clients.queue);
        }
        clients
    }

    fn run(&mut self, span: u64) {
        let (until, mut out) = (self.now + span, Vec::new());
        while let Some((at, item)) = self.queue.pop() {
            if at > until {
                self.queue.push(at, item);
                break;
            }
            self.now = at;
            let Item::Net(item) = item else { panic!("the network queues its own items") };
            self.net.handle(at, item, &mut self.queue, &mut out);
            for delivery in core::mem::take(&mut out) {
                if self.net.router_of(delivery.host()).is_some() {
                    self.net.bridge_told(self.now, delivery, &mut self.queue);
                } else if let Delivery::Data { end, data, .. } = delivery {
                    self.read.entry(end).or_default().push_str(core::str::from_utf8(&data).expect("lines"));
                }
            }
        }
        self.now = until;
    }

    /// Writes in one packet, and returns what is answered within a second.
    fn say(&mut self, end: EndRef, bytes: &str) -> String {
        self.net.write(self.now, end, bytes.as_bytes(), &mut self.queue);
        self.run(SECOND);
        self.read.remove(&end).unwrap_or_default()
    }

    /// A connection of Alice that has said these commands after its greeting.
    fn says(&mut self, commands: &[&str]) -> (EndRef, String) {
        let bridge = ([127, 0, 0, 1], BRIDGE_PORT).into();
        let end = self.net.connect(self.now, ALICE, bridge, &mut self.queue);
        self.run(SECOND);
        assert_eq!(self.say(end, HELLO), YES);
        let answers = commands.iter().map(|command| self.say(end, command)).collect();
        (end, answers)
    }

    fn connect_to(&self, host: usize) -> String {
        format!("STREAM CONNECT ID=one DESTINATION={} SILENT=false\n", self.net.i2p.keys(host).public)
    }

    /// What Alice did that no router bears, after all that came before was fine.
    fn misuse(does: impl FnOnce(&mut Self)) -> Option<String> {
        let mut clients = Self::new();
        let (_, answers) = clients.says(&[CREATE, "NAMING LOOKUP NAME=ME\n"]);
        let keys = clients.net.i2p.keys(ALICE);
        let (private, public) = (&keys.private, &keys.public);
        let stands = format!("SESSION STATUS RESULT=OK DESTINATION={private}\n");
        assert_eq!(answers, format!("{stands}NAMING REPLY RESULT=OK NAME=ME VALUE={public}\n"));
        assert_eq!(clients.net.i2p.misuse, None);
        does(&mut clients);
        clients.net.i2p.misuse.take().map(|(host, what)| {
            assert_eq!(host, ALICE);
            what
        })
    }
}

const CREATE: &str = "SESSION CREATE STYLE=STREAM ID=one DESTINATION=TRANSIENT SIGNATURE_TYPE=7\n";

#[test]
fn t7_what_no_router_bears_is_seen() {
    // Mutation: `whole` that is always true, or leaving out any `misused`, makes this fail.
    let seen = |does: fn(&mut Clients)| Clients::misuse(does).unwrap_or_default();
    let one_whole = "wrote something else than one whole command in one packet";
    assert_eq!(seen(|it| drop(it.says(&["STREAM ACCEPT ID=one SILENT=false\nSTREAM ACCEPT ID=one\n"]))), one_whole);
    assert_eq!(seen(|it| drop(it.says(&["STREAM ACCEPT ID=one", " SILENT=false\n"]))), one_whole);
    // Bytes before the status line: a handshake, or a further command.
    let early = |bytes: &str| {
        Clients::misuse(|it| {
            let (end, _) = it.says(&[]);
            let connect = it.connect_to(1);
            it.net.write(it.now, end, connect.as_bytes(), &mut it.queue);
            // The router takes longer than this to find a lease set, and less to read.
            it.run(1_000);
            it.say(end, bytes);
        })
        .unwrap_or_default()
    };
    assert_eq!(early("\0\u{4}init"), one_whole);
    assert!(early("STREAM ACCEPT ID=one SILENT=false\n").starts_with("said STREAM ACCEPT on a socket"));
    assert!(seen(|it| drop(it.says(&["PING\n"]))).starts_with("said PING on a socket"));
    assert!(seen(|it| drop(it.says(&[HELLO]))).starts_with("said HELLO VERSION on a socket"));
    assert!(seen(|it| drop(it.says(&[&CREATE.replace("one", "two")]))).starts_with("asked for a second session"));
    assert!(
        seen(|it| drop(it.says(&[&CREATE.replace(" ID=one", "")]))).starts_with("asked for a session without an ID")
    );
    let foreign = |it: &mut Clients| {
        let create = CREATE.replace("TRANSIENT", &it.net.i2p.keys(1).private);
        drop(it.says(&[&create]));
    };
    assert!(seen(foreign).starts_with("asked for a session with a key that is not its own"));
    let itself = |it: &mut Clients| {
        let connect = it.connect_to(ALICE);
        drop(it.says(&[&connect]));
    };
    assert!(seen(itself).starts_with("wants a stream to itself"));
}

#[test]
fn what_routers_bear_is_left_alone() {
    let answers = |does: fn(&mut Clients) -> String| {
        let mut said = String::new();
        assert_eq!(Clients::misuse(|it| said = does(it)), None);
        said
    };
    assert_eq!(answers(|it| it.says(&["STREAM ACCEPT ID=one SILENT=false\n"]).1), "STREAM STATUS RESULT=OK\n");
    assert_eq!(answers(|it| it.says(&["STREAM ACCEPT ID=two SILENT=false\n"]).1), "STREAM STATUS RESULT=INVALID_ID\n");
    // Nobody has a session at Bob's router.
    let unknown = |it: &mut Clients| {
        let connect = it.connect_to(1);
        let (end, _) = it.says(&[&connect]);
        it.run(20 * SECOND);
        it.read.remove(&end).unwrap_or_default()
    };
    let said = answers(unknown);
    assert!(said.is_empty() || said == "STREAM STATUS RESULT=CANT_REACH_PEER\n", "{said}");
    // The next session may begin when the one before has ended.
    let again = |it: &mut Clients| {
        let control = *it.net.i2p.routers[ALICE].sockets.keys().next().expect("the control socket");
        let client = EndRef { side: Side::Client, ..control };
        it.net.close(it.now, client, &mut it.queue);
        it.run(10 * SECOND);
        it.says(&[CREATE]).1
    };
    assert!(answers(again).starts_with("SESSION STATUS RESULT=OK "));
}
