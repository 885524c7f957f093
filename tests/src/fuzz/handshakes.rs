//! Handshakes that the peers begin and answer, rightly and wrongly.

use std::collections::BTreeSet;

use burdock_core::crypto;
use burdock_core::wire::frame::Frame;
use burdock_core::wire::packet;
use burdock_core::wire::payload::{HelloInit, HelloResp, Verdict};
use burdock_core::{Limits, Transport};

use super::script::Script;
use super::steps::script_pick;
use super::{HANDSHAKES, Line, Via, World, addr};

impl World {
    /// A handshake with fields from the script, confirmed or left alone.
    pub(super) fn dial(&mut self, script: &mut Script<'_>) {
        let (who, how) = (script.below(2), script.u8());
        if self.handshakes >= HANDSHAKES {
            return;
        }
        let via = if how & 1 == 0 { Some(Via::Udp) } else { self.accept_stream(who) };
        let Some(via) = via else { return };
        let transport = transport(via);
        let their_half = self.lines.iter().rev().find(|line| line.who == who).map_or(0, |line| line.epoch.their_half);
        let to = self.endpoint.public_key();
        let peer = &mut self.peers[who];
        let mut hello: HelloInit = peer.hello();
        if how & 2 != 0 {
            hello.your_half = their_half;
        }
        if how & 4 != 0 {
            edit_hello(script, &self.limits, &mut hello);
            peer.half = hello.my_half;
        }
        let mut asked = if how & 8 != 0 && how & 4 != 0 {
            let len = script.u8();
            peer.ask_bytes(&to, transport, script.bytes(len.into()))
        } else {
            peer.ask_with(&to, transport, &hello)
        };
        if how & 32 != 0
            && let (Via::Udp, Some(cookie)) = (via, &self.cookies[who])
        {
            asked.prove(cookie);
        }
        let lines = self.lines.len();
        self.ask(asked, who, via);
        if how & 16 == 0 && self.lines.len() > lines {
            self.confirm();
        }
    }

    /// An INIT of the endpoint is answered, with fields from the script.
    pub(super) fn answer(&mut self, script: &mut Script<'_>) {
        let how = script.u8();
        if self.handshakes >= HANDSHAKES {
            return;
        }
        let at = usize::from(how >> 5) % self.inits.len().max(1);
        let Some((init, who, via)) = self.inits.get(at).cloned() else { return };
        self.handshakes += 1;
        let limits = self.limits.clone();
        let mut again = false;
        let made = self.peers[who].answer_bytes(&init, |mut hello, padded| {
            again = hello.verdict == Verdict::Resumed;
            if how & 1 != 0 {
                edit_resp(script, &limits, &mut hello);
            }
            let mut payload = Vec::new();
            hello.encode(padded, &mut payload);
            if how & 6 == 6 {
                let at = script.below(payload.len());
                payload.splice(at.., script.bytes(8).iter().copied());
            }
            payload
        });
        let Some((packet, epoch)) = made else { return };
        if again {
            self.count("peer: renewal or resumption answered");
        }
        self.lines.push(Line { epoch, via, who, home: addr(who, 0), heard: BTreeSet::new(), offsets: [0; 4] });
        self.deliver(who, via, &packet);
    }

    /// A peer renews the keys of one of its epochs, on the carrier of that.
    pub(super) fn renew(&mut self, script: &mut Script<'_>) {
        let (at, how) = (script.below(self.lines.len()), script.u8());
        let Some(Line { epoch, via, who, .. }) = self.lines.get(at) else { return };
        if self.handshakes >= HANDSHAKES {
            return;
        }
        let (via, who) = (*via, *who);
        let mut hello = self.peers[who].hello();
        (hello.your_half, hello.renews) = (epoch.their_half, epoch.theirs);
        if how & 1 != 0 {
            edit_hello(script, &self.limits, &mut hello);
        }
        if how & 2 != 0 {
            let other = script.below(self.lines.len());
            hello.renews = self.lines[other].epoch.theirs;
        }
        let to = self.endpoint.public_key();
        let asked = self.peers[who].ask_with(&to, transport(via), &hello);
        let lines = self.lines.len();
        self.ask(asked, who, via);
        if how & 4 == 0 && self.lines.len() > lines {
            self.count("peer: keys renewed");
            self.confirm();
        }
    }

    /// A peer without memory takes the place of the one before.
    pub(super) fn restart(&mut self, script: &mut Script<'_>) {
        let (who, how) = (script.below(2), script.u8());
        if self.handshakes >= HANDSHAKES {
            return;
        }
        let via = if how & 1 == 0 { Some(Via::Udp) } else { self.accept_stream(who) };
        let Some(via) = via else { return };
        let to = self.endpoint.public_key();
        let peer = &mut self.peers[who];
        // Mostly one that was never there; else one that was replaced.
        peer.half = if how & 2 == 0 { peer.half.wrapping_add(1).max(1) } else { peer.half.wrapping_sub(1).max(1) };
        let mut asked = peer.ask(&to, transport(via));
        if let (Via::Udp, Some(cookie)) = (via, &self.cookies[who]) {
            asked.prove(cookie);
        }
        let lines = self.lines.len();
        self.ask(asked, who, via);
        if self.lines.len() > lines {
            self.confirm();
        }
    }

    /// A peer asks for proof of the address that an INIT of the endpoint came from; or somebody else pretends to.
    pub(super) fn demand(&mut self, script: &mut Script<'_>) {
        let how = script.u8();
        let at = usize::from(how >> 5) % self.inits.len().max(1);
        let Some((init, who, via)) = self.inits.get(at).cloned() else { return };
        let asking = if how & 1 == 0 { who } else { 1 - who };
        let Some(mut packet) = self.peers[asking].demand(&init, [script.u8(); 16]) else { return };
        if how & 2 != 0 {
            packet[8 + usize::from(script.u8()) % 56] ^= 1;
        }
        self.count("peer: cookie demanded");
        self.deliver(who, via, &packet);
    }

    /// A peer asks again, with the mac2 of a cookie; perhaps from elsewhere.
    pub(super) fn prove(&mut self, script: &mut Script<'_>) {
        let how = script.u8();
        let Some((asked, who, Via::Udp)) = self.asked.last() else { return };
        let (who, mut packet) = (*who, asked.packet.clone());
        let cookie = if how & 1 == 0 { self.cookies[who] } else { Some([script.u8(); 16]) };
        let Some(cookie) = cookie else { return };
        packet::set_mac2(&mut packet, |before| crypto::mac(&cookie, &[before]));
        let lines = self.lines.len();
        self.deliver(who, Via::Udp, &packet);
        if self.lines.len() > lines {
            self.count("peer: cookie used");
        }
        if how & 2 == 0 && self.lines.len() > lines {
            self.confirm();
        }
    }

    /// A peer brings back what an address was sent, from there or from elsewhere.
    pub(super) fn respond(&mut self, script: &mut Script<'_>) {
        let (at, which) = (script.below(self.lines.len()), script.u8());
        let last = self.challenges.len().wrapping_sub(1 + usize::from(which >> 5));
        if let Some(challenge) = self.challenges.get(last) {
            let mut plaintext = Vec::new();
            Frame::Response(*challenge).encode(&mut plaintext);
            self.count("peer: challenge brought back");
            self.say(at, &plaintext);
        }
    }

    /// Many begin from one place, and do not go on.
    pub(super) fn herd(&mut self, script: &mut Script<'_>) {
        let (who, how) = (script.below(2), script.u8());
        for _ in 0..=how >> 4 {
            if how & 1 == 0 {
                if self.handshakes >= HANDSHAKES {
                    return;
                }
                let to = self.endpoint.public_key();
                let asked = self.peers[who].ask(&to, Transport::Udp);
                self.ask(asked, who, Via::Udp);
            } else {
                self.accept_stream(who);
            }
        }
    }
}

fn transport(via: Via) -> Transport {
    if via == Via::Udp { Transport::Udp } else { Transport::Tcp }
}

/// The one place that knows all fields of the first message.
fn edit_hello(script: &mut Script<'_>, limits: &Limits, hello: &mut HelloInit) {
    let which = script.u8();
    if which & 1 != 0 {
        hello.my_half = script.number(limits);
    }
    if which & 2 != 0 {
        hello.your_half = script.number(limits);
    }
    if which & 4 != 0 {
        hello.dial_no = script.number(limits) as u32;
    }
    if which & 8 != 0 {
        hello.invite = [script.u8(); 8];
    }
    if which & 16 != 0 {
        hello.keep_s = Some(script.number(limits) as u32);
    }
    if which & 32 != 0 {
        hello.limits.max_message = script.number(limits) as u32;
        hello.limits.session_credit = script.number(limits) as u32;
        hello.limits.channel_credit = script.number(limits) as u32;
        hello.limits.max_packet = script.u16();
    }
    if which & 64 != 0 {
        hello.renews = script.number(limits) as u32;
    }
}

fn edit_resp(script: &mut Script<'_>, limits: &Limits, hello: &mut HelloResp) {
    let which = script.u8();
    if which & 1 != 0 {
        hello.my_half = script.number(limits);
    }
    if which & 2 != 0 {
        hello.your_half = script.number(limits);
    }
    if which & 4 != 0 {
        hello.dial_no = script.number(limits) as u32;
    }
    if which & 8 != 0 {
        hello.verdict = *script_pick(script, &[Verdict::New, Verdict::Resumed, Verdict::Restarted, Verdict::Closed(0)]);
    }
    if which & 16 != 0 {
        hello.index = script.u16().into();
    }
    if which & 32 != 0 {
        hello.limits.max_message = script.number(limits) as u32;
        hello.limits.session_credit = script.number(limits) as u32;
        hello.limits.channel_credit = script.number(limits) as u32;
        hello.limits.max_packet = script.u16();
    }
}
