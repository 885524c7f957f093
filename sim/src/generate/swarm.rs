//! A scenario as it is drawn: who dials and sends, and what each family of faults does meanwhile.

use core::time::Duration;

use burdock_core::{Class, I2p};

use super::{TRAFFIC, ms};
use crate::luck::{Draws, Luck};
use crate::scenario::{
    Accept, Family, Fault, FaultKind, Forgery, Lie, Make, OffPath, OnPath, OnStream, Op, Protocol, Reader, Rebinding,
    Refused, Router, RouterTrouble, Scenario, Trouble, Tunnels, Verdict, WakeTrouble, Way, What,
};

const BOTH_WAYS: [Way; 2] = [Way { from: 0, to: 1 }, Way { from: 1, to: 0 }];

pub(super) struct Swarm {
    pub(super) luck: Luck,
    /// Until when anything may happen at any time, in milliseconds.
    pub(super) storm: u64,
    /// When the faults are over: after the storm come cuts, one after another, with time between
    /// them for a session to be up.
    pub(super) healed: u64,
    pub(super) scenario: Scenario,
}

impl Swarm {
    /// Gives the hosts routers: to all of them, or to all but one when nobody depends on it.
    pub(super) fn routers(&mut self, draws: &mut Draws) {
        self.scenario.tunnels = Tunnels {
            latency: ms(draws.pick(&[300, 600, 1_000, 2_500, 5_000])),
            jitter: ms(draws.pick(&[0, 200, 1_000])),
        };
        // What takes seconds needs a longer storm.
        self.storm *= 3;
        self.healed = self.storm;
        let round_trip = self.scenario.tunnels.round_trip();
        let anonymous: &[usize] = draws.pick(&[&[0, 1, 2][..], &[0], &[], &[]]);
        let hidden = !anonymous.is_empty() || draws.one_in(2);
        for (index, host) in self.scenario.hosts.iter_mut().enumerate() {
            if !hidden && index == 2 && draws.one_in(2) {
                continue;
            }
            host.router = Some(Router {
                make: draws.pick(&[Make::I2pd, Make::I2pd, Make::Emissary]),
                build: ms(draws.pick(&[0, 1_000, 5_000, 20_000, 45_000])),
                keeps: draws.one_in(2),
                hidden: hidden && draws.one_in(2),
            });
            let config = &mut host.config;
            config.i2p = Some(I2p {
                // Nobody dials the third one.
                accept: index < 2 || draws.one_in(2),
                silence: ms(draws.pick(&[120_000, 60_000, 30_000])),
                ..I2p::default()
            });
            if anonymous.contains(&index) {
                config.class = Class::Anonymous;
            }
            if hidden || draws.one_in(2) {
                config.attempt_deadline = ms(draws.pick(&[60_000, 45_000]));
            }
            config.close_deadline += 3 * round_trip;
        }
    }

    /// A host that has a router.
    fn router(&self, draws: &mut Draws) -> Option<usize> {
        let hosts: Vec<usize> =
            (0..self.scenario.hosts.len()).filter(|host| self.scenario.hosts[*host].router.is_some()).collect();
        if hosts.is_empty() { None } else { Some(draws.pick(&hosts)) }
    }

    /// Something that is wrong with routers, some times.
    fn on_routers(
        &mut self,
        family: Family,
        draws: &mut Draws,
        lasts: impl Fn(&RouterTrouble) -> Option<u64>,
        trouble: impl Fn(&mut Draws) -> RouterTrouble,
    ) {
        for _ in 0..draws.between(1, 3) {
            let Some(host) = self.router(draws) else { return };
            let trouble = trouble(draws);
            let (from, until) = match lasts(&trouble) {
                None => (ms(draws.below(self.storm)), None),
                Some(_) if draws.one_in(3) => self.cut(draws),
                Some(longest) => self.window(draws, 500, longest),
            };
            self.scenario.faults.push(Fault { from, until, family, kind: FaultKind::Router { host, trouble } });
        }
    }

    /// Keys that seal nothing any more before the answer to their renewal can come are no use.
    pub(super) fn keys_outlive_round_trips(&mut self) {
        if self.scenario.hosts.iter().any(|host| host.router.is_some()) {
            let least = 4 * self.scenario.tunnels.round_trip();
            for host in &mut self.scenario.hosts {
                host.config.key_life = host.config.key_life.max(least);
            }
        }
    }

    /// Everybody dials the second host.
    pub(super) fn dials(&mut self, draws: &mut Draws) {
        for host in [0, 2].into_iter().filter(|host| *host < self.scenario.hosts.len()) {
            let at = ms(draws.below(50));
            let what = What::Connect { to: 1, by_name: draws.one_in(6) };
            self.scenario.ops.push(Op { at, host, what });
        }
    }

    /// Who dialled looks now and then whether the session has ended.
    pub(super) fn dials_again(&mut self, draws: &mut Draws) {
        for host in [0, 2].into_iter().filter(|host| *host < self.scenario.hosts.len()) {
            let again = draws.between(5_000, 15_000);
            for at in (1..self.healed / again).map(|n| ms(n * again)) {
                self.scenario.ops.push(Op { at, host, what: What::Connect { to: 1, by_name: false } });
            }
        }
    }

    fn pairs(&self) -> &'static [(usize, usize)] {
        if self.scenario.hosts.len() > 2 { &[(0, 1), (1, 0), (2, 1), (1, 2)] } else { &[(0, 1), (1, 0)] }
    }

    pub(super) fn traffic(&mut self) {
        for (row, (host, to)) in (0..).zip(self.pairs()) {
            let mut draws = Draws::new(self.luck, TRAFFIC + row);
            for _ in 0..draws.between(1, 6) {
                let size = draws.pick(&[0, 16, 40, 100, 700, 1_200, 3_000, 16_000]);
                let count = draws.between(1, 250).min(1 + 100_000 / u64::from(size + 1));
                let what = What::Send {
                    to: *to,
                    channel: draws.pick(&[0, 1, 7, 255]),
                    count: u32::try_from(count).expect("at most 250"),
                    size,
                    every: ms(draws.pick(&[0, 1, 10, 100])),
                };
                let at = ms(draws.below(self.healed));
                self.scenario.ops.push(Op { at, host: *host, what });
            }
        }
    }

    pub(super) fn add(&mut self, family: Family, draws: &mut Draws) {
        let mille = |draws: &mut Draws, low, high| u32::try_from(draws.between(low, high)).expect("at most 1000");
        match family {
            Family::Loss => {
                let per_mille = mille(draws, 5, 300);
                self.weather(family, draws, Trouble::Loss { per_mille });
            }
            Family::Burst => {
                let (enter, leave, loss) = (mille(draws, 2, 50), mille(draws, 50, 300), mille(draws, 300, 1_000));
                self.weather(family, draws, Trouble::Burst { enter, leave, loss });
            }
            Family::Duplicate => {
                let per_mille = mille(draws, 5, 300);
                self.weather(family, draws, Trouble::Duplicate { per_mille });
            }
            Family::Reorder => {
                let (per_mille, by) = (mille(draws, 5, 300), ms(draws.between(1, 100)));
                self.weather(family, draws, Trouble::Reorder { per_mille, by });
            }
            Family::Corrupt => {
                let per_mille = mille(draws, 5, 150);
                self.weather(family, draws, Trouble::Corrupt { per_mille });
            }
            Family::Jitter => {
                let up_to = ms(draws.between(1, 100));
                self.weather(family, draws, Trouble::Jitter { up_to });
            }
            Family::Rate => {
                let bytes_per_second = draws.pick(&[20_000, 60_000, 200_000, 1_000_000]);
                let buffer = draws.pick(&[4_000, 16_000, 64_000]);
                self.weather(family, draws, Trouble::Rate { bytes_per_second, buffer });
            }
            Family::Mtu => {
                let bytes = draws.pick(&[600, 1_000, 1_227, 1_228, 1_280, 1_400]);
                self.weather(family, draws, Trouble::Mtu { bytes });
            }
            Family::UdpBlocked => self.firewall(family, draws, Protocol::Udp),
            Family::TcpBlocked => self.firewall(family, draws, Protocol::Tcp),
            Family::OneWay => {
                let (from, until) = if draws.one_in(2) { self.cut(draws) } else { self.window(draws, 200, 8_000) };
                let way = if draws.one_in(2) { Way { from: 0, to: 1 } } else { Way { from: 1, to: 0 } };
                let trouble = Trouble::Block { protocol: None, port: None, verdict: Verdict::Drop };
                self.scenario.faults.push(Fault::path(family, way, trouble, from, until));
            }
            Family::Outage => {
                for n in 0..draws.between(1, 4) {
                    let (from, until) = if n < 2 { self.cut(draws) } else { self.window(draws, 200, 15_000) };
                    let trouble = Trouble::Block { protocol: None, port: None, verdict: Verdict::Drop };
                    self.both_ways(family, &trouble, from, until);
                }
            }
            Family::Reset => {
                self.on_tcp(family, draws);
                for _ in 0..draws.between(2, 5) {
                    let way = draws.pick(&[Way { from: 0, to: 1 }, Way { from: 1, to: 0 }]);
                    self.moment(family, draws, FaultKind::Reset { way });
                }
            }
            Family::HalfOpen => {
                self.on_tcp(family, draws);
                for _ in 0..draws.between(1, 3) {
                    self.moment(family, draws, FaultKind::HalfOpen { way: Way { from: 0, to: 1 } });
                }
            }
            Family::Crash => {
                for _ in 0..draws.between(1, 2) {
                    let host = usize::from(draws.one_in(2));
                    let kind = FaultKind::Crash { host, power: draws.one_in(2) };
                    let (from, until) = self.window(draws, 10, 8_000);
                    self.scenario.faults.push(Fault { from, until, family, kind });
                }
            }
            Family::Trickle => {
                let (from, until) = self.window(draws, 500, 6_000);
                let trouble = Trouble::Trickle {
                    send_buffer: draws.pick(&[200, 1_000, 4_000]),
                    piece: draws.pick(&[7, 100, 1_400]),
                };
                self.both_ways(family, &trouble, from, until);
            }
            Family::ShortKeys => {
                // The same for all: who wipes keys early does not open what the others still seal.
                let key_life = ms(draws.pick(&[1_000, 2_000, 5_000, 10_000]));
                self.scenario.hosts.iter_mut().for_each(|host| host.config.key_life = key_life);
            }
            // The routers are there from the beginning.
            Family::I2p => {}
            Family::SlowTunnels => {
                let build = |draws: &mut Draws| ms(draws.pick(&[1_000, 5_000, 12_000, 40_000, 120_000]));
                let slow = |draws: &mut Draws| RouterTrouble::SlowTunnels { build: build(draws) };
                self.on_routers(family, draws, |_| Some(120_000), slow);
            }
            Family::NoTunnels => self.on_routers(
                family,
                draws,
                |_| Some(40_000),
                |draws| {
                    let with =
                        draws.pick(&[Refused::CantReachPeer, Refused::Timeout, Refused::I2pError, Refused::I2pError]);
                    if draws.one_in(3) { RouterTrouble::Unpublished } else { RouterTrouble::Refuses { with } }
                },
            ),
            Family::DeadTunnels => {
                let lasts = |trouble: &RouterTrouble| (*trouble == RouterTrouble::Silent).then_some(60_000);
                let dead = |draws: &mut Draws| draws.pick(&[&RouterTrouble::Rebuilt, &RouterTrouble::Silent]).clone();
                self.on_routers(family, draws, lasts, dead);
            }
            Family::BridgeGone => {
                let lasts = |trouble: &RouterTrouble| (*trouble == RouterTrouble::Down).then_some(60_000);
                let gone = |draws: &mut Draws| {
                    draws.pick(&[&RouterTrouble::Down, &RouterTrouble::Down, &RouterTrouble::Forgets])
                };
                self.on_routers(family, draws, lasts, |draws| gone(draws).clone());
            }
            Family::BridgeStalls => self.on_routers(family, draws, |_| Some(40_000), |_| RouterTrouble::Stalled),
            Family::BridgeLies => self.on_routers(
                family,
                draws,
                |_| Some(200_000),
                |draws| {
                    let common =
                        [Lie::Garbage, Lie::LongLine, Lie::OkInMessage, Lie::InvalidId, Lie::End, Lie::Verbose];
                    // Few answers can be one of these.
                    let rare = [Lie::DuplicatedId, Lie::OkThenSilence, Lie::OkThenGarbage];
                    if draws.one_in(3) {
                        let per_mille = draws.pick(&[50, 300, 700]);
                        RouterTrouble::Lies { lie: draws.pick(&common), per_mille }
                    } else {
                        RouterTrouble::Lies { lie: draws.pick(&rare), per_mille: draws.pick(&[700, 1_000]) }
                    }
                },
            ),
            Family::MuteCallers => self.on_routers(
                family,
                draws,
                |_| None,
                |draws| RouterTrouble::MuteCallers { streams: draws.pick(&[1, 3, 20]) },
            ),
            Family::SlowReader => {
                let host = usize::from(draws.one_in(2));
                let batch = u32::try_from(draws.between(1, 20)).expect("at most 20");
                self.scenario.hosts[host].reader = Reader::Slow { batch, every: ms(draws.between(20, 800)) };
            }
            Family::BothDial => {
                let at = ms(draws.pick(&[0, 5, 20, 50, 100, 300, 1_000]) + draws.below(50));
                self.scenario.ops.push(Op { at, host: 1, what: What::Connect { to: 0, by_name: draws.one_in(6) } });
            }
            Family::Cancel => {
                for _ in 0..draws.between(1, 2) {
                    let host = usize::from(draws.one_in(3));
                    let at = if draws.one_in(2) { draws.below(400) } else { draws.below(self.storm) };
                    let again = at + draws.pick(&[0, 1, 200, 2_000]);
                    self.scenario.ops.push(Op { at: ms(at), host, what: What::Cancel { to: 1 - host } });
                    if host == 0 && again < self.storm {
                        let what = What::Connect { to: 1, by_name: false };
                        self.scenario.ops.push(Op { at: ms(again), host, what });
                    }
                }
            }
            Family::Nudge => {
                for _ in 0..draws.between(1, 4) {
                    let host = usize::from(draws.one_in(2));
                    let what = if draws.one_in(2) { What::RetryNow { to: 1 - host } } else { What::NetworkChanged };
                    self.scenario.ops.push(Op { at: ms(draws.below(self.storm)), host, what });
                }
            }
            Family::Stop | Family::ClockJump | Family::LateWake | Family::LostWake | Family::DoubledWake => {
                for _ in 0..draws.between(1, 3) {
                    let host = usize::from(draws.one_in(2));
                    self.clock(family, draws, host);
                }
            }
            Family::OnPath => {
                let chance = |draws: &mut Draws| if draws.one_in(3) { 0 } else { mille(draws, 2, 60) };
                let tricks = OnPath {
                    replay: chance(draws),
                    replay_within: ms(draws.pick(&[1_000, 10_000, 120_000])),
                    delay: chance(draws),
                    delay_by: ms(draws.pick(&[200, 2_000, 8_000])),
                    mutate: chance(draws),
                    reflect: chance(draws),
                    elsewhere: chance(draws),
                    budget: 300_000,
                };
                let (from, until) = self.window(draws, 2_000, self.healed);
                for way in draws.pick(&[&BOTH_WAYS[..], &BOTH_WAYS, &BOTH_WAYS[..1], &BOTH_WAYS[1..]]) {
                    let kind = FaultKind::OnPath { way: *way, tricks: tricks.clone() };
                    self.scenario.faults.push(Fault { from, until, family, kind });
                }
            }
            Family::OnStream => {
                let chance = |draws: &mut Draws| if draws.one_in(3) { 0 } else { mille(draws, 10, 300) };
                let tricks = OnStream { flip: chance(draws), insert: chance(draws), reset: chance(draws) };
                let (from, until) = self.window(draws, 1_000, self.healed);
                for way in draws.pick(&[&BOTH_WAYS[..], &BOTH_WAYS[..1], &BOTH_WAYS[1..]]) {
                    let kind = FaultKind::OnStream { way: *way, tricks: tricks.clone() };
                    self.scenario.faults.push(Fault { from, until, family, kind });
                }
            }
            Family::OffPath => {
                if draws.one_in(2) {
                    let everybody = (0..self.scenario.hosts.len()).collect::<Vec<_>>();
                    self.scenario.hosts.iter_mut().for_each(|host| host.accept = Accept::Hosts(everybody.clone()));
                }
                for _ in 0..draws.between(1, 2) {
                    let (per_second, longest) = draws.pick(&[(5, 20_000), (50, 6_000), (400, 1_500), (3_000, 200)]);
                    let (from, until) = self.window(draws, 100, longest);
                    let plan = OffPath {
                        target: usize::from(draws.one_in(2)),
                        per_second,
                        forgeries: vec![
                            Forgery::Garbage,
                            Forgery::Data,
                            Forgery::Data,
                            Forgery::WrongMac,
                            Forgery::Forged,
                            Forgery::Stranger,
                            Forgery::Answer,
                            Forgery::Cookie,
                            Forgery::CookieElsewhere,
                        ],
                        sources: draws.pick(&[1, 16, 65_536]),
                        as_hosts: draws.pick(&[0, 300, 1_000]),
                        costly: 16,
                        identities: 2,
                    };
                    self.scenario.faults.push(Fault { from, until, family, kind: FaultKind::OffPath(plan) });
                }
            }
            Family::Rebinding => {
                for _ in 0..draws.between(1, 3) {
                    let host = usize::from(draws.one_in(3));
                    let rebinding = Rebinding { address: draws.one_in(2), connections: draws.one_in(2) };
                    let (from, until) = self.window(draws, 100, 10_000);
                    let until = if host == 0 && draws.one_in(2) { None } else { until };
                    self.scenario.faults.push(Fault {
                        from,
                        until,
                        family,
                        kind: FaultKind::Rebind { host, rebinding },
                    });
                }
            }
        }
    }

    /// What a process makes of time.
    fn clock(&mut self, family: Family, draws: &mut Draws, host: usize) {
        let mille = |draws: &mut Draws, low, high| u32::try_from(draws.between(low, high)).expect("at most 1000");
        let span = draws.pick(&[20, 500, 5_000, 20_000, 60_000, 180_000]);
        let cut = family == Family::Stop && draws.one_in(2);
        let (from, mut until) = if cut { self.cut(draws) } else { self.window(draws, span / 2, span) };
        let kind = match family {
            Family::Stop => {
                // The last one is what Linux has.
                let buffer = draws.pick(&[3_000, 30_000, 212_992]);
                FaultKind::Stop { host, clock_stands: draws.one_in(2), buffer }
            }
            Family::ClockJump if draws.one_in(2) => {
                // For good: a clock that came back would stand still for as long.
                until = None;
                let by = draws.pick(&[10, 1_000, 30_000, 600_000, 3_600_000]);
                FaultKind::ClockJump { host, by: ms(draws.between(1, by)), back: false }
            }
            Family::ClockJump => {
                let by = draws.pick(&[10, 1_000, 30_000, 3_600_000]);
                FaultKind::ClockJump { host, by: ms(draws.between(1, by)), back: true }
            }
            Family::LateWake => {
                let most = draws.pick(&[5, 100, 2_000]);
                let up_to = ms(draws.between(1, most));
                FaultKind::Wakes { host, trouble: WakeTrouble::Late { up_to } }
            }
            Family::LostWake => {
                let per_mille = mille(draws, 10, 500);
                FaultKind::Wakes { host, trouble: WakeTrouble::Lost { per_mille } }
            }
            _ => {
                let per_mille = mille(draws, 50, 1_000);
                FaultKind::Wakes { host, trouble: WakeTrouble::Doubled { per_mille } }
            }
        };
        self.scenario.faults.push(Fault { from, until, family, kind });
    }

    /// After all that was drawn before, when sessions have had some time to come up, and mostly for longer than
    /// silence is borne.
    fn cut(&mut self, draws: &mut Draws) -> (Duration, Option<Duration>) {
        let from = self.healed + draws.between(4_000, 20_000);
        let most = draws.pick(&[8_000, 25_000, 40_000]);
        self.healed = from + draws.between(1_000, most);
        (ms(from), Some(ms(self.healed)))
    }

    /// From some moment to another, before the storm is over; often from the beginning.
    fn window(&self, draws: &mut Draws, shortest: u64, longest: u64) -> (Duration, Option<Duration>) {
        let from = if draws.one_in(4) { 0 } else { draws.below(self.storm * 3 / 4) };
        let until = (from + draws.between(shortest, longest)).min(self.storm);
        (ms(from), Some(ms(until)))
    }

    fn moment(&mut self, family: Family, draws: &mut Draws, kind: FaultKind) {
        let from = ms(draws.below(self.storm));
        self.scenario.faults.push(Fault { from, until: None, family, kind });
    }

    /// In both directions, or in one.
    fn weather(&mut self, family: Family, draws: &mut Draws, trouble: Trouble) {
        let (from, until) = self.window(draws, 1_000, self.storm);
        let ways = draws.pick(&[&[(0, 1), (1, 0)][..], &[(0, 1), (1, 0)], &[(0, 1)], &[(1, 0)]]);
        for (one, other) in ways.iter().copied() {
            let way = Way { from: one, to: other };
            self.scenario.faults.push(Fault::path(family, way, trouble.clone(), from, until));
        }
    }

    fn both_ways(&mut self, family: Family, trouble: &Trouble, from: Duration, until: Option<Duration>) {
        for way in [Way { from: 0, to: 1 }, Way { from: 1, to: 0 }] {
            self.scenario.faults.push(Fault::path(family, way, trouble.clone(), from, until));
        }
    }

    /// What happens to connections matters when a session is on one: often there is no UDP.
    fn on_tcp(&mut self, family: Family, draws: &mut Draws) {
        if draws.one_in(3) {
            let verdict = if draws.one_in(4) { Verdict::Reject } else { Verdict::Drop };
            let trouble = Trouble::Block { protocol: Some(Protocol::Udp), port: None, verdict };
            self.both_ways(family, &trouble, Duration::ZERO, Some(ms(self.storm)));
        }
    }

    fn firewall(&mut self, family: Family, draws: &mut Draws, protocol: Protocol) {
        let verdict = if draws.one_in(4) { Verdict::Reject } else { Verdict::Drop };
        let trouble = Trouble::Block { protocol: Some(protocol), port: None, verdict };
        let (from, until) = self.window(draws, 500, self.storm);
        match draws.below(6) {
            0 => self.scenario.faults.push(Fault::path(family, Way { from: 0, to: 1 }, trouble, from, until)),
            1 => self.scenario.faults.push(Fault::path(family, Way { from: 1, to: 0 }, trouble, from, until)),
            _ => self.both_ways(family, &trouble, from, until),
        }
    }
}
