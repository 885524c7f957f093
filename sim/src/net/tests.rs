//! The network alone: what is written comes out, in order and whole, whatever happens in between.

use core::time::Duration;

use burdock_core::NetError;

use super::*;
use crate::scenario::address;
use crate::scenario::{Family, Trouble, Verdict, Way};

struct World {
    now: u64,
    net: Net,
    queue: Queue<Item>,
    /// The server's end once accepted, and what each side read.
    server: Option<EndRef>,
    read: [Vec<u8>; 2],
    pieces: usize,
    log: Vec<(u64, String)>,
    /// What each side still has to write.
    writing: [Vec<u8>; 2],
    blocked: [bool; 2],
}

const WAYS: [Way; 2] = [Way { from: 0, to: 1 }, Way { from: 1, to: 0 }];

fn fault(trouble: Trouble) -> Vec<Fault> {
    WAYS.map(|way| Fault::path(Family::Loss, way, trouble.clone(), Duration::ZERO, None)).to_vec()
}

impl World {
    fn new(faults: &[Fault]) -> Self {
        let scenario = Scenario::calm(5);
        let mut world = Self {
            now: 0,
            net: Net::new(&scenario, Luck::of(5)),
            queue: Queue::new(),
            server: None,
            read: Default::default(),
            pieces: 0,
            log: Vec::new(),
            writing: Default::default(),
            blocked: [false; 2],
        };
        for host in 0..2 {
            world.net.set_machine(0, host, Machine::Running, &mut world.queue);
        }
        world.troubled(faults);
        world
    }

    fn troubled(&mut self, faults: &[Fault]) {
        for way in WAYS {
            self.net.set_faults(way, faults.iter());
        }
    }

    fn connect(&mut self) -> EndRef {
        self.net.connect(self.now, 0, address(1), &mut self.queue)
    }

    fn write(&mut self, end: EndRef) {
        let side = end.side as usize;
        let data = core::mem::take(&mut self.writing[side]);
        let len = self.net.write(self.now, end, &data, &mut self.queue);
        self.blocked[side] = len < data.len();
        self.writing[side] = data[len..].to_vec();
    }

    fn run(&mut self, until: u64) {
        let mut out = Vec::new();
        while let Some((at, item)) = self.queue.pop() {
            if at > until {
                self.queue.push(at, item);
                break;
            }
            self.now = at;
            let Item::Net(item) = item else { panic!("the network queues its own items") };
            self.net.handle(at, item, &mut self.queue, &mut out);
            for delivery in core::mem::take(&mut out) {
                self.note(delivery);
            }
        }
        self.now = until;
    }

    fn note(&mut self, delivery: Delivery) {
        let text = match delivery {
            Delivery::Accepted { end, .. } => {
                self.server = Some(end);
                "accepted".to_owned()
            }
            Delivery::Opened { .. } => "opened".to_owned(),
            Delivery::Data { host, data, .. } => {
                self.read[host].extend_from_slice(&data);
                self.pieces += 1;
                return;
            }
            Delivery::Writable { end, .. } => {
                assert!(self.blocked[end.side as usize], "told that it is writable without having asked");
                return self.write(end);
            }
            Delivery::Closed { host, error, .. } => format!("closed at {host}: {error:?}"),
            Delivery::TransmitFailed { error, .. } => format!("failed: {error:?}"),
            Delivery::Datagram { data, .. } => format!("datagram of {}", data.len()),
        };
        self.log.push((self.now, text));
    }

    fn lines(&self) -> Vec<&str> {
        self.log.iter().map(|(_, text)| text.as_str()).collect()
    }
}

const S: u64 = 1_000_000;

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 256) as u8).collect()
}

#[test]
fn a_connection_opens_in_one_round_trip() {
    let mut world = World::new(&[]);
    world.connect();
    world.run(S);
    assert_eq!(world.log, [(40_000, "opened".into()), (60_000, "accepted".into())]);
}

#[test]
fn bytes_arrive_whole_and_in_order_through_everything() {
    let troubles = [
        Trouble::Loss { per_mille: 0 },
        Trouble::Loss { per_mille: 300 },
        Trouble::Burst { enter: 20, leave: 100, loss: 1000 },
        Trouble::Reorder { per_mille: 300, by: Duration::from_millis(80) },
        Trouble::Corrupt { per_mille: 200 },
        Trouble::Jitter { up_to: Duration::from_millis(70) },
        Trouble::Rate { bytes_per_second: 200_000, buffer: 5_000 },
        Trouble::Mtu { bytes: 300 },
        Trouble::Trickle { send_buffer: 500, piece: 7 },
    ];
    for trouble in troubles {
        let mut world = World::new(&fault(trouble.clone()));
        let client = world.connect();
        world.run(130 * S);
        let server = world.server.unwrap_or_else(|| panic!("{trouble:?}: never opened"));
        let sent = [pattern(100_000), pattern(30_001)];
        world.writing = sent.clone();
        world.write(client);
        world.write(server);
        world.run(1_200 * S);
        assert_eq!(world.read[1].len(), sent[0].len(), "{trouble:?}");
        assert!(world.read[1] == sent[0] && world.read[0] == sent[1], "{trouble:?}");
        world.net.close(world.now, client, &mut world.queue);
        world.run(2_500 * S);
        assert!(world.lines().contains(&"closed at 1: None"), "{trouble:?}: {:?}", world.lines());
        assert!(world.net.conns.is_empty(), "{trouble:?}");
    }
}

#[test]
fn loss_shows_as_delay_and_nothing_overtakes() {
    let mut world = World::new(&[]);
    let client = world.connect();
    world.run(S);
    world.troubled(&fault(Trouble::Loss { per_mille: 1000 }));
    world.writing[0] = pattern(5_000);
    world.write(client);
    world.run(4 * S);
    assert!(world.read[1].is_empty());
    world.troubled(&[]);
    world.run(60 * S);
    assert_eq!(world.read[1], pattern(5_000));
}

#[test]
fn a_dead_port_refuses_and_a_dead_machine_is_silent() {
    for (machine, expected, at) in
        [(Machine::Idle, "closed at 0: Some(Refused)", 40_000), (Machine::Off, "closed at 0: Some(TimedOut)", 127 * S)]
    {
        let mut world = World::new(&[]);
        world.net.set_machine(0, 1, machine, &mut world.queue);
        world.connect();
        world.net.send(0, 0, address(1), &[0; 100], &mut world.queue);
        world.run(300 * S);
        assert!(world.log.contains(&(at, expected.into())), "{:?}", world.log);
        let bounced = world.lines().contains(&"failed: Refused");
        assert_eq!(bounced, machine == Machine::Idle);
        assert!(world.net.conns.is_empty());
    }
}

#[test]
fn a_firewall_drops_or_rejects() {
    let block = |verdict| fault(Trouble::Block { protocol: Some(Protocol::Tcp), port: Some(PORT), verdict });
    let mut world = World::new(&block(Verdict::Reject));
    world.connect();
    world.net.send(0, 0, address(1), &[0; 100], &mut world.queue);
    world.run(S);
    assert_eq!(world.lines(), ["closed at 0: Some(Refused)", "datagram of 100"]);
    let mut world = World::new(&block(Verdict::Drop));
    world.connect();
    world.run(10 * S);
    assert_eq!(world.lines(), Vec::<&str>::new());
    world.troubled(&[]);
    world.run(30 * S);
    assert_eq!(world.lines(), ["opened", "accepted"]);
}

#[test]
fn a_reset_is_heard_at_one_end_and_learnt_at_the_other() {
    let mut world = World::new(&[]);
    world.connect();
    world.run(S);
    let mut out = Vec::new();
    world.net.reset(1, 0, &mut out);
    out.drain(..).for_each(|delivery| world.note(delivery));
    let server = world.server.unwrap();
    world.run(5 * S);
    assert_eq!(world.lines(), ["opened", "accepted", "closed at 0: Some(Reset)"]);
    world.writing[1] = pattern(10);
    world.write(server);
    world.run(6 * S);
    assert_eq!(world.lines()[3], "closed at 1: Some(Reset)");
    assert!(world.net.conns.is_empty());
}

#[test]
fn an_end_whose_machine_lost_power_is_silent_then_resets() {
    let mut world = World::new(&[]);
    let client = world.connect();
    world.run(S);
    world.net.set_machine(S, 1, Machine::Off, &mut world.queue);
    world.writing[0] = pattern(10);
    world.write(client);
    world.run(20 * S);
    assert_eq!(world.lines(), ["opened", "accepted"]);
    world.net.set_machine(20 * S, 1, Machine::Running, &mut world.queue);
    world.run(60 * S);
    assert_eq!(world.lines()[2], "closed at 0: Some(Reset)");
}

#[test]
fn a_killed_process_says_goodbye() {
    let mut world = World::new(&[]);
    world.connect();
    world.run(S);
    world.net.set_machine(S, 1, Machine::Idle, &mut world.queue);
    world.run(2 * S);
    assert_eq!(world.lines()[2], "closed at 0: None");
    assert!(world.net.conns.is_empty());
}

#[test]
fn what_is_forgotten_on_the_way_is_silent() {
    let mut world = World::new(&[]);
    let client = world.connect();
    world.run(S);
    world.net.vanish(0, 1);
    world.writing[0] = pattern(10);
    world.write(client);
    world.run(100 * S);
    assert_eq!(world.lines(), ["opened", "accepted"]);
    assert!(world.read[1].is_empty());
    world.run(2_000 * S);
    assert_eq!(world.lines()[2..], ["closed at 0: Some(TimedOut)"]);
    assert_eq!(NetError::TimedOut as u8, 3);
}

#[test]
fn a_write_takes_a_part_and_says_when_it_can_take_more() {
    let mut world = World::new(&fault(Trouble::Trickle { send_buffer: 100, piece: 50 }));
    let client = world.connect();
    world.run(S);
    world.writing[0] = pattern(1_000);
    world.write(client);
    assert!(world.blocked[0] && world.writing[0].len() >= 900);
    world.run(60 * S);
    assert_eq!(world.read[1], pattern(1_000));
    assert!(world.pieces > 20);
}
