//! The page that people read.

use std::collections::BTreeMap;
use std::fmt::Write;

use burdock_ledger::{Flaws, Promise, Promises, Reached, meets};

use crate::scan::{self, Test};

/// The groups of promises, by the letter of their ids.
const GROUPS: [(char, &str); 6] = [
    ('H', "Handshake and identity"),
    ('R', "Records"),
    ('D', "Denial of service"),
    ('T', "Transports"),
    ('C', "Reconnect, resume, health"),
    ('I', "Implementation"),
];

/// What a figure shows that differs between runs, and was met.
const MET: &str = "met";
/// What a figure shows that no run has reached yet.
const OPEN: &str = "-";

/// All that the page is made of.
pub(crate) struct Ledger {
    pub(crate) promises: Promises,
    pub(crate) flaws: Flaws,
    pub(crate) tests: Vec<Test>,
    /// What the last run reached, by promise and figure: the worst of what its tests reported.
    pub(crate) figures: BTreeMap<(String, String), f64>,
    /// What the page says already, by promise and figure.
    pub(crate) committed: BTreeMap<(String, String), String>,
}

impl Ledger {
    /// `page` is the page as it is now.
    pub(crate) fn read(page: &str) -> Self {
        let promises = burdock_ledger::promises();
        let tests = scan::tests(&burdock_ledger::workspace());
        let figures = worst(&promises, &tests, burdock_ledger::figures());
        Self { promises, flaws: burdock_ledger::flaws(), tests, figures, committed: committed(page) }
    }

    pub(crate) fn tests_of(&self, id: &str) -> impl Iterator<Item = &Test> {
        self.tests.iter().filter(move |test| test.ids.iter().any(|of| of == id))
    }

    /// What the page shows as reached. A large figure that was not run for stays as it was.
    pub(crate) fn shown(&self, id: &str, promise: &Promise, figure: &str) -> String {
        let key = (id.to_owned(), figure.to_owned());
        match self.figures.get(&key) {
            Some(_) if promise.varies.iter().any(|varies| varies == figure) => MET.to_owned(),
            Some(value) => thousands(*value),
            None if promise.large.iter().any(|large| large == figure) => {
                self.committed.get(&key).cloned().unwrap_or_else(|| OPEN.to_owned())
            }
            None => OPEN.to_owned(),
        }
    }
}

/// The worst of what the tests reported, without figures of tests that are no more.
fn worst(promises: &Promises, tests: &[Test], reached: Vec<Reached>) -> BTreeMap<(String, String), f64> {
    let mut worst = BTreeMap::new();
    for Reached { id, figure, value, test } in reached {
        let name = test.rsplit("::").next().unwrap_or_default();
        // One thread for all tests is the main one.
        if name != "main" && !tests.iter().any(|test| test.name == name) {
            continue;
        }
        let Some(demand) = promises.get(&id).and_then(|promise| promise.figures.get(&figure)) else { continue };
        let kept: &mut f64 = worst.entry((id, figure)).or_insert(value);
        let better = if demand.starts_with(">=") { value > *kept } else { value < *kept };
        if !better || meets(demand, value) == Some(false) {
            *kept = value;
        }
    }
    worst
}

/// The figures that a page shows: the rows of five cells, whose first is an id.
fn committed(page: &str) -> BTreeMap<(String, String), String> {
    let mut found = BTreeMap::new();
    for line in page.lines() {
        let cells: Vec<&str> = line.split(" | ").map(|cell| cell.trim_matches(['|', ' '])).collect();
        if let [id, _, figure, _, reached] = cells[..] {
            found.insert((id.to_owned(), figure.to_owned()), reached.to_owned());
        }
    }
    found
}

/// Ids as people order them: R2 before R10.
pub(crate) fn ordered<T>(map: &BTreeMap<String, T>) -> Vec<(&String, &T)> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by_key(|(id, _)| (id.chars().next(), id.get(1..).and_then(|number| number.parse::<u32>().ok())));
    entries
}

pub(crate) fn render(ledger: &Ledger) -> String {
    let mut page = String::from(HEAD);
    for (letter, title) in GROUPS {
        group(&mut page, ledger, letter, title);
    }
    missing(&mut page, ledger);
    flaws(&mut page, ledger);
    page
}

fn group(page: &mut String, ledger: &Ledger, letter: char, title: &str) {
    let promises: Vec<_> = ordered(&ledger.promises)
        .into_iter()
        .filter(|(id, promise)| id.starts_with(letter) && promise.waits_for.is_none())
        .collect();
    line(page, format_args!("\n## {title}\n"));
    line(page, format_args!("| id | promise | figure | demanded | reached |"));
    line(page, format_args!("| --- | --- | --- | --- | --- |"));
    for (id, promise) in &promises {
        if promise.figures.is_empty() {
            line(page, format_args!("| {id} | {} | - | its tests pass | - |", cell(&promise.says)));
        }
        let mut says = cell(&promise.says);
        for (figure, demand) in &promise.figures {
            let reached = ledger.shown(id, promise, figure);
            line(page, format_args!("| {id} | {says} | {figure} | {demand} | {reached} |"));
            says.clear();
        }
    }
    line(page, format_args!("\n| id | test | what makes it fail |"));
    line(page, format_args!("| --- | --- | --- |"));
    for (id, _) in &promises {
        for test in ledger.tests_of(id) {
            let mutation = test.mutation.as_deref().map_or_else(|| OPEN.to_owned(), cell);
            line(page, format_args!("| {id} | `{}::{}` | {mutation} |", test.file, test.name));
        }
    }
}

fn missing(page: &mut String, ledger: &Ledger) {
    line(page, format_args!("\n## What is not shown\n"));
    line(page, format_args!("What cannot be shown on one machine, is not kept as it stands, or is not built yet.\n"));
    line(page, format_args!("| id | why |"));
    line(page, format_args!("| --- | --- |"));
    for (id, promise) in ordered(&ledger.promises) {
        if let Some(reason) = &promise.falls_short {
            line(page, format_args!("| {id} | {} |", cell(reason)));
        }
        if let Some(what) = &promise.waits_for {
            line(page, format_args!("| {id} | {} Not built yet: {what}. |", cell(&promise.says)));
        }
    }
}

fn flaws(page: &mut String, ledger: &Ledger) {
    line(page, format_args!("\n## Flaws that are absent\n"));
    line(
        page,
        format_args!("Flaws seen in comparable programs, and the promises whose tests show that they are not here.\n"),
    );
    line(page, format_args!("| id | flaw | kept out by |"));
    line(page, format_args!("| --- | --- | --- |"));
    for (id, flaw) in ordered(&ledger.flaws) {
        let by: Vec<_> = flaw
            .promises
            .iter()
            .map(|id| match ledger.promises.get(id).and_then(|promise| promise.waits_for.as_deref()) {
                Some(what) => format!("{id} (not built yet: {what})"),
                None => id.clone(),
            })
            .collect();
        line(page, format_args!("| {id} | {} | {} |", cell(&flaw.says), by.join(", ")));
    }
}

fn line(page: &mut String, text: core::fmt::Arguments<'_>) {
    writeln!(page, "{text}").expect("a string takes everything");
}

/// Text as it may stand in a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// At most three decimals, and a comma between thousands.
fn thousands(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (at, digit) in whole.char_indices() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

const HEAD: &str = "# Promises

What Burdock promises, the figure that each promise demands, the figure that its tests reached, and
for each test a change of the code that makes it fail. `cargo run -p burdock-ledger` writes this
page from the last run of the tests; CI fails when a promise has no test, a test names no such
change, or a figure falls short. *met* stands for a figure that differs between runs or machines.
[contributing.md](contributing.md) says how to add to it.
";

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn promise(says: &str, figures: &[(&str, &str)]) -> Promise {
        let figures = figures.iter().map(|(figure, demand)| ((*figure).to_owned(), (*demand).to_owned())).collect();
        Promise { says: says.to_owned(), figures, ..Promise::default() }
    }

    pub(crate) fn test(id: &str, name: &str, mutation: Option<&str>) -> Test {
        let mutation = mutation.map(str::to_owned);
        Test { ids: vec![id.to_owned()], file: "a.rs".to_owned(), name: name.to_owned(), mutation }
    }

    pub(crate) fn reached(id: &str, figure: &str, value: f64, test: &str) -> Reached {
        Reached { id: id.to_owned(), figure: figure.to_owned(), value, test: test.to_owned() }
    }

    pub(crate) fn ledger(promises: Vec<(&str, Promise)>, tests: Vec<Test>, run: Vec<Reached>, page: &str) -> Ledger {
        let promises = promises.into_iter().map(|(id, promise)| (id.to_owned(), promise)).collect();
        let figures = worst(&promises, &tests, run);
        Ledger { promises, flaws: Flaws::new(), tests, figures, committed: committed(page) }
    }

    #[test]
    fn the_worst_of_several_counts_and_what_is_no_more_does_not() {
        let promises = vec![("R1", promise("", &[("repeats", "<= 3"), ("seeds", ">= 2")]))];
        let tests = vec![test("R1", "r1_a", None), test("R1", "r1_b", None)];
        let run = vec![
            reached("R1", "repeats", 1.0, "x::r1_a"),
            reached("R1", "repeats", 2.0, "x::r1_b"),
            reached("R1", "repeats", 3.0, "x::r1_gone"),
            reached("R1", "seeds", 200.0, "x::r1_a"),
            reached("R1", "seeds", 60.0, "x::r1_b"),
            reached("R1", "unknown", 60.0, "x::r1_b"),
        ];
        let figures = ledger(promises, tests, run, "").figures;
        assert_eq!(figures.values().copied().collect::<Vec<_>>(), [2.0, 60.0]);
    }

    #[test]
    fn a_page_says_what_was_reached_and_reads_back() {
        let mut large = promise("Bounded | small.", &[("bytes", "<= 3"), ("ms", "<= 9"), ("tries", ">= 1,000,000")]);
        large.large = vec!["tries".to_owned()];
        large.varies = vec!["ms".to_owned()];
        let run = vec![
            reached("D2", "bytes", 1.25, "d2_a"),
            reached("D2", "ms", 7.0, "d2_a"),
            reached("D2", "tries", 1_234_567.0, "d2_a"),
        ];
        let tests = || vec![test("D2", "d2_a", Some("`a || b` into `a`"))];
        let page = render(&ledger(vec![("D2", large.clone())], tests(), run.clone(), ""));
        assert!(page.contains("| D2 | Bounded \\| small. | bytes | <= 3 | 1.25 |\n"), "{page}");
        assert!(page.contains("| D2 |  | ms | <= 9 | met |\n"), "{page}");
        assert!(page.contains("| D2 |  | tries | >= 1,000,000 | 1,234,567 |\n"), "{page}");
        assert!(page.contains("| D2 | `a.rs::d2_a` | `a \\|\\| b` into `a` |\n"), "{page}");
        // Without the large run, its figure stays.
        let again = render(&ledger(vec![("D2", large)], tests(), run[..2].to_vec(), &page));
        assert_eq!(again, page);
    }

    #[test]
    fn ids_are_in_the_order_of_their_numbers() {
        let map: BTreeMap<String, ()> = ["R10", "R2", "D1"].map(|id| (id.to_owned(), ())).into();
        assert_eq!(ordered(&map).iter().map(|(id, ())| id.as_str()).collect::<Vec<_>>(), ["D1", "R2", "R10"]);
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(thousands(0.0), "0");
        assert_eq!(thousands(100.0), "100");
        assert_eq!(thousands(1_000_000.0), "1,000,000");
        assert_eq!(thousands(2.5), "2.5");
        assert_eq!(thousands(-1234.0), "-1,234");
    }
}
