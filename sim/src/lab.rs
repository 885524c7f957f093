//! The simulated network with your own application on it.
//!
//! A [`Lab`] is a [`Scenario`] whose applications are yours: its hosts, its link and its faults
//! are taken from the scenario, its operations and its ending are not. You call the endpoints,
//! fetch what they say, and let time pass one event at a time; nothing sleeps, and the same
//! scenario and the same calls give the same run. What the oracles know about packets and about
//! the core's contract is still watched.
//!
//! ```
//! use core::time::Duration;
//!
//! use burdock_core::update::UpdateKind;
//! use burdock_sim::scenario::{FaultKind, Trouble, Verdict, Way};
//! use burdock_sim::{Lab, Scenario};
//!
//! let mut lab = Lab::new(Scenario::calm(7))?;
//! let (alice, bob) = (0, 1);
//!
//! // Alice dials while nothing passes in her direction; half a second later it does.
//! let wall = Trouble::Block { protocol: None, port: None, verdict: Verdict::Drop };
//! let wall = lab.begin(FaultKind::Path { way: Way { from: alice, to: bob }, trouble: wall })?;
//! let link = lab.link(bob);
//! let session = lab.with(alice, |endpoint, now| endpoint.connect(now, &link)).expect("Alice runs")?;
//! let half = lab.now() + Duration::from_millis(500);
//! while lab.step(half)? {}
//! lab.end(wall)?;
//!
//! // Hers is the first message, and he has it within seconds.
//! lab.with(alice, |endpoint, now| endpoint.send(now, session, 0, "hello".into())).expect("Alice runs")?;
//! let limit = lab.now() + Duration::from_secs(10);
//! let mut heard = None;
//! while heard.is_none() && lab.step(limit)? {
//!     while let Some((session, update)) = lab.update(bob) {
//!         if update.kind == UpdateKind::Message {
//!             heard = lab.with(bob, |endpoint, now| {
//!                 let message = endpoint.recv(session);
//!                 endpoint.taken(now, session);
//!                 message
//!             });
//!         }
//!     }
//! }
//! assert_eq!(heard.flatten().expect("a message").data, "hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use burdock_core::{Endpoint, Link, PublicKey, SessionId, Time, Update};

use crate::oracle::Verdict;
use crate::report::Failure;
use crate::scenario::{Family, Fault, FaultKind, Scenario, ScenarioError, address};
use crate::trace::Detail;
use crate::world::{Apps, World};

/// A simulated world with somebody else's applications. Hosts are named by their place in the
/// scenario.
///
/// See the [module's page](self) for an example. A method that takes a host panics when the
/// scenario has no such host.
pub struct Lab {
    world: World,
    /// Seen while an application was calling; the next step says so.
    broken: Option<Failure>,
}

/// A fault that was begun by [`Lab::begin`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "without it the fault has no end"]
pub struct FaultId(usize);

impl Lab {
    /// Starts the processes of all hosts. The faults of the scenario come at their times.
    ///
    /// # Errors
    /// The scenario is not sound: the error says in what.
    pub fn new(mut scenario: Scenario) -> Result<Self, ScenarioError> {
        scenario.ops.clear();
        scenario.validate()?;
        let mut world = World::new(scenario, Apps::Outside, Detail::Short);
        world.schedule_faults();
        let verdict = world.boot_all();
        let mut lab = Self { world, broken: None };
        lab.judge(verdict);
        Ok(lab)
    }

    /// The time, from 0 at the beginning. An endpoint sees what its host's clock shows.
    #[must_use]
    pub fn now(&self) -> Time {
        Time::from_micros(self.world.now)
    }

    /// The key of a host, the same in all its lives.
    #[must_use]
    pub fn key(&self, host: usize) -> PublicKey {
        self.world.hosts[host].key.expect("every host has a key")
    }

    /// A link by which a host can be dialled, over UDP and TCP.
    #[must_use]
    pub fn link(&self, host: usize) -> Link {
        Link::direct(self.key(host), address(host))
    }

    /// A link by which a host can be dialled over I2P alone, if it has a router.
    #[must_use]
    pub fn hidden_link(&self, host: usize) -> Link {
        let i2p = Some(self.world.net.i2p.keys(host).destination());
        Link { host: None, udp_port: None, tcp_port: None, i2p, ..self.link(host) }
    }

    /// Lets the application of a host call its endpoint, and does what the endpoint then wants
    /// done. `None` when the host's process is not running, or stopped.
    ///
    /// The time that `call` gets is the one to hand on. It must not drain actions: the lab does.
    pub fn with<R>(&mut self, host: usize, call: impl FnOnce(&mut Endpoint, Time) -> R) -> Option<R> {
        if !self.world.runs(host) {
            return None;
        }
        let now = self.world.now;
        let process = self.world.hosts[host].process.as_mut()?;
        let time = process.time(now);
        let result = call(&mut process.endpoint, time);
        let verdict = self.world.drain(host).and_then(|_| self.world.settle(host));
        self.judge(verdict);
        Some(result)
    }

    /// The next thing that the endpoint of a host says to its application.
    pub fn update(&mut self, host: usize) -> Option<(SessionId, Update)> {
        if !self.world.runs(host) {
            return None;
        }
        self.world.hosts[host].process.as_mut()?.inbox.pop_front()
    }

    /// Lets the next thing happen, if it happens by `limit`. Otherwise it is `limit` now, and the
    /// answer is false.
    ///
    /// # Errors
    /// The core broke its contract, or something crossed the wire that must not: this is a bug.
    pub fn step(&mut self, limit: Time) -> Result<bool, Failure> {
        self.verdict()?;
        if self.world.queue.next().is_none_or(|at| at > limit.as_micros()) {
            self.world.now = self.world.now.max(limit.as_micros());
            return Ok(false);
        }
        let verdict = self.world.advance().map(drop);
        self.judge(verdict);
        self.verdict().map(|()| true)
    }

    /// Begins a fault now. Kinds that take no time, such as a reset, are over at once; a process
    /// that crashes is down until the [`end`](Self::end).
    ///
    /// # Errors
    /// It refers to a host that is not there.
    pub fn begin(&mut self, kind: FaultKind) -> Result<FaultId, ScenarioError> {
        let from = core::time::Duration::from_micros(self.world.now);
        let index = self.world.scenario.faults.len();
        // The family matters to tables of many runs, which a lab has none of.
        self.world.scenario.faults.push(Fault { from, until: None, family: Family::Outage, kind });
        if let Err(error) = self.world.scenario.validate() {
            self.world.scenario.faults.pop();
            return Err(error);
        }
        self.world.active.push(false);
        let verdict = self.world.fault_begins(index);
        self.judge(verdict);
        Ok(FaultId(index))
    }

    /// Ends a fault now: the way behaves again, the process starts anew, without memory.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn end(&mut self, fault: FaultId) -> Result<(), Failure> {
        let verdict = self.world.fault_ends(fault.0);
        self.judge(verdict);
        self.verdict()
    }

    /// The TCP connections that the process of a host holds, opening or open.
    #[must_use]
    pub fn streams(&self, host: usize) -> usize {
        self.world.net.held_by(host)
    }

    /// When the process of a host connected to its SAM bridge.
    #[must_use]
    pub fn bridge_knocks(&self, host: usize) -> Vec<Time> {
        self.world
            .net
            .knocks
            .iter()
            .filter(|knock| (knock.from, knock.to) == (host, host))
            .map(|knock| knock.at)
            .collect()
    }

    /// Lets the oracles forget the packets that they have seen: in a run of weeks, what is still
    /// allocated then belongs to the endpoints.
    pub fn forget(&mut self) {
        self.world.wire.forget();
        self.world.door.forget();
        self.world.net.knocks = Vec::new();
    }

    fn judge(&mut self, verdict: Verdict) {
        if let Err(broken) = verdict {
            let failure = Failure { oracle: broken.oracle, time: self.now(), message: broken.message };
            self.broken.get_or_insert(failure);
        }
    }

    fn verdict(&self) -> Result<(), Failure> {
        self.broken.clone().map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use burdock_core::update::UpdateKind;

    use super::*;
    use crate::scenario::Way;

    /// Everything that the hosts were told, with the time.
    fn told(seed: u64) -> Vec<(Time, usize, UpdateKind)> {
        let mut lab = Lab::new(Scenario::calm(seed)).unwrap();
        let link = lab.link(1);
        let session = lab.with(0, |endpoint, now| endpoint.connect(now, &link)).unwrap().unwrap();
        for n in 0..50_u8 {
            lab.with(0, |endpoint, now| endpoint.send(now, session, 0, vec![n; 2_000].into())).unwrap().unwrap();
        }
        let mut told = Vec::new();
        while lab.step(Time::from_micros(5_000_000)).unwrap() {
            for host in 0..2 {
                while let Some((session, update)) = lab.update(host) {
                    lab.with(host, |endpoint, now| {
                        while endpoint.recv(session).is_some() {}
                        endpoint.taken(now, session);
                    });
                    told.push((lab.now(), host, update.kind));
                }
            }
        }
        assert_eq!(lab.now(), Time::from_micros(5_000_000));
        told
    }

    #[test]
    fn the_same_calls_give_the_same_run() {
        let run = told(3);
        assert_eq!(run, told(3));
        let delivered = |kind: &UpdateKind| matches!(kind, UpdateKind::Outcome { .. });
        assert_eq!(run.iter().filter(|(_, host, kind)| *host == 0 && delivered(kind)).count(), 50);
    }

    #[test]
    fn a_process_that_crashed_cannot_be_called_until_the_end() {
        let mut lab = Lab::new(Scenario::calm(1)).unwrap();
        let key = lab.key(1);
        let crash = lab.begin(FaultKind::Crash { host: 1, power: false }).unwrap();
        assert_eq!(lab.with(1, |endpoint, _| endpoint.public_key()), None);
        assert!(lab.update(1).is_none());
        lab.end(crash).unwrap();
        assert_eq!(lab.with(1, |endpoint, _| endpoint.public_key()), Some(key));
    }

    #[test]
    fn a_fault_of_a_host_that_is_not_there_is_refused() {
        let mut lab = Lab::new(Scenario::calm(1)).unwrap();
        let error = lab.begin(FaultKind::Reset { way: Way { from: 0, to: 2 } }).unwrap_err();
        assert_eq!(error.to_string(), "this is not a scenario: there is no host 2; the first one is 0");
        assert!(lab.begin(FaultKind::Reset { way: Way { from: 0, to: 1 } }).is_ok());
        assert!(!lab.step(Time::ZERO + Duration::from_secs(1)).unwrap());
    }
}
