//! S5 and S6 from outside: golden owners that must never change, and what a change of members moves.

use kamacache_core::internals::Ring;

fn member(i: usize) -> String {
    format!("10.0.{}.{}:7400", i / 250, i % 250)
}

fn ring(members: usize) -> Ring {
    Ring::new((0..members).map(member))
}

/// Every tenth key has a character outside ASCII.
fn key(i: usize) -> String {
    if i.is_multiple_of(10) {
        format!("user:{i:07}:é")
    } else {
        format!("user:{i:07}")
    }
}

fn golden(text: &str, digits: usize) -> Vec<usize> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let owners = lines.flat_map(|line| line.as_bytes().chunks(digits));
    owners
        .map(|owner| std::str::from_utf8(owner).unwrap().parse().unwrap())
        .collect()
}

#[test]
fn s05_owners_are_the_golden_ones() {
    let files = [
        (3, 1, include_str!("../golden/ring_3.txt")),
        (10, 1, include_str!("../golden/ring_10.txt")),
        (100, 2, include_str!("../golden/ring_100.txt")),
    ];
    for (members, digits, text) in files {
        let (ring, golden) = (ring(members), golden(text, digits));
        assert_eq!(golden.len(), 10_000);
        for (i, owner) in golden.into_iter().enumerate() {
            assert_eq!(
                ring.owner_index(&key(i)),
                Some(owner),
                "{} among {members}",
                key(i)
            );
        }
    }
}

#[test]
fn s05_digests_are_the_golden_ones() {
    let golden = [
        (3, 0x878f_0da3_dc15_c36d),
        (10, 0x9f37_7ca3_8898_63c7),
        (100, 0x4caf_248e_039c_e1bb),
    ];
    for (members, digest) in golden {
        assert_eq!(ring(members).digest(), digest, "{members} members");
    }
}

#[test]
fn s05_order_and_repetition_of_members_do_not_matter() {
    let forward = ring(20);
    let backward = Ring::new((0..20).rev().chain(5..9).map(member));
    assert_eq!(forward.members(), backward.members());
    assert_eq!(forward.digest(), backward.digest());
    for i in 0..10_000 {
        assert_eq!(forward.owner(&key(i)), backward.owner(&key(i)));
    }
}

#[test]
fn s06_a_change_of_one_member_moves_only_its_keys() {
    let full = ring(10);
    let gone = member(4);
    let without = full.without_member(&gone);
    assert_eq!(without.with_member(&gone).digest(), full.digest());
    let mut moved = 0;
    for i in 0..100_000 {
        let (before, after) = (
            full.owner(&key(i)).unwrap(),
            without.owner(&key(i)).unwrap(),
        );
        assert_ne!(**after, *gone);
        if before != after {
            assert_eq!(**before, *gone, "{} moved without need", key(i));
            moved += 1;
        }
    }
    assert!(
        (8_000..12_000).contains(&moved),
        "{moved} keys of 100,000 moved"
    );
}

#[test]
fn s06_keys_are_spread_evenly() {
    let ring = ring(10);
    let mut counts = [0u32; 10];
    for i in 0..100_000 {
        counts[ring.owner_index(&key(i)).unwrap()] += 1;
    }
    let most = *counts.iter().max().unwrap();
    assert!(f64::from(most) / 10_000.0 <= 1.15, "{counts:?}");
}

#[test]
fn an_empty_ring_owns_nothing() {
    let empty = Ring::new(Vec::<String>::new());
    assert_eq!(empty.owner("k"), None);
    assert_eq!(
        empty.with_member("a:1").owner("k").map(AsRef::as_ref),
        Some("a:1")
    );
    assert_eq!(ring(1).without_member(&member(0)).owner("k"), None);
}
