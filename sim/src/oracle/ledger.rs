//! What was sent, what arrived, what was taken, and what the sender was told about it.
//!
//! - Only what was sent arrives, unchanged, once, and in order within its channel; a gap is allowed
//!   only over messages whose sender already knows that they may be missing.
//! - `Delivered` is said only of what the other application took; `Undelivered` only of what never
//!   arrives; each message has one outcome at most, and has one when its session is closed.
//! - A message may end otherwise than `Delivered` only for a cause: the peer lost its memory of the
//!   session, or the session ended before.

use core::hash::Hasher;
use std::collections::BTreeMap;

use burdock_core::Outcome;
use bytes::Bytes;
use siphasher::sip::SipHasher13;

use crate::luck::Luck;
use crate::oracle::payload::{self, Label};
use crate::oracle::{Verdict, broken, require};

const ORACLE: &str = "messages";

/// A session as one side knows it: the host, and its count of sessions.
pub(crate) type SessionKey = (usize, u16);

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    sessions: BTreeMap<SessionKey, Session>,
}

#[derive(Debug)]
struct Session {
    peer: Option<usize>,
    /// Its application will hear no more of it: it crashed, or cancelled it.
    abandoned: bool,
    closed: bool,
    /// The peer lost its memory, so outcomes may be what they like.
    excused: bool,
    messages: Vec<Message>,
    channels: BTreeMap<u8, Channel>,
    pending: usize,
    outcomes: [u64; 3],
}

#[derive(Debug)]
struct Message {
    channel: u8,
    len: u32,
    received: bool,
    taken: bool,
    outcome: Option<Outcome>,
    /// It does not say what it is, and may be what arrived where another session's may be, too.
    ambiguous: bool,
}

#[derive(Debug)]
struct Channel {
    /// The numbers of its messages.
    sent: Vec<u32>,
    /// How many of these have arrived or been passed over.
    position: usize,
    sent_hash: SipHasher13,
    taken_hash: SipHasher13,
    taken: u64,
}

/// A message that was handed out, to be named when it is taken.
pub(crate) type Handed = (SessionKey, u32);

/// One channel in one direction of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// The index of the sending host.
    pub from: usize,
    /// The index of the receiving host.
    pub to: Option<usize>,
    /// The sender's count of its sessions.
    pub session: u16,
    /// The channel.
    pub channel: u8,
    /// Messages sent.
    pub sent: u64,
    /// A hash over all that was sent, in order.
    pub sent_hash: u64,
    /// Messages that the peer's application took.
    pub taken: u64,
    /// A hash over all that was taken, in order.
    pub taken_hash: u64,
    /// Outcomes: delivered, undelivered, unknown.
    pub outcomes: [u64; 3],
}

impl Ledger {
    pub(crate) fn open(&mut self, key: SessionKey, peer: Option<usize>) {
        self.sessions.insert(
            key,
            Session {
                peer,
                abandoned: false,
                closed: false,
                excused: false,
                messages: Vec::new(),
                channels: BTreeMap::new(),
                pending: 0,
                outcomes: [0; 3],
            },
        );
    }

    fn session(&mut self, key: SessionKey) -> &mut Session {
        self.sessions.get_mut(&key).expect("applications name sessions that they opened")
    }

    /// The number of the session's next message.
    pub(crate) fn next_number(&self, key: SessionKey) -> u32 {
        let sent = self.sessions.get(&key).map_or(0, |session| session.messages.len());
        u32::try_from(sent).expect("fewer than 2^32 messages are sent in a run")
    }

    pub(crate) fn sent(&mut self, key: SessionKey, id: u64, channel: u8, data: &Bytes) -> Verdict {
        let number = self.next_number(key);
        require(id == u64::from(number), ORACLE, || format!("message {number} of its session was given the id {id}"))?;
        let session = self.session(key);
        let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
        session.messages.push(Message { channel, len, received: false, taken: false, outcome: None, ambiguous: false });
        session.pending += 1;
        let channel = session.channels.entry(channel).or_insert_with(|| Channel {
            sent: Vec::new(),
            position: 0,
            sent_hash: SipHasher13::new(),
            taken_hash: SipHasher13::new(),
            taken: 0,
        });
        channel.sent.push(number);
        channel.sent_hash.write_u32(number);
        channel.sent_hash.write(data);
        Ok(())
    }

    /// A message was handed to the application of `host`, in its session with `peer`.
    pub(crate) fn received(
        &mut self,
        host: usize,
        peer: usize,
        channel: u8,
        data: &[u8],
        luck: Luck,
    ) -> Verdict<Handed> {
        let (key, number) = match payload::label(data) {
            Some(label) => ((usize::from(label.host), label.session), label.number),
            None => {
                let (handed, ambiguous) = self.anonymous(host, peer, channel, data.len())?;
                if ambiguous {
                    return Ok(handed);
                }
                handed
            }
        };
        let describe = || format!("message {number} of session {}.{} on channel {channel}", key.0, key.1);
        let Some(session) = self.sessions.get_mut(&key) else {
            return broken(ORACLE, format!("{} arrived, but there is no such session", describe()));
        };
        require(key.0 == peer && session.peer.is_none_or(|to| to == host), ORACLE, || {
            format!("{} came to host {host} in its session with host {peer}", describe())
        })?;
        let Some(message) = session.messages.get(number as usize) else {
            return broken(ORACLE, format!("{} arrived and was never sent", describe()));
        };
        let label = label_of(key, number, message);
        require(data == payload::write(label, luck) && channel == message.channel, ORACLE, || {
            format!("{} is not what was sent", describe())
        })?;
        require(!message.received, ORACLE, || format!("{} arrived twice", describe()))?;
        require(message.outcome != Some(Outcome::Undelivered), ORACLE, || {
            format!("{} arrived after its sender was told that it never will", describe())
        })?;
        let lane = session.channels.get_mut(&channel).expect("the message was sent on it");
        let place = lane.sent.binary_search(&number).expect("the message was sent on it");
        require(place >= lane.position, ORACLE, || format!("{} arrived after one sent later", describe()))?;
        let passed_over = &lane.sent[lane.position..place];
        let is_missing = |message: &Message| message.outcome.is_none() && !message.ambiguous;
        let missing = passed_over.iter().find(|passed| is_missing(&session.messages[**passed as usize]));
        if let Some(missing) = missing {
            return broken(ORACLE, format!("{} arrived before message {missing} of the same channel", describe()));
        }
        lane.position = place + 1;
        session.messages[number as usize].received = true;
        Ok((key, number))
    }

    /// A message too short to say what it is: the next of that length that may come. Where that may be one of several
    /// sessions, as messages of a session that ended may still be handed out, none of them is held to anything.
    fn anonymous(&mut self, host: usize, peer: usize, channel: u8, len: usize) -> Verdict<(Handed, bool)> {
        let fits =
            |message: &Message, wanted: Option<Outcome>| message.outcome == wanted && message.len as usize == len;
        let next = |session: &Session, wanted: Option<Outcome>| {
            let lane = session.channels.get(&channel)?;
            let message = |number: &u32| &session.messages[*number as usize];
            let open = &lane.sent[lane.position..];
            let may_be = open.iter().find(|number| message(number).ambiguous && fits(message(number), wanted));
            let must_be = || match wanted {
                None => open.iter().find(|number| message(number).outcome.is_none() && !message(number).ambiguous),
                _ => open.iter().find(|number| fits(message(number), wanted)),
            };
            may_be.or_else(must_be).copied().filter(|number| fits(message(number), wanted))
        };
        // Of one session, what is still expected comes first; then what its sender has given up.
        let given_up = Some(Outcome::Unknown);
        let mine = |(_, session): &(&SessionKey, &mut Session)| session.peer.is_none_or(|to| to == host);
        let sessions = self.sessions.range_mut((peer, 0)..=(peer, u16::MAX)).rev().filter(mine);
        let mut found: Vec<(Handed, &mut Session)> = sessions
            .filter_map(|(key, session)| {
                let number = next(session, None).or_else(|| next(session, given_up))?;
                Some(((*key, number), session))
            })
            .collect();
        if let Some((handed, first)) = found.first() {
            let handed = *handed;
            let ambiguous = found.len() > 1 || first.messages[handed.1 as usize].ambiguous;
            for (_, session) in found.iter_mut().filter(|_| ambiguous) {
                for message in session.messages.iter_mut().filter(|message| message.channel == channel) {
                    message.ambiguous |= !message.received && (fits(message, None) || fits(message, given_up));
                }
            }
            return Ok((handed, ambiguous));
        }
        broken(ORACLE, format!("{len} bytes arrived at host {host} on channel {channel} that were never sent"))
    }

    pub(crate) fn taken(&mut self, handed: Handed, luck: Luck) -> Verdict {
        let (key, number) = handed;
        let session = self.session(key);
        let message = &mut session.messages[number as usize];
        message.taken = true;
        let label = label_of(key, number, message);
        let lane = session.channels.get_mut(&label.channel).expect("the message was sent on it");
        lane.taken += 1;
        lane.taken_hash.write_u32(number);
        lane.taken_hash.write(&payload::write(label, luck));
        Ok(())
    }

    pub(crate) fn outcome(&mut self, key: SessionKey, id: u64, outcome: Outcome) -> Verdict {
        let describe = || format!("message {id} of session {}.{}", key.0, key.1);
        let session = self.session(key);
        let message = usize::try_from(id).ok().and_then(|id| session.messages.get_mut(id));
        let Some(message) = message else {
            return broken(ORACLE, format!("{} was never sent and is {outcome:?}", describe()));
        };
        if let Some(before) = message.outcome {
            return broken(ORACLE, format!("{} was {before:?} and is now {outcome:?}", describe()));
        }
        message.outcome = Some(outcome);
        session.pending -= 1;
        session.outcomes[outcome as usize] += 1;
        match outcome {
            Outcome::Delivered => require(message.taken || message.ambiguous, ORACLE, || {
                format!("{} is Delivered, but nobody took it", describe())
            }),
            Outcome::Undelivered => {
                require(!message.received, ORACLE, || format!("{} is Undelivered, but it arrived", describe()))
            }
            Outcome::Unknown => Ok(()),
        }
    }

    /// The peer came back without memory of the session.
    pub(crate) fn peer_restarted(&mut self, key: SessionKey) {
        self.session(key).excused = true;
    }

    /// The session is closed. `clean` if nothing explains a message that was not delivered.
    pub(crate) fn closed(&mut self, key: SessionKey, totals: [u64; 3], clean: bool) -> Verdict {
        let session = self.session(key);
        session.closed = true;
        let (sent, pending, counted, excused) =
            (session.messages.len() as u64, session.pending, session.outcomes, session.excused);
        let name = || format!("session {}.{}", key.0, key.1);
        require(pending == 0, ORACLE, || format!("{} is closed, {pending} of its messages have no outcome", name()))?;
        require(totals == counted && totals.iter().sum::<u64>() == sent, ORACLE, || {
            format!("{} sent {sent} messages with outcomes {counted:?}, but its end says {totals:?}", name())
        })?;
        require(!clean || excused || counted[0] == sent, ORACLE, || {
            format!("{} ended in order, but its outcomes are {counted:?}", name())
        })
    }

    /// Its application is gone, or let go of it.
    pub(crate) fn abandon(&mut self, key: SessionKey) {
        self.session(key).abandoned = true;
    }

    /// Messages of this session without an outcome.
    pub(crate) fn pending(&self, key: SessionKey) -> usize {
        self.sessions.get(&key).map_or(0, |session| session.pending)
    }

    /// What is still open when everything should have ended.
    pub(crate) fn finish(&self) -> Verdict {
        for (key, session) in &self.sessions {
            if !session.abandoned && !session.closed {
                return broken(ORACLE, format!("session {}.{} never ended", key.0, key.1));
            }
        }
        Ok(())
    }

    pub(crate) fn taken_count(&self) -> u64 {
        self.sessions.values().flat_map(|session| session.channels.values()).map(|lane| lane.taken).sum()
    }

    pub(crate) fn streams(&self) -> Vec<Stream> {
        let mut streams = Vec::new();
        for ((host, number), session) in &self.sessions {
            for (channel, lane) in &session.channels {
                let mut outcomes = [0; 3];
                for message in lane.sent.iter().map(|number| &session.messages[*number as usize]) {
                    if let Some(outcome) = message.outcome {
                        outcomes[outcome as usize] += 1;
                    }
                }
                streams.push(Stream {
                    from: *host,
                    to: session.peer,
                    session: *number,
                    channel: *channel,
                    sent: lane.sent.len() as u64,
                    sent_hash: lane.sent_hash.finish(),
                    taken: lane.taken,
                    taken_hash: lane.taken_hash.finish(),
                    outcomes,
                });
            }
        }
        streams
    }
}

/// What a message's payload says of itself.
fn label_of(key: SessionKey, number: u32, message: &Message) -> Label {
    Label {
        host: u16::try_from(key.0).unwrap_or(u16::MAX),
        channel: message.channel,
        session: key.1,
        number,
        len: message.len,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: SessionKey = (0, 0);

    fn ledger(sizes: &[u32]) -> (Ledger, Vec<Bytes>) {
        let mut ledger = Ledger::default();
        ledger.open(KEY, Some(1));
        ledger.open((1, 0), Some(0));
        let mut sent = Vec::new();
        for (number, len) in (0..).zip(sizes) {
            let data = payload::write(Label { host: 0, channel: 4, session: 0, number, len: *len }, Luck::of(1));
            ledger.sent(KEY, number.into(), 4, &data).unwrap();
            sent.push(data);
        }
        (ledger, sent)
    }

    fn receive(ledger: &mut Ledger, data: &[u8]) -> Verdict<Handed> {
        ledger.received(1, 0, 4, data, Luck::of(1))
    }

    #[test]
    fn what_is_right_passes() {
        let (mut ledger, sent) = ledger(&[20, 0, 500]);
        for data in &sent {
            let handed = receive(&mut ledger, data).unwrap();
            ledger.taken(handed, Luck::of(1)).unwrap();
            ledger.outcome(KEY, handed.1.into(), Outcome::Delivered).unwrap();
        }
        ledger.closed(KEY, [3, 0, 0], true).unwrap();
        let stream = &ledger.streams()[0];
        assert_eq!((stream.sent, stream.sent_hash), (stream.taken, stream.taken_hash));
        assert!(ledger.finish().is_err());
        ledger.closed((1, 0), [0; 3], true).unwrap();
        ledger.finish().unwrap();
    }

    #[test]
    fn a_doubled_lost_swapped_or_changed_message_is_seen() {
        let (mut ledger, sent) = ledger(&[20, 20, 20]);
        receive(&mut ledger, &sent[0]).unwrap();
        assert!(receive(&mut ledger, &sent[0]).unwrap_err().message.contains("twice"));
        assert!(receive(&mut ledger, &sent[2]).unwrap_err().message.contains("before message 1"));
        let mut changed = sent[1].to_vec();
        changed[19] ^= 1;
        assert!(receive(&mut ledger, &changed).unwrap_err().message.contains("not what was sent"));
        changed[7] = 77;
        assert!(receive(&mut ledger, &changed).unwrap_err().message.contains("never sent"));
    }

    #[test]
    fn outcomes_that_lie_are_seen() {
        let (mut ledger, sent) = ledger(&[20, 20, 20]);
        receive(&mut ledger, &sent[0]).unwrap();
        assert!(ledger.outcome(KEY, 0, Outcome::Delivered).unwrap_err().message.contains("nobody took it"));
        let handed = receive(&mut ledger, &sent[1]).unwrap();
        ledger.taken(handed, Luck::of(1)).unwrap();
        assert!(ledger.outcome(KEY, 1, Outcome::Undelivered).unwrap_err().message.contains("arrived"));
        ledger.outcome(KEY, 2, Outcome::Undelivered).unwrap();
        assert!(ledger.outcome(KEY, 2, Outcome::Unknown).unwrap_err().message.contains("is now"));
        assert!(receive(&mut ledger, &sent[2]).unwrap_err().message.contains("never will"));
        assert!(ledger.closed(KEY, [1, 1, 0], false).unwrap_err().message.contains("sent 3"));
    }

    #[test]
    fn an_empty_message_may_be_of_a_session_that_ended() {
        let (mut ledger, _) = ledger(&[20, 0]);
        ledger.open((0, 1), Some(1));
        for number in 0..2 {
            ledger.sent((0, 1), number, 4, &Bytes::new()).unwrap();
        }
        ledger.abandon(KEY);
        let first = payload::write(Label { host: 0, channel: 4, session: 0, number: 0, len: 20 }, Luck::of(1));
        receive(&mut ledger, &first).unwrap();
        receive(&mut ledger, &[]).unwrap();
        ledger.outcome((0, 1), 0, Outcome::Undelivered).unwrap();
        ledger.outcome((0, 1), 1, Outcome::Undelivered).unwrap();
    }

    #[test]
    fn an_empty_message_may_be_one_that_was_given_up_though_the_next_session_has_its_like() {
        let (mut ledger, sent) = ledger(&[0, 20]);
        ledger.open((0, 1), Some(1));
        ledger.sent((0, 1), 0, 4, &Bytes::new()).unwrap();
        for number in 0..2 {
            ledger.outcome(KEY, number, Outcome::Unknown).unwrap();
        }
        // The first one is of the session before, as what follows shows.
        receive(&mut ledger, &[]).unwrap();
        receive(&mut ledger, &sent[1]).unwrap();
        receive(&mut ledger, &[]).unwrap();
    }
}
