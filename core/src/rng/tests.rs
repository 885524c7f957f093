use std::collections::BTreeSet;

use data_encoding::HEXLOWER;

use super::Randomness;

#[test]
fn outputs_are_the_same_on_every_machine_and_in_every_version() {
    let mut randomness = Randomness::new(&core::array::from_fn(|i| i as u8));
    let secrets = [randomness.secret(), randomness.secret()].map(|secret| HEXLOWER.encode(secret.as_slice()));
    assert_eq!(secrets[0], "4f536420ec6faceced116754806e969a6b4c3498c94e0af9d6a9d8d925ae3a31");
    assert_eq!(secrets[1], "f5c986ae2261af9f2d311e54fa15f71b0c3d370130833327741e07eb76e8c2a1");
    assert_eq!((randomness.index(), randomness.half()), (4_114_200_781, 17_111_256_854_880_612_307));
    assert_eq!([randomness.jitter(), randomness.jitter()], [772_866_940, 3_031_865_931]);
}

#[test]
fn a_draw_for_one_purpose_does_not_change_another() {
    let (mut one, mut two) = (Randomness::new(&[1; 32]), Randomness::new(&[1; 32]));
    for _ in 0..100 {
        let _ = (one.index(), one.jitter());
    }
    assert_eq!(one.secret(), two.secret());
    assert_ne!(Randomness::new(&[2; 32]).secret(), Randomness::new(&[1; 32]).secret());
}

// Mutation: `self.0.replace(&next)` left out of `KeyChain::draw` makes this fail.
#[test]
fn h7_no_secret_comes_twice() {
    let mut randomness = Randomness::new(&[3; 32]);
    let drawn: BTreeSet<_> = (0..10_000).map(|_| *randomness.secret()).collect();
    assert_eq!(drawn.len(), 10_000);
}
