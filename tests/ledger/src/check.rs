//! What is not as it should be.

use burdock_ledger::meets;

use crate::page::{Ledger, ordered, render};

/// Everything that is wrong, a line each. `all` says that the tests marked `#[ignore]` ran, too.
pub(crate) fn problems(ledger: &Ledger, page: &str, all: bool) -> Vec<String> {
    let mut problems = tests(ledger);
    problems.extend(figures(ledger, all));
    problems.extend(flaws(ledger));
    let wanted = render(ledger);
    if wanted != page {
        problems.push(difference(&wanted, page));
    }
    problems
}

fn tests(ledger: &Ledger) -> Vec<String> {
    let mut problems = Vec::new();
    for (id, promise) in ordered(&ledger.promises) {
        if promise.waits_for.is_none() && ledger.tests_of(id).next().is_none() {
            problems.push(format!("{id} has no test: name one `{}_..`", id.to_lowercase()));
        }
    }
    for test in &ledger.tests {
        for id in test.ids.iter().filter(|id| !ledger.promises.contains_key(*id)) {
            problems.push(format!("{}: {} names {id}, which promises.toml does not have", test.file, test.name));
        }
        if !test.ids.is_empty() && test.mutation.is_none() {
            problems.push(format!("{}: {} names no mutation that makes it fail", test.file, test.name));
        }
    }
    problems
}

fn figures(ledger: &Ledger, all: bool) -> Vec<String> {
    let mut problems = Vec::new();
    for (id, promise) in ordered(&ledger.promises).into_iter().filter(|(_, promise)| promise.waits_for.is_none()) {
        for (figure, demand) in &promise.figures {
            let key = (id.clone(), figure.clone());
            let Some(&value) = ledger.figures.get(&key) else {
                if all || !promise.large.contains(figure) {
                    problems.push(format!("{id}: {figure}: no test reached it in this run, demanded is {demand}"));
                }
                continue;
            };
            if meets(demand, value) != Some(true) {
                problems.push(format!("{id}: {figure}: {value}, demanded is {demand}"));
            }
            // What the page says of a figure that varies is no number.
            let before = ledger.committed.get(&key).and_then(|text| text.replace(',', "").parse::<f64>().ok());
            if let Some(before) = before.filter(|_| !promise.varies.contains(figure)) {
                // The page has three decimals.
                let lost = if demand.starts_with(">=") { before - value } else { value - before };
                if lost > 0.001 {
                    problems.push(format!("{id}: {figure}: {value}, worse than docs/promises.md says: {before}"));
                }
            }
        }
    }
    problems
}

fn flaws(ledger: &Ledger) -> Vec<String> {
    let mut problems = Vec::new();
    for (id, flaw) in ordered(&ledger.flaws) {
        for promise in &flaw.promises {
            let waits = ledger.promises.get(promise).is_some_and(|promise| promise.waits_for.is_some());
            if !waits && ledger.tests_of(promise).next().is_none() {
                problems.push(format!("nothing shows that flaw {id} is absent: {promise} has no test"));
            }
        }
    }
    problems
}

/// The first line in which the page differs.
fn difference(wanted: &str, page: &str) -> String {
    let end = "(the end)";
    let (mut wanted, mut page) = (wanted.lines(), page.lines());
    let first = (1..).find_map(|number| {
        let (want, have) = (wanted.next().unwrap_or(end), page.next().unwrap_or(end));
        (want != have || want == end).then(|| format!("line {number}\n  has   {have}\n  wants {want}"))
    });
    format!("docs/promises.md: run `cargo run -p burdock-ledger`; {}", first.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use burdock_ledger::{Flaw, Flaws};

    use super::*;
    use crate::page::tests::{ledger, promise, reached, test};

    /// The problems when the page is as it should be.
    fn of(ledger: &Ledger, all: bool) -> Vec<String> {
        problems(ledger, &render(ledger), all)
    }

    #[test]
    fn a_ledger_in_order_has_no_problems() {
        let run = vec![reached("R1", "repeats", 0.0, "r1_a")];
        let tests = vec![test("R1", "r1_a", Some("x"))];
        let kept = ledger(vec![("R1", promise("", &[("repeats", "= 0")]))], tests, run, "");
        assert_eq!(of(&kept, true), Vec::<String>::new());
    }

    #[test]
    fn each_lack_is_named() {
        let tests = vec![test("R1", "r1_a", None), test("R99", "r99_b", Some("x"))];
        let run = vec![reached("R1", "repeats", 4.0, "r1_a")];
        let figures = [("repeats", "<= 3"), ("seeds", ">= 2")];
        let mut short = ledger(vec![("R1", promise("", &figures)), ("R2", promise("", &[]))], tests, run, "");
        short.flaws = Flaws::from([("E1".to_owned(), Flaw { says: String::new(), promises: vec!["R2".to_owned()] })]);
        assert_eq!(
            of(&short, false),
            [
                "R2 has no test: name one `r2_..`",
                "a.rs: r1_a names no mutation that makes it fail",
                "a.rs: r99_b names R99, which promises.toml does not have",
                "R1: repeats: 4, demanded is <= 3",
                "R1: seeds: no test reached it in this run, demanded is >= 2",
                "nothing shows that flaw E1 is absent: R2 has no test",
            ]
        );
    }

    #[test]
    fn large_figures_are_asked_for_after_the_large_tests_only() {
        let mut large = promise("", &[("tries", ">= 2")]);
        large.large = vec!["tries".to_owned()];
        let ledger = ledger(vec![("D2", large)], vec![test("D2", "d2_a", Some("x"))], Vec::new(), "");
        assert_eq!(of(&ledger, false), Vec::<String>::new());
        assert_eq!(of(&ledger, true), ["D2: tries: no test reached it in this run, demanded is >= 2"]);
    }

    #[test]
    fn what_is_not_built_lacks_nothing() {
        let mut waiting = promise("", &[]);
        waiting.waits_for = Some("I2P".to_owned());
        let mut ledger = ledger(vec![("T4", waiting)], Vec::new(), Vec::new(), "");
        ledger.flaws = Flaws::from([("E13".to_owned(), Flaw { says: String::new(), promises: vec!["T4".to_owned()] })]);
        assert_eq!(of(&ledger, true), Vec::<String>::new());
    }

    #[test]
    fn a_figure_worse_than_the_page_is_a_problem_and_so_is_another_page() {
        let tests = || vec![test("D1", "d1_a", Some("x"))];
        let at = |value, page: &str| {
            let run = vec![reached("D1", "ratio", value, "d1_a")];
            ledger(vec![("D1", promise("", &[("ratio", "<= 3")]))], tests(), run, page)
        };
        let page = render(&at(1.0, ""));
        let problems = problems(&at(2.0, &page), &page, true);
        assert_eq!(problems[0], "D1: ratio: 2, worse than docs/promises.md says: 1");
        assert!(problems[1].contains("has   | D1 |  | ratio | <= 3 | 1 |"), "{}", problems[1]);
        assert_eq!(problems.len(), 2);
    }
}
