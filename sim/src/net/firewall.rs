//! What is let through in one direction.

use crate::scenario::{Protocol, Verdict};

/// The rules of one direction; the first that matches counts.
#[derive(Debug, Default)]
pub(crate) struct Firewall(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    protocol: Option<Protocol>,
    port: Option<u16>,
    verdict: Verdict,
}

impl Firewall {
    pub(crate) fn add(&mut self, protocol: Option<Protocol>, port: Option<u16>, verdict: Verdict) {
        self.0.push(Rule { protocol, port, verdict });
    }

    /// What becomes of a packet between these ports; `None` lets it through.
    pub(crate) fn verdict(&self, protocol: Protocol, ports: [u16; 2]) -> Option<Verdict> {
        let matches = |rule: &&Rule| {
            rule.protocol.is_none_or(|wanted| wanted == protocol) && rule.port.is_none_or(|port| ports.contains(&port))
        };
        self.0.iter().find(matches).map(|rule| rule.verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_matches_counts() {
        let mut firewall = Firewall::default();
        assert_eq!(firewall.verdict(Protocol::Udp, [1, 2]), None);
        firewall.add(Some(Protocol::Tcp), Some(2), Verdict::Reject);
        firewall.add(Some(Protocol::Udp), None, Verdict::Drop);
        firewall.add(None, None, Verdict::Reject);
        assert_eq!(firewall.verdict(Protocol::Udp, [1, 2]), Some(Verdict::Drop));
        assert_eq!(firewall.verdict(Protocol::Tcp, [2, 9]), Some(Verdict::Reject));
        assert_eq!(firewall.verdict(Protocol::Tcp, [7, 9]), Some(Verdict::Reject));
    }
}
