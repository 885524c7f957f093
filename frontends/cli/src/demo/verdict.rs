//! What a scenario was to show, and whether it did.

use std::time::Duration;

use crate::output::{Palette, seconds};

/// The judgement on one scenario: it holds when something was checked and every check held.
pub(super) struct Verdict {
    title: &'static str,
    checks: Vec<(bool, String)>,
    /// What was seen, for the table.
    pub(super) summary: String,
    pub(super) took: Duration,
}

impl Verdict {
    pub(super) const fn new(title: &'static str) -> Self {
        Self { title, checks: Vec::new(), summary: String::new(), took: Duration::ZERO }
    }

    /// Writes down one finding, worded as what is the case.
    pub(super) fn check(&mut self, holds: bool, finding: impl Into<String>) {
        self.checks.push((holds, finding.into()));
    }

    pub(super) fn holds(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|(holds, _)| *holds)
    }

    /// One line for each finding that did not hold, or the summary.
    pub(super) fn lines(&self, palette: Palette) -> Vec<String> {
        if self.holds() {
            return vec![format!("{}  {}", palette.good("PASS"), self.summary)];
        }
        let failed = self.checks.iter().filter(|(holds, _)| !holds);
        let lines: Vec<String> = failed.map(|(_, finding)| format!("{}  {finding}", palette.bad("FAIL"))).collect();
        if lines.is_empty() { vec![format!("{}  nothing was checked", palette.bad("FAIL"))] } else { lines }
    }

    /// What the table says: the summary, or the first thing that is wrong.
    fn finding(&self) -> &str {
        self.checks.iter().find(|(holds, _)| !holds).map_or(&self.summary, |(_, finding)| finding)
    }
}

/// All verdicts, one a row.
pub(super) fn table(verdicts: &[Verdict], palette: Palette) -> String {
    let width = verdicts.iter().map(|verdict| verdict.title.len()).max().unwrap_or_default();
    let mut rows = vec![palette.strong(format!("{:width$}  verdict    time  what was seen", "scenario"))];
    rows.extend(verdicts.iter().map(|verdict| {
        let word = if verdict.holds() { palette.good("PASS   ") } else { palette.bad("FAIL   ") };
        format!("{:width$}  {word}  {:>6}  {}", verdict.title, seconds(verdict.took), verdict.finding())
    }));
    rows.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(title: &'static str, checks: &[bool]) -> Verdict {
        let mut verdict = Verdict::new(title);
        verdict.summary = "all well".to_owned();
        for holds in checks {
            verdict.check(*holds, format!("a finding that is {holds}"));
        }
        verdict
    }

    #[test]
    fn a_verdict_without_a_check_does_not_hold() {
        assert!(!verdict("none", &[]).holds());
        assert!(verdict("good", &[true, true]).holds());
        assert!(!verdict("bad", &[true, false]).holds());
    }

    #[test]
    fn the_table_says_what_is_wrong() {
        let table = table(
            &[verdict("(a) good", &[true]), verdict("(b) bad one", &[true, false])],
            Palette::for_terminal(false),
        );
        insta::assert_snapshot!(table, @r"
        scenario     verdict    time  what was seen
        (a) good     PASS      0.0 s  all well
        (b) bad one  FAIL      0.0 s  a finding that is false
        ");
    }
}
