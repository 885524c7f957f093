//! What reassembly costs, counted in bytes that it copies: no clock, so the same on every machine.

use super::*;

/// In which order the single bytes of a channel come.
type Order = fn(u64) -> Vec<u64>;

const ORDERS: [(&str, Order); 5] = [
    ("forwards", |n| (0..n).collect()),
    ("backwards", |n| (0..n).rev().collect()),
    ("odd, then even", |n| (0..n).filter(|at| at % 2 == 1).chain((0..n).filter(|at| at % 2 == 0)).collect()),
    ("from the middle out", |n| (0..n / 2).flat_map(|k| [n / 2 + k, n / 2 - 1 - k]).collect()),
    ("blocks of eight, the last first", |n| (0..n / 8).rev().flat_map(|block| block * 8..block * 8 + 8).collect()),
];

fn work(order: Order, count: u64) -> usize {
    let mut bytes = Varint::new(count - 4).as_bytes().to_vec();
    assert_eq!(bytes.len(), 4);
    bytes.resize(count as usize, 7);
    let mut assembly = Assembly::default();
    let mut complete = 0;
    for at in order(count) {
        let piece = &bytes[at as usize..=at as usize];
        assembly
            .push(at, piece, u32::MAX, |_, data| {
                complete += data.len() as u64;
                true
            })
            .unwrap();
    }
    assert_eq!(complete, count - 4);
    assembly.copied
}

// Mutation: in `Assembly::keep`, always joining to the piece before (never the smaller to the
// larger) makes this fail.
#[test]
fn d7_single_bytes_cost_linear_work_in_any_order() {
    let mut worst: f64 = 0.0;
    for (name, order) in ORDERS {
        let (once, twice) = (work(order, 32_768), work(order, 65_536));
        assert!((32_768..=32_768 * 16).contains(&once), "{name}: {once}");
        worst = worst.max(twice as f64 / once as f64);
    }
    burdock_ledger::reached("D7", "work for 2N one-byte segments over work for N", worst);
}
