//! From a seed to a scenario. Everything that is drawn is drawn here, and each family of faults
//! draws from a row of its own.

mod swarm;

use core::time::Duration;

use burdock_core::{Config, Ladder, Schedule};

use self::swarm::Swarm;
use crate::luck::{Draws, Luck};
use crate::scenario::{Accept, Ending, Family, Host, Link, Reader, Scenario, Tunnels};

/// Rows of draws that belong to no family.
const TOPOLOGY: u64 = 1_000;
const CONFIG: u64 = 2_000;
const TRAFFIC: u64 = 3_000;
const ROUTERS: u64 = 4_000;
/// Where families begin.
const FAMILIES: u64 = 10_000;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl Scenario {
    /// The scenario of a seed. Swarm: each family of faults is on in about half of all seeds, and
    /// off in the others, so that the families do not hide each other.
    #[must_use]
    pub fn generate(seed: u64) -> Self {
        Self::generated(seed, false)
    }

    /// The scenario of a seed with routers, whether or not that seed has any.
    pub(crate) fn generated(seed: u64, routers: bool) -> Self {
        let luck = Luck::of(seed);
        let mut draws = Draws::new(luck, TOPOLOGY);
        let count = if draws.one_in(6) { 3 } else { 2 };
        let storm = draws.between(5_000, 40_000) * if draws.one_in(8) { 4 } else { 1 };
        let link = Link {
            latency: Duration::from_micros(draws.pick(&[500, 2_000, 10_000, 25_000, 60_000, 150_000])),
            mtu: 1_500,
            send_buffer: draws.pick(&[16_384, 65_536, 262_144]),
        };
        let max_message = draws.pick(&[16_384, 65_536, 262_144]);
        let names = ["alice", "bob", "carol"];
        let hosts = (0..count).map(|index| host(luck, index as u64, names[index], max_message)).collect();
        let mut closers = draws.pick(&[&[0, 2][..], &[1], &[0, 1, 2]]).to_vec();
        closers.retain(|host| *host < count);
        let scenario = Self {
            seed,
            hosts,
            link,
            tunnels: Tunnels::default(),
            faults: Vec::new(),
            ops: Vec::new(),
            ending: Ending::Stop { at: Duration::ZERO },
        };
        let mut swarm = Swarm { luck, storm, healed: storm, scenario };
        let mut of_routers = Draws::new(luck, ROUTERS);
        if of_routers.one_in(3) || routers {
            swarm.routers(&mut of_routers);
        }
        swarm.dials(&mut draws);
        for family in Family::ALL {
            let mut draws = Draws::new(luck, FAMILIES + *family as u64);
            if draws.one_in(2) {
                swarm.add(*family, &mut draws);
            }
        }
        swarm.keys_outlive_round_trips();
        swarm.dials_again(&mut draws);
        swarm.traffic();
        swarm.scenario.ending = Ending::Converge { healed: ms(swarm.healed), closers };
        swarm.scenario
    }
}

fn host(luck: Luck, index: u64, name: &str, max_message: u32) -> Host {
    let mut draws = Draws::new(luck, CONFIG + index);
    let mut config = if draws.one_in(5) { Config::chat() } else { Config::streamer() };
    config.attempts = draws.pick(&[config.attempts, config.attempts, config.attempts, 5, 2]);
    config.attempt_deadline = draws.pick(&[config.attempt_deadline, ms(5_000), ms(2_500)]);
    config.silence = draws.pick(&[config.silence, ms(10_000), ms(5_000)]);
    config.ladder = match draws.below(6) {
        0 => Ladder::Strict,
        1 => Ladder::Race { fallback_delay: ms(100) },
        _ => config.ladder,
    };
    if draws.one_in(3) {
        config.backoff = Schedule::exponential(ms(50), ms(2_000)).with_jitter(draws.pick(&[0, 500, 1_000]));
    }
    let limits = &mut config.limits;
    limits.max_message = max_message;
    limits.channel_credit = draws.pick(&[limits.channel_credit, max_message + 8, 2 * max_message]);
    limits.session_credit = draws.pick(&[limits.session_credit, limits.channel_credit]);
    limits.send_buffer = draws.pick(&[limits.send_buffer, max_message as usize + 8]);
    limits.pending_messages = draws.pick(&[limits.pending_messages, 50]);
    if draws.one_in(3) {
        limits.unproven_rate = draws.pick(&[1, 5, 20]);
        limits.unproven_burst = draws.pick(&[1, 4]);
        limits.half_open = draws.pick(&[limits.half_open, 32, 8]);
    }
    Host {
        name: name.into(),
        config,
        accept: Accept::Anyone,
        clock: ms(draws.pick(&[0, 1, 1_000_000, 1 << 40])),
        reader: Reader::Prompt,
        router: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_on_in_a_good_part_of_the_seeds() {
        for family in Family::ALL {
            let on = (0..1_000).filter(|seed| Scenario::generate(*seed).families().any(|on| on == *family)).count();
            // A third of the seeds have routers, and what is wrong with them is on in half of those.
            let expected = match family {
                Family::I2p => 250..=450,
                family if *family > Family::I2p => 100..=250,
                _ => 300..=700,
            };
            assert!(expected.contains(&on), "{} is on in {on} of 1,000 seeds", family.name());
        }
    }

    #[test]
    fn scenarios_survive_their_text_and_are_whole() {
        for seed in 0..200 {
            let scenario = Scenario::generate(seed);
            assert_eq!(Scenario::from_text(&scenario.to_text()).unwrap(), scenario);
            let Ending::Converge { healed, .. } = scenario.ending else { panic!("seeds converge") };
            assert!(scenario.faults.iter().all(|fault| fault.from <= healed));
            assert!(scenario.faults.iter().filter_map(|fault| fault.until).all(|until| until <= healed));
        }
    }

    #[test]
    fn a_bad_scenario_is_refused_in_one_sentence() {
        let good = Scenario::generate(1).to_text();
        for (wrong, text) in [
            ("no JSON", "hello".to_owned()),
            ("no such host", good.replacen("\"to\": 1", "\"to\": 9", 1)),
            ("no span", good.replacen("\"healed\": \"", "\"healed\": \"x", 1)),
        ] {
            let error = Scenario::from_text(&text).unwrap_err().to_string();
            assert!(error.starts_with("this is not a scenario: "), "{wrong}: {error}");
        }
    }
}
