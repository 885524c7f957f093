use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::Value;

use super::{WINDOW, Window};
use crate::seal::NUMBER_LIMIT;
use crate::vectors::{list, load};

/// Sums and products of numbers and the names W, L, R, with parentheses around a difference.
fn evaluate(text: &str) -> i128 {
    let (mut depth, mut split) = (0, None);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            '+' | '-' if depth == 0 => split = Some((at, c)),
            '*' if depth == 0 && split.is_none_or(|(_, found)| found == '*') => split = Some((at, c)),
            _ => {}
        }
    }
    if let Some((at, c)) = split {
        let (left, right) = (evaluate(&text[..at]), evaluate(&text[at + 1..]));
        return match c {
            '+' => left + right,
            '-' => left - right,
            _ => left * right,
        };
    }
    match text {
        "W" => i128::from(WINDOW) - 1,
        "L" => i128::from(WINDOW),
        "R" => i128::from(NUMBER_LIMIT),
        _ => match text.strip_prefix('(') {
            Some(inner) => evaluate(inner.strip_suffix(')').unwrap()),
            None => text.parse().unwrap(),
        },
    }
}

fn accept(window: &mut Window, number: i128) -> bool {
    let number = u64::try_from(number).unwrap();
    let fresh = number < NUMBER_LIMIT && window.is_fresh(number);
    if fresh {
        window.mark(number);
    }
    fresh
}

// Mutation: `<` for `<=` in `is_fresh` makes this fail.
#[test]
fn r4_published_sequences() {
    let file = load("replay_window");
    let sequences = list(&file["sequences"]);
    assert_eq!(sequences.len(), 7);
    for sequence in sequences {
        let mut window = Window::new();
        for range in list(&sequence["ranges"]) {
            let end = |name: &str| evaluate(range[name].as_str().unwrap());
            let (from, to, step) = (end("from"), end("to"), i128::from(range["step"].as_i64().unwrap()));
            let mut number = from;
            while (to - number) * step >= 0 {
                assert_eq!(Value::from(accept(&mut window, number)), range["accept"], "{} {number}", sequence["name"]);
                number += step;
            }
        }
        for step in list(&sequence["steps"]) {
            let expression = step[0].as_str().unwrap();
            assert_eq!(accept(&mut window, evaluate(expression)), step[1], "{} {expression}", sequence["name"]);
        }
    }
    burdock_ledger::reached("R4", "duplicates accepted", 0);
}

// Mutation: a ring of `WINDOW / 64` words makes this fail, as the newest word then clears the oldest.
#[test]
fn r4_a_marked_number_never_becomes_fresh_again() {
    for number in 0..130 {
        for distance in (1..70).chain(WINDOW - 70..WINDOW + 140).chain([1 << 20, 1 << 60]) {
            let mut window = Window::new();
            window.mark(number);
            window.mark(number + distance);
            assert!(!window.is_fresh(number), "{number}, then {distance} further");
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Jump {
    Near(i64),
    Far(u64),
}

fn jump() -> impl Strategy<Value = Jump> {
    prop_oneof![
        6 => (-200i64..200).prop_map(Jump::Near),
        3 => (-9000i64..9000).prop_map(Jump::Near),
        1 => (-8260i64..-8120).prop_map(Jump::Near),
        1 => (0u64..1 << 40).prop_map(Jump::Far),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// The window is a set of all numbers accepted, and a limit on age.
    // Mutation: `<` for `<=` in `is_fresh` makes this fail.
    #[test]
    fn r4_window_agrees_with_a_set(jumps in prop::collection::vec(jump(), 1..600)) {
        let (mut window, mut seen, mut newest) = (Window::new(), BTreeSet::new(), 0u64);
        for jump in jumps {
            let number = match jump {
                Jump::Near(by) => newest.saturating_add_signed(by),
                Jump::Far(by) => newest.saturating_add(by),
            };
            let expected = number.saturating_add(WINDOW) > newest && !seen.contains(&number);
            prop_assert_eq!(window.is_fresh(number), expected, "{} after {}", number, newest);
            prop_assert_eq!(window.is_newest(number), seen.last().is_none_or(|last| number > *last));
            if expected {
                window.mark(number);
                seen.insert(number);
                newest = newest.max(number);
            }
        }
    }
}
