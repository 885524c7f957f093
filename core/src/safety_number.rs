//! The number that two people compare to know that nobody stands between them.

use crate::crypto::hash;
use crate::key::PublicKey;

/// How often a key is hashed, so that looking for another key with similar digits costs as many
/// times more. Signal's figure for its fingerprints.
const ROUNDS: u32 = 5_200;
/// Each group is this many bytes of the hash, read as a number, modulo 100,000.
const GROUP: usize = 5;
const GROUPS_OF_A_KEY: usize = 6;

impl PublicKey {
    /// 60 digits in twelve groups of five, the same on both sides: when two people read out the
    /// same number to each other, they talk to each other and to nobody in between.
    ///
    /// Each key gives six groups: five bytes each, big-endian, modulo 100,000, of BLAKE2s-256
    /// iterated 5,200 times, each time over a label, the hash before and the key. The groups of the
    /// lower key stand first. This is the scheme of Signal's numeric fingerprints, with the hash
    /// that Burdock has already.
    ///
    /// ```
    /// use burdock_core::Identity;
    ///
    /// let [ours, theirs] = [1, 2].map(|n| Identity::from_bytes([n; 32]).public_key());
    /// assert_eq!(ours.safety_number(&theirs), theirs.safety_number(&ours));
    /// assert_eq!(ours.safety_number(&theirs).split(' ').count(), 12);
    /// ```
    #[must_use]
    pub fn safety_number(&self, other: &Self) -> String {
        let (low, high) = if self <= other { (self, other) } else { (other, self) };
        let groups: Vec<String> = [low, high].into_iter().flat_map(groups).collect();
        groups.join(" ")
    }
}

fn groups(key: &PublicKey) -> [String; GROUPS_OF_A_KEY] {
    let mut digest = [0; 32];
    for _ in 0..ROUNDS {
        digest = hash(&[b"burdock safety number", &digest, key.as_bytes()]);
    }
    core::array::from_fn(|group| {
        let bytes = &digest[group * GROUP..][..GROUP];
        let number = bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        format!("{:05}", number % 100_000)
    })
}

#[cfg(test)]
mod tests {
    use crate::Identity;

    #[test]
    fn both_sides_read_the_same_number_and_nobody_else_does() {
        let [a, b, c] = [1, 2, 3].map(|n| Identity::from_bytes([n; 32]).public_key());
        let number = a.safety_number(&b);
        assert_eq!(number, b.safety_number(&a));
        assert_ne!(number, a.safety_number(&c));
        assert_ne!(number, b.safety_number(&c));
        insta::assert_snapshot!(number, @"95087 11196 63500 83220 33211 80942 39713 43636 34518 79892 10285 60118");
        let groups: Vec<_> = number.split(' ').collect();
        assert!(groups.len() == 12 && groups.iter().all(|group| group.len() == 5), "{number}");
    }
    #[test]
    fn the_page_has_that_of_its_example() {
        let [initiator, responder] = [0x11, 0x22].map(|n| Identity::from_bytes([n; 32]).public_key());
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.md")).unwrap();
        assert!(page.contains(&format!("\n{}\n", initiator.safety_number(&responder))));
    }
}
