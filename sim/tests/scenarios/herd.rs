//! A thousand clients that lose their server at once must not come back as one.

use core::time::Duration;

use burdock_core::update::{ProgressStatus, UpdateKind};
use burdock_core::{Config, Time};
use burdock_sim::scenario::{Accept, Fault, FaultKind, Way};
use burdock_sim::{Cut, Family, Report, Scenario};

use crate::ok;

const CLIENTS: usize = 1_000;
const SERVER: usize = 0;
/// By when all are connected, though all dialled at the same moment.
const UP: Duration = Duration::from_secs(10);

/// The attempts with one number, of all clients.
#[derive(Clone, Default)]
struct Round {
    begun: u64,
    /// When the first packet of each reached the server's machine, if one did, in microseconds.
    arrivals: Vec<u64>,
}

fn rounds(report: &Report) -> Vec<Round> {
    let mut rounds: Vec<Round> = Vec::new();
    let clients = report.status.len();
    let mut knocks = vec![Vec::new(); clients];
    for knock in report.knocks.iter().filter(|knock| knock.to == SERVER) {
        knocks[knock.from].push(knock.at.as_micros());
    }
    // Attempts of each client since it lost its server: when each began, and its number.
    let mut begun: Vec<Vec<(u64, u32)>> = vec![Vec::new(); clients];
    let mut lost = vec![false; clients];
    for told in &report.told {
        match &told.kind {
            UpdateKind::Lost { .. } => lost[told.host] = true,
            UpdateKind::Progress(progress) if lost[told.host] && progress.status == ProgressStatus::Connecting => {
                let attempts = &mut begun[told.host];
                if attempts.last().is_none_or(|(_, number)| *number < progress.attempt) {
                    attempts.push((told.at.as_micros(), progress.attempt));
                }
            }
            _ => {}
        }
    }
    for (attempts, knocks) in begun.iter().zip(&knocks) {
        for (place, (from, number)) in attempts.iter().enumerate() {
            let until = attempts.get(place + 1).map_or(u64::MAX, |(at, _)| *at);
            rounds.resize(rounds.len().max(*number as usize), Round::default());
            let round = &mut rounds[*number as usize - 1];
            round.begun += 1;
            round.arrivals.extend(knocks.iter().find(|at| (*from..until).contains(at)));
        }
    }
    rounds
}

/// The most of `times` within any `span`.
fn fullest(times: &mut [u64], span: u64) -> u64 {
    times.sort_unstable();
    let mut first = 0;
    let mut most = 0;
    for last in 0..times.len() {
        while times[last] - times[first] >= span {
            first += 1;
        }
        most = most.max(last - first + 1);
    }
    most as u64
}

/// Arrivals in the fullest 100 ms of any round over what is allowed. The mean is that of a round
/// which is spread evenly over half of its wait.
fn crowding(rounds: &mut [Round]) -> u64 {
    let over = (0..).zip(rounds).map(|(n, round)| {
        let jitter = u64::try_from(Config::streamer().backoff.wait(n).as_micros() / 2).expect("a wait fits");
        let three_means = 3 * round.begun * 100_000 / jitter.max(100_000);
        fullest(&mut round.arrivals, 100_000).saturating_sub(three_means + 10)
    });
    over.max().unwrap_or_default()
}

fn attempts_in_ten_minutes(report: &Report) -> u64 {
    let mut begun: Vec<Vec<u64>> = vec![Vec::new(); report.status.len()];
    let mut last = vec![0; report.status.len()];
    for told in &report.told {
        match &told.kind {
            UpdateKind::Progress(progress) if progress.status == ProgressStatus::Connecting => {
                if progress.attempt != last[told.host] {
                    begun[told.host].push(told.at.as_micros());
                }
                last[told.host] = progress.attempt;
            }
            UpdateKind::Lost { .. } | UpdateKind::Connected { .. } | UpdateKind::Resumed { .. } => last[told.host] = 0,
            _ => {}
        }
    }
    begun.iter_mut().map(|begun| fullest(begun, 600_000_000)).max().unwrap_or_default()
}

fn comes_back_in_order(cut: Cut, lasting: Duration, least_rounds: usize) {
    let report = ok(&Scenario::herd(1, CLIENTS, cut, UP, lasting));
    let cut_at = Time::ZERO + UP;
    let lost = |host: usize| {
        let mut told = report.told_to(host);
        told.any(|told| told.at > cut_at && matches!(told.kind, UpdateKind::Lost { .. }))
    };
    let cut_off = (1..=CLIENTS).filter(|host| lost(*host)).count();
    let mut rounds = rounds(&report);
    assert!(rounds.len() >= least_rounds, "{} rounds", rounds.len());
    burdock_ledger::reached("C1", "clients cut at once", u32::try_from(cut_off).expect("a count"));
    let crowding = u32::try_from(crowding(&mut rounds)).expect("a count");
    burdock_ledger::reached("C1", "arrivals in the fullest 100 ms over 3 x the mean + 10", crowding);
    if lasting >= Duration::from_secs(600) {
        let attempts = u32::try_from(attempts_in_ten_minutes(&report)).expect("a count");
        burdock_ledger::reached("C1", "attempts of one client in 10 minutes", attempts);
    }
}

#[test]
fn c1_a_thousand_clients_of_a_server_that_restarts_come_back_spread_out() {
    // Mutation: a jitter of 0 in `Schedule::exponential` makes this fail.
    comes_back_in_order(Cut::Server, Duration::from_secs(60), 5);
}

#[test]
fn c1_a_thousand_clients_without_a_network_come_back_spread_out() {
    // Mutation: a jitter of 0 in `Schedule::exponential` makes this fail.
    comes_back_in_order(Cut::Links, Duration::from_secs(40), 4);
}

#[test]
#[ignore = "half a minute in a development build"]
fn c1_a_thousand_clients_bear_ten_minutes_without_their_server() {
    // Mutation: `saturating_mul(1)` for the doubling in `Schedule::wait` makes this fail.
    comes_back_in_order(Cut::Server, Duration::from_secs(620), 20);
}

fn waits(report: &Report, host: usize) -> Vec<u64> {
    let waits = report.told_to(host).filter_map(|told| match &told.kind {
        UpdateKind::Progress(progress) => progress.retry_in_ms,
        _ => None,
    });
    waits.collect()
}

const WAITS_MS: [u64; 10] = [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000];

#[test]
fn c1_a_server_that_accepts_and_closes_is_retried_no_faster() {
    // Mutation: resetting the backoff when a stream opens makes this fail.
    // It takes every connection, and closes those that ask for a handshake.
    let mut scenario = Scenario::udp_black_hole(1);
    scenario.hosts[1].accept = Accept::Hosts(Vec::new());
    scenario.ending = burdock_sim::scenario::Ending::Stop { at: Duration::from_secs(300) };
    let report = ok(&scenario);
    assert_eq!(waits(&report, 0), WAITS_MS[..9], "{report}");
}

#[test]
fn c1_a_session_that_is_cut_as_soon_as_it_is_up_is_retried_no_faster() {
    // Mutation: resetting the backoff when a session is resumed makes this fail.
    let mut scenario = Scenario::udp_black_hole(1);
    for n in 0..400 {
        let from = Duration::from_millis(500 * n);
        let kind = FaultKind::Reset { way: Way { from: 1, to: 0 } };
        scenario.faults.push(Fault { from, until: None, family: Family::Reset, kind });
    }
    scenario.ending = burdock_sim::scenario::Ending::Stop { at: Duration::from_secs(300) };
    let report = ok(&scenario);
    assert_eq!(waits(&report, 0), WAITS_MS[..9], "{report}");
    assert!(report.reconnects >= 9, "{report}");
}
