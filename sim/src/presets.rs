//! Scenarios with names, for tests that ask one question.

use core::time::Duration;

use burdock_core::{Class, Config, I2p};

use crate::scenario::{
    Accept, Ending, Family, Fault, FaultKind, Forgery, Host, Link, OffPath, Op, Protocol, Reader, Router, Scenario,
    Trouble, Tunnels, Verdict, Way, What,
};

/// What has become of a peer that does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// Its machine is off, or a firewall stands before it.
    Silent,
    /// Its machine says that nobody listens.
    Refusing,
}

/// How a herd of clients is cut off from its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The server loses power, and starts again without memory.
    Server,
    /// Nothing passes between the server and any client.
    Links,
}

const BOTH: [Way; 2] = [Way { from: 0, to: 1 }, Way { from: 1, to: 0 }];

impl Scenario {
    /// Alice dials Bob at the very beginning, over 20 ms each way; nothing goes wrong. Both have the
    /// streamer preset without jitter.
    #[must_use]
    pub fn calm(seed: u64) -> Self {
        let mut config = Config::streamer();
        config.backoff = config.backoff.with_jitter(0);
        let host = |name: &str| Host {
            name: name.into(),
            config: config.clone(),
            accept: Accept::Anyone,
            clock: Duration::ZERO,
            reader: Reader::Prompt,
            router: None,
        };
        Self {
            seed,
            hosts: vec![host("alice"), host("bob")],
            link: Link { latency: Duration::from_millis(20), mtu: 1_500, send_buffer: 65_536 },
            tunnels: Tunnels::default(),
            faults: Vec::new(),
            ops: vec![Op { at: Duration::ZERO, host: 0, what: What::Connect { to: 1, by_name: false } }],
            ending: Ending::Converge { healed: Duration::from_secs(10), closers: vec![0] },
        }
    }

    /// Alice dials Bob over I2P alone, by tunnels that take a second in each direction; nothing goes wrong. Both are
    /// anonymous and have the chat preset.
    #[must_use]
    pub fn anonymous(seed: u64) -> Self {
        let mut scenario = Self::calm(seed);
        for host in &mut scenario.hosts {
            host.config = Config { class: Class::Anonymous, i2p: Some(I2p::default()), ..Config::chat() };
            // What is queued at the end needs some round trips.
            host.config.close_deadline = Duration::from_secs(30);
            host.router = Some(Router::default());
        }
        scenario.ending = Ending::Converge { healed: Duration::from_secs(60), closers: vec![0] };
        scenario
    }

    /// UDP vanishes in both directions, for ever.
    #[must_use]
    pub fn udp_black_hole(seed: u64) -> Self {
        Self::calm(seed).blocked(Family::UdpBlocked, Some(Protocol::Udp), Duration::ZERO, None)
    }

    /// Nothing passes from `from` on for `lasting`, while `messages` of 100 bytes go each way, all
    /// given to `send` just before.
    #[must_use]
    pub fn outage(seed: u64, from: Duration, lasting: Duration, messages: u32) -> Self {
        let mut scenario = Self::calm(seed).blocked(Family::Outage, None, from, Some(from + lasting));
        scenario.ending = Ending::Converge { healed: from + lasting, closers: vec![0] };
        let sent = from.saturating_sub(Duration::from_millis(5));
        scenario.sending(0, 1, messages, 100, sent).sending(1, 0, messages, 100, sent)
    }

    /// Bob goes away for good once the session has proved healthy (15 s); the run stops five minutes later.
    #[must_use]
    pub fn peer_gone(seed: u64, gone: Gone) -> Self {
        let from = Duration::from_secs(15);
        let mut scenario = Self::calm(seed);
        scenario.ending = Ending::Stop { at: Duration::from_secs(300) };
        match gone {
            Gone::Silent => scenario.blocked(Family::Outage, None, from, None),
            Gone::Refusing => {
                let kind = FaultKind::Crash { host: 1, power: false };
                scenario.faults.push(Fault { from, until: None, family: Family::Crash, kind });
                scenario
            }
        }
    }

    /// Bob dials Alice, too, `delay` later.
    #[must_use]
    pub fn both_dial(seed: u64, delay: Duration) -> Self {
        let mut scenario = Self::calm(seed);
        scenario.ops.push(Op { at: delay, host: 1, what: What::Connect { to: 0, by_name: false } });
        scenario
    }

    /// The process of `host` is killed (or loses power) at `from` and starts again after `lasting`.
    #[must_use]
    pub fn restart(seed: u64, host: usize, power: bool, from: Duration, lasting: Duration) -> Self {
        let mut scenario = Self::calm(seed);
        let kind = FaultKind::Crash { host, power };
        scenario.faults.push(Fault { from, until: Some(from + lasting), family: Family::Crash, kind });
        scenario
    }

    /// So many first messages reach Bob within `lasting`, from 65,536 addresses that nobody has: half
    /// of them with a valid mac1 and nothing behind it, a quarter with a wrong mac1, a quarter whole
    /// and of strangers, whom Bob does not know. Alice, whom he knows, dials him by UDP alone in the
    /// middle of it.
    #[must_use]
    pub fn flooded(seed: u64, messages: u32, lasting: Duration) -> Self {
        let seconds = u32::try_from(lasting.as_secs()).unwrap_or(u32::MAX).max(1);
        let plan = OffPath {
            target: 1,
            per_second: messages / seconds,
            forgeries: vec![Forgery::Forged, Forgery::Forged, Forgery::WrongMac, Forgery::Stranger],
            sources: 65_536,
            as_hosts: 0,
            costly: u32::MAX,
            identities: (messages / 100).clamp(1, 4_096),
        };
        let mut scenario = Self::calm(seed)
            .blocked(Family::TcpBlocked, Some(Protocol::Tcp), Duration::ZERO, Some(lasting))
            .faulty(Family::OffPath, FaultKind::OffPath(plan), Duration::ZERO, Some(lasting));
        scenario.hosts[1].accept = Accept::Hosts(vec![0]);
        scenario.ops[0].at = lasting / 4;
        scenario.ending = Ending::Converge { healed: lasting, closers: vec![0] };
        scenario
    }

    /// One more fault.
    #[must_use]
    pub fn faulty(mut self, family: Family, kind: FaultKind, from: Duration, until: Option<Duration>) -> Self {
        self.faults.push(Fault { from, until, family, kind });
        self
    }

    /// `clients` of one server, host 0, all of which dial at the beginning and never give up. All
    /// are cut off at `from`, at once, for `lasting`.
    #[must_use]
    pub fn herd(seed: u64, clients: usize, cut: Cut, from: Duration, lasting: Duration) -> Self {
        let mut scenario = Self::calm(seed);
        let mut config = Config::streamer();
        config.attempts = 1_000;
        let host = |name: String| Host { name, config: config.clone(), ..scenario.hosts[0].clone() };
        scenario.hosts = (0..=clients).map(|n| host(if n == 0 { "server".into() } else { format!("c{n}") })).collect();
        let dial = |host| Op { at: Duration::ZERO, host, what: What::Connect { to: 0, by_name: false } };
        scenario.ops = (1..=clients).map(dial).collect();
        let until = Some(from + lasting);
        match cut {
            Cut::Server => {
                let kind = FaultKind::Crash { host: 0, power: true };
                scenario.faults.push(Fault { from, until, family: Family::Crash, kind });
            }
            Cut::Links => {
                let wall = Trouble::Block { protocol: None, port: None, verdict: Verdict::Drop };
                let ways = (1..=clients).flat_map(|n| [Way { from: 0, to: n }, Way { from: n, to: 0 }]);
                scenario.faults.extend(ways.map(|way| Fault::path(Family::Outage, way, wall.clone(), from, until)));
            }
        }
        scenario.ending = Ending::Converge { healed: from + lasting, closers: vec![0] };
        scenario
    }

    /// Days on end: every day UDP is blocked twice for a quarter of an hour, once with connections
    /// reset meanwhile, and nothing passes for a minute.
    #[must_use]
    pub fn days(seed: u64, days: u32) -> Self {
        const HOUR: Duration = Duration::from_secs(3_600);
        let minutes = |n: u64| Duration::from_secs(60 * n);
        let mut scenario = Self::calm(seed);
        scenario.hosts.iter_mut().for_each(|host| host.config = Config::streamer());
        scenario.ops.clear();
        for day in 0..days {
            let hour = |n: u32| (24 * day + n) * HOUR;
            for from in [hour(3), hour(15)] {
                scenario = scenario.blocked(Family::UdpBlocked, Some(Protocol::Udp), from, Some(from + minutes(15)));
            }
            let kind = FaultKind::Reset { way: BOTH[0] };
            scenario.faults.push(Fault { from: hour(15) + minutes(7), until: None, family: Family::Reset, kind });
            scenario = scenario.blocked(Family::Outage, None, hour(21), Some(hour(21) + minutes(1)));
        }
        scenario.ending = Ending::Stop { at: days * 24 * HOUR };
        scenario
    }

    /// `count` messages of `size` bytes, given to `send` at once.
    #[must_use]
    pub fn sending(mut self, host: usize, to: usize, count: u32, size: u32, at: Duration) -> Self {
        let what = What::Send { to, channel: 0, count, size, every: Duration::ZERO };
        self.ops.push(Op { at, host, what });
        self
    }

    /// `trouble` in both directions between the first two hosts.
    #[must_use]
    pub fn troubled(mut self, family: Family, trouble: &Trouble, from: Duration, until: Option<Duration>) -> Self {
        self.faults.extend(BOTH.map(|way| Fault::path(family, way, trouble.clone(), from, until)));
        self
    }

    /// A silent firewall in both directions between the first two hosts.
    #[must_use]
    pub fn blocked(self, family: Family, protocol: Option<Protocol>, from: Duration, until: Option<Duration>) -> Self {
        let trouble = Trouble::Block { protocol, port: None, verdict: Verdict::Drop };
        self.troubled(family, &trouble, from, until)
    }

    /// The generated scenario of a seed with these families of faults alone.
    #[must_use]
    pub fn restricted(seed: u64, families: &[Family]) -> Self {
        Self::generate(seed).with_only(families)
    }

    /// The scenario of a seed in which all hosts have routers, or all but one, and nothing is wrong but with these.
    #[must_use]
    pub fn routers(seed: u64) -> Self {
        Self::generated(seed, true).with_only(&[
            Family::I2p,
            Family::SlowTunnels,
            Family::NoTunnels,
            Family::DeadTunnels,
            Family::BridgeGone,
            Family::BridgeStalls,
            Family::BridgeLies,
            Family::MuteCallers,
        ])
    }

    fn with_only(self, families: &[Family]) -> Self {
        let mut scenario = self;
        let keeps = |family| families.contains(&family);
        scenario.faults.retain(|fault| keeps(fault.family));
        if !keeps(Family::SlowReader) {
            scenario.hosts.iter_mut().for_each(|host| host.reader = Reader::Prompt);
        }
        if !keeps(Family::ShortKeys) {
            let key_life = Config::streamer().key_life;
            scenario.hosts.iter_mut().for_each(|host| host.config.key_life = key_life);
        }
        if !keeps(Family::I2p) {
            for host in &mut scenario.hosts {
                (host.config.class, host.config.i2p, host.router) = (Class::Open, None, None);
            }
        }
        let mut dialled = false;
        scenario.ops.retain(|op| match op.what {
            What::Cancel { .. } => keeps(Family::Cancel),
            What::RetryNow { .. } | What::NetworkChanged => keeps(Family::Nudge),
            What::Connect { .. } if op.host == 1 => keeps(Family::BothDial),
            What::Connect { .. } if op.host == 0 => {
                let first = !core::mem::replace(&mut dialled, true);
                first || keeps(Family::Cancel)
            }
            _ => true,
        });
        scenario
    }
}
