//! The command line, as clap reads it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use burdock_core::{Code, Config, PublicKey};
use clap::{Parser, Subcommand, ValueEnum};

/// Where `listen` listens when nothing else is said, so that a link outlives a restart.
pub(crate) const DEFAULT_PORT: u16 = 28_736;

/// Encrypted peer sessions that stick: over UDP, else TCP, and back again with nothing lost.
#[derive(Debug, Parser)]
#[command(
    name = "burdock",
    version,
    after_help = "BURDOCK_LOG=debug writes a log to standard error; NO_COLOR=1 turns colours off."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the public key of an identity, made first if there is none.
    Id(IdArgs),
    /// Wait for peers: lines from standard input go to all of them, their lines to standard output.
    #[command(after_help = exit_statuses())]
    Listen(ListenArgs),
    /// Dial a peer: lines from standard input go to it, its lines to standard output.
    #[command(after_help = exit_statuses())]
    Connect(ConnectArgs),
    /// Talk on a web page that only this machine can open.
    #[command(after_help = CHAT)]
    Chat(ChatArgs),
    /// Show every status that a session can have, with its text, hint and ways out.
    Gallery(GalleryArgs),
    /// Watch a session get through, fall back, move up, resume and give up, on loopback sockets.
    #[command(after_help = SABOTAGE)]
    Demo(DemoArgs),
    /// Run the simulator.
    Sim(SimArgs),
}

impl Command {
    /// Whether events are wanted for machines.
    pub(crate) const fn json(&self) -> bool {
        match self {
            Self::Id(args) => args.json,
            Self::Listen(args) => args.talk.own.json,
            Self::Connect(args) => args.talk.own.json,
            Self::Chat(args) => args.own.json,
            Self::Gallery(_) | Self::Demo(_) | Self::Sim(_) => false,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct IdArgs {
    /// The file of the identity [default: $BURDOCK_IDENTITY, else burdock/identity in the user's data directory]
    #[arg(long, value_name = "PATH")]
    pub(crate) file: Option<PathBuf>,
    /// Write a JSON object instead of the bare key
    #[arg(long)]
    pub(crate) json: bool,
}

/// Who we are and how I2P is used.
#[derive(Debug, clap::Args)]
pub(crate) struct OwnArgs {
    /// The file of the identity, made with `burdock id`
    #[arg(long, value_name = "PATH")]
    pub(crate) identity: Option<PathBuf>,
    /// Use a fresh identity that is forgotten at the end
    #[arg(long, conflicts_with = "identity")]
    pub(crate) ephemeral: bool,
    /// Write events to standard error as JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) i2p: I2pArgs,
}

/// What `listen` and `connect` have in common.
#[derive(Debug, clap::Args)]
pub(crate) struct TalkArgs {
    /// How patient to be
    #[arg(long, value_enum, default_value_t = Preset::Streamer)]
    pub(crate) preset: Preset,
    #[command(flatten)]
    pub(crate) own: OwnArgs,
}

/// Where we can be reached, and by whom.
#[derive(Debug, clap::Args)]
pub(crate) struct DoorArgs {
    /// The address and port on which peers reach us, for UDP and TCP alike; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT", default_value_t = SocketAddr::from(([0, 0, 0, 0], DEFAULT_PORT)))]
    pub(crate) bind: SocketAddr,
    /// The name or address that the link carries [default: this machine's own address]
    #[arg(long, value_name = "NAME")]
    pub(crate) host: Option<String>,
    /// Let this key in, which needs no invite; may be given several times
    #[arg(long, value_name = "KEY")]
    pub(crate) allow: Vec<PublicKey>,
    /// Let anyone in who has the link, which then holds no invite
    #[arg(long, conflicts_with = "allow")]
    pub(crate) anyone: bool,
}

/// How I2P is used.
#[derive(Debug, clap::Args)]
pub(crate) struct I2pArgs {
    /// Use I2P beside UDP and TCP, through the router whose SAM bridge is there; without an address through the one at
    /// 127.0.0.1:7656, or else one that is started for it
    #[arg(long, value_name = "ADDR:PORT", num_args = 0..=1, require_equals = true)]
    pub(crate) i2p: Option<Option<SocketAddr>>,
    /// Use I2P and nothing else: no socket but to its router, no look-up, and an identity apart from the others
    #[arg(long)]
    pub(crate) anonymous: bool,
    /// Keep the I2P destination beside the identity, so that a link to it outlives a restart
    #[arg(long, conflicts_with = "ephemeral")]
    pub(crate) keep_destination: bool,
    /// Routers that each I2P tunnel goes through: fewer are faster, none hide nothing [default: 3]
    #[arg(long, value_name = "0-7", value_parser = clap::value_parser!(u8).range(0..=7))]
    pub(crate) hops: Option<u8>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Preset {
    /// Fast redials that back off to 30 s, 10 attempts of 5 s
    Streamer,
    /// 4 patient attempts of up to 60 s, 5, 10 and 15 s apart
    Chat,
}

impl Preset {
    pub(crate) fn config(self) -> Config {
        match self {
            Self::Streamer => Config::streamer(),
            Self::Chat => Config::chat(),
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListenArgs {
    #[command(flatten)]
    pub(crate) door: DoorArgs,
    /// Put a fresh invite into the link and let in whoever is the first to use it, any number of
    /// times, until this listener ends
    #[arg(long, conflicts_with = "anyone")]
    pub(crate) invite: bool,
    #[command(flatten)]
    pub(crate) talk: TalkArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ConnectArgs {
    /// The peer's link, burdock://KEY@HOST:PORT
    #[arg(value_name = "LINK")]
    pub(crate) link: String,
    /// The local address and port to dial from [default: any]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) bind: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) talk: TalkArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ChatArgs {
    /// A peer's link to dial at once
    #[arg(value_name = "LINK")]
    pub(crate) link: Option<String>,
    #[command(flatten)]
    pub(crate) door: DoorArgs,
    /// The port of the page, on 127.0.0.1; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) port: u16,
    #[command(flatten)]
    pub(crate) own: OwnArgs,
}

const CHAT: &str = "\
The address of the page is written to standard output. It holds a secret: whoever has it can read and
write. It is not handed to a browser by us, as others on this machine could read it there.

Each link is for one person, whoever is the first to use it; then there is a fresh one.";

#[derive(Debug, clap::Args)]
pub(crate) struct GalleryArgs {
    /// Write JSON: an array of cards, one a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// Run these scenarios alone
    #[arg(long, value_name = "a,b,c,d", value_delimiter = ',')]
    pub(crate) only: Vec<Part>,
    /// Break one thing on purpose, to see its verdict fail
    #[arg(long, value_enum)]
    pub(crate) sabotage: Option<Sabotage>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Part {
    /// An open network
    A,
    /// UDP dropped in silence, then back
    B,
    /// The link is dead for 5 s
    C,
    /// The peer is offline
    D,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sabotage {
    /// (b) fails: the link names no TCP port
    NoFallback,
    /// (c) fails: when the link is lost, the applications start a new session instead of resuming
    NoResume,
    /// (a) fails: one message is sent twice
    DoubleMessage,
    /// (d) fails: there is no end to the attempts
    NeverGiveUp,
}

const SABOTAGE: &str = "\
Two peers talk through a relay that can be made to fail. Each scenario ends in a verdict
computed from what the receiving side wrote down. The exit status is 0 only if all hold.

Each sabotage makes exactly one verdict fail, to show that the verdicts can:
    double-message  (a)  one message is sent twice
    no-fallback     (b)  the link names no TCP port
    no-resume       (c)  when the link is lost, the applications start a new session
                         instead of resuming theirs
    never-give-up   (d)  there is no end to the attempts";

#[derive(Debug, clap::Args)]
pub(crate) struct SimArgs {
    #[command(subcommand)]
    pub(crate) command: SimCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SimCommand {
    /// Run many seeds on all cores and show what they reached.
    Sweep(SweepArgs),
    /// Run one seed, or one scenario from a file, and show the end of its trace.
    Run(RunArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// The seed, as a sweep names it
    #[arg(long, required_unless_present = "scenario", conflicts_with = "scenario")]
    pub(crate) seed: Option<u64>,
    /// A file with a scenario
    #[arg(long, value_name = "FILE")]
    pub(crate) scenario: Option<PathBuf>,
    /// Show every packet and every wake-up
    #[arg(long)]
    pub(crate) full: bool,
    /// Write the scenario to this file, to be edited and run again
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SweepArgs {
    /// How many seeds to run, one after the other from the first
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seeds: u64,
    /// The first seed [default: a fresh one]
    #[arg(long, value_name = "SEED")]
    pub(crate) from: Option<u64>,
    /// Fail when a row of the table is below this and no reason for it is written down
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub(crate) least: u64,
    /// Stop at the first seed that fails
    #[arg(long)]
    pub(crate) stop: bool,
}

/// The table of exit statuses, from the one list of codes.
fn exit_statuses() -> String {
    let mut by_status: BTreeMap<u8, Vec<&str>> = BTreeMap::new();
    for code in Code::ALL {
        by_status.entry(code.exit_status()).or_default().push(code.name());
    }
    let mut table = String::from("Exit status:\n");
    let mut row = |status: u8, text: &str| table.push_str(&format!("  {status:>3}  {text}\n"));
    row(0, "everything was delivered");
    row(1, "something on this side failed, or not everything was delivered");
    row(2, "the command line was not understood");
    for (status, names) in by_status.range(3..) {
        row(*status, &names.join(", "));
    }
    row(130, "interrupted with ^C");
    table
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_code_has_a_documented_exit_status() {
        let table = exit_statuses();
        for code in Code::ALL.iter().filter(|code| code.exit_status() != 0) {
            assert!(table.contains(code.name()), "{code} is missing");
            assert!(code.exit_status() > crate::failure::USAGE, "{code} shares the status of a local failure");
        }
    }
}
